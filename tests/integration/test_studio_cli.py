"""The studio command: its JSON, its messages and its exit codes."""

from __future__ import annotations

import json
import sqlite3

import click
import pytest
from click.testing import CliRunner

import studio.app.container
from studio.cli.main import cli, exit_code
from studio.core.errors import ConsentRefusedError, StudioError
from tests.support.studios import PlainGenerator, make_studio, music
from watermark.audio.waveform import write

TAGS = "genre/jazz,mood/calm"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs `studio ARGS` on a studio in a temporary folder."""
    monkeypatch.setattr(
        studio.app.container,
        "open_container",
        lambda: make_studio(tmp_path / "studio", generator=PlainGenerator()),
    )

    def run(*args: object):
        return CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="studio")

    return run


def lines(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def generate(run, out, *more):
    return run("generate", "--tags", TAGS, "--seconds", 8, "--seed", 7, "--out", out, *more)


def test_generate_then_verify(run, tmp_path):
    out = tmp_path / "x.wav"
    made = generate(run, out, "--json")
    assert made.exit_code == 0, made.stderr
    (release,) = lines(made)
    assert out.read_bytes()[:4] == b"RIFF"
    assert release["request"]["seed"] == 7
    assert "Reading the seal back" in made.stderr

    checked = run("verify", out, "--json")
    assert checked.exit_code == 0, checked.output
    (report,) = lines(checked)
    assert report["verdict"] == "sealed"
    assert report["seal_id"] == release["seal_id"]
    assert report["entry"] == release["entry"]

    shown = lines(run("ledger", "show", "--json"))
    assert [entry["kind"] for entry in shown][-3:] == ["consent-start", "release", "verification"]
    assert shown[-2]["leaf_hash"] == release["entry_hash"]


@pytest.mark.parametrize(("name", "magic"), [("x.flac", b"fLaC"), ("x.mp3", b"\xff")])
def test_the_extension_chooses_the_format(run, tmp_path, name, magic):
    assert generate(run, tmp_path / name).exit_code == 0
    content = (tmp_path / name).read_bytes()
    # Content Credentials of either format stand in an ID3 tag before the sound.
    assert content.startswith(b"ID3")
    size = sum(
        (byte & 0x7F) << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=True)
    )
    assert content[10 + size :].lstrip(b"\0").startswith(magic)


def test_what_a_person_reads(run, tmp_path):
    made = generate(run, tmp_path / "x.wav")
    assert "House catalogue" in made.stdout
    seen = run("verify", tmp_path / "x.wav")
    assert "x.wav: sealed" in seen.stdout
    assert "it still stands" in seen.stdout


def test_a_refusal_exits_1_and_says_why(run, tmp_path):
    out = tmp_path / "x.wav"
    done = run("generate", "--tags", "genre/choral", "--out", out)
    assert done.exit_code == 1
    assert "nobody has granted it" in done.stderr
    assert done.stdout == ""
    assert not out.exists()


@pytest.mark.parametrize(
    "args",
    [
        ["generate", "--tags", "not/a-tag"],
        ["generate"],
        ["generate", "--tags", TAGS, "--seconds", "1"],
        ["generate", "--tags", TAGS, "--out", "x.ogg"],
        ["generate", "--tags", TAGS, "--out", "x.wav", "--format", "mp3"],
        ["generate", "--tags", TAGS, "--use", "training"],
        ["generate", "--tags", TAGS, "--territory", "Atlantis"],
        ["models", "info", "nobody/nothing"],
        ["verify"],
        ["no-such-command"],
    ],
)
def test_wrong_usage_exits_2(run, args):
    done = run(*args)
    assert done.exit_code == 2, done.output
    assert done.stderr


def test_verify_exits_1_for_music_that_is_not_ours_and_3_for_no_music(run, tmp_path):
    other, broken = tmp_path / "other.wav", tmp_path / "broken.wav"
    write(other, music(5, 8.0))
    broken.write_bytes(b"RIFF")
    done = run("verify", other, "--json")
    assert done.exit_code == 1
    assert lines(done)[0]["verdict"] == "not-detected"
    both = run("verify", other, broken, tmp_path / "missing.wav", "--json")
    assert both.exit_code == 3
    answers = lines(both)
    assert [answer.get("verdict") for answer in answers] == ["not-detected", "unreadable", None]
    assert answers[2]["error"] == "there is no such file"
    assert "missing.wav: there is no such file" in both.stderr


def test_no_record_keeps_the_ledger_as_it_was(run, tmp_path):
    write(tmp_path / "other.wav", music(5, 8.0))
    run("verify", tmp_path / "other.wav", "--no-record")
    assert lines(run("ledger", "verify", "--json"))[0]["size"] == 0


def test_tags_say_who_granted_them(run):
    tags = {line["tag"]: line for line in lines(run("tags", "--json"))}
    assert tags["genre/jazz"]["grants"] == ["house-catalogue-2026"]
    assert tags["genre/choral"]["reason"] == "no-grant"
    nc = lines(run("tags", "--json", "--model", "facebook/musicgen-small", "--use", "commercial"))
    assert {line["reason"] for line in nc} == {"model-licence"}
    assert "- genre/choral" in run("tags").stdout


def test_consent_check_and_list(run):
    allowed = run("consent", "check", "--tags", TAGS, "--json")
    assert (allowed.exit_code, lines(allowed)[0]["allowed"]) == (0, True)
    refused = run("consent", "check", "--tags", "genre/jazz,genre/choral")
    assert refused.exit_code == 1
    assert "- genre/choral: nobody has granted it" in refused.stdout
    grants = {grant["id"]: grant for grant in lines(run("consent", "list", "--json"))}
    assert grants["house-catalogue-2026"]["holder"]["kind"] == "project"
    assert "demonstration-quartet-2026" in run("consent", "list").stdout


def test_models(run):
    models = {model["id"]: model for model in lines(run("models", "list", "--json"))}
    assert "commercial" in models["house"]["licence_uses"]
    info = lines(run("models", "info", "facebook/musicgen-small", "--json"))[0]
    assert info["rate"] == 32000
    assert info["tags"] is None
    assert "CC-BY-NC" in run("models", "info", "facebook/musicgen-small").stdout


def test_a_tampered_ledger_exits_1_and_names_the_entry(run, tmp_path):
    run("generate", "--tags", "genre/choral")
    assert run("ledger", "verify").exit_code == 0
    connection = sqlite3.connect(tmp_path / "studio/home/ledger.db")
    with connection:
        connection.execute("DROP TRIGGER ledger_entry_no_update")
        connection.execute("UPDATE ledger_entry SET leaf_hash = zeroblob(32)")
    connection.close()
    done = run("ledger", "verify", "--json")
    assert done.exit_code == 1
    assert lines(done)[0]["first_bad_index"] == 0
    assert "entry 0:" in run("ledger", "verify").stdout


def test_a_broken_database_exits_4(run, tmp_path):
    home = tmp_path / "studio/home"
    home.mkdir(parents=True)
    (home / "ledger.db").write_bytes(b"not a database at all " * 500)
    done = run("ledger", "verify")
    assert done.exit_code == 4
    assert "cannot open the ledger" in done.stderr
    assert "Traceback" not in done.output


def test_every_error_of_the_studio_has_an_exit_code():
    def all_of(error):
        yield error
        for child in error.__subclasses__():
            yield from all_of(child)

    for error in all_of(StudioError):
        assert exit_code(error.__new__(error)) in (1, 2, 3, 4)
    assert exit_code(ConsentRefusedError()) == 1


def all_commands(group: click.Group, *path: str):
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from all_commands(command, *path, name)


@pytest.mark.parametrize("path", list(all_commands(cli)), ids=" ".join)
def test_every_command_has_help(run, path):
    done = run(*path, "--help")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Usage: studio {' '.join(path)}")


def test_house_compose_plans_tracks_and_a_missing_catalogue_exits_4(run, tmp_path):
    done = run("house", "compose", "--out", tmp_path / "catalogue", "--limit", 2)
    assert done.exit_code == 0, done.output
    assert "2 tracks planned" in done.stdout
    assert len((tmp_path / "catalogue/plan.jsonl").read_text().splitlines()) == 2
    lost = run("house", "render", "--out", tmp_path / "nothing")
    assert lost.exit_code == 4, lost.output
    assert "compose" in lost.stderr


def test_serve_says_when_the_address_is_taken(run):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("serve", "--port", taken.getsockname()[1])
    assert done.exit_code == 2, done.output
    assert "cannot listen" in done.stderr
