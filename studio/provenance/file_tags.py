"""Write title and credits into a file without touching the audio.

* WAV: a ``LIST``/``INFO`` chunk (INAM, IART, ICMT) after the audio.
* FLAC: a VORBIS_COMMENT block (RFC 9639, section 8.6) in place of the encoder's own.
* MP3: an ID3v2.4 tag (TIT2, TPE1, COMM; UTF-8) in front, in place of any there.
* M4A: ``moov/udta/meta/ilst`` (©nam, ©ART, ©cmt) in place of the encoder's own. The encoder puts
  ``moov`` behind the audio, so no offset into the audio changes.

These tags are a courtesy to players; anyone can change them. The proof is the seal.

>>> empty = b"RIFF\\x04\\x00\\x00\\x00WAVE"
>>> write_metadata(empty, "wav", title="A", artist="B", comment="C")[12:20]
b'LIST"\\x00\\x00\\x00'
"""

from __future__ import annotations

import struct

from studio.core.config import OutputFormat
from studio.core.errors import SealingError

__all__ = ["write_metadata"]


def write_metadata(
    encoded: bytes, format: OutputFormat, *, title: str, artist: str, comment: str
) -> bytes:
    """The same file with these tags. Raises :class:`SealingError` for bytes of another format."""
    if format == "wav":
        return _wav(encoded, title, artist, comment)
    if format == "flac":
        return _flac(encoded, title, artist, comment)
    if format == "m4a":
        return _m4a(encoded, title, artist, comment)
    return _mp3(encoded, title, artist, comment)


def _wav(encoded: bytes, title: str, artist: str, comment: str) -> bytes:
    if encoded[:4] != b"RIFF" or encoded[8:12] != b"WAVE":
        raise SealingError("the encoded file is not a WAV file")
    info = b"INFO"
    for name, text in ((b"INAM", title), (b"IART", artist), (b"ICMT", comment)):
        value = text.encode() + b"\x00"
        info += name + struct.pack("<I", len(value)) + value + b"\x00" * (len(value) % 2)
    body = encoded[8:] + b"\x00" * (len(encoded) % 2)
    body += b"LIST" + struct.pack("<I", len(info)) + info
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _flac(encoded: bytes, title: str, artist: str, comment: str) -> bytes:
    if encoded[:4] != b"fLaC":
        raise SealingError("the encoded file is not a FLAC file")
    blocks: list[tuple[int, bytes]] = []
    at, last = 4, False
    while not last:
        header = encoded[at]
        size = int.from_bytes(encoded[at + 1 : at + 4], "big")
        last = bool(header & 0x80)
        if header & 0x7F != 4:  # every block but the encoder's own comments
            blocks.append((header & 0x7F, encoded[at + 4 : at + 4 + size]))
        at += 4 + size
    fields = [f"TITLE={title}", f"ARTIST={artist}", f"COMMENT={comment}"]
    comments = struct.pack("<I", 0) + struct.pack("<I", len(fields))
    for field in fields:
        comments += struct.pack("<I", len(field.encode())) + field.encode()
    blocks.insert(1, (4, comments))  # STREAMINFO stays first
    out = b"fLaC"
    for number, (kind, data) in enumerate(blocks):
        flag = 0x80 if number == len(blocks) - 1 else 0
        out += bytes([kind | flag]) + len(data).to_bytes(3, "big") + data
    return out + encoded[at:]


def _mp3(encoded: bytes, title: str, artist: str, comment: str) -> bytes:
    if encoded[:3] == b"ID3":
        encoded = encoded[10 + _from_synchsafe(encoded[6:10]) :]
    if len(encoded) < 2 or encoded[0] != 0xFF or encoded[1] & 0xE0 != 0xE0:
        raise SealingError("the encoded file is not an MP3 file")
    frames = _id3_frame(b"TIT2", b"\x03" + title.encode())
    frames += _id3_frame(b"TPE1", b"\x03" + artist.encode())
    frames += _id3_frame(b"COMM", b"\x03eng\x00" + comment.encode())
    return b"ID3\x04\x00\x00" + _synchsafe(len(frames)) + frames + encoded


def _m4a(encoded: bytes, title: str, artist: str, comment: str) -> bytes:
    boxes = _boxes(encoded)
    if not boxes or boxes[0][0] != b"ftyp" or [name for name, _ in boxes[-1:]] != [b"moov"]:
        raise SealingError("the encoded file is not an M4A file that ends with its index")
    handler = b"\0" * 8 + b"mdirappl" + b"\0" * 9
    items = b"".join(
        # Type 1 of a data box is UTF-8 text; four bytes of locale follow.
        _box(name, _box(b"data", struct.pack(">II", 1, 0) + text.encode()))
        for name, text in ((b"\xa9nam", title), (b"\xa9ART", artist), (b"\xa9cmt", comment))
    )
    meta = _box(b"meta", b"\0" * 4 + _box(b"hdlr", handler) + _box(b"ilst", items))
    kept = [_box(name, body) for name, body in _boxes(boxes[-1][1]) if name != b"udta"]
    moov = _box(b"moov", b"".join(kept) + _box(b"udta", meta))
    return encoded[: -len(boxes[-1][1]) - 8] + moov


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """Name and content of each box (ISO/IEC 14496-12, section 4.2); of an odd one nothing."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8 or at + size > len(data):
            return []
        found.append((data[at + 4 : at + 8], data[at + 8 : at + size]))
        at += size
    return found


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


def _id3_frame(name: bytes, data: bytes) -> bytes:
    return name + _synchsafe(len(data)) + b"\x00\x00" + data


def _synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def _from_synchsafe(data: bytes) -> int:
    return sum(byte << shift for byte, shift in zip(data, (21, 14, 7, 0), strict=True))
