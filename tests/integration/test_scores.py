"""Outputs of the house model are performances of a score that is recorded and played again."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import replace

import c2pa
import numpy as np
import pytest

from studio.core.db.tables.scores import output_score
from studio.core.errors import (
    ConsentRefusedError,
    LedgerError,
    ParentRefusedError,
    UnknownTagError,
    UsageError,
)
from studio.generation.derived.derivation import Wish
from studio.generation.derived.scores import ScoreStore
from studio.music.composer.arrange import compose_score
from studio.web.ui.create.further import (
    CHANGES,
    lead_choices,
    takes_lead,
    wish_of,
    wish_of_release,
)
from tests.support.consent import file_of, revocation
from tests.support.performers import performer_home
from tests.support.studios import PlainGenerator, as_owner, make_studio
from watermark.audio.waveform import read

TAGS = ("genre/jazz", "mood/calm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return performer_home(tmp_path_factory.mktemp("scores"))


@pytest.fixture
def studio(folder):
    with make_studio(folder) as studio:
        yield studio


SEEDS = itertools.count(1)
"""A seed for each test's parent: the same music again and again is refused as near-duplicates."""


@pytest.fixture
def parent(studio):
    return as_owner(studio).generation.create(
        as_owner(studio).generation.request(TAGS, duration_s=5, seed=next(SEEDS))
    )


def test_an_output_is_stereo_and_its_score_is_recorded(studio, parent):
    assert (parent.rate, parent.channels) == (48_000, 2)
    assert parent.duration_s == 5
    score = ScoreStore(studio.ledger()).of_output(parent)
    assert score == compose_score(TAGS, 1, 5)
    assert parent.model["score_sha256"] == score.digest()
    assert parent.model["performance_seed"] == parent.request.seed
    assert "beats a minute" in parent.model["score"]


def test_the_signed_manifest_tells_the_score(studio, parent):
    with c2pa.Reader("audio/wav", io.BytesIO(parent.path.read_bytes())) as reader:
        assert parent.model["score_sha256"] in reader.json()


def test_a_changed_or_lost_score_is_found(studio, parent):
    store = ScoreStore(studio.ledger())
    other = replace(parent, model={**parent.model, "score_sha256": "0" * 64})
    with pytest.raises(LedgerError, match="is missing or not the one"):
        store.of_output(other)
    with studio.ledger().database.writing() as connection:
        connection.execute(output_score.delete())
    with pytest.raises(LedgerError, match="is missing or not the one"):
        store.of_output(parent)


def test_a_variation_that_keeps_the_notes_performs_the_parents_score_anew(studio, parent):
    child = as_owner(studio).generation.vary(parent.output_id, wish=Wish(keep="notes"))
    assert child.model["score_sha256"] == parent.model["score_sha256"]
    assert child.model["performance_seed"] == child.request.seed != 1
    assert child.lineage["kept"] == "notes"
    assert not np.array_equal(read(child.path).samples, read(parent.path).samples)
    plain = as_owner(studio).generation.vary(parent.output_id)
    assert plain.model["score_sha256"] != parent.model["score_sha256"]
    assert "kept" not in plain.lineage


def test_notes_are_not_kept_under_other_tags_or_another_length(studio, parent):
    with pytest.raises(UsageError, match="its tags and duration"):
        as_owner(studio).generation.vary(
            parent.output_id, tags=["genre/waltz"], wish=Wish(keep="notes")
        )
    with pytest.raises(UsageError, match="its tags and duration"):
        as_owner(studio).generation.vary(
            parent.output_id, changes={"duration_s": 7.0}, wish=Wish(keep="notes")
        )
    with pytest.raises(UsageError, match="would make the parent again"):
        as_owner(studio).generation.vary(
            parent.output_id, seed=parent.request.seed, wish=Wish(keep="notes")
        )


STEMS = ("drums", "bass", "lead", "harmony")


def scores_of(studio, *releases):
    return [ScoreStore(studio.ledger()).of_output(release) for release in releases]


@pytest.mark.parametrize("stem", STEMS)
def test_one_stem_is_composed_anew_and_the_others_keep_every_note(studio, parent, stem):
    child = as_owner(studio).generation.vary(parent.output_id, wish=Wish(redo=stem), seed=77)
    new, old = scores_of(studio, child, parent)
    for name in STEMS:
        assert (new.stem(name) == old.stem(name)) is (name != stem)
    assert replace(new, parts=()) == replace(old, parts=())
    assert child.lineage["redone"] == stem
    assert child.request.tags == parent.request.tags
    # Performed as the parent was, so that what is kept sounds as near to it as can be.
    assert child.model["performance_seed"] == parent.model["performance_seed"]
    assert not np.array_equal(read(child.path).samples, read(parent.path).samples)


def test_the_chords_are_kept_under_a_new_melody(studio, parent):
    child = as_owner(studio).generation.vary(parent.output_id, wish=Wish(keep="chords"))
    new, old = scores_of(studio, child, parent)
    frame = ("chords", "sections", "bpm", "metre", "tonic", "mode", "duration_s", "lead")
    assert [getattr(new, name) for name in frame] == [getattr(old, name) for name in frame]
    assert new.stem("lead") != old.stem("lead")
    assert new.stem("bass") != old.stem("bass")
    assert child.lineage["kept"] == "chords"
    assert child.model["performance_seed"] == child.request.seed
    led = as_owner(studio).generation.vary(parent.output_id, wish=Wish(keep="chords", lead="flute"))
    assert scores_of(studio, led)[0].lead == "flute"
    assert led.request.tags == (*parent.request.tags, "lead/flute")


def played(score, *, octaves=True):
    """Start, length, velocity and pitch of every note by part, of pitches the class alone."""
    return [
        [(n.start, n.length, n.velocity, n.pitch if octaves else n.pitch % 12) for n in p.notes]
        for p in score.parts
    ]


def test_other_instruments_play_the_same_notes(studio):
    parent = as_owner(studio).generation.create(
        as_owner(studio).generation.request([*TAGS, "lead/piano"], duration_s=5, seed=1)
    )
    child = as_owner(studio).generation.vary(
        parent.output_id, wish=Wish(new="instruments", lead="trombone")
    )
    new, old = scores_of(studio, child, parent)
    assert child.request.tags == (*TAGS, "lead/trombone")
    assert played(new, octaves=False) == played(old, octaves=False)
    low, high = 40, 74  # a trombone's
    assert all(low <= n.pitch <= high for p in new.stem("lead") for n in p.notes)
    same = [played(replace(s, parts=[p for p in s.parts if p.stem != "lead"])) for s in (new, old)]
    assert same[0] == same[1]
    assert new.stem("lead")[0].program == 57
    assert [p.program for p in new.parts] != [p.program for p in old.parts]
    assert child.lineage["new"] == "instruments"
    credited = {tag["tag"] for tag in child.decision["tags"]}
    assert credited == set(child.request.tags)  # nobody is credited for the piano any more


def test_without_a_name_another_of_the_genres_own_leads_and_nothing_is_asked_for_it(studio):
    parent = as_owner(studio).generation.create(
        as_owner(studio).generation.request([*TAGS, "lead/piano"], duration_s=5, seed=1)
    )
    child = as_owner(studio).generation.vary(parent.output_id, wish=Wish(new="instruments"))
    assert child.request.tags == TAGS
    assert scores_of(studio, child)[0].lead in ("saxophone", "trumpet")


def test_variations_of_a_variation_name_all_and_their_stems_still_add_up(studio, parent):
    child = as_owner(studio).generation.vary(parent.output_id, wish=Wish(redo="bass"))
    grandchild = as_owner(studio).generation.vary(child.output_id, wish=Wish(redo="drums"))
    new, middle, old = scores_of(studio, grandchild, child, parent)
    assert new.stem("bass") == middle.stem("bass") != old.stem("bass")
    assert new.stem("lead") == old.stem("lead")
    assert grandchild.lineage["depth"] == 2
    family = as_owner(studio).outputs.lineage(child.output_id)
    assert family.to_json()["redone"] == "bass"
    assert family.to_json()["children"][0]["redone"] == "drums"
    assert family.text().endswith(f"ledger entry {parent.entry_index}; bass redone).")
    longer = as_owner(studio).generation.extend(grandchild.output_id, 4)
    assert longer.duration_s == 9


def test_wishes_that_cannot_be_are_refused_in_words(studio, parent):
    for wrong, rest, words in (
        (
            {"keep": "chords", "redo": "bass"},
            {},
            "chords and bass: choose one of keep, redo and new",
        ),
        ({"lead": "flute"}, {}, "another lead goes with new instruments"),
        ({"redo": "bass", "lead": "flute"}, {}, "another lead goes with new instruments"),
        ({"redo": "bass"}, {"tags": ["genre/waltz"]}, "its tags and duration; only the lead"),
        ({"redo": "bass"}, {"seed": parent.request.seed}, "would make the parent again"),
    ):
        with pytest.raises(UsageError, match=words):
            as_owner(studio).generation.vary(parent.output_id, wish=Wish(**wrong), **rest)
    with pytest.raises(UnknownTagError):
        as_owner(studio).generation.vary(
            parent.output_id, wish=Wish(new="instruments", lead="kazoo")
        )
    baroque = as_owner(studio).generation.create(
        as_owner(studio).generation.request(["genre/baroque"], duration_s=5, seed=1)
    )
    with pytest.raises(UsageError, match="this piece has no drums"):
        as_owner(studio).generation.vary(baroque.output_id, wish=Wish(redo="drums"))


def test_what_the_page_offers_is_what_it_makes_and_makes_again(studio, parent):
    vary = as_owner(studio).generation.vary
    for _, change in CHANGES[1:]:
        child = vary(parent.output_id, wish=wish_of(change, "lead/flute"))
        (new,) = scores_of(studio, child)
        assert (new.lead == "flute") is takes_lead(change)
        again = vary(parent.output_id, wish=wish_of_release(child))
        told = ("kept", "redone", "new")
        assert [again.lineage.get(n) for n in told] == [child.lineage.get(n) for n in told]
        assert again.request.tags == child.request.tags
    assert wish_of(CHANGES[0][1], None).empty
    statuses = as_owner(studio).catalog.tag_status(model="house")
    offered = dict(lead_choices("instruments", statuses))
    assert offered["flute"] == "lead/flute"
    assert offered["another of the genre"] == ""


def test_a_lead_without_consent_is_refused_before_anything_is_composed(tmp_path, monkeypatch):
    """`lead/trombone` rests on a grant of its own, which is revoked; `lead/flute` does not."""
    with make_studio(performer_home(tmp_path)) as studio:
        parent = as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=4, seed=1)
        )
        taken_back = revocation("house-composer-2026", holder="house-composer")
        assert as_owner(studio).consent.import_file(file_of(taken_back)).ok
        child = as_owner(studio).generation.vary(
            parent.output_id, wish=Wish(new="instruments", lead="flute")
        )
        assert child.request.tags == (*TAGS, "lead/flute")
        monkeypatch.setattr(
            "studio.music.composer.variation.other_instruments", lambda *_: pytest.fail("composed")
        )
        with pytest.raises(ConsentRefusedError, match="trombone"):
            as_owner(studio).generation.vary(
                parent.output_id, wish=Wish(new="instruments", lead="trombone")
            )


def test_an_extension_begins_as_its_parent_and_goes_on(studio, parent):
    child = as_owner(studio).generation.extend(parent.output_id, 4)
    assert child.duration_s == 9
    assert child.model["performance_seed"] == parent.request.seed
    score, before = (ScoreStore(studio.ledger()).of_output(r) for r in (child, parent))
    cut = before.chords[-1].start // before.bar_ticks * before.bar_ticks
    for stem in ("bass", "lead"):
        kept = [
            [(n.start, n.pitch) for p in s.stem(stem) for n in p.notes if n.start < cut]
            for s in (score, before)
        ]
        assert kept[0] == kept[1]
    assert score.seconds(max(n.start for p in score.parts for n in p.notes)) > 5


def test_a_genre_that_nobody_named_is_drawn_asked_for_and_credited(studio):
    release = as_owner(studio).generation.create(
        as_owner(studio).generation.request(["mood/dark"], duration_s=4, seed=3)
    )
    genre = release.request.tags[0]
    assert genre.startswith("genre/")
    assert release.request.tags[1:] == ("mood/dark",)
    assert [tag["tag"] for tag in release.decision["tags"]] == [genre, "mood/dark"]
    assert ScoreStore(studio.ledger()).of_output(release).genre == genre.split("/")[1]


def test_only_permitted_genres_are_drawn(studio):
    assert not as_owner(studio).catalog.decide(["genre/choral"], model="house").allowed
    for seed in range(6):
        release = as_owner(studio).generation.create(
            as_owner(studio).generation.request(["tempo/fast"], duration_s=3, seed=seed)
        )
        assert as_owner(studio).catalog.decide(release.request.tags, model="house").allowed


def test_a_parent_without_a_score_is_not_extended_by_the_house_model(studio):
    vars(studio)["generator"] = lambda _model: PlainGenerator()
    hub = as_owner(studio).generation.create(
        as_owner(studio).generation.request(
            TAGS, duration_s=4, seed=2, model="facebook/musicgen-small"
        )
    )
    with pytest.raises(ParentRefusedError, match="plays from no score; it can be varied"):
        as_owner(studio).generation.extend(hub.output_id, 3, changes={"model": "house"})
    with pytest.raises(ParentRefusedError, match="performs no scores"):
        as_owner(studio).generation.vary(hub.output_id, wish=Wish(keep="notes"))


def test_an_output_of_an_earlier_design_is_not_extended_and_says_why(studio, parent):
    """As the second design recorded it: a line of a lead sheet, no score."""
    kept = {name: value for name, value in parent.model.items() if "score" not in name}
    old = replace(parent, model={**kept, "lead_sheet": "A-minor:28:4x4:A=Am7|Dm7"})
    with pytest.raises(ParentRefusedError, match=r"an earlier design .* kept no score; it can be"):
        studio.lineage().extend(old, 3)
    request, derivation = studio.lineage().vary(old)
    assert request.tags == parent.request.tags
    assert derivation.score is None


def test_consent_is_asked_before_anything_is_composed(studio, monkeypatch):
    monkeypatch.setattr(
        "studio.music.composer.arrange.compose_score", lambda *_, **__: pytest.fail("composed")
    )
    with pytest.raises(ConsentRefusedError):
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(["genre/choral"], duration_s=4)
        )


SHEET = "key: D minor\ntempo: 100\nform: verse 3, ending 1\nchords verse: Dm | Gm | A7"


def test_a_lead_sheet_is_followed_and_its_text_can_be_erased(studio):
    request = as_owner(studio).generation.request(["genre/jazz"], sheet=SHEET, seed=5)
    assert 6 < request.duration_s < 12  # that of the form
    release = as_owner(studio).generation.create(request)
    score = ScoreStore(studio.ledger()).of_output(release)
    assert [score.chord_at(bar * score.bar_ticks).symbol for bar in range(3)] == ["Dm", "Gm", "A7"]
    assert release.request.human == ("composition",)
    assert as_owner(studio).outputs.get(release.output_id).request.sheet == SHEET
    entry = studio.ledger().entry(release.entry_index)
    assert "Gm" not in json.dumps(entry.body)
    assert as_owner(studio).generation.vary(release.output_id).request.sheet is None


def test_a_sheet_that_cannot_be_is_refused_before_an_id_is_reserved(studio):
    before = studio.ledger().output_count()
    for text, complaint in (
        ("chords: C | H7", "line 1, bar 2"),
        ("tempo: 100; form: verse 64", "change its bars, the tempo or the length"),
    ):
        with pytest.raises(UsageError, match=complaint):
            as_owner(studio).generation.create(
                as_owner(studio).generation.request(TAGS, sheet=text, duration_s=5)
            )
    with pytest.raises(UsageError, match="takes no lead sheet"):
        hub = "facebook/musicgen-small"
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, sheet=SHEET, duration_s=5, model=hub)
        )
    assert studio.ledger().output_count() == before


def test_a_sheet_of_a_key_alone_is_no_contribution(studio):
    assert as_owner(studio).generation.request(TAGS, sheet="key: C major").human == ()
    assert as_owner(studio).generation.request(TAGS, sheet="  ").sheet is None
