"""Renderer, data and training of the stem codec, with tiny networks."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from studio.core.errors import ConfigError, HouseError
from studio.music.models.house.excitation import InstrumentTables
from studio.music.models.house.notes import RATE, TimedNote, TimedScore
from studio.music.models.house.stem_codec import StemCodec, StemCodecConfig
from studio.music.training.stems.codec_training import (
    StemCodecTraining,
    StemTrainingConfig,
    spectral_loss,
    train_stem_codec,
)
from studio.music.training.stems.data import StemTracks, excerpt, prepare_tracks, varied
from studio.music.training.stems.evaluation import (
    evaluate_stem_codec,
    log_mel_error,
    valley_to_peak,
)
from studio.music.training.stems.instrument_tables import measure_drum, measure_note, measure_tables
from studio.music.training.stems.rendering import StemRenderer
from tests.unit.music.test_stem_codec import score, tables

pytestmark = pytest.mark.slow

needs_synth = pytest.mark.needs("fluidsynth", "soundfont")
RECIPE = Path(__file__).parents[3] / "configs" / "train" / "stem-codec.yaml"
MODEL = StemCodecConfig(dim=16, predictor_layers=1, encoder_layers=1, decoder_layers=1, bins=16)
CONFIG = StemTrainingConfig(
    MODEL,
    batch=6,
    frames=40,
    levels_steps=3,
    codes_steps=3,
    decoder_batch=2,
    decoder_frames=25,
    decoder_steps=3,
)


class Synth:
    """In the renderer's place where a test needs no soundfont: the excitation, louder."""

    def __init__(self) -> None:
        self.codec = StemCodec(MODEL, tables())

    def stems(self, piece: TimedScore) -> np.ndarray:
        played = [self.codec.excitation.stem(n, 0, piece.samples).sum(0) for n in piece.stems]
        return 1.5 * np.stack(played)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory) -> StemTracks:
    folder = tmp_path_factory.mktemp("tracks")
    synth = Synth()
    pieces = [(k, lambda: score(2.0)) for k in range(2)]
    assert prepare_tracks(pieces, folder, synth.codec, synth) == 2
    assert prepare_tracks(pieces, folder, synth.codec, synth) == 0  # they are there already
    return StemTracks(folder)


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(tracks, tmp_path):
    whole = StemCodecTraining(CONFIG, tables(), tracks)
    for _ in range(CONFIG.steps):
        whole.step()
    for stop in (2, 5, 6, 7):
        first = StemCodecTraining(CONFIG, tables(), tracks)
        for _ in range(stop):
            first.step()
        first.save(tmp_path / "state.pt")
        second = StemCodecTraining(CONFIG, tables(), tracks)
        second.restore(tmp_path / "state.pt")
        while second.position < CONFIG.steps:
            second.step()
        for (name, a), b in zip(
            whole.codec.state_dict().items(), second.codec.state_dict().values(), strict=True
        ):
            assert torch.equal(a, b), (stop, name)


def test_tokens_do_not_change_while_the_decoder_learns(tracks, tmp_path):
    rounded = InstrumentTables.from_arrays(tables().to_arrays())  # as read from a file
    training = StemCodecTraining(CONFIG, rounded, tracks)
    while training.position < 7:
        training.step()
    piece, synth = score(2.0), Synth()
    before = training.averaged_codec()
    while training.position < CONFIG.steps:
        training.step()
    after = training.averaged_codec()
    after.save(tmp_path / "c.safetensors")
    loaded = StemCodec.load(tmp_path / "c.safetensors")
    audio = synth.stems(piece)
    tokens = before.encode(audio, piece)
    assert torch.equal(after.encode(audio, piece), tokens)
    assert torch.equal(loaded.encode(audio, piece), tokens)
    assert not np.array_equal(before.decode(tokens, piece), after.decode(tokens, piece))


def test_training_lowers_the_loss_and_writes_a_log(tracks, tmp_path):
    config = replace(CONFIG, levels_steps=25, codes_steps=10, decoder_steps=12, save_minutes=0)
    path = train_stem_codec(config, tables(), tracks, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == config.steps
    predicted = [line["predicted"] for line in lines if line["phase"] == "levels"]
    assert predicted[-1] < 0.8 * predicted[0]
    report = evaluate_stem_codec(StemCodec.load(path), tracks)
    errors = report.errors
    assert errors["with tokens"]["mix"] < 0.9 * errors["excitation alone"]["mix"]
    assert "mix" in report.text()


def test_a_run_stops_when_its_minutes_are_over_and_resumes(tracks, tmp_path):
    train_stem_codec(CONFIG, tables(), tracks, tmp_path, max_minutes=0)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1]
    train_stem_codec(CONFIG, tables(), tracks, tmp_path)
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["step"] == 9


def test_a_new_run_may_begin_with_another_codec(tracks, tmp_path):
    old = StemCodec(MODEL, tables())
    with torch.no_grad():
        old.decoder.out.bias.fill_(0.25)
    old.save(tmp_path / "old.safetensors")
    path = train_stem_codec(
        CONFIG, tables(), tracks, tmp_path / "run", start=tmp_path / "old.safetensors",
        max_minutes=0,
    )  # fmt: skip
    new = StemCodec.load(path)
    assert torch.all(new.decoder.out.bias == 0.25)
    path = train_stem_codec(CONFIG, tables(), tracks, tmp_path / "without", max_minutes=0)
    assert torch.all(StemCodec.load(path).decoder.out.bias == 0)
    other = StemCodec(replace(MODEL, dim=8), tables())
    other.save(tmp_path / "other.safetensors")
    with pytest.raises(ConfigError):
        train_stem_codec(
            CONFIG, tables(), tracks, tmp_path / "no", start=tmp_path / "other.safetensors"
        )


def test_batches_follow_their_key_and_pass_over_silence(tracks):
    one, two, other = (tracks.batch(8, 25, (1, k), audio=True) for k in (1, 1, 2))
    assert torch.equal(one[2], two[2])
    assert not torch.equal(one[2], other[2])
    assert all(float(row.abs().max()) > 1e-4 for row in one[2][:, 0])
    assert one[2].shape == (8, 3, 24_000)


def test_the_shipped_recipe_is_read_and_its_mistakes_are_named(tmp_path):
    for profile in ("cpu", "gpu"):
        assert StemTrainingConfig.load(RECIPE, profile).steps > 1000
    with pytest.raises(ConfigError, match="profiles are"):
        StemTrainingConfig.load(RECIPE, "tpu")
    (tmp_path / "r.yaml").write_text(RECIPE.read_text().replace("clip:", "clap:"))
    with pytest.raises(ConfigError, match="clap"):
        StemTrainingConfig.load(tmp_path / "r.yaml", "cpu")
    with pytest.raises(HouseError):
        StemTracks(tmp_path)


def test_an_excerpt_keeps_what_begins_within_it():
    part = excerpt(score(), 1.0, 1.5)
    assert part.duration_s == 1.5
    assert [n.start_s for n in part.stems[2]] == pytest.approx([0.23456])
    assert [n.pitch for n in part.stems[1]] == [43]
    assert excerpt(score(), 3.5, 10).duration_s == 0.5


def test_varied_scores_keep_the_rhythm_and_stay_within_bounds():
    piece = score()
    programs = set()
    for seed in range(20):
        other = varied(piece, random.Random(seed))
        ratio = other.duration_s / piece.duration_s
        assert 0.8 <= ratio <= 1.25
        for old, new in zip(piece.stems, other.stems, strict=True):
            assert [n.start_s for n in new] == pytest.approx([n.start_s * ratio for n in old])
        programs |= {n.program for n in other.stems[3]}
    assert len(programs) > 4


def test_figures_of_sound_know_better_from_worse():
    time = np.arange(2 * RATE) / RATE
    tones = sum(0.1 * np.sin(2 * np.pi * f * time) for f in (220, 440, 660, 880))
    tones = tones.astype(np.float32)
    noise = np.random.default_rng(1).normal(0, 0.01, len(tones)).astype(np.float32)
    assert log_mel_error(tones, tones) == 0
    assert log_mel_error(2 * tones, tones) < log_mel_error(tones + noise, tones)
    assert valley_to_peak(tones) < valley_to_peak(tones + noise) - 10
    a, b = (torch.from_numpy(x)[None] for x in (tones, tones + noise))
    assert spectral_loss(a, a) == 0 < spectral_loss(a, b)


# With the soundfont ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def renderer():
    with StemRenderer() as renderer:
        yield renderer


@needs_synth
def test_renders_are_the_same_whatever_came_before(renderer):
    piece = TimedScore.of(
        {
            "drums": [TimedNote(0.1, 0.1, 46, 90, 0, True), TimedNote(0.4, 0.1, 42, 90, 0, True)],
            "lead": [TimedNote(0.2, 0.5, 69, 100, 40, pan=0.3)],
            "harmony": [TimedNote(0.0, 0.9, p, 80, 89, pan=-0.5) for p in (60, 64)],
        },
        duration_s=1.0,
    )
    first = renderer.stems(piece)
    renderer.note(0, 60, 90, 4800)
    assert np.array_equal(renderer.stems(piece), first)
    with StemRenderer() as other:
        assert np.array_equal(other.stems(piece), first)
    stereo = renderer.stereo_stems(piece)
    assert np.allclose(stereo[0], first[0])
    assert np.abs(stereo[2, 1]).max() > 1.2 * np.abs(stereo[2, 0]).max()


@needs_synth
@pytest.mark.parametrize("shift", [1, 17, 63, 64, 1000])
def test_rendered_notes_start_at_their_sample(renderer, shift):
    def stem(start: int) -> np.ndarray:
        return renderer.stem([TimedNote(start / RATE, 0.3, 69, 100, 11)], RATE)

    base, moved = stem(4800), stem(4800 + shift)
    assert not base[:4800].any()
    assert np.allclose(moved[shift:], base[:-shift], atol=1e-6)


@needs_synth
def test_notes_ring_out_after_their_end(renderer):
    rung = renderer.stem([TimedNote(0.0, 0.3, 60, 100, 0)], RATE)
    loud = [np.std(rung[a : a + 2400]) for a in (9600, 16_800, 28_800)]
    assert loud[0] > loud[1] > loud[2] > 1e-5


@needs_synth
def test_measured_instruments_sound_like_the_soundfont(renderer):
    found = measure_tables(renderer, programs=(0,), kits=())
    codec = StemCodec(MODEL, found)
    note = TimedNote(0.0, 0.6, 60, 100, 0)
    real = renderer.stem([note], RATE)
    played = codec.excitation.stem([note], 0, RATE).sum(0)
    assert log_mel_error(played, real) < 4
    assert 0.8 < np.std(played) / np.std(real) < 1.25
    loud = 20 * np.log10(np.sqrt(codec.excitation.power([note], 50).mean()) / np.std(real))
    assert abs(loud) < 2  # known without a sound being made


@needs_synth
def test_pitch_vibrato_and_drums_are_measured(renderer):
    violin = measure_note(renderer, 40, 76)
    assert 4 < violin.vibrato[0] < 7
    assert 5 < violin.vibrato[1] < 40
    piano = measure_note(renderer, 0, 60)
    assert piano.vibrato[1] == 0
    strongest = piano.ratio[np.argmax(piano.amplitude.sum(1))]
    assert abs(strongest - round(strongest)) < 0.01
    saxophone = measure_note(renderer, 65, 72)
    assert 5 < np.abs(saxophone.bend).max() <= 150  # slides into the note
    assert not piano.bend.any()
    bell = measure_note(renderer, 14, 60)
    assert np.abs(bell.ratio - np.round(bell.ratio)).max() > 0.2  # inharmonic
    assert measure_drum(renderer, 0, 36) is not None
    with pytest.raises(HouseError):
        renderer.note(120, 36, 90, 4800, percussion=True)


@needs_synth
def test_the_commands_of_the_recipe_work_together(tmp_path, monkeypatch):
    """Tables, tracks, training and evaluation, from the command line, as small as can be."""
    from click.testing import CliRunner

    from studio.cli.models import training as cli_house
    from studio.music.training.stems import instrument_tables

    text = RECIPE.read_text()
    for name, value in {
        "train": 2, "test": 1, "seconds": 4, "dim": 16, "bins": 16, "batch": 4, "frames": 30,
        "levels_steps": 2, "codes_steps": 2, "decoder_steps": 2, "decoder_batch": 2,
    }.items():  # fmt: skip
        text = re.sub(rf"^( +{name}:) *[\d.]+", rf"\1 {value}", text, flags=re.MULTILINE)
    recipe = tmp_path / "stem-codec.yaml"
    recipe.write_text(text)
    monkeypatch.setattr(cli_house, "_recipe", lambda _: recipe)
    monkeypatch.setattr(instrument_tables, "ANCHORS", (60,))
    monkeypatch.setattr(instrument_tables, "DRUM_KEYS", (36, 38, 42))
    monkeypatch.setattr(
        instrument_tables.measure_tables, "__kwdefaults__",
        {"programs": (0, 33, 48), "kits": (0,), "progress": None},
    )  # fmt: skip
    tables_path, stems, run = (str(tmp_path / n) for n in ("t.npz", "stems", "run"))
    for command in (
        ["measure-instruments", "--out", tables_path],
        ["render-stems", "--out", stems, "--tables", tables_path],
        ["train-stem-codec", "--tracks", stems, "--tables", tables_path, "--run", run],
        ["evaluate-stem-codec", "--tracks", stems, "--codec", f"{run}/stem-codec.safetensors"],
    ):
        result = CliRunner().invoke(cli_house.house, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert "valley to peak" in result.output
