"""A studio home whose registered outputs are the catalogue's sealed pieces, and others."""

from __future__ import annotations

import shutil
from pathlib import Path

from studio.app.container import open_container
from studio.core.paths import StudioPaths, shipped_configs
from tests.bench.catalogue.making import IDS, KEY
from tests.bench.registry import body_of, print_of
from watermark.audio.waveform import read
from watermark.coding.message import SealId, SealKey
from watermark.fingerprint.haitsma_kalker import Fingerprint, fingerprint

__all__ = ["HOME", "make_home"]

HOME = "studio-home"


def make_home(folder: Path) -> Path:
    """Make what ``studio scan`` needs to know the catalogue's seals; an earlier one is kept.

    Every seal in the catalogue's list is a registered output under the catalogue's key. Those of
    the sealed pieces have the pieces' own fingerprints; the others' are random words.

    Args:
        folder: the catalogue's.

    Returns:
        The home.
    """
    home = folder / HOME
    if home.exists():
        return home
    part = folder / f".{HOME}.part"
    shutil.rmtree(part, ignore_errors=True)
    paths = StudioPaths(part, shipped_configs())
    paths.keys.mkdir(parents=True, mode=0o700)
    part.chmod(0o700)
    key = SealKey.load(folder / KEY)
    key.save(paths.keys / f"epoch-{key.epoch:04d}.key")
    studio = open_container(paths=paths)
    try:
        ledger = studio.ledger()
        for number, line in enumerate((folder / IDS).read_text().splitlines()):
            seal_id = SealId.parse(line.split()[0])
            content = _print_of(folder, number)
            ledger.reserve(seal_id.hex, key.epoch)
            body = body_of(number, seal_id, content.duration_s)
            del body["c2pa"]  # whose manifest would have to be kept, too
            ledger.append_release(
                body,
                file_name=f"{seal_id.hex}.wav",
                fingerprint=content.to_bytes(),
            )
    finally:
        studio.close()
    part.rename(home)
    return home


def _print_of(folder: Path, number: int) -> Fingerprint:
    piece = folder / "pieces" / f"sealed-{number}.wav"  # the list begins with their seals
    return fingerprint(read(piece)) if piece.exists() else print_of(number)
