"""The benchmark in several processes, one attack on one clip at a time.

:mod:`watermark.batch.pool` gives out the work, so that all processes are busy to the end. The
randomness is seeded by the attack's place in the list and the clip's, so the result does not depend
on how many processes there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from watermark.audio.waveform import Waveform
from watermark.batch.pool import Failure, Report, in_order
from watermark.coding.message import SealId, SealKey
from watermark.errors import WatermarkError
from watermark.evaluation.adversarial import ReadResult
from watermark.evaluation.bench import AttackResult, Bench, ClipOutcome, tally
from watermark.evaluation.clips import Clip
from watermark.evaluation.distortions import AttackSpec
from watermark.models.base import SealModel, SealModelConfig
from watermark.models.loading import load_seal_model

__all__ = ["BenchSetting", "attack_all"]


@dataclass(frozen=True, slots=True)
class BenchSetting:
    """What a process needs to make the bench's sealed clips.

    Attributes:
        clips: the music.
        model: of the pair that seals and reads.
        key: of the ids sealed and of the decoys.
        decoys: registered seals beside those of the clips.
        seed: of the ids and the attacks.
        strength: of the mark; None for the model's own.
        speed_search: read with it.
    """

    clips: Sequence[Clip]
    model: str | SealModelConfig
    key: SealKey
    decoys: int
    seed: int
    strength: float | None = None
    speed_search: bool = False

    def start(self) -> Bench:
        """The bench of a process of its own: one thread, its own weights."""
        import torch

        torch.set_num_threads(1)
        return self.bench()

    def bench(self, model: SealModel | None = None) -> Bench:
        """The sealed clips; ``model`` where it is loaded already."""
        from watermark.coding.codebook import Codebook
        from watermark.detection.detect import Detection, detect
        from watermark.embedding.embed import embed

        networks = model or load_seal_model(self.model)

        def seal(waveform: Waveform, seal_id: SealId) -> Waveform:
            return embed(waveform, seal_id, self.key, model=networks, strength=self.strength)

        def read(waveform: Waveform, codebook: Codebook) -> Detection:
            return detect(
                waveform, model=networks, codebook=codebook, speed_search=self.speed_search
            )

        read_: Callable[[Waveform, Codebook], ReadResult] = read
        return Bench(
            self.clips, seal=seal, read=read_, key=self.key, decoys=self.decoys, seed=self.seed
        )


class _Unit(NamedTuple):
    """One unit of work: one attack, by its place in the list, on one clip."""

    number: int
    spec: AttackSpec
    clip: int


def attack_all(
    start: Callable[[], Bench],
    specs: Sequence[AttackSpec],
    clips: Sequence[str],
    *,
    jobs: int,
    progress: Callable[[str], None],
) -> list[AttackResult]:
    """Every attack on all clips; results in the order of ``specs``.

    Args:
        start: makes the bench, once in every process; picklable where there are ``jobs``.
        specs: the attacks.
        clips: names of the bench's clips, in its order.
        jobs: worker processes; 0 works in this one.
        progress: called after each attack with counts, seconds and its name.

    Raises:
        BenchError: an attack that cannot be run (:meth:`AttackSpec.check`).
        CarrierError: a clip cannot be sealed.
    """
    for spec in specs:
        spec.check()
    units = [_Unit(n, spec, i) for n, spec in enumerate(specs) for i in range(len(clips))]
    began = time.monotonic()
    results: list[AttackResult] = []
    outcomes: list[ClipOutcome] = []
    with closing(in_order(units, partial(_work, start), jobs=jobs)) as answers:
        for unit, answer in answers:
            if isinstance(answer, WatermarkError):
                raise answer
            if isinstance(answer, Failure):
                answer = ClipOutcome(error=f"{clips[unit.clip]}: {answer.why}")  # noqa: PLW2901
            outcomes.append(answer)
            if len(outcomes) == len(clips):
                results.append(tally(unit.spec, outcomes))
                outcomes = []
                done = f"{len(results)} of {len(specs)} attacks"
                progress(f"{done}, {time.monotonic() - began:.0f} s: {unit.spec.name}")
    return results


def _work(
    start: Callable[[], Bench],
) -> Callable[[_Unit, Report], ClipOutcome | WatermarkError]:
    bench = start()

    def work(unit: _Unit, _report: Report) -> ClipOutcome | WatermarkError:
        try:
            return bench.one(unit.number, unit.spec, unit.clip)
        except WatermarkError as exc:  # its text would be lost if it left the process as an error
            return exc

    return work
