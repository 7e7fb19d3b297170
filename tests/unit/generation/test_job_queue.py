"""The line of jobs that servers and workers share: claims, leases, limits, one release a take."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select, update

from studio.core.db.database import Database
from studio.core.db.limits import SharedBuckets, SharedPlaces
from studio.core.db.tables.jobs import job
from studio.core.errors import BusyError, NotYoursError, TooManyRequestsError
from studio.generation.attempts import LeaseLostError
from studio.generation.derived.derivation import Wish
from studio.generation.job_queue import JobQueue, TakeAttempt
from studio.generation.orders import Order
from studio.generation.progress import Progress, Stage
from studio.provenance.release import GenerationRequest


@pytest.fixture
def queue(database):
    return JobQueue(database, waiting=5)


def order(takes=1, **changes):
    asked = GenerationRequest(("genre/jazz",), 3.0, "experiment", "house", "wav", seed=5, **changes)
    return Order.create(asked, takes)


def put(queue, account="ada", takes=1, per_account=9):
    return queue.submit(
        order(takes, note="private words"),
        account_id=account,
        payer=account or "local",
        origin="rest",
        label="jazz, 3 s",
        per_account=per_account,
    )


def lapse(database, job_id):
    """As if the worker had not been heard of for a lease."""
    with database.sharing() as connection:
        connection.execute(update(job).where(job.c.job_id == job_id).values(leased_until=1.0))


def release(database, claim, take=0, output_id="00aa00aa00aa00aa"):
    with database.writing() as connection:
        TakeAttempt(claim, take).record(connection, output_id)


def test_an_order_is_the_same_after_it_was_written_down():
    asked = order(2, note="private", sheet="key: C", title="Blue", human=("lyrics",))
    assert Order.from_text(asked.to_text()) == asked
    varied = Order.vary("00aa00aa00aa00aa", asked.request, Wish(keep="notes"))
    assert Order.from_text(varied.to_text()) == varied
    assert Order.from_text(varied.to_text()).arguments()["wish"] == Wish(keep="notes")
    assert varied.options["seed"] is not None, "drawn once, so that another try makes the same"
    assert Order.create(GenerationRequest(("a/b",), 3.0, "e", "h", "wav")).request.seed is not None


def test_jobs_are_taken_in_their_order_and_by_one_worker_each(queue):
    first, second = put(queue), put(queue)
    assert queue.find(second, "ada").queue_position == 1
    claims = [queue.claim(["house"]) for _ in range(3)]
    assert [claim and claim.job_id for claim in claims] == [first, second, None]
    assert claims[0].order.request.note == "private words"
    assert queue.claim(["another"]) is None
    assert queue.standing() == (2, 0)


def test_workers_that_ask_at_once_get_different_jobs(queue):
    for _ in range(5):
        put(queue)
    found, lock = [], threading.Lock()

    def work():
        while (claim := queue.claim(["house"])) is not None:
            with lock:
                found.append(claim.job_id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == 5


def test_a_lease_that_lapsed_gives_the_job_to_another_worker_and_nothing_to_the_first(
    queue, database
):
    put(queue, takes=2)
    lost = queue.claim(["house"])
    release(database, lost, take=0)
    lapse(database, lost.job_id)
    taken = queue.claim(["house"])
    assert (taken.job_id, taken.attempts) == (lost.job_id, 2)
    assert taken.released == ((0, "00aa00aa00aa00aa"),), "the first take is not made again"
    for late in (
        lambda: queue.renew(lost, None),
        lambda: release(database, lost, 1, "00bb00bb00bb00bb"),
    ):
        with pytest.raises(LeaseLostError):
            late()
    queue.finish(lost, "failed", ("ModelError", "too late"))
    queue.give_back(lost)
    assert queue.find(taken.job_id, "ada").state == "running"
    with pytest.raises(LeaseLostError):  # not twice, even by the holder
        release(database, taken, 0, "00cc00cc00cc00cc")
    release(database, taken, 1, "00bb00bb00bb00bb")
    queue.finish(taken, "done")
    found = queue.find(taken.job_id, "ada")
    assert found.state == "done"
    assert [output for _, output in found.outputs] == ["00aa00aa00aa00aa", "00bb00bb00bb00bb"]


def test_a_claim_that_is_renewed_holds_and_tells_the_progress(queue):
    job_id = put(queue)
    claim = queue.claim(["house"])
    assert not queue.renew(claim, Progress(Stage.SEAL, 0.8, "Sealing"))
    found = queue.find(job_id, "ada")
    assert (found.stage, found.fraction, found.text) == ("seal", 0.8, "Sealing")
    queue.stop(job_id)
    assert queue.renew(claim, None), "its owner asked to stop it"


def test_a_job_that_is_put_back_stands_at_its_old_place(queue):
    first, second = put(queue), put(queue)
    queue.give_back(queue.claim(["house"]))
    assert queue.find(second, "ada").queue_position == 1
    again = queue.claim(["house"])
    assert (again.job_id, again.attempts) == (first, 1)


def test_a_job_that_ends_its_workers_is_given_up(queue, database):
    job_id = put(queue)
    for _ in range(8):
        assert queue.claim(["house"]) is not None
        lapse(database, job_id)
    assert queue.claim(["house"]) is None
    found = queue.find(job_id, "ada")
    assert found.state == "failed"
    assert "broke off 8 times" in found.error_text


def test_what_was_typed_goes_with_the_end_of_the_job(queue, database):
    done, stopped = put(queue), put(queue)
    queue.finish(queue.claim(["house"]), "done")
    queue.stop(stopped)
    assert queue.find(stopped, "ada").state == "cancelled"
    with database.reading() as connection:
        assert connection.scalars(select(job.c.body)).all() == [None, None]
    assert done


def test_limits_hold_over_everybody_who_submits(queue):
    put(queue, per_account=1)
    with pytest.raises(TooManyRequestsError, match="1 of your requests"):
        put(queue, per_account=1)
    for _ in range(4):
        put(queue, account="eve")
    with pytest.raises(BusyError):
        put(queue, account="vera")


def test_one_account_neither_sees_nor_dismisses_anothers_job(queue):
    job_id = put(queue)
    for stranger in ("eve", None):
        with pytest.raises(NotYoursError):
            queue.find(job_id, stranger)
        assert queue.of(stranger, "rest") == []
    queue.dismiss([job_id])
    assert queue.find(job_id, "ada"), "one that has not ended stays"


def test_a_worker_is_known_until_it_leaves(queue):
    queue.announce("one", ["house"])
    queue.announce("one", ["house"])
    assert queue.workers() == [("one", ["house"])]
    queue.leave("one")
    assert queue.workers() == []


def test_requests_a_minute_are_counted_over_all_servers(database):
    servers = [SharedBuckets(database, "rest", per_minute=3) for _ in range(2)]
    waits = [servers[n % 2].take("ada") for n in range(4)]
    assert waits[:3] == [0.0, 0.0, 0.0]
    assert 0 < waits[3] <= 20
    assert servers[0].take("eve") == 0.0
    assert SharedBuckets(database, "page", per_minute=3).take("ada") == 0.0


def test_places_are_counted_over_all_servers_and_lapse(database):
    servers = [SharedPlaces(database, "checks", most=2, hold_s=60) for _ in range(2)]
    places = [servers[n % 2].take("ada") for n in range(3)]
    assert places[2] is None
    servers[1].give_back(places[0])
    assert servers[0].take("ada") is not None
    short = SharedPlaces(database, "long", most=1, hold_s=-1)
    assert short.take("ada") and short.take("ada"), "a place of a server that was killed lapses"


@pytest.mark.needs("postgresql")
def test_one_process_leads_until_it_ends(postgresql_url):
    one, other = Database.open(postgresql_url), Database.open(postgresql_url)
    assert one.leads("checkpoints")
    assert one.leads("checkpoints")
    assert not other.leads("checkpoints")
    assert other.leads("something else")
    one.close()
    assert other.leads("checkpoints")
    other.close()


def test_of_a_file_everybody_leads(tmp_path):
    database = Database.open(tmp_path / "ledger.db")
    assert database.leads("checkpoints")
    database.close()
