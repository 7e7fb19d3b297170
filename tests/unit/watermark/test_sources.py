"""Where a catalogue's files lie: paths, patterns, file:// and stores; what is fetched of them."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from watermark.batch.files import Journal
from watermark.batch.pool import Failure
from watermark.batch.sources import Catalogue, fetched, fetching, is_address
from watermark.errors import ScanError


@pytest.fixture
def store():
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/shop/{name}": name.encode() for name in ("b.wav", "a.wav", "c.jpg")})
    memory.pipe({"/shop/deep/er/d e#?.wav": b"d"})
    yield memory
    memory.rm("/", recursive=True)


def test_a_store_is_listed_folder_by_folder(store):
    found = list(Catalogue(["memory://shop"], skip=["*.jpg"]))
    assert found == [
        "memory://shop/a.wav",
        "memory://shop/b.wav",
        "memory://shop/deep/er/d e#?.wav",
    ]
    assert list(Catalogue(["memory://shop/a.wav"])) == ["memory://shop/a.wav"]
    assert list(Catalogue(["memory://shop/[ab].wav"])) == found[:2]
    assert list(Catalogue(["memory://shop/**/*.wav"])) == found


def test_what_was_listed_is_fetched_whatever_its_name(store):
    for name in Catalogue(["memory://shop"]):
        with fetched(name) as path:
            assert Path(path).read_bytes() == store.cat(name)
        assert not Path(path).exists()


def test_patterns_are_opened_and_files_that_look_like_patterns_are_files(tmp_path):
    for name in ("a.wav", "b.wav", "[ab].wav", "sub/c.wav"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert list(Catalogue([f"{tmp_path}/[ab].wav"])) == [f"{tmp_path}/[ab].wav"]
    assert list(Catalogue([f"{tmp_path}/?.wav"])) == [f"{tmp_path}/a.wav", f"{tmp_path}/b.wav"]
    assert f"{tmp_path}/sub/c.wav" in list(Catalogue([f"{tmp_path}/**/*.wav"]))
    assert list(Catalogue([f"{tmp_path}/*.flac"])) == [f"{tmp_path}/*.flac"]


def test_a_file_address_is_the_path(tmp_path):
    (tmp_path / "a b.wav").touch()
    assert list(Catalogue([f"file://{tmp_path}"])) == [f"{tmp_path}/a b.wav"]
    assert list(Catalogue([f"file://localhost{tmp_path}/a%20b.wav"])) == [f"{tmp_path}/a b.wav"]
    with pytest.raises(ScanError, match="this machine"):
        list(Catalogue(["file://elsewhere/a.wav"]))


@pytest.mark.parametrize(
    "address",
    [
        "http://x/a.wav",
        "ssh://x/a",
        "zip://a::memory://b",
        "github://o:r@/x",
        "s3x://b",
        "MAGNET://x",
    ],
)
def test_addresses_of_other_kinds_are_refused(address):
    with pytest.raises(ScanError, match="is not read; addresses begin with"):
        list(Catalogue([address]))


@pytest.mark.parametrize("name", ["a://b", "x+y.z-1://", "S3://b/c"])
def test_an_address_is_known(name):
    assert is_address(name)


@pytest.mark.parametrize("name", ["", "a", "://a", "1a://b", "./s3://b", "/a://b", "a:/b", "-://x"])
def test_a_path_is_no_address(name):
    assert not is_address(name)


def test_a_changed_object_is_examined_again(store, tmp_path):
    def fresh():
        catalogue = Catalogue(["memory://shop"], skip=["*.jpg"])
        path = tmp_path / "report.jsonl"
        with Journal(path, reader="one", stamp=catalogue.stamp) as journal:
            names = [name for name in catalogue if not journal.answered(name)]
            for name in names:
                journal.add({"file": name, "verdict": "no seal"})
                catalogue.forget(name)
            return names

    assert len(fresh()) == 3
    assert fresh() == []
    store.pipe({"/shop/a.wav": b"something else"})
    assert fresh() == ["memory://shop/a.wav"]


def test_an_object_that_is_gone_or_too_large_is_a_failure_of_its_own(store, monkeypatch):
    work = fetching(lambda: lambda path, _report: path)
    assert work("memory://shop/none.wav", print) == Failure("there is no such object")
    assert list(Catalogue(["memory://shop/none.wav"])) == ["memory://shop/none.wav"]
    monkeypatch.setattr("watermark.batch.sources.fetched.__wrapped__.__defaults__", (3,))
    assert work("memory://shop/a.wav", print).why.startswith("larger than")
    assert work("a.wav", print) == "a.wav"


def test_a_connection_that_breaks_is_tried_again(store, monkeypatch):
    pauses, breaks = [], [OSError("reset"), ValueError("half a body")]
    whole = store.open

    def breaking(*arguments, **options):
        if breaks:
            raise breaks.pop()
        return whole(*arguments, **options)

    monkeypatch.setattr("watermark.batch.sources.time.sleep", pauses.append)
    monkeypatch.setattr(type(store), "open", lambda _self, *a, **o: breaking(*a, **o))
    with fetched("memory://shop/a.wav") as path:
        assert Path(path).read_bytes() == b"a.wav"
    assert pauses == [0.5, 1.0]
    breaks[:] = [OSError("reset")] * 9
    work = fetching(lambda: lambda path, _report: path)
    assert work("memory://shop/a.wav", print) == Failure("cannot be fetched: reset", passing=True)


def test_two_scans_do_not_write_one_report(tmp_path):
    path = tmp_path / "report.jsonl"
    with Journal(path, reader="one"), pytest.raises(ScanError, match="another scan is writing"):
        Journal(path, reader="one")
    with Journal(path, reader="one"):
        pass
