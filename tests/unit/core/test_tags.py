"""The vocabulary: namespaced, without duplicates, unknown tags named in the error."""

from __future__ import annotations

import pytest

from studio.core.errors import ConfigError, UnknownTagError
from studio.core.paths import shipped_configs
from studio.core.tags import KINDS, Tag, TagId, Vocabulary

FOLDER = shipped_configs() / "consent"


def test_the_shipped_vocabulary():
    vocabulary = Vocabulary.drafted(FOLDER)
    assert {tag.kind for tag in vocabulary.values()} == set(KINDS)
    assert {kind: len(vocabulary.of_kind(kind)) for kind in KINDS} == {
        "genre": 32, "mood": 10, "lead": 20, "tempo": 3
    }  # fmt: skip
    assert vocabulary["genre/bossa-nova"].name == "bossa-nova"
    assert all(tag.phrase for tag in vocabulary.values())


@pytest.mark.parametrize("word", ["genre/polka", "jazz", "", "Some Artist", "genre/jazz,mood/calm"])
def test_anything_else_is_unknown(word):
    with pytest.raises(UnknownTagError) as caught:
        Vocabulary.drafted(FOLDER).parse(["genre/jazz", word])
    assert caught.value.tag_id == word


@pytest.mark.parametrize(
    "id", ["jazz", "genre/Jazz", "genre/a b", "artist/somebody", "genre/", "genre/-a"]
)
def test_an_id_of_another_form_is_refused(id):
    with pytest.raises(ConfigError, match="kind/name"):
        Tag(TagId(id), "a phrase")


def test_duplicates_are_refused():
    tag = Tag(TagId("genre/jazz"), "jazz")
    with pytest.raises(ConfigError, match="twice"):
        Vocabulary([tag, tag])


@pytest.mark.parametrize("content", ["[", "- genre", "genre: jazz", ""])
def test_a_file_of_another_shape_is_refused(tmp_path, content):
    path = tmp_path / "tags.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match="vocabulary"):
        Vocabulary.load(path)
