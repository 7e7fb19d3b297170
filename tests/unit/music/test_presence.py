"""Which models can be used on this machine, told without loading or asking the network."""

from __future__ import annotations

import pytest

from studio.core.paths import resolve_paths
from studio.music.models.config import load_model_configs
from studio.music.models.presence import is_here, why_unusable


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return load_model_configs(resolve_paths(home=tmp_path, environ={}).configs / "models")


def test_the_house_model_is_always_here(models):
    assert why_unusable(models["house"]) is None


def test_a_hub_model_that_is_not_here_is_told_with_its_size(models):
    why = why_unusable(models["facebook/musicgen-small"])
    assert "about 2 GB" in why


def test_it_can_be_used_where_it_may_be_fetched(models, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert why_unusable(models["facebook/musicgen-small"]) is None


def test_a_directory_with_both_files_is_enough(models, tmp_path):
    model = models["facebook/musicgen-small"].model_copy(update={"path": tmp_path})
    assert not is_here(model)
    for name in ("state_dict.bin", "compression_state_dict.bin"):
        (tmp_path / name).touch()
    assert is_here(model)
    assert why_unusable(model) is None
