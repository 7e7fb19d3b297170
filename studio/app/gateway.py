"""What a server or command holds before sign-in: settings, readiness, sessions."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from studio.app.operation import recovery
from studio.app.session import Session
from studio.app.use_cases.base import bind, container_of
from studio.core.errors import ConfigError, StudioError
from studio.core.home import locked
from watermark.util.files import create_file

if TYPE_CHECKING:
    from studio.accounts.permissions import Actor, Permission
    from studio.accounts.sessions import Session as SignedIn
    from studio.accounts.sessions import SessionKind
    from studio.app.container import Container
    from studio.app.examination.public_detection import PublicAnswer
    from studio.app.operation.readiness import Check
    from studio.app.outputs.sharing import SharedOutput
    from studio.app.worker import Worker
    from studio.core.config import ServerConfig, StudioConfig
    from studio.core.db.database import Database
    from studio.core.db.limits import SharedBuckets, SharedBytes, SharedPlaces, SharedSounds
    from studio.core.db.long_checks import CheckRecords
    from studio.core.paths import StudioPaths
    from studio.generation.preview_pieces import PreviewPieces
    from studio.generation.releasing.staging import RecoveryReport
    from studio.verification.suspect import SuspectAudio

__all__ = ["Gateway", "open_gateway"]

_logger = logging.getLogger(__name__)


class Gateway:
    """What page, REST layer and command line hold of a studio. Made by :func:`open_gateway`."""

    def __init__(self, container: Container) -> None:
        bind(self, container)
        self._closing = threading.Event()
        self._loading: threading.Thread | None = None

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

    def shared_output(self, output_id: str, token: str) -> SharedOutput:
        """What the holder of a link may see; as :meth:`.Sharing.open`."""
        return container_of(self).sharing().open(output_id, token)

    def shared_receipt(self, output_id: str, token: str) -> bytes:
        """The receipt of a shared output, as HTML; raises as :meth:`shared_output` does."""
        return container_of(self).sharing().receipt(output_id, token)

    def anchor_security_log(self) -> None:
        """Put the security log's newest hashes into the ledger."""
        container = container_of(self)
        container.security_log().anchor(container.ledger())

    def share_jobs(self, servers: int) -> None:
        """Be one of ``servers`` processes that share the database, its jobs and its limits.

        Raises :class:`ConfigError` where the database is a SQLite file.
        """
        container = container_of(self)
        _require_server(container.database())
        server = container.config.server.model_copy(update={"workers": servers})
        container.config = container.config.model_copy(update={"server": server})

    def keep_watch(self) -> None:
        """Sign checkpoints over what other processes append as well, where there can be others."""
        container = container_of(self)
        if container.database().dialect != "sqlite":
            container.checkpointer().keep_watch()

    def shared_secret(self) -> bytes:
        """32 bytes that all servers of the home know; made by the first of them."""
        container = container_of(self)
        container.paths.create()
        path = container.paths.keys / "servers.key"
        with locked(container.paths.home):
            create_file(path, secrets.token_bytes(32))
            return path.read_bytes()

    def job_standing(self) -> tuple[int, int]:
        """How many jobs of the shared line run, and how many wait."""
        return container_of(self).job_queue().standing()

    def preview_pieces(self) -> PreviewPieces:
        """The sealed music that workers let be heard; for whoever found the job to be theirs."""
        from studio.generation.preview_pieces import PreviewPieces

        return PreviewPieces(container_of(self).database())

    def check_records(self) -> CheckRecords:
        """How long examinations stand, at whatever server; who calls sees to whose they are."""
        from studio.core.db.long_checks import CheckRecords

        return CheckRecords(container_of(self).database())

    def shared_buckets(self, scope: str, per_minute: float) -> SharedBuckets:
        """A limit for each caller over all servers of the database."""
        from studio.core.db.limits import SharedBuckets

        return SharedBuckets(container_of(self).database(), scope, per_minute)

    def shared_places(self, scope: str, most: int, hold_s: float) -> SharedPlaces:
        """Work of each caller at a time, over all servers; a place holds ``hold_s`` at most."""
        from studio.core.db.limits import SharedPlaces

        return SharedPlaces(container_of(self).database(), scope, most, hold_s)

    def shared_bytes(self, scope: str, *, held: int, hourly: int) -> SharedBytes:
        """Bytes that each caller may upload over all servers of the database."""
        from studio.core.db.limits import SharedBytes

        return SharedBytes(container_of(self).database(), scope, held=held, hourly=hourly)

    def shared_sounds(self) -> SharedSounds:
        """Sketches of the sounds that the public asked about at all servers of the database."""
        from studio.core.db.limits import SharedSounds

        return SharedSounds(container_of(self).database())

    def worker(
        self, models: Sequence[str] = (), *, jobs: int = 1, device: str = "cpu", grace_s: float = 60
    ) -> Worker:
        """Who makes music for servers; of all models that are here, unless some are named.

        Raises :class:`ConfigError` and :class:`UsageError` where it could not work.
        """
        from studio.app.worker import Worker

        container = container_of(self)
        _require_server(container.database())
        names = tuple(models) or tuple(
            name
            for name in container.models()
            if device == "cpu" or container.performs_scores(name)
        )
        for name in names:
            container.generator(name).use_device(device)
            if models:
                container.generator(name).require()
        return Worker(container, names, jobs=jobs, grace_s=grace_s)

    def load_models(self, names: Sequence[str] = ()) -> None:
        """Begin to load models and the seal, ahead of the first request that needs them.

        Without ``names`` it is the default model. :meth:`close` waits for the model that is being
        read: Python cannot end in order while another thread is inside torch.
        """
        self._loading = threading.Thread(
            target=self._load_models, args=[names], name="studio-warm-up"
        )
        self._loading.start()

    def _load_models(self, names: Sequence[str]) -> None:
        container = container_of(self)
        try:
            container.sealer()
            for name in names or (container.config.generation.model,):
                if self._closing.is_set():
                    return
                container.generator(name).load()
        except StudioError as exc:  # the visitor who needs it is told what to do
            _logger.warning("not loaded ahead: %s", exc)

    # -- life -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Give back what was opened."""
        self._closing.set()
        if self._loading is not None:
            self._loading.join()
        container_of(self).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _require_server(database: Database) -> None:
    if database.dialect == "sqlite":
        raise ConfigError(
            "several processes share jobs through PostgreSQL, and this studio's database is a "
            "file; set database.url (or STUDIO_DATABASE_URL) to postgresql://user@host/name"
        )


def open_gateway(*, trust_uploads: bool = False, seal_device: str = "cpu") -> Gateway:
    """The studio of ``$STUDIO_HOME`` and ``$STUDIO_CONFIGS``. Raises :class:`ConfigError`.

    ``trust_uploads`` decodes in this process: faster, for files whose origin is known. The seal
    model works on ``seal_device``, a device of PyTorch.
    """
    from studio.app.container import open_container

    container = open_container()
    container.seal_device = seal_device
    if trust_uploads:
        container.trust_uploads()
    return Gateway(container)
