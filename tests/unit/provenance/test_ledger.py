"""The ledger: append-only by trigger, and every change behind the triggers' back is found."""

from __future__ import annotations

import json
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from studio.core.db.tables.ledger import seal_reservation
from studio.core.errors import LedgerError
from studio.provenance.ledger.log import Ledger, canonical_leaf
from studio.provenance.ledger.private_fields import Opening, Personal, committed_fields
from studio.provenance.ledger.tree.merkle import EMPTY_HEAD, leaf_hash, tree_head
from tests.support.ledgers import LEAVES, fill, release_body

GOLDEN = Path(__file__).parents[2] / "golden"
TABLES = ("ledger_entry", "ledger_node", "seal_reservation", "output")


@pytest.fixture
def sqlite_ledger(tmp_path):
    ledger = Ledger.open(tmp_path / "ledger.db", outputs=tmp_path)
    yield ledger
    ledger.close()


def test_entries_come_back_and_the_audit_passes(ledger):
    fill(ledger)
    audit = ledger.verify()
    assert audit.ok
    assert audit.size == ledger.size() == 11
    assert [entry.index for entry in ledger.entries()] == list(range(11))
    assert [release.seal_id for release in ledger.releases()] == [f"{n:016x}" for n in (2, 5, 8)]
    release = ledger.release(f"{5:016x}")
    assert release is not None
    assert release.request.seed == 7
    assert release.entry_index == 5
    assert ledger.release("0" * 16) is None
    assert ledger.entry(99) is None


def test_an_empty_ledger_is_sound(ledger):
    audit = ledger.verify()
    assert audit.ok
    assert audit.tree_head == EMPTY_HEAD


def test_every_head_follows_rfc_6962(ledger):
    fill(ledger, 20)
    entries = ledger.entries()
    for size in range(1, 21):
        hashes = [leaf_hash(entry.leaf) for entry in entries[:size]]
        assert entries[size - 1].tree_head == tree_head(hashes)


def test_tree_heads_against_published_vectors():
    """The test vectors of the Certificate Transparency reference implementation (RFC 6962)."""
    heads = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]  # fmt: skip
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    assert [tree_head(hashes[: n + 1]).hex() for n in range(8)] == heads


@pytest.mark.parametrize(("name", "count"), [("ledger-v1.jsonl", 5), ("ledger-v2.jsonl", 5)])
def test_the_golden_ledger_verifies_for_ever(name, count):
    """docs/ledger-format.md: these bytes, hashes and heads can never change."""
    lines = [json.loads(line) for line in (GOLDEN / name).read_text().splitlines()]
    hashes = []
    for line in lines:
        leaf = line["leaf"].encode()
        entry = json.loads(leaf)
        at = datetime.fromisoformat(entry["at"])
        version = entry["version"]
        again = canonical_leaf(entry["index"], entry["kind"], at, entry["body"], version=version)
        assert again == leaf
        hashes.append(leaf_hash(leaf))
        assert hashes[-1].hex() == line["leaf_hash"]
        assert tree_head(hashes).hex() == line["tree_head"]
        for field, kept in line.get("openings", {}).items():
            shown = Opening(bytes.fromhex(kept["salt"]), kept["value"])
            assert shown.matches(committed_fields(entry["body"])[field])
            assert kept["value"].encode() not in leaf
    assert len(lines) == count


def test_an_unknown_version_of_a_leaf_is_refused():
    at = datetime(2026, 11, 22, tzinfo=UTC)
    for version in (0, 3, True):
        with pytest.raises(LedgerError, match="version"):
            canonical_leaf(0, "refusal", at, {}, version=version)


def test_releases_of_both_versions_stand_in_one_ledger(tmp_path):
    """A typed title: in the leaf of version 1, behind a commitment in that of version 2."""
    path = tmp_path / "ledger.db"
    connection = sqlite3.connect(path)
    connection.executescript((GOLDEN / "ledger-v1.sql").read_text())
    connection.close()
    ledger = Ledger.open(path, outputs=tmp_path)
    old = ledger.releases()
    ledger.reserve("ab" * 8, 1)
    body = {**release_body("ab" * 8), "title": Personal("Typed by somebody")}
    ledger.append_release(body, file_name="x.wav", fingerprint=b"f")
    new = ledger.release("ab" * 8)
    assert (new.title, new.request.title) == ("Typed by somebody", "Typed by somebody")
    assert {json.loads(entry.leaf)["version"] for entry in ledger.entries()} == {1, 2}
    assert ledger.releases()[: len(old)] == old
    ledger.erase(new.entry_index, "title")
    erased = ledger.release("ab" * 8)
    assert (erased.title, erased.request.title) == ("Jazz (abab)", None)
    assert ledger.verify().ok
    ledger.close()


def test_a_golden_database_of_the_first_schema_still_opens(tmp_path):
    path = tmp_path / "ledger.db"
    connection = sqlite3.connect(path)
    connection.executescript((GOLDEN / "ledger-v1.sql").read_text())
    connection.close()
    ledger = Ledger.open(path, outputs=tmp_path)
    audit = ledger.verify()
    assert audit.ok, audit.fault
    assert audit.size == 5
    ledger.append("refusal", {"after": "the golden ones"})
    assert ledger.verify().ok
    ledger.close()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("verb", ["UPDATE", "DELETE", "REPLACE"])
def test_the_database_refuses_changes(ledger, table, verb):
    fill(ledger)
    column = {"ledger_node": "hash", "ledger_entry": "leaf", "output": "file_name"}.get(
        table, "epoch"
    )
    replace = {
        "sqlite": f"INSERT OR REPLACE INTO {table} SELECT * FROM {table} LIMIT 1",
        "postgresql": f"TRUNCATE {table} CASCADE",
    }
    statement = {
        "UPDATE": f"UPDATE {table} SET {column} = {column}",
        "DELETE": f"DELETE FROM {table}",
        "REPLACE": replace[ledger.database.dialect],
    }[verb]
    with (
        pytest.raises(LedgerError, match="append-only"),
        ledger.database.writing() as connection,
    ):
        connection.execute(text(statement))
    assert ledger.verify().ok


def tampered(tmp_path: Path, *statements: str) -> None:
    """Change the database as an insider would: with the triggers dropped."""
    connection = sqlite3.connect(tmp_path / "ledger.db")
    with connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, "the tampering changed nothing"
    connection.close()


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("UPDATE ledger_entry SET leaf = CAST(replace(leaf, '3', '4') AS BLOB) WHERE idx = 3", 3),
        ("UPDATE ledger_entry SET leaf = CAST(leaf AS TEXT) WHERE idx = 3", 3),
        ("UPDATE ledger_entry SET leaf_hash = zeroblob(32) WHERE idx = 4", 4),
        ("UPDATE ledger_entry SET tree_head = zeroblob(32) WHERE idx = 6", 6),
        ("UPDATE ledger_entry SET created_at = '2020-01-01T00:00:00.000000Z' WHERE idx = 1", 1),
        ("UPDATE ledger_entry SET kind = 'release' WHERE idx = 0", 0),
        ("DELETE FROM ledger_entry WHERE idx = 7", 7),
        ("UPDATE ledger_entry SET idx = 99 WHERE idx = 10", 10),
        ("UPDATE ledger_node SET hash = zeroblob(32) WHERE level = 1 AND idx = 2", 5),
        ("DELETE FROM ledger_node WHERE level = 0 AND idx = 9", 9),
        ("UPDATE output SET fingerprint = x'ff' WHERE entry_idx = 5", 5),
        ("UPDATE output SET file_name = 'other.wav' WHERE entry_idx = 2", 2),
        ("DELETE FROM output WHERE entry_idx = 8", 8),
        ("UPDATE output SET entry_idx = 1 WHERE entry_idx = 2", 1),
        ("DELETE FROM ledger_entry WHERE idx = 10", 11 - 1),
    ],
)  # fmt: skip
def test_tampering_is_found_at_the_first_bad_entry(sqlite_ledger, tmp_path, statement, index):
    fill(sqlite_ledger)
    assert sqlite_ledger.verify().ok
    tampered(tmp_path, statement)
    audit = sqlite_ledger.verify()
    assert not audit.ok
    assert audit.first_bad_index == index, audit


def test_swapped_entries_are_found(sqlite_ledger, tmp_path):
    fill(sqlite_ledger)
    tampered(
        tmp_path,
        "UPDATE ledger_entry SET idx = 100 WHERE idx = 3",
        "UPDATE ledger_entry SET idx = 3 WHERE idx = 4",
        "UPDATE ledger_entry SET idx = 4 WHERE idx = 100",
    )
    assert sqlite_ledger.verify().first_bad_index == 3


def test_a_leaf_rewritten_with_its_own_hash_still_breaks_the_tree(sqlite_ledger, tmp_path):
    fill(sqlite_ledger)
    leaf = canonical_leaf(3, "refusal", sqlite_ledger.entry(3).at, {"number": 4})
    tampered(
        tmp_path,
        f"UPDATE ledger_entry SET leaf = x'{leaf.hex()}', leaf_hash = x'{leaf_hash(leaf).hex()}' "
        "WHERE idx = 3",
    )
    assert sqlite_ledger.verify().first_bad_index == 3


def test_a_seal_id_is_given_out_once(ledger):
    ledger.reserve("ab" * 8, 1)
    with pytest.raises(LedgerError):
        ledger.reserve("ab" * 8, 1)


def test_an_output_needs_a_reserved_seal_and_is_released_once(ledger):
    with pytest.raises(LedgerError):
        ledger.append_release(release_body("cd" * 8), file_name="x.wav", fingerprint=b"")
    assert ledger.size() == 0, "the entry must fall with its output"
    ledger.reserve("cd" * 8, 1)
    ledger.append_release(release_body("cd" * 8), file_name="x.wav", fingerprint=b"")
    with pytest.raises(LedgerError, match="in the ledger already"):
        ledger.append_release(release_body("cd" * 8), file_name="x.wav", fingerprint=b"")
    assert ledger.size() == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, object(), {1: "x"}])
def test_what_json_cannot_carry_exactly_is_refused(ledger, value):
    with pytest.raises(LedgerError, match="canonical"):
        ledger.append("refusal", {"value": value})
    assert ledger.size() == 0


def test_threads_and_two_openings_of_one_ledger_append_without_a_gap(
    ledger, tmp_path, database_location
):
    other = Ledger.open(database_location, outputs=tmp_path)
    failures = []

    def work(which: Ledger) -> None:
        try:
            for number in range(10):
                which.append("refusal", {"number": number})
        except LedgerError as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(which,)) for which in (ledger, other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert not failures
    assert ledger.verify().ok
    assert ledger.size() == 40


def test_a_file_that_is_no_database_is_said_so(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"not a database, but long enough to be looked at" * 50)
    with pytest.raises(LedgerError, match="cannot open"):
        Ledger.open(tmp_path / "ledger.db", outputs=tmp_path)


def test_durability_settings(sqlite_ledger, tmp_path):
    with sqlite_ledger.database.reading() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 2  # FULL


def test_times_are_utc(tmp_path):
    from datetime import timezone

    east = datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))
    ledger = Ledger.open(tmp_path / "l.db", outputs=tmp_path, clock=lambda: east)
    ledger.append("refusal", {})
    ledger.reserve("12" * 8, 1)
    assert ledger.entry(0).at == datetime(2026, 1, 1, tzinfo=UTC)
    assert ledger.verify().ok
    ledger.close()


def test_what_belongs_to_an_entry_is_written_with_it_or_not_at_all(ledger):
    def reserve(connection):
        connection.execute(
            seal_reservation.insert().values(seal_id="ef" * 8, epoch=1, reserved_at="now")
        )

    assert ledger.append("refusal", {}, also=reserve).index == 0
    with pytest.raises(LedgerError, match=r"append-only|unique"):  # the id is taken now
        ledger.append("refusal", {}, also=reserve)
    assert ledger.size() == 1

    def fails(connection):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.append("refusal", {}, also=fails)
    assert ledger.size() == 1
    assert ledger.verify().ok


def test_no_unique_key_of_an_output_can_be_used_to_replace_it(sqlite_ledger, tmp_path):
    fill(sqlite_ledger, 9)
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("INSERT INTO seal_reservation VALUES ('aa', 1, 'now')")
    for output_id, seal_id, entry in (
        (f"{2:016x}", "aa", 3),
        ("bb", f"{2:016x}", 3),
        ("bb", "aa", 2),
    ):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(
                "INSERT OR REPLACE INTO output VALUES (?, ?, ?, 'x', x'00')",
                (output_id, seal_id, entry),
            )
    connection.close()


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 6, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_a_clock_set_back_is_recorded_once_and_time_does_not_go_back(tmp_path, database_location):
    clock = Clock()
    ledger = Ledger.open(database_location, outputs=tmp_path, clock=clock)
    ledger.append("refusal", {"n": 0})
    clock.now -= timedelta(hours=2)
    ledger.append("refusal", {"n": 1})
    clock.now += timedelta(minutes=5)
    ledger.append("refusal", {"n": 2})
    clock.now += timedelta(hours=3)
    assert ledger.append("refusal", {"n": 3}).index == 4
    entries = ledger.entries()
    assert [entry.kind for entry in entries] == ["refusal", "clock", *["refusal"] * 3]
    assert entries[1].body == {"reads": "2026-06-01T10:00:00.000000Z", "behind_s": 7200}
    times = [entry.at for entry in entries]
    assert times == sorted(times)
    audit = ledger.verify()
    assert audit.ok
    assert audit.clock_set_back == (1,)
    ledger.close()


def test_a_clock_that_lags_by_a_moment_is_no_event(tmp_path):
    clock = Clock()
    ledger = Ledger.open(tmp_path / "l.db", outputs=tmp_path, clock=clock)
    ledger.append("refusal", {})
    clock.now -= timedelta(milliseconds=900)
    ledger.append("refusal", {})
    assert [entry.kind for entry in ledger.entries()] == ["refusal", "refusal"]
    assert ledger.entries()[0].at == ledger.entries()[1].at
    assert ledger.verify().clock_set_back == ()
    ledger.close()


@pytest.mark.parametrize("table", TABLES)
def test_a_trigger_that_was_dropped_is_missed(ledger, table):
    fill(ledger, 3)
    name = f"{table}_no_delete"
    drop = {
        "sqlite": f"DROP TRIGGER {name}",
        "postgresql": f"ALTER TABLE {table} DISABLE TRIGGER {name}",
    }
    with ledger.database.writing() as connection:
        connection.execute(text(drop[ledger.database.dialect]))
    audit = ledger.verify()
    assert not audit.ok
    assert audit.unguarded == (name,)
    assert audit.fault is None


def test_the_audit_reads_in_pieces(ledger, monkeypatch):
    from studio.provenance.ledger import audit

    monkeypatch.setattr(audit, "_BATCH", 4)
    for count in range(1, 14):
        fill(ledger, 1)
        assert ledger.verify().ok, count
