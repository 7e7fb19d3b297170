"""Whether a performance is heard as what was asked for, by a judge that learnt from other music.

The judge (:mod:`studio.music.training.evaluation.classifier`) learnt genre, mood, lead and tempo
from the composer's music as the soundfont plays it, never from the model. Its own share of right
answers on the references of the measured requests stands beside that on the performances: a judge
that errs bounds what it can find.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from studio.core.tags import KINDS
from studio.music.training.evaluation.beside import FreshRequest
from studio.music.training.evaluation.classifier import TagClassifier, heard
from studio.music.training.evaluation.metrics import frechet_distance
from watermark.audio.waveform import Waveform

__all__ = ["heard_as_asked"]


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
    made, real = heard(performances), heard(references)
    asked = [request.tags for request in requests]
    shares = judge.right(made, asked), judge.right(real, asked)
    figures: dict[str, Any] = {
        kind: {
            "performance": round(shares[0][kind], 4),
            "composer's render": round(shares[1][kind], 4),
            "chance": round(1 / len(judge.names[kind]), 4),
        }
        for kind in KINDS
    }
    made, real = judge.embed(made), judge.embed(real)
    figures["frechet_distance"] = {
        "performance": round(frechet_distance(made, real), 3),
        "halves of the renders": round(frechet_distance(real[::2], real[1::2]), 3),
    }
    return figures
