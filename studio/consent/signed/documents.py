"""The five kinds of document that rights holders sign.

``holder`` makes somebody known, ``key`` changes the holder's key, ``tags`` adds to the vocabulary,
``grant`` permits, ``revocation`` takes back. The bytes that are signed are the canonical JSON
(RFC 8785) of the whole document, so that a signature can never be read as one on something else.
The format is written down in ``docs/consent.md``.

>>> from datetime import UTC, datetime
>>> document = RevocationDocument(
...     id="0" * 32, holder="ada", serial=7, issued_at=datetime(2026, 5, 1, tzinfo=UTC),
...     revocation=RevocationTerms(grant="g1"))
>>> canonical(document)[:60]
b'{"audience":"*","holder":"ada","id":"00000000000000000000000'
>>> parse_document(canonical(document)) == document
True
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from studio.consent.signed.keys import PublicKey
from studio.consent.types import (
    Grant,
    GrantTerms,
    HolderKind,
    Id,
    Instant,
    Record,
    RightsHolder,
    TagId,
    Text,
)

__all__ = [
    "ANY_STUDIO",
    "BaseDocument",
    "Document",
    "GrantDocument",
    "HolderDocument",
    "KeyDocument",
    "RevocationDocument",
    "RevocationTerms",
    "TagTerms",
    "TagsDocument",
    "canonical",
    "parse_document",
    "short_type",
    "strict_json",
]

_PREFIX = "consented-music-studio/"
ANY_STUDIO = "*"
"""In `audience`: the document speaks to every studio."""


def _is_key(text: str) -> str:
    PublicKey.parse(text)
    return text


_PublicKeyText = Annotated[str, AfterValidator(_is_key)]


class BaseDocument(Record):
    """What every document says."""

    version: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]  # random; no two documents share one
    holder: Id  # who speaks, and signs
    serial: Annotated[int, Field(ge=1, le=2**53 - 1)]  # rises with every document
    issued_at: Instant
    import_before: Instant | None = None  # the file is void from then on; None: never
    # The studio spoken to. Documents of old may leave it out; a grant that does is not recorded.
    audience: Literal["*"] | Id = ANY_STUDIO


class HolderTerms(Record):
    """Who somebody is."""

    name: Annotated[Text, Field(min_length=1)]
    kind: HolderKind
    public_key: _PublicKeyText
    note: Text = ""


class HolderDocument(BaseDocument):
    """Somebody makes themselves known; signed with the key it names."""

    type: Literal["consented-music-studio/holder"] = "consented-music-studio/holder"
    profile: HolderTerms

    def rights_holder(self) -> RightsHolder:
        return RightsHolder(id=self.holder, **self.profile.model_dump())


class KeyDocument(BaseDocument):
    """From now on another key signs for the holder; signed with both, the new one and the old."""

    type: Literal["consented-music-studio/key"] = "consented-music-studio/key"
    new_public_key: _PublicKeyText


class TagTerms(Record):
    """One style tag: its id, and the wording a text-conditioned model is prompted with."""

    id: TagId
    phrase: Annotated[Text, Field(min_length=1)]


class TagsDocument(BaseDocument):
    """Tags that this holder adds to the vocabulary."""

    type: Literal["consented-music-studio/tags"] = "consented-music-studio/tags"
    tags: Annotated[tuple[TagTerms, ...], Field(min_length=1, max_length=1000)]


class GrantDocument(BaseDocument):
    """A permission."""

    type: Literal["consented-music-studio/grant"] = "consented-music-studio/grant"
    grant: GrantTerms

    def as_grant(self) -> Grant:
        terms = {name: getattr(self.grant, name) for name in GrantTerms.model_fields}
        return Grant.model_construct(holder=self.holder, **terms)  # was checked as GrantTerms


class RevocationTerms(Record):
    """What is taken back. ``effective_at`` None: as soon as the studio has it."""

    grant: Id
    effective_at: Instant | None = None
    reason: Text = ""


class RevocationDocument(BaseDocument):
    """A permission taken back."""

    type: Literal["consented-music-studio/revocation"] = "consented-music-studio/revocation"
    revocation: RevocationTerms


Document: TypeAlias = (
    HolderDocument | KeyDocument | TagsDocument | GrantDocument | RevocationDocument
)
_adapter: TypeAdapter[Document] = TypeAdapter(Annotated[Document, Field(discriminator="type")])


def short_type(document: Document) -> str:
    """``grant`` for a :class:`GrantDocument`."""
    return document.type.removeprefix(_PREFIX)


def canonical(document: Document | dict[str, Any]) -> bytes:
    """The bytes that are signed and hashed. Raises :class:`ValueError` where there are none."""
    import rfc8785

    body = document if isinstance(document, dict) else document.model_dump(mode="json")
    try:
        return rfc8785.dumps(body)
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as exc:
        raise ValueError(f"the document has no canonical form: {exc}") from exc


def parse_document(content: bytes | dict[str, Any]) -> Document:
    """The document in its JSON. Raises :class:`ValueError` naming the field at fault."""
    body = content if isinstance(content, dict) else strict_json(content)
    try:
        return _adapter.validate_python(body)
    except ValidationError as exc:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in error['loc'][1:]) or 'type'}: {error['msg']}"
            for error in exc.errors()[:5]
        )
        raise ValueError(faults) from exc


def strict_json(content: bytes) -> Any:
    """JSON without what two readers could understand differently. Raises :class:`ValueError`.

    >>> strict_json(b'{"grant": 1, "grant": 2}')
    Traceback (most recent call last):
    ValueError: the field 'grant' is there twice
    """
    try:
        return json.loads(
            content.decode("utf-8"), object_pairs_hook=_once_each, parse_constant=_no_constant
        )
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, value in pairs:
        if name in body:
            raise ValueError(f"the field {name!r} is there twice")
        body[name] = value
    return body


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
