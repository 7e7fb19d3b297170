"""The ledger for readers and operators, and backups of all records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.accounts.permissions import Permission
from studio.app.use_cases.base import UseCases, requires
from studio.core.errors import LedgerError, ProofError, UsageError

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.app.operation.backup_manifest import Manifest
    from studio.generation.limits.quota import Usage
    from studio.provenance.keys import Purpose
    from studio.provenance.ledger.audit import Audit
    from studio.provenance.ledger.checkpoints.checkpointer import SignedCheckpoint
    from studio.provenance.ledger.checkpoints.signed_note import VerifierKey
    from studio.provenance.ledger.entry import Entry
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.ledger.proof_bundle import ProvenEntry

__all__ = ["LedgerCheck", "Operation", "Records"]


@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """The result of auditing the ledger, its tables and its checkpoints."""

    audit: Audit
    faults_beside: Sequence[str]
    checkpoint_size: int | None  # entries of the checkpoint that it continues
    checkpoint_fault: str | None

    @property
    def ok(self) -> bool:
        return self.audit.ok and not self.faults_beside and self.checkpoint_fault is None


class Records(UseCases):
    """Reading the ledger, checking it, and proving from it."""

    @requires(Permission.LEDGER)
    def entries(self, studio: Container, *, kind: str | None = None, limit: int) -> Sequence[Entry]:
        """The newest entries, of one kind if given, newest first."""
        return _as_it_is(studio).entries(kind=kind, newest_first=True, limit=limit)

    @requires(Permission.LEDGER)
    def entry(self, studio: Container, index: int) -> Mapping[str, Any]:
        """One entry with the personal values that are kept beside it. Raises
        :class:`UsageError`."""
        log = _as_it_is(studio)
        entry = log.entry(index)
        if entry is None:
            raise UsageError(f"the ledger has no entry {index}")
        kept = {field: opening.value for field, opening in log.openings(index).items()}
        return {**entry.to_json(), "kept_outside": kept}

    @requires(Permission.LEDGER)
    def check(
        self,
        studio: Container,
        *,
        against: str | None = None,
        public_keys: str | None = None,
    ) -> LedgerCheck:
        """Recompute every entry, hash and tree head; hold everything against everything.

        The newest checkpoint that was kept, and ``against``, another one, must be continued.
        ``public_keys`` are those to believe of ``against``, as ``studio ledger key`` prints them;
        the studio's own unless given.
        """
        from studio.app.operation.record_audit import record_faults
        from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
        from studio.provenance.ledger.checkpoints.checkpointer import check_against
        from studio.provenance.ledger.checkpoints.public_keys import read_keys

        log = _as_it_is(studio)
        audit, faults = log.verify(), record_faults(log)
        size = fault = None
        try:
            if against is not None:
                keys = read_keys(public_keys) if public_keys else studio.checkpointer().verifiers
                checkpoint = Checkpoint.open(against, *keys)
                check_against(log, checkpoint)
                size = checkpoint.size
            kept = studio.checkpointer().check()
            if against is None and kept is not None:
                size = kept.checkpoint.size
        except (ProofError, LedgerError) as exc:
            size, fault = None, str(exc)
        return LedgerCheck(audit, faults, size, fault)

    @requires(Permission.LEDGER)
    def public_keys(self, studio: Container) -> Sequence[VerifierKey]:
        """The public keys of checkpoints, the oldest first."""
        return studio.checkpointer().verifiers

    @requires(Permission.LEDGER)
    def prove(self, studio: Container, what: str, *, disclose: bool = False) -> Mapping[str, Any]:
        """The offline proof that an output's release, or an entry, is in the ledger."""
        from studio.provenance.ledger.proof_bundle import make_bundle

        # An output id has 16 digits, an entry's number never so many.
        number = what.isdigit() and len(what) < 16
        index = int(what) if number else studio.releases().get(what).entry_index
        covering = studio.checkpointer().covering(index)
        return make_bundle(studio.ledger(), index, covering, disclose=disclose)

    @requires(Permission.BROWSE)
    def check_proof(self, studio: Container, bundle: bytes) -> ProvenEntry:
        """What a proof bundle proves, by the public keys of this studio's own ledger.

        Raises :class:`ProofError` where it does not hold, :class:`UnreadableProofError` where it is
        no such bundle.
        """
        from studio.provenance.ledger.proof_bundle import check_bundle

        return check_bundle(bundle, studio.checkpointer().verifiers)

    @requires(Permission.ADMINISTER)
    def checkpoint(self, studio: Container) -> SignedCheckpoint:
        """Sign the ledger's size and head as they are now."""
        return studio.checkpointer().checkpoint()

    @requires(Permission.ADMINISTER)
    def erase(self, studio: Container, entry: int, field: str) -> Entry:
        """Erase a personal value kept beside an entry; returns the entry that says so."""
        return studio.ledger().erase(entry, field)

    @requires(Permission.ADMINISTER)
    def accept_clock(self, studio: Container) -> Entry:
        """Say that the clock is right after a long pause; returns the entry that says so."""
        return studio.ledger().accept_clock()


class Operation(UseCases):
    """What the operator of a studio does."""

    @requires(Permission.ADMINISTER)
    def rotate_key(self, studio: Container, purpose: Purpose) -> int:
        """Make the next seal or ledger key, which every process uses from now on; its number.

        A checkpoint signed by the old ledger key and the new one hands over.
        """
        from studio.provenance.trusted_ledger import rotate_key

        return rotate_key(studio.trusted_ledger(), studio.paths, purpose)

    @requires(Permission.ADMINISTER)
    def usage(self, studio: Container, day: datetime | None = None) -> Usage:
        """What every account has had on a day (UTC; today if left out), and the limits."""
        return studio.quotas().usage(day)

    @requires(Permission.ADMINISTER)
    def back_up(self, studio: Container, target: Path, *, with_keys: bool = False) -> Manifest:
        """Make a verified backup in ``target``; see :mod:`studio.app.operation.backup`."""
        from studio.app.operation.backup import back_up

        manifest = back_up(
            studio.paths, studio.database(), studio.checkpointer(), target, with_keys=with_keys
        )
        keys = "with" if with_keys else "without"
        studio.security_log().record("export", subject="backup", detail=f"{keys} the secret keys")
        return manifest


def _as_it_is(studio: Container) -> Ledger:
    """The ledger as it is, even if nothing more may be appended to it."""
    from studio.provenance.ledger.log import Ledger

    return Ledger(studio.database(), studio.paths.outputs)
