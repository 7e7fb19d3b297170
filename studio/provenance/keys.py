"""The site's seal keys: one secret per epoch, made at first start, never overwritten.

A key file is ``keys/epoch-0001.key`` with owner-only rights (:meth:`watermark.message.SealKey.save`
refuses to replace one). A lost key means that every seal of its epoch can no longer be read, so a
missing one is an error, not a reason to make another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from studio.errors import LedgerError
from watermark.errors import SealKeyError
from watermark.message import SealKey

__all__ = ["KeyRing"]

_NAME = re.compile(r"^epoch-(\d{4,})\.key$")


class KeyRing:
    """All keys by epoch; the highest epoch seals."""

    def __init__(self, keys: Mapping[int, SealKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def open(cls, folder: Path) -> KeyRing:
        """Read every key, making that of epoch 1 where there is none. Raises LedgerError."""
        try:
            paths = _key_paths(folder)
            if not paths:
                try:
                    SealKey.create(1).save(folder / "epoch-0001.key")
                except SealKeyError:
                    # Another process may have made it meanwhile; its key is then ours, too.
                    if not _key_paths(folder):
                        raise
                paths = _key_paths(folder)
            keys = {epoch: SealKey.load(path) for epoch, path in paths.items()}
        except (OSError, SealKeyError) as exc:
            raise LedgerError(f"the site's seal keys cannot be read: {exc}") from exc
        for epoch, key in keys.items():
            if key.epoch != epoch:
                raise LedgerError(f"key file epoch-{epoch:04d}.key holds the key of another epoch")
        return cls(keys)

    @property
    def current(self) -> SealKey:
        """The key that seals new outputs."""
        return self._keys[max(self._keys)]

    def of(self, epoch: int) -> SealKey:
        """The key of an epoch. Raises :class:`LedgerError` where it is lost."""
        try:
            return self._keys[epoch]
        except KeyError:
            raise LedgerError(
                f"the seal key of epoch {epoch} is missing from the keys folder; outputs sealed "
                "with it cannot be recognised until it is restored from a backup"
            ) from None


def _key_paths(folder: Path) -> dict[int, Path]:
    matches = ((_NAME.match(path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in matches if match}
