"""How near recordings come to each other by fingerprint bits: the same ones, and others.

``python -m tests.bench.content_distances --audio DIR [--clips 30] [--stretches 6]``

Pieces are the folder's files in order of name that are long enough. Every stretch of a piece is
compared with every other piece at each of its stretches' places, a little to either side, as a
seal's place is looked at (:func:`watermark.fingerprint.matching.distance_at`). Counted is what
would be taken for the same content under other sound, and what is too near to be called another.
Then an excerpt of each piece is compared where it agrees best, as an examination without a seal
does (:func:`watermark.fingerprint.haitsma_kalker.match`): after codecs with the piece itself, and
as it is with every other piece.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tests.bench.output import machine, table
from watermark.audio.waveform import AudioFormat, Waveform, encode, read
from watermark.evaluation.clips import load_clips
from watermark.fingerprint.haitsma_kalker import MATCH_DISTANCE, Fingerprint, fingerprint, match
from watermark.fingerprint.matching import COPIED_DISTANCE, OVERLAID_DISTANCE, distance_at

LENGTHS_S = (3.0, 6.0, 10.0)
EITHER_SIDE_S = (0.07, 0.1)
"""Three words, and what :mod:`studio.verification.evidence` looks at."""

STEP_S = 10.0
"""From one stretch of a piece to the next."""

EXCERPT_S = 3.3
"""Where an excerpt begins, which is not where a word begins."""

CODECS: tuple[tuple[str, AudioFormat | None, int], ...] = (
    ("unchanged", None, 0),
    ("MP3 128k", "mp3", 128_000),
    ("MP3 64k", "mp3", 64_000),
    ("MP3 32k", "mp3", 32_000),
    ("AAC 64k", "m4a", 64_000),
    ("Opus 48k", "opus", 48_000),
    ("Opus 24k", "opus", 24_000),
)

HEADER = (
    "stretch",
    "either side",
    "comparisons",
    f"at most {OVERLAID_DISTANCE:.0%}",
    f"below {COPIED_DISTANCE:.0%}",
    "smallest",
    "1st percentile",
    "median",
)


def distances(
    prints: Sequence[Fingerprint], *, length_s: float, either_side_s: float, stretches: int
) -> list[float]:
    """The distance of each stretch to each other piece at each place."""
    found = []
    places = [STEP_S * number for number in range(stretches)]
    for one, other in itertools.combinations(prints, 2):
        for start_s, place_s in itertools.product(places, places):
            query = one.between(start_s, start_s + length_s)
            distance = distance_at(
                query, other, place_s, within_s=either_side_s, least_s=0.9 * length_s
            )
            if distance is not None:
                found.append(distance)
    return found


def measure(pieces: Sequence[Waveform], *, stretches: int) -> list[dict[str, Any]]:
    """A row per length and per width looked at."""
    prints = [fingerprint(piece) for piece in pieces]
    rows = []
    for length_s, either_side_s in itertools.product(LENGTHS_S, EITHER_SIDE_S):
        found = np.array(
            distances(prints, length_s=length_s, either_side_s=either_side_s, stretches=stretches)
        )
        rows.append(
            {
                "length_s": length_s,
                "either_side_s": either_side_s,
                "n": len(found),
                "overlaid": int((found <= OVERLAID_DISTANCE).sum()),
                "not_another": int((found < COPIED_DISTANCE).sum()),
                "smallest": float(found.min()),
                "p01": float(np.quantile(found, 0.01)),
                "median": float(np.median(found)),
            }
        )
    return rows


def at_best(pieces: Sequence[Waveform]) -> list[dict[str, Any]]:
    """Excerpts of 10 s after each codec, and as they are; distances at the best alignment."""
    prints = [fingerprint(piece) for piece in pieces]
    excerpts = [piece.slice(EXCERPT_S, EXCERPT_S + 10.0) for piece in pieces]
    rows = []
    for name, kind, bitrate in CODECS:
        heard = [
            excerpt if kind is None else read(encode(excerpt, kind, bitrate=bitrate))
            for excerpt in excerpts
        ]
        queries = [fingerprint(each) for each in heard]
        rows.append(_row(f"the same, {name}", zip(queries, prints, strict=True)))
    for seconds in (3.0, 10.0):
        starts = (each.between(EXCERPT_S, EXCERPT_S + seconds) for each in prints)
        pairs = itertools.product(enumerate(starts), enumerate(prints))
        others = ((query, whole) for (a, query), (b, whole) in pairs if a != b)
        rows.append(_row(f"others, {seconds:g} s", others))
    return rows


def _row(what: str, pairs: Iterable[tuple[Fingerprint, Fingerprint]]) -> dict[str, Any]:
    found = np.array([each.distance for pair in pairs if (each := match(*pair)) is not None])
    return {
        "what": what,
        "n": len(found),
        "matching": int((found <= MATCH_DISTANCE).sum()),
        "smallest": float(found.min()),
        "p01": float(np.quantile(found, 0.01)),
        "median": float(np.median(found)),
        "largest": float(found.max()),
    }


BEST_HEADER = (
    "recording",
    "n",
    f"at most {MATCH_DISTANCE:.0%}",
    "smallest",
    "1st percentile",
    "median",
    "largest",
)


def best_text_of(rows: Sequence[dict[str, Any]]) -> str:
    """The table of :func:`at_best`."""
    keys = ("smallest", "p01", "median", "largest")
    return table(
        BEST_HEADER,
        [
            [row["what"], f"{row['n']:,}", f"{row['matching']}", *(_short(row[k]) for k in keys)]
            for row in rows
        ],
    )


def _short(distance: float) -> str:
    return f"{distance:.3f}".lstrip("0")


def text_of(rows: Sequence[dict[str, Any]]) -> str:
    """The table."""
    return table(
        HEADER,
        [
            [
                f"{row['length_s']:g} s",
                f"{row['either_side_s']:g} s",
                f"{row['n']:,}",
                f"{row['overlaid']}",
                f"{row['not_another']}",
                *(_short(row[key]) for key in ("smallest", "p01", "median")),
            ]
            for row in rows
        ],
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", required=True, help="folder of music")
    parser.add_argument("--clips", type=int, default=30, help="pieces at most")
    parser.add_argument("--stretches", type=int, default=6, help="of each piece, every 10 s")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    options = parser.parse_args()
    where = machine()
    length_s = STEP_S * options.stretches + 1.0
    clips, left_out = load_clips(options.audio, count=options.clips, seconds=length_s)
    pieces = [clip.waveform for clip in clips]
    rows, best = measure(pieces, stretches=options.stretches), at_best(pieces)
    names = [clip.name for clip in clips]
    if options.json:
        result = {"machine": where, "files": names, "left_out": left_out}
        result |= {"rows": rows, "at_best": best}
        print(json.dumps(result, indent=2))
        return
    print(f"{where}\n{len(names)} pieces, {names[0]} to {names[-1]}\n")
    print(f"{text_of(rows)}\n\n{best_text_of(best)}")


if __name__ == "__main__":
    main()
