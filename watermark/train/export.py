"""Export a training state to safetensors and its JSON."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from watermark.models.networks import DepthConfig, NetworkConfig, network_dict
from watermark.util.files import replacing

__all__ = ["bench_record", "export", "update_record", "write_record"]

FORMAT = "watermark-seal-weights/2"


def export(
    state: Path,
    out: Path,
    *,
    name: str,
    strength_db: float,
    max_strength: float,
    chip_cells: int = 0,
    facts: dict[str, Any],
) -> str:
    """Write ``out`` (fp16 safetensors of the averaged weights) and its record; returns the digest.

    Args:
        state: ``state.pt`` of :func:`watermark.train.recipe.run`.
        out: ``….safetensors``; the record takes its name with ``.json``.
        name: of the model, as in ids.
        strength_db: depth K of strength 1.
        max_strength: the audibility limit.
        chip_cells: cells after which the scramble changes; 0 for none.
        facts: how it was trained; kept in the record as it is.
    """
    from safetensors.torch import save

    data = torch.load(state, map_location="cpu", weights_only=True)
    tensors = {key: value.half().contiguous() for key, value in data["ema"].items()}
    raw = save(tensors)
    digest = hashlib.sha256(raw).hexdigest()
    with replacing(out) as file:
        file.write(raw)
    record = {
        "format": FORMAT,
        "name": name,
        "digest": digest,
        **network_dict(NetworkConfig(), DepthConfig(**data.get("depth", {}))),
        "strength_db": strength_db,
        "max_strength": max_strength,
        "chip_cells": chip_cells,
        "training": {**facts, "progress": data["progress"]},
    }
    write_record(out.with_suffix(".json"), record)
    return digest


def write_record(path: Path, record: dict[str, Any]) -> None:
    """The record as readable JSON, lists of numbers on one line."""
    with replacing(path) as file:
        file.write((_pretty(record) + "\n").encode())


def update_record(weights: Path, **parts: Any) -> None:
    """Replace top-level parts of the record beside ``weights``."""
    path = weights.with_suffix(".json")
    write_record(path, {**json.loads(path.read_text()), **parts})


def bench_record(reports: list[dict[str, Any]], command: str) -> dict[str, Any]:
    """The ``bench`` part of a weights record: counts per attack, from reports of the bench."""
    rows = [
        {
            "attack": row["attack"],
            "seconds": report["seconds"],
            **{k: row[k] for k in ("clips", "detected", "identified", "identified_million")},
            "false_alarms": row["false_alarms"],
        }
        for report in reports
        for row in report["results"]
    ]
    return {
        "seconds": reports[0]["seconds"],
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "audio": [report["setting"].get("audio", "") for report in reports],
        "model": reports[0]["setting"].get("model", ""),
        "results": rows,
    }


def _pretty(value: Any, indent: int = 0) -> str:
    pad, end = "\n" + " " * (indent + 2), "\n" + " " * indent
    if isinstance(value, dict) and value:
        items = [f"{json.dumps(k)}: {_pretty(v, indent + 2)}" for k, v in value.items()]
        return "{" + pad + f",{pad}".join(items) + end + "}"
    if isinstance(value, list) and any(isinstance(v, dict) for v in value):
        return "[" + pad + f",{pad}".join(_pretty(v, indent + 2) for v in value) + end + "]"
    return json.dumps(value)
