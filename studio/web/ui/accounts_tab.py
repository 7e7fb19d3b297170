"""The Accounts tab: who may sign in, and today's use; for administrators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.accounts.passwords import MIN_LENGTH
from studio.accounts.permissions import LOCAL_OWNER, Permission, Role
from studio.core.errors import StudioError
from studio.generation.limits.quota import LOCAL_ACCOUNT
from studio.web.ui.callers import caller, session_of
from studio.web.ui.components import PRIVATE
from studio.web.ui.create.view import failure_panel
from studio.web.ui.templating import draw, heading

if TYPE_CHECKING:
    from markupsafe import Markup

    from studio.accounts import Account
    from studio.accounts.security_log import SecurityEvent
    from studio.app.gateway import Gateway
    from studio.app.use_cases.accounts import Accounts
    from studio.generation.limits.quota import Usage

__all__ = ["AccountsTab", "accounts_table", "events_table", "usage_table"]

_EVENTS = 30  # shown

_State = dict[Any, Any]  # component -> update, as Gradio wants it
_ROLES = [(str(role).capitalize(), str(role)) for role in Role]


class AccountsTab:
    """Builds the tab inside the current ``gr.Blocks`` and answers its events."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        with gr.Row(equal_height=False, elem_classes="desk"):
            with gr.Column(scale=7, min_width=320), gr.Column(elem_classes="section"):
                gr.HTML(heading("Accounts and what they used today", "Days are UTC."))
                self.table = gr.HTML()
            with gr.Column(scale=5, min_width=320):
                self._build_add()
                self._build_change()
        self.message = gr.HTML()
        self._connect()

    def _build_add(self) -> None:
        with gr.Column(elem_classes="section"):
            gr.HTML(
                heading(
                    "Add an account",
                    "The first one is an administrator's. With it, signing in becomes a must for "
                    "everyone.",
                )
            )
            self.name = gr.Textbox(label="Account name", max_lines=1, max_length=64)
            self.role = gr.Dropdown(choices=_ROLES, value="administrator", label="Role")
            self.password = gr.Textbox(
                label="Password",
                type="password",
                info=f"At least {MIN_LENGTH} characters; its owner can change it",
                max_lines=1,
                max_length=256,
            )
            self.add = gr.Button("Add account", size="md")

    def _build_change(self) -> None:
        with gr.Column(elem_classes="section"):
            gr.HTML(draw("accounts.html", "how_to_change"))
            self.chosen = gr.Dropdown(choices=[], label="Account")
            self.new_role = gr.Dropdown(choices=_ROLES, label="New role")
            with gr.Row():
                self.set_role = gr.Button("Set role", size="md", min_width=90)
                self.disable = gr.Button("Disable", size="md", min_width=90)
                self.enable = gr.Button("Enable", size="md", min_width=90)
                self.delete = gr.Button("Delete", size="md", min_width=90)
            gr.HTML(draw("accounts.html", "how_to_delete"))

    def _connect(self) -> None:
        shown = [self.table, self.chosen, self.message]
        self.add.click(
            self._on_add,
            [self.name, self.role, self.password],
            [*shown, self.name, self.password],
            **PRIVATE,
        )
        self.set_role.click(self._on_role, [self.chosen, self.new_role], shown, **PRIVATE)
        self.disable.click(self._on_disable, self.chosen, shown, **PRIVATE)
        self.enable.click(self._on_enable, self.chosen, shown, **PRIVATE)
        self.delete.click(self._on_delete, self.chosen, shown, **PRIVATE)

    def connect(self, tab: gr.Tab) -> None:
        """Read everything anew whenever the tab is opened."""
        shown = [self.table, self.chosen, self.message, self.role]
        tab.select(self._on_open, None, shown, **PRIVATE)

    def _on_open(self, request: gr.Request) -> _State:
        first = caller(request) is LOCAL_OWNER
        return {
            **self._changed(request, lambda _accounts: ""),
            self.role: str(Role.ADMINISTRATOR if first else Role.ARTIST),
        }

    def _on_add(self, name: str, role: str, password: str, request: gr.Request) -> _State:
        def add(accounts: Accounts) -> str:
            added = accounts.add(name, Role(role), password)
            again = " Reload the page to sign in." if caller(request) is LOCAL_OWNER else ""
            return f"{added.name} can sign in as {added.role} now.{again}"

        return {**self._changed(request, add), self.name: "", self.password: ""}

    def _on_role(self, name: str | None, role: str | None, request: gr.Request) -> _State:
        def change(accounts: Accounts) -> str:
            if not name or not role:
                return "Choose an account and a role."
            accounts.set_role(name, Role(role))
            return f"{name} has the role {role} now."

        return self._changed(request, change)

    def _on_disable(self, name: str | None, request: gr.Request) -> _State:
        def change(accounts: Accounts) -> str:
            if not name:
                return "Choose an account."
            accounts.disable(name)
            return f"{name} is disabled and signed out."

        return self._changed(request, change)

    def _on_enable(self, name: str | None, request: gr.Request) -> _State:
        def change(accounts: Accounts) -> str:
            if not name:
                return "Choose an account."
            accounts.enable(name)
            return f"{name} can sign in again."

        return self._changed(request, change)

    def _on_delete(self, name: str | None, request: gr.Request) -> _State:
        def change(accounts: Accounts) -> str:
            if not name:
                return "Choose an account."
            accounts.delete(name)
            return f"{name} is deleted."

        return self._changed(request, change)

    def _changed(self, request: gr.Request, change: Callable[[Accounts], str]) -> _State:
        """Carry a change out, tell what came of it, and show what stands."""
        try:
            session = session_of(self._gateway, request)
            session.require(Permission.ADMINISTER)
        except StudioError as exc:
            return {self.message: failure_panel(exc)}
        try:
            message = change(session.accounts)
            panel = draw("accounts.html", "message", message)
        except StudioError as exc:
            message, panel = "?", failure_panel(exc)
        accounts = session.accounts.all()
        names = [account.name for account in accounts]
        return {
            self.table: accounts_table(accounts)
            + usage_table(session.operation.usage(), accounts)
            + events_table(session.security.newest(limit=_EVENTS)),
            self.chosen: gr.update(choices=names),
            self.message: panel if message else "",
        }


def accounts_table(accounts: Sequence[Account]) -> Markup:
    """Every account, its role, and when it last signed in."""
    if accounts:
        return draw("accounts.html", "accounts_table", accounts)
    return draw(
        "parts.html",
        "banner",
        "warn",
        "No accounts yet",
        "Whoever sits at this machine may do everything; other machines cannot reach the studio.",
    )


def events_table(events: Sequence[SecurityEvent]) -> Markup:
    """The newest security events: when, what, who, from where."""
    return draw("accounts.html", "events_table", events)


def usage_table(usage: Usage, accounts: Sequence[Account]) -> Markup:
    """What each account made today, against the limits; near-duplicates are counted apart."""
    names = {account.account_id: account.name for account in accounts}
    names[LOCAL_ACCOUNT] = "local owner"
    most = usage.limits
    limits = (
        f"{most['outputs_per_day']:g} outputs and {most['seconds_per_day'] / 60:g} minutes of "
        f"music a day, {most['bulk_requests']:g} requests within "
        f"{most['bulk_window_minutes']:g} minutes, "
        f"{most['near_duplicates_per_day']:g} repeats of earlier music a day"
    )
    rows = [(names.get(used.account, "deleted account"), used) for used in usage.accounts]
    return draw("accounts.html", "usage_table", usage, rows, limits)
