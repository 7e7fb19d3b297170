"""Check and correct a file's container headers before it is decoded.

Headers are written first and the sound afterwards, so they are wrong wherever a recorder was
stopped, a pipe could not be rewound or files were joined. Here the bytes are looked at: a tag in
front is passed over; sizes of RIFF, RF64, AIFF and CAF that contradict the file are set right;
files that stand one behind the other are told apart. Decoders get a :class:`View`, never a changed
copy.

>>> import io, struct
>>> fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
>>> piped = b"RIFF\\0\\0\\0\\0WAVE" + fmt + b"data\\0\\0\\0\\0" + bytes(16000)
>>> section = look(io.BytesIO(piped)).sections[0]
>>> section.seek(40)
40
>>> struct.unpack("<I", section.read(4))
(16000,)
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from watermark.audio.channels import Layout, of_mask

__all__ = ["Found", "View", "look"]

_MAX_SECTIONS = 1000  # of a chained file that are read
_STREAMED = 0x7FFF0000  # a size from here on stands for "not known yet"
_AT_LEAST_S = 1.0  # of sound behind the end that a header states, before the header is doubted
_CHUNK = 1 << 20
_MOST_CHUNKS = 100_000  # of a file that are looked at

#: Audio and other things that are known by name and not read.
_NOT_READ = {
    b"MAC ": "Monkey's Audio",
    b"TTA1": "True Audio",
    b"MP+": "Musepack",
    b"MPCK": "Musepack",
    b"DSD ": "DSD",
    b"FRM8": "DSD",
    b"tBaK": "TAK",
    b"MThd": "MIDI",
    b"OFR ": "OptimFROG",
    b".RMF": "RealMedia",
    b".ra\xfd": "RealAudio",
}


class View(io.RawIOBase):
    """A stretch of an open file, read as if it were one, with some bytes put right."""

    def __init__(
        self,
        inner: io.BufferedIOBase,
        start: int,
        end: int,
        patches: Mapping[int, bytes] | None = None,
    ) -> None:
        super().__init__()
        self._inner = inner
        self.start, self.end = start, end
        self._patches = dict(patches or {})  # by place in the whole file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._at, 2: self.end - self.start}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.end - self.start - self._at)
        count = left if size is None or size < 0 else min(size, left)
        place = self.start + self._at
        self._inner.seek(place)
        data = self._inner.read(count)
        self._at += len(data)
        for at, value in self._patches.items():
            if at < place + len(data) and at + len(value) > place:
                changed = bytearray(data)
                for n, byte in enumerate(value):
                    if 0 <= at + n - place < len(changed):
                        changed[at + n - place] = byte
                data = bytes(changed)
        return data

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # memoryviews
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def part(self, start: int, end: int) -> View:
        """A stretch of this view, in its own places."""
        return View(self._inner, self.start + start, self.start + end, self._patches)


@dataclass(slots=True)
class Found:
    """What the inspection of a file found.

    Attributes:
        sections: one after the other; almost always one.
        magic: its first bytes.
        layout: of the channels, where a RIFF header states it.
        damage: what is missing, in words; None: nothing known.
        notes: what was put right or left out, in words.
        not_read: the name of a known format that is not read.
    """

    sections: list[View]
    magic: bytes
    layout: Layout | None = None
    damage: str | None = None
    notes: list[str] = field(default_factory=list)
    not_read: str | None = None


def look(file: io.BufferedIOBase) -> Found:
    """Inspect an open file; its position is undefined afterwards."""
    end = file.seek(0, io.SEEK_END)
    start = _behind_tags(file, end)
    view = View(file, start, end)
    magic = view.read(16)
    name = next((name for known, name in _NOT_READ.items() if magic.startswith(known)), None)
    found = Found([view], magic, not_read=name)
    kind = magic[:4]
    if kind in (b"RIFF", b"RIFX", b"RF64") and magic[8:12] == b"WAVE":
        _riff(view, found, kind)
    elif kind == b"FORM" and magic[8:12] in (b"AIFF", b"AIFC"):
        _aiff(view, found)
    elif kind == b".snd" and magic[8:12] == b"\0\0\0\0":
        view._patches[view.start + 8] = b"\xff\xff\xff\xff"  # the format's own "not known"
    elif kind == b"OggS":
        _ogg(view, found)
    elif kind == b"caff":
        _caf(view, found)
    elif start and _mpeg(magic):
        found.sections = [View(file, 0, end)]  # the tag is the decoder's to read
    return found


def _mpeg(magic: bytes) -> bool:
    """MPEG audio and FLAC, where a tag in front is usual and decoders know it."""
    return magic[:4] == b"fLaC" or (len(magic) > 1 and magic[0] == 0xFF and magic[1] & 0xE0 == 0xE0)


def _behind_tags(file: io.BufferedIOBase, end: int) -> int:
    """Where the file begins behind ID3v2 tags; 0 where nothing is behind them."""
    at = 0
    for _ in range(8):
        file.seek(at)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 0x7F:
            return at
        size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        at += 10 + size + (10 if head[5] & 0x10 else 0)
        if at >= end:
            return 0
    return at


# -- RIFF, RF64, RIFX ------------------------------------------------------------------------------


def _chunks(view: View, at: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, place of the content and stated size of each chunk; ends where there is none."""
    size = view.end - view.start
    for _ in range(_MOST_CHUNKS):
        if at + 8 > size:
            return
        view.seek(at)
        head = view.read(8)
        name, length = head[:4], struct.unpack(order + "I", head[4:])[0]
        if not all(32 <= byte < 127 for byte in name):
            return
        yield name, at + 8, length
        at += 8 + length + length % 2


def _walkable(view: View, at: int, order: str) -> bool:
    """Whether whole chunks and nothing else stand from here to the end."""
    size = view.end - view.start
    if size - at < 8:
        return True
    stop = at
    for _, place, length in _chunks(view, at, order):
        stop = place + length
        if stop > size:
            return False
    return size - stop < 8


def _riff(view: View, found: Found, kind: bytes) -> None:
    order = ">" if kind == b"RIFX" else "<"
    size = view.end - view.start
    channels = byte_rate = 0
    for name, at, stated in _chunks(view, 12, order):
        if name == b"fmt " and stated >= 16:
            view.seek(at)
            fmt = view.read(min(stated, 40))
            if len(fmt) >= 16:
                tag, channels, _, byte_rate, _, _ = struct.unpack(order + "HHIIHH", fmt[:16])
                if tag == 0xFFFE and len(fmt) >= 24:
                    mask = struct.unpack(order + "I", fmt[20:24])[0]
                    found.layout = of_mask(mask, channels)
        elif name == b"data":
            place, field_at, width, promised = at - 4, "I", 4, stated
            if kind == b"RF64":
                view.seek(12)
                ds64 = view.read(36)
                if ds64[:4] == b"ds64" and stated == 0xFFFFFFFF:
                    place, field_at, width = 28, "Q", 8
                    promised = struct.unpack("<Q", ds64[16:24])[0]
            true = _data_size(view, found, at, promised, byte_rate, order, width)
            if true != promised:
                if width == 4:
                    true = min(true, 0xFFFFFFFF)
                view._patches[view.start + place] = struct.pack(order + field_at, true)
                view._patches[view.start + (4 if width == 4 else 20)] = struct.pack(
                    order + field_at, min(size - 8, 2 ** (8 * width) - 1)
                )
            return


def _data_size(
    view: View, found: Found, at: int, stated: int, byte_rate: int, order: str, width: int
) -> int:
    """How much sound there is from here on, bytes, whatever the header states."""
    size = view.end - view.start
    there = size - at
    streamed = 2**63 - 1 if width == 8 else _STREAMED
    if stated > there:
        if stated < streamed:
            missing = (stated - there) / max(1, byte_rate)
            found.damage = f"the file is cut short: the last {missing:.1f} s are missing"
        return there
    behind = at + stated + stated % 2
    view.seek(behind)
    head = view.read(12)
    if stated and head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        rest = _look_at(view.part(behind, size))
        first = view.part(0, behind)
        found.sections = [first, *rest.sections]
        found.damage = found.damage or rest.damage
        found.notes[:] = ["several WAV files stand one behind the other; all were read"]
        return stated
    if _walkable(view, behind, order):
        return stated
    extra = there - stated
    if stated and extra < _AT_LEAST_S * max(1, byte_rate):
        return stated
    if stated:
        found.notes.append(
            f"the header states {stated / max(1, byte_rate):.1f} s of audio, and "
            f"{there / max(1, byte_rate):.1f} s are there; all were read"
        )
    return there


def _look_at(view: View) -> Found:
    """As :func:`look`, for a part of a file."""
    found = Found([view], view.part(0, 16).read(16))
    _riff(view, found, found.magic[:4])
    return found


# -- AIFF ------------------------------------------------------------------------------------------


def _aiff(view: View, found: Found) -> None:
    size = view.end - view.start
    frame = frames = rate = comm_at = 0
    for name, at, stated in _chunks(view, 12, ">"):
        if name == b"COMM" and stated >= 18:
            view.seek(at)
            comm = view.read(18)
            channels, frames, bits = struct.unpack(">HIH", comm[:8])
            exponent, mantissa = struct.unpack(">HQ", comm[8:18])
            rate = (
                int(mantissa / 2 ** (63 - (exponent - 16383))) if 16383 <= exponent < 16446 else 0
            )
            frame, comm_at = channels * (-(-bits // 8)), at
            if stated >= 22:
                view.seek(at + 18)
                if view.read(4) not in (b"NONE", b"sowt", b"twos", b"in24", b"fl32", b"FL32"):
                    frame = 0  # a codec: frames and bytes are not proportional
        elif name == b"SSND" and stated != 8:
            there = size - at
            if stated > there and stated < _STREAMED:
                missing = (stated - there) / max(1, frame * rate)
                found.damage = f"the file is cut short: the last {missing:.1f} s are missing"
            if 0 < stated <= there and _walkable(view, at + stated + stated % 2, ">"):
                there = stated
            there = min(there, 0xFFFFFFFF)
            view._patches[view.start + at - 4] = struct.pack(">I", there)
            view._patches[view.start + 4] = struct.pack(">I", min(size - 8, 0xFFFFFFFF))
            if frame and comm_at:
                true = max(0, there - 8) // frame
                if frames == 0 or frames > true or there != stated:
                    view._patches[view.start + comm_at + 2] = struct.pack(">I", true)
            return


# -- CAF -------------------------------------------------------------------------------------------

_CAF_HEAD = b"caff\0\1\0\0desc\0\0\0\0\0\0\0\x20"  # version 1, then the description


def _caf(view: View, found: Found) -> None:
    """Tell joined files apart, and set right a size of the sound that was never filled in."""
    size = view.end - view.start
    starts, at = [0], 8
    byte_rate = 0.0
    for _ in range(_MOST_CHUNKS):
        if at + 12 > size or len(starts) > _MAX_SECTIONS:
            break
        view.seek(at)
        head = view.read(len(_CAF_HEAD))
        if head == _CAF_HEAD:
            starts.append(at)
            at += 8
            continue
        if not all(32 <= byte < 127 for byte in head[:4]):
            break
        name, stated = head[:4], struct.unpack(">q", head[4:12])[0]
        place = at + 12
        if name == b"desc":
            view.seek(place)
            desc = view.read(24)
            if len(desc) == 24:
                rate, _, _, packet, frames = struct.unpack(">d4sIII", desc)
                byte_rate = rate * packet / max(1, frames) if 0 < rate < 1e7 else 0.0
        if name == b"data" and stated <= 4:  # 4: the edit count that stands before the sound
            until = _find(view, _CAF_HEAD, place)
            if until > place + 4:
                view._patches[view.start + at + 4] = struct.pack(">q", until - place)
            stated = until - place
        if stated < 0:
            break
        if name == b"data" and place + stated > size:
            missing = f"the last {(place + stated - size) / byte_rate:.1f} s are missing"
            found.damage = "the file is cut short" + (f": {missing}" if byte_rate else "")
        at = place + stated
    if len(starts) > 1:
        found.notes.append("several CAF files stand one behind the other; all were read")
    _split(view, found, starts)


# -- Ogg -------------------------------------------------------------------------------------------


def _ogg(view: View, found: Found) -> None:
    """Tell chained streams apart: each begins with a page that says so behind pages that do not."""
    size = view.end - view.start
    starts, at, in_head = [0], 0, True
    while at + 27 <= size:
        view.seek(at)
        head = view.read(27 + 255)
        if head[:4] != b"OggS":
            at = _find(view, b"OggS", at + 1)
            continue
        segments = head[26]
        begins = bool(head[5] & 2)
        if begins and not in_head:
            starts.append(at)
        in_head = begins
        length = 27 + segments + sum(head[27 : 27 + segments])
        if at + length > size:
            found.damage = "the file is cut short: it ends in the middle of a page"
        at += length
    if size > at:
        found.damage = "the file is cut short: it ends in the middle of a page"
    _split(view, found, starts)


def _split(view: View, found: Found, starts: list[int]) -> None:
    """Make a section of what begins at each of these places."""
    if len(starts) == 1:
        return
    if len(starts) > _MAX_SECTIONS:
        found.notes.append(f"only the first {_MAX_SECTIONS} of {len(starts)} sections were read")
        found.damage = found.damage or "not all sections were read"
    ends = [*starts[1:], view.end - view.start][:_MAX_SECTIONS]
    found.sections = [view.part(a, b) for a, b in zip(starts, ends, strict=False)]


def _find(view: View, text: bytes, at: int) -> int:
    """Where a text stands next, from a place on; the end where it does not."""
    size = view.end - view.start
    while at < size:
        view.seek(at)
        data = view.read(_CHUNK)
        place = data.find(text)
        if place >= 0:
            return at + place
        if len(data) < _CHUNK:
            break
        at += len(data) - len(text) + 1
    return size
