"""A studio of an earlier version is updated: its consent stays, and the new tags make music."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

import studio.app.container
from studio.app.container import open_container
from studio.cli.main import cli
from studio.consent.signed.drafts import SIGNED
from studio.consent.signed.keys import PublicKey
from studio.consent.signed.signing import of_one_holder
from studio.core.errors import UnknownTagError
from studio.core.paths import StudioPaths
from studio.provenance.sealer import Sealer
from tests.support.consent import CONSENT
from tests.support.seals import TonalSeal
from tests.support.studios import CONFIGS, PlainGenerator, as_owner, music

TAGS = ("genre/metal", "mood/heroic", "lead/cello", "tempo/fast")
FILE = CONSENT / SIGNED / "05-house-composer.json"
FINGERPRINT = PublicKey.parse(of_one_holder(FILE.read_bytes())[1].profile.public_key).fingerprint


@pytest.fixture
def reopen(tmp_path, monkeypatch):
    """Opens the studio at the home of the test, which started when four signed files shipped."""
    configs = tmp_path / "configs"
    shutil.copytree(CONFIGS, configs)
    (configs / "consent" / SIGNED / FILE.name).unlink()

    def reopened():
        made = open_container(paths=StudioPaths(home=tmp_path / "home", configs=configs))
        made.trust_uploads()
        vars(made)["_sealer"] = Sealer(TonalSeal())
        vars(made)["generator"] = lambda _model: PlainGenerator(music(3, 6.0))
        return made

    with reopened() as first:
        as_owner(first).generation.create(
            as_owner(first).generation.request(["genre/jazz"], duration_s=6.0, seed=1)
        )
    monkeypatch.setattr(studio.app.container, "open_container", reopened)
    return reopened


def run(*words: str, code: int = 0, **options):
    result = CliRunner().invoke(cli, list(words), prog_name="studio", **options)
    assert result.exit_code == code, result.output
    return result


def test_an_old_home_makes_music_with_a_new_tag_after_one_command(reopen):
    with reopen() as before, pytest.raises(UnknownTagError):
        as_owner(before).generation.create(
            as_owner(before).generation.request(TAGS, duration_s=6.0, seed=2)
        )
    assert "genre/metal" not in run("tags").stdout

    told = run("consent", "shipped").stdout
    assert f"{FILE.name}: House composer (project), not taken in" in told
    assert "30 tags" in told
    assert FINGERPRINT in told
    lines = run("consent", "shipped", "--json").stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["recorded"] * 4 + ["new"]

    refused = run("consent", "shipped", "house-composer", input="0000\n", code=1)
    assert "docs/consent.md" in refused.stderr
    run("consent", "shipped", "--fingerprint", FINGERPRINT, code=2)
    assert "genre/metal" not in run("tags").stdout
    run("consent", "shipped", "house-composer", input=f"{FINGERPRINT}\n")
    assert "genre/metal            granted by House composer" in run("tags").stdout

    with reopen() as after:
        release = as_owner(after).generation.create(
            as_owner(after).generation.request(TAGS, duration_s=6.0, seed=2)
        )
        grants = {tag["tag"]: tag["grant"] for tag in release.decision["tags"]}
        assert grants["genre/metal"] == "house-composer-2026"
        assert grants["tempo/fast"] == "house-catalogue-2026"
        assert after.ledger().verify().ok
    run("consent", "shipped", "house-composer", "--fingerprint", FINGERPRINT, code=2)


def test_the_same_file_is_admitted_like_that_of_any_holder(reopen):
    """By its path, where the configuration is somewhere else."""
    run("consent", "import", str(FILE), code=1)
    run("consent", "holder", "admit", str(FILE), "--fingerprint", FINGERPRINT)
    checked = run("consent", "check", "--tags", ",".join(TAGS), "--use", "commercial")
    assert checked.stdout.count("House composer") == 3


def test_a_new_studio_has_the_tags_from_its_first_start(tmp_path):
    with open_container(paths=StudioPaths(home=tmp_path / "home", configs=CONFIGS)) as fresh:
        assert as_owner(fresh).catalog.decide(TAGS, use="commercial", model="house").allowed
        assert {file.state for file in as_owner(fresh).consent.shipped()} == {"recorded"}


def test_the_documents_say_the_fingerprint_that_the_file_has():
    page = (CONFIGS.parent / "docs" / "consent.md").read_text(encoding="utf-8")
    for path in (CONSENT / SIGNED).glob("*.json"):
        holder = of_one_holder(path.read_bytes())[1]
        key = PublicKey.parse(holder.profile.public_key)
        assert f"| `{path.name}` | `{holder.holder}` | `{key.fingerprint}` |" in page
