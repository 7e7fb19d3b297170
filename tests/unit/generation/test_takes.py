"""Several takes of one request: their seeds, what is told of them, what becomes of each."""

from __future__ import annotations

import threading

import pytest

from studio.core.errors import GenerationCancelledError, ModelError, UsageError
from studio.generation.progress import Progress, Stage
from studio.generation.takes import MOST_SEED, make_takes, take_requests
from studio.provenance.release import GenerationRequest

REQUEST = GenerationRequest(("genre/jazz",), 10.0, "experiment", "house", "wav", seed=7)


def without_seed() -> GenerationRequest:
    return GenerationRequest(("genre/jazz",), 10.0, "experiment", "house", "wav")


def test_takes_have_the_seeds_that_follow():
    assert [take.seed for take in take_requests(REQUEST, 4)] == [7, 8, 9, 10]
    assert take_requests(REQUEST, 1) == (REQUEST,)


def test_without_a_seed_each_take_draws_its_own():
    seeds = [take.seed for take in take_requests(without_seed(), 4)]
    assert len(set(seeds)) == 4
    assert all(isinstance(seed, int) and 0 <= seed <= MOST_SEED for seed in seeds)
    assert take_requests(without_seed(), 1)[0].seed is None  # drawn where a single one always was


@pytest.mark.parametrize("count", [0, 5, -1])
def test_a_wrong_number_of_takes_is_refused(count):
    with pytest.raises(UsageError, match="1 to 4 takes"):
        take_requests(REQUEST, count)


def test_seeds_do_not_run_beyond_their_range():
    from dataclasses import replace

    assert len(take_requests(replace(REQUEST, seed=MOST_SEED - 1), 2)) == 2
    with pytest.raises(UsageError, match="seeds"):
        take_requests(replace(REQUEST, seed=MOST_SEED - 1), 3)


def test_all_are_made_at_a_time_and_come_back_in_order():
    meeting = threading.Barrier(3)

    def make(request, progress, cancel):
        meeting.wait()  # nobody gets past it alone
        return f"release of {request.seed}"

    takes = make_takes(take_requests(REQUEST, 3), make)
    assert [take.release for take in takes] == [f"release of {seed}" for seed in (7, 8, 9)]
    assert [take.request.seed for take in takes] == [7, 8, 9]


def test_one_that_fails_leaves_the_others_and_says_why():
    def make(request, progress, cancel):
        if request.seed == 8:
            raise ModelError("no sound")
        return request.seed

    takes = make_takes(take_requests(REQUEST, 3), make)
    assert [take.release for take in takes] == [7, None, 9]
    assert str(takes[1].error) == "no sound"


def test_where_none_is_released_the_error_is_raised():
    def make(request, progress, cancel):
        raise ModelError("no sound") if request.seed == 8 else GenerationCancelledError("cancelled")

    with pytest.raises(ModelError, match="no sound"):
        make_takes(take_requests(REQUEST, 3), make)


def test_progress_is_of_the_one_behind_and_of_all_on_average_in_the_callers_thread():
    seen: list[tuple[str, float, bool]] = []
    told = threading.Event()
    me = threading.get_ident()

    def hear(step: Progress) -> None:
        seen.append((step.text, round(step.fraction, 3), threading.get_ident() == me))
        told.set()

    def make(request, progress, cancel):
        progress(Progress(Stage.GENERATE, 0.2 * (request.seed - 6), f"take of {request.seed}"))
        assert told.wait(600)
        return request.seed

    make_takes(take_requests(REQUEST, 2), make, progress=hear)
    assert seen[0] == ("2 takes: take of 7", 0.3, True)


def test_cancelling_stops_all_and_so_does_an_interrupt_of_the_caller():
    def make(request, progress, cancel):
        progress(Progress(Stage.GENERATE, 0.1, "going on"))
        assert cancel.wait(600)
        raise GenerationCancelledError("cancelled")

    cancel = threading.Event()
    with pytest.raises(GenerationCancelledError):
        make_takes(take_requests(REQUEST, 2), make, progress=lambda _: cancel.set(), cancel=cancel)

    def interrupt(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_takes(take_requests(REQUEST, 2), make, progress=interrupt)
