"""The page's list of requests where workers make the music: who watches, and until when."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from studio.generation.preview import Preview
from studio.generation.progress import Progress, Stage
from studio.web.jobs import shared
from studio.web.jobs.making import MadeJob
from studio.web.jobs.preview_feeds import PreviewFeeds
from studio.web.jobs.queue import Moment
from studio.web.jobs.shared import SharedMaking

SESSION = None  # the lists below do not ask whose jobs they are


class AtWork:
    def moment(self):
        return Moment(0, Progress(Stage.GENERATE, 0.5, "Generating"), 1.0, False)


def job(live: bool):
    return SimpleNamespace(state=SimpleNamespace(live=live))


@pytest.fixture
def making(monkeypatch):
    """Jobs as ``making.lists`` says, one list a look; the last one stays."""
    monkeypatch.setattr(shared, "_POLL_S", 0.0)
    making = SharedMaking(PreviewFeeds(lambda: None))
    making.lists = [[]]
    monkeypatch.setattr(
        making,
        "of",
        lambda _session: making.lists.pop(0) if len(making.lists) > 1 else making.lists[0],
    )
    return making


def test_a_preview_is_offered_of_the_take_that_is_being_made():
    from studio.web.ui.create.takes_list import _job

    row = _job(MadeJob("9f2c", "ada", "jazz, 10 s", 10.0, "house", 0.0))
    assert (row["state"], row["preview"]) == ("waiting", None)
    working = MadeJob("9f2c", "ada", "jazz, 10 s", 10.0, "house", 0.0, job=AtWork())
    assert (_job(working)["state"], _job(working)["preview"]) == ("working", None)
    heard = replace(working, previews=(Preview(),))
    assert _job(heard)["preview"]["url"] == "making/9f2c/preview?take=1"
    again = replace(heard, attempt=2)
    assert _job(again)["preview"]["url"] == "making/9f2c/preview?take=1&attempt=2"
    second = replace(heard, previews=(Preview(), Preview()), by_take=(None, "00aa"))
    assert _job(second)["preview"]["take"] == 1, "the second take was released before the first"
    last = replace(second, by_take=("00aa", None))
    assert _job(last)["preview"]["take"] == 2


def test_a_watch_ends_when_nothing_is_in_line(making):
    making.lists = [[job(True)], [job(True)], [job(False)]]
    seen = [[each.state.live for each in jobs] for jobs in making.watch(SESSION, "page")]
    assert seen == [[True], [True], [False]]


def test_a_second_watch_of_a_page_ends_at_once_and_another_page_has_its_own(making):
    making.lists = [[job(True)]]
    states = making.watch(SESSION, "page")
    next(states)
    assert not list(making.watch(SESSION, "page"))
    assert next(making.watch(SESSION, "another page"))
    states.close()
    assert next(making.watch(SESSION, "page")), "the place is given back"


def test_a_job_that_comes_as_a_watch_ends_is_seen_by_it(making):
    # Nothing is in line at the first look; the job comes before the watch is given up.
    making.lists = [[job(False)], [job(True)], [job(True)], [job(False)]]
    seen = [[each.state.live for each in jobs] for jobs in making.watch(SESSION, "page")]
    assert seen[0] == [True] and seen[-1] == [False]
