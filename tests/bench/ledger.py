"""How fast the ledger appends and proves when it has many entries.

::

    python -m tests.bench.ledger --entries 1000000
    python -m tests.bench.ledger --entries 1000000 --database postgresql --audit

The entries are written by a bulk path of this bench, which fills the very tables that as many
appends would have (``tests/unit/provenance/test_ledger_bench.py`` compares them row by row); what
is measured is then done by the studio's own code: durable appends, proofs, a checkpoint, a bundle,
the audit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from sqlalchemy import Connection, Table

from studio.core.db.database import Database
from studio.core.db.tables.ledger import ledger_entry, ledger_node
from studio.provenance.ledger.entry import INSTANT, LEAF_VERSION
from studio.provenance.ledger.log import Ledger
from studio.provenance.ledger.proof_bundle import check_bundle, make_bundle
from studio.provenance.ledger.tree.merkle import completed_nodes, head_from_nodes, leaf_hash
from studio.provenance.ledger.tree.proofs import check_consistency, check_inclusion
from tests.support.ledgers import checkpointer_of

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)  # entries go on from there
_BATCH = 20_000


def body(index: int) -> dict:
    """As large as a verification entry is."""
    return {
        "verdict": "not-detected",
        "sha256": f"{index:064x}",
        "duration_s": 12.5,
        "seal_id": None,
        "fingerprint_distance": None,
    }


def time_of(index: int) -> datetime:
    return START + timedelta(milliseconds=index)


def bulk(database: Database, entries: int) -> None:
    """Fill an empty ledger with ``entries`` entries."""
    peaks: dict[tuple[int, int], bytes] = {}  # complete subtrees that no larger one holds yet

    for start in range(0, entries, _BATCH):
        entry_rows, node_rows = [], []
        for index in range(start, min(start + _BATCH, entries)):
            at = time_of(index)
            leaf = _leaf(index, at)
            hash_ = leaf_hash(leaf)
            for level, i, node in completed_nodes(index, hash_, lambda *key: peaks[key]):
                if level:
                    del peaks[level - 1, 2 * i]
                    peaks.pop((level - 1, 2 * i + 1), None)
                peaks[level, i] = node
                node_rows.append((level, i, node))
            head = head_from_nodes(index + 1, lambda *key: peaks[key])
            entry_rows.append((index, "verification", at.strftime(INSTANT), leaf, hash_, head))
        with database.writing() as connection:
            insert(connection, ledger_entry, entry_rows)
            insert(connection, ledger_node, node_rows)


def _leaf(index: int, at: datetime) -> bytes:
    """For this body the same bytes as RFC 8785 gives, seven times as fast."""
    entry = {
        "version": LEAF_VERSION,
        "index": index,
        "at": at.strftime(INSTANT),
        "kind": "verification",
        "body": body(index),
    }
    return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()


def insert(connection: Connection, table: Table, rows: list[tuple]) -> None:
    """In the order of the table's columns, by the driver's own quickest way."""
    cursor = connection.connection.driver_connection.cursor()
    if connection.dialect.name == "postgresql":
        with cursor.copy(f"COPY {table.name} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        marks = ", ".join("?" * len(table.columns))
        cursor.executemany(f"INSERT INTO {table.name} VALUES ({marks})", rows)


def times_ms(count: int, act: Callable[[], object]) -> dict[str, float]:
    """Wall time of ``count`` calls (fastest tenth, median, 95 %) and CPU time of this process."""
    taken = []
    cpu = time.process_time()
    for _ in range(count):
        began = time.perf_counter()
        act()
        taken.append(1000 * (time.perf_counter() - began))
    cpu = time.process_time() - cpu
    taken.sort()
    return {
        "fastest_tenth_ms": round(taken[count // 10], 3),
        "median_ms": round(statistics.median(taken), 3),
        "p95_ms": round(taken[int(0.95 * (count - 1))], 3),
        "cpu_ms": round(1000 * cpu / count, 3),
        "calls": count,
    }


def measure(ledger: Ledger, folder: Path, *, calls: int, audit: bool) -> dict[str, object]:
    """Everything the studio does with a ledger of that size."""
    size = ledger.size()
    rng = Random(0)
    result: dict[str, object] = {"entries": size}
    head = ledger.head(size)

    def inclusion() -> None:
        ledger.inclusion(rng.randrange(size), size)

    def consistency() -> None:
        ledger.consistency(rng.randrange(1, size), size)

    result["inclusion_proof"] = times_ms(calls, inclusion)
    result["consistency_proof"] = times_ms(calls, consistency)
    checkpointer = checkpointer_of(ledger, folder)
    result["checkpoint"] = times_ms(1, checkpointer.checkpoint)
    index = rng.randrange(size)
    signed = checkpointer.covering(index)
    result["bundle"] = times_ms(calls, lambda: make_bundle(ledger, index, signed))
    content = json.dumps(make_bundle(ledger, index, signed)).encode()
    result["bundle_bytes"] = len(content)
    result["check_bundle"] = times_ms(calls, lambda: check_bundle(content, checkpointer.verifiers))
    path = ledger.inclusion(index, size)
    check_inclusion(leaf_hash(ledger.entry(index).leaf), index, size, path, head=head)
    first = size // 3
    check_consistency(
        first,
        size,
        ledger.consistency(first, size),
        first_head=ledger.head(first),
        second_head=head,
    )
    append = times_ms(calls, lambda: ledger.append("verification", body(0)))
    result["append"] = append
    result["appends_per_s"] = {
        "median": round(1000 / append["median_ms"], 1),
        "undisturbed": round(1000 / append["fastest_tenth_ms"], 1),
    }
    if audit:
        began = time.perf_counter()
        assert ledger.verify().ok
        result["audit_s"] = round(time.perf_counter() - began, 1)
    return result


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--audit", action="store_true", help="also time `studio ledger verify`")
    options = parser.parse_args()
    server = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        location: Path | str = folder / "ledger.db"
        if options.database == "postgresql":
            from tests.support.databases import Server

            server = Server(fsync=True)
            location = server.make_database()
        try:
            ledger = Ledger.open(location, outputs=folder)
            began = time.perf_counter()
            bulk(ledger.database, options.entries)
            print(f"filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
            if server is not None:
                server.sql("ANALYZE", database="test_0")
            result = measure(ledger, folder, calls=options.calls, audit=options.audit)
            result["load_average"] = round(os.getloadavg()[0], 1)
            if isinstance(location, Path):
                result["database_mib"] = round(location.stat().st_size / 2**20)
            ledger.close()
        finally:
            if server is not None:
                server.remove()
    print(json.dumps({"database": options.database, **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
