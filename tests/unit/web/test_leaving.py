"""Over the wire: limits that page and REST layer share, clients that leave, accounts that close."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import contextmanager

import httpx
import pytest

from studio.accounts.permissions import Role
from studio.web.http.visitors import Visitors
from tests.support.accounts import NAMES, PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.serving import served
from tests.unit.pretend import PretendStudio

ORDER = {"tags": ["genre/jazz"], "duration_s": 3.0}


@pytest.fixture
def studio(tmp_path):
    studio = with_cheap_passwords(PretendStudio(tmp_path / "home", takes_s=60.0))
    add_one_of_each(studio.accounts())
    return studio


@pytest.fixture
def url(studio, monkeypatch):
    init = Visitors.__init__
    monkeypatch.setattr(Visitors, "__init__", lambda self: init(self, grace_s=0.5))
    with served(studio) as url:
        yield url


@contextmanager
def signed_in(url, role):
    """A client with cookie and token."""
    with httpx.Client(base_url=url, timeout=30) as client:
        fields = {"name": NAMES[role], "password": PASSWORD}
        assert client.post("/login", data=fields).status_code == 303
        yield client


def bearer(client, role=Role.ARTIST):
    answer = client.post("/api/v1/session", json={"name": NAMES[role], "password": PASSWORD})
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def generate(client, session):
    """Press Generate, as the page's own script would."""
    config = client.get("/config").json()
    ids = {each["props"].get("label"): each["id"] for each in config["components"]}
    handler = next(
        each
        for each in config["dependencies"]
        if {ids["Duration"], ids["Title"]} <= set(each["inputs"])
    )
    values = {each["id"]: each["props"].get("value") for each in config["components"]}
    body = {
        "fn_index": handler["id"],
        "session_hash": session,
        "data": [values.get(number) for number in handler["inputs"]],
    }
    return client.post("/gradio_api/queue/join", json=body)


@contextmanager
def looking(client, session):
    """An open page: its event stream, read in a thread; the text so far."""
    text: list[str] = []
    stopped = threading.Event()

    def read(stream):
        try:
            for part in stream.iter_text():
                text.append(part)
                if stopped.is_set():
                    return
        except httpx.HTTPError:
            return

    with client.stream(
        "GET", f"/gradio_api/queue/data?session_hash={session}", timeout=30
    ) as stream:
        thread = threading.Thread(target=read, args=[stream], daemon=True)
        thread.start()
        yield text
        stopped.set()


def wait_for(what, seconds=20.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_page_and_rest_layer_share_the_limit_of_an_account(studio, url):
    at_a_time = studio.config.accounts.jobs_at_a_time
    with signed_in(url, Role.ARTIST) as client:
        token = bearer(client)
        answers = [client.post("/api/v1/jobs", json=ORDER, headers=token) for _ in range(at_a_time)]
        assert {answer.status_code for answer in answers} == {202}
        session = secrets.token_hex(5)
        assert generate(client, session).status_code == 200
        with looking(client, session) as text:
            assert wait_for(lambda: "of your requests are in line" in "".join(text))
    assert len(studio.requests) <= at_a_time, "the page's request never began"


@pytest.mark.slow
def test_music_goes_on_when_the_page_is_closed_and_the_next_page_shows_it(studio, url):
    session = secrets.token_hex(5)
    with signed_in(url, Role.ARTIST) as client:
        assert generate(client, session).status_code == 200
        with looking(client, session) as text:
            assert wait_for(lambda: "Generating" in "".join(text))
        assert not studio.stopped.wait(2.5)
        studio.takes_s = 0.0
        assert wait_for(lambda: studio.made)


@pytest.mark.slow
def test_an_examination_is_given_up_when_the_client_leaves(studio, url):
    started, ended = threading.Event(), threading.Event()

    def verify(source, *, record=True, progress=None, **_):
        started.set()
        try:
            while True:
                progress(1.0)
                time.sleep(0.02)
        finally:
            ended.set()

    studio.examine = verify
    with signed_in(url, Role.ARTIST) as client:
        token = bearer(client)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/api/v1/verifications", content=b"RIFF", headers=token, timeout=2)
        assert started.is_set()
    assert ended.wait(60)
    assert wait_for(lambda: not any(studio.paths.uploads.iterdir()))


@pytest.mark.slow
def test_one_account_does_not_fill_the_desk(studio, url):
    at_a_time = studio.config.accounts.checks_at_a_time
    studio.takes_s = 20.0
    with signed_in(url, Role.ARTIST) as client:
        token = bearer(client)
        answers: list[int] = []

        def ask():
            answers.append(
                httpx.post(
                    f"{url}/api/v1/verifications", content=b"RIFF", headers=token, timeout=60
                ).status_code
            )

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(at_a_time + 2)]
        for thread in threads:
            thread.start()
        assert wait_for(lambda: answers == [429, 429])
        studio.takes_s = 0.0
        for thread in threads:
            thread.join(30)
        assert sorted(answers) == [200] * at_a_time + [429, 429]


@pytest.mark.slow
def test_the_jobs_of_a_disabled_account_end(studio, url):
    with signed_in(url, Role.ARTIST) as client, signed_in(url, Role.ADMINISTRATOR) as root:
        other, token = bearer(root, Role.ADMINISTRATOR), bearer(client)
        others = [root.post("/api/v1/jobs", json=ORDER, headers=other).json()["id"] for _ in "abc"]
        assert wait_for(lambda: len(studio.requests) == len(others))
        jobs = [
            client.post("/api/v1/jobs", json=ORDER, headers=token).json()["id"] for _ in range(2)
        ]
        assert wait_for(lambda: len(studio.requests) == len(others) + 1)
        answer = root.patch("/api/v1/accounts/ada", json={"disabled": True})
        assert answer.status_code == 200
        assert studio.stopped.wait(60)
        studio.accounts().enable("ada", by=None)
        token = bearer(client)

        def states():
            return [client.get(f"/api/v1/jobs/{job}", headers=token).json() for job in jobs]

        assert wait_for(lambda: {state["state"] for state in states()} == {"failed"})
        assert {state["error"]["code"] for state in states()} == {"not-permitted"}
        for job in others:
            root.delete(f"/api/v1/jobs/{job}", headers=other)
    assert len(studio.requests) == len(others) + 1, "the one in line never began"
    assert studio.made == {}
