"""The REST layer: sign in, the rights of every role on every route, jobs, bounds, cross-site."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path

import pytest

from studio.accounts.permissions import Role
from studio.app.gateway import Gateway
from studio.app.session import Session
from studio.core.errors import ModelError
from studio.verification.report import Verdict, VerifyReport
from studio.web.api.app import create_api
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.queue import JobRunner
from studio.web.middleware.auth import SECURE_COOKIE
from studio.web.middleware.proxy_headers import TrustedProxies
from tests.support.accounts import NAMES, PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.studios import as_owner
from tests.unit.pretend import PretendStudio

HOST = "https://studio.example"
EVERYBODY = frozenset(Role)
A, V, R, ROOT = Role.ARTIST, Role.VERIFIER, Role.REGISTRAR, Role.ADMINISTRATOR

# method, path, body, roles that may; "{mine}" is an output of the artist.
ROUTES = {
    ("DELETE", "/session"): (None, EVERYBODY),
    ("GET", "/me"): (None, EVERYBODY),
    ("GET", "/tags"): (None, EVERYBODY),
    ("GET", "/models"): (None, EVERYBODY),
    ("POST", "/decisions"): ({"tags": ["genre/jazz"]}, EVERYBODY),
    ("POST", "/jobs"): ({"tags": ["genre/jazz"], "duration_s": 3.0}, {A, ROOT}),
    ("GET", "/jobs"): (None, EVERYBODY),  # one's own: whoever may not make music has none
    ("GET", "/jobs/{job_id}"): (None, EVERYBODY),
    ("DELETE", "/jobs/{job_id}"): (None, EVERYBODY),
    ("GET", "/jobs/{job_id}/preview"): (None, EVERYBODY),
    ("GET", "/outputs"): (None, {A, ROOT}),
    ("GET", "/outputs/{output_id}"): (None, EVERYBODY),
    ("GET", "/outputs/{output_id}/audio"): (None, {A, ROOT}),
    ("GET", "/outputs/{output_id}/proof"): (None, EVERYBODY),
    ("GET", "/outputs/{output_id}/score.mid"): (None, {A, ROOT}),
    ("POST", "/outputs/{output_id}/stems"): (None, {A, ROOT}),
    ("GET", "/outputs/{output_id}/sheet"): (None, {A, ROOT}),
    ("GET", "/outputs/{output_id}/renditions"): (None, {A, ROOT}),
    ("GET", "/outputs/{output_id}/renditions/{format}"): (None, {A, ROOT}),
    ("GET", "/model-fetches"): (None, {ROOT}),
    ("POST", "/model-fetches"): ({"model": "none", "accepted_licence": "x"}, {ROOT}),
    ("DELETE", "/model-fetches"): (None, {ROOT}),
    ("POST", "/sheets"): ({"sheet": "key: C"}, {A, ROOT}),
    ("GET", "/outputs/{output_id}/receipt"): (None, EVERYBODY),
    ("PUT", "/outputs/{output_id}/publication"): (None, {A, ROOT}),
    ("DELETE", "/outputs/{output_id}/publication"): (None, {A, ROOT}),
    ("GET", "/outputs/{output_id}/share"): (None, {A, ROOT}),
    ("PUT", "/outputs/{output_id}/share"): (None, {A, ROOT}),
    ("DELETE", "/outputs/{output_id}/share"): (None, {A, ROOT}),
    ("POST", "/outputs/{output_id}/variations"): ({"seed": 5}, {A, ROOT}),
    ("POST", "/outputs/{output_id}/extensions"): ({"seconds": 4.0}, {A, ROOT}),
    ("GET", "/outputs/{output_id}/lineage"): (None, EVERYBODY),
    ("GET", "/outputs/{output_id}/disclosure"): (None, EVERYBODY),
    ("POST", "/cases"): ({"reference": "R-1", "title": "x"}, {A, V, ROOT}),
    ("GET", "/cases"): (None, {A, V, ROOT}),
    ("GET", "/cases/{case_id}"): (None, {A, V, ROOT}),
    ("DELETE", "/cases/{case_id}"): (None, {A, V, ROOT}),
    ("POST", "/cases/{case_id}/files"): (b"RIFF", {A, V, ROOT}),
    ("GET", "/cases/{case_id}/files/{number}/parts/{part}/{file}"): (None, {A, V, ROOT}),
    ("POST", "/cases/{case_id}/notes"): ({"text": "x"}, {A, V, ROOT}),
    ("GET", "/cases/{case_id}/report.{kind}"): (None, {A, V, ROOT}),
    ("POST", "/verifications"): (b"RIFF", {A, V, ROOT}),
    ("POST", "/verifications/url"): ({"url": "https://a.example/"}, {A, V, ROOT}),
    ("GET", "/verifications/{check_id}"): (None, {A, V, ROOT}),
    ("DELETE", "/verifications/{check_id}"): (None, {A, V, ROOT}),
    ("GET", "/consent/site"): (None, EVERYBODY),
    ("GET", "/consent/holders"): (None, EVERYBODY),
    ("GET", "/consent/holders/{holder_id}/statement"): (None, {R, ROOT}),
    ("GET", "/consent/grants"): (None, EVERYBODY),
    ("GET", "/consent/grants/{grant_id}/revocation"): (None, {R, ROOT}),
    ("GET", "/consent/grants/{grant_id}/outputs"): (None, {R, ROOT}),
    ("POST", "/consent/documents"): (b"{}", {R, ROOT}),
    ("GET", "/accounts"): (None, {ROOT}),
    ("POST", "/accounts"): (
        {"name": "new", "role": "artist", "password": PASSWORD},
        {ROOT},
    ),
    ("PATCH", "/accounts/{name}"): ({"disabled": True}, {ROOT}),
    ("DELETE", "/accounts/{name}"): (None, {ROOT}),
    ("GET", "/audit"): (None, {ROOT}),
    ("GET", "/audit/export"): (None, {ROOT}),
}


@pytest.fixture
def studio(tmp_path: Path) -> PretendStudio:
    return with_cheap_passwords(PretendStudio(tmp_path / "home"))


@pytest.fixture
def api(studio):
    limits = {"waiting": 9, "per_account": studio.config.accounts.jobs_at_a_time}
    with JobRunner(running=1, **limits) as making, JobRunner(running=1, **limits) as checking:
        yield create_api(Gateway(studio), DownloadTokens(), making=making, checking=checking)


@pytest.fixture
def client(api):
    from starlette.testclient import TestClient

    return TestClient(api, base_url=HOST, follow_redirects=False)


@pytest.fixture
def tokens(studio) -> dict[Role, dict[str, str]]:
    """Headers of each role."""
    add_one_of_each(studio.accounts())
    return {
        role: bearer(studio.accounts().sign_in(name, PASSWORD, address="192.0.2.1").token)
        for role, name in NAMES.items()
    }


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def send(client, method, path, body=None, headers=None):
    content = {"content": body} if isinstance(body, bytes) else {"json": body} if body else {}
    return client.request(method, f"/api/v1{path}", headers=headers, **content)


def filled(path: str, output_id: str) -> str:
    names = {
        "output_id": output_id,
        "job_id": "none",
        "grant_id": "house-catalogue-2026",
        "holder_id": "house",
        "name": "ada",
        "case_id": "none",
        "number": "1",
        "part": "1",
        "file": "suspect.png",
        "check_id": "none",
        "kind": "json",
        "format": "wav",
    }
    query = "?from=2026-11-01&to=2026-11-30" if path.endswith("/statement") else ""
    return path.format(**names) + query


def made_by(client, tokens, role=A):
    job = send(client, "POST", "/jobs", {"tags": ["genre/jazz"], "duration_s": 3.0}, tokens[role])
    assert job.status_code == 202, job.text
    return ended(client, job.json()["id"], tokens[role])["output_id"]


def ended(client, job_id, headers):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        state = send(client, "GET", f"/jobs/{job_id}", headers=headers).json()
        if state["state"] in ("done", "failed", "cancelled"):
            return state
        time.sleep(0.02)
    raise AssertionError(state)


def test_the_table_above_has_every_route(client, tokens):
    described = client.get("/api/v1/openapi.json").json()["paths"]
    routes = {(method.upper(), path) for path, item in described.items() for method in item}
    assert routes - {("POST", "/session")} == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
def test_nobody_gets_in_without_signing_in(client, tokens, method, path):
    body, _ = ROUTES[method, path]
    for headers in ({}, bearer("guessed"), {"Cookie": f"{SECURE_COOKIE}=guessed"}):
        answer = send(client, method, filled(path, "0" * 16), body, headers)
        assert answer.status_code == 401, answer.text
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.slow
@pytest.mark.parametrize("role", list(Role))
def test_each_role_has_its_routes_and_no_others(client, studio, tokens, role):
    release = Session(
        studio, studio.accounts().actor_of(tokens[A]["Authorization"].split()[1])
    ).generation.create(as_owner(studio).generation.request(["genre/jazz"], duration_s=2.0, seed=1))
    order = sorted(ROUTES, key=lambda route: (route[0] != "GET", route == ("DELETE", "/session")))
    for method, path in order:
        body, may = ROUTES[method, path]
        answer = send(client, method, filled(path, release.output_id), body, tokens[role])
        refused = answer.status_code == 403
        assert refused == (role not in may), f"{role} {method} {path}: {answer.text}"
        if refused:
            assert answer.json()["error"]["code"] == "not-permitted"
        else:
            assert answer.status_code not in (401, 500), answer.text
    if role is not ROOT:
        assert not studio.accounts().named("ada").disabled


def test_an_artist_fetches_her_own_output_and_nobody_elses(client, studio, tokens):
    mine = made_by(client, tokens)
    others = made_by(client, tokens, ROOT)
    assert send(client, "GET", f"/outputs/{mine}/audio", headers=tokens[A]).content == (
        studio.made[mine].path.read_bytes()
    )
    theirs = send(client, "GET", f"/outputs/{others}/audio", headers=tokens[A])
    missing = send(client, "GET", f"/outputs/{'0' * 16}/audio", headers=tokens[A])
    assert theirs.status_code == missing.status_code == 404
    assert theirs.text == missing.text
    score = send(client, "GET", f"/outputs/{mine}/score.mid", headers=tokens[A])
    assert (score.content[:4], score.headers["content-type"]) == (b"MThd", "audio/midi")
    theirs = send(client, "GET", f"/outputs/{others}/score.mid", headers=tokens[A])
    assert (theirs.status_code, theirs.text) == (404, missing.text)
    listed = send(client, "GET", "/outputs", headers=tokens[A]).json()
    assert [record["output_id"] for record in listed] == [mine]
    assert str(studio.paths.home) not in str(listed)


def test_stems_are_one_archive_for_their_owner(client, tokens):
    mine, others = made_by(client, tokens), made_by(client, tokens, ROOT)
    made = send(client, "POST", f"/outputs/{mine}/stems?format=flac", headers=tokens[A])
    assert (made.status_code, made.headers["content-type"]) == (200, "application/zip")
    assert made.headers["cache-control"] == "private, no-store"
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        listing = json.loads(archive.read("stems.json"))
        assert archive.read("Fünf - bass.flac") == b"flac"
        # The page reads the files as they lie there.
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert [stem["file"] for stem in listing["stems"]] == ["Fünf - bass.flac"]
    assert listing["left_out"] == [{"stem": "drums", "why": "silent"}]
    theirs = send(client, "POST", f"/outputs/{others}/stems", headers=tokens[A])
    missing = send(client, "POST", f"/outputs/{'0' * 16}/stems", headers=tokens[A])
    assert (theirs.status_code, theirs.text) == (404, missing.text)
    wrong = send(client, "POST", f"/outputs/{mine}/stems?format=exe", headers=tokens[A])
    assert wrong.status_code == 422


def test_renditions_are_their_owners_and_named_after_the_title(client, studio, tokens):
    mine, others = made_by(client, tokens), made_by(client, tokens, ROOT)
    listed = send(client, "GET", f"/outputs/{mine}/renditions", headers=tokens[A]).json()
    assert [each["format"] for each in listed][:4] == ["wav", "flac", "mp3", "m4a"]
    assert [each["format"] for each in listed if not each["available"]] == ["stems", "score"]
    had = send(client, "GET", f"/outputs/{mine}/renditions/wav", headers=tokens[A])
    assert had.content == studio.made[mine].path.read_bytes()
    assert had.headers["content-disposition"] == 'attachment; filename="jazz.wav"'
    assert had.headers["cache-control"] == "private, no-store"
    refused = send(client, "GET", f"/outputs/{mine}/renditions/score", headers=tokens[A])
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "declined")
    theirs = send(client, "GET", f"/outputs/{others}/renditions/mp3", headers=tokens[A])
    missing = send(client, "GET", f"/outputs/{'0' * 16}/renditions/mp3", headers=tokens[A])
    assert (theirs.status_code, theirs.text) == (404, missing.text)
    wrong = send(client, "GET", f"/outputs/{mine}/renditions/exe", headers=tokens[A])
    assert wrong.status_code == 422


def test_the_pages_own_routes_ask_for_the_owner_too(client, studio, tokens):
    mine = made_by(client, tokens)
    claim = DownloadTokens().audio_path(mine)
    assert client.get(f"/{claim}").status_code == 401
    for role, status in ((A, 200), (ROOT, 200), (V, 403), (R, 403)):
        assert client.get(f"/{claim}", headers=tokens[role]).status_code == status
    for role, status in ((A, 200), (V, 200), (R, 200)):
        assert client.get(f"/outputs/{mine}", headers=tokens[role]).status_code == status


# -- jobs -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_tells_how_it_stands_and_ends_with_an_output(client, studio, tokens):
    studio.takes_s = 0.3
    order = {"tags": ["genre/jazz"], "duration_s": 3.0, "seed": 7}
    booked = send(client, "POST", "/jobs", order, tokens[A])
    assert booked.headers["location"] == f"jobs/{booked.json()['id']}"
    state = ended(client, booked.json()["id"], tokens[A])
    assert state["state"] == "done"
    record = send(client, "GET", f"/outputs/{state['output_id']}", headers=tokens[A]).json()
    assert record["request"]["seed"] == 7


def test_a_job_of_several_takes_ends_with_an_output_of_each(client, tokens):
    order = {"tags": ["genre/jazz"], "duration_s": 3.0, "seed": 7, "takes": 3}
    state = ended(client, send(client, "POST", "/jobs", order, tokens[A]).json()["id"], tokens[A])
    assert (state["state"], state["error"]) == ("done", None)
    assert state["output_id"] == state["output_ids"][0]
    seeds = [
        send(client, "GET", f"/outputs/{one}", headers=tokens[A]).json()["request"]["seed"]
        for one in state["output_ids"]
    ]
    assert seeds == [7, 8, 9]


def test_a_take_that_fails_is_told_beside_those_that_were_released(client, studio, tokens):
    studio.failing_seeds = {8: ModelError("no sound"), 9: RuntimeError("secret /path")}
    order = {"tags": ["genre/jazz"], "seed": 7, "takes": 2}
    state = ended(client, send(client, "POST", "/jobs", order, tokens[A]).json()["id"], tokens[A])
    assert (state["state"], len(state["output_ids"])) == ("done", 1)
    assert state["error"]["message"] == "no sound"
    order = {"tags": ["genre/jazz"], "seed": 9, "takes": 2}
    state = ended(client, send(client, "POST", "/jobs", order, tokens[A]).json()["id"], tokens[A])
    assert len(state["output_ids"]) == 1
    assert "secret" not in str(state) and "reference" in state["error"]["message"]


@pytest.mark.parametrize("takes", [0, 5, "two", 1.5])
def test_a_wrong_number_of_takes_is_refused(client, tokens, takes):
    order = {"tags": ["genre/jazz"], "takes": takes}
    assert send(client, "POST", "/jobs", order, tokens[A]).status_code == 422


@pytest.mark.slow
def test_a_preview_is_streamed_to_its_owner_until_the_output_is_there(client, studio, tokens):
    studio.takes_s = 1.0
    order = {"tags": ["genre/jazz"], "duration_s": 3.0, "preview": True}
    job = send(client, "POST", "/jobs", order, tokens[A]).json()["id"]
    assert send(client, "GET", f"/jobs/{job}/preview", headers=tokens[ROOT]).status_code == 404
    answer = send(client, "GET", f"/jobs/{job}/preview", headers=tokens[A])
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.content[:4] == b"RIFF"
    assert answer.content[44:] == b"\x00\x40" * 200
    assert ended(client, job, tokens[A])["state"] == "done"
    assert send(client, "GET", f"/jobs/{job}/preview", headers=tokens[A]).status_code == 410
    assert send(client, "GET", f"/jobs/{job}/preview?take=2", headers=tokens[A]).status_code == 404


def test_who_signs_out_hears_no_more(client, studio, tokens, monkeypatch):
    monkeypatch.setattr("studio.web.preview_stream._ASK_S", 0.0)
    studio.takes_s = 60.0
    order = {"tags": ["genre/jazz"], "duration_s": 3.0, "preview": True}
    job = send(client, "POST", "/jobs", order, tokens[A]).json()["id"]
    may = iter([True, False])
    monkeypatch.setattr("studio.web.api.routes.previews.still_admitted", lambda *_: next(may))
    answer = send(client, "GET", f"/jobs/{job}/preview", headers=tokens[A])
    assert answer.content[:4] == b"RIFF"
    assert send(client, "GET", f"/jobs/{job}", headers=tokens[A]).json()["state"] == "running"
    send(client, "DELETE", f"/jobs/{job}", headers=tokens[A])


def test_a_preview_of_what_is_refused_never_begins(client, tokens):
    order = {"tags": ["genre/choral"], "preview": True}
    job = send(client, "POST", "/jobs", order, tokens[A]).json()["id"]
    assert send(client, "GET", f"/jobs/{job}/preview", headers=tokens[A]).status_code == 410


def test_there_is_no_preview_that_nobody_asked_for(client, tokens):
    job = send(client, "POST", "/jobs", {"tags": ["genre/jazz"]}, tokens[A]).json()["id"]
    assert send(client, "GET", f"/jobs/{job}/preview", headers=tokens[A]).status_code == 404


def test_anothers_job_is_not_there(client, studio, tokens):
    studio.takes_s = 5.0
    job = send(client, "POST", "/jobs", {"tags": ["genre/jazz"]}, tokens[A]).json()["id"]
    for method in ("GET", "DELETE"):
        assert send(client, method, f"/jobs/{job}", headers=tokens[ROOT]).status_code == 404
    assert send(client, "GET", "/jobs", headers=tokens[ROOT]).json() == []
    send(client, "DELETE", f"/jobs/{job}", headers=tokens[A])
    assert ended(client, job, tokens[A])["state"] == "cancelled"
    assert studio.made == {}


def test_a_refused_tag_is_told_with_its_reason(client, tokens):
    job = send(client, "POST", "/jobs", {"tags": ["genre/choral"]}, tokens[A]).json()["id"]
    state = ended(client, job, tokens[A])
    assert state["state"] == "failed"
    assert state["error"]["code"] == "consent-missing"
    assert "genre/choral" in state["error"]["message"]


def test_a_fault_of_ours_tells_nothing_of_the_machine(client, studio, tokens, caplog):
    studio.failure = RuntimeError("secret /path")
    job = send(client, "POST", "/jobs", {"tags": ["genre/jazz"]}, tokens[A]).json()["id"]
    state = ended(client, job, tokens[A])
    assert state["state"] == "failed"
    assert "secret" not in str(state)
    assert job[:8] in state["error"]["message"]
    assert job[:8] in caplog.text


def test_one_account_cannot_fill_the_line(client, studio, tokens):
    studio.takes_s = 30.0
    order = {"tags": ["genre/jazz"]}
    at_a_time = studio.config.accounts.jobs_at_a_time
    jobs = [send(client, "POST", "/jobs", order, tokens[A]) for _ in range(at_a_time + 1)]
    assert [job.status_code for job in jobs] == [202] * at_a_time + [429]
    assert int(jobs[-1].headers["retry-after"]) > 0
    assert send(client, "POST", "/jobs", order, tokens[ROOT]).status_code == 202


# -- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[]",
        b'{"tags": "genre/jazz"}',
        b'{"tags": ["genre/jazz"], "prompt": "in the style of somebody"}',
        b'{"tags": ["' + b"x" * 65 + b'"]}',
        b'{"tags": ' + b"[" * 4_000 + b"]" * 4_000 + b"}",
    ],
)
def test_a_request_of_another_shape_is_malformed(client, tokens, body):
    answer = send(client, "POST", "/jobs", body, tokens[A])
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "malformed"
    assert "in the style" not in answer.text


@pytest.mark.slow
def test_an_upload_is_bounded_and_gone_afterwards(client, studio, tokens):
    seen = []

    def examine(source, **_):
        seen.append((Path(source), Path(source).read_bytes()))
        return VerifyReport(Verdict.UNREADABLE, "It is not audio.", "x", error="not audio")

    studio.examine = examine
    report = client.post(
        "/api/v1/verifications?name=../../etc/song.wav", headers=tokens[V], content=b"RIFFdata"
    )
    assert report.json()["verdict"] == "unreadable"
    assert report.json()["file"] == "song.wav"
    ((path, content),) = seen
    assert content == b"RIFFdata"
    assert path.name == "upload.wav"
    assert not path.exists()
    tiny = studio.config.uploads.model_copy(update={"max_bytes": 4})
    studio.config = studio.config.model_copy(update={"uploads": tiny})
    answer = client.post("/api/v1/verifications", headers=tokens[V], content=b"RIFFdata")
    assert answer.status_code == 413
    assert len(seen) == 1


# -- signing in -----------------------------------------------------------------------------------


def sign_in(client, name="ada", password=PASSWORD):
    return client.post("/api/v1/session", json={"name": name, "password": password})


def test_a_token_by_name_and_password_and_its_end(client, tokens):
    answer = sign_in(client)
    assert answer.status_code == 201
    headers = bearer(answer.json()["token"])
    me = send(client, "GET", "/me", headers=headers).json()
    assert (me["name"], me["role"], me["single_user"]) == ("ada", "artist", False)
    assert send(client, "DELETE", "/session", headers=headers).status_code == 204
    assert send(client, "GET", "/me", headers=headers).status_code == 401


def test_guessing_is_slowed_down(client, tokens):
    answers = [sign_in(client, password="wrong password") for _ in range(8)]
    assert [answer.status_code for answer in answers] == [401] * 6 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert sign_in(client).status_code == 429, "the right password has to wait as well"


def test_requests_are_bounded_by_account(studio, tokens):
    from starlette.testclient import TestClient

    few = studio.config.accounts.model_copy(update={"requests_per_minute": 5})
    studio.config = studio.config.model_copy(update={"accounts": few})
    with JobRunner(running=1, waiting=0) as runner:
        client = TestClient(
            create_api(Gateway(studio), DownloadTokens(), making=runner, checking=runner),
            base_url=HOST,
        )
        answers = [send(client, "GET", "/me", headers=tokens[V]) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert int(answers[-1].headers["retry-after"]) > 0
        assert send(client, "GET", "/me", headers=tokens[A]).status_code == 200


# -- the door -------------------------------------------------------------------------------------


def test_another_sites_page_changes_nothing(client, tokens):
    order = {"tags": ["genre/jazz"], "duration_s": 3.0}
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        answer = send(client, "POST", "/jobs", order, tokens[A] | headers)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "cross-site"
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": HOST}):
        assert send(client, "POST", "/jobs", order, tokens[A] | headers).status_code == 202


def test_without_accounts_only_this_machines_names_are_answered(api):
    from starlette.testclient import TestClient

    for name, status in (
        ("localhost:7860", 200),
        ("127.0.0.1", 200),
        ("[::1]:7860", 200),
        ("rebound.example", 421),
        ("127.0.0.1.rebound.example", 421),
    ):
        client = TestClient(api, base_url=f"http://{name}")
        assert client.get("/api/v1/me").status_code == status, name


def test_without_accounts_another_sites_page_changes_nothing_either(api, studio):
    from starlette.testclient import TestClient

    client = TestClient(api, base_url="http://localhost:7860")
    answer = client.post(
        "/api/v1/jobs", json={"tags": ["genre/jazz"]}, headers={"Origin": "https://evil.example"}
    )
    assert answer.status_code == 403
    assert studio.requests == []


def test_the_first_account_closes_the_open_studio_at_once(api, studio):
    from starlette.testclient import TestClient

    client = TestClient(api, base_url="http://localhost:7860")
    assert client.get("/api/v1/me").json()["single_user"] is True
    add_one_of_each(studio.accounts())
    assert client.get("/api/v1/me").status_code == 401


def resolved(headers, *, client="198.51.100.9", proxies=("10.0.0.0/8",)):
    """What the application sees of a request with these headers."""
    import asyncio

    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)

    scope = {
        "type": "http",
        "scheme": "http",
        "client": (client, 1),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(TrustedProxies(app, proxies)(scope, None, None))
    return seen


FORWARDED = {
    "host": "inside",
    "x-forwarded-for": "203.0.113.5, 198.51.100.7, 10.0.0.2",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "music.example",
}


@pytest.mark.parametrize("proxies", [(), ("10.0.0.0/8",)])
def test_a_strangers_forwarded_headers_are_dropped(proxies):
    seen = resolved(FORWARDED, proxies=proxies)
    assert seen["client"][0] == "198.51.100.9"
    assert seen["scheme"] == "http"
    assert dict(seen["headers"]) == {b"host": b"inside"}


def test_a_trusted_proxys_are_taken_over_up_to_the_first_stranger():
    seen = resolved(FORWARDED, client="10.0.0.1")
    assert seen["client"][0] == "198.51.100.7", "what stands left of it is hearsay"
    assert seen["scheme"] == "https"
    assert dict(seen["headers"]) == {b"host": b"music.example"}


FORM = {"file": ("my song.mp3", b"RIFFdata", "audio/mpeg")}


def test_a_recording_may_come_as_a_form(client, tokens, studio):
    """`curl -F file=@song.mp3` had the form itself examined, and called unreadable."""
    seen = []

    def examine(path, **_):
        seen.append(Path(path).read_bytes())
        return VerifyReport(Verdict.UNREADABLE, "It is not audio.", "x", error="not audio")

    studio.examine = examine
    answer = client.post("/api/v1/verifications", headers=tokens[V], files=FORM)
    assert answer.status_code == 200, answer.text
    assert answer.json()["file"] == "my song.mp3"
    assert seen == [b"RIFFdata"]
    assert not [path for path in studio.paths.uploads.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "sent",
    [
        {"files": [("file", FORM["file"]), ("file", FORM["file"])]},
        {"data": {"field": "x"}, "files": {"nothing": (None, "x")}},
        {"json": {"file": "song.mp3"}},
        {"content": b"@song.mp3", "headers": {"Content-Type": "text/plain; charset=utf-8"}},
    ],
)
def test_a_body_that_is_no_recording_is_answered_with_the_command(client, tokens, studio, sent):
    headers = {**tokens[V], **sent.pop("headers", {})}
    answer = client.post("/api/v1/verifications", headers=headers, **sent)
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "wrong-body"
    assert "curl --data-binary @" in answer.json()["error"]["message"]
    assert not [path for path in studio.paths.uploads.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not-found"),
        ("PUT", "/api/v1/tags", 405, "wrong-method"),
        ("GET", "/api/v1/outputs?limit=many", 422, "malformed"),
        ("GET", "/api/v1/outputs/0000000000000000", 404, "not-found"),
        ("GET", "/outputs/0000000000000000", 404, "not-found"),
        ("DELETE", "/healthz", 405, "wrong-method"),
        ("PUT", "/outputs/0000000000000000/audio", 405, "wrong-method"),
    ],
)
def test_every_refusal_has_one_shape(client, tokens, method, path, status, code):
    answer = client.request(method, path, headers=tokens[ROOT])
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["message"]


def test_a_full_disk_is_told_in_the_same_shape(client, tokens, studio, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device", "/secret/place")

    monkeypatch.setattr("studio.web.http.uploads.Upload.write", full)
    answer = client.post("/api/v1/verifications", headers=tokens[V], content=b"RIFFdata")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "storage"
    assert "secret" not in answer.text


@pytest.mark.slow
def test_head_is_answered_where_get_is(client, tokens, studio):
    output_id = made_by(client, tokens)
    for path in ("/healthz", "/api/v1/me", f"/api/v1/outputs/{output_id}/audio"):
        got = client.get(path, headers=tokens[A])
        head = client.head(path, headers=tokens[A])
        assert (head.status_code, got.status_code) == (200, 200)
        assert head.headers["content-type"] == got.headers["content-type"]
        assert head.headers["content-length"] == got.headers["content-length"]
    assert client.head("/api/v1/me").status_code == 401
    assert "head" not in client.get("/api/v1/openapi.json").json()["paths"]["/me"]


def test_a_lead_sheet_is_checked_and_the_bar_is_named(client, tokens):
    wrong = {"sheet": "key: F# minor\nchords verse: F#m | H7", "tags": ["genre/jazz"]}
    said = send(client, "POST", "/sheets", wrong, tokens[A]).json()
    assert (said["problem"]["line"], said["problem"]["bar"]) == (2, 2)
    right = {"sheet": "key: Bb\nform: verse 4, ending 2", "tags": ["genre/jazz"], "transpose": -4}
    said = send(client, "POST", "/sheets", right, tokens[A]).json()
    assert said["problem"] is None and said["key"] == "F# major" and "key: F# major" in said["text"]
    longer = {"sheet": "tempo: 60\nform: verse 99, ending 2", "tags": ["genre/jazz"]}
    said = send(client, "POST", "/sheets", longer, tokens[A]).json()
    assert "at most 180 s" in said["problem"]["message"]
    assert send(client, "POST", "/sheets", {"sheet": ["x"]}, tokens[A]).status_code == 422


@pytest.mark.slow
def test_the_chart_of_an_output_is_its_owners(client, tokens):
    mine, others = made_by(client, tokens), made_by(client, tokens, ROOT)
    chart = send(client, "GET", f"/outputs/{mine}/sheet", headers=tokens[A]).json()
    bars = [bar for section in chart["sections"] for bar in section["bars"]]
    assert bars and all(bar["chords"] and not bar["given"] for bar in bars)
    assert [bar["start_s"] for bar in bars] == sorted(bar["start_s"] for bar in bars)
    assert (
        send(client, "POST", "/sheets", {"sheet": chart["text"]}, tokens[A]).json()["problem"]
        is None
    )
    theirs = send(client, "GET", f"/outputs/{others}/sheet", headers=tokens[A])
    missing = send(client, "GET", f"/outputs/{'0' * 16}/sheet", headers=tokens[A])
    assert theirs.status_code == 404 and theirs.json() == missing.json()
