"""Several servers and workers on one PostgreSQL: killed, restarted, and seen from each other."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from studio.app.gateway import Gateway
from studio.core.errors import ConfigError
from studio.web.supervisor import Supervisor
from tests.robustness import kill_servers
from tests.support.shared import Process, call
from tests.support.studios import PlainGenerator, make_studio
from watermark.audio.waveform import Waveform
from watermark.coding.identify import Codebook, CodebookEntry
from watermark.coding.message import SealId


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


def heard_at(port, job_id, sound):
    """Listen to a job's preview until it ends; 404 where there is none."""
    url = f"http://127.0.0.1:{port}/api/v1/jobs/{job_id}/preview"
    try:
        with urllib.request.urlopen(url, timeout=120) as answer:
            sound[port] = answer.read()
    except urllib.error.HTTPError as exc:
        sound[port] = exc.code


@pytest.mark.needs("postgresql")
def test_what_a_worker_makes_is_heard_sealed_at_every_server(tmp_path, postgresql_url, monkeypatch):
    monkeypatch.setenv("STUDIO_DATABASE_URL", postgresql_url)
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        studio.consent_service()
        ports = [kill_servers.free_port(), kill_servers.free_port()]
        processes = [Process(tmp_path, port, {}) for port in (*ports, None)]
        try:
            for process in processes:
                process.await_ready()
            body = {"tags": ["genre/jazz"], "duration_s": 6.0, "seed": 5}
            sound = {}
            asked = [
                call(ports[0], "POST", "/api/v1/jobs", {**body, "preview": preview})[1]["id"]
                for preview in (True, False)
            ]
            listening = [
                threading.Thread(target=heard_at, args=(port, asked[0], sound)) for port in ports
            ]
            for thread in listening:
                thread.start()
            for thread in listening:
                thread.join()
            quiet = {}
            heard_at(ports[1], asked[1], quiet)
            assert quiet == {ports[1]: 404}, "no preview of this one was asked for"
            job = call(ports[1], "GET", f"/api/v1/jobs/{asked[0]}")[1]
            while job["state"] == "running":
                time.sleep(0.2)
                job = call(ports[1], "GET", f"/api/v1/jobs/{asked[0]}")[1]
        finally:
            for process in processes:
                process.process.kill()
                process.process.wait()
        assert sound[ports[0]] == sound[ports[1]]
        samples = np.frombuffer(sound[ports[0]][44:], "<i2").astype(np.float32) / 32767
        heard = Waveform(samples[None], 16_000)
        assert heard.duration_s == 6.0
        release = studio.ledger().release(job["output_id"])
        key = studio.seal_keys().of(release.seal["epoch"])
        codebook = Codebook([CodebookEntry(SealId.parse(release.seal_id), key, 6.0)])
        found = studio.sealer().read(heard, codebook).identification
        assert found is not None and found.seal_id.hex == release.seal_id
        plain = PlainGenerator().generate(
            (), duration_s=6.0, seed=5, progress=lambda *_: None, cancel=threading.Event()
        )
        assert studio.sealer().read(plain, codebook).identification is None, (
            "else the test is blind"
        )


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


LEADER = """
import sys, time
from studio.core.db.database import Database
print(Database.open(sys.argv[1]).leads("checkpoints"), flush=True)
time.sleep(1000)
"""


@pytest.mark.needs("postgresql")
def test_when_the_process_that_signs_checkpoints_is_killed_another_one_signs(
    tmp_path, postgresql_url, monkeypatch
):
    monkeypatch.setenv("STUDIO_DATABASE_URL", postgresql_url)
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADER, postgresql_url], stdout=subprocess.PIPE, text=True
    )
    try:
        assert leader.stdout.readline() == "True\n"
        with make_studio(tmp_path) as other:
            assert other.checkpointer().check() is None
            other.ledger().append("refusal", {"why": "by a process that does not lead"})
            other.checkpointer().look()
            assert other.checkpointer().check() is None, "else the test is blind"
            leader.send_signal(signal.SIGKILL)
            leader.wait(60)
            end = time.monotonic() + 300
            while not other.database().leads("checkpoints"):
                if time.monotonic() > end:
                    raise TimeoutError("nobody leads")
                time.sleep(0.05)
            other.checkpointer().look()
            assert other.checkpointer().check().checkpoint.size == other.ledger().size()
    finally:
        leader.kill()
        leader.wait()
        leader.stdout.close()


def supervised(tmp_path, body):
    """A supervisor over two processes, as a process of its own."""
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
