"""A neural codec as an attack on sealed music: what it leaves of a seal.

The codec is a small one made for this use alone (``studio house train-bench-codec``): of EnCodec's
family, 32 kHz, 3.6 kbit/s.

``configs/watermark/attacks.yaml`` names :func:`codec_round_trip`, so that ``watermark bench`` runs
it without ``watermark/`` knowing of ``studio/``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from watermark import Waveform

if TYPE_CHECKING:
    from studio.music.training.codec.network import BenchCodec

__all__ = ["codec_round_trip"]

_WEIGHTS = Path(__file__).resolve().parent / "codec" / "weights"


def codec_round_trip(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    """Encoded into tokens and decoded again; mono, of the same length and rate.

    Args:
        waveform: of any rate; its channels are mixed.
        rng: not used: the codec draws nothing.

    Raises:
        CheckpointError: the codec's weights are missing or damaged.
    """
    import torch

    codec = _codec()
    rate = codec.config.sample_rate
    mono = waveform.mono().resample(rate)
    with torch.inference_mode():
        tokens = codec.encode(torch.from_numpy(np.array(mono.samples))[None])
        coded = codec.decode(tokens)[0, :1].numpy()
    back = Waveform(np.ascontiguousarray(coded), rate).resample(waveform.rate).samples
    padded = np.pad(back, ((0, 0), (0, max(0, waveform.length - back.shape[1]))))
    return Waveform(np.ascontiguousarray(padded[:, : waveform.length]), waveform.rate)


@cache
def _codec() -> BenchCodec:
    from studio.music.training.codec.weights_file import load_codec

    return load_codec(_WEIGHTS)
