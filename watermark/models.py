"""Seal models: a generator and a detector under one interface, loaded and checked.

Two kinds exist. ``house`` is ours (:mod:`watermark.spectral`), embedded in the package. ``hub`` is
Meta's ``audioseal_wm_16bits`` / ``audioseal_detector_16bits`` pair, from a file or the Hugging Face
hub. Both are driven alike: a mark for 16 kHz mono audio with one message per *cell*, and logits per
cell. What differs is said by attributes (cell length, whether the reader must search alignments,
whether polarity matters), so embedding and detection have no case for either.

Loading resolves the files, checks the SHA-256, reads with safetensors or ``weights_only``, builds,
and puts into evaluation mode; anything wrong on the way is a
:class:`~watermark.errors.SealModelError` that says what to do.

>>> model = SealModel.random(seed=1)          # the house architecture, untrained
>>> model.rate, model.cell_samples, model.name
(16000, 1280, 'random')
"""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from watermark.calibration import Calibration
from watermark.errors import SealModelError

if TYPE_CHECKING:
    import torch

__all__ = ["BUILTIN", "SEAL_RATE", "SealModel", "SealModelConfig", "load_seal_model"]

SEAL_RATE = 16_000  # Hz
_WEIGHTS = Path(__file__).parent / "weights"
_FORMAT = "watermark-seal-weights/1"
_HUB_REPOSITORY = "facebook/audioseal"
# What torch.load raises on files that are no checkpoints, of a few bytes or of many.
_UNPICKLING = (
    pickle.UnpicklingError,
    struct.error,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OSError,
)


@dataclass(frozen=True, slots=True)
class SealModelConfig:
    """Which weights to load, and from where.

    Attributes:
        kind: ``house`` (spectral, safetensors beside a JSON record) or ``hub`` (audioseal's pair).
        path: house: the safetensors file; default the embedded one.
        generator, detector: hub: a checkpoint file, or its name in the hub repository.
        generator_sha256, detector_sha256: refuse other files; None accepts any and records it.
        revision: of the hub repository.
    """

    kind: Literal["house", "hub"]
    path: str | None = None
    generator: str = "generator_base.pth"
    detector: str = "detector_base.pth"
    generator_sha256: str | None = None
    detector_sha256: str | None = None
    revision: str | None = None

    @classmethod
    def load(cls, path: str | Path) -> SealModelConfig:
        """From a YAML file such as ``configs/watermark/hub.yaml``.

        Raises:
            SealModelError: not there, not YAML, or with fields that do not exist.
        """
        import yaml

        try:
            data = yaml.safe_load(Path(path).read_text())
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as exc:
            raise SealModelError(f"seal model configuration {Path(path).name}: unreadable") from exc
        names = {f.name for f in fields(cls)}
        if not isinstance(data, dict) or data.get("kind") not in ("house", "hub"):
            raise SealModelError(f"{Path(path).name}: needs `kind: house` or `kind: hub`")
        if unknown := sorted(set(data) - names):
            raise SealModelError(f"{Path(path).name}: unknown fields {', '.join(unknown)}")
        return cls(**data)


BUILTIN: dict[str, SealModelConfig] = {
    "house": SealModelConfig(kind="house"),
    "hub": SealModelConfig(kind="hub"),
}


class SealModel(ABC):
    """A generator and a detector at 16 kHz, and what their reader must know.

    Attributes:
        name: ``house``, ``hub`` or ``random``.
        id: names the weights in records: name and the first 12 digits of the digest.
        digest: SHA-256 of the weights (of both files, for a pair).
        strength_db: how far below the host the mark of strength 1 lies, dB (house: depth K).
        max_strength: the audibility limit; embedding refuses more.
        cell_samples: the networks' hop at 16 kHz; a message is constant within a cell.
        context_cells: how far the networks look to either side.
        alignments: offsets in samples below ``cell_samples`` that a reader must try.
        polarity_sensitive: the reader must also try the inverted signal.
        calibration: scores of unmarked audio, or None for weights nobody calibrated.
        record: the JSON beside the weights, as data.
    """

    name: str
    id: str
    digest: str
    strength_db: float
    max_strength: float
    cell_samples: int
    context_cells: int
    alignments: tuple[int, ...]
    polarity_sensitive: bool
    calibration: Calibration | None
    record: dict[str, Any]
    rate: int = SEAL_RATE

    @property
    def cell_s(self) -> float:
        """Seconds in a cell."""
        return self.cell_samples / self.rate

    def cell_seconds(self, cells: int, first_cell: int = 0) -> NDArray[np.int64]:
        """The track second each cell's middle lies in, (cells,)."""
        index = np.arange(first_cell, first_cell + cells, dtype=np.int64)
        return (index * self.cell_samples + self.cell_samples // 2) // self.rate

    @abstractmethod
    def mark(
        self, samples: NDArray[np.float32], messages: NDArray[np.uint8], strength: float
    ) -> NDArray[np.float32]:
        """The mark for mono 16 kHz ``samples`` (n,), whose first sample begins a cell.

        Args:
            samples: the host.
            messages: one message per cell, (ceil(n / cell_samples), 16) of {0, 1}.
            strength: linear; 1 is the model's own.
        """

    @abstractmethod
    def read(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits of every whole cell of mono 16 kHz ``samples`` at every alignment.

        Cell c at alignment a covers ``[c * cell_samples + a, (c + 1) * cell_samples + a)``. All
        alignments have the same number of cells: those whole at the largest offset.

        Returns: pilot (alignments, cells), log odds of being sealed on this grid; bits
        (alignments, cells, 16), positive for 1.
        """

    @staticmethod
    def random(seed: int = 0) -> SealModel:
        """Untrained house networks, for tests of everything but reading."""
        import torch

        from watermark.spectral import SpectralDetector, SpectralGenerator

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator, detector = SpectralGenerator(), SpectralDetector()
        digest = hashlib.sha256(f"random {seed}".encode()).hexdigest()
        return _HouseModel(generator, detector, "random", digest, {"strength_db": 20.0})


class _HouseModel(SealModel):
    """The spectral networks of :mod:`watermark.spectral`."""

    def __init__(
        self, generator: Any, detector: Any, name: str, digest: str, record: dict[str, Any]
    ) -> None:
        from watermark.spectral import CELL_SAMPLES, HOP

        self.name, self.digest, self.id = name, digest, f"{name}-{digest[:12]}"
        self.record = record
        self.strength_db = float(record["strength_db"])
        self.max_strength = float(record.get("max_strength", 1.6))
        self.cell_samples = CELL_SAMPLES
        self.context_cells = 24  # 12 for the networks, 7 for the 1 s means, 3 for the depth
        self.alignments = tuple(range(0, CELL_SAMPLES, HOP // 2))
        self.polarity_sensitive = False
        calibration = record.get("calibration")
        self.calibration = Calibration.from_dict(calibration) if calibration else None
        self._generator, self._detector = generator.eval(), detector.eval()

    def mark(
        self, samples: NDArray[np.float32], messages: NDArray[np.uint8], strength: float
    ) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            # One frame more than the cells hold is centred on the last sample: repeat its message.
            rows = torch.from_numpy(np.concatenate([messages, messages[-1:]]))[None]
            cells = -(-(len(samples) // 160 + 1) // 8)
            depth_db = self.strength_db - 20 * float(np.log10(strength))
            out = self._generator(torch.from_numpy(samples)[None], rows[:, :cells], depth_db)
        return np.asarray(out[0].numpy(), dtype=np.float32)

    def read(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        import torch

        cells = (len(samples) - self.alignments[-1]) // self.cell_samples
        pilots: list[tuple[int, torch.Tensor]] = []
        bits: list[tuple[int, torch.Tensor]] = []
        spectrum = self._detector.spectrum
        with torch.inference_mode():
            x = torch.from_numpy(samples)[None]
            for half in (0, 80):  # two frame grids; each serves eight alignments
                features = spectrum.features(spectrum.log_energy(spectrum.stft(x[:, half:])))
                frames = cells * 8 + 1
                stacked = torch.cat([features[..., k : k + frames] for k in range(8)])
                pilot, bit = self._detector.cells(stacked)
                for k in range(8):
                    pilots.append((half + 160 * k, pilot[k, :cells]))
                    bits.append((half + 160 * k, bit[k, :cells]))
        pilots.sort(key=lambda item: item[0])
        bits.sort(key=lambda item: item[0])
        return (
            torch.stack([p for _, p in pilots]).numpy(),
            torch.stack([b for _, b in bits]).numpy(),
        )


class _HubModel(SealModel):
    """Meta's AudioSeal pair: waveform networks with a hop of 320 samples."""

    def __init__(self, generator: Any, detector: Any, digest: str, record: dict[str, Any]) -> None:
        self.name, self.digest, self.id = "hub", digest, f"hub-{digest[:12]}"
        self.record = record
        self.strength_db, self.max_strength = 0.0, 1.6
        self.cell_samples = 320
        self.context_cells = 100  # 2 s: the LSTMs have no end, but forget
        self.alignments = (0,)  # trained at random offsets
        self.polarity_sensitive = True
        self.calibration = None
        self._generator, self._detector = generator.eval(), detector.eval()

    def mark(
        self, samples: NDArray[np.float32], messages: NDArray[np.uint8], strength: float
    ) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            x = torch.from_numpy(samples)[None, None]
            hidden = self._generator.encoder.model(x)  # (1, dimension, cells)
            table = self._generator.msg_processor.msg_processor.weight
            zero, one = table[0::2], table[1::2]
            rows = torch.from_numpy(messages).to(table.dtype)[: hidden.shape[-1]]
            aux = zero.sum(0) + rows @ (one - zero)  # (cells, dimension)
            out = self._generator.decoder.model(hidden + aux.T[None])[0, 0, : len(samples)]
        return np.asarray(strength * out.numpy(), dtype=np.float32)

    def read(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        import torch

        cells = len(samples) // self.cell_samples
        with torch.inference_mode():
            encoder, last = self._detector.detector[0], self._detector.detector[1]
            hidden = encoder.model(torch.from_numpy(samples)[None, None])
            expand = encoder.reverse_convolution  # the mean over a cell's samples, see spectral.py
            wide = expand.weight.mean(-1).T @ hidden + expand.bias[:, None]
            out = last(wide)[0, :, :cells]
        return (out[1:2] - out[0:1]).numpy(), out[2:].T[None].numpy()


def load_seal_model(model: str | SealModelConfig = "house") -> SealModel:
    """Load a seal model by name (``house``, ``hub``) or configuration.

    Raises:
        SealModelError: unknown name; files missing, damaged or of another digest; hub unreachable.
    """
    if isinstance(model, str):
        if model not in BUILTIN:
            raise SealModelError(f"no seal model {model!r}; there are {', '.join(sorted(BUILTIN))}")
        model = BUILTIN[model]
    return _load_house(model) if model.kind == "house" else _load_hub(model)


# -- house ------------------------------------------------------------------------------------


def _load_house(config: SealModelConfig) -> SealModel:
    from safetensors import SafetensorError
    from safetensors.torch import load

    from watermark.spectral import DepthConfig, NetworkConfig, SpectralDetector, SpectralGenerator

    path = Path(config.path) if config.path else _WEIGHTS / "house.safetensors"
    try:
        raw = path.read_bytes()
        record = json.loads(path.with_suffix(".json").read_text())
    except OSError as exc:
        raise SealModelError(
            f"seal weights {path.name}: the file or its .json record cannot be read "
            f"({(exc.strerror or 'unreadable').lower()}); install the package again, or train them "
            "with python -m watermark.train"
        ) from exc
    except ValueError as exc:
        raise SealModelError(f"seal weights {path.name}: damaged record") from exc
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise SealModelError(f"seal weights {path.name}: the record is not of format {_FORMAT}")
    digest = hashlib.sha256(raw).hexdigest()
    if digest != record.get("digest"):
        raise SealModelError(
            f"seal weights {path.name}: not the file its record names (SHA-256 differs); "
            "install the package again"
        )
    try:
        network = dict(record["network"])
        network["ratios"] = tuple(network["ratios"])
        shape, depth = NetworkConfig(**network), DepthConfig(**record["depth"])
        generator, detector = SpectralGenerator(shape, depth), SpectralDetector(shape)
        tensors = {key: value.float() for key, value in load(raw).items()}
        generator.net.load_state_dict(_part(tensors, "generator."))
        detector.net.load_state_dict(_part(tensors, "detector."))
        return _HouseModel(generator, detector, str(record["name"]), digest, record)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as exc:
        raise SealModelError(f"seal weights {path.name}: do not fit their record") from exc


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


# -- hub --------------------------------------------------------------------------------------


def _load_hub(config: SealModelConfig) -> SealModel:
    from omegaconf import OmegaConf

    from watermark.spectral import audioseal

    builder, loader = audioseal("builder"), audioseal("loader")

    def card(name: str, kind: Any) -> Any:
        data: Any = OmegaConf.to_container(loader.load_local_model_config(name))
        return loader.AudioSeal.parse_config(data, config_type=kind)

    generator_state, generator_sha = _hub_state(config.generator, config.generator_sha256, config)
    detector_state, detector_sha = _hub_state(config.detector, config.detector_sha256, config)
    generator = builder.create_generator(card("audioseal_wm_16bits", builder.AudioSealWMConfig))
    detector = builder.create_detector(
        card("audioseal_detector_16bits", builder.AudioSealDetectorConfig)
    )
    try:
        generator.load_state_dict(generator_state)
        detector.load_state_dict(detector_state)
    except RuntimeError as exc:
        raise SealModelError(
            "the hub checkpoints do not have the layout of audioseal_wm_16bits and "
            "audioseal_detector_16bits"
        ) from exc
    digest = hashlib.sha256(f"{generator_sha} {detector_sha}".encode()).hexdigest()
    record = {
        "generator": {"file": Path(config.generator).name, "sha256": generator_sha},
        "detector": {"file": Path(config.detector).name, "sha256": detector_sha},
        "revision": config.revision,
    }
    return _HubModel(generator, detector, digest, record)


def _hub_state(
    name: str, sha256: str | None, config: SealModelConfig
) -> tuple[dict[str, torch.Tensor], str]:
    """The folded state of one checkpoint, and the file's SHA-256."""
    import torch

    path = Path(name) if Path(name).is_file() else _download(name, config.revision)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 is not None and digest != sha256:
        raise SealModelError(
            f"{path.name}: SHA-256 is {digest}, the configuration asks for {sha256}"
        )
    try:
        with torch.serialization.safe_globals(_config_types()):
            data = torch.load(path, map_location="cpu", weights_only=True)
    except _UNPICKLING as exc:
        raise SealModelError(f"{path.name}: not an AudioSeal checkpoint, or a damaged one") from exc
    if isinstance(data, dict) and "best_state" in data:
        data = data["best_state"]
    if isinstance(data, dict) and "model" in data:
        data = data["model"]
    if not isinstance(data, dict) or not all(isinstance(v, torch.Tensor) for v in data.values()):
        raise SealModelError(f"{path.name}: holds no state of a model")
    return _folded(data), digest


def _config_types() -> list[Any]:
    """Published checkpoints carry their training configuration as OmegaConf nodes: plain data."""
    from collections import defaultdict

    from omegaconf import DictConfig, ListConfig, base, nodes

    return [
        DictConfig,
        ListConfig,
        base.ContainerMetadata,
        base.Metadata,
        nodes.AnyNode,
        defaultdict,
        dict,
        list,
        int,
        Any,
    ]


def _folded(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weight norm folded into plain weights, under the names of the package's current modules.

    The package's own loader wraps every layer in the deprecated ``weight_norm`` for this, and
    refuses files it wrote itself.
    """
    from watermark.spectral import audioseal

    plain: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if key.endswith((".weight_g", ".original0")):
            direction = state[_direction_key(key)]
            norm = direction.flatten(1).norm(dim=1).view(-1, *[1] * (direction.dim() - 1))
            name = key.removesuffix(".weight_g").removesuffix(".parametrizations.weight.original0")
            plain[f"{name}.weight"] = direction * (value / norm)
        elif not key.endswith((".weight_v", ".original1")):
            plain[key] = value
    if any(".inner_conv." in key for key in plain):
        return plain
    converted: dict[str, torch.Tensor] = audioseal(
        "loader"
    ).convert_state_dict_for_scriptable_model(plain)
    return converted


def _direction_key(key: str) -> str:
    if key.endswith(".weight_g"):
        return key.removesuffix(".weight_g") + ".weight_v"
    return key.removesuffix(".original0") + ".original1"


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(_HUB_REPOSITORY, name, revision=revision))
    except EntryNotFoundError as exc:
        if isinstance(exc, LocalEntryNotFoundError):
            raise _unreachable(name) from exc
        raise SealModelError(f"{_HUB_REPOSITORY} has no file {name}") from exc
    except (HfHubHTTPError, OSError, ValueError) as exc:
        raise _unreachable(name) from exc


def _unreachable(name: str) -> SealModelError:
    return SealModelError(
        f"{name} of {_HUB_REPOSITORY} is not in the cache and could not be fetched: the Hugging "
        "Face hub is unreachable. Use the embedded model (house), or name local files in a "
        "configuration (configs/watermark/hub.yaml: generator, detector)"
    )
