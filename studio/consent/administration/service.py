"""Import signed documents, and carry out revocations."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.consent import ConsentPolicy, ConsentRegistry, OnRevocation, Revocation
from studio.consent.administration.outputs import OutputRecord, OutputsByGrant
from studio.consent.administration.reports import (
    AffectedOutput,
    Distribution,
    DistributionState,
    GrantState,
    GrantStatus,
    HolderStatus,
    ImportedDocument,
    ImportReport,
    RevocationPreview,
)
from studio.consent.administration.restoration import Restoration, confirm, unconfirmed
from studio.consent.administration.site import addresses, site_id
from studio.consent.signed.admission import DocumentRefusedError, Refusal, describe, examine
from studio.consent.signed.documents import HolderDocument, KeyDocument, short_type
from studio.consent.signed.keys import PublicKey
from studio.consent.signed.signing import SignedDocument, of_one_holder, read_file, write_file
from studio.consent.storage.history import Admission, ConsentRecord
from studio.consent.storage.ledger_entries import entry_body, entry_kind
from studio.consent.storage.repository import ConsentMovedError, ConsentStore
from studio.consent.types import GENERATION_USES, format_instant
from studio.core.errors import (
    ConfigError,
    ConsentFileError,
    LedgerError,
    OutputWithdrawnError,
    UsageError,
)
from studio.core.tags import Tag, TagId, Vocabulary

if TYPE_CHECKING:
    from studio.provenance.ledger.log import Ledger

__all__ = ["ConsentService"]

_logger = logging.getLogger(__name__)
_READ_ALOUD = "ask the holder to read it aloud from `studio consent fingerprint`"
_ATTEMPTS = 20  # imports of other processes that may come in between


class ConsentService:
    """See the module. One object may be shared by threads; many processes by database.

    ``studio`` is a name by which rights holders may address this studio beside its site id,
    ``outputs`` the folder of released files, ``renditions`` that of further formats of them.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        studio: str | None,
        outputs: Path,
        renditions: Path | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._ledger = ledger
        self._name = studio
        self._site: str | None = None
        self._folder = outputs
        self._renditions = renditions
        self._clock = clock or (lambda: datetime.now(UTC))
        self.store = ConsentStore(ledger.database)
        self.outputs = OutputsByGrant(ledger.database)
        self._vocabulary: tuple[int, Vocabulary] | None = None  # of a version of the history

    # -- what stands ----------------------------------------------------------------------------

    def registry(self) -> ConsentRegistry:
        """Consent as it is now; cheap if nothing changed."""
        return self.store.registry()

    def vocabulary(self) -> Vocabulary:
        """The tags that rights holders have put into the vocabulary, in the order of arrival."""
        with self.store.reading() as history:
            known = self._vocabulary
            if known is None or known[0] != history.version:
                tags = [Tag(TagId(tag.id), tag.phrase) for tag in history.tags.values()]
                known = self._vocabulary = history.version, Vocabulary(tags)
            return known[1]

    def holders(self) -> tuple[HolderStatus, ...]:
        """Every rights holder, by id."""
        states = [(status.holder.id, status.state) for status in self.grants()]
        with self.store.reading() as history:
            return tuple(
                HolderStatus(
                    holder=known.holder,
                    key=known.key.id,
                    fingerprint=known.key.fingerprint,
                    retired_keys=tuple(key.id for key in known.keys[:-1]),
                    grants=sum(holder == id_ for holder, _ in states),
                    live_grants=states.count((id_, GrantState.LIVE)),
                    entry=known.entry,
                )
                for id_, known in sorted(history.holders.items())
            )

    def grants(self) -> tuple[GrantStatus, ...]:
        """Every grant, by id."""
        registry, now, outputs = self.registry(), self._clock(), self.outputs.refreshed()
        found = []
        with self.store.reading() as history:
            for grant in registry.grants.values():
                record = history.grant_record(grant.id)
                assert record is not None
                made = outputs.under(grant.id)
                found.append(
                    GrantStatus(
                        grant=grant,
                        holder=registry.holders[grant.holder],
                        state=_state(registry, grant.id, now),
                        revoked_at=registry.revoked_at(grant.id),
                        revocation_reason=history.revocation_reason(grant.id),
                        outputs=len(made),
                        seconds=sum(output.duration_s for output in made),
                        entry=record.entry,
                        digest=record.signed.digest,
                        key=record.signed.signatures[0].key,
                    )
                )
        return tuple(found)

    def site(self) -> str:
        """The id by which rights holders address this studio; the same for ever."""
        if self._site is None:
            self._site = site_id(self._ledger)
        return self._site

    def restoration(self) -> Restoration | None:
        """The restore that keeps consent closed, or None."""
        return unconfirmed(self._ledger.database)

    def confirm_restore(self) -> int:
        """Open consent again after a restore; the ledger entry. Raises :class:`UsageError`."""
        return confirm(self._ledger).index

    def repair_clock(self) -> Mapping[str, Any]:
        """Correct entries dated in the future: each takes the time of the one before.

        Returns the body of the ``clock-repair`` entry. Raises :class:`UsageError` where none was.
        """
        body = self._ledger.repair_clock().body
        self.enforce()  # a revocation that was dated ahead is in force now
        return body

    # -- importing ------------------------------------------------------------------------------

    def start(self, folder: Path) -> None:
        """At the first start, and only then, take in the signed files that ship with the studio.

        Whoever installs a studio believes what it comes with; later files are believed for their
        signatures. Safe to interrupt and to run in two processes. Raises :class:`ConfigError`.
        """
        self.site()
        if self._ledger.entries(kind="consent-start", limit=1):
            return
        count = 0
        paths = sorted(folder.glob("*.json"))
        if not paths:
            raise ConfigError(f"no signed consent in {folder}; without any nothing can be made")
        for path in paths:
            try:
                documents = read_file(path.read_bytes())
            except (OSError, ConsentFileError) as exc:
                raise ConfigError(f"the shipped consent {path.name} cannot be read: {exc}") from exc
            for signed in documents:
                try:
                    self._record(signed, Admission.SHIPPED)
                except DocumentRefusedError as exc:
                    if exc.refusal is not Refusal.REPLAYED:
                        raise ConfigError(f"the shipped consent {path.name}: {exc}") from exc
                count += 1
        self._ledger.append("consent-start", {"documents": count})

    def import_file(self, data: bytes) -> ImportReport:
        """Record every accepted document of a file; report why others were refused.

        Raises :class:`ConsentFileError` where it is no such file; nothing was recorded then.
        """
        return self._import(read_file(data), Admission.SIGNATURE)

    def admit(self, data: bytes, fingerprint: str) -> ImportReport:
        """Make a rights holder known whose key has this fingerprint, compared by another way.

        What else the holder signed in the file is recorded after it.
        """
        documents, holder = of_one_holder(data)
        self.compare(fingerprint, PublicKey.parse(holder.profile.public_key))
        return self.record(documents)

    def record(self, documents: Sequence[SignedDocument]) -> ImportReport:
        """Record what a registrar believes because the key's fingerprint was compared."""
        return self._import(documents, Admission.REGISTRAR)

    def rehearse(
        self, documents: Sequence[SignedDocument]
    ) -> tuple[tuple[SignedDocument, ...], DocumentRefusedError | None]:
        """Which of the documents are not recorded here, and why not all of these could be.

        None as the second: a registrar could record them, one after the other. Nothing is recorded.
        """
        now, ours = self._clock(), addresses(self.site(), self._name)
        with self.store.reading() as history:
            pending = tuple(
                signed for signed in documents if history.entry_of(signed.digest) is None
            )
            trial = history.copy()
        for signed in pending:
            admission = _admission(signed, Admission.REGISTRAR)
            try:
                examine(signed, trial, at=now, addresses=ours, admission=admission)
            except DocumentRefusedError as exc:
                return pending, exc
            trial.apply(ConsentRecord(signed, trial.version + 1, now, admission))
        return pending, None

    def override_key(self, data: bytes, fingerprint: str, *, lost: bool) -> ImportReport:
        """Let a holder's new key in that the old one did not sign, because it is lost or in other
        hands; which, and that a registrar did it, stands in the ledger."""
        signed, document = _only_key(data)
        self.compare(fingerprint, PublicKey.parse(document.new_public_key))
        return self._import(
            [signed], Admission.OVERRIDE_LOST if lost else Admission.OVERRIDE_COMPROMISED
        )

    def export(self, holder: str | None = None) -> bytes:
        """A file with every document, or those of one holder, for another studio or a backup."""
        documents = self.store.documents()
        if holder is not None:
            documents = [signed for signed in documents if signed.document.holder == holder]
            if not documents:
                raise UsageError(f"no rights holder {holder!r}; `studio consent holder list`")
        return write_file(documents)

    def _import(self, documents: Sequence[SignedDocument], admission: Admission) -> ImportReport:
        lines = []
        for signed in documents:
            line = {
                "kind": short_type(signed.document),
                "holder": signed.document.holder,
                "about": describe(signed.document),
                "digest": signed.digest,
            }
            try:
                lines.append(
                    ImportedDocument(
                        **line, entry=self._record(signed, _admission(signed, admission))
                    )
                )
            except DocumentRefusedError as exc:
                lines.append(
                    ImportedDocument(
                        **line,
                        entry=None,
                        refusal=str(exc.refusal),
                        why=exc.why,
                        advice=exc.advice,
                    )
                )
        return ImportReport(tuple(lines), withdrawn=self.enforce())

    def _record(self, signed: SignedDocument, admission: Admission) -> int:
        """The ledger entry of the document. Raises :class:`DocumentRefusedError`."""
        kind, body = entry_kind(signed), entry_body(signed, admission)
        ours = addresses(self.site(), self._name)
        for _ in range(_ATTEMPTS):
            with self.store.reading() as history:
                examine(signed, history, at=self._clock(), addresses=ours, admission=admission)
                version = history.version
            # The document was examined against this version of the history. It is recorded only if
            # nobody changed the history since: a replay cannot slip in beside itself.
            with contextlib.suppress(ConsentMovedError):
                return self._ledger.append(
                    kind,
                    body,
                    also=lambda connection, version=version: self.store.insert(  # type: ignore[misc]
                        connection,
                        signed,
                        kind=short_type(signed.document),
                        admission=admission,
                        version=version,
                    ),
                ).index
        raise LedgerError("the consent registry is being changed all the time; try again")

    def compare(self, fingerprint: str, key: PublicKey, advice: str = _READ_ALOUD) -> None:
        """Raises :class:`DocumentRefusedError` unless the fingerprint is that of the key.

        ``advice`` says where the right one is found.
        """
        if not key.has_fingerprint(fingerprint):
            raise DocumentRefusedError(
                Refusal.FINGERPRINT,
                f"the key in the file has the fingerprint {key.fingerprint}, which is not the one "
                "given",
                advice,
            )

    # -- revocation -----------------------------------------------------------------------------

    def affected(self, grant_id: str) -> tuple[AffectedOutput, ...]:
        """Every output that rests on the grant. Raises :class:`UsageError` for an unknown one."""
        registry, restoration = self._with_grant(grant_id), self.restoration()
        return tuple(
            AffectedOutput(output, self._distribution(output, registry, restoration).state)
            for output in self.outputs.refreshed().under(grant_id)
        )

    def preview(self, grant_id: str, policy: ConsentPolicy) -> RevocationPreview:
        """What a revocation of the grant would do, if it came now."""
        self._with_grant(grant_id)
        registry = policy.registry
        policy = policy.with_registry(registry)
        grant = registry.grants[grant_id]
        now = self._clock()
        without = policy.with_registry(registry.with_revocation(Revocation(grant=grant_id, at=now)))
        dark: dict[str, tuple[str, ...]] = {}
        for tag in sorted(grant.tags):
            ends = []
            for use in GENERATION_USES:
                scopes = [
                    {"use": use, "territory": territory, "model": model, "at": now}
                    for territory in sorted(grant.territories)
                    for model in policy.models
                    if use in grant.uses and grant.covers_model(model)
                ]
                if any(
                    policy.decide([tag], **scope).allowed  # type: ignore[arg-type]
                    and not without.decide([tag], **scope).allowed  # type: ignore[arg-type]
                    for scope in scopes
                ):
                    ends.append(str(use))
            if ends:
                dark[tag] = tuple(ends)
        outputs = self.affected(grant_id)
        return RevocationPreview(
            grant=grant,
            holder=registry.holders[grant.holder],
            on_revocation=grant.on_revocation,
            outputs=outputs,
            seconds=sum(affected.output.duration_s for affected in outputs),
            dark_tags=tuple(dark.items()),
        )

    def distribution(self, output_id: str) -> Distribution:
        """Whether the output may be downloaded now."""
        output = self.outputs.refreshed().find(output_id)
        if output is None:
            return Distribution(DistributionState.OPEN)
        return self._distribution(output, self.registry(), self.restoration())

    def _distribution(
        self, output: OutputRecord, registry: ConsentRegistry, restoration: Restoration | None
    ) -> Distribution:
        now = self._clock()
        stopping = [
            (grant_id, at)
            for grant_id in sorted(output.grants)
            if (at := registry.revoked_at(grant_id)) is not None
            and at <= registry.present(now)
            and registry.grants[grant_id].on_revocation is not OnRevocation.KEEP
        ]
        if not stopping and restoration is not None:
            return Distribution(DistributionState.STOPPED, restoration.text())
        if not stopping:
            return Distribution(DistributionState.OPEN)
        withdraws = any(
            registry.grants[grant_id].on_revocation is OnRevocation.WITHDRAW
            for grant_id, _ in stopping
        )
        who = "; ".join(
            f"{registry.holders[registry.grants[grant_id].holder].name} revoked the grant "
            f"{grant_id} on {format_instant(at)[:10]}"
            for grant_id, at in stopping
        )
        what = (
            "this output was withdrawn, its record remains"
            if withdraws
            else "this output may no longer be downloaded"
        )
        return Distribution(
            DistributionState.WITHDRAWN if withdraws else DistributionState.STOPPED,
            f"{who}: {what}",
            tuple(grant_id for grant_id, _ in stopping),
        )

    def require_distribution(self, output_id: str) -> None:
        """Raises :class:`OutputWithdrawnError` where the output may not be distributed.

        What is to be withdrawn and still lies there (a revocation for a later date has come due, a
        release ended just then) is removed now.
        """
        answer = self.distribution(output_id)
        if answer.open:
            return
        if answer.state is DistributionState.WITHDRAWN:
            self.enforce()
            self._remove(self.outputs.find(output_id))
        raise OutputWithdrawnError(answer.why)

    def enforce(self) -> tuple[str, ...]:
        """Withdraw what revocations in force have withdraw; the outputs' ids. Safe to repeat.

        The ledger entry comes first: after a crash in between, the next call removes the file.
        """
        registry, now = self.registry(), self._clock()
        outputs = self.outputs.refreshed()
        done = outputs.withdrawn()
        withdrawn = []
        for revocation in registry.revocations:
            grant = registry.grants[revocation.grant]
            if (
                grant.on_revocation is not OnRevocation.WITHDRAW
                or registry.revoked_at(grant.id) != revocation.at
                or revocation.at > registry.present(now)
            ):
                continue
            for output in outputs.under(grant.id):
                if output.output_id not in done and output.output_id not in withdrawn:
                    self._ledger.append(
                        "withdrawal",
                        {
                            "output_id": output.output_id,
                            "grant": grant.id,
                            "file_sha256": output.sha256,
                        },
                    )
                    withdrawn.append(str(output.output_id))
                self._remove(output)
        return tuple(withdrawn)

    def withdrawn_files(self) -> frozenset[str]:
        """Names of files that are gone because they were withdrawn."""
        outputs = self.outputs.refreshed()
        found = (outputs.find(output_id) for output_id in outputs.withdrawn())
        return frozenset(output.file_name for output in found if output is not None)

    def _remove(self, output: OutputRecord | None) -> None:
        if output is None:
            return
        kept = self._renditions.glob(f"{output.output_id}.*") if self._renditions else ()
        try:
            for path in (self._folder / Path(output.file_name).name, *kept):
                path.unlink(missing_ok=True)
        except OSError as exc:  # it is not distributed in any case
            _logger.error("withdrawn output %s is still on disk: %s", output.output_id, exc)

    def _with_grant(self, grant_id: str) -> ConsentRegistry:
        registry = self.registry()
        if grant_id not in registry.grants:
            raise UsageError(f"no grant {grant_id!r}; `studio consent list` lists them")
        return registry


def _only_key(data: bytes) -> tuple[SignedDocument, KeyDocument]:
    """The change of keys in a file that must hold nothing else."""
    documents = read_file(data)
    document = documents[0].document
    if len(documents) != 1 or not isinstance(document, KeyDocument):
        raise ConsentFileError("this takes a file with one document of the kind 'key'")
    return documents[0], document


def _admission(signed: SignedDocument, admission: Admission) -> Admission:
    """Why the document is accepted, given why its file is.

    A registrar compares the key; what that key has signed is believed for its signature.
    """
    keys = isinstance(signed.document, HolderDocument | KeyDocument)
    return admission if keys else Admission.SIGNATURE


def _state(registry: ConsentRegistry, grant_id: str, now: datetime) -> GrantState:
    grant = registry.grants[grant_id]
    revoked_at = registry.revoked_at(grant_id)
    if revoked_at is not None and revoked_at <= registry.present(now):
        return GrantState.REVOKED
    if now < grant.valid_from:
        return GrantState.NOT_YET_VALID
    if grant.valid_until is not None and now >= grant.valid_until:
        return GrantState.EXPIRED
    if registry.holders[grant.holder].kind == "demonstration":
        return GrantState.DEMONSTRATION
    return GrantState.LIVE
