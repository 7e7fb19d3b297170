"""Performs a score: tokens from the language model, stems from the codec, a mastered mix.

The composer writes the notes; this model plays them. A performance is a score and a seed: the same
two give the same audio, alone or beside other takes, whole or window by window. Frames come out in
order, so the first sound is there after half a second of music has been drawn::

    performer = HousePerformer.load(directory)
    for window in performer.stream(score, seed=7):
        play(window.mix)                       # (2, samples) at 48 kHz
    take, other = performer.perform([(score, 7), (score, 8)])
    take.stems["lead"]                         # Waveform; the four stems add up to the mix
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from studio.core.errors import (
    CheckpointError,
    ConfigError,
    GenerationCancelledError,
    ModelError,
    UsageError,
)
from studio.music.composer.notation.score import Score
from studio.music.models.house.language_model import (
    CODEBOOKS,
    REACH,
    Performable,
    PerformerConfig,
    ScoreConditioner,
    performable,
)
from studio.music.models.house.mastering import Look, Master, loudness_gain
from studio.music.models.house.notes import (
    FRAME,
    FRAME_RATE,
    RATE,
    STEMS,
    ScoreFeatures,
    TimedScore,
    score_features,
)
from studio.music.models.house.played import Given, Played
from studio.music.models.house.stem_codec import LOOK_AHEAD, StemCodec
from studio.music.models.house.token_stream import DRAWN, ROWS, Drawing, StepWeights, TokenRows
from watermark.audio.waveform import Waveform
from watermark.util.files import write_file

if TYPE_CHECKING:
    from audiocraft.models.lm import LMModel

__all__ = [
    "CARD_NAME",
    "CODEC_NAME",
    "PERFORMER_NAME",
    "HousePerformer",
    "Performance",
    "Window",
    "save_performer",
]

CARD_NAME = "card.json"
CODEC_NAME = "stem-codec.safetensors"
PERFORMER_NAME = "performer.safetensors"
DESIGN = 3
"""What a card of these weights says under ``design``; earlier ones say nothing."""

_WINDOWS = (70, 50, 80, 200)
"""Frames of the first windows; the last one is the length of all others.

The first one is long enough for a preview to begin with 0.7 s of sealed music.
"""

_CHUNK = 250
"""Frames whose condition is computed at a time, always the same ones."""

Progress = Callable[[float], None]
"""Called with seconds of music drawn."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a performance, in order: finished stems (4, 2, samples) that add up to the mix.

    ``start`` is its first sample in the piece.
    """

    start: int
    stems: NDArray[np.float32]

    @property
    def mix(self) -> NDArray[np.float32]:
        """The stereo mix, (2, samples)."""
        total: NDArray[np.float32] = self.stems.sum(0)
        return total


@dataclass(frozen=True, slots=True)
class Performance:
    """A whole piece as it was played; ``tokens`` are (8, frames) where somebody kept them.

    ``played`` is what has to be kept to hear it again.
    """

    mix: Waveform
    stems: Mapping[str, Waveform]
    tokens: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((len(STEMS) * CODEBOOKS, 0), np.int64)
    )
    played: Played | None = None


class HousePerformer:
    """The third house model. Threads may perform with it at a time; four are drawn together.

    Args:
        codec: the stem codec.
        weights: of the language model.
        conditioner: what tells the language model of tags and score.
        config: the language model's shape and its tags.
        card: what `card.json` says.
        digest: of the weights.
    """

    def __init__(
        self,
        codec: StemCodec,
        weights: StepWeights,
        conditioner: ScoreConditioner,
        config: PerformerConfig,
        card: Mapping[str, Any],
        digest: str,
    ) -> None:
        self.codec, self.conditioner, self.config = codec, conditioner, config
        self.card, self.digest = card, digest
        self._rows = TokenRows(weights)

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags it can be told."""
        return self.config.tags

    @property
    def drawing(self) -> Drawing:
        """How tokens are drawn where a caller does not say: what the card fixes."""
        said = self.card.get("generation", {})
        return Drawing(float(said.get("temperature", 1.0)), int(said.get("top_k", 0)))

    @classmethod
    def load(cls, directory: Path) -> HousePerformer:
        """Read what :func:`save_performer` wrote.

        Raises :class:`CheckpointError` when a file is absent, damaged, or not the one the card
        names.
        """
        try:
            card = json.loads((directory / CARD_NAME).read_text(encoding="utf-8"))
            if card.get("design") != DESIGN:
                raise ConfigError("its weights are of another design than this studio plays")
            config = PerformerConfig.from_dict(card["config"]["performer"])
            named = dict(card["files"])
            payload = (directory / PERFORMER_NAME).read_bytes()
            codec_payload = (directory / CODEC_NAME).read_bytes()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as exc:
            raise CheckpointError(f"no readable house model in {directory}: {exc}") from exc
        for name, content in ((PERFORMER_NAME, payload), (CODEC_NAME, codec_payload)):
            found = hashlib.sha256(content).hexdigest()
            if found != named.get(name):
                raise CheckpointError(
                    f"{directory / name} is damaged: its SHA-256 is {found[:12]}…, its card says "
                    f"{str(named.get(name))[:12]}…; restore the file or train again"
                )
        weights, conditioner = _language_model(config, payload, directory / PERFORMER_NAME)
        try:
            codec = StemCodec.load(directory / CODEC_NAME)
        except ConfigError as exc:
            raise CheckpointError(str(exc)) from exc
        return cls(codec, weights, conditioner, config, card, _digest(named))

    # Performing -------------------------------------------------------------------------------

    def stream(
        self,
        score: Score,
        seed: int,
        *,
        how: Drawing | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
        given: Given | None = None,
        on_played: Callable[[Played], None] | None = None,
    ) -> Iterator[Window]:
        """The performance of `score` with `seed`, window by window; together they are the whole.

        `given` fixes tokens; no token is drawn where all are given. `on_played` is told, after the
        last window, what has to be kept to hear the performance again.

        Raises :class:`UsageError` for a tag that the model does not know and
        :class:`GenerationCancelledError` at most one step after `cancel` is set.
        """
        played: Played | None = None
        for window, so_far in self._windows(score, seed, how, progress, given, cancel):
            yield window
            played = so_far
        if on_played is not None and played is not None:
            on_played(played)

    def perform(
        self,
        takes: Sequence[tuple[Score, int]],
        *,
        how: Drawing | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> list[Performance]:
        """Whole performances of pairs of score and seed, up to four drawn at once.

        What a take is does not depend on the others. `progress` is told of the first. Raises as
        :meth:`stream` does.
        """
        stop = cancel or threading.Event()
        gave_up = threading.Event()
        failures: list[BaseException] = []

        def one(number: int) -> Performance:
            score, seed = takes[number]
            told = progress if number == 0 else None
            parts: list[NDArray[np.float32]] = []
            played: Played | None = None
            try:
                for window, so_far in self._windows(score, seed, how, told, None, stop, gave_up):
                    parts.append(window.stems)
                    played = so_far
            except BaseException as exc:
                failures.append(exc)
                gave_up.set()
                raise
            return _performance(np.concatenate(parts, -1), played)

        if len(takes) == 1:
            return [one(0)]
        with ThreadPoolExecutor(ROWS, thread_name_prefix="studio-take") as pool:
            made = [pool.submit(one, number) for number in range(len(takes))]
        if failures:  # the first one; the others only gave up
            raise failures[0]
        return [take.result() for take in made]

    def as_written(self, score: Score) -> Performance:
        """What the score alone lets one expect, without any token: for comparison."""
        piece = _Piece(self, score)
        parts = [piece.window(None, *place).stems for place in _bounds(piece.timed.frames)]
        stems = np.concatenate(parts, -1)
        return _performance(stems)

    def _windows(
        self,
        score: Score,
        seed: int,
        how: Drawing | None,
        progress: Progress | None,
        given: Given | None,
        *cancel: threading.Event | None,
    ) -> Iterator[tuple[Window, Played]]:
        """Windows of a take, each with what was played so far."""

        def check() -> None:
            if any(event is not None and event.is_set() for event in cancel):
                raise GenerationCancelledError("cancelled; nothing was kept")

        piece = _Piece(self, score, None if given is None else given.gain)
        frames = piece.timed.frames
        present = torch.from_numpy(piece.told.present)
        fixed = None if given is None else self._fixed(given, frames)
        if fixed is not None and fixed.shape[-1] == frames and int(fixed.min()) != DRAWN:
            for first, last in _bounds(frames):
                check()
                yield piece.window(fixed, first, last), self._played(fixed, piece)
            return
        tokens = torch.zeros((len(STEMS) * CODEBOOKS, 0), dtype=torch.long)
        with self._rows.take(how or self.drawing, seed, check, fixed) as stream:

            def on_step() -> None:
                check()
                if progress is not None:
                    progress(min(stream.position, frames) / FRAME_RATE)

            for first, last in _bounds(frames):
                wanted = min(frames, last + LOOK_AHEAD)
                while tokens.shape[-1] < wanted:
                    # A step more than frames: the second codebooks come a step later.
                    end = min(wanted + 1, (stream.position // _CHUNK + 1) * _CHUNK)
                    condition = piece.condition(stream.position, end)
                    tokens = torch.cat([tokens, stream.advance(condition, present, on_step)], -1)
                yield piece.window(tokens, first, last), self._played(tokens, piece)

    def _fixed(self, given: Given, frames: int) -> Tensor:
        """Given tokens as a tensor. Raises :class:`UsageError` where they cannot be played."""
        tokens = torch.from_numpy(np.ascontiguousarray(given.tokens[:, :frames]))
        if len(tokens) != len(STEMS) * CODEBOOKS or (
            tokens.numel()
            and not DRAWN <= int(tokens.min()) <= int(tokens.max()) < self.config.bins
        ):
            raise UsageError("a kept performance does not fit this model")
        return tokens

    def _played(self, tokens: Tensor, piece: _Piece) -> Played:
        return Played(tokens[:, : piece.timed.frames].numpy(), piece.gain, self.codec_digest)

    @property
    def codec_digest(self) -> str:
        """SHA-256 of the codec's file, by which kept tokens are known to be its own."""
        return str(self.card.get("files", {}).get(CODEC_NAME, ""))


class _Piece:
    """One take on its way: its score in all forms, its mastering, where it has got to."""

    def __init__(self, model: HousePerformer, score: Score, gain: float | None = None) -> None:
        self.model = model
        self.timed = TimedScore.from_score(score)
        self.told: Performable = performable(score, self.timed)
        unknown = set(self.told.tags) - set(model.tags)
        if unknown:
            raise UsageError(f"the house model was not trained on {', '.join(sorted(unknown))}")
        self.features: ScoreFeatures = score_features(self.timed)
        self.samples = round(score.duration_s * RATE)
        look = Look(score.mix.brightness_db, score.mix.reverb)
        self.gain = gain or loudness_gain(model.codec.expected_rms(self.timed))
        self.master = Master(look, self.gain, self.samples, sources=len(STEMS))
        self.given = 0
        self._chunk = -1
        self._condition = torch.zeros(0)

    @torch.inference_mode()
    def condition(self, first: int, last: int) -> Tensor:
        """The condition of steps `first` to `last` of one chunk, (steps, dim)."""
        chunk = first // _CHUNK
        begin = chunk * _CHUNK
        if chunk != self._chunk:
            conditioner = self.model.conditioner
            told = conditioner.told([self.told.window(begin - REACH, begin + _CHUNK + REACH)])
            self._condition = conditioner(told)[0, REACH:-REACH]
            self._chunk = chunk
        return self._condition[first - begin : last - begin]

    def window(self, tokens: Tensor | None, first: int, last: int) -> Window:
        """Decode and master frames `first` to `last`."""
        by_stem = None
        if tokens is not None:
            by_stem = tokens.view(CODEBOOKS, len(STEMS), -1).transpose(0, 1)
        dry = self.model.codec.decode(
            by_stem, self.timed, first=first, last=last, stereo=True, features=self.features
        )
        finished = self.master.push(dry[..., : self.samples - first * FRAME])
        if last == self.timed.frames:
            finished = np.concatenate([finished, self.master.finish()], -1)
        start, self.given = self.given, self.given + finished.shape[-1]
        return Window(start, finished)


def _performance(stems: NDArray[np.float32], played: Played | None = None) -> Performance:
    parts = {name: Waveform(stems[k], RATE) for k, name in enumerate(STEMS)}
    mix = Waveform(stems.sum(0), RATE)
    if played is None:
        return Performance(mix, parts)
    return Performance(mix, parts, played.tokens, played)


def _frames(score: Score) -> int:
    return TimedScore.from_score(score).frames


def _bounds(frames: int) -> Iterator[tuple[int, int]]:
    """First and last frames of the windows."""
    first, number = 0, 0
    while first < frames:
        last = min(frames, first + _WINDOWS[min(number, len(_WINDOWS) - 1)])
        yield first, last
        first, number = last, number + 1


# -- weights ----------------------------------------------------------------------------------


def save_performer(
    directory: Path,
    codec_path: Path,
    lm: LMModel,
    config: PerformerConfig,
    card: Mapping[str, Any],
) -> str:
    """Write codec, language model (fp16) and card under `directory`; returns the digest.

    The card gains ``design``, ``config``, ``files`` and ``digest``, and is written last, so that a
    crash never leaves a card for other weights.
    """
    from safetensors.torch import save

    tensors = {
        name: value.detach().to("cpu", torch.float16).contiguous()
        for name, value in lm.state_dict().items()
    }
    payloads = {PERFORMER_NAME: save(tensors), CODEC_NAME: codec_path.read_bytes()}
    directory.mkdir(parents=True, exist_ok=True)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in payloads.items()}
    for name, payload in payloads.items():
        write_file(directory / name, payload, mode=None)
    codec = StemCodec.load(directory / CODEC_NAME)
    shape = {
        "performer": config.to_dict(),
        "codec": {
            "sample_rate": RATE,
            "frame_rate": FRAME_RATE,
            "channels": 2,
            "stems": list(STEMS),
            "codebooks": codec.config.codebooks,
            "bins": codec.config.bins,
        },
    }
    content = {
        **card, "design": DESIGN, "config": shape, "files": files, "digest": _digest(files),
    }  # fmt: skip
    text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    write_file(directory / CARD_NAME, text.encode("utf-8"), mode=None)
    return _digest(files)


def _digest(files: Mapping[str, str]) -> str:
    """One digest for several files: of their names and digests."""
    lines = "".join(f"{name} {files[name]}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()


def _language_model(
    config: PerformerConfig, payload: bytes, path: Path
) -> tuple[StepWeights, ScoreConditioner]:
    """The parts of an `LMModel` that a performance needs, without audiocraft's import."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state = {name: value.float() for name, value in load(payload).items()}
        weights = StepWeights(state, config)
        conditioner = ScoreConditioner(config)
        mine = "condition_provider."
        conditioner.load_state_dict(
            {name.removeprefix(mine): state[name] for name in state if name.startswith(mine)}
        )
    except (SafetensorError, RuntimeError, KeyError, ModelError) as exc:
        raise CheckpointError(f"{path} does not fit its card: {exc}") from exc
    return weights, conditioner.eval()
