"""The house model: a small MusicGen whose conditioner knows exactly the consented tags.

Two networks in audiocraft's own interfaces, so that `audiocraft.models.MusicGen` drives them like
any other checkpoint:

* a codec (:mod:`studio.music.models.house.codec`);
* an `LMModel` with the delay pattern (arXiv:2306.05284). Tags are summed into every step, not
  prepended: a prepended tag acts on the first frames only. So is the lead sheet, each frame's own
  part of it (compare JASCO, arXiv:2406.10970, and MusiConGen, arXiv:2407.15060).

The vocabulary of the conditioner *is* the tag list of the checkpoint: an unknown tag raises, it is
never ignored. Weights are one fp16 safetensors file beside a machine-readable `card.json` that
names their digest, their configuration and how they came to be.

>>> config = HouseConfig.tiny(tags=("genre/waltz", "mood/calm"))
>>> codec, lm = build_house_model(config)
>>> codec.sample_rate, codec.frame_rate, lm.num_codebooks
(16000, 50, 2)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from studio.core.errors import CheckpointError, ConfigError, UnknownTagError
from studio.core.tags import KINDS
from studio.music.composer.lead_sheet import CLOCK_SIZES, PITCHES, LeadSheet
from studio.music.models.house.codec import CodecConfig, build_codec
from studio.music.models.house.temperatures import head_factors, scale_heads
from watermark.util.files import write_file

if TYPE_CHECKING:
    from audiocraft.models.encodec import EncodecModel
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.conditioners import ConditionFuser, ConditioningAttributes

__all__ = [
    "CARD_NAME",
    "WEIGHTS_NAME",
    "CodecConfig",
    "HouseConfig",
    "HouseModel",
    "LMConfig",
    "build_house_model",
    "condition_text",
    "load_house_model",
    "save_house_model",
]

WEIGHTS_NAME = "house.safetensors"
CARD_NAME = "card.json"
"""Where the embedded checkpoint lies; :func:`load_house_model` reads it by default."""

CONDITION = "description"
"""The attribute under which audiocraft's `MusicGen` hands over what was asked for."""

SHEET = "sheet"
"""The condition that says more for every frame: the lead sheet."""


@dataclass(frozen=True, slots=True)
class LMConfig:
    """Shape of the language model; codebooks and bins are the codec's."""

    dim: int = 256
    layers: int = 6
    heads: int = 4
    hidden_scale: int = 4
    dropout: float = 0.0
    max_duration_s: float = 10.0


@dataclass(frozen=True, slots=True)
class HouseConfig:
    """Everything needed to build the networks: codec, language model, and the tag vocabulary."""

    codec: CodecConfig
    lm: LMConfig
    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.tags)) != len(self.tags) or not self.tags:
            raise ConfigError("the house model needs a list of distinct tags")
        for tag in self.tags:
            if tag.partition("/")[0] not in KINDS:
                raise ConfigError(f"tag {tag!r} is of no known kind ({', '.join(KINDS)})")

    @classmethod
    def tiny(cls, tags: Sequence[str], *, sample_rate: int = 16000) -> HouseConfig:
        """A real but very small model for tests: the whole path runs in milliseconds."""
        codec = CodecConfig(
            sample_rate=sample_rate,
            dim=32,
            encoder_layers=1,
            decoder_layers=1,
            envelope_layers=1,
            bands=8,
            latent_dim=16,
            envelope_dim=8,
            codebooks=2,
            envelope_codebooks=1,
            bins=32,
        )
        return cls(codec, LMConfig(dim=32, layers=2, heads=2, hidden_scale=2), tuple(tags))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HouseConfig:
        """Read what :meth:`to_dict` wrote. Raises :class:`ConfigError` for anything else."""
        try:
            return cls(
                CodecConfig(**data["codec"]), LMConfig(**data["lm"]), tuple(map(str, data["tags"]))
            )
        except (KeyError, TypeError) as exc:
            raise ConfigError(f"not a house model configuration: {exc}") from exc

    def to_dict(self) -> dict[str, Any]:
        return {"codec": asdict(self.codec), "lm": asdict(self.lm), "tags": list(self.tags)}


# -- conditioning -----------------------------------------------------------------------------


class TagConditioner(nn.Module):
    """Tag lists to one vector per sample, the sum of an embedding per kind of tag.

    A request may name some kinds only; each kind that is not named has its own learnt "any"
    vector, which training uses when it drops a tag.
    """

    def __init__(self, tags: Sequence[str], dim: int) -> None:
        super().__init__()
        self.tags = tuple(tags)
        self._index = {tag: i for i, tag in enumerate(self.tags)}
        self.embedding = nn.Embedding(len(self.tags) + len(KINDS), dim)
        nn.init.normal_(self.embedding.weight, std=0.25)  # heard beside the positions

    def tokenize(self, texts: Sequence[str | None]) -> Tensor:
        """Texts of tag ids parted by commas or spaces -> (batch, kinds) indices.

        Raises :class:`UnknownTagError` for a tag outside the vocabulary, :class:`ConfigError` for
        two tags of a kind.
        """
        rows = []
        for text in texts:
            row = [len(self.tags) + kind for kind in range(len(KINDS))]
            for tag in (text or "").replace(",", " ").split():
                if tag not in self._index:
                    raise UnknownTagError(tag)
                kind = KINDS.index(tag.partition("/")[0])
                if row[kind] < len(self.tags):
                    raise ConfigError(f"two tags of one kind: {self.tags[row[kind]]} and {tag}")
                row[kind] = self._index[tag]
            rows.append(row)
        return torch.tensor(rows, dtype=torch.long, device=self.embedding.weight.device)

    def forward(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, kinds) -> condition (batch, 1, dim) and its mask (batch, 1)."""
        condition = self.embedding(indices).sum(1, keepdim=True)
        return condition, torch.ones_like(indices[:, :1])


class LeadSheetConditioner(nn.Module):
    """Lead sheets to one vector per frame: where in the bar it lies, and what harmony it has.

    A request without a sheet (and a training sample whose sheet was dropped) gets a learnt vector.
    """

    def __init__(self, dim: int, frames: int) -> None:
        super().__init__()
        self.count = frames
        tables = [nn.Embedding(size, dim) for size in CLOCK_SIZES]
        self.pitches = nn.Linear(PITCHES, dim, bias=False)
        self.none = nn.Parameter(torch.zeros(dim))
        for table in tables:
            nn.init.normal_(table.weight, std=0.15)
        self.clock = nn.ModuleList(tables)
        nn.init.normal_(self.pitches.weight, std=0.08)

    def tokenize(self, sheets: Sequence[tuple[LeadSheet, int] | None]) -> Tensor:
        """(sheet, first frame) or None -> (batch, frames, columns): clock, pitches, given?"""
        rows = np.zeros((len(sheets), self.count, len(CLOCK_SIZES) + PITCHES + 1), np.float32)
        for row, one in zip(rows, sheets, strict=True):
            if one is not None:
                sheet, start = one
                frames = sheet.frames(start, self.count)
                row[:, : len(CLOCK_SIZES)] = frames.clock
                row[:, len(CLOCK_SIZES) : -1] = frames.pitches
                row[:, -1] = 1
        return torch.from_numpy(rows).to(self.none.device)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What :meth:`tokenize` gave -> condition (batch, frames, dim) and its mask."""
        clock, given = rows[..., : len(CLOCK_SIZES)], rows[..., -1:]
        pitches = rows[..., len(CLOCK_SIZES) : -1]
        condition: Tensor = self.pitches(pitches)
        for column, table in enumerate(self.clock):
            condition = condition + table(clock[..., column].long())
        condition = given * condition + (1 - given) * self.none
        return condition, torch.ones_like(given[..., 0])


def condition_text(tags: Iterable[str], sheet: LeadSheet | None = None, start: int = 0) -> str:
    """What the model is told: tag ids, and a lead sheet from frame `start` on.

    >>> sheet = LeadSheet.parse("C-major:28:4x4:A=C|G7")
    >>> condition_text(["genre/folk", "mood/calm"], sheet, 40)
    'genre/folk mood/calm sheet=C-major:28:4x4:A=C|G7@40'
    """
    words = list(tags)
    if sheet is not None:
        words.append(f"{_SHEET_WORD}{sheet.text}@{start}")
    return " ".join(words)


def split_condition(text: str | None) -> tuple[str, tuple[LeadSheet, int] | None]:
    """The tags and the lead sheet of :func:`condition_text`. Raises :class:`ConfigError`."""
    tags, sheet = [], None
    for word in (text or "").split(" "):
        if word.startswith(_SHEET_WORD):
            body, _, start = word.removeprefix(_SHEET_WORD).rpartition("@")
            if not start.isdigit():
                raise ConfigError(f"{word[:80]!r} does not say at which frame it starts")
            sheet = LeadSheet.parse(body), int(start)
        else:
            tags.append(word)
    return " ".join(tags), sheet


_SHEET_WORD = "sheet="


class HouseConditioningProvider(nn.Module):
    """What `LMModel` asks for conditions: audiocraft's ConditioningProvider for tags and sheet.

    audiocraft's own provider accepts only subclasses of its conditioners, whose base module
    imports spaCy and T5; the language model itself needs these two methods alone. Both conditions
    travel in the one text that `MusicGen` hands over (:func:`condition_text`).
    """

    def __init__(self, tags: Sequence[str], dim: int, frames: int) -> None:
        super().__init__()
        self.tags = TagConditioner(tags, dim)
        self.sheet = LeadSheetConditioner(dim, frames)

    def tokenize(self, inputs: Iterable[ConditioningAttributes]) -> dict[str, Tensor]:
        parts = [split_condition(item.text[CONDITION]) for item in inputs]
        return {
            CONDITION: self.tags.tokenize([tags for tags, _ in parts]),
            SHEET: self.sheet.tokenize([sheet for _, sheet in parts]),
        }

    def unguided(self, inputs: Sequence[ConditioningAttributes]) -> list[ConditioningAttributes]:
        """What classifier-free guidance compares with: the same lead sheet without any tag.

        So guidance stresses the tags and leaves time and harmony as they are.
        """
        from audiocraft.modules.conditioners import ConditioningAttributes

        sheets = [split_condition(item.text[CONDITION])[1] for item in inputs]
        return [
            ConditioningAttributes(text={CONDITION: condition_text([], *(sheet or (None, 0)))})
            for sheet in sheets
        ]

    def later(
        self, inputs: Sequence[ConditioningAttributes], frames: int
    ) -> list[ConditioningAttributes]:
        """The same conditions for a window that begins `frames` further on."""
        if frames == 0:
            return list(inputs)
        from audiocraft.modules.conditioners import ConditioningAttributes

        moved = []
        for item in inputs:
            tags, sheet = split_condition(item.text[CONDITION])
            if sheet is not None:
                tags = condition_text(tags.split(), sheet[0], sheet[1] + frames)
            moved.append(ConditioningAttributes(text={CONDITION: tags}))
        return moved

    def forward(self, tokenized: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        return {CONDITION: self.tags(tokenized[CONDITION]), SHEET: self.sheet(tokenized[SHEET])}


# -- building ---------------------------------------------------------------------------------


def build_house_model(config: HouseConfig) -> tuple[EncodecModel, LMModel]:
    """Codec and language model of this shape, with random weights, in eval mode on the CPU.

    Raises :class:`studio.core.errors.AudiocraftMissingError` where audiocraft is not installed.
    """
    return build_codec(config.codec), build_lm(config)


def build_lm(config: HouseConfig) -> LMModel:
    """The language model alone, as an audiocraft `LMModel` with the delay pattern."""
    _install_audiocraft()
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider

    shape = config.lm
    # A window's steps are its frames and the delay of the last codebook.
    frames = round(shape.max_duration_s * config.codec.frame_rate) + config.codec.codebooks
    lm = LMModel(
        DelayedPatternProvider(config.codec.codebooks),
        HouseConditioningProvider(config.tags, shape.dim, frames),  # type: ignore[arg-type]  # by protocol
        _frame_fuser(),
        n_q=config.codec.codebooks,
        card=config.codec.bins,
        dim=shape.dim,
        num_layers=shape.layers,
        num_heads=shape.heads,
        hidden_scale=shape.hidden_scale,
        dropout=shape.dropout,
        norm="layer_norm",
        norm_first=True,
        bias_proj=False,
        bias_ff=False,
        bias_attn=False,
        activation="gelu",
        causal=True,
        memory_efficient=True,  # scaled_dot_product_attention
        weight_init="gaussian",
        depthwise_init="current",
        cfg_coef=3.0,
        cfg_dropout=0.0,  # audiocraft drops a whole batch at once; lm_training drops per sample
        two_step_cfg=False,
    )
    return lm.eval()


def _frame_fuser() -> ConditionFuser:
    """audiocraft's fuser, but a condition that has a vector per frame is added frame by frame."""
    from audiocraft.modules.conditioners import ConditionFuser

    class FrameFuser(ConditionFuser):
        def forward(
            self, input: Tensor, conditions: Mapping[str, tuple[Tensor, Tensor]]
        ) -> tuple[Tensor, Tensor | None]:
            start = int(self._streaming_state.get("offsets", torch.zeros(1))[0])
            here = {
                name: (_frames_of(condition, start, input.shape[1]), mask)
                for name, (condition, mask) in conditions.items()
            }
            fused: tuple[Tensor, Tensor | None] = super().forward(input, here)
            return fused

    return FrameFuser(
        {"sum": [CONDITION, SHEET], "prepend": [], "cross": [], "input_interpolate": []}
    )


def _frames_of(condition: Tensor, start: int, count: int) -> Tensor:
    return condition if condition.shape[1] == 1 else condition[:, start : start + count]


def _install_audiocraft() -> None:
    from studio.music.models.hub.audiocraft_compat import load_audiocraft

    load_audiocraft()


# -- weights ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class HouseModel:
    """A loaded checkpoint. `card` is the content of card.json, `digest` the weights' SHA-256."""

    codec: EncodecModel
    lm: LMModel
    config: HouseConfig
    card: Mapping[str, Any]
    digest: str

    @property
    def tags(self) -> tuple[str, ...]:
        return self.config.tags

    @property
    def sample_rate(self) -> int:
        return self.config.codec.sample_rate

    @property
    def frame_rate(self) -> int:
        return self.config.codec.frame_rate


_TRAINING_ONLY = ("embed_avg", "cluster_size", "inited")
"""Buffers of audiocraft's codebooks that only training reads."""


def save_house_model(
    directory: Path,
    config: HouseConfig,
    codec: EncodecModel,
    lm: LMModel,
    card: Mapping[str, Any],
) -> str:
    """Write fp16 weights and `card.json` under `directory`; return the weights' SHA-256.

    The card gains `config` and `digest`. The weights are written before the card that names
    them, each to a temporary name first, so that a crash never leaves a card for other weights.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    for prefix, module in (("codec", codec), ("lm", lm)):
        for name, value in module.state_dict().items():
            if name.rpartition(".")[2] not in _TRAINING_ONLY:
                tensors[f"{prefix}.{name}"] = value.detach().to("cpu", torch.float16).contiguous()
    payload = save(tensors)
    digest = hashlib.sha256(payload).hexdigest()
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / WEIGHTS_NAME, payload)
    content = {**card, "config": config.to_dict(), "digest": digest}
    text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    _write(directory / CARD_NAME, text.encode("utf-8"))
    return digest


def load_house_model(directory: Path) -> HouseModel:
    """Read a checkpoint written by :func:`save_house_model`.

    Raises :class:`CheckpointError` when a file is absent, damaged, or not the one the card names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        card = json.loads((directory / CARD_NAME).read_text(encoding="utf-8"))
        payload = (directory / WEIGHTS_NAME).read_bytes()
        config = HouseConfig.from_dict(card["config"])
        expected = str(card["digest"])
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as exc:
        raise CheckpointError(f"no readable house model in {directory}: {exc}") from exc
    digest = hashlib.sha256(payload).hexdigest()
    if digest != expected:
        raise CheckpointError(
            f"{directory / WEIGHTS_NAME} is damaged: its SHA-256 is {digest[:12]}…, "
            f"its card says {expected[:12]}…; restore the file or train again"
        )
    try:
        tensors = {name: value.float() for name, value in load(payload).items()}
        codec, lm = build_house_model(config)
        _load_into(codec, "codec", tensors)
        _load_into(lm, "lm", tensors)
        scale_heads(lm, head_factors(card.get("generation", {}), config.codec.codebooks))
    except (SafetensorError, RuntimeError, KeyError, ConfigError) as exc:
        raise CheckpointError(f"{directory / WEIGHTS_NAME} does not fit its card: {exc}") from exc
    return HouseModel(codec, lm, config, card, digest)


def _load_into(module: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    state = {
        name[len(prefix) + 1 :]: value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }
    for name in list(state):
        if name.endswith("._codebook.embed"):
            codebook = name.removesuffix("embed")
            state[codebook + "embed_avg"] = state[name].clone()
            state[codebook + "cluster_size"] = torch.ones(len(state[name]))
            state[codebook + "inited"] = torch.ones(1)
    module.load_state_dict(state, strict=True)
    module.eval()


def _write(path: Path, payload: bytes) -> None:
    write_file(path, payload, mode=None)
