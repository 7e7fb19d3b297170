"""The registry keeps the seals' words, shares them, and never uses words of anything else."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from studio.core.errors import LedgerError
from studio.provenance.keys import KeyRing
from studio.provenance.ledger.log import Ledger
from studio.provenance.output_index import OutputIndex
from tests.bench.registry import KEY, bulk, release, seal_of
from watermark.coding.message import SealKey

codebook_module = sys.modules["watermark.coding.codebook"]
index_module = sys.modules["studio.provenance.output_index"]

OUTPUTS = 40


@pytest.fixture(autouse=True)
def _few_are_worth_keeping(monkeypatch):
    monkeypatch.setattr(index_module, "_UNKEPT", 10)
    monkeypatch.setattr(index_module, "_PAGE", 16)


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """The seals whose words are made."""
    seals: list[str] = []
    real = codebook_module.message_words

    def counted(key, seal_id, *rest):
        seals.append(seal_id.hex)
        return real(key, seal_id, *rest)

    monkeypatch.setattr(codebook_module, "message_words", counted)
    return seals


@pytest.fixture
def filled(tmp_path):
    ledger = Ledger.open(tmp_path / "ledger.db", outputs=tmp_path)
    bulk(ledger.database, OUTPUTS)
    yield ledger
    ledger.close()


def registry(ledger: Ledger, folder: Path, key: SealKey = KEY) -> OutputIndex:
    opened = OutputIndex(
        ledger, KeyRing({key.epoch: key}), folder / "fingerprints", folder / "codebook"
    )
    opened.refresh()
    return opened


def holds(opened: OutputIndex, outputs: int) -> bool:
    """All of these, each once."""
    return len(opened) == outputs == len(opened.index) and all(
        seal_of(n) in opened.codebook and seal_of(n).hex in opened.index for n in range(outputs)
    )


def test_words_are_made_once(filled, tmp_path, made):
    assert holds(registry(filled, tmp_path), OUTPUTS)
    assert made == [seal_of(n).hex for n in range(OUTPUTS)]
    made.clear()
    assert holds(registry(filled, tmp_path), OUTPUTS)
    # What fills no page of its own is not written.
    assert made == [seal_of(n).hex for n in range(32, OUTPUTS)]


@pytest.mark.parametrize("weights", ["today's", "older"])
def test_of_outputs_by_older_weights_it_is_not_known_that_they_are_scrambled(
    filled, tmp_path, monkeypatch, weights
):
    if weights == "older":
        monkeypatch.setattr(index_module, "SCRAMBLING_WEIGHTS", frozenset({"0" * 64}))
    for _ in range(2):  # made, and from the disk
        codebook = registry(filled, tmp_path).codebook
        assert {group.scrambled for group in codebook.groups} == {weights == "today's"}
        assert len(codebook) == OUTPUTS


def test_a_codebook_of_the_first_format_is_made_anew(filled, tmp_path, made, caplog):
    registry(filled, tmp_path)
    made.clear()
    listed = tmp_path / "codebook" / "codebook.json"
    listed.write_text(listed.read_text().replace("watermark-codebook/2", "watermark-codebook/1"))
    with caplog.at_level(logging.WARNING):
        assert holds(registry(filled, tmp_path), OUTPUTS)
    assert len(made) == OUTPUTS
    assert "another version; the words of all seals are made anew" in caplog.text
    made.clear()
    assert holds(registry(filled, tmp_path), OUTPUTS)
    assert len(made) < 10


def test_a_process_reads_from_the_database_what_is_new_only(filled, tmp_path, monkeypatch):
    registry(filled, tmp_path)
    read: list[int] = []
    real = Ledger.outputs

    def counted(self, **options):
        for entry_index, stored in real(self, **options):
            read.append(entry_index)
            yield entry_index, stored

    monkeypatch.setattr(Ledger, "outputs", counted)
    assert holds(registry(filled, tmp_path), OUTPUTS)
    assert read == list(range(32, OUTPUTS))


def test_what_is_released_later_is_found_at_once_and_kept_in_time(filled, tmp_path, made):
    one, other = registry(filled, tmp_path), registry(filled, tmp_path)
    for count in range(OUTPUTS, OUTPUTS + 25):
        release(filled, count)
        for each in (one, other):
            each.refresh()
            assert holds(each, count + 1)
    made.clear()
    assert holds(registry(filled, tmp_path), OUTPUTS + 25)
    assert len(made) < 10


def test_a_process_takes_over_what_another_kept(filled, tmp_path):
    """Both hold the same, and neither writes over what the other wrote."""
    late = registry(filled, tmp_path)
    for count in range(OUTPUTS, OUTPUTS + 12):
        release(filled, count)
    early = registry(filled, tmp_path)
    release(filled, OUTPUTS + 12)
    late.refresh()
    assert holds(late, OUTPUTS + 13)
    early.refresh()
    assert holds(early, OUTPUTS + 13)
    assert holds(registry(filled, tmp_path), OUTPUTS + 13)


def test_a_damaged_codebook_is_made_anew_and_said(filled, tmp_path, made, caplog):
    registry(filled, tmp_path)
    made.clear()
    (part,) = (tmp_path / "codebook").glob("*.part")
    part.write_bytes(part.read_bytes()[:-2] + b"xx")
    with caplog.at_level(logging.WARNING):
        assert holds(registry(filled, tmp_path), OUTPUTS)
    assert "made anew" in caplog.text
    assert len(made) == OUTPUTS
    caplog.clear()
    made.clear()
    assert holds(registry(filled, tmp_path), OUTPUTS)  # the control: it is mended
    assert not caplog.text
    assert len(made) == OUTPUTS - 32


def test_a_codebook_of_another_ledger_is_not_used(filled, tmp_path, caplog):
    registry(filled, tmp_path)
    other = Ledger.open(tmp_path / "other.db", outputs=tmp_path)
    bulk(other.database, 3)
    with caplog.at_level(logging.WARNING):
        assert holds(registry(other, tmp_path), 3)
    assert "of another ledger" in caplog.text
    other.close()


def test_a_codebook_of_another_key_is_not_used(filled, tmp_path, caplog, made):
    registry(filled, tmp_path)
    made.clear()
    exchanged = SealKey(KEY.epoch, bytes(32))
    with caplog.at_level(logging.WARNING):
        assert holds(registry(filled, tmp_path, exchanged), OUTPUTS)
    assert "another key" in caplog.text
    assert len(made) == OUTPUTS


def test_a_lost_key_is_an_error_and_no_reason_to_forget(filled, tmp_path):
    registry(filled, tmp_path)
    with pytest.raises(LedgerError, match="epoch 1 is missing"):
        registry(filled, tmp_path, SealKey(2, bytes(32)))
    assert holds(registry(filled, tmp_path), OUTPUTS)


def test_where_nothing_can_be_written_all_is_found_nevertheless(filled, tmp_path):
    (tmp_path / "a file").touch()
    assert holds(registry(filled, tmp_path / "a file"), OUTPUTS)


def test_no_folder_keeps_it_in_memory(filled, tmp_path):
    opened = OutputIndex(filled, KeyRing({KEY.epoch: KEY}))
    opened.refresh()
    assert holds(opened, OUTPUTS)
    assert not (tmp_path / "codebook").exists()
