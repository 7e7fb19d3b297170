"""The right side of the Create tab: requests at work, and the outputs with a player each.

Drawn by ``assets/takes.js`` from one value, so that what plays is never drawn anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.reports.formatting import asset
from studio.web.jobs.making import JobState, MadeJob
from studio.web.ui.callers import session_of
from studio.web.ui.components import absolute_url
from studio.web.ui.create import view as views
from studio.web.ui.create.preview_routes import preview_path
from studio.web.ui.output_view import take_row
from studio.web.ui.templating import draw

if TYPE_CHECKING:
    from studio.app.gateway import Gateway
    from studio.app.outputs.library import Listed
    from studio.web.http.download_tokens import DownloadTokens
    from studio.web.jobs.making import PageJobs

__all__ = ["TakesList"]

_LISTED = 12  # latest outputs


def _script_value(name: str) -> gr.HTML:
    """A component without a look, whose value a script sets by calling ``window.<name>(value)``."""
    return gr.HTML(
        html_template="",
        js_on_load=f"window.{name} = value => {{ props.value = value; trigger('submit'); }};",
        elem_classes="no-height",
    )


class TakesList:
    """Builds the list inside the current ``gr.Blocks`` and says what it shows."""

    def __init__(self, gateway: Gateway, download_tokens: DownloadTokens, making: PageJobs) -> None:
        self._gateway = gateway
        self._claims = download_tokens
        self._making = making
        self.board = gr.HTML(
            value={"jobs": []},
            html_template=draw("create/board.html", "takes"),
            js_on_load=asset("takes.js"),
            elem_id="takes",
        )
        self.commands = _script_value("studioCommand")
        self.settings = _script_value("studioSettings")
        self.shelf = _script_value("studioShelf")

    def watch(self, request: gr.Request) -> Iterator[tuple[dict[str, Any], list[Listed] | None]]:
        """What the list shows, as it changes; with the outputs where these have changed."""
        session = session_of(self._gateway, request)
        ended: set[str] | None = None
        rows: list[dict[str, Any]] = []
        for jobs in self._making.watch(session, str(request.session_hash)):
            now = {job.id for job in jobs if not job.state.live}
            now |= {output_id for job in jobs for output_id in job.output_ids}
            takes = None
            if now != ended:
                ended = now
                takes = session_of(self._gateway, request).outputs.library(limit=_LISTED)
                rows = [self.row(each, request) for each in takes]
            board = {
                "jobs": [_job(job) for job in jobs if job.state is not JobState.DONE],
                "takes": rows,
                "released": {job.id: list(job.released) for job in jobs},
                "bar": _bar(jobs, self._repeats(request) if takes is not None else None),
            }
            yield board, takes

    def latest(self, request: gr.Request) -> list[dict[str, Any]]:
        """The latest outputs of the account, as the script draws them."""
        listed = session_of(self._gateway, request).outputs.library(limit=_LISTED)
        return [self.row(each, request) for each in listed]

    def row(self, listed: Listed, request: gr.Request) -> dict[str, Any]:
        """One output as the script draws it."""
        path = self._claims.audio_path(listed.release.output_id)
        return take_row(listed, absolute_url(request, path))

    def _repeats(self, request: gr.Request) -> str:
        made, limit = session_of(self._gateway, request).generation.repeats_today()
        return views.repeats_line(made, limit)


def _job(made: MadeJob) -> dict[str, Any]:
    html = views.job_panel(made)
    return {
        "id": made.id,
        "state": str(made.state),
        "live": made.state.live,
        "word": f"{made.label}: {made.state}",
        "html": html,
        "preview": _preview(made),
    }


def _preview(made: MadeJob) -> dict[str, Any] | None:
    """Where the take that is being made can be heard; None where none is, or none can be."""
    if made.state is not JobState.WORKING or made.take > len(made.previews):
        return None
    count = len(made.previews)
    take = f", take {made.take} of {count}" if count > 1 else ""
    return {
        "url": preview_path(made.id, made.take, made.attempt),
        "take": made.take,
        "title": f"{made.label}{take}",
        "seconds": made.seconds / count,
        "begun": made.previews[made.take - 1].has_begun,
    }


def _bar(jobs: list[MadeJob], repeats: str | None) -> str:
    """One line about what is going on."""
    live = [job for job in jobs if job.state.live]
    if live:
        rest = f" ({len(live) - 1} more in line)" if len(live) > 1 else ""
        return f"{views.job_line(live[0])}{rest}"
    last = jobs[-1] if jobs else None
    words = {
        JobState.DONE: "Ready. ",
        JobState.FAILED: "Nothing was made; the reason is in the list. ",
        JobState.CANCELLED: "Cancelled. ",
    }
    return words.get(last.state, "") + (repeats or "") if last is not None else repeats or ""
