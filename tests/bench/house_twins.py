"""How near house renders of the same genre, mood and tempo come to each other.

``python -m tests.bench.house_twins [--groups 60] [--pieces 5]``

Each group has a genre, a mood and a tempo drawn at random; its pieces are composed with a lead and
a seed of their own and rendered with the soundfont, as the training catalogue is. Only pieces of
the same group are compared: at the same place of both (6 s, 0.1 s to either side), as wholes at the
place where they agree best, and as the public detector counts questions (10 s, the same place).
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from studio.music.composer.catalogue.compose import TEMPI, compose
from studio.music.composer.catalogue.genres import GENRES
from studio.music.composer.catalogue.moods import LEADS, MOODS
from studio.music.training.rendering import RATE, Renderer
from studio.web.public.limits import ALIKE, SimilarQuestions
from tests.bench.output import machine, table
from tests.bench.similar_questions import expected, share, words_of
from watermark.audio.waveform import Waveform
from watermark.fingerprint.haitsma_kalker import MATCH_DISTANCE, fingerprint, match
from watermark.fingerprint.matching import COPIED_DISTANCE, OVERLAID_DISTANCE, distance_at

STRETCH_S = 10.0


def rendered(groups: int, pieces: int, seed: int) -> list[list[Waveform]]:
    """The pieces of each group."""
    draw = random.Random(seed)
    found = []
    with Renderer() as renderer:
        for group in range(groups):
            genre, mood, tempo = (draw.choice(sorted(kind)) for kind in (GENRES, MOODS, TEMPI))
            of_group = []
            for number in range(pieces):
                composition = compose(
                    seed=1000 * seed + pieces * group + number,
                    genre=genre,
                    mood=mood,
                    lead=draw.choice(sorted(LEADS)),
                    tempo=tempo,
                )
                samples = renderer.render(composition).astype(np.float32) / 32_768
                of_group.append(Waveform(samples[None], RATE))
            found.append(of_group)
    return found


def compared(groups: Sequence[Sequence[Waveform]]) -> dict[str, Any]:
    """All pairs of a group."""
    placed: list[float] = []
    wholes: list[float] = []
    shares: list[float] = []
    counted = 0
    questions = SimilarQuestions(per_hour=1)
    for pieces in groups:
        prints = [fingerprint(piece) for piece in pieces]
        lasts = [int(piece.duration_s / STRETCH_S) for piece in pieces]
        words = [
            [words_of(piece.slice(STRETCH_S * k, STRETCH_S * (k + 1))) for k in range(last)]
            for piece, last in zip(pieces, lasts, strict=True)
        ]
        for a, b in itertools.combinations(range(len(pieces)), 2):
            whole = match(prints[a], prints[b])
            if whole is not None:
                wholes.append(whole.distance)
            for k in range(min(lasts[a], lasts[b])):
                start_s = STRETCH_S * k
                query = prints[a].between(start_s, start_s + 6.0)
                distance = distance_at(query, prints[b], start_s, within_s=0.1, least_s=5.5)
                if distance is not None:
                    placed.append(distance)
                one, other = words[a][k], words[b][k]
                if len(one) and len(other):
                    shares.append(share(one, other))
                    equal = questions.sketch(one) == questions.sketch(other)
                    counted += bool(equal.mean() >= ALIKE)
    functions = len(questions.sketch(np.array([1], np.uint32)))
    return {
        "placed": _spread(placed),
        "placed_overlaid": sum(each <= OVERLAID_DISTANCE for each in placed),
        "placed_not_another": sum(each < COPIED_DISTANCE for each in placed),
        "whole": _spread(wholes),
        "whole_matching": sum(each <= MATCH_DISTANCE for each in wholes),
        "stretches": len(shares),
        "largest_share": max(shares),
        "counted": counted,
        "expected": float(expected(np.array(shares), functions).sum()),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, p01, median = np.quantile(values, [0.0, 0.01, 0.5])
    return {"n": len(values), "smallest": low, "p01": p01, "median": median}


def text_of(result: dict[str, Any]) -> str:
    """The tables."""
    rows = [
        [
            name,
            f"{spread['n']:,.0f}",
            counts,
            *(f"{spread[key]:.3f}".lstrip("0") for key in ("smallest", "p01", "median")),
        ]
        for name, spread, counts in (
            (
                "6 s at the same place",
                result["placed"],
                f"{result['placed_overlaid']} at most {OVERLAID_DISTANCE:.0%}, "
                f"{result['placed_not_another']} below {COPIED_DISTANCE:.0%}",
            ),
            (
                "wholes, best place",
                result["whole"],
                f"{result['whole_matching']} at most {MATCH_DISTANCE:.0%}",
            ),
        )
    ]
    return "\n\n".join(
        [
            table(["what", "pairs", "near", "smallest", "1st percentile", "median"], rows),
            f"10 s at the same place, n = {result['stretches']}: largest share of words "
            f"{result['largest_share']:.3f}; counted together {result['counted']}, "
            f"expected {result['expected']:.1f}",
        ]
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=60)
    parser.add_argument("--pieces", type=int, default=5, help="of each group")
    parser.add_argument("--seed", type=int, default=0, help="of tags, leads and pieces")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    options = parser.parse_args()
    where = machine()
    result = compared(rendered(options.groups, options.pieces, options.seed))
    if options.json:
        print(json.dumps(result | {"machine": where}, indent=2))
        return
    print(f"{where}; {options.groups} groups of {options.pieces} pieces\n")
    print(text_of(result))


if __name__ == "__main__":
    main()
