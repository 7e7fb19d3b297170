"""The vocabulary of style tags: the only words a person can generate music with.

A tag is namespaced (``genre/bossa-nova``, ``lead/piano``), because the same word can name a genre,
an instrument and a mood. The vocabulary is files that a person edits, ``configs/consent/tags.yaml``
and ``configs/consent/tags/*.yaml``, and rights holders sign;
it says what a tag *is*. Whether anyone may generate with it is decided by the grants
(:mod:`studio.consent`), and whether a model knows it by the model's own tag list.

>>> vocabulary = Vocabulary([Tag(TagId("genre/waltz"), "a waltz in three-four time")])
>>> vocabulary["genre/waltz"].kind
'genre'
>>> vocabulary.parse(["genre/waltz"])[0].phrase
'a waltz in three-four time'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NewType

from studio.core.errors import ConfigError, UnknownTagError

__all__ = ["KINDS", "Tag", "TagId", "Vocabulary", "listing_key"]

TagId = NewType("TagId", str)

KINDS = ("genre", "mood", "lead", "tempo")
"""Kinds of tag in the order they are shown; a request may name at most one tag of each."""

_TAG_ID = re.compile(r"^(genre|mood|lead|tempo)/[a-z0-9]+(-[a-z0-9]+)*$")


@dataclass(frozen=True, slots=True)
class Tag:
    """One style tag: its id and the wording a text-conditioned hub model is prompted with."""

    id: TagId
    phrase: str

    def __post_init__(self) -> None:
        if not _TAG_ID.match(self.id):
            raise ConfigError(
                f"tag id {self.id!r} is not of the form kind/name with kind one of "
                f"{', '.join(KINDS)}"
            )

    @property
    def kind(self) -> str:
        return self.id.split("/", 1)[0]

    @property
    def name(self) -> str:
        return self.id.split("/", 1)[1]


def listing_key(tag: Tag) -> tuple[int, str]:
    """Sorts tags for people: by kind, and by name within it.

    Tempo tags keep their order, from slow to fast.

    >>> tags = [Tag(TagId(id), "") for id in ("tempo/slow", "tempo/fast", "mood/dark", "mood/calm")]
    >>> [tag.name for tag in sorted(tags, key=listing_key)]
    ['calm', 'dark', 'slow', 'fast']
    """
    return KINDS.index(tag.kind), "" if tag.kind == "tempo" else tag.name


class Vocabulary(Mapping[str, Tag]):
    """All known tags, in file order. Looking up an unknown id raises :class:`UnknownTagError`."""

    def __init__(self, tags: Iterable[Tag]) -> None:
        self._tags: dict[str, Tag] = {}
        for tag in tags:
            if tag.id in self._tags:
                raise ConfigError(f"tag {tag.id!r} is listed twice")
            self._tags[tag.id] = tag

    def __getitem__(self, tag_id: str) -> Tag:
        try:
            return self._tags[tag_id]
        except KeyError:
            raise UnknownTagError(tag_id) from None

    def __contains__(self, tag_id: object) -> bool:
        return tag_id in self._tags

    def __iter__(self) -> Iterator[str]:
        return iter(self._tags)

    def __len__(self) -> int:
        return len(self._tags)

    def of_kind(self, kind: str) -> list[Tag]:
        return [tag for tag in self._tags.values() if tag.kind == kind]

    def parse(self, tag_ids: Sequence[str]) -> tuple[Tag, ...]:
        """Resolve ids to tags. Raises :class:`UnknownTagError` for the first id not known."""
        return tuple(self[tag_id.strip()] for tag_id in tag_ids)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read ``tags.yaml``: a mapping kind -> name -> phrase. Raises :class:`ConfigError`."""
        import yaml

        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls(
                Tag(TagId(f"{kind}/{name}"), str(phrase))
                for kind, names in data.items()
                for name, phrase in names.items()
            )
        except (OSError, yaml.YAMLError, AttributeError, TypeError) as exc:
            raise ConfigError(f"cannot read the tag vocabulary {path}: {exc}") from exc

    @classmethod
    def drafted(cls, folder: Path) -> Vocabulary:
        """Every tag in the drafts of a consent folder: ``tags.yaml``, then ``tags/*.yaml``.

        Raises :class:`ConfigError`.
        """
        files = [folder / "tags.yaml", *sorted((folder / "tags").glob("*.yaml"))]
        return cls(tag for path in files for tag in cls.load(path).values())
