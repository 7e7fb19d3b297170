"""Files are written whole or not at all, and a kill leaves no secret behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from watermark.audio.encoding import FORMATS
from watermark.util import files
from watermark.util.files import create_file, replacing, sweep, write_file


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("unnamed", [True, False])
def test_a_new_file_is_the_owners_alone_and_never_replaces(tmp_path, monkeypatch, unnamed):
    if not unnamed:
        monkeypatch.setattr(files, "_create_unnamed", lambda *_: False)
    assert create_file(tmp_path / "a", b"first")
    assert not create_file(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert mode(tmp_path / "a") == 0o600
    assert names(tmp_path) == ["a"]


def test_a_file_system_without_links(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_create_unnamed", lambda *_: False)

    def refuse(*_args, **_kwargs):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert create_file(tmp_path / "a", b"first")
    assert not create_file(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


def test_rights_of_what_is_written(tmp_path):
    old = os.umask(0o022)
    try:
        write_file(tmp_path / "private", b"x")
        write_file(tmp_path / "public", b"x", mode=0o644)
        write_file(tmp_path / "usual", b"x", mode=None)
    finally:
        os.umask(old)
    assert mode(tmp_path / "private") == 0o600
    assert mode(tmp_path / "public") == mode(tmp_path / "usual") == 0o644


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write_file(tmp_path / "a", b"old")
    with pytest.raises(ValueError, match="halfway"), replacing(tmp_path / "a") as file:
        file.write(b"half")
        raise ValueError("halfway")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def child(code: str, folder) -> subprocess.CompletedProcess:
    code = "import os, signal, resource\nfrom watermark.util import files\n" + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)], check=False, capture_output=True, cwd=folder
    )


LIMIT = """
resource.setrlimit(resource.RLIMIT_FSIZE, (3, 3))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
"""


@pytest.mark.parametrize("call", ["create_file", "write_file"])
@pytest.mark.parametrize("before", ["", "files._create_unnamed = lambda *_: False\n"])
def test_a_full_disk_leaves_nothing(tmp_path, call, before):
    done = child(f"{before}{LIMIT}files.{call}('key', b'secret')", tmp_path)
    assert b"File too large" in done.stderr
    assert names(tmp_path) == []


def test_a_killed_writer_of_a_key_leaves_nothing_at_all(tmp_path):
    """Without a name until it is whole: this is what a `.part` file with a secret was."""
    done = child(
        """
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        files.create_file('key', b'secret')
        """,
        tmp_path,
    )
    assert done.returncode == -signal.SIGKILL
    assert names(tmp_path) == []


def test_what_a_killed_writer_leaves_is_swept_and_what_a_living_one_writes_is_not(tmp_path):
    done = child(
        """
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        files.write_file('key', b'secret')
        """,
        tmp_path,
    )
    assert done.returncode == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert left.endswith(".part")
    (tmp_path / "a.part").write_bytes(b"somebody's own")
    with replacing(tmp_path / "b") as file:
        assert sweep(tmp_path) == [left]
        file.write(b"whole")
    assert names(tmp_path) == ["a.part", "b"]


def test_a_sweep_between_making_and_locking_loses_nothing(tmp_path, monkeypatch):
    real, times = files._lock, []

    def lock(descriptor, *, wait):
        if wait and not times:
            times.append(1)
            assert len(sweep(tmp_path)) == 1
        return real(descriptor, wait=wait)

    monkeypatch.setattr(files, "_lock", lock)
    write_file(tmp_path / "a", b"content")
    assert times
    assert (tmp_path / "a").read_bytes() == b"content"


def test_every_encoder_says_which_file_the_disk_has_no_room_for(tmp_path):
    """Errors in the callbacks of libraries in C come out as the disk's own, without a traceback."""
    program = """
        import errno, os, resource
        from pathlib import Path
        import numpy as np
        from watermark.audio.encoding import FORMATS, Encoder
        from watermark.util.files import replacing

        noise = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 480_000)).astype(np.float32)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        for format in FORMATS:
            try:
                with replacing(f"out.{format}") as file:
                    with Encoder(file, format, channels=2, rate=48_000) as encoder:
                        encoder.write(noise)
                print(format, "was written")
            except OSError as exc:
                print(format, errno.errorcode[exc.errno], exc.filename)
        print(os.listdir())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    *lines, left = done.stdout.splitlines()
    assert lines == [f"{format} EFBIG out.{format}" for format in FORMATS]
    assert left == "[]"
    assert done.stderr == ""
