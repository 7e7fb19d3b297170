"""The start of a command, before its modules are loaded."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from typing import Any

__all__ = ["start"]

_FAILED, _INTERRUPTED = 4, 130  # as in watermark.cli.process, which may be what cannot be loaded


def start(module: str, **options: Any) -> None:
    """Run ``main(**options)`` of a module; one that cannot be loaded ends with 4, never a verdict.

    Python itself ends a process with 1 where an import fails, which means "no seal" here.
    """
    try:
        main = import_module(module).main
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BaseException:  # noqa: BLE001 - whatever it is, the exit code is decided here
        traceback.print_exc()
        sys.exit(_FAILED)
    main(**options)
