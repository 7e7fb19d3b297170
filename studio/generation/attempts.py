"""One try at one take of a job, by a worker that may lose the job to another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from studio.core.errors import StudioError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Attempt", "LeaseLostError"]


class LeaseLostError(StudioError):
    """The job is another worker's by now; nothing was released by this one."""


class Attempt(Protocol):
    """What a generation is told of the job that it is made for."""

    @property
    def use_id(self) -> str:
        """Names the take within its account's limits: begun again, it counts once."""

    def record(self, connection: Connection, output_id: str) -> None:
        """Note in the transaction of a release that this output is the take's.

        Raises :class:`LeaseLostError` where the job is not this worker's any more, or the take was
        released before: nothing is released then.
        """
