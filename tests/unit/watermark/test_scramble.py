"""The keyed pilot: places in the scramble, its bound, and what attribution makes of both."""

import numpy as np
import pytest

from watermark.audio.waveform import Waveform
from watermark.coding.codebook import Codebook, CodebookEntry
from watermark.coding.message import SealId, SealKey, messages, scramble_words
from watermark.coding.scramble import Scramble, chance, descrambled, follow, places
from watermark.detection.attribution import attribute
from watermark.detection.readout import Readout
from watermark.embedding.embed import embed
from watermark.models.base import SealModel

KEY, STRANGER = SealKey(1, bytes(range(32))), SealKey(1, b"s" * 32)
MODEL = SealModel.random()
CELLS = 125  # 10 s


def seconds_of(cells):
    return (8 * cells + 4) // 100


def scramble_of(key):
    scramble = MODEL.scramble(key)
    assert scramble is not None
    return scramble


def written(key, seal_id, first_cell, cells=CELLS):
    """+-1 as it is written: the message of each cell's second, scrambled."""
    at = first_cell + np.arange(cells)
    last = int(seconds_of(at[-1]))
    table = messages(key, seal_id, last + 1).astype(float) * 2 - 1
    return table[seconds_of(at)] * scramble_of(key).signs[at % 100]


def noisy(bits, noise, seed=0):
    return bits + noise * np.random.default_rng(seed).standard_normal(bits.shape)


def test_golden_scramble_words():
    assert scramble_words(KEY, 0, 3).tolist() == [27501, 45554, 39283]
    assert scramble_words(KEY, 9, 2).tolist() == scramble_words(KEY, 1, 2).tolist() == [7420, 53279]


def test_a_period_has_seven_chips_a_second_and_no_chip_spans_two_seconds():
    scramble = scramble_of(KEY)
    assert len(scramble) == 100
    assert np.bincount(scramble.seconds).tolist() == [12, 13] * 4
    for chip in np.unique(scramble.chips):
        members = scramble.chips == chip
        assert 1 <= members.sum() <= 2
        assert len(np.unique(scramble.seconds[members])) == 1
        assert len(np.unique(scramble.signs[members], axis=0)) == 1


@pytest.mark.parametrize("place", [0, 7, 12, 13, 25, 60, 99])
def test_the_place_is_found_and_the_message_comes_back(place):
    seal_id = SealId(b"whatever")
    bits = noisy(written(KEY, seal_id, place), 1.5)
    index, scramble = np.arange(CELLS), scramble_of(KEY)
    best = places(index, bits, scramble)[0]
    assert best.cell == place
    assert chance(index, bits, scramble, place) < 1e-12
    np.testing.assert_array_equal(follow(index, bits, scramble), place + index)
    first, rows = descrambled(place + index, bits, scramble)
    last = int(seconds_of(place + CELLS - 1))
    assert first == int(seconds_of(place))
    truth = messages(KEY, seal_id, last + 1)[first:]
    assert rows.shape == truth.shape
    assert np.mean((rows > 0) == (truth > 0)) > 0.9


def test_cells_that_are_missing_or_come_twice_do_not_move_the_rest():
    bits = noisy(written(KEY, SealId(bytes(8)), 40), 1.0)
    index = np.delete(np.arange(CELLS), [20, 21, 70])
    kept = bits[index]
    index, kept = np.insert(index, 50, index[50]), np.insert(kept, 50, kept[50], axis=0)
    assert places(index, kept, scramble_of(KEY))[0].cell == 40


@pytest.mark.parametrize(("at", "jump"), [(60, 4), (40, 17), (70, -30)])
def test_a_cut_is_followed(at, jump):
    seal_id = SealId(b"whatever")
    whole = noisy(written(KEY, seal_id, 20, 250), 1.0)
    numbers = np.concatenate([np.arange(40, 40 + at), 40 + at + jump + np.arange(CELLS - at)])
    bits = whole[numbers - 20]
    followed = follow(np.arange(CELLS), bits, scramble_of(KEY))
    assert np.mean(followed == numbers) > 0.97
    first, rows = descrambled(followed, bits, scramble_of(KEY))
    truth = messages(KEY, seal_id, 40)[first : first + len(rows)]
    there = np.abs(rows).sum(1) > 0
    assert np.mean((rows > 0)[there] == (truth > 0)[there]) > 0.93


def test_noise_is_not_followed_anywhere():
    bits = np.random.default_rng(3).standard_normal((CELLS, 16))
    followed = follow(np.arange(CELLS), bits, scramble_of(KEY))
    assert np.sum(np.diff(followed) != 1) <= 2


@pytest.mark.parametrize("cells", [3, 60, 250])
def test_a_place_stands_out_by_the_products_of_its_chips(cells):
    """Against the energies, second by second and chip by chip, of each place in turn."""
    scramble = scramble_of(KEY)
    bits = noisy(written(KEY, SealId(b"whatever"), 41, cells), 2.0)
    for place in places(np.arange(cells), bits, scramble, most=100):
        at = (place.cell + np.arange(cells)) % 100
        turn = (place.cell + np.arange(cells)) // 100
        undone = bits * scramble.signs[at]
        energy = chips = 0.0
        for second in set(zip(turn, scramble.seconds[at], strict=True)):
            of_it = (turn == second[0]) & (scramble.seconds[at] == second[1])
            energy += np.square(undone[of_it].sum(axis=0)).sum()
            for chip in set(scramble.chips[at][of_it]):
                chips += np.square(undone[of_it & (scramble.chips[at] == chip)].sum(axis=0)).sum()
        assert np.sign(energy - chips) == np.sign(place.excess) or abs(place.excess) < 1e-5
        assert place.least_chance <= chance(np.arange(cells), bits, scramble, place.cell) * 1.000001


def test_the_quick_bound_passes_what_the_exact_one_names():
    cells = np.arange(CELLS)
    best = places(cells, noisy(written(KEY, SealId(b"whatever"), 41), 1.0), scramble_of(KEY))[0]
    nothing = places(cells, noisy(np.zeros((CELLS, 16)), 1.0), scramble_of(KEY))[0]
    assert best.least_chance < 1e-12 < 1e-9 < nothing.least_chance


def test_another_key_sees_nothing():
    bits = noisy(written(KEY, SealId(bytes(8)), 40), 1.0)
    scramble, index = scramble_of(STRANGER), np.arange(CELLS)
    best = places(index, bits, scramble)[0]
    assert best.excess < 5
    assert chance(index, bits, scramble, best.cell) > 1e-3


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("constant", np.ones((CELLS, 16))),
        ("beat of two cells", np.tile([[1.0] * 16, [-0.3] * 16], (63, 1))[:CELLS]),
        ("8 s periods that share their coins", np.tile(np.eye(100, 16) + 0.1, (4, 1))),
        ("stranger", written(STRANGER, SealId(bytes(8)), 17)),
    ],
)
def test_the_bound_is_one_whatever_the_audio(name, bits):
    """Over random keys, a bound of at most a is not met more often than a."""
    rng = np.random.default_rng(5)
    index = np.arange(len(bits))
    bounds = np.array(
        [
            chance(index, bits, scramble_of(SealKey(1, rng.bytes(32))), int(rng.integers(100)))
            for _ in range(300)
        ]
    )
    for level in (0.3, 0.1, 0.03):
        assert np.mean(bounds <= level) <= level + 2 * np.sqrt(level / 300), name


def test_silence_is_no_evidence():
    assert chance(np.arange(9), np.zeros((9, 16)), scramble_of(KEY), 3) == 1.0
    assert places(np.arange(0), np.zeros((0, 16)), scramble_of(KEY)) == []


def test_what_is_embedded_is_the_scrambled_message(monkeypatch):
    seen = []

    def mark(self, samples, rows, strength):
        seen.append(rows)
        return np.zeros_like(samples)

    monkeypatch.setattr(type(MODEL), "mark", mark)
    noise = np.random.default_rng(0).standard_normal((1, 9 * 16_000)).astype(np.float32)
    embed(Waveform(0.1 * noise, 16_000), SealId(b"whatever"), KEY, model=MODEL)
    (rows,) = seen
    truth = (written(KEY, SealId(b"whatever"), 0, len(rows)) > 0).astype(np.uint8)
    np.testing.assert_array_equal(rows, truth)


# -- attribution ------------------------------------------------------------------------------


def reading_of(bits, *, cell_s=0.08, first_s=0.013):
    cells = len(bits)
    return Readout(
        start_s=first_s + cell_s * np.arange(cells),
        pilot=np.full(cells, 5.0, np.float32),
        rivals=np.full((cells, 5), -5.0, np.float32),
        bits=bits.astype(np.float32),
        rival_bits=np.zeros((cells, 5, 16), np.float32),
        audible=np.ones(cells, bool),
        cell_s=0.08,
        duration_s=first_s + cell_s * cells,
    )


IDS = [SealId(bytes([n]) * 8) for n in range(1, 40)]


def book(key, ids=IDS):
    return Codebook(CodebookEntry(seal_id, key, 60.0) for seal_id in ids)


def test_an_excerpt_is_named_with_its_place():
    reading = reading_of(noisy(written(KEY, IDS[7], 371), 1.5))
    result = attribute(reading, MODEL, book(KEY), ())
    assert result.identification is not None
    assert result.identification.seal_id == IDS[7]
    assert result.identification.offset_s == pytest.approx(371 * 0.08 - 0.013, abs=0.003)
    assert result.keyed is not None
    assert result.keyed.epoch == 1
    truth = messages(KEY, IDS[7], 60)
    first = round(result.identification.offset_s + result.message_phase_s)
    rows = result.message_logits
    assert np.mean((rows > 0) == (truth[first : first + len(rows)] > 0)) > 0.9


def test_played_faster_it_is_still_named():
    reading = reading_of(noisy(written(KEY, IDS[7], 371), 1.0), cell_s=0.08 / 1.003)
    result = attribute(reading, MODEL, book(KEY), ())
    assert result.identification is not None
    assert result.identification.seal_id == IDS[7]


def test_halves_in_the_other_order_are_named_from_both():
    """The jump back is longer than the half period that a change of place is first taken for."""
    numbers = np.concatenate([132 + np.arange(62), 70 + np.arange(62)])
    whole = noisy(written(KEY, IDS[7], 70, 250), 2.2)
    many = 10**12  # as in a registry in which one half is not enough
    half = attribute(reading_of(whole[numbers[:62] - 70]), MODEL, book(KEY), (), looks=many)
    assert half.identification is None
    result = attribute(reading_of(whole[numbers - 70]), MODEL, book(KEY), (), looks=many)
    assert result.identification is not None
    assert result.identification.seal_id == IDS[7]


def test_a_seal_nobody_registered_still_shows_its_key():
    reading = reading_of(noisy(written(KEY, SealId(b"unlisted"), 371), 1.0))
    result = attribute(reading, MODEL, book(KEY), ())
    assert result.identification is None
    assert result.keyed is not None
    assert result.keyed.chance_bound < 1e-6


def test_a_strangers_seal_shows_neither_key_nor_name():
    reading = reading_of(noisy(written(STRANGER, IDS[7], 371), 1.0))
    result = attribute(reading, MODEL, book(KEY), ())
    assert result.identification is None
    assert result.keyed is None


def test_two_epochs_are_told_apart():
    older, newer = SealKey(1, b"a" * 32), SealKey(2, b"b" * 32)
    both = book(older, IDS[:20])
    both.add(CodebookEntry(seal_id, newer, 60.0) for seal_id in IDS[20:])
    for key, seal_id in ((older, IDS[3]), (newer, IDS[30])):
        result = attribute(reading_of(noisy(written(key, seal_id, 371), 1.0)), MODEL, both, ())
        assert result.identification is not None
        assert result.identification.seal_id == seal_id
        assert result.identification.epoch == key.epoch


def test_under_a_strangers_seal_on_another_grid_it_is_named_beside_the_path():
    reading = reading_of(noisy(written(STRANGER, IDS[0], 5), 0.5))
    beside = np.zeros((CELLS, 5, 16), np.float32)
    beside[:, 2] = noisy(written(KEY, IDS[7], 371), 1.0)
    reading = Readout(
        **{
            **{name: getattr(reading, name) for name in Readout.__slots__},
            "rival_bits": beside,
        }
    )
    result = attribute(reading, MODEL, book(KEY), ())
    assert result.identification is not None
    assert result.identification.seal_id == IDS[7]
    assert result.identification.offset_s == pytest.approx(371 * 0.08 - 0.013 - 0.04, abs=0.003)


def test_a_seal_from_before_the_scramble_is_still_named():
    at = 371 + np.arange(CELLS)
    table = messages(KEY, IDS[7], 60).astype(float) * 2 - 1
    result = attribute(reading_of(noisy(table[seconds_of(at)], 1.0)), MODEL, book(KEY), ())
    assert result.identification is not None
    assert result.identification.seal_id == IDS[7]
    assert result.keyed is None


def scrambled_book(ids=IDS):
    return Codebook(CodebookEntry(seal_id, KEY, 60.0, scrambled=True) for seal_id in ids)


def test_what_is_known_to_be_scrambled_is_named_as_surely_by_half_the_questions():
    reading = reading_of(noisy(written(KEY, IDS[7], 371), 1.5))
    one = attribute(reading, MODEL, book(KEY), ()).identification
    other = attribute(reading, MODEL, scrambled_book(), ()).identification
    assert one is not None
    assert other is not None
    assert (other.seal_id, other.offset_s, other.score) == (one.seal_id, one.offset_s, one.score)
    # Nothing is kept for seals that are not scrambled, which were half of the chance.
    assert other.searched * 2 == one.searched
    assert other.chance_bound == pytest.approx(one.chance_bound / 2, rel=1e-6)


@pytest.mark.parametrize(("number", "named"), [(7, False), (30, True)])
def test_what_is_known_to_be_scrambled_is_not_looked_for_as_it_is(number, named):
    """Beside it, a seal of which that is not known is."""
    both = scrambled_book(IDS[:20])
    both.add(CodebookEntry(seal_id, KEY, 60.0) for seal_id in IDS[20:])
    at = 371 + np.arange(CELLS)
    table = messages(KEY, IDS[number], 60).astype(float) * 2 - 1
    result = attribute(reading_of(noisy(table[seconds_of(at)], 1.0)), MODEL, both, ())
    assert (result.identification is not None) == named
    scrambled = reading_of(noisy(written(KEY, IDS[number], 371), 1.0))
    found = attribute(scrambled, MODEL, both, ()).identification
    assert found is not None
    assert found.seal_id == IDS[number]


def test_a_model_that_does_not_scramble_looks_for_every_seal():
    plain = type("Plain", (), {"chip_cells": 0})()
    at = 371 + np.arange(CELLS)
    table = messages(KEY, IDS[7], 60).astype(float) * 2 - 1
    reading = reading_of(noisy(table[seconds_of(at)], 1.0))
    result = attribute(reading, plain, scrambled_book(), ())
    assert result.identification is not None
    assert result.identification.seal_id == IDS[7]


def test_scramble_needs_whole_periods():
    scramble = Scramble.of(KEY, np.arange(400) * 2 // 100, chip_cells=8)
    assert len(scramble) == 400
    assert scramble.per_second == 7
