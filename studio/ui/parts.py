"""Gradio parts that keep the studio's rules: audio from the studio's route, uploads only from disk.

Importing this module imports Gradio; the server imports it when it starts, nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
from gradio import component_meta
from gradio.data_classes import FileData

__all__ = ["PRIVATE", "RoutedAudio", "UploadedFile", "absolute_url"]

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""For every event: not an endpoint of Gradio's own API, and no overlay over our own status."""


@contextmanager
def _without_stub_file() -> Iterator[None]:
    """Gradio writes a ``.pyi`` beside any module that subclasses a component; ours stays clean."""
    original = component_meta.create_or_modify_pyi
    component_meta.create_or_modify_pyi = lambda *_: None
    try:
        yield
    finally:
        component_meta.create_or_modify_pyi = original


with _without_stub_file():

    class RoutedAudio(gr.Audio):
        """A player whose value is a URL of this studio.

        Gradio would copy a file into its cache and serve it there to anyone with the path; with the
        URL the browser fetches the released bytes, untouched, from the route that checks the claim.
        """

        is_template = True  # Gradio's word for "drawn by the parent class's front end"

        def postprocess(self, value: Any) -> FileData | None:
            """``value``: an absolute URL, or None for an empty player."""
            if value is None:
                return None
            name = Path(urlsplit(str(value)).path).parent.name
            return FileData(path=str(value), url=str(value), orig_name=name)

    class UploadedFile(gr.File):
        """A file that was uploaded; a URL handed in its place is refused instead of fetched."""

        is_template = True

        async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
            """Refuse URLs. Raises :class:`gradio.Error`, which the page shows as text."""
            if "://" in str(url_or_file_path):
                raise gr.Error("Only files can be examined, not addresses.", print_exception=False)
            return await super().async_move_resource_to_block_cache(url_or_file_path)


def absolute_url(request: gr.Request, path: str) -> str:
    """The URL of ``path`` as the browser that sent ``request`` reaches this studio.

    Gradio leaves absolute URLs alone and routes any other value through its cache.
    """
    http = request.request
    assert http is not None  # only absent where a function is called without a browser
    # What a proxy said, if it is a trusted one, studio.api.forwarded has put into the request.
    root = str(http.scope.get("root_path", "")).rstrip("/")
    return f"{http.url.scheme}://{http.headers.get('host')}{root}/{path}"
