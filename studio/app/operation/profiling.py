"""Measure the share of sealing, signing and logging in one generation's time.

Run as ``python -m studio.app.operation.profiling --seconds 10 --repeats 5``: the configured model
makes music in a throw-away home, warm, and each stage of the pipeline is timed by its own progress
reports.

>>> shares(Timing({"generate": 3.0, "seal": 0.06, "sign": 0.01, "release": 0.03, "read-back": 0.2}))
{'seal, sign, log': 0.030303030303030304, 'the same and reading back': 0.09090909090909091}
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.generation.progress import Progress

__all__ = ["Timing", "measure", "shares"]

_PROVENANCE = ("reserve", "seal", "sign", "release")
_TAGS = ("genre/bossa-nova", "mood/calm", "lead/flute", "tempo/medium")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds by stage of one generation."""

    stages: Mapping[str, float]

    @property
    def total_s(self) -> float:
        return sum(self.stages.values())


class _Watch:
    """Progress reports in, seconds by stage out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = defaultdict(float)
        self._stage: str | None = None
        self._since = 0.0

    def __call__(self, progress: Progress) -> None:
        now = self._clock()
        if self._stage is not None:
            self.seconds[self._stage] += now - self._since
        self._stage, self._since = str(progress.stage), now


def measure(
    session: Session,
    *,
    seconds: float,
    seed: int,
    format: str = "wav",
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """One generation, timed."""
    watch = _Watch(clock)
    making = session.generation
    making.create(
        making.request(_TAGS, duration_s=seconds, seed=seed, format=format), progress=watch
    )
    return Timing(dict(watch.seconds))


def shares(timing: Timing) -> dict[str, float]:
    """Provenance's share of the time, without and with reading the finished file back."""
    provenance = sum(timing.stages.get(stage, 0.0) for stage in _PROVENANCE)
    return {
        "seal, sign, log": provenance / timing.total_s,
        "the same and reading back": (provenance + timing.stages.get("read-back", 0.0))
        / timing.total_s,
    }


@click.command(help=__doc__)
@click.option("--seconds", type=float, default=10.0, show_default=True, help="Of music.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--format", default="wav", show_default=True)
@click.option("--cpu", is_flag=True, help="Processor time, which a busy machine does not stretch.")
def main(seconds: float, repeats: int, format: str, cpu: bool) -> None:
    from studio.app.session import open_studio
    from studio.core.paths import StudioPaths, resolve_paths

    with tempfile.TemporaryDirectory() as home:
        paths = StudioPaths(home=Path(home), configs=resolve_paths().configs)
        with open_studio(paths=paths) as session:
            session.generation.recover()
            measure(session, seconds=seconds, seed=0, format=format)  # loads models and libraries
            clock = time.process_time if cpu else time.perf_counter
            timings = [
                measure(session, seconds=seconds, seed=seed, format=format, clock=clock)
                for seed in range(1, repeats + 1)
            ]
            stored = session.outputs.manifest(session.outputs.recent(1)[0].output_id)
    for stage in timings[0].stages:
        values = [timing.stages.get(stage, 0.0) for timing in timings]
        click.echo(f"{stage:10} {statistics.median(values) * 1000:9.1f} ms")
    click.echo(f"{'whole':10} {statistics.median(t.total_s for t in timings) * 1000:9.1f} ms")
    for name in shares(timings[0]):
        values = [shares(timing)[name] for timing in timings]
        click.echo(
            f"{name}: median {statistics.median(values):.1%} of the time, worst {max(values):.1%} "
            f"({repeats} generations of {seconds:g} s, {format})"
        )
    click.echo(f"manifest: {len(stored)} bytes")


if __name__ == "__main__":
    main()
