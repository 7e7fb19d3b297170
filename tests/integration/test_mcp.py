"""The tools for assistants, by the protocol's own client: over stdio and over HTTP."""

from __future__ import annotations

import base64
import json
import os
import sys

import anyio
import httpx
import pytest
from httpx2 import AsyncClient
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from studio.web.mcp.stdio import _Local
from studio.web.mcp.tools import create_mcp
from tests.support.accounts import NAMES, PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.serving import served
from tests.support.studios import PlainGenerator, as_owner, events, make_studio

TOOLS = {"verify_audio", "list_tags", "get_output", "check_proof"}


@pytest.fixture
def studio(tmp_path):
    with make_studio(tmp_path / "studio", generator=PlainGenerator()) as studio:
        as_owner(studio).generation.recover()
        yield studio


@pytest.fixture
def made(studio):
    return as_owner(studio).generation.create(
        as_owner(studio).generation.request(["genre/jazz"], duration_s=10.0, seed=3)
    )


def calling(server, *calls, token=None):
    """Each call's result; and the tools that the server has."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def call():
        async with AsyncClient(headers=headers, timeout=60) as http:
            way = server if token is None else streamable_http_client(server, http_client=http)
            async with Client(way) as client:
                tools = (await client.list_tools()).tools
                return tools, [await client.call_tool(name, given) for name, given in calls]

    return anyio.run(call)


def base64_of(path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_the_four_tools_say_that_they_only_read_and_answer(studio, made):
    bundle = json.loads(json.dumps(as_owner(studio).outputs.proof(made.output_id)))
    forged = {**bundle, "leaf": base64.b64encode(b"{}").decode()}
    tools, answers = calling(
        create_mcp(_Local(as_owner(studio))),
        ("verify_audio", {"path": str(made.path)}),
        ("verify_audio", {"content_base64": base64_of(made.path)}),
        ("list_tags", {"use": "noncommercial"}),
        ("get_output", {"output_id": made.output_id}),
        ("check_proof", {"bundle": bundle}),
        ("check_proof", {"bundle": forged}),
        ("verify_audio", {}),
        ("verify_audio", {"path": "/no/such/file"}),
        ("verify_audio", {"content_base64": "***"}),
        ("get_output", {"output_id": "0" * 16}),
        ("get_output", {"output_id": "../../etc"}),
    )
    assert {tool.name for tool in tools} == TOOLS
    assert all(tool.annotations.read_only_hint for tool in tools)
    told = [answer.structured_content for answer in answers[:5]]
    assert [body["verdict"] for body in told[:2]] == ["sealed", "sealed"]
    assert {"tag", "granted", "holders"} <= set(told[2]["tags"][0])
    assert told[3]["sha256"] == made.sha256
    assert (told[4]["holds"], told[4]["index"]) == (True, made.entry_index)
    assert [answer.is_error for answer in answers] == [False] * 5 + [True] * 6
    assert "not-found" in answers[9].content[0].text or "no output" in answers[9].content[0].text
    assert events(studio)[-2:] == ["verification", "verification"]


class TestOverHttp:
    @pytest.fixture
    def team(self, studio, made):
        """A served studio with accounts; its address and a token of each role."""
        with_cheap_passwords(studio)
        add_one_of_each(studio.accounts())
        server = studio.config.server.model_copy(update={"mcp": True})
        studio.config = studio.config.model_copy(update={"server": server})
        tokens = {
            role: studio.accounts().sign_in(name, PASSWORD, address="192.0.2.1").token
            for role, name in NAMES.items()
        }
        with served(studio) as url:
            yield f"{url}/mcp", tokens

    def test_each_account_has_its_own_rights(self, team, made):
        url, tokens = team
        by_role = {}
        for role, token in tokens.items():
            _, by_role[str(role)] = calling(
                url,
                ("list_tags", {}),
                ("get_output", {"output_id": made.output_id}),
                ("verify_audio", {"content_base64": base64_of(made.path)}),
                ("verify_audio", {"path": str(made.path)}),
                token=token,
            )
        errors = {role: [each.is_error for each in found] for role, found in by_role.items()}
        # An artist sees her own outputs only; a registrar does not examine; nobody names a path.
        assert errors == {
            "artist": [False, True, False, True],
            "verifier": [False, False, False, True],
            "registrar": [False, False, True, True],
            "administrator": [False, False, False, True],
        }
        assert by_role["verifier"][2].structured_content["verdict"] == "sealed"
        assert "not-permitted" in by_role["registrar"][2].content[0].text

    def test_nobody_gets_in_without_a_token(self, team):
        url, _ = team
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for headers in ({}, {"Authorization": "Bearer guessed"}):
            answer = httpx.post(url, json=body, headers=headers)
            assert answer.status_code == 401
            assert "verify_audio" not in answer.text
        gradio = url.replace("/mcp", "/gradio_api/mcp/")
        assert httpx.get(gradio, headers={"Authorization": "Bearer guessed"}).status_code == 401


def test_it_is_off_unless_it_is_switched_on(studio):
    with served(studio) as url:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        assert httpx.post(f"{url}/mcp", json=body).status_code in (404, 405)
        assert httpx.get(f"{url}/gradio_api/mcp/sse").status_code == 404


@pytest.mark.slow
def test_the_command_speaks_on_stdin_and_stdout(tmp_path):
    server = StdioServerParameters(
        command=sys.executable,
        args=["-c", "from studio.cli.main import main; main()", "mcp"],
        env=os.environ | {"STUDIO_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
    )
    tools, (tags,) = calling(server, ("list_tags", {}))
    assert {tool.name for tool in tools} == TOOLS
    assert any(tag["granted"] for tag in tags.structured_content["tags"])
