"""Decodes a piece's tokens to sound while they are still being drawn, chunk by chunk.

EnCodec's decoder is a convolution, an LSTM and more convolutions. The convolutions see a few frames
to either side, so each chunk is decoded with that many more and cut; the LSTM's state is carried
from chunk to chunk. The chunks together are what decoding the whole gives, but for rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["MARGIN", "ChunkDecoder"]

MARGIN = 4
"""Frames to either side that a convolutional part is given beyond what is kept of it; it sees 3."""


class ChunkDecoder:
    """The state of one piece's decoding. Memory does not grow with the piece.

    Args:
        codec: audiocraft's `EncodecModel`, or its wrapper for interleaved stereo.
    """

    def __init__(self, codec: Any) -> None:
        from audiocraft.modules.lstm import StreamableLSTM

        self._codec = codec
        self._mono: Any = getattr(codec, "model", codec)  # of the stereo wrapper
        modules = list(self._mono.decoder.model)
        at = next((k for k, one in enumerate(modules) if isinstance(one, StreamableLSTM)), None)
        split = 1 if at is None else at
        self._before = nn.Sequential(*modules[:split])
        self._lstm: Any = None if at is None else modules[at]
        self._after = nn.Sequential(*modules[split + (at is not None) :])
        self._hop = round(codec.sample_rate / codec.frame_rate)
        self._latents, self._hidden = _Frames(), _Frames()
        self._state: tuple[Tensor, Tensor] | None = None
        self._given = 0  # frames decoded to the end

    @torch.inference_mode()
    def push(self, codes: Tensor, *, last: bool = False) -> Tensor:
        """The sound that `codes` (1, codebooks, frames) complete, (channels, samples).

        It ends :data:`MARGIN` frames twice before them; with `last` at their end.
        """
        stereo = self._mono is not self._codec
        if stereo:
            codes = torch.cat(self._codec.get_left_right_codes(codes))
        self._latents.append(self._mono.decode_latent(codes))
        end = self._latents.end - (0 if last else MARGIN)
        begin = self._hidden.end
        if end > begin:
            self._hidden.append(self._remember(_window(self._before, self._latents, begin, end, 1)))
            self._latents.drop_before(end - MARGIN)
        end = self._hidden.end - (0 if last else MARGIN)
        if end <= self._given:
            return torch.zeros(2 if stereo else self._mono.channels, 0)
        sound = _window(self._after, self._hidden, self._given, end, self._hop)
        self._given = end
        self._hidden.drop_before(end - MARGIN)
        by_channel: Tensor = sound[:, 0] if stereo else sound[0]
        return by_channel

    def _remember(self, x: Tensor) -> Tensor:
        """Through the LSTM, which goes on from its state."""
        if self._lstm is None:
            return x
        steps = x.permute(2, 0, 1)
        out, self._state = self._lstm.lstm(steps, self._state)
        if self._lstm.skip:
            out = out + steps
        remembered: Tensor = out.permute(1, 2, 0)
        return remembered


class _Frames:
    """The latest frames (batch, channels, frames) of a sequence."""

    def __init__(self) -> None:
        self.first = 0
        self._kept: Tensor | None = None

    @property
    def end(self) -> int:
        return self.first + (0 if self._kept is None else self._kept.shape[-1])

    def append(self, more: Tensor) -> None:
        self._kept = more if self._kept is None else torch.cat([self._kept, more], -1)

    def between(self, begin: int, end: int) -> Tensor:
        assert self._kept is not None
        return self._kept[..., begin - self.first : end - self.first]

    def drop_before(self, frame: int) -> None:
        if self._kept is not None and frame > self.first:
            self._kept = self._kept[..., frame - self.first :].clone()
            self.first = frame


def _window(part: nn.Module, frames: _Frames, begin: int, end: int, hop: int) -> Tensor:
    """What `part` makes of frames `begin` to `end`, `hop` values of each."""
    first = max(frames.first, begin - MARGIN)
    last = min(frames.end, end + MARGIN)
    made: Tensor = part(frames.between(first, last))
    return made[..., (begin - first) * hop : (end - first) * hop]
