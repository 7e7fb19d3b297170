"""The performer: a small MusicGen that plays a score as tokens of four stems.

An audiocraft `LMModel` with the delay pattern over 4 stems x 2 codebooks. At every frame it is told

* the **tags** of the piece: an embedding per kind, with one of its own for *not told*;
* the **clock**: place in beat and bar, metre, tempo, kind of section;
* **each stem's part of the score**: piano roll with velocities, onsets, programs, and how long ago
  the last onset was and how soon the next one comes.

All of it is known before the first token is drawn, so the conditioner may look ahead. Any of it may
be withheld from a sample (in training, and where a request has no tags). Attention looks back a
fixed number of frames with rotary positions, so that a piece of any length is one sequence.

Published relatives: MusicGen (arXiv:2306.05284), MusicGen-Stem (arXiv:2501.01757), JASCO
(arXiv:2406.10970).

>>> config = PerformerConfig(tags=("genre/jazz", "mood/calm"), dim=64, layers=1, heads=2)
>>> lm = build_language_model(config)
>>> lm.n_q, lm.card, lm.pattern_provider.delays
(8, 512, [0, 0, 0, 0, 1, 1, 1, 1])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from studio.core.errors import ConfigError, UnknownTagError
from studio.core.tags import KINDS
from studio.music.composer.notation.score import METRES, TICKS_PER_BEAT, Score
from studio.music.models.house.notes import (
    FRAME_RATE,
    NO_PROGRAM,
    STEMS,
    TimedScore,
    score_features,
)
from studio.music.models.house.stem_networks import ConvBlock

if TYPE_CHECKING:
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.conditioners import ConditionFuser

__all__ = [
    "CODEBOOKS",
    "Performable",
    "PerformerConfig",
    "ScoreConditioner",
    "Told",
    "build_language_model",
    "delayed",
    "performable",
]

CODEBOOKS = 2
"""Codebooks of a stem; codebook `q` of stem `s` is number ``4 * q + s`` of the language model."""

CONDITION = "score"
"""The one condition of the language model, a vector per frame."""

REACH = 8
"""Frames of the score on either side that a frame's condition may depend on."""

_SECTIONS = ("intro", "verse", "chorus", "bridge", "ending")
_CLOCK = 6 + 4 + len(METRES) + len(_SECTIONS) + 1
_AGES, _SOONS = 8, 5
_NUMBERS = _AGES + _SOONS + 3  # and: sounding, loudness, place of the onset in its frame
_FAR = 256  # frames: no onset before, or none to come


@dataclass(frozen=True, slots=True)
class PerformerConfig:
    """Shape of the language model. `tags` are all tags it can be told."""

    tags: tuple[str, ...]
    dim: int = 256
    layers: int = 4
    heads: int = 4
    hidden_scale: int = 4
    context: int = 100
    """Frames that a step looks back."""
    score_layers: int = 2
    bins: int = 512

    def __post_init__(self) -> None:
        if not self.tags or len(set(self.tags)) != len(self.tags):
            raise ConfigError("the performer needs a list of distinct tags")
        for tag in self.tags:
            if tag.partition("/")[0] not in KINDS:
                raise ConfigError(f"tag {tag!r} is of no known kind ({', '.join(KINDS)})")
        if self.score_layers * 3 > REACH:
            raise ConfigError("the score's layers see too far")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PerformerConfig:
        """Read what :meth:`to_dict` wrote. Raises :class:`ConfigError`."""
        try:
            return cls(**{**data, "tags": tuple(map(str, data["tags"]))})
        except (KeyError, TypeError) as exc:
            raise ConfigError(f"not a performer's configuration: {exc}") from exc

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "tags": list(self.tags)}


# -- what is told -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Performable:
    """A score on the frame grid, as the language model is told it.

    ``pitches`` (frames, 4 * 256): piano roll and onsets of each stem; ``numbers`` (frames, 4 * 16);
    ``programs`` (4, 4), kits from 128 upwards, 256 for none; ``clock`` (frames, 20); ``present``
    (4,): which stems have notes at all; ``tags`` are those that were
    asked for; what the composer drew besides is not told.
    """

    pitches: NDArray[np.float32]
    numbers: NDArray[np.float32]
    programs: NDArray[np.int64]
    clock: NDArray[np.float32]
    present: NDArray[np.bool_]
    tags: tuple[str, ...]

    @property
    def frames(self) -> int:
        return len(self.clock)

    def window(self, first: int, last: int) -> Performable:
        """Frames `first` to `last` (exclusive); beyond the piece nothing sounds."""
        before, after = max(0, -first), max(0, last - self.frames)
        part = slice(max(0, first), min(last, self.frames))

        def cut(rows: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.pad(rows[part], ((before, after), (0, 0)))

        return Performable(
            cut(self.pitches), cut(self.numbers), self.programs, cut(self.clock), self.present,
            self.tags,
        )  # fmt: skip


def performable(score: Score, timed: TimedScore | None = None) -> Performable:
    """Put a score on the frame grid for the language model."""
    timed = timed or TimedScore.from_score(score)
    features = score_features(timed)
    frames = features.frames
    pitches = np.concatenate([features.roll, features.onset], -1)  # (4, frames, 256)
    struck = features.onset.max(-1) > 0
    at = np.arange(frames)[None]
    last = np.maximum.accumulate(np.where(struck, at, -_FAR), 1)
    coming = np.minimum.accumulate(np.where(struck, at, frames + _FAR)[:, ::-1], 1)[:, ::-1]
    age, soon = (at - last)[..., None], (coming - at)[..., None]
    numbers = np.concatenate(
        [
            np.exp(-age / 2.0 ** np.arange(_AGES)),
            np.exp(-soon / 2.0 ** np.arange(_SOONS)),
            (features.roll.max(-1) > 0)[..., None],
            np.minimum(features.roll.sum(-1), 4)[..., None] / 2,
            (features.place * struck)[..., None],
        ],
        -1,
    )
    return Performable(
        np.ascontiguousarray(pitches.transpose(1, 0, 2).reshape(frames, -1), np.float32),
        np.ascontiguousarray(numbers.transpose(1, 0, 2).reshape(frames, -1), np.float32),
        features.programs,
        _clock(score, frames),
        np.array([bool(notes) for notes in timed.stems]),
        score.tags,
    )


def _clock(score: Score, frames: int) -> NDArray[np.float32]:
    """Place in beat and bar, metre, section and tempo of every frame, (frames, 20)."""
    ticks = score.ticks(1.0) * (np.arange(frames) + 0.5) / FRAME_RATE
    beat = 2 * np.pi * (ticks / TICKS_PER_BEAT)
    bar = 2 * np.pi * (ticks / score.bar_ticks)
    columns = [f(k * beat) for k in (1, 2, 4) for f in (np.sin, np.cos)]
    columns += [f(k * bar) for k in (1, 2) for f in (np.sin, np.cos)]
    clock = np.zeros((frames, _CLOCK), np.float32)
    clock[:, : len(columns)] = np.stack(columns, 1)
    clock[:, len(columns) + list(METRES).index(score.metre)] = 1
    place = len(columns) + len(METRES)
    for section in score.sections:
        first, last = (
            score.seconds(bar_ * score.bar_ticks) * FRAME_RATE
            for bar_ in (section.first_bar, section.first_bar + section.bars)
        )
        if section.kind in _SECTIONS:
            clock[round(first) : round(last), place + _SECTIONS.index(section.kind)] = 1
    clock[:, -1] = (score.bpm - 100) / 50
    return clock


@dataclass(frozen=True, slots=True)
class Told:
    """What some samples are told, as tensors; the first axis is the batch.

    ``stems`` (batch, 4), ``timed`` (batch,): 1 where the stem's score or the clock is told.
    ``tags`` (batch, kinds): indices, of which those from ``nothing`` on mean *not told*.
    """

    pitches: Tensor
    numbers: Tensor
    programs: Tensor
    clock: Tensor
    stems: Tensor
    timed: Tensor
    tags: Tensor
    nothing: int


class ScoreConditioner(nn.Module):
    """Tags, clock and the stems' scores to one vector per frame."""

    def __init__(self, config: PerformerConfig) -> None:
        super().__init__()
        dim, stems = config.dim, len(STEMS)
        self.vocabulary = config.tags
        self._index = {tag: i for i, tag in enumerate(config.tags)}
        self.tags = nn.Embedding(len(config.tags) + len(KINDS), dim)
        self.pitches = nn.Linear(stems * 256, dim, bias=False)
        self.numbers = nn.Linear(stems * _NUMBERS, dim, bias=False)
        self.programs = nn.Embedding(stems * (NO_PROGRAM + 1), dim)
        self.withheld = nn.Parameter(torch.zeros(stems + 1, dim))  # stems, then the clock
        self.clock = nn.Linear(_CLOCK, dim)
        self.blocks = nn.Sequential(
            *(ConvBlock(dim, 7, 1 / config.score_layers) for _ in range(config.score_layers))
        )
        self.norm = nn.LayerNorm(dim)
        nn.init.normal_(self.tags.weight, std=0.1)
        nn.init.normal_(self.programs.weight, std=0.1)

    def tag_indices(self, tags: Sequence[str]) -> list[int]:
        """One index per kind. Raises :class:`UnknownTagError` for a tag outside the vocabulary."""
        row = [len(self.vocabulary) + kind for kind in range(len(KINDS))]
        for tag in tags:
            if tag not in self._index:
                raise UnknownTagError(tag)
            row[KINDS.index(tag.partition("/")[0])] = self._index[tag]
        return row

    def told(self, windows: Sequence[Performable]) -> Told:
        """Everything of these windows, which are equally long. Raises :class:`UnknownTagError`."""
        device = self.clock.weight.device

        def stack(parts: list[NDArray[Any]]) -> Tensor:
            return torch.from_numpy(np.stack(parts)).to(device)

        offsets = np.arange(len(STEMS))[:, None] * (NO_PROGRAM + 1)
        count = len(windows)
        return Told(
            stack([w.pitches for w in windows]),
            stack([w.numbers for w in windows]),
            stack([w.programs + offsets for w in windows]),
            stack([w.clock for w in windows]),
            torch.ones(count, len(STEMS), device=device),
            torch.ones(count, device=device),
            torch.tensor([self.tag_indices(w.tags) for w in windows], device=device),
            len(self.vocabulary),
        )

    def forward(self, told: Told) -> Tensor:
        """Condition (batch, frames, dim)."""
        batch, frames, _ = told.pitches.shape
        stems = told.stems[:, None, :, None]
        pitches = (told.pitches.view(batch, frames, len(STEMS), -1) * stems).flatten(2)
        numbers = (told.numbers.view(batch, frames, len(STEMS), -1) * stems).flatten(2)
        x = self.pitches(pitches) + self.numbers(numbers)
        known = (told.programs % (NO_PROGRAM + 1) != NO_PROGRAM) * told.stems[..., None]
        programs = (self.programs(told.programs) * known[..., None]).sum((1, 2))
        missing = torch.cat([told.stems, told.timed[:, None]], 1)
        x = x + (programs + self.tags(told.tags).sum(1) + (1 - missing) @ self.withheld)[:, None]
        x = x + self.clock(told.clock) * told.timed[:, None, None]
        out: Tensor = self.norm(self.blocks(x))
        return out


# -- the model --------------------------------------------------------------------------------


def build_language_model(config: PerformerConfig) -> LMModel:
    """An `LMModel` of this shape with random weights, in eval mode on the CPU.

    Its `condition_provider` is a :class:`ScoreConditioner`. Raises
    :class:`studio.core.errors.AudiocraftMissingError` where audiocraft is not installed.
    """
    from studio.music.models.hub.audiocraft_compat import load_audiocraft

    load_audiocraft()
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider

    conditioner: Any = ScoreConditioner(config)
    lm = LMModel(
        DelayedPatternProvider(
            len(STEMS) * CODEBOOKS,
            delays=[q for q in range(CODEBOOKS) for _ in STEMS],  # audiocraft wants them sorted
        ),
        conditioner,
        _frame_fuser(),
        n_q=len(STEMS) * CODEBOOKS,
        card=config.bins,
        dim=config.dim,
        num_layers=config.layers,
        num_heads=config.heads,
        hidden_scale=config.hidden_scale,
        dropout=0.0,
        norm="layer_norm",
        norm_first=True,
        bias_proj=False,
        bias_ff=False,
        bias_attn=False,
        activation="gelu",
        causal=True,
        custom=True,
        past_context=config.context,
        positional_embedding="rope",
        weight_init="gaussian",
        depthwise_init="current",
        cfg_coef=1.0,
        cfg_dropout=0.0,
        two_step_cfg=False,
    )
    return lm.eval()


def _frame_fuser() -> ConditionFuser:
    """audiocraft's fuser, but each step gets the vector of its own frame."""
    from audiocraft.modules.conditioners import ConditionFuser

    class FrameFuser(ConditionFuser):
        def forward(
            self, input: Tensor, conditions: Mapping[str, tuple[Tensor, Tensor]]
        ) -> tuple[Tensor, Tensor | None]:
            first = int(self._streaming_state.get("offsets", torch.zeros(1))[0])
            here = {
                name: (value[:, first : first + input.shape[1]], mask)
                for name, (value, mask) in conditions.items()
            }
            fused: tuple[Tensor, Tensor | None] = super().forward(input, here)
            return fused

    return FrameFuser({"sum": [CONDITION], "prepend": [], "cross": [], "input_interpolate": []})


def delayed(tokens: Tensor, nothing: int) -> Tensor:
    """Tokens (batch, 8, frames) as the model's sequence, (batch, 8, frames + 2).

    Step 0 holds `nothing`; codebook q of frame t stands at step ``t + 1 + q``. It is what
    audiocraft's delay pattern makes, as a plain shift.
    """
    batch, codebooks, frames = tokens.shape
    out = torch.full((batch, codebooks, frames + CODEBOOKS), nothing, device=tokens.device)
    for q in range(CODEBOOKS):
        these = slice(q * len(STEMS), (q + 1) * len(STEMS))
        out[:, these, 1 + q : 1 + q + frames] = tokens[:, these]
    return out
