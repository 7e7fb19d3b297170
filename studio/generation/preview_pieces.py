"""Previews across processes: a worker puts sealed pieces into the database, servers read them.

What leaves a worker is what an in-process preview lets be heard: samples that went through the
seal, and nothing else. Pieces belong to one claim of one job. They go when the take is not
released, when another worker begins the job anew, and a minute after the job has ended; the table
is in no backup and not in PostgreSQL's log.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, exists, insert, not_, select

from studio.core.db.tables.jobs import job, job_output, preview_piece
from studio.core.errors import LedgerError
from studio.generation.attempts import Claim, LeaseLostError
from studio.generation.preview import Preview

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from studio.core.db.database import Database

__all__ = [
    "CarriedPreview",
    "Heard",
    "PreviewPieces",
    "forget_pieces",
    "heard_takes",
    "sweep_pieces",
]

_logger = logging.getLogger(__name__)
_KEPT_S = 60.0  # pieces of a job that has ended, for servers that have not read them yet
_PIECE_S = 0.25  # of music in a piece; the first is written as soon as it is there
_AT_ONCE = 32  # pieces that are read at a time


@dataclass(frozen=True, slots=True)
class Heard:
    """What a server was told of a take since it last asked.

    Attributes:
        claim: of the worker that makes it; None while none does.
        pieces: (rate, channels, samples) in order; without samples it is the end.
        over: ``released``, or ``taken back``; None while it is being made.
    """

    claim: str | None
    pieces: tuple[tuple[int, int, bytes], ...]
    over: str | None


class PreviewPieces:
    """The pieces of every job. Safe to share between threads; between processes by database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, claim: Claim, take: int, number: int, rate: int, channels: int, samples: bytes
    ) -> None:
        """Put in piece ``number`` of a take; without samples it is the end.

        Raises :class:`LeaseLostError` where the job is another worker's, and :class:`LedgerError`.
        """
        held = and_(job.c.job_id == claim.job_id, job.c.claim == claim.token)
        with self._database.sharing(durable=False) as connection:
            # Locked, so that no piece comes after those of a job that has ended were deleted.
            held_row = select(job.c.job_id).where(held).with_for_update(read=True)
            if connection.scalar(held_row) is None:
                raise LeaseLostError("another worker has taken the job over")
            connection.execute(
                insert(preview_piece).values(
                    job_id=claim.job_id,
                    take=take,
                    claim=claim.token,
                    number=number,
                    rate=rate,
                    channels=channels,
                    samples=samples,
                    at=self._database.now_s(connection),
                )
            )

    def take_back(self, claim: Claim, take: int) -> None:
        """Delete the pieces of a take that is not released. Raises :class:`LedgerError`."""
        with self._database.sharing(durable=False) as connection:
            connection.execute(
                delete(preview_piece).where(
                    preview_piece.c.job_id == claim.job_id,
                    preview_piece.c.claim == claim.token,
                    preview_piece.c.take == take,
                )
            )

    def read(self, job_id: str, take: int, claim: str | None, number: int) -> Heard:
        """What there is from piece ``number`` on.

        ``claim`` is whose pieces were read before; None: whoever makes it now. Raises
        :class:`LedgerError`.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                select(job.c.state, job.c.claim).where(job.c.job_id == job_id)
            ).one_or_none()
            made = (job_output.c.job_id == job_id) & (job_output.c.take == take)
            released = bool(connection.scalar(select(exists().where(made))))
            whose = claim or (None if row is None else row.claim)
            begins_late = released and number == 0  # nobody begins to hear what is a file by now
            pieces = connection.execute(
                select(preview_piece)
                .where(
                    preview_piece.c.job_id == job_id,
                    preview_piece.c.take == take,
                    preview_piece.c.claim == ("" if whose is None or begins_late else whose),
                    preview_piece.c.number >= number,
                )
                .order_by(preview_piece.c.number)
                .limit(_AT_ONCE)
            ).all()
        waits = row is not None and row.state == "waiting" and claim is None
        runs = row is not None and row.state == "running" and row.claim == whose
        over = None
        if released and not pieces:
            over = "released"
        elif not released and not (waits or runs):
            over = "taken back"
        return Heard(
            whose, tuple((each.rate, each.channels, bytes(each.samples)) for each in pieces), over
        )


def forget_pieces(connection: Connection, job_id: str) -> None:
    """Delete all pieces of a job: it ended without a release, or is begun anew."""
    connection.execute(delete(preview_piece).where(preview_piece.c.job_id == job_id))


def sweep_pieces(connection: Connection, now: float) -> None:
    """Delete what jobs that have ended, or workers that were killed, have left."""
    at_work = exists().where(
        job.c.job_id == preview_piece.c.job_id,
        job.c.claim == preview_piece.c.claim,
        job.c.leased_until > now - _KEPT_S,
    )
    old = preview_piece.c.at < now - _KEPT_S
    connection.execute(delete(preview_piece).where(old, not_(at_work)))


def heard_takes(connection: Connection, job_ids: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The takes of which there is something to hear, by job."""
    query = (
        select(preview_piece.c.job_id, preview_piece.c.take)
        .join(job, job.c.claim == preview_piece.c.claim)
        .where(preview_piece.c.job_id.in_(job_ids), preview_piece.c.number == 0)
        .order_by(preview_piece.c.take)
    )
    found: dict[str, tuple[int, ...]] = {}
    for row in connection.execute(query) if job_ids else ():
        found[row.job_id] = (*found.get(row.job_id, ()), int(row.take))
    return found


class CarriedPreview(Preview):
    """The preview of a take that a worker makes: its sound goes to the servers.

    Where the database cannot take it the preview ends, and the work goes on.
    """

    def __init__(self, pieces: PreviewPieces, claim: Claim, take: int) -> None:
        super().__init__()
        self._pieces = pieces
        self._claim = claim
        self._take = take
        self._number = 0
        self._waiting = bytearray()
        self._broken = False

    def keep(self, rate: int, channels: int, sealed: bytes) -> None:
        """See :meth:`Preview.keep`. Raises what :meth:`PreviewPieces.add` raises."""
        self.rate, self.channels = rate, channels
        self._waiting += sealed
        if self._number == 0 or len(self._waiting) >= _PIECE_S * 2 * rate * channels:
            self._send()

    def complete(self) -> None:
        """See :meth:`Preview.complete`."""
        if self._broken:
            return
        try:
            if self._waiting:
                self._send()
            self._send()
        except (LedgerError, LeaseLostError) as exc:
            _logger.info("the preview's end is not told: %s", exc)

    def _send(self) -> None:
        """What waits, as the next piece; the end where nothing does."""
        samples = bytes(self._waiting)
        self._waiting.clear()
        try:
            self._pieces.add(
                self._claim, self._take, self._number, self.rate, self.channels, samples
            )
        except BaseException:
            self._broken = True
            raise
        self._number += 1

    def close(self, *, released: bool) -> None:
        """See :meth:`Preview.close`: what is not released is taken back."""
        super().close(released=released)
        if released:
            return
        try:
            self._pieces.take_back(self._claim, self._take)
        except LedgerError as exc:  # whoever begins the job anew, or sweeps, deletes them
            _logger.info("the preview is not taken back yet: %s", exc)
