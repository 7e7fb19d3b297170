"""Shared Gradio components: uploads from disk only, errors without values.

Importing this module imports Gradio; the server imports it when it starts, nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import component_meta

from studio.web.middleware.rate_limit import log_failure

__all__ = [
    "IN_TURN",
    "PRIVATE",
    "FilesFromScript",
    "QuietBlocks",
    "UploadedFile",
    "absolute_url",
    "delete_file",
    "log_failure",
]

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""For every event: not an endpoint of Gradio's own API, and no overlay over our own status."""

IN_TURN: dict[str, Any] = {
    **PRIVATE,
    "trigger_mode": "always_last",
    "concurrency_id": "form",
    "concurrency_limit": 1,
}
"""For events whose answers write to the same parts of the page.

They are answered in the order of the clicks, so that the last answer belongs to the last click; a
click while an answer is on its way is not lost. Only for handlers that answer at once: all visitors
share one line.
"""


_REFUSED = "The studio could not carry this out. Reload the page and try again."


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

    class UploadedFile(gr.File):
        """A file that was uploaded, left where :mod:`studio.web.http.uploads` put it.

        Gradio would hash it on the event loop and copy it. A URL is refused instead of fetched.
        """

        is_template = True

        async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
            """The path itself. Raises :class:`gradio.Error` for what is no file of the uploads."""
            return _upload_in(self.GRADIO_CACHE, url_or_file_path)

    class FilesFromScript(gr.HTML):
        """A drop target drawn by a script of ours; its value are files that were uploaded."""

        is_template = True

        async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
            """Do the same as :class:`UploadedFile`."""
            return _upload_in(self.GRADIO_CACHE, url_or_file_path)

    class QuietBlocks(gr.Blocks):
        """A page whose errors repeat nothing: neither to the browser nor at length in the log."""

        async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            """Process an event as Gradio does; any failure becomes one fixed text."""
            try:
                return await super().process_api(*args, **kwargs)
            except Exception as exc:
                log_failure("an event of the page")
                raise gr.Error(_REFUSED, print_exception=False) from exc


def _upload_in(folder: str, url_or_file_path: Any) -> str:
    """The path of an upload. Raises :class:`gradio.Error` for anything else."""
    path, uploads = Path(str(url_or_file_path)), Path(folder).resolve()
    if path.is_symlink() or not path.is_file() or uploads not in path.resolve().parents:
        raise gr.Error(_REFUSED, print_exception=False)
    return str(path)


def delete_file(path: Path) -> None:
    """Delete an upload that was examined."""
    path.unlink(missing_ok=True)


def absolute_url(request: gr.Request, path: str) -> str:
    """The URL of ``path`` as the browser that sent ``request`` reaches this studio.

    Gradio leaves absolute URLs alone and routes any other value through its cache.
    """
    http = request.request
    assert http is not None  # only absent where a function is called without a browser
    # What a proxy said, if it is a trusted one, studio.web.middleware.proxy_headers has put into
    # the request.
    root = str(http.scope.get("root_path", "")).rstrip("/")
    return f"{http.url.scheme}://{http.headers.get('host')}{root}/{path}"
