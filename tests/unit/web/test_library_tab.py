"""The Library tab short of a browser: search, star, rename, discard, and whose outputs they are."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from studio.accounts.permissions import LOCAL_OWNER, Actor, Role
from studio.app.gateway import Gateway
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.making import Making
from studio.web.jobs.queue import JobRunner
from tests.support.studios import as_owner
from tests.unit.pretend import PretendStudio


@pytest.fixture
def studio(tmp_path):
    return PretendStudio(tmp_path / "home")


@pytest.fixture
def tab(studio, tmp_path):
    import gradio as gr

    from studio.web.ui.create.takes_list import TakesList
    from studio.web.ui.library_tab import LibraryTab

    with JobRunner(running=1, waiting=3) as runner:
        making = Making(runner, tmp_path / "page-jobs.json")

        async def build():
            with gr.Blocks(analytics_enabled=False):
                gateway = Gateway(studio)
                return LibraryTab(gateway, TakesList(gateway, DownloadTokens(), making))

        yield asyncio.run(build())


@pytest.fixture
def waltz(studio):
    owner = as_owner(studio)
    asked = owner.generation.request(["genre/waltz"], duration_s=3, seed=1, format="wav")
    return owner.generation.create(asked).output_id


@pytest.fixture
def jazz(studio, waltz):
    owner = as_owner(studio)
    asked = owner.generation.request(["genre/jazz"], duration_s=3, seed=700_077, format="flac")
    return owner.generation.create(asked).output_id


def request(actor=LOCAL_OWNER):
    http = SimpleNamespace(
        headers={"host": "studio.test"},
        url=SimpleNamespace(scheme="http"),
        scope={"studio.actor": actor},
    )
    return SimpleNamespace(session_hash="one", request=http)


def found(tab, text="", view="kept", actor=LOCAL_OWNER, **query):
    asked = {"query": {"text": text, "view": view, **query}}
    return [row["id"] for row in tab._on_search(asked, request(actor))["rows"]]


def shelve(tab, actor=LOCAL_OWNER, **change):
    return tab._on_shelf(change, request(actor))[tab.board]


def test_every_word_must_be_found_in_title_tag_day_format_or_seed(tab, waltz, jazz):
    assert set(found(tab)) == {waltz, jazz}
    for text in ("waltz", "WALTZ", "genre/waltz wav", waltz[:6]):
        assert found(tab, text) == [waltz]
    for text in ("jazz", "flac", "700077"):
        assert found(tab, text) == [jazz]
    assert found(tab, "waltz flac") == []


def test_star_rename_and_discard(tab, waltz, jazz):
    shelve(tab, id=waltz, starred=True)
    assert found(tab, view="starred") == [waltz]
    shelve(tab, id=waltz, title="  Blue   evening ")
    assert found(tab, "blue evening") == [waltz]
    shelve(tab, id=waltz, discarded=True)
    assert found(tab) == [jazz]
    assert found(tab, view="starred") == []
    assert found(tab, view="discarded") == [waltz]
    shelve(tab, id=waltz, discarded=False)
    assert set(found(tab)) == {waltz, jazz}


def test_a_title_with_an_artists_name_is_refused_in_words(tab, waltz):
    answer = shelve(tab, id=waltz, title="for The Beatles")
    assert "Beatles" in answer["problem"]
    assert "1 to 120 characters" in shelve(tab, id=waltz, title="x" * 121)["problem"]
    assert found(tab, "beatles") == []


def test_nobody_sees_or_changes_anothers_outputs(tab, studio, waltz):
    eve = Actor("eve", "eve", Role.ARTIST)
    assert found(tab, actor=eve) == []
    assert found(tab, actor=eve, all=True) == []
    assert shelve(tab, eve, id=waltz, starred=True)["problem"]
    assert found(tab, view="starred") == []


def test_an_administrator_sees_the_whole_studios_when_asked(tab, waltz):
    root = Actor("root", "root", Role.ADMINISTRATOR)
    assert found(tab, actor=root) == []
    assert found(tab, actor=root, all=True) == [waltz]


@pytest.mark.parametrize(
    "value",
    [None, [], "x", {}, {"query": 5}, {"query": {"view": "../x", "text": ["a"]}}, {"id": 5}],
)
def test_hostile_values_find_and_change_nothing(tab, waltz, value):
    tab._on_search(value, request())
    tab._on_shelf(value, request())
    assert found(tab) == [waltz]
    assert found(tab, "x" * 100_000) == []
