"""The consent shipped with the studio: drafts, and signing them.

A folder holds the drafts and the signed files made of them::

    holders.yaml      version: 1, audience: ..., holders: [{id, name, kind, note}, ...]
    tags.yaml         tags that the first holder of the kind `project` puts into the vocabulary
    tags/ID.yaml      tags of the holder with this id; each tag stands in one of these files
    grants/*.yaml     version: 1, audience: ..., grant: {...}
    signed/*.json     what a studio takes in at its first start, one file per holder

Only the signed files count. :func:`sign_drafts` makes them; ``studio consent sign-shipped`` calls
it with the holders' keys, which are nowhere in the project. It can sign the file of one holder and
leave those of the others, whose keys may be out of reach, as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from studio.consent.signed.documents import (
    GrantDocument,
    HolderDocument,
    HolderTerms,
    TagsDocument,
    TagTerms,
)
from studio.consent.signed.keys import SigningKey
from studio.consent.signed.signing import SignedDocument, new_document, sign, write_file
from studio.consent.types import Grant, GrantTerms, Record, RightsHolder
from studio.core.errors import ConfigError
from studio.core.tags import Vocabulary

__all__ = ["SIGNED", "Drafts", "draft_audience", "draft_grant", "sign_drafts", "sign_grant"]

SIGNED = "signed"
"""The folder of signed files, below the drafts."""

_FILE_VERSION = 1
_AUDIENCE = re.compile(r"\*|[a-z0-9]+(-[a-z0-9]+)*")
_FILE_NAME = re.compile(r"(?P<number>[0-9]+)-(?P<holder>.+)\.json")
_Parsed = TypeVar("_Parsed", bound=Record)


class Drafts:
    """What stands in the drafts of a folder. Raises :class:`ConfigError` naming file and field."""

    def __init__(self, folder: Path) -> None:
        path = folder / "holders.yaml"
        self.audience = _addressed(path)  # of holders and tags
        self.holders = [_parse(RightsHolder, item, path) for item in _read(path, "holders")]
        paths = sorted((folder / "grants").glob("*.yaml"))
        self.grants = [draft_grant(path) for path in paths]
        self.audiences = {
            grant.id: _addressed(path) for grant, path in zip(self.grants, paths, strict=True)
        }
        # The project first: its vocabulary is what the others' grants name.
        self.holders.sort(key=lambda holder: (holder.kind != "project", holder.id))
        self.tags = self._tags(folder)
        self.vocabulary = Vocabulary.drafted(folder)

    def _tags(self, folder: Path) -> dict[str, Vocabulary]:
        """Of each holder that has tags of its own: those."""
        known = [holder.id for holder in self.holders]
        tags = {known[0]: Vocabulary.load(folder / "tags.yaml")} if known else {}
        for path in sorted((folder / "tags").glob("*.yaml")):
            if path.stem not in known:
                raise ConfigError(f"{path}: there is no rights holder {path.stem!r}")
            if path.stem in tags:
                raise ConfigError(f"{path}: the tags of {path.stem!r} belong into tags.yaml")
            tags[path.stem] = Vocabulary.load(path)
        return tags


def draft_grant(path: Path) -> Grant:
    """One grant from its YAML file. Raises :class:`ConfigError`."""
    return _parse(Grant, _read(path, "grant"), path)


def draft_audience(path: Path) -> str | None:
    """Which studio a draft is for: a site id, ``*`` for every studio, or None: it does not say.

    Raises :class:`ConfigError` for anything else.
    """
    audience = _yaml(path).get("audience")
    if audience is not None and not (isinstance(audience, str) and _AUDIENCE.fullmatch(audience)):
        raise ConfigError(f'{path}: `audience` is a site id, or "*" for every studio')
    return audience


def sign_drafts(
    drafts: Drafts,
    key_of: Callable[[str], SigningKey],
    *,
    only: str | None = None,
    present: Collection[str] = (),
) -> Mapping[str, bytes]:
    """The signed files by name; ``key_of`` gives the key of each holder whose file is made.

    ``only`` is the one holder to sign for. A holder with a file among those ``present`` keeps its
    name; the others come after them. Raises :class:`ConfigError` for a holder that is not there.
    """
    if only is not None and all(holder.id != only for holder in drafts.holders):
        raise ConfigError(f"there is no rights holder {only!r} in the drafts")
    names = _file_names([holder.id for holder in drafts.holders], present)
    files = {}
    for holder in drafts.holders:
        if only not in (None, holder.id):
            continue
        key = key_of(holder.id)
        profile = HolderTerms(
            name=holder.name, kind=holder.kind, public_key=key.public.text, note=holder.note
        )
        to = {"audience": drafts.audience}
        documents = [sign(new_document(HolderDocument, holder.id, profile=profile, **to), key)]
        if holder.id in drafts.tags:
            own = drafts.tags[holder.id].values()
            tags = tuple(TagTerms(id=tag.id, phrase=tag.phrase) for tag in own)
            documents.append(sign(new_document(TagsDocument, holder.id, tags=tags, **to), key))
        documents += [
            sign_grant(grant, key, audience=drafts.audiences[grant.id])
            for grant in drafts.grants
            if grant.holder == holder.id
        ]
        files[names[holder.id]] = write_file(documents)
    return files


def _file_names(holders: Collection[str], present: Collection[str]) -> dict[str, str]:
    """The name of each holder's file: a number, by which they are taken in, and the holder's id."""
    numbered = [match for name in present if (match := _FILE_NAME.fullmatch(name))]
    names = {match["holder"]: match.string for match in numbered}
    last = max((int(match["number"]) for match in numbered), default=0)
    for holder in holders:
        if holder not in names:
            last += 1
            names[holder] = f"{last:02}-{holder}.json"
    return names


def sign_grant(grant: Grant, key: SigningKey, *, audience: str, **envelope: Any) -> SignedDocument:
    """The grant as its holder signs it; ``envelope``: `import_before`, `serial`."""
    terms = {name: getattr(grant, name) for name in GrantTerms.model_fields}
    document = new_document(
        GrantDocument,
        grant.holder,
        grant=GrantTerms.model_construct(**terms),
        audience=audience,
        **envelope,
    )
    return sign(document, key)


def _addressed(path: Path) -> str:
    audience = draft_audience(path)
    if audience is None:
        raise ConfigError(
            f'{path}: add `audience:`, the site id of the studio it is for, or "*" for every studio'
        )
    return audience


def _read(path: Path, key: str) -> Any:
    data = _yaml(path)
    if key not in data:
        raise ConfigError(f"{path}: expected `version: {_FILE_VERSION}` and `{key}:`")
    return data[key]


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as exc:
        raise ConfigError(f"cannot read {path}: {exc}") from exc
    if not isinstance(data, dict) or data.get("version") != _FILE_VERSION:
        raise ConfigError(f"{path}: expected `version: {_FILE_VERSION}`")
    return data


def _parse(model: type[_Parsed], item: Any, path: Path) -> _Parsed:
    try:
        return model.model_validate(item)
    except ValidationError as exc:
        faults = "; ".join(
            f"{'.'.join(map(str, error['loc'])) or model.__name__}: {error['msg']}"
            for error in exc.errors()
        )
        raise ConfigError(f"{path}: {faults}") from exc
