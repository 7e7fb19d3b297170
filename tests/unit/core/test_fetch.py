"""Fetching an address: every redirect is held against the allow list, and everything is bounded."""

from __future__ import annotations

import pytest

from studio.core.errors import BeyondLimitsError, HostRefusedError, HostUnreachableError
from studio.core.outbound.fetch import fetch
from studio.core.outbound.hosts import AllowedHosts
from tests.support.hosts import host, status


def got(machine, path="/a.wav", *, hosts=(), max_bytes=100, deadline_s=60.0):
    allowed = AllowedHosts.parse([f"127.0.0.1:{machine.port}", *hosts])
    pieces = []
    found = fetch(
        f"http://127.0.0.1:{machine.port}{path}",
        allowed,
        pieces.append,
        max_bytes=max_bytes,
        deadline_s=deadline_s,
    )
    return found, b"".join(pieces)


def test_what_is_there_is_fetched_with_its_headers():
    with host(status(200, b"RIFF", Content_Type="audio/wav", ETag='"x"')) as machine:
        found, content = got(machine)
    assert content == b"RIFF"
    assert (found.size, found.address) == (4, "127.0.0.1")
    assert (found.headers["content-type"], found.headers["etag"]) == ("audio/wav", '"x"')
    assert machine.asked[0].headers["accept-encoding"] == "identity"
    assert "cookie" not in machine.asked[0].headers


def moving(*steps):
    """Redirects to each of the steps in turn, then the content."""

    def answer(handler, asked):
        number = len(asked_for)
        asked_for.append(asked.path)
        if number < len(steps):
            status(302, location=steps[number])(handler, asked)
        else:
            status(200, b"RIFF")(handler, asked)

    asked_for = []
    return answer


def test_redirects_within_the_list_are_followed():
    with host(moving("/b.wav#part", "c.wav")) as machine:
        found, content = got(machine)
    assert content == b"RIFF"
    assert [asked.path for asked in machine.asked] == ["/a.wav", "/b.wav", "/c.wav"]
    assert [url.rsplit("/", 1)[-1] for url in found.urls] == ["a.wav", "b.wav", "c.wav"]


@pytest.mark.parametrize(
    "location",
    [
        "https://elsewhere.example/",
        "//elsewhere.example/",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "https://user:word@listed.example/",
        "http://listed.example/",
    ],
)
def test_a_redirect_out_of_the_list_is_refused(location):
    with (
        host(moving(location)) as machine,
        pytest.raises(HostRefusedError),
    ):
        got(machine, hosts=["listed.example"])
    assert len(machine.asked) == 1


def test_a_redirect_to_another_machine_of_this_one_is_refused_too():
    with host(status(200, b"secret")) as inner:
        with (
            host(moving(f"http://127.0.0.1:{inner.port}/")) as machine,
            pytest.raises(HostRefusedError, match="not among"),
        ):
            got(machine)
        assert inner.asked == []


def test_redirects_without_end_are_given_up():
    with host(moving(*["/again"] * 20)) as machine:
        with pytest.raises(HostUnreachableError, match="without end"):
            got(machine)
        assert len(machine.asked) == 6


@pytest.mark.parametrize("code", [204, 206, 304, 404, 500])
def test_another_answer_than_the_content_is_none(code):
    with (
        host(status(code, b"" if code in (204, 304) else b"RIFF")) as machine,
        pytest.raises(HostUnreachableError, match=f"answers {code}"),
    ):
        got(machine)


def test_what_is_too_large_is_cut_off_whether_it_says_so_or_not():
    def silent(handler, _asked):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x" * 101)

    for answer in (status(200, b"x" * 101), silent):
        with host(answer) as machine, pytest.raises(BeyondLimitsError, match="100 bytes"):
            got(machine)
    with host(status(200, b"x" * 100)) as machine:
        assert len(got(machine)[1]) == 100


def test_a_compressed_answer_is_refused():
    with (
        host(status(200, b"x", Content_Encoding="gzip")) as machine,
        pytest.raises(HostUnreachableError, match="compressed"),
    ):
        got(machine)
