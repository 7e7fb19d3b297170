"""Limits that two servers count together, in the database that they share."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack

import numpy as np
import pytest
from starlette.testclient import TestClient

from studio.app.gateway import Gateway
from studio.core.db.limits import SharedBytes, SharedPlaces, SharedSounds
from studio.core.errors import TooManyRequestsError
from studio.web.api.app import create_api
from studio.web.http.download_tokens import DownloadTokens
from studio.web.http.uploads import Budget, UploadBudgetError, Uploads
from studio.web.jobs.queue import JobRunner
from studio.web.public.limits import SimilarQuestions
from studio.web.public.line import SharedShare
from studio.web.public.routes import public_line, public_routes
from tests.support.studios import PlainGenerator, as_owner, make_studio, music
from watermark.audio.waveform import write

BUDGET = Budget(max_bytes=100, held=150, hourly=200)


@pytest.fixture
def servers(database, tmp_path):
    """The uploads of two servers that share the database, and of one that counts alone."""

    def uploads(shared):
        return Uploads(tmp_path, BUDGET, shared=shared)

    shared = [SharedBytes(database, "uploads", held=150, hourly=200) for _ in range(2)]
    return [uploads(each) for each in shared], uploads(None)


def send(uploads, size, account="ada"):
    with uploads.receiving(account, "song.wav") as upload:
        upload.write(bytes(size))
    return upload.path


def test_bytes_on_disk_are_counted_over_all_servers(servers):
    (one, other), alone = servers
    path = send(one, 90)
    with pytest.raises(UploadBudgetError, match="wait to be examined"):
        send(other, 90)
    assert send(alone, 90), "else the test is blind"
    assert send(other, 90, "eve"), "another account has its own"
    one.discard(path)
    assert send(other, 90)


def test_bytes_of_an_hour_are_counted_over_all_servers_deleted_or_not(servers):
    (one, other), alone = servers
    for uploads in (one, other):
        uploads.discard(send(uploads, 90))
    with pytest.raises(UploadBudgetError, match="within an hour") as told:
        send(one, 30)
    assert 0 < told.value.retry_after_s <= 3600
    assert send(other, 20), "what is left can be had at any server"
    assert send(alone, 30), "else the test is blind"


def test_what_a_server_that_was_killed_held_counts_no_more_after_hours(database, monkeypatch):
    shared = SharedBytes(database, "uploads", held=100, hourly=1000)
    assert shared.charge("ada", "a" * 32, 90) is None
    assert shared.charge("ada", "b" * 32, 90)[0] == "held"
    now_s = database.now_s
    monkeypatch.setattr(database, "now_s", lambda connection: now_s(connection) + 3 * 3600 + 1)
    assert shared.charge("ada", "b" * 32, 90) is None


def test_a_starting_server_leaves_what_another_one_still_examines(servers, tmp_path):
    import os
    import time

    (one, other), alone = servers
    path = send(one, 10)
    hours_ago = time.time() - 3 * 3600
    os.utime(path.parent, (hours_ago, hours_ago))
    other.prepare()
    assert path.exists()
    alone.prepare()
    assert not path.exists(), "one server's own leftovers are deleted after minutes"


def sound(seed):
    return np.random.default_rng(seed).integers(1, 2**32, 500, dtype=np.uint32)


def test_nearly_the_same_sound_is_counted_over_all_servers(database):
    one, other, late = (
        SimilarQuestions(2, secret=b"shared", everywhere=SharedSounds(database)) for _ in range(3)
    )
    assert [one.ask(sound(1)), other.ask(sound(2)), other.ask(sound(1)[8:])] == [0, 0, 0]
    for server in (one, other, late):
        assert 3500 < server.ask(sound(1)) <= 3600
    assert late.ask(sound(3)) == 0
    alone = SimilarQuestions(2)
    assert [alone.ask(sound(1)) for _ in range(2)] == [0, 0], "else the test is blind"
    stranger = SimilarQuestions(2, secret=b"another", everywhere=SharedSounds(database))
    assert stranger.ask(sound(1)) == 0, "who does not know the secret compares nothing"


def test_an_address_has_its_part_of_all_lines_together(database):
    one, other = (SharedShare(SharedPlaces(database, "public", 1, 60.0)) for _ in range(2))

    async def ask():
        async with one.place("192.0.2.1"):
            async with other.place("192.0.2.2"):
                pass
            with pytest.raises(TooManyRequestsError):
                async with other.place("192.0.2.1"):
                    pass
        async with other.place("192.0.2.1"):
            return "free again"

    assert asyncio.run(ask()) == "free again"


@pytest.fixture
def apps(tmp_path):
    """Makes two applications on one database, as ``workers`` servers or each by itself."""
    with ExitStack() as stack:

        def made(workers, **settings):
            clients = []
            for _ in range(2):
                studio = stack.enter_context(make_studio(tmp_path, generator=PlainGenerator()))
                config = studio.config
                update = {
                    "server": config.server.model_copy(update={"workers": workers}),
                    "uploads": config.uploads.model_copy(update=settings.get("uploads", {})),
                    "public_detector": config.public_detector.model_copy(
                        update={"enabled": True, **settings.get("detector", {})}
                    ),
                }
                studio.config = config.model_copy(update=update)
                as_owner(studio).generation.recover()
                making, checking = (
                    stack.enter_context(JobRunner(running=1, waiting=2)) for _ in range(2)
                )
                gateway = Gateway(studio)
                api = create_api(gateway, DownloadTokens(), making=making, checking=checking)
                line = public_line(gateway)
                stack.callback(line.close)
                api.include_router(public_routes(gateway, line))
                clients.append(TestClient(api, base_url="http://127.0.0.1"))
            return clients

        yield made


def recording(tmp_path):
    write(tmp_path / "other.wav", music(99, 8.0))
    return (tmp_path / "other.wav").read_bytes()


@pytest.mark.parametrize("workers", [2, 0])
def test_two_applications_share_the_bytes_of_an_account(apps, tmp_path, workers):
    content = recording(tmp_path)
    budget = {"hourly_bytes": len(content) * 3 // 2}
    statuses = [
        client.post("/api/v1/verifications?name=a.wav", content=content).status_code
        for client in apps(workers, uploads=budget)
    ]
    assert statuses == ([200, 429] if workers else [200, 200])


@pytest.mark.parametrize("workers", [2, 0])
def test_two_applications_share_the_public_s_questions_about_a_sound(apps, tmp_path, workers):
    content = recording(tmp_path)
    clients = apps(workers, detector={"near_identical_per_hour": 1})
    answers = [client.post("/api/public/detect", content=content) for client in clients]
    assert [answer.status_code for answer in answers] == ([200, 429] if workers else [200, 200])
    if workers:
        assert "nearly the same sound" in json.dumps(answers[1].json())
