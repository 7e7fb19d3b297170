"""HTML is made by templates alone: no module escapes by hand or writes tags into its texts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("studio", "watermark")
TEMPLATES = "templating.py"  # the environment; escaping is its own

_TAGS = (
    "a|b|i|p|br|hr|h1|h2|h3|h4|em|strong|small|code|pre|span|div|section|article|main|header|footer|"
    "nav|form|label|input|button|select|option|textarea|table|thead|tbody|tr|th|td|ul|ol|li|dl|dt|"
    "dd|details|summary|figure|figcaption|img|audio|svg|path|style|script|link|meta|html|head|body|"
    "title"
)
_TAG = re.compile(rf"(?<!\?P)</?(?:{_TAGS})(?=[\s>/]|$)")
_ESCAPERS = {"html", "markupsafe", "xml.sax.saxutils"}  # modules with a function `escape`


def hand_made(source: str) -> Iterator[tuple[int, str]]:
    """Where a module escapes by hand or has a tag in a text: line and what it is.

    Docstrings do not count, nor does a text that stands alone as a statement.
    """
    tree = ast.parse(source)
    spoken = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names if name.name in _ESCAPERS]
            yield from ((node.lineno, f"import {name}") for name in names)
        elif isinstance(node, ast.ImportFrom) and node.module in _ESCAPERS:
            if any(name.name == "escape" for name in node.names):
                yield node.lineno, f"from {node.module} import escape"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = None if id(node) in spoken else _TAG.search(node.value)
            if found:
                yield node.lineno, found.group()


def modules() -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in found if path.name != TEMPLATES]


@pytest.mark.slow
def test_no_module_makes_html_by_hand():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in modules()
        for line, what in hand_made(path.read_text(encoding="utf-8"))
    ]
    assert not found, "move it to a template (studio.reports.templating)"


@pytest.mark.parametrize(
    "source",
    [
        "import html",
        "import xml.sax.saxutils as sax",
        "from html import escape",
        "from markupsafe import Markup, escape",
        "x = f'<b>{name}</b>'",
        "x = f'<td class=\"{kind}\">{name}'",
        "x = '<ul>' + items + '</ul>'",
        "def f():\n    return '<p>Nothing yet.</p>'",
    ],
)
def test_what_is_made_by_hand_is_found(source):
    assert list(hand_made(source))


@pytest.mark.parametrize(
    "source",
    [
        '"""A module about <b>.""" ',
        "def f():\n    '''Draw <b>.'''",
        "x = f'{a} < b and b > {c}'",
        "x = '<id>.npz'",
        "x = r'(?P<section>[a-z]+)'",
        "from html.parser import HTMLParser",
        "import re\nre.escape('<')",
    ],
)
def test_other_texts_are_let_be(source):
    assert not list(hand_made(source))
