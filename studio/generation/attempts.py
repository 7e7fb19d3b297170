"""A job that a worker holds, and one try at one of its takes; it may lose both to another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from studio.core.errors import StudioError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.generation.orders import Order

__all__ = ["Attempt", "Claim", "LeaseLostError"]


class LeaseLostError(StudioError):
    """The job is another worker's by now; nothing was released by this one."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this worker holds."""

    job_id: str
    token: str
    account_id: str | None
    attempts: int
    order: Order
    released: tuple[tuple[int, str], ...]  # takes that an earlier worker released
    preview: bool = False  # it can be heard while it is made


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
