"""Several servers and workers on one PostgreSQL: killed, restarted, and seen from each other."""

from __future__ import annotations

import signal
import sys
import textwrap
import time

import pytest

from studio.app.gateway import Gateway
from studio.core.errors import ConfigError
from studio.web.supervisor import Supervisor
from tests.robustness import kill_servers
from tests.support.studios import PlainGenerator, make_studio


@pytest.mark.needs("postgresql")
def test_killed_and_restarted_servers_and_workers_lose_and_double_nothing(
    tmp_path, postgresql_url, monkeypatch
):
    monkeypatch.setenv("STUDIO_DATABASE_URL", postgresql_url)
    tally = kill_servers.run(tmp_path, postgresql_url, 3, restarts=1, seed=1)
    assert tally.broken == []
    assert (tally.kills, tally.restarts) == (3, 1)
    assert 0 < tally.accepted <= tally.outputs


def test_a_file_is_no_database_for_several_servers(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        for refused in (lambda: Gateway(studio).share_jobs(2), lambda: Gateway(studio).worker()):
            with pytest.raises(ConfigError, match="postgresql://"):
                refused()


@pytest.mark.needs("postgresql")
def test_checkpoints_are_signed_by_the_leader_over_what_others_append(
    tmp_path, postgresql_url, monkeypatch
):
    monkeypatch.setenv("STUDIO_DATABASE_URL", postgresql_url)
    with make_studio(tmp_path) as leader, make_studio(tmp_path) as other:
        leader.ledger().append("refusal", {"why": "first"})
        signed = leader.checkpointer().check()
        every = leader.config.ledger.checkpoint_every_entries
        for _ in range(every):
            other.ledger().append("refusal", {"why": "by another process"})
        assert other.checkpointer().check() == signed, "who does not lead signs nothing by itself"
        leader.checkpointer().look()
        assert leader.checkpointer().check().checkpoint.size == leader.ledger().size()
        leader.close()
        for _ in range(every):
            other.ledger().append("refusal", {"why": "after the leader ended"})
        other.checkpointer().look()
        assert other.checkpointer().check().checkpoint.size >= other.ledger().size() - every


def supervised(tmp_path, body):
    """A supervisor over two processes, as a process of its own."""
    import subprocess

    script = tmp_path / "supervise.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            from pathlib import Path
            from studio.web.supervisor import Supervisor
            child = [sys.executable, "-c", {body!r}, {str(tmp_path)!r}]
            Supervisor([child, child]).run()
            """
        )
    )
    return subprocess.Popen([sys.executable, str(script)])


def begun(tmp_path):
    return sorted(tmp_path.glob("begun-*"))


def await_begun(tmp_path, count):
    end = time.monotonic() + 300
    while len(begun(tmp_path)) < count:
        if time.monotonic() > end:
            raise TimeoutError("the processes did not begin")
        time.sleep(0.05)


CHILD = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1], f"begun-{os.getpid()}").touch()
time.sleep(100)
"""


def test_a_server_that_ends_is_started_again_and_all_end_with_the_supervisor(tmp_path):
    import os

    process = supervised(tmp_path, CHILD)
    try:
        await_begun(tmp_path, 2)
        os.kill(int(begun(tmp_path)[0].name.removeprefix("begun-")), signal.SIGKILL)
        await_begun(tmp_path, 3)
        process.send_signal(signal.SIGHUP)  # both anew
        await_begun(tmp_path, 5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
    alive = []
    for path in begun(tmp_path):
        try:
            os.kill(int(path.name.removeprefix("begun-")), 0)
            alive.append(path.name)
        except ProcessLookupError:
            pass
    assert alive == []


def test_a_first_server_that_cannot_start_is_said(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit(2)"]
    with pytest.raises(ConfigError, match="ended at its start"):
        Supervisor([command], lambda _number: False).run()
