"""Fetching a hub model from a server that speaks the hub's protocol: pinned and resumable."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import time

import pytest

from studio.accounts.permissions import LOCAL_OWNER, Actor, Role
from studio.app.container import open_container
from studio.app.session import Session
from studio.core.errors import (
    AccessDeniedError,
    CheckpointError,
    GenerationCancelledError,
    HubUnreachableError,
    UsageError,
)
from studio.music.models.fetching import read_pins
from tests.support.models import tiny_hub_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LICENCE = "CC-BY-NC-4.0"
NAME = "facebook/musicgen-small"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_hub_model(tmp_path_factory.mktemp("hub")).path


class Hub:
    """Two repositories; ``slow`` waits after each 64 KiB, ``wrong`` sends other bytes."""

    def __init__(self, root):
        self.roots = {NAME: root, "t5-small": root / "t5-small"}
        self.requests: list[str] = []
        self.slow = threading.Event()
        self.began = threading.Event()
        self.wrong = False
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.thread = threading.Thread(target=self.server.serve_forever)

    def handler(hub):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def log_message(self, *_):
                pass

            def content(self, path):
                for repo, root in hub.roots.items():
                    names = [file for file in root.iterdir() if file.is_file()]
                    if path.startswith((f"api/models/{repo}/revision/", f"api/models/{repo}")):
                        if "/tree/" in path:
                            rows = [
                                {
                                    "type": "file",
                                    "path": f.name,
                                    "size": f.stat().st_size,
                                    "oid": "0",
                                }
                                for f in names
                            ]
                            return json.dumps(rows).encode()
                        rows = [{"rfilename": file.name} for file in names]
                        return json.dumps({"id": repo, "sha": COMMIT, "siblings": rows}).encode()
                    if path.startswith(f"{repo}/resolve/"):
                        file = root / path.rpartition("/")[2]
                        return file.read_bytes() if file.is_file() else None
                return None

            def answer(self, *, body):
                path = self.path.partition("?")[0].strip("/")
                content = self.content(path)
                first = 0
                if content is not None and (asked := self.headers.get("Range")):
                    first = int(asked.removeprefix("bytes=").partition("-")[0])
                hub.requests.append(f"{self.command} {path} {first}")
                self.send_response(404 if content is None else 206 if first else 200)
                if content is None:
                    self.send_header("X-Error-Code", "RepoNotFound")
                    content = b"{}"
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(content) - first))
                if first:
                    whole = f"bytes {first}-{len(content) - 1}/{len(content)}"
                    self.send_header("Content-Range", whole)
                self.end_headers()
                if not body:
                    return
                if hub.wrong and path.endswith("state_dict.bin"):
                    content = bytes(len(content))
                try:
                    for at in range(first, len(content), 1 << 16):
                        self.wfile.write(content[at : at + (1 << 16)])
                        if hub.slow.is_set() and path.endswith("/state_dict.bin"):
                            hub.began.set()
                            time.sleep(1.0)
                except OSError:
                    pass  # the client was stopped

        return Handler


@pytest.fixture
def hub(files, tmp_path, monkeypatch):
    hub = Hub(files)
    hub.thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # as a served studio sets it
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    yield hub
    hub.server.shutdown()
    hub.thread.join()
    hub.server.server_close()


@pytest.fixture
def studio(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "home"))
    with open_container() as container:
        yield container


@pytest.fixture
def session(studio):
    return Session(studio, LOCAL_OWNER)


def test_a_fetched_model_is_pinned_and_no_longer_offered(hub, studio, session):
    assert NAME in [offer.model for offer in session.models.offers()]
    with pytest.raises(UsageError, match="accept this licence"):
        session.models.fetch(NAME, accepted_licence="MIT")
    assert hub.requests == [], "nothing is asked before the licence is accepted"
    said = []
    pins = session.models.fetch(NAME, accepted_licence=LICENCE, report=said.append)
    assert pins.commit == COMMIT and set(pins.digests) == {
        "state_dict.bin", "compression_state_dict.bin",
    }  # fmt: skip
    assert said and said[-1].done > 0
    assert NAME not in [offer.model for offer in session.models.offers()]
    model = session.catalog.models()[NAME]
    assert (model.revision, model.digests) == (COMMIT, dict(pins.digests))
    assert read_pins(studio.paths.home)[NAME] == pins
    events = session.security.newest(limit=5, event="model-fetch")
    assert LICENCE in events[0].detail
    asked = len([each for each in hub.requests if each.startswith("GET") and "resolve" in each])
    session.models.fetch(NAME, accepted_licence=LICENCE)
    again = len([each for each in hub.requests if each.startswith("GET") and "resolve" in each])
    assert again == asked, "what is here is not fetched again"


def test_a_stopped_fetch_goes_on_where_it_was(hub, session):
    hub.slow.set()
    stop = threading.Event()

    def cancel():
        assert hub.began.wait(60)  # the first 64 KiB are on their way
        time.sleep(0.7)
        stop.set()

    stopper = threading.Thread(target=cancel)
    stopper.start()
    with pytest.raises(GenerationCancelledError):
        session.models.fetch(NAME, accepted_licence=LICENCE, cancel=stop)
    stopper.join()
    hub.slow.clear()
    hub.requests.clear()
    session.models.fetch(NAME, accepted_licence=LICENCE)
    starts = [each for each in hub.requests if each.startswith("GET") and "/state_dict" in each]
    assert int(starts[0].rpartition(" ")[2]) > 0, starts


def test_another_file_than_the_hub_names_is_deleted(hub, session):
    hub.wrong = True
    with pytest.raises(CheckpointError, match="SHA-256"):
        session.models.fetch(NAME, accepted_licence=LICENCE)
    assert NAME in [offer.model for offer in session.models.offers()]


def test_a_hub_that_is_not_there_is_said(session, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachableError, match="cannot be reached"):
        session.models.fetch(NAME, accepted_licence=LICENCE)


def test_only_administrators_fetch(studio):
    artist = Session(studio, Actor("0" * 16, "anna", Role.ARTIST))
    with pytest.raises(AccessDeniedError):
        artist.models.fetch(NAME, accepted_licence=LICENCE)
    with pytest.raises(AccessDeniedError):
        artist.models.offers()
