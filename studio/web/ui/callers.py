"""The actor and the session behind a Gradio request.

Gradio lets every visitor call every event of the page, whatever tabs he is shown. So each handler
that does more than show the catalogue goes through :func:`session_of`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from studio.accounts.origin import declare
from studio.accounts.permissions import Actor
from studio.core.errors import AccessDeniedError
from studio.web.middleware.auth import account_of, actor_of, address_in

if TYPE_CHECKING:
    from studio.app.gateway import Gateway
    from studio.app.session import Session

__all__ = ["caller", "payer", "session_of"]


def caller(request: gr.Request) -> Actor:
    """Raises :class:`AccessDeniedError` where nobody is signed in."""
    actor = None if request.request is None else actor_of(request.request.scope)
    if actor is None:
        raise AccessDeniedError("sign in first")
    assert request.request is not None
    # Gradio runs events in threads of its own, which know nothing of the request.
    declare(actor.account_id, address_in(request.request.scope))
    return actor


def session_of(gateway: Gateway, request: gr.Request) -> Session:
    """The studio as the one who sent ``request`` may use it."""
    return gateway.session(caller(request))


def payer(request: gr.Request) -> str:
    """Against whose limits the request counts."""
    assert request.request is not None
    return account_of(request.request, caller(request))
