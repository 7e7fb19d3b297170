"""Times generation: audiocraft's decoder and ours on the same weights, and the real-time factor.

Runs are interleaved, so that a busy machine troubles both alike, and each run's tokens are
compared: a faster decoder that made other music would be no decoder. On the command line::

    python -m studio.music.models.benchmark --model house --seconds 10 --runs 5
    python -m studio.music.models.benchmark --shape musicgen-small --seconds 2 --runs 1
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from studio.core.errors import StudioError

if TYPE_CHECKING:
    from studio.music.models.checkpoints import Checkpoint

Clock = Literal["wall", "processor"]

__all__ = ["Clock", "DecodingTimes", "compare_decoders", "main", "musicgen_shape"]


@dataclass(frozen=True, slots=True)
class DecodingTimes:
    """Medians over `runs`, on `threads` threads, for `music_s` seconds of music; all in seconds.

    `clock` is "wall", or "processor": the time this process was given, which on one thread is what
    an idle machine would have taken, but for caches shared with others.
    """

    model: str
    clock: Clock
    music_s: float
    threads: int
    runs: int
    audiocraft_s: float
    ours_s: float
    codec_s: float
    same_tokens: bool

    @property
    def ratio(self) -> float:
        """How many times as fast our decoder is."""
        return self.audiocraft_s / self.ours_s

    @property
    def real_time_factor(self) -> float:
        """Seconds of work per second of music: our decoder and the codec."""
        return (self.ours_s + self.codec_s) / self.music_s

    def to_json(self) -> dict[str, Any]:
        derived = {"ratio": self.ratio, "real_time_factor": self.real_time_factor}
        return {name: _rounded(value) for name, value in {**asdict(self), **derived}.items()}


def compare_decoders(
    checkpoint: Checkpoint,
    text: str,
    *,
    model: str,
    music_s: float,
    runs: int,
    threads: int = 1,
    guidance: float = 3.0,
    clock: Clock = "wall",
) -> DecodingTimes:
    """Generate the same music by both decoders `runs` times each, after one short warm-up.

    `text` is what the model is prompted with; `music_s` must lie within the model's duration.
    """
    import torch
    from audiocraft.models.musicgen import MusicGen

    from studio.music.models.decoding import CachedLM

    now = time.perf_counter if clock == "wall" else time.process_time
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    cached: Any = CachedLM(checkpoint.lm)
    both = {
        "audiocraft": MusicGen("audiocraft", checkpoint.codec, checkpoint.lm, 30.0),
        "ours": MusicGen("ours", checkpoint.codec, cached, 30.0),
    }
    seconds: dict[str, list[float]] = {"audiocraft": [], "ours": [], "codec": []}
    same = True
    try:
        for run in range(-1, runs):
            tokens = {}
            for name, musicgen in both.items():
                duration = music_s if run >= 0 else min(0.2, music_s)
                musicgen.set_generation_params(
                    duration=duration, cfg_coef=guidance, top_k=min(250, checkpoint.lm.card)
                )
                attributes, _ = musicgen._prepare_tokens_and_attributes([text], None)
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(run)
                    cached.begin([torch.Generator().manual_seed(run)])
                    started = now()
                    tokens[name] = musicgen._generate_tokens(attributes, None)
                    seconds[name].append(now() - started)
            started = now()
            both["ours"].generate_audio(tokens["ours"])
            seconds["codec"].append(now() - started)
            same = same and bool(torch.equal(tokens["audiocraft"], tokens["ours"]))
    finally:
        torch.set_num_threads(before)
    median = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    return DecodingTimes(
        model=model,
        clock=clock,
        music_s=music_s,
        threads=threads,
        runs=runs,
        audiocraft_s=median["audiocraft"],
        ours_s=median["ours"],
        codec_s=median["codec"],
        same_tokens=same,
    )


def musicgen_shape(layers: int = 24, dim: int = 1024, heads: int = 16) -> Checkpoint:
    """MusicGen with random weights: the speed of its shape without a download.

    The default is musicgen-small with the 32 kHz EnCodec (audiocraft's config/model/lm/model_scale
    and config/model/encodec). The text is a look-up of one word.
    """
    from studio.music.models.hub.audiocraft_compat import load_audiocraft

    load_audiocraft()
    from audiocraft.models.encodec import EncodecModel
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
    from audiocraft.modules.conditioners import (
        ConditionFuser,
        ConditioningProvider,
        LUTConditioner,
    )
    from audiocraft.modules.seanet import SEANetDecoder, SEANetEncoder
    from audiocraft.quantization.vq import ResidualVectorQuantizer

    from studio.music.models.checkpoints import Checkpoint

    lm = LMModel(
        DelayedPatternProvider(4),
        ConditioningProvider({"description": LUTConditioner(16, dim, dim, "noop")}),
        ConditionFuser({"cross": ["description"], "prepend": [], "sum": []}),
        n_q=4,
        card=2048,
        dim=dim,
        num_heads=heads,
        num_layers=layers,
        norm_first=True,
        bias_proj=False,
        bias_ff=False,
        bias_attn=False,
        causal=True,
        memory_efficient=True,
        cross_attention=True,
        activation="gelu",
    )
    seanet: dict[str, Any] = {
        "dimension": 128,
        "n_filters": 64,
        "ratios": [8, 5, 4, 4],
        "lstm": 2,
        "norm": "none",
    }
    codec = EncodecModel(
        SEANetEncoder(**seanet),
        SEANetDecoder(**seanet),
        ResidualVectorQuantizer(dimension=128, n_q=4, bins=2048, kmeans_init=False),
        frame_rate=50,
        sample_rate=32000,
        channels=1,
    )
    return Checkpoint(codec.eval(), lm.eval(), digest="", max_duration_s=30.0)


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


@click.command()
@click.option("--model", default="house", show_default=True, help="Id of a configured model.")
@click.option("--shape", type=click.Choice(["musicgen-small"]), help="Random weights instead.")
@click.option("--tags", default="genre/waltz", show_default=True, help="Tag ids, by commas.")
@click.option("--seconds", default=10.0, show_default=True, help="Music per run.")
@click.option("--runs", default=5, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--clock", type=click.Choice(["wall", "processor"]), default="wall")
def main(
    model: str,
    shape: str | None,
    tags: str,
    seconds: float,
    runs: int,
    threads: int,
    clock: Clock,
) -> None:
    """Print the time of both decoders side by side, as one JSON object."""
    from studio.core.paths import resolve_paths
    from studio.core.tags import Vocabulary
    from studio.music.models.checkpoints import load_checkpoint
    from studio.music.models.config import load_model_configs
    from studio.music.models.generator import hub_is_off, prompt_text

    try:
        if shape is not None:
            checkpoint, text, guidance = musicgen_shape(), "music", 3.0
        else:
            configs = resolve_paths().configs
            models = load_model_configs(configs / "models")
            if model not in models:
                raise click.UsageError(f"no model {model!r}; there are {', '.join(models)}")
            vocabulary = Vocabulary.drafted(configs / "consent")
            text = prompt_text(models[model], vocabulary.parse(tags.split(",")))
            checkpoint = load_checkpoint(models[model], offline=hub_is_off())
            guidance = models[model].guidance
        times = compare_decoders(
            checkpoint,
            text,
            model=shape or model,
            music_s=seconds,
            runs=runs,
            threads=threads,
            guidance=guidance,
            clock=clock,
        )
    except StudioError as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(json.dumps(times.to_json()))


if __name__ == "__main__":
    main()
