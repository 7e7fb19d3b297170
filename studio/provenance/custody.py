"""The ledger as a running studio holds it: its keys the recorded ones, its checkpoints kept.

Opening refuses what must not be gone on with: a key that is lost or exchanged, and a ledger that
does not continue the newest checkpoint signed for it. ``studio ledger verify`` looks at such a
ledger without any of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.provenance.keys import KeyRing, Purpose, open_keys, rotate
from studio.provenance.notary import Notary

if TYPE_CHECKING:
    from studio.config import LedgerConfig
    from studio.paths import StudioPaths
    from studio.provenance.ledger import Ledger

__all__ = ["Custody", "open_custody", "rotate_key"]


@dataclass(frozen=True, slots=True)
class Custody:
    """What belongs together: one ledger, its seal keys, and who signs for it."""

    ledger: Ledger
    seal_keys: KeyRing
    notary: Notary


def open_custody(ledger: Ledger, paths: StudioPaths, config: LedgerConfig) -> Custody:
    """Open keys and ledger, held against record and checkpoints.

    Raises :class:`LedgerError` for a lost key and :class:`ProofError` for a ledger that was cut
    off, exchanged or rewritten.
    """
    seal_keys, signing_keys = open_keys(paths.keys, ledger, origin=config.origin)
    notary = Notary(ledger, signing_keys, paths.checkpoints, config)
    notary.check()
    ledger.after_append(notary.consider)
    return Custody(ledger, seal_keys, notary)


def rotate_key(custody: Custody, paths: StudioPaths, config: LedgerConfig, purpose: Purpose) -> int:
    """Make the next key and put it on record; its number. Raises :class:`LedgerError`.

    The checkpoint that follows a new ledger key is signed by the old one as well, so that whoever
    trusts the old key can come to trust the new one.
    """
    number = rotate(paths.keys, custody.ledger, purpose)
    if purpose == "ledger":
        old = custody.notary.signer
        _, signing_keys = open_keys(paths.keys, custody.ledger)
        Notary(custody.ledger, signing_keys, paths.checkpoints, config).checkpoint(old)
    return number
