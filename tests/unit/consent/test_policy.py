"""The consent policy: every refusal reason, exact boundaries, what a revocation can never do."""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.consent import ConsentPolicy, ConsentRegistry, Grant, Reason, Revocation, RightsHolder
from studio.consent.types import Terms
from studio.core.errors import UsageError

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
TAGS = ("genre/jazz", "genre/waltz", "mood/calm")
USES = ("experiment", "noncommercial", "commercial")
HOLDERS = (
    RightsHolder(id="ada", name="Ada", kind="artist"),
    RightsHolder(id="label", name="A Label", kind="label"),
    RightsHolder(id="show", name="Demonstration", kind="demonstration"),
)


def grant(id="g1", **changes) -> Grant:
    fields = {
        "id": id,
        "holder": "ada",
        "tags": ["genre/jazz"],
        "uses": ["noncommercial"],
        "territories": ["AT", "DE"],
        "models": ["house"],
        "valid_from": NOW - timedelta(days=1),
        "valid_until": NOW + timedelta(days=1),
        "on_revocation": "keep",
        "share": Decimal("0.1"),
        "terms": Terms(sha256="0" * 64, url="terms.md"),
    }
    return Grant.model_validate(fields | changes)


def policy(*grants: Grant, revocations=()) -> ConsentPolicy:
    return ConsentPolicy(
        ConsentRegistry(HOLDERS, grants, revocations),
        known_tags=TAGS,
        model_uses={"house": USES, "hub": ("experiment", "noncommercial")},
    )


def decide(policy, tag="genre/jazz", use="noncommercial", territory="AT", model="house", at=NOW):
    return policy.decide([tag], use=use, territory=territory, model=model, at=at)


def reason(*args, **kwargs):
    answer = decide(*args, **kwargs)
    assert answer.allowed == (answer.tags[0].reason is None)
    return answer.tags[0].reason


def test_a_covering_grant_permits_and_is_named():
    answer = decide(policy(grant()))
    assert answer.allowed
    assert answer.tags[0].grant.id == "g1"
    assert answer.to_json()["tags"][0]["holder"] == "ada"


@pytest.mark.parametrize(
    ("changes", "asked", "expected"),
    [
        ({}, {"tag": "genre/polka"}, Reason.UNKNOWN),
        ({}, {"tag": "in the style of somebody"}, Reason.UNKNOWN),
        ({}, {"tag": "genre/waltz"}, Reason.NO_GRANT),
        ({"valid_from": NOW + TICK}, {}, Reason.NOT_YET_VALID),
        ({"valid_until": NOW}, {}, Reason.EXPIRED),
        ({}, {"use": "experiment"}, Reason.USE),
        ({}, {"territory": "US"}, Reason.TERRITORY),
        ({}, {"territory": "WORLD"}, Reason.TERRITORY),
        ({"models": ["other"]}, {}, Reason.MODEL),
        ({"holder": "show"}, {}, Reason.DEMONSTRATION),
        (
            {"uses": USES, "models": ["*"]},
            {"model": "hub", "use": "commercial"},
            Reason.MODEL_LICENCE,
        ),
        ({"models": ["*"]}, {"model": "never-heard-of"}, Reason.MODEL_LICENCE),
        ({}, {"use": "anything"}, Reason.MODEL_LICENCE),
    ],
)
def test_every_reason(changes, asked, expected):
    assert reason(policy(grant(**changes)), **asked) is expected


def test_a_revoked_grant_no_longer_permits():
    taken_back = Revocation(grant="g1", at=NOW)
    assert reason(policy(grant(), revocations=[taken_back])) is Reason.REVOKED
    assert reason(policy(grant(), revocations=[taken_back]), at=NOW - TICK) is None


def test_every_refusal_says_why_in_words():
    revoked = policy(grant(), revocations=[Revocation(grant="g1", at=NOW)])
    assert "revoked on 2026-06-01" in decide(revoked).explain()
    assert "noncommercial use only" in decide(policy(grant()), use="commercial").explain()
    assert "AT, DE only" in decide(policy(grant()), territory="FR").explain()


def test_a_world_grant_covers_every_country_and_the_world():
    world = policy(grant(territories=["WORLD"]))
    assert reason(world, territory="NZ") is None
    assert reason(world, territory="WORLD") is None


def test_an_open_ended_grant_does_not_expire():
    assert reason(policy(grant(valid_until=None)), at=datetime(9999, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("zone_hours", [-11, 0, 13])
def test_validity_boundaries_are_exact_instants_in_utc(zone_hours):
    from datetime import timezone

    zone = timezone(timedelta(hours=zone_hours))
    one = grant(valid_from=NOW.astimezone(zone), valid_until=(NOW + TICK).astimezone(zone))
    assert reason(policy(one), at=NOW - TICK) is Reason.NOT_YET_VALID
    assert reason(policy(one), at=NOW) is None
    assert reason(policy(one), at=NOW + TICK) is Reason.EXPIRED


def test_the_nearest_miss_gives_the_reason():
    far = grant("far", valid_until=NOW, territories=["FR"], models=["other"])
    near = grant("near", uses=["experiment"])
    answer = decide(policy(far, near)).tags[0]
    assert answer.reason is Reason.USE
    assert [verdict.grant.id for verdict in answer.considered] == ["near", "far"]


def test_a_request_is_allowed_only_if_every_tag_is_granted():
    one = policy(grant())
    both = one.decide(
        ["genre/jazz", "mood/calm"], use="noncommercial", territory="AT", model="house", at=NOW
    )
    assert not both.allowed
    assert both.tags[0].granted
    assert not both.tags[1].granted


def test_a_request_without_tags_is_not_allowed():
    nothing = policy(grant()).decide([], use="noncommercial", territory="AT", model="house", at=NOW)
    assert not nothing.allowed


# -- properties ------------------------------------------------------------------------------------

instants = st.integers(-3, 3).map(lambda days: NOW + timedelta(days=days))


@st.composite
def grants(draw, id):
    start = draw(st.integers(-3, 2))
    return grant(
        id,
        holder=draw(st.sampled_from([holder.id for holder in HOLDERS])),
        tags=draw(st.sets(st.sampled_from(TAGS), min_size=1)),
        uses=draw(st.sets(st.sampled_from(USES), min_size=1)),
        territories=draw(st.sets(st.sampled_from(["AT", "DE", "WORLD"]), min_size=1)),
        models=draw(st.sets(st.sampled_from(["house", "hub", "*"]), min_size=1)),
        valid_from=NOW + timedelta(days=start),
        valid_until=draw(
            st.none() | st.integers(start + 1, 4).map(lambda days: NOW + timedelta(days=days))
        ),
    )


@st.composite
def registries(draw):
    many = [draw(grants(f"g{number}")) for number in range(draw(st.integers(0, 5)))]
    ids = [one.id for one in many]
    revocations = [
        Revocation(grant=draw(st.sampled_from(ids)), at=draw(instants))
        for _ in range(draw(st.integers(0, 2)) if ids else 0)
    ]
    return many, revocations


questions = st.fixed_dictionaries(
    {
        "use": st.sampled_from([*USES, "training", "nonsense"]),
        "territory": st.sampled_from(["AT", "DE", "US", "WORLD", "nowhere"]),
        "model": st.sampled_from(["house", "hub", "unknown"]),
        "at": instants,
    }
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(registries(), questions, instants, st.data())
def test_adding_a_revocation_never_permits_more(registry, question, when, data):
    many, revocations = registry
    if not many:
        return
    victim = data.draw(st.sampled_from([one.id for one in many]))
    before = policy(*many, revocations=revocations).decide(TAGS, **question)
    after = policy(*many, revocations=[*revocations, Revocation(grant=victim, at=when)]).decide(
        TAGS, **question
    )
    for old, new in zip(before.tags, after.tags, strict=True):
        assert old.granted or not new.granted


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(registries(), questions, st.randoms(use_true_random=False))
def test_the_order_of_grants_and_revocations_does_not_matter(registry, question, shuffler):
    many, revocations = registry
    first = policy(*many, revocations=revocations).decide(TAGS, **question)
    shuffled, reversed_ = list(many), list(revocations)[::-1]
    shuffler.shuffle(shuffled)
    assert policy(*shuffled, revocations=reversed_).decide(TAGS, **question) == first


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(registries(), questions, grants("extra"))
def test_a_demonstration_grant_never_changes_what_is_permitted(registry, question, extra):
    many, revocations = registry
    extra = extra.model_copy(update={"holder": "show"})
    before = policy(*many, revocations=revocations).decide(TAGS, **question)
    after = policy(*many, extra, revocations=revocations).decide(TAGS, **question)
    assert [tag.granted for tag in after.tags] == [tag.granted for tag in before.tags]
    assert after.grants == before.grants


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(registries(), questions, st.lists(st.text(max_size=12), max_size=3))
def test_decide_is_total_and_every_answer_is_explained(registry, question, words):
    many, revocations = registry
    for answer in policy(*many, revocations=revocations).decide([*TAGS, *words], **question).tags:
        assert answer.granted == (answer.grant is not None) == (answer.reason is None)
        assert answer.explanation.startswith(answer.tag)
        if answer.granted:
            # Re-derived from the definition, not from the code under test.
            g = answer.grant
            assert g in many
            assert answer.tag in g.tags
            assert g.holder != "show"
            assert question["use"] in g.uses
            assert {"WORLD", question["territory"]} & g.territories
            assert {"*", question["model"]} & g.models
            assert g.valid_from <= question["at"]
            assert g.valid_until is None or question["at"] < g.valid_until
            assert not any(r.grant == g.id and r.at <= question["at"] for r in revocations)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    registries(),
    st.lists(st.text(), max_size=3),
    st.text(),
    st.text(),
    st.text(),
    st.datetimes(timezones=st.timezones()),
)
def test_no_input_is_beyond_an_answer(registry, words, use, territory, model, at):
    """Whatever is asked, at whatever instant from year 1 to 9999, in whatever time zone."""
    many, revocations = registry
    answer = policy(*many, revocations=revocations).decide(
        [*words, *TAGS], use=use, territory=territory, model=model, at=at
    )
    assert not answer.allowed
    assert len(answer.tags) == len(words) + len(TAGS)
    assert answer.explain()


def test_an_instant_without_a_time_zone_is_none():
    with pytest.raises(UsageError, match="time zone"):
        decide(policy(grant()), at=datetime(2026, 6, 1))  # noqa: DTZ001 - that is the point


def calls_of_a_decision(grants: int) -> int:
    """How many functions a decision calls among so many grants, each tag having two of its own."""
    rng = random.Random(1)
    names = [f"genre/style-{number}" for number in range(grants // 2)]
    one = grant()
    many = [
        one.model_copy(update={"id": f"g{number}", "tags": frozenset(rng.sample(names, 1))})
        for number in range(grants)
    ]
    large = ConsentPolicy(
        ConsentRegistry(HOLDERS, many), known_tags=names, model_uses={"house": USES}
    )
    scope = {"use": "noncommercial", "territory": "AT", "model": "house", "at": NOW}
    large.decide(names[:1], **scope)  # what is made once is made now
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        for name in names[1:21]:
            large.decide([name], **scope)
    finally:
        sys.setprofile(None)
    return calls


def test_a_decision_does_not_look_at_every_grant():
    """A linear scan of 10,000 grants would make hundreds of times the calls of 100."""
    assert calls_of_a_decision(10_000) < 3 * calls_of_a_decision(100)
