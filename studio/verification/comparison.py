"""Suspect and original at the seconds that match: spectra, their difference, and both sounds.

A matched part of a file and its place in the original are laid over each other: the original is
played as it plays in the file (a changed speed is done to it too, a changed tempo is stretched
out), its place is set to a hop by the least difference, and a difference in level is taken out.
What then differs is what was done to the sound, or what is not the same sound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from studio.verification.parts import PartKind
from studio.verification.suspect import SuspectAudio, played
from watermark.audio.waveform import Waveform, encode

if TYPE_CHECKING:
    from studio.verification.report import VerifyReport
    from watermark.audio.waveform import DecodeLimits

__all__ = [
    "MARGIN_S",
    "MOST_PARTS",
    "MOST_S",
    "Comparison",
    "Place",
    "Spectra",
    "as_flac",
    "cut_file",
    "places_of",
    "spectra_of",
]

MOST_PARTS = 3
"""Parts of one file that are laid beside their originals, the longest first."""

MOST_S = 20.0
"""Seconds of one part, from its start."""

MARGIN_S = 0.4
"""Of the original on either side of its place, in which the place of the same sound is set anew."""

_LEAST_S = 1.0
_RATE, _WINDOW, _HOP = 16_000, 1024, 256
_BANDS, _LOW_HZ, _TOP_HZ = 96, 50.0, 8000.0
_FLOOR_DB = -70.0  # below the loudest place of either
_COLUMNS = 480
_REGIONS = (("below 500 Hz", 50.0, 500.0), ("500 Hz to 2 kHz", 500.0, 2000.0))
_ABOVE = "2 to 8 kHz"
_MUCH_DB = 12.0
_MOST_RATE = 48_000
_SAME_SOUND = frozenset({PartKind.SEALED, PartKind.OVERLAID, PartKind.UNSEALED})


@dataclass(frozen=True, slots=True)
class Place:
    """A matched part: seconds of the file and of the original."""

    start_s: float
    end_s: float
    original_start_s: float
    original_end_s: float
    output_id: str
    kind: str
    stem: str | None = None
    speed: float = 1.0  # at which the file plays, pitch and tempo alike

    @property
    def stretch(self) -> float:
        """Seconds of the original per second of the file."""
        return (self.original_end_s - self.original_start_s) / (self.end_s - self.start_s)


@dataclass(frozen=True, slots=True)
class Spectra:
    """Loudness in dB below the loudest place: bands (low ones first) by columns of time."""

    suspect: NDArray[np.float32]  # (96, columns)
    original: NDArray[np.float32]  # (96, columns), as it plays in the file
    shift_s: float  # by which the original's place was set anew
    gain: float  # of the file against the original, linear

    @property
    def difference(self) -> NDArray[np.float32]:
        """Suspect less original, dB."""
        return self.suspect - self.original


@dataclass(frozen=True, slots=True)
class Comparison:
    """One matched part beside its original, in words and numbers."""

    number: int  # from 1
    place: Place  # with the original's place set anew
    differs_db: float  # mean over bands and time
    regions_db: Mapping[str, float]  # the same, by frequency
    much: float  # share of the picture that differs by more than 12 dB
    gain: float

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "place": asdict(self.place),
            "differs_db": round(self.differs_db, 2),
            "regions_db": {name: round(value, 2) for name, value in self.regions_db.items()},
            "much": round(self.much, 4),
            "gain": round(self.gain, 4),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Comparison:
        """What :meth:`to_json` gave."""
        return cls(
            body["number"],
            Place(**body["place"]),
            body["differs_db"],
            body["regions_db"],
            body["much"],
            body["gain"],
        )

    @classmethod
    def of(cls, number: int, place: Place, spectra: Spectra) -> Comparison:
        """The numbers of two spectra."""
        apart = np.abs(spectra.difference)
        centres = _centres()
        regions: dict[str, float] = {}
        for name, low, high in _REGIONS:
            regions[name] = float(apart[(centres >= low) & (centres < high)].mean())
        regions[_ABOVE] = float(apart[centres >= _REGIONS[-1][2]].mean())
        shift = spectra.shift_s
        moved = Place(
            place.start_s,
            place.end_s,
            round(place.original_start_s + shift, 3),
            round(place.original_end_s + shift, 3),
            place.output_id,
            place.kind,
            place.stem,
            place.speed,
        )
        return cls(
            number,
            moved,
            float(apart.mean()),
            regions,
            float((apart > _MUCH_DB).mean()),
            spectra.gain,
        )

    def text(self) -> str:
        """What the pictures show, in words."""
        regions = ", ".join(f"{name} {value:.1f} dB" for name, value in self.regions_db.items())
        return (
            f"The spectra differ by {self.differs_db:.1f} dB on average, levels evened out "
            f"({regions}); {self.much:.0%} of the picture differs by more than {_MUCH_DB:g} dB."
        )


def places_of(report: VerifyReport) -> list[Place]:
    """The parts of a verdict that are laid beside their originals, the longest first."""
    found = []
    for match in report.matches:
        if match.output_id is None or match.length_s < _LEAST_S:
            continue
        low_s, high_s = match.place_s
        stretch = (high_s - low_s) / match.length_s
        if not 0.5 <= stretch <= 2.0:
            continue
        length_s = min(match.length_s, MOST_S)
        found.append(
            Place(
                match.start_s,
                match.start_s + length_s,
                low_s,
                low_s + length_s * stretch,
                match.output_id,
                match.kind,
                match.stem,
                report.speed,
            )
        )
    found.sort(key=lambda place: place.start_s - place.end_s)
    return found[:MOST_PARTS]


def cut_file(
    source: Path | bytes, places: Sequence[Place], limits: DecodeLimits
) -> Iterator[tuple[int, Waveform]]:
    """The seconds of the file at each place, with its number; a long file is read once.

    Raises :class:`watermark.errors.AudioError`.
    """
    recording = SuspectAudio(source, 0.0, "", None, None, limits)
    return recording.cut([(place.start_s, place.end_s) for place in places])


def spectra_of(suspect: Waveform, original: Waveform, place: Place, margin_s: float) -> Spectra:
    """The spectra of a part and of its place in the original.

    Args:
        suspect: the seconds of the file, nothing else.
        original: the seconds of the original, with ``margin_s`` more of it in front.
        place: of both.
        margin_s: seconds of the original before its place.
    """
    as_heard = original if place.speed == 1.0 else played(original, place.speed)
    ours, theirs = _loudness(suspect), _loudness(as_heard)
    # What is left of the stretch once the speed is done is a changed tempo.
    grid = np.arange(ours.shape[1], dtype=np.float64) * (place.stretch / place.speed)
    lead = round(margin_s / place.speed * _RATE / _HOP)
    best: tuple[float, int, NDArray[np.float32], float] | None = None
    spread = round(MARGIN_S * _RATE / _HOP) if place.kind in _SAME_SOUND else 0
    for step in sorted(range(-spread, spread + 1), key=abs):
        taken = _at(theirs, lead + step + grid)
        apart, level = _apart(ours, taken)
        if best is None or apart < best[0]:
            best = (apart, step, taken, level)
    assert best is not None
    _, step, taken, level = best
    ours = ours - np.float32(level)
    peak = np.float32(max(float(ours.max()), float(taken.max())))
    return Spectra(
        _pooled(np.maximum(ours - peak, np.float32(_FLOOR_DB))),
        _pooled(np.maximum(taken - peak, np.float32(_FLOOR_DB))),
        shift_s=round(step * _HOP / _RATE * place.speed, 3),
        gain=float(10 ** (level / 20)),
    )


def as_flac(waveform: Waveform) -> bytes:
    """The sound as a browser plays it: 16-bit FLAC of at most two channels and 48 kHz."""
    if waveform.channels > 2:
        waveform = waveform.mono()
    if waveform.rate > _MOST_RATE:
        waveform = waveform.resample(_MOST_RATE)
    return encode(waveform, "flac", subtype="PCM_16")


def _apart(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> tuple[float, float]:
    """How far two spectra are apart with their levels evened out, and by how much these differ."""
    heard = (ours > ours.max() + _FLOOR_DB) & (theirs > theirs.max() + _FLOOR_DB)
    if not heard.any():
        return 0.0, 0.0
    difference = (ours - theirs)[heard]
    level = float(np.median(difference))
    return float(np.abs(difference - level).mean()), level


def _loudness(waveform: Waveform) -> NDArray[np.float32]:
    """Power of the mix in bands over time, dB: ``(96, columns)``, a column each 16 ms."""
    samples = waveform.mono().resample(_RATE).samples[0]
    samples = np.pad(samples, (_WINDOW // 2, _WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    window = np.hanning(_WINDOW).astype(np.float32)
    power = np.empty((_BANDS, len(frames)), np.float32)
    for begin in range(0, len(frames), 256):  # bounded memory
        spectrum = np.abs(np.fft.rfft(frames[begin : begin + 256] * window, axis=1)) ** 2
        power[:, begin : begin + 256] = _filters() @ spectrum.T
    return np.asarray(10 * np.log10(power + np.float32(1e-9)), np.float32)


@cache
def _edges() -> NDArray[np.float64]:
    """The frequencies between which the bands lie, evenly spaced in mel."""
    low, top = (2595 * np.log10(1 + hz / 700) for hz in (_LOW_HZ, _TOP_HZ))
    return np.asarray(700 * (10 ** (np.linspace(low, top, _BANDS + 2) / 2595) - 1))


def _centres() -> NDArray[np.float64]:
    return _edges()[1:-1]


@cache
def _filters() -> NDArray[np.float32]:
    """Triangles over the bins of the spectrum: ``(96, 513)``, each at least one bin wide."""
    hz = np.fft.rfftfreq(_WINDOW, 1 / _RATE)
    edges = _edges()
    wide = np.maximum(np.diff(edges), hz[1])
    rising = 1 - (edges[1:-1, None] - hz) / wide[:-1, None]
    falling = 1 - (hz - edges[1:-1, None]) / wide[1:, None]
    return np.asarray(np.maximum(0, np.minimum(rising, falling)), np.float32)


def _at(spectrum: NDArray[np.float32], columns: NDArray[np.float64]) -> NDArray[np.float32]:
    """The spectrum at places between its columns."""
    last = spectrum.shape[1] - 1
    places = np.clip(columns, 0, last)
    low = np.floor(places).astype(int)
    share = (places - low).astype(np.float32)
    high = np.minimum(low + 1, last)
    return np.asarray(spectrum[:, low] * (1 - share) + spectrum[:, high] * share, np.float32)


def _pooled(spectrum: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most 480 columns, each the mean of as many neighbours."""
    if spectrum.shape[1] <= _COLUMNS:
        return spectrum
    parts = np.array_split(spectrum, _COLUMNS, axis=1)
    return np.stack([part.mean(axis=1) for part in parts], axis=1)
