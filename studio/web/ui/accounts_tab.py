"""The Accounts tab: for administrators, who may sign in, and what each account has used today."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.accounts.passwords import MIN_LENGTH
from studio.accounts.permissions import LOCAL_OWNER, Permission, Role
from studio.core.errors import StudioError
from studio.generation.limits.quota import LOCAL_ACCOUNT
from studio.reports.formatting import esc, moment
from studio.web.ui.callers import caller, session_of
from studio.web.ui.components import PRIVATE
from studio.web.ui.create.view import failure_panel

if TYPE_CHECKING:
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
                gr.HTML("<h2>Accounts and what they used today</h2><p>Days are UTC.</p>")
                self.table = gr.HTML()
            with gr.Column(scale=5, min_width=320):
                self._build_add()
                self._build_change()
        self.told = gr.HTML()
        self._connect()

    def _build_add(self) -> None:
        with gr.Column(elem_classes="section"):
            gr.HTML(
                "<h2>Add an account</h2><p>The first one is an administrator's. With it, signing "
                "in becomes a must for everyone.</p>"
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
            gr.HTML(
                "<h2>Change an account</h2><p>It is signed out everywhere. A forgotten password: "
                '<span class="mono">studio account passwd NAME</span>.</p>'
            )
            self.chosen = gr.Dropdown(choices=[], label="Account")
            self.new_role = gr.Dropdown(choices=_ROLES, label="New role")
            with gr.Row():
                self.set_role = gr.Button("Set role", size="md", min_width=90)
                self.disable = gr.Button("Disable", size="md", min_width=90)
                self.enable = gr.Button("Enable", size="md", min_width=90)
                self.delete = gr.Button("Delete", size="md", min_width=90)
            gr.HTML(
                '<p class="small">Only a disabled account can be deleted. Its name, its sign-ins '
                "and the titles it typed are erased for good; its outputs stay.</p>"
            )

    def _connect(self) -> None:
        shown = [self.table, self.chosen, self.told]
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
        shown = [self.table, self.chosen, self.told, self.role]
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
            return {self.told: failure_panel(exc)}
        try:
            told = change(session.accounts)
            panel = f'<div class="banner good" role="status"><p>{esc(told)}</p></div>'
        except StudioError as exc:
            told, panel = "?", failure_panel(exc)
        accounts = session.accounts.all()
        names = [account.name for account in accounts]
        return {
            self.table: accounts_table(accounts)
            + usage_table(session.operation.usage(), accounts)
            + events_table(session.security.newest(limit=_EVENTS)),
            self.chosen: gr.update(choices=names),
            self.told: panel if told else "",
        }


def accounts_table(accounts: Sequence[Account]) -> str:
    """Every account, its role, and when it last signed in."""
    if not accounts:
        return (
            '<div class="banner warn"><strong>No accounts yet</strong><p>Whoever sits at this '
            "machine may do everything; other machines cannot reach the studio.</p></div>"
        )
    rows = "".join(
        f'<tr><th scope="row">{esc(account.name)}</th><td>{esc(account.role)}</td>'
        f"<td>{_seen(account)}</td></tr>"
        for account in accounts
    )
    return (
        '<div class="table-scroll"><table class="plain"><thead><tr><th scope="col">Account</th>'
        '<th scope="col">Role</th><th scope="col">Last signed in</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _seen(account: Account) -> str:
    if account.disabled:
        return '<span class="state bad">disabled</span>'
    return "never" if account.signed_in_at is None else esc(moment(account.signed_in_at))


def events_table(events: Sequence[SecurityEvent]) -> str:
    """The newest security events: when, what, who, from where."""
    rows = "".join(
        f"<tr><td>{esc(moment(found.at))}</td>"
        f'<th scope="row">{esc(found.event)}{"" if found.outcome == "ok" else " (refused)"}</th>'
        f"<td>{esc(found.name or found.account_id or '-')}</td>"
        f"<td>{esc(found.address or '(erased)')}</td>"
        f"<td>{esc(' '.join(filter(None, (found.subject, found.detail))))}</td></tr>"
        for found in events
    )
    cells = "".join(
        f'<th scope="col">{head}</th>' for head in ("When", "What", "Who", "From", "About")
    )
    nothing = '<tr><td colspan="5">Nothing was recorded yet.</td></tr>'
    return (
        "<h3>Security events</h3>"
        f'<div class="table-scroll"><table class="plain"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{rows or nothing}</tbody></table></div>"
        '<p class="small soft">The newest ones. <a href="api/v1/audit/export" download>Export all'
        '</a>, or <span class="mono">studio audit list</span>.</p>'
    )


def usage_table(usage: Usage, accounts: Sequence[Account]) -> str:
    """What each account made today, against the limits; near-duplicates are counted apart."""
    names = {account.account_id: account.name for account in accounts}
    names[LOCAL_ACCOUNT] = "local owner"
    rows = "".join(
        f'<tr><th scope="row">{esc(names.get(used.account, "deleted account"))}</th>'
        f"<td>{used.released}</td><td>{used.running}</td><td>{used.refused}</td>"
        f"<td>{used.stopped}</td><td>{used.failed}</td>"
        f"<td>{used.seconds:.0f} s</td><td>{used.near_duplicates}</td></tr>"
        for used in usage.accounts
    )
    heads = (
        "Account",
        "Released",
        "Running",
        "Refused",
        "Stopped",
        "Failed",
        "Music",
        "Near-duplicates",
    )
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    most = usage.limits
    limits = (
        f"{most['outputs_per_day']:g} outputs and {most['seconds_per_day'] / 60:g} minutes of "
        f"music a day, {most['bulk_requests']:g} requests within "
        f"{most['bulk_window_minutes']:g} minutes, "
        f"{most['near_duplicates_per_day']:g} repeats of earlier music a day"
    )
    nothing = '<tr><td colspan="8">Nothing was made today.</td></tr>'
    return (
        f"<h3>Today, {esc(usage.day)}</h3>"
        f'<div class="table-scroll"><table class="plain"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{rows or nothing}</tbody></table></div>"
        f'<p class="small soft">Limits of an account: {esc(limits)}. Since the beginning: '
        f"{usage.outputs_ever} outputs, {usage.near_duplicates_ever} near-duplicates.</p>"
    )
