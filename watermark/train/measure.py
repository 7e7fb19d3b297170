"""Measure a watermark model on held-out audio.

A quick look at a pair of weights for its card; the product's bench with its 30 and more attacks is
``watermark bench``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.audio.waveform import Waveform, encode, read
from watermark.coding.identify import Codebook, CodebookEntry
from watermark.coding.message import SealId, SealKey, messages
from watermark.detection.detect import detect
from watermark.embedding.embed import embed
from watermark.models.base import SealModel

__all__ = ["ATTACKS", "measure", "si_snr_db"]


def si_snr_db(original: NDArray[np.float32], changed: NDArray[np.float32]) -> float:
    """Scale-invariant signal-to-noise ratio of ``changed`` against ``original``, dB."""
    a, b = original.astype(np.float64).ravel(), changed.astype(np.float64).ravel()
    target = a * (float(a @ b) / max(float(a @ a), 1e-20))
    rest = float(np.sum((b - target) ** 2))
    return float(10 * np.log10(float(target @ target) / max(rest, 1e-20)))


def _noise(w: Waveform) -> Waveform:
    rng = np.random.default_rng(1)
    level = float(np.sqrt(np.mean(w.samples**2))) * 0.1  # 20 dB below
    noise = rng.standard_normal(w.samples.shape).astype(np.float32)
    return Waveform(w.samples + np.float32(level) * noise, w.rate)


def _lowpass(w: Waveform) -> Waveform:
    from scipy.signal import butter, sosfiltfilt

    sos = butter(8, 3500, fs=w.rate, output="sos")
    return Waveform(sosfiltfilt(sos, w.samples).astype(np.float32), w.rate)


def _codec(name: Any, bitrate: int) -> Callable[[Waveform], Waveform]:
    return lambda w: read(encode(w, name, bitrate=bitrate))


ATTACKS: dict[str, Callable[[Waveform], Waveform]] = {
    "clean": lambda w: w,
    "mp3 128k": _codec("mp3", 128_000),
    "mp3 64k": _codec("mp3", 64_000),
    "aac 96k": _codec("m4a", 96_000),
    "opus 48k": _codec("opus", 48_000),
    "white noise 20 dB": _noise,
    "resampled to 8 kHz": lambda w: w.resample(8_000),
    "resampled to 44.1 kHz": lambda w: w.resample(44_100),
    "low-pass 3.5 kHz": _lowpass,
    "cut 0.337 s off": lambda w: w.slice(0.337),
    "polarity": lambda w: Waveform(-w.samples, w.rate),
}


def measure(
    clips: Sequence[Waveform],
    model: SealModel,
    *,
    strength: float | None = None,
    registered: int = 10_000,
    seed: int = 0,
    attacks: Sequence[str] = tuple(ATTACKS),
    durations: Sequence[float] = (2.0, 5.0),
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Seal every clip under its own id among ``registered``, attack it, read it.

    Returns: SI-SNR, how many times real time (in processor time) embedding and detecting take,
    sealed (and named) and unsealed, and per attack (and per duration,
    cut from the middle of the clean clip) the counts of clips, detections, right and wrong
    identifications, and the mean bit accuracy of the identified ones' seconds or, where the offset
    is known, of all.
    """
    rng = np.random.default_rng(seed)
    key = SealKey(epoch=1, secret=rng.bytes(32))
    longest = max(c.duration_s for c in clips)
    ids = [SealId(rng.bytes(8)) for _ in range(registered)]
    codebook = Codebook(CodebookEntry(i, key, longest) for i in ids)
    quality, embed_s, detect_s, unsealed_s, audio_s = [], 0.0, 0.0, 0.0, 0.0
    tallies: dict[str, _Tally] = {}
    for clip, seal_id in zip(clips, ids, strict=False):
        began = time.process_time()
        sealed = embed(clip, seal_id, key, model=model, strength=strength)
        embed_s += time.process_time() - began
        audio_s += clip.duration_s
        quality.append(si_snr_db(clip.samples, sealed.samples))
        began = time.process_time()
        detect(clip, model=model)
        unsealed_s += time.process_time() - began
        jobs = [(name, ATTACKS[name](sealed)) for name in attacks]
        middle = clip.duration_s / 2
        jobs += [(f"{d:g} s", sealed.slice(middle - d / 2, middle + d / 2)) for d in durations]
        for name, attacked in jobs:
            began = time.process_time()
            found = detect(attacked, model=model, codebook=codebook)
            if name == "clean":
                detect_s += time.process_time() - began
            tally = tallies.setdefault(name, _Tally())
            tally.add(found, seal_id, key)
        log(f"{len(quality)} of {len(clips)}: SI-SNR {quality[-1]:.1f} dB")
    return {
        "clips": len(quality),
        "seconds": round(longest, 2),
        "registered": registered,
        "si_snr_db": {"mean": round(float(np.mean(quality)), 2), "min": round(min(quality), 2)},
        "embed_x_real_time": round(audio_s / embed_s, 1),
        "detect_x_real_time": round(audio_s / detect_s, 1) if detect_s else None,
        "detect_unsealed_x_real_time": round(audio_s / unsealed_s, 1),
        "attacks": {name: tally.figures() for name, tally in tallies.items()},
    }


class _Tally:
    """Counts of one attack."""

    def __init__(self) -> None:
        self.clips = self.detected = self.above = self.right = self.wrong = 0
        self.scores: list[float] = []
        self.bits: list[float] = []

    def add(self, found: Any, seal_id: SealId, key: SealKey) -> None:
        self.clips += 1
        self.detected += found.detected
        self.above += found.score > found.threshold
        self.scores.append(found.score)
        who = found.identification
        if who is None:
            return
        self.right += who.seal_id == seal_id
        self.wrong += who.seal_id != seal_id
        logits = found.message_logits
        first = round(who.offset_s + found.message_phase_s)
        if len(logits) and first >= 0:
            truth = messages(key, seal_id, len(logits), first)
            self.bits.append(float(np.mean((logits > 0) == (truth > 0))))

    def figures(self) -> dict[str, Any]:
        return {
            "clips": self.clips,
            "detected": self.detected,
            "above_threshold": self.above,
            "identified": self.right,
            "misidentified": self.wrong,
            "score_mean": round(float(np.mean(self.scores)), 2),
            "score_min": round(float(np.min(self.scores)), 2),
            "bit_accuracy_of_identified": round(float(np.mean(self.bits)), 4)
            if self.bits
            else None,
        }
