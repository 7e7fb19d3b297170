"""The small run of ``python -m tests.robustness.measure``, and that it would notice."""

from __future__ import annotations

import pytest

from studio.app.operation import record_audit
from tests.robustness import flips, operations
from tests.robustness.operations import OPERATIONS, run


@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: kind.name)
def test_a_kill_and_a_full_disk_break_nothing(kind, tmp_path):
    for fault in ("kill", "disk"):
        figures = run(kind, fault, tmp_path / fault, 2, seed=3)
        assert figures.faults == 2
        assert figures.broken == []


def test_a_restore_that_left_files_and_no_marker_is_noticed(tmp_path):
    """The control: what a probe of the product found before there was a marker."""
    operation = operations.Restore(tmp_path)
    outputs = operation._paths(0).home / "outputs"
    outputs.mkdir(parents=True)
    (outputs / "a.wav").touch()
    state, broken = operation.after(0, [])
    assert state == "not begun"
    assert any("is left" in line for line in broken)


def test_changed_columns_are_found_and_would_be_missed_without_the_audit(tmp_path, monkeypatch):
    wanted = ("account", "output_owner", "manifest", "schema")
    every = flips._rows

    def some(database):
        rows = every(database)
        return rows if rows is None else {name: rows[name] for name in wanted}

    monkeypatch.setattr(flips, "_rows", some)
    (tmp_path / "a").mkdir()
    found = flips.columns(tmp_path / "a")
    assert found.missed == []
    assert found.found == found.matter >= 8
    assert (found.apart, found.apart_found) == (3, 0), "dates, of which no entry speaks"
    monkeypatch.setattr(record_audit, "record_faults", lambda _ledger: [])
    (tmp_path / "b").mkdir()
    assert flips.columns(tmp_path / "b").missed
