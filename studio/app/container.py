"""The parts of one studio, each built once, when first needed.

:func:`open_container` reads the configuration and nothing else. The container builds; what a
person may do with the parts are the use cases of a :class:`studio.app.session.Session`. It may be
used from several threads.

>>> studio = open_container()
>>> studio.vocabulary()["genre/bossa-nova"].kind
'genre'
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Self

from studio.consent import ConsentPolicy, ConsentRegistry
from studio.consent.administration import ConsentService
from studio.core.config import StudioConfig, load_config
from studio.core.errors import UsageError
from studio.core.home import locked
from studio.core.paths import StudioPaths, resolve_paths
from studio.core.tags import Vocabulary

if TYPE_CHECKING:
    from studio.accounts import Accounts
    from studio.accounts.security_log import SecurityLog
    from studio.app.examination.examiner import FileExaminer
    from studio.app.outputs.releases import Releases
    from studio.app.outputs.sharing import Sharing
    from studio.consent.name_screen.current import CurrentScreen
    from studio.consent.name_screen.screen import NameScreen
    from studio.core.db.database import Database
    from studio.generation.derived.lineage import Lineage
    from studio.generation.derived.mixes import MixMaker
    from studio.generation.derived.renditions import RenditionMaker
    from studio.generation.job_queue import JobQueue
    from studio.generation.limits.quota import Quotas
    from studio.generation.pipeline import Pipeline
    from studio.generation.releasing.sealing import FileSealing
    from studio.music.models.config import ModelConfig
    from studio.music.models.fetching import Fetched, Pins
    from studio.music.models.generator import MusicGenerator
    from studio.provenance.credentials.signing import Credentials
    from studio.provenance.keys import KeyRing
    from studio.provenance.ledger.checkpoints.checkpointer import Checkpointer
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.output_index import OutputIndex
    from studio.provenance.publication import Publications
    from studio.provenance.sealer import Sealer
    from studio.provenance.shelf import Shelf
    from studio.provenance.trusted_ledger import TrustedLedger

__all__ = ["Container", "open_container"]


class Container:
    """Builds and keeps the parts. Made by :func:`open_container`."""

    def __init__(self, paths: StudioPaths, config: StudioConfig) -> None:
        self.paths = paths
        self.config = config
        self.seal_device = "cpu"
        self._lock = threading.RLock()

    # -- consent ------------------------------------------------------------------------------

    def consent_service(self) -> ConsentService:
        """Signed consent; takes in what ships with the studio on first use."""
        with self._lock:
            return self._consent_service

    def vocabulary(self) -> Vocabulary:
        """The style tags there are, as rights holders signed them."""
        return self.consent_service().vocabulary()

    def consent(self) -> ConsentRegistry:
        """The consent registry as it is now, whichever process changed it last."""
        return self.consent_service().registry()

    def policy(self) -> ConsentPolicy:
        """The policy over the registry as it is now."""
        restoration = self.consent_service().restoration()
        return ConsentPolicy(
            self.consent(),
            closed=None if restoration is None else restoration.text(),
            known_tags=self.vocabulary(),
            model_uses={model.id: model.licence_uses for model in self.models().values()},
            named_tags=self._screen.named_tags(),
        )

    def name_screen(self) -> NameScreen:
        """The name screen, over the lists as they are now."""
        return self._screen.screen()

    # -- models -------------------------------------------------------------------------------

    def models(self) -> Mapping[str, ModelConfig]:
        """Every configured generation model by id; nothing is loaded."""
        return self._models

    def performs_scores(self, model: str) -> bool:
        """Whether a model plays a composed score; False for one that is not configured."""
        from studio.music.models.config import performs_scores

        return model in self._models and performs_scores(self._models[model])

    def generator(self, model: str) -> MusicGenerator:
        """The generation model, loaded on first use. Raises :class:`ModelError`."""
        from studio.music.models.generator import get_generator

        config = self.models().get(model)
        if config is None:
            known = ", ".join(self.models())
            raise UsageError(f"unknown model {model!r}; there are: {known}")
        with self._lock:
            return get_generator(config)

    def sealer(self) -> Sealer:
        """The seal model in use, loaded on first use."""
        with self._lock:
            return self._sealer

    # -- records ------------------------------------------------------------------------------

    def database(self) -> Database:
        """The database of ledger, consent and accounts, opened (and made) on first use."""
        with self._lock:
            return self._database

    def ledger(self) -> Ledger:
        """The ledger, opened (and made) on first use."""
        with self._lock:
            return self._trusted_ledger.ledger

    def trusted_ledger(self) -> TrustedLedger:
        """The ledger with its keys, verified before anything is appended."""
        with self._lock:
            return self._trusted_ledger

    def seal_keys(self) -> KeyRing:
        """The secret keys of the seals' ids."""
        return self.trusted_ledger().seal_keys

    def checkpointer(self) -> Checkpointer:
        """Who signs the ledger's checkpoints and keeps them."""
        return self.trusted_ledger().checkpointer

    def credentials(self) -> Credentials:
        """Signer and reader of Content Credentials; a development chain is made on first use."""
        with self._lock:
            return self._credentials

    def registry(self) -> OutputIndex:
        """The fingerprints of every output."""
        with self._lock:
            return self._registry

    def publications(self) -> Publications:
        """Which outputs their owners have made public."""
        with self._lock:
            return self._publications

    def sharing(self) -> Sharing:
        """The links by which owners share outputs."""
        with self._lock:
            return self._sharing

    def shelf(self) -> Shelf:
        """What owners did with their outputs in the library."""
        with self._lock:
            return self._shelf

    def releases(self) -> Releases:
        """Every released output, its owner and its file."""
        with self._lock:
            return self._releases

    # -- accounts -----------------------------------------------------------------------------

    def accounts(self) -> Accounts:
        """The accounts of this studio; none, and it belongs to whoever sits at the machine."""
        with self._lock:
            return self._accounts

    def security_log(self) -> SecurityLog:
        """Who signed in, was refused, downloaded and changed what."""
        with self._lock:
            return self._security_log

    # -- work ---------------------------------------------------------------------------------

    def pipeline(self) -> Pipeline:
        """The pipeline from a request to a released output."""
        with self._lock:
            return self._pipeline

    def quotas(self) -> Quotas:
        """How much each account may have made."""
        with self._lock:
            return self._quotas

    def job_queue(self) -> JobQueue:
        """The line of jobs that servers and workers share."""
        with self._lock:
            return self._job_queue

    def lineage(self) -> Lineage:
        """Parents and children of outputs."""
        with self._lock:
            return self._lineage

    def renditions(self) -> RenditionMaker:
        """Stems and scores of outputs."""
        with self._lock:
            return self._renditions

    def mixes(self) -> MixMaker:
        """Outputs in further formats."""
        with self._lock:
            return self._mixes

    def examiner(self) -> FileExaminer:
        """Examines suspect files."""
        with self._lock:
            return self._examiner

    # -- life ---------------------------------------------------------------------------------

    def trust_uploads(self) -> None:
        """Decode in this process from now on: faster, for files whose origin is known."""
        uploads = self.config.uploads.model_copy(update={"isolate": False})
        self.config = self.config.model_copy(update={"uploads": uploads})

    def close(self) -> None:
        """Give back what was opened; the studio is not used afterwards."""
        with self._lock:
            if "_pipeline" in self.__dict__:
                self._pipeline.close()
            if "_trusted_ledger" in self.__dict__:
                self._trusted_ledger.checkpointer.close()
            if "_database" in self.__dict__:
                self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- how the parts are made -----------------------------------------------------------------

    @cached_property
    def _consent_service(self) -> ConsentService:
        service = ConsentService(
            self.ledger(),
            studio=self.config.consent.studio,
            outputs=self.paths.outputs,
            renditions=self.paths.renditions,
        )
        with locked(self.paths.home):  # of several first starts at once, one takes it in
            service.start(self.paths.consent / "signed")
        return service

    @cached_property
    def _screen(self) -> CurrentScreen:
        from studio.consent.name_screen.current import CurrentScreen

        return CurrentScreen(self.consent, self.vocabulary, self.paths.configs / "names")

    @cached_property
    def _models(self) -> dict[str, ModelConfig]:
        from studio.music.models.config import load_model_configs
        from studio.music.models.fetching import read_pins, with_pins

        pins = read_pins(self.paths.home)
        configs = load_model_configs(self.paths.models)
        return {id_: with_pins(config, pins) for id_, config in configs.items()}

    def fetch_model(
        self,
        model: str,
        *,
        report: Callable[[Fetched], None] = lambda _: None,
        cancel: threading.Event | None = None,
    ) -> Pins:
        """Fetch a hub model's files and pin them; from then on it can be used."""
        from studio.music.models.fetching import fetch, keep_pins, with_pins

        config = self.models().get(model)
        if config is None:
            raise UsageError(f"unknown model {model!r}; `studio models list` lists them")
        pins = fetch(config, report=report, cancel=cancel)
        self.paths.create()
        with locked(self.paths.home):
            keep_pins(self.paths.home, model, pins)
        self._models[model] = with_pins(config, {model: pins})  # for all who hold the models
        return pins

    @cached_property
    def _database(self) -> Database:
        from studio.core.db.database import Database, location_of

        self.paths.create()
        return Database.open(location_of(self.config.database.url, self.paths.ledger))

    @cached_property
    def _trusted_ledger(self) -> TrustedLedger:
        from studio.provenance.trusted_ledger import open_trusted_ledger

        self.paths.create()
        with locked(self.paths.home):
            return open_trusted_ledger(self._log, self.paths, self.config.ledger)

    @cached_property
    def _log(self) -> Ledger:
        """The ledger before it is verified; for reading only."""
        from studio.provenance.ledger.log import Ledger

        log = Ledger(self._database, self.paths.outputs)
        log.beside_append(self._security_log.mirror)
        log.before_append(lambda: self._trusted_ledger)
        return log

    @cached_property
    def _accounts(self) -> Accounts:
        from studio.accounts import Accounts

        return Accounts(
            self._log, self._database, self.config.accounts, security_log=self._security_log
        )

    @cached_property
    def _security_log(self) -> SecurityLog:
        from studio.accounts.security_log import SecurityLog

        return SecurityLog(self._database, self.config.security_log)

    @cached_property
    def _credentials(self) -> Credentials:
        from studio.provenance.credentials.signing import Credentials

        self.paths.create()
        with locked(self.paths.home):
            return Credentials.open(
                self.config.credentials, folder=self.paths.credentials, configs=self.paths.configs
            )

    @cached_property
    def _registry(self) -> OutputIndex:
        from studio.provenance.output_index import OutputIndex

        paths = self.paths
        return OutputIndex(self.ledger(), self.seal_keys(), paths.fingerprints, paths.codebook)

    @cached_property
    def _publications(self) -> Publications:
        from studio.provenance.publication import Publications

        return Publications(self.ledger())

    @cached_property
    def _sharing(self) -> Sharing:
        from studio.app.outputs.sharing import Sharing

        return Sharing(self)

    @cached_property
    def _shelf(self) -> Shelf:
        from studio.provenance.shelf import Shelf

        return Shelf(self.ledger())

    @cached_property
    def _releases(self) -> Releases:
        from studio.app.outputs.releases import Releases

        return Releases(self)

    @cached_property
    def _sealer(self) -> Sealer:
        from studio.provenance.sealer import Sealer

        return Sealer.load(self.config.seal.model, self.seal_device)

    @cached_property
    def _pipeline(self) -> Pipeline:
        from studio.generation.pipeline import Pipeline

        return Pipeline(
            config=self.config,
            paths=self.paths,
            vocabulary=self.vocabulary,
            policy=self.policy,
            models=self.models(),
            generator=self.generator,
            sealer=self.sealer,
            credentials=self.credentials,
            ledger=self.ledger(),
            keys=self.seal_keys(),
            names=self.name_screen,
            consent_unmoved=self.consent_service().store.require,
        )

    @cached_property
    def _sealing(self) -> FileSealing:
        from studio.generation.releasing.sealing import FileSealing

        return FileSealing(
            config=self.config,
            sealer=self.sealer,
            credentials=self.credentials,
            ledger=self.ledger(),
        )

    @cached_property
    def _mixes(self) -> MixMaker:
        from studio.generation.derived.mixes import MixMaker

        return MixMaker(
            folder=self.paths.renditions,
            file_of=self.releases().file_of,
            sealing=self._sealing,
            models=self.models(),
            registry=self.consent,
            ledger=self.ledger(),
            keys=self.seal_keys(),
            ancestors=self.lineage().ancestors,
            require_distribution=self.releases().require_distribution,
        )

    @cached_property
    def _renditions(self) -> RenditionMaker:
        from studio.generation.decisions import Decisions
        from studio.generation.derived.renditions import RenditionMaker

        ledger = self.ledger()
        return RenditionMaker(
            vocabulary=self.vocabulary,
            decisions=Decisions(policy=self.policy, ledger=ledger, clock=lambda: datetime.now(UTC)),
            sealing=self._sealing,
            models=self.models(),
            generator=self.generator,
            ledger=ledger,
            keys=self.seal_keys(),
            ancestors=self.lineage().ancestors,
            require_distribution=self.consent_service().require_distribution,
            consent_unmoved=self.consent_service().store.require,
        )

    @cached_property
    def _quotas(self) -> Quotas:
        from studio.generation.limits.quota import Quotas

        return Quotas(self.database(), self.config.quotas)

    @cached_property
    def _job_queue(self) -> JobQueue:
        from studio.generation.job_queue import JobQueue

        server = self.config.server
        return JobQueue(self._database, lease_s=server.lease_s, attempts=server.attempts)

    @cached_property
    def _lineage(self) -> Lineage:
        from studio.generation.derived.lineage import Lineage

        return Lineage(
            ledger=self.ledger(),
            keys=self.seal_keys(),
            sealer=self.sealer,
            verify=lambda source: self.examiner().examine(source),
            require_distribution=self.consent_service().require_distribution,
            performs_scores=self.performs_scores,
        )

    @cached_property
    def _examiner(self) -> FileExaminer:
        from studio.app.examination.examiner import FileExaminer

        return FileExaminer(self)


def open_container(
    config: StudioConfig | None = None, paths: StudioPaths | None = None
) -> Container:
    """The studio of ``$STUDIO_HOME`` and ``$STUDIO_CONFIGS``. Raises :class:`ConfigError`."""
    paths = paths or resolve_paths()
    return Container(paths, config or load_config(paths.configs / "studio.yaml"))
