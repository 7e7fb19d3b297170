"""Adversarial attacks that use the public weights or many outputs.

The attacks of :mod:`watermark.evaluation.distortions` look at one file. These use several, or the
generator:

* **overwrite**: sealed once more, under a stranger's key. Is our seal still named? **overwrite
  beside**: the same on a grid half a cell (40 ms) away, where the pilot that is found is theirs.
* **copy**: what a seal added to one clip is added to another that was never sealed. Where that
  reads as ours, nothing in the seal tells: the fingerprint of the content must
  (:mod:`watermark.fingerprint.haitsma_kalker`). Counted is how often it reads.
* **copy of band gains**: as copy, but what is copied is how much louder each band became at each
  moment, and the other music is made louder and softer in the same way.
* **average**: the pattern that many sealed clips have in common is estimated from them (no
  original is needed) and taken out. Is the rest still found, still named?
* **pilot taken out**: the published generator marks the sealed clip with many strangers' messages;
  what those marks have in common on this very host is the public pilot, and is taken out. What the
  key tells is left: does it still name ours?

>>> [threat.name for threat in all_threats(lambda waveform, seal_id: waveform)]
['overwrite', 'overwrite beside', 'copy', 'copy of band gains', 'average', 'pilot taken out']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from watermark.audio.waveform import Waveform
from watermark.coding.identify import Codebook, Identification
from watermark.coding.message import SealId
from watermark.evaluation.metrics import si_snr
from watermark.models.base import SEAL_RATE

_MARKS = 16  # strangers' marks whose mean is taken for the pilot
_BESIDE_S = 0.04  # half a cell of the house model

__all__ = ["Read", "ReadResult", "Seal", "Threat", "ThreatResult", "all_threats"]


class ReadResult(Protocol):
    """The part of a detection that the benchmark uses."""

    @property
    def detected(self) -> bool: ...
    @property
    def score(self) -> float: ...
    @property
    def message_logits(self) -> NDArray[np.float32]: ...
    @property
    def identification(self) -> Identification | None: ...


Seal = Callable[[Waveform, SealId], Waveform]
Read = Callable[[Waveform, Codebook], ReadResult]


@dataclass(frozen=True, slots=True)
class ThreatResult:
    """One threat over all clips.

    Attributes:
        name: of the threat.
        question: what is counted, in words.
        clips: how many were attacked.
        detected: how many of them carry a seal, to the detector.
        identified: how many are attributed to the seal that was there (or was copied).
        si_snr_db: mean SI-SNR of the attacked against the sealed clip (copy: against the target).
    """

    name: str
    question: str
    clips: int
    detected: int
    identified: int
    si_snr_db: float | None


Do = Callable[[Sequence[Waveform], Sequence[Waveform]], list[tuple[int, Waveform, Waveform]]]


@dataclass(frozen=True, slots=True)
class Threat:
    """``do`` takes originals and sealed clips; it gives, per attacked clip, whose seal it may
    carry, the clip, and what to compare its sound with."""

    name: str
    question: str
    do: Do

    def measure(
        self,
        originals: Sequence[Waveform],
        sealed: Sequence[Waveform],
        ids: Sequence[SealId],
        codebook: Codebook,
        read: Read,
    ) -> ThreatResult:
        """Attack all clips and read them."""
        detected = identified = 0
        quality = []
        attacked = self.do(originals, sealed)
        for index, clip, beside in attacked:
            found = read(clip, codebook)
            detected += bool(found.detected)
            named = found.identification
            identified += named is not None and named.seal_id == ids[index]
            ratio = si_snr(clip, beside)
            if ratio is not None:
                quality.append(ratio)
        mean = round(float(np.mean(quality)), 2) if quality else None
        return ThreatResult(self.name, self.question, len(attacked), detected, identified, mean)


def all_threats(stranger: Seal) -> tuple[Threat, ...]:
    """All threats; ``stranger`` seals a waveform under another key."""

    def overwrite(
        originals: Sequence[Waveform], sealed: Sequence[Waveform]
    ) -> list[tuple[int, Waveform, Waveform]]:
        other = SealId(b"stranger")
        return [(i, stranger(clip, other), clip) for i, clip in enumerate(sealed)]

    def beside(
        originals: Sequence[Waveform], sealed: Sequence[Waveform]
    ) -> list[tuple[int, Waveform, Waveform]]:
        out = []
        for index, clip in enumerate(sealed):
            pad = round(_BESIDE_S * clip.rate)
            late = Waveform(np.pad(clip.samples, ((0, 0), (pad, 0))), clip.rate)
            over = stranger(late, SealId(b"stranger")).samples[:, pad:]
            out.append((index, Waveform(np.ascontiguousarray(over), clip.rate), clip))
        return out

    def without_pilot(
        originals: Sequence[Waveform], sealed: Sequence[Waveform]
    ) -> list[tuple[int, Waveform, Waveform]]:
        out = []
        for index, clip in enumerate(sealed):
            pilot = np.zeros_like(clip.samples)
            for number in range(_MARKS):
                marked = stranger(clip, SealId(number.to_bytes(8, "big")))
                pilot += (marked.samples - clip.samples) / _MARKS
            out.append((index, Waveform(clip.samples - pilot, clip.rate), clip))
        return out

    return (
        Threat("overwrite", "our seal, after a stranger's was put over it", overwrite),
        Threat("overwrite beside", "our seal, after a stranger's on another grid", beside),
        Threat("copy", "a copied seal on music that was never sealed (it must not count)", _copy),
        Threat(
            "copy of band gains",
            "copied gains on music that was never sealed (the content must tell)",
            _copy_gains,
        ),
        Threat("average", "our seal, after what all seals have in common was taken out", _average),
        Threat(
            "pilot taken out",
            "our seal, after what all marks have in common on this music was taken out",
            without_pilot,
        ),
    )


def _copy(
    originals: Sequence[Waveform], sealed: Sequence[Waveform]
) -> list[tuple[int, Waveform, Waveform]]:
    """The worst case: the attacker also has the original, so knows the residual exactly."""
    out = []
    for index, (original, marked) in enumerate(zip(originals, sealed, strict=True)):
        target = originals[(index + 1) % len(originals)]
        residual = Waveform(marked.samples - original.samples, marked.rate).mono()
        added = residual.resample(target.rate).samples
        length = min(target.length, added.shape[1])
        samples = target.samples[:, :length] + added[:, :length]
        out.append((index, Waveform(np.ascontiguousarray(samples), target.rate), target))
    return out


def _copy_gains(
    originals: Sequence[Waveform], sealed: Sequence[Waveform]
) -> list[tuple[int, Waveform, Waveform]]:
    """As :func:`_copy`, in the seal's own terms: band levels of the sealed less the original's."""
    import torch

    from watermark.models.networks import Spectrum

    spectrum = Spectrum()
    out = []
    with torch.inference_mode():
        for index, (original, marked) in enumerate(zip(originals, sealed, strict=True)):
            target = originals[(index + 1) % len(originals)]
            pair = [torch.from_numpy(_at_seal_rate(w)) for w in (original, marked)]
            before, after = (spectrum.log_energy(spectrum.stft(x)) for x in pair)
            gains = (after - before) * float(np.log(10)) / 20  # nepers, (1, bands, frames)
            host = torch.from_numpy(_at_seal_rate(target))
            X = spectrum.stft(host)
            frames = min(X.shape[-1], gains.shape[-1])
            mark = spectrum.mark(X[..., :frames], gains[..., :frames], host.shape[1]).numpy()
            added = Waveform(mark, SEAL_RATE).resample(target.rate).samples
            length = min(target.length, added.shape[1])
            samples = target.samples[:, :length] + added[:, :length]
            out.append((index, Waveform(np.ascontiguousarray(samples), target.rate), target))
    return out


def _at_seal_rate(waveform: Waveform) -> NDArray[np.float32]:
    return waveform.mono().resample(SEAL_RATE).samples


def _average(
    originals: Sequence[Waveform], sealed: Sequence[Waveform]
) -> list[tuple[int, Waveform, Waveform]]:
    """Band levels less their own mean, averaged over clips and cells, are the common pattern."""
    import torch

    from watermark.models.networks import CELL_FRAMES, FEATURE_SCALE_DB, Spectrum

    spectrum = Spectrum()
    total, count = torch.zeros(len(spectrum.bands), CELL_FRAMES), 0
    monos = [clip.mono().resample(SEAL_RATE).samples for clip in sealed]
    with torch.inference_mode():
        for mono in monos:
            level = spectrum.log_energy(spectrum.stft(torch.from_numpy(mono)))
            change = spectrum.features(level)[0]
            cells = change.shape[1] // CELL_FRAMES
            rows = change[:, : cells * CELL_FRAMES].reshape(len(change), cells, CELL_FRAMES)
            total, count = total + rows.sum(1), count + cells
        common = total / count * FEATURE_SCALE_DB * float(np.log(10)) / 20  # nepers, (bands, 8)
        common = common - common.mean(1, keepdim=True)
        out = []
        for index, (clip, mono) in enumerate(zip(sealed, monos, strict=True)):
            X = spectrum.stft(torch.from_numpy(mono))
            gains = -common.repeat(1, X.shape[-1] // CELL_FRAMES + 1)[None, :, : X.shape[-1]]
            taken_out = spectrum.mark(X, gains, mono.shape[1]).numpy()
            added = Waveform(taken_out, SEAL_RATE).resample(clip.rate).samples
            length = min(clip.length, added.shape[1])
            samples = clip.samples[:, :length] + added[:, :length]
            out.append((index, Waveform(np.ascontiguousarray(samples), clip.rate), clip))
    return out
