"""How much of the music the bench's codec keeps, on clips that it has not learnt from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from studio.core.errors import HouseError
from studio.music.training.catalogue import Catalogue
from studio.music.training.codec.losses import MultiScaleMel, si_sdr
from studio.music.training.codec.network import BenchCodec

__all__ = ["CLIP_S", "held_out_clips", "round_trip_figures"]

CLIP_S = 5.0
"""Length of a clip, seconds."""

_DECIBEL = 20 / math.log(10)  # of a neper
_MEL_WINDOWS = (512, 1024, 2048)


def held_out_clips(catalogue: Catalogue, count: int) -> list[NDArray[np.float32]]:
    """The middle of each of the first `count` test tracks, mono at the catalogue's rate.

    Raises :class:`HouseError` where fewer are rendered.
    """
    length = round(CLIP_S * catalogue.rate)
    clips = []
    for track in catalogue.tracks("test")[:count]:
        samples = catalogue.samples(track)
        start = max(0, (len(samples) - length) // 2)
        clips.append(samples[start : start + length].astype(np.float32) / np.float32(32768))
    if len(clips) < count:
        raise HouseError(f"{len(clips)} of {count} test tracks are rendered; render more of them")
    return clips


@torch.inference_mode()
def round_trip_figures(
    codec: BenchCodec, clips: Sequence[NDArray[np.float32]]
) -> dict[str, float | int]:
    """Means over clips: log-mel distance and SI-SDR in dB, and the share of codes in use.

    The log-mel distance is the mean absolute difference of 64 bands in windows of 512, 1,024 and
    2,048 samples.
    """
    mel = MultiScaleMel(codec.config.sample_rate, _MEL_WINDOWS)
    distances, ratios, tokens = [], [], []
    for clip in clips:
        x = torch.from_numpy(clip)[None, None]
        codes = codec.encode(x)
        y = codec.decode(codes)[..., : x.shape[-1]]
        distances.append(float(mel(y, x)) * _DECIBEL)
        ratios.append(float(si_sdr(y[0, 0], x[0, 0])))
        tokens.append(codes[0])
    used = [len(row.unique()) / codec.config.bins for row in torch.cat(tokens, dim=1)]
    return {
        "clips": len(clips),
        "seconds": CLIP_S,
        "log_mel_db": round(float(np.mean(distances)), 3),
        "si_sdr_db": round(float(np.mean(ratios)), 3),
        "codes_used": round(float(np.mean(used)), 3),
    }
