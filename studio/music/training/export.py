"""Makes the shipped checkpoint out of finished training runs: weights, and a card that says whence.

The card is the model's birth certificate: recipe and profile, data by digest and hours, the grants
that cover it, steps, time, seed, code version, sampling, and the figures of the last evaluation.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.core.errors import HouseError
from studio.music.models.house.model import (
    CARD_NAME,
    WEIGHTS_NAME,
    load_house_model,
    save_house_model,
)
from studio.music.models.house.temperatures import every_codebook, scale_heads
from studio.music.training.codec.refining import REFINED_NAME
from studio.music.training.lm import load_codec_checkpoint, load_lm_checkpoint

if TYPE_CHECKING:
    from studio.music.training.catalogue import Catalogue

__all__ = ["GENERATION", "change_sampling", "export_weights", "record_metrics"]

GENERATION: Mapping[str, float | int] = {"guidance": 3.0, "temperature": 1.0, "top_k": 250}
"""Sampling of a new card, fixed before the test split is looked at."""


def export_weights(
    run_dir: Path,
    catalogue_dir: Path,
    weights_dir: Path,
    *,
    generation: Mapping[str, float | int] = GENERATION,
    codebook_temperatures: Sequence[float] = (),
    notes: str = "",
) -> str:
    """Write the best checkpoint of `run_dir` to `weights_dir`; returns the weights' SHA-256.

    `codebook_temperatures` (the last holds for the codebooks it does not name) are folded into the
    heads: the first codebooks carry the music and want to be drawn, the last carry detail that a
    small model cannot foresee, where a draw is noise. Any sampler then draws with them at its own
    temperature of one.

    Raises :class:`HouseError` when a run is missing, :class:`ConfigError` for temperatures that
    cannot be.
    """
    import torch

    from studio.music.training.catalogue import Catalogue

    refined = run_dir / REFINED_NAME
    codec_path = refined if refined.exists() else run_dir / "codec.pt"
    try:
        state = torch.load(run_dir / "lm-best.pt", map_location="cpu", weights_only=True)
        codec_state = torch.load(codec_path, map_location="cpu", weights_only=True)
    except OSError as exc:
        raise HouseError(f"{run_dir} holds no finished training: {exc}") from exc
    codec = load_codec_checkpoint(codec_path)
    lm, config = load_lm_checkpoint(run_dir / "lm-best.pt")
    temperatures = every_codebook(codebook_temperatures, lm.n_q)
    scale_heads(lm, [1 / t for t in temperatures])
    card = {
        "title": "House model",
        "licence": "MIT",
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "code": _code_version(),
        "commands": [
            "studio house compose",
            "studio house render",
            "studio house train-codec",
            "studio house train-lm",
            "studio house refine-decoder",
            "studio house export",
            "studio house evaluate",
        ],
        "data": describe_data(Catalogue.open(catalogue_dir)),
        "training": {
            "codec": {
                "steps": codec_state["position"],
                "seed": codec_state["config"]["seed"],
                "profile": {k: v for k, v in codec_state["config"].items() if k != "model"},
                "seconds": _seconds(run_dir / "codec.jsonl"),
            },
            "lm": {"steps": state["position"], "seconds": _seconds(run_dir / "lm.jsonl")},
            **_refining(codec_state, run_dir),
            "notes": notes,
        },
        "generation": {
            **generation,
            "codebook_temperatures": temperatures,
            "folded_temperatures": temperatures,
        },
        "metrics": {},
    }
    return save_house_model(weights_dir, config, codec, lm, card)


def _refining(codec_state: Mapping[str, Any], run_dir: Path) -> dict[str, Any]:
    """What the card says of the decoder's refining, where there was one."""
    if "refining" not in codec_state:
        return {}
    refining = codec_state["refining"]
    return {
        "decoder refining": {
            "steps": refining["position"],
            "profile": refining["config"],
            "seconds": _seconds(run_dir / "refine.jsonl"),
        }
    }


def change_sampling(
    weights_dir: Path,
    out_dir: Path,
    *,
    generation: Mapping[str, float | int],
    codebook_temperatures: Sequence[float] = (),
) -> str:
    """Write a card with other sampling for finished weights; returns their unchanged SHA-256.

    Needs no training run: the heads stay as they are, the card says which temperatures they hold
    and which are wanted (:mod:`studio.music.models.house.temperatures`). The weights are copied
    where `out_dir` is another folder. Figures measured with the old sampling are left out.

    Raises :class:`CheckpointError` when there are no readable weights, :class:`ConfigError` for
    temperatures that cannot be.
    """
    model = load_house_model(weights_dir)
    old = model.card.get("generation", {})
    codebooks = model.config.codec.codebooks
    stored = old.get("folded_temperatures", old.get("codebook_temperatures", ()))
    temperatures = codebook_temperatures or old.get("codebook_temperatures", ())
    sampling = {
        **old,
        **generation,
        "codebook_temperatures": every_codebook(temperatures, codebooks),
        "folded_temperatures": every_codebook(stored, codebooks),
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    if out_dir.resolve() != weights_dir.resolve():
        shutil.copyfile(weights_dir / WEIGHTS_NAME, out_dir / WEIGHTS_NAME)
    _write_card(out_dir, {**model.card, "generation": sampling, "metrics": {}})
    return model.digest


def record_metrics(weights_dir: Path, metrics: Mapping[str, Any]) -> None:
    """Put an evaluation (`Report.to_dict()`) into the card of the weights it was made on.

    Raises :class:`HouseError` when the figures belong to other weights.
    """
    model = load_house_model(weights_dir)
    measured = metrics.get("data", {}).get("weights")
    if measured != model.digest:
        raise HouseError("these figures were measured on other weights")
    _write_card(weights_dir, {**model.card, "metrics": dict(metrics)})


def _write_card(weights_dir: Path, card: Mapping[str, Any]) -> None:
    text = json.dumps(card, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    part = weights_dir / f"{CARD_NAME}.part"
    part.write_text(text, encoding="utf-8")
    part.replace(weights_dir / CARD_NAME)


def describe_data(catalogue: Catalogue) -> dict[str, Any]:
    """Digest of the manifest, hours and tracks per split, and the grants that cover training."""
    manifest = (catalogue.root / "manifest.jsonl").read_bytes()
    train = catalogue.tracks("train")
    return {
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "train_hours": round(catalogue.seconds("train") / 3600, 2),
        "tracks": {s: len(catalogue.tracks(s)) for s in ("train", "validation", "test")},
        "grants": sorted({track.grant for track in train}),
        "holders": sorted({track.holder for track in train}),
    }


def _seconds(log: Path) -> float:
    """Seconds spent by all sessions of a run: each session's clock starts at zero."""
    total = last = 0.0
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        now = float(json.loads(line)["s"])
        if now < last:
            total += last
        last = now
    return round(total + last)


def _code_version() -> str:
    try:
        out = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - git from PATH, as a developer has it
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return out.stdout.strip()
