"""Look up an output that a caller names, without revealing others' outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from studio.core.errors import NotYoursError, OutputGoneError, UsageError
from studio.web.api.schemas import OUTPUT_ID

__all__ = ["of_output"]

_Result = TypeVar("_Result")


def of_output(output_id: str, look: Callable[[str], _Result]) -> _Result:
    """What ``look`` says of an output; no difference between another's and one that is not."""
    if not OUTPUT_ID.fullmatch(output_id):
        raise NotYoursError("no such output, or not yours")
    try:
        return look(output_id)
    except OutputGoneError:
        raise
    except UsageError as exc:
        raise NotYoursError("no such output, or not yours") from exc
