"""Measures a house checkpoint on held-out tracks and says which targets it reaches.

Everything is measured on the test split, which no training step and no choice of sampling has seen:

* codec: SI-SDR, log-mel distance, use of the codebooks, beside Opus and MP3 at stated bit rates;
* language model: held-out perplexity per codebook;
* tag following: a classifier trained on renders judges generated clips, with chance, its own
  accuracy on renders and on renders that went through the codec;
* copying: runs of tokens that also occur in training, beside the rate of held-out music, which
  shares riffs and drum patterns with training without copying it;
* what a listener notices (drones, chords, lead notes, strokes, noise), each beside the composer's
  own render of the same request (:mod:`studio.music.training.evaluation`);
* plausibility: Fréchet distance of classifier features, between what the codec alone costs and
  a distance between two sets of real renders;
* speed: ten seconds of music on one thread.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from studio.core.errors import HouseError
from studio.core.tags import KINDS
from studio.music.composer import compose, write_lead_sheet
from studio.music.models.house.model import CONDITION, HouseModel, condition_text, load_house_model
from studio.music.models.house.temperatures import scale_heads
from studio.music.training.codec.losses import MultiScaleMel, si_sdr
from studio.music.training.codec.training import codebook_perplexity
from studio.music.training.evaluation.beside import (
    FreshRequest,
    Pair,
    compare,
    expected_of_composition,
    fresh_requests,
)
from studio.music.training.evaluation.classifier import CLIP_S, TagClassifier, training_clips
from studio.music.training.evaluation.metrics import (
    CopyingIndex,
    align,
    frechet_distance,
)
from studio.music.training.evaluation.report import Check, Report
from studio.music.training.lm import held_out_nll
from studio.music.training.tokens import SegmentPlan, TokenStore
from watermark.audio.waveform import Waveform
from watermark.util.stats import wilson

if TYPE_CHECKING:
    from audiocraft.models.lm import LMModel

    from studio.music.training.catalogue import Catalogue

__all__ = [
    "EvaluationConfig",
    "evaluate",
    "evaluate_sound",
    "generate_clips",
]

Progress = Callable[[str], None]
Clips = list[NDArray[np.float32]]

_LOSSY = (("opus", 6000), ("opus", 12000), ("opus", 24000), ("mp3", 32000), ("mp3", 64000))


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How much is measured. `guidance`, `temperature`, `top_k` None: those of the card."""

    clips: int = 208
    per_genre: int = 6
    codec_clips: int = 48
    nll_segments: int = 96
    classifier_clips: int = 2400
    judge_clips: int = 240
    batch: int = 16
    seed: int = 20261122
    guidance: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    copying_codebooks: int = 2
    copying_frames: int = 25
    lossy: tuple[tuple[str, int], ...] = _LOSSY


def evaluate(
    catalogue_dir: Path,
    tokens_dir: Path,
    *,
    weights: Path,
    config: EvaluationConfig | None = None,
    progress: Progress | None = None,
    keep: Path | None = None,
    encode: bool = True,
) -> Report:
    """Measure the checkpoint of the second design in `weights`.

    `tokens_dir` holds the catalogue's tokens (:class:`TokenStore`) and is filled where it is not
    complete, unless `encode` is false: then the figures on tokens cover what it holds. `keep` is a
    folder for the generated clips as WAV. Raises :class:`HouseError` or :class:`CheckpointError`.
    """
    from studio.music.training.catalogue import Catalogue

    options = config or EvaluationConfig()
    say = progress or (lambda _text: None)
    catalogue = Catalogue.open(catalogue_dir)
    model = load_house_model(weights)
    if catalogue.rate != model.sample_rate:
        raise HouseError(
            f"the catalogue is at {catalogue.rate} Hz, the model at {model.sample_rate}"
        )
    store = TokenStore.open(tokens_dir, model.codec)
    if encode:
        say("encoding what is not encoded yet")
        store.extend(catalogue, model.codec)
    report = Report()
    report.data["data"] = {
        "test_tracks": len(catalogue.tracks("test")),
        "train_hours": catalogue.seconds("train") / 3600,
        "train_hours_as_tokens": sum(t.frames for t in store.of_split("train"))
        / model.frame_rate
        / 3600,
        "weights": model.digest,
    }

    say("codec")
    clips, _ = training_clips(catalogue, "test", options.codec_clips, options.seed)
    report.data["codec"] = measure_codec(model, clips, options.lossy)
    say("language model")
    plan = SegmentPlan(store, "test", round(10 * model.frame_rate), 0.3)
    nll = held_out_nll(_as_trained(model), plan, options.nll_segments, options.seed)
    report.data["language model"] = {
        "perplexity_per_codebook": [float(np.exp(x)) for x in nll],
        "mean_nll_nats": float(np.mean(nll)),
    }
    say("generating")
    wanted = balanced_requests(model.tags, options.clips, options.seed)
    tokens, generated = generate_clips(model, wanted, options)
    if keep is not None:
        _keep(keep, generated, wanted, model.sample_rate)
    say("listening")
    report.data["sound"] = measure_sound(model, options)
    say("judging")
    _judge(report, model, catalogue, generated, wanted, options)
    say("copying")
    report.data["copying"] = measure_copying(store, tokens, options)
    say("speed")
    report.data["speed"] = measure_speed(model, options)
    report.checks.extend(_checks(report.data))
    return report


def evaluate_sound(
    *,
    weights: Path,
    config: EvaluationConfig | None = None,
    progress: Progress | None = None,
) -> Report:
    """Only what a listener notices, on fresh requests: needs no catalogue and no training run.

    Raises :class:`HouseError` (FluidSynth is missing) or :class:`CheckpointError`.
    """
    options = config or EvaluationConfig()
    say = progress or (lambda _text: None)
    model = load_house_model(weights)
    report = Report()
    report.data["data"] = {"weights": model.digest, "sampling": sampling_of(model, options)}
    say("listening")
    report.data["sound"] = measure_sound(model, options)
    report.checks.extend(_sound_checks(report.data["sound"]))
    return report


def measure_sound(model: HouseModel, options: EvaluationConfig) -> dict[str, Any]:
    """Generated clips beside the composer's renders of the same fresh requests."""
    from studio.music.training.rendering import RATE, Renderer

    requests = fresh_requests(model.tags, per_genre=options.per_genre, seed=options.seed)
    tokens, clips = generate_clips(
        model, [r.tags for r in requests], options, [r.seed for r in requests]
    )
    pairs = []
    with Renderer() as renderer:
        for request, codes, clip in zip(requests, tokens, clips, strict=True):
            piece = compose(seed=request.seed, **_names(request))
            reference = renderer.render(piece)[: round(CLIP_S * RATE)]
            pairs.append(
                Pair(
                    Waveform(np.ascontiguousarray(clip[None]), model.sample_rate),
                    Waveform(reference[None].astype(np.float32) / np.float32(32768), RATE),
                    expected_of_composition(piece, CLIP_S),
                    codes,
                )
            )
    return compare(pairs)


def _names(request: FreshRequest) -> dict[str, str]:
    return dict(tag.split("/", 1) for tag in request.tags)


def _as_trained(model: HouseModel) -> LMModel:
    """The language model without the sampling temperatures that its heads were scaled by."""
    temperatures = model.card.get("generation", {}).get("codebook_temperatures")
    if not temperatures:
        return model.lm
    lm = copy.deepcopy(model.lm)
    scale_heads(lm, temperatures)
    return lm


def measure_codec(
    model: HouseModel, clips: Clips, lossy: Sequence[tuple[str, int]]
) -> dict[str, dict[str, Any]]:
    """SI-SDR in dB and log-mel distance in dB of the codec and of other coders, mean over clips."""
    codes, decoded = [], []
    for clip in clips:
        tokens, audio = _through_codec(model, clip)
        codes.append(tokens)
        decoded.append(audio)
    shape = model.config.codec
    kbits = shape.codebooks * np.log2(shape.bins) * shape.frame_rate / 1000
    rows: dict[str, dict[str, Any]] = {
        f"house {kbits:.1f} kbit/s": {
            **_distances(clips, decoded, model.sample_rate),
            "perplexity": codebook_perplexity(np.concatenate(codes, 1)),
        }
    }
    for name, bitrate in lossy:
        others = [_through_file(clip, model.sample_rate, name, bitrate) for clip in clips]
        heard = [audio for audio, _ in others]
        measured = float(np.mean([size for _, size in others]))
        row = {**_distances(clips, heard, model.sample_rate), "measured_kbit_s": measured}
        rows[f"{name} {bitrate / 1000:.0f} kbit/s"] = row
    return rows


def _distances(clips: Clips, decoded: Clips, rate: int) -> dict[str, Any]:
    mel = MultiScaleMel(rate, (2048,))
    ratios, distances = [], []
    for clip, other in zip(clips, decoded, strict=True):
        x, y = torch.from_numpy(clip), torch.from_numpy(other)
        ratios.append(float(si_sdr(y, x)))
        nepers = mel(y[None, None], x[None, None])
        distances.append(float(nepers) * 20 / np.log(10))
    return {"si_sdr_db": float(np.mean(ratios)), "log_mel_db": float(np.mean(distances))}


@torch.inference_mode()
def _through_codec(
    model: HouseModel, clip: NDArray[np.float32]
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    tokens, _ = model.codec.encode(torch.from_numpy(clip)[None, None])
    audio = model.codec.decode(tokens)[0, 0, : len(clip)]
    return tokens[0].numpy(), audio.numpy()


def _through_file(
    clip: NDArray[np.float32], rate: int, name: str, bitrate: int
) -> tuple[NDArray[np.float32], float]:
    """The clip through a lossy file, aligned, and the kbit/s that file really took."""
    from watermark.audio.waveform import encode, read

    payload = encode(Waveform(clip[None], rate), name, bitrate=bitrate)  # type: ignore[arg-type]  # a name of _LOSSY
    decoded = read(payload).mono().resample(rate).samples[0]
    kbits = 8 * len(payload) / 1000 / (len(clip) / rate)
    return align(decoded, clip, search=rate // 10), kbits


def balanced_requests(tags: Sequence[str], count: int, seed: int) -> list[tuple[str, ...]]:
    """`count` requests, one tag of each kind, every tag of a kind equally often (±1)."""
    rng = np.random.default_rng([seed, 1])
    columns = []
    for kind in KINDS:
        names = [tag for tag in tags if tag.startswith(kind + "/")]
        column = [names[i % len(names)] for i in range(count)]
        columns.append([column[i] for i in rng.permutation(count)])
    return list(zip(*columns, strict=True))


def sampling_of(model: HouseModel, options: EvaluationConfig) -> dict[str, Any]:
    """Guidance, temperature and top_k: the card's, unless the options say otherwise."""
    card = model.card.get("generation", {})
    return {
        "cfg_coef": options.guidance or float(card.get("guidance", 3.0)),
        "temp": options.temperature or float(card.get("temperature", 1.0)),
        "top_k": options.top_k or int(card.get("top_k", 250)),
    }


@torch.inference_mode()
def generate_clips(
    model: HouseModel,
    requests: Sequence[Sequence[str]],
    options: EvaluationConfig,
    seeds: Sequence[int] | None = None,
) -> tuple[list[NDArray[Any]], Clips]:
    """Ten seconds per request: tokens (frames, codebooks) and samples.

    Without `seeds` the seed of a request is that of the options and its index added.

    As :class:`studio.music.models.generator.MusicGenerator` does it: each plays from the lead
    sheet that the composer writes for its tags and seed.
    """
    from audiocraft.modules.conditioners import ConditioningAttributes

    from studio.music.models.decoding import CachedLM

    lm = CachedLM(model.lm)
    frames = round(CLIP_S * model.frame_rate)
    tokens: list[NDArray[Any]] = []
    clips: Clips = []
    for start in range(0, len(requests), options.batch):
        part = requests[start : start + options.batch]
        own = list(seeds or range(options.seed, options.seed + len(requests)))
        own = own[start : start + options.batch]
        lm.begin([torch.Generator().manual_seed(seed) for seed in own])
        conditions = [
            ConditioningAttributes(
                text={CONDITION: condition_text(tags, write_lead_sheet(seed, tags))}
            )
            for tags, seed in zip(part, own, strict=True)
        ]
        codes = lm.generate(
            conditions=conditions, max_gen_len=frames, **sampling_of(model, options)
        )
        audio = model.codec.decode(codes)
        tokens.extend(code.T.numpy() for code in codes)
        clips.extend(wave[0].numpy() for wave in audio)
    return tokens, clips


def _judge(
    report: Report,
    model: HouseModel,
    catalogue: Catalogue,
    generated: Clips,
    wanted: Sequence[Sequence[str]],
    options: EvaluationConfig,
) -> None:
    """Tag following and Fréchet distances, by a classifier trained here on training renders."""
    judge = TagClassifier(model.tags, model.sample_rate)
    clips, tags = training_clips(catalogue, "train", options.classifier_clips, options.seed)
    learnt = judge.features(clips)
    judge.fit(learnt, tags, seed=options.seed)
    held_out, held_out_tags = training_clips(
        catalogue, "test", options.judge_clips, options.seed + 1
    )
    held_out_features = judge.features(held_out)
    coded_features = judge.features([_through_codec(model, clip)[1] for clip in held_out])
    made_features = judge.features(generated)
    following: dict[str, dict[str, Any]] = {}
    made, real, coded = (
        judge.predict(f) for f in (made_features, held_out_features, coded_features)
    )
    for kind in KINDS:
        hits = sum(p[kind] in w for p, w in zip(made, wanted, strict=True))
        low, high = wilson(hits, len(wanted))
        following[kind] = {
            "followed": hits / len(wanted),
            "interval_95": [low, high],
            "chance": 1 / len(judge.names[kind]),
            "classifier_on_renders": _share(real, held_out_tags, kind),
            "classifier_after_codec": _share(coded, held_out_tags, kind),
        }
    report.data["tag following"] = following
    genre = {}
    for name in judge.names["genre"]:
        rows = [p["genre"] == name for p, w in zip(made, wanted, strict=True) if name in w]
        genre[name] = f"{sum(rows)}/{len(rows)}"
    report.data["clips judged of their genre"] = genre
    real_embedded = judge.embed(held_out_features)
    report.data["Fréchet distance to held-out renders"] = {
        "generated": frechet_distance(judge.embed(made_features), real_embedded),
        "held-out renders after the codec": frechet_distance(
            judge.embed(coded_features), real_embedded
        ),
        "training renders": frechet_distance(judge.embed(learnt[: len(held_out)]), real_embedded),
    }


def _share(
    predicted: Sequence[Mapping[str, str]], tags: Sequence[Sequence[str]], kind: str
) -> float:
    return float(np.mean([p[kind] in t for p, t in zip(predicted, tags, strict=True)]))


def measure_copying(
    store: TokenStore, tokens: Sequence[NDArray[Any]], options: EvaluationConfig
) -> dict[str, Any]:
    """Shares of runs that occur in training, for generated clips and for held-out music."""
    index = CopyingIndex(
        [store.tokens(t) for t in store.of_split("train")], options.copying_codebooks
    )
    frames = len(tokens[0])
    tracks = store.of_split("test")[: len(tokens)]
    held_out = [store.tokens(t)[:frames] for t in tracks]
    n = options.copying_frames
    longest = [index.longest(clip, frames) for clip in tokens]
    longest_held_out = [index.longest(clip, frames) for clip in held_out]
    return {
        "run_frames": n,
        "codebooks_compared": options.copying_codebooks,
        "generated_runs_in_training": index.shared(tokens, n),
        "held_out_runs_in_training": index.shared(held_out, n),
        "longest_run_s": max(longest) / 50,
        "longest_run_held_out_s": max(longest_held_out) / 50,
        "median_longest_run_s": float(np.median(longest)) / 50,
        "median_longest_run_held_out_s": float(np.median(longest_held_out)) / 50,
    }


def measure_speed(model: HouseModel, options: EvaluationConfig) -> dict[str, float]:
    """Seconds for ten seconds of music on one thread, the better of two runs.

    CPU time stands beside the wall clock, because a machine with other work stretches the latter.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        best = (float("inf"), float("inf"))
        for _ in range(2):
            wall, cpu = time.perf_counter(), time.process_time()
            generate_clips(model, [(model.tags[0],)], options)
            spent = (time.process_time() - cpu, time.perf_counter() - wall)
            best = min(best, spent)
    finally:
        torch.set_num_threads(threads)
    return {"cpu_s_for_10_s": best[0], "wall_s_for_10_s": best[1], "real_time_factor": best[0] / 10}


def _checks(data: Mapping[str, Any]) -> list[Check]:
    codec = next(row for name, row in data["codec"].items() if name.startswith("house"))
    following, copying = data["tag following"], data["copying"]
    return [
        Check("genre followed", following["genre"]["followed"], 0.85),
        Check("tempo followed", following["tempo"]["followed"], 0.80),
        Check("codec SI-SDR", codec["si_sdr_db"], 9.0, "dB"),
        Check("CPU time for 10 s, one thread", data["speed"]["cpu_s_for_10_s"], 5.0, "s", False),
        Check(
            "runs shared with training, generated",
            copying["generated_runs_in_training"],
            round(max(copying["held_out_runs_in_training"], 0.001), 4),
            at_least=False,
        ),
        *_sound_checks(data["sound"]),
    ]


def _sound_checks(sound: Mapping[str, Any]) -> list[Check]:
    made, render = sound["generated"], sound["composer's render"]
    drones = round(render["drone_rate"] + 0.02, 4)
    valley = round(render["valley_to_peak_db"] + 2, 2)
    return [
        Check("clips that drone", made["drone_rate"], drones, at_least=False),
        Check("chord of the sheet is heard", made["chord_agreement"] or 0.0, 0.85),
        Check("noise between partials", made["valley_to_peak_db"], valley, "dB", False),
        Check("log-mel error against the render", sound["log_mel_error_db"], 4.0, "dB", False),
    ]


def _keep(folder: Path, clips: Clips, wanted: Sequence[Sequence[str]], rate: int) -> None:
    from watermark.audio.waveform import write

    folder.mkdir(parents=True, exist_ok=True)
    for number, (clip, tags) in enumerate(zip(clips, wanted, strict=True)):
        name = "_".join(tag.partition("/")[2] for tag in tags)
        peak = max(1.0, float(np.abs(clip).max()))
        write(folder / f"{number:03d}_{name}.wav", Waveform(clip[None] / np.float32(peak), rate))
