"""Rendering: bit-identical, at one level, and with what the notes say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from studio.core.errors import HouseError
from studio.music.composer import Composition, Mix, Note, Part, compose
from studio.music.training import rendering, synthesiser
from studio.music.training.rendering import PEAK_DBFS, RATE, RMS_DBFS, Renderer, samples_digest

pytestmark = pytest.mark.slow

needs_synth = pytest.mark.needs("fluidsynth", "soundfont")


def shortened(composition: Composition, bars: int = 4) -> Composition:
    """The first bars of a piece: rendering a whole one takes a third of a second."""
    end = bars * composition.bar_frames
    parts = tuple(
        replace(part, notes=tuple(n for n in part.notes if n.start < end))
        for part in composition.parts
    )
    return replace(composition, bars=bars, parts=tuple(part for part in parts if part.notes))


def piece(genre: str, mood: str = "calm", seed: int = 3) -> Composition:
    return shortened(compose(seed=seed, genre=genre, mood=mood, lead="piano", tempo="fast"))


@pytest.fixture(scope="module")
def renderer():
    with Renderer() as renderer:
        yield renderer


def level_db(samples: np.ndarray) -> float:
    blocks = (samples / 32767.0)[: len(samples) // 12800 * 12800].reshape(-1, 12800)
    power = np.mean(blocks**2, axis=1)
    return float(10 * np.log10(np.mean(power[power >= power.max() / 100])))


@needs_synth
def test_the_same_piece_gives_the_same_samples_whatever_came_before(renderer):
    first = piece("folk")
    before = renderer.render(first)
    renderer.render(piece("techno", "energetic"))
    after = renderer.render(first)
    assert np.array_equal(before, after)
    with Renderer() as other:
        assert np.array_equal(other.render(first), before)
    assert samples_digest(before) == samples_digest(after)
    assert not np.array_equal(renderer.render(piece("folk", seed=4))[: len(before)], before)


@needs_synth
@pytest.mark.parametrize("genre", ["ambient", "techno", "jazz", "drum-and-bass"])
def test_level_peak_and_offset_are_the_same_for_every_genre(renderer, genre):
    samples = renderer.render(piece(genre))
    assert samples.dtype == np.int16
    assert level_db(samples) == pytest.approx(RMS_DBFS, abs=0.5)
    assert np.max(np.abs(samples.astype(int))) <= round(32767 * 10 ** (PEAK_DBFS / 20)) + 1
    # The soundfont's warm pad (ambient, and every calm mood) carries a large offset of its own.
    assert abs(samples.mean()) < 0.005 * samples.std()


@needs_synth
def test_length_is_that_of_the_notes(renderer):
    composition = piece("rock")
    assert len(renderer.render(composition)) == composition.frames * RATE // 50


@needs_synth
def test_a_note_sounds_when_and_as_high_as_it_is_written(renderer):
    """A single A4 at frame 50: silence before it, 440 Hz in it."""
    note = Note(50, 100, 69, 100)
    composition = replace(
        piece("rock"), parts=(Part("lead", 73, 0.0, (note,)),), bars=3, mix=Mix(0.0, 0.0)
    )
    samples = renderer.render(composition) / 32767.0
    onset = 50 * 640
    assert np.max(np.abs(samples[:onset])) < 0.001
    sounding = samples[onset + 3200 : onset + 3200 + 32000]
    spectrum = np.abs(np.fft.rfft(sounding * np.hanning(len(sounding))))
    assert np.argmax(spectrum) == pytest.approx(440, abs=3)


@needs_synth
def test_a_brighter_mix_is_brighter(renderer):
    composition = piece("jazz")

    def treble(brightness_db: float) -> float:
        mix = Mix(brightness_db, 0.1)
        spectrum = (
            np.abs(np.fft.rfft(renderer.render(replace(composition, mix=mix)) / 32767.0)) ** 2
        )
        split = len(spectrum) * 4000 // (RATE // 2)
        return float(spectrum[split:].sum() / spectrum.sum())

    assert treble(6.0) > 2 * treble(-6.0)


@needs_synth
def test_a_program_the_soundfont_lacks_is_an_error_and_the_renderer_survives_it(renderer):
    composition = replace(
        piece("rock"), parts=(Part("drums", 111, 0.0, (Note(0, 5, 36, 99),), True),)
    )
    with pytest.raises(HouseError, match="no program 111"):
        renderer.render(composition)
    assert renderer.render(piece("rock")).any()


@needs_synth
def test_a_silent_piece_is_an_error(renderer):
    composition = replace(piece("rock"), parts=(Part("lead", 0, 0.0, (Note(9999, 5, 60, 99),)),))
    with pytest.raises(HouseError, match="silent"):
        renderer.render(composition)


def test_a_missing_soundfont_names_the_packages(monkeypatch):
    monkeypatch.setattr(synthesiser, "_SOUNDFONTS", ())
    with pytest.raises(HouseError, match="fluidr3mono-gm-soundfont"):
        Renderer()


def test_a_missing_library_names_the_packages(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    with pytest.raises(HouseError, match="libfluidsynth3"):
        Renderer(tmp_path / "any.sf3")


@needs_synth
def test_a_file_that_is_no_soundfont_is_an_error(tmp_path, capfd):
    path = tmp_path / "broken.sf3"
    path.write_bytes(b"RIFF....")
    with pytest.raises(HouseError, match="cannot load"):
        Renderer(path)


def test_the_limiter_holds_the_ceiling_and_leaves_quiet_music_alone():
    rng = np.random.default_rng(1)
    quiet = (0.05 * rng.standard_normal(RATE)).astype(np.float32)
    loud = quiet.copy()
    loud[16_000] = 4.0
    ceiling = 10 ** (PEAK_DBFS / 20)
    assert np.allclose(rendering._limit(quiet), quiet)
    limited = rendering._limit(loud)
    assert np.max(np.abs(limited)) <= ceiling + 1e-6
    assert np.allclose(limited[:15_000], quiet[:15_000])


def test_importing_is_free():
    """No synthesiser, no scipy, no torch at import."""
    code = (
        "import sys, studio.music.training.rendering, studio.music.training.catalogue\n"
        "sys.exit(any(m in sys.modules for m in ('fluidsynth', 'scipy', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
