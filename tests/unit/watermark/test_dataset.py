"""A scan's answers as partitioned Parquet."""

from __future__ import annotations

import duckdb
import pyarrow.dataset
import pytest

from watermark.batch.dataset import write_dataset
from watermark.batch.files import Column
from watermark.errors import ScanError

COLUMNS = {
    "file": Column("text", "its name"),
    "verdict": Column("text", "what was found"),
    "score": Column("number", "of the detector"),
    "segments": Column("text", "JSON"),
    "error": Column("text", "why not"),
}
ROWS = [
    {"file": "a.wav", "verdict": "sealed", "score": 3.5, "segments": [[0, 1]]},
    {"file": "ü/'b\".wav", "verdict": "no seal", "score": None, "segments": []},
    {"file": "c.wav", "error": "not audio"},
    {"file": "d.wav", "verdict": "sealed", "score": 4},
]


def read(folder):
    table = pyarrow.dataset.dataset(folder, partitioning="hive").to_table()
    return sorted(table.to_pylist(), key=lambda row: row["file"])


def test_every_row_is_there_with_its_verdict_as_partition(tmp_path):
    write_dataset(ROWS, COLUMNS, tmp_path / "found")
    rows = read(tmp_path / "found")
    assert [row["file"] for row in rows] == sorted(row["file"] for row in ROWS)
    told = {row["file"]: (row["verdict"], row["score"], row["segments"]) for row in rows}
    assert told["a.wav"] == ("sealed", 3.5, "[[0, 1]]")
    assert told["c.wav"] == ("unreadable", None, None)
    names = {path.name for path in (tmp_path / "found").iterdir()}
    assert names == {"verdict=sealed", "verdict=no%20seal", "verdict=unreadable", "_scan.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


def test_columns_say_what_they_mean_and_are_there_without_rows(tmp_path):
    write_dataset(ROWS[2:3], COLUMNS, tmp_path / "found")
    schema = pyarrow.dataset.dataset(tmp_path / "found", partitioning="hive").schema
    assert set(schema.names) == set(COLUMNS)
    assert schema.field("score").type == pyarrow.float64()
    assert schema.field("file").metadata[b"meaning"] == b"its name"


def test_duckdb_reads_it(tmp_path):
    write_dataset(ROWS, COLUMNS, tmp_path / "found")
    found = duckdb.sql(
        f"select verdict, count(*) from read_parquet('{tmp_path}/found/*/*.parquet', "
        "hive_partitioning = true) group by verdict order by verdict"
    ).fetchall()
    assert found == [("no seal", 1), ("sealed", 2), ("unreadable", 1)]


def test_a_later_run_takes_its_place_whole(tmp_path):
    folder = tmp_path / "found"
    write_dataset(ROWS, COLUMNS, folder)
    write_dataset(ROWS[:1], COLUMNS, folder)
    assert [row["file"] for row in read(folder)] == ["a.wav"]

    def broken():
        yield ROWS[1]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_dataset(broken(), COLUMNS, folder)
    assert [row["file"] for row in read(folder)] == ["a.wav"]
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mum.txt").touch()
    with pytest.raises(ScanError, match="holds something else"):
        write_dataset(ROWS, COLUMNS, tmp_path / "letters")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["mum.txt"]
    (tmp_path / "empty").mkdir()
    write_dataset(ROWS, COLUMNS, tmp_path / "empty")
    assert len(read(tmp_path / "empty")) == len(ROWS)
