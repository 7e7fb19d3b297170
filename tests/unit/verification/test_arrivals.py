"""Files that arrive in a watched folder: complete, regular, and read as a private copy."""

from __future__ import annotations

import os
from hashlib import sha256

import pytest

from studio.app.watching import arrivals as module
from studio.app.watching.arrivals import Arrivals, TakingError, TooLargeError
from studio.app.watching.store import WatchStore
from studio.core.errors import UsageError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "inbox"
    found.mkdir()
    (tmp_path / "spool").mkdir()
    return found


def names(arrivals, known=lambda _found: False):
    return [found.name for found in arrivals.look(known)]


def test_a_file_is_complete_once_it_stays_the_same(folder, clock):
    arrivals = Arrivals(folder, settle_s=5, clock=clock)
    file = folder / "a.wav"
    file.write_bytes(b"1")
    assert names(arrivals) == []
    assert arrivals.waiting == 1
    clock.now = 4.0
    file.write_bytes(b"12")
    assert names(arrivals) == []
    clock.now = 8.0  # five seconds since it was first seen, four since it changed
    assert names(arrivals) == []
    clock.now = 9.0
    assert names(arrivals) == ["a.wav"]
    assert arrivals.waiting == 0


def test_a_change_that_keeps_size_and_time_is_seen(folder, clock):
    arrivals = Arrivals(folder, settle_s=0, clock=clock)
    file = folder / "a.wav"
    file.write_bytes(b"11")
    os.utime(file, (1, 1))
    (first,) = arrivals.look(lambda _found: False)
    file.write_bytes(b"22")
    os.utime(file, (1, 1))
    assert names(arrivals, lambda found: found == first) == ["a.wav"]
    (second,) = arrivals.look(lambda _found: False)
    assert names(arrivals, lambda found: found == second) == []


def test_links_pipes_hidden_and_unfinished_files_are_left_out(folder, tmp_path):
    secret = tmp_path / "secret.wav"
    secret.write_bytes(b"secret")
    (folder / "link.wav").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.wav")
    for name in (".hidden.wav", "a.wav.part", "B.TMP", "cover.jpg"):
        (folder / name).write_bytes(b"x")
    (folder / "below").mkdir()
    (folder / "below" / "b.wav").write_bytes(b"x")
    arrivals = Arrivals(folder, settle_s=0, skip=["*.jpg"])
    assert names(arrivals) == ["below/b.wav"]


def test_a_file_that_became_a_link_is_not_read(folder, tmp_path):
    secret = tmp_path / "secret.wav"
    secret.write_bytes(b"secret")
    (folder / "sub").mkdir()
    file = folder / "sub" / "a.wav"
    file.write_bytes(b"secret")
    arrivals = Arrivals(folder, settle_s=0)
    (found,) = arrivals.look(lambda _found: False)
    file.unlink()
    file.symlink_to(secret)
    with pytest.raises(TakingError), arrivals.taken(found, tmp_path / "spool", 100):
        pass
    file.unlink()
    (folder / "sub").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.wav").write_bytes(b"secret")
    (folder / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TakingError), arrivals.taken(found, tmp_path / "spool", 100):
        pass
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_is_read_is_a_copy_that_nobody_changes(folder, tmp_path):
    file = folder / "a.wav"
    file.write_bytes(b"as it was")
    arrivals = Arrivals(folder, settle_s=0)
    (found,) = arrivals.look(lambda _found: False)
    with arrivals.taken(found, tmp_path / "spool", 100) as taken:
        file.unlink()
        assert taken.path.read_bytes() == b"as it was"
        assert taken.path.suffix == ".wav"
        assert taken.sha256 == sha256(b"as it was").hexdigest()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_file_that_is_written_again_is_waited_for(folder, tmp_path, monkeypatch):
    file = folder / "a.wav"
    file.write_bytes(b"12345678")
    arrivals = Arrivals(folder, settle_s=0)
    (found,) = arrivals.look(lambda _found: False)
    file.write_bytes(b"1234")
    with pytest.raises(TakingError) as raised, arrivals.taken(found, tmp_path / "spool", 100):
        pass
    assert raised.value.changing
    file.write_bytes(b"12345678")
    (found,) = arrivals.look(lambda _found: False)
    check, calls = Arrivals._check, []

    def changed_meanwhile(arrival, descriptor):
        calls.append(1)
        if len(calls) == 2:
            file.write_bytes(b"87654321")
        check(arrival, descriptor)

    monkeypatch.setattr(Arrivals, "_check", staticmethod(changed_meanwhile))
    with pytest.raises(TakingError) as raised, arrivals.taken(found, tmp_path / "spool", 100):
        pass
    assert raised.value.changing


def test_a_file_that_is_gone_or_too_large_is_told_apart(folder, tmp_path):
    for name in ("gone.wav", "large.wav"):
        (folder / name).write_bytes(b"x" * 11)
    arrivals = Arrivals(folder, settle_s=0)
    gone, large = sorted(arrivals.look(lambda _found: False), key=lambda found: found.name)
    (folder / "gone.wav").unlink()
    with pytest.raises(TakingError, match="removed"), arrivals.taken(gone, tmp_path / "spool", 100):
        pass
    with (
        pytest.raises(TooLargeError, match="11 bytes"),
        arrivals.taken(large, tmp_path / "spool", 10),
    ):
        pass
    with arrivals.taken(large, tmp_path / "spool", 11) as taken:
        assert taken.path.stat().st_size == 11


def test_a_file_that_failed_is_tried_again_after_growing_pauses(folder, clock):
    (folder / "a.wav").write_bytes(b"x")
    arrivals = Arrivals(folder, settle_s=0, clock=clock)
    assert names(arrivals) == ["a.wav"]
    tried = []
    for second in range(60):
        clock.now = float(second)
        if names(arrivals):
            tried.append(second)
            arrivals.postpone("a.wav")
    assert tried == [0, 5, 15, 35]
    arrivals.settle("a.wav")
    assert names(arrivals) == ["a.wav"]


def test_a_folder_with_too_much_in_it_is_looked_at_in_part(folder, monkeypatch):
    for number in range(5):
        (folder / f"{number}.wav").write_bytes(b"x")
    arrivals = Arrivals(folder, settle_s=0)
    assert len(names(arrivals)) == 5
    assert not arrivals.crowded
    monkeypatch.setattr(module, "_MOST", 3)
    assert len(names(arrivals)) == 3
    assert arrivals.crowded
    monkeypatch.setattr(module, "_MOST", 100)
    monkeypatch.setattr(module, "_DEPTH", 3)
    (folder / "b" / "c" / "d").mkdir(parents=True)
    (folder / "b" / "c" / "in.wav").write_bytes(b"x")
    (folder / "b" / "c" / "d" / "too deep.wav").write_bytes(b"x")
    assert "b/c/in.wav" in names(arrivals)
    assert "b/c/d/too deep.wav" not in names(arrivals)
    assert arrivals.crowded


# -- the store ------------------------------------------------------------------------------------


def arrival_of(folder, name, content=b"x"):
    (folder / os.fsdecode(name)).write_bytes(content)
    found = Arrivals(folder, settle_s=0).look(lambda _found: False)
    return next(each for each in found if each.name == os.fsdecode(name))


def test_what_was_done_is_known_after_a_restart(folder, tmp_path):
    found = arrival_of(folder, b"b\xff\n.wav")
    with WatchStore(tmp_path / "stores", folder) as store:
        assert not store.is_known(found)
        assert store.begin("d1", 7) is None
        assert store.answer_of("d1") is None
        store.done(found, "d1", {"verdict": "sealed"})
    with WatchStore(tmp_path / "stores", folder) as store:
        assert store.is_known(found)
        assert store.answer_of("d1") == {"verdict": "sealed"}
    with WatchStore(tmp_path / "stores", folder, "a case") as store:  # another question
        assert not store.is_known(found)
    assert not store.path.stat().st_mode & 0o077


def test_an_examination_that_was_cut_off_is_known_as_such(folder, tmp_path):
    with WatchStore(tmp_path / "stores", folder) as store:
        assert store.begin("d1", 7) is None
        (store.spool / "left.wav").write_bytes(b"x")
    with WatchStore(tmp_path / "stores", folder) as store:
        assert list(store.spool.iterdir()) == []
        assert store.answer_of("d1") is None
        assert store.begin("d1", 9) == 7
        assert store.begin("d2", 9) is None


def test_one_process_watches_a_folder(folder, tmp_path):
    with WatchStore(tmp_path / "stores", folder):
        with pytest.raises(UsageError, match="another process"):
            WatchStore(tmp_path / "stores", folder)
        WatchStore(tmp_path / "stores", folder, "a case").close()
    WatchStore(tmp_path / "stores", folder).close()
