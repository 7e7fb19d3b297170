"""What verification says about the Content Credentials of a suspect file.

Three sources are compared: the manifest in the file, the roots we trust, and the ledger, which
keeps every manifest signed here. So a stripped manifest is recovered by the seal, a manifest of
ours whose certificate is over is told from a stranger's, and "trusted" always says whose it is.
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.core.errors import DecodingRefusedError
from studio.provenance.credentials.reading import (
    CredentialReading,
    CredentialState,
    examine,
    judge,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from studio.core.config import UploadConfig
    from studio.provenance.credentials.repository import ManifestStore
    from studio.provenance.credentials.signing import Credentials
    from studio.provenance.release import Release

__all__ = ["CredentialFinding", "CredentialInspector"]

_READER = "studio.provenance.credentials.reading:reader"
_MARKS = (b"jumb", b"c2pa")  # every embedded manifest store holds both (C2PA 2.2, section 11)


@dataclass(frozen=True, slots=True)
class CredentialFinding:
    """A reading, whose manifest it is, and what that means."""

    reading: CredentialReading
    issued_here: bool  # this very manifest is in our ledger
    explanation: str

    @property
    def is_present(self) -> bool:
        """There is a manifest, in the file or in the ledger."""
        return self.reading.state is not CredentialState.ABSENT

    def to_json(self) -> dict[str, Any]:
        """The ``c2pa`` of a verification report."""
        reading = self.reading
        if not self.is_present:
            return {"state": str(reading.state), "explanation": self.explanation}
        return {
            "state": str(reading.state),
            "explanation": self.explanation,
            "issued_here": self.issued_here,
            "label": reading.label,
            "signer": reading.signer,
            "signed_at": reading.signed_at,
            "failures": list(reading.failures),
            "says": _said(reading.claims),
        }


_SAID = 10  # actions told
_LONG = 200  # characters of one text of a manifest


def _said(claims: Mapping[str, Any]) -> list[str]:
    """A summary of a manifest's claims; true only where the signer is trusted."""
    lines: list[str] = []
    for label in ("c2pa.actions", "c2pa.actions.v2"):
        body = claims.get(label)
        actions = body.get("actions") if isinstance(body, Mapping) else None
        for action in actions if isinstance(actions, list) else ():
            if not isinstance(action, Mapping):
                continue
            source = str(action.get("digitalSourceType") or "").rpartition("/")[2]
            agent = action.get("softwareAgent")
            by = agent.get("name") if isinstance(agent, Mapping) else agent
            parts = [str(action.get("action", "")), source, f"by {by}" if by else ""]
            lines.append(", ".join(part for part in parts if part)[:_LONG])
    return [line for line in lines if line][:_SAID]


class CredentialInspector:
    """Examines the manifests of files, with the ledger at hand."""

    def __init__(self, credentials: Callable[[], Credentials], manifests: ManifestStore) -> None:
        self._credentials = credentials
        self._manifests = manifests

    def examine(
        self,
        source: str | Path | bytes,
        uploads: UploadConfig,
        *,
        release: Release | None,
        part: str | None = None,
    ) -> CredentialFinding:
        """The manifest in ``source``, or, where there is none, that of the output it matches.

        ``part`` names the stem of the output that it is.

        Raises :class:`~studio.core.errors.CredentialError` where the ledger's own manifest is
        damaged.
        """
        raw, issued_here = self._examine(source, uploads)
        reading = judge(raw, issued_here=issued_here)
        stored = None
        if release is not None:
            stored = None if part is None else self._manifests.of_part(release.output_id, part)
            stored = stored or self._manifests.of_output(release.output_id)
        if reading.state is CredentialState.ABSENT and stored is not None:
            recovered = self._credentials().recover(stored.content)
            if recovered is not None:
                return CredentialFinding(recovered, True, _explain(recovered, True, True))
        if reading.state is CredentialState.ABSENT and release is not None and stored is None:
            text = "No Content Credentials: the output was released before files were signed."
            return CredentialFinding(reading, False, text)
        text = _explain(reading, issued_here, stored is not None)
        return CredentialFinding(reading, issued_here, text)

    def _examine(
        self, source: str | Path | bytes, uploads: UploadConfig
    ) -> tuple[Mapping[str, Any], bool]:
        from watermark.audio.decoding import DecodeLimits
        from watermark.audio.sandbox import isolated_json
        from watermark.errors import AudioError, AudioTooLongError, SandboxUnavailableError

        absent: dict[str, Any] = {"state": "Absent", "failures": [], "successes": []}
        settings = self._credentials().settings()
        with _bytes_of(source) as content:
            if not all(content.find(mark) >= 0 for mark in _MARKS):
                return absent, False
            try:
                if uploads.isolate:
                    # The file's size was judged by whoever decoded it: hours of it may be right.
                    limits = DecodeLimits(
                        max_bytes=len(content),
                        deadline_s=uploads.deadline_s,
                        unfiltered=uploads.allow_unfiltered,
                    )
                    raw = isolated_json(_READER, settings, source, limits)
                else:
                    raw = examine(io.BytesIO(content[:]), settings)
            except SandboxUnavailableError as exc:
                raise DecodingRefusedError(str(exc)) from exc
            except AudioTooLongError:
                return {**absent, "state": "Unexamined"}, False
            except AudioError:  # the library crashed on it
                return {**absent, "state": "Unreadable"}, False
            if raw["state"] == "Absent":
                return absent, False
            stored = self._manifests.labelled(raw["label"]) if raw.get("label") else None
            return raw, stored is not None and content.find(stored.content) >= 0


@contextmanager
def _bytes_of(source: str | Path | bytes) -> Iterator[bytes | mmap.mmap]:
    if isinstance(source, bytes):
        yield source
        return
    with Path(source).open("rb") as file:
        if file.seek(0, io.SEEK_END) == 0:  # which cannot be mapped
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
            yield view


def _explain(reading: CredentialReading, issued_here: bool, on_record: bool) -> str:
    """What the state means, in plain words."""
    signer = f"“{reading.signer}”" if reading.signer else "an unnamed signer"
    ledger = " The manifest signed at release is in the ledger." if on_record else ""
    match reading.state:
        case CredentialState.TRUSTED if issued_here:
            return "Content Credentials: signed by this studio, and nothing was changed since."
        case CredentialState.TRUSTED:
            return (
                f"Content Credentials: signed by {signer}, whom this studio trusts but who is not "
                "this studio; nothing was changed since."
            )
        case CredentialState.UNTRUSTED:
            return (
                f"Content Credentials: a manifest signed by {signer}, whom nobody here vouches for."
                f" Anyone can sign; it proves nothing.{ledger}"
            )
        case CredentialState.TAMPERED:
            return (
                "Content Credentials: the manifest does not fit the file; one of the two was "
                f"changed after signing.{ledger}"
            )
        case CredentialState.UNREADABLE:
            return (
                "Content Credentials: a manifest is there, and reading it takes more time or "
                f"memory than is allowed; nothing is said about it.{ledger}"
            )
        case CredentialState.EXPIRED:
            return (
                "Content Credentials: signed by this studio with a certificate whose term is over; "
                "the ledger shows that it was signed in time, and nothing was changed since."
            )
        case CredentialState.RECOVERED:
            return (
                "Content Credentials: they were stripped from the file; the manifest signed at "
                "release was recovered from the ledger."
            )
    return "No Content Credentials in the file."
