"""No module imports itself through others, not even inside a function or for types only."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import grimp


def circle_in(imports: Mapping[str, set[str]]) -> list[str]:
    """The modules of one circle, the first repeated at the end; empty where there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as exc:
        return list(exc.args[1])
    return []


def test_no_circle_of_imports():
    graph = grimp.build_graph("studio", "watermark", cache_dir=None)
    assert circle_in({m: graph.find_modules_directly_imported_by(m) for m in graph.modules}) == []


def test_a_circle_is_found():
    assert len(circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == 3
