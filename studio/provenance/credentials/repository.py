"""Stored C2PA manifests, found by output.

A manifest is believed only if its SHA-256 is the one in the output's ledger entry
(``c2pa.manifest_sha256``), so that whoever can write to the database cannot slip in another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from studio.core.db.tables.credentials import manifest
from studio.core.errors import CredentialError
from studio.provenance.credentials.signing import SignedFile
from studio.provenance.renditions import RenditionRow, RenditionStore

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.provenance.ledger.log import Ledger

__all__ = ["ManifestStore", "StoredManifest"]


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it was signed."""

    output_id: str
    label: str
    content: bytes
    part: str | None = None  # a stem of the output; None: the output itself


class ManifestStore:
    """Keeps and finds manifests in the ledger's database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._renditions = RenditionStore(ledger)

    @staticmethod
    def keep(connection: Connection, output_id: str, signed: SignedFile) -> None:
        """Write a manifest; in the transaction that appends its output's entry."""
        connection.execute(
            manifest.insert().values(
                output_id=output_id, label=signed.label, content=signed.manifest
            )
        )

    def of_output(self, output_id: str) -> StoredManifest | None:
        """The manifest of an output; None where it was released without one.

        Raises :class:`CredentialError` where the entry names a manifest that is not there or is
        another.
        """
        return self._find(manifest.c.output_id == output_id, output_id)

    def labelled(self, label: str) -> StoredManifest | None:
        """The manifest of that URN, if it is one of ours. Raises :class:`CredentialError`."""
        found = self._find(manifest.c.label == label, None)
        return found or _of_rendition(self._renditions.labelled(label))

    def of_part(self, output_id: str, part: str) -> StoredManifest | None:
        """The manifest of a stem of an output, as it was last made."""
        return _of_rendition(self._renditions.newest(output_id, part))

    def _find(self, condition: object, output_id: str | None) -> StoredManifest | None:
        query = select(manifest).where(condition)  # type: ignore[arg-type] # a column comparison
        with self._ledger.database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is not None:
            output_id = row.output_id
        elif output_id is None:
            return None
        digest = self._digest_of(output_id)
        if row is None and digest is None:
            return None
        if row is None or hashlib.sha256(row.content).hexdigest() != digest:
            raise CredentialError(
                f"the stored manifest of output {output_id} is missing or not the one its ledger "
                "entry names; run `studio ledger verify`"
            )
        return StoredManifest(row.output_id, row.label, bytes(row.content))

    def _digest_of(self, output_id: str | None) -> str | None:
        release = None if output_id is None else self._ledger.release(output_id)
        return None if release is None or release.c2pa is None else release.c2pa["manifest_sha256"]


def _of_rendition(row: RenditionRow | None) -> StoredManifest | None:
    if row is None or row.label is None or row.manifest is None:
        return None
    return StoredManifest(row.output_id, row.label, bytes(row.manifest), row.part)
