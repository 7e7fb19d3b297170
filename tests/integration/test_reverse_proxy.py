"""docs/operating.md, run: nginx with the text of the page in front of a studio, and the unit."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from studio.core.config import ServerConfig
from studio.web.middleware.auth import SECURE_COOKIE
from tests.support.accounts import PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.serving import served
from tests.unit.pretend import PretendStudio

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
NGINX = os.environ.get("NGINX") or shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
HOST = "studio.example"


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def studio(tmp_path):
    studio = with_cheap_passwords(PretendStudio(tmp_path / "home"))
    add_one_of_each(studio.accounts())
    server = ServerConfig(public_url=f"https://{HOST}", trusted_proxies=["127.0.0.1"])
    studio.config = studio.config.model_copy(update={"server": server})
    return studio


@contextmanager
def nginx(folder, text, port):
    """nginx with that text, once it listens on the port."""
    folders = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ access_log off;\n{folders}{text}}}\n"
    )
    command = [NGINX, "-p", str(folder), "-c", str(config), "-e", f"{folder}/error.log"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            if process.poll() is not None:
                pytest.fail((folder / "error.log").read_text())
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def ports(studio, tmp_path):
    """Ports for http and https of nginx in front of the studio."""
    if NGINX is None or shutil.which("openssl") is None:
        pytest.skip("needs nginx and openssl")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    names = ["-subj", f"/CN={HOST}", "-keyout", "privkey.pem", "-out", "fullchain.pem"]
    subprocess.run([*made, *names], cwd=tmp_path, check=True, capture_output=True)
    plain, secure = free_port(), free_port()
    with served(studio) as url:
        text = block("nginx").replace("/etc/ssl/studio/", f"{tmp_path}/")
        text = text.replace("http://127.0.0.1:7860", url)
        text = text.replace("listen 80;", f"listen 127.0.0.1:{plain};")
        text = text.replace("listen 443 ", f"listen 127.0.0.1:{secure} ")
        with nginx(tmp_path, text, secure):
            yield plain, secure


def client_of(port, host=HOST):
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    return httpx.Client(
        base_url=f"https://127.0.0.1:{port}", headers={"Host": host}, verify=trusting, timeout=30
    )


def test_the_studio_behind_the_proxy_of_the_page(studio, ports):
    plain, secure = ports
    moved = httpx.get(f"http://127.0.0.1:{plain}/x", headers={"Host": HOST})
    assert (moved.status_code, moved.headers["location"]) == (301, f"https://{HOST}/x")

    with client_of(secure) as client:
        fields = {"name": "ada", "password": PASSWORD}
        answer = client.post(
            "/login",
            data=fields,
            headers={"X-Forwarded-For": "203.0.113.9", "Origin": f"https://{HOST}"},
        )
        assert answer.status_code == 303, answer.text
        assert answer.headers["set-cookie"].startswith(f"{SECURE_COOKIE}=")
        assert answer.headers["strict-transport-security"]
        assert client.get("/api/v1/me").json()["name"] == "ada"
        page = client.get("/")
        assert page.status_code == 200
        assert f"127.0.0.1:{secure}" not in page.text
        answer = client.post("/api/v1/verifications?name=x.wav", content=b"RIFF" * 500_000)
        assert answer.json()["verdict"] == "unreadable"
    addresses = {event.address for event in studio.security_log().events(limit=50)}
    assert "203.0.113.9" not in addresses, "what a client claims is replaced"

    with client_of(secure, "evil.example") as client, pytest.raises(httpx.RemoteProtocolError):
        client.get("/")


@pytest.mark.filterwarnings("ignore")  # Gradio counts its events with what pandas deprecates
def test_the_events_of_the_page_are_not_held_back(studio, ports):
    from tests.unit.web.test_leaving import generate

    studio.takes_s = 60.0
    with client_of(ports[1]) as client:
        client.post("/login", data={"name": "ada", "password": PASSWORD})
        assert generate(client, "abc123").status_code == 200
        with client.stream("GET", "/gradio_api/queue/data?session_hash=abc123") as stream:
            assert any("Generating" in part for part in stream.iter_text())


class Named(BaseHTTPRequestHandler):
    """Answers with the port of its server."""

    def do_GET(self):
        body = str(self.server.server_port).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing."""


def answered_by(port, cookie=None):
    headers = {} if cookie is None else {"Cookie": f"theme=dark; {SECURE_COOKIE}={cookie}; a=b"}
    return httpx.get(f"http://127.0.0.1:{port}/", headers=headers, timeout=30).text


def test_one_sign_in_is_sent_to_one_of_several_servers_and_to_another_when_that_is_away(tmp_path):
    if NGINX is None:
        pytest.skip("needs nginx")
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Named) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    text, port = block("nginx-sticky"), free_port()
    for number, server in enumerate(servers):
        text = text.replace(f"127.0.0.1:{7860 + number};", f"127.0.0.1:{server.server_port};")
    text += f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://studio; }} }}\n"
    try:
        with nginx(tmp_path, text, port):
            by_cookie = {cookie: answered_by(port, cookie) for cookie in map(str, range(20))}
            assert len(set(by_cookie.values())) == 2
            assert all(answered_by(port, each) == by_cookie[each] for each in by_cookie)
            assert len({answered_by(port) for _ in range(10)}) == 1
            servers[0].shutdown()
            servers[0].server_close()
            rest = str(servers[1].server_port)
            assert {answered_by(port, each) for each in by_cookie} == {rest}
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def test_the_unit_is_one(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / "studio.service"
    unit.write_text(block("ini").replace("/opt/studio/bin/studio", "/bin/true"))
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "studio.service" not in told.stderr, told.stderr
