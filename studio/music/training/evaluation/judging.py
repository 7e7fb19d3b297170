"""Whether a performance is heard as requested: a classifier as judge.

The judge learns genre, mood, lead and tempo from renders of other requests, never from the model.
Its own share of right answers on the references of the measured requests stands beside that on the
performances: a judge that errs bounds what it can find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studio.core.tags import KINDS
from studio.music.composer.notation.score import Score
from studio.music.models.house.notes import RATE
from studio.music.training.evaluation.beside import FreshRequest
from studio.music.training.evaluation.classifier import TagClassifier
from studio.music.training.evaluation.metrics import frechet_distance
from watermark.audio.waveform import Waveform

__all__ = ["fitted_judge", "heard_as_asked"]

Render = Callable[[FreshRequest], tuple[Score, Waveform]]
"""The score of a request and its render."""


def fitted_judge(
    tags: Sequence[str], requests: Sequence[FreshRequest], render: Render, *, seed: int
) -> TagClassifier:
    """A judge that learnt from the renders of `requests`, which nothing is measured on."""
    judge = TagClassifier(tags, RATE)
    features = judge.features([_mono(render(request)[1]) for request in requests])
    judge.fit(features, [request.tags for request in requests], seed=seed)
    return judge


def heard_as_asked(
    judge: TagClassifier,
    requests: Sequence[FreshRequest],
    performances: Sequence[Waveform],
    references: Sequence[Waveform],
) -> dict[str, Any]:
    """Shares judged right for each kind of tag, of performances and of references.

    Also the Fréchet distance between the two sets in the judge's features, and between the two
    halves of the references, which is what the number of clips alone makes of it.
    """
    made, real = (judge.features([_mono(w) for w in rows]) for rows in (performances, references))
    figures: dict[str, Any] = {}
    for kind in KINDS:
        wanted = [next(t for t in r.tags if t.startswith(f"{kind}/")) for r in requests]
        figures[kind] = {
            "performance": _share(judge, made, kind, wanted),
            "composer's render": _share(judge, real, kind, wanted),
            "chance": round(1 / len(judge.names[kind]), 4),
        }
    made, real = judge.embed(made), judge.embed(real)
    figures["frechet_distance"] = {
        "performance": round(frechet_distance(made, real), 3),
        "halves of the renders": round(frechet_distance(real[::2], real[1::2]), 3),
    }
    return figures


def _share(
    judge: TagClassifier, features: NDArray[np.float32], kind: str, wanted: Sequence[str]
) -> float:
    heard = [row[kind] for row in judge.predict(features)]
    return round(float(np.mean([h == w for h, w in zip(heard, wanted, strict=True)])), 4)


def _mono(waveform: Waveform) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = waveform.mono().samples[0]
    return samples
