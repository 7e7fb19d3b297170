"""Decoding in a child: the same samples, the same errors, and nothing a hostile file could use."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from watermark.audio.sandbox import SandboxLimits, isolated_blocks, isolated_json
from watermark.audio.waveform import DecodeLimits, Waveform, encode, read
from watermark.errors import AudioError, AudioTooLongError, UnreadableAudioError

pytestmark = pytest.mark.slow

LIMITS = DecodeLimits(max_duration_s=20, max_bytes=10**7, deadline_s=10)
ISOLATED = replace(LIMITS, isolated=True)


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(0)
    return Waveform((0.1 * rng.standard_normal((2, 60_000))).astype(np.float32), 24_000)


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "m4a", "opus"])
def test_the_child_decodes_to_the_same_samples(noise, format):
    data = encode(noise, format)
    here, there = read(data, LIMITS), read(data, ISOLATED)
    assert here.rate == there.rate
    assert np.array_equal(here.samples, there.samples)


def test_a_file_by_path_and_more_than_one_message(tmp_path, noise):
    long = Waveform(np.tile(noise.samples, (1, 8)), 24_000)
    path = tmp_path / "long.wav"
    path.write_bytes(encode(long, "wav"))
    assert np.array_equal(read(path, ISOLATED).samples, read(path).samples)


@pytest.fixture
def many_descriptors():
    """As in a large server: whatever is opened next gets a descriptor above 1,023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2_048 if hard == resource.RLIM_INFINITY else min(2_048, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    with ExitStack() as held:
        while held.enter_context(open(os.devnull)).fileno() < 1_100:  # noqa: PTH123
            pass
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_limit_of_years_is_a_limit(noise):
    data = encode(noise, "flac")
    patient = replace(ISOLATED, deadline_s=10.0**9)
    assert np.array_equal(read(data, patient).samples, read(data, LIMITS).samples)


def test_the_child_is_read_where_many_files_are_open(noise, many_descriptors):
    data = encode(noise, "flac")
    assert np.array_equal(read(data, ISOLATED).samples, read(data, LIMITS).samples)


@pytest.mark.parametrize(
    "data", [b"", b"not audio", b"RIFF\0\0\0\0WAVEfmt ", b"fLaC" + bytes(100), b"OggS" + bytes(99)]
)
def test_the_child_gives_the_error_this_process_would(data):
    with pytest.raises(AudioError) as here:
        read(data, LIMITS)
    with pytest.raises(AudioError) as there:
        read(data, ISOLATED)
    assert type(there.value) is type(here.value)
    assert str(there.value) == str(here.value)


def test_limits_hold_in_the_child(noise):
    short = replace(ISOLATED, max_duration_s=1)
    with pytest.raises(AudioTooLongError, match="longer than 1 s"):
        read(encode(noise, "flac"), short)


def test_an_error_names_the_file_and_no_folder(tmp_path):
    path = tmp_path / "private" / "song.wav"
    path.parent.mkdir()
    path.write_bytes(b"RIFFnothing")
    with pytest.raises(UnreadableAudioError) as caught:
        read(path, ISOLATED)
    assert str(caught.value).startswith("song.wav: ")
    assert "private" not in str(caught.value)


# -- a decoder that a file has taken over ----------------------------------------------------------


def hostile(name: str, request=None, **limits):
    sandbox = SandboxLimits(**{"cpu_s": 20.0, "wall_s": 30.0, **limits})
    return isolated_json(
        f"tests.support.hostile:{name}", request or {}, b"the file", LIMITS, sandbox
    )


def test_a_taken_over_decoder_reaches_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_DATABASE_URL", "postgresql://secret")
    target = tmp_path / "written"
    found = hostile("burglar", {"target": str(target)})
    assert found["content"] == "the file"
    assert found["secret"] is None
    assert not found["torch"]
    if platform.machine() in ("x86_64", "aarch64"):
        assert all(found["refused"].values()), found["refused"]
        assert not target.exists()
    # RLIMIT_FSIZE holds without a filter, too: an existing file would not grow.


@pytest.mark.parametrize(
    ("name", "limits", "error", "text"),
    [
        ("glutton", {"memory_bytes": 2**29}, UnreadableAudioError, "failed on this file"),
        ("crasher", {}, UnreadableAudioError, "failed on this file"),
        ("looper", {"cpu_s": 1.0}, AudioTooLongError, "processor time"),
        ("sleeper", {"wall_s": 1.5}, AudioTooLongError, "longer than 1.5 s"),
        ("flooder", {}, UnreadableAudioError, "no proper answer"),
    ],
)
def test_a_decoder_that_runs_wild_is_ended_with_a_plain_word(name, limits, error, text):
    with pytest.raises(error, match=text):
        hostile(name, **limits)


@pytest.mark.parametrize(
    "claim",
    [
        '{"channels": 0, "rate": 8000}',
        '{"channels": 3, "rate": 8000}',  # the samples do not divide
        '{"channels": 1, "rate": 1}',
        '{"channels": 100, "rate": 8000}',
        '{"channels": 1, "rate": 8000}',  # longer than the limit
        '{"channels": "many", "rate": 8000}',
        "[]",
        "no JSON",
        "[" * 100_000,  # deeper than the parser goes
        "9" * 5_000,  # a number with more digits than Python reads
        "\udcff",  # not UTF-8
    ],
)
def test_what_a_decoder_claims_is_checked(monkeypatch, claim):
    import watermark.audio.sandbox as module

    class Lying(module._Child):
        def __init__(self, _target, _request, *rest):
            request = {"messages": [claim, "abcd" * 200_000]}
            super().__init__("tests.support.hostile:liar", request, *rest)

    monkeypatch.setattr(module, "_Child", Lying)
    with pytest.raises(UnreadableAudioError, match="no proper answer"):
        list(isolated_blocks(b"x", LIMITS))


# -- where the system refuses the filter -----------------------------------------------------------

FILTERLESS = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from tests.support.filterless import refuse_filters
from watermark.audio.waveform import DecodeLimits, read
from watermark.errors import SandboxUnavailableError
from watermark.audio.sandbox import filter_works, isolated_json

if sys.argv[2] == "refused":
    refuse_filters()
limits = DecodeLimits(deadline_s=10, isolated=True)
print(filter_works())
for unfiltered in (False, True):
    try:
        print(read(sys.argv[1], replace(limits, unfiltered=unfiltered)).samples.shape)
    except SandboxUnavailableError as exc:
        print(exc)
try:
    isolated_json("tests.support.hostile:burglar", {"target": sys.argv[3]}, b"the file", limits)
except SandboxUnavailableError as exc:
    print("refused before the file was looked at")
"""


def without_a_filter(tmp_path, noise, mode: str) -> list[str]:
    path = tmp_path / "song.flac"
    path.write_bytes(encode(noise, "flac"))
    done = subprocess.run(
        [sys.executable, "-c", FILTERLESS, path, mode, tmp_path / "written"],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


def test_without_a_filter_nothing_is_decoded_unless_that_was_allowed(tmp_path, noise):
    works, refusal, allowed, hostile_file = without_a_filter(tmp_path, noise, "refused")
    assert works == "False"
    assert "refuses the system-call filter" in refusal
    assert allowed == "(2, 60000)"
    assert hostile_file == "refused before the file was looked at"
    assert not (tmp_path / "written").exists()


def test_with_a_filter_both_settings_decode_alike(tmp_path, noise):
    assert without_a_filter(tmp_path, noise, "left alone") == ["True", "(2, 60000)", "(2, 60000)"]


def test_every_thread_of_the_child_is_filtered():
    if platform.machine() in ("x86_64", "aarch64"):
        assert hostile("helper")["refused"]
