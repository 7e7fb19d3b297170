"""What a decoder would do that a stranger's file has taken over: targets for the child process."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path


def _refused(action) -> bool:
    try:
        action()
    except OSError:
        return True
    return False


def burglar():
    """Tries to get at files, network, other processes and the parent's environment."""
    key = Path(__file__)

    def work(request, file, answer):
        tries = {
            "read a file": lambda: key.read_bytes(),
            "write a file": lambda: Path(request["target"]).write_bytes(b""),
            "list a folder": lambda: list(Path("/").iterdir()),
            "connect": lambda: socket.socket().close(),
            "start a process": lambda: os.posix_spawn("/bin/true", ["true"], {}),
            "signal another": lambda: os.kill(os.getppid(), 0),
        }
        refused = {name: _refused(action) for name, action in tries.items()}
        told = {
            "refused": refused,
            "secret": os.environ.get("STUDIO_DATABASE_URL"),
            "torch": "torch" in sys.modules,
            "content": file.read().decode(),
        }
        answer(json.dumps(told).encode())

    return work


def helper():
    """A thread that was there before the filter tries to read a file."""
    begin, results = threading.Event(), []

    def run():
        begin.wait()
        results.append(_refused(lambda: Path(__file__).read_bytes()))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def work(request, file, answer):
        begin.set()
        while not results:
            time.sleep(0.01)
        answer(json.dumps({"refused": results[0]}).encode())

    return work


def glutton():
    def work(request, file, answer):
        held = []
        while True:
            held.append(bytes(2**24))

    return work


def looper():
    def work(request, file, answer):
        while True:
            pass

    return work


def sleeper():
    return lambda request, file, answer: time.sleep(60)


def crasher():
    return lambda request, file, answer: ctypes.string_at(0)


def liar():
    """Answers what it was told to, as a decoder would its samples."""

    def work(request, file, answer):
        for message in request["messages"]:
            answer(message.encode(errors="surrogateescape"))

    return work


def flooder():
    def work(request, file, answer):
        os.write(1, (2**31).to_bytes(4, "little"))

    return work
