"""The stem codec: exact onsets and pitches, windows that equal the whole, tokens that come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from studio.core.errors import ConfigError
from studio.music.models.house import stem_codec
from studio.music.models.house.excitation import (
    DECAYS_S,
    NOISE_BANDS,
    NOISE_TIMES_S,
    Excitation,
    Instrument,
    InstrumentTables,
    nominal_frequency,
)
from studio.music.models.house.notes import (
    FRAME,
    RATE,
    TimedNote,
    TimedScore,
    pan_gains,
    score_features,
    voices,
)
from studio.music.models.house.stem_codec import LOOK_AHEAD, StemCodec, StemCodecConfig


def instrument(pitch: int, ratio, *, noise_db: float = -200.0, release_db=300.0, **more):
    """Partials that hold on, of equal amplitude, beside flat noise."""
    amplitude = np.zeros((len(ratio), len(DECAYS_S)), np.float32)
    amplitude[:, -1] = 0.3 / len(ratio)
    level = np.float32(noise_db / 20 * np.log(10))
    return Instrument(
        pitch,
        np.array(ratio, np.float64),
        np.full(len(ratio), -np.pi / 2, np.float32),
        amplitude,
        np.full((len(NOISE_TIMES_S), NOISE_BANDS), level, np.float32),
        release_db,
        **more,
    )


def tables() -> InstrumentTables:
    known = {
        (False, program, pitch): instrument(pitch, range(1, 9), noise_db=-110)
        for program in (0, 33)
        for pitch in (36, 60, 84)
    }
    known[False, 40, 60] = instrument(60, [1.0], vibrato=(5.0, 20.0, 0.1))
    for key in (36, 38, 42, 46):
        known[True, 0, key] = instrument(key, [180.0, 331.0], noise_db=-70, release_db=1.0)
    return InstrumentTables(known)


def small_codec(seed: int = 0) -> StemCodec:
    """A small codec whose networks do something: every weight is random."""
    torch.manual_seed(seed)
    codec = StemCodec(StemCodecConfig(dim=24, predictor_layers=2, decoder_layers=2), tables())
    with torch.no_grad():
        for parameter in codec.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.08)
        codec.codebooks.normal_()
    return codec.eval()


def score(duration_s: float = 4.0) -> TimedScore:
    return TimedScore.of(
        {
            "drums": [TimedNote(0.31 * k, 0.1, 36 + 6 * (k % 2), 90, 0, True) for k in range(12)],
            "bass": [TimedNote(0.0, 1.9, 40, 100, 33), TimedNote(2.001, 1.5, 43, 90, 33)],
            "lead": [TimedNote(1.23456, 0.4, 69, 100, 0, pan=0.5)],
            "harmony": [
                TimedNote(0.5, 3.0, p, 70, 0, level_db=-6, pan=q)
                for p, q in ((60, -0.5), (64, -0.5), (67, 0.4))
            ],
        },
        duration_s=duration_s,
    )


@pytest.mark.parametrize("pitch", [24, 36, 47, 60, 69, 83, 96])
def test_a_note_has_its_pitch_to_a_fifth_of_a_cent(pitch):
    played = Excitation(InstrumentTables({(False, 0, 60): instrument(60, [1.0])})).stem(
        [TimedNote(0.0, 8.0, pitch, 127, 0)], 0, 8 * RATE
    )[0]
    n = 4 * RATE
    window = np.hanning(n)
    first, later = (
        np.sum(
            played[a : a + n]
            * window
            * np.exp(-2j * np.pi * nominal_frequency(pitch) * np.arange(a, a + n) / RATE)
        )
        for a in (RATE, 4 * RATE - 48)
    )
    drift = np.angle(later * np.conj(first)) / (2 * np.pi * (3 - 48 / RATE))
    cents = 1200 * np.log2(1 + drift / nominal_frequency(pitch))
    assert abs(cents) < 0.2


@pytest.mark.parametrize("start_s", [0.0, 0.0100001, 0.5 + 7 / RATE, 1.23456])
def test_nothing_sounds_before_the_sample_of_the_onset(start_s):
    note = TimedNote(start_s, 0.5, 60, 127, 0)
    sound = Excitation(tables()).stem([note], 0, 2 * RATE)
    begin = round(start_s * RATE)
    assert np.all(sound[:, :begin] == 0)
    assert np.abs(sound[1, begin : begin + 8]).max() > 0
    shifted = Excitation(tables()).stem([TimedNote(0.0, 0.5, 60, 127, 0)], 0, RATE)
    assert np.array_equal(sound[:, begin : begin + RATE // 2], shifted[:, : RATE // 2])


def test_vibrato_moves_the_pitch_as_far_as_the_table_says():
    sound = Excitation(tables()).stem([TimedNote(0.0, 3.0, 69, 127, 40)], 0, 3 * RATE)[0]
    spectrum = np.fft.fft(sound * np.hanning(len(sound)))
    spectrum[len(sound) // 2 :] = 0
    phase = np.unwrap(np.angle(np.fft.ifft(spectrum)))
    frequency = np.diff(phase)[RATE : 5 * RATE // 2] * RATE / (2 * np.pi)
    cents = 1200 * np.log2(frequency / 440)
    assert np.max(cents) == pytest.approx(20, abs=1.5)
    assert np.min(cents) == pytest.approx(-20, abs=1.5)


def test_a_slide_begins_as_far_off_as_the_table_says_and_ends_on_the_pitch():
    bend = np.array([-100, -100, -100, -50, 0, 0, 0, 0, 0], np.float32)
    slid = InstrumentTables({(False, 0, 60): instrument(60, [1.0], bend=bend)})
    sound = Excitation(slid).stem([TimedNote(0.0, 2.0, 81, 127, 0)], 0, RATE)[0]
    spectrum = np.fft.fft(sound.astype(np.float64))
    spectrum[len(sound) // 2 :] = 0
    turns = np.diff(np.unwrap(np.angle(np.fft.ifft(spectrum)))) * RATE / (2 * np.pi * 880)
    cents = 1200 * np.log2(np.maximum(turns, 0.5))  # the edges of the transform mean nothing
    assert np.median(cents[1000:2800]) == pytest.approx(-100, abs=3)
    assert np.median(cents[10_000:40_000]) == pytest.approx(0, abs=0.5)


def test_a_closed_hat_stops_an_open_one_and_no_other_drum():
    def after(*keys: int) -> float:
        notes = [TimedNote(0.5 * k, 0.1, key, 127, 0, True) for k, key in enumerate(keys)]
        sound = Excitation(tables()).stem(notes[:1], 0, 2 * RATE).sum(0)
        both = Excitation(tables()).stem(notes, 0, 2 * RATE).sum(0)
        alone = Excitation(tables()).stem(notes[1:], 0, 2 * RATE).sum(0)
        rest = (both - alone)[RATE:]
        return float(np.sqrt(np.mean(rest**2) / np.mean(sound[RATE:] ** 2)))

    assert after(46, 42) < 0.01
    assert after(46, 36) == pytest.approx(1, abs=1e-3)


def test_the_same_key_struck_again_ends_the_note_before():
    first, second = voices([TimedNote(0.0, 2.0, 60, 90, 0), TimedNote(0.5, 2.0, 60, 90, 0)])
    assert first.length == 0.5 * RATE
    assert second.length == 2 * RATE
    other, _ = voices([TimedNote(0.0, 2.0, 60, 90, 0), TimedNote(0.5, 2.0, 61, 90, 0)])
    assert other.length == 2 * RATE


def test_loudness_follows_velocity_and_level():
    def peak(**changes) -> float:
        note = TimedNote(
            **{"start_s": 0, "length_s": 1, "pitch": 60, "velocity": 127, "program": 0, **changes}
        )
        return float(np.abs(Excitation(tables()).stem([note], 0, RATE)[0]).max())

    assert peak(velocity=64) / peak() == pytest.approx((64 / 127) ** 2, rel=1e-4)
    assert peak(level_db=-6.0) / peak() == pytest.approx(10**-0.3, rel=1e-4)


def test_tables_come_back_from_their_file(tmp_path):
    known = tables()
    known.save(tmp_path / "t.npz")
    back = InstrumentTables.load(tmp_path / "t.npz")
    notes = [TimedNote(0.0, 0.5, 61, 100, 33)]
    before, after = (Excitation(t).stem(notes, 0, RATE) for t in (known, back))
    assert np.abs(before - after).max() < 2e-3 * np.abs(before).max()
    (tmp_path / "t.npz").write_bytes(b"no tables")
    with pytest.raises(ConfigError):
        InstrumentTables.load(tmp_path / "t.npz")


@pytest.mark.slow
def test_a_window_equals_the_whole():
    codec, piece = small_codec(), score()
    tokens = torch.randint(512, (4, 2, piece.frames), generator=torch.Generator().manual_seed(1))
    whole = codec.decode(tokens, piece, stereo=True)
    scale = np.abs(whole).max()
    assert scale > 0.01
    for first, last in ((0, 50), (50, 120), (123, 200)):
        part = codec.decode(tokens, piece, first=first, last=last, stereo=True)
        error = np.abs(part - whole[:, :, first * FRAME : last * FRAME]).max()
        assert error < 1e-5 * scale
    # Tokens further ahead than the look-ahead do not matter, nearer ones do.
    changed = tokens.clone()
    changed[:, :, 60 + LOOK_AHEAD :] = 0
    early = codec.decode(changed, piece, stereo=True)[:, :, : 60 * FRAME]
    assert np.abs(early - whole[:, :, : 60 * FRAME]).max() < 1e-5 * scale
    short = codec.decode(tokens[:, :, : 60 + LOOK_AHEAD], piece, first=0, last=60, stereo=True)
    assert np.abs(short - whole[:, :, : 60 * FRAME]).max() < 1e-5 * scale
    with pytest.raises(ConfigError):
        codec.decode(tokens[:, :, : 59 + LOOK_AHEAD], piece, first=0, last=60)
    changed[:, :, 60:] = 0
    early = codec.decode(changed, piece, stereo=True)[:, :, : 60 * FRAME]
    assert np.abs(early - whole[:, :, : 60 * FRAME]).max() > 1e-3 * scale


def test_long_pieces_are_decoded_in_parts_that_equal_the_whole(monkeypatch):
    codec, piece = small_codec(), score()
    tokens = torch.randint(512, (4, 2, piece.frames), generator=torch.Generator().manual_seed(1))
    whole, levels = codec.decode(tokens, piece), codec.expected_levels(piece)
    monkeypatch.setattr(stem_codec, "_LONGEST", 70)
    assert np.abs(codec.decode(tokens, piece) - whole).max() < 1e-5 * np.abs(whole).max()
    assert np.abs(codec.expected_levels(piece) - levels).max() < 1e-3


def test_decoding_is_deterministic_and_mono_is_what_stereo_pans():
    codec, piece = small_codec(), score()
    tokens = torch.zeros((4, 2, piece.frames), dtype=torch.long)
    first, second = (codec.decode(tokens, piece) for _ in range(2))
    assert np.array_equal(first, second)
    stereo = codec.decode(tokens, piece, stereo=True)
    left, right = pan_gains(0.5)  # the lead has one part
    assert np.allclose(stereo[2, 0], left * first[2], atol=1e-6)
    assert np.allclose(stereo[2, 1], right * first[2], atol=1e-6)
    assert np.array_equal(stereo[1, 0], first[1])


def test_tokens_come_back_from_a_saved_codec(tmp_path):
    codec, piece = small_codec(), score()
    codec.save(tmp_path / "c.safetensors")
    one, two = (StemCodec.load(tmp_path / "c.safetensors") for _ in range(2))
    audio = np.random.default_rng(0).normal(0, 0.02, (4, piece.samples)).astype(np.float32)
    tokens = one.encode(audio, piece)
    assert tokens.shape == (4, 2, piece.frames)
    assert tokens.dtype == torch.long
    assert len(torch.unique(tokens)) > 20
    assert torch.equal(two.encode(audio, piece), tokens)
    # Codes are found again by the latents they stand for (first codebook, by itself).
    stem = torch.arange(4)
    latent = one.codebooks[:, 0][:, :64]
    assert torch.equal(one.quantize(latent, stem)[:, 0], torch.arange(64).expand(4, 64))
    assert np.array_equal(one.decode(tokens, piece), two.decode(tokens, piece))
    (tmp_path / "c.safetensors").write_bytes(b"nothing")
    with pytest.raises(ConfigError):
        StemCodec.load(tmp_path / "c.safetensors")


def test_silence_is_silent():
    codec = small_codec()
    empty = TimedScore.of({}, duration_s=1.0)
    tokens = codec.encode(np.zeros((4, empty.samples), np.float32), empty)
    assert not codec.decode(tokens, empty, stereo=True).any()
    late = TimedScore.of({"bass": [TimedNote(1.5, 0.4, 40, 100, 33)]}, duration_s=2.0)
    sound = codec.decode(torch.zeros((4, 2, late.frames), dtype=torch.long), late)
    assert not sound[[0, 2, 3]].any()
    assert np.abs(sound[1, :RATE]).max() < 1e-6 < np.abs(sound[1, 3 * RATE // 2 :]).max()


@pytest.mark.parametrize("pitch", [0, 1, 126, 127])
@pytest.mark.parametrize("velocity", [1, 127])
@pytest.mark.parametrize("program", [0, 77])
def test_extreme_notes_give_finite_sound(pitch, velocity, program):
    codec = small_codec()
    piece = TimedScore.of(
        {
            "lead": [TimedNote(0.0, 1e-5, pitch, velocity, program, level_db=12)],
            "drums": [TimedNote(0.999, 30.0, pitch, velocity, 0, True)],
        },
        duration_s=1.0,
    )
    audio = np.full((4, piece.samples), 3.0, np.float32)
    sound = codec.decode(codec.encode(audio, piece), piece, stereo=True)
    assert np.isfinite(sound).all()


def test_what_does_not_fit_is_refused():
    codec, piece = small_codec(), score()
    with pytest.raises(ConfigError):
        codec.encode(np.zeros((4, piece.samples - 1), np.float32), piece)
    with pytest.raises(ConfigError):
        codec.decode(torch.zeros((4, 2, 10), dtype=torch.long), piece)
    with pytest.raises(ConfigError):
        codec.decode(torch.full((4, 2, piece.frames), 512), piece)
    with pytest.raises(ConfigError):
        codec.decode(None, piece, first=5, last=5)
    for bad in ({"start_s": -1.0}, {"length_s": 0.0}, {"pitch": 128}, {"start_s": float("nan")}):
        with pytest.raises(ConfigError):
            TimedNote(
                **{
                    "start_s": 0.0,
                    "length_s": 1.0,
                    "pitch": 60,
                    "velocity": 90,
                    "program": 0,
                    **bad,
                }
            )


def test_features_say_where_in_a_frame_a_note_begins():
    features = score_features(
        TimedScore.of({"lead": [TimedNote(0.105, 0.05, 69, 127, 5)]}, duration_s=0.5)
    )
    assert features.place[2, 5] == pytest.approx(0.25)
    assert features.onset[2, 5, 69] == 1
    assert features.onset.sum() == 1
    assert features.roll[2, 5:9, 69].tolist() == pytest.approx([0.75, 1, 0.75, 0], abs=1e-5)
    assert features.programs[2].tolist() == [5, 256, 256, 256]
