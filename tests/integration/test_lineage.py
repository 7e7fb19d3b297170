"""Varying and extending: only our own outputs, with their consent, under a seal of their own."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from studio.accounts.permissions import Actor, Role
from studio.app.session import Session
from studio.core.errors import (
    AccessDeniedError,
    ConsentRefusedError,
    ParentRefusedError,
    QuotaExceededError,
    UsageError,
)
from studio.verification.verifier import Verdict
from tests.support.accounts import PASSWORD
from tests.support.studios import PlainGenerator, as_owner, left_over, make_studio, music, revoke
from watermark.audio.waveform import Waveform, encode, read


class Continuing(PlainGenerator):
    """Goes on from a prompt: the prompt itself, then other music."""

    def __init__(self):
        super().__init__()
        self.prompts = []

    def generate(self, tags, *, duration_s, seed, progress, cancel, prompt=None, **_):
        fresh = super().generate(
            tags, duration_s=duration_s, seed=seed, progress=progress, cancel=cancel
        )
        self.prompts.append(prompt)
        if prompt is None:
            return fresh
        samples = fresh.samples.copy()
        samples[:, : prompt.samples.shape[1]] = prompt.samples
        return Waveform(samples, fresh.rate)


TAGS = ("genre/jazz", "mood/calm")
FREE = "test/free"
"""A hub model whose licence permits every use: such a model goes on from its parent's sound."""


@pytest.fixture
def generator():
    return Continuing()


@pytest.fixture
def studio(tmp_path, generator):
    make_studio(tmp_path, generator=generator).close()
    models = tmp_path / "configs" / "models"
    config = yaml.safe_load((models / "musicgen-small.yaml").read_text(encoding="utf-8"))
    config |= {"id": FREE, "licence_uses": ["experiment", "noncommercial", "commercial"]}
    (models / "free.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with make_studio(tmp_path, generator=generator) as studio:
        yield studio


@pytest.fixture
def parent(studio):
    return as_owner(studio).generation.create(
        as_owner(studio).generation.request(TAGS, duration_s=8, seed=1, model=FREE)
    )


def test_a_variation_has_the_parents_tags_and_settings_and_another_seed(studio, parent):
    child = as_owner(studio).generation.vary(parent.output_id)
    assert child.request.tags == TAGS
    assert child.request.duration_s == 8
    assert child.request.seed != 1
    assert child.request.parent == parent.output_id
    assert child.seal_id != parent.seal_id
    entry = studio.ledger().entry(child.entry_index)
    assert entry.body["lineage"] == {
        "relation": "vary",
        "parent": parent.output_id,
        "parent_entry": parent.entry_index,
        "depth": 1,
        "grants": ["house-catalogue-2026"],
    }


def test_a_variation_may_have_other_tags_and_settings(studio, parent):
    child = as_owner(studio).generation.vary(
        parent.output_id, tags=["genre/waltz"], seed=1, changes={"format": "flac", "duration_s": 5}
    )
    assert child.request.tags == ("genre/waltz",)
    assert (child.request.seed, child.request.format, child.duration_s) == (1, "flac", 5)


def test_the_same_seed_and_tags_would_be_the_parent_again(studio, parent):
    with pytest.raises(UsageError, match="again"):
        as_owner(studio).generation.vary(parent.output_id, seed=1)


def test_an_extension_goes_on_from_the_parents_music_without_its_seal(studio, parent, generator):
    child = as_owner(studio).generation.extend(parent.output_id, 6)
    prompt = generator.prompts[-1]
    original = music(1, 8.0)  # what the generator made before any seal
    assert prompt.duration_s == 8
    error = prompt.samples - original.samples
    snr = 10 * np.log10(np.sum(original.samples**2) / np.sum(error**2))
    mark = read(parent.path).samples - original.samples
    sealed_snr = 10 * np.log10(np.sum(original.samples**2) / np.sum(mark**2))
    assert snr > 40 > sealed_snr  # the mark was there, and is gone
    assert child.duration_s == 14
    assert studio.ledger().entry(child.entry_index).body["lineage"]["continued_at_s"] == 8


def test_the_desk_names_the_child_over_its_whole_length_and_shows_the_parent(studio, parent):
    child = as_owner(studio).generation.extend(parent.output_id, 6)
    report = as_owner(studio).verification.verify(child.path)
    assert report.verdict is Verdict.SEALED
    assert report.release.output_id == child.output_id
    (step,) = report.to_json()["lineage"]["forebears"]
    assert step["output_id"] == parent.output_id
    assert f"output {parent.output_id}" in report.explanation
    again = as_owner(studio).verification.verify(parent.path)
    assert again.release.output_id == parent.output_id
    (made,) = again.to_json()["lineage"]["children"]
    assert (made["output_id"], made["relation"]) == (child.output_id, "extend")


def test_an_excerpt_of_the_part_that_both_share_is_the_childs_if_it_has_the_childs_seal(
    studio, parent
):
    child = as_owner(studio).generation.extend(parent.output_id, 6)
    for release in (child, parent):
        head = read(release.path).slice(0.0, 7.5)
        report = as_owner(studio).verification.verify(encode(head, "wav"))
        assert report.release.output_id == release.output_id
        assert report.verdict in (Verdict.EXCERPT, Verdict.SEALED)


def test_an_extension_of_an_extension_carries_one_seal_only(studio, parent):
    middle = as_owner(studio).generation.extend(parent.output_id, 4)
    last = as_owner(studio).generation.extend(middle.output_id, 4)
    report = as_owner(studio).verification.verify(last.path)
    assert report.release.output_id == last.output_id
    chain = [step["output_id"] for step in report.to_json()["lineage"]["forebears"]]
    assert chain == [middle.output_id, parent.output_id]
    assert as_owner(studio).outputs.lineage(last.output_id).text().count("extends") == 2


def test_a_file_is_recognised_by_its_seal_and_a_strangers_is_refused(studio, parent, tmp_path):
    copy = tmp_path / "found.mp3"
    copy.write_bytes(encode(read(parent.path), "mp3", bitrate=128_000))
    assert as_owner(studio).generation.vary(copy).request.parent == parent.output_id
    foreign = encode(music(99, 8.0), "wav")
    with pytest.raises(ParentRefusedError, match="not-detected"):
        as_owner(studio).generation.vary(foreign)
    with pytest.raises(ParentRefusedError, match="not-detected"):
        as_owner(studio).generation.extend(foreign, 4)


def test_a_seal_copied_onto_other_music_makes_no_parent(studio, parent):
    mark = read(parent.path).samples - music(1, 8.0).samples
    forged = Waveform(np.clip(music(50, 8.0).samples + mark, -1, 1), 16_000)
    with pytest.raises(ParentRefusedError, match="transplanted"):
        as_owner(studio).generation.extend(encode(forged, "wav"), 4)


def test_an_unknown_output_id_is_refused(studio):
    with pytest.raises(ParentRefusedError, match="no output"):
        as_owner(studio).generation.vary("0123456789abcdef")


def test_an_altered_file_of_the_studio_is_not_gone_on_from(studio, parent):
    content = bytearray(parent.path.read_bytes())
    content[-1] ^= 1
    parent.path.write_bytes(bytes(content))
    with pytest.raises(ParentRefusedError, match="not the one that was released"):
        as_owner(studio).generation.extend(parent.output_id, 4)


def test_a_revoked_grant_of_the_parent_refuses_the_child_even_with_other_tags(studio, parent):
    child = as_owner(studio).generation.vary(parent.output_id, tags=["genre/waltz"])
    assert child.request.tags == ("genre/waltz",)
    revoke(studio)
    for derive in (
        lambda: as_owner(studio).generation.vary(child.output_id),
        lambda: as_owner(studio).generation.extend(child.output_id, 4),
    ):
        with pytest.raises(ConsentRefusedError, match="revoked"):
            derive()
    assert studio.ledger().entries(kind="refusal")


def test_a_grant_revoked_while_the_child_is_made_stops_its_release(studio, parent, generator):
    make = generator.generate

    def revoking(*args, **kwargs):
        music = make(*args, **kwargs)
        revoke(studio)
        return music

    generator.generate = revoking
    with pytest.raises(ConsentRefusedError, match="revoked"):
        as_owner(studio).generation.vary(parent.output_id)
    assert as_owner(studio).outputs.recent(1)[0].output_id == parent.output_id
    assert len(left_over(studio)) == 1  # the parent's file


def test_music_of_a_noncommercial_model_does_not_become_commercial_by_extension(studio):
    nc = "facebook/musicgen-small"
    parent = as_owner(studio).generation.create(
        as_owner(studio).generation.request(TAGS, duration_s=5, seed=2, model=nc)
    )
    commercial = {"model": FREE, "use": "commercial"}
    with pytest.raises(ConsentRefusedError, match=r"heard again.*licence of model"):
        as_owner(studio).generation.extend(parent.output_id, 4, changes=commercial)
    assert (
        as_owner(studio).generation.vary(parent.output_id, changes=commercial).request.use
        == "commercial"
    )
    longer = as_owner(studio).generation.extend(parent.output_id, 4, changes={"model": FREE})
    with pytest.raises(ConsentRefusedError, match=parent.output_id):  # also one step further up
        as_owner(studio).generation.extend(longer.output_id, 4, changes=commercial)


def test_a_parent_cannot_be_claimed_in_a_request(studio, parent):
    request = replace(
        as_owner(studio).generation.request(TAGS, duration_s=5), parent=parent.output_id
    )
    with pytest.raises(UsageError, match="parent"):
        as_owner(studio).generation.create(request)


def test_the_whole_of_an_extension_must_fit_the_limits(studio, parent):
    with pytest.raises(UsageError, match="180 s"):
        as_owner(studio).generation.extend(parent.output_id, 173)
    with pytest.raises(UsageError, match="more than 0"):
        as_owner(studio).generation.extend(parent.output_id, 0)


def test_by_id_an_account_goes_on_from_its_own_outputs_only(studio, parent):
    studio.accounts().add("root", Role.ADMINISTRATOR, PASSWORD, by=None)
    ada = studio.accounts().add("ada", Role.ARTIST, PASSWORD, by=None)
    bob = studio.accounts().add("bob", Role.ARTIST, PASSWORD, by=None)
    hers = Session(studio, Actor(ada.account_id, "ada", Role.ARTIST))
    his = Session(studio, Actor(bob.account_id, "bob", Role.ARTIST))
    mine = hers.generation.create(hers.generation.request(TAGS, duration_s=5, seed=4))
    assert hers.generation.vary(mine.output_id).request.parent == mine.output_id
    with pytest.raises(ParentRefusedError, match="among yours"):
        his.generation.vary(mine.output_id)
    assert his.generation.vary(mine.path).request.parent == mine.output_id  # whoever has the file
    with pytest.raises(AccessDeniedError):
        Session(studio, Actor(bob.account_id, "bob", Role.VERIFIER)).generation.vary(mine.path)


def test_the_same_music_again_is_a_near_duplicate_and_counted(studio):
    request = as_owner(studio).generation.request(TAGS, duration_s=6, seed=11)
    first = as_owner(studio).generation.create(request)
    assert as_owner(studio).operation.usage().near_duplicates_ever == 0
    again = as_owner(studio).generation.create(request)
    (mine,) = as_owner(studio).operation.usage().accounts
    assert (mine.account, mine.released, mine.near_duplicates) == ("local", 2, 1)
    as_owner(studio).generation.create(
        as_owner(studio).generation.request(TAGS, duration_s=6, seed=12)
    )
    assert as_owner(studio).operation.usage().near_duplicates_ever == 1
    assert first.output_id != again.output_id


def test_one_piece_in_three_formats_is_no_near_duplicate(studio):
    request = as_owner(studio).generation.request(TAGS, duration_s=6, seed=11)
    for format in ("wav", "flac", "mp3"):
        as_owner(studio).generation.create(replace(request, format=format))
    assert as_owner(studio).operation.usage().near_duplicates_ever == 0
    as_owner(studio).generation.create(replace(request, format="flac"))
    assert as_owner(studio).generation.repeats_today() == (
        1,
        studio.config.quotas.near_duplicates_per_day,
    )


def test_an_identical_request_finds_the_output_that_it_made(studio):
    request = as_owner(studio).generation.request(TAGS, duration_s=6, seed=11)
    assert as_owner(studio).generation.existing(request) is None
    made = as_owner(studio).generation.create(request)
    assert as_owner(studio).generation.existing(request) == made
    for other in (
        replace(request, seed=12),
        replace(request, seed=None),
        replace(request, format="mp3"),
        replace(request, title="Another"),
        replace(request, note="private"),
    ):
        assert as_owner(studio).generation.existing(other) is None
    made.path.unlink()
    assert as_owner(studio).generation.existing(request) is None


def test_the_precision_of_decoding_is_on_record_and_another_makes_other_music(tmp_path):
    generator = PlainGenerator()
    with make_studio(tmp_path, generator=generator) as studio:
        request = as_owner(studio).generation.request(TAGS, duration_s=6, seed=11)
        assert "precision" not in as_owner(studio).generation.create(request).model
        generator.info = replace(generator.info, precision="int8")
        assert (
            as_owner(studio).generation.existing(request) is not None
        )  # made before precision was on record
        made = as_owner(studio).generation.create(replace(request, seed=12))
        assert made.model["precision"] == "int8"
        assert as_owner(studio).outputs.disclosure(made.output_id)["Model"]["precision"] == "int8"
        assert b"int8" in made.path.read_bytes()  # of the signed claim
        assert as_owner(studio).generation.existing(made.request) == made
        generator.info = replace(generator.info, precision="exact")
        assert as_owner(studio).generation.existing(made.request) is None


def test_a_withdrawn_consent_gives_no_existing_output(studio):
    request = as_owner(studio).generation.request(TAGS, duration_s=6, seed=11)
    as_owner(studio).generation.create(request)
    revoke(studio)
    assert as_owner(studio).generation.existing(request) is None


def test_an_extension_is_no_near_duplicate_of_its_parent(studio, parent):
    as_owner(studio).generation.extend(parent.output_id, 1)
    assert as_owner(studio).operation.usage().near_duplicates_ever == 0


def test_bulk_generation_is_refused_with_the_time_to_come_back(studio, generator):
    quotas = studio.config.quotas.model_copy(update={"bulk_requests": 2})
    vars(studio)["config"] = studio.config.model_copy(update={"quotas": quotas})
    for seed in (1, 2):
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=4, seed=seed)
        )
    with pytest.raises(QuotaExceededError, match=r"bulk.*come back in \d+ min, at \d\d:\d\d UTC"):
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=4, seed=3)
        )
    assert generator.calls == 2
    with pytest.raises(QuotaExceededError):
        as_owner(studio).generation.vary(as_owner(studio).outputs.recent(1)[0].output_id)


def test_a_title_is_screened_and_stands_in_file_and_record(studio):
    from studio.core.errors import NameRefusedError

    for title in ("Taylor Swift nights", "T4yl0r 5w1ft", "in the style of Jane Doe"):
        with pytest.raises(NameRefusedError):
            as_owner(studio).generation.create(
                as_owner(studio).generation.request(TAGS, duration_s=4, title=title)
            )
    with pytest.raises(NameRefusedError, match="note"):
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=4, note="like Beyoncé, please")
        )
    assert studio.ledger().entries(kind="refusal") == []  # free text never reaches the ledger
    release = as_owner(studio).generation.create(
        as_owner(studio).generation.request(
            TAGS, duration_s=4, seed=5, title="Kiss of the rain", note="for Mira"
        )
    )
    assert release.title == "Kiss of the rain"
    assert b"Kiss of the rain" in release.path.read_bytes()
    entry = studio.ledger().entry(release.entry_index)
    assert b"for Mira" not in entry.leaf
    assert b"Kiss" not in entry.leaf  # in the file and behind a commitment, not in the leaf
    assert as_owner(studio).outputs.get(release.output_id).request.title == "Kiss of the rain"
    assert studio.ledger().openings(release.entry_index)["title"].value == "Kiss of the rain"
    assert "commitment" in json.loads(entry.leaf)["body"]["note"]
    assert (
        as_owner(studio).generation.vary(release.output_id).title != release.title
    )  # not inherited


def test_the_disclosure_names_ai_per_part_and_the_human_contribution(studio, parent):
    release = as_owner(studio).generation.create(
        as_owner(studio).generation.request(
            TAGS, duration_s=4, seed=6, human=["selection", "editing"]
        )
    )
    body = as_owner(studio).outputs.disclosure(release.output_id)
    assert {item["Part"]: item["Extent"] for item in body["AiContribution"]} == {
        "Vocals": "None",
        "Instrumentation": "All",
        "Composition": "All",
        "Lyrics": "None",
        "PostProduction": "None",
    }
    assert body["HumanContribution"] == ["direction", "selection", "editing"]
    humans = [c["Role"]["Value"] for c in body["Contributor"] if not c["IsArtificialIntelligence"]]
    assert humans == ["Programmer", "Producer", "Editor"]
    assert body["Proof"]["LedgerEntry"] == release.entry_index
    assert json.loads(json.dumps(body)) == body
    assert as_owner(studio).outputs.disclosure(parent.output_id)["HumanContribution"] == [
        "direction"
    ]
    with pytest.raises(UsageError, match="human contribution"):
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=4, human=["genius"])
        )
