"""Records of files made from an output after its release.

An output has one seal id; its stems carry it too, and its score names it. One ledger entry of the
kind ``renditions`` says which files were released together (docs/ledger-format.md). Fingerprints
and signed manifests stand in the table ``rendition``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from studio.core.db.tables.ledger import ledger_entry
from studio.core.db.tables.renditions import rendition

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.provenance.ledger.entry import Entry
    from studio.provenance.ledger.log import Ledger

__all__ = ["KIND", "MIX", "SCORE", "RenditionRow", "RenditionStore", "part_key", "split_key"]

KIND = "renditions"
"""The kind of the ledger entry."""

MIX = "mix"
"""The part that is the output's own sound, in another format than the released file's."""

SCORE = "score"
"""The part that is no sound: the score as a MIDI file."""


@dataclass(frozen=True, slots=True)
class RenditionRow:
    """One file of an entry, as the table keeps it."""

    part: str  # a stem's name, MIX or SCORE
    output_id: str
    sha256: str
    fingerprint: bytes | None = None
    label: str | None = None
    manifest: bytes | None = None


class RenditionStore:
    """Records and finds renditions in the ledger's database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def record(
        self,
        body: Mapping[str, Any],
        rows: Sequence[RenditionRow],
        *,
        also: Callable[[Connection], None] | None = None,
    ) -> Entry:
        """Append the entry with its rows, or neither; ``also`` as for :meth:`Ledger.append`."""

        def write(connection: Connection) -> None:
            if also is not None:
                also(connection)
            index = connection.scalar(select(func.max(ledger_entry.c.idx)))
            for row in rows:
                connection.execute(
                    rendition.insert().values(
                        entry_idx=index,
                        part=row.part,
                        output_id=row.output_id,
                        sha256=row.sha256,
                        fingerprint=row.fingerprint,
                        label=row.label,
                        manifest=row.manifest,
                    )
                )

        return self._ledger.append(KIND, body, also=write)

    def entry_of(self, output_id: str, sha256: str) -> int | None:
        """The entry that records a file of an output; None if it was never released."""
        query = select(rendition.c.entry_idx).where(
            rendition.c.output_id == output_id, rendition.c.sha256 == sha256
        )
        with self._ledger.database.reading() as connection:
            return connection.scalar(query.order_by(rendition.c.entry_idx).limit(1))

    def sounding(self, *, after: int = -1) -> Iterator[tuple[int, RenditionRow]]:
        """Renditions with a fingerprint whose entry is above ``after``, in order."""
        query = (
            select(rendition)
            .where(rendition.c.entry_idx > after, rendition.c.fingerprint.is_not(None))
            .order_by(rendition.c.entry_idx, rendition.c.part)
        )
        with self._ledger.database.reading() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            yield int(row.entry_idx), _row(row)

    def labelled(self, label: str) -> RenditionRow | None:
        """The rendition whose manifest has this URN."""
        return self._first(rendition.c.label == label)

    def newest(self, output_id: str, part: str) -> RenditionRow | None:
        """The last recorded rendition of a part of an output."""
        return self._first((rendition.c.output_id == output_id) & (rendition.c.part == part))

    def mix(self, output_id: str, format: str) -> tuple[int, str] | None:
        """Entry and SHA-256 of the newest recorded file of an output's sound in a format."""
        query = select(rendition.c.entry_idx).where(
            rendition.c.output_id == output_id, rendition.c.part == MIX
        )
        with self._ledger.database.reading() as connection:
            indices = connection.scalars(query.order_by(rendition.c.entry_idx.desc())).all()
        for index in indices:
            entry = self._ledger.entry(int(index))
            file = entry.body["files"][0] if entry is not None and entry.kind == KIND else None
            if file is not None and file["format"] == format:
                return int(index), str(file["sha256"])
        return None

    def _first(self, condition: Any) -> RenditionRow | None:
        query = select(rendition).where(condition).order_by(rendition.c.entry_idx.desc()).limit(1)
        with self._ledger.database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        found = _row(row)
        return found if _is_recorded(found, self._ledger.entry(int(row.entry_idx))) else None


def _row(row: Any) -> RenditionRow:
    return RenditionRow(
        row.part, row.output_id, row.sha256, row.fingerprint, row.label, row.manifest
    )


def _is_recorded(row: RenditionRow, entry: Entry | None) -> bool:
    """Whether the entry says of the row what the row holds."""
    if entry is None or entry.kind != KIND:
        return False
    return dict(row_facts(row)) in files_facts(entry.body)


def row_facts(row: RenditionRow) -> Mapping[str, Any]:
    """What an entry must say of a row; digests in the place of contents."""
    from hashlib import sha256

    def digest(content: bytes | None) -> str | None:
        return None if content is None else sha256(content).hexdigest()

    return {
        "output_id": row.output_id,
        "part": row.part,
        "sha256": row.sha256,
        "fingerprint_sha256": digest(row.fingerprint),
        "label": row.label,
        "manifest_sha256": digest(row.manifest),
    }


def files_facts(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a ``renditions`` entry says of its files, as :func:`row_facts` does of rows."""
    return [
        {
            "output_id": body["output_id"],
            "part": file["part"],
            "sha256": file["sha256"],
            "fingerprint_sha256": file.get("fingerprint_sha256"),
            "label": file.get("c2pa", {}).get("label"),
            "manifest_sha256": file.get("c2pa", {}).get("manifest_sha256"),
        }
        for file in body["files"]
    ]


def part_key(output_id: str, part: str | None) -> str:
    """The key of a recording among all fingerprints: an output, or a part of one.

    >>> part_key("9f2c00a1b2c3d4e5", "drums"), part_key("9f2c00a1b2c3d4e5", None)
    ('9f2c00a1b2c3d4e5/drums', '9f2c00a1b2c3d4e5')
    """
    return output_id if part is None else f"{output_id}/{part}"


def split_key(key: str) -> tuple[str, str | None]:
    """The inverse of :func:`part_key`.

    >>> split_key("9f2c00a1b2c3d4e5/drums")
    ('9f2c00a1b2c3d4e5', 'drums')
    """
    output_id, _, part = key.partition("/")
    return output_id, part or None
