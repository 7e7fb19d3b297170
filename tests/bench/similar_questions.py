"""Which sounds the public detector counts as nearly the same: changed ones, and different pieces.

::

    python -m tests.bench.similar_questions --audio docs/examples --clips 16
    python -m tests.bench.similar_questions --audio DIR --clips 30 --stretches 6

Pieces are the folder's files in order of name that are long enough. The first table says how many
fingerprint words a stretch of each piece and the same stretch after one change share (of the words
of both together), and how many of the changed ones the detector counts with it. The second compares
stretches of different pieces, which must not be counted together, and of the same piece.

The detector estimates the share by 256 random functions, drawn anew in each run, so *counted* may
differ by a few from run to run. ``expected`` is its mean over all draws.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import binom

from studio.verification.suspect import SuspectAudio
from studio.web.public.limits import ALIKE, SimilarQuestions
from tests.bench.output import machine, table
from watermark.audio.waveform import Waveform
from watermark.evaluation.clips import load_clips
from watermark.evaluation.distortions import AttackSpec
from watermark.util.stats import clopper_pearson

MOVED_S = 0.012
"""Half of the time between two words, where the words differ most."""

Words = NDArray[np.uint32]


def changes(seconds: float) -> list[AttackSpec]:
    """The changes that are tried, each alone."""
    return [
        *(
            AttackSpec(
                f"MP3, {kbit} kbit/s",
                "one change",
                "codec",
                {"format": "mp3", "bitrate": 1000 * kbit},
            )
            for kbit in (192, 128)
        ),
        *(
            AttackSpec(f"white noise, {db} dB below", "one change", "white-noise", {"snr_db": db})
            for db in (30, 20, 10)
        ),
        AttackSpec("first half", "one change", "crop", {"start_s": 0.0, "duration_s": seconds / 2}),
        AttackSpec(
            "start moved by 12 ms",
            "one change",
            "crop",
            {"start_s": MOVED_S, "duration_s": seconds - MOVED_S},
        ),
        *(
            AttackSpec(f"speed {factor}", "one change", "speed", {"factor": factor})
            for factor in (1.003, 1.01)
        ),
    ]


def words_of(waveform: Waveform) -> Words:
    """The different words of a sound, without those of silence, as the detector takes them."""
    print_ = SuspectAudio.of(waveform).print
    assert print_ is not None, "too short for a fingerprint"
    return np.unique(print_.words[print_.words != 0])


def share(first: Words, second: Words) -> float:
    """How many of the words of both together are in both."""
    both = len(np.intersect1d(first, second, assume_unique=True))
    return both / max(1, len(first) + len(second) - both)


def expected(shares: NDArray[np.float64], functions: int) -> NDArray[np.float64]:
    """The probability that sounds with these shares are counted together."""
    least = math.ceil(ALIKE * functions)
    return np.asarray(binom.sf(least - 1, functions, shares))


def changed(
    pieces: Sequence[Waveform], seconds: float, questions: SimilarQuestions, seed: int
) -> dict[str, Any]:
    """Each piece after each change, against the piece itself."""
    found: dict[str, Any] = {}
    own = [words_of(piece) for piece in pieces]
    for change in changes(seconds):
        rng = np.random.default_rng(seed)
        after = [words_of(change.run(piece, rng)) for piece in pieces]
        shares = [share(a, b) for a, b in zip(own, after, strict=True)]
        equal = [
            float((questions.sketch(a) == questions.sketch(b)).mean())
            for a, b in zip(own, after, strict=True)
        ]
        functions = len(questions.sketch(own[0]))
        found[change.name] = {
            "n": len(pieces),
            "least": min(shares),
            "median": statistics.median(shares),
            "counted": sum(each >= ALIKE for each in equal),
            "expected": float(expected(np.array(shares), functions).sum()),
        }
    return found


def compared(
    stretches: Sequence[Sequence[Words]], questions: SimilarQuestions, *, same: bool
) -> dict[str, Any]:
    """All pairs of stretches of different pieces, or of the same piece."""
    flat = list(itertools.chain.from_iterable(stretches))
    piece = np.repeat(np.arange(len(stretches)), [len(each) for each in stretches])
    sizes = np.array([len(words) for words in flat])
    _, columns = np.unique(np.concatenate(flat), return_inverse=True)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    words = csr_array((np.ones(len(columns), np.int32), columns, ends))
    both = (words @ words.T).toarray()
    first, second = np.triu_indices(len(flat), 1)
    taken = (piece[first] == piece[second]) == same
    first, second = first[taken], second[taken]
    if not len(first):
        return {"pairs": 0}
    shared = both[first, second]
    shares = shared / (sizes[first] + sizes[second] - shared)
    sketches = np.stack([questions.sketch(each) for each in flat])
    equal = np.array(
        [(sketches[a] == sketches[b]).mean() for a, b in zip(first, second, strict=True)]
    )
    counted = int((equal >= ALIKE).sum())
    return {
        "pairs": len(first),
        "no_word": int((shared == 0).sum()),
        "p99": float(np.quantile(shares, 0.99)),
        "largest": float(shares.max()),
        "largest_equal": float(equal.max()),
        "counted": counted,
        "expected": float(expected(shares, sketches.shape[1]).sum()),
        "at_most": clopper_pearson(counted, len(first), tail=0.05)[1],
    }


def measure(
    pieces: Sequence[Waveform], *, seconds: float, stretches: int, seed: int
) -> dict[str, Any]:
    """Both tables. Each piece is ``stretches`` times ``seconds`` long."""
    questions = SimilarQuestions(per_hour=1)
    parts = [
        [piece.slice(k * seconds, (k + 1) * seconds) for k in range(stretches)] for piece in pieces
    ]
    words = [[words_of(part) for part in each] for each in parts]
    heard = [[each for each in of_piece if len(each)] for of_piece in words]
    return {
        "pieces": len(pieces),
        "seconds": seconds,
        "stretches": sum(len(each) for each in heard),
        "threshold": ALIKE,
        "changed": changed([each[0] for each in parts], seconds, questions, seed),
        "different pieces": compared(heard, questions, same=False),
        "the same piece": compared(heard, questions, same=True),
    }


PAIRS = (
    "stretches of",
    "pairs",
    "no word",
    "99th percentile",
    "largest",
    "counted",
    "expected",
    "rate at most",
)


def text_of(result: dict[str, Any]) -> str:
    """The tables."""
    by_change = [
        [
            name,
            f"{row['least']:.3f}",
            f"{row['median']:.3f}",
            f"{row['counted']} of {row['n']}",
            f"{row['expected']:.1f}",
        ]
        for name, row in result["changed"].items()
    ]
    by_pair = [
        [
            name,
            f"{row['pairs']:,}",
            f"{row['no_word']:,}",
            f"{row['p99']:.4f}",
            f"{row['largest']:.4f}",
            f"{row['counted']}",
            f"{row['expected']:.2g}",
            f"{row['at_most']:.2g}",
        ]
        for name in ("different pieces", "the same piece")
        if (row := result[name])["pairs"]
    ]
    return "\n\n".join(
        [
            f"{result['pieces']} pieces, {result['stretches']} stretches of "
            f"{result['seconds']:g} s, threshold {result['threshold']:.0%}",
            table(["one change", "least", "median", "counted", "expected"], by_change),
            table(PAIRS, by_pair),
        ]
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", required=True, help="folder of music")
    parser.add_argument("--clips", type=int, default=30, help="pieces at most")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a stretch")
    parser.add_argument("--stretches", type=int, default=1, help="of each piece, one after another")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    options = parser.parse_args()
    where = machine()
    length_s = options.seconds * options.stretches
    clips, left_out = load_clips(options.audio, count=options.clips, seconds=length_s)
    result = measure(
        [clip.waveform for clip in clips],
        seconds=options.seconds,
        stretches=options.stretches,
        seed=options.seed,
    )
    names = [clip.name for clip in clips]
    result |= {"machine": where, "files": names, "left_out": left_out}
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{where}\n{names[0]} to {names[-1]}; left out: {'; '.join(left_out) or 'none'}\n")
    print(text_of(result))


if __name__ == "__main__":
    main()
