"""Stems of an output: sealed, signed, recorded, and recognised by the desk as what they are."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from contextlib import closing
from dataclasses import replace
from hashlib import sha256

import c2pa
import mido
import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, select

from studio.cli.main import cli
from studio.core.db.tables.renditions import rendition
from studio.core.errors import ConsentRefusedError, LedgerError, UsageError
from studio.generation.derived.scores import ScoreStore
from studio.music.composer import arrange
from studio.provenance.record_audit import RECORDS
from studio.verification.report import Verdict
from tests.support.performers import performer_home
from tests.support.studios import PlainGenerator, as_owner, events, make_studio, music, revoke
from watermark.audio.waveform import Waveform, encode, read
from watermark.coding.message import SealId

TAGS = ("genre/jazz", "mood/calm")
STEMS = ("drums", "bass", "lead", "harmony")


class Made:
    """An output, its stems, and what went into the seals of each."""

    def __init__(self, studio):
        self.studio = studio
        self.unsealed: list[Waveform] = []
        seal, sealer = studio.sealer().seal, studio.sealer()

        def noted(waveform, *args, **options):
            self.unsealed.append(waveform)
            return seal(waveform, *args, **options)

        sealer.seal = noted
        self.release = as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=8, seed=1)
        )
        self.stems = as_owner(studio).generation.stems(self.release.output_id)
        sealer.seal = seal
        self.other = as_owner(studio).generation.create(
            as_owner(studio).generation.request(["genre/waltz"], duration_s=8, seed=2)
        )

    def content(self, stem):
        return next(file.content for file in self.stems.files if file.stem == stem)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with make_studio(tmp_path_factory.mktemp("stems")) as studio:  # with the shipped model
        yield Made(studio)


@pytest.fixture
def fresh(tmp_path):
    with make_studio(performer_home(tmp_path)) as studio:
        yield studio


def wav(waveform):
    return encode(waveform, "wav")


def test_the_four_stems_are_handed_out_and_add_up_to_the_mix(made):
    assert [file.stem for file in made.stems.files] == list(STEMS)
    assert made.stems.left_out == ()
    mix, *stems = made.unsealed
    assert len(stems) == 4
    np.testing.assert_allclose(sum(s.samples for s in stems), mix.samples, atol=1e-5)
    for file in made.stems.files:
        assert file.name == f"{made.release.title} - {file.stem}.wav"
        assert read(file.content).length == mix.length


@pytest.mark.parametrize("stem", STEMS)
def test_a_stem_is_recognised_as_that_stem_of_that_output(made, stem):
    report = as_owner(made.studio).verification.verify(made.content(stem), record=False)
    assert report.verdict in (Verdict.SEALED, Verdict.EXCERPT)
    assert report.release.output_id == made.release.output_id
    assert report.stem == stem
    assert f"the {stem} stem of “{made.release.title}”" in report.explanation
    assert report.to_json()["stem"] == stem
    assert report.c2pa["state"] == "trusted"
    assert report.c2pa["issued_here"]


def test_the_mix_is_still_the_mix(made):
    report = as_owner(made.studio).verification.verify(made.release.path, record=False)
    assert (report.verdict, report.stem) == (Verdict.SEALED, None)
    assert report.matches[0].rivals == ()


@pytest.mark.parametrize("stem", STEMS)
def test_a_stem_under_other_music_is_not_called_a_copied_seal(made, stem):
    sound = read(made.content(stem))
    other = music(5, sound.duration_s, sound.rate).samples[0, : sound.length]
    loud = np.sqrt(np.mean(sound.samples**2) / np.mean(other**2))
    mixed = Waveform((0.5 * (sound.samples + 0.7 * loud * other)).astype(np.float32), sound.rate)
    report = as_owner(made.studio).verification.verify(wav(mixed), record=False)
    assert report.release.output_id == made.release.output_id
    if stem == "bass" and report.verdict is Verdict.SEAL_ONLY:
        return  # it has next to nothing where contents are compared, above 300 Hz
    assert report.verdict in (Verdict.SEALED, Verdict.EXCERPT)
    assert report.stem == stem


def test_stems_put_together_are_not_called_a_copied_seal(made):
    for pair in (("drums", "bass"), ("bass", "lead"), ("lead", "harmony")):
        sounds = [read(made.content(stem)) for stem in pair]
        both = Waveform(0.7 * sum(sound.samples for sound in sounds), sounds[0].rate)
        report = as_owner(made.studio).verification.verify(wav(both), record=False)
        assert report.verdict in (Verdict.SEALED, Verdict.EXCERPT), pair
        assert report.release.output_id == made.release.output_id


@pytest.mark.parametrize("place", range(1, 5))
def test_another_outputs_seal_on_a_stem_is_transplanted(made, place):
    studio, other = made.studio, made.other
    key = studio.seal_keys().of(other.seal["epoch"])
    forged = studio.sealer().seal(
        made.unsealed[place], SealId.parse(other.seal_id), key, strength=1.0
    )
    report = as_owner(studio).verification.verify(wav(forged), record=False)
    assert report.verdict is Verdict.TRANSPLANTED
    assert report.release.output_id == other.output_id


def test_the_outputs_seal_on_unrelated_music_is_never_the_output(made):
    studio, release = made.studio, made.release
    key = studio.seal_keys().of(release.seal["epoch"])
    forged = studio.sealer().seal(
        music(9, 8, 48_000), SealId.parse(release.seal_id), key, strength=1.0
    )
    report = as_owner(studio).verification.verify(wav(forged), record=False)
    # Which of the two depends on how much of the seal is read, and the seal differs each time.
    assert report.verdict in (Verdict.TRANSPLANTED, Verdict.SEAL_ONLY), report.explanation


def test_the_signed_claim_says_which_stem_of_which_output(made):
    for stem in STEMS:
        with c2pa.Reader("audio/wav", io.BytesIO(made.content(stem))) as reader:
            store = json.loads(reader.json())
        manifest = store["manifests"][store["active_manifest"]]
        assert manifest["title"] == f"{made.release.title}: {stem}"
        (generation,) = (
            a["data"] for a in manifest["assertions"] if a["label"].endswith(".generation")
        )
        assert (generation["output_id"], generation["stem"]) == (made.release.output_id, stem)


def test_stripped_credentials_of_a_stem_are_recovered(made):
    report = as_owner(made.studio).verification.verify(
        wav(read(made.content("bass"))), record=False
    )
    assert report.stem == "bass"
    assert report.c2pa["state"] == "recovered from ledger"
    newest = made.studio.ledger().entry(made.stems.entry_index).body["files"]
    assert report.c2pa["label"] == next(f for f in newest if f["part"] == "bass")["c2pa"]["label"]


def test_one_entry_records_them_all_and_the_audit_looks_at_it(made):
    ledger = made.studio.ledger()
    entry = ledger.entry(made.stems.entry_index)
    assert entry.kind == "renditions"
    assert entry.body["output_id"] == made.release.output_id
    assert {f["part"]: f["sha256"] for f in entry.body["files"]} == {
        f.stem: f.sha256 for f in made.stems.files
    }
    assert entry.body["left_out"] == []
    assert ledger.verify().ok
    with ledger.database.reading() as connection:
        assert list(RECORDS["renditions"](connection)) == []


def test_a_row_that_is_not_as_its_entry_says_is_found(made, tmp_path):
    with (
        closing(sqlite3.connect(made.studio.paths.ledger)) as source,
        closing(sqlite3.connect(tmp_path / "copy.db")) as target,
    ):
        source.backup(target)
    copy = create_engine(f"sqlite:///{tmp_path / 'copy.db'}")
    with copy.begin() as connection:
        for verb in ("update", "delete", "replace"):
            connection.exec_driver_sql(f"DROP TRIGGER rendition_no_{verb}")
        connection.execute(
            rendition.update().where(rendition.c.part == "lead").values(fingerprint=b"other")
        )
        connection.execute(rendition.delete().where(rendition.c.part == "bass"))
        faults = list(RECORDS["renditions"](connection))
    assert len(faults) == 2
    assert all(made.release.output_id in fault for fault in faults)


def test_a_row_is_never_changed_or_deleted(made):
    database = made.studio.ledger().database
    for statement in (rendition.delete(), rendition.update().values(sha256="0" * 64)):
        with pytest.raises(LedgerError, match="append-only"), database.writing() as connection:
            connection.execute(statement)
    with database.reading() as connection:
        rows = connection.execute(select(rendition).where(rendition.c.part != "score")).all()
    assert len(rows) == 4


def test_stems_are_no_near_duplicates_of_anything(made):
    assert as_owner(made.studio).generation.repeats_today()[0] == 0


def test_another_process_knows_the_stems(made, tmp_path):
    from studio.provenance.output_index import OutputIndex

    registry = OutputIndex(made.studio.ledger(), made.studio.seal_keys(), tmp_path / "index")
    registry.refresh()
    again = OutputIndex(made.studio.ledger(), made.studio.seal_keys(), tmp_path / "index")
    again.refresh()
    for index in (registry, again):
        assert len(index) == 2
        assert len(index.keys_of(made.release.output_id)) == 5


def test_the_score_is_handed_out_as_midi_and_recorded_once(made):
    studio, output_id = made.studio, made.release.output_id
    first, second = (
        as_owner(studio).outputs.score_file(output_id),
        as_owner(studio).outputs.score_file(output_id),
    )
    assert first == second
    file = mido.MidiFile(file=io.BytesIO(first.content), charset="utf-8")
    texts = [m.text for m in file.tracks[0] if m.type == "text"]
    assert f"Output {output_id}" in texts
    assert f"Seal {made.release.seal_id}" in texts
    assert set(made.release.credits) <= set(texts)
    assert file.tracks[0][0].name == made.release.title
    entry = studio.ledger().entry(first.entry_index)
    assert entry.body["files"][0]["sha256"] == first.sha256
    assert entry.body["files"][0]["part"] == "score"
    assert as_owner(studio).outputs.score(output_id) == ScoreStore(studio.ledger()).of_output(
        made.release
    )


# -- what is refused, and what is left out -------------------------------------------------------


def test_revoked_consent_refuses_stems(fresh):
    release = as_owner(fresh).generation.create(
        as_owner(fresh).generation.request(TAGS, duration_s=5, seed=1)
    )
    before = len(events(fresh))
    revoke(fresh)
    with pytest.raises(ConsentRefusedError):
        as_owner(fresh).generation.stems(release.output_id)
    assert "renditions" not in events(fresh)[before:]


def test_consent_that_goes_while_stems_are_made_stops_them(fresh, monkeypatch):
    release = as_owner(fresh).generation.create(
        as_owner(fresh).generation.request(TAGS, duration_s=5, seed=1)
    )
    generator = fresh.generator("house")
    perform = generator.perform

    def then_revoked(*args, **options):
        played = perform(*args, **options)
        revoke(fresh)
        return played

    monkeypatch.setattr(generator, "perform", then_revoked)
    with pytest.raises(ConsentRefusedError):
        as_owner(fresh).generation.stems(release.output_id)
    assert "renditions" not in events(fresh)


def test_a_silent_stem_is_left_out_and_recorded_as_such(fresh, monkeypatch):
    composed = arrange.compose_score

    def without_drums(*args, **options):
        score = composed(*args, **options)
        return replace(score, parts=tuple(p for p in score.parts if p.stem != "drums"))

    monkeypatch.setattr(arrange, "compose_score", without_drums)
    release = as_owner(fresh).generation.create(
        as_owner(fresh).generation.request(TAGS, duration_s=5, seed=1)
    )
    made = as_owner(fresh).generation.stems(release.output_id)
    # The tiny model sounds no bass and no lead either.
    assert [file.stem for file in made.files] == ["harmony"]
    left_out = [(stem, "silent") for stem in ("drums", "bass", "lead")]
    assert [(left.stem, left.why) for left in made.left_out] == left_out
    assert "silence carries no seal" in made.left_out[0].text()
    entry = fresh.ledger().entry(made.entry_index)
    assert entry.body["left_out"] == [{"part": stem, "why": why} for stem, why in left_out]


def test_other_weights_or_settings_make_no_stems(fresh, monkeypatch):
    release = as_owner(fresh).generation.create(
        as_owner(fresh).generation.request(TAGS, duration_s=5, seed=1)
    )
    generator = fresh.generator("house")
    with monkeypatch.context() as changed:
        changed.setattr(generator, "_info", replace(generator.info, digest="1" * 64))
        changed.setattr(generator, "plays", lambda _played: False)  # nor is the codec the same
        with pytest.raises(UsageError, match="performed by other weights"):
            as_owner(fresh).generation.stems(release.output_id)
    perform = generator.perform

    def otherwise(*args, **options):
        played = perform(*args, **options)
        return replace(played, mix=music(3, 5, 48_000, 2))

    monkeypatch.setattr(generator, "perform", otherwise)
    with pytest.raises(UsageError, match="sound otherwise now"):
        as_owner(fresh).generation.stems(release.output_id)
    assert "renditions" not in events(fresh)


def test_an_output_without_a_score_has_no_stems(fresh):
    vars(fresh)["generator"] = lambda _model: PlainGenerator()
    hub = as_owner(fresh).generation.create(
        as_owner(fresh).generation.request(
            TAGS, duration_s=4, seed=2, model="facebook/musicgen-small"
        )
    )
    session = as_owner(fresh)
    for ask in (session.generation.stems, session.outputs.score, session.outputs.score_file):
        with pytest.raises(UsageError, match="has no score"):
            ask(hub.output_id)


# -- on the command line -------------------------------------------------------------------------


def test_generate_writes_stems_and_score_beside_the_output(tmp_path, monkeypatch):
    performer_home(tmp_path)
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STUDIO_CONFIGS", str(tmp_path / "configs"))
    runner, stems, midi = CliRunner(), tmp_path / "stems", tmp_path / "piece.mid"
    options = ["--tags", "genre/jazz,mood/calm", "--seconds", "5", "--seed", "1", "--json"]
    made = runner.invoke(cli, ["generate", *options, "--stems", str(stems), "--midi", str(midi)])
    assert made.exit_code == 0, made.output
    release, beside = (json.loads(line) for line in made.stdout.splitlines())
    assert beside["output_id"] == release["output_id"]
    written = {path.name: sha256(path.read_bytes()).hexdigest() for path in stems.iterdir()}
    assert written
    assert written == {row["file"]: row["sha256"] for row in beside["stems"]["stems"]}
    names = [row["stem"] for row in beside["stems"]["stems"]]
    left_out = [row["stem"] for row in beside["stems"]["left_out"]]
    assert sorted(names + left_out) == sorted(STEMS)
    assert sha256(midi.read_bytes()).hexdigest() == beside["midi"]["sha256"]

    again = tmp_path / "again.mid"
    shown = runner.invoke(cli, ["score", release["output_id"], "--json", "--midi", str(again)])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["tags"] == list(TAGS)
    assert again.read_bytes() == midi.read_bytes()
    text = runner.invoke(cli, ["score", release["output_id"]])
    assert "beats a minute" in text.stdout

    flac = runner.invoke(
        cli, ["stems", release["output_id"], "--out", str(tmp_path / "flac"), "--format", "flac"]
    )
    assert flac.exit_code == 0, flac.output
    found = list((tmp_path / "flac").iterdir())
    assert {path.suffix for path in found} == {".flac"}
    verdict = runner.invoke(cli, ["verify", "--json", str(found[0])])
    assert json.loads(verdict.stdout)["stem"] in found[0].name


def test_a_model_without_scores_refuses_stems_before_it_makes_music(tmp_path, monkeypatch):
    performer_home(tmp_path)
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STUDIO_CONFIGS", str(tmp_path / "configs"))
    options = ["--tags", "genre/jazz", "--model", "facebook/musicgen-small"]
    refused = CliRunner().invoke(cli, ["generate", *options, "--stems", str(tmp_path / "stems")])
    assert refused.exit_code == 2
    assert "plays from no score" in refused.stderr
    assert not (tmp_path / "stems").exists()


def test_stems_that_were_made_are_kept_as_one_archive(made):
    """The last here: it records the stems again, and those before count them."""
    had = as_owner(made.studio).renditions.make
    first = had(made.release.output_id, "stems")
    recorded = events(made.studio)
    again = had(made.release.output_id, "stems")
    assert (again.content, again.entry_index) == (first.content, first.entry_index)
    assert events(made.studio) == recorded
    assert first.file_name == "calm-jazz-stems.zip"
    with zipfile.ZipFile(io.BytesIO(first.content)) as archive:
        assert len(archive.namelist()) == 5
        report = as_owner(made.studio).verification.verify(
            archive.read(f"{made.release.title} - drums.wav"), record=False
        )
    assert (report.release.output_id, report.stem) == (made.release.output_id, "drums")

    # A sound that the ledger does not know is not handed out as a stem.
    kept = made.studio.paths.renditions / f"{made.release.output_id}.stems.wav.zip"
    with zipfile.ZipFile(kept, "a") as archive:
        archive.writestr("other.wav", b"RIFF")
    assert as_owner(made.studio).renditions.ready(made.release.output_id, "stems") is None
