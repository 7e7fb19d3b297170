"""The desk's verdicts, each with a file that deserves it and none that does not."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import CancelledError
from contextlib import contextmanager

import numpy as np
import pytest

from studio.core.errors import BeyondLimitsError, DecodingRefusedError, UsageError
from studio.reports.verification.evidence import evidence_rows
from studio.verification.report import Verdict
from studio.verification.verifier import VerifyReport
from tests.support.seals import TonalSeal
from tests.support.studios import PlainGenerator, as_owner, make_studio, music, revoke
from watermark.audio.waveform import DecodeLimits, Waveform, encode, read, write
from watermark.coding.message import SealId, SealKey
from watermark.detection.detect import detect
from watermark.embedding.embed import embed
from watermark.models.calibration import Calibration, DurationCalibration

TAGS = ["genre/jazz", "mood/calm"]
SECONDS = 24.0


@contextmanager
def three_releases(folder):
    """A studio with three releases, seeds 1 to 3."""
    with make_studio(folder, generator=PlainGenerator()) as studio:
        for seed in (1, 2, 3):
            as_owner(studio).generation.create(
                as_owner(studio).generation.request(
                    TAGS, duration_s=SECONDS, seed=seed, format="wav"
                )
            )
        yield studio


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    with three_releases(tmp_path_factory.mktemp("verify")) as studio:
        yield studio


@pytest.fixture(scope="module")
def release(studio):
    return as_owner(studio).outputs.recent()[1]  # neither the first nor the last, seed 2


def check(studio, source, **kwargs) -> VerifyReport:
    return as_owner(studio).verification.verify(source, **kwargs)


def joined(*parts: Waveform) -> Waveform:
    return Waveform(np.concatenate([part.samples for part in parts], axis=1), parts[0].rate)


# -- ours ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "m4a"])
def test_our_file_in_any_format_is_sealed(studio, release, format):
    content = encode(read(release.path), format)
    report = check(studio, content)
    assert report.verdict is Verdict.SEALED, report.explanation
    assert report.release == release
    assert report.entry == release.entry_index
    assert abs(report.offset_s) < 0.3
    assert report.fingerprint_distance < 0.1
    assert {line.now for line in report.consent} == {"granted"}


def test_the_very_file_by_its_path(studio, release):
    report = check(studio, release.path)
    assert report.verdict is Verdict.SEALED
    assert report.file == release.path.name
    assert report.sha256 == release.sha256


@pytest.mark.parametrize("format", ["wav", "mp3"])
def test_ten_seconds_of_it_are_an_excerpt_and_placed(studio, release, format):
    content = encode(read(release.path).slice(9.3, 19.3), format)
    report = check(studio, content)
    assert report.verdict is Verdict.EXCERPT, report.explanation
    assert report.release == release
    assert abs(report.offset_s - 9.3) < 0.5
    (place,) = report.matches
    assert abs(place.original_start_s - 9.3) < 0.2
    assert abs((place.end_s - place.start_s) - 10.0) < 0.5


def test_ours_inside_a_longer_file_is_an_excerpt_and_placed(studio, release):
    content = joined(music(77, 10.0), read(release.path), music(78, 6.0))
    report = check(studio, encode(content, "wav"))
    assert report.verdict is Verdict.EXCERPT, report.explanation
    (place,) = report.matches
    assert abs(place.start_s - 10.0) < 0.3
    assert abs(place.end_s - 34.0) < 0.3
    assert abs(place.original_start_s) < 0.3


# -- not ours, or not wholly -----------------------------------------------------------------------


def test_unmarked_music_is_not_detected(studio):
    report = check(studio, encode(music(99, SECONDS), "wav"))
    assert report.verdict is Verdict.NOT_DETECTED
    assert report.release is None
    assert report.seal_id is None
    assert "does not say who" in report.explanation
    assert "human" not in report.explanation


def test_our_content_without_its_seal_is_an_unsealed_copy(studio, release):
    report = check(studio, encode(music(2, SECONDS), "wav"))
    assert report.verdict is Verdict.UNSEALED_COPY, report.explanation
    assert report.release == release
    assert report.detection.identification is None


def test_an_unsealed_excerpt_is_placed_by_its_content(studio, release):
    report = check(studio, encode(music(2, SECONDS).slice(5.0, 17.0), "wav"))
    assert report.verdict is Verdict.UNSEALED_COPY
    assert abs(report.offset_s - 5.0) < 0.2


def test_a_copied_seal_on_other_content_is_transplanted(studio, release):
    residual = read(release.path).samples - music(2, SECONDS).samples
    forged = Waveform(music(55, SECONDS).samples + residual, 16_000)
    report = check(studio, encode(forged, "wav"))
    assert report.verdict is Verdict.TRANSPLANTED, report.explanation
    assert report.release == release
    assert "proves nothing about this content" in report.explanation


def test_our_seal_on_the_content_of_another_output_of_ours_is_transplanted(studio, release):
    residual = read(release.path).samples - music(2, SECONDS).samples
    forged = Waveform(music(3, SECONDS).samples + residual, 16_000)
    assert check(studio, encode(forged, "wav")).verdict is Verdict.TRANSPLANTED


def test_a_seal_shifted_against_its_content_is_transplanted(studio, release):
    """Our content and our seal of it, but the seal four seconds late: assembled, not made."""
    residual = read(release.path).samples - music(2, SECONDS).samples
    late = np.roll(residual, 4 * 16_000, axis=1)
    forged = Waveform(music(2, SECONDS).samples + late, 16_000)
    assert check(studio, encode(forged, "wav")).verdict is Verdict.TRANSPLANTED


def foreign() -> bytes:
    """Music of nobody here, under the mark of another site."""
    key = SealKey.create(1)
    sealed = embed(music(99, SECONDS), SealId.random(), key, model=TonalSeal(), strength=1.0)
    return encode(sealed, "wav")


def test_a_seal_of_another_key_is_not_ours_and_without_calibration_nothing_is_claimed(studio):
    report = check(studio, foreign())
    assert report.detection.detected, "the mark itself is seen"
    assert report.verdict is Verdict.NOT_DETECTED
    assert report.release is None


def test_a_seal_of_another_key_is_foreign_where_false_alarms_were_counted(tmp_path):
    seal = TonalSeal()
    scores = [detect(music(n, SECONDS), model=seal).score for n in range(60, 64)]
    row = DurationCalibration.from_scores(10.0, scores * 125, margin=0.3)
    seal.calibration = Calibration(("a test",), "2026-11-22", (row,))
    with make_studio(tmp_path, seal=seal) as studio:
        report = check(studio, foreign())
        assert report.verdict is Verdict.FOREIGN_SEAL, report.explanation
        assert "0 alarms in 500 unmarked clips" in report.explanation
        unmarked = check(studio, encode(music(99, SECONDS), "wav"))
        assert unmarked.verdict is Verdict.NOT_DETECTED


def test_a_seal_of_our_key_that_nobody_registered_says_whose_key_it_is(tmp_path):
    seal = TonalSeal(chip_cells=2)
    scores = [detect(music(n, SECONDS), model=seal).score for n in range(60, 64)]
    row = DurationCalibration.from_scores(10.0, scores * 125, margin=0.3)
    seal.calibration = Calibration(("a test",), "2026-11-22", (row,))
    with make_studio(tmp_path, seal=seal) as studio:
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=SECONDS, seed=1, format="wav")
        )
        key = studio.seal_keys().current
        lost = embed(music(98, SECONDS), SealId.random(), key, model=seal, strength=1.0)
        report = check(studio, encode(lost, "wav"))
        assert report.verdict is Verdict.FOREIGN_SEAL
        assert "made with this studio's key of epoch 1" in report.explanation
        assert report.to_json()["keyed"]["chance_bound"] < 1e-6
        assert ("Key", 1) in [(name, text.count("epoch 1")) for name, text in evidence_rows(report)]


# -- played faster or slower -----------------------------------------------------------------------


def played(waveform: Waveform, speed: float) -> Waveform:
    return Waveform(waveform.samples, round(waveform.rate * speed)).resample(waveform.rate)


@pytest.mark.parametrize("speed", [0.95, 0.99, 1.02, 1.06])
def test_our_file_at_another_speed_is_still_ours(studio, release, speed):
    report = check(studio, encode(played(read(release.path), speed), "mp3"))
    assert report.verdict is Verdict.SEALED, report.explanation
    assert report.release == release
    assert abs(report.speed - speed) < 0.003
    assert f"at {report.speed:.3f} times its speed" in report.explanation
    assert abs(report.matches[0].end_s - SECONDS / speed) < 0.3  # seconds of the file itself
    assert report.to_json()["duration_s"] == pytest.approx(SECONDS / speed, abs=0.1)


def test_an_excerpt_at_another_speed_is_placed_in_the_original(studio, release):
    part = played(read(release.path).slice(8.0, 20.0), 1.03)
    report = check(studio, encode(part, "wav"))
    assert report.verdict is Verdict.EXCERPT, report.explanation
    assert abs(report.matches[0].original_start_s - 8.0) < 0.3


def test_a_copied_seal_stays_transplanted_whatever_speeds_are_tried(studio, release):
    residual = read(release.path).samples - music(2, SECONDS).samples
    forged = Waveform(music(56, SECONDS).samples + residual, 16_000)
    report = check(studio, encode(forged, "wav"))
    assert report.verdict is Verdict.TRANSPLANTED
    assert report.speed == 1.0


def test_music_that_repeats_itself_is_compared_where_the_seal_says(tmp_path):
    """A loop fits itself a bar later as well; that must not read as a copied seal."""
    bar = music(5, 4.0)
    loop = joined(*[bar] * 6)
    with make_studio(tmp_path, generator=PlainGenerator(loop)) as studio:
        release = as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=SECONDS, seed=1, format="wav")
        )
        part = check(studio, encode(read(release.path).slice(9.0, 19.0), "wav"))
    assert part.verdict is Verdict.EXCERPT, part.explanation
    assert abs(part.matches[0].original_start_s - 9.0) < 0.3


# -- no music at all -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"not audio", b"RIFF\x00\x00\x00\x00WAVE", b"\x00" * 5000]
)
def test_what_cannot_be_decoded_is_unreadable_and_says_why(studio, content):
    report = check(studio, content)
    assert report.verdict is Verdict.UNREADABLE
    assert report.error
    assert report.error in report.explanation
    assert report.detection is None
    assert report.sha256 == hashlib.sha256(content).hexdigest()
    assert report.to_ledger()["sha256"] == report.sha256


def test_a_missing_file_has_no_verdict_and_shows_no_folder(studio, tmp_path):
    with pytest.raises(UsageError, match="no such file") as caught:
        check(studio, tmp_path / "nothing.wav")
    assert str(tmp_path) not in str(caught.value)


@pytest.fixture
def room_for(studio, monkeypatch):
    """Lets the studio examine so many samples times channels."""

    def set_to(values):
        uploads = studio.config.uploads.model_copy(update={"max_values": values})
        monkeypatch.setattr(studio, "config", studio.config.model_copy(update={"uploads": uploads}))
        vars(studio).pop("_examiner", None)

    yield set_to
    vars(studio).pop("_examiner", None)


def test_samples_are_bounded_over_all_channels(studio, tmp_path, room_for):
    room_for(8 * 8000 * 10)
    for channels, seconds, readable in ((8, 9, True), (8, 11, False), (1, 60, True)):
        path = tmp_path / f"{channels}-{seconds}.flac"
        write(path, Waveform(np.zeros((channels, 8000 * seconds), np.float32), 8000))
        if not readable:
            with pytest.raises(BeyondLimitsError, match="over all channels"):
                check(studio, path)
            continue
        assert check(studio, path).verdict is Verdict.NOT_DETECTED


def test_the_operators_own_long_files_have_no_such_bound(studio, tmp_path, room_for):
    room_for(8000)
    write(tmp_path / "long.flac", Waveform(np.zeros((1, 80000), np.float32), 8000))
    report = as_owner(studio).verification.verify(tmp_path / "long.flac", limits=DecodeLimits())
    assert report.verdict is not Verdict.UNREADABLE


def test_an_examination_can_be_stopped_in_every_pass(studio, tmp_path, monkeypatch):
    """What is too long to hold is decoded again and again; each time somebody can stop it."""
    monkeypatch.setattr("studio.verification.suspect._HOLD_S", 1.0)
    write(tmp_path / "unknown.wav", music(9, SECONDS))
    told = []
    as_owner(studio).verification.verify(tmp_path / "unknown.wav", progress=told.append)
    passes = [n for n in range(1, len(told)) if told[n] <= told[n - 1]]
    assert len(passes) >= 2, "it is read more than twice"
    for last in [1, *passes]:
        heard = []

        def progress(seconds, heard=heard, last=last):
            heard.append(seconds)
            if len(heard) > last:
                raise CancelledError

        with pytest.raises(CancelledError):
            as_owner(studio).verification.verify(tmp_path / "unknown.wav", progress=progress)
        assert len(heard) == last + 1


@pytest.mark.parametrize("seconds", [0.2, 1.0, 2.5])
def test_a_snippet_has_a_verdict_and_none_it_cannot_bear(studio, release, seconds):
    snippet = read(release.path).slice(5.0, 5.0 + seconds)
    report = check(studio, encode(snippet, "wav"))
    assert report.verdict in (
        Verdict.NOT_DETECTED,
        Verdict.EXCERPT,
        Verdict.UNSEALED_COPY,
        Verdict.FOREIGN_SEAL,
    )
    if report.release is not None:
        assert report.release == release


# -- what goes with a verdict ----------------------------------------------------------------------


def test_the_json_contract(studio, release, tmp_path):
    body = check(studio, release.path).to_json()
    assert json.loads(json.dumps(body)) == body
    assert set(body) >= {
        "file", "duration_s", "detected", "score", "p_value", "threshold", "false_positive_rate",
        "segments", "model", "verdict", "seal_id", "entry", "offset_s", "fingerprint", "c2pa",
        "consent",
    }  # fmt: skip
    assert body["file"] == release.path.name
    assert body["verdict"] == "sealed"
    assert set(body["fingerprint"]) == {"distance"}
    assert body["c2pa"]["state"] == "trusted"
    assert body["consent"][0]["grant"] == "house-catalogue-2026"
    json.dumps(check(studio, b"not audio").to_json())


def test_every_examination_is_an_entry_without_a_file_name(studio, release, tmp_path):
    secret = tmp_path / "somebodys-private-name.wav"
    secret.write_bytes(release.path.read_bytes())
    before = studio.ledger().size()
    as_owner(studio).verification.verify(secret)
    entry = studio.ledger().entry(before)
    assert entry.kind == "verification"
    assert entry.body["verdict"] == "sealed"
    assert entry.body["sha256"] == release.sha256
    assert b"private-name" not in entry.leaf
    as_owner(studio).verification.verify(secret, record=False)
    assert studio.ledger().size() == before + 1


def test_a_later_verdict_shows_the_revocation(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        release = as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=8.0, seed=1, format="wav")
        )
        assert check(studio, release.path).consent[0].now == "granted"
        revoke(studio)
        report = check(studio, release.path)
    assert report.verdict is Verdict.SEALED
    assert {line.now for line in report.consent} == {"revoked"}
    assert all(line.since for line in report.consent)
    assert "genre/jazz is revoked since" in report.explanation


def test_a_registry_opened_before_a_release_knows_it_all_the_same(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as desk:
        check(desk, encode(music(9, 8.0), "wav"))
        with make_studio(tmp_path, generator=PlainGenerator()) as maker:
            release = as_owner(maker).generation.create(
                as_owner(maker).generation.request(TAGS, duration_s=8.0, seed=1, format="wav")
            )
        assert check(desk, release.path).verdict is Verdict.SEALED


def test_a_lost_key_is_an_error_not_a_verdict(tmp_path):
    from studio.core.errors import LedgerError

    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        release = as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=8.0, seed=1, format="wav")
        )
    (key,) = studio.paths.keys.glob("epoch-*.key")
    key.rename(studio.paths.keys / "epoch-0002.key")
    with make_studio(tmp_path) as studio, pytest.raises(LedgerError, match="epoch"):
        check(studio, release.path)


# -- where the decoder cannot be confined ----------------------------------------------------------


@pytest.fixture
def no_filter(monkeypatch):
    """Children whose system refuses them the system-call filter."""
    import watermark.audio.sandbox as sandbox

    before, boot = sandbox._BOOT.split("from watermark.audio.sandbox", 1)
    unable = "import watermark.audio.seccomp as s; s.lock_down = lambda: False; "
    monkeypatch.setattr(sandbox, "_BOOT", f"{before}{unable}from watermark.audio.sandbox{boot}")


def with_uploads(studio, monkeypatch, **settings):
    uploads = studio.config.uploads.model_copy(update=settings)
    config = studio.config.model_copy(update={"uploads": uploads})
    monkeypatch.setattr(studio, "config", config)
    monkeypatch.setattr(studio.examiner()._verifier, "_config", config)


def test_without_a_filter_no_stranger_s_file_is_decoded(studio, release, monkeypatch, no_filter):
    with_uploads(studio, monkeypatch, isolate=True, allow_unfiltered=False)
    entries = studio.ledger().size()
    with pytest.raises(DecodingRefusedError, match="refuses the system-call filter"):
        as_owner(studio).verification.verify(release.path)
    with pytest.raises(DecodingRefusedError):
        as_owner(studio).verification.credentials(release.path)
    assert studio.ledger().size() == entries  # it is no verdict on the file


def test_an_explicit_setting_decodes_without_a_filter(studio, release, monkeypatch, no_filter):
    with_uploads(studio, monkeypatch, isolate=True, allow_unfiltered=True)
    assert as_owner(studio).verification.verify(release.path).verdict is Verdict.SEALED


def test_with_a_filter_no_setting_is_needed(studio, release, monkeypatch):
    with_uploads(studio, monkeypatch, isolate=True, allow_unfiltered=False)
    assert as_owner(studio).verification.verify(release.path).verdict is Verdict.SEALED
