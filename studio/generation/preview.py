"""A preview of an output being generated: watermarked, never a file.

The pipeline feeds a preview after consent is decided and the seal id reserved; windows of music are
sealed as they come, in a thread of the preview's own. Its sound is in memory alone, or is carried
from a worker to a server (:mod:`studio.generation.preview_pieces`). When the request has ended,
nobody new can begin to listen: the output has a file then, or nothing was released, and in that
case those who listen are cut off.

>>> preview = Preview()
>>> with preview.sealed_by(lambda windows: windows):
...     preview.hear(Waveform(np.zeros((1, 4), np.float32), 48_000))
>>> preview.rate, preview.listen().read()
(48000, b'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00')
>>> preview.close(released=True)
>>> preview.listen() is None
True
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from studio.core.errors import StudioError
from watermark.audio.waveform import Waveform
from watermark.errors import WatermarkError

__all__ = ["Hearable", "Listener", "Preview", "Seal"]

Seal = Callable[[Iterator[Waveform]], Iterator[Waveform]]
"""Seals a piece that comes in windows."""

_logger = logging.getLogger(__name__)


class Hearable(Protocol):
    """What can be listened to while it is made."""

    @property
    def has_begun(self) -> bool:
        """Whether there is something to hear; rate and channels are known then."""

    @property
    def rate(self) -> int:
        """Samples a second."""

    @property
    def channels(self) -> int:
        """How many there are."""

    def listen(self) -> Listener | None:
        """A listener from the beginning; None once the request has ended."""


class Preview:
    """One output's preview. Any number of threads may listen.

    Memory: 4 bytes a stereo sample, so 35 MB for three minutes at 48 kHz; given back by
    :meth:`close`, or by the last listener.
    """

    def __init__(self) -> None:
        self.rate, self.channels = 0, 0  # known with the first window
        self._windows: queue.SimpleQueue[Waveform | None] = queue.SimpleQueue()
        self._sound: _Sound | None = _Sound()

    @property
    def has_begun(self) -> bool:
        """Whether there is something to hear; rate and channels are known then."""
        return self.rate > 0

    # -- the side of the pipeline ------------------------------------------------------------------

    @contextmanager
    def sealed_by(self, seal: Seal) -> Iterator[None]:
        """Seal what :meth:`hear` is given within the block; at its end all of it is there."""
        thread = threading.Thread(target=self._work, args=[seal], name="studio-preview")
        thread.start()
        try:
            yield
        finally:
            self._windows.put(None)
            thread.join()

    def hear(self, window: Waveform) -> None:
        """The next window of music, not sealed yet."""
        self._windows.put(window)

    @contextmanager
    def until_released(self) -> Iterator[None]:
        """A block that releases the output, or raises; the preview is closed at its end."""
        try:
            yield
        except BaseException:
            self.close(released=False)
            raise
        self.close(released=True)

    def close(self, *, released: bool) -> None:
        """The request has ended. Those who listen hear the rest, if the output was released."""
        sound, self._sound = self._sound, None
        if sound is not None:
            if not released:
                sound.content.clear()
            sound.ended = True

    def keep(self, rate: int, channels: int, sealed: bytes) -> None:
        """The next sealed samples, as a listener reads them."""
        sound = self._sound
        if sound is not None:
            self.rate, self.channels = rate, channels
            sound.content += sealed

    def complete(self) -> None:
        """All of the music is there."""
        if self._sound is not None:
            self._sound.ended = True

    def _work(self, seal: Seal) -> None:
        try:
            for window in seal(iter(self._windows.get, None)):
                scaled = np.clip(np.rint(window.samples * 32767), -32768, 32767)
                sealed = np.ascontiguousarray(scaled.T, "<i2").tobytes()
                self.keep(window.rate, window.samples.shape[0], sealed)
        except (StudioError, WatermarkError) as exc:  # the pipeline meets it, too, and says so
            _logger.info("no preview: %s", exc)
        finally:
            self.complete()

    # -- the side of the listener ------------------------------------------------------------------

    def listen(self) -> Listener | None:
        """A listener from the beginning; None once the request has ended."""
        sound = self._sound
        return None if sound is None else Listener(sound)


class _Sound:
    def __init__(self) -> None:
        self.content = bytearray()
        self.ended = False


class Listener:
    """Reads a preview from its beginning: 16-bit samples, the channels in turn, little-endian."""

    def __init__(self, sound: _Sound) -> None:
        self._sound = sound
        self._at = 0

    def read(self, most: int = 1 << 18) -> bytes:
        """The next bytes; empty while none are there yet."""
        part = bytes(self._sound.content[self._at : self._at + most])
        self._at += len(part)
        return part

    @property
    def ended(self) -> bool:
        """Whether everything was read, or what was left was taken back."""
        return self._sound.ended and self._at >= len(self._sound.content)
