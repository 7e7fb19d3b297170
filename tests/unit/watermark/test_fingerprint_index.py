"""The index on disk, streamed fingerprints, doubtful bits, and stretches of a recording."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from watermark.errors import FingerprintError
from watermark.evaluation.bench import synthetic_clips
from watermark.fingerprint.haitsma_kalker import Fingerprint, Fingerprinter, fingerprint
from watermark.fingerprint.index import FingerprintIndex
from watermark.fingerprint.matching import OVERLAID_DISTANCE, agreeing, distance_at, stretches
from watermark.fingerprint.merging import merged
from watermark.fingerprint.postings import Part


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
    for n in range(250):
        index.add(f"t{n}", track(n))
    index.save("first")
    (first,) = [path for path in folder.iterdir() if path.is_dir()]
    again = FingerprintIndex(folder)
    assert (len(again), again.note) == (250, "first")
    again.add("new", track(999))
    again.save("second")
    assert first.exists(), "250 tracks are not written again for one"
    third = FingerprintIndex(folder)
    assert len(third) == 251
    assert third.search(track(999).between(5, 11))[0].key == "new"
    found = third.search(track(7).between(10, 16))
    assert (found[0].key, round(found[0].offset_s)) == ("t7", 10)
    np.testing.assert_array_equal(third.reference("t3").words, track(3).words)
    assert "t3" in third
    assert "t250" not in third


def test_parts_of_like_size_are_merged_so_that_there_are_few(tmp_path):
    index = FingerprintIndex(tmp_path)
    for n in range(33):
        index.add(f"t{n}", track(n, 5.0))
        index.save(str(n))
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) <= 6
    assert {index.search(track(n, 5.0))[0].key for n in range(33)} == {f"t{n}" for n in range(33)}


def test_only_a_large_index_holds_files_open(tmp_path):
    def held(count: int) -> list[str]:
        folder = tmp_path / str(count)
        written = FingerprintIndex(folder)
        for seed in range(count):
            written.add(f"{seed}", track(seed, 600.0))
        written.save("")
        del written
        opened = FingerprintIndex(folder)
        names = [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.exists()]
        assert opened.search(track(0, 600.0))
        return [name for name in names if name.startswith(str(folder))]

    assert held(2) == []
    assert any(name.endswith("places.npy") for name in held(30))


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
        next(tmp_path.glob("part-*/tails.npy")).write_bytes(b"")
    with pytest.raises(FingerprintError):
        FingerprintIndex(tmp_path)
    assert len(FingerprintIndex(tmp_path, fresh=True)) == 0


def test_with_a_store_the_folder_does_without_words_and_answers_the_same(tmp_path):
    tracks = {f"t{n}": track(n) for n in range(30)}
    asked: list[list[str]] = []

    def store(keys):
        asked.append(list(keys))
        return {key: tracks[key] for key in keys}

    lean, whole = FingerprintIndex(tmp_path / "a", store=store), FingerprintIndex(tmp_path / "b")
    for key, reference in tracks.items():
        lean.add(key, reference)
        whole.add(key, reference)
    lean.save()
    whole.save()
    assert not list((tmp_path / "a").glob("part-*/words.npy"))
    assert list((tmp_path / "b").glob("part-*/words.npy"))
    query = Fingerprint(noisy(track(7).between(10, 16).words, 0.1), 6.0)
    found = FingerprintIndex(tmp_path / "a", store=store).search(query)
    assert found == FingerprintIndex(tmp_path / "b").search(query)
    assert found[0].key == "t7"
    assert asked == [["t7"]], "one question, for the one track that is near"
    assert FingerprintIndex(tmp_path / "a", store=store).search(track(77).between(0, 6)) == []
    assert len(asked) == 1, "none for music that is near nothing"
    with pytest.raises(FingerprintError, match="store"):
        FingerprintIndex(tmp_path / "a")


def test_what_was_searched_in_memory_is_written_whole(tmp_path):
    """Parts in memory that are too unlike to be merged there are one part on disk."""
    index = FingerprintIndex(tmp_path)
    for n in (*range(250), 999):
        index.add(f"t{n}", track(n))
        if n in (249, 999):
            assert index.search(track(n))[0].key == f"t{n}"  # makes a part
    index.save()
    assert len(FingerprintIndex(tmp_path)) == 251
    assert len(list(tmp_path.glob("part-*"))) == 1


def test_two_writers_lose_nothing_and_write_nothing_twice(tmp_path):
    one, other = FingerprintIndex(tmp_path), FingerprintIndex(tmp_path)
    for n in range(12):
        one.add(f"t{n}", track(n, 6.0))
        other.add(f"t{n + 6}", track(n + 6, 6.0))
        (one if n % 2 else other).save(str(n))
    for index in (one, other, one):
        index.save("end")
    for index in (one, other, FingerprintIndex(tmp_path)):
        assert len(index) == 18
        assert {index.search(track(n, 6.0))[0].key for n in range(18)} == {
            f"t{n}" for n in range(18)
        }


def test_a_reader_goes_on_while_parts_are_merged_under_it(tmp_path):
    writer = FingerprintIndex(tmp_path)
    writer.add("t0", track(0))
    writer.save()
    reader = FingerprintIndex(tmp_path)
    for n in range(1, 9):
        writer.add(f"t{n}", track(n))
        writer.save()
    assert reader.search(track(0).between(3, 9))[0].key == "t0"
    assert reader.search(track(5).between(3, 9)) == []
    assert FingerprintIndex(tmp_path).search(track(5).between(3, 9))[0].key == "t5"


def test_a_list_that_changes_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    writer = FingerprintIndex(tmp_path)
    writer.add("t0", track(0))
    writer.save()
    real = Part.read

    def late(path):
        monkeypatch.setattr(Part, "read", real)
        writer.add("t1", track(1))
        writer.save()  # merges the part that is about to be opened
        return real(path)

    monkeypatch.setattr(Part, "read", late)
    assert len(FingerprintIndex(tmp_path)) == 2


def test_an_index_begun_afresh_by_another_is_not_written_over(tmp_path):
    old = FingerprintIndex(tmp_path)
    old.add("t0", track(0))
    old.save()
    fresh = FingerprintIndex(tmp_path, fresh=True)
    fresh.add("t1", track(1))
    fresh.save()
    old.add("t2", track(2))
    old.save()
    assert "t1" in FingerprintIndex(tmp_path)
    assert len(FingerprintIndex(tmp_path)) == 1
    assert {old.search(track(n))[0].key for n in (0, 2)} == {"t0", "t2"}, "in memory it goes on"


def test_a_part_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    index = FingerprintIndex(tmp_path)
    index.add("t0", track(0))
    index.save("first")
    index.add("t1", track(1))
    monkeypatch.setattr("watermark.fingerprint.merging.put_keys", _full_disk)
    with pytest.raises(OSError, match="full"):
        index.save("second")
    monkeypatch.undo()
    assert len(list(tmp_path.glob("part-*"))) == 1
    assert FingerprintIndex(tmp_path).note == "first"
    index.save("third")
    again = FingerprintIndex(tmp_path)
    assert "t0" in again
    assert "t1" in again


def _full_disk(*_args):
    raise OSError("full")


@pytest.mark.parametrize("count", [1, 60, 260])
def test_merged_parts_are_as_if_made_at_once(tmp_path, monkeypatch, count):
    """Words, places and keys; in pieces of some words, from parts whose words are split unlike."""
    monkeypatch.setattr("watermark.fingerprint.merging._CHUNK", 3_000)
    tracks = {f"ä{n}": track(n, 1.0 + n % 7 * 6) for n in range(count)}
    tracks["silent"] = Fingerprint(np.zeros(400, np.uint32), 9.3)
    names = list(tracks)
    whole = Part.of(tracks)
    cut = max(1, len(names) // 9)
    pieces = [Part.of({k: tracks[k] for k in group}) for group in (names[:cut], names[cut:])]
    for made in (merged(pieces, None, words=True), merged(pieces, tmp_path, words=True)):
        for name, values in whole.arrays.items():
            np.testing.assert_array_equal(made.arrays[name], values, err_msg=name)
        assert [key for key, _ in made.tracks()] == names
        assert made.number(names[-2]) == len(names) - 2
        assert made.number("unknown") is None


def test_threads_share_an_index(tmp_path):
    index = FingerprintIndex(tmp_path)
    index.add("first", track(500, 8.0))
    wrong: list[int] = []

    def add(first):
        for n in range(first, first + 20):
            index.add(f"t{n}", track(n, 6.0))
            if index.search(track(n, 6.0))[0].key != f"t{n}":
                wrong.append(n)
            if n % 5 == 0:
                index.save(str(n))

    threads = [threading.Thread(target=add, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index.save("end")
    assert wrong == []
    assert len(index) == len(FingerprintIndex(tmp_path)) == 61


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
