"""The Create tab short of a browser: its handlers, and the jobs that outlast the page."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from types import SimpleNamespace

import pytest

from studio.accounts.permissions import LOCAL_OWNER, Actor, Role
from studio.app.gateway import Gateway
from studio.core.errors import GenerationCancelledError
from studio.generation.orders import Order
from studio.provenance.release import GenerationRequest
from studio.web.jobs.making import JobState, Making
from studio.web.jobs.queue import JobRunner
from studio.web.ui.create import view as views
from tests.support.studios import as_owner
from tests.unit.pretend import PretendStudio


@pytest.fixture
def studio(tmp_path):
    return PretendStudio(tmp_path / "home")


@pytest.fixture
def making(tmp_path):
    with JobRunner(running=1, waiting=3) as runner:
        yield Making(runner, tmp_path / "page-jobs.json")


@pytest.fixture
def tab(studio, making):
    """A Create tab with its components, outside any server."""
    import gradio as gr

    from studio.web.http.download_tokens import DownloadTokens
    from studio.web.ui.create.tab import CreateTab

    async def build():  # Gradio leaves an event loop open for what it builds outside a running one
        with gr.Blocks(analytics_enabled=False) as blocks:
            tab = CreateTab(Gateway(studio), DownloadTokens(), making)
        tab.blocks = blocks
        return tab

    yield asyncio.run(build())
    studio.takes_s = 0.0


def request(session="one", actor=LOCAL_OWNER):
    http = SimpleNamespace(
        headers={"host": "studio.test:7860"},
        url=SimpleNamespace(scheme="http"),
        scope={"studio.actor": actor},
    )
    return SimpleNamespace(session_hash=session, request=http)


def press_generate(
    tab, *, genre="genre/jazz", seed=3, locked=True, count=1, typed=("", "", []), **options
):
    session = options.pop("session", "one")
    asked = {"use": "noncommercial", "territory": "WORLD", "model": "house", "format": "wav"}
    use, territory, model, format = (asked | options).values()
    scope = (genre, "", "", "", use, territory, model)
    rest = (2.0, 3.0, seed, locked, count, format, *typed, "")
    return tab._on_generate(request(session), *scope, *rest)


def last(states):
    """All updates laid over each other, as the browser sees them at the end."""
    seen = {}
    for state in states:
        seen |= state
    return seen


def panels(tab, seen):
    return [job["html"] for job in seen[tab.takes_list.board]["jobs"]]


# -- choices --------------------------------------------------------------------------------------


def test_a_licence_that_forbids_the_use_is_said_once_and_no_tag_is_blamed(tab):
    choice = ("genre/jazz", "mood/calm", "", "", "commercial", "WORLD", "facebook/musicgen-small")
    changed = tab._on_scope(request(), *choice)
    choices = dict(changed[tab.chips["genre"]]["choices"])
    assert "jazz" in choices
    assert not any("not granted" in label for label in choices)
    assert "genre/jazz" not in changed[tab.chip_style]
    assert changed[tab.consent].count("does not permit commercial use") == 1
    assert "CC-BY-NC" in changed[tab.model_panel]
    assert changed[tab.generate]["interactive"] is False
    assert changed[tab.switch]["value"] == "Use House model instead"
    switched = tab._on_switch(request(), 10.0, *choice)
    assert switched[tab.model] == "house"
    assert "2 tags are granted" in switched[tab.consent]
    assert switched[tab.generate]["interactive"] is True
    assert switched[tab.switch]["visible"] is False


def test_a_model_that_is_not_here_is_told_before_generate(tab):
    choice = ("genre/jazz", "", "", "", "noncommercial", "WORLD", "facebook/musicgen-small")
    changed = tab._on_scope(request(), *choice)
    assert "is not on this machine" in changed[tab.consent]
    assert changed[tab.generate]["interactive"] is False
    assert changed[tab.switch]["value"] == "Use House model instead"
    labels = {id_: label for label, id_ in tab.model.choices}
    assert labels["facebook/musicgen-small"].endswith("not on this machine")
    assert labels["house"] == "House model"


def test_a_tag_nobody_granted_is_marked(tab):
    changed = tab._on_scope(request(), "genre/jazz", "", "", "", "noncommercial", "WORLD", "house")
    assert "choral – not granted" in dict(changed[tab.chips["genre"]]["choices"])
    assert "genre/choral" in changed[tab.chip_style]


def test_the_first_click_can_make_music(tab, studio):
    chosen = [chip.value for chip in tab.chips.values()]
    assert all(chosen)
    assert as_owner(studio).catalog.decide(chosen).allowed


@pytest.mark.slow
def test_without_a_tag_the_button_is_off(tab):
    scope = ("noncommercial", "WORLD", "house")
    off = tab._on_choice(request(), "", "", "", "", *scope)
    assert off[tab.generate]["interactive"] is False
    assert "Pick at least one tag" in off[tab.consent]
    on = tab._on_choice(request(), "genre/jazz", "", "", "", *scope)
    assert on[tab.generate]["interactive"] is True


def test_the_form_comes_back_as_it_was_left(tab):
    choice = ("genre/waltz", "", "lead/piano", "", "experiment", "DE", "house")
    tab._on_scope(request(), *choice)
    seen = last(tab._on_load(request("another page")))
    assert seen[tab.chips["genre"]]["value"] == "genre/waltz"
    assert (seen[tab.use], seen[tab.territory]) == ("experiment", "DE")


def test_after_a_restart_the_form_is_that_of_the_latest_output(tab, studio):
    asked = as_owner(studio).generation.request(
        ["genre/waltz"], duration_s=7, seed=1, format="mp3", use="experiment", territory="DE"
    )
    as_owner(studio).generation.create(asked)
    seen = last(tab._on_load(request()))
    assert seen[tab.chips["genre"]]["value"] == "genre/waltz"
    assert seen[tab.chips["mood"]]["value"] == ""
    assert (seen[tab.use], seen[tab.duration], seen[tab.format]) == ("experiment", 7, "mp3")


# -- making ---------------------------------------------------------------------------------------


def test_generate_ends_with_the_output_in_the_list(tab, studio):
    seen = last(press_generate(tab))
    (release,) = studio.made.values()
    (take,) = seen[tab.takes_list.board]["takes"]
    assert take["id"] == release.output_id
    assert release.seal_id in take["html"]
    link = f'href="http://studio.test:7860/outputs/{release.output_id}/audio?claim='
    assert link in take["html"]
    assert seen[tab.takes_list.board]["jobs"] == []
    assert seen[tab.takes_list.board]["bar"].startswith("Ready")
    assert seen[tab.parent]["value"] == release.output_id


def test_title_note_and_human_part_go_into_the_request(tab, studio):
    last(press_generate(tab, typed=("  Blue evening ", " ", ["editing"])))
    (asked,) = studio.requests
    assert (asked.title, asked.note, asked.human) == ("Blue evening", None, ("editing",))


def test_a_new_seed_each_press_unless_it_is_kept(tab, studio):
    for _ in range(3):
        seen = last(press_generate(tab, locked=False))
        assert seen[tab.seed] == studio.requests[-1].seed
    last(press_generate(tab, locked=True, seed=5))
    seeds = [asked.seed for asked in studio.requests]
    assert len(set(seeds)) == 4
    assert seeds[-1] == 5


def test_the_same_request_again_gives_the_output_there_is(tab, studio):
    last(press_generate(tab))
    seen = last(press_generate(tab))
    assert len(studio.requests) == 1
    assert "You have this already" in seen[tab.notice]
    last(press_generate(tab, format="mp3"))
    assert len(studio.requests) == 2


def test_takes_have_seeds_that_follow_each_other_and_each_is_a_request(tab, studio):
    seen = last(press_generate(tab, seed=5, count=3))
    assert [asked.seed for asked in studio.requests] == [5, 6, 7]
    assert len(seen[tab.takes_list.board]["takes"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 99, -3])
def test_a_hostile_number_of_takes_is_bounded(tab, studio, count):
    last(press_generate(tab, count=count))
    assert 1 <= len(studio.requests) <= 4


def test_takes_that_were_finished_stay_when_the_rest_is_cancelled(making):
    def create(asked, *, progress, cancel, preview):
        if asked.seed == 5:
            return SimpleNamespace(output_id="9f2c00a1b2c3d4e5")
        return until_stopped(progress, cancel)

    asked = GenerationRequest(("genre/jazz",), 10.0, "experiment", "house", "wav", seed=5)
    ada = session_of("ada", create=create)
    job = making.add(ada, "a", Order.create(asked, 2), account="ada")
    for (now,) in making.watch(ada, "s"):
        if now.output_ids:
            making.cancel(ada)
    assert job.state is JobState.CANCELLED
    assert job.output_ids == ("9f2c00a1b2c3d4e5",)
    assert "The take that was finished is in the list" in views.job_panel(job)
    assert views.NOTHING_KEPT not in views.job_panel(job)


def test_a_refusal_stops_the_takes_at_the_first(tab, studio):
    (panel,) = panels(tab, last(press_generate(tab, genre="genre/choral", count=4)))
    assert "nobody has granted it" in panel
    assert len(studio.requests) <= 1


def test_again_draws_a_new_seed_and_settings_come_back(tab, studio):
    last(press_generate(tab, seed=5, format="mp3"))
    (first,) = studio.made
    last(tab._on_command({"again": first}, request()))
    again = studio.requests[-1]
    assert (again.tags, again.format) == (("genre/jazz",), "mp3")
    assert again.seed != 5
    tab._on_scope(request(), "genre/waltz", "", "", "", "noncommercial", "WORLD", "house")
    seen = tab._on_settings(first, request())
    assert seen[tab.chips["genre"]]["value"] == "genre/jazz"
    assert seen[tab.format] == "mp3"


@pytest.mark.parametrize(
    "command", [{}, {"again": 5}, {"again": "0" * 16}, {"again": "../x"}, ["again"], None, "x"]
)
def test_a_hostile_command_makes_nothing(tab, studio, command):
    last(tab._on_command(command, request()))
    assert not studio.requests


@pytest.mark.slow
def test_repeats_are_counted_before_the_limit(tab, studio, monkeypatch):
    monkeypatch.setattr(studio.quotas(), "near_duplicates", lambda account: 12)
    seen = last(press_generate(tab))
    assert "12 of 20 repeats" in seen[tab.takes_list.board]["bar"]


@pytest.mark.parametrize("seed", [-5, None, 2**31, 1.5])
def test_a_seed_that_cannot_be_is_named(tab, studio, seed):
    seen = last(press_generate(tab, seed=seed))
    assert "The seed" in seen[tab.notice]
    assert not studio.requests


def test_a_refused_title_is_told_beside_its_field_and_takes_nothing_away(tab, studio):
    first = last(press_generate(tab))
    assert "Beatles" in tab._on_title("for The Beatles")
    assert tab._on_title("Blue evening") == ""
    seen = last(press_generate(tab, typed=("for The Beatles", "", []), seed=4))
    assert "field-note" in seen[tab.title_note]
    assert len(studio.requests) == 1
    assert tab.takes_list.board not in seen, "the list with its player stays as it is"
    assert first[tab.takes_list.board]["takes"]


def test_choosing_among_outputs_is_offered_when_there_are_some(tab):
    offered = [part for _, part in tab.human.choices]
    assert "editing" in offered
    assert "selection" not in offered
    seen = last(press_generate(tab))
    assert "selection" in [part for _, part in seen[tab.human]["choices"]]


def test_a_refused_tag_gives_the_reason_and_no_music(tab, studio):
    (panel,) = panels(tab, last(press_generate(tab, genre="genre/choral")))
    assert "nobody has granted it" in panel
    assert not studio.made


def test_a_fault_of_ours_shows_a_reference_and_logs_the_cause(tab, studio, caplog):
    studio.failure = RuntimeError("secret /path/to/thing")
    (panel,) = panels(tab, last(press_generate(tab)))
    reference = re.search(r"the reference ([0-9a-f]{8})", panel)
    assert reference is not None
    assert "secret" not in panel
    assert reference[1] in caplog.text


def test_a_job_lives_on_when_its_page_is_closed_and_shows_on_the_next(tab, studio, making):
    studio.takes_s = 0.4
    states = press_generate(tab)
    next(states)
    states.close()  # the browser goes away
    seen = last(tab._on_load(request("another page")))
    (release,) = studio.made.values()
    assert [take["id"] for take in seen[tab.takes_list.board]["takes"]] == [release.output_id]


def test_a_page_opened_meanwhile_sees_the_work_and_can_stop_it(tab, studio, making):
    studio.takes_s = 30.0
    states = press_generate(tab)
    next(states)
    other = tab._on_load(request("another page"))
    next(other)
    (job,) = next(other)[tab.takes_list.board]["jobs"]
    assert job["live"]
    seen = last(tab._on_command({"cancel": job["id"]}, request("a third page")))
    assert studio.stopped.is_set()
    assert "Nothing was kept and nothing was released" in panels(tab, seen)[0]
    seen = last(tab._on_command({"dismiss": job["id"]}, request("one")))
    assert panels(tab, seen) == []


def test_a_command_on_a_page_that_is_watched_says_something(tab, studio, making):
    studio.takes_s = 30.0
    states = press_generate(tab)
    next(states)
    (job,) = next(states)[tab.takes_list.board]["jobs"]
    answer = list(tab._on_command({"cancel": job["id"]}, request("one")))
    assert answer, "Gradio would empty the seed and all else that a command can change"
    assert tab.seed not in last(answer)
    assert tab.takes_list.board not in last(answer), "the first watch shows it"
    last(states)


def test_the_take_that_is_being_made_can_be_heard_and_no_other(tab, studio, making):
    studio.takes_s = 0.7
    told = []
    for state in press_generate(tab, count=2):
        if board := state.get(tab.takes_list.board):
            told += [board | {"preview": job["preview"]} for job in board["jobs"]]
    job = told[0]["jobs"][0]["id"]
    for board in told:
        released, preview = board["released"][job], board["preview"]
        if preview is None:
            assert len(released) in (0, 2)
            continue
        assert preview["take"] == len(released) + 1
        assert preview["url"] == f"making/{job}/preview?take={preview['take']}"
        assert preview["title"].endswith(f"take {preview['take']} of 2")
        assert preview["seconds"] == 2.0
    assert {board["preview"]["take"] for board in told if board["preview"]} == {1, 2}
    assert any(board["preview"]["begun"] for board in told if board["preview"])


@pytest.mark.slow
def test_what_stops_is_heard_no_more(tab, studio, making):
    studio.takes_s = 30.0
    states = press_generate(tab)
    next(states)
    (job,) = next(states)[tab.takes_list.board]["jobs"]
    making.cancel(session_of(None))
    boards = [state[tab.takes_list.board] for state in states if tab.takes_list.board in state]
    ends = [row for board in boards for row in board["jobs"] if row["state"] != "working"]
    assert ends
    assert not any(row["preview"] for row in ends)
    assert boards[-1]["released"] == {job["id"]: []}


def test_one_account_neither_sees_nor_stops_anothers_work(tab, studio, making):
    studio.takes_s = 30.0
    next(press_generate(tab))
    local = session_of(None)
    (job,) = making.of(local)
    eve = request("eve's page", Actor("eve", "eve", Role.ARTIST))
    studio.takes_s = 30.0
    seen = last(tab._on_command({"cancel": job.id}, eve))
    assert seen[tab.takes_list.board]["jobs"] == []
    assert job.state.live
    making.cancel(local)


# -- jobs -----------------------------------------------------------------------------------------


def session_of(account, **generation):
    actor = LOCAL_OWNER if account is None else Actor(account, account, Role.ARTIST)
    return SimpleNamespace(actor=actor, generation=SimpleNamespace(**generation))


def put_in_line(making, label, work, seconds=1.0):
    """Have ``work(report, cancel)`` done for Ada."""
    ada = session_of(
        "ada", vary=lambda _source, *, progress, cancel, preview: work(progress, cancel)
    )
    order = Order("vary", "house", seconds, source="9f2c00a1b2c3d4e5")
    return making.add(ada, label, order, account="ada")


ADA = session_of("ada")


def made(output_id="9f2c00a1b2c3d4e5"):
    return lambda report, cancel: SimpleNamespace(output_id=output_id)


def until_stopped(report, cancel):
    assert cancel.wait(60)
    raise GenerationCancelledError("stopped")


def test_what_was_at_work_when_the_server_stopped_is_told_at_the_next_start(tmp_path):
    record = tmp_path / "page-jobs.json"
    gate = threading.Event()

    def waiting(report, cancel):
        gate.wait(10)
        raise GenerationCancelledError("stopped")

    with JobRunner(running=1, waiting=3) as runner:
        making = Making(runner, record)
        put_in_line(making, "jazz, 10 s", waiting, 10.0)
        kept = record.read_text()
        assert record.stat().st_mode & 0o077 == 0
        gate.set()
        list(making.watch(ADA, "s"))
    assert not record.exists()
    record.write_text(kept)  # as if the process had been killed
    with JobRunner(running=1, waiting=3) as runner:
        (job,) = Making(runner, record).of(ADA)
        assert job.state is JobState.INTERRUPTED
        assert "Nothing was released" in views.job_panel(job)
        assert not record.exists(), "told once"
        record.write_text("no json")
        assert Making(runner, record).of(ADA) == []


def test_nothing_typed_is_kept_on_disk(tab, studio, tmp_path):
    studio.takes_s = 30.0
    states = press_generate(tab, typed=("Blue evening", "private words", []))
    next(states)
    kept = (tmp_path / "page-jobs.json").read_text()
    assert "jazz" in kept
    assert "Blue" not in kept
    assert "private" not in kept
    tab._making.cancel(session_of(None))


def test_a_job_that_waits_is_cancelled_without_running(making):
    first = put_in_line(making, "a", until_stopped)
    second = put_in_line(making, "b", made())
    assert second.state is JobState.WAITING
    making.cancel(ADA, second.id)
    assert second.state is JobState.CANCELLED
    making.cancel(ADA)
    *_, jobs = making.watch(ADA, "s")
    assert {job.state for job in jobs} == {JobState.CANCELLED}
    assert first.output_ids == ()


def test_the_time_a_piece_takes_is_known_after_the_first(making):
    assert making.expected_s("house", 10) is None
    assert "known after the first piece" in views.cost_line(None, 10)
    put_in_line(making, "a", lambda *_: (time.sleep(0.1), made()(*_))[1])
    list(making.watch(ADA, "s"))
    assert making.expected_s("house", 10) > 0.5
    assert "about 12 s of work a take" in views.cost_line(12.3, 10)


def test_a_session_watches_once(making):
    put_in_line(making, "a", until_stopped)
    states = making.watch(ADA, "s")
    next(states)
    assert not list(making.watch(ADA, "s")), (
        "what it saw could arrive after what the first saw later"
    )
    making.cancel(ADA)
    list(states)


def test_the_bar_is_plain_text_for_the_script(tab, studio):
    seen = last(press_generate(tab))
    assert json.loads(json.dumps(seen[tab.takes_list.board])) == seen[tab.takes_list.board]


def test_clicks_that_decide_about_consent_are_answered_in_their_order_and_none_is_lost(tab):
    deciding = {
        name: function
        for function in tab.blocks.fns.values()
        if tab.consent in function.outputs and (name := function.name)
    }
    assert {"_on_choice", "_on_scope", "_on_model", "_on_switch"} <= set(deciding)
    assert {function.trigger_mode for function in deciding.values()} == {"always_last"}
    assert {function.concurrency_id for function in deciding.values()} == {"form"}
    assert {function.concurrency_limit for function in deciding.values()} == {1}
