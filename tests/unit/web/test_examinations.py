"""The Verify tab short of a browser: lists on the server, their answers and reports."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from studio.accounts.permissions import Actor, Role
from studio.core.errors import BeyondLimitsError, UsageError
from studio.reports.verification.table import COLUMNS
from studio.verification.report import Verdict, VerifyReport
from studio.web.http.uploads import Budget, Uploads
from studio.web.jobs.examinations import Examinations, ExaminationState
from studio.web.jobs.queue import JobRunner
from studio.web.ui.create.view import failure_panel
from studio.web.ui.verify_tab import rows_of
from tests.support.studios import as_owner
from tests.unit.pretend import PretendStudio

ADA, EVE = (Actor(name, name, Role.VERIFIER) for name in ("ada", "eve"))


class Desk:
    """Lists over a pretended studio, and uploads to put into them."""

    def __init__(self, studio: PretendStudio, folder: Path) -> None:
        self.studio = studio
        self.now = 0.0
        budget = Budget(max_bytes=100, held=10_000, hourly=100_000)
        self.uploads = Uploads(folder, budget, lambda: self.now)
        self.checking, self.long = (JobRunner(running=1, waiting=3) for _ in range(2))
        self.lists = Examinations(self.checking, self.long, self.uploads)

    def drop(self, name: str, owner: str = "ada", *, long: bool = False) -> Path:
        with self.uploads.receiving(owner, name) as upload:
            upload.write(b"RIFF")
        self.lists.add(owner, as_owner(self.studio), upload.path, name=name, long=long)
        return upload.path

    def ended(self, owner: str = "ada"):
        *_, items = self.lists.watch(owner, "a session")
        return items


@pytest.fixture
def studio(tmp_path):
    return PretendStudio(tmp_path / "home")


@pytest.fixture
def desk(studio, tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    desk = Desk(studio, folder)
    yield desk
    studio.takes_s = 0.0
    desk.lists.stop("ada")
    desk.checking.close()
    desk.long.close()


def test_a_second_drop_examines_the_new_file_only_and_keeps_the_first_answer(desk, studio):
    examined = []
    studio.examine = lambda source, **_: (
        examined.append(Path(source).name),
        VerifyReport(Verdict.EXCERPT if Path(source).exists() else Verdict.UNREADABLE, "", "x"),
    )[1]
    first = desk.drop("one.wav")
    before = desk.ended()[0].report
    assert not first.exists(), "an upload is deleted once it was examined"
    desk.drop("two.wav")
    items = desk.ended()
    assert examined == ["one.wav", "two.wav"]
    assert [item.report.verdict for item in items] == [Verdict.EXCERPT, Verdict.EXCERPT]
    assert items[0].report is before


def test_more_files_than_the_line_takes_are_all_examined(desk, studio):
    names = [f"{number:02}.wav" for number in range(26)]
    for name in names:
        desk.drop(name)
    items = desk.ended()
    assert [item.name for item in items] == names
    assert {item.state for item in items} == {ExaminationState.ANSWERED}


def test_a_full_line_makes_a_file_wait_and_not_fail(desk, studio):
    gate = threading.Event()
    others = [desk.checking.submit(lambda *_: gate.wait(10)) for _ in range(4)]
    desk.drop("one.wav")
    (item,) = next(desk.lists.watch("ada", "s"))
    assert item.state is ExaminationState.WAITING
    gate.set()
    for other in others:
        other.result()
    assert desk.ended()[0].state is ExaminationState.ANSWERED


def test_a_file_that_waits_long_is_not_swept_away(desk, studio):
    gate = threading.Event()
    studio.examine = lambda source, **_: (
        gate.wait(10),
        VerifyReport(Verdict.SEALED if Path(source).exists() else Verdict.UNREADABLE, "", "x"),
    )[1]
    desk.drop("one.wav")
    desk.drop("two.wav")
    desk.now = 10_000.0
    desk.uploads.sweep()
    gate.set()
    assert [item.report.verdict for item in desk.ended()] == [Verdict.SEALED] * 2


def test_what_is_no_upload_is_not_examined(desk, studio, tmp_path):
    with pytest.raises(UsageError, match="drop it again"):
        desk.lists.add("ada", as_owner(studio), tmp_path / "secret.wav", name="secret.wav")


def test_a_long_recording_becomes_a_long_job_and_is_not_refused(desk, studio):
    """Whether the browser said so, or it shows when it is read."""
    asked = []

    def verify(source, *, limits, progress, **_):
        asked.append(limits)
        progress(1300.0)
        return VerifyReport(Verdict.NOT_DETECTED, "", "x")

    studio.examine = verify
    desk.drop("told.wav", long=True)
    desk.drop("found out.wav")
    items = desk.ended()
    assert [item.state for item in items] == [ExaminationState.ANSWERED] * 2
    assert all(item.long for item in items)
    assert len(asked) == 3, "the second is begun among the short ones"
    assert asked[-1].max_duration_s > 3 * 3600
    assert asked[-1].deadline_s > asked[1].deadline_s


def test_a_long_job_is_told_while_it_runs(desk, studio):
    studio.takes_s = 30.0
    desk.drop("set.mp3", long=True)
    states = desk.lists.watch("ada", "s")
    (row,) = rows_of(next(states))
    assert "Long recording" in row["note"]
    states.close()


def looping(source, *, progress, **_):
    while True:
        progress(1.0)
        time.sleep(0.02)


def test_the_files_of_a_closed_account_end_those_in_line_too(desk, studio):
    """Also one that stands in the line of all accounts and has not begun."""
    studio.examine = looping
    closed: set[str] = set()
    desk.checking._may = lambda account: account not in closed
    other = desk.checking.submit(lambda report, cancel: cancel.wait(20), account="eve")
    paths = [desk.drop("one.wav"), desk.drop("two.wav")]
    closed.add("ada")
    items = desk.ended()
    assert [item.state for item in items] == [ExaminationState.CANCELLED] * 2
    assert not any(path.exists() for path in paths)
    assert not other.moment().cancelling
    closed.clear()
    other.cancel()
    desk.drop("three.wav")  # this one has begun
    while desk.lists.folder("ada").items[-1].read_s is None:
        time.sleep(0.02)
    closed.add("ada")
    item = desk.ended()[-1]
    assert item.state is ExaminationState.FAILED
    assert "any more" in str(item.failure)


def test_an_examination_that_takes_too_long_says_so(desk, studio):
    studio.examine = looping
    desk.checking._longest_s = 0.1
    desk.drop("one.wav")
    (item,) = desk.ended()
    assert item.state is ExaminationState.FAILED
    assert "longer than 0.1 s" in str(item.failure)


def test_a_file_over_a_limit_has_no_verdict_and_its_line_says_so(desk, studio):
    def refused(source, **_):
        raise BeyondLimitsError("the recording was not examined, there is no verdict on it: 9 ch")

    studio.examine = refused
    desk.drop("nine.wav")
    (item,) = desk.ended()
    assert (item.state, item.report) == (ExaminationState.FAILED, None)
    panel = failure_panel(item.failure)
    assert "Not examined: over a limit" in panel
    assert "9 ch" in panel


def test_samples_are_bounded_and_more_of_them_are_allowed_to_a_long_job(desk, studio):
    asked = []
    studio.examine = lambda source, *, max_values, **_: (
        asked.append(max_values),
        VerifyReport(Verdict.NOT_DETECTED, "", "x"),
    )[1]
    desk.drop("short.wav")
    desk.drop("long.wav", long=True)
    desk.ended()
    most = studio.config.uploads.max_values
    assert asked[0] == most
    assert most < asked[1] < 100 * most


def test_files_in_line_are_bounded_for_each_account(desk, studio, monkeypatch):
    monkeypatch.setattr("studio.web.jobs.examinations._WAITING", 3)
    studio.takes_s = 30.0
    kept = [desk.drop(f"{number}.wav") for number in range(3)]
    with pytest.raises(UsageError, match="3 of your files"):
        desk.drop("more.wav")
    assert sorted(path.name for path in desk.uploads.folder.glob("*/*")) == sorted(
        path.name for path in kept
    )
    desk.drop("hers.wav", "eve")
    desk.lists.stop("eve")


def test_cancel_keeps_what_was_answered_and_deletes_the_rest(desk, studio):
    desk.drop("one.wav")
    desk.ended()
    studio.takes_s = 30.0
    left = [desk.drop("two.wav"), desk.drop("three.wav")]
    desk.lists.stop("eve")
    assert not next(desk.lists.watch("ada", "x"))[1].state.ended
    desk.lists.stop("ada")
    states = [item.state for item in desk.ended()]
    assert states == [ExaminationState.ANSWERED] + [ExaminationState.CANCELLED] * 2
    assert not any(path.exists() for path in left)


def test_a_page_that_comes_back_finds_its_answers_and_what_is_at_work(desk, studio):
    desk.drop("one.wav")
    desk.ended()
    studio.takes_s = 0.5
    desk.drop("two.wav")
    states = desk.lists.watch("ada", "first page")
    next(states)
    states.close()  # the browser goes away
    again = list(desk.lists.watch("ada", "second page"))
    assert [item.name for item in again[0]] == ["one.wav", "two.wav"]
    assert [item.state for item in again[-1]] == [ExaminationState.ANSWERED] * 2


def test_a_session_that_watches_is_not_watched_twice(desk, studio):
    studio.takes_s = 30.0
    desk.drop("one.wav")
    states = desk.lists.watch("ada", "s")
    next(states)
    assert not list(desk.lists.watch("ada", "s"))
    states.close()


def test_a_fault_of_ours_shows_a_reference_and_hides_the_cause(desk, studio, caplog):
    studio.failure = RuntimeError("secret")
    desk.drop("one.wav")
    (item,) = desk.ended()
    assert item.state is ExaminationState.FAILED
    assert item.failure in caplog.text
    assert "secret" not in json.dumps(rows_of([item]))


# -- routes ---------------------------------------------------------------------------------------


@pytest.fixture
def client(desk, studio):
    """The routes; the caller is who the header says."""
    from studio.app.gateway import Gateway
    from studio.web.ui.verify_routes import verify_routes

    app = FastAPI()

    @app.middleware("http")
    async def who(request, call_next):
        people = {"ada": ADA, "eve": EVE, "max": Actor("max", "max", Role.REGISTRAR)}
        request.scope["studio.actor"] = people[request.headers["who"]]
        return await call_next(request)

    app.include_router(verify_routes(Gateway(studio), desk.lists))
    return TestClient(app, headers={"who": "ada"})


def report(**changes):
    body = {
        "verdict": Verdict.NOT_DETECTED,
        "explanation": "",
        "file": "=song.wav",
        "sha256": "ab" * 32,
        "recorded": {"entry": 17, "leaf_hash": "cd" * 32, "at": "2026-11-29T12:00:00Z"},
    }
    return VerifyReport(**(body | changes))


def test_an_answer_shows_the_digest_and_the_entry_of_the_verdict(desk, studio, client):
    studio.report = report()
    desk.drop("song.wav")
    (item,) = desk.ended()
    page = client.get(f"/examinations/{item.id}").text
    assert 'data-verdict="not-detected"' in page
    assert "ab" * 32 in page
    assert "entry no. 17" in page
    assert f"report.json?id={item.id}" in page


def test_a_list_and_its_reports_are_their_owners_alone(desk, studio, client):
    studio.report = report()
    desk.drop("song.wav")
    (item,) = desk.ended()
    for path in (item.id, "report.json", "report.html", "report.csv", f"report.json?id={item.id}"):
        assert client.get(f"/examinations/{path}").status_code == 200
        for name in ("eve", "max"):
            answer = client.get(f"/examinations/{path}", headers={"who": name})
            assert answer.status_code == 404, (name, path)


def test_the_reports_hold_every_file_and_the_table_no_formula(desk, studio, client):
    studio.report = report()
    desk.drop("one.wav")
    desk.ended()
    studio.report = replace(studio.report, file="two.wav", verdict=Verdict.SEALED)
    desk.drop("two.wav")
    second = desk.ended()[1]
    body = client.get("/examinations/report.json").json()
    assert [file["verdict"] for file in body["files"]] == ["not-detected", "sealed"]
    assert body["files"][0]["recorded"]["entry"] == 17
    alone = client.get(f"/examinations/report.json?id={second.id}").json()
    assert [file["file"] for file in alone["files"]] == ["two.wav"]
    answer = client.get("/examinations/report.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(rows[0]) == list(COLUMNS)
    assert rows[0]["file"] == "'=song.wav"
    assert rows[1]["verification_entry"] == "17"
    assert "attachment" in answer.headers["content-disposition"]


def test_clearing_forgets_answers_and_keeps_what_is_at_work(desk, studio):
    desk.drop("one.wav")
    desk.ended()
    studio.takes_s = 30.0
    desk.drop("two.wav")
    desk.lists.clear("ada")
    assert [item.name for item in next(desk.lists.watch("ada", "s"))] == ["two.wav"]


def test_old_answers_make_room(desk, studio, monkeypatch):
    monkeypatch.setattr("studio.web.jobs.examinations._KEPT", 3)
    for number in range(5):
        desk.drop(f"{number}.wav")
        desk.ended()
    assert [item.name for item in desk.ended()] == ["2.wav", "3.wav", "4.wav"]
