"""The index on disk, streamed fingerprints, doubtful bits, and stretches of a recording."""

from __future__ import annotations

import numpy as np
import pytest

from watermark.errors import FingerprintError
from watermark.evaluation.bench import synthetic_clips
from watermark.fingerprint.haitsma_kalker import Fingerprint, Fingerprinter, fingerprint
from watermark.fingerprint.index import FingerprintIndex
from watermark.fingerprint.matching import OVERLAID_DISTANCE, agreeing, distance_at, stretches


def words(seed: int, seconds: float) -> np.ndarray:
    """Words in which nothing repeats, 43 a second."""
    return np.random.default_rng(seed).integers(1, 2**32, round(seconds * 43.0625), np.uint32)


def track(seed: int, seconds: float = 30.0) -> Fingerprint:
    return Fingerprint(words(seed, seconds), seconds)


@pytest.fixture(scope="module")
def clip():
    return synthetic_clips(count=1, seconds=12.0)[0].waveform


# -- streaming -------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_s", [0.05, 1.0, 5.0])
def test_in_blocks_a_fingerprint_is_the_same(clip, block_s):
    whole, printer = fingerprint(clip), Fingerprinter()
    for start in np.arange(0.0, clip.duration_s, block_s):
        printer.push(clip.slice(start, start + block_s))
    again = printer.finish()
    assert again.duration_s == pytest.approx(whole.duration_s, abs=0.01)
    assert abs(len(again.words) - len(whole.words)) <= 1
    length = min(len(again.words), len(whole.words))
    differing = np.bitwise_count(again.words[:length] ^ whole.words[:length]).mean() / 32
    assert differing < 0.005


def test_the_bits_that_a_codec_turns_are_the_doubtful_ones(clip):
    clean = fingerprint(clip)
    noise = np.random.default_rng(0).standard_normal(clip.samples.shape) * 0.003
    noisy = fingerprint(type(clip)((clip.samples + noise).astype(np.float32), clip.rate))
    turned = clean.words ^ noisy.words
    doubtful = (np.uint32(1) << noisy.doubtful.astype(np.uint32)).sum(axis=1).astype(np.uint32)
    all_turned = np.bitwise_count(turned).sum()
    assert all_turned > 100
    assert np.bitwise_count(turned & doubtful).sum() > 0.5 * all_turned  # by chance: 1/8


# -- on disk ---------------------------------------------------------------------------------------


def test_an_index_is_there_again_and_grows_without_being_written_anew(tmp_path):
    folder = tmp_path / "index"
    index = FingerprintIndex(folder)
    for n in range(40):
        index.add(f"t{n}", track(n))
    index.save("first")
    (first,) = [path for path in folder.iterdir() if path.is_dir()]
    again = FingerprintIndex(folder)
    assert (len(again), again.note) == (40, "first")
    again.add("new", track(99))
    again.save("second")
    assert first.exists(), "forty tracks are not written again for one"
    third = FingerprintIndex(folder)
    assert len(third) == 41
    assert third.search(track(99).between(5, 11))[0].key == "new"
    found = third.search(track(7).between(10, 16))
    assert (found[0].key, round(found[0].offset_s)) == ("t7", 10)
    np.testing.assert_array_equal(third.reference("t3").words, track(3).words)
    assert "t3" in third
    assert "t41" not in third


def test_parts_of_like_size_are_merged_so_that_there_are_few(tmp_path):
    index = FingerprintIndex(tmp_path)
    for n in range(33):
        index.add(f"t{n}", track(n, 5.0))
        index.save(str(n))
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) <= 6
    assert {index.search(track(n, 5.0))[0].key for n in range(33)} == {f"t{n}" for n in range(33)}


@pytest.mark.parametrize("damage", ["list", "part", "version"])
def test_a_damaged_index_says_so(tmp_path, damage):
    index = FingerprintIndex(tmp_path)
    index.add("a", track(1))
    index.save()
    if damage == "list":
        (tmp_path / "index.json").write_text("{")
    elif damage == "version":
        (tmp_path / "index.json").write_text('{"version": 99}')
    else:
        next(tmp_path.glob("part-*/flat.npy")).write_bytes(b"")
    with pytest.raises(FingerprintError):
        FingerprintIndex(tmp_path)
    assert len(FingerprintIndex(tmp_path, fresh=True)) == 0


# -- stretches -------------------------------------------------------------------------------------


def noisy(query: np.ndarray, share: float) -> np.ndarray:
    """Each bit turned with that chance."""
    turns = np.random.default_rng(5).random((len(query), 32)) < share
    return query ^ np.packbits(turns, axis=1).view(">u4")[:, 0].astype(np.uint32)


def test_an_edit_comes_apart_into_its_stretches():
    index = FingerprintIndex()
    for n in (1, 2, 3):
        index.add(f"t{n}", track(n))
    pieces = [
        words(50, 20), noisy(track(1).between(4, 16).words, 0.08), words(51, 7),
        noisy(track(3).between(0, 9).words, 0.1), words(52, 15),
    ]  # fmt: skip
    query = Fingerprint(np.concatenate(pieces), 63.0)
    found = sorted(stretches(query, index), key=lambda s: s.start_s)
    assert [s.key for s in found] == ["t1", "t3"]
    for stretch, (start, end, original) in zip(found, [(20, 32, 4), (39, 48, 0)], strict=True):
        assert stretch.start_s == pytest.approx(start, abs=0.3)
        assert stretch.end_s == pytest.approx(end, abs=0.5)
        assert stretch.original_start_s == pytest.approx(original, abs=0.3)
        assert stretch.distance < 0.13


def test_other_music_has_no_stretch_of_ours():
    index = FingerprintIndex()
    index.add("t1", track(1))
    assert stretches(Fingerprint(words(60, 90), 90.0), index) == []


def test_at_one_place_covered_content_is_told_from_other_content():
    reference = track(1)
    covered = Fingerprint(noisy(reference.between(5, 15).words, 0.36), 10.0)
    other = Fingerprint(words(61, 10), 10.0)
    assert distance_at(covered, reference, 5.0) < OVERLAID_DISTANCE
    assert distance_at(other, reference, 5.0) > OVERLAID_DISTANCE + 0.03
    assert distance_at(covered.between(0, 3), reference, 5.0) is None, "too little to decide"
    assert agreeing(other, reference, 5.0) == []
