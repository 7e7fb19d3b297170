"""Limits per account: counted in one transaction, given back on failure, and when to come back."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta

import pytest

from studio.core.config import QuotaConfig
from studio.core.errors import (
    ConsentRefusedError,
    GenerationCancelledError,
    LedgerError,
    ModelError,
    QuotaExceededError,
    SealingError,
)
from studio.generation.limits.quota import Quotas


class Clock:
    def __init__(self):
        self.now = datetime(2026, 11, 22, 22, 30, tzinfo=UTC)

    def __call__(self):
        return self.now


def limits(**changes) -> QuotaConfig:
    return QuotaConfig(
        **{
            "outputs_per_day": 100,
            "seconds_per_day": 1e6,
            "bulk_requests": 100,
            "bulk_window_minutes": 10,
            "near_duplicates_per_day": 5,
            "near_duplicate_distance": 0.2,
            **changes,
        }
    )


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def quotas(database, clock):
    return lambda **changes: Quotas(database, limits(**changes), clock)


def make(quotas, account="ada", seconds=10.0, output="0" * 16):
    with quotas.place(account, seconds) as place:
        place.output_id = output


def test_outputs_per_day_until_midnight_utc(quotas, clock):
    quotas = quotas(outputs_per_day=2)
    make(quotas)
    make(quotas)
    with pytest.raises(
        QuotaExceededError, match="2 outputs a day; come back in 1 h 30 min, at 00:00"
    ):
        make(quotas)
    make(quotas, "bob")  # each account has its own
    clock.now = datetime(2026, 11, 23, tzinfo=UTC)
    make(quotas)


def test_seconds_per_day_count_what_is_asked_for(quotas):
    quotas = quotas(seconds_per_day=25)
    make(quotas, seconds=20)
    with pytest.raises(QuotaExceededError, match="25 seconds of music a day"):
        make(quotas, seconds=6)
    make(quotas, seconds=5)


def test_bulk_is_refused_until_the_window_has_moved_on(quotas, clock):
    quotas = quotas(bulk_requests=3)
    for _ in range(3):
        make(quotas)
        clock.now += timedelta(minutes=2)
    with pytest.raises(QuotaExceededError, match="bulk") as refused:
        make(quotas)
    minutes = int(re.search(r"come back in (\d+) min", str(refused.value))[1])
    clock.now += timedelta(minutes=minutes) - timedelta(seconds=61)
    with pytest.raises(QuotaExceededError):
        make(quotas)
    clock.now += timedelta(seconds=61)
    make(quotas)  # the message told the truth


def test_what_fails_gives_its_place_back(quotas):
    quotas = quotas(outputs_per_day=1)
    with pytest.raises(ZeroDivisionError), quotas.place("ada", 10):
        raise ZeroDivisionError
    make(quotas)
    (ada,) = quotas.usage().accounts
    assert (ada.released, ada.failed, ada.running, ada.seconds) == (1, 1, 0, 10.0)


@pytest.mark.parametrize("refusal", [ConsentRefusedError, SealingError])
def test_a_refusal_counts_like_an_output(quotas, clock, refusal):
    """It leaves an entry in the ledger: 34 in 6 s were once free."""
    quotas = quotas(outputs_per_day=2, seconds_per_day=15)
    for _ in range(2):
        with pytest.raises(refusal), quotas.place("ada", 10):
            raise refusal("refused")
    with pytest.raises(QuotaExceededError, match="2 outputs a day"):
        make(quotas)
    (ada,) = quotas.usage().accounts
    assert (ada.refused, ada.failed, ada.released, ada.seconds) == (2, 0, 0, 0)
    make(quotas, "bob")
    clock.now += timedelta(days=1)
    make(quotas)


def test_refused_and_stopped_requests_are_requests_in_bulk(quotas):
    quotas = quotas(bulk_requests=3)
    for error in (ConsentRefusedError, GenerationCancelledError, SealingError):
        with pytest.raises(error), quotas.place("ada", 10):
            raise error("ended")
    with pytest.raises(QuotaExceededError, match="bulk"):
        make(quotas)


def test_a_stopped_request_is_no_output_and_no_seconds(quotas):
    quotas = quotas(outputs_per_day=1, seconds_per_day=10)
    with pytest.raises(GenerationCancelledError), quotas.place("ada", 10):
        raise GenerationCancelledError("cancelled")
    make(quotas)


def test_our_own_faults_count_for_nothing(quotas):
    quotas = quotas(outputs_per_day=1, bulk_requests=1)
    for error in (ModelError, LedgerError, OSError):
        with pytest.raises(error), quotas.place("ada", 10):
            raise error("broken")
    make(quotas)


def test_what_is_running_holds_its_place(quotas):
    quotas = quotas(outputs_per_day=1)
    with quotas.place("ada", 10) as place:
        with pytest.raises(QuotaExceededError):
            make(quotas)
        assert quotas.usage().accounts[0].running == 1
        place.output_id = "0" * 16


def test_two_at_once_do_not_both_take_the_last_place(quotas):
    quotas = quotas(outputs_per_day=3)
    outcomes = []
    barrier = threading.Barrier(6)

    def ask():
        barrier.wait()
        try:
            make(quotas)
            outcomes.append("made")
        except QuotaExceededError:
            outcomes.append("refused")

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made"] * 3 + ["refused"] * 3


def test_usage_of_another_day_is_empty_and_names_the_limits(quotas, clock):
    quotas = quotas(outputs_per_day=7)
    make(quotas)
    usage = quotas.usage(clock.now - timedelta(days=1))
    assert (usage.day, usage.accounts, usage.outputs_ever) == ("2026-11-21", (), 1)
    assert usage.to_json()["limits"]["outputs_per_day"] == 7


def test_over_the_limit_of_near_duplicates_only_repeats_are_refused(quotas, monkeypatch):
    quotas = quotas(near_duplicates_per_day=2)
    assert quotas.near_duplicates("ada") == 0
    monkeypatch.setattr(quotas, "near_duplicates", lambda account: 2)
    with quotas.place("ada", 1.0, repeats=lambda: False) as place:
        place.output_id = "a" * 16
    with (
        pytest.raises(QuotaExceededError, match="another seed makes new music at once"),
        quotas.place("ada", 1.0, repeats=lambda: True),
    ):
        pass


def test_whether_a_request_repeats_is_asked_over_the_limit_only(quotas):
    def never() -> bool:
        raise AssertionError("it costs a look at every output")

    with quotas(near_duplicates_per_day=1).place("ada", 1.0, repeats=never) as place:
        place.output_id = "a" * 16
