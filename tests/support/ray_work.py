"""Work for Ray's workers that fails as its items say, and a cluster of this machine to do it on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from watermark.batch.pool import Failure, Report

__all__ = ["cluster", "seen", "start", "start_badly"]


def start() -> Callable[[str, Report], str | Failure]:
    """In a worker: ``what argument`` to what becomes of it."""

    def work(item: str, _report: Report) -> str | Failure:
        what, _, argument = item.partition(" ")
        if what == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "dies-once" and _first_time(argument):
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "busy-once" and _first_time(argument):
            return Failure("the store is busy", passing=True)
        if what == "busy":
            return Failure("the store is busy", passing=True)
        if what == "raises":
            raise ValueError(argument)
        if what == "hangs":
            time.sleep(3600)
        if what == "slow":
            time.sleep(0.2)
        if what == "where":
            return os.environ.get(argument, "")
        return item.upper()

    return work


def seen() -> Callable[[str, Report], tuple[int, str]]:
    """In a worker: its process, and the GPUs that Ray lets it see."""

    def work(_item: str, _report: Report) -> tuple[int, str]:
        time.sleep(0.3)  # so that every worker gets some
        return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "")

    return work


def start_badly() -> Callable[[str, Report], str]:
    raise RuntimeError("no weights here")


def _first_time(marker: str) -> bool:
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@contextmanager
def cluster(nodes: int) -> Iterator[Any]:
    """A head without cores for work, and so many machines of one core, all processes here."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(nodes):
            made.add_node(num_cpus=1)
        yield made
    finally:
        made.shutdown()
