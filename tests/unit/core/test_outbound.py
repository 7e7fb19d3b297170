"""Other machines are asked only where a list permits it, at the address that was checked."""

from __future__ import annotations

import threading
import time

import pytest

from studio.core.errors import HostRefusedError, HostUnreachableError
from studio.core.outbound.exchange import exchange
from studio.core.outbound.hosts import AllowedHosts
from tests.support.hosts import host, status

HOSTS = AllowedHosts.parse(
    ["hooks.example.org", "other.example:8443", "10.1.2.3", "127.0.0.1:8130", "10.9.0.0/16"]
)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org/in?a=1",
        "https://HOOKS.example.org./",
        "https://other.example:8443/",
        "https://10.1.2.3/",
        "http://127.0.0.1:8130/x",
    ],
)
def test_what_is_listed_is_allowed(url):
    assert HOSTS.target(url).url == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://elsewhere.example/", "not among"),
        ("https://hooks.example.org.evil.example/", "not among"),
        ("https://evil-hooks.example.org/", "not among"),
        ("https://hooks.example.org:8443/", "not among"),
        ("https://other.example/", "not among"),
        ("https://10.9.0.1/", "not among"),  # a network says where names may lead
        ("https://2130706433/", "not among"),
        ("https://0x7f.1/", "not among"),
        ("https://[::ffff:10.1.2.3]/", "not among"),
        ("http://hooks.example.org/", "without https"),
        ("http://10.1.2.3/", "without https"),
        ("ftp://hooks.example.org/", "begins with https"),
        ("file:///etc/passwd", "begins with https"),
        ("https:///in", "begins with https"),
        ("https://user:word@hooks.example.org/", "name and password"),
        ("https://elsewhere.example@hooks.example.org/", "name and password"),
        ("https://hooks.example.org\\@elsewhere.example/", "spaces"),
        ("https://hooks.example.org/a b", "spaces"),
        ("https://hooks.example.org/\r\nX-More: 1", "spaces"),
        ("https://hooks.exämple.org/", "ASCII"),
        ("https://hooks.example.org:0/", "port 0"),
        ("https://hooks.example.org:99999/", "no address"),
        ("https://hooks.example.org/" + "a" * 2048, "characters"),
    ],
)
def test_what_is_not_listed_is_refused_before_any_look_up(url, why):
    with pytest.raises(HostRefusedError, match=why):
        HOSTS.target(url)


def test_an_empty_list_allows_nothing():
    assert not AllowedHosts.parse([])
    with pytest.raises(HostRefusedError):
        AllowedHosts.parse([]).target("https://hooks.example.org/")


@pytest.mark.parametrize(
    "entry", ["https://a.example", "a.example/x", "u@a.example", "", "ä.example"]
)
def test_an_entry_that_is_no_host_is_named(entry):
    with pytest.raises(ValueError, match=r"no host|no name"):
        AllowedHosts.parse(["fine.example", entry])


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.2", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.0.1", "198.18.0.1", "::1", "::"),
        *("fe80::1", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1"),
        *("2002:a00:1::1", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "2001:db8::1"),
    ],
)
def test_a_name_that_leads_to_a_private_address_is_refused(address):
    target = HOSTS.target("https://hooks.example.org/")
    for found in ([address], ["93.184.215.14", address]):
        with pytest.raises(HostRefusedError, match="not public"):
            HOSTS.addresses(target, lambda _host, _port, found=found: found)


def test_public_addresses_and_listed_networks_are_not_refused():
    target = HOSTS.target("https://hooks.example.org/")
    for address in ("93.184.215.14", "2606:4700::1111", "10.9.1.1", "10.1.2.3", "64:ff9b::808:808"):
        assert HOSTS.addresses(target, lambda _h, _p, a=address: [a]) == [address]
    with pytest.raises(HostUnreachableError, match="no address"):
        HOSTS.addresses(target, lambda _host, _port: [])


def here(machine, *more):
    return AllowedHosts.parse([f"127.0.0.1:{machine.port}", *more])


def ask(machine, *, deadline_s=10.0, **settings):
    hosts = here(machine)
    target = hosts.target(f"http://127.0.0.1:{machine.port}/in?a=1")
    with exchange(
        "POST",
        target,
        hosts,
        headers={"X-A": "1"},
        body=b"hello",
        deadline_s=deadline_s,
        **settings,
    ) as answer:
        return answer.status, b"".join(answer.chunks())


def test_a_request_arrives_and_is_answered():
    with host(status(200, b"well")) as machine:
        assert ask(machine) == (200, b"well")
    (asked,) = machine.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/in?a=1", b"hello")
    assert asked.headers["host"] == f"127.0.0.1:{machine.port}"
    assert asked.headers["x-a"] == "1"


def test_a_redirect_is_not_followed():
    with host(status(302, location="http://127.0.0.1:1/")) as machine:
        assert ask(machine)[0] == 302
    assert len(machine.asked) == 1


def test_the_connection_goes_to_the_address_that_was_checked(tmp_path, monkeypatch):
    with host(status(200, b"x"), tls=tmp_path, name="hooks.example.org") as machine:
        hosts = here(machine, f"hooks.example.org:{machine.port}", f"fake.example:{machine.port}")
        looked_up = []

        def resolver(name, _port):
            looked_up.append(name)
            return ["127.0.0.1"]

        def status_of(name):
            target = hosts.target(f"https://{name}:{machine.port}/")
            with exchange(
                "GET",
                target,
                hosts,
                headers={},
                deadline_s=10,
                resolver=resolver,
                context=machine.context,
            ) as answer:
                return answer.status, answer.address

        assert status_of("hooks.example.org") == (200, "127.0.0.1")
        assert looked_up == ["hooks.example.org"]
        with pytest.raises(HostUnreachableError, match="certificate is not believed"):
            status_of("fake.example")
        target = hosts.target(f"https://hooks.example.org:{machine.port}/")
        unknown = {"headers": {}, "deadline_s": 10, "resolver": resolver}
        with (
            pytest.raises(HostUnreachableError, match="not believed"),
            exchange("GET", target, hosts, **unknown),
        ):
            pass
    assert len(machine.asked) == 1


def test_no_proxy_of_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with host(status(204)) as machine:
        assert ask(machine)[0] == 204


def test_an_answer_that_trickles_is_given_up():
    written, ended = [], threading.Semaphore(0)

    def trickle(handler, _asked):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        try:
            for number in range(1200):
                handler.wfile.write(b"x" * 50)
                handler.wfile.flush()
                written.append(number)
                time.sleep(0.05)
        finally:
            ended.release()

    with host(trickle) as machine:
        with pytest.raises(HostUnreachableError, match="in time"):
            ask(machine, deadline_s=0.5)
        assert ended.acquire(timeout=120)
        assert len(written) < 1200  # nobody read on
        written.clear()
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(HostUnreachableError):
            ask(machine, deadline_s=600, stop=stop)
        assert ended.acquire(timeout=120)
        assert len(written) < 1200


def test_an_answer_that_is_cut_short_is_no_answer():
    def short(handler, _asked):
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(b"five.")

    with host(short) as machine, pytest.raises(HostUnreachableError, match="before its end"):
        ask(machine)


def test_nobody_there_is_said():
    with host(status(200)) as machine:
        pass
    with pytest.raises(HostUnreachableError, match="refused"):
        ask(machine)


def test_an_error_of_the_reader_stays_its_own():
    with host(status(200, b"x")) as machine:
        hosts = here(machine)
        target = hosts.target(f"http://127.0.0.1:{machine.port}/")
        with (
            pytest.raises(OSError, match="disk"),
            exchange("GET", target, hosts, headers={}, deadline_s=10),
        ):
            raise OSError("disk full")
