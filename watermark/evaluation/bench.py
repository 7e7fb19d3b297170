"""The benchmark: detection and false-alarm rates after each attack.

Every clip is sealed under its own id; every attack of the list is applied to the sealed clip and,
with the same randomness, to the unsealed one; the detector reads both with a codebook of the sealed
ids and thousands of decoys. Counted per attack: detections at the calibrated threshold, false
alarms on the unsealed audio, right and wrong attributions, agreement of the bits, and how much the
attack itself changed the sound. Rates come with Wilson's 95 % interval: on eight clips even eight
of eight says no more than "above 0.68".

The bench knows nothing of networks. It is handed two functions, one that seals and one that reads,
so that any pair of seal models can be put through it.

>>> clip = synthetic_clips(count=1, seconds=2.0)[0]
>>> clip.name, clip.waveform.duration_s
('synthetic-1', 2.0)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from watermark.coding.identify import MAX_CHANCE, Codebook, CodebookEntry, best_match
from watermark.coding.message import SealId, SealKey
from watermark.errors import AudioError, BenchError
from watermark.evaluation.adversarial import Read, ReadResult, Seal, Threat, ThreatResult
from watermark.evaluation.clips import Clip, load_clips, synthetic_clips
from watermark.evaluation.distortions import AttackSpec
from watermark.evaluation.metrics import (
    log_spectral_distance,
    modulation_depth_db,
    noise_to_mask,
    si_snr,
)
from watermark.util.stats import wilson

__all__ = [
    "AttackResult",
    "Bench",
    "BenchReport",
    "Clip",
    "ClipOutcome",
    "ReadResult",
    "load_clips",
    "synthetic_clips",
    "tally",
]

#: Rate of detection or identification below which an attack is listed as a failure.
FAILS_BELOW = 0.9

#: A band whose level fluctuates by less than this, dB rms, counts as steady.
STEADY_DB = 1.0


@dataclass(frozen=True, slots=True)
class ClipOutcome:
    """One clip after one attack, read sealed and unsealed; :func:`tally` counts them.

    Attributes:
        error: why there is nothing to count; the rest then says nothing.
        detected, identified, identified_million: of the sealed clip, as in :class:`AttackResult`.
        misattributed: 0 to 2: the sealed and the unsealed clip may each be given a wrong seal.
        false_alarm: whether the unsealed clip was detected.
        score, unsealed_score: detection scores of the two.
        bit_accuracy, si_snr_db, log_spectral_distance_db: as in :class:`AttackResult`.
    """

    error: str | None = None
    detected: bool = False
    identified: bool = False
    identified_million: bool = False
    misattributed: int = 0
    false_alarm: bool = False
    score: float = 0.0
    unsealed_score: float = 0.0
    bit_accuracy: float | None = None
    si_snr_db: float | None = None
    log_spectral_distance_db: float | None = None


@dataclass(frozen=True, slots=True)
class AttackResult:
    """One attack over all clips. Intervals are Wilson's, 95 %.

    Attributes:
        attack: its name.
        family: its kind.
        clips: sealed clips read, and as many unsealed ones.
        detected: how many sealed clips were detected after the attack.
        identified: how many were attributed to the right seal.
        identified_million: how many would be among a million seals: the right seal's correlation
            does not depend on the registry, and the bound on chance grows in proportion to it.
        misattributed: how many, sealed or not, were attributed to a wrong seal.
        false_alarms: how many unsealed clips were detected after the attack.
        bit_accuracy: mean share of bits that agree with the clip's own seal, where it was not
            identified at the offset that fits best: chance is then about 0.6, not 0.5.
        score: mean detection score of the sealed clips.
        lowest_sealed: their lowest score. Where it is above ``highest_unsealed``, a threshold
            between the two would make no error on these clips.
        highest_unsealed: highest score of the unsealed clips after the same attack.
        si_snr_db: mean SI-SNR of the attacked against the sealed clip, where the attack keeps time.
        log_spectral_distance_db: mean over clips, likewise.
        failed: clips on which the attack itself or the reading raised an error, with its text.
    """

    attack: str
    family: str
    clips: int
    detected: int
    identified: int
    misattributed: int
    false_alarms: int
    bit_accuracy: float | None
    score: float | None
    si_snr_db: float | None
    log_spectral_distance_db: float | None
    failed: tuple[str, ...] = ()
    lowest_sealed: float | None = None
    highest_unsealed: float | None = None
    identified_million: int = 0

    @property
    def detection_rate(self) -> float:
        return self.detected / self.clips if self.clips else 0.0

    @property
    def identification_rate(self) -> float:
        return self.identified / self.clips if self.clips else 0.0

    @property
    def fails(self) -> bool:
        """Too seldom detected or identified, or anything detected or named that must not be."""
        return (
            min(self.detection_rate, self.identification_rate) < FAILS_BELOW
            or self.false_alarms > 0
            or self.misattributed > 0
            or bool(self.failed)
        )

    def to_json(self) -> dict[str, Any]:
        """Counts, rates and intervals."""
        return {
            **asdict(self),
            "detection_rate": self.detection_rate,
            "detection_interval": _interval(self.detected, self.clips),
            "identification_rate": self.identification_rate,
            "identification_interval": _interval(self.identified, self.clips),
            "identification_rate_million": self.identified_million / max(self.clips, 1),
            "false_alarm_interval": _interval(self.false_alarms, self.clips),
        }


@dataclass(frozen=True, slots=True)
class BenchReport:
    """All attacks, worst first, and what they were run on.

    Attributes:
        results: failures first, then by detection and identification rate, lowest first.
        clips: names of the clips.
        seconds: length of each clip, seconds.
        registered: seals in the codebook.
        seal_si_snr_db: mean SI-SNR of the sealed against the original clips.
        seal_nmr_db, seal_modulation_db: means of
        :func:`watermark.evaluation.metrics.noise_to_mask` and
            :func:`watermark.evaluation.metrics.modulation_depth_db` of the seal.
        seal_steady_modulation_db: the latter where the carrier itself is steady (`STEADY_DB`).
        threats: what somebody with the public weights can do
        (:mod:`watermark.evaluation.adversarial`). setting: what else a reader must know: model,
        audio, machine, date.
    """

    results: tuple[AttackResult, ...]
    clips: tuple[str, ...]
    seconds: float
    registered: int
    seal_si_snr_db: float
    setting: dict[str, str] = field(default_factory=dict)
    seal_nmr_db: float | None = None
    seal_modulation_db: float | None = None
    threats: tuple[ThreatResult, ...] = ()
    seal_steady_modulation_db: float | None = None

    @property
    def failures(self) -> tuple[AttackResult, ...]:
        """Attacks after which fewer than 9 of 10 clips are detected or identified, after which an
        unsealed clip is detected or a wrong seal named, or that raised errors."""
        return tuple(r for r in self.results if r.fails)

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for ``json.dumps``."""
        return {
            "setting": self.setting,
            "clips": list(self.clips),
            "seconds": self.seconds,
            "registered": self.registered,
            "seal_si_snr_db": self.seal_si_snr_db,
            "seal_nmr_db": self.seal_nmr_db,
            "seal_modulation_db": self.seal_modulation_db,
            "seal_steady_modulation_db": self.seal_steady_modulation_db,
            "threats": [asdict(threat) for threat in self.threats],
            "mean_detection_rate": _mean([r.detection_rate for r in self.results]),
            "mean_identification_rate": _mean([r.identification_rate for r in self.results]),
            "mean_identification_rate_million": _mean(
                [r.identified_million / max(r.clips, 1) for r in self.results]
            ),
            "failures": [r.attack for r in self.failures],
            "results": [r.to_json() for r in self.results],
        }


class Bench:
    """Clips, each sealed under its own id, and the codebook that names them.

    Args: as of :func:`run`.

    Raises:
        BenchError: no clips.
        CarrierError: a clip cannot be sealed.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        seal: Seal,
        read: Read,
        key: SealKey,
        decoys: int = 10_000,
        seed: int = 0,
    ) -> None:
        if not clips:
            raise BenchError("the bench needs at least one attack and one clip")
        names = np.random.default_rng(seed).integers(
            0, 256, (len(clips) + decoys, 8), dtype=np.uint8
        )
        self._ids = [SealId(name.tobytes()) for name in names]
        self._seconds = max(clip.waveform.duration_s for clip in clips)
        self._key, self._seed, self._read = key, seed, read
        self._codebook = Codebook(CodebookEntry(i, key, self._seconds) for i in self._ids)
        self._clips = clips
        self._sealed = [seal(c.waveform, i) for c, i in zip(clips, self._ids, strict=False)]

    def attack(self, number: int, spec: AttackSpec) -> AttackResult:
        """All clips after one attack; its place ``number`` in the list seeds its randomness."""
        return tally(spec, [self.one(number, spec, index) for index in range(len(self._clips))])

    def one(self, number: int, spec: AttackSpec, index: int) -> ClipOutcome:
        """The clip of that index after one attack. Nothing but the arguments and what the bench
        was made with decides the outcome, in whatever process and order it is asked for."""
        clip, marked = self._clips[index], self._sealed[index]
        entropy = [self._seed, number, index]
        try:
            attacked = spec.run(marked, np.random.default_rng(entropy))
            control = spec.run(clip.waveform, np.random.default_rng(entropy))
            found = self._read(attacked, self._codebook)
            false = self._read(control, self._codebook)
        except (AudioError, BenchError) as exc:
            return ClipOutcome(error=f"{clip.name}: {exc}")
        entry = CodebookEntry(self._ids[index], self._key, self._seconds)
        named = found.identification
        right = named is not None and named.seal_id == entry.seal_id
        at = named if right else best_match(found.message_logits, Codebook([entry]))
        scale = max(1.0, 1e6 / len(self._codebook))
        ratio, distance = si_snr(attacked, marked), log_spectral_distance(attacked, marked)
        timed = ratio is not None and distance is not None
        return ClipOutcome(
            detected=bool(found.detected),
            identified=right,
            identified_million=right
            and named is not None
            and bool(named.chance_bound * scale <= MAX_CHANCE),
            misattributed=(named is not None and not right) + (false.identification is not None),
            false_alarm=bool(false.detected),
            score=float(found.score),
            unsealed_score=float(false.score),
            bit_accuracy=None if at is None else float(at.bit_accuracy),
            si_snr_db=ratio if timed else None,
            log_spectral_distance_db=distance if timed else None,
        )

    def report(
        self,
        results: Sequence[AttackResult],
        *,
        threats: Sequence[Threat] = (),
        setting: dict[str, str] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> BenchReport:
        """The results with the threats' and the seal's own measures, failures first."""
        originals, done = [clip.waveform for clip in self._clips], []
        for threat in threats:
            if progress is not None:
                progress(threat.name)
            done.append(
                threat.measure(originals, self._sealed, self._ids, self._codebook, self._read)
            )
        pairs = list(zip(self._sealed, originals, strict=True))
        return BenchReport(
            tuple(
                sorted(
                    results, key=lambda r: (not r.fails, r.detection_rate, r.identification_rate)
                )
            ),
            tuple(clip.name for clip in self._clips),
            round(self._seconds, 3),
            len(self._codebook),
            round(_mean_of(si_snr(m, o) for m, o in pairs) or 0.0, 2),
            setting or {},
            _mean_of(noise_to_mask(m, o) for m, o in pairs),
            _mean_of(modulation_depth_db(m, o) for m, o in pairs),
            tuple(done),
            _mean_of(modulation_depth_db(m, o, steady_db=STEADY_DB) for m, o in pairs),
        )


def _interval(hits: int, trials: int) -> tuple[float, float]:
    low, high = wilson(hits, trials)
    return round(low, 3), round(high, 3)


def tally(spec: AttackSpec, outcomes: Sequence[ClipOutcome]) -> AttackResult:
    """Counts and means over the clips of one attack."""
    counted = [o for o in outcomes if o.error is None]
    return AttackResult(
        attack=spec.name,
        family=spec.family,
        clips=len(counted),
        detected=sum(o.detected for o in counted),
        identified=sum(o.identified for o in counted),
        misattributed=sum(o.misattributed for o in counted),
        false_alarms=sum(o.false_alarm for o in counted),
        bit_accuracy=_mean_of(o.bit_accuracy for o in counted),
        score=_mean_of(o.score for o in counted),
        si_snr_db=_mean_of(o.si_snr_db for o in counted),
        log_spectral_distance_db=_mean_of(o.log_spectral_distance_db for o in counted),
        failed=tuple(o.error for o in outcomes if o.error is not None),
        lowest_sealed=min((o.score for o in counted), default=None),
        highest_unsealed=max((o.unsealed_score for o in counted), default=None),
        identified_million=sum(o.identified_million for o in counted),
    )


def _mean_of(values: Iterable[float | None]) -> float | None:
    return _mean([value for value in values if value is not None])


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
