"""The house model: a small MusicGen whose conditioner knows exactly the consented tags.

Two networks in audiocraft's own interfaces, so that `audiocraft.models.MusicGen` drives them like
any other checkpoint:

* a codec, `EncodecModel` + `ResidualVectorQuantizer` around a short-time spectrum encoder and an
  overlap-add decoder (ConvNeXt blocks at the frame rate, after Vocos, arXiv:2306.00814). SEANet's
  strided convolutions cost about four times as much per second of audio on a CPU;
* an `LMModel` with the delay pattern (arXiv:2306.05284). Tags are summed into every step, not
  prepended: a prepended tag acts on the first frames only.

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
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.errors import CheckpointError, ConfigError, UnknownTagError
from studio.tags import KINDS

if TYPE_CHECKING:
    from audiocraft.models.encodec import EncodecModel
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.conditioners import ConditioningAttributes

__all__ = [
    "CARD_NAME",
    "DEFAULT_WEIGHTS",
    "WEIGHTS_NAME",
    "CodecConfig",
    "HouseConfig",
    "HouseModel",
    "LMConfig",
    "build_house_model",
    "load_house_model",
    "save_house_model",
]

WEIGHTS_NAME = "house.safetensors"
CARD_NAME = "card.json"
DEFAULT_WEIGHTS = Path(__file__).resolve().parent.parent / "house" / "weights"
"""Where the embedded checkpoint lies; :func:`load_house_model` reads it by default."""

CONDITION = "description"
"""The attribute under which audiocraft's `MusicGen` hands over what was asked for."""


@dataclass(frozen=True, slots=True)
class CodecConfig:
    """Shape of the codec. Rates in Hz; one latent frame covers `hop` samples."""

    sample_rate: int = 32000
    frame_rate: int = 50
    dim: int = 384
    encoder_layers: int = 4
    decoder_layers: int = 6
    expansion: int = 2
    kernel: int = 7
    bands: int = 40
    latent_dim: int = 128
    codebooks: int = 8
    bins: int = 512

    @property
    def hop(self) -> int:
        return self.sample_rate // self.frame_rate


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
        if self.codec.sample_rate % self.codec.frame_rate:
            raise ConfigError("the codec's sample rate must be a multiple of its frame rate")
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
            bands=8,
            latent_dim=16,
            codebooks=2,
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


# -- codec ------------------------------------------------------------------------------------


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a pointwise MLP, on (batch, frames, channels).

    The depthwise convolution is written as a sum of shifted products: bit-exact on every CPU,
    where oneDNN's low-precision convolutions are not, and no slower at 50 frames a second.
    """

    def __init__(self, dim: int, expansion: int, kernel: int, scale: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.depthwise = nn.Parameter(torch.randn(kernel, dim) * kernel**-0.5)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, expansion * dim)
        self.contract = nn.Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:
        frames = x.shape[1]
        padded = F.pad(x, (0, 0, self.kernel // 2, self.kernel // 2))
        y = padded[:, :frames] * self.depthwise[0]
        for k in range(1, self.kernel):
            y = y + padded[:, k : k + frames] * self.depthwise[k]
        change: Tensor = self.contract(F.gelu(self.expand(self.norm(y))))
        return x + self.scale * change


def _blocks(dim: int, layers: int, expansion: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        *(ConvNeXtBlock(dim, expansion, kernel, 1 / layers) for _ in range(layers))
    )


COMPRESSION = 0.3
"""Latents carry a frame's level to the power `1 - COMPRESSION`, so that soft frames count too."""

_LEVEL = 4.0
"""Brings latents of music at usual levels to about unit scale."""


class SpectralEncoder(nn.Module):
    """(batch, 1, samples) -> (batch, latent_dim, frames).

    Frame `t` is centred on samples `[t*hop, (t+1)*hop)` and spans two hops. A latent is a linear
    image of the frame, which starts as its lowest MDCT coefficients, plus what the network makes of
    the frame and its neighbours. With that start the codec follows the waveform before its first
    step (16 dB without quantiser, 5.7 dB with k-means alone, where a network without the linear
    path stood at 3.2 dB after 300 steps). The network sees the spectrum power-compressed (magnitude
    ** 0.3, phase kept), so that quiet partials are visible.
    """

    window: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.hop = config.hop
        self.register_buffer("window", _sine_window(2 * self.hop), persistent=False)
        self.embed = nn.Linear(2 * (self.hop + 1), config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.blocks = _blocks(config.dim, config.encoder_layers, config.expansion, config.kernel)
        self.out_norm = nn.LayerNorm(config.dim)
        self.project = nn.Linear(config.dim, config.latent_dim)
        self.shortcut = nn.Linear(2 * self.hop, config.latent_dim, bias=False)
        with torch.no_grad():
            self.shortcut.weight.copy_(_mdct_basis(self.hop, config.latent_dim))
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        half = self.hop // 2
        missing = -x.shape[-1] % self.hop
        padded = F.pad(x[:, 0], (half, missing + self.hop - half))
        frames = padded.unfold(-1, 2 * self.hop, self.hop) * self.window  # (batch, frames, 2 hop)
        spectrum = torch.fft.rfft(frames, norm="ortho")
        power = spectrum.real.square() + spectrum.imag.square()
        compress = (power + 1e-8) ** -0.35
        features = torch.cat([spectrum.real * compress, spectrum.imag * compress], dim=-1)
        hidden = self.out_norm(self.blocks(self.norm(self.embed(features))))
        linear = self.shortcut(frames).float()
        level = (linear.square().sum(-1, keepdim=True) + 1e-6) ** (-COMPRESSION / 2)
        latent: Tensor = (_LEVEL * level * linear + self.project(hidden)).transpose(1, 2)
        return latent


class SpectralDecoder(nn.Module):
    """(batch, latent_dim, frames) -> (batch, 1, frames * hop), by overlap-add of two-hop frames.

    Each frame is a linear image of its latent (at first the inverse of the encoder's) plus a
    complex spectrum times a gain per band: the gain carries the wide dynamic range, so that the
    network's output works at unit scale.
    """

    window: Tensor
    band_of_bin: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.hop = config.hop
        self.register_buffer("window", _sine_window(2 * self.hop), persistent=False)
        self.register_buffer(
            "band_of_bin", _band_of_bin(self.hop + 1, config.bands), persistent=False
        )
        self.embed = nn.Linear(config.latent_dim, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.blocks = _blocks(config.dim, config.decoder_layers, config.expansion, config.kernel)
        self.out_norm = nn.LayerNorm(config.dim)
        self.spectrum = nn.Linear(config.dim, 2 * (self.hop + 1))
        self.gain = nn.Linear(config.dim, config.bands)
        nn.init.constant_(self.gain.bias, -2.0)
        nn.init.zeros_(self.spectrum.weight)
        nn.init.zeros_(self.spectrum.bias)
        self.shortcut = nn.Linear(config.latent_dim, 2 * self.hop, bias=False)
        with torch.no_grad():
            self.shortcut.weight.copy_(_mdct_basis(self.hop, config.latent_dim).T)

    def forward(self, latent: Tensor) -> Tensor:
        hidden = self.norm(self.embed(latent.transpose(1, 2)))
        hidden = self.out_norm(self.blocks(hidden))
        real, imag = self.spectrum(hidden).float().chunk(2, dim=-1)
        gain = self.gain(hidden).float().clamp(-12, 4).exp()[..., self.band_of_bin]
        frames = torch.fft.irfft(torch.complex(real * gain, imag * gain), norm="ortho")
        linear = latent.transpose(1, 2).float() / _LEVEL
        power = linear.square().sum(-1, keepdim=True) + 1e-12
        linear = linear * power ** (COMPRESSION / (1 - COMPRESSION) / 2)
        frames = (frames + self.shortcut(linear).float()) * self.window  # (batch, frames, 2 hop)
        batch, count, _ = frames.shape
        head, tail = frames[..., : self.hop], frames[..., self.hop :]
        silence = frames.new_zeros(batch, 1, self.hop)
        summed = torch.cat([head, silence], 1) + torch.cat([silence, tail], 1)
        half = self.hop // 2
        return summed.reshape(batch, 1, -1)[..., half : half + count * self.hop]


def _sine_window(length: int) -> Tensor:
    return torch.sin(torch.pi * (torch.arange(length) + 0.5) / length)


def _mdct_basis(hop: int, count: int) -> Tensor:
    """The lowest `count` functions of the MDCT (to be windowed), (count, 2 * hop)."""
    n = torch.arange(2 * hop, dtype=torch.float64) + 0.5 + hop / 2
    k = torch.arange(count, dtype=torch.float64)[:, None] + 0.5
    return (math.sqrt(2 / hop) * torch.cos(torch.pi / hop * n * k)).float()


def _band_of_bin(bins: int, bands: int) -> Tensor:
    """Band index of each frequency bin: linear at the bottom, logarithmic above (mel-like)."""
    position = torch.log1p(torch.arange(bins) / 24.0)
    return (position / position[-1] * bands).long().clamp(max=bands - 1)


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


class TagConditioningProvider(nn.Module):
    """What `LMModel` asks for conditions: audiocraft's ConditioningProvider for one tag attribute.

    audiocraft's own provider accepts only subclasses of its conditioners, whose base module
    imports spaCy and T5; the language model itself needs these two methods alone.
    """

    def __init__(self, tags: Sequence[str], dim: int) -> None:
        super().__init__()
        self.conditioners = nn.ModuleDict({CONDITION: TagConditioner(tags, dim)})

    def tokenize(self, inputs: Iterable[ConditioningAttributes]) -> dict[str, Tensor]:
        conditioner = self.conditioners[CONDITION]
        assert isinstance(conditioner, TagConditioner)
        return {CONDITION: conditioner.tokenize([item.text[CONDITION] for item in inputs])}

    def forward(self, tokenized: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        return {name: self.conditioners[name](value) for name, value in tokenized.items()}


# -- building ---------------------------------------------------------------------------------


def build_house_model(config: HouseConfig) -> tuple[EncodecModel, LMModel]:
    """Codec and language model of this shape, with random weights, in eval mode on the CPU.

    Raises :class:`studio.errors.AudiocraftMissingError` where audiocraft is not installed.
    """
    return build_codec(config.codec), build_lm(config)


def build_codec(config: CodecConfig) -> EncodecModel:
    """The codec alone, as an audiocraft `EncodecModel`."""
    _install_audiocraft()
    from audiocraft.models.encodec import EncodecModel
    from audiocraft.quantization.vq import ResidualVectorQuantizer

    quantizer = ResidualVectorQuantizer(
        dimension=config.latent_dim,
        n_q=config.codebooks,
        bins=config.bins,
        kmeans_init=False,  # codec_training does its own, on many batches of latents
        threshold_ema_dead_code=0,  # audiocraft's revival is undone in the same step
    )
    codec = EncodecModel(
        SpectralEncoder(config),
        SpectralDecoder(config),
        quantizer,
        frame_rate=config.frame_rate,
        sample_rate=config.sample_rate,
        channels=1,
    )
    return codec.eval()


def build_lm(config: HouseConfig) -> LMModel:
    """The language model alone, as an audiocraft `LMModel` with the delay pattern."""
    _install_audiocraft()
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
    from audiocraft.modules.conditioners import ConditionFuser

    shape = config.lm
    lm = LMModel(
        DelayedPatternProvider(config.codec.codebooks),
        TagConditioningProvider(config.tags, shape.dim),  # type: ignore[arg-type]  # by protocol
        ConditionFuser({"sum": [CONDITION], "prepend": [], "cross": [], "input_interpolate": []}),
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


def _install_audiocraft() -> None:
    from studio.audiocraft_layer import load_audiocraft

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


def load_house_model(directory: Path | None = None) -> HouseModel:
    """Read a checkpoint written by :func:`save_house_model` (by default the embedded one).

    Raises :class:`CheckpointError` when a file is absent, damaged, or not the one the card names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    directory = directory or DEFAULT_WEIGHTS
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
    except (SafetensorError, RuntimeError, KeyError) as exc:
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
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
