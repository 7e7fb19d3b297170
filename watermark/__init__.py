"""Watermark music with a key, and find out later which output it was.

The seal carries a message that changes every second; which messages follow each other is derived
from a secret key and the seal's id, so a detector that holds the registry as codebook can name the
output, say which seconds of it a clip shows, and bound the chance that it is wrong.

::

    from watermark import Codebook, CodebookEntry, SealId, SealKey, load_seal_model, read, write
    from watermark import detect, embed

    model, key, seal_id = load_seal_model(), SealKey.create(epoch=1), SealId.random()
    sealed = embed(read("song.wav"), seal_id, key, model=model)
    write("sealed.flac", sealed)
    codebook = Codebook([CodebookEntry(seal_id, key, seconds=sealed.duration_s)])
    found = detect("sealed.flac", model=model, codebook=codebook)
    print(found.detected, found.identification)

Importing this package is free: every name below is looked up in its module when it is first used,
and torch only when a seal model is loaded. ``detect`` and ``embed`` take a path, a file's bytes, a
:class:`Waveform`, or a numpy array or torch tensor with its ``rate``.

>>> from watermark import SealId
>>> SealId.parse("00112233aabbccdd").hex
'00112233aabbccdd'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from watermark.audio.waveform import DecodeLimits as DecodeLimits
    from watermark.audio.waveform import Waveform as Waveform
    from watermark.audio.waveform import encode as encode
    from watermark.audio.waveform import read as read
    from watermark.audio.waveform import stream as stream
    from watermark.audio.waveform import write as write
    from watermark.coding.codebook import Codebook as Codebook
    from watermark.coding.codebook import CodebookEntry as CodebookEntry
    from watermark.coding.identify import Identification as Identification
    from watermark.coding.identify import identify as identify
    from watermark.coding.message import SealId as SealId
    from watermark.coding.message import SealKey as SealKey
    from watermark.detection.detect import detect as detect
    from watermark.embedding.embed import embed as embed
    from watermark.errors import WatermarkError as WatermarkError
    from watermark.models.base import SealModel as SealModel
    from watermark.models.loading import load_seal_model as load_seal_model

_WHERE = {
    "Codebook": "coding.codebook",
    "CodebookEntry": "coding.codebook",
    "DecodeLimits": "audio.waveform",
    "Identification": "coding.identify",
    "SealId": "coding.message",
    "SealKey": "coding.message",
    "SealModel": "models.base",
    "Waveform": "audio.waveform",
    "WatermarkError": "errors",
    "detect": "detection.detect",
    "embed": "embedding.embed",
    "encode": "audio.waveform",
    "identify": "coding.identify",
    "load_seal_model": "models.loading",
    "read": "audio.waveform",
    "stream": "audio.waveform",
    "write": "audio.waveform",
}

__all__ = sorted(_WHERE)  # noqa: PLE0605 - built from the one table of names


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
