"""The page's list of requests where workers make the music: who watches, and until when."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from studio.generation.preview import Preview
from studio.generation.progress import Progress, Stage
from studio.web.jobs import shared
from studio.web.jobs.making import MadeJob
from studio.web.jobs.queue import Moment
from studio.web.jobs.shared import SharedMaking
from studio.web.ui.templating import draw

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
    making = SharedMaking()
    making.lists = [[]]
    monkeypatch.setattr(
        making,
        "of",
        lambda _session: making.lists.pop(0) if len(making.lists) > 1 else making.lists[0],
    )
    return making


def test_no_preview_is_offered_where_workers_make_the_music(making):
    from studio.web.ui.create.takes_list import _job

    assert not making.can_preview
    row = _job(MadeJob("9f2c", "ada", "jazz, 10 s", 10.0, "house", 0.0))
    assert (row["state"], row["preview"]) == ("waiting", None)
    working = MadeJob("9f2c", "ada", "jazz, 10 s", 10.0, "house", 0.0, job=AtWork())
    assert (_job(working)["state"], _job(working)["preview"]) == ("working", None)
    heard = replace(working, previews=(Preview(),))
    assert _job(heard)["preview"]["url"] == "making/9f2c/preview?take=1", "else the test is blind"
    assert "Play at once" not in draw("create/board.html", "bar_state", can_preview=False)
    assert "Play at once" in draw("create/board.html", "bar_state", can_preview=True)


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
