"""What a server or command holds before sign-in: settings, readiness, sessions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from studio.app.operation import recovery
from studio.app.session import Session
from studio.app.use_cases.base import bind, container_of
from studio.core.errors import StudioError

if TYPE_CHECKING:
    from studio.accounts.permissions import Actor, Permission
    from studio.accounts.sessions import Session as SignedIn
    from studio.accounts.sessions import SessionKind
    from studio.app.container import Container
    from studio.app.examination.public_detection import PublicAnswer
    from studio.app.operation.readiness import Check
    from studio.core.config import ServerConfig, StudioConfig
    from studio.core.paths import StudioPaths
    from studio.generation.releasing.staging import RecoveryReport
    from studio.verification.suspect import SuspectAudio

__all__ = ["Gateway", "open_gateway"]

_logger = logging.getLogger(__name__)


class Gateway:
    """What page, REST layer and command line hold of a studio. Made by :func:`open_gateway`."""

    def __init__(self, container: Container) -> None:
        bind(self, container)

    @property
    def config(self) -> StudioConfig:
        return container_of(self).config

    @property
    def paths(self) -> StudioPaths:
        return container_of(self).paths

    def session(self, actor: Actor) -> Session:
        """The studio as ``actor`` may use it. The caller has authenticated the actor."""
        return Session(container_of(self), actor)

    # -- who calls ------------------------------------------------------------------------------

    def has_accounts(self) -> bool:
        """Whether one has to sign in."""
        return container_of(self).accounts().exist()

    def sign_in(self, name: str, password: str, *, address: str, kind: SessionKind) -> SignedIn:
        """Begin a session. Raises :class:`SignInError`."""
        accounts = container_of(self).accounts()
        return accounts.sign_in(name, password, address=address, kind=kind)

    def sign_out(self, token: str) -> None:
        """End the session of a token."""
        container_of(self).accounts().sign_out(token)

    def actor_of(self, token: str, *, kind: SessionKind | None = None) -> Actor | None:
        """Whose token it is; None where it is nobody's."""
        return container_of(self).accounts().actor_of(token, kind=kind)

    def may(self, account_id: str, permission: Permission) -> bool:
        """Whether an account has a permission now."""
        return container_of(self).accounts().may(account_id, permission)

    def record_refusal(self, event: str, *, address: str | None = None) -> None:
        """Record in the security log that somebody was not let in."""
        container_of(self).security_log().record(event, outcome="refused", address=address)

    # -- the server -----------------------------------------------------------------------------

    def recover(self) -> RecoveryReport:
        """Finish or discard what a crash left behind."""
        return recovery.recover(container_of(self))

    def readiness(self) -> dict[str, Check]:
        """Whether the studio can do its work, check by check."""
        from studio.app.operation.readiness import check_readiness

        return check_readiness(container_of(self))

    def listen_on(
        self, host: str, port: int, *, public_detector: bool = False, mcp: bool = False
    ) -> ServerConfig:
        """Set the address that the server listens on; the settings that result.

        ``public_detector`` and ``mcp`` switch these on, whatever the settings say.
        """
        container = container_of(self)
        config = container.config
        server = config.server.model_copy(
            update={"host": host, "port": port, "mcp": mcp or config.server.mcp}
        )
        detector = config.public_detector.model_copy(
            update={"enabled": public_detector or config.public_detector.enabled}
        )
        container.config = config.model_copy(update={"server": server, "public_detector": detector})
        return server

    def answer_stranger(
        self,
        path: Path,
        *,
        opened: Callable[[SuspectAudio], None],
        progress: Callable[[float], None],
    ) -> PublicAnswer:
        """What the public is told about a recording; see
        :mod:`studio.app.examination.public_detection`."""
        from studio.app.examination.public_detection import PublicDetector

        return PublicDetector(container_of(self)).examine(path, opened=opened, progress=progress)

    def anchor_security_log(self) -> None:
        """Put the security log's newest hashes into the ledger."""
        container = container_of(self)
        container.security_log().anchor(container.ledger())

    def load_models(self) -> None:
        """Load the default model and the seal ahead of the first request that needs them."""
        container = container_of(self)
        try:
            container.sealer()
            container.generator(container.config.generation.model).load()
        except StudioError as exc:  # the visitor who needs it is told what to do
            _logger.warning("not loaded ahead: %s", exc)

    # -- life -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Give back what was opened."""
        container_of(self).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_gateway(*, trust_uploads: bool = False) -> Gateway:
    """The studio of ``$STUDIO_HOME`` and ``$STUDIO_CONFIGS``. Raises :class:`ConfigError`.

    ``trust_uploads`` decodes in this process: faster, for files whose origin is known.
    """
    from studio.app.container import open_container

    container = open_container()
    if trust_uploads:
        container.trust_uploads()
    return Gateway(container)
