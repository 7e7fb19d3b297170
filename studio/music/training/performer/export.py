"""Export the house model's weights with a card that says their origin.

The card is the model's birth certificate: recipe, data by digest and hours, the grants that cover
it, steps, time, code version, sampling, and the figures of the last evaluation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from studio.core.errors import HouseError
from studio.music.models.house.performer import CARD_NAME, HousePerformer, save_performer
from studio.music.training.performer.data import PerformanceTrack, read_manifest
from studio.music.training.performer.training import load_performer
from watermark.util.files import write_file

__all__ = ["export_performer", "record_figures"]

COMMANDS = (
    "studio house measure-instruments",
    "studio house render-stems",
    "studio house train-stem-codec",
    "studio house encode-scores",
    "studio house train-performer",
    "studio house export-performer",
    "studio house evaluate",
)


def export_performer(
    run_dir: Path,
    codec_path: Path,
    tracks_dir: Path,
    weights_dir: Path,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    notes: str = "",
) -> str:
    """Write the best checkpoint of `run_dir` with its codec to `weights_dir`; returns the digest.

    The manifest of the training tracks goes beside the weights. Raises :class:`HouseError` when a
    run or its tracks are missing.
    """
    lm, shape = load_performer(run_dir / "performer-best.pt")
    rows = read_manifest(tracks_dir)
    if not rows:
        raise HouseError(f"{tracks_dir} holds no encoded tracks")
    log = [
        json.loads(line)
        for line in (run_dir / "performer.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    best = min(log, key=lambda row: float(row["validation_nll"]))
    card = {
        "title": "House model",
        "licence": "MIT",
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commands": list(COMMANDS),
        "data": _data(rows),
        "training": {
            "performer": {
                "steps": best["step"],
                "validation_nll_per_codebook": best["validation_nll_per_codebook"],
                "tracks": best["tracks"],
            },
            "notes": notes,
        },
        "generation": {"guidance": 1.0, "temperature": temperature, "top_k": top_k},
        "metrics": {},
    }
    return save_performer(weights_dir, codec_path, lm, shape, card)


def _data(rows: list[PerformanceTrack]) -> dict[str, Any]:
    """Digest of the manifest, hours and tracks per split, and the grants that cover training."""
    lines = "".join(f"{row.id} {row.score_sha256} {row.grant}\n" for row in rows)
    train = [row for row in rows if row.split == "train"]
    return {
        "manifest_sha256": hashlib.sha256(lines.encode("utf-8")).hexdigest(),
        "train_hours": round(sum(row.duration_s for row in train) / 3600, 2),
        "tracks": {
            split: sum(row.split == split for row in rows)
            for split in ("train", "validation", "test")
        },
        "grants": sorted({row.grant for row in train}),
        "holders": sorted({row.holder for row in train}),
    }


def record_figures(weights_dir: Path, figures: Mapping[str, Any]) -> None:
    """Put an evaluation into the card of the weights it was made on.

    Raises :class:`HouseError` when the figures belong to other weights.
    """
    model = HousePerformer.load(weights_dir)
    if figures.get("data", {}).get("weights") != model.digest:
        raise HouseError("these figures were measured on other weights")
    card = {**model.card, "metrics": dict(figures)}
    text = json.dumps(card, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    write_file(weights_dir / CARD_NAME, text.encode("utf-8"), mode=None)
