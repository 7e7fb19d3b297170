"""What people do to our music, done here, and what the desk must say of it."""

from __future__ import annotations

from concurrent.futures import CancelledError

import numpy as np
import pytest

from studio.provenance.sealer import Sealer
from studio.reports.verification.evidence import evidence_rows
from studio.verification import suspect as recording
from studio.verification.report import Verdict
from tests.integration.test_verify import SECONDS, TAGS, check, joined, played, three_releases
from tests.support.seals import TonalSeal
from tests.support.studios import PlainGenerator, as_owner, make_studio, music
from watermark.audio.waveform import Waveform, encode, read, write
from watermark.evaluation.distortions import AttackSpec

RATE = 16_000


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    with three_releases(tmp_path_factory.mktemp("attacks")) as studio:
        yield studio


@pytest.fixture(scope="module")
def outputs(studio):
    """Each release with its sound, seeds 1 to 3."""
    return [(release, read(release.path)) for release in as_owner(studio).outputs.recent()[::-1]]


def residual(outputs, number: int) -> np.ndarray:
    """What the seal of an output adds: an attacker who has the original gets it by subtraction."""
    return outputs[number][1].samples - music(number + 1, SECONDS).samples


def on(waveform: Waveform, mark: np.ndarray) -> Waveform:
    """Other sound with that mark."""
    return Waveform(waveform.samples + mark[:, : waveform.length], waveform.rate)


def kinds(report) -> list[tuple[str, str]]:
    return [(match.kind, match.output_id) for match in report.matches]


# -- edits: ours beside other music ----------------------------------------------------------------


def test_two_outputs_in_one_file_are_both_named_and_placed(studio, outputs):
    (first, a), (second, b) = outputs[0], outputs[2]
    report = check(studio, encode(joined(a, music(90, 8.0), b.slice(4.0, 20.0)), "wav"))
    assert report.verdict is Verdict.EXCERPT, report.explanation
    assert kinds(report) == [("sealed", first.output_id), ("sealed", second.output_id)]
    one, two = report.matches
    assert (one.start_s, one.end_s) == (pytest.approx(0, abs=0.3), pytest.approx(24, abs=0.3))
    assert (two.start_s, two.end_s) == (pytest.approx(32, abs=0.3), pytest.approx(48, abs=0.3))
    assert two.original_start_s == pytest.approx(4.0, abs=0.2)
    assert "2 outputs of ours are in this file" in report.explanation
    assert [found.release.output_id for found in report.outputs] == [
        first.output_id, second.output_id,
    ]  # fmt: skip
    assert all(found.consent for found in report.outputs)
    assert len(report.to_json()["outputs"]) == 2


def test_ours_after_half_a_minute_of_other_music(studio, outputs):
    release, ours = outputs[1]
    report = check(studio, encode(joined(music(91, 30.0), ours.slice(6.0, 18.0)), "mp3"))
    assert report.verdict is Verdict.EXCERPT, report.explanation
    (part,) = report.matches
    assert part.output_id == release.output_id
    assert part.start_s == pytest.approx(30.0, abs=0.4)
    assert part.place_s == (pytest.approx(6.0, abs=0.4), pytest.approx(18.0, abs=0.4))


def speech_like(seconds: float) -> np.ndarray:
    """Noise in three formants, four syllables a second with pauses."""
    rng = np.random.default_rng(7)
    n = round(seconds * RATE)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.fft.rfftfreq(n, 1 / RATE)
    shape = sum(np.exp(-(((f - at) / 150) ** 2)) for at in (500, 1500, 2500))
    t = np.arange(n) / RATE
    syllables = np.clip(np.sin(2 * np.pi * 2 * t), 0, None) * (np.sin(2 * np.pi * 0.23 * t) > -0.4)
    voice = np.fft.irfft(spectrum * shape, n) * syllables
    return (voice / np.sqrt(np.mean(voice**2))).astype(np.float32)


def test_ours_under_speech_is_recognised_and_said_to_lie_under_other_sound(studio, outputs):
    release, ours = outputs[1]
    level = float(np.sqrt(np.mean(ours.samples**2)))
    over = Waveform(ours.samples + level * speech_like(SECONDS), RATE)
    report = check(studio, encode(over, "wav"))
    assert report.verdict in (Verdict.EXCERPT, Verdict.SEALED), report.explanation
    assert {match.output_id for match in report.matches} == {release.output_id}
    assert {match.kind for match in report.matches} <= {"sealed", "overlaid"}


# -- copied seals ----------------------------------------------------------------------------------


def test_a_true_beginning_does_not_lend_its_name_to_what_follows(studio, outputs):
    """Ten seconds of ours, then our seal carried on over other music: only the ten are ours."""
    release, ours = outputs[1]
    other = on(music(92, SECONDS), residual(outputs, 1)).samples
    forged = np.concatenate([ours.samples[:, : 10 * RATE], other[:, 10 * RATE :]], axis=1)
    report = check(studio, encode(Waveform(forged, RATE), "wav"))
    assert report.verdict is Verdict.EXCERPT, report.explanation
    assert kinds(report) == [("sealed", release.output_id), ("copied seal", release.output_id)]
    true, copied = report.matches
    assert true.end_s == pytest.approx(10.0, abs=0.4)
    assert copied.end_s == pytest.approx(SECONDS, abs=0.6)
    assert copied.distance > 0.42
    assert "the seal was copied onto it" in report.explanation


def test_a_copied_seal_after_a_whole_output_is_told_apart(studio, outputs):
    _, ours = outputs[0]
    forged = on(music(93, SECONDS), residual(outputs, 2))
    report = check(studio, encode(joined(ours, forged), "wav"))
    assert report.verdict is Verdict.EXCERPT
    assert kinds(report) == [
        ("sealed", outputs[0][0].output_id), ("copied seal", outputs[2][0].output_id),
    ]  # fmt: skip


def test_a_copied_seal_through_a_codec_and_at_another_level_is_still_transplanted(studio, outputs):
    forged = Waveform(music(94, SECONDS).samples * 0.5 + residual(outputs, 1), RATE)
    report = check(studio, encode(forged, "mp3", bitrate=96_000))
    assert report.verdict is Verdict.TRANSPLANTED, report.explanation
    assert report.seal_id == outputs[1][0].seal_id
    assert "proves nothing about this content" in report.explanation


# -- removed seals ---------------------------------------------------------------------------------


def without_seal(waveform: Waveform) -> Waveform:
    """Removal with public weights: read the messages, compute the mark again, subtract it."""
    seal = TonalSeal()
    samples = waveform.samples[0]
    _, bits = seal.read(np.concatenate([samples, np.zeros(3000, np.float32)]))
    messages = (bits[0] > 0).astype(np.int64)
    mark = seal.mark(np.zeros(len(messages) * 1280, np.float32), messages, 1.0)
    length = min(len(mark), len(samples))
    clean = samples.copy()
    clean[:length] -= mark[:length]
    return Waveform(clean[None], waveform.rate)


def test_a_seal_that_was_removed_leaves_an_unsealed_copy(studio, outputs):
    release, ours = outputs[1]
    report = check(studio, encode(without_seal(ours), "mp3"))
    assert report.verdict is Verdict.UNSEALED_COPY, report.explanation
    assert report.release == release
    assert "removed or destroyed" in report.explanation
    assert "one maker" in report.explanation, "what content alone is worth is told"


def test_removed_from_half_of_the_file_the_rest_is_still_named(studio, outputs):
    release, ours = outputs[1]
    half = without_seal(ours).slice(0.0, 12.0)
    report = check(studio, encode(joined(half, ours.slice(12.0, SECONDS)), "wav"))
    assert report.verdict in (Verdict.SEALED, Verdict.EXCERPT), report.explanation
    assert report.release == release


# -- speed and tempo -------------------------------------------------------------------------------


def test_a_part_at_another_speed_among_other_music(studio, outputs):
    release, ours = outputs[1]
    mix = joined(music(95, 12.0), played(ours, 1.04))
    report = check(studio, encode(mix, "wav"))
    assert report.verdict is Verdict.EXCERPT, report.explanation
    assert report.release == release
    assert report.speed == pytest.approx(1.04, abs=0.004)
    assert report.matches[0].start_s == pytest.approx(12.0, abs=0.8)


@pytest.mark.parametrize("ratio", [0.97, 1.03])
def test_a_changed_tempo_is_found_by_content_and_undone_for_the_seal(studio, outputs, ratio):
    release, ours = outputs[1]
    attack = AttackSpec("tempo", "time", "tempo", {"factor": ratio})
    stretched = attack.run(ours, np.random.default_rng(0))
    report = check(studio, encode(stretched, "wav"))
    assert report.release == release, report.explanation
    assert report.verdict in (Verdict.SEALED, Verdict.EXCERPT), report.explanation
    assert "its pitch kept" in report.explanation
    (part,) = report.matches
    first_s, last_s = part.place_s
    assert (last_s - first_s) / part.length_s == pytest.approx(ratio, abs=0.006)


# -- what was tried, and its price -----------------------------------------------------------------


@pytest.mark.parametrize("what", ["ours", "edit", "speed", "tempo", "other"])
def test_what_was_tried_is_counted_and_priced(studio, outputs, monkeypatch, what):
    a, b = outputs[0][1], outputs[2][1]
    tempo = AttackSpec("tempo", "time", "tempo", {"factor": 1.03})
    file = {
        "ours": lambda: a,
        "edit": lambda: joined(a, music(90, 8.0), b.slice(4.0, 20.0)),
        "speed": lambda: played(b, 1.04),
        "tempo": lambda: tempo.run(outputs[1][1], np.random.default_rng(0)),
        "other": lambda: music(97, 10.0),
    }[what]()
    readings = []
    read_seal = Sealer.read

    def counted(self, *args, **kwargs):
        readings.append(read_seal(self, *args, **kwargs))
        return readings[-1]

    monkeypatch.setattr(Sealer, "read", counted)
    report = check(studio, encode(file, "wav"))
    tried = report.tried
    assert tried.readings == len(readings)
    if what != "tempo":  # by chance it is read at once
        assert (tried.stretches > 0) is (what == "edit")
        assert (tried.speeds > 0) is (what in ("speed", "other"))  # else surely at its own
        assert (tried.recordings > 1) is (what == "speed")
    bounds = [part.chance_bound for part in report.matches if part.chance_bound is not None]
    told = report.to_json()["tried"]
    assert told["readings"] == len(readings)
    rows = dict(evidence_rows(report))
    if what == "other":
        assert told["wrong_name_bound"] is None
        assert not any(name.startswith("Any name") for name in rows)
    else:
        assert told["wrong_name_bound"] == pytest.approx(max(bounds) * len(readings))
        row = rows["Any name here wrong, all of that counted"]
        assert row.endswith(f"times {len(readings)} readings")
    assert rows["What was tried"].startswith(f"The seal was read {len(readings)} time")


# -- little to go on -------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [2.0, 3.0, 4.0, 5.0])
def test_a_short_clip_is_never_given_a_wrong_name_and_says_what_it_lacks(studio, outputs, seconds):
    release, ours = outputs[1]
    report = check(studio, encode(ours.slice(7.3, 7.3 + seconds), "wav"))
    assert report.release in (None, release)
    if report.verdict not in (Verdict.SEALED, Verdict.EXCERPT) and seconds < 3:
        assert "3 s" in report.explanation
    other = check(studio, encode(music(96, SECONDS).slice(3.0, 3.0 + seconds), "wav"))
    assert other.verdict is Verdict.NOT_DETECTED, other.explanation
    if seconds < 3:
        assert "little can be said" in other.explanation


# -- twins -----------------------------------------------------------------------------------------


def twins() -> tuple[Waveform, Waveform]:
    """Two pieces on the same notes: every fourth second of the second is another."""
    one, change = music(70, SECONDS), music(71, SECONDS)
    other = one.samples.copy()
    for start in range(0, one.length, 4 * RATE):
        other[:, start : start + RATE] = change.samples[:, start : start + RATE]
    noise = np.random.default_rng(0).standard_normal(other.shape) * 0.004
    return one, Waveform((other + noise).astype(np.float32), RATE)


@pytest.fixture(scope="module")
def twin_studio(tmp_path_factory):
    """A studio whose two outputs agree by content."""
    pair = iter(twins())

    class Twins(PlainGenerator):
        def generate(self, tags, **kwargs):
            super().generate(tags, **kwargs)
            return next(pair)

    # A quieter seal: at the usual level the test's tones are half of what a fingerprint hears.
    folder, seal = tmp_path_factory.mktemp("twins"), TonalSeal(level=0.004)
    with make_studio(folder, seal=seal, generator=Twins()) as studio:
        for seed in (1, 2):
            as_owner(studio).generation.create(
                as_owner(studio).generation.request(
                    TAGS, duration_s=SECONDS, seed=seed, format="wav"
                )
            )
        yield studio


def test_where_content_fits_two_outputs_the_seal_decides(twin_studio):
    first, second = as_owner(twin_studio).outputs.recent()[::-1]
    for release, other in ((first, second), (second, first)):
        report = check(twin_studio, encode(read(release.path), "mp3"))
        assert report.verdict is Verdict.SEALED, report.explanation
        assert report.release == release
        assert [key for key, _ in report.matches[0].rivals] == [other.output_id]
        assert "the seal says which it is" in report.explanation


def test_content_alone_names_the_nearer_twin_and_says_that_it_is_no_proof(twin_studio):
    first, second = as_owner(twin_studio).outputs.recent()[::-1]
    report = check(twin_studio, encode(twins()[0], "mp3", bitrate=64_000))
    assert report.verdict is Verdict.UNSEALED_COPY
    assert report.release == first
    assert f"also agrees with {second.output_id}" in report.explanation
    assert "does not prove" in report.explanation


def test_the_seal_of_one_twin_on_the_other_is_transplanted(twin_studio):
    first, second = as_owner(twin_studio).outputs.recent()[::-1]
    mark = read(first.path).samples - twins()[0].samples
    report = check(twin_studio, encode(on(twins()[1], mark), "wav"))
    assert report.verdict is Verdict.TRANSPLANTED, report.explanation
    assert report.release == first
    assert f"much nearer to output {second.output_id}" in report.explanation


# -- long files ------------------------------------------------------------------------------------


def test_a_file_too_long_to_hold_is_examined_in_passes_with_the_same_result(
    studio, outputs, tmp_path, monkeypatch
):
    mix = joined(music(97, 40.0), outputs[0][1], music(98, 30.0), outputs[2][1].slice(2.0, 20.0))
    write(tmp_path / "set.flac", mix)
    held = check(studio, tmp_path / "set.flac")
    monkeypatch.setattr(recording, "_HOLD_S", 15.0)
    told: list[float] = []
    streamed = as_owner(studio).verification.verify(tmp_path / "set.flac", progress=told.append)
    assert streamed.verdict is held.verdict is Verdict.EXCERPT
    assert kinds(streamed) == kinds(held)
    assert len(held.matches) == 2
    for one, other in zip(held.matches, streamed.matches, strict=True):
        assert one.start_s == pytest.approx(other.start_s, abs=0.1)
        assert one.original_start_s == pytest.approx(other.original_start_s, abs=0.1)
    assert max(told) == pytest.approx(mix.duration_s, abs=0.1)


def test_an_examination_can_be_stopped(studio, outputs):
    def stop(_seconds: float) -> None:
        raise CancelledError

    before = studio.ledger().size()
    with pytest.raises(CancelledError):
        as_owner(studio).verification.verify(outputs[0][0].path, progress=stop)
    assert studio.ledger().size() == before
