"""The home: its owner's alone, made once by whoever comes first, readable on a read-only disk."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import threading

import pytest

from studio.core.db.database import Database
from studio.core.errors import ConfigError, LedgerError
from studio.core.home import RESTORE_MARKER, locked
from studio.core.paths import StudioPaths
from tests.robustness.faults import in_child, obey_permissions
from tests.support.studios import PlainGenerator, as_owner, make_studio


def loose(folder):
    """What is open to another user: the home, what lies in it, and released files, by name."""
    return [
        path.name
        for path in [folder, *folder.iterdir(), *(folder / "outputs").iterdir()]
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]


@pytest.fixture
def made(tmp_path):
    old = os.umask(0o022)
    try:
        with make_studio(tmp_path, generator=PlainGenerator()) as studio:
            as_owner(studio).generation.create(
                as_owner(studio).generation.request(["genre/jazz"], duration_s=3, seed=1)
            )
            studio.checkpointer().checkpoint()
            yield tmp_path
    finally:
        os.umask(old)


def test_a_home_is_its_owners_alone_whatever_the_umask(made):
    home = made / "home"
    assert (home / "ledger.db-wal").exists()
    assert loose(home) == []


def test_a_start_on_loose_rights_says_so_and_mends(made, caplog):
    home = made / "home"
    for path in [home, *home.rglob("*")]:
        if path.parent.name not in ("keys", "credentials"):  # an open key is refused, not mended
            path.chmod(path.stat().st_mode | 0o055)
    with caplog.at_level(logging.WARNING):
        StudioPaths(home=home, configs=made / "configs").create()
    assert "was open to other users" in caplog.text
    for name in ("", "keys", "outputs", "tmp", "checkpoints", "ledger.db", "ledger.db-wal"):
        assert not stat.S_IMODE((home / name).stat().st_mode) & 0o077, name
    caplog.clear()
    StudioPaths(home=home, configs=made / "configs").create()
    assert caplog.text == "", "mended once, nothing more is said"


def test_rights_that_cannot_be_mended_are_refused(tmp_path, monkeypatch):
    paths = StudioPaths(home=tmp_path / "home", configs=tmp_path)
    paths.create()
    paths.home.chmod(0o755)

    def refuse(*_args, **_kwargs):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    with pytest.raises(ConfigError, match="open to other users"):
        paths.create()


def test_a_home_that_is_half_restored_is_refused(tmp_path):
    paths = StudioPaths(home=tmp_path / "home", configs=tmp_path)
    paths.create()
    (paths.home / RESTORE_MARKER).touch()
    with pytest.raises(ConfigError, match="studio restore"):
        paths.create()


def test_the_lock_keeps_other_threads_out_and_lets_its_own_in(tmp_path):
    seen = []
    with locked(tmp_path), locked(tmp_path):
        other = threading.Thread(target=lambda: [locked(tmp_path).__enter__(), seen.append(1)])
        other.daemon = True
        other.start()
        other.join(0.2)
        assert seen == []
    other.join(10)
    assert seen == [1]


@pytest.mark.slow
def test_four_first_starts_at_once_all_work(tmp_path):
    """On one new home: keys, documents, database and certificate are made by one of them."""
    with make_studio(tmp_path, home=False):  # the configuration only
        pass
    environment = {
        **os.environ,
        "STUDIO_HOME": str(tmp_path / "home"),
        "STUDIO_CONFIGS": str(tmp_path / "configs"),
    }
    assert not (tmp_path / "home").exists()
    code = (
        "from studio.app.container import open_container\n"
        "with open_container() as s: s.policy(); s.credentials(); print(s.ledger().size())"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = [child.communicate(timeout=900) for child in children]
    assert [child.returncode for child in children] == [0] * 4, answers
    assert len({out for out, _ in answers}) == 1, "each saw the same ledger"
    with make_studio(tmp_path) as studio:
        assert studio.ledger().verify().ok
        kinds = [entry.kind for entry in studio.ledger().entries()]
        assert kinds.count("consent-start") == 1
        assert sorted(p.name for p in studio.paths.keys.iterdir()) == [
            "epoch-0001.key",
            "ledger-0001.key",
        ]
        assert len(list(studio.paths.credentials.iterdir())) == 1


@pytest.mark.parametrize("log", ["none", "whole", "without its index"])
def test_a_home_that_may_only_be_read_is_read(tmp_path, log):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(["genre/jazz"], duration_s=3, seed=1)
        )
        size = studio.ledger().size()
        if log != "none":
            copies = {p: p.read_bytes() for p in studio.paths.home.glob("ledger.db*")}
    if log != "none":
        for path, content in copies.items():
            if log == "whole" or not path.name.endswith("-shm"):
                path.write_bytes(content)
    home = tmp_path / "home"
    before = {p: p.read_bytes() for p in sorted(home.rglob("*")) if p.is_file()}
    folders = [home, *(p for p in home.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    for path in before:
        path.chmod(0o400)

    def read(say):
        obey_permissions()
        with make_studio(tmp_path) as studio:
            say(str(studio.ledger().verify().ok))
            say(str(studio.ledger().size()))
            say(str(sum(status.granted for status in as_owner(studio).catalog.tag_status())))
            say(str(studio.database().read_only))
            try:
                studio.ledger().append("refusal", {})
            except LedgerError as exc:
                say(str(exc))

    try:
        said, status = in_child(read)
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert status == 0, said
    assert said[:2] == ["True", str(size)]
    assert int(said[2]) > 0
    assert said[3] == "True"
    assert "may only be read" in said[4]
    assert {p: p.read_bytes() for p in sorted(home.rglob("*")) if p.is_file()} == before


def test_a_copy_that_was_read_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    Database.open(tmp_path / "ledger.db").close()
    monkeypatch.setattr("studio.core.db.database.is_read_only", tmp_path.__eq__)
    database = Database.open(tmp_path / "ledger.db")
    assert database.read_only
    assert list((tmp_path / "tmp").iterdir())
    database.close()
    del database
    assert list((tmp_path / "tmp").iterdir()) == []
