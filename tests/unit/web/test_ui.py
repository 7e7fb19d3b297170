"""What the page says and does, short of a browser: wording, panels, jobs, handlers."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from studio.app.gateway import Gateway
from studio.consent import Revocation
from studio.core.errors import GenerationCancelledError, SealingError, UsageError
from studio.generation.progress import Progress, Stage
from studio.provenance.sealer import FalseNegativeRate
from studio.reports.verification import view as verdict_views
from studio.reports.verification.evidence import evidence_rows, key_figures
from studio.reports.verification.page import report_page
from studio.reports.verification.texts import READING
from studio.reports.verification.timeline import score_timeline
from studio.verification import explanation
from studio.verification.report import Verdict, VerifyReport
from studio.verification.verifier import ConsentThenNow, Match
from studio.web.jobs.queue import BusyError, JobRunner
from studio.web.ui import output_view
from studio.web.ui.create import view as create_views
from studio.web.ui.create.tag_choices import chip_choices
from tests.support.studios import as_owner
from tests.unit.pretend import PretendStudio
from watermark.coding.identify import Identification
from watermark.coding.message import SealId
from watermark.detection.detect import Detection, Segment
from watermark.models.calibration import FalsePositiveRate


@pytest.fixture
def studio(tmp_path: Path) -> PretendStudio:
    return PretendStudio(tmp_path / "home")


# -- jobs -----------------------------------------------------------------------------------------


def test_a_job_reports_and_returns():
    def work(report, cancel):
        report("news")
        return 7

    with JobRunner(running=1, waiting=0) as runner:
        job = runner.submit(work)
        moments = list(job.watch())
        assert job.result() == 7
        assert moments[-1].progress == "news"
        assert moments[-1].queue_position == 0


def test_what_the_work_raises_comes_out_of_result():
    def work(report, cancel):
        raise SealingError("not readable")

    with JobRunner(running=1, waiting=0) as runner:
        job = runner.submit(work)
        list(job.watch())
        with pytest.raises(SealingError):
            job.result()


def test_cancelling_reaches_the_work_and_the_job_ends_with_it():
    def work(report, cancel):
        assert cancel.wait(60)
        raise GenerationCancelledError("stopped")

    with JobRunner(running=1, waiting=0) as runner:
        job = runner.submit(work)
        for now in job.watch():
            if not now.cancelling:
                job.cancel()
        with pytest.raises(GenerationCancelledError):
            job.result()


def test_a_waiting_job_knows_its_place_and_can_be_cancelled_without_running():
    gate = threading.Event()
    ran = []
    with JobRunner(running=1, waiting=2) as runner:
        first = runner.submit(lambda report, cancel: gate.wait(10))
        second = runner.submit(lambda report, cancel: ran.append("second"))
        third = runner.submit(lambda report, cancel: ran.append("third"))
        waiting = second.watch()
        assert next(waiting).queue_position == 1
        watcher = third.watch()
        assert next(watcher).queue_position == 2
        second.cancel()
        with pytest.raises(BaseException) as caught:
            second.result()
        assert type(caught.value).__name__ == "CancelledError"
        assert next(watcher).queue_position == 1
        gate.set()
        list(first.watch())
        list(watcher)
    assert ran == ["third"]


def test_a_full_queue_refuses_in_words():
    gate = threading.Event()
    with JobRunner(running=1, waiting=1) as runner:
        for _ in range(2):
            runner.submit(lambda report, cancel: gate.wait(10))
        with pytest.raises(BusyError, match="2 requests are in line"):
            runner.submit(lambda report, cancel: None)
        gate.set()


def test_a_watcher_that_goes_away_cancels_the_job():
    stopped = threading.Event()

    def work(report, cancel):
        if cancel.wait(10):
            stopped.set()

    with JobRunner(running=1, waiting=0) as runner:
        watcher = runner.submit(work).watch()
        next(watcher)
        watcher.close()
        assert stopped.wait(60)


# -- the Create tab's panels ----------------------------------------------------------------------


def test_the_consent_panel_names_who_granted_until_when_and_for_what(studio):
    decision = as_owner(studio).catalog.decide(
        ["genre/jazz", "mood/calm"], use="commercial", territory="AT"
    )
    panel = create_views.consent_panel(decision)
    assert "All 2 tags are granted" in panel
    assert "jazz, calm" in panel
    assert "House catalogue" in panel
    assert "1 Jan 2036" in panel
    assert "house-catalogue-2026" in panel
    assert "commercial use, austria" in panel.lower()


def test_the_consent_panel_gives_the_reason_of_a_refusal(studio):
    panel = create_views.consent_panel(
        as_owner(studio).catalog.decide(["genre/choral", "mood/calm"])
    )
    assert "1 tag is not granted" in panel
    assert "Nobody has granted it." in panel
    assert "All" not in panel


def test_the_consent_panel_says_so_when_the_licence_of_the_model_is_in_the_way(studio):
    panel = create_views.consent_panel(
        as_owner(studio).catalog.decide(
            ["genre/jazz"], use="commercial", model="facebook/musicgen-small"
        )
    )
    assert "licence of model facebook/musicgen-small does not permit commercial use" in panel


def test_a_tag_the_model_never_learned_is_told_before_anything_is_tried(studio):
    panel = create_views.consent_panel(
        as_owner(studio).catalog.decide(["genre/jazz"]), ["genre/jazz"]
    )
    assert "Not for this model: jazz" in panel


def test_chips_stand_by_name_and_those_that_can_be_used_first(studio):
    statuses = [
        replace(status, known_to_model=status.tag.id not in ("genre/ambient", "genre/choral"))
        for status in as_owner(studio).catalog.tag_status()
    ]
    labels = [label for label, _ in chip_choices("genre", statuses)]
    assert labels[:3] == ["any", "afrobeat", "baroque"]
    assert labels[-2:] == ["ambient – not for this model", "choral – not granted"]
    assert labels[1:-2] == sorted(labels[1:-2])
    assert [label for label, _ in chip_choices("tempo", statuses)] == [
        "any", "slow", "medium", "fast"
    ]  # fmt: skip


def test_the_table_of_grants_has_every_tag_once(studio):
    table = create_views.grants_table(as_owner(studio).catalog.tag_status(use="commercial"))
    assert table.count("bossa nova") == 1
    assert "House catalogue" in table
    assert "until 1 Jan 2036" in table
    assert "nobody has granted it" in table


def test_without_a_tag_the_panel_asks_for_one(studio):
    assert "Pick at least one tag" in create_views.consent_panel(
        as_owner(studio).catalog.decide([])
    )


def test_the_panel_follows_a_revocation_at_once(studio, monkeypatch):
    registry = studio.consent().with_revocation(
        Revocation(grant="house-catalogue-2026", at=datetime(2026, 1, 2, tzinfo=UTC))
    )
    monkeypatch.setattr(studio, "consent", lambda: registry)
    assert "revoked on 2 Jan 2026" in re.sub(
        r"2026-01-02",
        "2 Jan 2026",
        create_views.consent_panel(as_owner(studio).catalog.decide(["genre/jazz"])),
    )


def test_each_stage_of_the_pipeline_belongs_to_exactly_one_step():
    stages = [stage for _, members in create_views.STEPS for stage in members]
    assert sorted(stages) == sorted(Stage)


def test_progress_marks_what_is_done_and_what_is_now():
    panel = create_views.progress_panel(Progress(Stage.SEAL, 0.82, "Sealing"), 3.0, False)
    assert 'aria-valuenow="82"' in panel
    assert panel.count('class="done"') == 2
    assert panel.count("aria-current") == 1
    assert "Stopping" in create_views.progress_panel(None, 0.0, True)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GenerationCancelledError("x"), "Nothing was kept"),
        (UsageError("the duration must lie between 2 s and 60 s"), "The duration must lie"),
        (SealingError("nothing was released: too quiet"), "seal could not be read back"),
        (BusyError("Please try again in a minute."), "busy"),
    ],
)
def test_failures_are_told_in_plain_words(error, words):
    panel = create_views.failure_panel(error)
    assert words in panel
    assert "Traceback" not in panel
    assert type(error).__name__ not in panel


def test_nothing_from_outside_gets_into_the_html_as_markup():
    evil = "<img src=x onerror=alert(1)>"
    report = VerifyReport(Verdict.UNREADABLE, explanation=evil, file=evil + ".wav", error=evil)
    for html in (
        verdict_views.report_view(report),
        create_views.failure_panel(UsageError(evil)),
    ):
        assert "<img" not in html
        assert "&lt;img" in html


def test_a_release_card_tells_credits_seal_entry_and_how_to_check(studio):
    release = as_owner(studio).generation.create(
        as_owner(studio).generation.request(["genre/jazz"], duration_s=3.0, seed=5)
    )
    card = output_view.release_card(release, "http://studio/outputs/x/audio?claim=y")
    for text in (
        "House catalogue",
        release.seal_id,
        "no. 1",
        "seed 5",
        "see it recognised",
        "Download WAV",
        "Download as",
        'data-form="mp3"',
    ):
        assert text in card
    assert 'data-form="stems" data-id="' in card  # it has no score
    assert card.count(" disabled title=") == 2
    assert "Lead sheet" not in card  # what a hub model makes has none
    sheet = "A-minor:28:4x4:intro=Am7:A=Am7|Dm7-E7"  # as the second design recorded it
    played = replace(release, model={**release.model, "lead_sheet": sheet})
    card = output_view.release_card(played, "http://studio/outputs/x/audio?claim=y")
    assert "A minor, 107 beats a minute; Am7 Dm7 E7" in card
    assert "Made from" not in card
    of = {"relation": "vary", "parent": "f" * 16, "redone": "drums"}
    card = output_view.release_card(replace(release, lineage=of), "http://studio/outputs/x")
    assert f'<span class="mono">{"f" * 16}</span> (varied, drums redone)' in card
    assert str(release.path.parent) not in card


def test_only_an_output_with_a_score_has_a_mixer(studio):
    release = as_owner(studio).generation.create(
        as_owner(studio).generation.request(["genre/jazz"], duration_s=3.0, seed=5)
    )
    url = "http://studio/outputs/x"
    assert "studio-mixer" not in output_view.release_card(release, url)
    played = replace(release, model={**release.model, "score_sha256": "0" * 64}, title="<b>")
    card = output_view.release_card(played, url)
    assert f'<studio-mixer data-id="{release.output_id}" data-title="&lt;b&gt;">' in card


# -- the Verify tab's report ----------------------------------------------------------------------


def detection(**changes) -> Detection:
    body = {
        "file": None,
        "duration_s": 4.0,
        "detected": True,
        "score": 9.5,
        "p_value": 1 / 3001,
        "threshold": 4.0,
        "false_positive_rate": 0.000998,
        "alarms": FalsePositiveRate(0, 3000, 0.0, 0.000998),
        "calibrated_s": 2.0,
        "segments": (Segment(1.0, 4.0, 9.0),),
        "timeline": np.array([1.0] * 4 + [9.0] * 12, np.float32),
        "message_logits": np.zeros((4, 16), np.float32),
        "message_phase_s": 0.0,
        "model": "house-1",
        "view": "mix",
        "identification": Identification(
            seal_id=SealId.parse("00112233aabbccdd"),
            epoch=1,
            score=9.9,
            chance_bound=3e-9,
            offset_s=3.0,
            bit_accuracy=0.97,
            seconds_used=4,
            searched=100,
        ),
    }
    return Detection(**(body | changes))


@pytest.fixture
def report(studio) -> VerifyReport:
    release = as_owner(studio).generation.create(
        as_owner(studio).generation.request(["genre/jazz", "mood/calm"], duration_s=8.0, seed=5)
    )
    return VerifyReport(
        verdict=Verdict.EXCERPT,
        explanation="Seconds 0.0 to 4.0 of this file are seconds 3.0 to 7.0 of it.",
        file="clip.mp3",
        duration_s=4.0,
        detection=detection(),
        release=release,
        offset_s=3.0,
        fingerprint_distance=0.04,
        matches=(Match(0.0, 4.0, 3.0),),
        consent=(
            ConsentThenNow("genre/jazz", "g1", "House catalogue", "granted", None),
            ConsentThenNow("mood/calm", "g2", "A label", "revoked", "2026-11-01T00:00:00Z"),
        ),
    )


def test_a_report_states_verdict_evidence_place_and_consent_then_and_now(report):
    view = verdict_views.report_view(report)
    for text in (
        'data-verdict="excerpt"',
        "9.50 (threshold 4.00)",
        "0 alarms in 3,000 clips of unmarked music, 2 s each",
        "at most 0.1 % at this threshold",
        "0:00.0 to 0:04.0 of the file is 0:03.0 to 0:07.0 of the original",
        report.release.seal_id,
        "✗ revoked since 2026-11-01",
        "✓ granted",
        "one chance in 330 million that any wrong seal fits as well, over everything searched",
    ):
        assert text in view


def test_a_changed_speed_is_told_and_places_are_in_seconds_of_the_file(report):
    faster = replace(report, speed=1.25, duration_s=3.2, matches=(Match(0.0, 3.2, 3.0, 7.0),))
    view = verdict_views.report_view(faster)
    assert "1.250 times the original" in view
    assert "0:00.0 to 0:03.2 of the file is 0:03.0 to 0:07.0 of the original" in view
    assert "Detection score over 0:03.2" in view


def test_a_negative_leads_with_three_numbers_and_folds_the_rest():
    misses = tuple(FalseNegativeRate(f"kind {n}", 10.0, n, 20) for n in range(1, 20))
    misses += (FalseNegativeRate("clean", 10.0, 0, 20), FalseNegativeRate("mp3 64k", 10.0, 1, 20))
    nothing = VerifyReport(
        Verdict.NOT_DETECTED,
        explanation.not_detected(misses, 9.99),
        "song.wav",
        duration_s=9.99,
        detection=detection(detected=False, score=0.91, identification=None),
        false_negatives=misses,
    )
    assert [figure.title for figure in key_figures(nothing)] == [
        "Seal in the sound",
        "False alarms",
        "Missed seals",
    ]
    view = verdict_views.report_view(nothing)
    shown = re.sub("<details>.*?</details>", "", view, flags=re.DOTALL)
    assert "0.91, below 4.00" in shown
    assert "at most 0.1 %" in shown
    assert "1 of 40" in shown
    assert "kind 7" not in shown
    assert "shorter" not in shown, "9.99 s is no shorter than ten"
    assert view.index("kind 19") < view.index("kind 18") < view.index("clean")
    assert "<details open>" in report_page([nothing]), "on paper nothing is folded"


def test_the_share_of_agreeing_bits_names_no_length_beyond_the_files(report):
    rows = dict(evidence_rows(report))
    assert rows["Message bits that agree"].startswith("97.0 % (a wrong seal: about 50 %)")
    assert " s" not in rows["Message bits that agree"].split("(")[0]


def test_a_detector_nobody_calibrated_claims_no_rate(report):
    raw = detection(p_value=None, alarms=None, false_positive_rate=None, calibrated_s=None)
    view = verdict_views.report_view(replace(report, detection=raw))
    assert "nobody has measured it" in view
    assert "p-value" not in view


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_says_what_it_does_not_mean_and_none_says_human_made(verdict):
    reading = READING[verdict]
    assert reading.means_not
    text = f"{reading.headline} {reading.means} {reading.means_not}".lower()
    assert "human-made" not in text
    assert "ai-generated" not in text


def test_a_timeline_of_hours_stays_small_and_keeps_a_short_peak():
    scores = [(float(second), 0.0) for second in range(20_000)]
    scores[12_345] = (12_345.0, 9.0)
    svg = score_timeline(scores, threshold=4.0, segments=[(12_345.0, 12_346.0)], duration_s=2e4)
    assert len(svg) < 20_000
    assert "highest 9.00" in svg


def test_an_empty_timeline_is_no_picture():
    assert score_timeline([], threshold=4.0, segments=[], duration_s=0.0) == ""


def in_loop(build):
    """Gradio leaves an event loop open for everything it builds outside a running one."""

    async def inside():
        return build()

    return asyncio.run(inside())


# -- the printed report ---------------------------------------------------------------------------


def test_a_printed_report_is_whole_in_itself_and_harmless(report):
    evil = '"><script>alert(1)</script><img src=//evil.example/x>.wav'
    hostile = replace(report, file=evil, sha256="ab" * 32, registered=7)
    page = report_page([hostile, VerifyReport(Verdict.UNREADABLE, evil, evil, error=evil)])
    assert "<script" not in page
    assert "<img" not in page
    outside = r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:|//)"
    assert not re.search(outside, report_page([report]))
    assert "default-src 'none'" in page
    for text in (
        "ab" * 32,
        "7 registered outputs",
        report.release.title,
        report.release.seal_id,
        "one chance in 330 million that any wrong seal fits as well, over everything searched",
        "✗ revoked since 2026-11-01",
        "What to do next",
        "consented-music-studio",
        "house-1",
        "2 files",
    ):
        assert text in page


def test_the_json_report_says_with_what_and_when_it_was_made(report):
    from studio.reports.verification.json import as_json

    body = json.loads(as_json([report], at=datetime(2026, 11, 22, tzinfo=UTC)))
    assert body["report_version"] == 1
    assert body["made_at"].startswith("2026-11-22")
    assert body["versions"]["seal models"] == ["house-1"]
    assert body["files"] == [json.loads(json.dumps(report.to_json()))]


# -- the served page ------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_page_names_no_outside_host_it_would_load_from(studio):
    from starlette.testclient import TestClient

    from studio.web.server import create_app

    with TestClient(
        in_loop(lambda: create_app(Gateway(studio))), base_url="http://localhost"
    ) as client:
        page = client.get("/")
        assert page.status_code == 200
        loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?://[^\"]+)", page.text)
        assert [url for url in loaded if "//localhost" not in url] == []
        assert client.get("/healthz").json()["status"] == "ok"
        info = client.get("/gradio_api/info").json()
        assert info["named_endpoints"] == {}, "the page's events are no API"


@pytest.mark.slow
def test_importing_the_faces_brings_no_page_library():
    import subprocess
    import sys

    code = "import sys, studio.web.server, studio.web.api.app; sys.exit('gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_port_in_use_is_told_before_anything_is_built(studio):
    import socket

    from studio.core.errors import ConfigError
    from studio.web.server import serve

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="choose another with --port"):
            serve(Gateway(studio), host="127.0.0.1", port=port)
