"""The whole page as ``gr.Blocks``: masthead and tabs.

Everybody is served the same page; when it is loaded, the tabs that the role has no use for are
taken away. That is a courtesy: what a role may do is decided with every event, by
:mod:`studio.accounts.permissions`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.accounts.permissions import LOCAL_OWNER, Actor, Permission
from studio.web.ui.about_tab import build_about
from studio.web.ui.accounts_tab import AccountsTab
from studio.web.ui.callers import caller
from studio.web.ui.components import PRIVATE, QuietBlocks, delete_file
from studio.web.ui.consent.tab import ConsentTab
from studio.web.ui.create.tab import CreateTab
from studio.web.ui.library_tab import LibraryTab
from studio.web.ui.templating import draw, our_own
from studio.web.ui.verify_tab import VerifyTab

if TYPE_CHECKING:
    from markupsafe import Markup

    from studio.app.gateway import Gateway
    from studio.web.http.download_tokens import DownloadTokens
    from studio.web.jobs.examinations import Examinations
    from studio.web.jobs.making import PageJobs

__all__ = ["build_page", "signed_in_line"]

_UPLOADS_LIVE_S = 600  # uploads a closed browser left behind are deleted after this


def build_page(
    gateway: Gateway,
    download_tokens: DownloadTokens,
    *,
    making: PageJobs,
    examinations: Examinations,
    discard: Callable[[Path], None] = delete_file,
) -> gr.Blocks:
    """The whole page.

    ``discard`` deletes an upload once it was examined.
    """
    page: gr.Blocks = QuietBlocks(
        title="Consented Music Studio",
        analytics_enabled=False,
        delete_cache=(_UPLOADS_LIVE_S, _UPLOADS_LIVE_S),
        fill_width=True,
    )
    with page:
        gr.HTML(draw("page.html", "masthead", our_own("seal.svg")))
        who = gr.HTML(elem_classes="who")
        gr.HTML(draw("page.html", "now"), elem_classes="now")
        with gr.Tabs(overflow_behavior="wrap") as tabs:
            with gr.Tab("Create", id="create"):
                create = CreateTab(gateway, download_tokens, making)
            with gr.Tab("Library", id="library"):
                LibraryTab(gateway, create.takes_list)
            with gr.Tab("Verify", id="verify"):
                verify = VerifyTab(gateway, examinations)
            with gr.Tab("Consent", id="consent") as consent_tab:
                ConsentTab(gateway, discard).connect(consent_tab, page)
            with gr.Tab("Accounts", id="accounts") as accounts_tab:
                AccountsTab(gateway).connect(accounts_tab)
            with gr.Tab("Models and limits", id="about"):
                build_about(gateway.session(LOCAL_OWNER).catalog)
        create.connect_load(page)
        verify.connect_load(page)

        def greet(request: gr.Request) -> dict[Any, Any]:
            actor = caller(request)
            return {who: signed_in_line(actor), tabs: gr.update(selected=_first_tab(actor))}

        page.load(greet, None, [who, tabs], **PRIVATE)
    page.queue(api_open=False, default_concurrency_limit=8, max_size=64)
    return page


_TABS = {
    Permission.GENERATE: "create",
    Permission.OWN_OUTPUTS: "library",
    Permission.VERIFY: "verify",
    Permission.CONSENT: "consent",
    Permission.ADMINISTER: "accounts",
}


def _first_tab(actor: Actor) -> str:
    return next((tab for right, tab in _TABS.items() if actor.may(right)), "about")


def signed_in_line(actor: Actor) -> Markup:
    """Who is signed in and the way out; or that nobody has to be. Hides the tabs of other roles.

    By a style sheet, because Gradio 6 draws a tab once and for all.
    """
    if actor is LOCAL_OWNER:
        return draw("page.html", "single_user")
    others = [tab for right, tab in _TABS.items() if not actor.may(right)]
    return draw("page.html", "signed_in", actor, others)
