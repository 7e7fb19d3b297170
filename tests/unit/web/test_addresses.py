"""Which names answer, what is printed as the studio's address, and who may read from elsewhere."""

from __future__ import annotations

import asyncio
import re

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from studio.accounts.permissions import Role
from studio.app.gateway import Gateway
from studio.core.config import ServerConfig
from studio.web.middleware.auth import COOKIE, SECURE_COOKIE
from studio.web.server import create_app, doubts_about
from tests.support.accounts import PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.studios import as_owner
from tests.unit.pretend import PretendStudio

PROXY = "10.0.0.1"


def studio_with(tmp_path, **server):
    studio = with_cheap_passwords(PretendStudio(tmp_path / "home"))
    add_one_of_each(studio.accounts())
    settings = studio.config.server.model_dump() | server
    studio.config = studio.config.model_copy(update={"server": ServerConfig(**settings)})
    return studio


def client_of(studio, url="https://studio.example", peer=PROXY):
    async def build():
        return create_app(Gateway(studio))

    app = asyncio.run(build())
    return TestClient(app, base_url=url, follow_redirects=False, client=(peer, 1))


@pytest.fixture
def studio(tmp_path):
    return studio_with(
        tmp_path,
        public_url="https://Studio.example/",
        allowed_hosts=["desk.example", "192.0.2.7"],
        trusted_proxies=[PROXY],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("studio.example", 401),
        ("STUDIO.example:8443", 401),
        ("desk.example", 401),
        ("192.0.2.7:80", 401),
        ("127.0.0.1:7860", 401),
        ("evil.example", 421),
        ("studio.example.evil.example", 421),
        ("studio.example@evil.example", 421),
        ("192.0.2.8", 421),
        ("", 421),
    ],
)
def test_only_configured_names_answer(studio, host, status):
    client = client_of(studio)
    paths = ("/api/v1/me", "/gradio_api/info", "/config", "/outputs/0123456789abcdef", "/login/x")
    for path in paths:
        assert client.get(path, headers={"Host": host}).status_code == status, path
    assert client.post("/api/v1/session", headers={"Host": host}, json={}).status_code == (
        422 if status == 401 else 421
    )
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.slow
def test_a_trusted_proxy_does_not_bring_in_another_name_either(studio):
    client = client_of(studio)
    for name, status in (("studio.example", 401), ("evil.example", 421)):
        answer = client.get("/api/v1/me", headers={"X-Forwarded-Host": name})
        assert answer.status_code == status


@pytest.mark.slow
def test_without_a_list_any_name_answers_and_none_is_printed(tmp_path):
    studio = studio_with(tmp_path)
    client = client_of(studio)
    assert client.get("/api/v1/me", headers={"Host": "any.example"}).status_code == 401
    assert studio.config.server.address == "http://127.0.0.1:7860/"


@pytest.mark.slow
def test_a_receipt_names_the_configured_address_whatever_the_request_says(studio, monkeypatch):
    printed = []
    monkeypatch.setattr(
        "studio.reports.receipt.render", lambda *_, url, **__: printed.append(url) or b"<p>"
    )
    monkeypatch.setattr("studio.app.outputs.receipts.proof_of", lambda *_: {})
    client = client_of(studio)
    token = studio.accounts().sign_in("root", PASSWORD, address="x").token
    release = as_owner(studio).generation.create(
        as_owner(studio).generation.request(["genre/jazz"], duration_s=3.0, seed=1)
    )
    for host in ("studio.example", "desk.example", "127.0.0.1:1"):
        headers = {"Authorization": f"Bearer {token}", "Host": host}
        answer = client.get(f"/api/v1/outputs/{release.output_id}/receipt", headers=headers)
        assert answer.status_code == 200, answer.text
    assert printed == ["https://studio.example/"] * 3


@pytest.mark.parametrize(
    "url", ["studio.example", "ftp://x", "https://", "https://a@b", "https://x/y", "https://x?y"]
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValidationError):
        ServerConfig(public_url=url)


@pytest.mark.parametrize("host", ["https://x", "x:80", "*", "a b", ""])
def test_a_name_that_is_none_is_refused(host):
    with pytest.raises(ValidationError):
        ServerConfig(allowed_hosts=[host])


def test_an_operator_is_told_what_cannot_be_meant():
    assert doubts_about(ServerConfig()) == []
    proxied = {"trusted_proxies": [PROXY], "public_url": "https://studio.example"}
    assert doubts_about(ServerConfig(**proxied)) == []
    assert any("any name" in doubt for doubt in doubts_about(ServerConfig(host="0.0.0.0")))
    assert any("any name" in doubt for doubt in doubts_about(ServerConfig(trusted_proxies=[PROXY])))
    (doubt,) = doubts_about(ServerConfig(public_url="https://studio.example"))
    assert "trusted_proxies" in doubt


# -- other sites ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_route_lets_another_site_read_it(studio):
    client = client_of(studio)
    token = studio.accounts().sign_in("root", PASSWORD, address="x").token
    signed_in = {"Authorization": f"Bearer {token}"}
    paths = {"/", "/config", "/gradio_api/info", "/gradio_api/startup-events", "/theme.css"}
    paths |= {"/login", "/healthz", "/api/v1/me", "/api/v1/openapi.json", "/metrics"}
    for path in sorted(paths):
        for method in ("GET", "OPTIONS", "POST", "HEAD"):
            for origin in ("https://evil.example", "null", "http://localhost:1"):
                headers = {
                    "Origin": origin,
                    "Access-Control-Request-Method": "POST",
                    "Access-Control-Request-Headers": "authorization",
                }
                answer = client.request(method, path, headers=headers | signed_in)
                found = {name for name in answer.headers if name.startswith("access-control-")}
                assert not found, (method, path)
                assert answer.headers["cross-origin-resource-policy"] == "same-origin"


# -- over TLS -------------------------------------------------------------------------------------


def sign_in(client, **headers):
    fields = {"name": "ada", "password": PASSWORD}
    answer = client.post("/login", data=fields, headers=headers)
    assert answer.status_code == 303, answer.text
    return answer


@pytest.mark.slow
def test_over_tls_the_cookie_is_bound_to_the_host(studio):
    client = client_of(studio, url="http://studio.example")
    answer = sign_in(client, **{"X-Forwarded-Proto": "https"})
    name, attributes = answer.headers["set-cookie"].split("=", 1)
    assert name == SECURE_COOKIE == "__Host-studio_session"
    assert re.search(r"; Secure", attributes)
    assert "; Path=/" in attributes
    assert "Domain" not in attributes
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.slow
def test_without_tls_nothing_claims_there_is(studio):
    answer = sign_in(client_of(studio, url="http://studio.example"))
    assert answer.headers["set-cookie"].startswith(f"{COOKIE}=")
    assert "Secure" not in answer.headers["set-cookie"]
    assert "strict-transport-security" not in answer.headers
    spoofed = client_of(studio, url="http://studio.example", peer="192.0.2.66")
    answer = sign_in(spoofed, **{"X-Forwarded-Proto": "https"})
    assert "strict-transport-security" not in answer.headers


@pytest.mark.slow
def test_a_cookie_that_a_neighbour_could_have_set_does_not_count_over_tls(studio):
    token = studio.accounts().sign_in("ada", PASSWORD, address="x", kind="page").token
    client = client_of(studio)
    for name, status in ((COOKIE, 401), (SECURE_COOKIE, 200)):
        answer = client.get("/api/v1/me", headers={"Cookie": f"{name}={token}"})
        assert answer.status_code == status
    assert Role(answer.json()["role"]) is Role.ARTIST


@pytest.mark.slow
def test_signing_out_takes_the_cookie_back(studio):
    client = client_of(studio)
    sign_in(client)
    answer = client.post("/logout")
    assert answer.headers["set-cookie"].startswith(f'{SECURE_COOKIE}=""')
    assert "Secure" in answer.headers["set-cookie"], "a browser ignores it otherwise"
