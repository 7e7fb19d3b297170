"""The Verify tab: drop a file, read a verdict with its evidence."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from studio.api.jobs import JobRunner
from studio.errors import StudioError
from studio.ui import verdict_views as views
from studio.ui.create_views import failure_panel, unexpected_panel
from studio.ui.parts import PRIVATE, UploadedFile
from watermark.errors import WatermarkError

if TYPE_CHECKING:
    from studio.services import Studio

__all__ = ["VerifyTab"]

_logger = logging.getLogger(__name__)


class VerifyTab:
    """Builds the tab inside the current ``gr.Blocks`` and answers its event."""

    def __init__(self, studio: Studio, runner: JobRunner) -> None:
        self._studio = studio
        self._runner = runner
        limits = studio.config.uploads
        with gr.Row(equal_height=False, elem_classes="desk"):
            with gr.Column(scale=4, min_width=280, elem_classes="section desk-side"):
                gr.HTML(
                    "<h2>Which recording?</h2><p>WAV, FLAC, MP3, M4A, Opus or Ogg; a clip of ten "
                    f"seconds is enough. Up to {limits.max_bytes // 2**20} MB and "
                    f"{limits.max_duration_s / 60:g} minutes.</p>"
                )
                self.file = UploadedFile(
                    label="Recording to verify",
                    type="filepath",
                    elem_classes="drop",
                    height=170,
                )
                gr.HTML(
                    '<p class="small soft">Examined on this machine only. The verdict is noted in '
                    "the ledger; the file is not kept.</p>"
                )
            with gr.Column(scale=8, min_width=320):
                self.report = gr.HTML(views.empty_desk())
        self.file.upload(
            self._on_file,
            self.file,
            self.report,
            concurrency_limit=None,  # the runner bounds the work and says so in words
            **PRIVATE,
        )
        self.file.clear(views.empty_desk, None, self.report, **PRIVATE)

    def _on_file(self, uploaded: str | None) -> Iterator[str]:
        if uploaded is None:
            yield views.empty_desk()
            return
        path = Path(uploaded)
        try:
            job = self._runner.submit(lambda _report, _cancel: self._studio.verify(path))
            for now in job.watch():
                yield views.checking_panel(path.name, now.elapsed_s, now.ahead)
            yield views.report_view(job.result())
        except (StudioError, WatermarkError, CancelledError) as exc:
            yield failure_panel(exc)
        except Exception:  # the person gets a reference, the operator the traceback
            reference = secrets.token_hex(4)
            _logger.exception("verification failed, reference %s", reference)
            yield unexpected_panel(reference)
        finally:
            path.unlink(missing_ok=True)
