"""Whatever bytes arrive: samples that obey the limits, or an error of ours. Never anything else."""

from __future__ import annotations

import functools

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import EDITS, spoil
from watermark.audio.waveform import FORMATS, DecodeLimits, Waveform, encode, read
from watermark.errors import AudioError

LIMITS = DecodeLimits(max_duration_s=20, max_bytes=10**6, deadline_s=5)


@functools.cache
def valid(format: str) -> bytes:
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal((2, 12_000))
    return encode(Waveform(noise.astype(np.float32), 24_000), format)


def check(data: bytes) -> bool:
    """True if it was read."""
    try:
        sound = read(data, LIMITS)
    except AudioError as error:
        assert str(error).startswith("audio data: ")
        return False
    assert sound.duration_s <= LIMITS.max_duration_s
    assert 1 <= sound.channels <= LIMITS.max_channels
    assert LIMITS.min_rate <= sound.rate <= LIMITS.max_rate
    assert np.isfinite(sound.samples).all()
    return True


def test_the_unmutated_files_are_read():
    assert all(check(valid(format)) for format in FORMATS)


@settings(
    max_examples=250,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    format=st.sampled_from(FORMATS),
    edits=EDITS,
    keep=st.one_of(st.none(), st.integers(0, 40_000)),
)
def test_mutated_files(format, edits, keep):
    check(spoil(valid(format), edits)[:keep])


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(
    magic=st.sampled_from(
        [
            b"RIFF\0\0\0\0WAVEfmt ",
            b"fLaC",
            b"OggS\0\2",
            b"ID3\3\0",
            b"\xff\xfb\x90",
            b"FORM",
            b"\0\0\0\x20ftypM4A ",
            b"\x1aE\xdf\xa3",
            b".snd",
            b"RF64",
            b"wvpk",
            b"caff",
        ]
    ),
    rest=st.binary(max_size=4096),
)
def test_magic_and_garbage(magic, rest):
    check(magic + rest)
