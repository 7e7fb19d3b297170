"""Typed answers of the REST API: the same bytes as the resource's own JSON, and described."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from pydantic import TypeAdapter, ValidationError
from starlette.testclient import TestClient

from studio.app.gateway import Gateway
from studio.core.tags import listing_key
from studio.reports.record import record_of
from studio.web.api.app import create_api
from studio.web.api.records import AccountRecord, DecisionRecord
from studio.web.api.schemas import tag_record
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.queue import JobRunner
from tests.support.consent import file_of, grant
from tests.support.studios import PlainGenerator, as_owner, make_studio

TAGS = ["genre/jazz", "mood/calm"]
OPEN = {
    "/outputs/{output_id}/proof",  # docs/ledger-format.md describes it
    "/outputs/{output_id}/disclosure",  # docs/disclosure.md
    "/verifications",  # docs/verification.md
    "/verifications/url",
    "/cases/{case_id}/files",
    "/cases/{case_id}/report.{kind}",
}
"""Answers whose format has a page of its own."""


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    with make_studio(tmp_path_factory.mktemp("records"), generator=PlainGenerator()) as studio:
        yield studio


@pytest.fixture(scope="module")
def session(studio):
    session = as_owner(studio)
    session.generation.recover()
    return session


@pytest.fixture(scope="module")
def outputs(session):
    first = session.generation.create(session.generation.request(TAGS, duration_s=4.0, seed=1))
    return first, session.generation.vary(first.output_id, seed=2)


@pytest.fixture(scope="module")
def client(studio, outputs):
    gateway = Gateway(studio)
    with JobRunner(running=1, waiting=2) as making, JobRunner(running=1, waiting=2) as checking:
        api = create_api(gateway, DownloadTokens(), making=making, checking=checking)
        yield TestClient(api, base_url="http://127.0.0.1:7860", client=("127.0.0.1", 50000))


def same(answer, expected, status=200):
    """Whether the answer has the bytes that ``expected`` has as JSON, in its order."""
    assert answer.status_code == status, answer.text
    assert answer.content == TypeAdapter(object).dump_json(expected)
    return answer.json()


def asked(client, path):
    return client.get(f"/api/v1{path}")


def test_outputs(client, session, outputs):
    first, varied = outputs
    same(asked(client, "/outputs"), [record_of(varied), record_of(first)])
    same(asked(client, f"/outputs/{first.output_id}"), record_of(first))
    for made in outputs:
        family = session.outputs.lineage(made.output_id).to_json()
        said = same(asked(client, f"/outputs/{made.output_id}/lineage"), family)
        assert bool(said["forebears"]) is (made is varied)
    offers = [offer.to_json() for offer in session.renditions.offers(first.output_id)]
    same(asked(client, f"/outputs/{first.output_id}/renditions"), offers)
    public = {"output_id": first.output_id, "public": True}
    same(client.put(f"/api/v1/outputs/{first.output_id}/publication"), public)
    share = client.put(f"/api/v1/outputs/{first.output_id}/share")
    link = session.outputs.sharing(first.output_id)
    shared = {"output_id": first.output_id, "shared": True}
    shared |= {"url": link.url(session.config.server.address), "path": link.path}
    same(share, shared | {"entry": link.entry_index})


def test_tags_models_and_decisions(client, session):
    statuses = sorted(session.catalog.tag_status(), key=lambda status: listing_key(status.tag))
    same(asked(client, "/tags"), [tag_record(status) for status in statuses])
    assert {model["id"] for model in asked(client, "/models").json()} == set(
        session.catalog.models()
    )
    answer = client.post("/api/v1/decisions", json={"tags": ["genre/jazz", "genre/blues"]})
    now = {"at": answer.json()["at"]}
    decided = session.catalog.decide(["genre/jazz", "genre/blues"]).to_json() | now
    said = same(answer, decided)
    assert {tuple(tag) for tag in said["tags"]} != {tuple(DecisionRecord.model_fields)}


def test_consent(client, session, outputs):
    holders = [holder.to_json() for holder in session.consent.holders()]
    grants = [each.to_json() for each in session.consent.grants()]
    same(asked(client, "/consent/holders"), holders)
    same(asked(client, "/consent/grants"), grants)
    used = next(each["id"] for each in grants if each["outputs"])
    effect = session.consent.preview_revocation(used).to_json()
    assert same(asked(client, f"/consent/grants/{used}/revocation"), effect)["outputs"]
    rest = [output.to_json() for output in session.consent.affected_outputs(used)]
    assert same(asked(client, f"/consent/grants/{used}/outputs"), rest)
    document = file_of(grant("g1"))
    recorded, refused = (
        client.post("/api/v1/consent/documents", content=document).json() for _ in range(2)
    )
    assert recorded["ok"] and not refused["ok"]
    assert refused["documents"][0]["advice"]


def test_cases(client, session):
    opened = client.post("/api/v1/cases", json={"reference": "7", "title": "A song"})
    case_id = opened.json()["case_id"]
    same(opened, session.cases.get(case_id).to_json(), 201)
    noted = client.post(f"/api/v1/cases/{case_id}/notes", json={"text": "heard"})
    (note,) = session.cases.get(case_id).notes
    same(noted, note.to_json(), 201)
    same(asked(client, f"/cases/{case_id}"), session.cases.get(case_id).to_json())
    assert [case["case_id"] for case in asked(client, "/cases").json()] == [case_id]


def test_every_json_answer_has_a_schema(client):
    described = client.get("/api/v1/openapi.json").json()
    open_answers = {
        path
        for path, operations in described["paths"].items()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        if status.startswith("2")
        and not _is_closed(answer.get("content", {}).get("application/json", {}).get("schema"))
    }
    assert open_answers - OPEN == set()


def _is_closed(schema) -> bool:
    if schema is None:
        return True  # no JSON, or no body
    named = schema.get("items", schema)
    return "$ref" in named or "anyOf" in named or named.get("type") in ("string", "integer")


def test_sheets(client, session):
    sheet = client.post("/api/v1/sheets", json={"sheet": "verse: C | G |", "tags": []})
    same(sheet, asdict(session.generation.check_sheet("verse: C | G |")))


def test_a_field_that_is_not_described_is_an_error():
    known = dict.fromkeys(AccountRecord.model_fields)
    whole = known | {"account_id": "a", "name": "a", "role": "artist", "disabled": False}
    whole |= {"created_at": "2026-11-30T00:00:00+00:00"}
    assert AccountRecord(**whole).signed_in_at is None
    with pytest.raises(ValidationError, match="password"):
        AccountRecord(**whole, password="secret")


def test_accounts_and_events(client, session):
    """The last test of this studio: once one account exists, sign-in is required."""
    body = {"name": "ada", "role": "administrator", "password": "long enough, and odd"}
    added = client.post("/api/v1/accounts", json=body)
    (ada,) = session.accounts.all()
    same(added, ada.to_json(), 201)
    token = client.post("/api/v1/session", json={"name": "ada", "password": body["password"]})
    answer = client.get(
        "/api/v1/audit", headers={"Authorization": f"Bearer {token.json()['token']}"}
    )
    assert same(answer, [event.to_json() for event in session.security.newest(limit=100)])
