"""The page with accounts: signing in and out, what each role's events may do and tabs show."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from studio.accounts.permissions import LOCAL_OWNER, Role
from studio.app.gateway import Gateway
from studio.app.use_cases.generation import Generation
from studio.core.errors import AccessDeniedError, ConfigError
from studio.web.api.app import create_api
from studio.web.http.download_tokens import DownloadTokens
from studio.web.http.uploads import Budget, Uploads
from studio.web.jobs.examinations import Examinations
from studio.web.jobs.making import Making
from studio.web.jobs.queue import JobRunner
from studio.web.middleware.auth import SECURE_COOKIE
from studio.web.ui.consent import view as consent_views
from studio.web.ui.login import login_routes
from tests.support.accounts import NAMES, PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.studios import as_owner
from tests.unit.pretend import PretendStudio

pytestmark = pytest.mark.slow

ORIGIN = "https://studio.example"


@pytest.fixture
def studio(tmp_path: Path) -> PretendStudio:
    return with_cheap_passwords(PretendStudio(tmp_path / "home"))


@pytest.fixture
def actors(studio):
    return add_one_of_each(studio.accounts())


@pytest.fixture
def client(studio, actors):
    from starlette.testclient import TestClient

    with JobRunner(running=1, waiting=1) as runner:
        api = create_api(Gateway(studio), DownloadTokens(), making=runner, checking=runner)
        api.include_router(login_routes(Gateway(studio)))
        yield TestClient(api, base_url=ORIGIN, follow_redirects=False)


def as_browser(client, **fields):
    return client.post("/login", data=fields, headers={"Origin": ORIGIN})


# -- signing in -----------------------------------------------------------------------------------


def test_a_visitor_is_led_to_the_sign_in_page_which_loads_nothing(client):
    away = client.get("/", headers={"Accept": "text/html"})
    assert (away.status_code, away.headers["location"]) == (303, "/login")
    page = client.get("/login")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert not re.findall(r"(?:src|href)=[\"']http", page.text)
    assert page.headers["cache-control"] == "no-store"
    labels = set(re.findall(r'<label for="([a-z]+)"', page.text))
    assert labels == set(re.findall(r'<input id="([a-z]+)"', page.text))


def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_cannot_use(client):
    answer = as_browser(client, name="Ada", password=PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    cookie = answer.headers["set-cookie"]
    for attribute in ("HttpOnly", "SameSite=lax", "Secure", "Path=/"):
        assert attribute.lower() in cookie.lower()
    assert client.get("/api/v1/me").json()["name"] == "ada"
    assert client.get("/login").status_code == 303, "already signed in"


def test_a_cookie_over_plain_http_is_not_marked_secure(studio, client):
    from starlette.testclient import TestClient

    plain = TestClient(client.app, base_url="http://studio.example", follow_redirects=False)
    answer = plain.post("/login", data={"name": "ada", "password": PASSWORD})
    assert "secure" not in answer.headers["set-cookie"].lower()


def test_a_wrong_password_is_told_without_saying_which_part_is_wrong(client):
    texts = set()
    for name in ("ada", "nobody-here"):
        answer = as_browser(client, name=name, password="wrong password")
        assert answer.status_code == 401
        assert 'role="alert"' in answer.text
        texts.add(answer.text.replace(name, "NAME"))
    assert len(texts) == 1


def test_what_was_typed_is_escaped(client):
    answer = as_browser(client, name='"><script>alert(1)</script>', password="wrong password")
    assert "<script" not in answer.text


def test_guessing_is_slowed_down_with_a_time_to_wait(client):
    for _ in range(6):
        as_browser(client, name="ada", password="wrong password")
    answer = as_browser(client, name="ada", password=PASSWORD)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 2
    assert "please wait" in answer.text


def test_signing_out_ends_the_session_itself(client):
    token = as_browser(client, name="ada", password=PASSWORD).cookies[SECURE_COOKIE]
    assert client.post("/logout", headers={"Origin": ORIGIN}).headers["location"] == "login"
    again = client.get("/api/v1/me", headers={"Cookie": f"{SECURE_COOKIE}={token}"})
    assert again.status_code == 401


@pytest.mark.parametrize("path", ["/login", "/logout", "/password"])
def test_another_site_cannot_sign_anybody_in_or_out(client, path):
    as_browser(client, name="ada", password=PASSWORD)
    answer = client.post(
        path,
        data={"name": "root", "password": PASSWORD},
        headers={"Origin": "https://evil.example"},
    )
    assert answer.status_code == 403
    assert client.get("/api/v1/me").json()["name"] == "ada"


def test_a_form_larger_than_any_form_is_not_read(client):
    answer = as_browser(client, name="ada", password=PASSWORD, more="x" * 10_000)
    assert answer.status_code == 401


def test_ones_password_can_be_changed_by_knowing_it(client):
    as_browser(client, name="ada", password=PASSWORD)
    new = "another fine password"

    def change(old, to):
        return client.post("/password", data={"old": old, "new": to}, headers={"Origin": ORIGIN})

    assert change("wrong", new).status_code == 401
    assert change(PASSWORD, "weak").status_code == 422
    assert change(PASSWORD, new).headers["location"] == "login"
    assert client.get("/api/v1/me").status_code == 401, "signed out everywhere"
    assert as_browser(client, name="ada", password=new).status_code == 303


def test_without_accounts_there_is_nothing_to_sign_in_to(tmp_path):
    from starlette.testclient import TestClient

    studio = with_cheap_passwords(PretendStudio(tmp_path / "open"))
    with JobRunner(running=1, waiting=1) as runner:
        api = create_api(Gateway(studio), DownloadTokens(), making=runner, checking=runner)
        api.include_router(login_routes(Gateway(studio)))
        client = TestClient(api, base_url="http://localhost", follow_redirects=False)
        assert client.get("/login").status_code == 303


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "studio.example"])
def test_a_studio_without_accounts_is_not_offered_to_other_machines(tmp_path, host):
    from studio.web.server import _check_openness

    studio = with_cheap_passwords(PretendStudio(tmp_path / "open"))
    _check_openness(Gateway(studio), "127.0.0.1")
    with pytest.raises(ConfigError, match="studio account add"):
        _check_openness(Gateway(studio), host)
    add_one_of_each(studio.accounts())
    _check_openness(Gateway(studio), host)


# -- what the events of each tab may do -----------------------------------------------------------


def request(actor):
    http = SimpleNamespace(
        headers={"host": "studio.test"},
        url=SimpleNamespace(scheme="http"),
        scope={"studio.actor": actor},
    )
    return SimpleNamespace(session_hash="one", request=http)


def in_blocks(build):
    import gradio as gr

    async def inside():
        with gr.Blocks(analytics_enabled=False):
            return build()

    return asyncio.run(inside())


@pytest.fixture
def create(studio):
    from studio.web.ui.create.tab import CreateTab

    with JobRunner(running=1, waiting=3) as runner:
        making = Making(runner, studio.paths.home / "page-jobs.json")
        yield in_blocks(lambda: CreateTab(Gateway(studio), DownloadTokens(), making))


@pytest.fixture
def consent(studio):
    from studio.web.ui.consent.tab import ConsentTab

    return in_blocks(lambda: ConsentTab(Gateway(studio)))


@pytest.fixture
def accounts_tab(studio):
    from studio.web.ui.accounts_tab import AccountsTab

    return in_blocks(lambda: AccountsTab(Gateway(studio)))


def press_generate(tab, actor):
    scope = ("genre/jazz", "", "", "", "noncommercial", "WORLD", "house")
    states = tab._on_generate(request(actor), *scope, 2.0, 3.0, 3, True, 1, "wav", "", "", [], "")
    return last(states)


def last(states):
    seen = {}
    for state in states:
        seen |= state
    return seen


def listed(tab, seen):
    return [take["id"] for take in seen.get(tab.takes_list.board, {}).get("takes", [])]


@pytest.mark.parametrize("role", [Role.VERIFIER, Role.REGISTRAR])
def test_whoever_may_not_make_music_cannot_by_the_event_either(studio, actors, create, role):
    seen = press_generate(create, actors[role])
    assert "Not permitted" in seen[create.notice]
    assert last(create._on_command({"cancel": "x"}, request(actors[role]))) == {}
    assert studio.requests == []


def test_an_artists_outputs_are_hers_and_are_there_at_the_next_visit(studio, actors, create):
    seen = press_generate(create, actors[Role.ARTIST])
    (made,) = studio.made
    assert studio.accounts().owner_of(made) == actors[Role.ARTIST].account_id
    again = last(create._on_load(request(actors[Role.ARTIST])))
    assert listed(create, again) == listed(create, seen) == [made]
    assert again[create.parent]["value"] == made
    assert listed(create, last(create._on_load(request(actors[Role.VERIFIER])))) == []
    root = last(create._on_load(request(actors[Role.ADMINISTRATOR])))
    assert listed(create, root) == []


@pytest.mark.parametrize("way", ["vary", "extend"])
def test_going_on_from_an_output_goes_the_same_way_as_making_one(
    studio, actors, create, monkeypatch, way
):
    press_generate(create, actors[Role.ARTIST])
    (made,) = studio.made
    asked = []

    def again(self, source, *, seconds=None, progress=None, cancel=None, **wish):
        asked.append((source, *([seconds] if seconds else []), self.actor.account_id))
        return self.create(studio.requests[0], progress=progress)

    monkeypatch.setattr(Generation, way, again)
    monkeypatch.setattr(Generation, "check_variation", lambda *_, **wish: None)
    ada = actors[Role.ARTIST]
    handler = create._on_vary if way == "vary" else create._on_extend
    inputs = [made] if way == "vary" else [made, 10]
    choices = [None, None] if way == "vary" else []
    seen = last(handler(*inputs, *choices, request(ada)))
    assert asked == [(*inputs, ada.account_id)]
    assert len(listed(create, seen)) == 2
    seen = last(handler(*inputs, *choices, request(actors[Role.REGISTRAR])))
    assert "Not permitted" in seen[create.notice]
    assert len(asked) == 1


def test_a_request_nobody_let_in_does_nothing(studio, actors, create):
    seen = press_generate(create, None)
    assert "Not permitted" in seen[create.notice]
    assert studio.requests == []


@pytest.mark.parametrize("role", [Role.ARTIST, Role.VERIFIER])
def test_consent_is_the_registrars(studio, actors, consent, tmp_path, monkeypatch, role):
    reached = []
    registrar = studio.consent_service()
    monkeypatch.setattr(registrar, "import_file", lambda data: reached.append(data))
    monkeypatch.setattr(registrar, "admit", lambda data, fp: reached.append(data))
    for fingerprint in ("", "0011"):
        upload = tmp_path / "grant.json"
        upload.write_text("{}")
        answer = consent._on_file(str(upload), fingerprint, request(actors[role]))
        assert "Not permitted" in answer[consent.imported]
        assert not upload.exists()
    assert reached == []
    assert "Not permitted" in consent._on_preview("house-catalogue-2026", request(actors[role]))
    assert "Not permitted" in consent._on_statement(
        "house", "2026-11-01", "2026-11-30", request(actors[role])
    )


def test_a_registrar_sees_what_stands_and_what_a_revocation_would_do(studio, actors, consent):
    reg = request(actors[Role.REGISTRAR])
    shown = consent._on_open(reg)
    assert "House catalogue" in shown[consent.live]
    assert "nobody" in shown[consent.live], "choral stands there without a grant"
    assert "House catalogue" in shown[consent.holders]
    assert "is not taken in" not in shown[consent.holders]
    assert shown[consent.grant]["value"] == "house-catalogue-2026"
    card, effect = consent._on_grant("house-catalogue-2026", reg)
    assert "✓ live" in card
    assert effect == ""
    preview = consent._on_preview("house-catalogue-2026", reg)
    assert "nothing has happened" in preview
    assert "jazz" in preview
    assert preview.count("no longer for") == 1, "tags that lose the same uses share a line"
    assert as_owner(studio).catalog.decide(["genre/jazz"]).allowed
    statement = consent._on_statement("house", "2026-11-01", "2026-11-30", reg)
    assert "Download CSV" in statement
    wrong = consent._on_statement("house", "2026-11-30", "2026-11-01", reg)
    assert "is empty" in wrong


def test_a_file_that_is_no_consent_is_told_and_deleted(actors, consent, tmp_path):
    for content in (b"not json", b"{}", b"x" * (1 << 20) + b"xx"):
        upload = tmp_path / "grant.json"
        upload.write_bytes(content)
        answer = consent._on_file(str(upload), "", request(actors[Role.REGISTRAR]))
        assert "banner" in answer[consent.imported]
        assert "Traceback" not in answer[consent.imported]
        assert not upload.exists()


def test_an_import_tells_of_every_document_what_became_of_it():
    from studio.consent.administration import ImportedDocument, ImportReport

    report = ImportReport(
        (
            ImportedDocument("grant", "h", "grant <b>g1</b> of h", "d", 7),
            ImportedDocument("grant", "h", "g2", "d", None, "altered", "it was altered", "ask"),
        ),
        withdrawn=("a", "b"),
    )
    panel = consent_views.import_panel(report)
    assert "1 of 2 documents recorded" in panel
    assert "entry no. 7" in panel
    assert "it was altered" in panel
    assert "2 outputs withdrawn" in panel
    assert "<b>g1" not in panel


@pytest.mark.parametrize("role", [Role.ARTIST, Role.VERIFIER, Role.REGISTRAR])
def test_accounts_are_the_administrators(studio, actors, accounts_tab, role):
    tab, who = accounts_tab, request(actors[role])
    for answer in (
        tab._on_open(who),
        tab._on_add("eve", "administrator", PASSWORD, who),
        tab._on_role("ada", "administrator", who),
        tab._on_disable("root", who),
        tab._on_enable("root", who),
    ):
        assert "Not permitted" in answer[tab.message]
        assert tab.table not in answer
    listed = {account.name: account.role for account in studio.accounts().all()}
    assert listed == {name: role for role, name in NAMES.items()}


def test_an_administrator_adds_and_closes_accounts(studio, actors, accounts_tab):
    tab, root = accounts_tab, request(actors[Role.ADMINISTRATOR])
    added = tab._on_add("bert", "artist", PASSWORD, root)
    assert "bert can sign in as artist" in added[tab.message]
    assert PASSWORD not in str(added)
    assert "bert" in added[tab.table]
    assert "already" in tab._on_add("bert", "artist", PASSWORD, root)[tab.message]
    assert "verifier" in tab._on_role("bert", "verifier", root)[tab.table]
    assert "disabled" in tab._on_disable("bert", root)[tab.table]
    assert "last administrator" in tab._on_disable("root", root)[tab.message]
    assert "Limits of an account" in added[tab.table]


def test_each_role_is_shown_its_tabs_and_who_it_is(studio, actors):
    from studio.web.ui.page import build_page

    uploads = Uploads(studio.paths.uploads, Budget(max_bytes=1, held=1, hourly=1))
    with JobRunner(running=1, waiting=1) as runner:
        examinations = Examinations(runner, runner, uploads)

        async def build():
            return build_page(
                Gateway(studio),
                DownloadTokens(),
                making=Making(runner, studio.paths.home / "page-jobs.json"),
                examinations=examinations,
            )

        page = asyncio.run(build())
    greet = next(fn.fn for fn in page.fns.values() if getattr(fn.fn, "__name__", "") == "greet")
    wanted = {
        Role.ARTIST: ("create", {"consent", "accounts"}),
        Role.VERIFIER: ("verify", {"create", "library", "consent", "accounts"}),
        Role.REGISTRAR: ("consent", {"create", "library", "verify", "accounts"}),
        Role.ADMINISTRATOR: ("create", set()),
    }
    for role, (first, hidden) in wanted.items():
        line, tabs = greet(request(actors[role])).values()
        assert tabs["selected"] == first
        assert set(re.findall(r'data-tab-id="(\w+)"', line)) == hidden
        assert f"<b>{NAMES[role]}</b> ({role})" in line
    line, _ = greet(request(LOCAL_OWNER)).values()
    assert "Single-user mode" in line
    with pytest.raises(AccessDeniedError):
        greet(request(None))


def test_consent_that_a_newer_version_brings_is_named_until_it_is_taken_in(studio):
    recorded = as_owner(studio).consent.shipped()
    assert len(recorded) == 5
    assert consent_views.waiting_lines(recorded) == ""
    name = recorded[-1].holder.model_copy(update={"name": "House <b>"})
    waiting = replace(recorded[-1], holder=name, pending=("a document",))
    told = consent_views.waiting_lines([*recorded[:-1], waiting])
    assert told.count("<p>") == 1
    assert "House &lt;b&gt; (project)" in told
    assert waiting.key.fingerprint in told
    assert "studio consent shipped house-composer" in told


def test_the_live_table_keeps_apart_what_stands_differently(studio):
    (status,) = [
        s for s in as_owner(studio).consent.grants() if s.grant.id == "house-catalogue-2026"
    ]
    narrow = status.grant.model_copy(
        update={
            "id": "evil-<b>",
            "tags": frozenset({"genre/jazz"}),
            "valid_until": datetime(2027, 5, 1, tzinfo=UTC),
        }
    )
    other = replace(
        status, grant=narrow, holder=status.holder.model_copy(update={"name": "<i>Ada"})
    )
    table = consent_views.live_table([status, other], ["genre/jazz", "mood/calm", "genre/choral"])
    assert table.count("<tr>") == 4
    assert "&lt;i&gt;Ada" in table
    assert "<i>Ada" not in table
    assert "until 1 May 2027" in table
