"""Spectrograms and sounds of the Verify tab, kept on disk until they are cleared.

The files themselves are deleted once they were examined. What matched an original stays as pictures
and as sound of those seconds, in a folder of each examination.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studio.app.examination.comparing import ComparedPart

__all__ = ["KeptComparisons"]


class KeptComparisons:
    """One folder per examination, below the folder of uploads. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefix = f"compared-{secrets.token_hex(8)}-"  # of this process

    def keep(self, id_: str, parts: Sequence[ComparedPart]) -> None:
        """Write the files of the parts. Raises :class:`OSError`; nothing stays then."""
        folder = self._of(id_)
        try:
            folder.mkdir(mode=0o700, parents=True)
            for part in parts:
                for name, content in part.files.items():
                    (folder / f"{part.comparison.number}.{name}").write_bytes(content)
        except OSError:
            self.forget(id_)
            raise

    def names(self, id_: str) -> frozenset[str]:
        """The files of an examination."""
        folder = self._of(id_)
        return frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()

    def file(self, id_: str, name: str) -> bytes | None:
        """A file of an examination; None where there is none of that name."""
        return (self._of(id_) / name).read_bytes() if name in self.names(id_) else None

    def forget(self, id_: str) -> None:
        """Delete the files of an examination."""
        shutil.rmtree(self._of(id_), ignore_errors=True)

    def close(self) -> None:
        """Delete every stored comparison."""
        for folder in self._folder.glob(f"{self._prefix}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _of(self, id_: str) -> Path:
        return self._folder / f"{self._prefix}{id_}"
