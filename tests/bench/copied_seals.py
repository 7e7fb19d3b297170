"""Verdicts on a seal under other music, and on a seal copied onto other music.

``python -m tests.bench.copied_seals --audio DIR [--clips 20] [--seconds 12]``

Each clip becomes the only output of a studio of its own, by the studio's pipeline with the shipped
weights, and the next clip is the other music. What is made of the two is examined as ``studio
verify`` examines a file, in this process. First and last row are controls: the output itself, and
the other music alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from studio.core.config import StudioConfig
from studio.verification.report import Verdict
from tests.bench.output import machine, table
from tests.support.studios import PlainGenerator, as_owner, make_studio
from watermark.audio.waveform import Waveform, encode, read
from watermark.evaluation.adversarial import all_threats
from watermark.evaluation.clips import load_clips
from watermark.fingerprint.matching import COPIED_DISTANCE, OVERLAID_DISTANCE
from watermark.models.base import SealModel
from watermark.models.loading import load_seal_model

TAGS = ["genre/jazz", "mood/calm"]

NAMED = (Verdict.SEALED, Verdict.EXCERPT, Verdict.TRANSPLANTED, Verdict.SEAL_ONLY)
"""The verdicts that rest on a seal whose name was read."""

Make = Callable[[Waveform, Waveform, Waveform], Waveform]
"""From the original, the output that was made of it, and other music to a suspect file."""


def under(softer_db: float) -> Make:
    """The output under other music that is louder by so much, by their root mean squares."""

    def make(original: Waveform, sealed: Waveform, other: Waveform) -> Waveform:
        ratio = _rms(sealed) / _rms(other) * 10 ** (softer_db / 20)
        return _mixed(sealed, other, ratio)

    return make


def added(strength: float) -> Make:
    """What the seal added to the original, so many times as strong, on the other music."""

    def make(original: Waveform, sealed: Waveform, other: Waveform) -> Waveform:
        mark = Waveform(strength * (sealed.samples - original.samples), original.rate)
        return _mixed(other, mark, 1.0)

    return make


def band_gains(original: Waveform, sealed: Waveform, other: Waveform) -> Waveform:
    """The other music made louder and softer in each band as the seal made the original."""
    threats = {threat.name: threat for threat in all_threats(lambda waveform, _: waveform)}
    return threats["copy of band gains"].do([original, other], [sealed, other])[0][1]


MADE: dict[str, Make] = {
    "the output itself": lambda original, sealed, other: sealed,
    "ours under other music just as loud": under(0.0),
    "ours 6 dB softer": under(6.0),
    "ours 10 dB softer": under(10.0),
    "ours 15 dB softer": under(15.0),
    "band gains of ours copied onto other music": band_gains,
    "our mark alone added to other music": added(1.0),
    "the same, twice as strong": added(2.0),
    "other music alone": lambda original, sealed, other: other,
}


def _rms(waveform: Waveform) -> float:
    return float(np.sqrt(np.mean(np.square(waveform.samples, dtype=np.float64))))


def _mixed(first: Waveform, second: Waveform, gain: float) -> Waveform:
    """Both together, turned down where the sum is over full scale."""
    length = min(first.length, second.length)
    samples = first.samples[:, :length] + np.float32(gain) * second.samples[:, :length]
    return Waveform(samples / max(1.0, float(np.abs(samples).max())), first.rate)


def _like(other: Waveform, clip: Waveform) -> Waveform:
    """The other music at the clip's rate and with as many channels."""
    other = other.resample(clip.rate)
    if other.channels != clip.channels:
        other = Waveform(np.repeat(other.mono().samples, clip.channels, axis=0), clip.rate)
    return other


def examined(
    clips: Sequence[Waveform], seal: SealModel, folder: Path, made: Mapping[str, Make]
) -> dict[str, list[dict[str, Any]]]:
    """What was found of each file that is made, by what it is."""
    found: dict[str, list[dict[str, Any]]] = {what: [] for what in made}
    for number, clip in enumerate(clips):
        other = _like(clips[(number + 1) % len(clips)], clip)
        place = folder / str(number)
        with make_studio(place, seal=seal, generator=PlainGenerator(clip)) as studio:
            session = as_owner(studio)
            request = session.generation.request(
                TAGS, duration_s=round(clip.duration_s, 3), seed=1, format="wav"
            )
            release = session.generation.create(request)
            sealed = read(release.path)
            for what, make in made.items():
                content = encode(make(clip, sealed, other), "wav")
                report = session.verification.verify(content, record=False)
                found[what].append(
                    {
                        "verdict": str(report.verdict),
                        "named": report.verdict in NAMED and report.seal_id == release.seal_id,
                        "distance": report.fingerprint_distance,
                    }
                )
    return found


def counted(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The counts of one kind of file; distances are those of files whose seal is named."""
    distances = [row["distance"] for row in rows if row["named"] and row["distance"] is not None]
    return {
        "n": len(rows),
        "named": sum(row["named"] for row in rows),
        "verdicts": dict(Counter(row["verdict"] for row in rows).most_common()),
        "above_42": sum(each > OVERLAID_DISTANCE for each in distances),
        "above_46": sum(each >= COPIED_DISTANCE for each in distances),
        "called_copied": sum(row["verdict"] == Verdict.TRANSPLANTED for row in rows),
        "least": min(distances, default=None),
        "median": statistics.median(distances) if distances else None,
        "largest": max(distances, default=None),
    }


HEADER = (
    "what",
    "seal named",
    "content above 42 %, at 46 % or more",
    "called copied",
    "verdicts",
    "least, median, largest distance",
)


def text_of(result: dict[str, dict[str, Any]]) -> str:
    """The table."""
    rows = []
    for what, row in result.items():
        least, median, largest = (
            "" if row[key] is None else f"{row[key]:.3f}".lstrip("0")
            for key in ("least", "median", "largest")
        )
        verdicts = ", ".join(f"{verdict} {n}" for verdict, n in row["verdicts"].items())
        distances = f"{least}, {median}, {largest}".strip(", ")
        rows.append(
            [
                what,
                f"{row['named']} of {row['n']}",
                f"{row['above_42']}, {row['above_46']}",
                f"{row['called_copied']}",
                verdicts,
                distances,
            ]
        )
    return table(HEADER, rows)


def measure(
    clips: Sequence[Waveform], seal: SealModel, made: Mapping[str, Make] = MADE
) -> dict[str, Any]:
    """Counts and the single findings."""
    with tempfile.TemporaryDirectory() as name:
        found = examined(clips, seal, Path(name), made)
    return {
        "seal": seal.id,
        "counts": {what: counted(rows) for what, rows in found.items()},
        "files": found,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", required=True, help="folder of music")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    options = parser.parse_args()
    where = machine()
    clips, left_out = load_clips(options.audio, count=options.clips, seconds=options.seconds)
    names = [clip.name for clip in clips]
    seal = load_seal_model(StudioConfig().seal.model)
    result = measure([clip.waveform for clip in clips], seal)
    result |= {"machine": where, "clips": names, "left_out": left_out}
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{where}; weights {result['seal']}, {options.seconds:g} s")
    print(f"{names[0]} to {names[-1]}; left out: {'; '.join(left_out) or 'none'}\n")
    print(text_of(result["counts"]))


if __name__ == "__main__":
    main()
