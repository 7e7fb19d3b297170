"""Seal ids, epoch keys, and the keyed sequence of 16-bit messages between them.

The message of second ``k`` of a sealed track is the first 16 bits of
``HMAC-SHA256(epoch secret, seal id (8 bytes) ‖ k (uint32, big-endian))``, most significant bit
first. Without the secret the sequence of a seal can neither be predicted nor told from coin flips,
which is what lets :mod:`watermark.coding.identify` bound the chance of a false attribution exactly.

Where a model's record says so, the message is *scrambled* before it is written: every chip (a few
cells of one second) has its own 16 bits, the first of
``HMAC-SHA256(epoch secret, "watermark-scramble/1" ‖ (second mod 8) ‖ chip)`` (a byte each), and
their exclusive or is written. What a host, or a stranger's seal, says to a bit then changes its
sign from chip to chip and averages out; and whoever has the secret can tell that a stretch follows
it, and where in its 8 s, before any seal is named (:mod:`watermark.coding.scramble`).

The format is fixed: golden vectors in the tests must hold for ever, or sealed tracks become
unreadable.

Keys belong to an epoch. A rotation makes a new epoch; old keys stay, to read what they sealed.

>>> key = SealKey(epoch=1, secret=bytes(range(32)))
>>> seal_id = SealId.parse("0011223344556677")
>>> message(key, seal_id, 0)
array([0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1], dtype=uint8)
>>> messages(key, seal_id, 10).shape
(10, 16)
>>> scramble_words(key, 0, 3).tolist()
[27501, 45554, 39283]
>>> key
SealKey(epoch=1, secret=<hidden>)
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from watermark.errors import SealIdError, SealKeyError
from watermark.util.files import create_file

__all__ = [
    "BITS",
    "SCRAMBLE_PERIOD_S",
    "SealId",
    "SealKey",
    "message",
    "message_words",
    "messages",
    "scramble_words",
]

#: Bits in one message (one second of audio).
BITS = 16

#: Seconds after which the scramble begins anew.
SCRAMBLE_PERIOD_S = 8

_SCRAMBLE = b"watermark-scramble/1"
_ID_BYTES = 8
_SECRET_BYTES = 32
_FORMAT = "watermark-seal-key/1"


@dataclass(frozen=True, slots=True, order=True)
class SealId:
    """The 8 bytes that name one sealed output.

    Raises:
        SealIdError: not 8 bytes, or not 16 hexadecimal digits.
    """

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != _ID_BYTES:
            raise SealIdError(f"a seal id has {_ID_BYTES} bytes, not {len(self.value)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse 16 hexadecimal digits, in either case."""
        if not re.fullmatch(r"[0-9a-fA-F]{16}", text):
            raise SealIdError(f"not a seal id (16 hexadecimal digits): {text[:40]!r}")
        return cls(bytes.fromhex(text))

    @classmethod
    def random(cls) -> Self:
        """A new id; among a million the chance that any two agree is 3e-8."""
        return cls(secrets.token_bytes(_ID_BYTES))

    @property
    def hex(self) -> str:
        """16 lower-case hexadecimal digits."""
        return self.value.hex()

    def __str__(self) -> str:
        return self.hex


@dataclass(frozen=True, slots=True, repr=False)
class SealKey:
    """The secret of one epoch; its text form hides the secret.

    Attributes:
        epoch: which key this is, from 1.
        secret: 32 bytes; whoever has them can write and read every seal of the epoch.

    Raises:
        SealKeyError: an epoch below 1, or a secret of another length.
    """

    epoch: int
    secret: bytes

    def __post_init__(self) -> None:
        if self.epoch < 1:
            raise SealKeyError(f"epochs count from 1, not {self.epoch}")
        if len(self.secret) != _SECRET_BYTES:
            raise SealKeyError(f"a seal key has {_SECRET_BYTES} secret bytes")

    def __repr__(self) -> str:
        return f"SealKey(epoch={self.epoch}, secret=<hidden>)"

    @classmethod
    def create(cls, epoch: int) -> Self:
        """A new secret from the operating system's random source."""
        return cls(epoch, secrets.token_bytes(_SECRET_BYTES))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a key file that only its owner can read.

        Raises:
            SealKeyError: missing, not a key file, or readable by group or others.
        """
        name = Path(path).name
        try:
            with Path(path).open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(10_000)
        except OSError as exc:
            raise SealKeyError(
                f"key file {name}: {(exc.strerror or 'unreadable').lower()}"
            ) from exc
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SealKeyError(f"key file {name} is open to other users; run chmod 600 on it")
        try:
            fields = json.loads(data)
            if fields["format"] != _FORMAT:
                raise SealKeyError(f"key file {name}: not of format {_FORMAT}")
            return cls(int(fields["epoch"]), bytes.fromhex(fields["secret"]))
        except (ValueError, KeyError, TypeError) as exc:
            raise SealKeyError(f"key file {name}: not a seal key") from exc

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a new file with owner-only rights; an existing file is never overwritten.

        Raises:
            SealKeyError: a file of that name exists, or the place cannot be written.
        """
        target = Path(path)
        text = json.dumps({"format": _FORMAT, "epoch": self.epoch, "secret": self.secret.hex()})
        try:
            made = create_file(target, f"{text}\n".encode())
        except OSError as exc:
            reason = (exc.strerror or "cannot be written").lower()
            raise SealKeyError(f"key file {target.name}: {reason}") from exc
        if not made:  # a key that sealed something must never be lost under a new one
            raise SealKeyError(f"key file {target.name} exists and is not overwritten")


def message_words(
    key: SealKey, seal_id: SealId, seconds: int, start: int = 0
) -> NDArray[np.uint16]:
    """The messages of seconds ``start`` to ``start + seconds`` as 16-bit words, ``(seconds,)``."""
    # hmac.HMAC costs twice as much per call: the two padded blocks are hashed once, then copied.
    block = key.secret.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))
    inner.update(seal_id.value)
    words = bytearray()
    for k in range(start, start + seconds):
        digest = inner.copy()
        digest.update(k.to_bytes(4, "big"))
        final = outer.copy()
        final.update(digest.digest())
        words += final.digest()[:2]
    return np.frombuffer(bytes(words), ">u2").astype(np.uint16)


def message(key: SealKey, seal_id: SealId, k: int) -> NDArray[np.uint8]:
    """The message of second ``k``: uint8 ``(16,)`` of 0 and 1, most significant bit first."""
    digest = hmac.digest(key.secret, seal_id.value + k.to_bytes(4, "big"), "sha256")
    return np.unpackbits(np.frombuffer(digest[: BITS // 8], np.uint8))


def messages(key: SealKey, seal_id: SealId, seconds: int, start: int = 0) -> NDArray[np.uint8]:
    """The messages of ``seconds`` seconds from ``start``: uint8 ``(seconds, 16)`` of 0 and 1."""
    words = message_words(key, seal_id, seconds, start)
    return np.unpackbits(words.astype(">u2").view(np.uint8)).reshape(seconds, BITS)


def scramble_words(key: SealKey, second: int, chips: int) -> NDArray[np.uint16]:
    """What the first ``chips`` chips of a second are scrambled with, 16-bit words ``(chips,)``."""
    period = bytes([second % SCRAMBLE_PERIOD_S])
    digests = [
        hmac.digest(key.secret, _SCRAMBLE + period + bytes([chip]), "sha256")
        for chip in range(chips)
    ]
    return np.frombuffer(b"".join(digest[:2] for digest in digests), ">u2").astype(np.uint16)
