"""Measure speed and accuracy of the fingerprint index.

``python -m watermark.evaluation.fingerprint_bench --audio DIR --tracks 100000`` takes every track
of a folder, and fills the index up with tracks made of theirs
(:class:`~watermark.evaluation.fingerprint_scale.Collection`). Then it asks for excerpts of the real
tracks, clean and after codecs, and for excerpts of tracks that were left out. The words of the
tracks are made again for each comparison, as a database would be asked for them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from watermark.audio.waveform import CHILD_LIMITS, AudioFormat, Waveform, encode, read, stream
from watermark.batch.files import files_in
from watermark.errors import AudioError
from watermark.evaluation.fingerprint_scale import Collection, built, show_scale
from watermark.fingerprint.haitsma_kalker import fingerprint
from watermark.fingerprint.index import FingerprintIndex

__all__ = ["main"]

_CODECS: tuple[tuple[str, AudioFormat | None, int], ...] = (
    ("clean", None, 0),
    ("mp3 64k", "mp3", 64_000),
    ("mp3 32k", "mp3", 32_000),
    ("opus 48k", "opus", 48_000),
    ("opus 24k", "opus", 24_000),
)
_LEAST_S, _MOST_S = 30.0, 60.0  # of a track that is used
_STARTS_S = (3.3, 14.9)


@click.command()
@click.option("--audio", type=click.Path(exists=True), required=True, help="Folder of music.")
@click.option("--tracks", type=click.IntRange(min=0), default=100_000, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=3), default=10.0, show_default=True)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the index here, and use the one that is there.",
)
@click.option(
    "--scale", is_flag=True, help="Also cold look-ups, memory, growth and several processes."
)
def main(audio: str, tracks: int, seconds: float, folder: Path | None, scale: bool) -> None:
    """Time the search for clips of --seconds among --tracks tracks of 30 s."""
    real = _load(audio)
    if len(real) < 3:
        raise click.UsageError(f"fewer than three tracks of {_LEAST_S:g} s in {Path(audio).name}")
    registered, unknown = real[: -len(real) // 4], real[-len(real) // 4 :]
    collection = Collection([fingerprint(track) for track in registered])
    note = f"{len(registered)} real and {tracks} made tracks"
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        if folder is None or FingerprintIndex(place, store=collection).note != note:
            spent = built(place, collection, tracks, note)
            click.echo(
                f"built and written in {spent.processor_s:.0f} s of processor time "
                f"({spent.wall_s:.0f} s of wall time), {spent.own_mb:,.0f} MB of memory at most "
                f"({spent.mapped_mb:,.0f} MB with pages of files)"
            )
        begin = time.perf_counter()
        index = FingerprintIndex(place, store=collection)
        click.echo(
            f"{len(index):,} tracks; opened in {(time.perf_counter() - begin) * 1e3:.0f} ms; "
            f"{sum(p.stat().st_size for p in place.rglob('*.npy')) / 1e6:,.0f} MB on disk in "
            f"{len(list(place.glob('part-*')))} parts"
        )
        _ask(index, registered, unknown, seconds)
        click.echo(
            f"the words of {max(collection.asked, default=0)} tracks at most were asked for at "
            f"once, {sum(collection.asked)} in all, in {len(collection.asked)} questions"
        )
        del index  # what is mapped stays in memory
        if scale:
            clips = (
                [fingerprint(t.slice(start, start + seconds)) for t in some for start in _STARTS_S]
                for some in (registered, unknown)
            )
            show_scale(place, collection, *clips)


def _load(audio: str) -> list[Waveform]:
    found = []
    for path in files_in([audio]):
        try:
            blocks = stream(path, block_s=_MOST_S, limits=CHILD_LIMITS)
            track = next(blocks)
        except (AudioError, StopIteration):
            continue
        if track.duration_s >= _LEAST_S:
            found.append(track)
    return found


def _ask(
    index: FingerprintIndex,
    registered: Sequence[Waveform],
    unknown: Sequence[Waveform],
    seconds: float,
) -> None:
    for name, format, bitrate in _CODECS:
        for kind, sources in (("registered", registered), ("unknown", unknown)):
            right = wrong = 0
            spent = []
            clips = [(n, start) for n in range(len(sources)) for start in _STARTS_S]
            for n, start in clips:
                clip = sources[n].slice(start, start + seconds)
                if format is not None:
                    clip = read(encode(clip, format, bitrate=bitrate))
                query = fingerprint(clip)
                begin = time.process_time()
                found = index.search(query)
                spent.append((time.process_time() - begin) * 1e3)
                if found:
                    here = kind == "registered" and found[0].key == f"real {n}"
                    right += here and abs(found[0].offset_s - start) < 0.1
                    wrong += not here
            click.echo(
                f"{name:9} {kind:10} found {right} of {len(clips)}, wrong {wrong}; "
                f"ms of processor time: median {np.median(spent):.1f}, "
                f"95 % {np.percentile(spent, 95):.1f}, "
                f"largest {max(spent):.1f}"
            )


if __name__ == "__main__":
    main()
