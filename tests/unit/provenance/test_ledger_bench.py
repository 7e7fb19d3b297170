"""The bench's bulk path writes what as many appends would have written."""

from __future__ import annotations

import itertools

from sqlalchemy import select

from studio.core.db.tables.ledger import ledger_entry, ledger_node
from studio.provenance.ledger.log import Ledger
from tests.bench.ledger import body, bulk, measure, time_of


def rows(ledger):
    with ledger.database.reading() as connection:
        return [
            [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in (ledger_entry, ledger_node)
        ]


def test_bulk_and_appends_give_the_same_tables(tmp_path, database_location, monkeypatch):
    monkeypatch.setattr("tests.bench.ledger._BATCH", 7)
    count = itertools.count()
    appended = Ledger.open(tmp_path / "a.db", outputs=tmp_path, clock=lambda: time_of(next(count)))
    for index in range(37):
        appended.append("verification", body(index))
    filled = Ledger.open(database_location, outputs=tmp_path)
    bulk(filled.database, 37)
    assert rows(filled) == rows(appended)
    result = measure(filled, tmp_path, calls=3, audit=True)
    assert result["entries"] == 37
    assert filled.size() == 40
    appended.close()
    filled.close()
