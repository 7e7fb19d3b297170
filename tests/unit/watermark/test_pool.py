"""Many items, in order; whatever one of them does, the others get their answers."""

from __future__ import annotations

import os
import signal
from contextlib import closing, suppress

import pytest

from tests.support.work import no_weights, slow_to_start, squares
from watermark.batch.pool import Failure, in_order
from watermark.errors import SealModelError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("jobs", [0, 2])
def test_every_item_is_answered_in_its_order(jobs):
    items = [5, "slow", 3, "raise", 4]
    results = list(in_order(items, squares, jobs=jobs))
    assert [item for item, _ in results] == items
    answers = [answer for _, answer in results]
    assert answers[:3] == [25, "slow", 9]
    assert answers[3] == Failure("internal error (RuntimeError)")
    assert answers[4] == 16


def test_a_crash_and_a_hang_cost_one_item_each():
    items = [2, "crash", 3, "hang", 4, "crash", 5]
    results = dict(enumerate(a for _, a in in_order(items, squares, jobs=2, timeout_s=3.0)))
    assert [results[n] for n in (0, 2, 4, 6)] == [4, 9, 16, 25]
    assert "crashed" in results[1].why
    assert "no answer within 3 s" in results[3].why
    assert "crashed" in results[5].why


def test_loading_does_not_count_as_time_of_the_first_item():
    answers = [answer for _, answer in in_order([2, 3], slow_to_start, jobs=1, timeout_s=3.0)]
    assert answers == [4, 9]


def test_work_happens_elsewhere_or_here_as_asked():
    (_, here), *_ = in_order(["pid"], squares, jobs=0)
    (_, elsewhere), *_ = in_order(["pid"], squares, jobs=1)
    assert here == os.getpid() != elsewhere


def test_what_cannot_start_says_why():
    with pytest.raises(SealModelError, match="no weights here"):
        list(in_order([1, 2], no_weights, jobs=2))
    with pytest.raises(SealModelError, match="no weights here"):
        list(in_order([1], no_weights, jobs=0))


def test_items_are_taken_as_needed_and_answers_wait_in_bounded_number():
    taken = []

    def source():
        yield "slow"
        for n in range(10_000):
            taken.append(n)
            yield n

    with closing(in_order(source(), squares, jobs=2)) as run:
        assert next(run) == ("slow", "slow")
        assert len(taken) < 100


def test_progress_of_one_item_is_told():
    seen = []
    list(in_order(["slow"], squares, jobs=1, progress=lambda item, s: seen.append((item, s))))
    assert seen
    assert {item for item, _ in seen} == {"slow"}


def test_a_run_left_early_leaves_no_process():
    import multiprocessing

    run = in_order(["hang"] * 4, squares, jobs=2)
    with closing(run):
        source = in_order([1], squares, jobs=1)
        assert next(source) == (1, 1)
        source.close()
    assert multiprocessing.active_children() == []


def test_ctrl_c_is_felt_where_c_code_swallows_it():
    """As cffi does with what is raised in libsndfile's callback."""

    def start():
        def work(item, _report):
            if item == 2:
                with suppress(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)
            return item

        return work

    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job may ignore it
    answers = []
    try:
        with pytest.raises(KeyboardInterrupt):
            for item, _ in in_order(range(5), start, jobs=0):
                answers.append(item)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, inherited)
    assert answers == [0, 1, 2]


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError(28, "No space left on device"), "no space left"), (MemoryError(), "not enough mem")],
)
def test_a_full_disk_is_one_line_of_its_item(error, said, caplog):
    def start():
        def work(item, report):
            raise error

        return work

    ((_, answer),) = in_order(["a.wav"], start, jobs=0)
    assert said in answer.why
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]
