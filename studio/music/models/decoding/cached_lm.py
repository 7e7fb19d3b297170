"""Decode tokens from audiocraft's `LMModel` weights, cached and cancellable.

audiocraft's own `LMModel.generate` recomputes the keys and values of cross-attention at every step
(modules/transformer.py:355), grows its self-attention cache by copying it (:276), samples from the
process's random numbers (utils/utils.py:104), and lets the padding of a batch mate's text join the
softmax (modules/conditioners.py:1386). :class:`CachedLM` stands where MusicGen expects an `LMModel`
and runs the same weights without these: a static key and value cache, cross-attention computed
once, a `torch.Generator` and a text length per request. For one request it gives audiocraft's own
tokens (tests/unit/music/test_decoding.py holds both to it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from studio.core.errors import ModelError
from studio.music.models.decoding.network import Network, check_supported
from studio.music.models.decoding.run import Run
from studio.music.models.decoding.sampling import Sampling
from studio.music.models.decoding.together import UNKNOWN, Decoder, Generation

if TYPE_CHECKING:
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.conditioners import ConditioningAttributes

__all__ = ["CachedLM"]


_FRAMES_HEARD = 50


class CachedLM(nn.Module):
    """An `LMModel`'s weights behind MusicGen's interface, decoded by the loop of this module.

    Call :meth:`begin` before each of MusicGen's generations: its windows beyond the model's
    duration go on drawing from the same random generators.

    Raises :class:`ModelError` for an architecture the loop does not cover (post-norm, a limited
    past context, shared key heads, conditions other than cross and prepend).
    """

    def __init__(self, lm: LMModel, decoder: Decoder | None = None) -> None:
        super().__init__()
        check_supported(lm)
        self.lm = lm
        self.decoder = Decoder(Network(lm)) if decoder is None else decoder
        self.network = self.decoder.network
        self.generators: Sequence[torch.Generator] = ()
        self.on_frames: Callable[[Tensor], None] | None = None
        """Called with the tokens (requests, codebooks, frames) of further frames as they are
        complete, about a second at a time; not with those of a prompt."""
        provider: Any = lm.pattern_provider
        simple = [getattr(provider, name, 1) for name in ("flatten_first", "empty_initial")]
        self._delays: list[int] | None = None if any(simple) else list(provider.delays)
        if hasattr(lm, "cfg"):
            self.cfg = lm.cfg  # MusicGen reads max_duration and the stereo layout from it

    @property
    def condition_provider(self) -> nn.Module:
        provider: nn.Module = self.lm.condition_provider
        return provider

    def begin(self, generators: Sequence[torch.Generator]) -> None:
        """The random generators of the next generation, one per request."""
        self.generators = generators

    @torch.inference_mode()
    def generate(
        self,
        prompt: Tensor | None = None,
        conditions: Sequence[ConditioningAttributes] = (),
        *,
        max_gen_len: int,
        use_sampling: bool = True,
        temp: float = 1.0,
        top_k: int = 250,
        cfg_coef: float | None = None,
        callback: Callable[[int, int], None] | None = None,
        **ignored: Any,
    ) -> Tensor:
        """Tokens (requests, codebooks, max_gen_len), those of `prompt` first.

        `callback` gets the steps done and the steps to do after each; what it raises ends the
        generation at once. MusicGen's `top_p` and `two_step_cfg` must be off.
        """
        if any(ignored.values()):
            raise ModelError(f"not supported by this decoder: {ignored}")
        how = Sampling(
            temperature=temp if use_sampling else 0.0,
            top_k=top_k,
            guidance=self.lm.cfg_coef if cfg_coef is None else cfg_coef,
        )
        device = self.network.embeddings.device
        count = len(conditions)
        generators = list(self.generators) or [torch.Generator().manual_seed(0)] * count
        if count == 0 or len(generators) != count:
            raise ModelError(f"{count} conditions for {len(generators)} random generators")

        pattern = self.lm.pattern_provider.get_pattern(max_gen_len)
        codes = torch.full((count, self.lm.n_q, max_gen_len), UNKNOWN, device=device)
        start = 0
        if prompt is not None:
            start = prompt.shape[-1]
            codes[..., :start] = prompt
        # The delay pattern: sequence (requests, codebooks, steps), mask (codebooks, steps).
        sequence, _, mask = pattern.build_pattern_sequence(codes, self.lm.special_token_id)
        first = pattern.get_first_step_with_timesteps(start)
        if first is None:
            raise ModelError(f"the prompt ({start} frames) leaves nothing to generate")
        run = Run(self.network, conditions, guided=how.guidance != 1.0, steps=sequence.shape[-1])
        generation = Generation(run, sequence, mask, first, generators, how)
        told, heard = 0, start

        def on_step() -> None:
            nonlocal told, heard
            if callback is not None and generation.done != told:
                told = generation.done
                callback(told, generation.steps)
            if self.on_frames is not None and self._delays is not None:
                ready = generation.frames(self._delays)
                if ready - heard >= _FRAMES_HEARD:
                    self.on_frames(generation.codes(self._delays, heard, ready))
                    heard = ready

        self.decoder.decode(generation, on_step)
        out, _, _ = pattern.revert_pattern_sequence(sequence, special_token=UNKNOWN)
        tokens: Tensor = out[..., :max_gen_len]
        if self.on_frames is not None and heard < max_gen_len:
            self.on_frames(tokens[..., heard:])
        return tokens
