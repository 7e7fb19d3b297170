"""Star, rename and discard: recorded, read back by another reader, titles erased on demand."""

from __future__ import annotations

from studio.provenance.shelf import KIND, Place, Shelf

OUTPUT = "9f2c00a1b2c3d4e5"


def test_each_change_is_an_entry_and_what_changes_nothing_is_none(ledger):
    shelf = Shelf(ledger)
    assert shelf.place(OUTPUT) == Place()
    assert shelf.change(OUTPUT, starred=True) is not None
    assert shelf.change(OUTPUT, starred=True) is None
    assert shelf.change(OUTPUT, discarded=True, title="Blue evening") is not None
    assert len(ledger.entries(kind=KIND)) == 2
    again = Shelf(ledger)
    assert again.place(OUTPUT).starred
    assert again.place(OUTPUT).discarded
    assert again.title(OUTPUT) == "Blue evening"
    again.change(OUTPUT, starred=False, discarded=False)
    assert not shelf.place(OUTPUT).starred
    assert not shelf.place(OUTPUT).discarded


def test_a_title_stands_in_no_leaf_and_can_be_erased(ledger):
    shelf = Shelf(ledger)
    for title in ("Ada's waltz", "Ada's other waltz"):
        entry = shelf.change(OUTPUT, title=title)
        assert "Ada" not in str(entry.body)
    kept = shelf.kept_titles([OUTPUT])
    assert len(kept) == 2
    assert shelf.kept_titles(["0" * 16]) == []
    ledger.erase_all(kept, why="account-deleted")
    assert shelf.title(OUTPUT) is None
    assert shelf.kept_titles([OUTPUT]) == []
    assert ledger.verify().ok
