"""Statements: what was made under a rights holder's grants in a period.

A statement is computed from the ledger and the rate cards alone, so anyone with both gets the same
one. Every release entry of the period that was not withdrawn is split over its tags; each line
names the entry, the grant, the part of the seconds and of the value that falls to its tags, and the
rate card that held at the release. All arithmetic is exact: a value is split into whole quanta by
largest remainder, so the lines of all holders add up to the entries to the last digit
(:func:`reconcile`). What failed or was refused is no release and counts nothing.

>>> split(Decimal("10"), [1, 1, 1], Decimal("0.01"))
(Decimal('3.34'), Decimal('3.33'), Decimal('3.33'))
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

from studio.consent.types import format_instant
from studio.core.errors import LedgerError, UsageError
from studio.provenance.ledger.entry import Entry
from studio.reports.statements.rates import Rates

if TYPE_CHECKING:
    from studio.provenance.ledger.log import Ledger

__all__ = [
    "Line",
    "Period",
    "Reconciliation",
    "Statement",
    "Sums",
    "Withdrawn",
    "parse_period",
    "reconcile",
    "split",
    "statement",
]

FORMAT_VERSION = 1
_MICROSECOND = Decimal("0.000001")  # seconds of music are split no finer


@dataclass(frozen=True, slots=True)
class Period:
    """From ``start`` up to but not at ``end``, UTC."""

    start: datetime
    end: datetime

    def __contains__(self, at: datetime) -> bool:
        return self.start <= at < self.end


@dataclass(frozen=True, slots=True)
class Line:
    """The part of one output that falls to one grant."""

    entry: int  # ledger index of the release
    output_id: str
    at: datetime  # of the release
    use: str
    territory: str
    model: str
    holder: str
    grant: str
    grant_entry: int  # ledger index of the grant, which says its share
    tags: tuple[str, ...]  # of the request, granted by this grant
    of_tags: int  # tags of the request in all
    output_seconds: Decimal
    seconds: Decimal  # of them, by tags
    rates: str  # version of the rate card
    currency: str
    gross: Decimal  # of the output's value, by tags
    share: Decimal  # of the grant
    amount: Decimal  # gross times share


@dataclass(frozen=True, slots=True)
class Sums:
    """Totals of lines or of entries; money by currency."""

    outputs: int
    tag_uses: int
    seconds: Decimal
    gross: Mapping[str, Decimal]
    amount: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """An output of the period that counts nothing, because its audio was withdrawn."""

    entry: int
    output_id: str
    withdrawal_entry: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One holder's lines of one period, as of a ledger of ``ledger_size`` entries."""

    holder: str
    holder_name: str
    period: Period
    ledger_size: int
    tree_head: str  # hexadecimal
    lines: tuple[Line, ...]
    withdrawn: tuple[Withdrawn, ...]

    @property
    def sums(self) -> Sums:
        return _sums(self.lines)

    @property
    def by_tag(self) -> Mapping[str, tuple[int, Decimal]]:
        """Uses and seconds of each tag."""
        found: dict[str, tuple[int, Decimal]] = {}
        for line in self.lines:
            parts = split(line.seconds, [1] * len(line.tags), _MICROSECOND)
            for tag, seconds in zip(line.tags, parts, strict=True):
                uses, total = found.get(tag, (0, Decimal(0)))
                found[tag] = uses + 1, total + seconds
        return dict(sorted(found.items()))

    @property
    def rates(self) -> tuple[str, ...]:
        """Versions of the rate cards that were used."""
        return tuple(sorted({line.rates for line in self.lines}))


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The lines of every holder against the release entries of the period."""

    holders: Mapping[str, Sums]
    lines: Sums  # of all holders
    entries: Sums  # of the ledger, computed from the entries as they stand

    @property
    def ok(self) -> bool:
        """Whether they agree to the last digit. Amounts have no counterpart in the entries."""
        return (
            self.lines.outputs == self.entries.outputs
            and self.lines.tag_uses == self.entries.tag_uses
            and self.lines.seconds == self.entries.seconds
            and self.lines.gross == self.entries.gross
        )


@dataclass(frozen=True, slots=True)
class _Release:
    """What a release entry says, with its numbers exact."""

    entry: int
    at: datetime
    body: Mapping[str, Any]

    @property
    def seconds(self) -> Decimal:
        return Decimal(self.body["audio"]["duration_s"])

    @property
    def tags(self) -> list[Mapping[str, Any]]:
        return [tag for tag in self.body["decision"]["tags"] if tag["granted"]]


_EARLIEST, _LATEST = 1970, 9990  # years of a period


def parse_period(start: str, end: str) -> Period:
    """A period from two days, both included, or two instants (RFC 3339), the end excluded.

    >>> parse_period("2026-11-01", "2026-11-30").end.isoformat()
    '2026-12-01T00:00:00+00:00'
    """
    try:
        first, last = _instant(start, end=False), _instant(end, end=True)
    except OverflowError:  # beyond what the calendar holds in UTC
        first = last = datetime.max.replace(tzinfo=UTC)
    if not (first.year >= _EARLIEST and last.year <= _LATEST):
        raise UsageError(f"a period lies between the years {_EARLIEST} and {_LATEST}")
    if last <= first:
        raise UsageError(f"the period from {start} to {end} is empty")
    return Period(first, last)


def statement(
    ledger: Ledger,
    rates: Rates,
    holder: str,
    period: Period,
    *,
    holder_name: str | None = None,
    as_of: int | None = None,
) -> Statement:
    """One holder's statement over the first ``as_of`` entries of the ledger (default: all).

    Raises :class:`LedgerError` for a damaged entry, :class:`ConfigError` where no rates hold.
    """
    releases = _Releases.read(ledger, as_of)
    lines = tuple(line for line in releases.lines(rates, period) if line.holder == holder)
    return Statement(
        holder=holder,
        holder_name=holder_name or holder,
        period=period,
        ledger_size=releases.size,
        tree_head=releases.tree_head,
        lines=lines,
        withdrawn=tuple(releases.withdrawn_of(holder, period)),
    )


def reconcile(
    ledger: Ledger, rates: Rates, period: Period, *, as_of: int | None = None
) -> Reconciliation:
    """Add up the statements of all holders, and the ledger's own entries, by separate ways."""
    releases = _Releases.read(ledger, as_of)
    lines = tuple(releases.lines(rates, period))
    holders = sorted({line.holder for line in lines})
    counted = list(releases.counted(period))
    gross: dict[str, Decimal] = {}
    with localcontext(prec=60):
        for release in counted:
            card = rates.at(release.at)
            value = card.value(release.body["decision"]["use"], release.seconds)
            gross[card.currency] = gross.get(card.currency, Decimal(0)) + value
        entries = Sums(
            outputs=len(counted),
            tag_uses=sum(len(release.body["request"]["tags"]) for release in counted),
            seconds=sum((release.seconds for release in counted), Decimal(0)),
            gross=gross,
            amount={},
        )
    return Reconciliation(
        holders={who: _sums(line for line in lines if line.holder == who) for who in holders},
        lines=_sums(lines),
        entries=entries,
    )


def split(total: Decimal, weights: Sequence[int], quantum: Decimal) -> tuple[Decimal, ...]:
    """``total`` in proportion to the weights, in whole quanta, by largest remainder.

    The parts add up to ``total`` exactly: what is less than a quantum falls to the first.
    """
    whole = sum(weights)
    with localcontext(prec=60):
        quanta = int(total / quantum)
        parts = [quanta * weight // whole for weight in weights]
        remainders = [quanta * weight % whole for weight in weights]
        missing = quanta - sum(parts)
        # Stable: of equal remainders the earlier is served first.
        for index in sorted(range(len(parts)), key=lambda i: -remainders[i])[:missing]:
            parts[index] += 1
        amounts = [part * quantum for part in parts]
        amounts[0] += total - quanta * quantum
    return tuple(amounts)


class _Releases:
    """The first entries of a ledger, as far as statements need them."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.size = len(entries)
        self.tree_head = entries[-1].tree_head.hex() if entries else ""
        self._releases: list[_Release] = []
        self._grants: dict[str, tuple[int, Decimal]] = {}  # id: entry, share
        self._withdrawn: dict[str, int] = {}  # output id: entry of the withdrawal
        for entry in entries:
            body = _exact(entry)
            if entry.kind == "release":
                self._releases.append(_Release(entry.index, entry.at, body))
            elif entry.kind == "grant":
                self._grants.setdefault(body["grant"], (entry.index, Decimal(body["share"])))
            elif entry.kind == "withdrawal":
                self._withdrawn.setdefault(body["output_id"], entry.index)

    @classmethod
    def read(cls, ledger: Ledger, as_of: int | None) -> _Releases:
        entries = ledger.entries(limit=as_of)
        if as_of is not None and len(entries) < as_of:
            raise UsageError(f"the ledger has {len(entries)} entries, not {as_of}")
        return cls(entries)

    def counted(self, period: Period) -> Iterable[_Release]:
        """Releases of the period that were not withdrawn."""
        for release in self._releases:
            if release.at in period and release.body["output_id"] not in self._withdrawn:
                yield release

    def withdrawn_of(self, holder: str, period: Period) -> Iterable[Withdrawn]:
        for release in self._releases:
            output_id = release.body["output_id"]
            if (
                output_id in self._withdrawn
                and release.at in period
                and any(tag["holder"] == holder for tag in release.tags)
            ):
                yield Withdrawn(release.entry, output_id, self._withdrawn[output_id])

    def lines(self, rates: Rates, period: Period) -> Iterable[Line]:
        for release in self.counted(period):
            yield from self._lines_of(release, rates)

    def _lines_of(self, release: _Release, rates: Rates) -> Iterable[Line]:
        body, decision = release.body, release.body["decision"]
        card = rates.at(release.at)
        by_grant: dict[tuple[str, str], list[str]] = {}
        for tag in release.tags:
            by_grant.setdefault((tag["holder"], tag["grant"]), []).append(tag["tag"])
        weights = [len(tags) for tags in by_grant.values()]
        seconds = split(release.seconds, weights, _MICROSECOND)
        gross = split(card.value(decision["use"], release.seconds), weights, card.quantum)
        for index, ((holder, grant), tags) in enumerate(by_grant.items()):
            if grant not in self._grants:
                raise LedgerError(
                    f"entry {release.entry} relies on grant {grant}, which the ledger does not hold"
                )
            grant_entry, share = self._grants[grant]
            yield Line(
                entry=release.entry,
                output_id=body["output_id"],
                at=release.at,
                use=decision["use"],
                territory=decision["territory"],
                model=decision["model"],
                holder=holder,
                grant=grant,
                grant_entry=grant_entry,
                tags=tuple(tags),
                of_tags=sum(weights),
                output_seconds=release.seconds,
                seconds=seconds[index],
                rates=card.version,
                currency=card.currency,
                gross=gross[index],
                share=share,
                amount=card.rounded(gross[index] * share),
            )


def _exact(entry: Entry) -> Mapping[str, Any]:
    """The body with every number as it is written: never through a float."""
    body: Mapping[str, Any] = json.loads(entry.leaf, parse_float=Decimal)["body"]
    return body


def _sums(lines: Iterable[Line]) -> Sums:
    outputs: set[int] = set()
    tag_uses, seconds = 0, Decimal(0)
    gross: dict[str, Decimal] = {}
    amount: dict[str, Decimal] = {}
    with localcontext(prec=60):
        for line in lines:
            outputs.add(line.entry)
            tag_uses += len(line.tags)
            seconds += line.seconds
            gross[line.currency] = gross.get(line.currency, Decimal(0)) + line.gross
            amount[line.currency] = amount.get(line.currency, Decimal(0)) + line.amount
    return Sums(len(outputs), tag_uses, seconds, gross, amount)


def _instant(text: str, *, end: bool) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is neither a day (2026-11-01) nor an RFC 3339 instant"
        ) from None
    if len(text) == len("2026-11-01"):
        return at.replace(tzinfo=UTC) + timedelta(days=1 if end else 0)
    if at.tzinfo is None:
        raise UsageError(f"the instant {text!r} needs a time zone, as in 2026-11-01T00:00:00Z")
    return at.astimezone(UTC)


def summary_of(sums: Sums) -> dict[str, Any]:
    """Sums as JSON: every number that is not a count as a string."""
    return {
        "outputs": sums.outputs,
        "tag_uses": sums.tag_uses,
        "seconds": plain(sums.seconds),
        "gross": {currency: plain(value) for currency, value in sorted(sums.gross.items())},
        "amount": {currency: plain(value) for currency, value in sorted(sums.amount.items())},
    }


def plain(number: Decimal) -> str:
    """A decimal without exponent and without idle zeros.

    >>> plain(Decimal("1E+1")), plain(Decimal("2.500000"))
    ('10', '2.5')
    """
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def period_json(period: Period) -> dict[str, str]:
    """Start and end as instants; the end is not in it."""
    return {"from": format_instant(period.start), "to": format_instant(period.end)}
