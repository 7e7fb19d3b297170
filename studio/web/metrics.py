"""Prometheus metrics of a server: ``/metrics``.

Every server has its own registry, so that two in one process (in tests) do not add up. No label
holds an id, a name or a path.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from studio.core.errors import StudioError
from studio.web.errors import answer_of
from studio.web.jobs.queue import JobObserver, JobRunner

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


class Metrics(JobObserver):
    """What is counted and timed."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counted: weakref.WeakSet[StudioError] = weakref.WeakSet()
        ProcessCollector(registry=self._registry)
        self._jobs = Gauge(
            "studio_jobs",
            "Jobs that run or wait, by line.",
            ["line", "state"],
            registry=self._registry,
        )
        self._stages = Histogram(
            "studio_stage_seconds",
            "Time that a stage of making music took.",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._refusals = Counter(
            "studio_refusals",
            "Requests that were refused or failed, by the code that the REST layer answers.",
            ["code"],
            registry=self._registry,
        )
        self._verdicts = Counter(
            "studio_verdicts",
            "Files that were examined, by verdict.",
            ["verdict"],
            registry=self._registry,
        )
        self._requests = Histogram(
            "studio_http_request_seconds",
            "Requests, by method and status; streams of events until their end.",
            ["method", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )

    def follow(self, line: str, runner: JobRunner) -> None:
        """Count the jobs of a line, and what becomes of them."""
        runner.observer = self
        self.stand(line, runner.standing)

    def stand(self, line: str, standing: Callable[[], tuple[int, int]]) -> None:
        """Count the jobs of a line: those that run, and those that wait."""
        for place, state in enumerate(("running", "waiting")):
            gauge = self._jobs.labels(line, state)
            gauge.set_function(lambda place=place: standing()[place])  # type: ignore[misc]  # a default binds the loop's value

    def stage(self, stage: str, seconds: float) -> None:
        self._stages.labels(stage).observe(seconds)

    def ended(self, result: object, error: BaseException | None) -> None:
        if error is not None:
            self.refused(error)
        verdict = getattr(result, "verdict", None)
        if verdict is not None:
            self._verdicts.labels(str(verdict)).inc()

    def refused(self, error: BaseException) -> None:
        """Count an error of ours once, though a job and the request for it both end with it."""
        if isinstance(error, StudioError):
            if error in self._counted:
                return
            self._counted.add(error)
        self._refusals.labels(answer_of(error)[1]).inc()

    def request(self, method: str, status: int, seconds: float) -> None:
        """Count and time a request over HTTP."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, str(status)).observe(seconds)

    def render(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
