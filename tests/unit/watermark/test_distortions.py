"""Attacks do what their names say, repeat exactly, and a wrong list is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from watermark.audio.waveform import Waveform
from watermark.errors import BenchError
from watermark.evaluation.attack_list import (
    default_attacks,
    load_attacks,
    shipped_attacks,
    with_recordings,
    without_missing_plugins,
)
from watermark.evaluation.bench import synthetic_clips
from watermark.evaluation.distortions import ATTACKS, AttackSpec
from watermark.evaluation.metrics import log_spectral_distance

pytestmark = pytest.mark.slow

CONFIG = shipped_attacks()


@pytest.fixture(scope="module")
def clip() -> Waveform:
    return synthetic_clips(count=1, seconds=5.0)[0].waveform


def tone(hz: float, seconds: float = 2.0, rate: int = 32_000) -> Waveform:
    t = np.arange(round(seconds * rate)) / rate
    return Waveform((0.3 * np.sin(2 * np.pi * hz * t))[None].astype(np.float32), rate)


def run(name: str, waveform: Waveform, seed: int = 0, **parameters) -> Waveform:
    return AttackSpec(name, "test", name, parameters).run(waveform, np.random.default_rng(seed))


def level_db(waveform: Waveform) -> float:
    """Of the middle, past filters' beginnings."""
    middle = waveform.samples[:, waveform.length // 4 : -waveform.length // 4]
    return float(10 * np.log10(np.mean(middle.astype(np.float64) ** 2)))


def peak_hz(waveform: Waveform) -> float:
    spectrum = np.abs(np.fft.rfft(waveform.samples[0] * np.hanning(waveform.length)))
    return float(np.argmax(spectrum) * waveform.rate / waveform.length)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(3)
    for name in ("rain", "street"):
        soundfile.write(folder / f"{name}.wav", 0.1 * rng.standard_normal(16_000), 16_000)
    return folder


@pytest.mark.parametrize("spec", load_attacks(CONFIG), ids=lambda spec: spec.name)
def test_every_attack_of_the_list_runs_and_repeats(spec, clip, recordings):
    """Also on mono, and the same seed gives the same samples."""
    [spec], none = with_recordings([spec], recordings)
    assert none == ()
    short = clip.slice(0, 2.5)
    before = short.samples.copy()
    first = spec.run(short, np.random.default_rng(1))
    again = spec.run(short, np.random.default_rng(1))
    np.testing.assert_array_equal(first.samples, again.samples)
    np.testing.assert_array_equal(short.samples, before)  # the input is not written into
    assert first.duration_s > 1.0
    assert level_db(first) > -60
    # Crops and parts are longer than this clip.
    if spec.apply not in ("clean", "mono", "one-channel", "crop", "shuffle"):
        changed = first.length != short.length or first.rate != short.rate
        assert changed or np.abs(first.samples - short.samples).max() > 1e-4
    assert spec.run(short.mono(), np.random.default_rng(1)).length > 0


def test_the_list_covers_what_is_promised():
    specs = load_attacks(CONFIG)
    assert len(specs) >= 30
    assert {s.family for s in specs} >= {
        "none",
        "codec",
        "noise",
        "format",
        "filter",
        "level",
        "space",
        "time",
        "phase",
        "stereo",
    }
    assert {s.apply for s in specs} >= set(ATTACKS)


class TestWhatTheyDo:
    @pytest.mark.parametrize("name", ["white-noise", "pink-noise", "mix-babble"])
    @pytest.mark.parametrize("snr", [0.0, 20.0])
    def test_noise_has_the_ratio_asked_for(self, clip, name, snr):
        noise = run(name, clip, snr_db=snr).samples.astype(np.float64) - clip.samples
        ratio = 10 * np.log10(np.mean(clip.samples.astype(np.float64) ** 2) / np.mean(noise**2))
        assert ratio == pytest.approx(snr, abs=0.1)

    def test_another_seed_is_another_noise(self, clip):
        one, other = (run("white-noise", clip, seed, snr_db=10).samples for seed in (0, 1))
        assert np.abs(one - other).max() > 0.01

    def test_pink_noise_falls_three_decibels_an_octave(self):
        carrier = tone(15_000, 8.0)
        noise = run("pink-noise", carrier, snr_db=0.0).samples[0] - carrier.samples[0]
        power = np.abs(np.fft.rfft(noise)) ** 2
        bins = len(power) / 16_000  # per Hz
        octaves = [power[int(f * bins) : int(2 * f * bins)].mean() for f in (200, 400, 800, 1600)]
        steps = np.diff(10 * np.log10(octaves))
        assert np.allclose(steps, -3.0, atol=0.7)

    def test_filters(self):
        low, high = tone(200), tone(6000)
        assert level_db(run("low-pass", high, hz=2000)) < level_db(high) - 40
        assert level_db(run("low-pass", low, hz=2000)) == pytest.approx(level_db(low), abs=0.2)
        assert level_db(run("high-pass", low, hz=1500)) < level_db(low) - 40
        assert level_db(run("band-pass", high, low_hz=300, high_hz=3400)) < level_db(high) - 24
        assert run("low-pass", tone(100, rate=8000), hz=4000).length == 16_000

    def test_equaliser(self):
        gains = [0, 0, 0, 6, 0, -6]
        for hz, db in ((500, 6.0), (2000, -6.0), (125, 0.0)):
            change = level_db(run("equaliser", tone(hz), gains_db=gains)) - level_db(tone(hz))
            assert change == pytest.approx(db, abs=0.2)

    def test_gain_clips_and_quantiser_steps(self, clip):
        assert np.abs(run("gain", clip, db=20).samples).max() == 1.0
        assert level_db(run("gain", clip, db=-12)) == pytest.approx(level_db(clip) - 12, abs=0.01)
        assert len(np.unique(run("quantise", clip, bits=4).samples)) <= 17

    def test_compressor_narrows_the_range(self):
        loud, soft = tone(500), tone(500)
        soft = Waveform(soft.samples * np.float32(0.05), soft.rate)
        before = level_db(loud) - level_db(soft)
        after = level_db(run("compress", loud, threshold_db=-60, ratio=4)) - level_db(
            run("compress", soft, threshold_db=-60, ratio=4)
        )
        assert after == pytest.approx(before / 4, abs=0.5)

    def test_speed_turns_pitch_and_length(self):
        fast = run("speed", tone(1000, 4.0), factor=1.05)
        assert fast.duration_s == pytest.approx(4.0 / 1.05, abs=0.001)
        assert peak_hz(fast) == pytest.approx(1050, abs=1)

    @pytest.mark.parametrize("factor", [0.9, 1.02, 1.1])
    def test_tempo_keeps_pitch(self, factor):
        fast = run("tempo", tone(1000, 4.0), factor=factor)
        assert fast.duration_s == pytest.approx(4.0 / factor, abs=0.01)
        assert peak_hz(fast) == pytest.approx(1000, abs=3)
        assert level_db(fast) == pytest.approx(level_db(tone(1000)), abs=1.0)

    def test_pitch_keeps_tempo(self):
        high = run("pitch", tone(1000, 4.0), semitones=1)
        assert high.duration_s == 4.0
        assert peak_hz(high) == pytest.approx(1000 * 2 ** (1 / 12), abs=5)

    def test_time_edits(self, clip):
        assert run("crop", clip, start_s=1.5, duration_s=2.0).duration_s == 2.0
        np.testing.assert_array_equal(
            run("crop", clip, start_s=1.5, duration_s=2.0).samples, clip.slice(1.5, 3.5).samples
        )
        assert run("crop", clip, start_s=4.5, duration_s=2.0).duration_s == 2.0
        assert run("delay", clip, ms=100).duration_s == pytest.approx(5.1)
        assert run("cut", clip, ms=300).duration_s == pytest.approx(4.7)

    def test_all_pass_turns_phase_only(self, clip):
        turned = run("all-pass", clip, sections=8)
        before = np.abs(np.fft.rfft(clip.samples[0]))
        after = np.abs(np.fft.rfft(turned.samples[0]))
        assert np.abs(before - after).max() < 0.01 * before.max()
        assert np.abs(turned.samples - clip.samples).max() > 0.1

    def test_stereo_tricks(self, clip):
        np.testing.assert_array_equal(run("polarity", clip).samples, -clip.samples)
        assert run("mono", clip).channels == run("one-channel", clip).channels == 1
        np.testing.assert_array_equal(run("swap-channels", clip).samples, clip.samples[::-1])
        wide, narrow = (run("stereo-width", clip, factor=f).samples for f in (2.0, 0.5))
        left, right = clip.samples
        np.testing.assert_allclose(wide[0] - wide[1], 2 * (left - right), atol=1e-6)
        np.testing.assert_allclose(narrow[0] - narrow[1], (left - right) / 2, atol=1e-6)
        np.testing.assert_allclose(wide.mean(0), clip.samples.mean(0), atol=1e-6)
        mono = clip.mono()
        np.testing.assert_array_equal(run("stereo-width", mono, factor=2.0).samples, mono.samples)
        centred = run("invert-channel", clip.mono())
        assert np.abs(centred.mono().samples).max() == 0

    def test_reverb_and_echo(self):
        click = np.zeros((1, 32_000), np.float32)
        click[0, 100] = 0.5
        click = Waveform(click, 32_000)
        late = run("echo", click, delay_ms=100, gain_db=-6).samples[0]
        assert late[100 + 3200] == pytest.approx(0.25, abs=0.01)
        wet = run("reverb", click, rt60_s=0.5, wet_db=0.0).samples[0]
        early, tail = (np.mean(wet[a : a + 3200] ** 2) for a in (200, 200 + 8000))
        # 60 dB in 0.5 s: 30 dB in a quarter of a second.
        assert 10 * np.log10(early / tail) == pytest.approx(30, abs=2)


class TestList:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("attacks: [", "not YAML"),
            ("other: 1", "under 'attacks'"),
            ("attacks: []", "empty"),
            ("attacks: [{name: a}]", "under 'attacks'"),
            ("attacks: [{name: a, family: x, apply: nonsense}]", "no function 'nonsense'"),
            ("attacks: [{name: a, family: x, apply: gain}]", "missing"),
            ("attacks: [{name: a, family: x, apply: gain, db: 1, hz: 2}]", "unexpected"),
            (
                "attacks: [{name: a, family: x, apply: clean}, {name: a, family: x, apply: mono}]",
                "twice",
            ),
        ],
    )
    def test_refused(self, tmp_path, text, reason):
        path = tmp_path / "list.yaml"
        path.write_text(text)
        with pytest.raises(BenchError, match=reason):
            load_attacks(path)

    def test_missing(self, tmp_path):
        with pytest.raises(BenchError, match="no such file"):
            load_attacks(tmp_path / "none.yaml")

    def test_a_list_of_the_working_directory_goes_before_the_shipped_one(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        assert default_attacks() == shipped_attacks()
        older, own = tmp_path / "configs/attacks.yaml", tmp_path / "configs/watermark/attacks.yaml"
        for path in (older, own):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("attacks: []")
            assert default_attacks() == path

    def test_an_attack_whose_modules_are_missing_is_left_out_by_name(self, tmp_path):
        path = tmp_path / "list.yaml"
        entry = "{name: %s, family: x, apply: plugin, function: 'm:f', needs: [%s]}"
        path.write_text(
            f"attacks: [{entry % ('can', 'json')}, {entry % ('cannot', 'json, no_such_module')}]"
        )
        kept, left_out = without_missing_plugins(load_attacks(path))
        assert [spec.name for spec in kept] == ["can"]
        assert left_out == {"cannot": "no_such_module"}


class TestRecordings:
    SPECS = (
        AttackSpec("clean", "none", "clean", {}),
        AttackSpec("street 10 dB", "noise", "recorded-noise", {"snr_db": 10.0}),
    )

    def test_the_noise_is_the_recordings_at_the_level_asked_for(self, recordings):
        (_, spec), left_out = with_recordings(self.SPECS, recordings)
        quiet = tone(440, seconds=3.0, rate=16_000)  # longer than one recording
        added = Waveform(spec.run(quiet, np.random.default_rng(0)).samples - quiet.samples, 16_000)
        assert left_out == ()
        assert level_db(quiet) - level_db(added) == pytest.approx(10, abs=0.5)
        known = [soundfile.read(path)[0] for path in sorted(recordings.iterdir())]
        first = added.samples[0, :16_000]
        assert max(abs(np.corrcoef(first, other)[0, 1]) for other in known) > 0.99

    def test_without_a_folder_they_are_left_out_by_name(self):
        kept, left_out = with_recordings(self.SPECS, None)
        assert [spec.name for spec in kept] == ["clean"]
        assert left_out == ("street 10 dB",)
        with pytest.raises(BenchError, match="--noise"):
            self.SPECS[1].run(tone(440), np.random.default_rng(0))

    def test_a_folder_without_recordings_is_refused(self, tmp_path):
        with pytest.raises(BenchError, match="no wav, ogg or flac"):
            with_recordings(self.SPECS, tmp_path)

    def test_silent_recordings_come_to_an_end(self, tmp_path):
        soundfile.write(tmp_path / "silence.wav", np.zeros(1000), 16_000)
        (_, spec), _ = with_recordings(self.SPECS, tmp_path)
        attacked = spec.run(tone(440), np.random.default_rng(0))
        assert np.isfinite(attacked.samples).all()


def test_a_plugin_is_called_by_name_and_a_missing_one_says_what_to_do():
    spec = AttackSpec("mine", "x", "plugin", {"function": f"{__name__}:halved", "factor": 0.5})
    once = tone(440)
    np.testing.assert_allclose(spec.run(once, np.random.default_rng(0)).samples, once.samples / 2)
    for wrong in ("nowhere.at_all:f", f"{__name__}:no_such", ""):
        lost = AttackSpec("lost", "x", "plugin", {"function": wrong})
        with pytest.raises(BenchError, match="cannot be imported"):
            lost.run(once, np.random.default_rng(0))


def test_a_plugin_is_looked_at_before_it_is_needed():
    def plugin(function, **rest):
        return AttackSpec("mine", "x", "plugin", {"function": function, **rest})

    plugin(f"{__name__}:halved", factor=0.5).check()
    AttackSpec("clean", "none", "clean", {}).check()
    for spec, reason in (
        (plugin("nowhere.at_all:f"), "install what it lies in"),
        (plugin(f"{__name__}:halved"), "missing"),
        (plugin(f"{__name__}:halved", factor=1, other=2), "unexpected"),
        (plugin(f"{__name__}:CONFIG"), "not a function"),
    ):
        with pytest.raises(BenchError, match=reason):
            spec.check()
    for name, reason in (("lost_its_way", "failed: no way"), ("gave_nothing", "no Waveform")):
        with pytest.raises(BenchError, match=reason):
            plugin(f"{__name__}:{name}").run(tone(440), np.random.default_rng(0))


def lost_its_way(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    raise RuntimeError("no way")


def gave_nothing(waveform: Waveform, rng: np.random.Generator) -> None:
    return None


def test_the_house_codec_keeps_length_and_music_but_not_samples(clip):
    """What comes back is nearer to what went in than to another piece of the same music."""
    from studio.music.training.codec_attack import codec_round_trip

    short = clip.slice(0.5, 2.5)
    back = codec_round_trip(short, np.random.default_rng(0))
    assert (back.length, back.rate, back.channels) == (short.length, short.rate, 1)

    def distance(one: Waveform, other: Waveform) -> float:
        found = log_spectral_distance(one, other)
        assert found is not None
        return found

    assert np.abs(back.samples - short.mono().samples).max() > 0.01
    assert distance(back, short.mono()) < 0.8 * distance(back, clip.slice(2.7, 4.7).mono())


def halved(waveform: Waveform, rng: np.random.Generator, *, factor: float) -> Waveform:
    return Waveform(waveform.samples * np.float32(factor), waveform.rate)


def test_shuffled_parts_are_the_same_parts_elsewhere():
    ramp = Waveform(np.linspace(0.1, 0.9, 40_000, dtype=np.float32)[None], 16_000)
    for seed in range(5):
        attacked = run("shuffle", ramp, seed=seed, part_s=0.5)
        assert attacked.length == ramp.length
        np.testing.assert_array_equal(np.sort(attacked.samples), ramp.samples)
        assert not np.array_equal(attacked.samples, ramp.samples)


def test_loudness_is_set_and_nothing_passes_full_scale():
    loud = run("loudness", tone(440), rms_db=-6.0)
    assert level_db(loud) == pytest.approx(-6, abs=1)
    assert np.abs(loud.samples).max() <= 1.0
    assert level_db(run("loudness", tone(440), rms_db=-30.0)) == pytest.approx(-30, abs=0.1)
