"""No event handler of the page gets a file that its caller did not upload; see page_walk."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from studio.web.http.uploads import Uploads
from tests.robustness.page_walk import SECRET, bait, events, fifo_has_reader, handlers, walk
from tests.support.accounts import PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.serving import served
from tests.unit.pretend import PretendStudio


def eager(studio):
    accounts = studio.config.accounts.model_copy(update={"page_events_per_minute": 10**6})
    studio.config = studio.config.model_copy(update={"accounts": accounts})
    return with_cheap_passwords(studio)


@pytest.fixture
def studio(tmp_path: Path) -> PretendStudio:
    return eager(PretendStudio(tmp_path / "home"))


@pytest.fixture
def url(studio):
    with served(studio) as url:
        yield url


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """A studio for tests that change nothing in it."""
    with served(eager(PretendStudio(tmp_path_factory.mktemp("steady") / "home"))) as url:
        yield url


@contextmanager
def visit(url, name=None):
    with httpx.Client(base_url=url, timeout=30) as client:
        if name is not None:
            answer = client.post("/login", data={"name": name, "password": PASSWORD})
            assert answer.status_code == 303
        yield client


def upload(client, content=b"RIFF", name="song.wav"):
    answer = client.post("/gradio_api/upload", files={"files": (name, content)})
    assert answer.status_code == 200, answer.text
    return answer.json()[0]


def file_handlers(client):
    """Handlers that take a file: the page must have some, or the walk shows nothing."""
    config = client.get("/config").json()
    files = {
        each["id"]
        for each in config["components"]
        if each["type"] == "file" or each["props"].get("elem_id") == "drop"
    }
    found = {
        each["id"]: [number in files for number in each["inputs"]]
        for each in config["dependencies"]
        if files & set(each["inputs"])
    }
    assert len(found) >= 2
    return found


def test_no_handler_of_a_single_user_studio_gets_a_file_of_the_machine(studio, url):
    with visit(url) as client:
        outcome = walk(client, bait(studio.paths.home), forms=slice(0, 1))
        assert outcome.read == []
        assert outcome.refused == outcome.offers == outcome.handlers * outcome.kinds
        assert outcome.handlers == len(list(handlers(client))) >= 20
        assert client.get("/healthz").json()["status"] == "ok"


def test_no_shape_of_a_file_gets_through(studio, url):
    with visit(url) as client:
        kinds = bait(studio.paths.home)
        some = {kind: kinds[kind] for kind in ("key", "FIFO", "device")}
        outcome = walk(client, some)
        assert outcome.read == []
        assert outcome.refused == outcome.offers


def test_one_account_cannot_have_anothers_upload_examined(studio, tmp_path):
    add_one_of_each(studio.accounts())
    with served(studio) as url, visit(url, "vera") as vera, visit(url, "root") as root:
        path = upload(vera, SECRET.encode())
        outcome = walk(root, {"another caller's upload": path}, forms=slice(0, 2))
        assert outcome.read == []
        assert outcome.refused == outcome.offers
        with visit(url, "vera") as elsewhere:  # the same account, another sign-in
            (function, places), *_ = file_handlers(elsewhere).items()
            data = [[_file(path)] if place else None for place in places]
            assert events(elsewhere, function, data).startswith("403")


def _file(path):
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def test_what_one_uploaded_oneself_reaches_the_handler_and_is_deleted(studio, url):
    with visit(url) as client:
        config = client.get("/config").json()
        (drop,) = (c["id"] for c in config["components"] if c["props"].get("elem_id") == "drop")
        (verify,) = (e["id"] for e in config["dependencies"] if e["inputs"] == [drop])
        path = upload(client, name="../../my song.wav")
        assert Path(path).parent.parent == studio.paths.uploads
        assert Path(path).name == "my song.wav"
        text = events(client, verify, [[{"file": _file(path), "seconds": 1}]])
        assert text.startswith("200")
        assert '"success":true' in text
        assert "my song.wav" in text
        assert not Path(path).exists()
        again = events(client, verify, [[{"file": _file(path), "seconds": 1}]])
        assert again.startswith("403"), "once"


def test_the_second_lock_holds_where_the_first_is_open(studio, monkeypatch):
    """Gradio's own check of paths, and the components': of a page that counts as launched."""
    monkeypatch.setattr(Uploads, "belongs_to", lambda *_: True)
    with served(studio) as url, visit(url) as client:
        kinds = bait(studio.paths.home)
        inside = "file in the folder of uploads that nobody uploaded"  # only the first lock knows
        for function, places in file_handlers(client).items():
            for kind, path in kinds.items():
                data = [([_file(path)] if place else "x") for place in places]
                text = events(client, function, data)
                assert SECRET not in text
                if kind != inside:
                    assert '"success":true' not in text, kind
                    assert len(path) < 3 or path not in text
        for kind in ("FIFO", "FIFO among the uploads"):
            assert not fifo_has_reader(Path(kinds[kind]))


def test_errors_repeat_nothing_that_was_sent(url):
    failed = 0
    with visit(url) as client:
        for function, inputs in handlers(client):
            for value in ({"a": "zebra-crossing"}, "zebra-crossing", ["zebra-crossing"], 1e300):
                text = events(client, function, [value] * inputs)
                if '"success":false' in text:
                    failed += 1
                    assert "zebra" not in text
                assert "Traceback" not in text
                assert "gradio/" not in text
    assert failed > 10


@pytest.mark.parametrize(
    "change",
    [
        {"fn_index": 999},
        {"fn_index": "0"},
        {"fn_index": True},
        {"data": []},
        {"data": "x"},
        {"session_hash": None},
        {"session_hash": "../x"},
        {"trigger_id": "1"},
    ],
)
def test_events_of_another_shape_are_refused_before_gradio(steady, change):
    with visit(steady) as client:
        function, inputs = next(iter(handlers(client)))
        body = {"fn_index": function, "session_hash": "a1", "data": [None] * inputs} | change
        for path in ("queue/join", "run/predict"):
            answer = client.post(f"/gradio_api/{path}", json=body)
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "malformed"


def test_a_session_of_the_page_is_its_first_callers(studio):
    add_one_of_each(studio.accounts())
    with served(studio) as url, visit(url, "ada") as ada, visit(url, "root") as root:
        function, inputs = next(iter(handlers(ada)))
        session = secrets.token_hex(6)
        body = {"fn_index": function, "session_hash": session, "data": [None] * inputs}
        assert ada.post("/gradio_api/queue/join", json=body).status_code == 200
        assert root.post("/gradio_api/queue/join", json=body).status_code == 403
        spying = root.get("/gradio_api/queue/data", params={"session_hash": session})
        assert spying.status_code == 403
        cancel = {"session_hash": session, "fn_index": function, "event_id": "x"}
        assert root.post("/gradio_api/cancel", json=cancel).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/gradio_api/file/etc/passwd"),
        ("HEAD", "/gradio_api/file=/etc/passwd"),
        ("GET", "/gradio_api/stream/a/b/1/playlist.m3u8"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/call/predict"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/process_recording"),
        ("GET", "/gradio_api/custom_component/1/client/component/index.js"),
        ("GET", "/gradio_api/token"),
        ("GET", "/monitoring"),
        ("GET", "/static/../../etc/passwd"),
        ("GET", "/assets/%2e%2e/%2e%2e/etc/passwd"),
        ("PUT", "/gradio_api/upload"),
    ],
)
def test_what_the_page_does_not_use_is_not_there(steady, method, path):
    with visit(steady) as client:
        assert client.request(method, path).status_code == 404


def test_the_page_tells_nothing_of_the_machine(studio, url):
    with visit(url) as client:
        for path in ("/", "/config", "/gradio_api/info"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert str(studio.paths.home) not in answer.text
