"""Statements over a real ledger: shares from signed grants, withdrawals by signed revocations."""

from __future__ import annotations

from decimal import Decimal

import pytest

from studio.core.errors import UsageError
from studio.reports.statements.statement import parse_period
from tests.support.consent import file_of, grant, revocation
from tests.support.studios import PlainGenerator, as_owner, make_studio, revoke

EVER = parse_period("2020-01-01", "2099-12-31")
TAGS = ("genre/jazz", "mood/calm")


@pytest.fixture
def studio(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        yield studio


def make(studio, seed):
    request = as_owner(studio).generation.request(TAGS, duration_s=5, seed=seed, use="commercial")
    return as_owner(studio).generation.create(request)


def test_the_share_is_the_signed_grants_and_a_withdrawn_output_counts_nothing(studio):
    first = make(studio, 1)
    revoke(studio)  # its terms keep what was made
    imported = as_owner(studio).consent.import_file(
        file_of(grant("second", share="0.4", on_revocation="withdraw"))
    )
    assert imported.documents[0].entry is not None
    second, third = make(studio, 2), make(studio, 3)
    before = studio.ledger().size()
    lines = as_owner(studio).consent.statement("house", EVER).lines
    assert [(line.entry, line.share) for line in lines] == [
        (first.entry_index, Decimal(0)),
        (second.entry_index, Decimal("0.4")),
        (third.entry_index, Decimal("0.4")),
    ]
    assert lines[1].amount == Decimal("0.04")  # of 0.05 + 5 s at 0.01
    assert as_owner(studio).consent.reconcile(EVER).ok

    as_owner(studio).consent.import_file(file_of(revocation("second")))
    after = as_owner(studio).consent.statement("house", EVER)
    assert [line.entry for line in after.lines] == [first.entry_index]
    assert {gone.output_id for gone in after.withdrawn} == {second.output_id, third.output_id}
    assert as_owner(studio).consent.reconcile(EVER).ok
    assert as_owner(studio).consent.statement("house", EVER, as_of=before).lines == lines
    with pytest.raises(UsageError, match="nobody"):
        as_owner(studio).consent.statement("nobody", EVER)


def test_a_refused_request_is_on_no_statement(studio):
    from studio.core.errors import ConsentRefusedError

    with pytest.raises(ConsentRefusedError):
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(["genre/choral"], duration_s=5)
        )
    assert studio.ledger().entries(kind="refusal")
    assert as_owner(studio).consent.statement("house", EVER).lines == ()
    assert as_owner(studio).consent.reconcile(EVER).ok
