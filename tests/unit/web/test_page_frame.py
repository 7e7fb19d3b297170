"""The page's document: our head first, Gradio's words about itself gone, compressed where asked."""

from __future__ import annotations

import gzip

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from studio.web.middleware.page_frame import PageFrame

DOCUMENT = (
    '<head><meta charset="utf-8" />\n<meta\n property="og:image"\n content="https://elsewhere/x.jpg"\n/>'
    '<meta name="viewport" content="width=device-width" /></head>'
)


def client():
    routes = [
        Route("/", lambda _: HTMLResponse(DOCUMENT)),
        Route("/assets/x.html", lambda _: HTMLResponse(DOCUMENT)),
        Route("/outputs", lambda _: PlainTextResponse("as it is")),
    ]
    return TestClient(PageFrame(Starlette(routes=routes), "<style>ours</style>"))


def test_our_head_comes_first_and_no_foreign_picture_is_named():
    text = client().get("/").text
    assert text.startswith('<head><meta charset="utf-8" /><style>ours</style>')
    assert "elsewhere" not in text
    assert "viewport" in text


def test_it_is_compressed_only_for_those_who_ask():
    plain = client().get("/", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with client().stream("GET", "/", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["vary"] == "Accept-Encoding"
        assert int(answer.headers["content-length"]) == len(raw)
    assert gzip.decompress(raw).decode() == plain.text


def test_every_other_answer_stays():
    assert client().get("/assets/x.html").text == DOCUMENT
    assert client().get("/outputs").text == "as it is"
