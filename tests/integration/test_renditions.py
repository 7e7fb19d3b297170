"""Further formats of an output: sealed, signed, recorded once, and recognised as that output."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from studio.accounts.permissions import Role
from studio.cli.main import cli
from studio.core.errors import (
    AccessDeniedError,
    OutputWithdrawnError,
    RenditionUnavailableError,
    SealingError,
)
from studio.provenance.record_audit import RECORDS
from studio.verification.report import Verdict
from tests.support.accounts import NAMES, add_one_of_each, with_cheap_passwords
from tests.support.consent import HOUSE_GRANT, file_of, grant, revocation
from tests.support.studios import (
    PlainGenerator,
    as_account,
    as_owner,
    events,
    make_studio,
    music,
    revoke,
)
from watermark.audio.waveform import Waveform, encode, read

TAGS = ["genre/jazz", "mood/calm"]
SOUNDS = ("flac", "mp3", "m4a")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with make_studio(tmp_path_factory.mktemp("mixes"), generator=PlainGenerator()) as studio:
        session = as_owner(studio)
        release = session.generation.create(session.generation.request(TAGS, duration_s=8, seed=3))
        yield studio, release


@pytest.fixture
def fresh(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        session = as_owner(studio)
        release = session.generation.create(session.generation.request(TAGS, duration_s=6, seed=3))
        yield studio, release


def had(studio, release, form):
    return as_owner(studio).renditions.make(release.output_id, form)


@pytest.mark.parametrize("format", SOUNDS)
def test_a_format_is_the_output_to_the_desk_and_recorded_once(made, format):
    studio, release = made
    before = events(studio)
    first, second = had(studio, release, format), had(studio, release, format)
    assert events(studio) == [*before, "renditions"]
    assert first.content == second.content
    assert first.entry_index == second.entry_index
    assert first.file_name == f"calm-jazz.{format}"

    body = studio.ledger().entry(first.entry_index).body
    assert body["release"] == release.entry_index
    (file,) = body["files"]
    assert (file["part"], file["format"], file["transcoded_from"]) == (
        "mix",
        format,
        release.sha256,
    )
    assert file["sha256"] == hashlib.sha256(first.content).hexdigest()
    assert file["seal"]["id"] == release.seal_id

    report = as_owner(studio).verification.verify(first.content, record=False)
    assert (report.verdict, report.stem) == (Verdict.SEALED, None)
    assert report.release.output_id == release.output_id
    assert (report.c2pa["state"], report.c2pa["issued_here"]) == ("trusted", True)
    assert any(line.startswith("c2pa.transcoded") for line in report.c2pa["says"])


def test_flac_of_a_wav_is_the_same_sound_sample_for_sample(made):
    studio, release = made
    flac, wav = read(had(studio, release, "flac").content), read(release.path)
    np.testing.assert_array_equal(flac.samples, wav.samples)


def test_the_released_format_is_the_released_file(made):
    studio, release = made
    before = events(studio)
    found = had(studio, release, "wav")
    assert found.content == release.path.read_bytes()
    assert found.entry_index == release.entry_index
    assert events(studio) == before


def test_the_ledger_and_its_tables_agree(made):
    studio, release = made
    had(studio, release, "mp3")
    with studio.database().reading() as connection:
        for faults in RECORDS.values():
            assert list(faults(connection)) == []


def test_an_mp3_that_was_changed_is_not_called_signed(made):
    studio, release = made
    content = bytearray(had(studio, release, "mp3").content)
    content[-2000] ^= 0xFF
    report = as_owner(studio).verification.verify(bytes(content), record=False)
    assert report.release.output_id == release.output_id
    assert report.c2pa["state"] == "tampered"


def test_music_from_elsewhere_as_mp3_is_not_this_output(made):
    studio, release = made
    had(studio, release, "mp3")
    other = encode(music(99, 8.0), "mp3")
    report = as_owner(studio).verification.verify(other, record=False)
    assert report.verdict is Verdict.NOT_DETECTED


def test_formats_count_against_no_limit(fresh):
    studio, release = fresh
    session = as_owner(studio)
    before = session.generation.repeats_today()
    for format in SOUNDS:
        had(studio, release, format)
    assert session.generation.repeats_today() == before == (0, 20)


def test_a_file_that_was_lost_or_changed_is_made_and_recorded_again(fresh):
    studio, release = fresh
    first = had(studio, release, "mp3")
    kept = studio.paths.renditions / f"{release.output_id}.mp3"
    assert kept.read_bytes() == first.content
    kept.write_bytes(b"something else")
    second = had(studio, release, "mp3")
    assert second.entry_index > first.entry_index
    np.testing.assert_array_equal(read(second.content).samples, read(first.content).samples)
    kept.unlink()
    assert had(studio, release, "mp3").entry_index > second.entry_index


def test_a_new_title_names_the_file_and_nothing_is_made_again(fresh):
    studio, release = fresh
    first = had(studio, release, "mp3")
    as_owner(studio).outputs.shelve(release.output_id, title="Evening/Train: No. 5")
    second = had(studio, release, "mp3")
    assert second.file_name == "evening-train-no-5.mp3"
    assert second.content == first.content


def test_documents_carry_credits_and_ids(made):
    studio, release = made
    record = json.loads(had(studio, release, "record").content)
    assert (record["output_id"], record["sha256"]) == (release.output_id, release.sha256)
    text = had(studio, release, "credits").content.decode()
    assert all(line in text for line in release.credits)
    receipt = had(studio, release, "receipt")
    assert receipt.content.startswith(b"%PDF")
    assert receipt.file_name == "calm-jazz-receipt.pdf"


def test_what_cannot_be_had_says_why(made, monkeypatch):
    studio, release = made
    assert had(studio, release, "score").content.startswith(b"MThd")
    with pytest.raises(RenditionUnavailableError, match="there are: wav, flac"):
        had(studio, release, "exe")
    model = {key: value for key, value in release.model.items() if key != "score_sha256"}
    scoreless = replace(release, model=model)
    monkeypatch.setattr(studio.releases(), "get", lambda _id: scoreless)
    for form in ("stems", "score"):
        with pytest.raises(RenditionUnavailableError, match="no score"):
            had(studio, release, form)
    monkeypatch.setattr("studio.app.outputs.downloads.can_make", lambda _format: False)
    session = as_owner(studio)
    offers = {offer.form.name: offer for offer in session.renditions.offers(release.output_id)}
    assert offers["wav"].why_not is None
    assert "no encoder" in offers["m4a"].why_not
    with pytest.raises(RenditionUnavailableError, match="no encoder"):
        had(studio, release, "m4a")


def test_a_seal_that_is_lost_in_the_format_hands_nothing_out(fresh, monkeypatch):
    studio, release = fresh
    before = events(studio)
    silent = Waveform(np.zeros((1, 6 * 16_000), np.float32), 16_000)
    monkeypatch.setattr("watermark.audio.waveform.read", lambda *_a, **_k: silent)
    with pytest.raises(SealingError):
        had(studio, release, "mp3")
    monkeypatch.undo()
    assert events(studio) == before
    assert list(studio.paths.renditions.iterdir()) == []


@pytest.fixture
def withdrawable(tmp_path):
    """An output under a grant whose revocation withdraws it."""
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        session = as_owner(studio)
        only = file_of(grant("only", on_revocation="withdraw"), revocation(HOUSE_GRANT))
        assert session.consent.import_file(only).ok
        yield (
            studio,
            session.generation.create(session.generation.request(TAGS, duration_s=6, seed=3)),
        )


def test_a_withdrawn_output_has_no_further_format_and_none_is_kept(withdrawable):
    studio, release = withdrawable
    had(studio, release, "mp3")
    assert len(list(studio.paths.renditions.iterdir())) == 1
    revoke(studio, "only")
    with pytest.raises(OutputWithdrawnError):
        had(studio, release, "mp3")
    with pytest.raises(OutputWithdrawnError):
        had(studio, release, "flac")
    assert list(studio.paths.renditions.iterdir()) == []


def test_an_output_that_is_kept_after_a_revocation_can_still_be_had(fresh):
    studio, release = fresh
    revoke(studio)
    assert had(studio, release, "mp3").content


def test_anothers_output_is_not_to_be_had(fresh):
    studio, release = fresh
    with_cheap_passwords(studio)
    add_one_of_each(studio.accounts())
    for name in ("ada", "vera"):
        with pytest.raises(AccessDeniedError):
            as_account(studio, name).renditions.make(release.output_id, "mp3")
    administrator = as_account(studio, NAMES[Role.ADMINISTRATOR])
    assert administrator.renditions.make(release.output_id, "mp3").content


def test_the_command_writes_a_file_named_after_the_title(made, monkeypatch, tmp_path):
    studio, release = made
    monkeypatch.setenv("STUDIO_HOME", str(studio.paths.home))
    monkeypatch.setenv("STUDIO_CONFIGS", str(studio.paths.configs))
    monkeypatch.chdir(tmp_path)
    listed = CliRunner().invoke(cli, ["download", release.output_id])
    assert listed.exit_code == 0
    assert "calm-jazz.mp3" in listed.output
    written = had(studio, release, "mp3")
    for code in (0, 2):  # the second time the file is there
        ran = CliRunner().invoke(cli, ["download", release.output_id, "--as", "mp3"])
        assert ran.exit_code == code, ran.output
    assert (tmp_path / "calm-jazz.mp3").read_bytes() == written.content
