"""A request for music as a value: what the page and the REST layer ask for, wherever it is made.

An order can be carried out in this process or be written down for a worker (JSON). Seeds are drawn
when it is made, so that work that is begun again makes the same music.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from studio.core.errors import UsageError
from studio.generation.derived.derivation import Wish
from studio.generation.takes import MOST_SEED, take_requests
from studio.provenance.release import GenerationRequest

__all__ = ["Order"]


@dataclass(frozen=True, slots=True)
class Order:
    """One request for music.

    Args:
        kind: ``create`` makes ``request``; ``vary`` and ``extend`` start from ``source``.
        model: which model plays it.
        seconds: of music asked for, one take.
        takes: how many outputs, with the seeds that follow.
        request: what is created; None for the other kinds.
        source: the output that is varied or extended.
        options: what :meth:`arguments` makes of them; JSON values.
    """

    kind: Literal["create", "vary", "extend"]
    model: str
    seconds: float
    takes: int = 1
    request: GenerationRequest | None = None
    source: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def create(cls, request: GenerationRequest, takes: int = 1) -> Order:
        """Make ``takes`` outputs of one request. Raises :class:`UsageError`."""
        first = take_requests(request, takes)[0]
        if first.seed is None:  # one take
            first = replace(first, seed=secrets.randbelow(MOST_SEED + 1))
        elif request.seed is None:  # drawn apart from each other; those of a job follow each other
            first = replace(first, seed=secrets.randbelow(MOST_SEED + 2 - takes))
        return cls("create", request.model, request.duration_s, takes, first)

    @classmethod
    def vary(
        cls, source: str, like: GenerationRequest, wish: Wish | None = None, **options: Any
    ) -> Order:
        """Make a variation of an output; ``like`` is its request, or as it is changed."""
        options = _seeded({**options, "wish": asdict(wish or Wish())})
        return cls("vary", like.model, like.duration_s, 1, None, source, options)

    @classmethod
    def extend(cls, source: str, like: GenerationRequest, seconds: float, **options: Any) -> Order:
        """Make an output go on for ``seconds`` more."""
        options = _seeded({**options, "seconds": seconds})
        return cls("extend", like.model, like.duration_s + seconds, 1, None, source, options)

    def requests(self) -> tuple[GenerationRequest, ...]:
        """What is created, one request a take, with its seed."""
        assert self.request is not None
        return take_requests(self.request, self.takes)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of ``session.generation.vary`` or ``extend``."""
        arguments = dict(self.options)
        if (wish := arguments.get("wish")) is not None:
            arguments["wish"] = Wish(**wish)
        return arguments

    def to_text(self) -> str:
        """As it is written down for a worker."""
        body = asdict(self)
        body["options"] = dict(self.options)
        return json.dumps(body)

    @classmethod
    def from_text(cls, text: str) -> Order:
        """The order that was written down. Raises :class:`UsageError` for anything else."""
        try:
            body = json.loads(text)
            request = body["request"]
            if request is not None:
                body["request"] = GenerationRequest.from_json(request)
            return cls(**body)
        except (ValueError, TypeError, KeyError) as exc:
            raise UsageError(
                "the request was written down by another version of the studio; ask again"
            ) from exc


def _seeded(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with a seed, which is drawn where there is none."""
    seed = options.get("seed")
    return {**options, "seed": secrets.randbelow(MOST_SEED + 1) if seed is None else seed}
