"""Words that the project replaced by the field's terms do not come back."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

NAMES = {
    "Booked": "SubmittedJob",
    "Face": "Origin",
    "MissRate": "FalseNegativeRate",
    "Registrar": "ConsentService",
    "_LOOK_S": "_POLL_S",
    "acting": "session",
    "ahead_of": "queue_position_of",
    "TakesDesk": "TakesList",
    "common_misses": "common_false_negatives",
    "forebears": "ancestors",
    "misses": "false_negatives",
    "news": "progress",
}
"""Identifiers that are not used any more, and what stands for each."""

PHRASES = {
    r"the (front )?door": "authentication",
    r"behind the door": "behind authentication",
    r"the desk": "the service, by its name",
    r"forebears?": "ancestor",
    r"hand(ed|s|ing)? out": "release",
    r"is gone on from": "is varied or extended",
    r"(?<!code)the book": "the history",
}
"""Phrases of docstrings, comments and texts that are not used any more."""

_KEYS = {'"forebears"', '"face"', '"misses"'}
"""Keys of JSON and of the database, which stay as they are."""


def found_in(source: str) -> Iterator[tuple[int, str]]:
    """Line and replacement of every word of a module that was replaced."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.string in NAMES:
            yield token.start[0], f"{token.string}: say {NAMES[token.string]}"
        if token.type in (tokenize.STRING, tokenize.COMMENT) and token.string not in _KEYS:
            for phrase, instead in PHRASES.items():
                if re.search(rf"\b{phrase}\b", token.string, re.IGNORECASE):
                    yield token.start[0], f"{phrase}: say {instead}"


@pytest.mark.slow
def test_no_replaced_word_comes_back():
    found = [
        f"{path.relative_to(ROOT)}:{line} {word}"
        for package in ("studio", "watermark")
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, word in found_in(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_a_replaced_word_is_found():
    source = '''"""What is handed out."""
news = job.forebears  # past the door
body = {"forebears": [], "misses": ours}
'''
    assert [line for line, _ in found_in(source)] == [1, 2, 2, 2]
