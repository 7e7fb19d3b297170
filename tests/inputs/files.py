"""Files in and out: codecs, containers, channels, damage, headers, tags and names of outputs."""

from __future__ import annotations

import base64
import os
import struct
from pathlib import Path

from tests.inputs.case import EXCERPT, SEALED, UNREADABLE, Case, Source, ffmpeg

__all__ = ["CASES"]

_OK = {"embed": "sealed"}
_REFUSED = {"embed": "refused"}

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

PANS = {
    3: "pan=3.0|c0=c0|c1=c0|c2=c0",
    4: "pan=quad|c0=c0|c1=c0|c2=c0|c3=c0",
    5: "pan=5.0|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0",
    6: "pan=5.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0",
    7: "pan=6.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0|c6=c0",
    8: "pan=7.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0|c6=c0|c7=c0",
}


def encoded(name: str, *options: str, source: str = "sealed"):
    """The sealed piece through ffmpeg; the extension chooses the container."""

    def make(made: Source) -> Path:
        path = made.folder / name
        ffmpeg("-i", getattr(made, source), *options, path)
        return path

    return make


def piped(name: str, *options: str):
    def make(made: Source) -> Path:
        path = made.folder / name
        ffmpeg("-i", made.sealed, *options, to=path)
        return path

    return make


def changed(name: str, change, *options: str, suffix: str | None = None):
    """The sealed piece through ffmpeg, then its bytes through ``change``."""

    def make(made: Source) -> Path:
        path = made.folder / name
        whole = path.with_name("whole-" + path.stem + (suffix or path.suffix))
        ffmpeg("-i", made.sealed, *options, whole)
        path.write_bytes(change(whole.read_bytes()))
        whole.unlink()
        return path

    return make


def cut(share: float):
    return lambda data: data[: int(len(data) * share)]


def tagged(data: bytes) -> bytes:
    """An ID3v2 tag in front."""
    frame = b"TIT2" + struct.pack(">I", 6) + b"\0\0" + b"\x03Title"
    return b"ID3\x04\0\0\0\0\0" + bytes([len(frame)]) + frame + data


def wav_sizes(riff: int | None, data_size):
    """A WAV file whose header states other sizes; ``data_size`` of the true one."""

    def change(data: bytes) -> bytes:
        spoiled = bytearray(data)
        at = data.index(b"data") + 4
        true = struct.unpack("<I", data[at : at + 4])[0]
        spoiled[at : at + 4] = struct.pack("<I", data_size(true))
        if riff is not None:
            spoiled[4:8] = struct.pack("<I", riff)
        return bytes(spoiled)

    return change


def aiff_sizes(data: bytes) -> bytes:
    spoiled = bytearray(data)
    spoiled[4:8] = bytes(4)
    at = data.index(b"SSND") + 4
    spoiled[at : at + 4] = bytes(4)
    at = data.index(b"COMM") + 10
    spoiled[at : at + 4] = bytes(4)
    return bytes(spoiled)


def two_streams(name: str, codec: str):
    def make(made: Source) -> Path:
        path = made.folder / name
        maps = ("-map", "0:a", "-map", "1:a", "-c:a", codec)
        ffmpeg("-i", made.plain, "-i", made.sealed, *maps, path)
        return path

    return make


def joined(name: str, extension: str, first: tuple[str, ...], second: tuple[str, ...]):
    """Unsealed music and the sealed piece, encoded apart, one behind the other."""

    def make(made: Source) -> Path:
        path = made.folder / name
        parts = b""
        for source, options in ((made.plain, first), (made.sealed, second)):
            part = made.folder / f"part.{extension}"
            ffmpeg("-i", source, *options, part)
            parts += part.read_bytes()
            part.unlink()
        path.write_bytes(parts)
        return path

    return make


def literal(name: str, data: bytes):
    def make(made: Source) -> Path:
        path = made.folder / name
        path.write_bytes(data)
        return path

    return make


def with_picture(name: str):
    def make(made: Source) -> Path:
        path, art = made.folder / name, made.folder / "art.png"
        art.write_bytes(PICTURE)
        maps = ("-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v", "attached_pic")
        titles = ("-metadata", "title=Tïtle", "-metadata", "artist=Ärtist")
        ffmpeg("-i", made.plain, "-i", art, *maps, *titles, path)
        art.unlink()
        return path

    return make


def plain(name: str, *options: str):
    return encoded(name, *options, source="plain")


def _link(made: Source, _path: Path) -> Path:
    target, link = made.folder / "linked-to.wav", made.folder / "link.wav"
    target.touch()
    link.unlink(missing_ok=True)
    link.symlink_to(target.name)
    return link


def _itself(_made: Source, path: Path) -> Path:
    return path


def _linked_itself(made: Source, path: Path) -> Path:
    link = made.folder / "again.wav"
    link.unlink(missing_ok=True)
    os.link(path, link)
    return link


FF = ("ffmpeg",)
CASES = (
    Case("piped FLAC", 1, piped("piped.flac", "-f", "flac"), {**SEALED, **_OK}, parts=FF),
    Case(
        "piped FLAC of 1.4 s",
        1,
        piped("short.flac", "-t", "1.4", "-f", "flac"),
        {"detect": "sealed|no seal", "scan": "sealed|no seal", "embed": "refused"},
        parts=FF,
    ),
    Case("FLAC cut at 0.7", 1, changed("cut.flac", cut(0.7)), {**EXCERPT, **_REFUSED}, parts=FF),
    Case("MP3 cut at 0.7", 1, changed("cut.mp3", cut(0.7)), {**EXCERPT, **_REFUSED}, parts=FF),
    Case("Ogg cut at 0.7", 1, changed("cut.ogg", cut(0.7)), {**EXCERPT, **_REFUSED}, parts=FF),
    Case("WAV cut at 0.7", 1, changed("cut.wav", cut(0.7)), {**EXCERPT, **_REFUSED}, parts=FF),
    Case("AIFF cut at 0.7", 1, changed("cut.aiff", cut(0.7)), {**EXCERPT, **_REFUSED}, parts=FF),
    *(
        Case(
            f"{codec} of {channels} channels",
            2,
            encoded(f"c{channels}-{codec}.{ext}", "-af", PANS[channels], "-c:a", codec, *more),
            {**SEALED, **_OK},
            parts=FF,
        )
        for codec, ext, channels, more in (
            ("aac", "m4a", 8, ()),
            ("libopus", "opus", 8, ()),
            ("libvorbis", "ogg", 8, ()),
            ("flac", "flac", 8, ()),
            ("alac", "m4a", 8, ()),
            ("wavpack", "wv", 8, ()),
            ("pcm_s24le", "wav", 8, ()),
            ("aac", "m4a", 6, ()),
            ("ac3", "ac3", 6, ()),
        )
    ),
    Case(
        "5.1 WAV to Ogg",
        5,
        encoded("s51.wav", "-af", PANS[6]),
        {**SEALED, **_OK},
        "out.ogg",
        parts=FF,
    ),
    Case(
        "5.1 WAV to M4A",
        5,
        encoded("t51.wav", "-af", PANS[6]),
        {"embed": "sealed"},
        "out.m4a",
        parts=FF,
    ),
    Case(
        "5.1 WAV to Opus",
        5,
        encoded("u51.wav", "-af", PANS[6]),
        {"embed": "sealed"},
        "out.opus",
        parts=FF,
    ),
    Case("6.1 WAV to Opus", 5, encoded("u61.wav", "-af", PANS[7]), _REFUSED, "out.opus", parts=FF),
    Case("5.1 WAV to MP3", 5, encoded("v51.wav", "-af", PANS[6]), _REFUSED, "out.mp3", parts=FF),
    Case(
        "seal in stream 2, M4A", 12, two_streams("two.m4a", "aac"), {**SEALED, **_REFUSED}, parts=FF
    ),
    Case(
        "seal in stream 2, MKV",
        12,
        two_streams("two.mkv", "flac"),
        {**SEALED, **_REFUSED},
        parts=FF,
    ),
    Case(
        "chained Ogg, stereo then mono",
        12,
        joined("chained.ogg", "ogg", ("-ac", "2"), ("-ac", "1")),
        {**EXCERPT, **_REFUSED},
        parts=FF,
    ),
    Case(
        "joined MP3, mono then stereo",
        12,
        joined("joined.mp3", "mp3", ("-ac", "1"), ("-ac", "2")),
        {**EXCERPT, **_REFUSED},
        parts=FF,
    ),
    Case(
        "joined MP3, 22 then 44 kHz",
        12,
        joined("joined22.mp3", "mp3", ("-ar", "22050"), ("-ar", "44100")),
        {**EXCERPT, **_REFUSED},
        parts=FF,
    ),
    Case(
        "joined WAV",
        12,
        joined("joined.wav", "wav", (), ()),
        {**EXCERPT, "embed": "sealed|refused"},
        parts=FF,
    ),
    Case(
        "joined CAF",
        12,
        joined("joined.caf", "caf", ("-c:a", "pcm_s16le"), ("-c:a", "pcm_s24le")),
        {**EXCERPT, "embed": "sealed|refused"},
        parts=FF,
    ),
    Case(
        "WAV, sizes 0",
        13,
        changed("zero.wav", wav_sizes(0, lambda _: 0)),
        {**SEALED, **_OK},
        parts=FF,
    ),
    Case(
        "WAV, data size 0",
        13,
        changed("zerod.wav", wav_sizes(None, lambda _: 0)),
        {**SEALED, **_OK},
        parts=FF,
    ),
    Case(
        "WAV, data size halved",
        13,
        changed("half.wav", wav_sizes(None, lambda n: n // 2)),
        {**SEALED, **_OK},
        parts=FF,
    ),
    Case("WAV through a pipe", 13, piped("piped.wav", "-f", "wav"), {**SEALED, **_OK}, parts=FF),
    Case("AIFF, sizes 0", 13, changed("zero.aiff", aiff_sizes), {**SEALED, **_OK}, parts=FF),
    Case("24-bit WAV", 18, plain("deep.wav", "-c:a", "pcm_s24le"), _OK, parts=FF),
    Case(
        "float WAV, +6 dB",
        18,
        plain("hot.wav", "-af", "volume=6dB", "-c:a", "pcm_f32le"),
        _OK,
        parts=FF,
    ),
    Case(
        "float WAV, +6 dB, to FLAC",
        18,
        plain("hot2.wav", "-af", "volume=6dB", "-c:a", "pcm_f32le"),
        _OK,
        "out.flac",
        parts=FF,
    ),
    *(
        Case(
            f"MP3 with picture and tags to {ext}",
            18,
            with_picture(f"art-{ext}.mp3"),
            _OK,
            f"out.{ext}",
            parts=FF,
        )
        for ext in ("wav", "flac", "mp3", "m4a", "opus", "ogg")
    ),
    Case(
        "--bitrate 192",
        18,
        plain("bit.wav"),
        {"embed": "usage"},
        "out.mp3",
        ("--bitrate", "192"),
        parts=FF,
    ),
    Case("ID3v2 before RIFF", 19, changed("id3.wav", tagged), {**SEALED, **_OK}, parts=FF),
    Case("ID3v2 before AIFF", 19, changed("id3.aiff", tagged), {**SEALED, **_OK}, parts=FF),
    Case("ID3v2 before WavPack", 19, changed("id3.wv", tagged), {**SEALED, **_OK}, parts=FF),
    Case("ID3v2 before FLAC", 19, changed("id3.flac", tagged), {**SEALED, **_OK}, parts=FF),
    Case("AVI", 19, encoded("a.avi"), {**SEALED, **_OK}, parts=FF),
    Case("FLV", 19, encoded("a.flv", "-ar", "44100"), {**SEALED, **_OK}, parts=FF),
    Case("MPEG program stream", 19, encoded("a.mpg"), {**SEALED, **_OK}, parts=FF),
    Case("Monkey's Audio header", 19, literal("a.ape", b"MAC \x96\x0f" + bytes(200)), UNREADABLE),
    Case("OUT is a link", 19, plain("l.wav"), _OK, _link, parts=FF),
    Case("OUT is IN", 19, plain("i.wav"), _REFUSED, _itself, parts=FF),
    Case("OUT is another name of IN", 19, plain("j.wav"), _REFUSED, _linked_itself, parts=FF),
    Case("OUT of 80 CJK letters", 14, plain("k.wav"), _OK, "音" * 80 + ".wav", parts=FF),
    Case("a line break in OUT", 14, plain("m.wav"), _OK, "line\nbreak.wav", parts=FF),
)
