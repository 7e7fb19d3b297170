"""Released outputs: records, files, scores, proofs and receipts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.accounts.permissions import Permission
from studio.app.outputs.library import LibraryView, Listed, search
from studio.app.outputs.outline import outline
from studio.app.outputs.receipts import proof_of, receipt_file
from studio.app.use_cases.base import UseCases, requires, requires_output
from studio.app.use_cases.rights import hears_output
from studio.core.errors import OutputWithdrawnError, UsageError

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.app.outputs.sharing import Share
    from studio.generation.derived.lineage import FamilyTree
    from studio.generation.derived.renditions import ScoreFile
    from studio.generation.lead_sheets import Chart
    from studio.music.composer.notation.score import Score
    from studio.provenance.release import Release

__all__ = ["Outputs"]

_MOST_SEARCHED = 5000  # latest outputs that the library looks through
_MOST_TITLE = 120  # characters


class Outputs(UseCases):
    """Looking at outputs and downloading them. Each raises :class:`UsageError` for an unknown
    output."""

    @requires(Permission.OWN_OUTPUTS)
    def mine(self, studio: Container, limit: int = 50) -> list[Release]:
        """What the actor has made, newest first; the local owner made everything."""
        return studio.releases().made_by(self.actor.account_id, limit)

    @requires(Permission.RECORDS)
    def recent(self, studio: Container, limit: int = 20) -> list[Release]:
        """The latest releases of all accounts, newest first."""
        return studio.releases().recent(limit)

    @requires(Permission.OWN_OUTPUTS)
    def library(
        self, studio: Container, text: str = "", *, view: LibraryView = "kept", limit: int = 50
    ) -> list[Listed]:
        """What the actor has made and has every word of ``text``, newest first.

        ``view``: ``kept`` (all but the discarded ones), ``starred`` or ``discarded``.
        """
        mine = studio.releases().made_by(self.actor.account_id, _MOST_SEARCHED)
        return search(mine, studio.shelf(), text=text, view=view, limit=limit)

    @requires(Permission.ALL_OUTPUTS)
    def whole_library(
        self, studio: Container, text: str = "", *, view: LibraryView = "kept", limit: int = 50
    ) -> list[Listed]:
        """The library of all accounts; see :meth:`library`."""
        all_ = studio.releases().recent(_MOST_SEARCHED)
        return search(all_, studio.shelf(), text=text, view=view, limit=limit)

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ADMINISTER)
    def shelve(
        self,
        studio: Container,
        output_id: str,
        *,
        starred: bool | None = None,
        discarded: bool | None = None,
        title: str | None = None,
    ) -> None:
        """Star, rename or discard an output in the library; each change is recorded.

        Record and file stay. Raises :class:`UsageError` for a title that cannot be, and
        :class:`NameRefusedError` for an artist's name in it.
        """
        release = studio.releases().get(output_id)
        if title is not None:
            title = " ".join(title.split())
            if not 1 <= len(title) <= _MOST_TITLE:
                raise UsageError(f"a title has 1 to {_MOST_TITLE} characters")
            studio.name_screen().check(title, what="title")
        studio.shelf().change(release.output_id, starred=starred, discarded=discarded, title=title)

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.RECORDS)
    def get(self, studio: Container, output_id: str) -> Release:
        """The record of an output."""
        return studio.releases().get(output_id)

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.RECORDS)
    def lineage(self, studio: Container, output_id: str) -> FamilyTree:
        """The ancestors and children of an output."""
        return studio.lineage().family(studio.releases().get(output_id))

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.RECORDS)
    def disclosure(self, studio: Container, output_id: str) -> Mapping[str, Any]:
        """What a platform asks about an output: AI and human contributions, consent, proof."""
        from studio.reports.disclosure import disclosure_of

        names = {holder.id: holder.name for holder in studio.consent().holders.values()}
        return disclosure_of(studio.releases().get(output_id), names)

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.RECORDS)
    def proof(
        self, studio: Container, output_id: str, *, disclose: bool = False
    ) -> Mapping[str, Any]:
        """The offline proof that the output's release is in the ledger: a bundle (JSON object).

        ``disclose`` opens credits, title and note. Anyone checks the bundle with the public key:
        ``studio ledger check-proof``.
        """
        return proof_of(studio, output_id, disclose=disclose)

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.RECORDS)
    def receipt(
        self, studio: Container, output_id: str, format: str = "html", *, url: str | None = None
    ) -> bytes:
        """One page that a person can show about an output, as ``html`` or ``pdf``.

        ``url`` is the verification page's; by default the configured one of this studio. Raises
        :class:`UsageError` for an unknown format, too.
        """
        return receipt_file(studio, studio.releases().get(output_id), format, url=url)

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ADMINISTER)
    def publish(self, studio: Container, output_id: str, *, public: bool = True) -> None:
        """Let the public detector tell the title and credits of an output, or no longer."""
        release = studio.releases().get(output_id)
        studio.publications().change(release.output_id, public=public)

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ADMINISTER)
    def sharing(self, studio: Container, output_id: str) -> Share:
        """The link by which an output is shared, if it is."""
        return studio.sharing().state(studio.releases().get(output_id).output_id)

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ADMINISTER)
    def share(self, studio: Container, output_id: str, *, shared: bool = True) -> Share:
        """Show record, credits, receipt and player to whoever holds a link, or no longer.

        Raises :class:`OutputWithdrawnError` where a revocation stops its distribution, and
        :class:`RequestRefusedError` where this studio shares nothing.
        """
        release = studio.releases().get(output_id)
        if shared:
            studio.releases().require_distribution(output_id)
        return studio.sharing().change(release.output_id, shared=shared)

    @requires(Permission.RECORDS)
    def manifest(self, studio: Container, output_id: str) -> bytes:
        """The Content Credentials of an output as they were signed: a C2PA sidecar."""
        from studio.provenance.credentials.repository import ManifestStore

        release = studio.releases().get(output_id)
        stored = ManifestStore(studio.ledger()).of_output(release.output_id)
        if stored is None:
            raise UsageError(f"output {output_id} was released before files were signed")
        return stored.content

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ALL_OUTPUTS)
    def audio_file(self, studio: Container, output_id: str) -> Path:
        """The released file of an output.

        Raises :class:`OutputGoneError` where its file is not a regular file in the folder of
        released outputs, and :class:`OutputWithdrawnError` where a revocation stops its
        distribution.
        """
        releases = studio.releases()
        releases.require_distribution(output_id)
        path = releases.file_of(releases.get(output_id))
        studio.security_log().record("download", subject=output_id)
        return path

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ALL_OUTPUTS)
    def excerpt(self, studio: Container, output_id: str, start_s: float, end_s: float) -> bytes:
        """Some seconds of an output as FLAC, to hear them beside a suspect file; a download.

        Raises as :meth:`audio_file` does, and :class:`UsageError` for seconds that it has not.
        """
        from studio.app.examination.comparing import excerpt
        from studio.verification.comparison import as_flac

        studio.releases().require_distribution(output_id)
        sound = as_flac(excerpt(studio.releases(), output_id, start_s, end_s))
        studio.security_log().record("download", subject=output_id, detail="excerpt")
        return sound

    @requires(Permission.VERIFY)
    def may_hear(self, studio: Container, output_id: str) -> bool:
        """Whether the actor may have an output's sound, such as :meth:`excerpt` gives it."""
        try:
            studio.releases().require_distribution(output_id)
        except OutputWithdrawnError:
            return False
        return hears_output(studio, self.actor, output_id)

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ALL_OUTPUTS)
    def peaks(self, studio: Container, output_id: str) -> tuple[int, ...]:
        """The outline of an output's sound: the peak (0 to 100) of each of 300 equal parts.

        Raises as :meth:`audio_file` does; looking at it is no download.
        """
        releases = studio.releases()
        releases.require_distribution(output_id)
        return outline(releases.file_of(releases.get(output_id)))

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ALL_OUTPUTS)
    def score(self, studio: Container, output_id: str) -> Score:
        """What an output was performed from. Raises :class:`UsageError` where it has no score."""
        return studio.renditions().score(studio.releases().get(output_id))

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ALL_OUTPUTS)
    def chart(self, studio: Container, output_id: str) -> Chart:
        """The lead sheet of an output and when each bar sounds; raises as :meth:`score` does."""
        from studio.generation.lead_sheets import chart_of

        release = studio.releases().get(output_id)
        return chart_of(studio.renditions().score(release), release.request.sheet)

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ALL_OUTPUTS)
    def score_file(self, studio: Container, output_id: str) -> ScoreFile:
        """The score of an output as a MIDI file, recorded; raises as :meth:`score` does."""
        made = studio.renditions().score_file(studio.releases().get(output_id))
        studio.security_log().record("download", subject=output_id, detail="score")
        return made
