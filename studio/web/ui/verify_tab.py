"""The Verify tab: drop files on the page, and read a verdict on each.

The list of files lives on the server (:mod:`studio.web.jobs.examinations`): a new drop adds to it,
and a reload shows it again. The browser uploads the files and draws the list (``assets/drop.js``,
``assets/board.js``); :mod:`studio.web.ui.verify_routes` serves the answers and the reports.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.accounts.permissions import Permission
from studio.reports.formatting import asset, clock
from studio.reports.verification import view as views
from studio.reports.verification.texts import READING
from studio.verification.report import Verdict
from studio.web.jobs.examinations import Examination, Examinations, ExaminationState, owner_key
from studio.web.ui.callers import caller, session_of
from studio.web.ui.components import PRIVATE, FilesFromScript
from studio.web.ui.templating import draw, heading

if TYPE_CHECKING:
    from studio.app.gateway import Gateway

__all__ = ["VerifyTab", "rows_of"]

_TONES = {ExaminationState.FAILED: "bad"}
_UNRANKED = len(Verdict)


class VerifyTab:
    """Builds the tab inside the current ``gr.Blocks`` and answers its events."""

    def __init__(self, gateway: Gateway, examinations: Examinations) -> None:
        self._gateway = gateway
        self._examinations = examinations
        limits = gateway.config.uploads
        with gr.Row(equal_height=False, elem_classes="desk"):
            with gr.Column(scale=4, min_width=280, elem_classes="section desk-side"):
                gr.HTML(
                    heading(
                        "Which recordings?",
                        "WAV, FLAC, MP3, M4A, Opus or Ogg; a clip of ten seconds is enough. Up to "
                        f"{limits.max_bytes // 2**20} MB each. A recording over "
                        f"{limits.max_duration_s / 60:g} minutes is examined as a long job.",
                    )
                )
                self.files = FilesFromScript(
                    html_template=draw("verify.html", "drop", limits.max_bytes),
                    js_on_load=asset("drop.js"),
                    elem_id="drop",
                )
                self.url = self.fetch = None
                if gateway.config.verify.urls:
                    self.url = gr.Textbox(
                        label="Or the address of a recording",
                        info="From hosts that this studio allows. It is fetched and kept.",
                        placeholder="https://",
                        max_length=2048,
                        max_lines=1,
                    )
                    self.fetch = gr.Button("Fetch and examine")
                with gr.Row():
                    self.stop = gr.Button("Cancel", variant="stop", visible=False)
                    self.clear = gr.Button("Clear the list", visible=False)
                gr.HTML(draw("verify.html", "what_is_kept", bool(gateway.config.verify.urls)))
            with gr.Column(scale=8, min_width=320):
                self.board = gr.HTML(
                    value={"rows": []},
                    html_template=draw("verify.html", "board", views.empty_desk()),
                    js_on_load=asset("board.js"),
                    elem_id="board",
                )
        self._shown = [self.board, self.stop, self.clear]
        self.files.upload(
            self._on_files,
            self.files,
            self._shown,
            concurrency_limit=None,  # the runners bound the work
            trigger_mode="multiple",
            **PRIVATE,
        )
        if self.url is not None and self.fetch is not None:
            for event in (self.fetch.click, self.url.submit):
                event(
                    self._on_url,
                    self.url,
                    [*self._shown, self.url],
                    concurrency_limit=None,
                    trigger_mode="multiple",
                    **PRIVATE,
                )
        self.stop.click(self._on_stop, None, None, concurrency_limit=None, **PRIVATE)
        self.clear.click(self._on_clear, None, self._shown, concurrency_limit=None, **PRIVATE)

    def connect_load(self, page: gr.Blocks) -> None:
        """Show the list again when a page is opened, and follow what is still at work."""
        page.load(self._on_load, None, self._shown, concurrency_limit=None, **PRIVATE)

    def _on_files(
        self, uploaded: list[dict[str, Any]], request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        owner, session = owner_key(caller(request)), session_of(self._gateway, request)
        for each in uploaded:
            path, seconds = Path(str(each["file"]["path"])), each.get("seconds")
            limit_s = self._gateway.config.uploads.max_duration_s
            long = isinstance(seconds, int | float) and seconds > limit_s  # by the browser's word
            self._examinations.add(owner, session, path, name=path.name, long=long)
        yield from self._watch(request)

    def _on_url(self, url: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        assert self.url is not None
        owner, session = owner_key(caller(request)), session_of(self._gateway, request)
        session.require(Permission.VERIFY)
        if url.strip():
            self._examinations.add_url(owner, session, url.strip())
        yield {self.url: ""}
        yield from self._watch(request)

    def _on_load(self, request: gr.Request) -> Iterator[dict[Any, Any]]:
        if caller(request).may(Permission.VERIFY):
            yield from self._watch(request)
        else:
            yield self._state([])

    def _watch(self, request: gr.Request) -> Iterator[dict[Any, Any]]:
        owner = owner_key(caller(request))
        for items in self._examinations.watch(owner, str(request.session_hash)):
            yield self._state(items)

    def _on_stop(self, request: gr.Request) -> None:
        self._examinations.stop(owner_key(caller(request)))

    def _on_clear(self, request: gr.Request) -> dict[Any, Any]:
        owner = owner_key(caller(request))
        self._examinations.clear(owner)
        return self._state(self._examinations.folder(owner).items)

    def _state(self, items: list[Examination]) -> dict[Any, Any]:
        busy = any(not item.state.ended for item in items)
        return {
            self.board: {"rows": rows_of(items)},
            self.stop: gr.update(visible=busy),
            self.clear: gr.update(visible=bool(items) and not busy),
        }


def rows_of(items: list[Examination]) -> list[dict[str, Any]]:
    """What the script draws of each file: one line."""
    return [_row(item) for item in items]


def _row(item: Examination) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": item.id,
        "name": item.name,
        "state": str(item.state),
        "ended": item.state.ended,
        "verdict": "",
        "icon": "",
        "tone": _TONES.get(item.state, ""),
        "rank": _UNRANKED,
        "note": _doing(item),
    }
    if item.report is not None:
        reading = READING[item.report.verdict]
        row |= {
            "verdict": str(item.report.verdict),
            "icon": reading.icon,
            "tone": reading.tone,
            "rank": list(Verdict).index(item.report.verdict),
            "note": views.found_in(item.report),
        }
    return row


def _doing(item: Examination) -> str:
    """In words, how a file without an answer stands."""
    long = "Long recording: this takes a while. You can close the page meanwhile. "
    prefix = long if item.long else ""
    if item.state is ExaminationState.FAILED:
        return "Open the line for the reason."
    if item.state is not ExaminationState.WORKING:
        return prefix
    if item.queue_position:
        return f"{prefix}{item.queue_position} of other people before it"
    read = "" if item.read_s is None else f", {clock(item.read_s)} read"
    return f"{prefix}Decoding, reading the seal, comparing content{read} … {item.elapsed_s:.0f} s"
