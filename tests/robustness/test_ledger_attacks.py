"""An insider with the whole database in hand: what is caught, and by what.

Every attack here leaves a database that is sound by itself, triggers or not: each hash, node and
head is computed anew as our own code would have written it. Each is caught against a checkpoint
that was signed before, and the same ledger without the attack passes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from studio.core.db.tables.ledger import ledger_entry, ledger_node, output
from studio.core.errors import LedgerError, ProofError
from studio.provenance.ledger.checkpoints.checkpointer import check_against
from studio.provenance.ledger.entry import INSTANT, canonical_leaf
from studio.provenance.ledger.log import Ledger
from studio.provenance.ledger.tree.merkle import completed_nodes, head_from_nodes, leaf_hash
from tests.support.ledgers import checkpointer_of, fill, unguard

SIZE, LATER = 11, 4  # entries at the checkpoint, and since


@pytest.fixture
def checkpoint(ledger, tmp_path):
    """Signed over the first entries; more have been appended since."""
    fill(ledger, SIZE)
    signed = checkpointer_of(ledger, tmp_path).checkpoint()
    for number in range(LATER):
        ledger.append("refusal", {"later": number})
    return signed.checkpoint


def rewrite(ledger: Ledger, change) -> None:
    """Write the database anew from ``change(leaves)``, with every hash as it ought to be."""
    with ledger.database.writing() as connection:
        unguard(connection)
        leaves = [json.loads(row.leaf) for row in connection.execute(_in_order())]
        outputs = {row.output_id: row for row in connection.execute(output.select())}
        for table in (output, ledger_node, ledger_entry):
            connection.execute(table.delete())
        nodes: dict[tuple[int, int], bytes] = {}
        for index, leaf in enumerate(change(leaves)):
            at = datetime.strptime(leaf["at"], INSTANT).replace(tzinfo=UTC)
            raw = canonical_leaf(index, leaf["kind"], at, leaf["body"])
            for level, i, hash_ in completed_nodes(index, leaf_hash(raw), nodes_of(nodes)):
                nodes[level, i] = hash_
                connection.execute(ledger_node.insert().values(level=level, idx=i, hash=hash_))
            connection.execute(
                ledger_entry.insert().values(
                    idx=index,
                    kind=leaf["kind"],
                    created_at=leaf["at"],
                    leaf=raw,
                    leaf_hash=leaf_hash(raw),
                    tree_head=head_from_nodes(index + 1, nodes_of(nodes)),
                )
            )
            row = outputs.get(leaf["body"].get("output_id"))
            if row is not None:
                values = {**row._asdict(), "entry_idx": index}
                connection.execute(output.insert().values(**values))
        connection.execute(text("DELETE FROM opening"))


def nodes_of(nodes):
    return lambda *key: nodes[key]


def _in_order():
    return ledger_entry.select().order_by(ledger_entry.c.idx)


def _swap(leaves):
    leaves[3], leaves[4] = leaves[4], leaves[3]
    return leaves


def _forge(leaves):
    return leaves[: SIZE - 2] + [dict(leaves[0], body={"forged": n}) for n in range(6)]


def _edit(leaves):
    leaves[1]["body"] = {"number": 1, "text": "this is how it was all along"}
    return leaves


def _date_back(leaves):
    leaves[0]["at"] = "2020-01-01T00:00:00.000000Z"
    return leaves


def _insert(leaves):
    return [*leaves[:5], dict(leaves[0], body={"never": "happened"}), *leaves[5:]]


ATTACKS = {
    "truncation": lambda leaves: leaves[: SIZE - 1],
    "truncation to nothing": lambda leaves: [],
    "reordering": _swap,
    "forged tail": _forge,
    "an entry edited": _edit,
    "an entry dated back": _date_back,
    "an entry left out": lambda leaves: leaves[:3] + leaves[4:],
    "an entry put in": _insert,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_database_rewritten_with_its_hashes_is_caught_against_an_earlier_checkpoint(
    ledger, checkpoint, attack
):
    check_against(ledger, checkpoint)  # the negative control: unharmed it passes
    rewrite(ledger, ATTACKS[attack])
    assert ledger.verify().fault is None, "the forgery is perfect by itself"
    with pytest.raises(ProofError, match=r"cut off|rewritten"):
        check_against(ledger, checkpoint)


def test_rewriting_the_same_is_no_attack(ledger, checkpoint):
    """The control of the harness itself: what it writes unchanged is the same ledger."""
    rewrite(ledger, lambda leaves: leaves)
    assert ledger.verify().fault is None
    check_against(ledger, checkpoint)


def test_what_was_cut_off_since_the_checkpoint_is_not_found_by_it(ledger, checkpoint):
    """Stated in the format's document: a checkpoint vouches for what came before it."""
    rewrite(ledger, lambda leaves: leaves[:SIZE])
    check_against(ledger, checkpoint)
    assert ledger.size() == SIZE < SIZE + LATER


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_studio_does_not_start_nor_sign_on_such_a_ledger(ledger, checkpoint, tmp_path, attack):
    rewrite(ledger, ATTACKS[attack])
    checkpointer = checkpointer_of(ledger, tmp_path)
    with pytest.raises(ProofError):
        checkpointer.check()
    with pytest.raises(ProofError):
        checkpointer.checkpoint()


def test_dropped_triggers_show_while_the_ledger_is_whole(ledger, checkpoint):
    if ledger.database.dialect == "postgresql":
        with ledger.database.writing() as connection:
            connection.execute(text("ALTER TABLE ledger_entry DISABLE TRIGGER USER"))
    else:
        with ledger.database.writing() as connection:
            unguard(connection)
    audit = ledger.verify()
    assert audit.fault is None
    assert not audit.ok
    assert "ledger_entry_no_update" in audit.unguarded
    check_against(ledger, checkpoint)


def test_hidden_nodes_cannot_vouch_for_other_leaves(ledger, checkpoint):
    """Leaves are exchanged, nodes left as the checkpoint wants them: the audit finds that."""
    with ledger.database.writing() as connection:
        unguard(connection)
        row = connection.execute(_in_order()).first()
        leaf = row.leaf.replace(b"refusal", b"rexusal")
        connection.execute(
            ledger_entry.update()
            .where(ledger_entry.c.idx == 0)
            .values(leaf=leaf, leaf_hash=leaf_hash(leaf), kind="rexusal")
        )
    check_against(ledger, checkpoint)  # by the nodes alone all is well
    audit = ledger.verify()
    assert audit.first_bad_index == 0


def test_a_checkpoint_of_another_ledger_or_key_is_not_taken(ledger, checkpoint, tmp_path):
    other_home = tmp_path / "other"
    other_home.mkdir()
    other = Ledger.open(other_home / "l.db", outputs=tmp_path)
    fill(other, SIZE)
    forged = checkpointer_of(other, other_home).checkpoint()
    path = tmp_path / "checkpoints" / "checkpoint-000000000099.txt"
    path.write_text(forged.note)
    with pytest.raises(ProofError, match="not signed by"):
        checkpointer_of(ledger, tmp_path).check()
    other.close()


@pytest.mark.parametrize("key", ["(0, 0)", "(1, 0)", "(2, 1)"])
def test_a_ledger_with_a_node_missing_makes_no_proofs(ledger, checkpoint, key):
    level, idx = key.strip("()").split(", ")
    with ledger.database.writing() as connection:
        unguard(connection)
        connection.execute(text(f"DELETE FROM ledger_node WHERE level = {level} AND idx = {idx}"))
    assert not ledger.verify().ok
    with pytest.raises(LedgerError, match="damaged"):
        for index in range(SIZE):
            ledger.inclusion(index, SIZE)
