"""Files of the bench's codec: one of a training run, and the shipped weights with their card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studio.core.errors import CheckpointError, ConfigError
from studio.music.training.codec.network import BenchCodec, CodecConfig
from watermark.util.files import write_file

__all__ = [
    "CARD_NAME",
    "WEIGHTS_NAME",
    "load_codec",
    "load_run_codec",
    "save_run_codec",
    "save_weights",
]

WEIGHTS_NAME = "codec.safetensors"
CARD_NAME = "card.json"


def save_run_codec(codec: BenchCodec, path: Path) -> None:
    """Write a codec in full precision, its shape beside its tensors."""
    from safetensors.torch import save

    tensors = {name: value.contiguous() for name, value in codec.state_dict().items()}
    payload = save(tensors, metadata={"config": json.dumps(asdict(codec.config))})
    write_file(path, payload, mode=None)


def load_run_codec(path: Path) -> BenchCodec:
    """A codec that :func:`save_run_codec` wrote. Raises :class:`CheckpointError`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            config = CodecConfig(**json.loads(file.metadata()["config"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        codec = BenchCodec(config)
        codec.load_state_dict(tensors)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as exc:
        raise CheckpointError(f"no readable codec in {path}: {exc}") from exc
    return codec.eval()


def save_weights(codec: BenchCodec, directory: Path, card: Mapping[str, Any]) -> str:
    """Write weights (fp16) and card into `directory`; returns the SHA-256 of the weights.

    The card gets the codec's shape and the digest.
    """
    from safetensors.torch import save

    payload = save({name: t.half().contiguous() for name, t in codec.state_dict().items()})
    digest = hashlib.sha256(payload).hexdigest()
    whole = {**card, "config": {"codec": asdict(codec.config)}, "digest": digest}
    text = json.dumps(whole, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    directory.mkdir(parents=True, exist_ok=True)
    write_file(directory / WEIGHTS_NAME, payload, mode=None)
    write_file(directory / CARD_NAME, text.encode("utf-8"), mode=None)
    return digest


def load_codec(directory: Path) -> BenchCodec:
    """The codec whose weights (fp16) and card lie in `directory`, in eval mode on the CPU.

    Raises :class:`CheckpointError` when a file is absent, damaged, or not the one the card names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = directory / WEIGHTS_NAME
    try:
        card = json.loads((directory / CARD_NAME).read_text(encoding="utf-8"))
        payload = path.read_bytes()
        config = CodecConfig(**card["config"]["codec"])
        expected = str(card["digest"])
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as exc:
        raise CheckpointError(f"no readable codec in {directory}: {exc}") from exc
    digest = hashlib.sha256(payload).hexdigest()
    if digest != expected:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 is {digest[:12]}…, its card says {expected[:12]}…; "
            "restore the file from the repository"
        )
    codec = BenchCodec(config)
    try:
        codec.load_state_dict({name: value.float() for name, value in load(payload).items()})
    except (SafetensorError, RuntimeError) as exc:
        raise CheckpointError(f"{path} does not fit its card: {exc}") from exc
    return codec.eval()
