"""Watermark models: generator and detector under one interface.

Two kinds exist. ``house`` is ours (:mod:`watermark.models.networks`), embedded in the package.
``hub`` is Meta's ``audioseal_wm_16bits`` / ``audioseal_detector_16bits`` pair, from a file or the
Hugging Face hub. Both are driven alike: a mark for 16 kHz mono audio with one message per *cell*,
and logits per cell. What differs is said by attributes (cell length, whether the reader must
search alignments, whether polarity matters), so embedding and detection have no case for either.

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
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from watermark.coding.message import SCRAMBLE_PERIOD_S, SealKey
from watermark.errors import SealModelError
from watermark.models.calibration import Calibration

if TYPE_CHECKING:
    import torch

    from watermark.coding.scramble import Scramble

__all__ = [
    "BUILTIN",
    "SCRAMBLING_WEIGHTS",
    "SEAL_RATE",
    "SealModel",
    "SealModelConfig",
    "load_house",
    "require_model",
]

SEAL_RATE = 16_000  # Hz
_WEIGHTS = Path(__file__).parent / "weights"
_FORMATS = ("watermark-seal-weights/1", "watermark-seal-weights/2")  # 2 may scramble


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
        """Load a YAML file such as ``configs/watermark/hub.yaml``.

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


#: SHA-256 of the house weights that scramble whatever they seal: v3.
SCRAMBLING_WEIGHTS = frozenset({"8b90470472683ed4007d441468aa11218559b726468aba220c6d7de767ba7258"})


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
        coarse_alignments: those that suffice to say whether there is anything to read.
        chip_cells: messages are scrambled by the epoch's key, anew every so many cells
            (:class:`watermark.coding.scramble.Scramble`); 0: they are written as they are.
        contrasted: the pilot denies on wrong alignments, so evidence is its contrast to them
            (:mod:`watermark.detection.detect`); else the pilot itself is.
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
    coarse_alignments: tuple[int, ...] | None = None
    contrasted: bool = False
    chip_cells: int = 0

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

    def scramble(self, key: SealKey) -> Scramble | None:
        """What an epoch's messages are scrambled with on this model's cells; None: nothing."""
        from watermark.coding.scramble import Scramble

        if not self.chip_cells:
            return None
        period = round(SCRAMBLE_PERIOD_S / self.cell_s)
        return Scramble.of(key, self.cell_seconds(period), self.chip_cells)

    @abstractmethod
    def read(
        self,
        samples: NDArray[np.float32],
        coarse: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits of every whole cell of mono 16 kHz ``samples`` at every alignment.

        ``coarse`` is what :meth:`read_coarse` said of the same samples, where it was asked: it is
        not computed again.

        Cell c at alignment a covers ``[c * cell_samples + a, (c + 1) * cell_samples + a)``. All
        alignments have the same number of cells: those whole at the largest offset.

        Returns: pilot (alignments, cells), log odds of being sealed on this grid; bits
        (alignments, cells, 16), positive for 1.
        """

    def read_coarse(
        self, samples: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read at :attr:`coarse_alignments` only; None where nothing is coarser."""
        return self.read(samples)

    @staticmethod
    def random(seed: int = 0) -> SealModel:
        """Untrained house networks, for tests of everything but reading."""
        import torch

        from watermark.models.networks import SpectralDetector, SpectralGenerator

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator, detector = SpectralGenerator(), SpectralDetector()
        digest = hashlib.sha256(f"random {seed}".encode()).hexdigest()
        record = {"strength_db": 20.0, "chip_cells": 2}
        return _HouseModel(generator, detector, "random", digest, record)


class _HouseModel(SealModel):
    """The spectral networks of :mod:`watermark.models.networks`."""

    def __init__(
        self,
        generator: Any,
        detector: Any,
        name: str,
        digest: str,
        record: dict[str, Any],
        device: str = "cpu",
    ) -> None:
        from watermark.models.networks import CELL_SAMPLES, HOP

        self.name, self.digest, self.id = name, digest, f"{name}-{digest[:12]}"
        self.record = record
        self.strength_db = float(record["strength_db"])
        self.max_strength = float(record.get("max_strength", 1.6))
        self.cell_samples = CELL_SAMPLES
        self.context_cells = 24  # 12 for the networks, 7 for the 1 s means, 3 for the depth
        self.alignments = tuple(range(0, CELL_SAMPLES, HOP // 2))
        self.coarse_alignments = self.alignments[::2]
        self.contrasted = True
        self.chip_cells = int(record.get("chip_cells", 0))
        self.polarity_sensitive = False
        calibration = record.get("calibration")
        self.calibration = Calibration.from_dict(calibration) if calibration else None
        weight, bias = detector.folded()
        self._folded = weight.to(device), bias.to(device)
        self._device = device
        self._generator = generator.eval().to(device)
        self._detector = detector.eval().to(device)

    def mark(
        self, samples: NDArray[np.float32], messages: NDArray[np.uint8], strength: float
    ) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            # One frame more than the cells hold is centred on the last sample: repeat its message.
            rows = torch.from_numpy(np.concatenate([messages, messages[-1:]]))[None].to(
                self._device
            )
            cells = -(-(len(samples) // 160 + 1) // 8)
            depth_db = self.strength_db - 20 * float(np.log10(strength))
            host = torch.from_numpy(samples)[None].to(self._device)
            out = self._generator(host, rows[:, :cells], depth_db)
        return np.asarray(out[0].cpu().numpy(), dtype=np.float32)

    def read(
        self,
        samples: NDArray[np.float32],
        coarse: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # The alignments between the coarse ones are those of frames that begin half a hop later.
        late = self._read(samples, start=80)
        pilots, bits = zip(coarse or self.read_coarse(samples), late, strict=True)
        cells = late[0].shape[1]
        return np.stack(pilots, 1).reshape(-1, cells), np.stack(bits, 1).reshape(-1, cells, 16)

    def read_coarse(
        self, samples: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._read(samples, start=0)

    def _read(
        self, samples: NDArray[np.float32], start: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """On frames that begin at a sample; they serve eight alignments, a hop apart."""
        import torch

        cells = (len(samples) - self.alignments[-1]) // self.cell_samples
        spectrum = self._detector.spectrum
        with torch.inference_mode():
            x = torch.from_numpy(samples)[None, start:].to(self._device)
            features = spectrum.features(spectrum.log_energy(spectrum.stft(x)))
            pilot, bits = self._detector.shifted(features, self._folded)
            return pilot[:, :cells].cpu().numpy(), bits[:, :cells].cpu().numpy()


def require_model(model: object) -> None:
    """Refuse what is not a loaded model. Raises SealModelError that says what to pass."""
    if not isinstance(model, SealModel):
        raise SealModelError(
            f"model is a SealModel, not {type(model).__name__}; pass load_seal_model('house')"
        )


# -- house ------------------------------------------------------------------------------------


def load_house(config: SealModelConfig, device: str = "cpu") -> SealModel:
    """Load a house model. Raises as :func:`watermark.models.loading.load_seal_model` does."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from watermark.models.networks import (
        DepthConfig,
        NetworkConfig,
        SpectralDetector,
        SpectralGenerator,
    )

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
    if not isinstance(record, dict) or record.get("format") not in _FORMATS:
        raise SealModelError(
            f"seal weights {path.name}: the record is not of format {_FORMATS[-1]}"
        )
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
        return _HouseModel(generator, detector, str(record["name"]), digest, record, device)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as exc:
        raise SealModelError(f"seal weights {path.name}: do not fit their record") from exc


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
