"""What workers let be heard: sealed, at any server, gone when it must be."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sqlalchemy import func, select, update

from studio.app.operation.backup import copy_rows
from studio.core.db.database import Database
from studio.core.db.tables.jobs import PASSING, job, preview_piece
from studio.core.errors import LedgerError
from studio.generation.attempts import LeaseLostError
from studio.generation.job_queue import JobQueue, TakeAttempt
from studio.generation.orders import Order
from studio.generation.preview_pieces import CarriedPreview, PreviewPieces
from studio.provenance.release import GenerationRequest
from studio.web.jobs import preview_feeds
from studio.web.jobs.preview_feeds import PreviewFeeds, previews_of
from watermark.audio.waveform import Waveform

RATE = 16_000


@pytest.fixture(autouse=True)
def _asked_often(monkeypatch):
    monkeypatch.setattr(preview_feeds, "_POLL_S", 0.01)


@pytest.fixture
def queue(database):
    return JobQueue(database)


@pytest.fixture
def servers(database):
    """Two servers that share the database."""
    both = [PreviewFeeds(lambda: PreviewPieces(database)) for _ in range(2)]
    yield both
    for each in both:
        each.close()


def put(queue, takes=1, preview=True):
    asked = GenerationRequest(("genre/jazz",), 3.0, "experiment", "house", "wav", seed=5)
    return queue.submit(
        Order.create(asked, takes),
        account_id="ada",
        payer="ada",
        origin="page",
        label="jazz",
        per_account=9,
        preview=preview,
    )


def windows(count):
    return [Waveform(np.full((2, 2000), 0.01 * (k + 1), np.float32), RATE) for k in range(count)]


def seal(music):
    for window in music:
        yield Waveform(window.samples * 2, window.rate)


def pcm(*music):
    samples = np.concatenate([one.samples for one in music], -1)
    return np.rint(samples.T * 32767).astype("<i2").tobytes()


def pieces_left(database):
    with database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(preview_piece))


def made(preview, count=6):
    with preview.sealed_by(seal):
        for window in windows(count):
            preview.hear(window)


def listener_at(server, queue, job_id, take=0):
    return previews_of(server, queue.find(job_id, "ada"))[take].listen()


def until(condition):
    end = time.monotonic() + 300
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it did not come")
        time.sleep(0.005)


def finish(queue, database, claim, take=0):
    with database.writing() as connection:
        TakeAttempt(claim, take).record(connection, f"{take:016x}")
    queue.finish(claim, "done")


def test_what_a_worker_seals_is_heard_at_every_server_and_nothing_else_leaves_it(
    queue, database, servers
):
    job_id = put(queue)
    early = listener_at(servers[0], queue, job_id)  # it waits in line
    claim = queue.claim(["house"])
    assert claim.preview
    assert queue.find(job_id, "ada").heard == ()
    preview = CarriedPreview(PreviewPieces(database), claim, 0)
    made(preview)
    assert queue.find(job_id, "ada").heard == (0,)
    late = listener_at(servers[1], queue, job_id)
    sealed = pcm(*seal(windows(6)))
    for listener in (early, late):
        heard = bytearray()
        until(lambda: heard.extend(listener.read()) or listener.ended)  # noqa: B023
        assert bytes(heard) == sealed
    with database.reading() as connection:
        kept = connection.scalars(
            select(preview_piece.c.samples).order_by(preview_piece.c.number)
        ).all()
    assert b"".join(bytes(each) for each in kept) == sealed
    assert 2 < len(kept) < 7, "windows are put together, the first is not held back"


def test_after_the_release_the_rest_is_heard_and_nobody_begins_anew(queue, database, servers):
    job_id = put(queue)
    listener = listener_at(servers[0], queue, job_id)
    claim = queue.claim(["house"])
    preview = CarriedPreview(PreviewPieces(database), claim, 0)
    heard = bytearray()
    with preview.until_released():
        with preview.sealed_by(seal):
            for window in windows(6):
                preview.hear(window)
                # Who has heard nothing when the file is released is not given the pieces any more.
                until(lambda: heard.extend(listener.read()) or heard)
        finish(queue, database, claim)
    until(lambda: heard.extend(listener.read()) or listener.ended)
    assert bytes(heard) == pcm(*seal(windows(6)))
    assert listener_at(servers[1], queue, job_id) is None
    stale = PreviewPieces(database).read(job_id, 0, None, 0)
    assert (stale.pieces, stale.over) == ((), "released"), "not even past the page"


def test_what_is_not_released_is_taken_back_from_those_who_listen(queue, database, servers):
    job_id = put(queue)
    claim = queue.claim(["house"])
    preview = CarriedPreview(PreviewPieces(database), claim, 0)
    listener = listener_at(servers[0], queue, job_id)
    with pytest.raises(LedgerError), preview.until_released():
        made(preview)
        until(lambda: len(listener.read()) > 0)
        raise LedgerError("no release")
    assert pieces_left(database) == 0
    queue.finish(claim, "failed", ("SealingError", "no"))
    until(lambda: listener.ended)
    assert listener.read() == b""


def test_a_job_that_is_begun_anew_is_heard_anew_and_the_lost_worker_adds_nothing(
    queue, database, servers
):
    job_id = put(queue)
    lost = queue.claim(["house"])
    first = CarriedPreview(PreviewPieces(database), lost, 0)
    listener = listener_at(servers[0], queue, job_id)
    first.keep(RATE, 1, b"\x01\x00" * 100)
    until(lambda: len(listener.read()) > 0)
    with database.sharing() as connection:
        connection.execute(update(job).values(leased_until=1.0))
    again = queue.claim(["house"])
    assert pieces_left(database) == 0
    with pytest.raises(LeaseLostError):
        first.keep(RATE, 1, b"\x01\x00" * RATE)
    first.complete()  # says nothing, and does not fail
    until(lambda: listener.ended)
    second = CarriedPreview(PreviewPieces(database), again, 0)
    made(second)
    fresh = listener_at(servers[0], queue, job_id)
    heard = bytearray()
    until(lambda: heard.extend(fresh.read()) or fresh.ended)
    assert bytes(heard) == pcm(*seal(windows(6)))


def test_each_take_is_heard_by_itself(queue, database, servers):
    job_id = put(queue, takes=2)
    claim = queue.claim(["house"])
    for take in (0, 1):
        CarriedPreview(PreviewPieces(database), claim, take).keep(RATE, 1, bytes([take, 0]) * 8)
    found = [listener_at(servers[0], queue, job_id, take) for take in (0, 1)]
    for take in (0, 1):
        until(lambda: (part := found[take].read()) and part == bytes([take, 0]) * 8)  # noqa: B023


def test_without_being_asked_for_there_is_no_preview(queue, servers):
    row = queue.find(put(queue, preview=False), "ada")
    assert previews_of(servers[0], row) == ()
    assert not queue.claim(["house"]).preview


def test_what_is_left_is_swept_a_minute_later_and_what_is_at_work_stays(queue, database):
    old, at_work = put(queue), put(queue)
    claims = [queue.claim(["house"]) for _ in (old, at_work)]
    for claim in claims:
        CarriedPreview(PreviewPieces(database), claim, 0).keep(RATE, 1, b"\x01\x00")
    finish(queue, database, claims[0])
    queue.announce("worker", ["house"])
    assert pieces_left(database) == 2, "a server may still read the last of it"
    with database.sharing() as connection:
        connection.execute(update(preview_piece).values(at=preview_piece.c.at - 61))
    queue.announce("worker", ["house"])
    with database.reading() as connection:
        assert connection.scalars(select(preview_piece.c.job_id)).all() == [at_work]


def test_no_backup_holds_it(queue, database, tmp_path):
    put(queue)
    CarriedPreview(PreviewPieces(database), queue.claim(["house"]), 0).keep(RATE, 1, b"\x01\x00")
    copies = [Database.open(tmp_path / f"{name}.db") for name in ("passing", "all")]
    copy_rows(database, copies[0], PASSING)
    copy_rows(database, copies[1])
    assert [pieces_left(copy) for copy in copies] == [0, 1]
    for copy in copies:
        copy.close()


def test_a_database_that_is_away_ends_a_preview_and_not_the_work(queue, database, monkeypatch):
    put(queue)
    preview = CarriedPreview(PreviewPieces(database), queue.claim(["house"]), 0)

    def away(**_):
        raise LedgerError("away")

    monkeypatch.setattr(database, "sharing", away)
    with preview.until_released():
        made(preview)
