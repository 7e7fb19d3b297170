"""Generate music from tags, or vary and extend an output."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from studio.accounts.permissions import Permission
from studio.app.operation import recovery
from studio.app.use_cases.base import UseCases, requires, requires_output
from studio.app.use_cases.catalog import decide
from studio.core.config import FORMATS, OutputFormat
from studio.core.errors import (
    AccessDeniedError,
    ConsentRefusedError,
    ParentRefusedError,
    UsageError,
)
from studio.generation.limits.quota import LOCAL_ACCOUNT
from studio.generation.limits.repeats import identical, same_music
from studio.generation.takes import Take, make_takes, take_requests
from studio.provenance.release import GenerationRequest, Release

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.app.container import Container
    from studio.generation.attempts import Attempt
    from studio.generation.derived.derivation import Derivation, Wish
    from studio.generation.derived.renditions import Stems
    from studio.generation.lead_sheets import SheetAnswer
    from studio.generation.orders import Order
    from studio.generation.preview import Preview
    from studio.generation.progress import OnProgress
    from studio.generation.releasing.staging import RecoveryReport

__all__ = ["Generation"]

_LOOKED_BACK = 300  # latest outputs among which a request is looked for


class _How(TypedDict):
    """What every way of making music is given."""

    progress: OnProgress | None
    cancel: threading.Event | None
    preview: Preview | None
    attempt: Attempt | None


class Generation(UseCases):
    """Making music. What is made belongs to the actor."""

    @requires(Permission.GENERATE)
    def request(
        self,
        studio: Container,
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
        from studio.generation.derived.scores import length_of_sheet, sheet_contributes

        defaults = studio.config.generation
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

    @requires(Permission.GENERATE)
    def create(
        self,
        studio: Container,
        request: GenerationRequest,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        preview: Preview | None = None,
        attempt: Attempt | None = None,
    ) -> Release:
        """Make, seal, record and release one output; see :mod:`studio.generation.pipeline`.

        Raises :class:`UsageError`, :class:`UnknownTagError`, :class:`ConsentRefusedError`,
        :class:`ModelError`, :class:`SealingError`, :class:`LedgerError`, and
        :class:`GenerationCancelledError` once ``cancel`` is set. In every such case nothing was
        released. ``progress`` is called from the calling thread. Typed texts with artists' names
        raise :class:`NameRefusedError`, and an account that has had its share
        :class:`QuotaExceededError`. ``preview`` lets the music be heard, sealed, while it is made.
        ``attempt`` is given by a worker, which may lose the job to another one.
        """
        return self._make(studio, request, None, progress, cancel, preview, attempt)

    @requires(Permission.GENERATE)
    def create_takes(
        self,
        studio: Container,
        request: GenerationRequest,
        count: int,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        previews: Sequence[Preview] = (),
        attempts: Mapping[int, Attempt] | None = None,
    ) -> tuple[Take, ...]:
        """Make ``count`` outputs (1 to 4) of one request, with the seeds that follow its own.

        Their music is made together; each is what :meth:`create` makes with its seed, and counts
        as a request. Where a take fails the others are released all the same, and it says why.
        Raises as :meth:`create` does where none was released. ``previews`` are those of the takes.
        ``attempts`` are a worker's: it makes these takes, counted from 0, and no others.
        """
        requests = take_requests(request, count)
        heard = dict(zip(requests, previews, strict=False))
        tries = {} if attempts is None else {requests[n]: each for n, each in attempts.items()}
        requests = requests if attempts is None else tuple(tries)
        studio.pipeline().check(request)
        decision = decide(
            studio, request.tags, use=request.use, territory=request.territory, model=request.model
        )
        if not decision.allowed:  # one refusal goes on record, not one of each take
            requests = requests[:1]
        return make_takes(
            requests,
            lambda one, report, stop: self._make(
                studio, one, None, report, stop, heard.get(one), tries.get(one)
            ),
            progress=progress,
            cancel=cancel,
        )

    @requires(Permission.GENERATE)
    def vary(
        self,
        studio: Container,
        source: str | Path | bytes,
        *,
        tags: Sequence[str] | None = None,
        seed: int | None = None,
        changes: Mapping[str, Any] | None = None,
        wish: Wish | None = None,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        preview: Preview | None = None,
        attempt: Attempt | None = None,
    ) -> Release:
        """Make a variation of one of this studio's outputs: an output id, or a file that carries
        its seal. ``changes`` replaces fields of the parent's request; the seed is drawn anew.

        The house model can also start from the parent's own score: ``Wish(keep="notes")`` performs
        it anew, ``keep="chords"`` keeps form and chords, ``redo`` composes one stem anew,
        ``new="instruments"`` has others play the same notes, ``lead`` names one for them.

        Raises as :meth:`create` does, and :class:`ParentRefusedError`.
        """
        parent = self._parent(studio, source)
        request, derivation = studio.lineage().vary(
            parent, tags=tags, seed=seed, changes=changes, wish=wish
        )
        return self._make(studio, request, derivation, progress, cancel, preview, attempt)

    @requires(Permission.GENERATE)
    def extend(
        self,
        studio: Container,
        source: str | Path | bytes,
        seconds: float,
        *,
        seed: int | None = None,
        changes: Mapping[str, Any] | None = None,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        preview: Preview | None = None,
        attempt: Attempt | None = None,
    ) -> Release:
        """Make one of this studio's outputs go on for ``seconds`` more; as :meth:`vary`."""
        parent = self._parent(studio, source)
        request, derivation = studio.lineage().extend(parent, seconds, seed=seed, changes=changes)
        return self._make(studio, request, derivation, progress, cancel, preview, attempt)

    @requires(Permission.GENERATE)
    def carry_out(
        self,
        _studio: Container,
        order: Order,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        previews: Sequence[Preview] = (),
        attempts: Mapping[int, Attempt] | None = None,
    ) -> tuple[Take, ...]:
        """Do what an order asks for, with :meth:`create`, :meth:`vary` or :meth:`extend`.

        ``attempts`` are a worker's: it makes these takes, counted from 0, and no others.
        """
        if order.kind == "create" and order.takes > 1:
            assert order.request is not None
            return self.create_takes(
                order.request,
                order.takes,
                progress=progress,
                cancel=cancel,
                previews=previews,
                attempts=attempts,
            )
        how: _How = {
            "progress": progress,
            "cancel": cancel,
            "preview": previews[0] if previews else None,
            "attempt": None if attempts is None else attempts[min(attempts)],
        }
        if order.kind == "create":
            assert order.request is not None
            made = self.create(order.request, **how)
        elif order.kind == "vary":
            assert order.source is not None
            made = self.vary(order.source, **how, **order.arguments())
        else:
            assert order.source is not None
            made = self.extend(order.source, **how, **order.arguments())
        return (Take(made.request, made),)

    @requires(Permission.GENERATE)
    def check(self, studio: Container, request: GenerationRequest) -> None:
        """Refuse at once what can never be made; consent is asked when it is made.

        Raises :class:`UsageError`, :class:`UnknownTagError` and :class:`NameRefusedError`.
        """
        studio.pipeline().check(request)

    @requires(Permission.GENERATE)
    def check_sheet(
        self,
        studio: Container,
        text: str,
        *,
        tags: Sequence[str] = (),
        duration_s: float | None = None,
        transpose: int = 0,
    ) -> SheetAnswer:
        """What a lead sheet says for a request with these tags, or where it is wrong.

        ``transpose``: semitones up (negative: down) that the sheet is moved by first.
        """
        from studio.generation.lead_sheets import check

        longest_s = studio.config.generation.max_duration_s
        return check(text, tags, duration_s=duration_s, steps=transpose, longest_s=longest_s)

    @requires(Permission.GENERATE)
    def check_variation(
        self,
        studio: Container,
        source: str | Path | bytes,
        *,
        tags: Sequence[str] | None = None,
        seed: int | None = None,
        changes: Mapping[str, Any] | None = None,
        wish: Wish | None = None,
    ) -> None:
        """Refuse a variation that can never be made; see :meth:`check`."""
        parent = self._parent(studio, source)
        request, _ = studio.lineage().vary(parent, tags=tags, seed=seed, changes=changes, wish=wish)
        studio.pipeline().check(request)

    @requires(Permission.GENERATE)
    def check_extension(
        self,
        studio: Container,
        source: str | Path | bytes,
        seconds: float,
        *,
        seed: int | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse an extension that can never be made; see :meth:`check`."""
        parent = self._parent(studio, source)
        request, _ = studio.lineage().extend(parent, seconds, seed=seed, changes=changes)
        studio.pipeline().check(request)

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ALL_OUTPUTS)
    def stems(
        self,
        studio: Container,
        output_id: str,
        *,
        format: OutputFormat | None = None,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> Stems:
        """The four stems of an output, performed again and recorded; counts as a request.

        See :mod:`studio.generation.derived.renditions`. Raises as :meth:`create` does, and
        :class:`UsageError` where the output has no score or its model has other weights now.
        """
        release = studio.releases().get(output_id)
        with studio.quotas().place(self._payer, release.duration_s, repeats=lambda: False) as place:
            made = studio.renditions().stems(
                release,
                format=format,
                progress=progress,
                cancel=cancel,
                permit=self._still_permitted(studio),
            )
            place.output_id = release.output_id
        studio.security_log().record("download", subject=release.output_id, detail="stems")
        return made

    @requires(Permission.OWN_OUTPUTS)
    def existing(self, studio: Container, request: GenerationRequest) -> Release | None:
        """The actor's output of the same request, if it may still be downloaded.

        A request without a seed has none: its seed is drawn.
        """
        decision = decide(
            studio, request.tags, use=request.use, territory=request.territory, model=request.model
        )
        if not decision.allowed:
            return None
        for earlier in studio.releases().made_by(self.actor.account_id, _LOOKED_BACK):
            if identical(earlier.request, request) and _is_current(studio, earlier):
                return earlier
        return None

    @requires(Permission.GENERATE)
    def repeats_today(self, studio: Container) -> tuple[int, int]:
        """Near-duplicates of earlier outputs that the actor made today, and how many it may."""
        limit = studio.config.quotas.near_duplicates_per_day
        return studio.quotas().near_duplicates(self._payer), limit

    @requires(Permission.GENERATE)
    def recover(self, studio: Container) -> RecoveryReport:
        """Finish or discard what a crash left behind; done before music is made."""
        return recovery.recover(studio)

    # -- parts of it ----------------------------------------------------------------------------

    @property
    def _payer(self) -> str:
        """Against whose limits a request counts."""
        return self.actor.account_id or LOCAL_ACCOUNT

    def _parent(self, studio: Container, source: str | Path | bytes) -> Release:
        """A file is enough to extend an output; by id, only one's own outputs."""
        account = self.actor.account_id
        parent = studio.lineage().parent_of(source)
        by_id = source == parent.output_id
        owner = studio.accounts().owner_of(parent.output_id) if account is not None else None
        if by_id and owner != account:
            raise ParentRefusedError("there is no such output among yours; give its file instead")
        return parent

    def _make(
        self,
        studio: Container,
        request: GenerationRequest,
        derivation: Derivation | None,
        progress: OnProgress | None,
        cancel: threading.Event | None,
        preview: Preview | None = None,
        attempt: Attempt | None = None,
    ) -> Release:
        """The one way to the pipeline: within the quota, and checked for near-duplicates."""
        with nullcontext() if preview is None else preview.until_released():
            return self._made(studio, request, derivation, progress, cancel, preview, attempt)

    def _made(
        self,
        studio: Container,
        request: GenerationRequest,
        derivation: Derivation | None,
        progress: OnProgress | None,
        cancel: threading.Event | None,
        preview: Preview | None,
        attempt: Attempt | None,
    ) -> Release:
        account, pipeline, quotas = self.actor.account_id, studio.pipeline(), studio.quotas()
        pipeline.check(request)

        def repeats() -> bool:
            mine = studio.releases().made_by(account, _LOOKED_BACK)
            return any(same_music(earlier.request, request) for earlier in mine)

        permit = self._still_permitted(studio)

        def at_release(connection: Connection, output_id: str) -> None:
            if permit is not None:
                permit(connection)
            if attempt is not None:
                attempt.record(connection, output_id)

        with quotas.place(
            self._payer,
            request.duration_s,
            repeats=repeats,
            use_id=None if attempt is None else attempt.use_id,
        ) as place:
            release = pipeline.generate(
                request,
                progress=progress,
                cancel=cancel,
                reserved=self._owned(studio),
                derivation=derivation,
                permit=at_release,
                preview=preview,
            )
            place.output_id = release.output_id
        besides = () if derivation is None else [f.output_id for f in derivation.ancestors]
        quotas.look_for_alike(
            self._payer,
            release.output_id,
            studio.registry(),
            besides=besides,
            excused=lambda other: _is_other_format(studio, other, release.request),
        )
        return release

    def _owned(self, studio: Container) -> Callable[[str], None] | None:
        """Writes down whose a reserved output will be; the local owner's need no owner."""
        account = self.actor.account_id
        if account is None:
            return None
        return lambda output_id: studio.accounts().own(output_id, account)

    def _still_permitted(self, studio: Container) -> Callable[[Connection], None] | None:
        """Refuses the release where the account was disabled, or got another role, meanwhile."""
        account = self.actor.account_id
        if account is None:
            return None
        accounts, right = studio.accounts(), Permission.GENERATE
        if not accounts.may(account, right):  # it may have stood in line
            raise AccessDeniedError("the account may not do this any more")
        return lambda connection: accounts.require(connection, account, right)


def _is_current(studio: Container, release: Release) -> bool:
    """Whether an output can be had and its model would play it again just so."""
    info = studio.generator(release.request.model).info
    for name, now in (("digest", info.digest), ("precision", info.precision)):
        if now and release.model.get(name) not in (None, now):
            return False
    try:
        studio.releases().require_distribution(release.output_id)
        studio.releases().file_of(release)
    except (UsageError, ConsentRefusedError):  # gone, or withdrawn
        return False
    return True


def _is_other_format(studio: Container, output_id: str, request: GenerationRequest) -> bool:
    """Whether that output is the same music, written in another file format."""
    other = studio.ledger().release(output_id)
    return (
        other is not None
        and other.request.format != request.format
        and same_music(other.request, request)
    )
