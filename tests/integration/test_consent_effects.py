"""What consent does to real outputs: a running request, downloads, verdicts, the command line."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner

import studio.app.container
from studio.app.gateway import Gateway
from studio.cli.main import cli
from studio.core.errors import ConsentRefusedError, OutputGoneError, OutputWithdrawnError
from studio.generation.progress import Stage
from tests.support.consent import CONSENT, HOUSE_GRANT, file_of, grant, revocation
from tests.support.studios import PlainGenerator, as_owner, events, left_over, make_studio, music

TAGS = ("mood/calm", "tempo/slow")


@pytest.fixture
def house(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator(music(3, 6.0))) as studio:
        yield studio


@pytest.fixture
def routes(house):
    from starlette.testclient import TestClient

    from studio.web.api.app import create_api
    from studio.web.http.download_tokens import DownloadTokens
    from studio.web.jobs.queue import JobRunner

    download_tokens = DownloadTokens()
    with JobRunner(running=1, waiting=1) as making, JobRunner(running=1, waiting=1) as checking:
        api = create_api(Gateway(house), download_tokens, making=making, checking=checking)
        yield download_tokens, TestClient(api, base_url="http://127.0.0.1:7860")


def make(studio, **options):
    return as_owner(studio).generation.create(
        as_owner(studio).generation.request(TAGS, duration_s=6.0, seed=7, use="experiment"),
        **options,
    )


def only_under(studio, **terms):
    """Every grant of the house is replaced by one with these terms."""
    assert (
        as_owner(studio)
        .consent.import_file(file_of(grant("only", **terms), revocation(HOUSE_GRANT)))
        .ok
    )


def test_consent_that_moves_between_decision_and_commit_stops_the_release(house, monkeypatch):
    """The last gap: the decision at release was taken, the revocation commits, then the entry."""
    append = house.ledger().append_release

    def late(*args, **kwargs):
        monkeypatch.setattr(house.ledger(), "append_release", append)
        assert as_owner(house).consent.import_file(file_of(revocation())).ok
        return append(*args, **kwargs)

    monkeypatch.setattr(house.ledger(), "append_release", late)
    with pytest.raises(ConsentRefusedError, match="revoked"):
        make(house)
    assert events(house) == ["revocation", "refusal"]
    assert left_over(house) == []


def test_consent_that_moves_without_touching_the_request_does_not_stop_it(house, monkeypatch):
    append = house.ledger().append_release

    def late(*args, **kwargs):
        monkeypatch.setattr(house.ledger(), "append_release", append)
        assert as_owner(house).consent.import_file(file_of(grant("another", tags=["mood/dark"]))).ok
        return append(*args, **kwargs)

    monkeypatch.setattr(house.ledger(), "append_release", late)
    release = make(house)
    assert events(house) == ["grant", "release"]
    assert as_owner(house).outputs.audio_file(release.output_id).exists()


def test_a_revocation_by_another_process_stops_a_running_request(house, tmp_path):
    def meanwhile(step):
        if step.stage is Stage.GENERATE and step.fraction > 0.3 and not done:
            done.append(True)
            with make_studio(tmp_path) as other:
                assert as_owner(other).consent.import_file(file_of(revocation())).ok

    done = []
    with pytest.raises(ConsentRefusedError, match="revoked"):
        make(house, progress=meanwhile)
    assert done
    assert left_over(house) == []


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        ("keep", None),
        ("no-new-distribution", OutputWithdrawnError),
        ("withdraw", OutputWithdrawnError),
    ],
)
def test_a_revocation_and_its_effect_on_downloads_and_verdicts(house, routes, terms, error):
    only_under(house, on_revocation=terms)
    release = make(house)
    copy = release.path.read_bytes()
    download_tokens, client = routes
    url = f"/outputs/{release.output_id}/audio"
    claim = {"claim": download_tokens.claim(release.output_id)}
    assert client.get(url, params=claim).status_code == 200

    report = as_owner(house).consent.import_file(file_of(revocation("only")))
    assert report.ok
    assert (release.output_id in report.withdrawn) == (terms == "withdraw")
    answer = client.get(url, params=claim)
    if error is None:
        assert answer.status_code == 200
    else:
        assert answer.status_code in (410, 451)
        assert "revoked the grant only" in answer.json()["error"]["message"]
        with pytest.raises(error):
            as_owner(house).outputs.audio_file(release.output_id)
    assert release.path.exists() == (terms != "withdraw")
    assert client.get(f"/outputs/{release.output_id}").status_code == 200, "the record remains"

    verdict = as_owner(house).verification.verify(copy)
    assert {line.effect for line in verdict.consent} == {terms}
    assert ("withdrawn" in verdict.explanation) == (terms == "withdraw")
    assert "is revoked since" in verdict.explanation
    # The next start has nothing to complain of and brings nothing back.
    recovered = as_owner(house).generation.recover()
    assert recovered.missing == recovered.completed == ()
    assert release.path.exists() == (terms != "withdraw")


def test_a_file_that_is_lost_is_still_told_from_one_that_is_withdrawn(house):
    release = make(house)
    release.path.unlink()
    with pytest.raises(OutputGoneError):
        as_owner(house).outputs.audio_file(release.output_id)
    assert as_owner(house).generation.recover().missing == (release.path.name,)


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(
        studio.app.container, "open_container", lambda: make_studio(tmp_path / "studio")
    )

    def run(*words: object, code: int = 0):
        result = CliRunner().invoke(cli, [str(word) for word in words], prog_name="studio")
        assert result.exit_code == code, result.output
        return result

    return run


def test_a_label_sends_a_grant_by_mail_and_takes_it_back(run, tmp_path):
    key, new_key = tmp_path / "ada.pem", tmp_path / "ada-2.pem"
    spoken = run("consent", "keygen", key).stdout.strip()
    assert run("consent", "fingerprint", key).stdout.strip() == spoken
    card, mail = tmp_path / "ada.json", tmp_path / "mail.json"
    run("consent", "holder", "new", "--holder", "ada", "--name", "Ada", "--kind", "artist",
        "--key", key, "--out", card, "--audience", "*")  # fmt: skip
    assert "not-admitted" in run("consent", "import", card, code=1).output
    run("consent", "holder", "admit", card, "--fingerprint", "0" * 64, code=1)
    run("consent", "holder", "admit", card, "--fingerprint", spoken)

    vocabulary = tmp_path / "tags.yaml"
    vocabulary.write_text("genre:\n  cloud-polka: polka from far away\n")
    site = run("consent", "site").stdout.strip()
    run("consent", "tags", vocabulary, "--holder", "ada", "--key", key, "--out", mail,
        "--audience", site)  # fmt: skip
    run("consent", "import", mail)
    draft = yaml.safe_load((CONSENT / "grants" / f"{HOUSE_GRANT}.yaml").read_text())
    draft["grant"] |= {"id": "ada-1", "holder": "ada", "tags": ["genre/cloud-polka"]}
    (tmp_path / "draft.yaml").write_text(yaml.safe_dump(draft))
    run("consent", "grant", tmp_path / "draft.yaml", "--key", key, "--out", mail,
        "--audience", site)  # fmt: skip
    run("consent", "check", "--tags", "genre/cloud-polka", code=1)
    (line,) = map(json.loads, run("consent", "import", mail, "--json").stdout.splitlines())
    assert line["accepted"]
    run("consent", "check", "--tags", "genre/cloud-polka")
    assert "replayed" in run("consent", "import", mail, code=1).output

    preview = json.loads(run("consent", "preview", "ada-1", "--json").stdout)
    assert preview["dark_tags"] == {
        "genre/cloud-polka": ["experiment", "noncommercial", "commercial"]
    }
    run("consent", "holder", "rotate", "--holder", "ada", "--key", key, "--new-key",
        run("consent", "keygen", new_key) and new_key, "--out", mail)  # fmt: skip
    run("consent", "import", mail)
    run("consent", "revoke", "ada-1", "--holder", "ada", "--key", key, "--out", mail)
    assert "retired-key" in run("consent", "import", mail, code=1).output
    run("consent", "revoke", "ada-1", "--holder", "ada", "--key", new_key, "--out", mail,
        "--reason", "a change of heart")  # fmt: skip
    run("consent", "import", mail)
    assert "revoked" in run("consent", "check", "--tags", "genre/cloud-polka", code=1).output
    assert "a change of heart" in run("consent", "list").stdout
    exported = tmp_path / "all.json"
    run("consent", "export", "--holder", "ada", "--out", exported)
    assert len(json.loads(exported.read_text())["documents"]) == 5
    assert run("ledger", "verify").stdout


def test_what_cannot_be_signed_or_read_says_why(run, tmp_path):
    key = tmp_path / "k.pem"
    run("consent", "keygen", key)
    run("consent", "keygen", key, code=2)
    refused = run("consent", "revoke", "g", "--holder", "Not An Id", "--key", key, "--out",
                  tmp_path / "x.json", code=2)  # fmt: skip
    assert "holder" in refused.output
    (tmp_path / "not.json").write_text("hello")
    assert (
        "not a file of signed consent"
        in run("consent", "import", tmp_path / "not.json", code=3).output
    )
    run("consent", "preview", "never-given", code=2)
