"""What one account may have done at a time, and when work is given up."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError

import pytest

from studio.accounts.permissions import Permission, Role
from studio.core.errors import AccessDeniedError, GenerationCancelledError
from studio.web.http.visitors import TooManyStreamsError, Visitors
from studio.web.jobs.queue import (
    BusyError,
    JobRunner,
    TooLongError,
    TooManyRequestsError,
    stoppable,
)
from tests.support.accounts import add_one_of_each, with_cheap_passwords
from tests.unit.pretend import PretendStudio


def until_cancelled(_report, cancel):
    assert cancel.wait(60)
    raise GenerationCancelledError("stopped")


def test_one_account_has_its_part_of_the_line_and_no_more():
    with JobRunner(running=1, waiting=9, per_account=2) as runner:
        jobs = [runner.submit(until_cancelled, account="ada") for _ in range(2)]
        with pytest.raises(TooManyRequestsError, match="2 of your requests"):
            runner.submit(until_cancelled, account="ada")
        runner.submit(until_cancelled, account="eve")
        jobs[1].cancel()  # it waited, so its place is free at once
        runner.submit(until_cancelled, account="ada")


def test_a_full_line_is_told_apart_from_a_full_part_of_it():
    with JobRunner(running=1, waiting=1, per_account=2) as runner:
        runner.submit(until_cancelled, account="ada")
        runner.submit(until_cancelled, account="eve")
        with pytest.raises(BusyError):
            runner.submit(until_cancelled, account="vera")


@pytest.mark.parametrize("waiting", [False, True])
def test_work_is_given_up_when_its_visitor_has_left(waiting):
    here = threading.Event()
    here.set()
    with JobRunner(running=1, waiting=2) as runner:
        if waiting:
            runner.submit(until_cancelled)
        job = runner.submit(until_cancelled, present=here.is_set)
        runner.look()
        assert not job.moment().cancelling
        here.clear()
        runner.look()
        with pytest.raises((GenerationCancelledError, CancelledError)):
            job.result()


def test_nobody_has_to_watch_for_work_to_be_given_up():
    with JobRunner(running=1, waiting=0) as runner:
        job = runner.submit(until_cancelled, present=lambda: False)
        with pytest.raises(GenerationCancelledError):
            job.result()


def test_work_that_takes_too_long_is_stopped_and_told_so():
    with JobRunner(running=1, waiting=1, longest_s=0.05) as runner:
        job = runner.submit(until_cancelled)
        with pytest.raises(TooLongError, match=r"0\.05 s"):
            job.result()


def test_time_in_line_does_not_count():
    gate = threading.Event()
    with JobRunner(running=1, waiting=1, longest_s=30.0) as runner:
        runner.submit(lambda report, cancel: gate.wait(20))
        job = runner.submit(lambda report, cancel: 42)
        assert job.running_s == 0.0
        gate.set()
        assert job.result() == 42


def test_the_work_of_a_closed_account_ends_and_nobody_elses():
    closed: set[str] = set()
    with JobRunner(running=2, waiting=2, may=lambda account: account not in closed) as runner:
        running = runner.submit(until_cancelled, account="ada")
        others = runner.submit(until_cancelled, account="eve")
        waiting = runner.submit(until_cancelled, account="ada")
        runner.look()
        assert not any(job.moment().cancelling for job in (running, others, waiting))
        closed.add("ada")
        runner.look()
        with pytest.raises(AccessDeniedError):
            running.result()
        with pytest.raises(AccessDeniedError):
            waiting.result()
        assert not others.moment().cancelling


def test_what_was_done_in_time_counts():
    with JobRunner(running=1, waiting=0) as runner:
        job = runner.submit(lambda report, cancel: cancel.wait(20) and "done")
        job.cancel(AccessDeniedError("too late"))
        assert job.result() == "done"


def test_reading_stops_at_the_next_thing_it_tells():
    told, cancel = [], threading.Event()
    progress = stoppable(told.append, cancel)
    progress(1.0)
    cancel.set()
    with pytest.raises(CancelledError):
        progress(2.0)
    assert told == [1.0]


def test_an_account_may_what_its_role_may_while_it_is_open(tmp_path):
    studio = with_cheap_passwords(PretendStudio(tmp_path / "home"))
    actors = add_one_of_each(studio.accounts())
    accounts, ada = studio.accounts(), actors[Role.ARTIST].account_id
    assert accounts.may(ada, Permission.GENERATE)
    assert not accounts.may(ada, Permission.CONSENT)
    assert not accounts.may("nobody", Permission.VERIFY)
    accounts.set_role("ada", Role.VERIFIER, by=None)
    assert not accounts.may(ada, Permission.GENERATE)
    assert accounts.may(ada, Permission.VERIFY)
    accounts.disable("ada", by=None)
    assert not accounts.may(ada, Permission.VERIFY)


# -- who is looking -------------------------------------------------------------------------------


def test_a_visitor_is_there_while_a_stream_is_open_and_a_moment_longer():
    now = [0.0]
    visitors = Visitors(grace_s=15, clock=lambda: now[0])
    assert not visitors.is_present("tab")
    assert visitors.claim("tab", "ada")
    now[0] = 10.0
    assert visitors.is_present("tab"), "an event comes before its stream"
    with visitors.stream("tab", "ada"):
        now[0] = 1000.0
        assert visitors.is_present("tab")
    now[0] = 1014.0
    assert visitors.is_present("tab")
    now[0] = 1016.0
    assert not visitors.is_present("tab")


def test_naming_anothers_session_keeps_nobody_there():
    now = [0.0]
    visitors = Visitors(grace_s=15, clock=lambda: now[0])
    visitors.claim("tab", "ada")
    now[0] = 16.0
    assert not visitors.claim("tab", "eve")
    assert not visitors.is_present("tab")


def test_open_streams_are_bounded_for_each_account():
    visitors = Visitors(streams=2)
    for session in ("one", "two", "three"):
        visitors.claim(session, "ada")
    with visitors.stream("one", "ada"), visitors.stream("two", "ada"):
        with pytest.raises(TooManyStreamsError), visitors.stream("three", "ada"):
            pass
        with visitors.stream("three", "eve"):
            pass
    with visitors.stream("three", "ada"):
        pass


def test_a_closed_runner_leaves_no_thread_behind():
    before = set(threading.enumerate())
    with JobRunner(running=1, waiting=0) as runner:
        runner.submit(lambda report, cancel: None).result()
    until = time.monotonic() + 60
    while set(threading.enumerate()) - before and time.monotonic() < until:
        time.sleep(0.02)
    assert set(threading.enumerate()) <= before


def test_a_closed_runner_takes_nothing_on():
    runner = JobRunner(running=1, waiting=1)
    runner.close()
    with pytest.raises(RuntimeError, match="closed"):
        runner.submit(lambda report, cancel: None)


def test_a_fault_while_looking_after_jobs_does_not_end_it(caplog):
    asked = []

    def may(account):
        asked.append(account)
        if len(asked) == 1:
            raise RuntimeError("the database is busy")
        return False

    with JobRunner(running=1, waiting=0, may=may) as runner:
        job = runner.submit(until_cancelled, account="ada")
        with pytest.raises(AccessDeniedError):
            job.result()
    assert "checking jobs failed" in caplog.text
