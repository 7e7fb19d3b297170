"""Download an output in one of several formats."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from studio.accounts.permissions import Permission
from studio.app.outputs.downloads import (
    FORMS,
    Download,
    Form,
    Offer,
    credits_text,
    form_of,
    record_text,
    sound_format,
    why_not,
    zip_of,
)
from studio.app.outputs.kept_stems import KeptStems
from studio.app.use_cases.base import UseCases, requires_output
from studio.app.use_cases.generation import Generation
from studio.app.use_cases.outputs import Outputs
from studio.core.errors import RenditionUnavailableError
from studio.provenance.renditions import RenditionStore

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.generation.progress import OnProgress
    from studio.provenance.release import Release

__all__ = ["Renditions"]


class Renditions(UseCases):
    """One output, many renditions. Each raises :class:`UsageError` for an unknown output, and
    :class:`OutputWithdrawnError` where a revocation stops its distribution."""

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ALL_OUTPUTS)
    def offers(self, studio: Container, output_id: str) -> list[Offer]:
        """The forms there are, and why this output cannot be had in some of them."""
        release = studio.releases().get(output_id)
        title = _title(studio, release)
        store = RenditionStore(studio.ledger())

        def recorded(form: Form) -> bool:
            format = sound_format(form)
            if format is None:
                return False
            released = format == release.request.format
            return released or store.mix(release.output_id, format) is not None

        return [
            Offer(form, form.file_name(title, output_id), why_not(form, release), recorded(form))
            for form in FORMS
        ]

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ALL_OUTPUTS)
    def ready(self, studio: Container, output_id: str, name: str) -> Download | None:
        """The output in a form that takes no work; None where :meth:`make` has to make it.

        Raises :class:`RenditionUnavailableError` for a form that this output cannot be had in.
        """
        release, form = self._asked(studio, output_id, name)
        format = sound_format(form)
        found: tuple[bytes, int | None] | None
        if format is not None:
            kept = studio.mixes().kept(release, format)
            found = None if kept is None else (kept.content, kept.entry_index)
        elif form.name == "stems":
            found = self._kept_stems(studio, release)
        else:
            found = self._written(studio, release, form)
        return None if found is None else self._handed_out(studio, release, form, *found)

    @requires_output(Permission.OWN_OUTPUTS, anyone=Permission.ALL_OUTPUTS)
    def make(
        self,
        studio: Container,
        output_id: str,
        name: str,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> Download:
        """The output in a form: ``wav``, ``flac``, ``mp3``, ``m4a``, ``stems``, ``score``,
        ``receipt``, ``record`` or ``credits``.

        Sound is transcoded from the released file, which is sealed, then signed and recorded when
        it is asked for first; asked for again it is the same file. It counts against no limit;
        stems that have to be made count as one request (:meth:`Generation.stems`).

        Raises :class:`RenditionUnavailableError`, :class:`SealingError` and
        :class:`CredentialError`, and for stems what :meth:`Generation.stems` raises.
        """
        if (ready := self.ready(output_id, name)) is not None:
            return ready
        release, form = self._asked(studio, output_id, name)
        format = sound_format(form)
        if format is not None:
            made = studio.mixes().make(release, format, progress=progress, cancel=cancel)
            return self._handed_out(studio, release, form, made.content, made.entry_index)
        generation = Generation(studio, self.actor)
        stems = generation.stems(output_id, progress=progress, cancel=cancel)
        content = zip_of(stems)
        _stems_of(studio).keep(output_id, release.request.format, content)
        title = _title(studio, release)
        return Download(form, form.file_name(title, output_id), content, stems.entry_index)

    # -- parts of it ----------------------------------------------------------------------------

    @staticmethod
    def _asked(studio: Container, output_id: str, name: str) -> tuple[Release, Form]:
        release, form = studio.releases().get(output_id), form_of(name)
        if (why := why_not(form, release)) is not None:
            raise RenditionUnavailableError(f"{form.label}: {why}")
        return release, form

    @staticmethod
    def _kept_stems(studio: Container, release: Release) -> tuple[bytes, int] | None:
        """Stems that were made before; consent is asked again all the same."""
        found = _stems_of(studio).find(release.output_id, release.request.format)
        if found is not None:
            studio.renditions().require_consent(release)
        return found

    def _written(self, studio: Container, release: Release, form: Form) -> tuple[bytes, int | None]:
        """A form that is written from the record."""
        if form.name == "score":
            made = studio.renditions().score_file(release)
            return made.content, made.entry_index
        if form.name == "receipt":
            return Outputs(studio, self.actor).receipt(release.output_id, "pdf"), None
        if form.name == "record":
            return record_text(release), None
        return credits_text(release, _title(studio, release)), None

    @staticmethod
    def _handed_out(
        studio: Container, release: Release, form: Form, content: bytes, entry_index: int | None
    ) -> Download:
        if form.media_type.startswith(("audio/", "application/zip")):
            log = studio.security_log()
            log.record("download", subject=release.output_id, detail=form.name)
        title = _title(studio, release)
        return Download(form, form.file_name(title, release.output_id), content, entry_index)


def _title(studio: Container, release: Release) -> str:
    """The title it was given later, or the release's."""
    return studio.shelf().title(release.output_id) or release.title


def _stems_of(studio: Container) -> KeptStems:
    return KeptStems(studio.paths.renditions, RenditionStore(studio.ledger()))
