"""What an operator sees: the access log, the ids on its lines, readiness, and the metrics."""

from __future__ import annotations

import json
import logging
import threading
import time
from datetime import timedelta

import pytest

from studio.app.gateway import Gateway
from studio.app.operation import readiness
from studio.core.errors import ConsentRefusedError, LedgerError
from studio.web.api.app import create_api
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.queue import JobRunner
from studio.web.metrics import Metrics
from tests.support.accounts import PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.studios import PlainGenerator, as_owner, make_studio
from tests.unit.pretend import PretendStudio
from watermark.util.logs import logging_to_stderr


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


def made(client, **fields):
    """Ask for music over REST and wait for the job's end."""
    body = {"tags": ["genre/jazz"], "duration_s": 3.0, "seed": 1, **fields}
    answer = client.post("/api/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    while client.get(f"/api/v1/jobs/{job}").json()["state"] not in ("done", "failed"):
        time.sleep(0.6)  # more than so many a minute are refused
    return job


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


class TestLog:
    def test_every_request_has_a_line_and_an_id_without_its_secrets(self, client, capsys):
        with logging_to_stderr(environ={"STUDIO_LOG": "json"}):
            answer = client.get("/healthz?claim=secret", headers={"Authorization": "Bearer secret"})
        (line,) = [line for line in lines(capsys) if line["logger"] == "studio.access"]
        assert line["request"] == answer.headers["X-Request-ID"]
        assert (line["method"], line["path"], line["status"]) == ("GET", "/healthz", 200)
        assert line["bytes"] == len(answer.content)
        assert "secret" not in json.dumps(line)

    def test_a_path_cannot_forge_a_line(self, client, capsys):
        with logging_to_stderr(environ={"STUDIO_LOG": "text"}):
            client.get("/outputs/a%0a2026-01-01 ERROR studio: forged")
        assert all("forged" not in line[:30] for line in capsys.readouterr().err.splitlines())

    def test_a_job_s_lines_carry_the_request_that_asked_for_it(self, client, capsys):
        with logging_to_stderr(environ={"STUDIO_LOG": "json"}):
            job = made(client)
        told = lines(capsys)
        (asked,) = [line for line in told if line.get("path") == "/api/v1/jobs"]
        stages = [line for line in told if line["message"].startswith("stage ")]
        assert {line["message"].split()[1] for line in stages} >= {"consent", "generate", "seal"}
        assert {(line["job"], line["request"]) for line in stages} == {(job, asked["request"])}

    def test_a_security_event_is_told_without_whom_it_concerns(self, client, studio, capsys):
        add_one_of_each(with_cheap_passwords(studio).accounts())
        with logging_to_stderr(environ={"STUDIO_LOG": "json"}):
            client.post("/api/v1/session", json={"name": "vera", "password": "not this one at all"})
        (event,) = [line for line in lines(capsys) if "security event" in line["message"]]
        assert event["message"].endswith(": refused")
        assert "vera" not in json.dumps(event)

    def test_only_a_trusted_proxy_names_requests(self, studio, client):
        given = {"X-Request-ID": "from-the-proxy"}
        assert client.get("/healthz", headers=given).headers["X-Request-ID"] != "from-the-proxy"
        server = studio.config.server.model_copy(update={"trusted_proxies": ("127.0.0.1",)})
        studio.config = studio.config.model_copy(update={"server": server})
        with JobRunner(running=1, waiting=1) as making, JobRunner(running=1, waiting=1) as other:
            from starlette.testclient import TestClient

            api = create_api(Gateway(studio), DownloadTokens(), making=making, checking=other)
            proxied = TestClient(api, base_url="http://127.0.0.1", client=("127.0.0.1", 1))
            assert proxied.get("/healthz", headers=given).headers["X-Request-ID"] == (
                "from-the-proxy"
            )
            forged = proxied.get("/healthz", headers={"X-Request-ID": "a b"}).headers
            assert forged["X-Request-ID"] != "a b"

    def test_without_the_variable_only_warnings_are_told(self, client, capsys):
        with logging_to_stderr(environ={}):
            client.get("/healthz")
            logging.getLogger("studio.test").warning("look %s", "here")
        assert capsys.readouterr().err == "warning: look here\n"

    def test_the_log_is_as_it_was_afterwards(self):
        before = logging.getLogger("studio").level, list(logging.getLogger().handlers)
        with logging_to_stderr(verbose=True, environ={}):
            assert logging.getLogger("studio").level == logging.INFO
        assert (logging.getLogger("studio").level, logging.getLogger().handlers) == before

    def test_an_unknown_form_is_refused(self):
        with (
            pytest.raises(ValueError, match="STUDIO_LOG"),
            logging_to_stderr(environ={"STUDIO_LOG": "xml"}),
        ):
            pass


class TestReadiness:
    def test_a_studio_that_can_work_is_ready(self, client):
        answer = client.get("/readyz")
        assert answer.status_code == 200, answer.text
        checks = answer.json()["checks"]
        assert set(checks) == {"models", "database", "disk", "sandbox", "clock", "keys"}
        assert all(check["ok"] for check in checks.values())

    def test_one_failing_check_is_named_and_tells_no_secret(self, client, studio, monkeypatch):
        def broken(limit):
            raise LedgerError("/secret/place/ledger.db is locked")

        monkeypatch.setattr(studio.releases(), "recent", broken)
        answer = client.get("/readyz")
        assert answer.status_code == 503
        failing = [name for name, c in answer.json()["checks"].items() if not c["ok"]]
        assert failing == ["database"]
        assert "secret" not in answer.text
        assert client.get("/healthz").status_code == 200  # it is alive all the same

    @pytest.mark.parametrize(
        ("part", "replace"),
        [
            ("disk", ("MIN_FREE_BYTES", 2**60)),
            ("clock", ("_CLOCK_BEHIND", -timedelta(days=1))),
            ("keys", ("_EXPIRES_SOON", timedelta(days=36500))),
        ],
    )
    def test_disk_clock_and_certificate(self, studio, monkeypatch, part, replace):
        monkeypatch.setattr(readiness, *replace)
        check = readiness.check_readiness(studio)[part]
        assert check.note
        assert check.ok == (part == "keys")  # soon is not yet

    def test_a_sandbox_that_refuses_uploads_is_not_ready(self, studio, monkeypatch):
        monkeypatch.setattr("watermark.audio.sandbox.filter_works", lambda: False)
        uploads = studio.config.uploads.model_copy(update={"isolate": True})
        studio.config = studio.config.model_copy(update={"uploads": uploads})
        assert not readiness.check_readiness(studio)["sandbox"].ok

    def test_a_missing_model_library_is_not_ready(self, studio, monkeypatch):
        from studio.core.errors import AudiocraftMissingError

        def missing(self):
            raise AudiocraftMissingError("audiocraft is not installed")

        monkeypatch.setattr(PlainGenerator, "require", missing)
        assert not readiness.check_readiness(studio)["models"].ok


class TestMetrics:
    @pytest.mark.slow
    def test_stages_verdicts_and_requests_are_counted(self, client, studio):
        made(client)
        output = as_owner(studio).outputs.recent(1)[0]
        client.post("/api/v1/verifications?name=a.wav", content=output.path.read_bytes())
        text = client.get("/metrics").text
        assert 'studio_stage_seconds_count{stage="generate"} 1.0' in text
        assert 'studio_verdicts_total{verdict="sealed"} 1.0' in text
        assert 'studio_jobs{line="making",state="waiting"} 0.0' in text
        assert 'studio_http_request_seconds_count{method="POST",status="202"} 1.0' in text
        assert output.output_id not in text

    @pytest.mark.slow
    def test_a_refusal_is_counted_once(self, client):
        made(client, tags=["genre/choral"])
        assert client.get("/api/v1/jobs/none").status_code == 404
        text = client.get("/metrics").text
        assert 'studio_refusals_total{code="consent-missing"} 1.0' in text
        assert 'studio_refusals_total{code="not-found"} 1.0' in text
        metrics, error = Metrics(), ConsentRefusedError("no")
        metrics.ended(None, error)  # the job, and then
        metrics.refused(error)  # the request that waited for it
        assert b'studio_refusals_total{code="consent-missing"} 1.0' in metrics.render()

    def test_they_are_for_administrators(self, client, studio):
        add_one_of_each(with_cheap_passwords(studio).accounts())
        assert client.get("/metrics").status_code == 401
        for name, status in (("vera", 403), ("root", 200)):
            token = client.post(
                "/api/v1/session", json={"name": name, "password": PASSWORD}
            ).json()["token"]
            answer = client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == status
        assert client.get("/readyz").status_code == 200  # a probe has no account


def test_closing_waits_for_the_model_that_is_being_read_and_reads_no_further(tmp_path):
    studio = PretendStudio(tmp_path)
    reading, go_on, loaded = threading.Event(), threading.Event(), []

    class Model:
        def __init__(self, name):
            self.name = name

        def load(self):
            reading.set()
            go_on.wait(10)
            loaded.append(self.name)

    studio.sealer = lambda: None
    studio.generator = Model
    gateway = Gateway(studio)
    gateway.load_models(["one", "two"])
    assert reading.wait(60)
    closing = threading.Thread(target=gateway.close)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive() and not loaded
    go_on.set()
    closing.join(10)
    assert not closing.is_alive() and loaded == ["one"]
