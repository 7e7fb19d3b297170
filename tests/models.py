"""Tiny real checkpoints with random weights, for every test that needs a generation model.

They go through the same code as the shipped ones, in milliseconds::

    config = tiny_house_model(tmp_path)                  # studio.music.config.ModelConfig
    generator = get_generator(config)                    # 5 s of (odd) music in about 0.2 s

The house checkpoint knows all tags of ``configs/consent/tags.yaml`` but ``genre/choral``, like the
shipped one. Weights depend on `seed` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from studio.music.config import ModelConfig
from studio.tags import Vocabulary

TAGS_FILE = Path(__file__).resolve().parent.parent / "configs" / "consent" / "tags.yaml"


def house_tags() -> tuple[str, ...]:
    return tuple(tag for tag in Vocabulary.load(TAGS_FILE) if tag != "genre/choral")


def tiny_house_model(
    directory: Path,
    *,
    tags: Sequence[str] | None = None,
    rate: int = 16000,
    seed: int = 0,
    model_id: str = "house",
) -> ModelConfig:
    """Write a house checkpoint of the real layout to `directory` and return its configuration."""
    import torch

    from studio.music.house_model import HouseConfig, build_house_model, save_house_model

    config = HouseConfig.tiny(house_tags() if tags is None else tags, sample_rate=rate)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codec, lm = build_house_model(config)
    with torch.no_grad():
        for linear in lm.linears:
            linear.weight.mul_(3)  # far enough from uniform that tags and prompts matter
    save_house_model(directory, config, codec, lm, {"title": "tiny test model"})
    return ModelConfig(
        id=model_id,
        kind="house",
        title="Tiny house model",
        licence="MIT",
        licence_uses=frozenset({"experiment", "noncommercial", "commercial"}),
        training_basis="Random weights, made by a test.",
        guidance=3.0,
        temperature=1.0,
        top_k=16,
        extend_keep=0.4,
        threads=1,
        path=directory,
    )
