"""What the desk searches in: the codebook of all released seals and the index of fingerprints.

Both are built from the ledger and grow with it; a reading never misses an output released before.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from studio.errors import LedgerError
from watermark.errors import FingerprintError
from watermark.fingerprint import Fingerprint
from watermark.fingerprint_index import FingerprintIndex
from watermark.identify import Codebook, CodebookEntry
from watermark.message import SealId

if TYPE_CHECKING:
    from studio.provenance.keys import KeyRing
    from studio.provenance.ledger import Ledger

__all__ = ["Registry"]


class Registry:
    """Codebook and fingerprint index over every release of the ledger."""

    def __init__(self, ledger: Ledger, keys: KeyRing) -> None:
        self._ledger = ledger
        self._keys = keys
        self._lock = threading.Lock()
        self._last = -1  # index of the newest entry taken in
        self.codebook = Codebook()
        self.fingerprints: dict[str, Fingerprint] = {}  # by output id
        self.index = FingerprintIndex()

    def __len__(self) -> int:
        return len(self.codebook)

    def refresh(self) -> None:
        """Take in what was released since. Raises :class:`LedgerError`, also for a lost key."""
        with self._lock:
            for entry_index, stored in self._ledger.outputs(after=self._last):
                try:
                    reference = Fingerprint.from_bytes(stored.fingerprint)
                except FingerprintError as exc:
                    raise LedgerError(
                        f"the fingerprint of output {stored.output_id} is damaged; "
                        "run `studio ledger verify`"
                    ) from exc
                key = self._keys.of(stored.epoch)
                seal_id = SealId.parse(stored.seal_id)
                self.codebook.add([CodebookEntry(seal_id, key, stored.duration_s)])
                self.fingerprints[stored.output_id] = reference
                self.index.add(stored.output_id, reference)
                self._last = entry_index
