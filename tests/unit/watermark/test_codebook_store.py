"""A codebook kept on disk: the same answers, one writer, and nothing damaged or foreign is used."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from watermark.coding.codebook import Codebook, CodebookEntry, WordIndex
from watermark.coding.codebook_store import CodebookStore
from watermark.coding.identify import identify
from watermark.coding.message import SealId, SealKey, messages
from watermark.errors import CodebookError

KEYS = {epoch: SealKey(epoch, bytes(31) + bytes([epoch])) for epoch in (1, 2)}
store_module = sys.modules["watermark.coding.codebook_store"]
search_module = sys.modules["watermark.coding.search"]


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch):
    """Large parts, and the indexes, from 100 seals on."""
    monkeypatch.setattr(store_module, "_LARGE", 100)
    for name in ("_FEW", "_INDEX_FROM", "_PLACED_INDEX_FROM"):
        monkeypatch.setattr(search_module, name, 100)
    monkeypatch.setattr(search_module, "_DIRECT", 0)


def seal(number: int) -> SealId:
    return SealId((number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big"))


def entries(first: int, stop: int, *, epoch: int = 1, seconds: float = 12) -> list[CodebookEntry]:
    return [CodebookEntry(seal(n), KEYS[epoch], seconds) for n in range(first, stop)]


def store(folder: Path) -> CodebookStore:
    return CodebookStore(folder / "codebook", KEYS.__getitem__)


def kept(folder: Path, codebook: Codebook, note: str = "a note") -> Path:
    assert store(folder).save(codebook, note)
    return folder / "codebook"


def soft(number: int, start: int, *, noise: float, epoch: int = 1) -> np.ndarray:
    signs = messages(KEYS[epoch], seal(number), 6, start) * 2.0 - 1.0
    return signs + noise * np.random.default_rng(number).standard_normal(signs.shape)


def answers(codebook: Codebook) -> list[object]:
    """Of seals that are there, of one that is not; scrambled, and not."""
    found = [
        identify(soft(number, start, noise=noise, epoch=epoch), codebook, key=key, second=second)
        for number, epoch in ((3, 1), (140, 1), (250, 2), (9_999, 1))
        for start, noise in ((0, 0.3), (3, 0.8))
        for key, second in ((None, None), (KEYS[epoch], start))
    ]
    return [
        one and (one.seal_id, one.epoch, one.offset_s, round(one.score, 4), one.searched)
        for one in found
    ]


@pytest.fixture
def whole() -> Codebook:
    return Codebook([*entries(0, 150), *entries(150, 190, seconds=8), *entries(200, 420, epoch=2)])


class TestKeeps:
    def test_the_same_answers(self, tmp_path, whole, monkeypatch):
        before = answers(whole)
        assert sum(map(bool, before)) >= 10
        kept(tmp_path, whole)
        assert answers(whole) == before  # from the files that were just written
        again, note = store(tmp_path).open()
        assert note == "a note"
        assert len(again) == len(whole) == 410
        # What is mapped has its index; only the seals of a small part are indexed anew.
        made = []
        real = WordIndex.__init__
        monkeypatch.setattr(
            WordIndex, "__init__", lambda self, words: made.append(1) or real(self, words)
        )
        assert answers(again) == before
        assert not made
        assert [group.kept for group in again.groups] == [False, True, True]

    @pytest.mark.parametrize("count", [50, 150])
    def test_which_seals_are_scrambled(self, tmp_path, count):
        known = [CodebookEntry(seal(n), KEYS[1], 12, scrambled=True) for n in range(count)]
        codebook = Codebook([*known, *entries(200, 200 + count)])
        assert not codebook.all_scrambled
        kept(tmp_path, codebook)
        again, _ = store(tmp_path).open()
        assert {group.scrambled: group.find(seal(3)) is not None for group in again.groups} == {
            False: False,
            True: True,
        }
        plain = soft(3, 0, noise=0.3)
        assert identify(plain, again) is not None
        assert identify(plain, again, unscrambled=True) is None
        other = identify(soft(203, 0, noise=0.3), again, unscrambled=True)
        assert other is not None
        assert other.seal_id == seal(203)
        alone = identify(soft(203, 0, noise=0.3), Codebook(entries(200, 200 + count)))
        assert alone is not None
        assert other.searched == alone.searched, "the bound counts what was looked at"

    def test_what_is_there(self, tmp_path, whole):
        kept(tmp_path, whole)
        again, _ = store(tmp_path).open()
        assert seal(0) in again
        assert seal(160) in again
        assert seal(419) in again
        assert seal(5_000) not in again
        for number in (0, 160, 419):
            with pytest.raises(CodebookError, match="twice"):
                again.add(entries(number, number + 1))

    def test_nothing_yet(self, tmp_path):
        codebook, note = store(tmp_path).open()
        assert (len(codebook), note) == (0, "")

    def test_an_empty_codebook(self, tmp_path):
        kept(tmp_path, Codebook())
        codebook, note = store(tmp_path).open()
        assert (len(codebook), note) == (0, "a note")

    def test_only_its_owner_may_look(self, tmp_path, whole):
        folder = kept(tmp_path, whole)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}

    def test_the_secret_is_in_no_file(self, tmp_path):
        key = SealKey(1, bytes(range(32)))
        folder = tmp_path / "codebook"
        CodebookStore(folder, lambda _: key).save(Codebook([CodebookEntry(seal(1), key, 8)]), "")
        content = b"".join(path.read_bytes() for path in folder.iterdir())
        assert seal(1).value[::-1] in content  # the control
        assert key.secret not in content
        assert key.secret.hex().encode() not in content


class TestGrows:
    def test_by_parts_that_are_merged_as_they_come_together(self, tmp_path):
        writer, codebook = store(tmp_path), Codebook()
        sizes = []
        for first in range(0, 2_400, 60):
            codebook.add(entries(first, first + 60))
            assert writer.save(codebook, str(first + 60))
            again, note = store(tmp_path).open()
            assert (len(again), note) == (first + 60, str(first + 60))
            assert all(seal(n) in again for n in range(first + 60))
            sizes = [len(group) for group in again.groups]
            large = [size for size in sizes if size >= 100]
            assert all(one >= 8 * other for one, other in pairwise(large))
            assert sum(size < 100 for size in sizes) <= 1
        assert len(list((tmp_path / "codebook").glob("*.part"))) == len(sizes) > 1
        found = identify(soft(7, 2, noise=0.3), again)
        assert found is not None
        assert found.seal_id == seal(7)

    def test_a_reader_goes_on_with_what_it_mapped(self, tmp_path):
        writer, codebook = store(tmp_path), Codebook(entries(0, 150))
        writer.save(codebook, "")
        old, _ = store(tmp_path).open()
        files = set((tmp_path / "codebook").glob("*.part"))
        codebook.add(entries(150, 420))
        writer.save(codebook, "")
        assert not files & set((tmp_path / "codebook").glob("*.part"))
        assert identify(soft(140, 0, noise=0.3), old).seal_id == seal(140)
        assert identify(soft(300, 0, noise=0.3), old) is None
        assert identify(soft(300, 0, noise=0.3), store(tmp_path).open()[0]).seal_id == seal(300)

    def test_who_missed_a_write_does_not_undo_it(self, tmp_path):
        one, other = store(tmp_path), store(tmp_path)
        mine, theirs = one.open()[0], other.open()[0]
        theirs.add(entries(0, 150))
        assert other.save(theirs, "theirs")
        mine.add(entries(0, 5))
        assert not one.save(mine, "mine")
        assert store(tmp_path).open()[1] == "theirs"
        mine, _ = one.open()
        mine.add(entries(150, 155))
        assert one.save(mine, "mine")
        assert len(store(tmp_path).open()[0]) == 155

    def test_one_writes_at_a_time(self, tmp_path):
        folder = kept(tmp_path, Codebook(entries(0, 5)))
        late = store(tmp_path)
        codebook, _ = late.open()
        codebook.add(entries(5, 6))
        with store_module.locked_if_free(folder / "lock") as free:
            assert free
            assert not late.save(codebook, "")
        assert late.save(codebook, "")


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _set(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


class TestRefuses:
    @pytest.mark.parametrize(
        "harm",
        [
            lambda folder: _flip(next(folder.glob("*.part"))),
            lambda folder: next(folder.glob("*.part")).unlink(),
            lambda folder: next(folder.glob("*.part")).write_bytes(b""),
            lambda folder: (folder / "codebook.json").write_text("{"),
            lambda folder: (folder / "codebook.json").write_text("[]"),
            lambda folder: _set(folder / "codebook.json", format="watermark-codebook/1"),
            lambda folder: _set(folder / "codebook.json", format="watermark-codebook/3"),
            lambda folder: _set(folder / "codebook.json", note="of more"),
            lambda folder: _set(folder / "codebook.json", parts=[]),
            lambda folder: _set(folder / "codebook.json", parts=[{"file": "../codebook.json"}]),
            lambda folder: _set(folder / "codebook.json", mac="é"),
            lambda folder: (folder / "codebook.json").chmod(0o640),
            lambda folder: next(folder.glob("*.part")).chmod(0o604),
            lambda folder: folder.chmod(0o750),
        ],
    )
    def test_what_is_not_as_it_was_written(self, tmp_path, whole, harm):
        folder = kept(tmp_path, whole)
        assert len(store(tmp_path).open()[0]) == 410  # the control
        harm(folder)
        with pytest.raises(CodebookError):
            store(tmp_path).open()
        again = store(tmp_path)
        assert again.save(Codebook(entries(0, 150)), "made anew", replace=True)
        codebook, note = store(tmp_path).open()
        assert (len(codebook), note) == (150, "made anew")
        assert folder.stat().st_mode & 0o777 == 0o700

    def test_another_key(self, tmp_path, whole):
        kept(tmp_path, whole)
        changed = KEYS | {2: SealKey(2, bytes(32))}
        with pytest.raises(CodebookError, match="another key"):
            CodebookStore(tmp_path / "codebook", changed.__getitem__).open()

    def test_a_key_that_is_lost_is_said_by_who_gives_keys(self, tmp_path, whole):
        kept(tmp_path, whole)
        with pytest.raises(KeyError):
            CodebookStore(tmp_path / "codebook", {1: KEYS[1]}.__getitem__).open()
