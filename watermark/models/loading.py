"""Load a watermark model of either kind by its name or configuration."""

from __future__ import annotations

import socket

from watermark.errors import SealModelError
from watermark.models.base import BUILTIN, SealModel, SealModelConfig, load_house

__all__ = ["load_seal_model"]


def load_seal_model(model: str | SealModelConfig = "house", *, device: str = "cpu") -> SealModel:
    """Load a seal model by name (``house``, ``hub``) or configuration.

    Args:
        model: which one.
        device: of PyTorch, on which the networks work: ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        SealModelError: unknown name; files missing, damaged or of another digest; hub unreachable;
            no such device on this machine.
    """
    _require(device)
    if isinstance(model, str):
        if model not in BUILTIN:
            raise SealModelError(f"no seal model {model!r}; there are {', '.join(sorted(BUILTIN))}")
        model = BUILTIN[model]
    if model.kind == "house":
        return load_house(model, device)
    from watermark.models.audioseal import load_hub

    return load_hub(model, device)


def _require(device: str) -> None:
    """Refuse a GPU that is not there, by name of the machine: it may be one of a cluster."""
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise SealModelError(
            f"{socket.gethostname()} has no GPU that PyTorch {torch.__version__} can use, and the "
            f"seal model was to work on {device}: install the GPU's driver and PyTorch for CUDA "
            "there, or work on the processor (--num-gpus 0)"
        )
