"""Signed consent that came with a newer version, and its import.

Shipped files are imported at the first start and at no other (:meth:`ConsentService.start`), so a
studio that runs already does not know what a newer version adds. Here a registrar sees those files,
each with the fingerprint of its holder's key, and imports one after comparing it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.consent.administration.reports import ImportReport
from studio.consent.signed.admission import DocumentRefusedError, describe
from studio.consent.signed.keys import PublicKey
from studio.consent.signed.signing import SignedDocument, of_one_holder
from studio.consent.types import RightsHolder
from studio.core.errors import ConfigError, ConsentFileError, UsageError

if TYPE_CHECKING:
    from studio.consent.administration.service import ConsentService

__all__ = ["ShippedFile", "admit_shipped", "shipped_files"]


@dataclass(frozen=True, slots=True)
class ShippedFile:
    """One file that ships with the studio, and what is still to be recorded of it here."""

    name: str
    holder: RightsHolder
    key: PublicKey  # the holder's
    pending: tuple[SignedDocument, ...]  # not recorded here
    refusal: DocumentRefusedError | None  # why they cannot be recorded here; None: they can

    @property
    def state(self) -> str:
        """``recorded``, ``new`` (it can be taken in) or ``refused``."""
        if not self.pending:
            return "recorded"
        return "new" if self.refusal is None else "refused"

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.name,
            "state": self.state,
            "holder": self.holder.id,
            "name": self.holder.name,
            "kind": self.holder.kind,
            "fingerprint": self.key.fingerprint,
            "pending": [describe(signed.document) for signed in self.pending],
            "refusal": None if self.refusal is None else str(self.refusal.refusal),
            "why": None if self.refusal is None else self.refusal.why,
        }


def shipped_files(registrar: ConsentService, folders: Iterable[Path]) -> tuple[ShippedFile, ...]:
    """The files in ``folders``, each content once. Raises :class:`ConfigError` for a broken one."""
    found: dict[bytes, ShippedFile] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            try:
                data = path.read_bytes()
                if data not in found:
                    found[data] = _look(registrar, path.name, data)
            except (OSError, ConsentFileError) as exc:
                raise ConfigError(f"the shipped consent {path} cannot be read: {exc}") from exc
    return tuple(found.values())


def admit_shipped(
    registrar: ConsentService, folders: Iterable[Path], holder: str, fingerprint: str
) -> ImportReport:
    """Take in what ``holder`` signed and is not recorded here yet.

    Raises :class:`UsageError` where there is nothing to take in, and
    :class:`DocumentRefusedError` where the fingerprint is another one or a document cannot be
    recorded; nothing is recorded then.
    """
    files = [file for file in shipped_files(registrar, folders) if file.holder.id == holder]
    waiting = [file for file in files if file.pending]
    if not waiting:
        raise UsageError(
            f"everything of {holder!r} that ships with this studio is recorded here already"
            if files
            else f"no consent of {holder!r} ships with this studio; `studio consent shipped` "
            "lists what does"
        )
    same = [file for file in waiting if file.key.has_fingerprint(fingerprint)]
    chosen = (same or waiting)[0]
    registrar.compare(fingerprint, chosen.key, "docs/consent.md gives the project's own")
    if chosen.refusal is not None:
        raise chosen.refusal
    return registrar.record(chosen.pending)


def _look(registrar: ConsentService, name: str, data: bytes) -> ShippedFile:
    documents, holder = of_one_holder(data)
    pending, refusal = registrar.rehearse(documents)
    key = PublicKey.parse(holder.profile.public_key)
    return ShippedFile(name, holder.rights_holder(), key, pending, refusal)
