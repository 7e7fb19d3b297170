"""The bench counts right: on a toy seal whose behaviour under each attack is known."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from watermark.audio.waveform import Waveform, write
from watermark.coding.identify import Identification, identify
from watermark.coding.message import SealKey, messages
from watermark.errors import BenchError
from watermark.evaluation.adversarial import all_threats
from watermark.evaluation.bench import (
    AttackResult,
    Bench,
    BenchReport,
    load_clips,
    synthetic_clips,
)
from watermark.evaluation.distortions import AttackSpec
from watermark.evaluation.metrics import (
    log_spectral_distance,
    modulation_depth_db,
    noise_to_mask,
    si_snr,
)
from watermark.evaluation.report import as_html, as_png, as_text
from watermark.models.base import SEAL_RATE
from watermark.models.networks import Spectrum
from watermark.util.stats import wilson

pytestmark = pytest.mark.slow

KEY = SealKey(1, b"b" * 32)


@dataclass
class ToyReading:
    detected: bool
    score: float
    message_logits: np.ndarray
    identification: Identification | None


def toy_carrier(seconds: int, rate: int) -> np.ndarray:
    """Sixteen fixed unit sequences per second: a spread-spectrum seal anybody can follow."""
    rng = np.random.default_rng(123)
    return rng.standard_normal((seconds, 16, rate)) / np.sqrt(rate)


def toy_seal(waveform: Waveform, seal_id) -> Waveform:
    seconds = int(waveform.duration_s)
    signs = messages(KEY, seal_id, seconds) * 2.0 - 1.0
    spread = np.einsum("kb,kbn->kn", signs, toy_carrier(seconds, waveform.rate)).reshape(1, -1)
    return Waveform((waveform.samples + 3.0 * spread).astype(np.float32), waveform.rate)


def toy_read(waveform: Waveform, codebook) -> ToyReading:
    seconds = int(waveform.duration_s)
    blocks = waveform.mono().samples[0, : seconds * waveform.rate].reshape(seconds, -1)
    logits = np.einsum("kn,kbn->kb", blocks, toy_carrier(seconds, waveform.rate))
    score = float(np.abs(logits).mean())
    return ToyReading(score > 1.0, score, logits, identify(logits, codebook))


@pytest.fixture(scope="module")
def clips():
    found = synthetic_clips(count=3, seconds=6.0)
    quiet = [Waveform((c.waveform.samples * 0.1).astype(np.float32), 32_000) for c in found]
    return [type(c)(c.name, w) for c, w in zip(found, quiet, strict=True)]


def run(specs, clips, *, decoys=10_000, **stated) -> BenchReport:
    """Every clip through every attack, in this process."""
    bench = Bench(clips, seal=toy_seal, read=toy_read, key=KEY, decoys=decoys)
    results = [bench.attack(number, spec) for number, spec in enumerate(specs)]
    return bench.report(results, **stated)


@pytest.fixture(scope="module")
def report(clips) -> BenchReport:
    specs = [
        AttackSpec("clean", "none", "clean", {}),
        AttackSpec("polarity inverted", "phase", "polarity", {}),
        AttackSpec("shifted", "time", "delay", {"ms": 10}),
        AttackSpec("too many channels", "codec", "codec", {"format": "nonsense"}),
    ]
    return run(specs, clips, decoys=300, setting={"model": "toy"})


def row(report: BenchReport, name: str) -> AttackResult:
    return next(r for r in report.results if r.attack == name)


class TestRun:
    def test_clean_is_detected_and_named(self, report):
        clean = row(report, "clean")
        assert (clean.clips, clean.detected, clean.identified) == (3, 3, 3)
        assert (clean.false_alarms, clean.misattributed) == (0, 0)
        assert clean.bit_accuracy > 0.95
        assert clean.highest_unsealed < 1.0 < clean.lowest_sealed <= clean.score
        assert clean.si_snr_db == 100.0
        assert clean.log_spectral_distance_db == 0.0

    def test_an_attack_that_turns_every_bit_is_detected_but_not_named(self, report):
        inverted = row(report, "polarity inverted")
        assert inverted.detected == 3
        assert inverted.identified == 0
        # Every bit is wrong at the right offset; at the best of the others it is chance.
        assert 0.5 < inverted.bit_accuracy < 0.75

    def test_an_attack_that_destroys_the_seal(self, report):
        shifted = row(report, "shifted")
        assert shifted.detected == 0
        assert shifted.detection_rate == 0.0

    def test_an_attack_that_cannot_run_is_a_failure_with_its_reason(self, report):
        broken = row(report, "too many channels")
        assert broken.clips == 0
        assert len(broken.failed) == 3
        assert "nonsense" in broken.failed[0]

    def test_worst_first_and_failures_named(self, report):
        assert {r.attack for r in report.failures} == {
            "shifted",
            "too many channels",
            "polarity inverted",  # detected, but not named
        }
        assert [r.attack for r in report.results][-1] == "clean"
        rates = [r.detection_rate for r in report.failures]
        assert rates == sorted(rates)

    def test_a_false_alarm_is_a_failure_however_well_the_seal_is_found(self):
        good = AttackResult("x", "y", 8, 8, 8, 0, 0, 0.9, 5.0, None, None)
        assert not good.fails
        for change in ({"false_alarms": 1}, {"misattributed": 1}, {"identified": 7}):
            bad = replace(good, **change)
            assert bad.fails
        text = as_text(BenchReport((replace(good, false_alarms=3),), ("a",), 10.0, 1, 20.0))
        assert "3 false alarms on unsealed clips" in text.splitlines()[1]

    def test_quality_of_the_seal_is_stated(self, report, clips):
        sealed = [toy_seal(c.waveform, s) for c, s in zip(clips, toy_ids(3), strict=True)]
        expected = np.mean([si_snr(s, c.waveform) for s, c in zip(sealed, clips, strict=True)])
        assert report.seal_si_snr_db == pytest.approx(expected, abs=0.5)

    def test_repeats_exactly(self, clips):
        specs = [AttackSpec("noise", "noise", "white-noise", {"snr_db": 10})]
        one, two = (run(specs, clips[:1]) for _ in range(2))
        assert one.to_json() == two.to_json()

    def test_nothing_to_do(self):
        with pytest.raises(BenchError):
            run([], [])


def toy_ids(count):
    from watermark.coding.message import SealId

    return [SealId.random() for _ in range(count)]


class TestReport:
    def test_json_is_plain_and_complete(self, report):
        data = json.loads(json.dumps(report.to_json(), allow_nan=False))
        assert data["failures"] == [r.attack for r in report.failures]
        assert len(data["results"]) == 4
        clean = next(r for r in data["results"] if r["attack"] == "clean")
        assert clean["detection_rate"] == 1.0
        assert clean["detection_interval"] == [0.438, 1.0]
        assert data["setting"] == {"model": "toy"}

    def test_text_names_failures_first(self, report):
        lines = as_text(report).splitlines()
        assert lines[0].startswith("3 attacks fail")
        assert "nonsense" in "".join(lines[1:4])
        assert any(line.startswith("clean") and "3/3" in line for line in lines)

    def test_both_rates_have_their_interval_on_the_page(self):
        one = AttackResult("x", "y", 8, 8, 2, 0, 0, None, None, None, None)
        page = as_html(BenchReport((one,), ("a",), 1.0, 1, 20.0))
        for hits in (8, 2):
            low, high = wilson(hits, 8)
            assert f"<td>{low:.2f}-{high:.2f}</td>" in page

    def test_picture_grows_with_the_attacks(self, report):
        def size(rows) -> tuple[int, int]:
            png = as_png(replace(report, results=rows))
            assert png.startswith(b"\x89PNG")
            return struct.unpack(">II", png[16:24])

        few, many = size(report.results), size(report.results * 5)
        assert few[0] == many[0]
        assert many[1] > few[1] + 200

    def test_html_escapes(self, report):
        nasty = AttackResult("<script>", "x", 1, 1, 1, 0, 0, None, None, None, None)
        page = as_html(BenchReport((nasty,), ("a",), 1.0, 1, 20.0, {"audio": "<b>"}))
        assert "<script>" not in page
        assert "<b>" not in page
        assert "&lt;script&gt;" in page
        assert page.count("<tr") == 2


class TestMeasures:
    def test_wilson_against_published_values(self):
        """Newcombe 1998, table I: 81/263 and 15/148, 95 %."""
        assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=0.0006)
        assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=0.0006)
        assert wilson(0, 20)[0] == 0.0
        assert wilson(20, 20)[1] == 1.0

    def test_si_snr(self):
        rng = np.random.default_rng(0)
        clean = rng.standard_normal((1, 16_000)).astype(np.float32)
        noisy = clean + 0.1 * rng.standard_normal((1, 16_000)).astype(np.float32)
        wave, other = Waveform(clean, 16_000), Waveform(noisy, 16_000)
        assert si_snr(other, wave) == pytest.approx(20, abs=0.3)
        assert si_snr(Waveform(noisy * np.float32(0.3), 16_000), wave) == pytest.approx(20, abs=0.3)
        assert si_snr(wave, wave) == 100.0
        assert si_snr(wave.slice(0, 0.5), wave) is None

    def test_log_spectral_distance_of_a_gain_is_the_gain(self):
        rng = np.random.default_rng(0)
        wave = Waveform(rng.standard_normal((1, 16_000)).astype(np.float32) * 0.1, 16_000)
        half = Waveform(wave.samples * np.float32(0.5), 16_000)
        assert log_spectral_distance(half, wave) == pytest.approx(6.02, abs=0.05)


def tones(depth: float = 0.0) -> Waveform:
    """Three steady tones, their level modulated at 12.5 Hz by ``depth``."""
    t = np.arange(64_000) / 32_000
    x = sum(np.sin(2 * np.pi * f * t) for f in (300, 900, 2700))
    return Waveform(
        (0.1 * x * (1 + depth * np.sin(2 * np.pi * 12.5 * t)))[None].astype("f4"), 32_000
    )


class TestPerception:
    def test_noise_to_mask_grows_with_the_noise_and_with_its_distance_from_the_masker(self):
        clean = tones()
        rng = np.random.default_rng(0)
        noise = rng.standard_normal(clean.samples.shape).astype("f4")
        quiet, loud = (
            noise_to_mask(Waveform(clean.samples + np.float32(g) * noise, 32_000), clean)
            for g in (1e-4, 1e-2)
        )
        assert loud - quiet == pytest.approx(40, abs=2)
        t = np.arange(64_000) / 32_000
        near, far = (
            noise_to_mask(
                Waveform(clean.samples + (1e-3 * np.sin(2 * np.pi * f * t)).astype("f4"), 32_000),
                clean,
            )
            for f in (950, 7000)
        )
        assert far > near + 20
        assert noise_to_mask(clean, clean) == -100.0
        assert noise_to_mask(clean.slice(0, 1), clean) is None

    def test_modulation_depth_is_read_back(self):
        for depth in (0.03, 0.1):
            found = modulation_depth_db(tones(depth), tones())
            assert found == pytest.approx(20 * np.log10(depth), abs=1.0)

    def test_steady_bands_are_counted_apart(self):
        """A tone left alone under a flickering band that is modulated: only the latter wobbles."""
        t = np.arange(64_000) / 32_000
        tone = 0.3 * np.sin(2 * np.pi * 320 * t)
        flicker = (
            0.3 * (1 + 0.8 * np.sign(np.sin(2 * np.pi * 6 * t))) * np.sin(2 * np.pi * 3200 * t)
        )
        wobble = 1 + 0.1 * np.sin(2 * np.pi * 12.5 * t)

        def mix(low, high):
            return Waveform((low + high)[None].astype("f4"), 32_000)

        clean = mix(tone, flicker)
        loud = mix(tone, flicker * wobble)
        assert modulation_depth_db(loud, clean) > -26
        assert modulation_depth_db(loud, clean, steady_db=1.0) < -35
        steady = mix(tone * wobble, flicker)
        assert modulation_depth_db(steady, clean, steady_db=1.0) == pytest.approx(-20, abs=1.5)
        noise = np.random.default_rng(0).standard_normal((1, 64_000)).astype("f4")
        rough = Waveform(noise, 32_000)
        assert modulation_depth_db(rough, rough, steady_db=0.3) is None


class TestThreats:
    def test_copy_carries_the_seal_over_and_a_stranger_over_it_may_not_matter(self, clips):
        def stranger(waveform, seal_id):
            return Waveform((waveform.samples * np.float32(0.9)).astype(np.float32), waveform.rate)

        specs = [AttackSpec("clean", "none", "clean", {})]
        report = run(specs, clips, decoys=300, threats=all_threats(stranger))
        done = {threat.name: threat for threat in report.threats}
        names = ["overwrite", "overwrite beside", "copy", "copy of band gains", "average"]
        names.append("pilot taken out")
        assert list(done) == names
        assert done["copy of band gains"].si_snr_db is not None
        assert (done["copy"].clips, done["copy"].identified) == (3, 3)
        assert (done["overwrite"].detected, done["overwrite"].identified) == (3, 3)
        assert done["average"].si_snr_db is not None
        assert "threat copy" in as_text(report)
        assert report.to_json()["threats"][2]["name"] == "copy"

    def test_a_stranger_beside_seals_a_clip_that_begins_later(self, clips):
        """The stranger hears 40 ms of silence first, and those are not in what is read."""
        heard = []

        def stranger(waveform, seal_id):
            heard.append(waveform)
            return Waveform(waveform.samples + np.float32(0.01), waveform.rate)

        threats = {threat.name: threat for threat in all_threats(stranger)}
        music = clips[0].waveform
        [(_, attacked, _)] = threats["overwrite beside"].do([music], [music])
        late = round(0.04 * music.rate)
        assert heard[0].length == music.length + late
        assert np.abs(heard[0].samples[:, :late]).max() == 0
        np.testing.assert_allclose(attacked.samples, music.samples + np.float32(0.01), atol=1e-6)
        threats["overwrite"].do([music], [music])
        assert heard[1].length == music.length  # the plain one: on the same grid

    def test_copied_gains_are_those_of_the_seal_on_the_other_music(self):
        """Bands made louder in one clip become louder in the other, and no others do."""
        rng = np.random.default_rng(0)
        one, two = (
            Waveform(0.1 * rng.standard_normal((1, 48_000)).astype("f4"), SEAL_RATE)
            for _ in range(2)
        )
        spectrum = Spectrum()
        X = spectrum.stft(torch.from_numpy(one.samples))
        gains = torch.zeros(1, len(spectrum.bands), X.shape[-1])
        gains[:, 20:60] = 0.2  # nepers, 1.74 dB
        mark = spectrum.mark(X, gains, one.length).numpy()
        sealed = Waveform(one.samples + mark, SEAL_RATE)
        copy = next(t for t in all_threats(toy_seal) if t.name == "copy of band gains")

        def change(after: Waveform, before: Waveform) -> np.ndarray:
            levels = [
                spectrum.log_energy(spectrum.stft(torch.from_numpy(w.samples)))
                for w in (after, before)
            ]
            return (levels[0] - levels[1])[0].mean(-1).numpy()  # dB, (bands,)

        (owner, attacked, beside), _ = copy.do([one, two], [sealed, two])
        assert (owner, beside) == (0, two)
        gained = change(attacked, two)
        np.testing.assert_allclose(gained[25:55], change(sealed, one)[25:55], atol=0.1)
        assert gained[25:55].min() > 1.5
        assert np.abs(gained[:15]).max() < 0.1
        assert np.abs(gained[65:]).max() < 0.1
        # Where nothing was sealed there is nothing to copy.
        (_, same, _), _ = copy.do([one, two], [one, two])
        np.testing.assert_allclose(same.samples, two.samples, atol=1e-6)

    def test_among_a_million_seals_the_bound_is_wider(self, report):
        clean = row(report, "clean")
        assert clean.identified_million <= clean.identified


class TestClips:
    def test_made_up_music_is_music_of_its_own(self):
        one, two = synthetic_clips(count=2, seconds=4.0)
        assert one.waveform.duration_s == 4.0
        assert one.waveform.channels == 2
        assert np.abs(one.waveform.samples).max() == pytest.approx(0.7)
        assert np.abs(np.corrcoef(one.waveform.samples[0], two.waveform.samples[0])[0, 1]) < 0.5
        again = synthetic_clips(count=2, seconds=4.0)
        np.testing.assert_array_equal(again[1].waveform.samples, two.waveform.samples)

    def test_from_a_folder(self, tmp_path):
        music = synthetic_clips(count=1, seconds=6.0)[0].waveform
        write(tmp_path / "a.flac", music)
        write(tmp_path / "b.wav", music.slice(0, 1))
        write(tmp_path / "c.wav", Waveform(np.zeros((1, 60_000), np.float32), 10_000))
        (tmp_path / "d.mp3").write_bytes(b"nothing")
        (tmp_path / "notes.txt").write_text("x")
        clips, left_out = load_clips(tmp_path, count=5, seconds=4.0)
        assert [clip.name for clip in clips] == ["a.flac"]
        assert clips[0].waveform.duration_s == 4.0
        assert len(left_out) == 3
        with pytest.raises(BenchError, match="no audio file"):
            load_clips(tmp_path, count=5, seconds=60.0)
        with pytest.raises(BenchError, match="no folder"):
            load_clips(tmp_path / "none", count=5, seconds=4.0)
