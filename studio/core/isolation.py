"""How well this server is protected from the files it decodes, in words.

Files from outside are decoded in a child process behind a system-call filter
(:mod:`watermark.audio.sandbox`). Two settings weaken that, and some systems refuse the filter.
Each case has a code, which ``/healthz`` shows, and a sentence, which ``studio serve`` prints at
its start.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studio.core.config import UploadConfig

__all__ = ["SENTENCES", "warn_of_weakness", "weakness"]

_logger = logging.getLogger(__name__)

SENTENCES: Mapping[str, str] = {
    "uploads-decoded-in-server": (
        "uploads.isolate is false: files from outside are decoded in the server's own process, and "
        "one that takes the decoder over has the keys. Set it to true."
    ),
    "uploads-decoded-unfiltered": (
        "this system refuses the system-call filter of the decoding sandbox, and "
        "uploads.allow_unfiltered lets files from outside be decoded without it: one that takes "
        "the decoder over can read this user's files. Use a kernel or container with seccomp."
    ),
    "uploads-not-decoded": (
        "this system refuses the system-call filter of the decoding sandbox: files from outside "
        "are not decoded. Use a kernel or container with seccomp, or accept the risk with "
        "uploads.allow_unfiltered."
    ),
}


def weakness(uploads: UploadConfig) -> str | None:
    """The code of what weakens the protection; None where it is whole. The first call takes 0.2 s.

    >>> from studio.core.config import load_config
    >>> from studio.core.paths import shipped_configs
    >>> shipped = load_config(shipped_configs() / "studio.yaml").uploads
    >>> weakness(shipped.model_copy(update={"isolate": False}))
    'uploads-decoded-in-server'
    """
    from watermark.audio.sandbox import filter_works

    if not uploads.isolate:
        return "uploads-decoded-in-server"
    if filter_works():
        return None
    return "uploads-decoded-unfiltered" if uploads.allow_unfiltered else "uploads-not-decoded"


def warn_of_weakness(uploads: UploadConfig) -> None:
    """Log what weakens the protection, if anything does."""
    found = weakness(uploads)
    if found is not None:
        _logger.warning("%s", SENTENCES[found])
