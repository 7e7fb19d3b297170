"""Strict JSON: refuse what two parsers could read in two ways.

A name that stands twice in an object (``{"role": "artist", "role": "administrator"}``), NaN and
infinities, deep nesting, half surrogates and NUL characters are errors. The messages say what is
wrong and never repeat what was sent.

>>> parse(b'{"tags": ["genre/jazz"]}')
{'tags': ['genre/jazz']}
>>> parse(b'{"role": "artist", "role": "administrator"}')
Traceback (most recent call last):
studio.web.http.strict_json.NotStrictJsonError: a name stands twice in one object
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

__all__ = ["MAX_DEPTH", "NotStrictJsonError", "parse"]

MAX_DEPTH = 32
"""Levels of arrays and objects."""

_MARKS = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)


class NotStrictJsonError(ValueError):
    """The bytes are no JSON that is accepted here; the text says why in a few words."""


def parse(data: bytes) -> Any:
    """The value. Raises :class:`NotStrictJsonError`."""
    _check_depth(data)
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        _check(value)
    except NotStrictJsonError:
        raise
    except (ValueError, RecursionError) as exc:
        raise NotStrictJsonError("the body is not valid JSON in UTF-8") from exc
    return value


def _check_depth(data: bytes) -> None:
    depth, in_text = 0, False
    for mark in _MARKS.finditer(data):
        match mark[0]:
            case b'"':
                in_text = not in_text
            case b"[" | b"{" if not in_text:
                depth += 1
                if depth > MAX_DEPTH:
                    raise NotStrictJsonError(f"the body is nested deeper than {MAX_DEPTH} levels")
            case b"]" | b"}" if not in_text:
                depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotStrictJsonError("a name stands twice in one object")
    for name, value in pairs:
        _check_text(name)
        _check(value)
    return found


def _check(value: Any) -> None:
    """The strings of a value whose objects were checked before."""
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        for each in value:
            _check(each)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise NotStrictJsonError("a text holds a NUL character")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise NotStrictJsonError("a text holds half of a character")


def _no_constant(_name: str) -> float:
    raise NotStrictJsonError("a number is not finite")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotStrictJsonError("a number is not finite")
    return number
