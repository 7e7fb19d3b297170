"""The only way to a generation model: a decision that permits the request.

Nothing else in the studio calls a model's ``generate`` or ``perform``
(``tests/unit/consent/test_enforcement.py`` reads every module to see that), and release believes
only a decision that :class:`~studio.consent.policy.ConsentPolicy` took itself: one put together by
hand, or changed with ``dataclasses.replace``, opens nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studio.consent.types import Decision
from studio.core.errors import ConsentRefusedError

if TYPE_CHECKING:
    from studio.core.tags import Tag
    from studio.music.composer.notation.score import Score
    from studio.music.models.generator import MusicGenerator
    from studio.music.models.house.performer import Performance
    from watermark.audio.waveform import Waveform

__all__ = ["generate_with_decision", "perform_under", "require_permission"]


def generate_with_decision(
    decision: Decision,
    generator: MusicGenerator,
    tags: Sequence[Tag],
    *,
    model: str,
    **options: Any,
) -> Waveform:
    """The music of ``generator.generate(tags, **options)``, by permission of ``decision`` only.

    Raises :class:`ConsentRefusedError` as :func:`require_permission` does.
    """
    require_permission(decision, tags, model=model)
    return generator.generate(tags, **options)


def perform_under(
    decision: Decision,
    generator: MusicGenerator,
    tags: Sequence[Tag],
    score: Score,
    *,
    model: str,
    **options: Any,
) -> Performance:
    """``generator.perform(tags, score, **options)``: mix and stems, by permission of ``decision``.

    Raises :class:`ConsentRefusedError` as :func:`require_permission` does; the generator refuses a
    score of other tags.
    """
    require_permission(decision, tags, model=model)
    return generator.perform(tags, score, **options)


def require_permission(decision: object, tags: Sequence[Tag], *, model: str) -> None:
    """Raises :class:`ConsentRefusedError` where the decision is not one that the policy took, does
    not allow the request, or is about other tags or another model."""
    if not isinstance(decision, Decision) or not decision.is_policys_own:
        raise ConsentRefusedError("nothing is generated without a decision of the consent policy")
    if (
        not decision.allowed
        or decision.model != model
        or tuple(answer.tag for answer in decision.tags) != tuple(tag.id for tag in tags)
    ):
        raise ConsentRefusedError("the decision is not one that allows this request")
