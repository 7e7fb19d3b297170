"""Load a watermark model of either kind by its name or configuration."""

from __future__ import annotations

from watermark.errors import SealModelError
from watermark.models.base import BUILTIN, SealModel, SealModelConfig, load_house

__all__ = ["load_seal_model"]


def load_seal_model(model: str | SealModelConfig = "house") -> SealModel:
    """Load a seal model by name (``house``, ``hub``) or configuration.

    Raises:
        SealModelError: unknown name; files missing, damaged or of another digest; hub unreachable.
    """
    if isinstance(model, str):
        if model not in BUILTIN:
            raise SealModelError(f"no seal model {model!r}; there are {', '.join(sorted(BUILTIN))}")
        model = BUILTIN[model]
    if model.kind == "house":
        return load_house(model)
    from watermark.models.audioseal import load_hub

    return load_hub(model)
