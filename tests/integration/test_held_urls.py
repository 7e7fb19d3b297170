"""Examining what an address holds: only from allowed hosts, held and recorded with its origin."""

from __future__ import annotations

import asyncio
import json
import time
from hashlib import sha256

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

import studio.app.container
from studio.app.gateway import Gateway
from studio.cli.main import cli
from studio.core.errors import BeyondLimitsError, HostRefusedError
from studio.web.api.app import create_api
from studio.web.http.download_tokens import DownloadTokens
from studio.web.http.uploads import Budget, Uploads
from studio.web.jobs.examinations import Examinations, ExaminationState
from studio.web.jobs.queue import JobRunner
from tests.support.hosts import host, status
from tests.support.studios import PlainGenerator, as_owner, make_studio


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A studio's folder, and the bytes of its one output."""
    folder = tmp_path_factory.mktemp("held")
    with make_studio(folder / "studio", generator=PlainGenerator()) as opened:
        generation = as_owner(opened).generation
        request = generation.request(["genre/jazz", "mood/calm"], duration_s=8.0, seed=1)
        return folder, generation.create(request).path.read_bytes()


def allowing(opened, *hosts, **more):
    verify = opened.config.verify.model_copy(update={"url_hosts": hosts, **more})
    opened.config = opened.config.model_copy(update={"verify": verify})
    return opened


@pytest.fixture
def ours(made):
    """A machine that has our output."""
    with host(status(200, made[1], Content_Type="audio/wav\x01", Set_Cookie="a=b")) as machine:
        machine.name = f"127.0.0.1:{machine.port}"
        machine.url = f"http://{machine.name}/x/our%20song.wav?a=1"
        yield machine


@pytest.fixture
def studio_of(made):
    """Opens the studio with an allow list."""
    opened = []

    def open_it(*hosts, **more):
        opened.append(allowing(make_studio(made[0] / "studio"), *hosts, **more))
        return opened[-1]

    yield open_it
    for each in opened:
        each.close()


def test_without_a_list_nothing_is_fetched(studio_of, ours):
    opened = studio_of()
    with pytest.raises(HostRefusedError, match=r"verify\.url_hosts"):
        as_owner(opened).verification.hold(ours.url)
    with pytest.raises(HostRefusedError, match="not among"):
        as_owner(studio_of("elsewhere.example")).verification.hold(ours.url)
    assert ours.asked == []
    assert not opened.paths.held.exists()


def test_it_is_held_under_its_digest_and_the_entry_says_where_from(studio_of, ours, made):
    opened = studio_of(ours.name)
    session = as_owner(opened)
    held = session.verification.hold(ours.url)
    assert held.sha256 == sha256(made[1]).hexdigest() == held.path.name
    assert held.path.read_bytes() == made[1]
    assert not held.path.stat().st_mode & 0o077
    assert held.name == "our song.wav"
    report = session.verification.verify(held)
    assert (report.verdict, report.file) == ("sealed", "our song.wav")
    origin = report.to_json()["origin"]
    assert (origin["url"], origin["address"]) == (ours.url, "127.0.0.1")
    assert origin["headers"]["content-type"] == "audio/wav"
    assert "set-cookie" not in origin["headers"]
    entry = opened.ledger().entry(report.recorded["entry"])
    kept = entry.body["origin"]
    assert kept["fetched_at"] == origin["fetched_at"]
    assert kept["headers"] == origin["headers"]
    assert ours.url not in json.dumps(entry.body)  # it may name a person: a commitment
    opening = opened.ledger().openings(entry.index)["origin/url"]
    assert opening.value == ours.url
    assert opening.matches(kept["url"]["commitment"])
    assert opened.ledger().verify().ok
    plain = session.verification.verify(held.path)  # a file like any other says nothing of it
    assert plain.to_json()["origin"] is None
    assert plain.to_json()["comparisons"] is None  # nobody compared them
    assert "origin" not in opened.ledger().entry(plain.recorded["entry"]).body


def test_what_is_held_is_bounded(studio_of, ours, made):
    session = as_owner(studio_of(ours.name, held_bytes=len(made[1]) - 1))
    for each in (made[0] / "studio" / "home" / "held").glob("*"):
        each.unlink()
    with pytest.raises(BeyondLimitsError, match="bytes"):
        session.verification.hold(ours.url)
    assert list((made[0] / "studio" / "home" / "held").iterdir()) == []


def run(opened, monkeypatch, *args):
    monkeypatch.setattr(studio.app.container, "open_container", lambda: opened)
    return CliRunner().invoke(cli, args, prog_name="studio")


def test_the_command_line_fetches_and_reports(studio_of, ours, monkeypatch, tmp_path):
    page = tmp_path / "report.html"
    done = run(
        studio_of(ours.name), monkeypatch, "verify", ours.url, "--report", str(page), "--json"
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["origin"]["url"] == ours.url
    assert "our%20song.wav?a=1" in page.read_text()
    (tmp_path / "a.txt").write_text("no music")
    mixed = run(studio_of(ours.name), monkeypatch, "verify", str(tmp_path / "a.txt"), ours.url)
    assert mixed.exit_code == 3
    assert "a.txt: unreadable" in mixed.stdout
    assert "our song.wav: sealed" in mixed.stdout
    refused = run(studio_of(), monkeypatch, "verify", ours.url, "--json")
    assert refused.exit_code == 3
    assert json.loads(refused.stdout)["kind"] == "HostRefusedError"
    ours.answer = status(404)
    gone = run(studio_of(ours.name), monkeypatch, "verify", ours.url)
    assert gone.exit_code == 3
    assert "answers 404" in gone.stderr


@pytest.fixture
def runners():
    with JobRunner(running=1, waiting=2) as one, JobRunner(running=1, waiting=2) as two:
        yield one, two


def test_rest_fetches_from_allowed_hosts_only(studio_of, ours, runners):
    checking, long = runners
    opened = studio_of(ours.name)
    api = create_api(Gateway(opened), DownloadTokens(), making=long, checking=checking, long=long)
    client = TestClient(api, base_url="http://localhost")

    def asked(url):
        answer = client.post("/api/v1/verifications/url", json={"url": url})
        return answer.status_code, answer.json()

    code, body = asked(ours.url)
    assert (code, body["verdict"], body["file"]) == (200, "sealed", "our song.wav")
    assert body["origin"]["url"] == ours.url
    assert [each["number"] for each in body["comparisons"]] == [1]
    count = len(ours.asked)
    for url in ("http://127.0.0.1:1/", "https://elsewhere.example/", "file:///etc/passwd", ""):
        code, body = asked(url)
        assert (code, body["error"]["code"]) == (422, "host-not-allowed"), url
    assert len(ours.asked) == count
    ours.answer = status(503)
    code, body = asked(ours.url)
    assert (code, body["error"]["code"]) == (502, "not-fetched")


def test_a_long_recording_is_fetched_once(studio_of, ours, runners):
    checking, long = runners
    opened = studio_of(ours.name)
    uploads = opened.config.uploads.model_copy(update={"max_duration_s": 2.0})
    opened.config = opened.config.model_copy(update={"uploads": uploads})
    api = create_api(Gateway(opened), DownloadTokens(), making=long, checking=checking, long=long)
    client = TestClient(api, base_url="http://localhost")
    answer = client.post("/api/v1/verifications/url", json={"url": ours.url})
    assert answer.status_code == 202
    where = answer.headers["location"]
    for _ in range(1200):
        state = client.get(where).json()
        if state["state"] == "done":
            break
        time.sleep(0.05)
    assert state["answer"]["verdict"] == "sealed"
    assert state["answer"]["origin"]["url"] == ours.url
    assert len(ours.asked) == 1


def test_the_list_of_the_page_fetches_too(studio_of, ours, runners, tmp_path):
    checking, long = runners
    opened = studio_of(ours.name)
    budget = Budget(max_bytes=100, held=10_000, hourly=100_000)
    lists = Examinations(checking, long, Uploads(tmp_path, budget))
    for url in (ours.url, "https://elsewhere.example/"):
        lists.add_url("ada", as_owner(opened), url)
    *_, items = lists.watch("ada", "a session")
    assert [item.state for item in items] == [ExaminationState.ANSWERED, ExaminationState.FAILED]
    assert items[0].report.verdict == "sealed"
    assert items[0].compared  # side by side, as of a file
    assert "not among the allowed hosts" in str(items[1].failure)


@pytest.mark.parametrize("listed", [False, True])
def test_the_field_is_there_only_with_a_list(studio_of, ours, listed):
    import gradio as gr

    from studio.web.ui.verify_tab import VerifyTab

    opened = studio_of(*([ours.name] if listed else []))

    async def labels():  # Gradio leaves a loop open for what it builds outside a running one
        with gr.Blocks() as page:
            VerifyTab(Gateway(opened), None)
        return [str(each["props"].get("label")) for each in page.config["components"]]

    assert ("Or the address of a recording" in asyncio.run(labels())) is listed
