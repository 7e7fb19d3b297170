"""What the page asked for, heard while it is made: by its account, and from this process only."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from studio.accounts.permissions import Actor, Role
from studio.generation.orders import Order
from studio.provenance.release import GenerationRequest
from studio.web.jobs.making import Making
from studio.web.jobs.queue import JobRunner
from studio.web.middleware import auth
from studio.web.middleware.page_gate import PageGate
from studio.web.ui.create.preview_routes import making_routes, preview_path
from watermark.audio.waveform import Waveform

ASKED = GenerationRequest(("genre/jazz",), 10.0, "experiment", "house", "wav", seed=5)


def heard_as(name: str, making: Making) -> TestClient:
    """A client that is signed in, of this route alone, behind the page's gate."""
    app = FastAPI()
    gateway = SimpleNamespace(session=lambda actor: SimpleNamespace(actor=actor))
    app.include_router(making_routes(gateway, making))
    app.add_middleware(PageGate, rules=SimpleNamespace())

    async def signed_in(scope, receive, send):
        if scope["type"] == "http":
            scope[auth._ACTOR] = Actor(name, name, Role.ARTIST)
        await app(scope, receive, send)

    return TestClient(signed_in)


@pytest.fixture
def making(tmp_path):
    with JobRunner(running=1, waiting=4) as runner:
        yield Making(runner, tmp_path / "page-jobs.json")


@pytest.mark.parametrize("kind", ["create", "vary", "extend"])
def test_the_account_that_asked_hears_it_and_no_other(making, kind, monkeypatch):
    monkeypatch.setattr("studio.web.ui.create.preview_routes.still_admitted", lambda *_: True)
    go_on = threading.Event()

    def make(*_, progress, cancel, preview, **__):
        with preview.until_released(), preview.sealed_by(iter):
            preview.hear(Waveform(np.full((1, 100), 0.5, np.float32), 16_000))
            go_on.wait(60)
        return SimpleNamespace(output_id="9f2c00a1b2c3d4e5")

    order = {
        "create": Order.create(ASKED),
        "vary": Order.vary("9f2c00a1b2c3d4e5", ASKED),
        "extend": Order.extend("9f2c00a1b2c3d4e5", ASKED, 4.0),
    }[kind]
    generation = SimpleNamespace(create=make, vary=make, extend=make)
    ada = SimpleNamespace(actor=Actor("ada", "ada", Role.ARTIST), generation=generation)
    job = making.add(ada, "jazz", order, account="ada")
    path = preview_path(job.id, 1)
    try:
        assert heard_as("eve", making).get(path).status_code == 404
        assert heard_as("ada", making).get(preview_path(job.id, 2)).status_code == 404
        threading.Timer(0.3, go_on.set).start()
        answer = heard_as("ada", making).get(path)
    finally:
        go_on.set()
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.content[44:] == b"\x00\x40" * 100
    list(making.watch(ada, "a page"))
    assert heard_as("ada", making).get(path).status_code == 410


def test_each_take_has_a_preview_of_its_own(making):
    given = []

    def create(request, *, progress, cancel, preview):
        given.append((request.seed, preview))
        return SimpleNamespace(output_id=f"{request.seed:016x}")

    ada = SimpleNamespace(
        actor=Actor("ada", "ada", Role.ARTIST), generation=SimpleNamespace(create=create)
    )
    job = making.add(ada, "jazz", Order.create(ASKED, 3), account="ada")
    list(making.watch(ada, "a page"))
    assert [seed for seed, _ in given] == [5, 6, 7]
    assert tuple(preview for _, preview in given) == job.previews
