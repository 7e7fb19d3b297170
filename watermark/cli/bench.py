"""``watermark bench``: how the watermark holds under distortions and attacks."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from watermark.cli import common
from watermark.cli.common import model_config, model_option
from watermark.cli.numbers import Count, Number
from watermark.cli.paths import OutputFolder
from watermark.errors import BenchError
from watermark.util.files import write_file

if TYPE_CHECKING:
    from watermark.audio.waveform import Waveform
    from watermark.coding.message import SealId

__all__ = ["bench"]

_PATH = click.Path(readable=False)  # what is wrong with it, the command says


@click.command()
@click.option("--attacks", type=_PATH, help="Default: the list that is shipped.")
@click.option("--only", metavar="TEXT", help="Only attacks whose name or kind holds TEXT.")
@click.option(
    "--audio",
    type=_PATH,
    metavar="DIR",
    help="Music to seal; default: made up.",
)
@click.option(
    "--noise",
    type=_PATH,
    metavar="DIR",
    help="Recordings of noise, to mix in.",
)
@click.option(
    "--jobs",
    type=Count(1, 1024),
    default=1,
    show_default=True,
    help="Processes that share the work; the figures do not depend on it.",
)
@click.option("--speed-search", is_flag=True, help="Read at speeds up to 5 % off, too; slow.")
@click.option("--clips", type=Count(1, 100_000), default=8, show_default=True)
@click.option("--seconds", type=Number(min=2, max=3600), default=10.0, show_default=True)
@click.option("--decoys", type=Count(0, 100_000_000), default=10_000, show_default=True)
@click.option("--seed", type=Count(), default=0, show_default=True)
@click.option("--strength", type=Number(), help="Strength of the mark; default: the model's own.")
@model_option
@click.option("--out", type=OutputFolder(), metavar="DIR", help="Where to put reports.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object on stdout.")
def bench(
    attacks: str | None,
    only: str | None,
    audio: str | None,
    noise: str | None,
    jobs: int,
    speed_search: bool,
    clips: int,
    seconds: float,
    decoys: int,
    seed: int,
    strength: float | None,
    model: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure how the seal holds: detection, false alarms and identification after every attack.

    With --out, bench.json, bench.txt, bench.html and bench.png are written there.
    """
    import torch

    from watermark.coding.message import SealKey
    from watermark.embedding.embed import embed as embed_seal
    from watermark.evaluation import bench as benching
    from watermark.evaluation.adversarial import all_threats
    from watermark.evaluation.attack_list import (
        default_attacks,
        load_attacks,
        with_recordings,
        without_missing_plugins,
    )
    from watermark.evaluation.parallel import BenchSetting, attack_all
    from watermark.evaluation.report import as_html, as_png, as_text

    specs, without = with_recordings(load_attacks(attacks or default_attacks()), noise)
    if only:
        specs = tuple(s for s in specs if only in s.name or only in s.family)
        without = tuple(name for name in without if only in name)
    specs, lacking = without_missing_plugins(specs)
    missing = {"left out (no --noise DIR)": ", ".join(without)} if without else {}
    for name, modules in lacking.items():
        missing[f"left out ({modules} not installed)"] = name
        click.echo(f"left out: {name} needs {modules}", err=True)
    if not specs:
        raise BenchError(f"no attack whose name or kind holds {only!r} can run here")
    for spec in specs:
        spec.check()
    for name in without:
        click.echo(f"left out: {name} needs --noise DIR", err=True)
    if audio:
        music, left_out = benching.load_clips(audio, count=clips, seconds=seconds)
        for reason in left_out:
            click.echo(f"left out: {reason}", err=True)
        kind = f"{len(music)} files of {Path(audio).resolve().name}"
    else:
        music = benching.synthetic_clips(count=clips, seconds=seconds, seed=seed)
        kind = "made up on the spot (no --audio given); a smoke test, not a measurement"
    # One thread, as in every process of --jobs: then their sums are the same to the last digit.
    torch.set_num_threads(1)
    # The key is thrown away: it is derived from the seed so that a run can be repeated.
    key = SealKey(1, seed.to_bytes(32, "big", signed=True))
    networks = common.load_model(model)
    setting = BenchSetting(music, model_config(model), key, decoys, seed, strength, speed_search)
    stranger_key = SealKey(1, bytes(31) + b"s")

    def stranger(waveform: Waveform, seal_id: SealId) -> Waveform:
        return embed_seal(waveform, seal_id, stranger_key, model=networks)

    def say(text: str) -> None:
        click.echo(text, err=True)

    ready = setting.bench(networks)
    try:
        results = attack_all(
            setting.start if jobs > 1 else lambda: ready,
            specs,
            [clip.name for clip in music],
            jobs=jobs if jobs > 1 else 0,
            progress=say,
        )
        report = ready.report(
            results,
            threats=() if only else all_threats(stranger),
            setting={
                "model": networks.id,
                "audio": kind,
                "speed search": "yes" if speed_search else "no",
                **missing,
            },
            progress=lambda name: say(f"threat: {name}"),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; no report was written") from None
    text, data = as_text(report), json.dumps(report.to_json(), allow_nan=False)
    click.echo(data if as_json else text)  # first: it is there even if no file can be written
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        files = {
            "bench.txt": (text + "\n").encode(),
            "bench.json": (data + "\n").encode(),
            "bench.html": as_html(report).encode(),
        }
        if find_spec("matplotlib") is None:
            say("left out: bench.png needs matplotlib")
        else:
            files["bench.png"] = as_png(report)
        for name, content in files.items():
            write_file(out / name, content, mode=None)
