"""The studio as one object: what the page, the REST layer and the command line call.

:func:`open_studio` reads the configuration and nothing else. Models, keys, ledger and consent are
opened when they are first needed, once, and may be used from several threads.

>>> studio = open_studio()
>>> studio.vocabulary()["genre/bossa-nova"].kind
'genre'
>>> [(status.tag.id, status.reason) for status in studio.tag_status() if not status.granted]
[('genre/choral', 'no-grant')]
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from studio.accounts.permissions import Permission
from studio.consent import ConsentPolicy, ConsentRegistry, Decision, TagDecision
from studio.consent.administration import (
    AffectedOutput,
    Distribution,
    GrantStatus,
    HolderStatus,
    ImportReport,
    Registrar,
    RevocationPreview,
    ShippedFile,
    admit_shipped,
    shipped_files,
)
from studio.consent.types import format_instant
from studio.core.config import FORMATS, OutputFormat, StudioConfig, load_config
from studio.core.errors import (
    AccessDeniedError,
    ConsentRefusedError,
    ModelError,
    OutputGoneError,
    ParentRefusedError,
    UsageError,
)
from studio.core.home import locked
from studio.core.paths import StudioPaths, resolve_paths, shipped_configs
from studio.core.tags import Tag, Vocabulary
from studio.generation.lineage import FamilyTree, Lineage
from studio.generation.pipeline import (
    GenerationRequest,
    OnProgress,
    Pipeline,
    Progress,
    Release,
    Stage,
)
from studio.generation.quota import LOCAL_ACCOUNT, Quotas, Usage
from studio.generation.repeats import identical, same_music
from studio.generation.takes import Take, make_takes, take_requests
from studio.verification.verifier import Verdict, Verifier, VerifyReport

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.accounts import Accounts
    from studio.accounts.permissions import Actor
    from studio.accounts.security_log import SecurityLog
    from studio.consent.administration.restoration import Restoration
    from studio.consent.name_screen.screen import NameScreen
    from studio.core.db.database import Database
    from studio.generation.derivation import Derivation, Keep
    from studio.generation.renditions import RenditionMaker, ScoreFile, Stems
    from studio.generation.staging import RecoveryReport
    from studio.music.composer.score import Score
    from studio.music.models.config import ModelConfig
    from studio.music.models.generator import MusicGenerator
    from studio.provenance.credentials.inspector import CredentialFinding
    from studio.provenance.credentials.signing import Credentials
    from studio.provenance.keys import KeyRing, Purpose
    from studio.provenance.ledger.checkpointer import Notary
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.ledger.proof_bundle import ProvenEntry
    from studio.provenance.output_index import Registry
    from studio.provenance.publication import Publications
    from studio.provenance.sealer import Sealer
    from studio.provenance.trusted_ledger import Custody
    from studio.reports.statements.rates import Rates
    from studio.reports.statements.statement import Period, Reconciliation, Statement
    from studio.verification.suspect import Recording
    from watermark.audio.waveform import DecodeLimits

__all__ = [
    "GenerationRequest",
    "Progress",
    "Release",
    "Stage",
    "Studio",
    "TagStatus",
    "Take",
    "Verdict",
    "VerifyReport",
    "open_studio",
]

_LOOKED_BACK = 300  # latest outputs among which a request is looked for


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TagStatus:
    """What a person sees beside a tag before asking for music with it."""

    tag: Tag
    granted: bool
    holders: tuple[str, ...]  # names of those whose grants cover it
    grants: tuple[str, ...]  # ids of the grants that cover it
    valid_until: datetime | None  # end of the grant that would be relied on; None: until revoked
    reason: str | None  # a studio.consent.Reason, or None where granted
    explanation: str  # one line of plain words
    known_to_model: bool  # the model was trained on the tag, or takes any phrase
    considered: tuple[str, ...]  # one line per grant that names the tag, covering or not


class Studio:
    """Facade over consent, generation, ledger and verification. Made by :func:`open_studio`."""

    def __init__(self, paths: StudioPaths, config: StudioConfig) -> None:
        self.paths = paths
        self.config = config
        self._lock = threading.RLock()
        self._screened: tuple[object, NameScreen, Mapping[str, frozenset[str]]] | None = None

    # -- what there is ------------------------------------------------------------------------

    def vocabulary(self) -> Vocabulary:
        """The style tags there are, as rights holders signed them."""
        return self.registrar().vocabulary()

    def models(self) -> Mapping[str, ModelConfig]:
        """Every configured generation model by id; nothing is loaded."""
        return self._models

    def performs_scores(self, model: str) -> bool:
        """Whether a model plays a composed score; False for one that is not configured."""
        from studio.music.models.config import performs_scores

        return model in self._models and performs_scores(self._models[model])

    def consent(self) -> ConsentRegistry:
        """The consent registry as it is now, whichever process changed it last."""
        return self.registrar().registry()

    def policy(self) -> ConsentPolicy:
        """The policy over the registry as it is now."""
        restoration = self.restoration()
        return ConsentPolicy(
            self.consent(),
            closed=None if restoration is None else restoration.text(),
            known_tags=self.vocabulary(),
            model_uses={model.id: model.licence_uses for model in self.models().values()},
            named_tags=self._names()[1],
        )

    def decide(
        self,
        tags: Sequence[str],
        *,
        use: str | None = None,
        territory: str | None = None,
        model: str | None = None,
        at: datetime | None = None,
    ) -> Decision:
        """The consent decision a request would get (now, unless ``at`` says otherwise)."""
        defaults = self.config.generation
        return self.policy().decide(
            tags,
            use=use or defaults.use,
            territory=territory or defaults.territory,
            model=model or defaults.model,
            at=at or self.consent().present(datetime.now(UTC)),
        )

    def tag_status(
        self,
        model: str | None = None,
        use: str | None = None,
        territory: str | None = None,
    ) -> list[TagStatus]:
        """Every tag of the vocabulary, in its order, with its consent for this use."""
        model = model or self.config.generation.model
        decision = self.decide(list(self.vocabulary()), use=use, territory=territory, model=model)
        known = self._known_tags(model)
        return [
            _tag_status(self.vocabulary()[answer.tag], answer, known is None or answer.tag in known)
            for answer in decision.tags
        ]

    def _known_tags(self, model: str) -> Collection[str] | None:
        """Tags the model was trained on; None: it takes any. Empty where it cannot be used."""
        from studio.music.models.config import describe

        config = self.models().get(model)
        if config is None:
            return ()
        try:
            return describe(config).tags
        except ModelError:
            return ()

    def name_screen(self) -> NameScreen:
        """What looks for artists' names in typed texts, over the lists as they are now."""
        return self._names()[0]

    def _names(self) -> tuple[NameScreen, Mapping[str, frozenset[str]]]:
        """The screen, and whose name each tag that spells one is; made anew after a change."""
        from studio.consent.name_screen.screen import load_screen

        consent, folder = self.consent(), self.paths.configs / "names"
        state = (consent.version, *((p.name, p.stat().st_mtime_ns) for p in folder.glob("*.txt")))
        known = self._screened
        if known is None or known[0] != state:
            holders, vocabulary = consent.holders.values(), self.vocabulary()
            screen = load_screen(folder, holders, vocabulary)
            known = self._screened = state, screen, screen.named_tags(vocabulary, holders)
        return known[1], known[2]

    # -- consent ------------------------------------------------------------------------------

    def holders(self) -> tuple[HolderStatus, ...]:
        """Every rights holder, with its key and how many of its grants are live."""
        return self.registrar().holders()

    def grants(self) -> tuple[GrantStatus, ...]:
        """Every grant, with its state and what was made under it."""
        return self.registrar().grants()

    def site_id(self) -> str:
        """The id by which rights holders address this studio in what they sign."""
        return self.registrar().site()

    def import_consent(self, data: bytes) -> ImportReport:
        """Record the signed documents of a file; of each that is not believed the reason.

        A revocation takes effect with this call. Raises :class:`ConsentFileError` where it is no
        such file at all.
        """
        return self._noted(self.registrar().import_file(data))

    def admit_holder(self, data: bytes, fingerprint: str) -> ImportReport:
        """Make a rights holder known, whose key's fingerprint was compared by another way."""
        return self._noted(self.registrar().admit(data, fingerprint))

    def shipped_consent(self) -> tuple[ShippedFile, ...]:
        """The signed files that come with this version, and what of them is not recorded here."""
        return shipped_files(self.registrar(), self._shipped_folders())

    def admit_shipped(self, holder: str, fingerprint: str) -> ImportReport:
        """Take in what ``holder`` signed for this version, after comparing the fingerprint."""
        folders = self._shipped_folders()
        return self._noted(admit_shipped(self.registrar(), folders, holder, fingerprint))

    def _shipped_folders(self) -> tuple[Path, ...]:
        """The site's own configuration first: it may be an older copy of the one that ships."""
        folders = (self.paths.configs, shipped_configs())
        return tuple(folder / "consent" / "signed" for folder in folders)

    def override_holder_key(self, data: bytes, fingerprint: str, *, lost: bool) -> ImportReport:
        """Replace a holder's key that is ``lost``, or in other hands; recorded as an override."""
        return self._noted(self.registrar().override_key(data, fingerprint, lost=lost))

    def _noted(self, report: ImportReport) -> ImportReport:
        """Documents that were not believed are security events; the others are by their entry."""
        for document in report.documents:
            if document.refusal is not None:
                self.security_log().record(
                    "consent-import",
                    outcome="refused",
                    subject=f"{document.kind} {document.digest}",
                    detail=document.refusal,
                )
        return report

    def restoration(self) -> Restoration | None:
        """The restore from a backup that keeps consent closed; None: it is open."""
        return self.registrar().restoration()

    def confirm_restore(self) -> int:
        """Say that no revocation since the backup is missing, which opens consent again.

        Returns the index of the ledger entry. Raises :class:`UsageError` where it is open.
        """
        return self.registrar().confirm_restore()

    def repair_clock(self) -> Mapping[str, Any]:
        """Have entries dated ahead of the clock count as of the one before them; the repair's body.

        Raises :class:`UsageError` where no entry is.
        """
        return self.registrar().repair_clock()

    def export_consent(self, holder: str | None = None) -> bytes:
        """Every signed document, or those of one holder, as a file."""
        content = self.registrar().export(holder)
        self.security_log().record("export", subject=f"consent of {holder or 'all holders'}")
        return content

    def preview_revocation(self, grant_id: str) -> RevocationPreview:
        """What a revocation would do, if it came now. Raises :class:`UsageError`."""
        return self.registrar().preview(grant_id, self.policy())

    def affected_outputs(self, grant_id: str) -> tuple[AffectedOutput, ...]:
        """The outputs that rest on the grant, oldest first. Raises :class:`UsageError`."""
        return self.registrar().affected(grant_id)

    def distribution(self, output_id: str) -> Distribution:
        """Whether an output may be handed out, or a revocation stops it."""
        return self.registrar().distribution(output_id)

    # -- making -------------------------------------------------------------------------------

    def request(
        self,
        tags: Sequence[str],
        *,
        duration_s: float | None = None,
        seed: int | None = None,
        guidance: float | None = None,
        use: str | None = None,
        territory: str | None = None,
        model: str | None = None,
        format: str | None = None,
        title: str | None = None,
        note: str | None = None,
        sheet: str | None = None,
        human: Sequence[str] = (),
    ) -> GenerationRequest:
        """A request with the configured defaults filled in. Raises :class:`UsageError`.

        Without a duration the piece is as long as the form that the lead sheet `sheet` fixes.
        Whoever fixes chords or a melody contributes to the composition.
        """
        from studio.generation.scores import length_of_sheet, sheet_contributes

        defaults = self.config.generation
        sheet = sheet if sheet and sheet.strip() else None
        if sheet is not None:
            if duration_s is None:
                duration_s = length_of_sheet(sheet, tags, seed or 0)
            if "composition" not in human and sheet_contributes(sheet):
                human = (*human, "composition")
        chosen = next((known for known in FORMATS if known == (format or defaults.format)), None)
        if chosen is None:
            raise UsageError(f"format {format!r} is not one of {', '.join(FORMATS)}")
        return GenerationRequest(
            tags=tuple(tags),
            duration_s=defaults.duration_s if duration_s is None else duration_s,
            seed=seed,
            guidance=guidance,
            use=use or defaults.use,
            territory=territory or defaults.territory,
            model=model or defaults.model,
            format=chosen,
            title=title,
            note=note,
            sheet=sheet,
            human=tuple(human),
        )

    def generate(
        self,
        request: GenerationRequest,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        account: str | None = None,
    ) -> Release:
        """Make, seal, record and release one output; see :mod:`studio.generation.pipeline`.

        Raises :class:`UsageError`, :class:`UnknownTagError`, :class:`ConsentRefusedError`,
        :class:`ModelError`, :class:`SealingError`, :class:`LedgerError`, and
        :class:`GenerationCancelledError` once ``cancel`` is set. In every such case nothing was
        released. ``progress`` is called from the calling thread. ``account`` will own the output.
        Typed texts with artists' names raise :class:`NameRefusedError`, and an account that has had
        its share :class:`QuotaExceededError`.
        """
        return self._make(request, None, progress, cancel, account)

    def generate_takes(
        self,
        request: GenerationRequest,
        count: int,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        account: str | None = None,
    ) -> tuple[Take, ...]:
        """Make ``count`` outputs (1 to 4) of one request, with the seeds that follow its own.

        Their music is made together; each is what :meth:`generate` makes with its seed, and
        counts as a request. Where a take fails the others are released all the same, and it says
        why. Raises as :meth:`generate` does where none was released.
        """
        requests = take_requests(request, count)
        self._pipeline.check(request)
        decision = self.decide(
            request.tags, use=request.use, territory=request.territory, model=request.model
        )
        if not decision.allowed:  # one refusal goes on record, not one of each take
            requests = requests[:1]
        return make_takes(
            requests,
            lambda one, report, stop: self._make(one, None, report, stop, account),
            progress=progress,
            cancel=cancel,
        )

    def vary(
        self,
        source: str | Path | bytes,
        *,
        tags: Sequence[str] | None = None,
        seed: int | None = None,
        changes: Mapping[str, Any] | None = None,
        keep: Keep | None = None,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        account: str | None = None,
    ) -> Release:
        """Make a variation of one of this studio's outputs: an output id, or a file that carries
        its seal. ``changes`` replaces fields of the parent's request; the seed is drawn anew.
        ``keep="notes"`` performs the parent's own score anew.

        Raises as :meth:`generate` does, and :class:`ParentRefusedError`.
        """
        parent = self._parent(source, account)
        request, derivation = self._lineage.vary(
            parent, tags=tags, seed=seed, changes=changes, keep=keep
        )
        return self._make(request, derivation, progress, cancel, account)

    def extend(
        self,
        source: str | Path | bytes,
        seconds: float,
        *,
        seed: int | None = None,
        changes: Mapping[str, Any] | None = None,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        account: str | None = None,
    ) -> Release:
        """Make one of this studio's outputs go on for ``seconds`` more; as :meth:`vary`."""
        parent = self._parent(source, account)
        request, derivation = self._lineage.extend(parent, seconds, seed=seed, changes=changes)
        return self._make(request, derivation, progress, cancel, account)

    def check_request(self, request: GenerationRequest) -> None:
        """Refuse at once what can never be made; consent is asked when it is made.

        Raises :class:`UsageError`, :class:`UnknownTagError` and :class:`NameRefusedError`.
        """
        self._pipeline.check(request)

    def check_variation(
        self,
        source: str | Path | bytes,
        *,
        tags: Sequence[str] | None = None,
        seed: int | None = None,
        changes: Mapping[str, Any] | None = None,
        keep: Keep | None = None,
        account: str | None = None,
    ) -> None:
        """As :meth:`check_request`, of a variation."""
        parent = self._parent(source, account)
        request, _ = self._lineage.vary(parent, tags=tags, seed=seed, changes=changes, keep=keep)
        self._pipeline.check(request)

    def check_extension(
        self,
        source: str | Path | bytes,
        seconds: float,
        *,
        seed: int | None = None,
        changes: Mapping[str, Any] | None = None,
        account: str | None = None,
    ) -> None:
        """As :meth:`check_request`, of an extension."""
        parent = self._parent(source, account)
        request, _ = self._lineage.extend(parent, seconds, seed=seed, changes=changes)
        self._pipeline.check(request)

    def _parent(self, source: str | Path | bytes, account: str | None) -> Release:
        """Whoever has a file may go on from it; by its id alone, only what one made oneself."""
        parent = self._lineage.parent_of(source)
        by_id = source == parent.output_id
        owner = self.accounts().owner_of(parent.output_id) if account is not None else None
        if by_id and owner != account:
            raise ParentRefusedError("there is no such output among yours; give its file instead")
        return parent

    def _make(
        self,
        request: GenerationRequest,
        derivation: Derivation | None,
        progress: OnProgress | None,
        cancel: threading.Event | None,
        account: str | None,
    ) -> Release:
        """The one way to the pipeline: within the quota, and looked at for near-duplicates."""
        self._pipeline.check(request)

        def repeats() -> bool:
            mine = self.outputs(_LOOKED_BACK, account=account)
            return any(same_music(earlier.request, request) for earlier in mine)

        with self._quotas.place(
            account or LOCAL_ACCOUNT, request.duration_s, repeats=repeats
        ) as place:
            release = self._pipeline.generate(
                request,
                progress=progress,
                cancel=cancel,
                reserved=self._owned_by(account),
                derivation=derivation,
                permit=self._still_permitted(account),
            )
            place.output_id = release.output_id
        besides = () if derivation is None else [f.output_id for f in derivation.forebears]
        self._quotas.look_for_alike(
            account or LOCAL_ACCOUNT,
            release.output_id,
            self._registry,
            besides=besides,
            excused=lambda other: self._is_other_format(other, release.request),
        )
        return release

    def _is_other_format(self, output_id: str, request: GenerationRequest) -> bool:
        """Whether that output is the same music, written in another file format."""
        other = self.ledger().release(output_id)
        return (
            other is not None
            and other.request.format != request.format
            and same_music(other.request, request)
        )

    def existing(self, request: GenerationRequest, *, account: str | None = None) -> Release | None:
        """What ``account`` has made by the very same request, if it may still be handed out.

        A request without a seed has none: its seed is drawn.
        """
        decision = self.decide(
            request.tags, use=request.use, territory=request.territory, model=request.model
        )
        if not decision.allowed:
            return None
        for earlier in self.outputs(_LOOKED_BACK, account=account):
            if identical(earlier.request, request) and self._is_current(earlier):
                return earlier
        return None

    def _is_current(self, release: Release) -> bool:
        """Whether an output can be had and its model would play it again just so."""
        info = self.generator(release.request.model).info
        for name, now in (("digest", info.digest), ("precision", info.precision)):
            if now and release.model.get(name) not in (None, now):
                return False
        try:
            self.registrar().require_distribution(release.output_id)
            self._file_of(release)
        except (UsageError, ConsentRefusedError):  # gone, or withdrawn
            return False
        return True

    def repeats_today(self, *, account: str | None = None) -> tuple[int, int]:
        """Near-duplicates of earlier outputs that ``account`` made today, and how many it may."""
        limit = self.config.quotas.near_duplicates_per_day
        return self._quotas.near_duplicates(account or LOCAL_ACCOUNT), limit

    def _owned_by(self, account: str | None) -> Callable[[str], None] | None:
        """Writes down whose a reserved output will be; the local owner's need no owner."""
        if account is None:
            return None
        return lambda output_id: self.accounts().own(output_id, account)

    def stems(
        self,
        output_id: str,
        *,
        format: OutputFormat | None = None,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        account: str | None = None,
    ) -> Stems:
        """The four stems of an output, performed again and recorded; counts as a request.

        See :mod:`studio.generation.renditions`. Raises as :meth:`generate` does, and
        :class:`UsageError` where the output has no score or its model has other weights now.
        """
        release = self.release(output_id)
        with self._quotas.place(
            account or LOCAL_ACCOUNT, release.duration_s, repeats=lambda: False
        ) as place:
            made = self._renditions.stems(
                release,
                format=format,
                progress=progress,
                cancel=cancel,
                permit=self._still_permitted(account),
            )
            place.output_id = release.output_id
        self.security_log().record("download", subject=release.output_id, detail="stems")
        return made

    def score(self, output_id: str) -> Score:
        """What an output was performed from. Raises :class:`UsageError` where it has no score."""
        return self._renditions.score(self.release(output_id))

    def score_file(self, output_id: str) -> ScoreFile:
        """The score of an output as a MIDI file, recorded; raises as :meth:`score` does."""
        made = self._renditions.score_file(self.release(output_id))
        self.security_log().record("download", subject=output_id, detail="score")
        return made

    def _still_permitted(self, account: str | None) -> Callable[[Connection], None] | None:
        """Refuses the release where the account was disabled, or got another role, meanwhile."""
        if account is None:
            return None
        accounts, right = self.accounts(), Permission.GENERATE
        if not accounts.may(account, right):  # it may have stood in line
            raise AccessDeniedError("the account may not do this any more")
        return lambda connection: accounts.require(connection, account, right)

    # -- looking up ---------------------------------------------------------------------------

    def release(self, output_id: str) -> Release:
        """The release of that id. Raises :class:`UsageError` where there is none."""
        found = self.ledger().release(output_id)
        if found is None:
            raise UsageError(f"no output {output_id!r} in the ledger")
        return found

    def recent(self, limit: int = 20) -> list[Release]:
        """The latest releases, newest first."""
        return self.ledger().releases(newest_first=True, limit=limit)

    def outputs(self, limit: int = 50, *, account: str | None = None) -> list[Release]:
        """What ``account`` has made, newest first; None, the local owner, made everything."""
        if account is None:
            return self.recent(limit)
        reserved = self.accounts().outputs_of(account)
        released = (self.ledger().release(output_id) for output_id in reserved)
        return list(islice((release for release in released if release is not None), limit))

    def audio_file(self, output_id: str) -> Path:
        """The file that is handed out for an output, here and nowhere else.

        Raises :class:`UsageError` where there is no such output, :class:`OutputGoneError` where its
        file is not a regular file in the folder of released outputs, and
        :class:`OutputWithdrawnError` where a revocation stops its distribution.
        """
        self.registrar().require_distribution(output_id)
        return self._download_of(self.release(output_id))

    def _download_of(self, release: Release) -> Path:
        path = self._file_of(release)
        self.security_log().record("download", subject=release.output_id)
        return path

    def _file_of(self, release: Release) -> Path:
        """Wherever the ledger says it is: it is handed out from the folder of outputs only."""
        path = release.path.resolve()
        if not path.is_relative_to(self.paths.outputs.resolve()) or not path.is_file():
            raise OutputGoneError("this output is no longer on this machine; its record remains")
        return path

    def lineage(self, output_id: str) -> FamilyTree:
        """Where an output comes from, and what was made from it. Raises :class:`UsageError`."""
        return self._lineage.family(self.release(output_id))

    def disclosure(self, output_id: str) -> Mapping[str, Any]:
        """What a platform asks about an output: AI and human contributions, consent, proof."""
        from studio.reports.disclosure import disclosure_of

        names = {holder.id: holder.name for holder in self.consent().holders.values()}
        return disclosure_of(self.release(output_id), names)

    # -- what the public is told --------------------------------------------------------------

    def publish(self, output_id: str, *, public: bool = True) -> None:
        """Let the public detector tell the title and credits of an output, or no longer.

        Raises :class:`UsageError` where there is no such output.
        """
        self._publications.change(self.release(output_id).output_id, public=public)

    def is_public(self, output_id: str) -> bool:
        """Whether the public detector tells the title and credits of an output.

        It does so of a published output whose distribution no revocation stops.
        """
        return (
            self._publications.is_public(output_id)
            and self.registrar().distribution(output_id).open
        )

    # -- figures ------------------------------------------------------------------------------

    def statement(self, holder: str, period: Period, *, as_of: int | None = None) -> Statement:
        """What was made under a holder's grants; see :mod:`studio.reports.statements.statement`.

        Raises :class:`UsageError` for a holder nobody knows.
        """
        from studio.reports.statements.statement import statement

        known = self.consent().holders.get(holder)
        if known is None:
            raise UsageError(f"no rights holder {holder!r} in the registry")
        return statement(
            self.ledger(), self._rates(), holder, period, holder_name=known.name, as_of=as_of
        )

    def reconcile(self, period: Period, *, as_of: int | None = None) -> Reconciliation:
        """The statements of all holders added up, against the ledger's own entries."""
        from studio.reports.statements.statement import reconcile

        return reconcile(self.ledger(), self._rates(), period, as_of=as_of)

    def usage(self, day: datetime | None = None) -> Usage:
        """What every account has had on a day (UTC; today if left out), and the limits."""
        return self._quotas.usage(day)

    def _rates(self) -> Rates:
        from studio.reports.statements.rates import load_rates

        return load_rates(self.paths.configs / "rates")

    # -- the desk -----------------------------------------------------------------------------

    def verify(
        self,
        source: str | Path | bytes,
        *,
        record: bool = True,
        limits: DecodeLimits | None = None,
        max_values: int | None = None,
        progress: Callable[[float], None] | None = None,
        opened: Callable[[Recording], None] | None = None,
    ) -> VerifyReport:
        """Examine a suspect file. An unreadable file is a verdict, not an error.

        ``record`` appends the verdict to the ledger. ``limits`` on decoding are those on uploads
        unless given; ``max_values`` (samples times channels, of all streams) then is without limit
        unless given. ``progress`` is told the seconds read, ``opened`` is shown each decoded
        stream; both may raise to stop the work.
        """
        report = self._with_lineage(
            self._verifier.verify(
                source, limits=limits, max_values=max_values, progress=progress, opened=opened
            )
        )
        report = self._with_credentials(report, source)
        if not record:
            return report
        entry = self.ledger().append("verification", report.to_ledger())
        recorded = {
            "entry": entry.index,
            "leaf_hash": entry.leaf_hash.hex(),
            "at": format_instant(entry.at),
        }
        return replace(report, recorded=recorded)

    def _with_lineage(self, report: VerifyReport) -> VerifyReport:
        if report.release is None:
            return report
        family = self._lineage.family(report.release)
        text = f"{report.explanation.rstrip()} {family.text()}".rstrip()
        return replace(report, lineage=family.to_json(), explanation=text)

    # -- parts --------------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        """The ledger, opened (and made) on first use."""
        with self._lock:
            return self._ledger

    def database(self) -> Database:
        """The database of ledger, consent and accounts, opened (and made) on first use."""
        with self._lock:
            return self._database

    def registrar(self) -> Registrar:
        """The registrar's desk; takes in the consent that ships with the studio on first use."""
        with self._lock:
            return self._registrar

    def accounts(self) -> Accounts:
        """The accounts of this studio; none, and it belongs to whoever sits at the machine."""
        with self._lock:
            return self._accounts

    def security_log(self) -> SecurityLog:
        """Who signed in, was refused, downloaded and changed what; for administrators."""
        with self._lock:
            return self._security_log

    def note_denial(self, method: str, output_id: str = "") -> None:
        """Record that a call was refused; made by the stand-in of :meth:`acting_as` alone."""
        with self._lock:
            log = self._security_log
        log.record("denied", outcome="refused", subject=output_id, detail=method)

    def acting_as(self, actor: Actor) -> Studio:
        """This studio as ``actor`` may use it: what the faces hold. See
        :mod:`studio.app.session`."""
        from studio.app.session import acting_as

        return acting_as(self, actor)

    def notary(self) -> Notary:
        """Who signs the ledger's checkpoints and keeps them."""
        with self._lock:
            return self._custody.notary

    def rotate_key(self, purpose: Purpose) -> int:
        """Make the next seal or ledger key, which every process uses from now on; its number.

        A checkpoint signed by the old ledger key and the new one hands over.
        """
        from studio.provenance.trusted_ledger import rotate_key

        return rotate_key(self._custody, self.paths, purpose)

    def proof(self, output_id: str, *, disclose: bool = False) -> Mapping[str, Any]:
        """The offline proof that the output's release is in the ledger: a bundle (JSON object).

        ``disclose`` opens credits, title and note. Raises :class:`UsageError` for an unknown
        output. Anyone checks it with the public key: ``studio ledger check-proof``.
        """
        from studio.provenance.ledger.proof_bundle import make_bundle

        index = self.release(output_id).entry_index
        return make_bundle(self.ledger(), index, self.notary().covering(index), disclose=disclose)

    def check_proof(self, bundle: bytes) -> ProvenEntry:
        """What a proof bundle proves, by the public keys of this studio's own ledger.

        Raises :class:`ProofError` where it does not hold, :class:`UnreadableProofError` where it is
        no such bundle.
        """
        from studio.provenance.ledger.proof_bundle import check_bundle

        return check_bundle(bundle, self.notary().verifiers)

    def receipt(self, output_id: str, format: str = "html", *, url: str | None = None) -> bytes:
        """One page that a person can show about an output, as ``html`` or ``pdf``.

        ``url`` is the verification page's; by default the configured one of this studio. Raises
        :class:`UsageError` for an unknown output or format.
        """
        from studio.reports.receipt import render

        release = self.release(output_id)
        model = self.models().get(release.request.model)
        return render(
            release,
            self.consent(),
            format=format,
            training_basis="" if model is None else model.training_basis.strip(),
            url=url or self.config.server.address,
            proof=self.proof(output_id),
            printed_at=datetime.now(UTC),
        )

    def sealer(self) -> Sealer:
        """The seal model in use, loaded on first use."""
        with self._lock:
            return self._sealer

    def generator(self, model: str) -> MusicGenerator:
        """The generation model, loaded on first use. Raises :class:`ModelError`."""
        from studio.music.models.generator import get_generator

        config = self.models().get(model)
        if config is None:
            known = ", ".join(self.models())
            raise UsageError(f"unknown model {model!r}; there are: {known}")
        with self._lock:
            return get_generator(config)

    def recover(self) -> RecoveryReport:
        """Finish or discard what a crash left behind; run at start-up of every server."""
        from studio.generation.staging import recover

        self.paths.create()
        report = recover(self.paths, self.ledger())
        restoration = self.restoration()
        if restoration is not None:
            _log.warning("%s", restoration.text())
        self.registrar().enforce()  # a revocation may have come due, or been interrupted
        withdrawn = self.registrar().withdrawn_files()
        missing = tuple(name for name in report.missing if name not in withdrawn)
        return replace(report, missing=missing)

    def close(self) -> None:
        """Give back what was opened; the studio is not used afterwards."""
        with self._lock:
            if "_pipeline" in self.__dict__:
                self._pipeline.close()
            if "_custody" in self.__dict__:
                self._custody.notary.close()
            if "_database" in self.__dict__:
                self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _registrar(self) -> Registrar:
        registrar = Registrar(
            self._ledger, studio=self.config.consent.studio, outputs=self.paths.outputs
        )
        with locked(self.paths.home):  # of several first starts at once, one takes it in
            registrar.start(self.paths.consent / "signed")
        return registrar

    @cached_property
    def _models(self) -> Mapping[str, ModelConfig]:
        from studio.music.models.config import load_model_configs

        return load_model_configs(self.paths.models)

    @cached_property
    def _database(self) -> Database:
        from studio.core.db.database import Database, location_of

        self.paths.create()
        return Database.open(location_of(self.config.database.url, self.paths.ledger))

    @cached_property
    def _custody(self) -> Custody:
        from studio.provenance.trusted_ledger import open_custody

        self.paths.create()
        with locked(self.paths.home):
            return open_custody(self._log, self.paths, self.config.ledger)

    @cached_property
    def _log(self) -> Ledger:
        """The ledger before anybody looked whether it may be gone on with; only to be read."""
        from studio.provenance.ledger.log import Ledger

        log = Ledger(self._database, self.paths.outputs)
        log.beside_append(self._security_log.mirror)
        log.before_append(lambda: self._custody)
        return log

    @property
    def _ledger(self) -> Ledger:
        return self._custody.ledger

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

    @property
    def _keys(self) -> KeyRing:
        return self._custody.seal_keys

    def credentials(self) -> Credentials:
        """Signer and reader of Content Credentials; a development chain is made on first use."""
        with self._lock:
            return self._credentials

    def trust_uploads(self) -> None:
        """Decode in this process from now on: faster, for files whose origin is known."""
        uploads = self.config.uploads.model_copy(update={"isolate": False})
        self.config = self.config.model_copy(update={"uploads": uploads})

    def examine_credentials(
        self,
        source: str | Path | bytes,
        release: Release | None = None,
        stem: str | None = None,
    ) -> CredentialFinding:
        """What the Content Credentials in a file are worth; the seal in it is not looked at.

        Where there are none, those of ``release`` (or that stem of it), which the file was matched
        to. Raises
        :class:`OSError` for a file that cannot be read.
        """
        from studio.provenance.credentials.inspector import CredentialDesk
        from studio.provenance.credentials.repository import ManifestStore

        desk = CredentialDesk(self.credentials, ManifestStore(self.ledger()))
        return desk.examine(source, self.config.uploads, release=release, part=stem)

    def _with_credentials(self, report: VerifyReport, source: str | Path | bytes) -> VerifyReport:
        if report.error is not None:
            return report
        found = self.examine_credentials(source, report.release, report.stem)
        told = report.release is not None or found.is_present
        text = f"{report.explanation.rstrip()} {found.explanation}" if told else report.explanation
        return replace(report, c2pa=found.to_json(), explanation=text)

    @cached_property
    def _credentials(self) -> Credentials:
        from studio.provenance.credentials.signing import Credentials

        self.paths.create()
        with locked(self.paths.home):
            return Credentials.open(
                self.config.credentials, folder=self.paths.credentials, configs=self.paths.configs
            )

    @cached_property
    def _publications(self) -> Publications:
        from studio.provenance.publication import Publications

        return Publications(self.ledger())

    @cached_property
    def _registry(self) -> Registry:
        from studio.provenance.output_index import Registry

        return Registry(self.ledger(), self._keys, self.paths.fingerprints)

    @cached_property
    def _sealer(self) -> Sealer:
        from studio.provenance.sealer import Sealer

        return Sealer.load(self.config.seal.model)

    @cached_property
    def _pipeline(self) -> Pipeline:
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
            keys=self._keys,
            names=self.name_screen,
            consent_unmoved=self.registrar().store.require,
        )

    @cached_property
    def _renditions(self) -> RenditionMaker:
        from studio.generation.decisions import Decisions
        from studio.generation.renditions import RenditionMaker
        from studio.generation.sealing import FileSealing

        ledger = self.ledger()
        return RenditionMaker(
            vocabulary=self.vocabulary,
            decisions=Decisions(policy=self.policy, ledger=ledger, clock=lambda: datetime.now(UTC)),
            sealing=FileSealing(
                config=self.config,
                sealer=self.sealer,
                credentials=self.credentials,
                ledger=ledger,
            ),
            models=self.models(),
            generator=self.generator,
            ledger=ledger,
            keys=self._keys,
            forebears=self._lineage.forebears,
            require_distribution=self.registrar().require_distribution,
            consent_unmoved=self.registrar().store.require,
        )

    @cached_property
    def _quotas(self) -> Quotas:
        return Quotas(self.database(), self.config.quotas)

    @cached_property
    def _lineage(self) -> Lineage:
        return Lineage(
            ledger=self.ledger(),
            keys=self._keys,
            sealer=self.sealer,
            verify=self.verify,
            require_distribution=self.registrar().require_distribution,
            performs_scores=self.performs_scores,
        )

    @cached_property
    def _verifier(self) -> Verifier:
        return Verifier(
            config=self.config,
            policy=self.policy,
            sealer=self.sealer,
            ledger=self.ledger(),
            registry=self._registry,
        )


def open_studio(config: StudioConfig | None = None, paths: StudioPaths | None = None) -> Studio:
    """The studio of ``$STUDIO_HOME`` and ``$STUDIO_CONFIGS``. Raises :class:`ConfigError`."""
    paths = paths or resolve_paths()
    return Studio(paths, config or load_config(paths.configs / "studio.yaml"))


def _tag_status(tag: Tag, answer: TagDecision, known_to_model: bool) -> TagStatus:
    covering = [verdict for verdict in answer.considered if verdict.covers]
    lines = tuple(
        f"{verdict.holder.name} ({verdict.grant.id}): "
        + ("covers this use" if verdict.covers else ", ".join(verdict.failures))
        for verdict in answer.considered
    )
    return TagStatus(
        tag=tag,
        granted=answer.granted,
        holders=tuple(dict.fromkeys(v.holder.name for v in covering)) if answer.granted else (),
        grants=tuple(verdict.grant.id for verdict in covering) if answer.granted else (),
        valid_until=answer.grant.valid_until if answer.grant is not None else None,
        reason=None if answer.reason is None else str(answer.reason),
        explanation=answer.explanation,
        known_to_model=known_to_model,
        considered=lines,
    )
