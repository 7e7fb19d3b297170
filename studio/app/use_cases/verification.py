"""Verify recordings: verdict, evidence and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from studio.accounts.permissions import Permission
from studio.app.use_cases.base import UseCases, requires
from studio.app.use_cases.rights import sees_record, without_original
from studio.core.errors import ConfigError, HostRefusedError, UsageError
from studio.verification.holding import HeldFile, HeldFiles
from studio.verification.other_marks import load_readers
from studio.verification.suspect import sha256_of

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.app.examination.comparing import ComparedPart
    from studio.app.watching.store import WatchStore
    from studio.app.watching.webhook import Webhook
    from studio.provenance.credentials.inspector import CredentialFinding
    from studio.verification.reader_calibration import ReaderCalibration
    from studio.verification.report import VerifyReport
    from watermark.audio.waveform import DecodeLimits, Waveform

__all__ = ["Verification"]


class Verification(UseCases):
    """Saying of a file whether it came from here."""

    @requires(Permission.VERIFY)
    def verify(
        self,
        studio: Container,
        source: str | Path | bytes | HeldFile,
        *,
        record: bool = True,
        limits: DecodeLimits | None = None,
        max_values: int | None = None,
        progress: Callable[[float], None] | None = None,
        recorded_since: int | None = None,
    ) -> VerifyReport:
        """Examine a suspect file. An unreadable file is a verdict, not an error.

        Of what :meth:`hold` fetched, the verdict and its ledger entry say where it came from.

        ``record`` appends the verdict to the ledger. ``limits`` on decoding are those on uploads
        unless given; ``max_values`` (samples times channels, of all streams) then is without limit
        unless given. ``progress`` is called with the seconds read, and may raise to stop the work.
        ``recorded_since``: the size of the ledger when an examination of the file began that was
        cut off; what it recorded is not recorded again.

        Raises :class:`~studio.core.errors.BeyondLimitsError` for a file over a limit: it has no
        verdict, and no ledger entry.
        """
        held = source if isinstance(source, HeldFile) else None
        report = studio.examiner().examine(
            source.path if isinstance(source, HeldFile) else source,
            record=record,
            limits=limits,
            max_values=max_values,
            progress=progress,
            recorded_since=recorded_since,
            origin=None if held is None else held.origin,
        )
        return report if held is None else replace(report, file=held.name)

    @requires(Permission.VERIFY)
    def hold(
        self, studio: Container, url: str, *, progress: Callable[[float], None] | None = None
    ) -> HeldFile:
        """Fetch a recording from an address, to be examined; it is held under its SHA-256.

        ``progress`` is called with each piece, and may raise to stop.

        Raises :class:`HostRefusedError` for an address that ``verify.url_hosts`` does not allow,
        :class:`HostUnreachableError` where nothing whole came, :class:`BeyondLimitsError` where it
        is too large.
        """
        config = studio.config
        if not config.verify.urls:
            raise HostRefusedError(
                "this studio examines no addresses: verify.url_hosts of studio.yaml names no host; "
                "download the recording, and examine the file"
            )
        config.verify.urls.target(url)
        studio.paths.create()
        held = HeldFiles(studio.paths.held, config.verify.held_bytes)
        uploads = config.uploads
        return held.fetch(
            url,
            config.verify.urls,
            max_bytes=uploads.max_bytes,
            deadline_s=uploads.deadline_s,
            progress=progress,
        )

    @requires(Permission.VERIFY)
    def compare(
        self,
        studio: Container,
        source: str | Path | bytes,
        report: VerifyReport,
        *,
        limits: DecodeLimits | None = None,
    ) -> tuple[ComparedPart, ...]:
        """The matched seconds of an examined file beside those of their originals, as pictures.

        Of outputs whose record the actor may not see nothing but the file's own side is given.
        """
        parts = studio.examiner().compare(source, report, limits)
        return tuple(self._allowed(studio, part) for part in parts)

    def _allowed(self, studio: Container, part: ComparedPart) -> ComparedPart:
        if sees_record(studio, self.actor, part.comparison.place.output_id):
            return part
        return replace(part, files=without_original(part.files))

    @requires(Permission.VERIFY)
    def credentials(self, studio: Container, source: str | Path | bytes) -> CredentialFinding:
        """What the Content Credentials in a file are worth; no seal is read.

        Raises :class:`OSError` for a file that cannot be read.
        """
        return studio.examiner().credentials_of(source)

    @requires(Permission.VERIFY)
    def output_count(self, studio: Container) -> int:
        """How many outputs a file can be recognised as, now."""
        return studio.ledger().output_count()

    @requires(Permission.VERIFY)
    def ledger_size(self, studio: Container) -> int:
        """How many entries the ledger has now."""
        return studio.ledger().size()

    @requires(Permission.VERIFY)
    def watch_store(self, studio: Container, folder: Path, case_id: str | None) -> WatchStore:
        """The stored state of a watched folder; for one process at a time.

        Raises :class:`UsageError` for a folder that is no folder, that is watched already, or that
        the studio's home lies in.
        """
        from studio.app.watching.store import WatchStore

        home, watched = studio.paths.home.resolve(), folder.resolve()
        if not watched.is_dir():
            raise UsageError(f"{folder} is no folder")
        if home.is_relative_to(watched) or watched.is_relative_to(home):
            raise UsageError(
                f"{folder} holds the studio's home or lies in it; watch a folder of its own"
            )
        studio.paths.create()
        return WatchStore(studio.paths.watches, watched, case_id or "")

    @requires(Permission.VERIFY)
    def webhook(self, studio: Container, url: str) -> tuple[Webhook, Path | None]:
        """The web hook at ``url``; with the file of its secret where that was made now.

        Raises :class:`HostRefusedError` for an address that ``webhooks.hosts`` does not allow.
        """
        from studio.app.watching.webhook import Webhook, own_secret

        allowed = studio.config.webhooks.allowed
        if not allowed:
            raise HostRefusedError(
                "no web hook is allowed; name its host in webhooks.hosts of studio.yaml"
            )
        target = allowed.target(url)
        studio.paths.create()
        path = studio.paths.keys / "webhook.secret"
        secret, new = own_secret(path)
        return Webhook(target, allowed, secret), path if new else None

    @requires(Permission.ADMINISTER)
    def calibrate_reader(
        self,
        studio: Container,
        name: str,
        files: Iterable[Path],
        *,
        duration_s: float,
        target: float = 0.01,
        threshold: float | None = None,
        left_out: Callable[[Path, str], None] = lambda _path, _why: None,
    ) -> ReaderCalibration:
        """Calibrate a reader of others' marks on unmarked music, a clip from each file's middle.

        ``name`` is the reader as ``verify.other_readers`` names it; ``left_out`` is told of files
        that are too short or cannot be read. Raises :class:`UsageError` where there is no such
        reader, or too little music.
        """
        from studio.verification.reader_calibration import calibrate_reader
        from watermark.audio.waveform import read
        from watermark.errors import AudioError

        limits = studio.examiner().upload_limits()
        try:
            (reader,) = load_readers([name])
        except ConfigError as exc:  # the caller named it, no configuration
            raise UsageError(str(exc).removeprefix("verify.other_readers: ")) from exc

        def clips() -> Iterator[tuple[str, Waveform]]:
            for file in files:
                try:
                    sound = read(file, limits)
                    digest = sha256_of(file, limits.max_bytes)
                except (AudioError, OSError) as exc:
                    left_out(file, str(exc))
                    continue
                if sound.duration_s < duration_s or not digest:
                    left_out(file, f"it is shorter than {duration_s:g} s")
                    continue
                start_s = (sound.duration_s - duration_s) / 2
                yield digest, sound.slice(start_s, start_s + duration_s)

        return calibrate_reader(
            reader, clips(), duration_s=duration_s, target=target, threshold=threshold
        )

    @requires(Permission.VERIFY)
    def seal_model(self, studio: Container) -> str:
        """The seal model that files are read with."""
        return str(studio.sealer().describe()["pair"])

    @requires(Permission.BROWSE)
    def root_certificates(self, studio: Container) -> str:
        """The root certificates that the studio's signatures lead to (PEM)."""
        return studio.credentials().trust.anchors_pem
