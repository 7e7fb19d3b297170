"""Links that show one output to whoever holds them, and to nobody else."""

from __future__ import annotations

import logging

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from studio.accounts.permissions import Role
from studio.app.gateway import Gateway
from studio.cli.main import cli
from studio.core.errors import AccessDeniedError, NotYoursError, RequestRefusedError
from studio.web.api.app import create_api
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.queue import JobRunner
from studio.web.public.sharing import share_routes
from tests.support.accounts import NAMES, add_one_of_each, with_cheap_passwords
from tests.support.consent import HOUSE_GRANT, file_of, grant, revocation
from tests.support.studios import (
    PlainGenerator,
    as_account,
    as_owner,
    events,
    make_studio,
    revoke,
)

TAGS = ["genre/jazz", "mood/calm"]
ADA = NAMES[Role.ARTIST]
PAGES = ("", "/audio", "/receipt", "/record.json")


def make(session, seed):
    request = session.generation.request(TAGS, duration_s=4, seed=seed, sheet="key: C major")
    return session.generation.create(request)


@pytest.fixture
def studio(tmp_path):
    """With accounts, and under a grant whose revocation withdraws outputs."""
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        only = file_of(grant("only", on_revocation="withdraw"), revocation(HOUSE_GRANT))
        assert as_owner(studio).consent.import_file(only).ok
        with_cheap_passwords(studio)
        add_one_of_each(studio.accounts())
        yield studio


@pytest.fixture
def ada(studio):
    return as_account(studio, ADA)


@pytest.fixture
def release(ada):
    return make(ada, 1)


def visitor(studio):
    """A stranger: no account, no cookie."""
    runners = JobRunner(running=1, waiting=1), JobRunner(running=1, waiting=1)
    gateway = Gateway(studio)
    api = create_api(gateway, DownloadTokens(), making=runners[0], checking=runners[1])
    api.include_router(share_routes(gateway))
    return TestClient(api, base_url="https://studio.example", follow_redirects=False)


@pytest.fixture
def stranger(studio):
    return visitor(studio)


def test_a_link_shows_player_record_credits_and_receipt_to_a_stranger(stranger, ada, release):
    path = ada.outputs.share(release.output_id).path
    page = stranger.get(f"/{path}")
    assert page.status_code == 200
    for text in (*release.credits, release.seal_id, release.sha256, f"/{path}/audio", "Calm jazz"):
        assert text in page.text
    assert "<script" not in page.text
    audio = stranger.get(f"/{path}/audio")
    assert (audio.content, audio.headers["content-type"]) == (
        release.path.read_bytes(),
        "audio/wav",
    )
    some = stranger.get(f"/{path}/audio", headers={"Range": "bytes=0-3"})
    assert (some.status_code, some.content) == (206, b"RIFF")
    record = stranger.get(f"/{path}/record.json").json()
    assert record["output_id"] == release.output_id
    assert "sheet" in ada.outputs.get(release.output_id).request.to_json()
    assert "sheet" not in record["request"]
    assert "House catalogue" in stranger.get(f"/{path}/receipt").text


def test_nobody_is_followed_and_no_search_engine_comes(stranger, ada, release):
    path = ada.outputs.share(release.output_id).path
    for page in PAGES:
        answer = stranger.get(f"/{path}{page}")
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert "noindex" in answer.headers["x-robots-tag"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "private, no-store"
        if page in ("", "/receipt"):
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'")
            assert "script-src" not in policy


def test_without_the_token_there_is_nothing(stranger, ada, release):
    token = ada.outputs.share(release.output_id).path.rpartition("/")[2]
    other = make(ada, 2)
    theirs = ada.outputs.share(other.output_id).path.rpartition("/")[2]
    changed = ("A" if token[0] != "A" else "B") + token[1:]
    for page in PAGES:
        wrong = [
            f"/share/{release.output_id}/{changed}{page}",
            f"/share/{release.output_id}/{theirs}{page}",  # another output's token
            f"/share/{other.output_id}/{token}{page}",
            f"/share/{release.output_id}/{token[:-1]}{page}",
            f"/share/{release.output_id}/{token.swapcase()}{page}",
            f"/share/{release.output_id}/%C3%BC{page}",
            f"/share/{'0' * 16}/{token}{page}",
            f"/share/none/{token}{page}",
        ]
        answers = [stranger.get(address) for address in wrong]
        assert [answer.status_code for answer in answers] == [404] * len(wrong)
        assert len({answer.text for answer in answers}) == 1
        assert "There is no such link." in answers[0].text
        assert stranger.get(f"/share/{release.output_id}/{token}{page}").status_code == 200


def test_an_output_that_was_never_shared_opens_by_no_link(stranger, release):
    assert stranger.get(f"/share/{release.output_id}/{'A' * 43}").status_code == 404
    assert stranger.get(f"/outputs/{release.output_id}").status_code == 401


def test_a_withdrawn_link_says_so_and_a_new_one_is_another(stranger, ada, release):
    first = ada.outputs.share(release.output_id)
    assert ada.outputs.share(release.output_id) == first  # nothing changed
    assert ada.outputs.share(release.output_id, shared=False).path is None
    for page in PAGES:
        gone = stranger.get(f"/{first.path}{page}")
        assert gone.status_code == 410
        assert "Its maker has withdrawn this link." in gone.text
    second = ada.outputs.share(release.output_id)
    assert second.path != first.path
    for page in PAGES:
        assert stranger.get(f"/{first.path}{page}").status_code == 410
        assert stranger.get(f"/{second.path}{page}").status_code == 200


def test_each_change_is_an_entry_and_no_other(studio, ada, release):
    before = events(studio)
    ada.outputs.share(release.output_id)
    ada.outputs.share(release.output_id)
    ada.outputs.share(release.output_id, shared=False)
    ada.outputs.share(release.output_id, shared=False)
    assert events(studio) == [*before, "sharing", "sharing"]
    bodies = [entry.body for entry in studio.ledger().entries(kind="sharing")]
    assert [body["shared"] for body in bodies] == [True, False]


def test_what_is_withdrawn_discarded_or_lost_is_gone(studio, stranger, ada, release):
    path = f"/{ada.outputs.share(release.output_id).path}"

    def answers():
        return [stranger.get(f"{path}{page}").status_code for page in PAGES]

    ada.outputs.shelve(release.output_id, discarded=True)
    assert "put this music away" in stranger.get(path).text
    assert answers() == [410] * 4
    ada.outputs.shelve(release.output_id, discarded=False)
    assert answers() == [200] * 4
    aside = release.path.rename(release.path.with_suffix(".aside"))
    assert answers() == [410] * 4
    aside.rename(release.path)
    assert answers() == [200] * 4
    revoke(studio, "only")
    assert answers() == [410] * 4
    gone = stranger.get(path).text
    assert "A rights holder has withdrawn this music." in gone
    assert "only" not in gone


def test_the_links_of_a_closed_account_open_nothing(studio, stranger, ada, release):
    path = f"/{ada.outputs.share(release.output_id).path}"
    studio.accounts().disable(ADA, by=None)
    assert stranger.get(path).status_code == 410
    studio.accounts().enable(ADA, by=None)
    assert stranger.get(path).status_code == 200
    studio.accounts().disable(ADA, by=None)
    studio.accounts().delete(ADA, by=None)
    assert stranger.get(path).status_code == 410


def test_only_the_owner_and_administrators_share(studio, release):
    for role in (Role.VERIFIER, Role.REGISTRAR):
        with pytest.raises(AccessDeniedError):
            as_account(studio, NAMES[role]).outputs.share(release.output_id)
    studio.accounts().add("eve", Role.ARTIST, "a long enough password", by=None)
    for call in ("share", "sharing"):
        with pytest.raises(NotYoursError):
            getattr(as_account(studio, "eve").outputs, call)(release.output_id)
    assert as_account(studio, NAMES[Role.ADMINISTRATOR]).outputs.share(release.output_id).path


def test_a_new_title_is_shown_escaped(stranger, ada, release):
    path = ada.outputs.share(release.output_id).path
    ada.outputs.shelve(release.output_id, title="Tea & <b>toast</b>")
    page = stranger.get(f"/{path}").text
    assert "Tea &amp; &lt;b&gt;toast" in page
    assert "<b>toast" not in page


def test_one_address_is_slowed_down(studio, ada, release):
    sharing = studio.config.sharing.model_copy(update={"requests_per_minute": 3})
    studio.config = studio.config.model_copy(update={"sharing": sharing})
    stranger = visitor(studio)
    path = f"/{ada.outputs.share(release.output_id).path}"
    answers = [stranger.get(path) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_a_studio_may_share_nothing(studio, stranger, ada, release):
    path = f"/{ada.outputs.share(release.output_id).path}"
    sharing = studio.config.sharing.model_copy(update={"enabled": False})
    studio.config = studio.config.model_copy(update={"sharing": sharing})
    assert stranger.get(path).status_code == 404
    other = make(ada, 2)
    with pytest.raises(RequestRefusedError, match="shares no outputs"):
        ada.outputs.share(other.output_id)
    assert ada.outputs.share(release.output_id, shared=False).path is None


def test_the_log_does_not_hold_the_token(stranger, ada, release, caplog):
    path = ada.outputs.share(release.output_id).path
    with caplog.at_level(logging.INFO, logger="studio.access"):
        stranger.get(f"/{path}/audio")
        stranger.get(f"/share/{release.output_id}/guessed-token")
    assert f"/share/{release.output_id}/" in caplog.text
    assert path.rpartition("/")[2] not in caplog.text
    assert "guessed-token" not in caplog.text


def test_another_site_has_another_link(studio, ada, release, tmp_path):
    first = ada.outputs.share(release.output_id).path
    (studio.paths.keys / "sharing.key").write_bytes(b"x" * 32)
    vars(studio).pop("_sharing")
    assert ada.outputs.sharing(release.output_id).path != first


def test_the_commands_print_a_link_and_withdraw_it(tmp_path, monkeypatch):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        release = make(as_owner(studio), 1)
        monkeypatch.setenv("STUDIO_HOME", str(studio.paths.home))
        monkeypatch.setenv("STUDIO_CONFIGS", str(studio.paths.configs))
        shared = CliRunner().invoke(cli, ["share", release.output_id])
        assert shared.exit_code == 0
        path = as_owner(studio).outputs.sharing(release.output_id).path
        assert shared.output.strip() == f"{studio.config.server.address}{path}"
        assert CliRunner().invoke(cli, ["unshare", release.output_id]).exit_code == 0
        assert as_owner(studio).outputs.sharing(release.output_id).path is None
        assert CliRunner().invoke(cli, ["share", "0" * 16]).exit_code == 2
