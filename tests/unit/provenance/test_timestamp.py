"""RFC 3161 timestamps, against an authority on this machine."""

from __future__ import annotations

import pytest

from studio.core.errors import LedgerError, ProofError, UnreadableProofError
from studio.provenance.ledger.checkpoints import timestamp
from tests.support.authority import Authority


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def roots(authority, tmp_path):
    (tmp_path / "roots.pem").write_bytes(authority.root_pem())
    return timestamp.load_roots(tmp_path / "roots.pem")


@pytest.fixture
def response(authority):
    with authority.listening() as url:
        return timestamp.ask(url, b"message")


def test_a_timestamp_tells_when(authority, roots, response):
    assert timestamp.check(response, b"message", roots) == authority.at


def test_of_another_message_it_does_not_hold(roots, response):
    with pytest.raises(ProofError, match="does not hold"):
        timestamp.check(response, b"another message", roots)


def test_under_another_root_it_does_not_hold(response, tmp_path):
    (tmp_path / "other.pem").write_bytes(Authority().root_pem())
    with pytest.raises(ProofError, match="does not hold"):
        timestamp.check(response, b"message", timestamp.load_roots(tmp_path / "other.pem"))


def test_an_authority_that_refuses_or_is_not_there(authority, monkeypatch):
    monkeypatch.setattr(authority, "refuse", True)
    with authority.listening() as url, pytest.raises(LedgerError, match="timestamp authority"):
        timestamp.ask(url, b"message")
    with pytest.raises(LedgerError, match="did not answer"):
        timestamp.ask(url, b"message")  # it has stopped listening
    with pytest.raises(LedgerError, match="http"):
        timestamp.ask("file:///etc/passwd", b"message")


def test_what_is_no_timestamp_or_no_certificate(roots, tmp_path):
    with pytest.raises(UnreadableProofError, match="not a timestamp"):
        timestamp.check(b"nonsense", b"message", roots)
    (tmp_path / "empty.pem").write_bytes(b"nothing")
    with pytest.raises(UnreadableProofError, match="no certificates"):
        timestamp.load_roots(tmp_path / "empty.pem")
