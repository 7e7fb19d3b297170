"""Files, folders and homes that belong to somebody else: a word on each, and nothing written.

As root, the tests give root up; see :func:`tests.support.rights.as_another_user`.
"""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from studio.app.container import open_container
from studio.cli.main import cli as studio_command
from studio.core.config import load_config
from studio.core.errors import ConfigError, FileAbsentError
from studio.core.paths import StudioPaths, resolve_paths
from tests.support.rights import as_another_user, open_folder
from tests.support.seals import TonalSeal
from tests.support.studios import as_owner
from tests.unit.seal_carriers import music
from watermark.audio.waveform import write
from watermark.cli.main import main as watermark_command

KEY = "k.key"


@pytest.fixture
def place(monkeypatch):
    """A folder with music, some of which may not be read, and a folder that may not be written."""
    monkeypatch.setattr("watermark.cli.common.load_model", lambda _name, device="cpu": TonalSeal())
    with open_folder() as folder:
        for name in ("plain.wav", "shut.wav"):
            write(folder / name, music(4.0, 44_100, 1))
        made = CliRunner().invoke(watermark_command, ["key", "create", str(folder / KEY)])
        assert made.exit_code == 0
        (folder / KEY).chmod(0o644)
        (folder / "shut").mkdir()
        (folder / "fixed").mkdir()
        (folder / "shut.wav").chmod(0)
        (folder / "shut").chmod(0)
        (folder / "fixed").chmod(0o555)
        for name in ("detect", "embed"):  # imports what is imported late
            out = [str(folder / "warm.wav")] if name == "embed" else ["--in-process"]
            run(folder, name, "plain.wav", *out)
        (folder / "warm.wav").unlink(missing_ok=True)
        yield folder


def run(folder, name, *arguments):
    options = [str(folder / each) if str(each).endswith("wav") else each for each in arguments]
    key = ["--key-file", str(folder / KEY)]
    return CliRunner().invoke(watermark_command, [name, *options, *key])


def test_a_file_that_may_not_be_read_is_told_and_the_others_are_answered(place):
    shut = str(place / "shut")
    with as_another_user():
        done = run(place, "detect", "--in-process", "shut.wav", "plain.wav", shut, "--json")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 3
    assert [answer.get("detected") for answer in answers] == [None, False, None]
    assert [answer.get("error", "") for answer in answers] == [
        "shut.wav: permission denied",
        "",
        "shut: permission denied",
    ]


@pytest.mark.parametrize("name", ["out.wav", "fixed/out.wav", "plain.wav", "shut/out.wav"])
def test_nothing_is_written_where_nothing_may_be(place, name):
    before = {path: path.stat().st_size for path in place.rglob("*.wav")}
    if os.geteuid() != 0:
        place.chmod(0o555)
        (place / "plain.wav").chmod(0o444)
    with as_another_user():
        done = run(place, "embed", "plain.wav", name)
    place.chmod(0o755)
    assert done.exit_code == 2
    assert "cannot be written: permission denied" in done.stderr
    assert {path: path.stat().st_size for path in place.rglob("*.wav")} == before


def test_a_report_is_refused_before_the_work(place):
    with as_another_user():
        done = run(place, "scan", "plain.wav", "--out", str(place / "fixed" / "r.csv"))
    assert done.exit_code == 2
    assert "'r.csv' cannot be written: permission denied" in done.stderr
    assert list((place / "fixed").iterdir()) == []


def test_a_home_of_somebody_else_is_named(place):
    home = place / "home"
    resolve_paths(home, environ={}).create()
    home.chmod(0o700 if os.geteuid() == 0 else 0)
    with as_another_user():
        with pytest.raises(ConfigError, match=r"belongs to .* and cannot be read; run the studio"):
            resolve_paths(home, environ={})
        with pytest.raises(ConfigError, match="belongs to"):
            StudioPaths(home, place / "configs").create()
        with pytest.raises(ConfigError, match="cannot reach the studio's home"):
            resolve_paths(home / "inside", environ={})
        done = CliRunner(env={"STUDIO_HOME": str(home)}).invoke(studio_command, ["tags"])
    assert done.exit_code == 2
    assert "belongs to" in done.stderr


def test_a_home_that_is_a_file_is_refused(place):
    for _ in range(2):
        with pytest.raises(ConfigError, match="is no folder"):
            resolve_paths(place / "plain.wav", environ={})
    assert (place / "plain.wav").is_file()


def test_a_file_that_may_not_be_read_gets_no_verdict_and_no_entry(place, tmp_path):
    paths = resolve_paths(tmp_path / "home", environ={})
    paths.create()
    with open_container(load_config(paths.configs / "studio.yaml"), paths) as studio:
        before = studio.ledger().size()
        as_owner(studio).verification.verify(place / "plain.wav", record=False)
        for name in ("shut.wav", "shut"):
            with as_another_user(), pytest.raises(FileAbsentError, match="permission denied"):
                as_owner(studio).verification.verify(place / name)
        assert studio.ledger().size() == before
