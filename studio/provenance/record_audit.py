"""Check the tables beside the ledger against its entries.

The ledger's own audit (:mod:`studio.provenance.ledger.audit`) recomputes entries, tree, outputs
and openings. Here are the tables that refer to releases and keys: each row has to be what an entry
says.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from studio.core.db.tables.credentials import manifest
from studio.core.db.tables.ledger import ledger_entry, seal_reservation
from studio.core.db.tables.lineage import output_parent
from studio.core.db.tables.provenance import key_record, opening
from studio.core.db.tables.renditions import rendition
from studio.core.db.tables.scores import output_performance, output_score
from studio.provenance.ledger.private_fields import committed_fields
from studio.provenance.renditions import KIND, RenditionRow, files_facts, row_facts

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["RECORDS"]

_MAX_SCORE = 16 << 20  # bytes of JSON


def _manifest_faults(connection: Connection) -> Iterator[str]:
    """Signed manifests: label and digest stand in the release."""
    stored = {
        row.output_id: (row.label, hashlib.sha256(row.content).hexdigest())
        for row in connection.execute(select(manifest))
    }
    for body in _bodies(connection, "release"):
        claimed = body.get("c2pa")
        wanted = None if claimed is None else (claimed["label"], claimed["manifest_sha256"])
        if stored.pop(body["output_id"], None) != wanted:
            yield f"the manifest of the output {body['output_id']} is not the one its release names"
    for output_id in stored:
        yield f"the manifest of the output {output_id} belongs to no release"


def _score_faults(connection: Connection) -> Iterator[str]:
    """Scores: the digest of each stands in the release; one that was erased is no fault."""
    stored = {row.output_id: row.content for row in connection.execute(select(output_score))}
    erased = {
        each["entry"]
        for body in _bodies(connection, "erasure")
        for each in body.get("fields", [body])
        if each["field"] == "score"
    }
    query = select(ledger_entry.c.idx, ledger_entry.c.leaf).where(ledger_entry.c.kind == "release")
    for row in connection.execute(query):
        body = json.loads(row.leaf)["body"]
        wanted = body["model"].get("score_sha256")
        content = stored.pop(body["output_id"], None)
        if content is None and (wanted is None or row.idx in erased):
            continue
        if content is None or _score_digest(content) != wanted:
            yield f"the score of the output {body['output_id']} is not the one its release names"
    for output_id in stored:
        yield f"the score of the output {output_id} belongs to no release"


def _performance_faults(connection: Connection) -> Iterator[str]:
    """Performances: the digest of each stands in the release; old releases have none."""
    stored = {
        row.output_id: hashlib.sha256(row.content).hexdigest()
        for row in connection.execute(select(output_performance))
    }
    for body in _bodies(connection, "release"):
        wanted = body["model"].get("performance_sha256")
        if stored.pop(body["output_id"], None) != wanted:
            yield (
                f"the performance of the output {body['output_id']} is not the one its release "
                "names"
            )
    for output_id in stored:
        yield f"the performance of the output {output_id} belongs to no release"


def _score_digest(content: bytes) -> str | None:
    try:
        text = zlib.decompressobj().decompress(content, _MAX_SCORE)
    except zlib.error:
        return None
    return hashlib.sha256(text).hexdigest()


def _parent_faults(connection: Connection) -> Iterator[str]:
    """Who was made from whom."""
    stored = {
        row.output_id: (row.parent_id, row.relation)
        for row in connection.execute(select(output_parent))
    }
    for body in _bodies(connection, "release"):
        lineage = body.get("lineage")
        wanted = None if lineage is None else (lineage["parent"], lineage["relation"])
        if stored.pop(body["output_id"], None) != wanted:
            yield f"the parent of the output {body['output_id']} is not the one its release names"
    for output_id in stored:
        yield f"the parent of the output {output_id} belongs to no release"


def _reservation_faults(connection: Connection) -> Iterator[str]:
    """Seals of released outputs, with the epoch of their key."""
    stored = {row.seal_id: row.epoch for row in connection.execute(select(seal_reservation))}
    for body in _bodies(connection, "release"):
        if stored.get(body["seal"]["id"]) != body["seal"]["epoch"]:
            yield f"the seal {body['seal']['id']} is not reserved as its release says"


def _opening_faults(connection: Connection) -> Iterator[str]:
    """Every personal value is there, or an entry says that it was erased."""
    kept = {
        (row.entry_idx, row.field)
        for row in connection.execute(select(opening.c.entry_idx, opening.c.field))
    }
    missing: set[tuple[int, str]] = set()
    for row in connection.execute(select(ledger_entry.c.idx, ledger_entry.c.leaf)):
        if b'{"commitment":' in row.leaf:
            fields = {(row.idx, name) for name in committed_fields(json.loads(row.leaf)["body"])}
            missing |= fields - kept
            kept -= fields
    for body in _bodies(connection, "erasure"):
        for erased in body.get("fields", [body]):
            missing.discard((erased["entry"], erased["field"]))
    for index, name in sorted(missing):
        yield f"the value {name} of entry {index} is gone, and no entry says that it was erased"
    for index, name in sorted(kept):
        yield f"the value {name} is kept for entry {index}, which commits to none"


def _key_faults(connection: Connection) -> Iterator[str]:
    """Keys after the first of each purpose: each is an entry."""
    stored = {
        (row.purpose, row.number): row.public
        for row in connection.execute(select(key_record))
        if row.number != 1
    }
    for body in _bodies(connection, "key-rotation"):
        name = (body["purpose"], body["number"])
        if stored.pop(name, None) != body["public"]:
            yield f"the record of the {name[0]} key {name[1]} is not the one its entry names"
    for purpose, number in stored:
        yield f"the {purpose} key {number} is on record, and no entry says so"


def _rendition_faults(connection: Connection) -> Iterator[str]:
    """Stems and scores: digests of file, fingerprint and manifest stand in their entry."""
    stored = {
        (row.entry_idx, row.part): row_facts(
            RenditionRow(
                row.part, row.output_id, row.sha256, row.fingerprint, row.label, row.manifest
            )
        )
        for row in connection.execute(select(rendition))
    }
    query = select(ledger_entry.c.idx, ledger_entry.c.leaf).where(ledger_entry.c.kind == KIND)
    for entry in connection.execute(query.order_by(ledger_entry.c.idx)):
        for facts in files_facts(json.loads(entry.leaf)["body"]):
            if stored.pop((entry.idx, facts["part"]), None) != facts:
                what = f"{facts['part']} of the output {facts['output_id']}"
                yield f"the {what} is not as entry {entry.idx} names it"
    for index, part in stored:
        yield f"the rendition {part} belongs to entry {index}, which names none"


def _bodies(connection: Connection, kind: str) -> Iterator[Mapping[str, Any]]:
    query = select(ledger_entry.c.leaf).where(ledger_entry.c.kind == kind)
    for leaf in connection.scalars(query.order_by(ledger_entry.c.idx)):
        yield json.loads(leaf)["body"]


RECORDS: Mapping[str, Callable[[Connection], Iterator[str]]] = {
    "manifests": _manifest_faults,
    "scores": _score_faults,
    "performances": _performance_faults,
    "lineage": _parent_faults,
    "seals": _reservation_faults,
    "personal values": _opening_faults,
    "keys": _key_faults,
    "renditions": _rendition_faults,
}
"""What to look at, in words, and what looks: each gives one line for a fault."""
