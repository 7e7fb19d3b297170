"""Consent recorded while the clock stood years ahead, and the registrar's way out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from studio.accounts.permissions import Actor, Role
from studio.app.session import Session
from studio.core.errors import AccessDeniedError, LedgerError
from studio.provenance.ledger import clock as clocks
from tests.support.consent import file_of, grant, revocation
from tests.support.studios import as_owner, make_studio

TAG = "genre/jazz"


@pytest.fixture
def studio(tmp_path):
    with make_studio(tmp_path) as studio:
        studio.consent_service()
        yield studio


def _years_ahead(studio, monkeypatch):
    ledger = studio.ledger()
    monkeypatch.setattr(ledger, "_clock", lambda: datetime.now(UTC) + timedelta(days=3652))
    monkeypatch.setattr(ledger, "_is_system_clock", False)


def test_an_import_ten_years_ahead_is_refused_and_consent_goes_on(studio, monkeypatch):
    with monkeypatch.context() as patch:
        _years_ahead(studio, patch)
        with pytest.raises(LedgerError, match="days after the newest entry"):
            as_owner(studio).consent.import_file(file_of(grant("g1")))
    assert as_owner(studio).catalog.decide([TAG]).allowed
    assert as_owner(studio).consent.import_file(file_of(grant("g1"))).ok


@pytest.mark.parametrize("revokes", [False, True])
def test_a_registrar_repairs_what_was_recorded_years_ahead(studio, monkeypatch, revokes):
    document = revocation() if revokes else grant("g1")
    with monkeypatch.context() as patch:
        patch.setattr(clocks, "MAX_JUMP", timedelta(days=10_000))
        _years_ahead(studio, patch)
        assert as_owner(studio).consent.import_file(file_of(document)).ok
    # What an earlier version was left with: decisions are taken in ten years, when all has ended.
    assert studio.consent().present(datetime.now(UTC)).year >= 2036
    with pytest.raises(AccessDeniedError):
        Session(studio, Actor("0" * 32, "x", Role.ARTIST)).consent.repair_clock()
    body = Session(studio, Actor("0" * 32, "x", Role.REGISTRAR)).consent.repair_clock()
    assert body["first"] <= body["last"]
    now = datetime.now(UTC)
    assert abs(studio.consent().present(now) - now) < timedelta(minutes=10)
    assert as_owner(studio).catalog.decide([TAG]).allowed is not revokes, (
        "a revocation is in force, not in ten years"
    )
    assert as_owner(studio).consent.import_file(file_of(grant("g2"))).ok
    assert studio.ledger().verify().ok
