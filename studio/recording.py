"""A suspect recording: decoded once and held if it is short, decoded again and again if it is not.

Hours of audio are examined in the memory of minutes. The first pass makes the fingerprint and knows
the duration; what is looked at more closely later is cut out in further passes, in the order in
which it stands in the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watermark.audio import DecodeLimits, Waveform
    from watermark.fingerprint import Fingerprint

__all__ = ["Recording"]

_BLOCK_S = 10.0
_HOLD_S = 1200.0  # of a recording that is held in memory
_HOLD_VALUES = 2**26  # samples times channels: 256 MB, 12 minutes of CD audio


@dataclass(frozen=True, slots=True)
class Recording:
    """What was decoded.

    Attributes:
        source: path or content.
        duration_s: of all of it.
        sha256: of the file.
        whole: the samples, or None where there are too many to hold.
        print: its fingerprint; None under half a second.
        limits: on decoding.
    """

    source: Path | bytes
    duration_s: float
    sha256: str
    whole: Waveform | None
    print: Fingerprint | None
    limits: DecodeLimits

    @classmethod
    def open(
        cls,
        source: str | Path | bytes,
        limits: DecodeLimits,
        *,
        progress: Callable[[float], None] | None = None,
    ) -> Recording:
        """Decode to the end, in a child process where ``limits`` say so.

        Raises :class:`watermark.errors.AudioError`, and :class:`OSError` for a file that cannot be
        hashed.
        """
        import numpy as np

        from watermark.audio import Waveform, stream
        from watermark.errors import FingerprintError
        from watermark.fingerprint import Fingerprinter

        source = source if isinstance(source, bytes) else Path(source)
        digest = _sha256(source, limits.max_bytes)
        printer, duration_s, values = Fingerprinter(), 0.0, 0
        held: list[Waveform] = []
        for block in stream(source, block_s=_BLOCK_S, limits=limits):
            printer.push(block)
            duration_s += block.duration_s
            values += block.samples.size
            if duration_s > _HOLD_S or values > _HOLD_VALUES:
                held = []
            elif held or duration_s == block.duration_s:
                held.append(block)
            if progress is not None:
                progress(duration_s)
        try:
            print_ = printer.finish()
        except FingerprintError:
            print_ = None
        whole = None
        if held:
            samples = np.concatenate([block.samples for block in held], axis=1)
            whole = Waveform(samples, held[0].rate)
        return cls(source, duration_s, digest, whole, print_, limits)

    @classmethod
    def of(cls, waveform: Waveform) -> Recording:
        """A recording made here, like one whose change of speed was undone."""
        from watermark.audio import DecodeLimits
        from watermark.errors import FingerprintError
        from watermark.fingerprint import fingerprint

        try:
            print_ = fingerprint(waveform)
        except FingerprintError:
            print_ = None
        return cls(b"", waveform.duration_s, "", waveform, print_, DecodeLimits())

    def cut(self, spans: Sequence[tuple[float, float]]) -> Iterator[tuple[int, Waveform]]:
        """These stretches (seconds), each with its number, by their start; one in memory at a time.

        Raises :class:`watermark.errors.AudioError`: the file changed since, or the time is up.
        """
        order = sorted(range(len(spans)), key=lambda number: spans[number])
        if self.whole is not None:
            for number in order:
                yield number, self.whole.slice(*spans[number])
            return
        blocks = self._blocks()
        held: list[Waveform] = []
        first_s = end_s = 0.0  # of what is held
        for number in order:
            start_s, stop_s = spans[number]
            while held and first_s + held[0].duration_s <= start_s:
                first_s += held.pop(0).duration_s
            while end_s < stop_s and (block := next(blocks, None)) is not None:
                end_s += block.duration_s
                held.append(block)
                if first_s + held[0].duration_s <= start_s:
                    first_s += held.pop(0).duration_s
            if held:
                yield number, _joined(held).slice(max(0.0, start_s - first_s), stop_s - first_s)

    def _blocks(self) -> Iterator[Waveform]:
        from watermark.audio import stream

        return stream(self.source, block_s=_BLOCK_S, limits=self.limits)


def _joined(blocks: Sequence[Waveform]) -> Waveform:
    import numpy as np

    from watermark.audio import Waveform

    return Waveform(np.concatenate([block.samples for block in blocks], axis=1), blocks[0].rate)


def _sha256(source: Path | bytes, max_bytes: int) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if not source.is_file() or source.stat().st_size > max_bytes:
        return ""  # decoding refuses it; hashing it would take for ever
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
