"""What may mislead a verdict: inverted and drowned channels, faint levels, clips too short."""

from __future__ import annotations

from pathlib import Path

from tests.inputs.case import EXCERPT, SEALED, Case, Source, ffmpeg
from tests.inputs.files import FF, encoded

__all__ = ["CASES"]

_OURS = {"verify": "sealed|excerpt"}
_NOTHING = {
    "detect": "no seal",
    "identify": "not named",
    "scan": "no seal",
    "verify": "not-detected",
}


def beside(name: str, filters: str):
    """The sealed piece (input 0) and other music (input 1), mixed by a filter graph."""

    def make(made: Source) -> Path:
        path = made.folder / name
        ffmpeg("-i", made.sealed, "-i", made.plain, "-filter_complex", filters, path)
        return path

    return make


def unsealed(name: str, *options: str):
    return encoded(name, *options, source="plain")


_ONE = "[0:a]pan=mono|c0=c0[s];[1:a]pan=mono|c0=c0[o];"
CASES = (
    Case(
        "L and -L", 3, encoded("inverted.wav", "-af", "pan=stereo|c0=c0|c1=-1*c0"), SEALED, parts=FF
    ),
    Case("-L alone", 3, encoded("minus.wav", "-af", "pan=mono|c0=-1*c0"), SEALED, parts=FF),
    Case(
        "the piece left, other music right",
        3,
        beside("halves.wav", _ONE + "[s][o]join=inputs=2:channel_layout=stereo"),
        {**_OURS, "detect": "sealed", "identify": "named"},
        parts=FF,
    ),
    Case(
        "the piece left, louder music right",
        3,
        beside(
            "drowned.wav",
            _ONE + "[o]volume=9dB[p];[s]volume=-9dB[q];[q][p]join=inputs=2:channel_layout=stereo",
        ),
        _OURS,
        parts=FF,
    ),
    Case(
        "the piece as side signal of other music",
        3,
        beside(
            "side.wav",
            _ONE + "[s][o]join=inputs=2:channel_layout=stereo,pan=stereo|c0=c1+c0|c1=c1-c0",
        ),
        {"verify": "sealed|excerpt|not-detected"},
        parts=FF,
    ),
    Case(
        "other music as L and -L",
        3,
        unsealed("other.wav", "-af", "pan=stereo|c0=c0|c1=-1*c0"),
        _NOTHING,
        parts=FF,
    ),
    *(
        Case(
            f"unsealed clip of {seconds} s",
            4,
            unsealed(f"clip{seconds}.wav", "-ss", "2", "-t", str(seconds)),
            {"detect": "no seal|unreadable", "verify": "not-detected|unreadable"},
            parts=FF,
        )
        for seconds in (0.1, 0.4, 0.9, 1.5, 2.5)
    ),
    *(
        Case(
            f"sealed clip of {seconds} s",
            4,
            encoded(f"part{seconds}.wav", "-ss", "2", "-t", str(seconds)),
            {"verify": "excerpt|sealed|not-detected|unreadable"},
            parts=FF,
        )
        for seconds in (0.4, 1.5, 3.0)
    ),
    Case(
        "unsealed music of 9.71 s",
        8,
        unsealed("long.wav", "-t", "9.71"),
        {"detect": "no seal", "verify": "not-detected"},
        parts=FF,
    ),
    Case(
        "24 bit, 50 dB down",
        11,
        encoded("faint.wav", "-af", "volume=-50dB", "-c:a", "pcm_s24le"),
        SEALED,
        parts=FF,
    ),
    Case(
        "16 bits at the low end of 32",
        11,
        encoded("right.wav", "-af", "volume=1/65536:precision=double", "-c:a", "pcm_s32le"),
        {"verify": "sealed|excerpt"},
        parts=FF,
    ),
    Case(
        "float, 120 dB down",
        11,
        encoded("hardly.wav", "-af", "volume=-120dB:precision=float", "-c:a", "pcm_f32le"),
        {"verify": "sealed|excerpt|not-detected|unreadable"},
        parts=FF,
    ),
    Case(
        "half a second of the piece in silence",
        4,
        encoded("island.wav", "-af", "atrim=3:3.5,apad=whole_dur=12"),
        {"verify": "excerpt|not-detected|unreadable"},
        parts=FF,
    ),
    Case("the piece from 3 s on", 3, encoded("later.wav", "-ss", "3"), EXCERPT, parts=FF),
)
