"""Generate music from consented style tags; watermark, record and verify it.

:func:`open_studio` gives a :class:`Session`, whose use cases stand by subject:
``session.generation.create``, ``session.verification.verify``. The way a request takes is
:mod:`studio.generation.pipeline`. Importing this package loads nothing else.

>>> from studio import open_studio
>>> with open_studio() as session:
...     session.catalog.models()["house"].licence
'MIT'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studio.app.session import Session, open_studio
    from studio.provenance.release import GenerationRequest, Release
    from studio.verification.report import Verdict, VerifyReport

__all__ = ["GenerationRequest", "Release", "Session", "Verdict", "VerifyReport", "open_studio"]

_HOMES = {
    "GenerationRequest": "studio.provenance.release",
    "Release": "studio.provenance.release",
    "Session": "studio.app.session",
    "Verdict": "studio.verification.report",
    "VerifyReport": "studio.verification.report",
    "open_studio": "studio.app.session",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
