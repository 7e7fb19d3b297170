"""Regions: a grant for one covers its countries, a request for one needs all of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from studio.consent.grant_index import TagIndex
from studio.consent.types import Grant
from studio.core.territories import REGIONS, covers, expanded
from studio.reports.formatting import territories


def grant(*places: str) -> Grant:
    return Grant.model_validate(
        {
            "id": "g",
            "holder": "h",
            "tags": ["genre/waltz"],
            "uses": ["experiment"],
            "territories": places,
            "models": ["*"],
            "valid_from": "2026-01-01T00:00:00Z",
            "valid_until": None,
            "on_revocation": "keep",
            "share": "0",
            "terms": {"sha256": "0" * 64, "url": "terms.md"},
        }
    )


@pytest.mark.parametrize(
    ("granted", "asked", "covered"),
    [
        (("EU",), "FR", True),
        (("EU",), "GB", False),
        (("EU",), "EU", True),
        (("EU",), "WORLD", False),
        (("WORLD",), "EU", True),
        (("AT",), "EU", False),
        (tuple(sorted(REGIONS["EU"][1])), "EU", True),
        (tuple(sorted(REGIONS["EU"][1] - {"MT"})), "EU", False),
        (("021", "419"), "019", True),
        (("019",), "021", True),
        (("150",), "999", False),
        (("AT",), "XX", False),
    ],
)
def test_a_region_is_all_of_its_countries(granted, asked, covered):
    given = grant(*granted)
    assert covers(granted, asked) is covered is given.covers_territory(asked)
    index = TagIndex([given], revoked_at=lambda _id: None, is_demonstration=lambda _id: False)
    levels = index._levels("experiment", asked, "house")
    assert (levels[0][0] == 0) is covered, "the index answers as the grant does"
    assert index.best("experiment", asked, "house", datetime(2026, 6, 1, tzinfo=UTC)) is given


def test_every_country_of_a_region_is_one_and_parts_do_not_overlap():
    countries = {code for code in territories() if code != "WORLD" and code not in REGIONS}
    parts = [REGIONS[code][1] for code in ("150", "002", "142", "009", "021", "419")]
    assert sum(map(len, parts)) == len(frozenset().union(*parts))
    assert expanded(REGIONS) <= countries
    assert countries - expanded(REGIONS) == {"AQ"}, "nobody lives in Antarctica"
    assert REGIONS["019"][1] == REGIONS["021"][1] | REGIONS["419"][1]
