"""The registrar's desk over both databases: consent and ledger in one step, and what follows."""

from __future__ import annotations

import hashlib
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, text

from studio.consent import ConsentPolicy
from studio.consent.administration import ConsentService, DistributionState, GrantState
from studio.consent.signed.documents import HolderDocument, HolderTerms, KeyDocument
from studio.consent.signed.signing import new_document, read_file, sign
from studio.consent.types import GENERATION_USES
from studio.core.db.tables.consent import consent_document
from studio.core.errors import (
    ConfigError,
    ConsentRefusedError,
    LedgerError,
    OutputWithdrawnError,
    UsageError,
)
from studio.provenance.ledger.log import Ledger
from tests.support.consent import HOUSE_GRANT, file_of, grant, key_of, revocation, sign_shipped


class Desk:
    """A registrar over a database, with its ledger, outputs and clock."""

    def __init__(self, location, folder: Path) -> None:
        self.location, self.outputs = location, folder / "outputs"
        self.outputs.mkdir(exist_ok=True)
        self.signed = folder / "consent"
        self.signed.mkdir(exist_ok=True)
        sign_shipped(self.signed)
        self.later = timedelta()
        self.ledger = Ledger.open(location, outputs=self.outputs, clock=self.now)
        self.registrar = self.another()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.later

    def another(self) -> ConsentService:
        """As another process would open it."""
        registrar = ConsentService(self.ledger, studio="here", outputs=self.outputs, clock=self.now)
        registrar.start(self.signed / "signed")
        return registrar

    def take(self, *documents):
        report = self.registrar.import_file(file_of(*documents))
        assert report.ok, report
        return report

    def release(self, number: int, *grants: str, parent: str | None = None) -> str:
        """An output as the pipeline would have released it under these grants."""
        output_id = f"{number:016x}"
        tags = [
            {"tag": f"mood/{name}", "granted": True, "grant": name, "holder": "house"}
            for name in grants
        ]
        content = output_id.encode()
        self.ledger.reserve(output_id, 1)
        self.ledger.append_release(
            {
                "seal": {"id": output_id, "epoch": 1},
                "request": {"parent": parent},
                "decision": {"tags": tags},
                "audio": {"duration_s": 10.0},
                "file": {"sha256": hashlib.sha256(content).hexdigest()},
                "credits": [],
            },
            file_name=f"{output_id}.wav",
            fingerprint=b"",
        )
        (self.outputs / f"{output_id}.wav").write_bytes(content)
        return output_id

    def file(self, output_id: str) -> Path:
        return self.outputs / f"{output_id}.wav"

    def policy(self) -> ConsentPolicy:
        return ConsentPolicy(
            self.registrar.registry(),
            known_tags=self.registrar.vocabulary(),
            model_uses={"house": GENERATION_USES},
        )

    def allowed(self, tag="genre/jazz", use="commercial") -> bool:
        policy = self.policy()
        at = policy.registry.present(self.now())
        return policy.decide([tag], use=use, territory="WORLD", model="house", at=at).allowed


@pytest.fixture
def desk(database_location, tmp_path):
    desk = Desk(database_location, tmp_path)
    yield desk
    desk.ledger.close()


@pytest.fixture
def local(tmp_path):
    desk = Desk(tmp_path / "ledger.db", tmp_path)
    yield desk
    desk.ledger.close()


def kinds(desk) -> list[str]:
    return [entry.kind for entry in desk.ledger.entries()]


def test_a_fresh_studio_takes_in_what_it_ships_with_once(desk):
    assert desk.allowed()
    assert not desk.allowed("genre/choral")
    before = kinds(desk)
    assert before.count("holder") == before.count("grant") == 5
    assert before[-1] == "consent-start"
    # A file put there later is not believed because it lies there.
    extra = sign(
        new_document(
            HolderDocument,
            "eve",
            profile=HolderTerms(name="Eve", kind="label", public_key=key_of("eve").public.text),
            audience="*",
        ),
        key_of("eve"),
    )
    (desk.signed / "signed" / "99.json").write_bytes(file_of(extra))
    assert "eve" not in desk.another().registry().holders
    assert kinds(desk) == before


def test_an_interrupted_first_start_is_finished_by_the_next(local, tmp_path):
    ledger = Ledger.open(tmp_path / "second.db", outputs=tmp_path)
    half = ConsentService(ledger, studio="here", outputs=tmp_path)
    first = sorted((local.signed / "signed").glob("*.json"))[0]
    half._import(read_file(first.read_bytes())[:1], "shipped")
    whole = ConsentService(ledger, studio="here", outputs=tmp_path)
    whole.start(local.signed / "signed")
    assert len(whole.registry().grants) == 5
    with pytest.raises(ConfigError, match="no signed consent"):
        other = Ledger.open(tmp_path / "3.db", outputs=tmp_path)
        ConsentService(other, studio="x", outputs=tmp_path).start(tmp_path / "nowhere")
    ledger.close()


def test_a_grant_and_its_entry_stand_together(desk):
    report = desk.take(grant("g1", on_revocation="withdraw"))
    (line,) = report.documents
    entry = desk.ledger.entry(line.entry)
    assert entry.kind == "grant"
    assert entry.body["digest"] == line.digest
    assert entry.body["grant"] == "g1"
    assert entry.body["on_revocation"] == "withdraw"
    assert desk.ledger.verify().ok
    # No name and no typed text in the ledger.
    desk.take(revocation("g1", reason="because of Ada Example"))
    leaves = b"".join(entry.leaf for entry in desk.ledger.entries())
    assert b"Ada Example" not in leaves
    assert b"House catalogue" not in leaves


def test_nothing_is_recorded_where_the_row_cannot_be_written(desk, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("the disk is full")

    before = kinds(desk)
    monkeypatch.setattr(desk.registrar.store, "insert", fail)
    with pytest.raises(RuntimeError, match="full"):
        desk.registrar.import_file(file_of(grant("g1")))
    assert kinds(desk) == before
    assert "g1" not in desk.another().registry().grants


def test_a_file_is_judged_document_by_document(desk):
    good, bad = grant("g1"), grant("g2", tags=["genre/polka"])
    report = desk.registrar.import_file(file_of(good, bad))
    assert not report.ok
    assert [document.accepted for document in report.documents] == [True, False]
    assert report.documents[1].refusal == "unknown-tag"
    assert "studio tags" in report.documents[1].line()
    assert json.dumps(report.to_json())
    again = desk.registrar.import_file(file_of(good))
    assert again.documents[0].refusal == "replayed"


def test_another_process_sees_it_at_its_next_call(desk):
    other = desk.another()
    seen = other.registry()
    assert other.registry() is seen, "unchanged: nothing is read again"
    desk.take(grant("g1"))
    assert "g1" in other.registry().grants
    desk.take(revocation("g1"))
    assert other.registry().revoked_at("g1") is not None


def test_two_processes_that_import_the_same_file_record_it_once(desk):
    before = kinds(desk).count("grant")
    desks = [desk.another() for _ in range(4)]
    data, reports = file_of(grant("g1"), grant("g2")), []
    start = threading.Barrier(len(desks))

    def work(registrar):
        start.wait()
        reports.append(registrar.import_file(data))

    threads = [threading.Thread(target=work, args=[registrar]) for registrar in desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    accepted = [d.about for report in reports for d in report.documents if d.accepted]
    assert sorted(accepted) == ["grant g1 of house", "grant g2 of house"]
    assert kinds(desk).count("grant") == before + 2
    assert desk.ledger.verify().ok


def test_a_row_written_by_hand_makes_consent_unreadable(desk):
    """Whoever can write the table cannot write a grant: there is no signature for it."""
    forged = sign(grant("forged").document, key_of("mallory"))
    house = key_of("house").public.id
    signatures = [{"algorithm": "ed25519", "key": house, "signature": "A" * 86 + "=="}]

    def also(connection):
        index = connection.scalar(text("SELECT max(idx) FROM ledger_entry"))
        connection.execute(
            insert(consent_document).values(
                entry_idx=index,
                digest=forged.digest,
                document_id=forged.document.id,
                kind="grant",
                holder="house",
                serial=forged.document.serial,
                admission="signature",
                content=forged.content,
                signatures=json.dumps(signatures).encode(),
            )
        )

    desk.ledger.append("grant", {"digest": forged.digest, "admission": "signature"}, also=also)
    with pytest.raises(LedgerError, match="not sound"):
        desk.registrar.registry()


def test_documents_are_append_only(desk):
    for statement in (
        "UPDATE consent_document SET admission = 'shipped'",
        "DELETE FROM consent_document",
    ):
        with (
            pytest.raises(LedgerError, match="append-only"),
            desk.ledger.database.writing() as connection,
        ):
            connection.execute(text(statement))


def test_admitting_overriding_and_exporting(desk):
    key = key_of("ada")
    profile = HolderTerms(name="Ada", kind="artist", public_key=key.public.text)
    card = file_of(sign(new_document(HolderDocument, "ada", profile=profile, audience="*"), key))
    assert desk.registrar.import_file(card).documents[0].refusal == "not-admitted"
    with pytest.raises(ConsentRefusedError, match="not the one given"):
        desk.registrar.admit(card, key_of("eve").public.fingerprint)
    assert desk.registrar.admit(card, key.public.fingerprint.upper()).ok
    new = key_of("ada later")
    change = file_of(
        sign(new_document(KeyDocument, "ada", new_public_key=new.public.text, audience="*"), new)
    )
    assert not desk.registrar.import_file(change).ok
    report = desk.registrar.override_key(change, new.public.fingerprint, lost=True)
    assert desk.ledger.entry(report.documents[0].entry).body["admission"] == "override-lost"
    (ada,) = [status for status in desk.registrar.holders() if status.holder.id == "ada"]
    assert ada.key == new.public.id
    assert ada.retired_keys == (key.public.id,)
    exported = read_file(desk.registrar.export("ada"))
    assert [type(one.document) for one in exported] == [HolderDocument, KeyDocument]
    with pytest.raises(UsageError):
        desk.registrar.export("nobody")


def test_a_revocation_shows_its_effect_before_and_after(desk):
    desk.take(grant("g1", tags=["mood/calm"]), grant("g2", on_revocation="withdraw"))
    kept, gone = desk.release(1, "g1"), desk.release(2, "g1", "g2")
    child = desk.release(3, "g1", parent=gone)
    preview = desk.registrar.preview("g2", desk.policy())
    assert [affected.output.output_id for affected in preview.outputs] == [gone, child]
    assert preview.seconds == 20.0
    assert preview.dark_tags == (), "the house grants the same tags"
    assert desk.file(gone).exists(), "a preview does nothing"
    report = desk.take(revocation("g2"))
    assert set(report.withdrawn) == {gone, child}
    assert not desk.file(gone).exists()
    assert desk.file(kept).exists()
    assert kinds(desk)[-2:] == ["withdrawal", "withdrawal"]
    assert desk.ledger.verify().ok
    states = {s.grant.id: s.state for s in desk.registrar.grants()}
    assert states["g2"] is GrantState.REVOKED
    assert states["g1"] is GrantState.LIVE
    with pytest.raises(UsageError):
        desk.registrar.affected("never-given")


def test_an_answer_given_before_a_change_is_not_given_after_it(local):
    """What is kept ready per tag is kept only for tags that a change does not touch."""
    assert local.allowed("genre/jazz")
    assert local.allowed("mood/calm")
    local.take(grant("jazz", tags=["genre/jazz"]))
    local.take(revocation(HOUSE_GRANT))
    assert local.allowed("genre/jazz")
    assert not local.allowed("mood/calm")
    ready = local.registrar.registry().index("mood/calm")
    local.take(revocation("jazz"))
    assert not local.allowed("genre/jazz")
    assert local.registrar.registry().index("mood/calm") is ready


def test_tags_that_would_go_dark(local):
    house = local.registrar.preview(HOUSE_GRANT, local.policy())
    assert dict(house.dark_tags)["genre/jazz"] == ("experiment", "noncommercial", "commercial")
    local.take(grant("second", tags=["genre/jazz"], uses=["experiment"]))
    house = local.registrar.preview(HOUSE_GRANT, local.policy())
    assert dict(house.dark_tags)["genre/jazz"] == ("noncommercial", "commercial")


@pytest.mark.parametrize(
    ("terms", "state", "file_stays"),
    [
        ("keep", DistributionState.OPEN, True),
        ("no-new-distribution", DistributionState.STOPPED, True),
        ("withdraw", DistributionState.WITHDRAWN, False),
    ],
)
def test_each_policy_of_revocation(local, terms, state, file_stays):
    local.take(grant("g1", on_revocation=terms))
    output, untouched = local.release(1, "g1"), local.release(2, HOUSE_GRANT)
    local.registrar.require_distribution(output)
    local.take(revocation("g1"))
    assert local.registrar.distribution(output).state is state
    assert local.file(output).exists() == file_stays
    if state is DistributionState.OPEN:
        local.registrar.require_distribution(output)
    else:
        with pytest.raises(OutputWithdrawnError, match="House catalogue revoked the grant g1"):
            local.registrar.require_distribution(output)
    assert local.registrar.distribution(untouched).open
    assert local.registrar.enforce() == (), "once is enough"


def test_a_revocation_for_a_later_date_comes_due_by_itself(local):
    local.take(grant("g1", tags=["mood/dark"], on_revocation="withdraw"))
    output = local.release(1, "g1")
    local.take(revocation("g1", effective_at=local.now() + timedelta(days=30)))
    assert local.registrar.distribution(output).open
    assert local.file(output).exists()
    local.later = timedelta(days=31)
    with pytest.raises(OutputWithdrawnError):
        local.registrar.require_distribution(output)
    assert not local.file(output).exists()
    assert kinds(local)[-1] == "withdrawal"


def test_a_crash_between_entry_and_removal_is_finished_later(local, monkeypatch):
    local.take(grant("g1", on_revocation="withdraw"))
    output = local.release(1, "g1")
    with monkeypatch.context() as patched:
        patched.setattr(local.registrar, "_remove", lambda _output: None)  # the process died
        local.take(revocation("g1"))
    assert local.file(output).exists()
    local.another().enforce()
    assert not local.file(output).exists()
    assert kinds(local).count("withdrawal") == 1
    assert local.registrar.withdrawn_files() == {f"{output}.wav"}


def test_a_clock_that_is_set_back_does_not_undo_a_revocation(local):
    local.take(grant("g1", tags=["mood/dark"]))
    local.take(revocation(HOUSE_GRANT))
    assert not local.allowed()
    local.later = -timedelta(days=2)
    assert not local.allowed()


@pytest.fixture
def looked(local, monkeypatch) -> list[int]:
    """Grows by one whenever the database is read."""
    looks = []
    reading = local.ledger.database.reading

    def counted():
        looks.append(1)
        return reading()

    monkeypatch.setattr(local.ledger.database, "reading", counted)
    return looks


def test_unchanged_consent_costs_one_look(local, looked):
    """However many grants there are: nothing but the newest entry's number is read."""
    local.take(*(grant(f"g{number}") for number in range(12)))
    before = local.registrar.registry()
    looked.clear()
    assert local.registrar.registry() is before
    assert len(looked) == 1


def test_lists_look_into_the_database_a_few_times_however_long_they_are(local, looked):
    local.take(*(grant(f"g{number}") for number in range(12)))
    for number in range(12):
        local.release(number, "g1")
    for ask in (
        local.registrar.grants,
        local.registrar.holders,
        lambda: local.registrar.affected("g1"),
        lambda: local.registrar.preview("g1", local.policy()),
    ):
        looked.clear()
        assert ask()
        assert len(looked) <= 8
