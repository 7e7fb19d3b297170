"""The REST layer describes itself, goes on from outputs, and refuses the impossible at once."""

from __future__ import annotations

import time

import pytest
from openapi_spec_validator import validate

from studio.app.gateway import Gateway
from studio.web.api.app import create_api
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.queue import JobRunner
from tests.support.studios import PlainGenerator, as_owner, events, make_studio


@pytest.fixture
def studio(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        as_owner(studio).generation.recover()
        yield studio


@pytest.fixture
def client(studio):
    from starlette.testclient import TestClient

    with JobRunner(running=1, waiting=2) as making, JobRunner(running=1, waiting=2) as checking:
        api = create_api(Gateway(studio), DownloadTokens(), making=making, checking=checking)
        yield TestClient(api, base_url="http://127.0.0.1:7860", client=("127.0.0.1", 50000))


@pytest.fixture
def made(studio):
    return as_owner(studio).generation.create(
        as_owner(studio).generation.request(["genre/jazz"], duration_s=6.0, seed=3)
    )


def ended(client, answer) -> dict:
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    while (state := client.get(f"/api/v1/jobs/{job}").json())["state"] not in ("done", "failed"):
        time.sleep(0.6)  # more than so many a minute are refused
    return state


class TestDescription:
    @pytest.mark.slow
    def test_it_is_valid_openapi_and_says_how_to_sign_in(self, client):
        described = client.get("/api/v1/openapi.json").json()
        validate(described)
        assert described["servers"] == [{"url": "/api/v1"}]
        assert set(described["components"]["securitySchemes"]) == {"token", "page"}
        assert described["security"] == [{"token": []}, {"page": []}]
        assert described["paths"]["/session"]["post"]["security"] == []
        for item in described["paths"].values():
            for operation in item.values():
                assert "4XX" in operation["responses"]
                assert "422" not in operation["responses"], "FastAPI's own shape is not ours"

    def test_the_page_names_every_route_and_runs_no_script(self, client):
        page = client.get("/api/v1/docs")
        assert page.status_code == 200
        for path in client.get("/api/v1/openapi.json").json()["paths"]:
            assert f"<code>{path}</code>" in page.text
        assert "<script" not in page.text
        assert "://" not in page.text, "nothing from elsewhere"


class TestImpossible:
    @pytest.mark.parametrize(
        "body",
        [
            {"tags": []},
            {"tags": ["genre/jazz"], "duration_s": 0.5},
            {"tags": ["genre/jazz", "genre/celtic"]},
            {"tags": ["genre/none"]},
            {"tags": ["genre/jazz"], "model": "none"},
            {"tags": ["genre/jazz"], "seed": -1},
            {"tags": ["genre/jazz"], "territory": "Mars"},
            {"tags": ["genre/jazz"], "format": "ogg"},
        ],
    )
    def test_it_is_refused_at_once_and_books_no_job(self, client, studio, body):
        before = events(studio)
        answer = client.post("/api/v1/jobs", json=body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"]["code"] == "impossible"
        assert client.get("/api/v1/jobs").json() == []
        assert events(studio) == before

    def test_a_missing_consent_is_answered_by_the_job_and_recorded(self, client, studio):
        state = ended(client, client.post("/api/v1/jobs", json={"tags": ["genre/choral"]}))
        assert state["error"]["code"] == "consent-missing"
        assert events(studio)[-1] == "refusal"


class TestDerivations:
    def test_a_variation_and_its_family(self, client, studio, made):
        path = f"/api/v1/outputs/{made.output_id}"
        answer = client.post(f"{path}/variations", json={"seed": 9, "title": "Another one"})
        state = ended(client, answer)
        assert answer.headers["location"] == f"../../jobs/{state['id']}"
        child = as_owner(studio).outputs.get(state["output_id"])
        assert (child.title, child.request.seed, child.request.tags) == (
            "Another one",
            9,
            made.request.tags,
        )
        family = client.get(f"/api/v1/outputs/{child.output_id}/lineage").json()
        assert made.output_id in str(family)
        disclosure = client.get(f"/api/v1/outputs/{child.output_id}/disclosure").json()
        assert disclosure["SoundRecording"]["ProprietaryId"] == child.output_id

    @pytest.mark.parametrize(
        ("kind", "asked"), [("variations", {"seed": 9}), ("extensions", {"seconds": 4.0})]
    )
    def test_it_is_heard_while_it_is_made_if_asked_for(
        self, client, made, kind, asked, monkeypatch
    ):
        make = PlainGenerator.generate

        def in_windows(self, *tags, on_window, **options):
            music = make(self, *tags, **options)
            if on_window is not None:
                on_window(music)
                time.sleep(1.0)
            return music

        monkeypatch.setattr(PlainGenerator, "generate", in_windows)
        path = f"/api/v1/outputs/{made.output_id}/{kind}"
        job = client.post(path, json=asked | {"preview": True}).json()["id"]
        heard = client.get(f"/api/v1/jobs/{job}/preview")
        assert heard.content[:4] == b"RIFF"
        assert len(heard.content) > 16_000
        job = client.post(path, json=asked | {"title": "Unheard"}).json()["id"]
        assert client.get(f"/api/v1/jobs/{job}/preview").status_code == 404

    def test_what_cannot_be_derived_is_refused_at_once(self, client, studio, made):
        path = f"/api/v1/outputs/{made.output_id}"
        refused = {
            f"{path}/variations": {"seed": made.request.seed},
            f"{path}/extensions": {"seconds": 9999.0},
            f"/api/v1/outputs/{'0' * 16}/variations": {},
            f"{path}/variations?": {"keep": "everything"},
            f"{path}/variations?a": {"keep": "chords", "redo": "bass"},
            f"{path}/variations?b": {"lead": "flute"},
            f"{path}/variations?c": {"redo": "vocals"},
        }
        statuses = [client.post(url, json=body).status_code for url, body in refused.items()]
        assert statuses == [422, 422, 404, 422, 422, 422, 422]
        assert client.get("/api/v1/jobs").json() == []


@pytest.mark.slow
def test_a_verdict_is_answered_as_page_or_table(client, made):
    content = made.path.read_bytes()
    page = client.post("/api/v1/verifications?name=a<b>.wav&report=html", content=content)
    assert page.headers["content-type"].startswith("text/html")
    assert "a&lt;b&gt;.wav" in page.text
    table = client.post("/api/v1/verifications?name=a.wav&report=csv", content=content)
    assert table.headers["content-type"].startswith("text/csv")
    assert "sealed" in table.text
    assert client.post("/api/v1/verifications", content=content).json()["verdict"] == "sealed"
