"""Values of strangers: a clear refusal in the usual shape, and little in the log."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.testclient import TestClient

from studio.accounts.permissions import Role
from studio.app.gateway import Gateway
from studio.core.errors import NameRefusedError
from studio.web.middleware import rate_limit
from studio.web.middleware.rate_limit import RateLimiter
from studio.web.server import create_app
from tests.robustness.page_walk import events, handlers
from tests.support.accounts import NAMES, PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.serving import served
from tests.unit.pretend import PretendStudio

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    studio = with_cheap_passwords(PretendStudio(tmp_path_factory.mktemp("hostile") / "home"))
    add_one_of_each(studio.accounts())
    many = {"requests_per_minute": 10**6, "page_events_per_minute": 10**6}
    accounts = studio.config.accounts.model_copy(update=many)
    studio.config = studio.config.model_copy(update={"accounts": accounts})
    return studio


@pytest.fixture(scope="module")
def client(studio):
    async def build():
        return create_app(Gateway(studio))

    app = asyncio.run(build())
    with TestClient(
        app, base_url="https://studio.example", raise_server_exceptions=False
    ) as client:
        yield client


@pytest.fixture
def root(studio):
    token = studio.accounts().sign_in(NAMES[Role.ADMINISTRATOR], PASSWORD, address="x").token
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/a%00b",
        "/consent/grants/a%00b/revocation",
        "/consent/holders/a%00b/statement?from=2026-11-01&to=2026-11-02",
        "/outputs/a%00b",
        "/audit?event=a%00b",
        "/tags?use=a%00b",
    ],
)
def test_an_address_with_a_nul_is_refused(client, root, path):
    for method in ("GET", "DELETE", "PATCH"):
        answer = client.request(method, f"/api/v1{path}", headers=root, json={})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "malformed"
        assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/session", b'{"name": "a\\u0000b", "password": "long enough a word"}', "NUL"),
        ("/decisions", b'{"tags": ["a\\u0000"]}', "NUL"),
        (
            "/accounts",
            b'{"name": "x", "role": "artist", "role": "administrator", "password": "' +
            PASSWORD.encode() + b'"}',
            "twice",
        ),
        ("/jobs", b'{"tags": ' + b"[" * 4000 + b"]" * 4000 + b"}", "nested"),
        ("/jobs", b'{"tags": ["genre/jazz"], "duration_s": NaN}', "not finite"),
        ("/jobs", b'{"tags": ["genre/jazz"], "duration_s": 1e999}', "not finite"),
        ("/jobs", b'{"tags": ["genre/jazz"], "seed": ' + b"9" * 5000 + b"}", "not valid JSON"),
        ("/jobs", b'{"tags": ["\xff"]}', "not valid JSON"),
        ("/jobs", b'{"tags": ["genre/jazz"], "title": "\\ud800"}', "half of a character"),
    ],
)  # fmt: skip
def test_json_that_can_be_understood_in_two_ways_is_refused(client, root, studio, path, body, said):
    accounts = len(studio.accounts().all())
    answer = client.post(f"/api/v1{path}", content=body, headers=root | JSON)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "malformed"
    assert said in answer.json()["error"]["message"]
    assert len(studio.accounts().all()) == accounts


def test_a_nul_in_the_form_of_the_sign_in_page_is_a_wrong_name(client):
    for data in ({"name": "a\0b", "password": PASSWORD}, {"name": "ada", "password": "\0"}):
        assert client.post("/login", data=data).status_code == 401


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("0001-01-01", "9999-12-31"),
        ("9999-12-31", "9999-12-31"),
        ("0001-01-01T00:00:00+14:00", "2026-11-01"),
        ("2026-11-01", "9999-12-31T23:59:59-12:00"),
        ("1969-12-31", "2026-11-01"),
        ("2026-11-01", "99999-01-01"),
    ],
)
def test_days_at_the_ends_of_the_calendar_are_refused(client, root, first, last):
    answer = client.get(
        "/api/v1/consent/holders/house/statement",
        params={"from": first, "to": last},
        headers=root,
    )
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "impossible"


def test_a_number_beyond_the_database_is_refused(client, root):
    for number in (2**63, 10**30, -1):
        answer = client.get(f"/api/v1/audit?before={number}", headers=root)
        assert answer.status_code == 422, number


def test_a_fault_of_ours_has_the_usual_shape_and_a_reference(client, root, studio, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("secret /path")

    monkeypatch.setattr(studio, "models", broken)
    answer = client.get("/api/v1/models", headers=root)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "failed"
    assert "reference" in answer.json()["error"]["message"]
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "title",
    [
        "a\u202eb", "a\u2066b", "\u200eb", "\u200b", "a\u200bb", "a\ufeffb", "so\u00adft",
        "a\u200db", "\u200d", "a\u2028b", "\U000e0041", "\u115f", "a\u3164b", "\ue000",
    ],
)  # fmt: skip
def test_a_title_that_reads_otherwise_than_it_is_stored_is_refused(studio, title):
    for what in ("title", "note"):
        with pytest.raises(NameRefusedError, match="invisible"):
            studio.name_screen().check(title, what=what)


@pytest.mark.parametrize(
    "title",
    [
        "Evening, slowly",
        "Überfahrt – nº 3",
        "أغنية المساء",
        "شعرهای می\u200cخواهم",
        "क्\u200dष",
        "夜の歌",
        "🎶 Night",
    ],
)
def test_titles_in_the_scripts_people_write_are_accepted(studio, title):
    studio.name_screen().check(title, what="title")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Gradio prints a traceback where a warning is an error
def test_malformed_events_of_the_page_do_not_fill_the_log(studio, caplog, capfd, monkeypatch):
    monkeypatch.setattr(rate_limit, "_TRACEBACKS", RateLimiter(per_minute=3))
    fields = {"name": NAMES[Role.ADMINISTRATOR], "password": PASSWORD}
    junk, count, failed = "junk" * 500, 0, 0
    with served(studio) as url, httpx.Client(base_url=url, timeout=30) as client:
        assert client.post("/login", data=fields).status_code == 303
        for function, inputs in handlers(client):
            for value in ({"a": junk}, [junk], junk):
                told = events(client, function, [value] * inputs)
                count += 1
                failed += '"success":false' in told
    out, err = capfd.readouterr()
    text = caplog.text + out + err
    assert failed > 20, "some reach a handler and fail there"
    assert junk not in text
    assert text.count('File "') <= 2 * 3 * 12, (
        "three short tracebacks, in the log and on the console"
    )
    assert len(text) < 300 * count + 2 * 3 * 4000
