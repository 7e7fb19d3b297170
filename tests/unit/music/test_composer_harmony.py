"""Harmony and voice leading: the rules of the composer that a theory book would name."""

from __future__ import annotations

from itertools import pairwise, product
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.music.composer import GENRES, MOODS, TEMPI, Chord, Composition, compose
from studio.music.composer.catalogue.accompaniment import Grid
from studio.music.composer.catalogue.compose import _fit_pattern
from studio.music.composer.notation.harmony import (
    SCALES,
    nearest,
    parse_progression,
    parse_roman,
    scale_for,
    voice,
)
from studio.music.composer.styles.idiom import DRUM_KEYS

C_MAJOR, G7 = (0, 4, 7), (7, 11, 2, 5)


@pytest.fixture(scope="module")
def pieces() -> list[Composition]:
    return [
        compose(seed=i, genre=genre, mood=mood, lead="violin", tempo=TEMPI[i % 3])
        for i, (genre, mood) in enumerate(product(GENRES, MOODS))
    ]


def chord_at(composition: Composition, frame: int) -> Chord:
    return next(c for c in reversed(composition.chords) if c.start <= frame)


@pytest.mark.parametrize(
    ("symbol", "tones"),
    [
        ("I", (0, 4, 7)),
        ("i", (0, 3, 7)),
        ("ii7", (2, 5, 9, 0)),
        ("V7", (7, 11, 2, 5)),
        ("IVmaj7", (5, 9, 0, 4)),
        ("bVII", (10, 2, 5)),
        ("iim7b5", (2, 5, 8, 0)),
        ("viidim", (11, 2, 5)),
        ("IIsus4", (2, 7, 9)),
        ("i6", (0, 3, 7, 9)),
    ],
)
def test_roman_numerals_in_c(symbol, tones):
    assert parse_roman(symbol).tones(0) == tones


@pytest.mark.parametrize("symbol", ["", "H", "VIII", "Iblues", "x7", "IIII"])
def test_what_is_no_roman_numeral_is_refused(symbol):
    with pytest.raises(ValueError, match=r"roman numeral|unknown quality"):
        parse_roman(symbol)


def test_every_genre_is_spelt_correctly():
    """Progressions parse, patterns fill whole bars and use known marks, drums are known."""
    for genre in GENRES.values():
        ticks = genre.ticks_per_beat * genre.beats_per_bar
        for group in (genre.a_major, genre.b_major, genre.a_minor, genre.b_minor):
            for text in group:
                assert len(parse_progression(text)) in (4, 12)
        assert {genre.major, genre.minor} <= set(SCALES)
        assert all(set(p) <= set("R8357A-.") and len(p) == ticks for p in genre.bass.patterns)
        for layer in genre.layers:
            assert all(len(p) == ticks for p in layer.patterns), layer.role
        if genre.drums is not None:
            assert len(genre.drums.fills) >= 2
            for groove in (genre.drums.a, genre.drums.b, *genre.drums.fills):
                assert set(groove) <= set(DRUM_KEYS)
                assert all(len(p) <= ticks and set(p) <= set("Xxo.") for p in groove.values())


def test_grooves_and_instruments_differ_between_genres():
    grooves = [str(g.drums.a) for g in GENRES.values() if g.drums is not None]
    assert len(set(grooves)) == len(grooves)
    bands = [(g.bass.patterns, tuple(layer.program for layer in g.layers)) for g in GENRES.values()]
    assert len(set(bands)) == len(GENRES)


def test_a_dominant_bends_the_minor_scale_and_keeps_its_neighbours_out():
    """Over E major in A minor: G sharp comes in; G and A, a semitone from it, stay out."""
    assert scale_for(9, "minor", (4, 8, 11)) == (0, 2, 4, 5, 8, 11)
    assert scale_for(0, "major", C_MAJOR) == SCALES["major"]


@given(
    tonic=st.integers(0, 11),
    mode=st.sampled_from(sorted(SCALES)),
    symbol=st.sampled_from(["I", "iim7b5", "V7", "bVI", "IVmaj9", "bII", "vi"]),
)
def test_every_chord_tone_is_in_the_scale_for_its_chord(tonic, mode, symbol):
    tones = parse_roman(symbol).tones(tonic)
    assert set(tones) <= set(scale_for(tonic, mode, tones))


@given(pitch=st.integers(30, 90), classes=st.sets(st.integers(0, 11), min_size=1))
def test_nearest_is_never_further_than_a_tritone(pitch, classes):
    found = nearest(pitch, tuple(classes))
    assert found % 12 in classes
    assert abs(found - pitch) <= 6
    assert all(abs(p - pitch) >= abs(found - pitch) for p in range(20, 100) if p % 12 in classes)


def test_voices_move_little_from_tonic_to_dominant_and_back():
    first = voice(C_MAJOR, 3, 62, None)
    second = voice((7, 11, 2), 3, 62, first)
    assert sum(abs(a - b) for a, b in zip(first, second, strict=True)) <= 4
    assert {p % 12 for p in second} == {7, 11, 2}
    assert voice(C_MAJOR, 3, 62, second) == first


def test_a_seventh_chord_in_three_voices_keeps_third_and_seventh():
    assert {11, 5} <= {p % 12 for p in voice(G7, 3, 60, None)}


def test_upper_voices_move_less_than_root_position_would(pieces):
    """Negative control: blocks of root-position chords, moved in parallel, leap further."""
    led, parallel = [], []
    for composition in pieces:
        for role in ("pad", "strings", "synth-strings", "slow-strings", "warm-pad"):
            bars: dict[int, list[int]] = {}
            for note in next((p.notes for p in composition.parts if p.role == role), ()):
                bars.setdefault(note.start, []).append(note.pitch)
            for (_, a), (frame, b) in pairwise(sorted(bars.items())):
                if len(a) == len(b) and a != b:
                    led.append(mean(abs(x - y) for x, y in zip(sorted(a), sorted(b), strict=True)))
                    before = chord_at(composition, frame - 1)
                    leap = (chord_at(composition, frame).root - before.root) % 12
                    parallel.append(min(leap, 12 - leap))
    assert len(led) > 100
    assert mean(led) < 0.75 * mean(parallel)
    assert mean(led) < 2.5


def test_accompaniment_plays_chord_tones_only(pieces):
    for composition in pieces:
        for part in composition.parts:
            if part.percussion or part.role in ("lead", "bass"):
                continue
            wrong = [
                n for n in part.notes if n.pitch % 12 not in chord_at(composition, n.start).tones
            ]
            assert not wrong, (composition.tags, part.role)


def test_no_accompaniment_rings_into_a_chord_it_does_not_belong_to(pieces):
    for composition in pieces:
        for part in composition.parts:
            if part.role in ("pad", "strings", "slow-strings", "warm-pad", "synth-strings"):
                for note in part.notes:
                    chord = chord_at(composition, note.start)
                    assert note.end <= chord.start + chord.length


def test_lead_takes_chord_tones_on_strong_beats_and_scale_tones_between(pieces):
    weak_chord_tones = []
    for composition in pieces:
        for note in composition.part("lead").notes:
            chord = chord_at(composition, note.start)
            assert note.pitch % 12 in chord.scale, composition.tags
            if (note.start % composition.bar_frames) % (2 * composition.beat_frames) == 0:
                assert note.pitch % 12 in chord.tones, composition.tags
            else:
                weak_chord_tones.append(note.pitch % 12 in chord.tones)
    assert 0.3 < mean(weak_chord_tones) < 0.9, "between them it passes through the scale"


def test_lead_moves_mostly_by_step_and_stays_in_its_register(pieces):
    steps = []
    for composition in pieces:
        pitches = [n.pitch for n in composition.part("lead").notes]
        steps += [abs(b - a) for a, b in pairwise(pitches)]
        assert max(pitches) - min(pitches) <= 28, composition.tags
    assert mean(step <= 4 for step in steps) > 0.65
    assert mean(step > 9 for step in steps) < 0.05


def test_pieces_end_on_the_tonic_after_the_genres_dominant(pieces):
    for composition in pieces:
        last, before = composition.chords[-1], composition.chords[-2]
        assert last.root == composition.tonic
        major = MOODS[composition.mood].major
        assert before.symbol == GENRES[composition.genre].cadence[0 if major else 1]
        final = composition.part("lead").notes[-1]
        assert final.pitch % 12 == composition.tonic
        assert composition.part("bass").notes[-1].pitch % 12 == composition.tonic


def test_baroque_counterpoint_prefers_contrary_motion_and_avoids_parallel_perfects():
    """Within a bar; the negative control holds the counterpoint against another piece's lead."""
    pieces = [
        compose(seed=seed, genre="baroque", mood="happy", lead="violin", tempo="medium")
        for seed in range(16)
    ]

    def moves(lead_of: Composition, low_of: Composition) -> list[tuple[bool, bool]]:
        """Of each move of both voices: do they go the same way, and in parallel perfects?"""
        lead = {n.start: n.pitch for n in lead_of.part("lead").notes}
        low = {n.start: n.pitch for n in low_of.part("counterpoint").notes}
        found = []
        for a, b in pairwise(sorted(set(lead) & set(low))):
            up, down = lead[b] - lead[a], low[b] - low[a]
            if up and down and b % low_of.bar_frames > low_of.beat_frames:
                interval = (lead[b] - low[b]) % 12
                perfect = interval in (0, 7) and interval == (lead[a] - low[a]) % 12
                found.append((up * down > 0, perfect))
        return found

    own = [move for c in pieces for move in moves(c, c)]
    others = [
        move
        for a, b in product(pieces, pieces)
        if a is not b and a.beat_frames == b.beat_frames
        for move in moves(a, b)
    ]
    assert len(own) > 20
    assert mean(same for same, _ in own) < 0.8 * mean(same for same, _ in others)
    assert mean(perfect for _, perfect in own) <= mean(perfect for _, perfect in others)


def test_patterns_of_four_sixteenths_recut_for_triplets_and_three_beats():
    assert _fit_pattern("x.xxx...x.x.x...", Grid(10, 3, 12)) == "x.xx..x.xx.."
    assert _fit_pattern("xoxoxoxoxoxoxoxo", Grid(10, 3, 12)) == "xox" * 4
    assert _fit_pattern("x...x...x...x...", Grid(8, 4, 12)) == "x...x...x..."
    assert _fit_pattern("x...x...x...x...", Grid(8, 4, 16)) == "x...x...x...x..."
