"""Meta's AudioSeal pair behind the interface of :mod:`watermark.models.base`.

The published checkpoints are pickles with weight norm and old layer names. They are read with
``weights_only``, checked against a pinned digest where one is given, and folded into plain weights.

>>> _direction_key("decoder.0.weight_g")
'decoder.0.weight_v'
"""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import SealModelError
from watermark.models.base import SealModel, SealModelConfig

if TYPE_CHECKING:
    import torch

__all__ = ["load_hub"]

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


class _HubModel(SealModel):
    """Meta's AudioSeal pair: waveform networks with a hop of 320 samples."""

    def __init__(
        self,
        generator: Any,
        detector: Any,
        digest: str,
        record: dict[str, Any],
        device: str = "cpu",
    ) -> None:
        self.name, self.digest, self.id = "hub", digest, f"hub-{digest[:12]}"
        self.record = record
        self.strength_db, self.max_strength = 0.0, 1.6
        self.cell_samples = 320
        self.context_cells = 100  # 2 s: the LSTMs have no end, but forget
        self.alignments = (0,)  # trained at random offsets
        self.polarity_sensitive = True
        self.calibration = None
        self._device = device
        self._generator = generator.eval().to(device)
        self._detector = detector.eval().to(device)

    def mark(
        self, samples: NDArray[np.float32], messages: NDArray[np.uint8], strength: float
    ) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            x = torch.from_numpy(samples)[None, None].to(self._device)
            hidden = self._generator.encoder.model(x)  # (1, dimension, cells)
            table = self._generator.msg_processor.msg_processor.weight
            zero, one = table[0::2], table[1::2]
            rows = torch.from_numpy(messages).to(table)[: hidden.shape[-1]]
            aux = zero.sum(0) + rows @ (one - zero)  # (cells, dimension)
            out = self._generator.decoder.model(hidden + aux.T[None])[0, 0, : len(samples)]
        return np.asarray(strength * out.cpu().numpy(), dtype=np.float32)

    def read(
        self,
        samples: NDArray[np.float32],
        coarse: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        import torch

        cells = len(samples) // self.cell_samples
        with torch.inference_mode():
            encoder, last = self._detector.detector[0], self._detector.detector[1]
            hidden = encoder.model(torch.from_numpy(samples)[None, None].to(self._device))
            expand = encoder.reverse_convolution  # the mean over a cell's samples, see spectral.py
            wide = expand.weight.mean(-1).T @ hidden + expand.bias[:, None]
            out = last(wide)[0, :, :cells]
        return (out[1:2] - out[0:1]).cpu().numpy(), out[2:].T[None].cpu().numpy()


def load_hub(config: SealModelConfig, device: str = "cpu") -> SealModel:
    """The pair a configuration of kind ``hub`` names; raises :class:`SealModelError`."""
    from omegaconf import OmegaConf

    from watermark.models.networks import audioseal

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
    return _HubModel(generator, detector, digest, record, device)


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
    from watermark.models.networks import audioseal

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
