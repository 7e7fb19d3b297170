"""The bench in several processes: each makes its own sealed clips and attacks them.

Attacks are handed out one by one. Their randomness is seeded by their place in the list, so the
result does not depend on how many processes there are.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from watermark.attacks import AttackSpec
from watermark.audio import Waveform
from watermark.bench import AttackResult, Bench
from watermark.clips import Clip
from watermark.message import SealId, SealKey
from watermark.models import SealModel, SealModelConfig, load_seal_model
from watermark.threats import Reading

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
    """

    clips: Sequence[Clip]
    model: str | SealModelConfig
    key: SealKey
    decoys: int
    seed: int
    strength: float | None = None

    def bench(self, model: SealModel | None = None) -> Bench:
        """The sealed clips; ``model`` where it is loaded already."""
        from watermark.codebook import Codebook
        from watermark.detect import Detection, detect
        from watermark.embed import embed

        networks = model or load_seal_model(self.model)

        def seal(waveform: Waveform, seal_id: SealId) -> Waveform:
            return embed(waveform, seal_id, self.key, model=networks, strength=self.strength)

        def read(waveform: Waveform, codebook: Codebook) -> Detection:
            return detect(waveform, model=networks, codebook=codebook)

        read_: Callable[[Waveform, Codebook], Reading] = read
        return Bench(
            self.clips, seal=seal, read=read_, key=self.key, decoys=self.decoys, seed=self.seed
        )


_bench: Bench  # of this process


def _start(setting: BenchSetting) -> None:
    import torch

    global _bench  # noqa: PLW0603  # a pool's initialiser has no other way to its tasks
    torch.set_num_threads(1)
    _bench = setting.bench()


def _attack(number: int, spec: AttackSpec) -> AttackResult:
    return _bench.attack(number, spec)


def attack_all(
    setting: BenchSetting,
    specs: Sequence[AttackSpec],
    *,
    jobs: int,
    progress: Callable[[str], None],
) -> list[AttackResult]:
    """Every attack on all clips, in ``jobs`` processes; results in the order of ``specs``.

    Raises:
        CarrierError: a clip cannot be sealed.
    """
    # Spawned: torch must not be forked once it has run.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start, (setting,)) as pool:
        try:
            futures = {pool.submit(_attack, n, spec): n for n, spec in enumerate(specs)}
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                progress(f"{done} of {len(specs)}: {specs[futures[future]].name}")
        except BaseException:  # Ctrl-C among them: what has not begun never begins
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]
