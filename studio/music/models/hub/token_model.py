"""A hub model: MusicGen over its checkpoint.

`audiocraft.models.MusicGen` conditions, continues and decodes windows beyond the model's own
duration; the tokens come from :mod:`studio.music.models.decoding`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from studio.core.errors import GenerationCancelledError, ModelError, UsageError
from studio.music.models.config import ModelConfig, UsedPrecision
from studio.music.models.hub.checkpoint import Checkpoint
from studio.music.models.torch_threads import torch_threads
from watermark.audio.waveform import Waveform

if TYPE_CHECKING:
    from studio.music.models.decoding import CachedLM

__all__ = ["NO_SOUND", "OnWindow", "Progress", "TokenModel"]

Progress = Callable[[float, float], None]
"""Called with (seconds of music done, seconds to do)."""

OnWindow = Callable[[Waveform], None]
"""Called with a window of music."""

NO_SOUND = "the model produced no sound (NaN or infinite); its weights are damaged"

_PEAK = 0.98
"""Louder music is turned down to this: encoders and the seal need headroom."""

_JOIN_S = 0.02
"""Cross-fade between a continued recording and what is added to it, seconds."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """What makes one request's music."""

    lm: CachedLM
    musicgen: Any


class TokenModel:
    """A hub model's codec and language model; threads share its decoding steps."""

    def __init__(self, checkpoint: Checkpoint, config: ModelConfig) -> None:
        from studio.music.models.decoding.precision import prepare
        from studio.music.models.decoding.together import Decoder, places_for

        _place(checkpoint, config)
        decoding = prepare(checkpoint.lm, config.precision, release=True)
        self.precision: UsedPrecision = decoding.precision
        self._checkpoint, self._id = checkpoint, config.id
        self.codec: Any = checkpoint.codec
        frames = int(checkpoint.max_duration_s * float(self.codec.frame_rate))
        self.decoder = Decoder(decoding.network, places_for(decoding.network, frames))
        one = self._piece()
        self.rate: int = one.musicgen.sample_rate
        self.channels: int = one.musicgen.audio_channels
        self.frame_rate = float(one.musicgen.frame_rate)
        self.window = int(checkpoint.max_duration_s * self.frame_rate)  # frames
        self.stride = self.window - max(1, int(self.window * config.extend_keep))

    def _piece(self) -> _Piece:
        """MusicGen for one request: it remembers the request's settings."""
        from audiocraft.models.musicgen import MusicGen

        from studio.music.models.decoding import CachedLM

        lm = CachedLM(self._checkpoint.lm, self.decoder)
        # MusicGen's constructor checks a stride of 18 s against the duration; the real one follows.
        language_model: Any = lm  # stands in for an LMModel
        musicgen: Any = MusicGen(self._id, self.codec, language_model, 30.0)
        musicgen.max_duration = self._checkpoint.max_duration_s
        return _Piece(lm, musicgen)

    def generate(
        self,
        text: str,
        *,
        duration_s: float,
        seed: int,
        guidance: float,
        temperature: float,
        top_k: int,
        prompt: Waveform | None,
        progress: Progress,
        cancel: threading.Event,
        threads: int | None,
        on_window: OnWindow | None = None,
    ) -> NDArray[np.float32]:
        """Samples (channels, duration_s * rate), `prompt` at their beginning.

        `on_window` hears them as they are made, or at the end where there is a prompt.
        """
        import torch

        length = round(duration_s * self.rate)
        head = None if prompt is None else self._adapted(prompt)
        head_length = 0 if head is None else head.shape[-1]
        hop = self.rate / self.frame_rate
        new = math.ceil((length - head_length) / hop)  # frames to generate
        context = 0
        if head is not None:
            context = min(int(head_length / hop), self.window - min(new, self.stride))
            if context < 1:
                raise UsageError("the recording to continue is shorter than one codec frame")

        def check() -> None:
            if cancel.is_set():
                raise GenerationCancelledError("cancelled; nothing was kept")

        piece = self._piece()
        piece.lm.begin([torch.Generator().manual_seed(seed)])
        self._set_parameters(piece.musicgen, context + new, guidance, temperature, top_k)
        context_s = context / self.frame_rate
        steps = 0

        def on_step(_done: int, _total: int) -> None:
            nonlocal steps
            steps += 1
            check()
            done_s = context_s + min(steps, context + new) / self.frame_rate
            progress(min(done_s, duration_s), duration_s)

        piece.musicgen.set_custom_progress_callback(on_step)
        heard = None
        if on_window is not None and head is None:
            heard = _Heard(piece.musicgen.compression_model, self.rate, length, on_window)
            piece.lm.on_frames = heard.take
        with self.decoder.place(check), torch_threads(threads):
            if head is None:
                audio = piece.musicgen.generate([text], progress=True)
            else:
                known = torch.from_numpy(head[:, head_length - round(context * hop) :].copy())
                audio = piece.musicgen.generate_continuation(
                    known[None], self.rate, [text], progress=True
                )
        made = _within_peak(audio[0].float().cpu().numpy())
        if head is not None:
            made = _joined(head, made, round(context * hop), round(_JOIN_S * self.rate))
        made = _of_length(made, length)
        if heard is not None:
            heard.end()
        elif on_window is not None:
            on_window(Waveform(made, self.rate))
        return made

    def _set_parameters(
        self, musicgen: Any, frames: int, guidance: float, temperature: float, top_k: int
    ) -> None:
        # A thousandth of a frame more, for MusicGen truncates duration * frame_rate.
        duration = (frames + 1e-3) / self.frame_rate
        if frames <= self.window:
            duration = min(duration, musicgen.max_duration)
        musicgen.set_generation_params(
            use_sampling=temperature > 0,
            temperature=temperature,
            top_k=top_k,
            duration=duration,
            cfg_coef=guidance,
            extend_stride=(self.stride + 1e-3) / self.frame_rate,
        )

    def _adapted(self, prompt: Waveform) -> NDArray[np.float32]:
        """The recording to continue at the model's rate and channels."""
        sound = prompt.mono() if self.channels == 1 else prompt
        samples = sound.resample(self.rate).samples
        if samples.shape[0] != self.channels:
            samples = np.broadcast_to(samples[:1], (self.channels, samples.shape[1]))
        return np.ascontiguousarray(samples, np.float32)


class _Heard:
    """Hands a piece on, second by second, while its tokens are drawn."""

    def __init__(self, codec: Any, rate: int, length: int, on_window: OnWindow) -> None:
        from studio.music.models.hub.chunk_decoder import ChunkDecoder

        self._decoder, self._on_window = ChunkDecoder(codec), on_window
        self._rate, self._left = rate, length
        self._codebooks = codec.num_codebooks
        self._device = next(codec.parameters()).device

    def take(self, codes: Any, *, last: bool = False) -> None:
        """Tokens (1, codebooks, frames) of the next frames."""
        sound = self._decoder.push(codes, last=last)[:, : self._left]
        self._left -= sound.shape[-1]
        if sound.shape[-1]:
            samples = np.clip(sound.float().cpu().numpy(), -_PEAK, _PEAK)
            self._on_window(Waveform(np.ascontiguousarray(samples), self._rate))

    def end(self) -> None:
        """There are no more tokens."""
        import torch

        nothing = torch.zeros(1, self._codebooks, 0, dtype=torch.long, device=self._device)
        self.take(nothing, last=True)


def _place(checkpoint: Checkpoint, config: ModelConfig) -> None:
    """Move codec, language model and its text encoder to where `config` says."""
    if config.device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise ModelError(
            f"model {config.id!r} is configured for a GPU (device: cuda), and torch finds none "
            "that it can use; take the line out, or install a torch built for CUDA"
        )
    lm: Any = checkpoint.lm
    checkpoint.codec.to(config.device)
    lm.to(config.device)
    provider = lm.condition_provider
    provider.device = config.device
    for conditioner in provider.conditioners.values():
        conditioner.device = config.device
        if (
            encoder := conditioner.__dict__.get("t5")
        ) is not None:  # no submodule, see T5Conditioner
            encoder.to(config.device)


def _joined(
    head: NDArray[np.float32], made: NDArray[np.float32], context: int, fade: int
) -> NDArray[np.float32]:
    """`head`, then what `made` adds after its first `context` samples, cross-faded over `fade`."""
    fade = min(fade, context, head.shape[-1])
    weight = np.linspace(0, 1, fade, dtype=np.float32)
    seam = (
        head[:, head.shape[-1] - fade :] * (1 - weight) + made[:, context - fade : context] * weight
    )
    return np.concatenate([head[:, : head.shape[-1] - fade], seam, made[:, context:]], axis=1)


def _of_length(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    missing = length - samples.shape[-1]
    return np.pad(samples[:, :length], ((0, 0), (0, max(0, missing)))).astype(
        np.float32, copy=False
    )


def _within_peak(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turned down to the peak allowed. Raises :class:`ModelError` for samples that are no sound."""
    peak = float(np.abs(samples).max(initial=0.0))
    if not math.isfinite(peak):
        raise ModelError(NO_SOUND)
    return samples * np.float32(_PEAK / peak) if peak > _PEAK else samples
