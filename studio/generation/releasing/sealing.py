"""Watermark, encode, tag and sign finished music, and read the result back.

The detector reads the very bytes that will be released. Where the seal is not readable there, the
strength is raised within the audibility limit, and after that there is no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.core.config import OutputFormat, StudioConfig
from studio.core.errors import SealingError
from studio.generation.progress import Run, Stage

if TYPE_CHECKING:
    from studio.provenance.credentials.claims import Claim
    from studio.provenance.credentials.signing import Credentials, SignedFile
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.sealer import Sealer
    from watermark.audio.waveform import Waveform
    from watermark.coding.message import SealId, SealKey
    from watermark.fingerprint.haitsma_kalker import Fingerprint

__all__ = ["FileSealing", "FileTexts", "SealedFile"]

MAX_READBACK_OFFSET_S = 0.5
"""A seal that reads back further from its place is not the one that was written."""


@dataclass(frozen=True, slots=True)
class FileTexts:
    """What a file says beside its sound: the tags that players show, and the signed claim.

    ``claim`` is made at each attempt, because it tells the time.
    """

    title: str
    credits: tuple[str, ...]
    claim: Callable[[], Claim]


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A sealed, encoded, tagged, signed file that was read back."""

    signed: SignedFile
    format: OutputFormat
    fingerprint: Fingerprint  # of the file as decoded
    seal: Mapping[str, Any]  # as a ledger entry keeps it
    audio: Mapping[str, Any]  # rate, channels and duration as decoded
    signer: Mapping[str, Any]

    @property
    def content(self) -> bytes:
        return self.signed.content

    @property
    def file(self) -> dict[str, Any]:
        """What a ledger entry keeps of the file itself."""
        return {
            "format": self.format,
            "bytes": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
        }

    @property
    def c2pa(self) -> dict[str, Any]:
        """What a ledger entry keeps of its Content Credentials."""
        return {
            "label": self.signed.label,
            "manifest_sha256": self.signed.manifest_sha256,
            **self.signer,
        }


class FileSealing:
    """Makes sealed files; safe to call from several threads."""

    def __init__(
        self,
        *,
        config: StudioConfig,
        sealer: Callable[[], Sealer],
        credentials: Callable[[], Credentials],
        ledger: Ledger,
    ) -> None:
        self._config = config
        self._sealer = sealer
        self._credentials = credentials
        self._ledger = ledger

    def seal_stream(
        self, windows: Iterator[Waveform], seal_id: SealId, key: SealKey
    ) -> Iterator[Waveform]:
        """Seal windows as they come, at the strength that is tried first. Nothing is a file yet."""
        strength = self._config.seal.strengths[0]
        return self._sealer().seal_stream(windows, seal_id, key, strength=strength)

    def seal_readably(
        self,
        waveform: Waveform,
        format: OutputFormat,
        texts: FileTexts,
        seal_id: SealId,
        key: SealKey,
        run: Run,
    ) -> SealedFile:
        """Seal, encode, tag, sign and read back, stronger each time.

        Raises :class:`SealingError` where the seal cannot be read back, or the music is too quiet
        for one, and :class:`CredentialError`.
        """
        steps = self._config.seal.strengths
        for attempt, strength in enumerate(steps, start=1):
            again = f" (attempt {attempt} of {len(steps)})" if attempt > 1 else ""
            run.enter(Stage.SEAL, f"Sealing{again}")
            marked = self._sealer().seal(waveform, seal_id, key, strength=strength)
            sealed = self._finished(marked, format, texts, seal_id, key, strength, run)
            if sealed is not None:
                return sealed
        raise SealingError(
            "nothing was released: the seal could not be read back from the encoded file, even at "
            "the audibility limit; try a longer duration or another seed"
        )

    def transcode(
        self,
        sealed: Waveform,
        format: OutputFormat,
        texts: FileTexts,
        seal_id: SealId,
        key: SealKey,
        strength: float,
        run: Run,
    ) -> SealedFile:
        """Encode, tag and sign sound that is sealed already, and read the seal back.

        Args:
            sealed: the released file as decoded.
            strength: at which it was sealed; recorded.

        Raises:
            SealingError: the seal is not readable in this format.
            CredentialError: the file cannot be signed.
        """
        made = self._finished(sealed, format, texts, seal_id, key, strength, run)
        if made is None:
            raise SealingError(
                f"nothing was released: the seal could not be read back from the {format.upper()}"
                " file; choose another format"
            )
        return made

    def _finished(
        self,
        marked: Waveform,
        format: OutputFormat,
        texts: FileTexts,
        seal_id: SealId,
        key: SealKey,
        strength: float,
        run: Run,
    ) -> SealedFile | None:
        """Sealed sound as a file; None where the seal cannot be read back from it."""
        run.enter(Stage.ENCODE, f"Encoding as {format.upper()}")
        content = self._encode(marked, format)
        run.enter(Stage.TAG, "Writing title and credits")
        content = _tagged(content, format, texts, seal_id)
        run.enter(Stage.SIGN, "Signing Content Credentials")
        signed = self._credentials().sign(content, format, texts.claim())
        run.enter(Stage.READ_BACK, "Reading the seal back from the file")
        return self._read_back(signed, format, seal_id, key, strength)

    def _encode(self, waveform: Waveform, format: OutputFormat) -> bytes:
        from watermark.audio.waveform import encode
        from watermark.errors import AudioError

        bitrate = self._config.generation.mp3_bitrate if format == "mp3" else None
        try:
            return encode(waveform, format, bitrate=bitrate)
        except AudioError as exc:
            raise SealingError(f"nothing was released: {exc}") from exc

    def _read_back(
        self,
        signed: SignedFile,
        format: OutputFormat,
        seal_id: SealId,
        key: SealKey,
        strength: float,
    ) -> SealedFile | None:
        """What the detector finds in the encoded file; None if not surely this seal."""
        from watermark.audio.waveform import read
        from watermark.coding.identify import MAX_CHANCE, Codebook, CodebookEntry
        from watermark.errors import WatermarkError
        from watermark.fingerprint.haitsma_kalker import fingerprint

        try:
            decoded = read(signed.content)
            codebook = Codebook([CodebookEntry(seal_id, key, decoded.duration_s)])
            detection = self._sealer().read(decoded, codebook)
            found = detection.identification
            # One seal was searched here; verification searches all of them. The bound grows in
            # proportion, so this says what verification will be able to say.
            registered = self._ledger.output_count() + 1
            if (
                found is None
                or found.seal_id != seal_id
                or abs(found.offset_s) > MAX_READBACK_OFFSET_S
                or found.chance_bound * registered > MAX_CHANCE
            ):
                return None
            return SealedFile(
                signed=signed,
                format=format,
                fingerprint=fingerprint(decoded),
                seal={
                    "id": seal_id.hex,
                    "epoch": key.epoch,
                    **self._sealer().describe(),
                    "strength": strength,
                    "readback": {
                        "score": found.score,
                        "bit_accuracy": found.bit_accuracy,
                        "chance_bound": found.chance_bound,
                    },
                },
                audio={
                    "rate": decoded.rate,
                    "channels": decoded.channels,
                    "duration_s": decoded.duration_s,
                },
                signer=self._credentials().describe(),
            )
        except WatermarkError as exc:
            raise SealingError(f"nothing was released: reading back failed: {exc}") from exc


def _tagged(content: bytes, format: OutputFormat, texts: FileTexts, seal_id: SealId) -> bytes:
    from studio.provenance.file_tags import write_metadata

    return write_metadata(
        content,
        format,
        title=texts.title,
        artist="Consented Music Studio",
        comment=". ".join((*texts.credits, "Trained algorithmic media", f"Seal {seal_id.hex}")),
    )
