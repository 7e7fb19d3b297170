"""The index answers as looking at every grant would: compared on random registries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.consent import ConsentPolicy, ConsentRegistry, Grant, Revocation, RightsHolder
from studio.consent.types import Terms

DAY0 = datetime(2026, 6, 1, tzinfo=UTC)
HOLDERS = [
    RightsHolder(id="ada", name="Ada", kind="artist"),
    RightsHolder(id="show", name="Show", kind="demonstration"),
]
USES = ("experiment", "noncommercial", "commercial")

days = st.integers(-4, 4)


def instant(day: int) -> datetime:
    return DAY0 + timedelta(days=day)


@st.composite
def registries(draw) -> ConsentRegistry:
    grants = []
    for number in range(draw(st.integers(1, 8))):
        start = draw(days)
        grants.append(
            Grant(
                id=f"g{number}",
                holder=draw(st.sampled_from(["ada", "show"])),
                tags={"mood/calm"},
                uses=draw(st.sets(st.sampled_from(USES), min_size=1, max_size=2)),
                territories=draw(st.sets(st.sampled_from(["AT", "WORLD"]), min_size=1)),
                models=draw(st.sampled_from([{"*"}, {"house"}])),
                valid_from=instant(start),
                valid_until=draw(
                    st.none() | st.integers(1, 5).map(lambda n, start=start: instant(start + n))
                ),
                on_revocation="keep",
                share="0",
                terms=Terms(sha256="0" * 64, url="t"),
            )
        )
    ids = st.sampled_from([grant.id for grant in grants])
    revocations = draw(st.lists(st.builds(Revocation, grant=ids, at=days.map(instant)), max_size=4))
    return ConsentRegistry(HOLDERS, grants, revocations)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(
    registries(),
    st.sampled_from(USES),
    st.sampled_from(["AT", "FR", "WORLD"]),
    st.sampled_from(["house", "hub"]),
)
def test_the_index_gives_the_nearest_of_all_at_every_instant(registry, use, territory, model):
    policy = ConsentPolicy(
        registry, known_tags=["mood/calm"], model_uses={"house": USES, "hub": USES}
    )
    for day in range(-6, 12):
        for at in (instant(day), instant(day) - timedelta(microseconds=1)):
            (answer,) = policy.decide(
                ["mood/calm"], use=use, territory=territory, model=model, at=at
            ).tags
            first = answer.considered[0]  # every grant looked at, and sorted
            best = registry.index("mood/calm").best(use, territory, model, at)
            assert best == first.grant
            assert answer.granted == first.covers
            assert answer.reason == (None if first.covers else first.failures[0])


def test_a_tag_that_nobody_named_has_no_best_and_is_not_remembered():
    registry = ConsentRegistry(HOLDERS, [])
    assert registry.index("mood/calm").best("commercial", "AT", "house", DAY0) is None
    assert registry._indexes == {}


def test_many_scopes_asked_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("studio.consent.grant_index._REMEMBERED_SCOPES", 3)
    grant = Grant(
        id="g", holder="ada", tags={"mood/calm"}, uses={"commercial"}, territories={"WORLD"},
        models={"*"}, valid_from=DAY0, valid_until=None, on_revocation="keep", share="0",
        terms=Terms(sha256="0" * 64, url="t"),
    )  # fmt: skip
    index = ConsentRegistry(HOLDERS, [grant]).index("mood/calm")
    for number in range(10):
        assert index.best("commercial", f"{number}", f"model-{number}", DAY0) == grant
    assert len(index._by_scope) == 1, "nobody names them: they are all alike"
    for use in ("commercial", "experiment"):
        for territory in ("WORLD", "AT"):
            index.best(use, territory, "*", DAY0)
    assert len(index._by_scope) <= 3
