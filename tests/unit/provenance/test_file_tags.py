"""Tags in the file: readable by others' software, and not one sample of the audio changed."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
import soundfile

from studio.core.errors import SealingError
from studio.provenance.file_tags import write_metadata
from watermark.audio.waveform import Waveform, encode, read

TOLD = {"title": "Stück Nr. 1", "artist": "Consented Music Studio", "comment": "x" * 301}


@pytest.fixture
def waveform():
    noise = np.random.default_rng(1).standard_normal((2, 22_051)) * 0.1  # an odd length
    return Waveform(noise.astype(np.float32), 22_050)


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "m4a"])
def test_the_audio_is_untouched(waveform, format):
    plain = encode(waveform, format)
    tagged = write_metadata(plain, format, **TOLD)
    assert np.array_equal(read(plain).samples, read(tagged).samples)


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "m4a"])
def test_the_tags_are_read_by_other_software(waveform, format):
    tagged = write_metadata(encode(waveform, format), format, **TOLD)
    if format == "m4a":
        with av.open(io.BytesIO(tagged)) as container:
            told = container.metadata
    else:
        with soundfile.SoundFile(io.BytesIO(tagged)) as file:
            told = file.copy_metadata()
    assert {name: told.get(name) for name in TOLD} == TOLD


@pytest.mark.parametrize("format", ["flac", "mp3", "m4a"])
def test_earlier_tags_are_replaced(waveform, format):
    once = write_metadata(encode(waveform, format), format, **TOLD)
    twice = write_metadata(once, format, **{**TOLD, "title": "Another"})
    assert TOLD["title"].encode() not in twice
    assert b"Another" in twice


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "m4a"])
def test_bytes_of_another_format_are_refused(format):
    with pytest.raises(SealingError):
        write_metadata(b"something else entirely", format, **TOLD)
