"""Measure a large fingerprint index: its making, its growth, and the processes that share it.

Used by ``python -m watermark.evaluation.fingerprint_bench --scale``. Each measurement runs in a
process of its own, so that memory and processor time are those of one task.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import click
import numpy as np

from watermark.fingerprint.haitsma_kalker import Fingerprint
from watermark.fingerprint.index import FingerprintIndex

__all__ = ["MADE_S", "Collection", "Spent", "built", "show_scale"]

MADE_S = 30.0
"""Seconds of a made track."""

_BATCH = 10_000  # tracks between two writes, as the studio does
_ROUNDS, _GROWTH = 10, 1_000  # times so many tracks are added
_READERS = 3
_COLD = 20  # searches of each kind
_SAMPLE_S = 0.02
_STOP = "stop"  # a file that tells readers to end


class Collection:
    """The tracks by their keys: ``real N``, and ``made N`` of the words of a real one.

    A made track is turned round in time and recoded by a mask of its own, so that words come as
    often as in real music and yet match nothing. An index can ask it as a store.
    """

    def __init__(self, references: Sequence[Fingerprint]) -> None:
        self.references = references
        self.asked: list[int] = []  # tracks of each question

    def __call__(self, keys: Sequence[str]) -> dict[str, Fingerprint]:
        """The fingerprints of some tracks."""
        self.asked.append(len(keys))
        return {key: self.fingerprint(key) for key in keys}

    def fingerprint(self, key: str) -> Fingerprint:
        """The fingerprint of one track."""
        kind, _, number = key.partition(" ")
        reference = self.references[int(number) % len(self.references)]
        if kind == "real":
            return reference
        rng = np.random.default_rng(int(number))
        words = np.roll(reference.between(0, MADE_S).words, int(rng.integers(1290)))
        return Fingerprint(words ^ np.uint32(rng.integers(1, 2**32)), MADE_S)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a task took: seconds, and MB of memory at most.

    ``own_mb`` is the process's own memory, ``mapped_mb`` also counts pages of files.
    """

    processor_s: float
    wall_s: float
    own_mb: float
    mapped_mb: float


def built(place: Path, collection: Collection, tracks: int, note: str) -> Spent:
    """Make an index of the real tracks and so many made ones, in a process of its own."""
    return _alone().submit(_build, place, collection, tracks, note).result()


def show_scale(
    place: Path, collection: Collection, known: Sequence[Fingerprint],
    unknown: Sequence[Fingerprint],
) -> None:  # fmt: skip
    """Print cold look-ups, memory of readers, growth, and readers beside a writer.

    Args:
        place: folder of the index.
        collection: its tracks.
        known, unknown: queries, of real tracks and of music that is not there.
    """
    for name, queries in (("registered", known), ("unknown", unknown)):
        spent, faults = _alone().submit(_cold, place, collection, queries[:_COLD]).result()
        click.echo(
            f"cold, {name}: {_percentiles(spent)} (wall time, opening included); "
            f"read from disk {np.median(faults):,.0f} times (median)"
        )
    queries = [*known, *unknown]
    pool = _alone(_READERS)
    for own, shared, before in pool.map(
        _memory, *zip(*[(place, collection, queries)] * _READERS, strict=True)
    ):
        click.echo(
            f"a reader after {len(queries)} look-ups: {own:.0f} MB of its own "
            f"(before it opened the index {before:.0f}), {shared:,.0f} MB mapped and shared"
        )
    grown = _alone().submit(_grow, place, collection, _ROUNDS, _GROWTH).result()
    click.echo(f"growth by {_GROWTH:,} tracks, {_ROUNDS} times: {_grown(grown)}")
    (place / _STOP).unlink(missing_ok=True)
    pool = _alone(_READERS)
    readers = [pool.submit(_read_on, place, collection, queries) for _ in range(_READERS)]
    time.sleep(1)
    grown = _alone().submit(_grow, place, collection, _ROUNDS, _GROWTH // 10).result()
    (place / _STOP).touch()
    click.echo(f"growth by {_GROWTH // 10:,} beside {_READERS} readers: {_grown(grown)}")
    for reader in readers:
        opened, asked, wrong = reader.result()
        click.echo(f"a reader beside it: opened {opened} times, asked {asked}, {wrong} wrong")


# -- tasks of a process ------------------------------------------------------------------------


def _build(place: Path, collection: Collection, tracks: int, note: str) -> Spent:
    making_s = 0.0
    begin = time.process_time(), time.perf_counter()
    with _peak() as peak:
        index = FingerprintIndex(place, store=collection)
        keys = [f"real {n}" for n in range(len(collection.references))]
        keys += [f"made {n}" for n in range(tracks)]
        for first in range(0, len(keys), _BATCH):
            start = time.process_time()
            batch = {key: collection.fingerprint(key) for key in keys[first : first + _BATCH]}
            making_s += time.process_time() - start
            for key, reference in batch.items():
                index.add(key, reference)
            index.save()
        index.save(note)
    return Spent(time.process_time() - begin[0] - making_s, time.perf_counter() - begin[1], *peak)


def _cold(
    place: Path, collection: Collection, queries: Sequence[Fingerprint]
) -> tuple[list[float], list[int]]:
    """Milliseconds of opening and one search, and reads from disk, the index not in memory."""
    spent, faults = [], []
    for query in queries:
        gc.collect()  # what is mapped cannot be dropped
        for path in place.rglob("*.npy"):
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
        begin, before = time.perf_counter(), getrusage(RUSAGE_SELF).ru_majflt
        FingerprintIndex(place, store=collection).search(query)
        spent.append((time.perf_counter() - begin) * 1e3)
        faults.append(getrusage(RUSAGE_SELF).ru_majflt - before)
    return spent, faults


def _memory(
    place: Path, collection: Collection, queries: Sequence[Fingerprint]
) -> tuple[float, float, float]:
    """MB of this process's own, of shared pages of the index, and its own before."""
    before = _megabytes("smaps_rollup", "Private_Dirty")
    index = FingerprintIndex(place, store=collection)
    for query in queries:
        index.search(query)
    return (
        _megabytes("smaps_rollup", "Private_Dirty"),
        _megabytes("status", "RssFile"),
        before,
    )


def _grow(
    place: Path, collection: Collection, rounds: int, count: int
) -> list[tuple[float, float]]:
    """Processor and wall seconds of each round: add, sort, write, merge."""
    index = FingerprintIndex(place, store=collection)
    first = len(index) - len(collection.references)
    spent = []
    for number in range(rounds):
        start = first + number * count
        keys = [f"made {n}" for n in range(start, start + count)]
        tracks = {key: collection.fingerprint(key) for key in keys}
        begin = time.process_time(), time.perf_counter()
        for key, track in tracks.items():
            index.add(key, track)
        index.save(index.note)
        spent.append((time.process_time() - begin[0], time.perf_counter() - begin[1]))
    missing = [key for key in tracks if key not in FingerprintIndex(place, store=collection)]
    if missing:
        raise click.ClickException(f"{len(missing)} tracks that were added are not there")
    return spent


def _read_on(
    place: Path, collection: Collection, queries: Sequence[Fingerprint]
) -> tuple[int, int, int]:
    """Open and ask until told to stop: openings, questions, answers unlike the first."""
    right: dict[int, object] = {}
    opened = asked = wrong = 0
    while not (place / _STOP).exists():
        index = FingerprintIndex(place, store=collection)
        opened += 1
        for number in range(asked, asked + 10):
            found = index.search(queries[number % len(queries)])
            wrong += found != right.setdefault(number % len(queries), found)
        asked += 10
    return opened, asked, wrong


# -- measuring ---------------------------------------------------------------------------------


def _alone(count: int = 1) -> ProcessPoolExecutor:
    """New processes, one for each task."""
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), max_tasks_per_child=1)


@contextmanager
def _peak() -> Iterator[list[float]]:
    """Samples memory, and gives the most in MB in the end: of the process's own, and with files."""
    most: list[float] = [0.0, 0.0]
    done = threading.Event()

    def sample() -> None:
        while not done.wait(_SAMPLE_S):
            most[0] = max(most[0], _megabytes("status", "RssAnon"))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()
        most[1] = _megabytes("status", "VmHWM")


def _megabytes(file: str, name: str) -> float:
    lines = Path(f"/proc/self/{file}").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1e3


def _percentiles(spent: Sequence[float]) -> str:
    return (
        f"median {np.median(spent):.1f} ms, 95 % {np.percentile(spent, 95):.1f}, "
        f"largest {max(spent):.1f}, n = {len(spent)}"
    )


def _grown(spent: Sequence[tuple[float, float]]) -> str:
    processor, wall = zip(*spent, strict=True)
    return (
        f"processor time median {np.median(processor):.2f} s, largest {max(processor):.2f}; "
        f"wall median {np.median(wall):.2f} s, largest {max(wall):.2f}"
    )
