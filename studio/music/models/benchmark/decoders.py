"""Times generation: audiocraft's decoder and ours on the same weights, and the real-time factor.

Runs are interleaved, so that a busy machine troubles both alike, and each run's tokens are
compared: a faster decoder that made other music would be no decoder.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from studio.music.models.decoding.network import Network
    from studio.music.models.hub.checkpoint import Checkpoint

Clock = Literal["wall", "processor"]

__all__ = ["Clock", "DecodingTimes", "compare_decoders"]


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
    network: Network | None = None,
) -> DecodingTimes:
    """Generate the same music by both decoders `runs` times each, after one short warm-up.

    Ours runs `network`, by default the checkpoint's weights as audiocraft multiplies by them.
    `text` is what the model is prompted with; `music_s` must lie within the model's duration.
    """
    import torch
    from audiocraft.models.musicgen import MusicGen

    from studio.music.models.decoding import CachedLM
    from studio.music.models.decoding.together import Decoder

    now = time.perf_counter if clock == "wall" else time.process_time
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    cached: Any = CachedLM(checkpoint.lm, None if network is None else Decoder(network))
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


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
