"""Ctrl-C at commands that work for long: exit code 130, a word, and nothing half done."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from tests.unit.seal_carriers import music
from watermark.audio.waveform import write

# A shell's background job ignores Ctrl-C.
_LISTENING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"

SERVE = (
    _LISTENING
    + """
import sys, studio.app.container
from pathlib import Path
from tests.unit.pretend import PretendStudio
home = Path(sys.argv[1])
studio.app.container.open_container = lambda: PretendStudio(home, takes_s=600.0)
from studio.cli.main import main
sys.argv = ["studio", "serve", "--port", sys.argv[2]]
main()
"""
)

EMBED = (
    _LISTENING
    + """
import sys, time, watermark.embedding.file as file
from watermark.audio.waveform import Encoder
write = Encoder.write
def unhurried(self, samples):
    write(self, samples)
    print("written", flush=True)
    time.sleep(600)
Encoder.write = unhurried
from watermark.cli.main import main
main(sys.argv[1:])
"""
)


@contextmanager
def process(program, *arguments):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def until(question, running):
    for _ in range(1200):
        assert running.poll() is None, running.communicate()
        try:
            if question():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("it never came")


@pytest.mark.parametrize(
    ("sent", "times", "code"), [(signal.SIGINT, 1, 130), (signal.SIGINT, 3, 130), (15, 2, 0)]
)
def test_a_server_stops_with_music_in_the_making(sent, times, code, tmp_path):
    port = free_port()
    with (
        process(SERVE, tmp_path / "home", port) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        until(lambda: client.get("/healthz").status_code == 200, server)
        order = {"tags": ["genre/jazz"], "duration_s": 3.0}
        job = client.post("/api/v1/jobs", json=order).json()["id"]
        until(lambda: client.get(f"/api/v1/jobs/{job}").json()["state"] == "running", server)
        for _ in range(times):
            server.send_signal(sent)
            time.sleep(0.2)
        _, said = server.communicate(timeout=900)
    assert server.returncode == code
    assert ("studio: stopped" in said) == (code == 130)
    assert "Traceback" not in said


def test_a_file_that_is_being_sealed_is_dropped(tmp_path):
    write(tmp_path / "in.wav", music(6.0, 44_100, 2))
    key = tmp_path / "k.key"
    made = [sys.executable, "-m", "watermark", "key", "create", str(key)]
    subprocess.run(made, check=True, capture_output=True)
    target = tmp_path / "out.flac"
    with process(EMBED, "embed", tmp_path / "in.wav", target, "--key-file", key) as sealing:
        assert sealing.stdout.readline() == "written\n"
        assert len(list(tmp_path.iterdir())) == 3  # the file under its own name is not there
        sealing.send_signal(signal.SIGINT)
        out, said = sealing.communicate(timeout=900)
    assert sealing.returncode == 130
    assert set(out.splitlines()) <= {"written"}  # by the encoder, never a report of a sealed file
    assert "stopped" in said
    assert "Traceback" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "k.key"]
