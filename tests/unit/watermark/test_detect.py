"""Seal and read back with the committed weights: found where it is, and only where it is."""

import sys

import numpy as np
import pytest

from tests.unit.seal_carriers import music
from watermark.audio.waveform import Waveform, encode
from watermark.coding.identify import Codebook, CodebookEntry
from watermark.coding.message import SealId, SealKey, messages
from watermark.detection.detect import Detection, detect
from watermark.embedding.embed import embed
from watermark.errors import UnreadableAudioError
from watermark.models.base import SealModel
from watermark.models.loading import load_seal_model

pytestmark = pytest.mark.slow

KEY = SealKey(epoch=1, secret=bytes(range(32)))
detect_module = sys.modules["watermark.detection.detect"]
IDS = [SealId(bytes([n]) * 8) for n in range(200)]
SEAL = IDS[77]


@pytest.fixture(scope="module")
def model() -> SealModel:
    return load_seal_model("house")


@pytest.fixture(scope="module")
def codebook() -> Codebook:
    return Codebook(CodebookEntry(i, KEY, 24.0) for i in IDS)


@pytest.fixture(scope="module")
def carrier() -> Waveform:
    return music(12.0, 32_000, 2)


@pytest.fixture(scope="module")
def sealed(model, carrier) -> Waveform:
    return embed(carrier, SEAL, KEY, model=model)


def assert_ours(found: Detection, offset_s: float = 0.0) -> None:
    assert found.detected
    assert found.score > found.threshold
    assert found.identification is not None
    assert found.identification.seal_id == SEAL
    assert found.identification.offset_s == pytest.approx(offset_s, abs=0.09)  # a cell
    assert found.identification.chance_bound <= 1e-6


def test_round_trip(model, codebook, sealed):
    found = detect(sealed, model=model, codebook=codebook)
    assert_ours(found)
    assert found.view == "mix"
    assert len(found.segments) == 1
    assert found.segments[0].start_s == 0
    assert found.segments[0].end_s == pytest.approx(12.0, abs=0.25)
    truth = messages(KEY, SEAL, 12)
    assert found.message_logits.shape == (12, 16)
    assert np.mean((found.message_logits > 0) == (truth > 0)) > 0.8


def test_unmarked_audio_is_not_detected(model, codebook, carrier):
    found = detect(carrier, model=model, codebook=codebook)
    assert not found.detected
    assert found.identification is None
    assert found.segments == ()
    assert found.score < found.threshold


@pytest.mark.parametrize("kind", ["noise", "tone", "click train"])
def test_other_signals_are_not_detected(model, codebook, kind):
    t = np.arange(8 * 16_000) / 16_000
    x = {
        "noise": np.random.default_rng(0).standard_normal(len(t)),
        "tone": np.sin(2 * np.pi * 440 * t),
        "click train": (np.arange(len(t)) % 8000 < 3).astype(float),
    }[kind]
    found = detect(
        Waveform((0.2 * x[None]).astype(np.float32), 16_000), model=model, codebook=codebook
    )
    assert not found.detected
    assert found.identification is None


def test_without_the_key_nothing_is_identified(model, sealed):
    stranger = SealKey(epoch=1, secret=bytes(32))
    wrong = Codebook(CodebookEntry(i, stranger, 24.0) for i in IDS)
    found = detect(sealed, model=model, codebook=wrong)
    assert found.detected  # the seal is there,
    assert found.identification is None  # but not one of this registry


def test_a_seal_that_is_not_registered_is_not_named(model, sealed):
    others = Codebook(CodebookEntry(i, KEY, 24.0) for i in IDS if i != SEAL)
    found = detect(sealed, model=model, codebook=others)
    assert found.detected
    assert found.identification is None


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_other_rates(model, codebook, rate):
    sealed = embed(music(9.0, rate, 1), SEAL, KEY, model=model)
    assert_ours(detect(sealed, model=model, codebook=codebook))


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_resampled_after_sealing(model, codebook, sealed, rate):
    assert_ours(detect(sealed.resample(rate), model=model, codebook=codebook))


def test_polarity(model, codebook, sealed):
    flipped = Waveform(-sealed.samples, sealed.rate)
    assert_ours(detect(flipped, model=model, codebook=codebook))


@pytest.mark.parametrize("start_s", [1.234, 2.0371])
def test_a_cut_at_any_sample_knows_its_place(model, codebook, sealed, start_s):
    cut = Waveform(sealed.samples[:, round(start_s * sealed.rate) :], sealed.rate)
    assert_ours(detect(cut, model=model, codebook=codebook), offset_s=start_s)


def test_mp3_from_bytes(model, codebook, sealed):
    data = encode(sealed, "mp3", bitrate=128_000)
    assert_ours(detect(data, model=model, codebook=codebook))


@pytest.mark.parametrize("beside_s", [0.0, 0.04])
def test_our_seal_under_a_strangers(model, codebook, beside_s):
    """Somebody with the public generator seals our file once more: on our grid, or beside it."""
    ours = embed(music(24.0, 32_000, 1), SEAL, KEY, model=model)
    pad = np.zeros((1, round(beside_s * 32_000)), np.float32)
    longer = Waveform(np.concatenate([pad, ours.samples], axis=1), 32_000)
    strange = embed(longer, IDS[3], SealKey(1, bytes(32)), model=model).slice(beside_s)
    found = detect(strange, model=model, codebook=codebook)
    assert found.detected
    assert found.identification is not None
    assert found.identification.seal_id == SEAL
    assert found.identification.offset_s == pytest.approx(0.0, abs=0.09)
    others = Codebook(CodebookEntry(i, KEY, 24.0) for i in IDS if i != SEAL)
    assert detect(strange, model=model, codebook=others).identification is None


def test_one_side_of_a_stereo_file(model, codebook):
    """Sealed as mono, then put left of unrelated louder audio: the mix is hard to read."""
    ours = embed(music(10.0, 32_000, 1), SEAL, KEY, model=model)
    other = music(10.0, 32_000, 1, seed=99)
    both = Waveform(np.concatenate([ours.samples, 2 * other.samples]), 32_000)
    found = detect(both, model=model, codebook=codebook)
    assert_ours(found)


@pytest.mark.parametrize(("kept", "decoded"), [(2**27, 1), (20 * 32_000 * 2 * 4 - 1, 2)])
def test_a_file_is_decoded_once_if_it_can_be_kept(model, codebook, monkeypatch, kept, decoded):
    """Its mix and its sides are read; the answer is the same, decoded once or twice."""
    quiet = Waveform(0.15 * music(20.0, 32_000, 1).samples, 32_000)
    ours = embed(quiet, SEAL, KEY, model=model)
    other = music(20.0, 32_000, 1, seed=99)
    both = Waveform(
        np.concatenate([ours.samples, 0.9 / np.abs(other.samples).max() * other.samples]), 32_000
    )
    times = []
    real = detect_module.stream
    monkeypatch.setattr(
        detect_module, "stream", lambda *a, **named: times.append(1) or real(*a, **named)
    )
    monkeypatch.setattr(detect_module, "_KEPT_BYTES", kept)
    found = detect(encode(both, "wav", subtype="FLOAT"), model=model, codebook=codebook)
    assert_ours(found)
    assert found.view != "mix"
    assert found.score == pytest.approx(detect(both, model=model, codebook=codebook).score)
    assert len(times) == decoded


def test_what_was_read_coarsely_is_not_read_again(model, sealed):
    samples = np.ascontiguousarray(sealed.mono().resample(16_000).samples[0])
    coarse = model.read_coarse(samples)
    whole = model.read(samples)
    for given, computed, part in zip(model.read(samples, coarse), whole, coarse, strict=True):
        np.testing.assert_array_equal(given, computed)
        np.testing.assert_array_equal(computed[::2], part)
    changed = (coarse[0] + 1, coarse[1])
    assert np.abs(model.read(samples, changed)[0] - whole[0]).max() == pytest.approx(1, abs=1e-5)


def test_segments_of_an_edit(model, codebook, carrier, sealed):
    """Ours between unmarked music: the segment is where ours is."""
    head, tail = carrier.slice(0, 6).samples, carrier.slice(2, 9).samples
    edit = np.concatenate([head, sealed.slice(1, 11).samples, tail], axis=1)
    found = detect(Waveform(edit, carrier.rate), model=model, codebook=codebook)
    assert found.detected
    assert found.identification is not None
    assert found.identification.offset_s == pytest.approx(1.0 - 6.0, abs=0.03)
    longest = max(found.segments, key=lambda s: s.end_s - s.start_s)
    assert longest.start_s == pytest.approx(6.0, abs=0.75)
    assert longest.end_s == pytest.approx(16.0, abs=0.75)
    assert len(found.timeline) == 23 * 4


def test_a_file_reads_like_its_waveform(model, sealed, tmp_path):
    path = tmp_path / "sealed.wav"
    path.write_bytes(encode(sealed, "wav", subtype="FLOAT"))
    calls = []
    streamed = detect(path, model=model, progress=lambda done, total: calls.append((done, total)))
    direct = detect(sealed, model=model)
    assert streamed.score == pytest.approx(direct.score, abs=1e-3)
    np.testing.assert_allclose(streamed.message_logits, direct.message_logits, atol=1e-2)
    assert streamed.file == "sealed.wav"
    assert calls[-1][0] == pytest.approx(12.0)


def test_long_files_read_in_blocks_like_in_one(model, monkeypatch):
    from watermark.detection import readout as reading

    sealed = embed(music(30.0, 16_000, 1), SEAL, KEY, model=model)
    one = reading.read_views(iter([sealed]), model, ["mix"])["mix"]
    monkeypatch.setattr(reading, "_BLOCK_S", 5.12)
    many = reading.read_views(iter([sealed]), model, ["mix"])["mix"]
    assert len(one.pilot) == len(many.pilot)
    same = np.abs(one.start_s - many.start_s) < 1e-6
    assert same.mean() > 0.9  # paths may differ by a step near a border
    np.testing.assert_allclose(one.pilot[same], many.pilot[same], atol=1e-2)


def test_silence_and_snippets_are_answered(model, codebook):
    for seconds in (0.0, 0.05, 0.7, 3.0):
        quiet = Waveform(np.zeros((2, round(seconds * 16_000)), np.float32), 16_000)
        found = detect(quiet, model=model, codebook=codebook)
        assert not found.detected
        assert found.identification is None


def test_a_file_that_is_not_audio_raises(model, tmp_path):
    path = tmp_path / "notes.wav"
    path.write_bytes(b"not audio at all" * 100)
    with pytest.raises(UnreadableAudioError):
        detect(path, model=model)


def test_json_contract(model, codebook, sealed):
    found = detect(sealed, model=model, codebook=codebook)
    data = found.to_json()
    assert {
        "file",
        "duration_s",
        "detected",
        "score",
        "p_value",
        "threshold",
        "false_positive_rate",
        "segments",
        "model",
    } <= set(data)
    assert set(data["segments"][0]) == {"start_s", "end_s", "score"}
    assert data["model"] == model.id
    assert "message_logits" not in data
    assert len(found.to_json(message_logits=True)["message_logits"]) == 12
    assert data["calibration"]["clips"] > 100
    assert 0 < data["false_positive_rate"] <= 1
    assert data["p_value"] <= 1e-6


def test_detection_is_deterministic(model, sealed):
    first, second = detect(sealed, model=model), detect(sealed, model=model)
    assert first.to_json(message_logits=True) == second.to_json(message_logits=True)


def test_a_ticking_clock_of_the_pilots_own_period_is_not_a_seal(model):
    """It excites the pilot, but on several alignments alike."""
    t = np.arange(10 * 16_000) / 16_000
    noise = np.random.default_rng(0).standard_normal(len(t))
    ticks = 0.3 * noise * np.exp(-((t * 12.5) % 1) / 12.5 / 0.005)
    found = detect(Waveform(ticks[None].astype(np.float32), 16_000), model=model)
    assert not found.detected


@pytest.mark.parametrize(("form", "bitrate"), [("mp3", 32_000), ("opus", 24_000)])
def test_coarse_codecs_do_not_alarm_and_do_not_hide_a_seal(model, carrier, sealed, form, bitrate):
    assert not detect(encode(carrier, form, bitrate=bitrate), model=model).detected
    assert detect(encode(sealed, form, bitrate=bitrate), model=model).detected


def test_a_stretch_scores_by_its_contrast():
    from watermark.detection.readout import contrast

    rng = np.random.default_rng(0)
    rivals = rng.normal(-8, 1, (100, 5))
    assert contrast(np.full(100, 6.0), rivals) > 6
    assert abs(contrast(rng.normal(-8, 1, 100), rivals)) < 0.5
    assert contrast(np.full(100, 6.0), rivals + 14) < 0.5  # the rivals answer as loudly
    wild = rng.normal(-2, 8, (100, 5))
    assert contrast(np.full(100, 6.0), wild) < contrast(np.full(100, 6.0), rivals) / 2
    assert contrast(np.full(100, 6.0), np.zeros((100, 0))) == 6.0  # a model without rivals


@pytest.mark.parametrize(("kind", "factor"), [("speed", 0.96), ("tempo", 0.95)])
def test_speed_search_undoes_the_change(model, codebook, sealed, carrier, kind, factor):
    from watermark.evaluation.distortions import AttackSpec

    spec = AttackSpec("x", "time", kind, {"factor": factor})
    changed = spec.run(sealed, np.random.default_rng(0))
    assert detect(changed, model=model, codebook=codebook).identification is None
    found = detect(changed, model=model, codebook=codebook, speed_search=True)
    assert found.identification is not None
    assert found.identification.seal_id == SEAL
    assert found.retiming is not None
    assert found.retiming.kind == kind
    assert found.retiming.factor == pytest.approx(factor, abs=0.011)
    assert found.to_json()["retiming"]["kind"] == kind
    assert found.segments[-1].end_s <= changed.duration_s + 0.25
    unmarked = spec.run(carrier, np.random.default_rng(0))
    assert not detect(unmarked, model=model, codebook=codebook, speed_search=True).detected


def test_several_views_in_one_pass_are_the_views_one_by_one(model, sealed):
    from watermark.detection.readout import read_views

    part = sealed.slice(0, 4)
    together = read_views([part], model, ("left", "right", "side"))
    for view, reading in together.items():
        alone = read_views([part], model, [view])[view]
        np.testing.assert_allclose(reading.pilot, alone.pilot, atol=1e-3)


@pytest.mark.parametrize("gain_db", [-30, -50, -90, -160])
def test_a_quiet_file_reads_like_a_loud_one(model, codebook, sealed, carrier, gain_db):
    gain = np.float32(10 ** (gain_db / 20))
    assert_ours(
        detect(Waveform(gain * sealed.samples, sealed.rate), model=model, codebook=codebook)
    )
    quiet = Waveform(gain * carrier.samples, carrier.rate)
    unmarked = detect(quiet, model=model, codebook=codebook, speed_search=True)
    assert not unmarked.detected
    assert unmarked.identification is None


@pytest.mark.parametrize(("channels", "view"), [(2, "left"), (6, "channel 5")])
def test_channels_that_cancel_or_drown_the_mix_are_read_one_by_one(model, codebook, channels, view):
    ours = embed(music(10.0, 32_000, 1), SEAL, KEY, model=model).samples[0]
    if channels == 2:
        heard = np.stack([ours, -ours])
    else:
        heard = np.stack([2 * music(10.0, 32_000, 1, seed=n).samples[0] for n in range(60, 66)])
        heard[4] = ours
    found = detect(Waveform(heard, 32_000), model=model, codebook=codebook)
    assert_ours(found)
    assert found.view == view


def test_a_search_over_speeds_states_the_rate_of_everything_tried(model, carrier):
    """Each reading is held to the rate of one; the search is one more reading."""
    plain = detect(carrier, model=model)
    searched = detect(carrier, model=model, speed_search=True)
    assert searched.false_positive_rate == pytest.approx(
        1 - (1 - plain.false_positive_rate) ** 2, rel=1e-6
    )
    assert searched.false_positive_rate < 2 * plain.false_positive_rate


def test_unsealed_music_that_one_of_many_speeds_excites_is_not_called_sealed(model):
    """What alarmed: a score over the threshold of one try, found as the best of many."""
    from dataclasses import replace

    from watermark.detection.detect import _Judge
    from watermark.detection.readout import read_views

    rng = np.random.default_rng(1)
    reading = read_views([music(10.0, 16_000, 1)], model, ["mix"])["mix"]
    rivals = rng.normal(-4, 1.5, reading.rivals.shape).astype(np.float32)
    excited = replace(reading, pilot=np.full(len(reading.pilot), 3.4, np.float32), rivals=rivals)
    judge = _Judge(model, None, None)
    assert 3.2 < excited.score() < 4.2
    assert judge(excited, "mix").detected
    assert not replace(judge, looks=23)(excited, "mix").detected


def test_a_file_that_grows_past_a_calibrated_length_does_not_change_its_answer(model):
    """9.7 s were held to the threshold of 5 s, and stretched past 10 s to a much lower one."""
    sealed = embed(music(11.0, 16_000, 1), SEAL, KEY, model=model)
    thresholds = [
        detect(sealed.slice(0, seconds), model=model).threshold
        for seconds in (9.6, 9.8, 9.94, 9.96, 10.1, 10.4)
    ]
    assert max(np.abs(np.diff(thresholds))) < 0.05
    assert thresholds == sorted(thresholds, reverse=True)
