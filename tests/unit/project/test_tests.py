"""Rules for the tests themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
CLOCKS = {"monotonic", "perf_counter", "process_time", "time", "thread_time"}


def clock_asserts(source: str) -> Iterator[int]:
    """Lines of asserts about how long something took.

    A name counts as a time where something was assigned to it that reads a clock.
    """
    tree = ast.parse(source)
    timed: set[str] = set()

    def reads_clock(node: ast.AST) -> bool:
        return any(
            (isinstance(part, ast.Attribute) and part.attr in CLOCKS and _is_time(part.value))
            or (isinstance(part, ast.Name) and part.id in timed)
            for part in ast.walk(node)
        )

    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and reads_clock(node.value):
            timed |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    yield from (
        node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert) and reads_clock(node)
    )


def _is_time(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "time"


def short_waits(source: str) -> Iterator[int]:
    """Lines of asserts that something happens, with less than a minute for it to happen."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Assert) and isinstance(call := node.test, ast.Call)):
            continue
        if isinstance(call.func, ast.Attribute) and call.func.attr == "wait" and call.args:
            limit = call.args[0]
            if isinstance(limit, ast.Constant) and float(limit.value) < 60:
                yield node.lineno


def short_limits(source: str) -> Iterator[int]:
    """Lines that give another process less than ten minutes."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr not in ("run", "communicate", "check_output", "check_call"):
            continue
        given = {word.arg: word.value for word in node.keywords}
        limit = given.get("timeout")
        if isinstance(limit, ast.Constant) and float(limit.value) < 600:
            yield node.lineno


@pytest.mark.slow
def test_no_test_fails_because_the_machine_is_busy():
    found = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for rule in (clock_asserts, short_waits, short_limits)
        for line in rule(path.read_text())
    ]
    assert found == []


def test_an_assert_about_time_is_found():
    assert list(clock_asserts("begin = time.monotonic()\nassert time.monotonic() - begin < 1")) == [
        2
    ]
    assert list(clock_asserts("took = time.perf_counter() - 1\nassert took < 1")) == [2]
    assert list(clock_asserts("until = time.monotonic()\nassert ready")) == []
    assert list(clock_asserts("assert release.time < 1")) == []
    assert list(short_waits("assert stopped.wait(2)")) == [1]
    assert list(short_limits("subprocess.run(words, timeout=60)")) == [1]
    assert list(short_limits("subprocess.run(words, timeout=900)")) == []
    assert list(short_waits("assert not stopped.wait(2)\nassert stopped.wait(60)")) == []
