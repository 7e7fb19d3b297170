"""Versioned rates: what an output counts for in statements, over time.

>>> from studio.core.paths import shipped_configs
>>> rates = load_rates(shipped_configs() / "rates")
>>> card = rates.at(datetime(2026, 5, 1, tzinfo=UTC))
>>> card.version, card.value("commercial", Decimal("12.5"))
('2026-1', Decimal('0.175'))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from studio.core.errors import ConfigError

__all__ = ["RateCard", "Rates", "UseRate", "load_rates"]

_Amount = Annotated[Decimal, Field(ge=0, max_digits=18)]
_Instant = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UseRate(_Frozen):
    """Value of one output made for this use, in the card's currency."""

    per_output: _Amount
    per_second: _Amount


class RateCard(_Frozen):
    """One version of the rates, valid from ``valid_from`` up to but not at ``valid_until``."""

    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")
    valid_from: _Instant
    valid_until: _Instant | None
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    quantum: Annotated[Decimal, Field(gt=0, le=1)]
    uses: Mapping[str, UseRate]

    def holds(self, at: datetime) -> bool:
        return self.valid_from <= at and (self.valid_until is None or at < self.valid_until)

    def value(self, use: str, seconds: Decimal) -> Decimal:
        """Value of an output, a whole number of quanta. Raises :class:`ConfigError`."""
        rate = self.uses.get(use)
        if rate is None:
            raise ConfigError(f"rates {self.version} say nothing about {use} use")
        return self.rounded(rate.per_output + rate.per_second * seconds)

    def rounded(self, amount: Decimal) -> Decimal:
        """To whole quanta; halves to the even one."""
        return (amount / self.quantum).to_integral_value(ROUND_HALF_EVEN) * self.quantum


class Rates:
    """All versions. At any instant at most one holds; overlaps raise :class:`ConfigError`."""

    def __init__(self, cards: Iterable[RateCard]) -> None:
        self.cards = tuple(sorted(cards, key=lambda card: card.valid_from))
        if len({card.version for card in self.cards}) != len(self.cards):
            raise ConfigError("two rate cards have the same version")
        for earlier, later in zip(self.cards, self.cards[1:], strict=False):
            if earlier.valid_until is None or earlier.valid_until > later.valid_from:
                raise ConfigError(
                    f"rates {earlier.version} and {later.version} both hold from "
                    f"{later.valid_from.isoformat()}; end the earlier with valid_until"
                )

    def at(self, at: datetime) -> RateCard:
        """The card that holds at an instant. Raises :class:`ConfigError` where none does."""
        card = next((card for card in self.cards if card.holds(at)), None)
        if card is None:
            raise ConfigError(f"no rates hold on {at.isoformat()}; add a card to configs/rates/")
        return card


def load_rates(folder: Path) -> Rates:
    """Every ``*.yaml`` of the folder. Raises :class:`ConfigError` with the field at fault."""
    import yaml

    cards = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            cards.append(RateCard.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))))
        except (OSError, yaml.YAMLError) as exc:
            raise ConfigError(f"cannot read {path}: {exc}") from exc
        except ValidationError as exc:
            fault = exc.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            raise ConfigError(f"{path}: {where}: {fault['msg']}") from exc
    return Rates(cards)
