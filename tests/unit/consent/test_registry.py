"""The shipped consent: signed files that agree with their drafts, and drafts that are wrong."""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from studio.consent import ConsentPolicy, ConsentRegistry, Revocation
from studio.consent.signed.admission import check_signatures
from studio.consent.signed.documents import GrantDocument, HolderDocument, TagsDocument
from studio.consent.signed.drafts import SIGNED, Drafts
from studio.consent.signed.signing import read_file
from studio.consent.storage.history import Admission, ConsentHistory, ConsentRecord
from studio.core.errors import ConfigError
from studio.core.paths import shipped_configs
from studio.core.tags import Vocabulary
from studio.music.composer import TEMPI
from studio.music.composer.planning.palette import LEADS, MOODS
from studio.music.composer.styles import STYLES

CONSENT = shipped_configs() / "consent"
NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONSENT, tmp_path / "consent"))


def change(path: Path, **fields) -> None:
    data = yaml.safe_load(path.read_text())
    data["grant"] |= fields
    path.write_text(yaml.safe_dump(data))


def shipped() -> ConsentRegistry:
    drafts = Drafts(CONSENT)
    return ConsentRegistry(drafts.holders, drafts.grants)


def test_the_signed_files_say_what_the_drafts_say():
    """After a change of a draft, `studio consent sign-shipped` makes the signed files again."""
    drafts = Drafts(CONSENT)
    book = ConsentHistory()
    at = datetime(2026, 12, 1, tzinfo=UTC)
    for path in sorted((CONSENT / SIGNED).glob("*.json")):
        for signed in read_file(path.read_bytes()):
            check_signatures(signed, book, Admission.SHIPPED)
            book.apply(ConsentRecord(signed, book.version + 1, at, Admission.SHIPPED))
    registry = book.registry()
    assert {h.id: h.model_copy(update={"public_key": None}) for h in registry.holders.values()} == {
        holder.id: holder for holder in drafts.holders
    }
    assert dict(registry.grants) == {grant.id: grant for grant in drafts.grants}
    assert [(tag.id, tag.phrase) for tag in book.tags.values()] == [
        (tag.id, tag.phrase) for tag in drafts.vocabulary.values()
    ]


def test_what_running_studios_have_recorded_is_never_signed_anew():
    """A new signature is another document: `replayed` is not said of it, and it is refused."""
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (CONSENT / SIGNED).glob("*.json")
    }
    assert found == SIGNED_FILES


SIGNED_FILES = {
    "01-house.json": ("349930957a771a62e340bdccdf3f9dff6a0c669340404e171d665295bed20865"),
    "02-demonstration-distributor.json": (
        "aff024d1b854fa533132b5126a0f0971ac0590e6dab2da91d1b9b397a9eed02c"
    ),
    "03-demonstration-label.json": (
        "367f6ac12fd1ee8b15499e815b27cabc353eb4017171c06648e0e3533097cc9c"
    ),
    "04-demonstration-quartet.json": (
        "1e850094867b941c427eed844fe6d77f0a14479578d2dc0df002c1ea5ee5d42f"
    ),
    "05-house-composer.json": ("acdb424d43cdcd060e4f577375a7f62ceaa997a6ec029247bb20182fc2dbf7c9"),
}


def test_the_composer_has_no_tag_that_nobody_granted():
    registry = shipped()
    names = {"genre": STYLES, "mood": MOODS, "lead": LEADS, "tempo": TEMPI}
    composed = {f"{kind}/{name}" for kind, known in names.items() for name in known}
    assert len(composed) == 31 + 10 + 20 + 3
    project = [g for g in registry.grants.values() if registry.holders[g.holder].kind == "project"]
    granted = [tag for grant in project for tag in grant.tags]
    assert sorted(granted) == sorted(composed), "each by one grant"
    assert set(Vocabulary.drafted(CONSENT)) - composed == {"genre/choral"}


def test_every_shipped_document_is_one_that_makes_sense_at_a_first_start():
    kinds = [
        type(signed.document)
        for path in sorted((CONSENT / SIGNED).glob("*.json"))
        for signed in read_file(path.read_bytes())
    ]
    assert kinds.count(HolderDocument) == kinds.count(GrantDocument) == 5
    assert kinds.count(TagsDocument) == 2
    assert len(kinds) == 12


def test_the_house_grants_everything_but_choral():
    registry = shipped()
    vocabulary = Vocabulary.load(CONSENT / "tags.yaml")
    house = registry.grants["house-catalogue-2026"]
    assert set(vocabulary) - house.tags == {"genre/choral"}
    assert house.uses == {"training", "experiment", "noncommercial", "commercial"}


def test_every_grants_terms_are_the_text_it_names():
    for grant in shipped().grants.values():
        text = (CONSENT / grant.terms.url).read_bytes()
        assert hashlib.sha256(text).hexdigest() == grant.terms.sha256, grant.id


def test_demonstration_grants_permit_nothing_but_show_their_refusals():
    registry = shipped()
    without_house = ConsentRegistry(
        registry.holders.values(),
        [grant for grant in registry.grants.values() if grant.id.startswith("demonstration-")],
    )
    vocabulary = Vocabulary.drafted(CONSENT)
    policy = ConsentPolicy(
        without_house, known_tags=vocabulary, model_uses={"house": ["noncommercial", "commercial"]}
    )

    def reasons(use, territory):
        decision = policy.decide(
            list(vocabulary), use=use, territory=territory, model="house", at=NOW
        )
        assert not any(tag.granted for tag in decision.tags)
        return {tag.tag: str(tag.reason) for tag in decision.tags}

    commercial = reasons("commercial", "WORLD")
    assert commercial["genre/waltz"] == "use"
    assert commercial["genre/jazz"] == "expired"
    assert commercial["genre/techno"] == "territory"
    assert commercial["genre/choral"] == "no-grant"
    assert reasons("noncommercial", "AT")["genre/techno"] == "demonstration"


def test_the_earliest_of_two_revocations_counts():
    registry = shipped()
    for day in (9, 3, 6):
        registry = registry.with_revocation(
            Revocation(grant="house-catalogue-2026", at=datetime(2026, 11, day, tzinfo=UTC))
        )
    assert registry.revoked_at("house-catalogue-2026") == datetime(2026, 11, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"uses": ["anything"]}, "uses"),
        ({"uses": []}, "uses"),
        ({"tags": ["Some Artist"]}, "tags"),
        ({"territories": ["Europe"]}, "territories"),
        ({"valid_from": "2026-01-01T00:00:00"}, "valid_from"),  # no time zone: not an instant
        ({"valid_until": "2025-01-01T00:00:00Z"}, "valid_until"),
        ({"share": "1.5"}, "share"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_grant_is_refused_by_name(folder, fields, said):
    change(folder / "grants" / "house-catalogue-2026.yaml", **fields)
    with pytest.raises(ConfigError, match=said):
        Drafts(folder)


@pytest.mark.parametrize(
    "content", ["[", "grant: {}", "version: 2\ngrant: {}", "version: 1", "- 1"]
)
def test_a_file_of_another_shape_is_refused(folder, content):
    (folder / "grants" / "new.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"new\.yaml"):
        Drafts(folder)


def test_each_tag_is_drafted_once_and_by_a_holder(folder):
    (folder / "tags" / "nobody.yaml").write_text("genre:\n  polka: a polka\n")
    with pytest.raises(ConfigError, match=r"nobody\.yaml: there is no rights holder"):
        Drafts(folder)
    (folder / "tags" / "nobody.yaml").rename(folder / "tags" / "house.yaml")
    with pytest.raises(ConfigError, match=r"belong into tags\.yaml"):
        Drafts(folder)
    (folder / "tags" / "house.yaml").rename(folder / "tags" / "demonstration-label.yaml")
    assert set(Drafts(folder).tags["demonstration-label"]) == {"genre/polka"}
    (folder / "tags" / "demonstration-label.yaml").write_text("genre:\n  jazz: again\n")
    with pytest.raises(ConfigError, match="genre/jazz"):
        Drafts(folder)


def test_duplicates_and_dangling_revocations_are_refused(folder):
    registry = shipped()
    holders, grants = list(registry.holders.values()), list(registry.grants.values())
    with pytest.raises(ConfigError, match="twice"):
        ConsentRegistry(holders, [*grants, grants[0]])
    with pytest.raises(ConfigError, match="twice"):
        ConsentRegistry([*holders, holders[0]], grants)
    with pytest.raises(ConfigError, match="unknown holder"):
        ConsentRegistry([], grants)
    with pytest.raises(ConfigError, match="unknown grant"):
        registry.with_revocation(Revocation(grant="never-given", at=NOW))


def test_missing_folder(tmp_path):
    with pytest.raises(ConfigError, match=r"holders\.yaml"):
        Drafts(tmp_path)
