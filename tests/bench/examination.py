"""How many times real time files are examined and watermarked, stage by stage, and by scans.

``python -m tests.bench.examination --audio DIR [--clips 8] [--seconds 60] [--registered 1000]
[--repeats 5] [--only PART ...]``, with ``OMP_NUM_THREADS=1``. Parts:

* ``examine``: unsealed WAV files at 44.1 kHz, stereo and mono, with a registry of so many seals.
* ``embed``: the same music watermarked, as samples in memory.
* ``mixed``: a third MP3 at 192 kbit/s, a third FLAC, a third AAC at 160 kbit/s, each decoded in a
  confined child process as a scan does it: seconds of audio per core-second, children counted.
* ``scan``: the mixed files by one and by two worker processes: the efficiency is the rate of two
  over twice that of one. By wall time, which a busy machine disturbs, and by processor time per
  file, which shows what two cost each other alone.

Times are processor time but the scan's, each the least of the repeats.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

RATE = 44_100
WANTED = {"examine stereo": 150.0, "examine mono": 300.0, "embed stereo": 300.0, "scan": 0.9}
PARTS = ("examine", "embed", "mixed", "scan")
FORMATS: tuple[tuple[str, int | None], ...] = (("mp3", 192_000), ("flac", None), ("m4a", 160_000))


class Clock:
    """Processor time by stage; a stage within another is taken off the outer one."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._running: list[str] = ["other"]
        self._since = time.process_time()

    def _switch(self) -> None:
        now = time.process_time()
        self.spent[self._running[-1]] += now - self._since  # type: ignore[assignment]
        self._since = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What runs inside counts as this stage."""
        self._switch()
        self._running.append(name)
        try:
            yield
        finally:
            self._switch()
            self._running.pop()

    def calls(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.stage(name):
                return function(*arguments, **named)

        return timed

    def steps(self, name: str, function: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
        """A generator, each of its steps timed."""

        def timed(*arguments: Any, **named: Any) -> Iterator[Any]:
            steps = iter(function(*arguments, **named))
            while True:
                with self.stage(name):
                    try:
                        step = next(steps)
                    except StopIteration:
                        return
                yield step

        return timed


@contextmanager
def stages(model: Any) -> Iterator[Clock]:
    """A clock that the detector's stages run by."""
    from watermark.audio import waveform
    from watermark.audio.dsp import Resampler
    from watermark.detection import attribution, detect, readout

    clock = Clock()
    kind = type(model)
    watched: list[tuple[Any, str, str]] = [
        (Resampler, "push", "resample"),
        (Resampler, "finish", "resample"),
        (kind, "read", "network"),
        (kind, "read_coarse", "network"),
        (readout, "best_path", "alignment"),
        (detect, "attribute", "scrambles"),
        (attribution, "identify", "search"),
    ]
    patches = [patch.object(o, n, clock.calls(s, getattr(o, n))) for o, n, s in watched]
    decoded = clock.steps("decode", waveform.stream)
    patches.append(patch.object(detect, "stream", decoded))
    for one in patches:
        one.start()
    try:
        yield clock
    finally:
        for one in patches:
            one.stop()


def by_stage(work: Callable[[], None], model: Any, repeats: int) -> tuple[float, Counter[str]]:
    """Processor seconds of the quickest repeat, whole and by stage."""
    found = []
    for _ in range(repeats):
        with stages(model) as clock:
            begin = time.process_time()
            with clock.stage("other"):
                work()
            found.append((time.process_time() - begin, clock.spent))
    return min(found, key=lambda one: one[0])


def least(work: Callable[[], None], repeats: int) -> float:
    """Processor seconds of the quickest repeat, children's included."""
    found = []
    for _ in range(repeats):
        begin = _all_time()
        work()
        found.append(_all_time() - begin)
    return min(found)


def _all_time() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def registry(seals: int, seconds: float, scrambled: bool = True) -> Any:
    """Seals of one epoch that no file carries."""
    import numpy as np

    from watermark.coding.codebook import Codebook, CodebookEntry
    from watermark.coding.message import SealId, SealKey

    rng = np.random.default_rng(0)
    key = SealKey(1, rng.bytes(32))
    ids = [SealId(rng.bytes(8)) for _ in range(seals)]
    return Codebook(CodebookEntry(each, key, seconds, scrambled) for each in ids)


def say(name: str, figure: float, unit: str = " times real time", more: str = "") -> None:
    """A line, and whether it is what is wanted."""
    wanted = WANTED.get(name)
    verdict = (
        ""
        if wanted is None
        else f" (wanted {wanted:g}: {'met' if figure >= wanted else 'NOT met'})"
    )
    print(f"{name}: {figure:.4g}{unit}{verdict}{more}", flush=True)


def examine(clips: Sequence[Any], model: Any, book: Any, folder: Path, repeats: int) -> None:
    """Unsealed WAV files, stereo and mono."""
    from watermark.audio.waveform import write
    from watermark.detection.detect import detect

    for kind, some in (("stereo", clips), ("mono", [clip.mono() for clip in clips])):
        paths = []
        for number, clip in enumerate(some):
            paths.append(folder / f"{kind}-{number}.wav")
            write(paths[-1], clip)
        detect(paths[0], model=model, codebook=book)

        def work(paths: list[Path] = paths) -> None:
            for path in paths:
                detect(path, model=model, codebook=book)

        whole, spent = by_stage(work, model, repeats)
        seconds = sum(clip.duration_s for clip in some)
        parts = ", ".join(f"{n} {t / seconds * 1e3:.2f}" for n, t in spent.most_common())
        say(f"examine {kind}", seconds / whole, more=f"; ms a second of music: {parts}")


def embed_all(clips: Sequence[Any], model: Any, repeats: int) -> None:
    """The music watermarked in memory."""
    from watermark.coding.message import SealId, SealKey
    from watermark.embedding.embed import embed

    key, seal_id = SealKey(1, bytes(32)), SealId(bytes(8))
    for kind, some in (("stereo", clips), ("mono", [clip.mono() for clip in clips])):

        def work(some: Sequence[Any] = some) -> None:
            for clip in some:
                embed(clip, seal_id, key, model=model)

        work()
        say(f"embed {kind}", sum(clip.duration_s for clip in some) / least(work, repeats))


def mixed_files(clips: Sequence[Any], folder: Path) -> list[Path]:
    """The clips by turns as MP3, FLAC and AAC."""
    from watermark.audio.waveform import write

    paths = []
    for number, clip in enumerate(clips):
        format, bitrate = FORMATS[number % len(FORMATS)]
        paths.append(folder / f"mixed-{number}.{format}")
        write(paths[-1], clip, bitrate=bitrate)
    return paths


def mixed(clips: Sequence[Any], paths: list[Path], model: Any, book: Any, repeats: int) -> None:
    """Seconds of audio per core-second, by format and together."""
    from watermark.audio.waveform import CHILD_LIMITS
    from watermark.detection.detect import detect

    audio = spent = 0.0
    for format, _ in FORMATS:
        chosen = [i for i, path in enumerate(paths) if path.suffix == f".{format}"]

        def work(chosen: list[int] = chosen) -> None:
            for i in chosen:
                detect(paths[i], model=model, codebook=book, limits=CHILD_LIMITS)

        seconds, took = sum(clips[i].duration_s for i in chosen), least(work, repeats)
        say(f"mixed, {format}", seconds / took, " seconds of audio per core-second")
        audio, spent = audio + seconds, spent + took
    say("mixed, together", audio / spent, " seconds of audio per core-second")


def worker(seals: int, seconds: float) -> Callable[[str, Any], float]:
    """What a process of the scan does: loads, and returns the work."""
    from watermark.audio.waveform import CHILD_LIMITS
    from watermark.detection.detect import detect
    from watermark.models.loading import load_seal_model

    model, book = load_seal_model(), registry(seals, seconds)

    def work(path: str, _report: Any) -> float:
        begin = _all_time()
        detect(path, model=model, codebook=book, limits=CHILD_LIMITS)
        return _all_time() - begin

    return work


def scan(paths: list[Path], seals: int, seconds: float, repeats: int) -> None:
    """One and two processes by turns."""
    from watermark.batch.pool import Failure, in_order

    times: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _ in range(repeats):
        for jobs, found in times.items():
            answers = in_order(
                map(str, [*paths[:jobs], *paths, *paths]),
                partial(worker, seals, seconds),
                jobs=jobs,
            )
            for _ in range(jobs):  # loaded, and one file done by each
                next(answers)
            begin = time.perf_counter()
            spent = []
            for path, answer in answers:
                if isinstance(answer, Failure):
                    sys.exit(f"{path}: {answer.why}")
                spent.append(answer)
            found.append((time.perf_counter() - begin, sum(spent) / len(spent)))
    wall, each = ({jobs: min(t[i] for t in found) for jobs, found in times.items()} for i in (0, 1))
    say("scan", wall[1] / wall[2] / 2, " of twice the rate with two processes")
    say("scan, processor time of a file with one process over that with two", each[1] / each[2], "")


def main() -> None:
    """Print a line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audio", required=True)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--registered", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()

    import torch

    from watermark.evaluation.clips import load_clips
    from watermark.models.loading import load_seal_model

    torch.set_num_threads(1)
    music, left_out = load_clips(options.audio, count=options.clips, seconds=options.seconds)
    clips = [clip.waveform.resample(RATE) for clip in music]
    clips = [clip for clip in clips if clip.channels == 2]
    print(
        f"{len(clips)} clips of {options.seconds:g} s ({len(left_out)} files left out), "
        f"{options.registered} seals, least of {options.repeats}"
    )
    model, book = load_seal_model(), registry(options.registered, options.seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "examine" in options.only:
            examine(clips, model, book, folder, options.repeats)
        if "embed" in options.only:
            embed_all(clips, model, options.repeats)
        if {"mixed", "scan"} & set(options.only):
            paths = mixed_files(clips, folder)
            if "mixed" in options.only:
                mixed(clips, paths, model, book, options.repeats)
            if "scan" in options.only:
                scan(paths, options.registered, options.seconds, options.repeats)


if __name__ == "__main__":
    main()
