"""Fail closed: whatever breaks, nothing unsealed is handed out and no entry is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from studio.core.db import database
from studio.core.errors import LedgerError, StudioError
from studio.generation.progress import Stage
from tests.robustness import faults
from tests.support.studios import PlainGenerator, as_owner, left_over, make_studio


@pytest.fixture
def studio(tmp_path, database_location, monkeypatch):
    if not isinstance(database_location, Path):
        monkeypatch.setenv("STUDIO_DATABASE_URL", database_location)
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        yield studio


def request(studio):
    return as_owner(studio).generation.request(["genre/jazz"], duration_s=3, seed=1)


def nothing_was_released(studio) -> None:
    assert studio.ledger().releases() == []
    assert left_over(studio) == []
    assert studio.ledger().verify().ok


def at_stage(stage: Stage, act):
    """A progress callback that acts once, when the pipeline enters that stage."""
    done = []

    def progress(step):
        if step.stage is stage and not done:
            done.append(True)
            act()

    return progress


def test_random_kills_and_full_disks_leave_nothing_half_done():
    """The small run of ``python -m tests.robustness.kill``."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.kill", "--runs", "6", "--seed", "5"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    tally = json.loads(done.stdout)
    assert tally["injected"] == 6
    assert tally["broken"] == []
    assert tally["struck"] >= 2, "most faults ought to strike in the middle"


def test_the_harness_notices_a_file_without_entry_and_one_without_seal(tmp_path):
    """Negative controls of the harness itself."""
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        release = as_owner(studio).generation.create(request(studio))
        (studio.paths.outputs / f"{'ab' * 8}.wav").write_bytes(b"RIFF")
    broken, report = faults.check(tmp_path, ["f" * 16], None)
    assert any("without an entry" in line for line in broken)
    assert any("acknowledged and is lost" in line for line in broken)
    assert report.unrecorded == (f"{'ab' * 8}.wav",)
    release.path.write_bytes(b"RIFF")
    assert any("another digest" in line for line in faults.check(tmp_path, [], None)[0])
    release.path.unlink()
    assert any("missing" in line for line in faults.check(tmp_path, [], None)[0])


@pytest.mark.parametrize("handed_out", [False, True])
def test_killed_between_entry_and_file_the_next_start_completes_it_and_says_so(
    tmp_path, handed_out
):
    def child(acknowledge):
        from studio.generation.releasing.staging import Workspace

        release = Workspace.release

        def killed(self, path):
            if handed_out:
                release(self, path)
            os.kill(os.getpid(), 9)

        Workspace.release = killed
        faults.generate(tmp_path, 1, acknowledge)

    lines, status = faults.in_child(child)
    assert (lines, status) == ([], 9)
    broken, report = faults.check(tmp_path, [], None)
    assert broken == []
    assert len(report.completed) == (0 if handed_out else 1)
    if not handed_out:
        assert "completed after an interruption" in report.lines()[0]


@pytest.mark.parametrize("folder", ["outputs", "tmp"])
def test_a_folder_that_cannot_be_written(tmp_path, folder):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        as_owner(studio).generation.recover()

    def child(acknowledge):
        faults.obey_permissions()
        (tmp_path / "home" / folder).chmod(0o555)
        faults.generate(tmp_path, 1, acknowledge)

    lines, status = faults.in_child(child)
    (tmp_path / "home" / folder).chmod(0o755)
    assert os.waitstatus_to_exitcode(status) == 1, lines
    assert lines[0].startswith("! "), "a text for people, not a traceback"
    broken, report = faults.check(tmp_path, [], None)
    assert broken == []
    # The entry was there already when outputs/ refused: the next start hands the file out.
    assert len(report.completed) == (1 if folder == "outputs" else 0)


@pytest.mark.parametrize("stage", [Stage.GENERATE, Stage.SEAL, Stage.RELEASE])
def test_a_database_that_stays_locked_releases_nothing(studio, monkeypatch, stage):
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_S", 1.0)
    home, configs = studio.paths.home, studio.paths.configs
    assert (home.parent, configs.parent) == (home.parent, home.parent)
    with make_studio(home.parent, generator=PlainGenerator()) as second:
        wanted = request(second)
        as_owner(second).generation.recover()
        taken, give_back = threading.Event(), threading.Event()

        def hold():
            with studio.database().writing() as connection:
                connection.execute(text("SELECT 1"))
                taken.set()
                give_back.wait(60)

        holder = threading.Thread(target=hold)

        def lock():
            holder.start()
            assert taken.wait(60)

        with pytest.raises(LedgerError, match="lock"):
            as_owner(second).generation.create(wanted, progress=at_stage(stage, lock))
        give_back.set()
        holder.join()
        nothing_was_released(second)
        assert as_owner(second).generation.create(wanted).path.exists(), (
            "once it is free, all is well"
        )


@pytest.mark.parametrize("stage", [Stage.GENERATE, Stage.RELEASE])
def test_a_database_that_vanishes_releases_nothing(tmp_path, stage):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        as_owner(studio).generation.recover()
        path = studio.paths.ledger
        away = path.with_name("away.db")
        with pytest.raises(LedgerError, match="removed or replaced"):
            as_owner(studio).generation.create(
                request(studio), progress=at_stage(stage, lambda: path.rename(away))
            )
        assert list(studio.paths.outputs.iterdir()) == []
        away.rename(path)
        assert studio.ledger().releases() == []


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("stage", [Stage.GENERATE, Stage.RELEASE])
def test_a_server_that_goes_down_releases_nothing(
    tmp_path, postgresql_server, postgresql_url, monkeypatch, stage
):
    monkeypatch.setenv("STUDIO_DATABASE_URL", postgresql_url)
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        as_owner(studio).generation.recover()
        with pytest.raises(StudioError):
            as_owner(studio).generation.create(
                request(studio), progress=at_stage(stage, postgresql_server.stop)
            )
        assert list(studio.paths.outputs.iterdir()) == []
        postgresql_server.start()
        as_owner(studio).generation.recover()
        assert studio.ledger().releases() == []
        assert as_owner(studio).generation.create(request(studio)).path.exists()
        assert studio.ledger().verify().ok


def test_two_processes_on_one_database(studio, database_location):
    folder = studio.paths.home.parent
    as_owner(studio).generation.recover()
    reports: list = [None, None]

    def run(number):
        reports[number] = faults.in_child(lambda ok: faults.generate(folder, 3, ok))

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for _, status in reports] == [0, 0], reports
    acknowledged = [line for lines, _ in reports for line in lines]
    assert len(set(acknowledged)) == 6
    broken, report = faults.check(folder, acknowledged, None)
    assert broken == []
    assert report.lines() == []


def test_a_key_lost_while_the_studio_stands_still(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        as_owner(studio).generation.create(request(studio))
    (tmp_path / "home/keys/epoch-0001.key").unlink()
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        with pytest.raises(LedgerError, match=r"epoch-0001\.key is missing"):
            as_owner(studio).generation.create(request(studio))
        assert len(list(studio.paths.outputs.iterdir())) == 1
        assert not (tmp_path / "home/keys/epoch-0001.key").exists()
