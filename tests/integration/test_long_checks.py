"""Recordings longer than an upload may be, over REST and in cases: a job, its progress, its end."""

from __future__ import annotations

import threading
import time

import pytest
from starlette.testclient import TestClient

from studio.app.gateway import Gateway
from studio.web.api.app import create_api
from studio.web.cases.examining import CaseFiles
from studio.web.cases.pages import case_page_routes
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.queue import JobRunner
from tests.support.accounts import NAMES, PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.studios import PlainGenerator, as_owner, make_studio, music
from watermark.audio.waveform import write

HOST = "https://studio.example"
LONGEST_S = 12.0  # of an upload here


@pytest.fixture
def studio(tmp_path):
    with make_studio(tmp_path / "studio", generator=PlainGenerator()) as studio:
        as_owner(studio).generation.recover()
        uploads = studio.config.uploads.model_copy(update={"max_duration_s": LONGEST_S})
        studio.config = studio.config.model_copy(update={"uploads": uploads})
        with_cheap_passwords(studio)
        add_one_of_each(studio.accounts())
        yield studio


@pytest.fixture
def ours(studio):
    """A recording of ours that is longer than an upload may be."""
    generation = as_owner(studio).generation
    return generation.create(generation.request(["genre/jazz"], duration_s=16.0, seed=3)).path


@pytest.fixture
def line():
    with JobRunner(running=1, waiting=2) as long:
        yield long


@pytest.fixture
def client(studio, line):
    with JobRunner(running=1, waiting=2) as making, JobRunner(running=1, waiting=2) as checking:
        api = create_api(
            Gateway(studio), DownloadTokens(), making=making, checking=checking, long=line
        )
        api.include_router(case_page_routes(Gateway(studio), CaseFiles(api.state.checks)))
        yield TestClient(api, base_url=HOST, follow_redirects=False)
        api.state.checks.close()


@pytest.fixture
def tokens(client, studio):
    sign_in = studio.accounts().sign_in
    return {
        str(role): {"Authorization": f"Bearer {sign_in(name, PASSWORD, address='192.0.2.1').token}"}
        for role, name in NAMES.items()
    }


def ended(client, where, headers):
    """The job, once it has ended."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        state = client.get(where, headers=headers).json()
        if state["state"] in ("done", "failed", "cancelled"):
            return state
        time.sleep(0.05)
    raise AssertionError(state)


def uploaded(studio):
    return [path for path in studio.paths.uploads.rglob("upload*") if path.is_file()]


def test_a_long_recording_is_answered_as_a_job_and_a_short_one_at_once(
    client, tokens, studio, ours, tmp_path
):
    headers, before = tokens["verifier"], studio.ledger().size()
    begun = client.post(
        "/api/v1/verifications?name=long.wav", content=ours.read_bytes(), headers=headers
    )
    assert begun.status_code == 202, begun.text
    where = begun.headers["location"]
    assert where == f"/api/v1/verifications/{begun.json()['id']}"
    state = ended(client, where, headers)
    assert (state["state"], state["error"], state["case_id"]) == ("done", None, None)
    assert (state["answer"]["verdict"], state["answer"]["file"]) == ("sealed", "long.wav")
    (beside,) = state["answer"]["comparisons"]
    assert beside["place"]["end_s"] - beside["place"]["start_s"] == pytest.approx(16.0, abs=0.5)
    assert state["read_s"] == pytest.approx(16.0, abs=0.5)
    assert studio.ledger().size() == before + 1
    table = client.get(f"{where}?report=csv", headers=headers)
    assert table.headers["content-type"].startswith("text/csv")
    assert "long.wav" in table.text
    assert uploaded(studio) == []
    write(tmp_path / "short.wav", music(9, 5.0))
    short = client.post(
        "/api/v1/verifications", content=(tmp_path / "short.wav").read_bytes(), headers=headers
    )
    assert (short.status_code, short.json()["verdict"]) == (200, "not-detected")
    assert short.json()["comparisons"] == []


def test_nobody_else_sees_or_stops_the_job(client, tokens, ours):
    begun = client.post(
        "/api/v1/verifications", content=ours.read_bytes(), headers=tokens["verifier"]
    )
    where = begun.headers["location"]
    for role, status in (("administrator", 404), ("artist", 404), ("registrar", 403)):
        assert client.get(where, headers=tokens[role]).status_code == status
        assert client.delete(where, headers=tokens[role]).status_code == status
    assert ended(client, where, tokens["verifier"])["state"] == "done"


def test_a_job_is_stopped_and_leaves_nothing(client, tokens, studio, ours, line):
    go_on = threading.Event()
    before = studio.ledger().size()
    line.submit(lambda _report, _cancel: go_on.wait(60))  # the line is taken
    try:
        begun = client.post(
            "/api/v1/verifications", content=ours.read_bytes(), headers=tokens["verifier"]
        )
        assert (begun.json()["state"], begun.json()["ahead"]) == ("queued", 1)
        assert len(uploaded(studio)) == 1
        where = begun.headers["location"]
        assert client.delete(where, headers=tokens["verifier"]).status_code == 200
        assert ended(client, where, tokens["verifier"])["state"] == "cancelled"
    finally:
        go_on.set()
    assert uploaded(studio) == []
    assert studio.ledger().size() == before


def test_a_case_gets_a_long_recording_once_it_is_examined(client, tokens, studio, ours):
    headers = tokens["verifier"]
    body = {"reference": "R-1", "title": "Long"}
    case_id = client.post("/api/v1/cases", json=body, headers=headers).json()["case_id"]
    begun = client.post(
        f"/api/v1/cases/{case_id}/files?name=mix.wav", content=ours.read_bytes(), headers=headers
    )
    assert begun.status_code == 202, begun.text
    assert begun.json()["case_id"] == case_id
    state = ended(client, begun.headers["location"], headers)
    case = client.get(f"/api/v1/cases/{case_id}", headers=headers).json()
    assert case["examinations"] == [state["answer"]]
    assert (state["answer"]["file"], state["answer"]["report"]["verdict"]) == ("mix.wav", "sealed")
    assert len(state["answer"]["comparisons"]) == 1


def test_the_page_of_a_case_shows_what_is_at_work(client, tokens, studio, ours, line):
    headers, go_on = tokens["verifier"], threading.Event()
    path = client.post("/cases", data={"reference": "R", "title": "x"}, headers=headers).headers[
        "location"
    ]
    line.submit(lambda _report, _cancel: go_on.wait(60))
    try:
        files = {"file": ("<long>.wav", ours.read_bytes())}
        assert client.post(f"{path}/files", files=files, headers=headers).status_code == 303
        page = client.get(path, headers=headers).text
        assert "&lt;long&gt;.wav" in page or "upload" in page
        assert "a long recording, queued" in page
    finally:
        go_on.set()


@pytest.fixture
def other(studio):
    """A second server over the same database, which examines nothing of the first one's."""
    with JobRunner(running=1, waiting=2) as making, JobRunner(running=1, waiting=2) as checking:
        api = create_api(Gateway(studio), DownloadTokens(), making=making, checking=checking)
        api.include_router(case_page_routes(Gateway(studio), CaseFiles(api.state.checks)))
        yield TestClient(api, base_url=HOST, follow_redirects=False)
        api.state.checks.close()


@pytest.fixture(autouse=True)
def _written_often(monkeypatch):
    monkeypatch.setattr("studio.web.jobs.long_checks._WRITE_S", 0.02)


def test_every_server_tells_how_a_job_stands_and_what_was_answered(client, other, tokens, ours):
    headers = tokens["verifier"]
    begun = client.post(
        "/api/v1/verifications?name=long.wav", content=ours.read_bytes(), headers=headers
    )
    where = begun.headers["location"]
    assert other.get(where, headers=headers).json()["name"] == "long.wav"
    assert other.get(where, headers=tokens["administrator"]).status_code == 404
    assert other.delete(where, headers=tokens["administrator"]).status_code == 404
    answered = ended(other, where, headers)
    assert answered["answer"]["verdict"] == "sealed"
    here = client.get(where, headers=headers).json()
    assert {**answered, "elapsed_s": 0} == {**here, "elapsed_s": 0}


def test_a_job_is_stopped_from_another_server(client, other, tokens, ours, line):
    go_on = threading.Event()
    line.submit(lambda _report, _cancel: go_on.wait(300))  # the line is taken
    try:
        headers = tokens["verifier"]
        begun = client.post("/api/v1/verifications", content=ours.read_bytes(), headers=headers)
        where = begun.headers["location"]
        assert other.get(where, headers=headers).json()["state"] == "queued"
        assert other.delete(where, headers=headers).json()["state"] == "queued"
        for each in (other, client):
            assert ended(each, where, headers)["state"] == "cancelled"
    finally:
        go_on.set()


@pytest.mark.parametrize("killed", [True, False])
def test_a_job_whose_server_was_stopped_is_told_as_interrupted(
    client, other, tokens, ours, line, studio, monkeypatch, killed
):
    go_on = threading.Event()
    line.submit(lambda _report, _cancel: go_on.wait(300))
    try:
        headers = tokens["verifier"]
        case = client.post("/api/v1/cases", json={"reference": "A", "title": "B"}, headers=headers)
        path = f"/api/v1/cases/{case.json()['case_id']}/files?name=long.wav"
        begun = client.post(path, content=ours.read_bytes(), headers=headers)
        where = begun.headers["location"]
        assert other.get(where, headers=headers).json()["state"] == "queued", "else it is blind"
        database = studio.database()
        now_s = database.now_s
        if killed:
            client.app.state.checks._closed.set()  # nothing more is written
            client.app.state.checks._writer.join()
            assert other.get(where, headers=headers).json()["state"] == "queued"
            monkeypatch.setattr(database, "now_s", lambda connection: now_s(connection) + 31)
        else:
            client.app.state.checks.close()
        state = other.get(where, headers=headers).json()
        assert (state["state"], state["error"]["code"]) == ("failed", "interrupted")
        assert "send the recording again" in state["error"]["message"]
        page = other.get(f"/cases/{case.json()['case_id']}", headers=headers)
        assert "send the recording again" in page.text
        monkeypatch.setattr(database, "now_s", lambda connection: now_s(connection) + 25 * 3600)
        assert other.get(where, headers=headers).status_code == 404
    finally:
        go_on.set()
