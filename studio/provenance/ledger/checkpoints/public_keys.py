"""The file of public keys that check checkpoints and proofs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from studio.core.errors import UnreadableProofError
from studio.provenance.ledger.checkpoints.signed_note import VerifierKey

__all__ = ["read_keys", "write_keys"]

_RETIRED = re.compile(r"# retired ([0-9a-f]{8}) ([0-9]{1,15})")


def read_keys(text: str) -> list[VerifierKey]:
    """Public keys, one a line; empty lines and those from ``#`` on are remarks.

    One remark counts: ``# retired 530d903a 57`` says that the key of that id signed for no ledger
    of more than 57 entries. Raises :class:`UnreadableProofError`.
    """
    lines = [line.strip() for line in text.splitlines()]
    keys = [VerifierKey.parse(line) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise UnreadableProofError("the file holds no public key")
    ends = {match[1]: int(match[2]) for line in lines if (match := _RETIRED.fullmatch(line))}
    return [replace(key, last_size=ends.get(key.key_id.hex())) for key in keys]


def write_keys(keys: Iterable[VerifierKey]) -> str:
    """The text that :func:`read_keys` reads, the oldest key first."""
    keys = tuple(keys)
    ends = [
        f"# retired {key.key_id.hex()} {key.last_size}\n"
        for key in keys
        if key.last_size is not None
    ]
    return "".join([*(f"{key}\n" for key in keys), *ends])
