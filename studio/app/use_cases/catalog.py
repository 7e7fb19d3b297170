"""Tags and models to choose from, and what consent says of a selection."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from studio.accounts.permissions import Permission
from studio.app.use_cases.base import UseCases, requires
from studio.core.errors import ModelError

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.consent import Decision, TagDecision
    from studio.consent.name_screen.evaluation import Result, Row
    from studio.consent.name_screen.screen import Finding
    from studio.core.tags import Tag, Vocabulary
    from studio.music.models.config import ModelConfig

__all__ = ["Catalog", "TagStatus"]


@dataclass(frozen=True, slots=True)
class TagStatus:
    """What a person sees beside a tag before asking for music with it."""

    tag: Tag
    granted: bool
    holders: tuple[str, ...]  # names of those whose grants cover it
    grants: tuple[str, ...]  # ids of the grants that cover it
    valid_until: datetime | None  # end of the grant that would be relied on; None: until revoked
    reason: str | None  # a studio.consent.Reason, or None where granted
    explanation: str  # one line of plain words
    known_to_model: bool  # the model was trained on the tag, or takes any phrase
    considered: tuple[str, ...]  # one line per grant that names the tag, covering or not


class Catalog(UseCases):
    """Looking at tags, models and consent."""

    @requires(Permission.BROWSE)
    def vocabulary(self, studio: Container) -> Vocabulary:
        """The style tags there are, as rights holders signed them."""
        return studio.vocabulary()

    @requires(Permission.BROWSE)
    def models(self, studio: Container) -> Mapping[str, ModelConfig]:
        """Every configured generation model by id; nothing is loaded."""
        return studio.models()

    @requires(Permission.BROWSE)
    def unusable(self, studio: Container) -> Mapping[str, str]:
        """Models that no music can be made with on this machine: id and why."""
        from studio.music.models.presence import why_unusable

        reasons = {id_: why_unusable(model) for id_, model in studio.models().items()}
        return {id_: why for id_, why in reasons.items() if why is not None}

    @requires(Permission.BROWSE)
    def performs_scores(self, studio: Container, model: str) -> bool:
        """Whether a model plays a composed score; False for one that is not configured."""
        return studio.performs_scores(model)

    @requires(Permission.BROWSE)
    def decide(
        self,
        studio: Container,
        tags: Sequence[str],
        *,
        use: str | None = None,
        territory: str | None = None,
        model: str | None = None,
        at: datetime | None = None,
    ) -> Decision:
        """The consent decision a request would get (now, unless ``at`` says otherwise)."""
        return decide(studio, tags, use=use, territory=territory, model=model, at=at)

    @requires(Permission.BROWSE)
    def tag_status(
        self,
        studio: Container,
        model: str | None = None,
        use: str | None = None,
        territory: str | None = None,
    ) -> list[TagStatus]:
        """Every tag of the vocabulary, in its order, with its consent for this use."""
        model = model or studio.config.generation.model
        vocabulary = studio.vocabulary()
        decision = decide(studio, list(vocabulary), use=use, territory=territory, model=model)
        known = _known_tags(studio, model)
        return [
            _tag_status(vocabulary[answer.tag], answer, known is None or answer.tag in known)
            for answer in decision.tags
        ]

    @requires(Permission.BROWSE)
    def check_title(self, studio: Container, title: str) -> None:
        """Raises :class:`NameRefusedError` for a title with an artist's name."""
        studio.name_screen().check(title, what="title")

    @requires(Permission.BROWSE)
    def names_in(self, studio: Container, text: str) -> Sequence[Finding]:
        """The artists' names in a text."""
        return studio.name_screen().find(text)

    @requires(Permission.BROWSE)
    def measure_name_screen(self, studio: Container, rows: Iterable[Row]) -> Result:
        """How many texts the screen of names gets right."""
        from studio.consent.name_screen.evaluation import measure

        return measure(studio.name_screen(), rows)


def decide(
    studio: Container,
    tags: Sequence[str],
    *,
    use: str | None = None,
    territory: str | None = None,
    model: str | None = None,
    at: datetime | None = None,
) -> Decision:
    """See :meth:`Catalog.decide`."""
    defaults = studio.config.generation
    return studio.policy().decide(
        tags,
        use=use or defaults.use,
        territory=territory or defaults.territory,
        model=model or defaults.model,
        at=at or studio.consent().present(datetime.now(UTC)),
    )


def _known_tags(studio: Container, model: str) -> Collection[str] | None:
    """Tags the model was trained on; None: it takes any. Empty where it cannot be used."""
    from studio.music.models.config import describe

    config = studio.models().get(model)
    if config is None:
        return ()
    try:
        return describe(config).tags
    except ModelError:
        return ()


def _tag_status(tag: Tag, answer: TagDecision, known_to_model: bool) -> TagStatus:
    covering = [verdict for verdict in answer.considered if verdict.covers]
    lines = tuple(
        f"{verdict.holder.name} ({verdict.grant.id}): "
        + ("covers this use" if verdict.covers else ", ".join(verdict.failures))
        for verdict in answer.considered
    )
    return TagStatus(
        tag=tag,
        granted=answer.granted,
        holders=tuple(dict.fromkeys(v.holder.name for v in covering)) if answer.granted else (),
        grants=tuple(verdict.grant.id for verdict in covering) if answer.granted else (),
        valid_until=answer.grant.valid_until if answer.grant is not None else None,
        reason=None if answer.reason is None else str(answer.reason),
        explanation=answer.explanation,
        known_to_model=known_to_model,
        considered=lines,
    )
