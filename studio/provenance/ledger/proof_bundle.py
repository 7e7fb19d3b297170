"""The offline proof of one entry: a file checked with the public key alone.

A bundle holds the entry's leaf, the path from it to the head of a tree, and a checkpoint signed
over that head; for a release, the leaf holds the SHA-256 of the released file. Checking
needs neither database nor studio: the standard library, and ``cryptography`` for Ed25519.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from studio.core.errors import ProofError, UnreadableProofError
from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
from studio.provenance.ledger.checkpoints.signed_note import VerifierKey
from studio.provenance.ledger.private_fields import Opening, committed_fields
from studio.provenance.ledger.tree.merkle import leaf_hash
from studio.provenance.ledger.tree.proofs import check_inclusion

if TYPE_CHECKING:
    from studio.provenance.ledger.checkpoints.checkpointer import SignedCheckpoint
    from studio.provenance.ledger.log import Ledger

__all__ = [
    "BUNDLE_TYPE",
    "ProvenEntry",
    "check_bundle",
    "check_file",
    "make_bundle",
]

BUNDLE_TYPE = "consented-music-studio/proof/v1"
_MAX_BUNDLE = 10_000_000  # bytes


@dataclass(frozen=True, slots=True)
class ProvenEntry:
    """What a bundle proves: this entry is in the ledger over which this checkpoint was signed."""

    index: int
    kind: str
    at: str  # UTC, RFC 3339
    body: Mapping[str, Any]
    checkpoint: Checkpoint
    disclosed: Mapping[str, str]  # personal values that the bundle opens, by field
    checkpoint_note: str
    timestamp: bytes | None  # RFC 3161 response (DER) over the note; not checked here

    def to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "kind": self.kind,
            "at": self.at,
            "body": dict(self.body),
            "disclosed": dict(self.disclosed),
            "ledger": self.checkpoint.origin,
            "tree_size": self.checkpoint.size,
            "tree_head": self.checkpoint.head.hex(),
        }


def make_bundle(
    ledger: Ledger, index: int, signed: SignedCheckpoint, *, disclose: bool = False
) -> dict[str, Any]:
    """The proof that entry ``index`` is in the ledger at that checkpoint, as a JSON object.

    ``disclose`` opens the entry's personal values in it as well. Raises :class:`LedgerError` where
    there is no such entry.
    """
    entry = ledger.entry(index)
    if entry is None or index >= signed.checkpoint.size:
        raise ProofError(f"entry {index} is not in the ledger at this checkpoint")
    bundle: dict[str, Any] = {
        "type": BUNDLE_TYPE,
        "leaf": entry.leaf.decode(),
        "index": index,
        "inclusion": [_base64(hash_) for hash_ in ledger.inclusion(index, signed.checkpoint.size)],
        "checkpoint": signed.note,
    }
    if signed.timestamp is not None:
        bundle["timestamp"] = _base64(signed.timestamp)
    if disclose:
        bundle["openings"] = {
            field: {"salt": _base64(opening.salt), "value": opening.value}
            for field, opening in ledger.openings(index).items()
            if field != "owner"  # whose account it is proves nothing about the output
        }
    return bundle


def check_bundle(content: bytes, keys: Sequence[VerifierKey]) -> ProvenEntry:
    """What the bundle proves under one of the keys.

    Raises :class:`ProofError` where anything does not hold and :class:`UnreadableProofError` where
    it is no bundle.
    """
    bundle = _parse(content)
    leaf, index, note = bundle["leaf"].encode(), bundle["index"], bundle["checkpoint"]
    checkpoint = Checkpoint.open(note, *keys)
    path = [_unbase64(hash_) for hash_ in bundle["inclusion"]]
    check_inclusion(leaf_hash(leaf), index, checkpoint.size, path, head=checkpoint.head)
    try:
        entry = json.loads(leaf)
        if entry["index"] != index:
            raise ProofError("the entry does not stand where the bundle says")
        kind, at, body = entry["kind"], entry["at"], entry["body"]
        committed = committed_fields(body)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise UnreadableProofError("the leaf is not an entry of a ledger") from exc
    disclosed = {}
    for field, opening in bundle.get("openings", {}).items():
        opened = Opening(_unbase64(opening.get("salt")), str(opening.get("value")))
        if not opened.matches(committed.get(field)):
            raise ProofError(f"the value given for {field} is not the one the entry commits to")
        disclosed[field] = opened.value
    stamp = bundle.get("timestamp")
    return ProvenEntry(
        index=index,
        kind=kind,
        at=at,
        body=body,
        checkpoint=checkpoint,
        disclosed=disclosed,
        checkpoint_note=note,
        timestamp=None if stamp is None else _unbase64(stamp),
    )


def check_file(proven: ProvenEntry, content: bytes) -> None:
    """Whether these bytes are the file the entry speaks of. Raises :class:`ProofError`."""
    try:
        digest = proven.body["file"]["sha256"]
    except (KeyError, TypeError) as exc:
        raise ProofError(f"a {proven.kind} entry speaks of no file") from exc
    if hashlib.sha256(content).hexdigest() != digest:
        raise ProofError("the file is not the one the entry speaks of")


def _parse(content: bytes) -> dict[str, Any]:
    try:
        bundle = json.loads(content[: _MAX_BUNDLE + 1])
    except (ValueError, RecursionError) as exc:
        raise UnreadableProofError("not a proof bundle: no JSON") from exc
    shape = {"leaf": str, "index": int, "inclusion": list, "checkpoint": str}
    if not isinstance(bundle, dict) or bundle.get("type") != BUNDLE_TYPE:
        raise UnreadableProofError(f"not a proof bundle of the type {BUNDLE_TYPE}")
    if unknown := set(bundle) - {"type", "timestamp", "openings", *shape}:
        # A part under another name would be passed over in silence.
        raise UnreadableProofError(f"not a proof bundle: unknown part {min(unknown)!r:.60}")
    for name, kind in shape.items():
        if not isinstance(bundle.get(name), kind) or isinstance(bundle[name], bool):
            raise UnreadableProofError(f"not a proof bundle: {name} is missing or malformed")
    try:
        json.dumps(bundle, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:  # half a character: no text in UTF-8
        raise UnreadableProofError("not a proof bundle: a text in it is malformed") from exc
    openings = bundle.get("openings", {})
    if not isinstance(openings, dict) or not all(isinstance(o, dict) for o in openings.values()):
        raise UnreadableProofError("not a proof bundle: openings is malformed")
    return bundle


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: object) -> bytes:
    def refuse(cause: Exception | None = None) -> NoReturn:
        raise UnreadableProofError("not a proof bundle: a hash is no base64") from cause

    if not isinstance(text, str):
        refuse()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        refuse(exc)
