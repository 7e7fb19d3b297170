"""The shared queue of generation jobs, as one account sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.accounts.permissions import Permission
from studio.app.use_cases.base import UseCases, requires

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.generation.job_queue import JobRow, Origin
    from studio.generation.orders import Order

__all__ = ["Jobs"]


class Jobs(UseCases):
    """The actor's own jobs. See :mod:`studio.generation.job_queue`."""

    @requires(Permission.GENERATE)
    def submit(
        self,
        studio: Container,
        order: Order,
        *,
        payer: str,
        origin: Origin,
        label: str,
        preview: bool = False,
    ) -> JobRow:
        """Put an order in line, that :meth:`Generation.check` or its like has let through.

        ``payer`` is whose limits it counts against; ``label`` holds nothing that was typed.
        ``preview``: it can be heard while it is made.

        Raises :class:`BusyError` and :class:`TooManyRequestsError`.
        """
        account = self.actor.account_id
        job_id = studio.job_queue().submit(
            order,
            account_id=account,
            payer=payer,
            origin=origin,
            label=label,
            per_account=studio.config.accounts.jobs_at_a_time,
            preview=preview,
        )
        return studio.job_queue().find(job_id, account)

    @requires(Permission.BROWSE)
    def find(self, studio: Container, job_id: str) -> JobRow:
        """The actor's own job of that id. Raises :class:`NotYoursError`."""
        return studio.job_queue().find(job_id, self.actor.account_id)

    @requires(Permission.BROWSE)
    def of(self, studio: Container, origin: Origin) -> list[JobRow]:
        """The actor's jobs of a origin, oldest first."""
        return studio.job_queue().of(self.actor.account_id, origin)

    @requires(Permission.BROWSE)
    def stop(self, studio: Container, job_id: str) -> JobRow:
        """Stop the actor's own job. Raises :class:`NotYoursError`."""
        queue, account = studio.job_queue(), self.actor.account_id
        queue.find(job_id, account)
        queue.stop(job_id)
        return queue.find(job_id, account)

    @requires(Permission.BROWSE)
    def dismiss(self, studio: Container, job_id: str) -> None:
        """Tell no more what became of the actor's own job. Raises :class:`NotYoursError`."""
        queue = studio.job_queue()
        queue.find(job_id, self.actor.account_id)
        queue.dismiss([job_id])
