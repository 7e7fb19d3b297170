"""The studio as one account may use it; page, REST and command line hold it.

>>> from studio.app.container import open_container
>>> from studio.accounts.permissions import LOCAL_OWNER
>>> session = Session(open_container(), LOCAL_OWNER)
>>> session.catalog.models()["house"].licence
'MIT'
>>> [(tag.tag.id, tag.reason) for tag in session.catalog.tag_status() if not tag.granted]
[('genre/choral', 'no-grant')]
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from studio.accounts.origin import calling, current
from studio.accounts.permissions import LOCAL_OWNER, Actor, Permission, Rule, refusal_of
from studio.app.use_cases.accounts import Accounts, Security
from studio.app.use_cases.base import bind, container_of
from studio.app.use_cases.cases import Cases
from studio.app.use_cases.catalog import Catalog
from studio.app.use_cases.consent import Consent
from studio.app.use_cases.generation import Generation
from studio.app.use_cases.jobs import Jobs
from studio.app.use_cases.models import Models
from studio.app.use_cases.outputs import Outputs
from studio.app.use_cases.records import Operation, Records
from studio.app.use_cases.renditions import Renditions
from studio.app.use_cases.verification import Verification

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.core.config import StudioConfig
    from studio.core.paths import StudioPaths

__all__ = ["Session", "open_studio"]


class Session:
    """The use cases for one actor, by subject. A call without permission raises
    :class:`~studio.core.errors.AccessDeniedError` and does nothing else."""

    def __init__(self, container: Container, actor: Actor) -> None:
        bind(self, container)
        self.actor = actor
        self._address = current().address
        self.catalog = Catalog(container, actor)
        self.generation = Generation(container, actor)
        self.models = Models(container, actor)
        self.jobs = Jobs(container, actor)
        self.outputs = Outputs(container, actor)
        self.renditions = Renditions(container, actor)
        self.verification = Verification(container, actor)
        self.cases = Cases(container, actor)
        self.consent = Consent(container, actor)
        self.accounts = Accounts(container, actor)
        self.security = Security(container, actor)
        self.records = Records(container, actor)
        self.operation = Operation(container, actor)

    @property
    def config(self) -> StudioConfig:
        """The settings; they give nothing away."""
        return container_of(self).config

    def require(self, permission: Permission) -> None:
        """Refuse early, before an upload is received or a password is asked for.

        Raises :class:`~studio.core.errors.AccessDeniedError`.
        """
        if self.actor.may(permission):
            return
        with calling(self.actor.account_id, self._address):
            log = container_of(self).security_log()
            log.record("denied", outcome="refused", detail=str(permission))
        raise refusal_of(Rule(permission), self.actor)


@contextmanager
def open_studio(
    config: StudioConfig | None = None, paths: StudioPaths | None = None
) -> Iterator[Session]:
    """The studio of ``$STUDIO_HOME`` and ``$STUDIO_CONFIGS``, for the owner of its files.

    Raises :class:`ConfigError`.
    """
    from studio.app.container import open_container

    with open_container(config, paths) as container:
        yield Session(container, LOCAL_OWNER)
