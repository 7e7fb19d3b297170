"""Territories: countries by ISO 3166-1 code, and regions that stand for all of their countries.

``EU`` is the European Union, ``150`` and the other numbers are regions of the United Nations'
standard M49. A request for a region needs consent for every one of its countries; a grant for a
region covers each of them.

>>> covers({"EU"}, "AT"), covers({"EU"}, "CH"), covers({"AT", "DE"}, "EU"), covers({"150"}, "EU")
(True, False, False, False)
>>> covers({"150", "142"}, "EU")
True
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["REGIONS", "TERRITORY_PATTERN", "WORLD", "covers", "expanded", "is_region"]

WORLD = "WORLD"
"""The territory that contains every other; a request for it needs a grant for it."""

TERRITORY_PATTERN = r"^(WORLD|[A-Z]{2}|[0-9]{3})$"
"""``WORLD``, a country's two letters or ``EU``, or the three digits of a region."""

_EU = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
_AFRICA = (
    "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW IO KE KM LR LS LY MA MG "
    "ML MR MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TF TG TN TZ UG YT ZA ZM ZW"
)
_NORTHERN_AMERICA = "BM CA GL PM US"
_LATIN_AMERICA = (
    "AG AI AR AW BB BL BO BQ BR BS BV BZ CL CO CR CU CW DM DO EC FK GD GF GP GS GT GY HN HT JM KN "
    "KY LC MF MQ MS MX NI PA PE PR PY SR SV SX TC TT UY VC VE VG VI"
)
_ASIA = (
    "AE AF AM AZ BD BH BN BT CN CY GE HK ID IL IN IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO "
    "MV MY NP OM PH PK PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE"
)
_EUROPE = (
    "AD AL AT AX BA BE BG BY CH CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU "
    "LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA"
)
_OCEANIA = "AS AU CC CK CX FJ FM GU HM KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS"

REGIONS: dict[str, tuple[str, frozenset[str]]] = {
    code: (name, frozenset(countries.split()))
    for code, name, countries in (
        ("EU", "European Union", _EU),
        ("150", "Europe", _EUROPE),
        ("019", "Americas", f"{_NORTHERN_AMERICA} {_LATIN_AMERICA}"),
        ("021", "Northern America", _NORTHERN_AMERICA),
        ("419", "Latin America and the Caribbean", _LATIN_AMERICA),
        ("002", "Africa", _AFRICA),
        ("142", "Asia", _ASIA),
        ("009", "Oceania", _OCEANIA),
    )
}
"""Region code -> English name and countries. The Union as of 2026; M49 counts Cyprus to Asia."""


def is_region(code: str) -> bool:
    """Whether a code stands for several countries; ``WORLD`` is none."""
    return code in REGIONS


def expanded(codes: Iterable[str]) -> frozenset[str]:
    """The countries of regions, and what is no region as it is.

    >>> sorted(expanded(["021", "AT"]))
    ['AT', 'BM', 'CA', 'GL', 'PM', 'US']
    """
    parts = (REGIONS[code][1] if code in REGIONS else frozenset((code,)) for code in codes)
    return frozenset[str]().union(*parts)


def covers(granted: Iterable[str], asked: str) -> bool:
    """Whether granted territories cover one that is asked for."""
    given = frozenset(granted)
    if WORLD in given or asked in given:
        return True
    if asked == WORLD:
        return False
    return expanded((asked,)) <= expanded(given)
