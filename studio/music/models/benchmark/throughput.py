"""Several requests in the same steps against one after another, by our decoder."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from studio.music.models.config import UsedPrecision
from studio.music.models.decoding.precision import prepare
from studio.music.models.decoding.run import Run
from studio.music.models.decoding.sampling import Sampling
from studio.music.models.decoding.together import Decoder, Generation

__all__ = ["Together", "time_together"]


@dataclass(frozen=True, slots=True)
class Together:
    """A step of `count` requests, and as many of one each, after `context` steps; milliseconds.

    `rows_apart` says whether the kernel lets requests share a step at all.
    """

    name: str
    count: int
    context: int
    together_ms: float
    alone_ms: float
    rows_apart: bool

    @property
    def ratio(self) -> float:
        """How many times as much music the requests make together."""
        return self.alone_ms / self.together_ms


@torch.inference_mode()
def time_together(
    lm: Any,
    condition: Any,
    *,
    names: Sequence[UsedPrecision],
    contexts: Sequence[int],
    count: int,
    repeats: int,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Together, ...]:
    """Time steps of `count` guided requests, together and in turn, the least of `repeats`.

    Caches hold random values. The time is the processor's on one thread.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    found: list[Together] = []
    how = Sampling(top_k=min(250, lm.card))
    longest = max(contexts) + 2 * (repeats + 1) + lm.n_q
    for name in names:
        say(f"{count} requests at a time in {name}")
        network = prepare(lm, name).network
        decoder = Decoder(network, count)
        runs = [Run(network, [condition], guided=True, steps=longest) for _ in range(count)]
        for run in runs:
            for cache in (*run.keys, *run.values):
                cache.normal_()
        for context in contexts:
            together = alone = math.inf
            for repeat in range(repeats + 1):  # the first warms up
                for groups in ([runs], [[run] for run in runs]):
                    generations = [[_generation(run, context, how) for run in g] for g in groups]
                    started = clock()
                    for group in generations:
                        decoder.step(group)
                    spent = clock() - started
                    if repeat and len(groups) == 1:
                        together = min(together, spent)
                    elif repeat:
                        alone = min(alone, spent)
            found.append(
                Together(
                    name, count, context, together * 1e3, alone * 1e3, network.keeps_rows_apart
                )
            )
    return tuple(found)


def _generation(run: Run, context: int, how: Sampling) -> Generation:
    """A request with so many steps behind it, about to draw the next."""
    run.position = context
    sequence = torch.zeros(1, run.lm.n_q, 2, dtype=torch.int64)
    sequence[..., 1] = -1
    mask = torch.ones(run.lm.n_q, 2, dtype=torch.bool)
    return Generation(run, sequence, mask, 1, [torch.Generator().manual_seed(0)], how)
