"""docs/scale.md: its tables name the columns there are, and its queries run."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from studio.cli.verification.verify import _COLUMNS
from watermark.batch.dataset import write_dataset
from watermark.cli.common import COLUMNS

DOC = (Path(__file__).parents[3] / "docs" / "scale.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", DOC, re.DOTALL)
ROWS = [
    {"file": "x/a.wav", "verdict": "sealed", "score": 3.0, "threshold": 2.5, "duration_s": 60.0},
    {"file": "x/b.wav", "verdict": "sealed", "seal_id": "00112233aabbccdd", "duration_s": 30.0},
    {"file": "y/c.wav", "verdict": "no seal", "score": 2.4, "threshold": 2.5, "duration_s": 9.0},
    {"file": "y/d.wav", "error": "d.wav: not an audio file that can be read"},
]


def test_the_tables_name_every_column():
    found = re.findall(r"^\| `(\w+)` \| (string|double) \| (.*) \|$", DOC, re.MULTILINE)
    kinds = {"text": "string", "number": "double"}
    there = [
        (name, kinds[column.kind], column.meaning)
        for columns in (COLUMNS, _COLUMNS)
        for name, column in columns.items()
    ]
    assert found == there


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_has_an_answer(query, tmp_path):
    write_dataset(ROWS, COLUMNS, tmp_path / "found")
    answer = duckdb.sql(query.replace("'found/", f"'{tmp_path}/found/")).fetchall()
    assert answer


def test_the_answers_are_right(tmp_path):
    write_dataset(ROWS, COLUMNS, tmp_path / "found")
    first, second, third, fourth, fifth = (
        duckdb.sql(query.replace("'found/", f"'{tmp_path}/found/")).fetchall() for query in QUERIES
    )
    assert first[0][:2] == ("sealed", 2)
    assert second == [("00112233aabbccdd", 1, ["x/b.wav"])]
    assert third == [("x", 2, 2), ("y", 0, 2)]
    assert fourth == [("not an audio file that can be read", 1)]
    assert [row[0] for row in fifth] == ["y/c.wav"]
