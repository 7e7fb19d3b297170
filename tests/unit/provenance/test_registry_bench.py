"""The bench's bulk path writes what as many releases would have written, and all is measured."""

from __future__ import annotations

from sqlalchemy import select

from studio.core.db.tables.ledger import ledger_entry, ledger_node, output, seal_reservation
from studio.core.db.tables.provenance import opening
from studio.provenance.ledger.log import Ledger
from tests.bench.registry import bulk, measure, release, time_of


def rows(ledger):
    tables = (ledger_entry, ledger_node, seal_reservation, output, opening)
    with ledger.database.reading() as connection:
        return [
            [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in tables
        ]


def test_bulk_and_releases_give_the_same_tables(tmp_path, database_location, monkeypatch):
    monkeypatch.setattr("tests.bench.registry._BATCH", 7)
    monkeypatch.setattr("secrets.token_bytes", lambda count: bytes(count))  # salts
    now = [0]
    released = Ledger.open(tmp_path / "a.db", outputs=tmp_path, clock=lambda: time_of(now[0]))
    for index in range(17):
        now[0] = index
        release(released, index)
    filled = Ledger.open(database_location, outputs=tmp_path)
    bulk(filled.database, 17)
    assert rows(filled) == rows(released)
    assert [len(table) for table in rows(filled)] == [17, 32, 17, 17, 34]
    assert filled.verify().ok
    found = filled.release(filled.entry(3).body["output_id"])
    assert found is not None
    assert found.credits == ("genre/jazz: the house catalogue", "mood/calm: the house catalogue")
    released.close()
    filled.close()


def test_measures_everything(tmp_path):
    ledger = Ledger.open(tmp_path / "ledger.db", outputs=tmp_path)
    bulk(ledger.database, 300)
    ledger.close()
    result = measure(tmp_path / "ledger.db", tmp_path, 300, calls=4, more=12)
    for kind, found in (("by_seal", 4), ("by_fingerprint", 4)):
        assert result["warm"][kind]["found"] == found
        assert result["warm"][f"{kind}_not_registered"]["found"] == 0
    readers = result["growth"]["readers"]
    assert [(each["stale"], each["errors"]) for each in readers] == [(0, 0), (0, 0)]
    assert all(each["looks"] for each in readers)
