"""The Verify tab: drop files, read a verdict on each with its evidence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.core.errors import StudioError
from studio.reports.verification import view as views
from studio.reports.verification.page import downloads
from studio.web.ui.callers import acting
from studio.web.ui.components import PRIVATE, UploadedFile, delete_file, log_failure
from studio.web.ui.create.view import failure_panel, unexpected_panel
from watermark.errors import WatermarkError

if TYPE_CHECKING:
    from studio.app.container import Studio, VerifyReport
    from studio.web.jobs import Job, JobRunner

__all__ = ["VerifyTab"]

_MOST_FILES = 25
"""Examined at once; catalogues are for ``studio scan``."""


@dataclass(slots=True)
class _Batch:
    """What one drop has come to so far."""

    names: list[str]
    done: list[VerifyReport | str] = field(default_factory=list)  # a panel where it failed
    job: Job[VerifyReport] | None = None  # at work now
    stopped: bool = False

    def stop(self) -> None:
        """No further file; the one at work is given up."""
        self.stopped = True
        if self.job is not None:
            self.job.cancel()

    @property
    def reports(self) -> list[VerifyReport]:
        return [answer for answer in self.done if not isinstance(answer, str)]


class VerifyTab:
    """Builds the tab inside the current ``gr.Blocks`` and answers its events."""

    def __init__(
        self, studio: Studio, runner: JobRunner, discard: Callable[[Path], None] = delete_file
    ) -> None:
        self._studio = studio
        self._runner = runner
        self._discard = discard
        self._batches: dict[str, _Batch] = {}  # at work, by session
        limits = studio.config.uploads
        with gr.Row(equal_height=False, elem_classes="desk"):
            with gr.Column(scale=4, min_width=280, elem_classes="section desk-side"):
                gr.HTML(
                    "<h2>Which recordings?</h2><p>WAV, FLAC, MP3, M4A, Opus or Ogg; a clip of ten "
                    f"seconds is enough. Up to {_MOST_FILES} files of {limits.max_bytes // 2**20} "
                    f"MB and {limits.max_duration_s / 60:g} minutes each.</p>"
                )
                self.files = UploadedFile(
                    label="Recordings to verify",
                    type="filepath",
                    file_count="multiple",
                    elem_classes="drop",
                    height=170,
                )
                self.stop = gr.Button("Cancel", variant="stop", visible=False)
                gr.HTML(
                    '<p class="small soft">Examined on this machine only. Each verdict is noted in '
                    "the ledger; no file is kept.</p>"
                )
            with gr.Column(scale=8, min_width=320):
                self.report = gr.HTML(views.empty_desk())
        self.files.upload(
            self._on_files,
            self.files,
            [self.report, self.stop],
            concurrency_limit=None,  # the runner bounds the work and says so in words
            **PRIVATE,
        )
        self.files.clear(views.empty_desk, None, self.report, **PRIVATE)
        self.stop.click(self._on_stop, None, None, concurrency_limit=None, **PRIVATE)

    def _on_files(
        self, uploaded: list[str] | None, request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        paths = [Path(path) for path in uploaded or ()]
        if not paths:
            yield {self.report: views.empty_desk(), self.stop: gr.update(visible=False)}
            return
        batch, session = _Batch([path.name for path in paths]), str(request.session_hash)
        try:
            if len(paths) > _MOST_FILES:
                yield {self.report: _too_many(len(paths))}
                return
            self._batches[session] = batch
            for path in paths:
                if not batch.stopped:
                    for panel in self._examine(path, batch, request):
                        yield {self.report: panel, self.stop: gr.update(visible=True)}
            yield {self.report: _finished(batch), self.stop: gr.update(visible=False)}
        finally:
            self._batches.pop(session, None)
            for path in paths:
                self._discard(path)

    def _examine(self, path: Path, batch: _Batch, request: gr.Request) -> Iterator[str]:
        """Panels while one file is at work; its answer joins the batch, unless it was stopped."""
        try:
            studio = acting(self._studio, request)
            job = self._runner.submit(
                lambda report, cancel: studio.verify(path, progress=_watched(report, cancel))
            )
            batch.job = job
            if batch.stopped:  # pressed while the file before it ended
                job.cancel()
            for now in job.watch():
                panel = views.checking_panel(path.name, now.elapsed_s, now.ahead, now.news)
                yield _running(batch, panel)
            batch.done.append(job.result())
        except CancelledError:
            return
        except (StudioError, WatermarkError) as exc:
            batch.done.append(failure_panel(exc))
        except Exception:  # noqa: BLE001 - the person gets a reference, the log a traceback
            batch.done.append(unexpected_panel(log_failure("verification")))

    def _on_stop(self, request: gr.Request) -> None:
        batch = self._batches.get(str(request.session_hash))
        if batch is not None:
            batch.stop()


def _watched(report: Callable[[Any], None], cancel: threading.Event) -> Callable[[float], None]:
    """Passes on the seconds read, and stops the work once ``cancel`` is set."""

    def told(seconds: float) -> None:
        if cancel.is_set():
            raise CancelledError
        report(seconds)

    return told


def _running(batch: _Batch, panel: str) -> str:
    if len(batch.names) == 1:
        return panel
    left = len(batch.names) - len(batch.done) - 1
    waiting = f'<p class="small soft">{left} more to examine.</p>' if left else ""
    return f"{panel}{waiting}{_answers(batch)}"


def _finished(batch: _Batch) -> str:
    missing = len(batch.names) - len(batch.done)
    stopped = (
        f'<div class="banner warn" role="status"><strong>Cancelled.</strong> {len(batch.done)} of '
        f"{len(batch.names)} files were examined.</div>"
        if missing
        else ""
    )
    if len(batch.names) == 1:
        body = "".join(
            answer if isinstance(answer, str) else views.report_view(answer)
            for answer in batch.done
        )
    else:
        body = _answers(batch)
    return stopped + body + (downloads(batch.reports) if batch.reports else "")


def _answers(batch: _Batch) -> str:
    """The answers of several files, each to be opened."""
    if not batch.done:
        return ""
    rows = "".join(
        views.drill_down(name, answer)
        for name, answer in zip(batch.names, batch.done, strict=False)
    )
    return f'<div class="answers" aria-label="Files examined">{rows}</div>'


def _too_many(count: int) -> str:
    return (
        '<section class="card" role="status"><h2>Too many at once</h2><p>'
        f"{count} files were dropped; the desk takes {_MOST_FILES}. For a catalogue there is "
        '<span class="mono">studio scan</span> on the command line.</p></section>'
    )
