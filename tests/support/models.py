"""Tiny real checkpoints with random weights, for every test that needs a generation model.

They go through the same code as the shipped ones, in milliseconds::

    config = tiny_house_model(tmp_path)                  # studio.music.models.config.ModelConfig
    generator = get_generator(config)                    # 3 s of (odd) music in about 0.2 s
    config = tiny_hub_model(tmp_path)                    # audiocraft's export format, T5 beside it

The house checkpoint knows all tags drafted in ``configs/consent`` but ``genre/choral``, which
nobody granted. Weights depend on `seed` alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studio.core.tags import Vocabulary
from studio.music.models.config import ModelConfig

CONSENT = Path(__file__).resolve().parents[2] / "configs" / "consent"
TAGS_FILE = CONSENT / "tags.yaml"


def house_tags() -> tuple[str, ...]:
    return tuple(tag for tag in Vocabulary.drafted(CONSENT) if tag != "genre/choral")


def tiny_house_model(
    directory: Path, *, tags: Sequence[str] | None = None, model_id: str = "house"
) -> ModelConfig:
    """Write a tiny performer of scores to `directory` and return its configuration."""
    from tests.support.performers import tiny_performer

    tiny_performer(directory, tags=house_tags() if tags is None else tuple(tags))
    return ModelConfig(
        id=model_id,
        kind="house",
        title="Tiny house model",
        licence="MIT",
        licence_uses=frozenset({"experiment", "noncommercial", "commercial"}),
        training_basis="Random weights, made by a test.",
        guidance=1.0,
        temperature=1.0,
        top_k=0,
        extend_keep=0.4,
        threads=1,
        path=directory,
    )


def hub_experiment(*, stereo: bool = False, melody: bool = False) -> dict[str, Any]:
    """`xp.cfg` of a language model as audiocraft's training writes it, at toy size."""
    fused = {"prepend": ["self_wav", "description"]} if melody else {"cross": ["description"]}
    conditioners: dict[str, Any] = {
        "description": {
            "model": "t5",
            "t5": {
                "name": "t5-small",
                "finetune": False,
                "word_dropout": 0.3,
                "normalize_text": False,
            },
        }
    }
    if melody:
        conditioners["self_wav"] = {
            "model": "chroma_stem",
            "chroma_stem": {
                "sample_rate": "${sample_rate}",
                "n_chroma": 12,
                "radix2_exp": 12,
                "argmax": True,
                "match_len_on_eval": False,
                "eval_wavs": None,
                "n_eval_wavs": 100,
                "cache_path": None,
            },
        }
    codebooks = 8 if stereo else 4
    return {
        "solver": "musicgen",
        "sample_rate": 32000,
        "channels": 2 if stereo else 1,
        "lm_model": "transformer_lm",
        "dataset": {"segment_duration": 4},
        "interleave_stereo_codebooks": {"use": stereo, "per_timestep": False},
        "compression_model_n_q": None,
        "codebooks_pattern": {
            "modeling": "delay",
            "delay": {
                "delays": [k // 2 for k in range(8)] if stereo else [0, 1, 2, 3],
                "flatten_first": 0,
                "empty_initial": 0,
            },
        },
        "transformer_lm": {
            "dim": 32,
            "num_heads": 2,
            "num_layers": 2,
            "hidden_scale": 4,
            "n_q": codebooks,
            "card": 64,
            "dropout": 0.0,
            "emb_lr": None,
            "activation": "gelu",
            "norm_first": True,
            "bias_ff": False,
            "bias_attn": False,
            "bias_proj": False,
            "past_context": None,
            "causal": True,
            "custom": False,
            "memory_efficient": True,
            "attention_as_float32": False,
            "layer_scale": None,
            "positional_embedding": "sin",
            "xpos": False,
            "checkpointing": "none",
            "weight_init": "gaussian",
            "depthwise_init": "current",
            "zero_bias_init": True,
            "norm": "layer_norm",
            "cross_attention": False,
            "qk_layer_norm": False,
            "qk_layer_norm_cross": False,
            "attention_dropout": None,
            "kv_repeat": 1,
            "two_step_cfg": False,
        },
        "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0},
        "attribute_dropout": {},
        "fuser": {
            "cross_attention_pos_emb": False,
            "cross_attention_pos_emb_scale": 1,
            **{"sum": [], "prepend": [], "cross": [], "input_interpolate": [], **fused},
        },
        "conditioners": {"args": {"merge_text_conditions_p": 0.25}, **conditioners},
    }


def codec_experiment() -> dict[str, Any]:
    """`xp.cfg` of an EnCodec as audiocraft's training writes it, at toy size."""
    return {
        "compression_model": "encodec",
        "sample_rate": 32000,
        "channels": 1,
        "encodec": {
            "autoencoder": "seanet",
            "quantizer": "rvq",
            "sample_rate": "${sample_rate}",
            "channels": "${channels}",
            "causal": False,
            "renormalize": False,
        },
        "seanet": {
            "dimension": 16,
            "channels": "${channels}",
            "causal": "${encodec.causal}",
            "n_filters": 4,
            "n_residual_layers": 1,
            "ratios": [8, 5, 4, 4],
            "activation": "ELU",
            "activation_params": {"alpha": 1.0},
            "norm": "weight_norm",
            "norm_params": {},
            "kernel_size": 7,
            "residual_kernel_size": 3,
            "last_kernel_size": 7,
            "dilation_base": 2,
            "pad_mode": "constant",
            "true_skip": True,
            "compress": 2,
            "lstm": 2,
            "disable_norm_outer_blocks": 0,
            "decoder": {
                "trim_right_ratio": 1.0,
                "final_activation": None,
                "final_activation_params": None,
            },
            "encoder": {},
        },
        "rvq": {
            "n_q": 4,
            "q_dropout": False,
            "bins": 64,
            "decay": 0.99,
            "kmeans_init": True,
            "kmeans_iters": 50,
            "threshold_ema_dead_code": 2,
            "orthogonal_reg_weight": 0.0,
            "orthogonal_reg_active_codes_only": False,
        },
        "no_quant": {},
    }


def tiny_text_encoder(directory: Path) -> Path:
    """A T5 encoder of one thin layer and few words, as wide as t5-small (audiocraft checks)."""
    import torch
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    words = ["a", "and", "bright", "calm", "gentle", "happy", "in", "orchestra", "time", "waltz"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocabulary += [(f"▁{word}", -3.0) for word in words]
    vocabulary += [(letter, -9.0) for letter in "abcdefghijklmnopqrstuvwxyz-,"]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0)
    tokenizer.save_pretrained(directory)
    shape = T5Config(
        vocab_size=len(tokenizer), d_model=512, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        encoder = T5EncoderModel(shape)
    encoder.save_pretrained(directory)
    return directory


def tiny_hub_model(
    directory: Path,
    *,
    stereo: bool = False,
    melody: bool = False,
    model_id: str = "facebook/musicgen-tiny",
) -> ModelConfig:
    """Write an export of audiocraft's layout to `directory` and return its configuration."""
    import torch
    from omegaconf import OmegaConf

    from studio.music.models.hub.audiocraft_compat import load_audiocraft

    audiocraft = load_audiocraft()
    from audiocraft.models import builders

    from studio.music.models.hub.loader import (
        CODEC_FILE,
        LM_FILE,
        _build_lm,
        _Source,
        _without_init,
    )

    directory.mkdir(parents=True, exist_ok=True)
    config = ModelConfig(
        id=model_id,
        kind="hub",
        title="Tiny hub model",
        licence="CC-BY-NC-4.0",
        licence_uses=frozenset({"experiment", "noncommercial"}),
        training_basis="Random weights, made by a test.",
        guidance=3.0,
        temperature=1.0,
        top_k=16,
        extend_keep=0.4,
        threads=1,
        path=directory,
        rate=32000,
        channels=2 if stereo else 1,
        max_duration_s=4,
    )
    tiny_text_encoder(directory / "t5-small")
    lm_cfg = OmegaConf.create(hub_experiment(stereo=stereo, melody=melody))
    codec_cfg = OmegaConf.create(codec_experiment())
    codec_cfg.device = "cpu"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        lm = _build_lm(lm_cfg, _Source(config, offline=True))
        with _without_init():
            codec = builders.get_compression_model(codec_cfg)
        with torch.no_grad():
            for module in (lm, codec):
                for parameter in module.parameters():
                    spread = 1.0 if parameter.dim() < 2 else parameter[0].numel() ** -0.5
                    parameter.normal_(0, spread)
            for layer in codec.quantizer.vq.layers:
                layer._codebook.embed.normal_()
                layer._codebook.inited.fill_(1)
    for name, module, cfg in ((LM_FILE, lm, lm_cfg), (CODEC_FILE, codec, codec_cfg)):
        half = {
            key: value.half() if value.is_floating_point() and name == LM_FILE else value
            for key, value in module.state_dict().items()
        }
        torch.save(
            {
                "best_state": half,
                "xp.cfg": OmegaConf.to_yaml(cfg),
                "version": audiocraft.__version__,
                "exported": True,
            },
            directory / name,
        )
    (directory / "README.md").write_text(json.dumps({"license": "cc-by-nc-4.0"}))
    return config
