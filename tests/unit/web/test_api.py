"""The routes beside the page: records, claimed audio, health, and the rules every answer keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.app.gateway import Gateway
from studio.core.isolation import SENTENCES, warn_of_weakness
from studio.web.api.app import create_api
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.queue import JobRunner
from tests.support.studios import as_owner
from tests.unit.pretend import PretendStudio


@pytest.fixture
def studio(tmp_path: Path) -> PretendStudio:
    return PretendStudio(tmp_path / "home")


@pytest.fixture
def download_tokens() -> DownloadTokens:
    return DownloadTokens()


@pytest.fixture
def api(studio, download_tokens):
    with JobRunner(running=1, waiting=3) as making, JobRunner(running=1, waiting=3) as checking:
        yield create_api(Gateway(studio), download_tokens, making=making, checking=checking)


@pytest.fixture
def client(api):
    from starlette.testclient import TestClient

    return TestClient(api, base_url="http://127.0.0.1:7860")


def make(studio, format="wav"):
    return as_owner(studio).generation.create(
        as_owner(studio).generation.request(["genre/jazz"], duration_s=2.0, seed=1, format=format)
    )


@pytest.mark.parametrize(
    ("settings", "filtered", "warnings"),
    [
        ({"isolate": True, "allow_unfiltered": False}, True, []),
        ({"isolate": True, "allow_unfiltered": True}, True, []),
        ({"isolate": True, "allow_unfiltered": False}, False, ["uploads-not-decoded"]),
        ({"isolate": True, "allow_unfiltered": True}, False, ["uploads-decoded-unfiltered"]),
        ({"isolate": False, "allow_unfiltered": False}, True, ["uploads-decoded-in-server"]),
    ],
)
def test_health_says_what_weakens_the_decoding_sandbox(
    client, studio, monkeypatch, caplog, settings, filtered, warnings
):
    monkeypatch.setattr("watermark.audio.sandbox.filter_works", lambda: filtered)
    uploads = studio.config.uploads.model_copy(update=settings)
    studio.config = studio.config.model_copy(update={"uploads": uploads})
    assert client.get("/healthz").json() == {"status": "ok", "warnings": warnings}
    warn_of_weakness(uploads)
    assert [record.getMessage() for record in caplog.records] == [SENTENCES[w] for w in warnings]


def test_a_record_tells_what_was_made_and_nothing_of_the_machine(client, studio):
    release = make(studio)
    record = client.get(f"/outputs/{release.output_id}").json()
    assert record["seal_id"] == release.seal_id
    assert record["entry"]["index"] == release.entry_index
    assert record["request"]["tags"] == ["genre/jazz"]
    assert record["decision"]["tags"][0]["grant"] == "house-catalogue-2026"
    assert str(studio.paths.home) not in str(record)


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_claimed_audio_is_the_released_file_byte_for_byte(client, studio, download_tokens, format):
    release = make(studio, format)
    answer = client.get("/" + download_tokens.audio_path(release.output_id))
    assert answer.status_code == 200
    assert answer.content == release.path.read_bytes()
    assert answer.headers["content-type"] == f"audio/{format}"
    assert answer.headers["cache-control"] == "private, no-store"


def test_audio_needs_the_claim_on_this_very_output(client, studio, download_tokens):
    mine, other = make(studio), make(studio)
    for query in (
        "",
        "?claim=",
        "?claim=" + "0" * 64,
        f"?claim={download_tokens.claim(other.output_id)}",
    ):
        answer = client.get(f"/outputs/{mine.output_id}/audio{query}")
        assert answer.status_code == 404
        assert len(answer.content) < 200


def test_a_claim_of_another_process_opens_nothing(client, studio):
    release = make(studio)
    assert client.get("/" + DownloadTokens().audio_path(release.output_id)).status_code == 404


def test_without_a_claim_an_existing_output_looks_like_a_missing_one(client, studio):
    release = make(studio)
    there = client.get(f"/outputs/{release.output_id}/audio")
    missing = client.get("/outputs/0000000000000000/audio")
    assert (there.status_code, there.text) == (missing.status_code, missing.text)


@pytest.mark.parametrize(
    "output_id", ["..", "%2e%2e%2fledger.db", "x" * 16, "0" * 15, "0" * 17, "0000000000000000"]
)
def test_only_ids_of_outputs_are_answered(client, output_id):
    assert client.get(f"/outputs/{output_id}").status_code == 404


def test_a_ledger_that_names_a_file_elsewhere_does_not_make_us_send_it(
    client, studio, download_tokens
):
    from dataclasses import replace

    release = make(studio)
    secret = studio.paths.home / "keys" / "site.key"
    secret.write_bytes(b"secret")
    for path in (secret, studio.paths.outputs / ".." / "keys" / "site.key"):
        studio.made[release.output_id] = replace(release, path=path)
        answer = client.get("/" + download_tokens.audio_path(release.output_id))
        assert answer.status_code == 410
        assert b"secret" not in answer.content


def test_a_removed_output_keeps_its_record(client, studio, download_tokens):
    release = make(studio)
    release.path.unlink()
    assert client.get("/" + download_tokens.audio_path(release.output_id)).status_code == 410
    assert client.get(f"/outputs/{release.output_id}").status_code == 200


def test_every_answer_forbids_outside_sources(client):
    for path in ("/healthz", "/outputs/nothing"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"]
        assert "http" not in policy.replace("https://", "http"), "no outside host may stand in it"
        assert "default-src 'self'" in policy


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://127.0.0.1:22/",
        "/gradio_api/file=https:/example.org/x.wav",
        "/gradio_api/file=http%3A%2F%2Fexample.org/x.wav",
        "/gradio_api/proxy=http://example.org/",
    ],
)
def test_the_studio_fetches_nothing_for_a_client(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert "fetches nothing" in answer.text
