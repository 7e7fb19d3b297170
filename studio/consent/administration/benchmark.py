"""Measure consent decisions per second, and the time of a revocation.

``studio consent bench`` prints what these two functions measure; docs/consent.md states it.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from studio.consent import ConsentPolicy, ConsentRegistry, Grant, OnRevocation, RightsHolder
from studio.consent.administration.service import ConsentService
from studio.consent.signed.documents import (
    HolderDocument,
    HolderTerms,
    RevocationDocument,
    RevocationTerms,
    TagsDocument,
    TagTerms,
)
from studio.consent.signed.drafts import sign_grant
from studio.consent.signed.keys import SigningKey
from studio.consent.signed.signing import new_document, sign, write_file
from studio.consent.types import GENERATION_USES, Terms

__all__ = ["measure_decisions", "measure_revocation", "synthetic_grants"]

_HOLDERS = 500
_TERRITORIES = ("AT", "BR", "CH", "DE", "FR", "GB", "JP", "NG", "US", "WORLD")
_TERMS = Terms(sha256="0" * 64, url="terms.md")
_START = datetime(2020, 1, 1, tzinfo=UTC)
_DAYS = 3650


def synthetic_grants(count: int, tags: Sequence[str], *, seed: int = 1) -> list[Grant]:
    """Grants of many holders with scopes and terms drawn at random: 2 to 6 tags each."""
    rng = random.Random(seed)
    scopes: list[dict[str, Any]] = [
        {
            "uses": frozenset(rng.sample(GENERATION_USES, rng.randint(1, 3))),
            "territories": frozenset(rng.sample(_TERRITORIES, rng.randint(1, 4))),
            "models": frozenset(rng.choice((("*",), ("house",), ("house", "hub")))),
        }
        for _ in range(400)  # contracts come in kinds
    ]
    grants = []
    for number in range(count):
        start = _START + timedelta(days=rng.randrange(_DAYS))
        until = start + timedelta(days=rng.randint(30, 1500)) if rng.random() < 0.8 else None
        grants.append(
            Grant.model_construct(
                id=f"grant-{number}",
                holder=f"holder-{rng.randrange(_HOLDERS)}",
                tags=frozenset(rng.sample(tags, min(len(tags), rng.randint(2, 6)))),
                **rng.choice(scopes),
                valid_from=start,
                valid_until=until,
                on_revocation=OnRevocation.KEEP,
                share=Decimal("0.1"),
                terms=_TERMS,
            )
        )
    return grants


def measure_decisions(count: int, tags: Sequence[str], *, seconds: float = 3.0) -> dict[str, Any]:
    """Decisions of four tags each per second of one core's time, over ``count`` grants.

    The process's own time is counted, so that a busy machine does not count as a slow policy.
    """
    grants = synthetic_grants(count, tags)
    start = time.process_time()
    registry = ConsentRegistry(
        [RightsHolder(id=f"holder-{n}", name=f"Holder {n}", kind="label") for n in range(_HOLDERS)],
        grants,
    )
    policy = ConsentPolicy(
        registry,
        known_tags=tags,
        model_uses={"house": GENERATION_USES, "hub": GENERATION_USES[:2]},
    )
    made = time.process_time()
    for tag in tags:
        registry.index(tag)
    indexed = time.process_time()
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    rng = random.Random(2)

    def any_instant() -> datetime:
        return _START + timedelta(seconds=rng.randrange(_DAYS * 86_400))

    questions = [
        (rng.sample(tags, 4), rng.choice(GENERATION_USES), rng.choice(_TERRITORIES))
        for _ in range(2000)
    ]
    first = _seconds(policy, questions, lambda: now)
    return {
        "grants": count,
        "tags": len(tags),
        "registry_s": round(made - start, 2),
        "index_s": round(indexed - made, 2),
        "first_2000_decisions_s": round(first, 2),  # each scope is merged when first asked for
        "decisions_per_s_now": _rate(policy, questions, lambda: now, seconds),
        "decisions_per_s_any_instant": _rate(policy, questions, any_instant, seconds),
    }


_Question = tuple[list[str], str, str]  # tags, use, territory


def _rate(
    policy: ConsentPolicy,
    questions: Sequence[_Question],
    instant: Callable[[], datetime],
    seconds: float,
) -> int:
    done, spent = 0, 0.0
    while spent < seconds:
        spent += _seconds(policy, questions, instant)
        done += len(questions)
    return round(done / spent)


def _seconds(
    policy: ConsentPolicy, questions: Sequence[_Question], instant: Callable[[], datetime]
) -> float:
    """Of the processor, to decide them all."""
    instants = [instant() for _ in questions]
    start = time.process_time()
    for (tags, use, territory), at in zip(questions, instants, strict=True):
        policy.decide(tags, use=use, territory=territory, model="house", at=at)
    return time.process_time() - start


def measure_revocation(count: int, *, rounds: int = 20) -> dict[str, Any]:
    """Milliseconds from a revocation's arrival to its effect, with ``count`` grants recorded.

    ``recorded``: until the import has committed. ``elsewhere``: until a second reader of the same
    database, as another process is one, refuses; the clock starts with the arrival. Medians and
    maxima over ``rounds`` grants.
    """
    from studio.provenance.ledger.log import Ledger

    key, tags = SigningKey.generate(), [f"genre/style-{number}" for number in range(30)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        ledger = Ledger.open(home / "ledger.db", outputs=home)
        service = ConsentService(ledger, studio="bench", outputs=home)
        profile = HolderTerms(name="Bench", kind="label", public_key=key.public.text)
        holder = write_file(
            [sign(new_document(HolderDocument, "bench", profile=profile, audience="*"), key)]
        )
        service.admit(holder, key.public.fingerprint)
        named = tuple(TagTerms(id=tag, phrase=tag) for tag in tags)
        begin = time.perf_counter()
        documents = [sign(new_document(TagsDocument, "bench", tags=named, audience="*"), key)]
        for grant in synthetic_grants(count, tags):
            documents.append(
                sign_grant(
                    grant.model_copy(update={"holder": "bench", "valid_until": None}),
                    key,
                    audience="*",
                )
            )
        signed = time.perf_counter()
        assert service.import_file(write_file(documents)).ok
        imported = time.perf_counter()
        other = ConsentService(ledger, studio="bench", outputs=home)
        other.registry()
        loaded = time.perf_counter()
        calls = 200
        for _ in range(calls):
            other.registry()
        asked = time.perf_counter()
        recorded, elsewhere = [], []
        for number in range(rounds):
            revocation = RevocationTerms(grant=f"grant-{number}")
            data = write_file(
                [
                    sign(
                        new_document(
                            RevocationDocument, "bench", revocation=revocation, audience="*"
                        ),
                        key,
                    )
                ]
            )
            start = time.perf_counter()
            assert service.import_file(data).ok
            recorded.append(time.perf_counter() - start)
            assert other.registry().revoked_at(f"grant-{number}") is not None
            elsewhere.append(time.perf_counter() - start)
        ledger.close()
    return {
        "grants": count,
        "rounds": rounds,
        "sign_ms_each": round((signed - begin) / count * 1e3, 2),
        "import_ms_each": round((imported - signed) / count * 1e3, 2),
        "load_s": round(loaded - imported, 2),
        "registry_call_us": round((asked - loaded) / calls * 1e6),
        "recorded_ms": _summary(recorded),
        "elsewhere_ms": _summary(elsewhere),
    }


def _summary(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "median": round(ordered[len(ordered) // 2] * 1e3, 1),
        "max": round(ordered[-1] * 1e3, 1),
    }
