"""The Library tab: search an account's outputs; star, rename and discard them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.accounts.permissions import Permission
from studio.core.errors import StudioError
from studio.reports.formatting import asset
from studio.web.ui.callers import caller, session_of
from studio.web.ui.components import PRIVATE
from studio.web.ui.templating import draw

if TYPE_CHECKING:
    from studio.app.gateway import Gateway
    from studio.app.outputs.library import Listed
    from studio.web.ui.create.takes_list import TakesList

__all__ = ["LibraryTab"]

_SHOWN = 50  # outputs at a time; more are found by more words
_VIEWS = {"kept": "All", "starred": "With a star", "discarded": "Discarded"}
_MOST_TEXT = 200  # characters


class LibraryTab:
    """Builds the tab inside the current ``gr.Blocks``; ``takes`` is the list of the Create tab."""

    def __init__(self, gateway: Gateway, takes: TakesList) -> None:
        self._gateway = gateway
        self._takes = takes
        self.board = gr.HTML(
            value={},
            html_template=draw("library.html", "board", _VIEWS.items()),
            js_on_load=asset("library.js"),
            elem_id="library",
        )
        self.board.submit(self._on_search, self.board, self.board, **PRIVATE)
        takes.shelf.submit(
            self._on_shelf,
            takes.shelf,
            [self.board, takes.board],
            trigger_mode="multiple",
            **PRIVATE,
        )

    def _on_search(self, asked: Any, request: gr.Request) -> dict[str, Any]:
        query = asked.get("query") if isinstance(asked, dict) else None
        return self._found(query, request)

    def _on_shelf(self, change: Any, request: gr.Request) -> dict[Any, Any]:
        """Star, rename or discard one output, then list anew."""
        problem = ""
        if isinstance(change, dict) and isinstance(id_ := change.get("id"), str):
            try:
                session_of(self._gateway, request).outputs.shelve(
                    id_,
                    starred=_yes_or_no(change.get("starred")),
                    discarded=_yes_or_no(change.get("discarded")),
                    title=title if isinstance(title := change.get("title"), str) else None,
                )
            except StudioError as exc:
                problem = f"{str(exc)[:1].upper()}{str(exc)[1:]}"
        query = change.get("query") if isinstance(change, dict) else None
        found = self._found(query, request) | {"problem": problem}
        if not caller(request).may(Permission.GENERATE):
            return {self.board: found}
        takes = {"takes": self._takes.latest(request), "discarded": True, "bar": problem or None}
        return {self.board: found, self._takes.board: takes}

    def _found(self, query: Any, request: gr.Request) -> dict[str, Any]:
        actor = caller(request)
        if not actor.may(Permission.OWN_OUTPUTS):
            return {"rows": [], "note": ""}
        asked = query if isinstance(query, dict) else {}
        text = str(asked.get("text") or "")[:_MOST_TEXT]
        view = asked.get("view") if asked.get("view") in _VIEWS else "kept"
        everybody = actor.may(Permission.ALL_OUTPUTS) and actor.account_id is not None
        outputs = session_of(self._gateway, request).outputs
        look = outputs.whole_library if everybody and asked.get("all") is True else outputs.library
        listed = look(text, view=str(view), limit=_SHOWN + 1)
        return {
            "rows": [self._takes.row(each, request) for each in listed[:_SHOWN]],
            "note": _note(listed, text),
            "everybody": everybody,
        }


def _note(listed: list[Listed], text: str) -> str:
    if not listed:
        return "Nothing is found." if text.strip() else "Nothing here yet."
    if len(listed) > _SHOWN:
        return f"The latest {_SHOWN}; add a word to find others."
    return f"{len(listed)} {'output' if len(listed) == 1 else 'outputs'}."


def _yes_or_no(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
