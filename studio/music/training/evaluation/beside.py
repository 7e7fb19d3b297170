"""Generated clips beside the composer's own renders of the same requests.

Each figure of :mod:`studio.music.training.evaluation.musical` is only worth something next to the
same figure of a render whose notes are known, and next to chance: the agreement with the score of
another request.

>>> tags = ("genre/jazz", "genre/rock", "mood/calm", "tempo/fast")
>>> requests = fresh_requests(tags, per_genre=2, seed=3)
>>> [request.tags[0] for request in requests]
['genre/jazz', 'genre/rock', 'genre/jazz', 'genre/rock']
>>> len({request.seed for request in requests})
4
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from studio.core.tags import KINDS
from studio.music.training.evaluation.musical import (
    Expected,
    ExpectedChord,
    ExpectedNote,
    describe_sound,
    distinct_token_rate,
    log_mel_error_db,
    summarise,
)

if TYPE_CHECKING:
    from studio.music.composer.notation.score import Score
    from watermark.audio.waveform import Waveform

__all__ = [
    "FreshRequest",
    "Pair",
    "compare",
    "expected_of_score",
    "fresh_requests",
]


@dataclass(frozen=True, slots=True)
class FreshRequest:
    """One request of an evaluation: a tag of every kind, and a seed."""

    tags: tuple[str, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A generated clip, the composer's render of the same request, and what the score says.

    ``tokens`` are the clip's, (frames, codebooks), for a generator that has any.
    """

    made: Waveform
    reference: Waveform
    expected: Expected
    tokens: NDArray[Any] | None = None


def fresh_requests(tags: Sequence[str], *, per_genre: int, seed: int) -> list[FreshRequest]:
    """`per_genre` requests of every genre; the other kinds of tag are dealt out evenly."""
    rng = np.random.default_rng([seed, 5])
    genres = sorted(tag for tag in tags if tag.startswith("genre/"))
    count = per_genre * len(genres)
    columns = [genres * per_genre]
    for kind in KINDS[1:]:
        names = sorted(tag for tag in tags if tag.startswith(f"{kind}/"))
        if names:
            column = [names[i % len(names)] for i in range(count)]
            columns.append([column[i] for i in rng.permutation(count)])
    seeds = rng.choice(2**31 - 1, size=count, replace=False)
    rows = zip(zip(*columns, strict=True), seeds, strict=True)
    return [FreshRequest(row, int(number)) for row, number in rows]


def expected_of_score(score: Score, duration_s: float) -> Expected:
    """What a score says of its first `duration_s` seconds."""
    chords = tuple(
        ExpectedChord(score.seconds(c.start), score.seconds(c.end), c.tones) for c in score.chords
    )
    notes = tuple(
        ExpectedNote(score.seconds(n.start), score.seconds(n.length), n.pitch)
        for part in score.stem("lead")
        for n in part.notes
    )
    return _within(Expected(chords, notes), duration_s)


def _within(expected: Expected, duration_s: float) -> Expected:
    return Expected(
        tuple(
            replace(chord, end_s=min(chord.end_s, duration_s))
            for chord in expected.chords
            if chord.start_s < duration_s
        ),
        tuple(note for note in expected.lead if note.start_s < duration_s),
    )


def compare(pairs: Iterable[Pair]) -> dict[str, Any]:
    """Figures of the generated clips, of the references, of chance, and between the two."""
    pairs = list(pairs)
    made = [describe_sound(pair.made, pair.expected) for pair in pairs]
    renders = [describe_sound(pair.reference, pair.expected) for pair in pairs]
    others = [pairs[(i + 1) % len(pairs)].expected for i in range(len(pairs))]
    chance = summarise(
        [describe_sound(pair.made, other) for pair, other in zip(pairs, others, strict=True)]
    )
    errors = [log_mel_error_db(pair.made, pair.reference) for pair in pairs]
    report: dict[str, Any] = {
        "generated": summarise(made),
        "composer's render": summarise(renders),
        "generated against another request's score": {
            name: chance[name] for name in ("chord_agreement", "lead_note_agreement")
        },
        "log_mel_error_db": float(np.mean(errors)),
    }
    rates = [distinct_token_rate(pair.tokens) for pair in pairs if pair.tokens is not None]
    if rates:
        report["distinct_token_rate"] = float(np.mean(rates))
    return report
