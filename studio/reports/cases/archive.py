"""The signed archive of a case report.

It holds ``report.html``, ``report.pdf``, ``report.json`` and ``signed.txt``: a signed note
(https://c2sp.org/signed-note) under the key of the ledger's checkpoints, whose text names the case
and the SHA-256 of each file::

    consented-music-studio/case-report/v1
    case 9f2c00a1b2c3d4e5
    reference R-2026-17
    made 2026-11-30T00:20:00.000000Z
    ledger 118 entries
    sha256 5d41... report.html
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.consent.types import format_instant
from studio.core.errors import ProofError, UnreadableProofError
from studio.provenance.ledger.checkpoints.signed_note import open_note, sign_note
from studio.reports.cases.html import case_page
from studio.reports.cases.pdf import case_pdf

if TYPE_CHECKING:
    from datetime import datetime

    from studio.provenance.ledger.checkpoints.signed_note import SignerKey, VerifierKey
    from studio.reports.cases.html import CasePictures
    from studio.verification.cases import Case

__all__ = ["CheckedReport", "case_archive", "case_file", "check_archive"]

_HEAD = "consented-music-studio/case-report/v1"
_NOTE = "signed.txt"
_NAMES = ("report.html", "report.json", "report.pdf")
_MOST = 64 << 20  # bytes of one file of an archive
_LINE = re.compile(r"sha256 ([0-9a-f]{64}) (\S+)")


@dataclass(frozen=True, slots=True)
class CheckedReport:
    """What a checked archive says of itself."""

    case_id: str
    reference: str
    made_at: str
    signed_by: tuple[str, ...]


def case_file(case: Case, kind: str, made_at: datetime, pictures: CasePictures) -> bytes:
    """The report as ``html``, ``json`` or ``pdf``; ``pictures`` are those of its files."""
    if kind == "html":
        return case_page(case, made_at, pictures).encode()
    if kind == "pdf":
        return case_pdf(case, made_at, pictures)
    body = {"case_report_version": 1, "made_at": format_instant(made_at), **case.to_json()}
    return (json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def case_archive(
    case: Case, made_at: datetime, signer: SignerKey, entries: int, pictures: CasePictures
) -> bytes:
    """The archive (zip). ``entries``: the size of the ledger when it was made."""
    contents = {
        name: case_file(case, name.rpartition(".")[2], made_at, pictures) for name in _NAMES
    }
    lines = [
        _HEAD,
        f"case {case.case_id}",
        f"reference {case.reference}",
        f"made {format_instant(made_at)}",
        f"ledger {entries} entries",
        *(f"sha256 {hashlib.sha256(data).hexdigest()} {name}" for name, data in contents.items()),
    ]
    note = sign_note("".join(f"{line}\n" for line in lines), signer)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**contents, _NOTE: note.encode()}.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def check_archive(data: bytes, keys: Sequence[VerifierKey]) -> CheckedReport:
    """What an archive is, if a key of these signed it and no file in it was changed.

    Raises :class:`ProofError` where it does not hold, :class:`UnreadableProofError` where it is no
    archive of a case report.
    """
    contents = _unpacked(data)
    try:
        note = contents.pop(_NOTE).decode()
    except (KeyError, UnicodeDecodeError) as exc:
        raise UnreadableProofError("no archive of a case report: signed.txt is not in it") from exc
    text, signers = open_note(note, *keys)
    lines = text.splitlines()
    if len(lines) < 5 or lines[0] != _HEAD:
        raise UnreadableProofError("what is signed is no case report")
    signed = {found[2]: found[1] for line in lines[5:] if (found := _LINE.fullmatch(line))}
    if set(signed) != set(contents):
        raise ProofError("the archive does not hold the very files that were signed")
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != signed[name]:
            raise ProofError(f"{name} is not the file that was signed")
    return CheckedReport(
        case_id=lines[1].partition(" ")[2],
        reference=lines[2].partition(" ")[2],
        made_at=lines[3].partition(" ")[2],
        signed_by=tuple(key.name for key in signers),
    )


def _unpacked(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if sorted(info.filename for info in infos) != sorted((*_NAMES, _NOTE)):
                raise UnreadableProofError(
                    f"no archive of a case report: it holds {', '.join(_NAMES)} and {_NOTE}"
                )
            found: dict[str, bytes] = {}
            for info in infos:
                with archive.open(info) as file:
                    content = file.read(_MOST + 1)
                if len(content) > _MOST:
                    raise UnreadableProofError(f"{info.filename} is longer than a report is")
                found[info.filename] = content
            return found
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as exc:
        raise UnreadableProofError("no zip archive") from exc
