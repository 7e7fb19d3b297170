"""Identification: the right seal at the right place, and the bound against what chance does."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from watermark.coding.identify import (
    MAX_CHANCE,
    Codebook,
    CodebookEntry,
    best_match,
    chance_tail,
    identify,
)
from watermark.coding.message import SealId, SealKey, messages
from watermark.errors import CodebookError

KEY = SealKey(1, bytes(32))
identify_module = sys.modules["watermark.coding.identify"]
search_module = sys.modules["watermark.coding.search"]


def seal(number: int) -> SealId:
    return SealId(number.to_bytes(8, "big"))


def book(count: int, seconds: float = 30, key: SealKey = KEY) -> Codebook:
    return Codebook(CodebookEntry(seal(n), key, seconds) for n in range(count))


def soft(number: int, start: int, seconds: int, *, noise: float, seed: int = 0, key=KEY):
    """Logits of an excerpt as a reader with errors gives them."""
    signs = messages(key, seal(number), seconds, start) * 2.0 - 1.0
    return signs + noise * np.random.default_rng(seed).standard_normal(signs.shape)


class TestFinds:
    @pytest.mark.parametrize("start", [0, 7, 20])
    @pytest.mark.parametrize("noise", [0.1, 0.8])  # bit accuracy 1.0 and 0.89
    def test_the_seal_and_the_place(self, start, noise):
        found = identify(soft(123, start, 10, noise=noise), book(500))
        assert found is not None
        assert found.seal_id == seal(123)
        assert found.offset_s == start
        assert found.seconds_used == 10
        assert found.epoch == 1
        assert found.chance_bound <= MAX_CHANCE
        assert found.bit_accuracy > 0.8

    def test_a_file_that_begins_before_and_ends_after_the_track(self):
        noise = np.random.default_rng(1).standard_normal((5, 16))
        logits = np.concatenate([noise, soft(3, 0, 8, noise=0.3), noise])
        found = identify(logits, book(50, seconds=8))
        assert found.seal_id == seal(3)
        assert found.offset_s == -5
        assert found.seconds_used == 8

    def test_sub_second_offset(self):
        """Rows every 0.25 s; the messages change 0.75 s after the file begins."""
        rows = np.random.default_rng(2).standard_normal((41, 16))
        rows[3:43:4] = soft(9, 4, 10, noise=0.3)
        found = identify(rows, book(50), hop_s=0.25)
        assert found.seal_id == seal(9)
        assert found.offset_s == pytest.approx(3.25)

    def test_short_windows_are_summed(self):
        """Rows of 80 ms, as a network gives them: every one as noisy as can be, their sum not."""
        cells = np.arange(125) * 0.08 + 0.04  # centres
        second = np.floor(cells - 0.4).astype(int) + 6
        signs = messages(KEY, seal(4), 30)[second] * 2.0 - 1.0
        logits = signs + 2.5 * np.random.default_rng(3).standard_normal(signs.shape)
        found = identify(logits, book(200), hop_s=0.08, window_s=0.08)
        assert found.seal_id == seal(4)
        assert found.offset_s == pytest.approx(5.6, abs=0.09)

    def test_the_epoch_that_sealed_it(self):
        old, new = SealKey(1, b"a" * 32), SealKey(2, b"b" * 32)
        codebook = Codebook([CodebookEntry(seal(n), old if n < 20 else new, 30) for n in range(40)])
        assert identify(soft(5, 2, 8, noise=0.3, key=old), codebook).epoch == 1
        assert identify(soft(25, 2, 8, noise=0.3, key=new), codebook).epoch == 2
        assert identify(soft(25, 2, 8, noise=0.3, key=old), codebook) is None

    def test_seals_of_many_lengths_and_added_later(self):
        lengths = [1, 2, 5, 9, 30, 200, 700]
        codebook = Codebook(CodebookEntry(seal(n), KEY, s) for n, s in enumerate(lengths))
        assert identify(soft(5, 180, 15, noise=0.3), codebook).offset_s == 180
        assert identify(soft(6, 650, 15, noise=0.3), codebook).seal_id == seal(6)
        codebook.add([CodebookEntry(seal(77), KEY, 30)])
        assert len(codebook) == 8
        assert seal(77) in codebook
        assert identify(soft(77, 3, 9, noise=0.3), codebook).seal_id == seal(77)

    def test_scale_of_the_logits_does_not_matter(self):
        logits = soft(1, 0, 6, noise=0.5)
        small, large = identify(logits * 1e-6, book(20)), identify(logits * 1e6, book(20))
        assert small.score == pytest.approx(large.score, rel=1e-5)
        assert small.chance_bound == pytest.approx(large.chance_bound, rel=1e-3)

    def test_one_huge_logit_does_not_decide(self):
        logits = soft(1, 0, 10, noise=0.5)
        logits[3, 4] *= -1e9
        assert identify(logits, book(50)).seal_id == seal(1)


class TestRefuses:
    def test_noise_and_unknown_seals(self):
        codebook = book(2000)
        for seed in range(5):
            noise = np.random.default_rng(seed).standard_normal((10, 16))
            assert identify(noise, codebook) is None
        assert identify(soft(5000, 0, 10, noise=0.0), codebook) is None

    def test_too_little_to_be_sure(self):
        """Two seconds are 32 coins: among 2,000 seals x 30 places even all right proves nothing."""
        codebook = book(2000)
        assert identify(soft(7, 3, 2, noise=0.0), codebook) is None
        likeliest = best_match(soft(7, 3, 2, noise=0.0), codebook)
        assert likeliest.seal_id == seal(7)
        assert likeliest.chance_bound > MAX_CHANCE

    def test_empty_inputs(self):
        assert identify(np.zeros((0, 16)), book(5)) is None
        assert identify(np.zeros((5, 16)), book(5)) is None
        assert identify(np.ones((5, 16)), Codebook()) is None

    @pytest.mark.parametrize("logits", [np.zeros(16), np.zeros((3, 8)), np.full((3, 16), np.nan)])
    def test_impossible_logits(self, logits):
        with pytest.raises(CodebookError):
            identify(logits, book(3))

    @pytest.mark.parametrize(("hop", "window"), [(0, 1), (2, 1), (1, 0), (1, 1.5), (math.nan, 1)])
    def test_impossible_windows(self, hop, window):
        with pytest.raises(CodebookError):
            identify(np.ones((3, 16)), book(3), hop_s=hop, window_s=window)

    def test_impossible_entries(self):
        with pytest.raises(CodebookError, match="twice"):
            Codebook([CodebookEntry(seal(1), KEY, 5)] * 2)
        for seconds in (0, -1, math.nan):
            with pytest.raises(CodebookError, match="duration"):
                Codebook([CodebookEntry(seal(1), KEY, seconds)])


class TestBound:
    def test_tail_against_exact_binomial(self):
        """Equal weights are a binomial: the bound is above the exact tail, by a factor below 30."""
        n = 160
        for heads in (100, 110, 130, 150, 160):
            exact = sum(math.comb(n, k) for k in range(heads, n + 1)) / 2**n
            bound = chance_tail(np.ones(n), (2 * heads - n) / math.sqrt(n))
            assert exact <= bound * (1 + 1e-9)
            assert bound < 30 * exact
            assert bound <= math.exp(-((2 * heads - n) ** 2) / n / 2) * (1 + 1e-9)

    def test_tail_against_simulation_with_unequal_weights(self):
        rng = np.random.default_rng(0)
        weights = np.abs(rng.standard_cauchy(48)).clip(0, 5)
        signs = rng.integers(0, 2, (200_000, 48), dtype=np.int8) * 2.0 - 1.0
        z = signs @ weights / np.linalg.norm(weights)
        for level in (1.0, 2.0, 3.0, 4.0):
            assert (z >= level).mean() <= chance_tail(weights, level)
        assert (z >= 3.0).mean() > 1e-4  # the comparison above is not one of zeros

    def test_no_tail_for_nothing(self):
        assert chance_tail(np.zeros(16), 5.0) == 1.0
        assert chance_tail(np.ones(16), -1.0) == 1.0

    def test_best_wrong_seals_obey_the_bound(self):
        """What the best of 300 wrong seals reaches, over 250 files, stays as rare as is said.

        Logits are as unlike noise as a reader's can be: the same message for ever, in steps.
        """
        codebook = book(300, seconds=12)
        rng = np.random.default_rng(0)
        bounds, scores = [], []
        for _ in range(250):
            logits = np.repeat(rng.standard_normal((1, 16)) + 1.0, 10, axis=0)
            logits[5:] *= rng.uniform(0.1, 3)
            found = best_match(logits, codebook)
            bounds.append(found.chance_bound)
            scores.append(found.score)
        bounds = np.array(bounds)
        for level in (0.5, 0.1, 0.02):
            # 250 trials: three standard deviations above the level.
            assert (bounds <= level).mean() <= level + 3 * math.sqrt(level * (1 - level) / 250)
        # Nor is the bound so loose as to be void: the best of thousands does reach z of 3 to 5.
        assert 3.0 < np.median(scores) < 5.5

    def test_counts_everything_searched(self):
        found = best_match(soft(1, 0, 10, noise=0.5), book(50, seconds=32))
        assert found.searched == 50 * (32 + 10 - 2 * 2 + 1)
        quarter = np.repeat(soft(1, 0, 10, noise=0.5), 4, axis=0)
        assert best_match(quarter, book(50, seconds=32), hop_s=0.25).searched > 4 * 50 * 38


class TestLarge:
    """The index, forced on small codebooks."""

    @pytest.fixture(autouse=True)
    def _small_index(self, monkeypatch):
        monkeypatch.setattr(search_module, "_INDEX_FROM", 100)

    def test_finds_what_the_full_search_finds(self):
        codebook = book(3000)
        for n in range(10):
            logits = soft(100 + n, n, 10, noise=0.7, seed=n)
            quick = identify(logits, codebook, thorough=False)
            assert quick.seal_id == seal(100 + n)
            assert quick.offset_s == n

    @pytest.mark.slow
    def test_thorough_finds_what_the_index_misses(self):
        codebook = book(3000)
        missed = 0
        for n in range(10):
            logits = soft(200 + n, n, 20, noise=1.6, seed=n)  # bit accuracy about 0.73
            missed += identify(logits, codebook, thorough=False) is None
            found = identify(logits, codebook)
            assert found is not None
            assert found.seal_id == seal(200 + n)
        assert missed > 0

    def test_same_score_and_bound_either_way(self, monkeypatch):
        logits = soft(42, 5, 10, noise=0.6)
        by_index = identify(logits, book(500))
        monkeypatch.setattr(search_module, "_INDEX_FROM", 10**9)
        by_all = identify(logits, book(500))
        assert by_index.score == pytest.approx(by_all.score, rel=1e-4)
        assert by_index.chance_bound == pytest.approx(by_all.chance_bound, rel=1e-2)
        assert by_index.searched == by_all.searched

    @pytest.mark.slow
    def test_an_excerpt_within_an_hour(self):
        """Memory stays bounded, and words far apart in the file vote apart."""
        noise = np.random.default_rng(1).standard_normal((3600, 16))
        noise[2000:2025] = soft(3, 2, 25, noise=0.2)
        for thorough in (False, True):
            found = identify(noise, book(200), thorough=thorough)
            assert (found.seal_id, found.offset_s) == (seal(3), -1998)

    def test_overlapping_only_in_part(self):
        noise = np.random.default_rng(1).standard_normal((6, 16))
        logits = np.concatenate([noise, soft(3, 0, 8, noise=0.3)])
        found = identify(logits, book(500, seconds=8), thorough=False)
        assert (found.seal_id, found.offset_s) == (seal(3), -6)


class TestPlaced:
    """The index where the place in the scramble is known: it misses nothing."""

    @pytest.fixture
    def by_index(self, monkeypatch):
        monkeypatch.setattr(search_module, "_PLACED_INDEX_FROM", 100)

    @pytest.mark.parametrize("noise", [0.3, 1.0, 1.3, 1.5, 1.6, 3.0])
    def test_names_what_comparing_all_names(self, noise, monkeypatch):
        codebook = book(3000, seconds=30)
        cases = [
            (soft(100 + n, start, seconds, noise=noise, seed=n), start)
            for n, (start, seconds) in enumerate([(0, 5), (3, 8), (12, 10), (7, 20), (25, 12)])
        ]
        by_all = [identify(x, codebook, key=KEY, second=start % 8) for x, start in cases]
        monkeypatch.setattr(search_module, "_PLACED_INDEX_FROM", 100)
        by_index = [identify(x, codebook, key=KEY, second=start % 8) for x, start in cases]
        for one, other in zip(by_index, by_all, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert (one.seal_id, one.offset_s) == (other.seal_id, other.offset_s)
                assert one.chance_bound == pytest.approx(other.chance_bound, rel=1e-2)
        assert any(by_all) == (noise < 3.0)

    def test_misses_nothing_that_chance_brings_to_the_limit(self, monkeypatch):
        """Nothing is sealed; at a lenient bound some wrong seals just reach it, in every way."""
        codebook = book(2000, seconds=12)
        noises = [np.random.default_rng(n).exponential(size=(5, 16)) for n in range(60)]
        for n, noise in enumerate(noises):
            noise *= np.random.default_rng(100 + n).choice([-1, 1], noise.shape)
            noise[n % 5] *= 0.0 if n % 3 else 0.3

        def named() -> list[tuple[SealId, float] | None]:
            found = [
                identify(x, codebook, key=KEY, second=n % 8, max_chance=0.9, thorough=False)
                for n, x in enumerate(noises)
            ]
            return [one and (one.seal_id, one.offset_s) for one in found]

        by_all = named()
        assert 0 < sum(map(bool, by_all)) < len(noises)
        monkeypatch.setattr(search_module, "_PLACED_INDEX_FROM", 100)
        monkeypatch.setattr(search_module, "_POSSIBLE", 1.0)  # no matter how many are looked at
        # Where the index names one that comparing all does not, another has the higher score at
        # an alignment of fewer seconds, which proves less.
        assert all(one == other for one, other in zip(by_all, named(), strict=True) if one)
        monkeypatch.setattr(search_module, "_ROUNDING", -0.1)  # the control: quotas too high
        assert any(one and not other for one, other in zip(by_all, named(), strict=True))

    def test_looks_at_few_seals(self, by_index, monkeypatch):
        """Not one alignment is compared with all."""
        compared = []
        for module in (search_module, identify_module):
            monkeypatch.setattr(module, "search_all", lambda *_: compared.append(1))
        codebook = book(3000, seconds=30)
        found = identify(soft(100, 3, 10, noise=0.8), codebook, key=KEY, second=3)
        assert (found.seal_id, found.offset_s) == (seal(100), 3)
        noise = np.random.default_rng(1).standard_normal((10, 16))
        assert identify(noise, codebook, key=KEY, second=3) is None
        assert not compared
        monkeypatch.setattr(search_module, "_POSSIBLE", 0.0)  # the control: too many everywhere
        identify(noise, codebook, key=KEY, second=3)
        assert compared

    def test_seconds_that_nobody_read_do_not_count(self, by_index):
        logits = soft(100, 3, 12, noise=0.3)
        logits[2:4] = 0
        found = identify(logits, book(3000, seconds=30), key=KEY, second=3)
        assert (found.seal_id, found.offset_s) == (seal(100), 3)
        assert identify(np.zeros((12, 16)), book(3000, seconds=30), key=KEY, second=3) is None

    def test_the_best_is_said_whatever_its_bound(self, by_index):
        noise = np.random.default_rng(1).standard_normal((10, 16))
        best = best_match(noise, book(3000, seconds=30), key=KEY, second=3)
        assert best.chance_bound == 1


@pytest.mark.parametrize("second", [None, *range(8)])
@pytest.mark.parametrize("registered_s", [0.5, 1, 2, 3, 7, 8, 9, 30])
def test_every_length_of_file_and_seal_is_answered(registered_s, second):
    """However few alignments there are, none included, for files of no second at all and more."""
    rng = np.random.default_rng(1)
    lengths = (registered_s, 30.0)
    short = book(1, registered_s)
    both = Codebook(CodebookEntry(seal(n), KEY, s) for n, s in enumerate(lengths))
    for seconds in (0, 1, 2, 3, 5, 11):
        logits = rng.standard_normal((seconds, 16))
        for codebook in (Codebook([]), short, both):
            assert identify(logits, codebook, key=KEY, second=second) is None
            best = best_match(logits, codebook, key=KEY, second=second)
            assert best is None or 0 < best.chance_bound <= 1


@pytest.mark.parametrize("start", range(8))
def test_a_short_seal_is_named_where_it_has_seconds(start):
    """The control: what is there is still found at every place of the scramble."""
    found = identify(soft(0, start, 12 - start, noise=0.1), book(1, 12.0), key=KEY, second=start)
    assert found is not None
    assert found.offset_s == start


@pytest.mark.parametrize(
    ("seconds", "hop_s", "second"),
    [(3, 1.0, None), (20, 1.0, 5), (40, 1.0, None), (40, 1.0, 5), (20, 0.25, None)],
)
@pytest.mark.parametrize("kept", [0, 2**22])
def test_products_score_every_alignment(monkeypatch, seconds, hop_s, second, kept):
    """Against the definition of z, seal by seal and offset by offset."""
    monkeypatch.setattr("watermark.coding.codebook._SIGNS_KEPT", kept)
    logits = np.random.default_rng(seconds).standard_normal((round(seconds / hop_s), 16))
    (group,) = book(70, seconds=20).groups
    phases = [replace(p, second=second) for p in search_module.phases_of(logits, hop_s, hop_s)]
    best = search_module.search_all(group, phases)
    everywhere = []
    for phase in phases:
        for offset in phase.offsets(group.length):
            first, last = phase.overlap(group.length, offset)
            weights = phase.weights[first:last]
            for n in range(len(group)):
                expected = messages(KEY, seal(n), last - first, offset + first) * 2.0 - 1.0
                z = float((weights * expected).sum() / np.linalg.norm(weights))
                everywhere.append((z, n, offset, phase.start_s))
    z, n, offset, start_s = max(everywhere)
    assert (best.seal, best.offset, best.phase.start_s) == (n, offset, start_s)
    assert best.z == pytest.approx(z, rel=1e-5)


def test_the_quick_bound_is_below_the_chance_and_near_it():
    rng = np.random.default_rng(0)
    for count in (1, 16, 160, 960):
        weights = rng.standard_normal(count)
        weights = np.clip(weights, *np.array([-2, 2]) * np.median(np.abs(weights)))
        most = float(np.abs(weights).sum() / np.linalg.norm(weights))
        for z in np.linspace(-1, most, 50):
            least = identify_module._least_tail(weights, float(z))
            assert least <= chance_tail(weights, float(z)) * (1 + 1e-9)
    # Chance's best among a thousand, in 10 s, is known for chance at once.
    assert identify_module._least_tail(rng.uniform(-1, 1, 160), 4.0) > 1e-7
