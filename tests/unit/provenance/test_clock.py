"""A clock that stands years ahead: refused, and repaired where it was believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from studio.core.errors import UsageError
from studio.provenance.ledger import clock as clocks
from studio.provenance.ledger import log as module
from studio.provenance.ledger.clock import ClockError
from studio.provenance.ledger.log import Ledger

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
TEN_YEARS = timedelta(days=3652)


class Clock:
    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, database_location, clock):
    ledger = Ledger.open(database_location, outputs=tmp_path, clock=clock)
    ledger.append("refusal", {"number": 0})
    yield ledger
    ledger.close()


def test_an_entry_ten_years_ahead_is_refused(ledger, clock):
    clock.now += TEN_YEARS
    with pytest.raises(ClockError, match="accept-clock"):
        ledger.append("grant", {})
    assert ledger.size() == 1
    clock.now = NOW + timedelta(minutes=1)
    ledger.append("grant", {})


@pytest.mark.parametrize("days", [0, 1, 90, 179])
def test_a_studio_may_rest_for_months(ledger, clock, days):
    clock.now += timedelta(days=days)
    ledger.append("refusal", {})


def test_a_studio_that_rested_for_longer_says_so(ledger, clock):
    clock.now += timedelta(days=400)
    with pytest.raises(ClockError):
        ledger.append("refusal", {})
    assert ledger.accept_clock().kind == "clock-accepted"
    ledger.append("refusal", {})
    assert ledger.verify().ok
    assert ledger.verify().clock_set_back == ()


def test_a_system_clock_is_held_against_the_file_system(
    tmp_path, database_location, monkeypatch, clock
):
    """Whatever the ledger says: also before the first entry, and for a day only."""
    monkeypatch.setattr(module, "datetime", _shifted(timedelta(days=1)))
    ledger = Ledger.open(database_location, outputs=tmp_path)
    with pytest.raises(ClockError, match="until they agree"):
        ledger.append("refusal", {})
    monkeypatch.setattr(module, "datetime", datetime)
    ledger.append("refusal", {})  # the negative control
    monkeypatch.setattr(module, "datetime", _shifted(timedelta(days=1)))
    with pytest.raises(ClockError, match="until they agree"):
        ledger.inner().append("refusal", {})
    ledger.close()


def _shifted(by):
    class Shifted(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + by

    return Shifted


@pytest.fixture
def ahead(ledger, clock, monkeypatch):
    """What an earlier version recorded: entries ten years ahead."""
    with monkeypatch.context() as patch:
        patch.setattr(clocks, "MAX_JUMP", timedelta(days=10_000))
        clock.now += TEN_YEARS
        ledger.append("refusal", {"number": 1})
        ledger.append("refusal", {"number": 2})
    clock.now = NOW + timedelta(hours=1)
    return ledger


def test_a_repair_lets_time_go_on(ahead, clock):
    held = ahead.append("refusal", {"before": "the repair"})
    assert held.at.year == 2036, "the control: time in the ledger stands still"
    repair = ahead.repair_clock()
    assert repair.at.year == 2026
    assert (repair.body["first"], repair.body["last"]) == (1, ahead.size() - 2)
    assert repair.body["held_as"] == ahead.entry(0).to_json()["at"]
    after = ahead.append("refusal", {"after": "the repair"})
    assert after.at.year == 2026
    audit = ahead.verify()
    assert audit.ok
    assert audit.clock_set_back == (3,), "the entry of the kind clock, and none after the repair"
    with pytest.raises(UsageError, match="nothing to repair"):
        ahead.repair_clock()


def test_there_is_nothing_to_repair_in_a_sound_ledger(ledger):
    with pytest.raises(UsageError, match="nothing to repair"):
        ledger.repair_clock()


def test_a_clock_that_is_behind_repairs_nothing(ledger, clock):
    """Or whoever sets it back could make a grant that has ended valid again."""
    for _ in range(40):
        clock.now += timedelta(days=1)
        ledger.append("refusal", {})
    clock.now -= timedelta(days=30)
    with pytest.raises(UsageError, match="clock that is behind"):
        ledger.repair_clock()
    clock.now -= timedelta(days=30)  # before the first entry
    with pytest.raises(UsageError, match="clock that is behind"):
        ledger.repair_clock()
    assert ledger.entries(kind="clock-repair") == []
