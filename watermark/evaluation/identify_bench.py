"""Measure speed and accuracy of identification among a million watermarks.

``python -m watermark.evaluation.identify_bench --audio DIR --seals 1000000`` seals a stretch from
the inside of a track of every file of a folder, reads it with the detector's networks, and looks
for it in a codebook that holds the seals of those tracks and made-up ones for the rest. What is
timed is all that the detector asks of the registry once it has read the file
(:mod:`watermark.detection.attribution`): the place in the scramble, on the reader's path and
beside it, and the search of the seals. Each clip is asked once as it is and once where its own
seal is not registered: then nothing may be named. Which key it was made with is known in the one
case and not in the other, where the registry's seals are another epoch's.

The codebook's words are HMAC's for the clips' seals, and random for the others, which is what
HMAC's are to whoever reads them; making a million by HMAC takes a minute and changes nothing. The
codebook is kept in a temporary folder first, and asked as a process finds it there
(:mod:`watermark.coding.codebook_store`).

>>> from watermark.coding.message import SealKey
>>> book = filled([CodebookEntry(SealId(bytes(8)), SealKey(1, bytes(32)), 30.0)], seals=500)
>>> len(book.groups[0]), book.groups[0].length
(500, 32)
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from watermark.audio.waveform import Waveform, encode, read
from watermark.coding.codebook import Codebook, CodebookEntry
from watermark.coding.codebook_store import CodebookStore
from watermark.coding.message import SealId, SealKey
from watermark.detection.attribution import attribute

if TYPE_CHECKING:
    from watermark.detection.readout import Readout
    from watermark.models.base import SealModel

__all__ = ["filled", "main"]

_FIRST_S = 10  # the clip is the track from here on
_TRACK_S = 30.0
_BATCH = 100_000


@click.command()
@click.option("--audio", type=click.Path(exists=True), required=True, help="Folder of music.")
@click.option("--seals", type=click.IntRange(min=1), default=1_000_000, show_default=True)
@click.option("--clips", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=2, max=20), default=10.0, show_default=True)
@click.option("--bitrate", type=int, metavar="BIT/S", help="Sealed clips go through MP3 first.")
@click.option("--seed", type=int, default=0, show_default=True)
def main(
    audio: str, seals: int, clips: int, seconds: float, bitrate: int | None, seed: int
) -> None:
    """Time naming a seal among --seals tracks of 30 s, from clips of --seconds."""
    from watermark.evaluation.clips import load_clips
    from watermark.models.loading import load_seal_model

    model = load_seal_model()
    music, left_out = load_clips(audio, count=clips, seconds=_FIRST_S + seconds)
    for reason in left_out:
        click.echo(f"left out: {reason}", err=True)
    key, other = (SealKey(epoch, bytes(31) + bytes([epoch])) for epoch in (1, 2))
    rng = np.random.default_rng(seed)
    ids = [SealId(rng.bytes(8)) for _ in music]
    readings = [
        _read(clip.waveform, seal_id, key, model, bitrate)
        for clip, seal_id in zip(music, ids, strict=True)
    ]
    for kind, own in (("registered", key), ("not registered", other)):
        begin = time.process_time()
        book = filled([CodebookEntry(i, own, _TRACK_S) for i in ids], seals=seals, seed=seed)
        click.echo(f"{seals:,} seals, made in {time.process_time() - begin:.1f} s")
        with tempfile.TemporaryDirectory() as folder:
            book = _kept(book, own, Path(folder) / "codebook")
            attribute(readings[0], model, book, ())  # reads what is mapped
            click.echo(f"{kind:16}" + _asked(book, readings, ids, model, own == key))


def _kept(book: Codebook, key: SealKey, folder: Path) -> Codebook:
    """The codebook as a process finds it on disk; says what keeping and opening it takes."""
    begin = time.process_time()
    CodebookStore(folder, lambda _epoch: key).save(book, "")
    kept_s = time.process_time() - begin
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    before, begin = _own_memory(), time.process_time()
    opened, _ = CodebookStore(folder, lambda _epoch: key).open()
    click.echo(
        f"kept on disk in {kept_s:.1f} s, {size:.0f} MB; opened in "
        f"{time.process_time() - begin:.2f} s, {_own_memory() - before:.1f} MB of memory of its own"
    )
    return opened


def _own_memory() -> float:
    """MB of this process that it shares with no other."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024 / 1e6


def filled(entries: Iterable[CodebookEntry], *, seals: int, seed: int = 0) -> Codebook:
    """A codebook of the entries, and of made-up seals of the same length up to ``seals``."""
    book = Codebook(entries)
    (group,) = book.groups
    rng = np.random.default_rng(seed + 1)
    while (missing := min(_BATCH, seals - len(group))) > 0:
        made = [SealId(rng.bytes(8)) for _ in range(missing)]
        words = rng.integers(0, 2**16, (missing, group.length), dtype=np.uint16)
        group.extend(made, words)
    return book


def _read(
    clip: Waveform, seal_id: SealId, key: SealKey, model: SealModel, bitrate: int | None
) -> Readout:
    """Seal a track, cut its beginning off, and read that."""
    from watermark.detection.readout import read_views
    from watermark.embedding.embed import embed

    sealed = embed(clip, seal_id, key, model=model).slice(_FIRST_S, clip.duration_s)
    if bitrate is not None:
        sealed = read(encode(sealed, "mp3", bitrate=bitrate))
    return read_views([sealed], model, ("mix",))["mix"]


def _asked(
    book: Codebook,
    readings: Sequence[Readout],
    ids: Sequence[SealId],
    model: SealModel,
    registered: bool,
) -> str:
    """Search for every clip, and say what was found in which time."""
    right = wrong = 0
    spent, agree = [], []
    count = len(readings)
    for reading, seal_id in zip(readings, ids, strict=True):
        begin = time.process_time()
        found = attribute(reading, model, book, ()).identification
        spent.append((time.process_time() - begin) * 1e3)
        if found is not None:
            here = found.seal_id == seal_id and abs(found.offset_s - _FIRST_S) < 0.2
            right, wrong = right + (here and registered), wrong + (not (here and registered))
            agree.append(found.bit_accuracy)
    accuracy = f", bit accuracy {np.median(agree):.3f}" if agree else ""
    return (
        f"named {right} of {count}, wrong {wrong}{accuracy}; ms of processor time: "
        f"median {np.median(spent):.1f}, 95 % {np.percentile(spent, 95):.1f}, "
        f"largest {max(spent):.1f}"
    )


if __name__ == "__main__":
    main()
