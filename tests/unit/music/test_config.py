"""Model configurations: complete, honest about licences, and refused by name when wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from studio.core.errors import CheckpointError, ConfigError
from studio.music.models.config import HOUSE_WEIGHTS, ModelConfig, describe, load_model_configs
from tests.support.models import house_tags, tiny_house_model

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "models"

HUB = {
    "id": "a/b",
    "kind": "hub",
    "title": "A model",
    "repo": "a/b",
    "licence": "CC-BY-NC-4.0",
    "licence_uses": ["experiment", "noncommercial"],
    "training_basis": "known",
    "rate": 32000,
    "channels": 1,
    "max_duration_s": 30,
    "guidance": 3.0,
    "temperature": 1.0,
    "top_k": 250,
    "extend_keep": 0.4,
}


def test_the_shipped_models_are_there_house_first():
    models = load_model_configs(CONFIGS)
    assert next(iter(models)) == "house"
    sizes = {"small", "medium", "large"}
    expected = {f"facebook/musicgen-{size}" for size in sizes | {"melody"}}
    expected |= {f"facebook/musicgen-stereo-{size}" for size in sizes}
    assert set(models) == {"house", *expected}


def test_only_the_house_weights_may_be_used_commercially():
    for model in load_model_configs(CONFIGS).values():
        assert ("commercial" in model.licence_uses) == (model.kind == "house")
        assert "experiment" in model.licence_uses
        assert "anything else" not in model.licence_uses
        assert len(model.training_basis) > 80


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"licence_uses": ["resale"]}, "licence_uses"),
        ({"licence_uses": []}, "licence_uses"),
        ({"rate": None}, "rate, channels and max_duration_s"),
        ({"repo": None}, "repo or a path"),
        ({"digests": {"state_dict.bin": "abc"}}, "digests"),
        ({"guidance": 0.5}, "guidance"),
        ({"colour": "blue"}, "colour"),
        ({"kind": "other"}, "kind"),
        ({"id": "../etc"}, "id"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_field(tmp_path, change, fault):
    data = {key: value for key, value in {**HUB, **change}.items() if value is not None}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match=r"wrong\.yaml") as caught:
        load_model_configs(tmp_path)
    assert fault in str(caught.value)


def test_the_same_file_without_the_fault_is_taken(tmp_path):
    (tmp_path / "right.yaml").write_text(yaml.safe_dump(HUB))
    assert load_model_configs(tmp_path)["a/b"].repo == "a/b"


@pytest.mark.parametrize("text", ["{", "- a list", ""])
def test_no_yaml_mapping_is_refused(tmp_path, text):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"wrong\.yaml"):
        load_model_configs(tmp_path)


def test_one_id_twice_and_a_missing_folder_are_refused(tmp_path):
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump(HUB))
    with pytest.raises(ConfigError, match="twice"):
        load_model_configs(tmp_path)
    with pytest.raises(ConfigError, match="no folder"):
        load_model_configs(tmp_path / "absent")


def test_a_path_is_relative_to_its_file(tmp_path):
    (tmp_path / "one.yaml").write_text(yaml.safe_dump({**HUB, "path": "../weights"}))
    assert load_model_configs(tmp_path)["a/b"].path == (tmp_path.parent / "weights").resolve()


@pytest.mark.slow
def test_a_house_model_is_described_by_its_card(tmp_path):
    info = describe(tiny_house_model(tmp_path))
    card = json.loads((tmp_path / "card.json").read_text())
    assert info.digest == card["digest"]
    assert info.tags == set(house_tags())
    assert "genre/choral" not in info.tags
    assert (info.rate, info.channels, info.max_duration_s) == (48000, 2, 600.0)


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"config": {"codec": 1}}'])
def test_an_unreadable_card_is_a_checkpoint_error(tmp_path, text):
    config = tiny_house_model(tmp_path)
    (tmp_path / "card.json").unlink()
    if text is not None:
        (tmp_path / "card.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"card\.json"):
        describe(config)


def test_weights_of_an_earlier_design_are_refused_in_words(tmp_path):
    config = tiny_house_model(tmp_path)
    shape = {"codec": {"sample_rate": 32000}, "lm": {"max_duration_s": 10.0}, "tags": ["mood/calm"]}
    (tmp_path / "card.json").write_text(json.dumps({"config": shape, "digest": "0" * 64}))
    with pytest.raises(CheckpointError, match="earlier design, which this studio no longer plays"):
        describe(config)


def test_a_hub_model_takes_any_tag_and_has_no_digest_before_it_is_read():
    info = describe(ModelConfig.model_validate(HUB))
    assert (info.tags, info.digest, info.rate) == (None, None, 32000)


def test_the_house_configuration_repeats_the_sampling_its_card_fixed():
    card = json.loads((HOUSE_WEIGHTS / "card.json").read_text())
    config = load_model_configs(CONFIGS)["house"]
    own = {"guidance": config.guidance, "temperature": config.temperature, "top_k": config.top_k}
    assert own == {name: card["generation"][name] for name in own}
