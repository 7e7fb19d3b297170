"""The ledger of a running studio: its keys and checkpoints verified at start.

Opening refuses what must not be continued: a key that is lost or exchanged, and a ledger that
does not continue the newest checkpoint signed for it. ``studio ledger verify`` looks at such a
ledger without any of this.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.core.errors import ProofError, StudioError
from studio.core.home import is_read_only
from studio.provenance.keys import KeyRing, Purpose, SiteKeys, rotate
from studio.provenance.ledger.checkpoints.checkpointer import Checkpointer, outside_folder

if TYPE_CHECKING:
    from pathlib import Path

    from studio.core.config import LedgerConfig
    from studio.core.paths import StudioPaths
    from studio.provenance.ledger.log import Ledger

__all__ = ["TrustedLedger", "open_trusted_ledger", "rotate_key"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrustedLedger:
    """What belongs together: one ledger, its seal keys, and who signs for it."""

    ledger: Ledger
    seal_keys: KeyRing
    checkpointer: Checkpointer


def open_trusted_ledger(ledger: Ledger, paths: StudioPaths, config: LedgerConfig) -> TrustedLedger:
    """Open keys and ledger, and verify them against records and checkpoints.

    Raises :class:`LedgerError` for a lost key and :class:`ProofError` for a ledger that was cut
    off, exchanged or rewritten.
    """
    outside = outside_folder(config, paths.home)
    _refuse_a_fresh_home(ledger, outside)
    keys = SiteKeys(paths.keys, ledger, origin=config.origin)
    checkpointer = Checkpointer(
        ledger,
        keys.signing,
        paths.checkpoints,
        config,
        outside=outside,
        leads=lambda: ledger.database.leads("checkpoints"),
    )
    checkpointer.check()
    if not is_read_only(paths.home):
        _keep_handovers(checkpointer)
    ledger.after_append(checkpointer.consider)
    return TrustedLedger(ledger, keys.seal, checkpointer)


def _refuse_a_fresh_home(ledger: Ledger, outside: Path | None) -> None:
    """Before any key is made, so that a backup can still be restored into the home."""
    if outside is None or ledger.size() or not any(outside.glob("checkpoint-*.txt")):
        return
    raise ProofError(
        f"this home is empty, and {outside} holds checkpoints of the ledger that stood here. "
        "Restore a backup with `studio restore`; to begin anew all the same, move that folder away"
    )


def rotate_key(trusted_ledger: TrustedLedger, paths: StudioPaths, purpose: Purpose) -> int:
    """Make the next key and put it on record; its number. Raises :class:`LedgerError`.

    The old ledger key and the new one sign the handover before the new one is used, so that whoever
    trusts the old key can come to trust the new one. A checkpoint by the new key follows.
    """
    number = rotate(paths.keys, trusted_ledger.ledger, purpose)
    _keep_handovers(trusted_ledger.checkpointer)
    try:
        trusted_ledger.checkpointer.checkpoint()
    except StudioError:  # the rotation is done; the next checkpoint comes with the next entry
        _log.exception("the key was rotated, but no checkpoint could be signed with it")
    return number


def _keep_handovers(checkpointer: Checkpointer) -> None:
    try:
        checkpointer.keep_handovers()
    except StudioError:  # each stands in its ledger entry as well
        _log.exception("the handover to the new key could not be kept beside the checkpoints")
