"""Salted commitments: personal data stays outside the hashed entry.

A body may hold :class:`Personal` values anywhere. The ledger writes ``{"commitment": hex}`` in
their place, SHA-256("consented-music-studio/commitment/v1" ‖ 0x00 ‖ salt ‖ value) with 32 random
bytes of salt, and keeps salt and value in a table of their own. Deleting that row erases the datum:
the leaf, the tree and every proof stay as they are, and nobody can find the value by trying names.

>>> body, openings = take_out({"by": Personal("Ada"), "seconds": 3})
>>> sorted(body["by"]), list(openings)
(['commitment'], ['by'])
>>> openings["by"].matches(body["by"]["commitment"])
True
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Opening", "Personal", "committed_fields", "take_out"]

_DOMAIN = b"consented-music-studio/commitment/v1\x00"


@dataclass(frozen=True, slots=True)
class Personal:
    """A value about a person (a name, the name of a person's file), to be committed to only."""

    value: str


@dataclass(frozen=True, slots=True)
class Opening:
    """What shows that a commitment is to this value."""

    salt: bytes  # 32 bytes
    value: str

    @property
    def commitment(self) -> str:
        return hashlib.sha256(_DOMAIN + self.salt + self.value.encode()).hexdigest()

    def matches(self, commitment: object) -> bool:
        return self.commitment == commitment


def take_out(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Opening]]:
    """The body with commitments in place of personal values, and their openings by field.

    A field is the path through objects and arrays, ``/`` between: ``credit_lines/0``.
    """
    openings: dict[str, Opening] = {}

    def replaced(value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, Personal):
            opening = Opening(secrets.token_bytes(32), value.value)
            openings["/".join(path)] = opening
            return {"commitment": opening.commitment}
        if isinstance(value, Mapping):
            return {key: replaced(item, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [replaced(item, (*path, str(at))) for at, item in enumerate(value)]
        return value

    return {key: replaced(value, (str(key),)) for key, value in body.items()}, openings


def committed_fields(body: Mapping[str, Any]) -> dict[str, str]:
    """The commitments in a leaf's body by field.

    >>> committed_fields({"credit_lines": [{"commitment": "ab"}], "title": "x"})
    {'credit_lines/0': 'ab'}
    """
    found: dict[str, str] = {}

    def visit(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, Mapping):
            if list(value) == ["commitment"]:
                found["/".join(path)] = value["commitment"]
                return
            for key, item in value.items():
                visit(item, (*path, key))
        elif isinstance(value, list):
            for at, item in enumerate(value):
                visit(item, (*path, str(at)))

    visit(body, ())
    return found
