"""The stored ZIP file of an output's stems.

They are kept beside the further formats of an output. A file is believed only if every sound in it
is one that the ledger records for the output.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from studio.core.errors import LedgerError
from watermark.util.files import write_file

if TYPE_CHECKING:
    from studio.provenance.renditions import RenditionStore

__all__ = ["KeptStems"]


class KeptStems:
    """Finds and keeps the stems of outputs in ``folder``."""

    def __init__(self, folder: Path, store: RenditionStore) -> None:
        self._folder = folder
        self._store = store

    def find(self, output_id: str, format: str) -> tuple[bytes, int] | None:
        """The ZIP file and the entry that records its stems; None where they are to be made."""
        try:
            content = self._path(output_id, format).read_bytes()
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                listing = json.loads(archive.read("stems.json"))
                sounds = [archive.read(name) for name in archive.namelist() if name != "stems.json"]
            entry = int(listing["entry"])
        except (OSError, zipfile.BadZipFile, KeyError, ValueError):
            return None
        digests = [hashlib.sha256(sound).hexdigest() for sound in sounds]
        if not digests or any(self._store.entry_of(output_id, each) is None for each in digests):
            return None
        return content, entry

    def keep(self, output_id: str, format: str, content: bytes) -> None:
        """Keep the file for whoever asks again. Raises :class:`LedgerError`."""
        try:
            write_file(self._path(output_id, format), content)
        except OSError as exc:
            raise LedgerError(f"the stems cannot be kept: {exc.strerror}") from exc

    def _path(self, output_id: str, format: str) -> Path:
        return self._folder / f"{output_id}.stems.{format}.zip"
