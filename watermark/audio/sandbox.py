"""Decode untrusted files in a confined child process.

Decoders are large C libraries, and a file from outside is what breaks them. So a file is opened
here, by the parent, and decoded by a child that is short-lived, has a limit on memory, processor
time and waiting time, an empty environment, and, where the kernel allows it
(:mod:`watermark.audio.seccomp`), no way to open a file, a connection or another process. What
comes back over a pipe is bounded and checked as if a stranger had sent it, which he may have.

The child does not import torch: it costs about 0.15 s. A decoder that crashes, hangs or eats memory
costs an error that says so in plain words, and the parent goes on.

>>> from watermark.audio.waveform import Waveform, encode
>>> import numpy as np
>>> data = encode(Waveform(np.zeros((1, 8000), np.float32), 8000), "wav")
>>> [block.shape for block, rate in isolated_blocks(data, DecodeLimits())]
[(1, 8000)]
"""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args

from watermark.audio.decoding import (
    AudioInfo,
    AudioSource,
    DecodeLimits,
    Subtype,
    decode_blocks,
    open_source,
    source_name,
)
from watermark.errors import (
    AudioError,
    AudioFormatLimitError,
    AudioTooLongError,
    SandboxUnavailableError,
    UnreadableAudioError,
    UnsupportedAudioError,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Answer",
    "SandboxLimits",
    "Work",
    "filter_works",
    "isolated_blocks",
    "isolated_json",
    "nothing",
]

_BOOT = (
    "import json, sys; order = json.load(open(int(sys.argv[1]))); sys.path[:] = order['path']; "
    "from watermark.audio.sandbox import _child; _child(order)"
)
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

_ERRORS = {
    kind.__name__: kind
    for kind in (
        AudioFormatLimitError,
        AudioTooLongError,
        UnreadableAudioError,
        UnsupportedAudioError,
    )
}
_BATCH_VALUES = 2**18  # samples times channels sent at a time, 1 MiB
_MAX_BATCH = 2**24  # no message of a child is longer, bytes
_MAX_TEXT = 1000  # of an error message a child sends
_MAX_STREAMS = 16  # of a file, and notes on it, that a child may speak of
_LONGEST_POLL_MS = 2**31 - 1  # that poll() takes: 24 days
_SPARE_CPU_S = 5.0  # beyond the decoder's own deadline, for starting up

#: A child's work: the request, the file and a way to answer.
Answer = Callable[[bytes], None]
Work = Callable[[Mapping[str, Any], io.BufferedIOBase, Answer], None]


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What a child may use before it is ended.

    Attributes:
        memory_bytes: address space of the child, bytes; libraries take about 300 MB of it.
        cpu_s: processor time, seconds.
        wall_s: longest time the parent waits for the child, seconds; its own work is not counted.
    """

    memory_bytes: int = 1024**3
    cpu_s: float = 60.0
    wall_s: float = 120.0

    @classmethod
    def within(cls, limits: DecodeLimits) -> SandboxLimits:
        """Room for decoding within these limits, which the child looks at itself, and no more."""
        return cls(cpu_s=limits.deadline_s + _SPARE_CPU_S, wall_s=limits.deadline_s + _SPARE_CPU_S)


def isolated_blocks(
    source: AudioSource,
    limits: DecodeLimits,
    sandbox: SandboxLimits | None = None,
    *,
    info: AudioInfo | None = None,
) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Decode blocks in a child process; see :func:`watermark.audio.decoding.decode_blocks`.

    Raises the same errors; a decoder that crashed is :class:`UnreadableAudioError`, one that used
    up its memory or time :class:`AudioTooLongError`. Where the system refuses the filter and
    ``limits.unfiltered`` is not set: :class:`SandboxUnavailableError`.
    """
    import numpy as np

    name = source_name(source)
    with open_source(source, limits) as file:
        request = {"name": name, "limits": asdict(limits)}
        child = _Child("watermark.audio.sandbox:decoder", request, file, sandbox, limits, name)
        with child:
            samples = 0
            while True:
                header = child.json()
                if "error" in header:
                    kind = _ERRORS.get(str(header["error"]), UnreadableAudioError)
                    raise kind(f"{name}: {str(header.get('text'))[:_MAX_TEXT]}")
                if info is not None and "info" in header:
                    _take_over(info, header["info"], limits)
                if header.get("done"):
                    return
                data = child.message()
                # The child may be a stranger's by now: nothing it says is taken on trust.
                channels, rate = header.get("channels"), header.get("rate")
                if not isinstance(channels, int) or not isinstance(rate, int):
                    raise child.improper()
                count = len(data) // 4 // max(1, channels)
                samples += count
                if (
                    not 1 <= channels <= limits.max_channels
                    or not limits.min_rate <= rate <= limits.max_rate
                    or count * channels * 4 != len(data)
                    or samples > limits.max_duration_s * rate
                ):
                    raise child.improper()
                yield np.frombuffer(data, np.float32).reshape(channels, count), rate


def _take_over(info: AudioInfo, told: object, limits: DecodeLimits) -> None:
    """What a child says of a file, as far as it has the right form and a bearable size."""
    if not isinstance(told, dict):
        return
    layout = told.get("layout")
    if isinstance(layout, list) and len(layout) <= limits.max_channels:
        info.layout = tuple(_text(name)[:10] for name in layout)
    subtype = told.get("subtype")
    info.subtype = subtype if subtype in get_args(Subtype) else None
    streams = told.get("streams")
    info.streams = min(streams, _MAX_STREAMS) if isinstance(streams, int) and streams > 0 else 1
    damage, notes = told.get("damage"), told.get("notes")
    info.damage = None if damage is None else _text(damage)
    info.uniform = told.get("uniform") is True
    if isinstance(notes, list):
        info.notes[:] = [_text(note) for note in notes[:_MAX_STREAMS]]


def _text(told: object) -> str:
    return "".join(ch for ch in str(told)[:_MAX_TEXT] if ch.isprintable())


def isolated_json(
    target: str,
    request: Mapping[str, Any],
    source: AudioSource,
    limits: DecodeLimits,
    sandbox: SandboxLimits | None = None,
) -> dict[str, Any]:
    """What ``target`` ("module:function", see :func:`decoder`) answers about a file: a JSON object.

    Raises as :func:`isolated_blocks` does.
    """
    name = source_name(source)
    with (
        open_source(source, limits) as file,
        _Child(target, request, file, sandbox, limits, name) as child,
    ):
        return child.json()


@cache
def filter_works() -> bool:
    """Whether a child of this process gets its system-call filter; tried once, in a child."""
    limits = DecodeLimits(unfiltered=True)
    with _Child(
        "watermark.audio.sandbox:nothing", {}, io.BytesIO(), None, limits, "probe"
    ) as child:
        try:
            child.await_confinement()
        except AudioError:
            return False
        return child.filtered


class _Child:
    """One child process and the pipe it answers through."""

    def __init__(
        self,
        target: str,
        request: Mapping[str, Any],
        file: io.BufferedIOBase,
        sandbox: SandboxLimits | None,
        limits: DecodeLimits,
        name: str,
    ) -> None:
        self._limits = sandbox or SandboxLimits.within(limits)
        self._name = name
        self._waited = 0.0
        self._confined = False
        self._unfiltered = limits.unfiltered
        self.filtered = False
        order = {
            "path": [entry or str(Path.cwd()) for entry in sys.path],
            "target": target,
            "request": dict(request),
            "limits": asdict(self._limits),
            "unfiltered": limits.unfiltered,
        }
        variables = {key: os.environ[key] for key in _KEPT_VARIABLES if key in os.environ}
        # The order may be longer than an argument can be: trust lists are.
        with _descriptor(file) as stdin, _filled(json.dumps(order).encode()) as told:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own code
                [sys.executable, "-I", "-c", _BOOT, str(told.fileno())],
                pass_fds=[told.fileno()],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**_ONE_THREAD, **variables},
                cwd="/",
            )

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.wait()

    def await_confinement(self) -> None:
        """Read what the child says of itself before it looks at the file.

        Raises :class:`SandboxUnavailableError` where it has no filter and needs one.
        """
        if self._confined:
            return
        self._confined = True
        self.filtered = self.json().get("filtered") is True
        if not self.filtered and not self._unfiltered:
            raise SandboxUnavailableError(
                "this system refuses the system-call filter of the decoding sandbox, so that files "
                "of unknown origin are not decoded here; decode files you trust in this process"
            )

    def message(self) -> bytes:
        """The next message: four bytes of length, then so many. Raises AudioError at its end."""
        self.await_confinement()
        length = int.from_bytes(self._read(4), "little")
        if length > _MAX_BATCH:
            raise self.improper()
        return self._read(length)

    def json(self) -> dict[str, Any]:
        """The next message, which must be a JSON object."""
        message = self.message()
        try:
            found = json.loads(message)
        except (ValueError, RecursionError) as exc:
            raise self.improper() from exc
        if not isinstance(found, dict):
            raise self.improper()
        return found

    def improper(self) -> AudioError:
        """The error for an answer that no honest child gives."""
        return UnreadableAudioError(f"{self._name}: the decoder gave no proper answer")

    def _read(self, count: int) -> bytes:
        pipe = self._process.stdout
        assert pipe is not None
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        parts = []
        while count > 0:
            since = time.monotonic()
            # A large server has descriptors above 1,023, which select() refuses.
            left_ms = 1000 * max(0.0, self._limits.wall_s - self._waited)
            ready = poll.poll(min(left_ms, _LONGEST_POLL_MS))
            self._waited += time.monotonic() - since
            if not ready:
                raise AudioTooLongError(
                    f"{self._name}: decoding took longer than {self._limits.wall_s:g} s"
                )
            part = os.read(pipe.fileno(), min(count, 2**20))
            if not part:
                raise self._death()
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _death(self) -> AudioError:
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return AudioTooLongError(
                f"{self._name}: decoding took more than {self._limits.cpu_s:g} s of processor time"
            )
        return UnreadableAudioError(f"{self._name}: the decoder failed on this file")


class _descriptor:  # noqa: N801 - a context manager used like a function
    """A real file descriptor at position 0 for whatever was opened; bytes go to memory."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._made: IO[bytes] | None = None

    def __enter__(self) -> int:
        with suppress(OSError):  # io.UnsupportedOperation: bytes in memory have none
            number = self._file.fileno()
            os.lseek(number, 0, os.SEEK_SET)
            return number
        self._made = _filled(self._file.read())
        return self._made.fileno()

    def __exit__(self, *_: object) -> None:
        if self._made is not None:
            self._made.close()


def _filled(data: bytes) -> IO[bytes]:
    """An open file without a name, at its beginning; in memory where the system can."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("upload", os.MFD_CLOEXEC), "w+b")
    else:
        import tempfile

        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(data)
    file.flush()
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return file


# -- in the child ----------------------------------------------------------------------------------


def decoder() -> Work:
    """What the child does for :func:`isolated_blocks`: it imports first, and then may do nothing.

    A target is called once, imports all it will need and returns the work; afterwards the child is
    confined, and only then is the stranger's file touched.
    """
    import av.subtitles.stream  # noqa: F401 - PyAV imports it when it opens its first file
    import soundfile  # noqa: F401 - imported here, because later there is no import
    import soxr  # noqa: F401

    def work(request: Mapping[str, Any], file: io.BufferedIOBase, answer: Answer) -> None:
        try:
            held: list[NDArray[np.float32]] = []
            rate = values = 0
            limits = DecodeLimits(**request["limits"])
            info = AudioInfo()
            for block, rate in decode_blocks(file, limits, info):
                held.append(block)
                values += block.size
                if values >= _BATCH_VALUES:
                    _send(answer, held, rate, info)
                    held, values = [], 0
            if held:
                _send(answer, held, rate, info)
            answer(json.dumps({"done": True, "info": asdict(info)}).encode())
        except MemoryError:
            text = "decoding it needs more memory than is allowed"
            answer(json.dumps({"error": "AudioTooLongError", "text": text}).encode())
        except AudioError as exc:
            text = str(exc).split(": ", 1)[-1]
            answer(json.dumps({"error": type(exc).__name__, "text": text}).encode())

    return work


def nothing() -> Work:
    """What the child of :func:`filter_works` does."""
    return lambda _request, _file, _answer: None


def _send(answer: Answer, held: list[NDArray[np.float32]], rate: int, info: AudioInfo) -> None:
    import numpy as np

    block = np.ascontiguousarray(np.concatenate(held, axis=1))
    step = max(1, _BATCH_VALUES // block.shape[0])
    for start in range(0, block.shape[1], step):
        part = np.ascontiguousarray(block[:, start : start + step])
        head = {"channels": part.shape[0], "rate": rate, "info": asdict(info)}
        answer(json.dumps(head).encode())
        answer(part.tobytes())


def _child(order: Mapping[str, Any]) -> None:
    module, _, name = order["target"].partition(":")
    work: Work = getattr(import_module(module), name)()

    def answer(message: bytes) -> None:
        data = memoryview(len(message).to_bytes(4, "little") + message)
        while data:
            data = data[os.write(1, data) :]

    with open(0, "rb", closefd=False) as file:
        filtered = _confine(SandboxLimits(**order["limits"]))
        answer(json.dumps({"filtered": filtered}).encode())
        if filtered or order["unfiltered"]:
            work(order["request"], file, answer)
    os._exit(0)  # nothing of what a stranger's file did to this process runs any more


def _confine(limits: SandboxLimits) -> bool:
    """Confine this process permanently. False if it got no system-call filter."""
    import resource

    from watermark.audio.seccomp import lock_down

    cpu_s = max(1, round(limits.cpu_s))
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        hard = value + 1 if kind == resource.RLIMIT_CPU else value  # at soft SIGXCPU, at hard KILL
        with suppress(ValueError, OSError):  # the system's own limit is tighter
            resource.setrlimit(kind, (value, hard))
    return lock_down()
