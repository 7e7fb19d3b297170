"""Sign and store checkpoints, and check the ledger against them.

A checkpoint is written every so many entries, every so many minutes in which anything was appended,
and on demand: into ``checkpoints/`` of the studio's home and into a second folder outside of it,
which ought to be in another hand. Before one is signed, the ledger is proved to continue the newest
one there is in either place; a ledger that does not is never signed for, and never appended to by a
studio that starts.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from studio.core.errors import LedgerError, ProofError, StudioError
from studio.provenance.ledger.checkpoints import timestamp
from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
from studio.provenance.ledger.checkpoints.public_keys import read_keys, write_keys
from studio.provenance.ledger.checkpoints.signed_note import SignerKey, VerifierKey
from studio.provenance.ledger.tree.proofs import check_consistency
from watermark.util.files import write_file

if TYPE_CHECKING:
    from studio.core.config import LedgerConfig
    from studio.provenance.keys import LedgerKeys
    from studio.provenance.ledger.log import Entry, Ledger

__all__ = [
    "Checkpointer",
    "SignedCheckpoint",
    "check_against",
    "outside_folder",
    "set_aside",
    "what_is_outside",
]

_log = logging.getLogger(__name__)

PUBLIC_KEYS = "public-keys.txt"
AUTO = "auto"
_CHECKPOINTS = "checkpoint-*.txt"
_WATCH_S = 5.0  # how often a server looks at what others appended


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint as it was published."""

    checkpoint: Checkpoint
    note: str  # signed
    path: Path  # in the studio's own folder
    timestamp: bytes | None = None  # RFC 3161 response (DER)


def check_against(ledger: Ledger, checkpoint: Checkpoint) -> None:
    """Whether the ledger continues that checkpoint. Raises :class:`ProofError`."""
    size = ledger.size()
    if size < checkpoint.size:
        raise ProofError(
            f"the ledger has {size} entries, but a checkpoint was signed over {checkpoint.size}: "
            "its end was cut off, or an older copy was put in its place"
        )
    try:
        check_consistency(
            checkpoint.size,
            size,
            ledger.consistency(checkpoint.size, size),
            first_head=checkpoint.head,
            second_head=ledger.head(size),
        )
    except ProofError as exc:
        raise ProofError(
            f"the first {checkpoint.size} entries of the ledger are not those that a checkpoint "
            "was signed over: the ledger was rewritten"
        ) from exc


def outside_folder(config: LedgerConfig, home: Path) -> Path | None:
    """The folder outside the home that keeps every checkpoint, too; None: there is to be none.

    It is known without the home, so that a home that was lost or replaced is noticed.
    """
    if config.second_folder is None:
        return None
    if config.second_folder == AUTO:
        home = Path(os.path.abspath(home))  # noqa: PTH100 - a link is kept, "." gets a name
        return home.with_name(f"{home.name}-checkpoints") if home.name else None
    return Path(config.second_folder)


def what_is_outside(folder: Path) -> tuple[list[VerifierKey], str | None]:
    """The public keys and the newest checkpoint in such a folder, as they lie there.

    Raises :class:`LedgerError` where they cannot be read.
    """
    path = max(folder.glob(_CHECKPOINTS), default=None)
    try:
        note = None if path is None else path.read_text(encoding="utf-8")
        keys = folder / PUBLIC_KEYS
        return read_keys(keys.read_text(encoding="utf-8")) if keys.exists() else [], note
    except (OSError, ValueError) as exc:
        raise LedgerError(f"the checkpoints in {folder} cannot be read: {exc}") from exc


def set_aside(folder: Path, size: int) -> int:
    """Move checkpoints over more than ``size`` entries into ``superseded/`` there; how many.

    For a restore that takes the loss of later entries: they stay the evidence that there were some.
    """
    later = [
        path
        for path in sorted(folder.glob("checkpoint-*.*"))
        if path.suffix in (".txt", ".tsr") and int(path.stem.rpartition("-")[2]) > size
    ]
    for path in later:
        (folder / "superseded").mkdir(mode=0o700, exist_ok=True)
        path.replace(folder / "superseded" / path.name)
    return len(later)


class Checkpointer:
    """Signs checkpoints of one ledger and keeps them. Safe to use from several threads."""

    def __init__(
        self,
        ledger: Ledger,
        keys: LedgerKeys | Callable[[], LedgerKeys],
        folder: Path,
        config: LedgerConfig,
        *,
        outside: Path | None = None,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """``keys``: those of the ledger, or what gives them as they are after every rotation.

        ``outside``: see :func:`outside_folder`.

        ``leads``: whether this is the process that signs by itself, of all that share the ledger.
        """
        self._leads = leads
        self._ended = threading.Event()
        self._ledger = ledger
        self._keys_now = keys if callable(keys) else lambda: keys
        self._folder = folder
        self._second = outside
        self._config = config
        self._lenient = config.second_folder == AUTO  # nobody chose it: without it work goes on
        self._lock = threading.Lock()
        self._signed_size = 0
        self._last = time.monotonic()
        self._first = False  # no checkpoint was ever kept: one is due with the next entry
        self._timer: threading.Timer | None = None
        self._warned: set[str] = set()

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        """Keys that a checkpoint of this ledger may be signed with, oldest first."""
        return self._keys_now().verifiers

    @property
    def signer(self) -> SignerKey:
        """The key that signs now."""
        return self._keys_now().current

    def check(self) -> SignedCheckpoint | None:
        """Hold the ledger against the newest checkpoint of either folder, and return that.

        Raises :class:`ProofError` where the ledger does not continue it or its signature is bad.
        """
        newest = self._newest()
        self._first = newest is None
        if newest is not None:
            check_against(self._ledger, newest.checkpoint)
            self._signed_size = newest.checkpoint.size
            age_s = max(0.0, time.time() - newest.path.stat().st_mtime)
            self._last = time.monotonic() - age_s
        return newest

    def checkpoint(self, *extra: SignerKey) -> SignedCheckpoint:
        """Sign the ledger as it is now, unless that was done. Raises ProofError, LedgerError.

        ``extra`` keys sign as well: the old key hands over to the new one that way.
        """
        with self._lock:
            newest = self.check()
            size = self._ledger.size()
            # After the size: once a rotation is an entry, only the new key signs.
            signer = self.signer
            if newest is not None and newest.checkpoint.size == size and not extra:
                # A folder that could not be reached then gets it now.
                path = self._write(size, newest.note, newest.timestamp)
                return replace(newest, path=path)
            checkpoint = Checkpoint(signer.name, size, self._ledger.head(size))
            note = checkpoint.sign(signer, *extra)
            stamp = None
            if self._config.timestamp_authority is not None:
                stamp = timestamp.ask(self._config.timestamp_authority, note.encode())
            path = self._write(size, note, stamp)
            self._signed_size, self._last, self._first = size, time.monotonic(), False
            return SignedCheckpoint(checkpoint, note, path, stamp)

    def covering(self, index: int) -> SignedCheckpoint:
        """A checkpoint over a ledger that holds entry ``index``: the newest, or one made now."""
        newest = self._newest()
        if newest is not None and newest.checkpoint.size > index:
            return newest
        return self.checkpoint()

    def consider(self, entry: Entry) -> None:
        """Called after every append: sign if it is time. Never raises; what fails is logged.

        Where many processes append, one of them signs: whichever leads.
        """
        if not self._is_leader():
            return
        every, minutes = (
            self._config.checkpoint_every_entries,
            self._config.checkpoint_every_minutes,
        )
        due = self._first or time.monotonic() - self._last >= 60 * minutes
        if due or entry.index + 1 - self._signed_size >= every:
            self._try()
        elif self._timer is None or not self._timer.is_alive():
            self._timer = threading.Timer(60 * minutes, self._try)
            self._timer.daemon = True
            self._timer.start()

    def keep_watch(self) -> None:
        """Sign what other processes append, too, for as long as this one leads; in a thread."""
        threading.Thread(target=self._watch, name="studio-checkpoints", daemon=True).start()

    def look(self) -> None:
        """Sign if it is time, whoever appended. Never raises; what fails is logged."""
        try:
            if not self._is_leader():
                return
            behind = self._ledger.size() - self._signed_size
        except StudioError:
            _log.exception("the ledger cannot be looked at")
            return
        late = time.monotonic() - self._last >= 60 * self._config.checkpoint_every_minutes
        if behind >= self._config.checkpoint_every_entries or (behind and (late or self._first)):
            self._try()

    def _watch(self) -> None:
        while not self._ended.wait(_WATCH_S):
            self.look()

    def _is_leader(self) -> bool:
        try:
            return self._leads()
        except StudioError:
            _log.exception("it is not known which process signs checkpoints")
            return False

    def keep_handovers(self) -> None:
        """Keep the handover of every rotation, signed by both keys, beside the checkpoints.

        Raises :class:`LedgerError` where they cannot be written.
        """
        if len(self.verifiers) < 2:
            return
        for entry in self._ledger.entries(kind="key-rotation"):
            note, number = entry.body.get("handover"), entry.body["number"]
            if note is not None:
                for folder in self._folders():
                    self._keep(folder, {f"handover-{number:04d}.txt": str(note).encode()})

    def close(self) -> None:
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()

    def _try(self) -> None:
        try:
            self.checkpoint()
        except StudioError:
            _log.exception("no checkpoint could be signed")

    def _folders(self) -> Iterator[Path]:
        yield self._folder
        if self._second is not None:
            yield self._second

    def _newest(self) -> SignedCheckpoint | None:
        found: SignedCheckpoint | None = None
        for folder in self._folders():
            try:
                path = max(folder.glob(_CHECKPOINTS), default=None)
                if path is None:
                    continue
                note = path.read_text(encoding="utf-8")
                stamp = path.with_suffix(".tsr")
                stamped = stamp.read_bytes() if stamp.exists() else None
            except (OSError, ValueError) as exc:
                raise LedgerError(
                    f"the checkpoints in {folder.name}/ cannot be read: {exc}"
                ) from exc
            opened = SignedCheckpoint(self._opened(note, folder), note, path, stamped)
            if found is None or opened.checkpoint.size > found.checkpoint.size:
                found = opened
        return found

    def _opened(self, note: str, folder: Path) -> Checkpoint:
        try:
            return Checkpoint.open(note, *self.verifiers)
        except ProofError as exc:
            if folder != self._second:
                raise
            raise ProofError(
                f"{exc}: the checkpoints in {folder} are of another ledger than this home's, so "
                "the home that stood here was lost or replaced. Restore it from a backup; to "
                "begin anew all the same, move that folder away"
            ) from exc

    def _write(self, size: int, note: str, stamp: bytes | None) -> Path:
        name = f"checkpoint-{size:012d}.txt"
        contents = {PUBLIC_KEYS: write_keys(self.verifiers).encode()}
        if stamp is not None:
            contents[f"checkpoint-{size:012d}.tsr"] = stamp
        contents[name] = note.encode()  # last: what it needs is there when it is
        for folder in self._folders():
            self._keep(folder, contents)
        return self._folder / name

    def _keep(self, folder: Path, contents: dict[str, bytes]) -> None:
        """Write files into a folder, unless the last of them is there already."""
        last = next(reversed(contents))
        try:
            if (folder / last).exists() and (folder / last).read_bytes() == contents[last]:
                return
            folder.mkdir(mode=0o700 if self._lenient else 0o777, parents=True, exist_ok=True)
            for name, content in contents.items():
                # What is in it is public, and the second folder is for others to read.
                write_file(folder / name, content, mode=0o644)
        except OSError as exc:
            why = f"the checkpoint cannot be written to {folder.name}/: {exc.strerror}"
            if folder == self._second and self._lenient:
                self._warn_once(f"{why}; a lost or replaced home would not be noticed")
                return
            raise LedgerError(why) from exc

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _log.warning("%s; set ledger.second_folder to a folder outside the home", text)
