"""The Consent tab: grants, holders and previews of revocations; for registrars.

Nothing is granted or revoked by a click: both are signed by the holder and arrive as a file. The
tab records such files, shows what stands, and says beforehand what a revocation takes with it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.accounts.permissions import Permission
from studio.core.errors import StudioError
from studio.core.tags import listing_key
from studio.web.ui.callers import caller, session_of
from studio.web.ui.components import PRIVATE, UploadedFile, delete_file, log_failure
from studio.web.ui.consent import view as views
from studio.web.ui.create.view import failure_panel, unexpected_panel
from studio.web.ui.templating import heading

if TYPE_CHECKING:
    from studio.app.gateway import Gateway

__all__ = ["ConsentTab"]

_State = dict[Any, Any]  # component -> update, as Gradio wants it
_MAX_FILE = 1 << 20  # bytes of a signed consent file


class ConsentTab:
    """Builds the tab inside the current ``gr.Blocks`` and answers its events."""

    def __init__(self, gateway: Gateway, discard: Callable[[Path], None] = delete_file) -> None:
        self._gateway = gateway
        self._discard = discard
        with gr.Row(equal_height=False, elem_classes="desk"):
            with gr.Column(scale=7, min_width=320):
                with gr.Column(elem_classes="section"):
                    gr.HTML(
                        heading(
                            "What is live on which tag",
                            "Right now. The studio asks again when music is released.",
                        )
                    )
                    self.live = gr.HTML()
                with gr.Column(elem_classes="section"):
                    gr.HTML(heading("Rights holders", "Compare a fingerprint by telephone."))
                    self.holders = gr.HTML()
                self._build_statement()
            with gr.Column(scale=5, min_width=320):
                self._build_import()
                self._build_grant()
        self._connect()

    # -- layout -------------------------------------------------------------------------------

    def _build_import(self) -> None:
        with gr.Column(elem_classes="section"):
            gr.HTML(
                heading(
                    "Record a signed file",
                    "Holders, keys, tags, grants and revocations as the holder signed them. A "
                    "revocation takes effect at once.",
                )
            )
            self.fingerprint = gr.Textbox(
                label="Fingerprint of a new holder's key",
                info="Only for a holder nobody knows here yet: as the holder read it to you",
                max_lines=1,
                max_length=200,
            )
            self.file = UploadedFile(
                label="Signed consent file",
                type="filepath",
                elem_classes="drop",
                height=130,
            )
            self.imported = gr.HTML()

    def _build_grant(self) -> None:
        with gr.Column(elem_classes="section"):
            gr.HTML(heading("One grant"))
            self.grant = gr.Dropdown(choices=[], label="Grant", filterable=True)
            self.card = gr.HTML()
            self.preview = gr.Button("What would a revocation do?", size="md")
        self.effect = gr.HTML()

    def _build_statement(self) -> None:
        with gr.Column(elem_classes="section"):
            gr.HTML(
                heading(
                    "Statement for a holder",
                    "Uses, seconds and share of a period; both days count, UTC.",
                )
            )
            with gr.Row():
                self.statement_of = gr.Dropdown(choices=[], label="Rights holder", min_width=180)
                self.first = gr.Textbox(
                    label="From", placeholder="2026-11-01", max_length=10, min_width=110
                )
                self.last = gr.Textbox(
                    label="To", placeholder="2026-11-30", max_length=10, min_width=110
                )
            self.statement = gr.HTML()

    # -- events -------------------------------------------------------------------------------

    def _connect(self) -> None:
        self.grant.change(self._on_grant, self.grant, [self.card, self.effect], **PRIVATE)
        self.preview.click(self._on_preview, self.grant, self.effect, **PRIVATE)
        self.file.upload(
            self._on_file,
            [self.file, self.fingerprint],
            [self.imported, self.file, *self._tables],
            concurrency_limit=1,
            **PRIVATE,
        )
        gr.on(
            [self.statement_of.change, self.first.change, self.last.change],
            self._on_statement,
            [self.statement_of, self.first, self.last],
            self.statement,
            **PRIVATE,
        )

    def connect(self, tab: gr.Tab, page: gr.Blocks) -> None:
        """Read everything anew whenever the tab is opened; for some it is open from the start."""
        shown = [*self._tables, self.first, self.last]
        tab.select(self._on_open, None, shown, **PRIVATE)
        page.load(self._on_load, None, shown, **PRIVATE)

    @property
    def _tables(self) -> list[Any]:
        return [self.live, self.holders, self.grant, self.statement_of]

    def _on_load(self, request: gr.Request) -> _State:
        return self._on_open(request) if caller(request).may(Permission.CONSENT) else {}

    def _on_open(self, request: gr.Request) -> _State:
        today = datetime.now(UTC)
        try:
            tables = self._standing(request)
        except StudioError as exc:
            return {self.live: failure_panel(exc)}
        return {
            **tables,
            self.first: f"{today:%Y-%m}-01",
            self.last: f"{today:%Y-%m-%d}",
        }

    def _standing(self, request: gr.Request) -> _State:
        session = session_of(self._gateway, request)
        consent = session.consent
        grants, holders = consent.grants(), consent.holders()
        tags = sorted(session.catalog.vocabulary().values(), key=listing_key)
        choices = views.grant_choices(grants)
        return {
            self.live: views.live_table(grants, [tag.id for tag in tags]),
            self.holders: views.site_line(consent.site_id())
            + views.holders_table(holders)
            + views.waiting_lines(consent.shipped()),
            self.grant: gr.update(choices=choices, value=choices[0][1] if choices else None),
            self.statement_of: gr.update(
                choices=[(known.holder.name, known.holder.id) for known in holders]
            ),
        }

    def _on_grant(self, grant_id: str | None, request: gr.Request) -> tuple[str, str]:
        def card() -> str:
            grants = session_of(self._gateway, request).consent.grants()
            return "".join(views.grant_card(s) for s in grants if s.grant.id == grant_id)

        return self._outcome(card), ""

    def _on_preview(self, grant_id: str | None, request: gr.Request) -> str:
        if not grant_id:
            return ""
        return self._outcome(
            lambda: views.preview_panel(
                session_of(self._gateway, request).consent.preview_revocation(grant_id)
            )
        )

    def _on_file(self, uploaded: str | None, fingerprint: str, request: gr.Request) -> _State:
        if uploaded is None:
            return {self.imported: ""}
        path = Path(uploaded)
        outcome = self._outcome(lambda: self._record(path, fingerprint.strip(), request))
        self._discard(path)
        answer: _State = {self.imported: outcome, self.file: None}
        try:
            return {**answer, **self._standing(request)}
        except StudioError:
            return answer

    def _record(self, path: Path, fingerprint: str, request: gr.Request) -> str:
        consent = session_of(self._gateway, request).consent
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            return views.too_large_panel()
        if fingerprint:
            return views.import_panel(consent.admit_holder(data, fingerprint))
        return views.import_panel(consent.import_file(data))

    def _on_statement(self, holder: str | None, first: str, last: str, request: gr.Request) -> str:
        return (
            self._outcome(lambda: self._statement(holder, first, last, request)) if holder else ""
        )

    def _statement(self, holder: str | None, first: str, last: str, request: gr.Request) -> str:
        from studio.reports.statements.statement import parse_period

        assert holder is not None
        made = session_of(self._gateway, request).consent.statement(
            holder, parse_period(first, last)
        )
        return views.statement_panel(made, first, last)

    def _outcome(self, work: Callable[[], str]) -> str:
        """What the work says, or why there is nothing to say."""
        try:
            return work()
        except StudioError as exc:
            return failure_panel(exc)
        except Exception:  # noqa: BLE001 - the person gets a reference, the log a traceback
            return unexpected_panel(log_failure("the Consent tab"))
