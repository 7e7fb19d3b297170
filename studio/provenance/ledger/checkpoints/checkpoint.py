"""Checkpoints: ledger size and head, signed (https://c2sp.org/tlog-checkpoint).

A checkpoint kept outside the database is what a rewritten or shortened ledger is caught against.

>>> print(Checkpoint("example.org/log", 0, EMPTY_HEAD).text(), end="")
example.org/log
0
47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Self

from studio.core.errors import ProofError, UnreadableProofError
from studio.provenance.ledger.checkpoints.signed_note import (
    SignerKey,
    VerifierKey,
    open_note,
    sign_note,
)
from studio.provenance.ledger.tree.merkle import EMPTY_HEAD

__all__ = ["EMPTY_HEAD", "Checkpoint"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Size and head of the ledger that calls itself ``origin``."""

    origin: str
    size: int
    head: bytes  # 32 bytes

    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.head).decode()}\n"

    def sign(self, *signers: SignerKey) -> str:
        """The checkpoint as a signed note."""
        return sign_note(self.text(), *signers)

    @classmethod
    def open(cls, note: str, *keys: VerifierKey) -> Self:
        """The checkpoint in a note that one of the keys signed, under the key's own name.

        Raises :class:`ProofError` where the signature does not hold, and
        :class:`UnreadableProofError` where it is no checkpoint.
        """
        text, signed = open_note(note, *keys)
        checkpoint = cls._parse(text)
        # A key signs for one log; C2SP asks that its name be the log's origin.
        ours = [key for key in signed if key.name == checkpoint.origin]
        if not ours:
            raise ProofError(f"the checkpoint is of another ledger, {checkpoint.origin}")
        if all(key.last_size is not None and checkpoint.size > key.last_size for key in ours):
            raise ProofError(
                f"the checkpoint over {checkpoint.size} entries is signed only with a key that was "
                f"retired at {max(key.last_size or 0 for key in ours)}: whoever signed it holds a "
                "retired key"
            )
        return checkpoint

    @classmethod
    def _parse(cls, text: str) -> Self:
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0] or "" in lines[:-1]:
            raise UnreadableProofError("not a checkpoint: origin, size and head are three lines")
        origin, size, head = lines[:3]
        if not (size.isascii() and size.isdigit() and len(size) < 19) or size != str(int(size)):
            raise UnreadableProofError("not a checkpoint: the size is no number")
        try:
            hash_ = base64.b64decode(head, validate=True)
        except binascii.Error as exc:
            raise UnreadableProofError("not a checkpoint: the head is no base64") from exc
        if len(hash_) != 32:
            raise UnreadableProofError("not a checkpoint: the head is no SHA-256")
        return cls(origin, int(size), hash_)
