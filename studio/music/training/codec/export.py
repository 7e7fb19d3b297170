"""Exports the bench's codec with a card: recipe, data, grants, steps, time and figures."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from studio.core.errors import HouseError
from studio.music.training.catalogue import Catalogue
from studio.music.training.codec.figures import held_out_clips, round_trip_figures
from studio.music.training.codec.training import (
    LOG_NAME,
    RECIPE_NAME,
    RUN_CODEC_NAME,
    read_log,
    tracks_digest,
)
from studio.music.training.codec.weights_file import load_codec, load_run_codec, save_weights

__all__ = ["export_bench_codec"]

COMMANDS = (
    "studio house compose",
    "studio house render",
    "studio house train-bench-codec",
    "studio house export-bench-codec",
)


def export_bench_codec(
    run: Path, catalogue: Catalogue, out: Path, *, clips: int = 24, notes: str = ""
) -> dict[str, Any]:
    """Write the best codec of a run as weights (fp16) with a card; returns the card.

    The figures are those of the weights as written, on `clips` test tracks. Raises
    :class:`HouseError` where the run has no codec, the catalogue is another than the one trained
    on, or has too few test tracks; :class:`CheckpointError` where a file is damaged.
    """
    log = read_log(run / LOG_NAME)
    if not log or not (run / RUN_CODEC_NAME).exists():
        raise HouseError(f"{run} holds no codec yet; train it past its warm-up")
    best = min(log, key=lambda row: float(row["validation_loss"]))
    if best["tracks_sha256"] != tracks_digest(catalogue):
        raise HouseError(f"{catalogue.root} holds other tracks than the codec was trained on")
    held_out = held_out_clips(catalogue, clips)
    settings = json.loads((run / RECIPE_NAME).read_text(encoding="utf-8"))
    train = catalogue.tracks("train")
    card: dict[str, Any] = {
        "title": "Codec of the seal's bench: an attack, made by nothing but this project's music",
        "licence": "MIT",
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commands": list(COMMANDS),
        "recipe": "configs/train/bench-codec.yaml",
        "data": {
            "tracks": {
                split: len(catalogue.tracks(split)) for split in ("train", "validation", "test")
            },
            "train_hours": round(catalogue.seconds("train") / 3600, 2),
            "tracks_sha256": tracks_digest(catalogue),
            "grants": sorted({track.grant for track in train}),
            "holders": sorted({track.holder for track in train}),
        },
        "training": {**settings, "steps": best["step"], "minutes": best["minutes"], "notes": notes},
    }
    save_weights(load_run_codec(run / RUN_CODEC_NAME), out, card)
    card["figures"] = round_trip_figures(load_codec(out), held_out)
    save_weights(load_run_codec(run / RUN_CODEC_NAME), out, card)
    return card
