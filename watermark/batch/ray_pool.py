"""Process many files on a Ray cluster: one actor a worker.

Ray places the actors, on this machine or on a cluster; only the address differs. Every actor loads
its models once. An actor that dies, or whose machine does, costs no answer: its item goes to
another, and only an item that ends several workers is given up. Items are taken from their source
as workers become free, so millions may wait there. Answers come in the order in which work ends.

Ray's usage reports are switched off. A cluster that is started here asks for a token, made anew by
each process, because its ports listen on every address of the machine.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from watermark.batch.pool import Failure, Report, answer
from watermark.errors import ScanError

__all__ = ["CARRIED", "RayOptions", "on_ray"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Start = Callable[[], Callable[[Any, Report], Any]]

_logger = logging.getLogger(__name__)

CARRIED = ("STUDIO_HOME", "STUDIO_CONFIGS", "WATERMARK_KEY_FILE", "AWS_ENDPOINT_URL", "AWS_REGION")
"""Environment variables that workers get from the command. Passwords of stores are not among them:
every machine has its own."""

_TICK_S = 1.0  # how often time limits and the size of the cluster are looked at
_CONNECT_S = 10.0
_GROW_S = 5.0  # between two looks at the size of the cluster
_PLACE_S = 60.0  # without any worker, after which the reason is said
_DEAD_STARTS = 8  # workers in a row that died while they started, before the run is given up
_SHORT = "/tmp"  # noqa: S108 - made anew, 0700; a longer path is too long for Ray's sockets
_OBJECTS = 100 * 1024**2  # bytes of shared memory for answers under way, on a cluster of our own


@dataclass(frozen=True, slots=True)
class RayOptions:
    """The cluster and the resources of a scan.

    Attributes:
        address: of a running cluster (``HOST:6379``, ``auto``); None: one of this machine's, made
            for this run.
        workers: at most so many at a time; 0: one a processor core of the cluster, also of machines
            that join later.
        retries: how often an item is tried again after its worker died or its machine failed it.
        num_gpus: GPUs that each worker reserves: a part of one (0.25), or whole ones; 0: none.
    """

    address: str | None = None
    workers: int = 0
    retries: int = 2
    num_gpus: float = 0.0

    @property
    def device(self) -> str:
        """The device of PyTorch on which workers are to work."""
        return "cuda" if self.num_gpus else "cpu"


def on_ray(
    items: Iterable[_Item],
    start: Callable[[], Callable[[_Item, Report], _Result]],
    options: RayOptions,
    *,
    timeout_s: float | None = None,
) -> Generator[tuple[_Item, _Result | Failure]]:
    """Each item with what the work says about it, as the work ends.

    Args:
        items: taken one by one; without any, no cluster is started.
        start: as for :func:`watermark.batch.pool.in_order`; picklable, and importable on every
            machine of the cluster.
        options: where and how.
        timeout_s: longest time for one item, in a worker that has started.

    Raises:
        ScanError: no cluster, or no worker can be started on it.
        Whatever ``start`` raises.
    """
    source = iter(items)
    first = list(islice(source, 1))
    if not first:
        return
    with _cluster(options) as ray:
        pool = _Pool(ray, start, options, timeout_s)
        try:
            yield from pool.run(chain(first, source))
        finally:
            pool.close()


@contextmanager
def _cluster(options: RayOptions) -> Iterator[Any]:
    """Ray, connected to a cluster or with one of its own; left in the end."""
    own = options.address is None
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if own:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = _token()
    elif options.address is not None:
        _check_address(options.address)
    folder = tempfile.mkdtemp(prefix="ray-", dir=_SHORT) if own else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, on what it will do one day
        try:
            ray: Any = import_module("ray")
        except ImportError as exc:
            raise ScanError(
                "--engine ray needs Ray, which is not installed: "
                "pip install 'consented-music-studio[ray]'"
            ) from exc
        settings: dict[str, Any] = (
            {
                "address": "local",
                "num_cpus": options.workers or os.cpu_count(),
                "include_dashboard": False,
                "object_store_memory": _OBJECTS,
                "_temp_dir": folder,
            }
            if own
            else {"address": options.address}
        )
        try:
            ray.init(**settings, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as exc:
            where = "on this machine" if own else f"at {options.address}"
            told = str(exc).strip().splitlines() or [type(exc).__name__]
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            hint = (
                ""
                if own
                else "; a cluster with RAY_AUTH_MODE=token needs it here, too, and the same token"
            )
            raise ScanError(f"no Ray cluster {where}: {told[0][:300]}{hint}") from exc
    if not own and os.environ.get("RAY_AUTH_MODE") != "token":
        _logger.warning(
            "the cluster at %s asks for no token: whoever reaches its ports can run anything on "
            "it; start it with RAY_AUTH_MODE=token",
            options.address,
        )
    try:
        if own and ray.cluster_resources().get("GPU", 0) < options.num_gpus:
            raise _NoGpuError(
                f"--num-gpus {options.num_gpus:g}: Ray finds "
                f"{ray.cluster_resources().get('GPU', 0):g} GPUs on this machine; name a cluster "
                "that has some with --ray-address, or leave --num-gpus out"
            )
        yield ray
    except ScanError as exc:
        if folder is None or isinstance(exc, _NoGpuError):
            raise
        kept, folder = folder, None
        raise ScanError(f"{exc}; Ray's logs are in {kept}") from exc
    finally:
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN) if _main_thread() else None
        try:
            ray.shutdown()
        finally:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            if previous is not None:
                signal.signal(signal.SIGINT, previous)


class _NoGpuError(ScanError):
    """A cluster of this machine's own cannot have what was asked for; its logs say no more."""


@cache
def _token() -> str:
    """Of the clusters that this process makes. One, since Ray reads it once in a process."""
    return secrets.token_hex(32)


def _check_address(address: str) -> None:
    """Fail soon where nothing listens; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        if address != "auto":
            raise ScanError(f"{address}: a Ray cluster's address is HOST:PORT, or auto")
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise ScanError(f"no Ray cluster at {address}: {reason.lower()}") from exc


def _main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class Worker:
    """What runs in an actor: the work, after everything it needs was loaded."""

    def __init__(self, folder: str, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when ``start`` imports its libraries
        with suppress(OSError):  # another machine may not have it; names may still be absolute
            os.chdir(folder)
        self._work: Callable[[Any, Report], Any] | None = None

    def start(self, start: _Start) -> Exception | None:
        """Load; what it raises is the caller's to raise."""
        try:
            self._work = start()
        except Exception as exc:  # noqa: BLE001 - raised again in the parent
            return exc
        return None

    def answer(self, item: Any) -> Any:
        assert self._work is not None
        return answer(self._work, item, lambda _seconds: None)


@dataclass(eq=False, slots=True)
class _Held:
    """An actor, and what it is doing."""

    actor: Any
    since: float = field(default_factory=time.monotonic)
    started: bool = False
    task: _Task | None = None


@dataclass(eq=False, slots=True)
class _Task:
    item: Any
    tries: int = 0


class _Pool:
    """Actors, the items in their hands, and the items that are to be tried again."""

    def __init__(
        self, ray: Any, start: _Start, options: RayOptions, timeout_s: float | None
    ) -> None:
        self._ray = ray
        self._options = options
        self._timeout_s = timeout_s
        self._start = ray.put(start)
        self._remote = ray.remote(
            num_cpus=1, num_gpus=options.num_gpus, max_restarts=0, max_task_retries=0
        )(Worker)
        self._environment = {name: os.environ[name] for name in CARRIED if name in os.environ}
        self._busy: dict[Any, _Held] = {}  # by the reference of what the actor is to answer
        self._idle: list[_Held] = []
        self._again: deque[_Task] = deque()
        self._target, self._looked = 0, float("-inf")
        self._dead_starts = 0
        self._ready_at = time.monotonic()  # when a worker was last at work
        self._told = False

    def run(self, items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        source = iter(items)
        more = True
        while True:
            while self._idle and (self._again or more):
                if self._again:
                    task = self._again.popleft()
                else:
                    taken = next(source, self)
                    if taken is self:
                        more = False
                        break
                    task = _Task(taken)
                self._hand(self._idle.pop(), task)
            held = any(each.task is not None for each in self._busy.values())
            if not more and not self._again and not held:
                return
            self._grow(wanted=more or bool(self._again))
            done, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=_TICK_S)
            for reference in done:
                yield from self._take(reference)
            yield from self._overdue()
            self._explain()

    def close(self) -> None:
        for held in [*self._idle, *self._busy.values()]:
            self._kill(held)

    # -- workers ----------------------------------------------------------------------------------

    def _grow(self, *, wanted: bool) -> None:
        """Start workers as long as there are fewer than may be."""
        now = time.monotonic()
        if now - self._looked > _GROW_S:
            self._looked = now
            self._target = self._options.workers or max(1, self._places())
        while wanted and len(self._busy) + len(self._idle) < self._target:
            actor = self._remote.remote(str(Path.cwd()), self._environment)
            held = _Held(actor)
            self._busy[actor.start.remote(self._start)] = held

    def _places(self) -> int:
        """Workers for which the cluster has room, by cores and, where they need some, GPUs.

        Ray puts each worker's share on one GPU, so a GPU has room for whole workers only.
        """
        there = self._ray.cluster_resources()
        cores = int(there.get("CPU", 0))
        share = self._options.num_gpus
        if not share:
            return cores
        gpus = there.get("GPU", 0)
        return min(cores, int(gpus / share) if share >= 1 else int(gpus) * int(1 / share + 1e-9))

    def _hand(self, held: _Held, task: _Task) -> None:
        held.task, held.since = task, time.monotonic()
        task.tries += 1
        self._busy[held.actor.answer.remote(task.item)] = held

    def _take(self, reference: Any) -> Iterator[tuple[Any, Any]]:
        """What an actor answered, or that it died."""
        held = self._busy.pop(reference)
        try:
            value = self._ray.get(reference)
        except self._ray.exceptions.RayError as exc:
            _logger.info("a worker was lost: %s", str(exc).splitlines()[0])
            yield from self._lost(held, "the process that examined it crashed")
            return
        self._ready_at = time.monotonic()
        if held.task is None:  # it has started
            if value is not None:
                raise value
            held.started, self._dead_starts = True, 0
            self._idle.append(held)
            return
        task, held.task = held.task, None
        self._idle.append(held)
        if isinstance(value, Failure) and value.passing and task.tries <= self._options.retries:
            self._again.append(task)
            return
        yield task.item, value

    def _lost(self, held: _Held, why: str) -> Iterator[tuple[Any, Any]]:
        self._kill(held)
        task = held.task
        if task is None:
            self._dead_starts += 1
            if self._dead_starts >= _DEAD_STARTS:
                raise ScanError(f"{_DEAD_STARTS} workers in a row ended while they started")
        elif task.tries <= self._options.retries:
            self._again.append(task)
        else:
            yield task.item, Failure(why)

    def _overdue(self) -> Iterator[tuple[Any, Any]]:
        """Give up what takes longer than it may."""
        if self._timeout_s is None:
            return
        now = time.monotonic()
        for reference, held in list(self._busy.items()):
            if held.task is not None and now - held.since > self._timeout_s:
                del self._busy[reference]
                self._kill(held)
                yield held.task.item, Failure(f"no answer within {self._timeout_s:g} s")

    def _explain(self) -> None:
        """Say why nothing happens, where no worker could be placed for a while."""
        working = any(each.started for each in self._busy.values())
        if working or self._told or time.monotonic() - self._ready_at < _PLACE_S:
            return
        self._told = True
        free = self._ray.available_resources()
        _logger.warning(
            "no worker has started for %.0f s; the cluster has %.0f processor cores and %g GPUs "
            "free, and a worker needs 1 and %g",
            _PLACE_S,
            free.get("CPU", 0),
            free.get("GPU", 0),
            self._options.num_gpus,
        )

    def _kill(self, held: _Held) -> None:
        with suppress(Exception):  # it may be dead, or the cluster gone
            self._ray.kill(held.actor, no_restart=True)
