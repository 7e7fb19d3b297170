"""A released output in further formats: WAV, FLAC, MP3 and M4A.

Each is transcoded from the released file, which is sealed already: nothing is embedded again. It is
tagged and signed as a release is, the seal is read back from it, and one ledger entry of the kind
``renditions`` records it. The file is kept in a folder of its own, so that whoever asks again gets
the same bytes and nothing is recorded twice; the folder may be emptied at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.consent import Decision
from studio.consent.policy import recorded_decision
from studio.core.config import OutputFormat
from studio.core.errors import LedgerError, RenditionUnavailableError, SealingError
from studio.generation.progress import OnProgress, Run, Stage
from studio.generation.releasing.manifest import claim_of
from studio.generation.releasing.sealing import FileSealing, FileTexts, SealedFile
from studio.provenance.renditions import MIX, RenditionRow, RenditionStore
from watermark.util.files import write_file

if TYPE_CHECKING:
    from studio.consent import ConsentRegistry
    from studio.music.models.config import ModelConfig
    from studio.provenance.credentials.claims import Claim
    from studio.provenance.keys import KeyRing
    from studio.provenance.ledger.entry import Entry
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.release import Release

__all__ = ["MixFile", "MixMaker", "can_make"]


@dataclass(frozen=True, slots=True)
class MixFile:
    """An output's sound in one format, as recorded."""

    format: OutputFormat
    content: bytes
    sha256: str
    entry_index: int


def can_make(format: OutputFormat) -> bool:
    """Whether the codec of the format is installed here."""
    from watermark.audio.encoding import can_write

    return can_write(format)


class MixMaker:
    """Makes, records and keeps an output's formats; safe for several threads and processes.

    Args:
        folder: where files are kept that were made once.
        file_of: the released file of an output.
        registry: consent as it is now; it knows the grants of every release.
        ancestors: an output's parent, its parent and so on.
        require_distribution: refuses an output that may not be distributed any more.
    """

    def __init__(
        self,
        *,
        folder: Path,
        file_of: Callable[[Release], Path],
        sealing: FileSealing,
        models: Mapping[str, ModelConfig],
        registry: Callable[[], ConsentRegistry],
        ledger: Ledger,
        keys: KeyRing,
        ancestors: Callable[[Release], tuple[Release, ...]],
        require_distribution: Callable[[str], None],
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._folder = folder
        self._file_of = file_of
        self._sealing = sealing
        self._models = models
        self._registry = registry
        self._keys = keys
        self._ancestors = ancestors
        self._require_distribution = require_distribution
        self._clock = clock or (lambda: datetime.now(UTC))
        self._store = RenditionStore(ledger)

    def kept(self, release: Release, format: OutputFormat) -> MixFile | None:
        """The file that is there already; None where it has to be made.

        Raises :class:`OutputWithdrawnError` and :class:`OutputGoneError`.
        """
        self._require_distribution(release.output_id)
        if format == release.request.format:
            content = self._file_of(release).read_bytes()
            return MixFile(format, content, release.sha256, release.entry_index)
        recorded = self._store.mix(release.output_id, format)
        if recorded is None:
            return None
        entry_index, sha256 = recorded
        try:
            content = self._path(release, format).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest() != sha256:
            return None
        return MixFile(format, content, sha256, entry_index)

    def make(
        self,
        release: Release,
        format: OutputFormat,
        *,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> MixFile:
        """The output in ``format``: the file that is kept, or one that is made and recorded now.

        Raises:
            RenditionUnavailableError: there is no codec for the format.
            OutputWithdrawnError, OutputGoneError: the output may not, or cannot, be had.
            SealingError: the seal is not readable in this format.
            CredentialError: the file cannot be signed.
        """
        run = Run(progress or (lambda _: None), cancel or threading.Event())
        if (kept := self.kept(release, format)) is not None:
            return kept
        if not can_make(format):
            raise RenditionUnavailableError(
                f"{format.upper()} cannot be made here: this installation has no encoder for it"
            )
        source = self._file_of(release)
        with _alone(source):  # of several who ask at a time, one makes it
            if (kept := self.kept(release, format)) is not None:
                return kept
            sealed = self._transcoded(release, source, format, run)
            self._require_distribution(release.output_id)
            entry = self._recorded(release, sealed)
            try:
                write_file(self._path(release, format), sealed.content)
            except OSError as exc:
                raise LedgerError(f"the file cannot be kept: {exc.strerror}") from exc
        run.enter(Stage.DONE, "Ready", can_cancel=False)
        return MixFile(format, sealed.content, sealed.file["sha256"], entry.index)

    def _path(self, release: Release, format: OutputFormat) -> Path:
        return self._folder / f"{release.output_id}.{format}"

    def _transcoded(
        self, release: Release, source: Path, format: OutputFormat, run: Run
    ) -> SealedFile:
        from watermark.audio.waveform import read
        from watermark.coding.message import SealId
        from watermark.errors import WatermarkError

        run.enter(Stage.ENCODE, "Reading the released file")
        try:
            waveform = read(source)
        except WatermarkError as exc:
            raise SealingError(f"the released file cannot be read: {exc}") from exc
        return self._sealing.transcode(
            waveform,
            format,
            FileTexts(release.title, release.credits, lambda: self._claim(release)),
            SealId.parse(release.seal_id),
            self._keys.of(release.seal["epoch"]),
            release.seal["strength"],
            run,
        )

    def _claim(self, release: Release) -> Claim:
        parents = self._ancestors(release)
        model = self._models.get(release.request.model)
        basis = "" if model is None else model.training_basis.strip()
        return claim_of(
            release.request,
            _decision_of(release, self._registry()),
            model={**release.model, "training_basis": basis},
            seal_id=release.seal_id,
            made_at=self._clock(),
            parent=parents[0] if parents else None,
            transcoded_from=release.sha256,
        )

    def _recorded(self, release: Release, made: SealedFile) -> Entry:
        body: dict[str, Any] = {
            "output_id": release.output_id,
            "release": release.entry_index,
            "files": [
                {
                    "part": MIX,
                    **made.file,
                    "audio": made.audio,
                    "seal": made.seal,
                    "c2pa": made.c2pa,
                    "transcoded_from": release.sha256,
                }
            ],
        }
        # Without a fingerprint: it sounds as the output does, whose fingerprint is known.
        row = RenditionRow(
            part=MIX,
            output_id=release.output_id,
            sha256=made.file["sha256"],
            label=made.signed.label,
            manifest=made.signed.manifest,
        )
        return self._store.record(body, [row])


def _decision_of(release: Release, registry: ConsentRegistry) -> Decision:
    """The decision that the output was released by, with its grants.

    Raises :class:`LedgerError` where consent does not know them.
    """
    try:
        return recorded_decision(release.decision, registry)
    except KeyError as exc:
        raise LedgerError(
            f"a grant behind output {release.output_id} is not on record; "
            "run `studio ledger verify`"
        ) from exc


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a file's lock, against other threads and processes."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
