"""Grants count in the studios they were signed for: site ids, former names, explicit choices."""

from __future__ import annotations

import base64
import json
import threading

import pytest
from click.testing import CliRunner

from studio.cli.main import cli
from studio.consent.administration import ConsentService
from studio.consent.administration.site import site_id
from studio.consent.signed.admission import Refusal
from studio.consent.signed.documents import canonical
from studio.consent.signed.signing import SignedDocument, read_file
from studio.provenance.ledger.log import Ledger
from tests.support.consent import (
    CONSENT,
    HOUSE_GRANT,
    file_of,
    grant,
    key_of,
    revocation,
    sign_shipped,
)


@pytest.fixture
def make(tmp_path):
    """Makes one studio's registrar after another, each with a home of its own."""
    (tmp_path / "consent").mkdir()
    sign_shipped(tmp_path / "consent")
    ledgers = []

    def made(number: int, name: str | None = None) -> ConsentService:
        folder = tmp_path / f"home-{number}"
        folder.mkdir(exist_ok=True)
        ledgers.append(Ledger.open(folder / "ledger.db", outputs=folder))
        registrar = ConsentService(ledgers[-1], studio=name, outputs=folder)
        registrar.start(tmp_path / "consent" / "signed")
        return registrar

    yield made
    for ledger in ledgers:
        ledger.close()


def refusals(registrar: ConsentService, *documents: SignedDocument) -> list[str | None]:
    return [line.refusal for line in registrar.import_file(file_of(*documents)).documents]


def to(audience: str, id: str = "g1") -> SignedDocument:
    return grant(id, envelope={"audience": audience})


def test_two_installations_have_two_ids_that_stay(make):
    one, two = make(1), make(2)
    assert one.site() != two.site()
    assert make(1).site() == one.site()
    sites = one._ledger.entries(kind="site")
    assert [entry.body["id"] for entry in sites] == [one.site()]


def test_a_grant_for_one_home_does_not_count_in_another(make):
    one, two = make(1), make(2)
    signed = to(one.site())
    assert refusals(two, signed) == [Refusal.AUDIENCE]
    assert refusals(one, signed) == [None]
    assert "g1" in one.registry().grants
    assert "g1" not in two.registry().grants
    (line,) = two.import_file(file_of(signed)).documents
    assert two.site() in line.advice


def test_a_grant_for_every_studio_is_the_holder_s_explicit_choice(make):
    signed = to("*")
    assert refusals(make(1), signed) == refusals(make(2), signed) == [None]


@pytest.mark.parametrize("name", [None, "local-studio"])
def test_the_name_every_studio_had_addresses_nobody(make, name):
    assert refusals(make(1, name), to("local-studio")) == [Refusal.AUDIENCE]


def test_a_name_of_the_operator_s_counts_beside_the_id(make):
    named = make(1, "radio-nova")
    assert refusals(named, to("radio-nova"), to(named.site(), "g2")) == [None, None]
    assert refusals(make(2), to("radio-nova")) == [Refusal.AUDIENCE]


def test_a_grant_that_says_nothing_is_for_nobody(make):
    """Signed elsewhere, over a document without the field."""
    file = json.loads(file_of(to("*")))
    (signed,) = file["documents"]
    del signed["document"]["audience"]
    key = key_of("house")
    (signature,) = signed["signatures"]
    signature["signature"] = base64.b64encode(key.sign(canonical(signed["document"]))).decode()
    silent = json.dumps(file).encode()
    assert read_file(silent)[0].signed_by(key.public), "the signature itself is good"
    (line,) = make(1).import_file(silent).documents
    assert line.refusal == Refusal.AUDIENCE


def test_what_an_earlier_version_recorded_keeps_counting(make, monkeypatch):
    """A home of before site ids, with a grant for the name that every studio had."""
    import studio.consent.administration.service as desk

    with monkeypatch.context() as before:
        before.setattr(desk, "site_id", lambda _ledger: "local-studio")
        old = make(1)
        assert refusals(old, to("local-studio")) == [None]
        assert not old._ledger.entries(kind="site")
    now = make(1)
    assert now.site().startswith("site-")
    assert {"g1", HOUSE_GRANT} <= set(now.registry().grants)
    assert refusals(now, to("local-studio", "g2")) == [Refusal.AUDIENCE]
    assert now._ledger.verify().ok


def test_a_revocation_reaches_every_studio_unless_it_names_one(make):
    one, two = make(1), make(2)
    assert refusals(one, revocation()) == refusals(two, revocation()) == [None]


def test_processes_that_start_at_once_agree(tmp_path):
    found, barrier = [], threading.Barrier(4)

    def start() -> None:
        ledger = Ledger.open(tmp_path / "ledger.db", outputs=tmp_path)
        barrier.wait()
        found.append(site_id(ledger))
        ledger.close()

    Ledger.open(tmp_path / "ledger.db", outputs=tmp_path).close()
    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


# -- signing ---------------------------------------------------------------------------------------

DRAFT = CONSENT / "grants" / f"{HOUSE_GRANT}.yaml"


def signing(tmp_path, draft, *options):
    key = tmp_path / "house.pem"
    if not key.exists():
        key_of("house").save(key)
    out = tmp_path / "grant.json"
    out.unlink(missing_ok=True)
    done = CliRunner().invoke(
        cli, ["consent", "grant", str(draft), "--key", str(key), "--out", str(out), *options]
    )
    audience = read_file(out.read_bytes())[0].document.audience if out.exists() else None
    return done, audience


def test_signing_a_grant_takes_a_word_on_whom_it_is_for(tmp_path):
    silent = tmp_path / "draft.yaml"
    silent.write_text(DRAFT.read_text().replace('audience: "*"\n', ""))
    done, audience = signing(tmp_path, silent)
    assert done.exit_code == 2
    assert audience is None
    assert "which studio" in done.stderr
    done, audience = signing(tmp_path, silent, "--audience", "site-00ff")
    assert (done.exit_code, audience) == (0, "site-00ff")
    assert "counts in site-00ff only" in done.stderr
    done, audience = signing(tmp_path, DRAFT)  # whose draft says it
    assert (done.exit_code, audience) == (0, "*")
    assert "counts in every studio" in done.stderr


@pytest.mark.parametrize("command", ["tags", "holder new"])
def test_no_command_that_gives_something_means_every_studio_by_itself(command):
    done = CliRunner().invoke(cli, ["consent", *command.split()])
    parameters = {p.name: p for p in _command(command).params}
    assert parameters["audience"].required
    assert done.exit_code == 2


def _command(path: str):
    command = cli.commands["consent"]
    for name in path.split():
        command = command.commands[name]
    return command
