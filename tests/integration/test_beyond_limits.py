"""A recording over a limit is refused on every face: no verdict, no ledger entry, no file kept.

"Unreadable" is a verdict on a file; a limit of ours says nothing about it.
"""

from __future__ import annotations

import base64
import csv
import json
import wave

import anyio
import av
import numpy as np
import pytest
from click.testing import CliRunner
from mcp import Client
from starlette.testclient import TestClient

import studio.app.container
from studio.app.gateway import Gateway
from studio.cli.main import cli
from studio.core.errors import BeyondLimitsError
from studio.verification.report import Verdict
from studio.verification.verifier import _RANK
from studio.web.api.app import create_api
from studio.web.cases.examining import CaseFiles
from studio.web.cases.pages import case_page_routes
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.queue import JobRunner
from studio.web.mcp.stdio import _Local
from studio.web.mcp.tools import create_mcp
from studio.web.public.routes import public_line, public_routes
from tests.support.accounts import NAMES, PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.studios import PlainGenerator, as_owner, make_studio, music
from watermark.audio import waveform as waveforms
from watermark.audio.waveform import Waveform, read, write

HOST = "https://studio.example"


@pytest.fixture
def studio_(tmp_path):
    with make_studio(tmp_path / "studio", generator=PlainGenerator()) as studio:
        yield studio


def pcm(path, samples, rate):
    """A WAV of 16 bits, of any channels and rate."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


@pytest.fixture
def beyond(tmp_path):
    """Sound recordings, each over a limit, by which limit it is."""
    long = tmp_path / "long.flac"
    write(long, Waveform(np.zeros((1, 8000 * 1201), np.float32), 8000))
    noise = np.random.default_rng(1).integers(-9000, 9000, (40_000, 9))
    return {
        "length": long,
        "channels": pcm(tmp_path / "nine.wav", noise, 16_000),
        "rate": pcm(tmp_path / "fast.wav", noise[:, :1], 200_000),
    }


@pytest.fixture
def damaged(tmp_path):
    """A recording of which nothing is left but the header."""
    whole = tmp_path / "whole.flac"
    write(whole, music(5, 4.0))
    path = tmp_path / "damaged.flac"
    path.write_bytes(whole.read_bytes()[:60] + bytes(5000))
    return path


WORDS = {
    "length": ("1200 s", "up to 20 minutes", "Verify tab", "studio verify", "12 hours"),
    "channels": ("9 channels; 1 to 8", "Convert it"),
    "rate": ("200000 Hz", "Convert it"),
}
ALL = pytest.mark.parametrize("limit", WORDS)


def said(text: str, limit: str) -> None:
    for words in ("no verdict", *WORDS[limit]):
        assert words in text


@ALL
@pytest.mark.parametrize("isolate", [False, True])
def test_a_verification_is_refused_and_not_recorded(tmp_path, beyond, damaged, limit, isolate):
    with make_studio(tmp_path / "studio", isolate=isolate) as studio:
        uploads = studio.config.uploads.model_copy(update={"allow_unfiltered": True})
        studio.config = studio.config.model_copy(update={"uploads": uploads})
        before = studio.ledger().size()
        with pytest.raises(BeyondLimitsError) as caught:
            as_owner(studio).verification.verify(beyond[limit])
        said(str(caught.value), limit)
        assert str(tmp_path) not in str(caught.value)
        assert studio.ledger().size() == before
        report = as_owner(studio).verification.verify(damaged)
        assert report.verdict is Verdict.UNREADABLE
        assert studio.ledger().size() == before + 1


@pytest.mark.parametrize(
    "setting", [{"max_bytes": 1000}, {"max_values": 1000}, {"deadline_s": 1e-9}]
)
def test_bytes_samples_and_time_are_limits_too(studio_, tmp_path, setting):
    write(tmp_path / "song.wav", music(5, 4.0))
    uploads = studio_.config.uploads.model_copy(update=setting)
    studio_.config = studio_.config.model_copy(update={"uploads": uploads})
    before = studio_.ledger().size()
    with pytest.raises(BeyondLimitsError, match="no verdict"):
        as_owner(studio_).verification.verify(tmp_path / "song.wav")
    assert studio_.ledger().size() == before


@pytest.fixture
def two_streams(tmp_path):
    """Makes a Matroska file of two recordings."""

    def made(*recordings):
        path = tmp_path / "two.mka"
        with av.open(str(path), "w") as file:
            streams = []
            for each in recordings:
                stream = file.add_stream("pcm_s16le", rate=each.rate)
                stream.layout = "mono"
                streams.append(stream)
            for each, stream in zip(recordings, streams, strict=True):
                samples = np.ascontiguousarray((each.samples[:1] * 32767).astype(np.int16))
                frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                frame.sample_rate, frame.pts = each.rate, 0
                for packet in (*stream.encode(frame), *stream.encode(None)):
                    file.mux(packet)
        return path

    return made


def test_a_stream_over_a_limit_hides_no_finding_in_another_and_nothing_is_called_unfound(
    studio_, two_streams
):
    generation = as_owner(studio_).generation
    made = generation.create(generation.request(["genre/jazz"], duration_s=10.0, seed=3))
    ours, fast = read(made.path), Waveform(np.zeros((1, 400_000), np.float32), 200_000)
    assert as_owner(studio_).verification.verify(two_streams(ours, ours)).verdict is Verdict.SEALED
    report = as_owner(studio_).verification.verify(two_streams(ours, fast))
    assert report.verdict is Verdict.SEALED
    assert any("stream 2: not examined" in note for note in report.notes)
    before = studio_.ledger().size()
    with pytest.raises(BeyondLimitsError, match="200000 Hz"):
        as_owner(studio_).verification.verify(two_streams(music(77, 8.0), fast))
    assert studio_.ledger().size() == before


def test_every_verdict_has_a_rank_among_those_of_several_streams():
    assert sorted(_RANK) == sorted(Verdict)


class TestOverHttp:
    @pytest.fixture
    def client(self, studio_):
        with_cheap_passwords(studio_)
        add_one_of_each(studio_.accounts())
        detector = studio_.config.public_detector.model_copy(update={"enabled": True})
        studio_.config = studio_.config.model_copy(update={"public_detector": detector})
        gateway = Gateway(studio_)
        with (
            JobRunner(running=1, waiting=2) as making,
            JobRunner(running=1, waiting=2) as checking,
            public_line(gateway) as public,
        ):
            api = create_api(gateway, DownloadTokens(), making=making, checking=checking)
            files = CaseFiles(api.state.checks)
            api.include_router(case_page_routes(gateway, files))
            api.include_router(public_routes(gateway, public))
            yield TestClient(api, base_url=HOST, follow_redirects=False)

    @pytest.fixture
    def headers(self, client, studio_):
        name = {str(role): name for role, name in NAMES.items()}["verifier"]
        token = studio_.accounts().sign_in(name, PASSWORD, address="192.0.2.1").token
        return {"Authorization": f"Bearer {token}"}

    # One that is only long is examined as a job: tests/integration/test_long_checks.py.
    @pytest.mark.parametrize("limit", ["channels", "rate"])
    def test_rest_and_cases_refuse_it(self, client, headers, studio_, beyond, damaged, limit):
        case = client.post(
            "/api/v1/cases", json={"reference": "R-1", "title": "Long"}, headers=headers
        ).json()["case_id"]
        before = studio_.ledger().size()
        content = beyond[limit].read_bytes()
        for path in ("/api/v1/verifications", f"/api/v1/cases/{case}/files"):
            answer = client.post(path, content=content, headers=headers)
            assert answer.status_code == 413, answer.text
            assert answer.json()["error"]["code"] == "beyond-limits"
            said(answer.json()["error"]["message"], limit)
        page = client.post(f"/cases/{case}/files", files={"file": ("x", content)}, headers=headers)
        assert page.status_code == 413
        assert 'role="alert"' in page.text
        assert WORDS[limit][0] in page.text
        kept = client.get(f"/api/v1/cases/{case}", headers=headers).json()
        assert kept["examinations"] == []
        assert studio_.ledger().size() == before
        assert [path for path in studio_.paths.uploads.rglob("*") if path.is_file()] == []
        added = client.post(
            f"/api/v1/cases/{case}/files", content=damaged.read_bytes(), headers=headers
        )
        assert (added.status_code, added.json()["report"]["verdict"]) == (201, "unreadable")
        assert studio_.ledger().size() == before + 1

    @pytest.mark.parametrize(
        ("limit", "reason"), [("length", "too-long"), ("channels", "format"), ("rate", "format")]
    )
    def test_the_public_detector_cannot_say_and_names_the_limit(
        self, client, beyond, damaged, limit, reason
    ):
        for path, told in ((beyond[limit], reason), (damaged, "unreadable")):
            body = client.post("/api/public/detect", content=path.read_bytes()).json()
            assert (body["grade"], body["reason"]) == ("cannot-say", told)


@ALL
def test_an_assistant_is_told(studio_, beyond, limit):
    before = studio_.ledger().size()

    async def call():
        async with Client(create_mcp(_Local(as_owner(studio_)))) as client:
            content = base64.b64encode(beyond[limit].read_bytes()).decode()
            return [
                await client.call_tool("verify_audio", given)
                for given in ({"path": str(beyond[limit])}, {"content_base64": content})
            ]

    for answer in anyio.run(call):
        assert answer.is_error
        said(answer.content[0].text, limit)
    assert studio_.ledger().size() == before


class TestCommandLine:
    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        monkeypatch.setattr(
            studio.app.container, "open_container", lambda: make_studio(tmp_path / "studio")
        )
        # Half a day of sound takes long to decode; the limit is the same at a minute.
        short = waveforms.DecodeLimits(max_duration_s=60.0)
        monkeypatch.setattr(waveforms, "STREAM_LIMITS", short)

        def run(*args: object):
            return CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="studio")

        return run

    @ALL
    def test_the_file_has_an_error_and_the_others_are_examined(
        self, run, tmp_path, beyond, damaged, limit
    ):
        done = run("verify", beyond[limit], damaged, "--json", "--in-process")
        assert done.exit_code == 3, done.output
        first, second = map(json.loads, done.stdout.splitlines())
        assert "verdict" not in first
        assert "no verdict" in first["error"]
        assert beyond[limit].name in done.stderr
        assert second["verdict"] == "unreadable"
        with make_studio(tmp_path / "studio") as after:
            kept = [entry for entry in after.ledger().entries() if entry.kind == "verification"]
            assert [entry.body["sha256"] for entry in kept] == [second["sha256"]]

    @ALL
    def test_a_case_goes_on_without_it(self, run, tmp_path, beyond, damaged, limit):
        case = json.loads(run("case", "open", "R-1", "x", "--json").stdout)["case_id"]
        done = run("case", "add", case, beyond[limit], damaged)
        assert done.exit_code == 3, done.output
        assert f"{beyond[limit].name}: the recording was not examined" in done.stderr
        shown = json.loads(run("case", "show", case, "--json").stdout)
        assert [each["file"] for each in shown["examinations"]] == [damaged.name]

    @ALL
    def test_a_scan_counts_it_apart_from_what_is_unreadable(
        self, run, tmp_path, beyond, damaged, limit
    ):
        out = tmp_path / "found.csv"
        done = run("scan", beyond[limit], damaged, "--out", out, "--in-process")
        assert done.exit_code == 3
        assert "1 over-limits, 1 unreadable" in done.stderr
        with out.open(newline="", encoding="utf-8") as file:
            assert [row["verdict"] for row in csv.DictReader(file)] == ["", "unreadable"]
