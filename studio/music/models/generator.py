""":class:`MusicGenerator`: generate music from tags with any model.

A hub model is driven by `audiocraft.models.MusicGen` (conditioning, continuation, windows beyond
the model's own duration, codec) over the decoder of :mod:`studio.music.models.decoding`. The house
model performs a score of the composer (:mod:`studio.music.models.house.performer`). Generations in
several threads go through a model's steps together (:mod:`studio.music.models.batching`). A request
has its own random numbers, so its music depends on nothing but the request::

    generator = get_generator(configs["house"])
    music = generator.generate(vocabulary.parse(["genre/waltz"]), duration_s=10, seed=7)
    score = generator.score(tags, seed=7, duration_s=20)  # what the house model plays
    played = generator.perform(tags, score, seed=8)  # another performance of it, in stems
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from studio.core.errors import (
    GenerationCancelledError,
    ModelError,
    ModelMemoryError,
    UsageError,
)
from studio.core.tags import Tag
from studio.music.models.checkpoints import load_checkpoint, load_performer
from studio.music.models.config import ModelConfig, ModelInfo, UsedPrecision, describe
from studio.music.models.hub.audiocraft_compat import require_audiocraft
from studio.music.models.hub.token_model import NO_SOUND, OnWindow, Progress, TokenModel
from studio.music.models.integrity import is_memory_error
from studio.music.models.torch_threads import torch_threads
from watermark.audio.waveform import Waveform

if TYPE_CHECKING:
    from studio.music.composer.notation.fixed import Fixed
    from studio.music.composer.notation.score import Score
    from studio.music.models.house.performer import HousePerformer, Performance, Window
    from studio.music.models.house.played import Given, Played

__all__ = ["MusicGenerator", "get_generator", "hub_is_off", "prompt_text"]


class MusicGenerator:
    """One model. Cheap to make: the weights are read at the first use, or by :meth:`load`.

    Args:
        config: which model.
        offline: ask nothing of the network; by default as ``HF_HUB_OFFLINE`` says.
        threads: CPU threads of torch while generating; by default as `config` says.
    """

    def __init__(
        self, config: ModelConfig, *, offline: bool | None = None, threads: int | None = None
    ) -> None:
        self.config = config
        self._offline = hub_is_off() if offline is None else offline
        self._threads = config.threads if threads is None else threads
        self._loading = threading.Lock()
        self._model: TokenModel | HousePerformer | None = None
        self._device = "cpu"
        self._info = describe(config)

    @property
    def info(self) -> ModelInfo:
        """What the model is; `digest` and `precision` are known once it is loaded."""
        return self._info

    def require(self) -> None:
        """Raise :class:`ModelError` where what runs the model is not installed; loads nothing.

        The house model performs scores by itself; every other model runs on audiocraft.
        """
        if not self.info.scored:
            require_audiocraft()

    def load(self) -> None:
        """Read the weights unless they are there. Raises the errors of `load_checkpoint`."""
        self._loaded()

    def use_device(self, device: str) -> None:
        """Compute on ``cpu`` or ``cuda``; said before the weights are read.

        On a GPU the house model's codec runs there; its tokens are drawn on the CPU.

        Raises :class:`ModelError` where there is no such device, or the model cannot use it.
        """
        if device == self._device:
            return
        if not self.info.scored:
            raise ModelError(f"model {self.config.id!r} runs on the CPU only")
        import torch

        if device != "cuda" or not torch.cuda.is_available():
            raise ModelError(f"there is no device {device!r} on this machine; use cpu")
        self._device = device

    def generate(
        self,
        tags: Sequence[Tag],
        *,
        duration_s: float,
        seed: int,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        prompt: Waveform | None = None,
        score: Score | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
        on_window: OnWindow | None = None,
        given: Given | None = None,
        on_played: Callable[[Played], None] | None = None,
    ) -> Waveform:
        """Music for `tags`, exactly `duration_s` seconds of it, at the model's rate and channels.

        The same arguments give the same music. With `prompt` the result begins with that
        recording and goes on from it; `duration_s` counts the whole. A longer context than the
        model's is cut to its most recent part. `guidance` is the weight of the tags (1 = none
        beyond the model's own), `temperature` and `top_k` shape the draw of each token.

        The house model performs `score`, by default the one of :meth:`score`, and knows neither
        `prompt` nor `guidance`. `given` fixes tokens of its performance; `on_played` is told, at
        the end, what has to be kept to hear it again. A hub model knows neither.

        `on_window` is called, in this thread, with each window of the music as it is made; what it
        raises ends the generation. The windows together are what is returned; but a hub model's
        louder music is turned down at its end, and in its windows the peaks are clipped.

        Raises:
            UsageError: a duration, seed, setting or prompt that cannot be; a tag the model does
                not know.
            GenerationCancelledError: `cancel` was set; at most one decoding step later.
            ModelError: the model cannot be loaded, or ran out of memory.
        """
        self._check(tags, duration_s, seed, prompt)
        if self.info.scored:
            if prompt is not None or guidance not in (None, 1.0):
                raise UsageError(
                    f"model {self.config.id!r} performs a score; it takes no recording to go on "
                    "from and no guidance"
                )
            score = score or self.score(tags, seed=seed, duration_s=duration_s)
            if abs(score.duration_s - duration_s) > 0.001:
                raise UsageError(f"the score lasts {score.duration_s:g} s, not {duration_s:g} s")
            mixes = []
            for window in self._windows(
                tags, score, seed, temperature, top_k, progress, cancel, given, on_played
            ):
                mixes.append(window.mix)
                if on_window is not None:
                    on_window(Waveform(mixes[-1], self.info.rate))
            return Waveform(np.concatenate(mixes, -1), self.info.rate)
        stop = cancel or threading.Event()
        with _memory_errors(self.config.id):
            model = self._sampler()
            if stop.is_set():
                raise GenerationCancelledError("cancelled before the first step")
            samples = model.generate(
                prompt_text(tags),
                threads=self._threads,
                duration_s=duration_s,
                seed=seed,
                guidance=self.config.guidance if guidance is None else guidance,
                temperature=self.config.temperature if temperature is None else temperature,
                top_k=self.config.top_k if top_k is None else top_k,
                prompt=prompt,
                progress=progress or (lambda done, total: None),
                cancel=stop,
                on_window=on_window,
            )
        if progress is not None:
            progress(duration_s, duration_s)
        return Waveform(samples, self.info.rate)

    def perform(
        self,
        tags: Sequence[Tag],
        score: Score,
        *,
        seed: int,
        temperature: float | None = None,
        top_k: int | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
        given: Given | None = None,
    ) -> Performance:
        """`score` as the house model plays it with `seed`: the stereo mix and its four stems.

        `given` fixes tokens; where all are given, none is drawn and the seed means nothing.

        `tags` are those that consent was given for: a score of any other tag is refused. Raises as
        :meth:`generate` does, and :class:`UsageError` for a model that does not perform scores.
        """
        from studio.music.models.house.notes import STEMS
        from studio.music.models.house.performer import Performance

        parts = [
            window.stems
            for window in self._windows(
                tags, score, seed, temperature, top_k, progress, cancel, given
            )
        ]
        stems = np.concatenate(parts, -1)
        rate = self.info.rate
        return Performance(
            Waveform(stems.sum(0), rate),
            {name: Waveform(stems[k], rate) for k, name in enumerate(STEMS)},
        )

    def plays(self, played: Played) -> bool:
        """Whether a kept performance can be heard again: whether its codec is this model's."""
        return self.info.scored and self._performer().codec_digest == played.codec

    def _windows(
        self,
        tags: Sequence[Tag],
        score: Score,
        seed: int,
        temperature: float | None,
        top_k: int | None,
        progress: Progress | None,
        cancel: threading.Event | None,
        given: Given | None = None,
        on_played: Callable[[Played], None] | None = None,
    ) -> Iterator[Window]:
        """The performance of `score`, window by window; see :meth:`perform`."""
        from studio.music.models.house.token_stream import Drawing

        self._check(tags, score.duration_s, seed, None)
        if strange := sorted(set(score.tags) - {tag.id for tag in tags}):
            raise UsageError(f"the score follows {', '.join(strange)}, which was not asked for")
        total = score.duration_s
        stop = cancel or threading.Event()
        with _memory_errors(self.config.id):
            model = self._performer()
            if stop.is_set():
                raise GenerationCancelledError("cancelled before the first step")
            how = Drawing(
                self.config.temperature if temperature is None else temperature,
                self.config.top_k if top_k is None else top_k,
            )
            with torch_threads(self._threads):
                for window in model.stream(
                    score,
                    seed,
                    how=how,
                    progress=progress and (lambda done: progress(min(done, total), total)),
                    cancel=stop,
                    given=given,
                    on_played=on_played,
                ):
                    if not np.isfinite(window.stems).all():
                        raise ModelError(NO_SOUND)
                    yield window
        if progress is not None:
            progress(total, total)

    def score(
        self, tags: Sequence[Tag], *, seed: int, duration_s: float, fixed: Fixed | None = None
    ) -> Score:
        """The score that the composer writes for a request.

        Raises :class:`UsageError` for a model that does not perform scores, and for what `fixed`
        holds and cannot be.
        """
        from studio.music.composer.arrange import compose_score

        if not self.info.scored:
            raise UsageError(f"model {self.config.id!r} plays from tags, not from a score")
        return compose_score([tag.id for tag in tags], seed, duration_s, fixed)

    def _check(
        self, tags: Sequence[Tag], duration_s: float, seed: int, prompt: Waveform | None
    ) -> None:
        if not tags:
            raise UsageError("at least one tag is needed to generate music")
        kinds = [tag.kind for tag in tags]
        if len(set(kinds)) != len(kinds):
            raise UsageError("at most one tag of each kind can be asked for")
        known = self.info.tags
        if known is not None:
            for tag in tags:
                if tag.id not in known:
                    raise UsageError(
                        f"model {self.config.id!r} was not trained on tag {tag.id!r}; "
                        "choose another tag or a model that takes any wording"
                    )
        if not (math.isfinite(duration_s) and duration_s > 0):
            raise UsageError(f"a duration of {duration_s} s is not possible")
        if not 0 <= seed < 2**63:
            raise UsageError("a seed is a whole number from 0 to 2**63 - 1")
        if prompt is not None and not 0 < prompt.duration_s < duration_s:
            raise UsageError(
                f"the recording to continue lasts {prompt.duration_s:.1f} s; the result "
                f"({duration_s:.1f} s) must be longer than it"
            )

    def _loaded(self) -> TokenModel | HousePerformer:
        with self._loading, _memory_errors(self.config.id):
            if self._model is None:
                precision: UsedPrecision | None = None
                if self.info.scored:
                    performer = load_performer(self.config)
                    performer.codec.to(self._device)
                    self._model, digest = performer, performer.digest
                else:
                    checkpoint = load_checkpoint(self.config, offline=self._offline)
                    self._model, digest = TokenModel(checkpoint, self.config), checkpoint.digest
                    precision = self._model.precision
                self._info = describe(self.config, digest=digest, precision=precision)
            return self._model

    def _performer(self) -> HousePerformer:
        model = self._loaded()
        if isinstance(model, TokenModel):
            raise UsageError(f"model {self.config.id!r} plays from tags, not from a score")
        return model

    def _sampler(self) -> TokenModel:
        model = self._loaded()
        assert isinstance(model, TokenModel)  # `generate` sends scores elsewhere
        return model


def prompt_text(tags: Sequence[Tag]) -> str:
    """What a hub model is told: each tag's own wording."""
    return ", ".join(tag.phrase for tag in tags)


def get_generator(
    config: ModelConfig, *, offline: bool | None = None, threads: int | None = None
) -> MusicGenerator:
    """The generator of this configuration, one per process however often it is asked for."""
    key = (config.model_dump_json(), offline, threads)
    with _generators_lock:
        if key not in _generators:
            _generators[key] = MusicGenerator(config, offline=offline, threads=threads)
        return _generators[key]


_generators: dict[tuple[str, bool | None, int | None], MusicGenerator] = {}
_generators_lock = threading.Lock()


def hub_is_off() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids asking the hub, read now and not at import."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "TRUE", "YES", "ON"}


@contextmanager
def _memory_errors(model_id: str) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as exc:
        if not is_memory_error(exc):
            raise
        raise ModelMemoryError(
            f"model {model_id!r} ran out of memory; ask for a shorter piece, close other "
            "programs, or choose a smaller model"
        ) from exc
