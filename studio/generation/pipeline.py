"""From tags to a released file: consent, generation, watermark, ledger.

``consent → reserve → generate → seal → encode → tag → sign → read back → release``

The pipeline fails closed. Without an allowing :class:`~studio.consent.Decision` nothing is
generated, and the decision is taken again at release, so that a grant revoked meanwhile stops it.
The detector reads the very bytes that will be released; where the seal is not readable there, the
strength is raised within the audibility limit and after that the request fails. Refusals and
failures to seal are ledger entries. How a crash is survived:
:mod:`studio.generation.releasing.staging`.
"""

from __future__ import annotations

import math
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from studio.consent import GENERATION_USES, ConsentPolicy, Decision
from studio.consent.enforcement import generate_with_decision, require_permission
from studio.consent.storage.repository import ConsentMovedError
from studio.core.config import FORMATS, StudioConfig
from studio.core.errors import ConfigError, SealingError, StudioError, UsageError
from studio.core.paths import StudioPaths
from studio.core.tags import KINDS, Tag, Vocabulary
from studio.core.territories import TERRITORY_PATTERN
from studio.generation.decisions import Decisions, credits_of
from studio.generation.derived.derivation import Derivation, write_parent
from studio.generation.derived.scores import (
    Composed,
    ScoreStore,
    check_sheet,
    genre_for,
    given_to,
    score_record,
    varied,
)
from studio.generation.preview import Preview
from studio.generation.progress import OnProgress, Progress, Run, Stage
from studio.generation.releasing.manifest import claim_of
from studio.generation.releasing.sealing import FileSealing, FileTexts, SealedFile
from studio.generation.takes import MOST_SEED, MOST_TAKES
from studio.generation.validation import check_human
from studio.music.models.config import describe, performs_scores
from studio.provenance.ledger.private_fields import Personal
from studio.provenance.release import (
    GenerationRequest,
    OutputId,
    Release,
    title_of,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.consent.name_screen.screen import NameScreen
    from studio.generation.releasing.staging import Workspace
    from studio.music.composer.notation.score import Score
    from studio.music.models.config import ModelConfig
    from studio.music.models.generator import MusicGenerator
    from studio.music.models.house.played import Played
    from studio.provenance.credentials.claims import Claim
    from studio.provenance.credentials.signing import Credentials
    from studio.provenance.keys import KeyRing
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.sealer import Sealer
    from watermark.coding.message import SealId, SealKey

__all__ = ["GenerationRequest", "OnProgress", "Pipeline", "Progress", "Release", "Stage"]

_TERRITORY = re.compile(TERRITORY_PATTERN)


class Pipeline:
    """Runs requests; safe to call from several threads.

    ``policy`` and ``vocabulary`` are functions because consent can change between two requests and
    within one. ``consent_unmoved`` is called in the transaction that records a release, with the
    version of consent that was decided by, and raises
    :class:`~studio.consent.storage.repository.ConsentMovedError` where consent has changed since.
    """

    def __init__(
        self,
        *,
        config: StudioConfig,
        paths: StudioPaths,
        vocabulary: Callable[[], Vocabulary],
        policy: Callable[[], ConsentPolicy],
        models: Mapping[str, ModelConfig],
        generator: Callable[[str], MusicGenerator],
        sealer: Callable[[], Sealer],
        credentials: Callable[[], Credentials],
        ledger: Ledger,
        keys: KeyRing,
        names: Callable[[], NameScreen],
        consent_unmoved: Callable[[Connection, int], None],
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._config = config
        self._paths = paths
        self._vocabulary = vocabulary
        self._policy = policy
        self._models = models
        self._generator = generator
        self._ledger = ledger
        self._keys = keys
        self._clock = clock or (lambda: datetime.now(UTC))
        self._names = names
        self._consent_unmoved = consent_unmoved
        self._decisions = Decisions(policy=policy, ledger=ledger, clock=self._clock)
        self._sealing = FileSealing(
            config=config, sealer=sealer, credentials=credentials, ledger=ledger
        )
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(MOST_TAKES)
        self._workspace: Workspace | None = None

    def generate(
        self,
        request: GenerationRequest,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        reserved: Callable[[str], None] | None = None,
        derivation: Derivation | None = None,
        permit: Callable[[Connection, str], None] | None = None,
        preview: Preview | None = None,
    ) -> Release:
        """Carry one request out. On any exception nothing was released; see the module.

        ``derivation`` comes with a request that names a parent, and with no other.
        ``reserved`` is called with the output's id before any music is made: what it writes (whose
        the output will be) is there whenever the output is. ``permit`` is called in the transaction
        that records the release, with the output's id, and raises where there must be none.
        ``preview`` is fed, sealed, while the music is made.
        """
        run = Run(progress or (lambda _: None), cancel or threading.Event(), preview)
        self.check(request)
        if request.parent != (None if derivation is None else derivation.parent.output_id):
            raise UsageError("a parent is named by varying or extending it, and in no other way")
        if request.seed is None:
            request = replace(request, seed=secrets.randbelow(MOST_SEED + 1))
        request = self._with_genre(request)
        tags = self._vocabulary().parse(request.tags)

        run.enter(Stage.CONSENT, "Asking the rights holders' grants")
        decision = self._decisions.decide(request, derivation, stage=Stage.CONSENT)

        self._generator(request.model).require()  # without what plays it, no id is used up
        with self._room_to_make(run):
            return self._made(request, tags, decision, run, derivation, reserved, permit)

    def _made(
        self,
        request: GenerationRequest,
        tags: tuple[Tag, ...],
        decision: Decision,
        run: Run,
        derivation: Derivation | None,
        reserved: Callable[[str], None] | None,
        permit: Callable[[Connection, str], None] | None,
    ) -> Release:
        """What follows the decision: reserve, generate, seal, read back, release."""
        run.enter(Stage.RESERVE, "Reserving a seal id")
        seal_id, key = self._reserve()
        if reserved is not None:
            reserved(seal_id.hex)

        run.enter(Stage.GENERATE, "Loading the model")
        with run.previewed(lambda music: self._sealing.seal_stream(music, seal_id, key)):
            made = self._compose(request, tags, decision, run, derivation)
        try:
            texts = self._texts(request, made.model, decision, seal_id)
            sealed = self._sealing.seal_readably(
                made.waveform, request.format, texts, seal_id, key, run
            )
        except SealingError as exc:
            self._ledger.append(
                "refusal",
                {
                    "stage": str(Stage.SEAL),
                    "request": request.to_ledger(),
                    "seal_id": seal_id.hex,
                    "why": str(exc),
                },
            )
            raise

        run.enter(Stage.RELEASE, "Recording and releasing")
        release = self._release(request, decision, sealed, made, derivation, seal_id, permit)
        run.enter(Stage.DONE, "Released", can_cancel=False)
        return release

    @contextmanager
    def _room_to_make(self, run: Run) -> Iterator[None]:
        """Wait until fewer than :data:`MOST_TAKES` pieces are being made: each takes memory."""
        while not self._room.acquire(timeout=0.1):
            run.check()
        try:
            yield
        finally:
            self._room.release()

    def check(self, request: GenerationRequest) -> tuple[Tag, ...]:
        """The request's tags, if it is one at all. Free text never gets as far as the ledger.

        Raises :class:`UsageError` and :class:`NameRefusedError`.
        """
        limits = self._config.generation
        if not request.tags:
            raise UsageError("a request names at least one tag; `studio tags` lists them")
        tags = self._vocabulary().parse(request.tags)
        for kind in KINDS:
            if sum(tag.kind == kind for tag in tags) > 1:
                raise UsageError(f"a request names at most one {kind} tag")
        if not (
            math.isfinite(request.duration_s)
            and limits.min_duration_s <= request.duration_s <= limits.max_duration_s
        ):
            raise UsageError(
                f"the duration must lie between {limits.min_duration_s:g} s (a shorter one "
                f"cannot be told by its seal) and {limits.max_duration_s:g} s, "
                f"not {request.duration_s:g}"
            )
        if request.seed is not None and not 0 <= request.seed <= MOST_SEED:
            raise UsageError(f"the seed must lie between 0 and {MOST_SEED}")
        if request.guidance is not None and not 1.0 <= request.guidance <= 10.0:
            raise UsageError("the guidance must lie between 1 and 10")
        if request.use not in GENERATION_USES:
            uses = ", ".join(GENERATION_USES)
            raise UsageError(f"the use must be one of {uses}, not {request.use!r}")
        if not _TERRITORY.match(request.territory):
            raise UsageError(
                "the territory must be WORLD, a two-letter ISO code, EU or the number of a region, "
                f"not {request.territory!r}"
            )
        if request.format not in FORMATS:
            raise UsageError(f"format {request.format!r} is not one of {', '.join(FORMATS)}")
        if request.model not in self._models:
            known = ", ".join(self._models)
            raise UsageError(f"unknown model {request.model!r}; there are: {known}")
        check_human(request.human)
        self._check_typed(request)
        self._check_sheet(request)
        return tags

    # -- stages -------------------------------------------------------------------------------

    def _check_typed(self, request: GenerationRequest) -> None:
        """The only texts a person may type carry no artist's name; none of them makes music."""
        typed = {"title": request.title, "note": request.note}
        for what, text in typed.items():
            if text is None:
                continue
            if not text.strip():
                raise UsageError(f"the {what} is empty; leave it out")
            self._names().check(text, what=what)

    def _check_sheet(self, request: GenerationRequest) -> None:
        if request.sheet is None:
            return
        if not performs_scores(self._models[request.model]):
            raise UsageError(f"model {request.model!r} plays from tags; it takes no lead sheet")
        check_sheet(request.sheet, request.tags, request.seed or 0, request.duration_s)

    def _with_genre(self, request: GenerationRequest) -> GenerationRequest:
        """The request with a genre, which every score has: drawn among those permitted for it.

        So that consent is asked for, and credited, for the genre that is heard. Raises
        :class:`UsageError` where no genre is permitted.
        """
        config = self._models[request.model]
        if any(tag.startswith("genre/") for tag in request.tags) or not performs_scores(config):
            return request
        assert request.seed is not None
        policy, vocabulary = self._policy(), self._vocabulary()
        known = describe(config).tags or frozenset()

        def allowed(tag: str) -> bool:
            return policy.decide(
                [tag],
                use=request.use,
                territory=request.territory,
                model=request.model,
                at=policy.registry.present(self._clock()),
            ).allowed

        genres = [tag for tag in vocabulary if tag.startswith("genre/") and tag in known]
        genre = genre_for(request.seed, genres, allowed)
        if genre is None:
            raise UsageError(
                "no genre is permitted for this use at present; nothing can be composed"
            )
        return replace(request, tags=(genre, *request.tags))

    def _reserve(self) -> tuple[SealId, SealKey]:
        from watermark.coding.message import SealId

        key = self._keys.current
        seal_id = SealId.random()
        self._ledger.reserve(seal_id.hex, key.epoch)
        return seal_id, key

    def _compose(
        self,
        request: GenerationRequest,
        tags: tuple[Tag, ...],
        decision: Decision,
        run: Run,
        derivation: Derivation | None = None,
    ) -> Composed:
        """The music, by permission of ``decision`` only; what made it; what it was played from."""
        require_permission(decision, tags, model=request.model)  # before a model is even loaded
        assert request.seed is not None
        generator = self._generator(request.model)
        score, seed = self._score(request, derivation)
        run.check()
        played: list[Played] = []
        waveform = generate_with_decision(
            decision,
            generator,
            tags,
            model=request.model,
            duration_s=request.duration_s,
            seed=seed,
            guidance=request.guidance,
            prompt=None if derivation is None else derivation.prompt,
            score=score,
            progress=run.generated,
            cancel=run.cancel,
            on_window=None if run.preview is None else run.preview.hear,
            given=given_to(derivation, score, generator),
            on_played=played.append,
        )
        kept = played[0] if played else None
        info = generator.info
        record = {
            "id": info.id,
            "title": info.title,
            "digest": info.digest,
            "licence": info.licence,
            **({} if info.precision is None else {"precision": info.precision}),
            **({} if score is None else score_record(score, seed, kept)),
        }
        return Composed(waveform, record, score, kept)

    def _score(
        self, request: GenerationRequest, derivation: Derivation | None
    ) -> tuple[Score | None, int]:
        """What the house model performs, and the seed of the performance.

        A variation may take its parent's score, or a part of it; an extension plays on from it, as
        its parent was performed. A hub model has no score.
        """
        assert request.seed is not None
        if not performs_scores(self._models[request.model]):
            return None, request.seed
        from studio.music.composer.arrange import compose_score
        from studio.music.composer.continuation import continued

        parent = None if derivation is None else derivation.score
        if derivation is None or parent is None:
            length, seed = request.duration_s, request.seed
            sheet = request.sheet
            fixed = None if sheet is None else check_sheet(sheet, request.tags, seed, length)
            try:
                return compose_score(request.tags, seed, length, fixed), seed
            except ConfigError as exc:
                raise UsageError(f"the lead sheet: {exc}") from exc
        performed = int(derivation.parent.model["performance_seed"])
        if derivation.relation == "extend":
            return continued(parent, request.duration_s, request.seed), performed
        score = varied(parent, derivation.wish, request.tags, request.seed)
        return score, performed if derivation.wish.as_performed else request.seed

    def _texts(
        self,
        request: GenerationRequest,
        model: Mapping[str, Any],
        decision: Decision,
        seal_id: SealId,
    ) -> FileTexts:
        """Title, credits and signed claim of the output."""
        basis = self._models[request.model].training_basis.strip()
        parent = None if request.parent is None else self._ledger.release(request.parent)

        def claim() -> Claim:
            return claim_of(
                request,
                decision,
                model={**model, "training_basis": basis},
                seal_id=seal_id.hex,
                made_at=self._clock(),
                parent=parent,
            )

        title = request.title or title_of(request.tags, seal_id.hex)
        return FileTexts(title, credits_of(decision, model), claim)

    def _release(
        self,
        request: GenerationRequest,
        signed: Decision,
        sealed: SealedFile,
        made: Composed,
        derivation: Derivation | None,
        seal_id: SealId,
        permit: Callable[[Connection, str], None] | None,
    ) -> Release:
        from studio.provenance.credentials.repository import ManifestStore

        def also(decision: Decision, connection: Connection) -> None:
            if permit is not None:
                permit(connection, seal_id.hex)
            self._consent_unmoved(connection, decision.consent_entry)
            ManifestStore.keep(connection, seal_id.hex, sealed.signed)
            if derivation is not None:
                write_parent(connection, seal_id.hex, derivation)
            if made.score is not None:
                ScoreStore.keep(connection, seal_id.hex, made.score, made.played)

        title: str | Personal = title_of(request.tags, seal_id.hex)
        if request.title is not None:  # typed by a person, and so erasable
            title = Personal(request.title)
        beside: dict[str, Any] = {}
        if derivation is not None:
            beside["lineage"] = derivation.record()
        if request.note is not None:
            beside["note"] = Personal(request.note)
        if request.sheet is not None:
            beside["sheet"] = Personal(request.sheet)
        workspace = self._own_workspace()
        path = workspace.write(f"{seal_id.hex}.{request.format}", sealed.content)
        try:
            while True:
                decision = self._decisions.decide(request, derivation, stage=Stage.RELEASE)
                self._decisions.require_same_grants(request, signed, decision)
                # Decided again if consent changes between the decision and the commit.
                with suppress(ConsentMovedError):
                    self._ledger.append_release(
                        {
                            "request": request.to_ledger(),
                            "decision": decision.to_json(),
                            "model": made.model,
                            "seal": sealed.seal,
                            "audio": sealed.audio,
                            "file": sealed.file,
                            "c2pa": sealed.c2pa,
                            "title": title,
                            "credits": list(credits_of(decision, made.model)),
                            **beside,
                        },
                        file_name=path.name,
                        fingerprint=sealed.fingerprint.to_bytes(),
                        also=partial(also, decision),
                    )
                    break
        except BaseException:
            # An interrupt may arrive just after the commit: a file with an entry is kept, for
            # recover() to release; so is one of which we cannot learn whether it has an entry.
            if self._surely_unrecorded(seal_id.hex):
                workspace.discard(path)
            raise
        workspace.release(path)
        release = self._ledger.release(OutputId(seal_id.hex))
        assert release is not None  # it was just committed
        return release

    # -- helpers ------------------------------------------------------------------------------

    def _surely_unrecorded(self, output_id: str) -> bool:
        try:
            return self._ledger.release(output_id) is None
        except StudioError:
            return False

    def _own_workspace(self) -> Workspace:
        from studio.generation.releasing.staging import Workspace

        with self._lock:
            if self._workspace is None:
                self._workspace = Workspace(self._paths)
            return self._workspace

    def close(self) -> None:
        """Give the work folder back."""
        with self._lock:
            if self._workspace is not None:
                self._workspace.close()
                self._workspace = None
