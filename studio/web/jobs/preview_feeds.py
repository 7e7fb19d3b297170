"""Music that workers make, heard from any server: pieces are read out of the database.

What a server reads of a take becomes a preview in its memory, the same that it would have made
itself. So whoever listens at one server costs the database one reader, and what is not released is
taken back from those who listen.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from studio.core.errors import BusyError, LedgerError
from studio.generation.preview import Listener, Preview

if TYPE_CHECKING:
    from studio.generation.job_queue import JobRow
    from studio.generation.preview_pieces import PreviewPieces

__all__ = ["PreviewFeeds", "SharedPreview", "previews_of"]

_logger = logging.getLogger(__name__)
_POLL_S = 0.1  # how often it is asked for more
_MOST = 64  # takes of one server that are listened to
_PATIENCE = 20  # times in a row that the database may fail before a preview ends

_Key = tuple[str, int]


class _Feed:
    """One take that somebody listens to here."""

    def __init__(self) -> None:
        self.preview = Preview()
        self.claim: str | None = None
        self.number = 0
        self.failures = 0

    def advance(self, pieces: PreviewPieces, key: _Key) -> bool:
        """Read what is there; whether it goes on."""
        try:
            heard = pieces.read(*key, self.claim, self.number)
            self.failures = 0
        except LedgerError as exc:
            self.failures += 1
            if self.failures < _PATIENCE:
                return True
            _logger.warning("a preview broke off: %s", exc)
            self.preview.close(released=False)
            return False
        for rate, channels, samples in heard.pieces:
            self.claim = heard.claim
            self.number += 1
            if samples:
                self.preview.keep(rate, channels, samples)
            else:
                self.preview.complete()
        if heard.over is not None:
            self.preview.close(released=heard.over == "released")
        return heard.over is None


class PreviewFeeds:
    """The takes that are listened to at this server. Safe to share between threads.

    A take is read from the first listener on until it is released or given up; one thread reads
    all of them. Memory: as :class:`~studio.generation.preview.Preview`, each.
    """

    def __init__(self, pieces: Callable[[], PreviewPieces]) -> None:
        self._pieces = pieces
        self._lock = threading.Lock()
        self._feeds: dict[_Key, _Feed] = {}
        self._reader: threading.Thread | None = None
        self._closed = threading.Event()

    def of(self, job_id: str, take: int) -> Preview:
        """The preview of a take (from 0), filled from now on. Raises :class:`BusyError`."""
        with self._lock:
            feed = self._feeds.get((job_id, take))
            if feed is None:
                if len(self._feeds) >= _MOST:
                    raise BusyError("too many previews are listened to; try again in a minute")
                feed = self._feeds[job_id, take] = _Feed()
            if self._reader is None:
                self._reader = threading.Thread(
                    target=self._read, name="studio-previews", daemon=True
                )
                self._reader.start()
            return feed.preview

    def close(self) -> None:
        """Read nothing more."""
        self._closed.set()
        with self._lock:
            reader = self._reader
        if reader is not None:
            reader.join()

    def _read(self) -> None:
        try:
            self._read_all(self._pieces())
        except BaseException:  # nobody would listen to the end
            with self._lock:
                feeds, self._feeds, self._reader = self._feeds, {}, None
            for feed in feeds.values():
                feed.preview.close(released=False)
            raise

    def _read_all(self, pieces: PreviewPieces) -> None:
        while not self._closed.wait(_POLL_S):
            with self._lock:
                feeds = list(self._feeds.items())
                if not feeds:
                    self._reader = None
                    return
            for key, feed in feeds:
                if not feed.advance(pieces, key):
                    with self._lock:
                        del self._feeds[key]


class SharedPreview:
    """A take of a job in the shared line; see :class:`~studio.generation.preview.Hearable`."""

    def __init__(self, feeds: PreviewFeeds, row: JobRow, take: int) -> None:
        self._feeds = feeds
        self._job_id = row.job_id
        self._take = take
        self._over = not row.live or any(take == released for released, _ in row.outputs)
        self._begun = take in row.heard
        self._fed: Preview | None = None

    @property
    def has_begun(self) -> bool:
        """See :class:`Hearable`."""
        return self._begun if self._fed is None else self._fed.has_begun

    @property
    def rate(self) -> int:
        """See :class:`Hearable`."""
        return 0 if self._fed is None else self._fed.rate

    @property
    def channels(self) -> int:
        """See :class:`Hearable`."""
        return 0 if self._fed is None else self._fed.channels

    def listen(self) -> Listener | None:
        """See :class:`Hearable`. Raises :class:`BusyError`."""
        if self._over:
            return None
        self._fed = self._feeds.of(self._job_id, self._take)
        return self._fed.listen()


def previews_of(feeds: PreviewFeeds, row: JobRow) -> tuple[SharedPreview, ...]:
    """The previews of a job's takes; none where none was asked for."""
    return tuple(SharedPreview(feeds, row, take) for take in range(row.takes if row.preview else 0))
