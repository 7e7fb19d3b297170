"""Ledgers with entries in them, and with an insider's hands on them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sqlalchemy import Connection, text

from studio.core.config import LedgerConfig
from studio.provenance.keys import LedgerKeys
from studio.provenance.ledger.checkpoints.checkpointer import Checkpointer, outside_folder
from studio.provenance.ledger.log import Ledger

CONFIG = LedgerConfig(
    origin="studio.example/ledger",
    checkpoint_every_entries=100,
    checkpoint_every_minutes=10,
    second_folder=None,
    timestamp_authority=None,
)

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
"""Leaves of the test vectors of the Certificate Transparency reference implementation."""


def checkpointer_of(ledger: Ledger, folder: Path, **changes: object) -> Checkpointer:
    """A checkpointer with its keys and checkpoints under ``folder``."""
    keys = folder / "keys"
    keys.mkdir(exist_ok=True)
    config = CONFIG.model_copy(update=changes)
    return Checkpointer(
        ledger,
        LedgerKeys.open(keys, config.origin),
        folder / "checkpoints",
        config,
        outside=outside_folder(config, folder),
    )


def release_body(seal_id: str) -> dict:
    return {
        "request": {
            "tags": ["genre/jazz"],
            "duration_s": 10.0,
            "use": "experiment",
            "model": "house",
            "format": "wav",
            "territory": "WORLD",
            "seed": 7,
            "guidance": None,
            "parent": None,
        },
        "decision": {"allowed": True, "tags": []},
        "model": {"id": "house"},
        "seal": {"id": seal_id, "epoch": 1},
        "audio": {"rate": 16000, "channels": 1, "duration_s": 10.0},
        "file": {"format": "wav", "bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()},
        "title": "A title",
        "credits": ["A line"],
    }


def fill(ledger: Ledger, count: int = 11) -> None:
    """Refusals, and a release for every third entry."""
    for number in range(count):
        if number % 3 == 2:
            seal_id = f"{number:016x}"
            ledger.reserve(seal_id, 1)
            ledger.append_release(
                release_body(seal_id), file_name=f"{seal_id}.wav", fingerprint=bytes([number])
            )
        else:
            ledger.append("refusal", {"number": number, "text": "größer ≥ π"})


def unguard(connection: Connection) -> None:
    """What somebody with the rights of the database's owner can do: no trigger is left."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        return
    connection.execute(text("PRAGMA defer_foreign_keys = ON"))
    query = text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    for name in connection.scalars(query).all():
        connection.execute(text(f"DROP TRIGGER {name}"))
