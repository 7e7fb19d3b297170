"""Whether two requests make the same music.

>>> from studio.provenance.release import GenerationRequest
>>> from dataclasses import replace
>>> a = GenerationRequest(("genre/jazz", "mood/calm"), 10.0, "experiment", "house", "wav", seed=7)
>>> same_music(a, replace(a, format="mp3", tags=("mood/calm", "genre/jazz")))
True
>>> same_music(a, replace(a, seed=8)), identical(a, replace(a, format="mp3")), identical(a, a)
(False, False, True)
"""

from __future__ import annotations

from studio.provenance.release import GenerationRequest

__all__ = ["identical", "same_music"]


def same_music(one: GenerationRequest, other: GenerationRequest) -> bool:
    """Whether both requests make the same sound; titles and formats may differ."""
    return one.seed is not None and _music(one) == _music(other)


def identical(one: GenerationRequest, other: GenerationRequest) -> bool:
    """Whether an output of one is an output of the other in every respect.

    Never where there is a note: notes are private, and an output's own is not known any more.
    """
    return (
        same_music(one, other)
        and one.note is None
        and other.note is None
        and _wording(one) == _wording(other)
    )


def _music(request: GenerationRequest) -> tuple[object, ...]:
    return (
        frozenset(request.tags),
        request.sheet,
        request.duration_s,
        request.seed,
        request.guidance,
        request.model,
        request.parent,
    )


def _wording(request: GenerationRequest) -> tuple[object, ...]:
    return (
        request.use,
        request.territory,
        request.format,
        request.title,
        frozenset(request.human),
    )
