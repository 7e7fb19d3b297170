"""A neural codec as an attack on sealed music: what it leaves of a seal.

The codec is that of the house model's second design (EnCodec's family, 32 kHz), whose weights are
kept for this use alone; the house model of today has another one.

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
    from audiocraft.models.encodec import EncodecModel

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
    mono = waveform.mono().resample(codec.sample_rate)
    with torch.inference_mode():
        tokens, _ = codec.encode(torch.from_numpy(np.array(mono.samples))[None])
        coded = codec.decode(tokens)[0, :1].numpy()
    back = Waveform(np.ascontiguousarray(coded), codec.sample_rate).resample(waveform.rate).samples
    padded = np.pad(back, ((0, 0), (0, max(0, waveform.length - back.shape[1]))))
    return Waveform(np.ascontiguousarray(padded[:, : waveform.length]), waveform.rate)


@cache
def _codec() -> EncodecModel:
    from studio.music.training.codec.network import load_codec

    return load_codec(_WEIGHTS)
