"""Read Content Credentials of an untrusted file.

Anybody can sign anything, so "the signature is valid" is worth nothing: a manifest counts only if
its chain leads to a root we trust. Nothing is ever fetched (a file could otherwise make this
machine call an address of its author's choice), and the library that parses the file runs in the
child process of :mod:`watermark.audio.sandbox` for files from outside.

>>> judge({"state": "Valid", "failures": ["signingCredential.untrusted"], "successes": []}).state
<CredentialState.UNTRUSTED: 'untrusted'>
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from watermark.audio.sandbox import Work

__all__ = ["CredentialReading", "CredentialState", "examine", "judge", "judge_stored", "reader"]

_EXPIRED = "signingCredential.expired"
_UNTRUSTED = "signingCredential.untrusted"
_MISMATCH = {"assertion.dataHash.mismatch", "assertion.bmffHash.mismatch"}
_MAX_SHOWN = 20  # codes of failures told


class CredentialState(StrEnum):
    """What the manifest in a file is worth."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    TAMPERED = "tampered"
    EXPIRED = "expired"
    UNREADABLE = "unreadable"  # over the limits on time or memory
    ABSENT = "absent"
    RECOVERED = "recovered from ledger"


@dataclass(frozen=True, slots=True)
class CredentialReading:
    """One manifest, judged. ``claims`` is what it says: to be believed only where trusted."""

    state: CredentialState
    label: str | None = None  # the manifest's own name, a URN
    signer: str | None = None  # common name in the signing certificate
    signed_at: str | None = None  # only from an RFC 3161 timestamp
    failures: tuple[str, ...] = ()  # C2PA status codes
    claims: Mapping[str, Any] = field(default_factory=dict)  # assertions by label


def examine(
    source: io.BufferedIOBase,
    settings: Mapping[str, Any],
    *,
    media_type: str | None = None,
) -> dict[str, Any]:
    """What c2pa-rs says of a file, as plain JSON; also run in a child process.

    ``media_type`` None lets the library look at the bytes.
    """
    import c2pa

    try:
        context = c2pa.Context.from_dict(dict(settings))
        with c2pa.Reader(media_type, source, context=context) as reader:
            store = json.loads(reader.json())
    except c2pa.C2paError as exc:
        absent = isinstance(exc, c2pa.C2paError.ManifestNotFound | c2pa.C2paError.NotSupported)
        return {"state": "Absent" if absent else "Unreadable", "failures": [], "successes": []}
    results = (store.get("validation_results") or {}).get("activeManifest") or {}
    active = store.get("manifests", {}).get(store.get("active_manifest"), {})
    return {
        "state": store.get("validation_state"),
        "failures": [item["code"] for item in results.get("failure", [])],
        "successes": [item["code"] for item in results.get("success", [])],
        "label": active.get("label"),
        "signature": active.get("signature_info", {}),
        "claims": {item["label"]: item.get("data") for item in active.get("assertions", [])},
        "ingredients": [
            {"title": item.get("title"), "instance_id": item.get("instance_id")}
            for item in active.get("ingredients", [])
        ],
    }


def judge(raw: Mapping[str, Any], *, issued_here: bool = False) -> CredentialReading:
    """The state that c2pa-rs's answer deserves. Only `Trusted` is trusted.

    A chain whose term is over no longer leads to its root, so c2pa-rs calls it untrusted as well
    as expired, whoever signed. ``issued_here`` says that this very manifest is in our ledger; then
    it is expired and nothing worse.
    """
    failures = set(raw["failures"])
    if raw["state"] == "Absent":
        state = CredentialState.ABSENT
    elif raw["state"] == "Unexamined":
        state = CredentialState.UNREADABLE
    elif raw["state"] == "Trusted" and not failures:
        state = CredentialState.TRUSTED
    elif failures - {_EXPIRED, _UNTRUSTED} or raw["state"] == "Unreadable":
        state = CredentialState.TAMPERED
    elif _EXPIRED in failures and issued_here:
        state = CredentialState.EXPIRED
    else:
        state = CredentialState.UNTRUSTED
    return _reading(raw, state)


def judge_stored(raw: Mapping[str, Any]) -> CredentialReading | None:
    """The reading of a manifest kept in the ledger, apart from its file; None if it is not sound.

    Its hash of the file cannot fit anything here. Its term may be over: the ledger says that it
    was signed in time. Everything else must hold.
    """
    failures = set(raw["failures"]) - _MISMATCH
    if _EXPIRED in failures:
        failures -= {_EXPIRED, _UNTRUSTED}
    if failures or "claimSignature.validated" not in raw["successes"]:
        return None
    return _reading(raw, CredentialState.RECOVERED)


def _reading(raw: Mapping[str, Any], state: CredentialState) -> CredentialReading:
    signature = raw.get("signature") or {}
    return CredentialReading(
        state=state,
        label=raw.get("label"),
        signer=signature.get("common_name"),
        signed_at=signature.get("time"),
        failures=tuple(dict.fromkeys(raw["failures"]))[:_MAX_SHOWN],
        claims=raw.get("claims") or {},
    )


def reader() -> Work:
    """The child's part: see :func:`watermark.audio.sandbox.decoder`."""
    import c2pa

    c2pa.sdk_version()

    def work(
        request: Mapping[str, Any], file: io.BufferedIOBase, answer: Callable[[bytes], None]
    ) -> None:
        answer(json.dumps(examine(file, request)).encode())

    return work
