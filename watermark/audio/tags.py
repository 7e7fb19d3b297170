"""Read tags and pictures from any format; write them to our six formats.

Names of tags are FFmpeg's, which are the same for every format: ``title``, ``artist``, ``album``,
``date``, ``track``, ``genre``, ``comment``. Reading goes through FFmpeg, in the child process
where ``limits.isolated`` says so. Writing: WAV gets ``LIST``/``INFO`` and ``id3 `` chunks, MP3 an
ID3v2.4 tag, M4A ``ilst`` entries, FLAC, Opus and Ogg Vorbis comments.

>>> tags = Tags({"title": "Calm"}, ())
>>> id3_tag(tags)[:3], wav_chunks(tags)[:4]
(b'ID3', b'LIST')
"""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from watermark.audio.ffmpeg import foreign_errors, open_container
from watermark.audio.limits import AudioSource, DecodeLimits, open_source
from watermark.errors import AudioError

__all__ = [
    "VORBIS_STRINGS",
    "Picture",
    "Tags",
    "add_cover",
    "fill_padding",
    "flac_picture",
    "id3_tag",
    "left_out",
    "picture_comment",
    "read_tags",
    "wav_chunks",
]

_MAX_PICTURE = 2**22  # bytes; a message of the child process holds it in base64
_MAX_TEXT = 2**16
_MAX_TAGS = 500

# What a container says about itself and the encoder, not about the music.
_NOT_TAGS = {
    *("encoder", "encoded_by", "encoding", "encoder_settings", "tsse", "software", "vendor_id"),
    *("major_brand", "minor_version", "compatible_brands", "creation_time", "handler_name"),
    *("duration", "language", "itunsmpb", "itunnorm", "metadata_block_picture", "tlen"),
    *("waveformatextensible_channel_mask", "id3v2_priv", "umid", "coding_history"),
    *("time_reference", "statistics_tags", "number_of_frames", "number_of_bytes", "bps"),
}

_ID3 = {
    "title": "TIT2",
    "artist": "TPE1",
    "album": "TALB",
    "album_artist": "TPE2",
    "composer": "TCOM",
    "copyright": "TCOP",
    "date": "TDRC",
    "disc": "TPOS",
    "genre": "TCON",
    "publisher": "TPUB",
    "track": "TRCK",
    "TSRC": "TSRC",
    "TBPM": "TBPM",
    "performer": "TPE3",
}
_INFO = {
    "title": "INAM",
    "artist": "IART",
    "album": "IPRD",
    "comment": "ICMT",
    "copyright": "ICOP",
    "date": "ICRD",
    "genre": "IGNR",
    "track": "IPRT",
}
#: Tags that libsndfile writes into Ogg, by its own names.
VORBIS_STRINGS = {
    "title": "title",
    "artist": "artist",
    "album": "album",
    "comment": "comment",
    "copyright": "copyright",
    "date": "date",
    "genre": "genre",
    "track": "tracknumber",
    "license": "license",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in a file; ``kind`` is ID3's (3 is the front cover)."""

    mime: str
    data: bytes
    kind: int = 3
    description: str = ""


@dataclass(frozen=True, slots=True)
class Tags:
    """What a file says about its music."""

    text: dict[str, str] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()


def read_tags(source: AudioSource, limits: DecodeLimits) -> Tags:
    """The tags of a file; none where they cannot be read. Raises no :class:`AudioError`."""
    from watermark.audio.sandbox import isolated_json

    try:
        if limits.isolated:
            return _of_json(isolated_json("watermark.audio.tags:reader", {}, source, limits))
        with open_source(source, limits) as file:
            return _read(file)
    except AudioError:
        return Tags()


def left_out(asked: Tags, written: Tags) -> list[str]:
    """Names of what a written file does not hold of the tags asked for."""
    there = {name.lower() for name in written.text}
    missing = [name for name in asked.text if name.lower() not in there]
    if len(written.pictures) < len(asked.pictures):
        missing.append("picture" if len(asked.pictures) == 1 else "pictures")
    return missing


def reader() -> Any:
    """What the child does for :func:`read_tags`; see :func:`watermark.audio.sandbox.decoder`."""
    import av.subtitles.stream
    import av.video.stream  # noqa: F401 - later there is no import

    def work(_request: Mapping[str, Any], file: io.BufferedIOBase, answer: Any) -> None:
        tags = _read(file)
        pictures = [
            {
                "mime": picture.mime,
                "kind": picture.kind,
                "description": picture.description,
                "data": base64.b64encode(picture.data).decode(),
            }
            for picture in tags.pictures
        ]
        answer(json.dumps({"text": tags.text, "pictures": pictures}).encode())

    return work


def _of_json(found: Mapping[str, Any]) -> Tags:
    """What a child answered, which a stranger may have written."""
    text, pictures = found.get("text"), found.get("pictures")
    if not isinstance(text, dict) or not isinstance(pictures, list):
        return Tags()
    made = []
    for picture in pictures[:1]:
        try:
            data = base64.b64decode(str(picture["data"]), validate=True)
            made.append(Picture(_mime(data), data, 3, _clean(str(picture["description"]))))
        except (KeyError, TypeError, ValueError):
            continue
    return Tags(
        {_clean(str(k))[:100]: _clean(str(v)) for k, v in list(text.items())[:_MAX_TAGS]},
        tuple(made),
    )


def _clean(text: str) -> str:
    """Text without NUL and half code points."""
    return text[:_MAX_TEXT].replace("\0", " ").encode("utf-8", "replace").decode()


def _read(file: io.BufferedIOBase) -> Tags:
    from watermark.audio.containers import look

    foreign = foreign_errors()
    file.seek(0)
    view = look(file).sections[0]
    view.seek(0)
    try:
        container = open_container(view)
    except foreign:
        return Tags()
    text: dict[str, str] = {}
    pictures: list[Picture] = []
    try:
        audio = container.streams.audio
        for found in (dict(audio[0].metadata) if audio else {}, dict(container.metadata)):
            for name, value in found.items():
                if name.lower() not in _NOT_TAGS and not name.lower().startswith("id3v2_priv"):
                    text[_name(name)] = _clean(value)
        for stream in container.streams.video:
            if int(stream.disposition) & _ATTACHED and not pictures:
                for packet in container.demux(stream):
                    data = bytes(packet)
                    if 0 < len(data) <= _MAX_PICTURE and _mime(data):
                        title = stream.metadata.get("title", "")
                        pictures.append(Picture(_mime(data), data, 3, _clean(title)))
                        break
    except foreign:
        pass  # what was read until then is kept
    finally:
        container.close()
    return Tags(dict(list(text.items())[:_MAX_TAGS]), tuple(pictures))


_ATTACHED = 0x400  # AV_DISPOSITION_ATTACHED_PIC


def _name(name: str) -> str:
    """A tag's name, the usual ones in small letters."""
    small = name.lower()
    return small if small in {*_ID3, *_INFO, *VORBIS_STRINGS, "lyrics", "language"} else name


def _mime(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/jpeg" if data.startswith(b"\xff\xd8") else ""


# -- WAV and MP3 -----------------------------------------------------------------------------------


def wav_chunks(tags: Tags) -> bytes:
    """The chunks that stand behind the audio; empty without tags."""
    info = b""
    for name, chunk in _INFO.items():
        if name in tags.text:
            value = tags.text[name].encode() + b"\0"
            info += (
                chunk.encode() + struct.pack("<I", len(value)) + value + b"\0" * (len(value) % 2)
            )
    out = b""
    if info:
        out += b"LIST" + struct.pack("<I", len(info) + 4) + b"INFO" + info
    if tags.pictures or any(name not in _INFO for name in tags.text):
        tag = id3_tag(tags)
        out += b"id3 " + struct.pack("<I", len(tag)) + tag + b"\0" * (len(tag) % 2)
    return out


def id3_tag(tags: Tags) -> bytes:
    """An ID3v2.4 tag in UTF-8; empty without tags."""
    frames = b""
    for name, text in tags.text.items():
        value = text.encode()
        if name == "comment":
            frames += _frame("COMM", b"\x03eng\0" + value)
        elif name.startswith("lyrics"):
            frames += _frame("USLT", b"\x03eng\0" + value)
        elif name in _ID3:
            frames += _frame(_ID3[name], b"\x03" + value)
        else:
            frames += _frame("TXXX", b"\x03" + name.encode() + b"\0" + value)
    for picture in tags.pictures:
        head = b"\x03" + picture.mime.encode() + b"\0" + bytes([picture.kind])
        frames += _frame("APIC", head + picture.description.encode() + b"\0" + picture.data)
    return b"ID3\x04\0\0" + _synchsafe(len(frames)) + frames if frames else b""


def _frame(name: str, data: bytes) -> bytes:
    return name.encode() + _synchsafe(len(data)) + b"\0\0" + data


def _synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


# -- FLAC, Opus, M4A -------------------------------------------------------------------------------


def flac_picture(tags: Tags) -> bytes | None:
    """The content of a FLAC PICTURE block (RFC 9639, section 8.8) for the first picture."""
    if not tags.pictures:
        return None
    picture = tags.pictures[0]
    mime, description = picture.mime.encode(), picture.description.encode()
    head = struct.pack(">II", picture.kind, len(mime)) + mime
    head += struct.pack(">I", len(description)) + description + bytes(16)
    return head + struct.pack(">I", len(picture.data)) + picture.data


def picture_comment(tags: Tags) -> str:
    """The value of an Ogg METADATA_BLOCK_PICTURE comment."""
    return base64.b64encode(flac_picture(tags) or b"").decode()


def fill_padding(file: IO[bytes], base: int, picture: bytes) -> None:
    """Put the picture where the encoder left a padding block of just its size."""
    end = file.tell()
    at = base + 4
    while True:
        file.seek(at)
        head = file.read(4)
        if len(head) < 4:
            break
        size = int.from_bytes(head[1:], "big")
        if head[0] & 0x7F == 1 and size == len(picture):
            file.seek(at)
            file.write(bytes([head[0] & 0x80 | 6]) + head[1:] + picture)
            break
        if head[0] & 0x80:
            break
        at += 4 + size
    file.seek(end)


def add_cover(file: IO[bytes], base: int, tags: Tags) -> None:
    """Add the picture to the index of an MP4 file, which is its last box (nothing moves)."""
    picture = tags.pictures[0]
    kind = 14 if picture.mime == "image/png" else 13
    data = _box(b"data", struct.pack(">II", kind, 0) + picture.data)
    end = file.seek(0, io.SEEK_END)
    at = base
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if head[4:8] == b"moov" and at + size == end:
            file.seek(at + 8)
            body = file.read(size - 8)
            file.seek(at)
            file.write(_box(b"moov", _with_cover(body, _box(b"covr", data))))
            return
        if size < 8:
            return
        at += size


def _with_cover(moov: bytes, cover: bytes) -> bytes:
    out, added = b"", False
    for name, body in _boxes(moov):
        if name == b"udta":
            body, added = _udta(body, cover), True  # noqa: PLW2901 - the box in its new form
        out += _box(name, body)
    return out if added else out + _box(b"udta", _udta(b"", cover))


def _udta(udta: bytes, cover: bytes) -> bytes:
    handler = _box(b"hdlr", b"\0" * 8 + b"mdirappl" + b"\0" * 9)
    boxes = dict(_boxes(udta))
    meta = boxes.get(b"meta", b"\0" * 4 + handler + _box(b"ilst", b""))
    inner = dict(_boxes(meta[4:]))
    inner[b"ilst"] = inner.get(b"ilst", b"") + cover
    boxes[b"meta"] = meta[:4] + b"".join(_box(name, body) for name, body in inner.items())
    return b"".join(_box(name, body) for name, body in boxes.items())


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """Name and content of each box (ISO/IEC 14496-12, section 4.2)."""
    found, at = [], 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8 or at + size > len(data):
            break
        found.append((data[at + 4 : at + 8], data[at + 8 : at + size]))
        at += size
    return found


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body
