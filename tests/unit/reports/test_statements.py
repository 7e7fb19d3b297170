"""Statements: exact to the ledger's entry, to the microsecond and to the last digit."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.core.errors import ConfigError, LedgerError, UsageError
from studio.core.paths import shipped_configs
from studio.provenance.ledger.entry import Entry, canonical_leaf
from studio.reports.statements.export import to_csv, to_html, to_json, write
from studio.reports.statements.rates import RateCard, Rates, load_rates
from studio.reports.statements.statement import (
    Period,
    parse_period,
    plain,
    reconcile,
    split,
    statement,
)

NOV = parse_period("2026-11-01", "2026-11-30")
START = datetime(2026, 11, 1, tzinfo=UTC)


class Entries:
    """Stands where a ledger does: entries with real leaves, nothing on a disk."""

    def __init__(self):
        self._entries = []

    def entries(self, *, limit=None):
        return self._entries[:limit]

    def add(self, kind, at, body):
        leaf = canonical_leaf(len(self._entries), kind, at, body)
        index = len(self._entries)
        self._entries.append(
            Entry(index, kind, at, json.loads(leaf)["body"], leaf, bytes(32), index.to_bytes(32))
        )
        return index

    def grant(self, id, holder, share="0.5", at=START):
        return self.add("grant", at, {"grant": id, "holder": holder, "share": share})

    def release(self, tags, *, at=START, seconds=10.0, use="commercial"):
        """``tags``: tag to (holder, grant)."""
        output = f"{len(self._entries):016x}"
        answers = [
            {"tag": tag, "granted": True, "holder": holder, "grant": grant}
            for tag, (holder, grant) in tags.items()
        ]
        return self.add(
            "release",
            at,
            {
                "output_id": output,
                "request": {"tags": list(tags)},
                "decision": {"use": use, "territory": "WORLD", "model": "house", "tags": answers},
                "audio": {"duration_s": seconds},
            },
        )


def rates(**changes) -> Rates:
    card = {
        "version": "t1",
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": None,
        "currency": "EUR",
        "quantum": "0.000001",
        "uses": {
            "commercial": {"per_output": "0.05", "per_second": "0.01"},
            "noncommercial": {"per_output": "0", "per_second": "0"},
        },
    }
    return Rates([RateCard.model_validate({**card, **changes})])


@pytest.fixture
def ledger():
    ledger = Entries()
    ledger.grant("ga", "ada", "0.5")
    ledger.grant("gb", "bob", "0.25")
    return ledger


A, B = ("ada", "ga"), ("bob", "gb")


def of(ledger, holder, period=NOV, cards=None, **options):
    return statement(ledger, cards or rates(), holder, period, **options)


# -- what a line says ------------------------------------------------------------------------------


def test_a_line_names_the_entry_the_grant_and_its_part(ledger):
    index = ledger.release({"genre/jazz": A, "mood/calm": A, "tempo/slow": B})
    (line,) = of(ledger, "ada").lines
    assert (line.entry, line.grant, line.grant_entry) == (index, "ga", 0)
    assert (line.tags, line.of_tags) == (("genre/jazz", "mood/calm"), 3)
    assert line.seconds == Decimal("6.666667")
    assert line.gross == Decimal("0.10")  # of 0.05 + 10 s at 0.01 = 0.15, two of three tags
    assert (line.share, line.amount) == (Decimal("0.5"), Decimal("0.05"))
    (other,) = of(ledger, "bob").lines
    assert other.seconds + line.seconds == 10
    assert other.gross + line.gross == Decimal("0.15")


def test_durations_are_taken_as_they_are_written_not_as_floats(ledger):
    ledger.release({"genre/jazz": A}, seconds=0.1)
    ledger.release({"genre/jazz": A}, seconds=0.2)
    assert of(ledger, "ada").sums.seconds == Decimal("0.3")  # 0.30000000000000004 in floats
    assert all(isinstance(line.seconds, Decimal) for line in of(ledger, "ada").lines)


def test_refusals_failures_and_withdrawn_outputs_count_nothing(ledger):
    kept = ledger.release({"genre/jazz": A})
    gone = ledger.release({"genre/jazz": A})
    ledger.add("refusal", START, {"stage": "consent", "request": {"tags": ["genre/jazz"]}})
    ledger.add("refusal", START, {"stage": "seal", "request": {"tags": ["genre/jazz"]}})
    withdrawal = ledger.add("withdrawal", START, {"output_id": f"{gone:016x}"})
    result = of(ledger, "ada")
    assert [line.entry for line in result.lines] == [kept]
    assert [(w.entry, w.withdrawal_entry) for w in result.withdrawn] == [(gone, withdrawal)]
    assert of(ledger, "bob").withdrawn == ()
    before = of(ledger, "ada", as_of=withdrawal)  # the statement as it was before the withdrawal
    assert [line.entry for line in before.lines] == [kept, gone]
    assert before.ledger_size == withdrawal


def test_boundaries_are_exact_instants_in_utc(ledger):
    tick = timedelta(microseconds=1)
    end = datetime(2026, 12, 1, tzinfo=UTC)
    inside = [ledger.release({"genre/jazz": A}, at=at) for at in (START, end - tick)]
    ledger.release({"genre/jazz": A}, at=START - tick)
    after = ledger.release({"genre/jazz": A}, at=end)
    assert [line.entry for line in of(ledger, "ada").lines] == inside
    december = parse_period("2026-12-01", "2026-12-31")
    assert [line.entry for line in of(ledger, "ada", december).lines] == [after]


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2026-11-01", "2026-11-01", "2026-11-01T00:00:00+00:00", "2026-11-02T00:00:00+00:00"),
        (
            "2026-11-01T00:00:00+01:00",
            "2026-11-01T12:00:00Z",
            "2026-10-31T23:00:00+00:00",
            "2026-11-01T12:00:00+00:00",
        ),
    ],
)
def test_a_day_is_whole_and_an_instant_is_exact(start, end, first, last):
    period = parse_period(start, end)
    assert (period.start.isoformat(), period.end.isoformat()) == (first, last)


@pytest.mark.parametrize(
    ("start", "end"),
    [("2026-11-02", "2026-11-01"), ("yesterday", "2026-11-01"), ("2026-11-01T00:00", "2026-12-01")],
)
def test_a_period_that_is_none_is_refused(start, end):
    with pytest.raises(UsageError):
        parse_period(start, end)


def test_a_grant_the_ledger_does_not_hold_is_damage(ledger):
    ledger.release({"genre/jazz": ("ada", "lost")})
    with pytest.raises(LedgerError, match="lost"):
        of(ledger, "ada")


def test_more_entries_than_there_are_cannot_be_counted(ledger):
    with pytest.raises(UsageError, match="2 entries"):
        of(ledger, "ada", as_of=3)


# -- rates -----------------------------------------------------------------------------------------


def test_the_card_that_held_at_the_release_counts_and_is_named(ledger):
    old = rates(valid_until="2026-11-15T00:00:00Z").cards[0]
    new = old.model_copy(
        update={
            "version": "t2",
            "valid_from": datetime(2026, 11, 15, tzinfo=UTC),
            "valid_until": None,
            "currency": "USD",
        }
    )
    cards = Rates([new, old])
    tick = timedelta(microseconds=1)
    ledger.release({"genre/jazz": A}, at=new.valid_from - tick)
    ledger.release({"genre/jazz": A}, at=new.valid_from)
    result = of(ledger, "ada", cards=cards)
    assert [line.rates for line in result.lines] == ["t1", "t2"]
    assert result.rates == ("t1", "t2")
    assert result.sums.amount == {"EUR": Decimal("0.075"), "USD": Decimal("0.075")}


def test_cards_that_overlap_or_leave_a_gap_are_refused(ledger):
    card = rates().cards[0]
    with pytest.raises(ConfigError, match="both hold"):
        Rates([card, card.model_copy(update={"version": "t2", "valid_from": START})])
    with pytest.raises(ConfigError, match="same version"):
        Rates([card, card])
    ledger.release({"genre/jazz": A})
    with pytest.raises(ConfigError, match="no rates hold"):
        of(ledger, "ada", cards=rates(valid_from="2027-01-01T00:00:00Z"))
    with pytest.raises(ConfigError, match="nothing about"):
        of(ledger, "ada", cards=rates(uses={}))


def test_the_shipped_rates_can_be_read_and_a_wrong_file_names_its_fault(tmp_path):
    shipped = load_rates(shipped_configs() / "rates")
    assert shipped.at(START).version == "2026-1"
    (tmp_path / "x.yaml").write_text("version: x\n")
    with pytest.raises(ConfigError, match="valid_from"):
        load_rates(tmp_path)


# -- sums reconcile --------------------------------------------------------------------------------

_holders = {"ada": "ga", "bob": "gb", "cy": "gc"}
_tags = st.dictionaries(
    st.sampled_from(["genre/jazz", "mood/calm", "lead/piano", "tempo/slow"]),
    st.sampled_from(sorted(_holders)),
    min_size=1,
)
_release = st.tuples(
    _tags,
    st.floats(3, 60, allow_nan=False).map(lambda s: round(s, 7)),
    st.sampled_from(["commercial", "noncommercial"]),
    st.integers(-(10**6), 31 * 24 * 3600 * 10**6),  # microseconds after the period's start
    st.booleans(),  # withdrawn later
)


@pytest.mark.slow
@given(st.lists(_release, max_size=12), st.sampled_from(["0.01", "0.000001", "0.0003"]))
@settings(max_examples=120, deadline=None)
def test_all_holders_together_are_the_ledger_to_the_entry(releases, quantum):
    ledger = Entries()
    for holder, grant in _holders.items():
        ledger.grant(grant, holder, "0.3333")
    entries, withdrawn = {}, []
    for tags, seconds, use, microseconds, goes in releases:
        at = START + timedelta(microseconds=microseconds)
        index = ledger.release(
            {tag: (who, _holders[who]) for tag, who in tags.items()},
            at=at,
            seconds=seconds,
            use=use,
        )
        if goes:
            withdrawn.append(index)
        elif NOV.start <= at < NOV.end:
            entries[index] = (tags, Decimal(repr(seconds)))
    for index in withdrawn:
        ledger.add("withdrawal", NOV.end, {"output_id": f"{index:016x}"})
    cards = rates(quantum=quantum)
    statements = [of(ledger, holder, cards=cards) for holder in _holders]
    lines = [line for each in statements for line in each.lines]
    assert {line.entry for line in lines} == set(entries)
    for index, (tags, seconds) in entries.items():
        mine = [line for line in lines if line.entry == index]
        assert sum(len(line.tags) for line in mine) == len(tags)
        assert sum(line.seconds for line in mine) == seconds
        assert {line.holder for line in mine} == set(tags.values())
    result = reconcile(ledger, cards, NOV)
    assert result.ok
    assert result.lines.seconds == sum((s for _, s in entries.values()), Decimal(0))
    assert sum(each.sums.tag_uses for each in statements) == result.entries.tag_uses
    for each in statements:
        assert sum(uses for uses, _ in each.by_tag.values()) == each.sums.tag_uses
        assert sum(s for _, s in each.by_tag.values()) == each.sums.seconds
        for money in (each.sums.gross, each.sums.amount):
            assert all((value / Decimal(quantum)) % 1 == 0 for value in money.values())


def test_a_line_that_is_missing_does_not_reconcile(ledger):
    """The negative control: the check can fail."""
    from dataclasses import replace

    ledger.release({"genre/jazz": A, "mood/calm": B})
    result = reconcile(ledger, rates(), NOV)
    assert result.ok
    short = replace(result.lines, seconds=result.lines.seconds - Decimal("0.000001"))
    assert not replace(result, lines=short).ok
    assert not replace(result, lines=replace(result.lines, gross={})).ok


@given(
    st.decimals(0, 10**6, places=7),
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.sampled_from(["0.01", "0.000001"]),
)
@settings(max_examples=150, deadline=None)
def test_parts_add_up_and_are_fair_to_a_quantum(total, weights, quantum):
    parts = split(total, weights, Decimal(quantum))
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * weight / sum(weights)) <= 2 * Decimal(quantum)


# -- the three forms -------------------------------------------------------------------------------


def test_csv_json_and_page_say_the_same(ledger):
    ledger.release({"genre/jazz": A, "mood/calm": B}, seconds=12.5)
    ledger.release({"genre/jazz": A}, use="noncommercial")
    result = of(ledger, "ada", holder_name="Ada <script>alert(1)</script>")
    rows = list(csv.DictReader(io.StringIO(to_csv(result))))
    body = json.loads(write(result, "json"))
    assert body == to_json(result)
    assert [row["amount"] for row in rows] == [line["amount"] for line in body["lines"]]
    assert sum(Decimal(row["amount"]) for row in rows) == Decimal(body["sums"]["amount"]["EUR"])
    assert [int(row["entry"]) for row in rows] == [line["entry"] for line in body["lines"]]
    assert not any(isinstance(value, float) for line in body["lines"] for value in line.values())
    page = to_html(result)
    for row in rows:
        assert f'<td class="n">{row["amount"]} EUR</td>' in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert str(result.ledger_size) in page


def test_an_empty_statement_says_so(ledger):
    assert "Nothing was made" in to_html(of(ledger, "ada"))
    assert to_csv(of(ledger, "ada")).count("\r\n") == 1


def test_plain_numbers_have_no_exponent():
    assert [plain(Decimal(text)) for text in ("1E+3", "0.000000", "0.10")] == ["1000", "0", "0.1"]


def test_a_period_holds_its_start_and_not_its_end():
    period = Period(START, START + timedelta(days=1))
    assert START in period
    assert period.end not in period
