"""What can be heard of an output while it is made: sealed, in order, gone when it must be."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from studio.core.errors import GenerationCancelledError, SealingError
from studio.generation.preview import Preview
from watermark.audio.waveform import Waveform

RATE = 16_000


def windows(count: int) -> list[Waveform]:
    return [Waveform(np.full((2, 8), 0.01 * k, np.float32), RATE) for k in range(count)]


def pcm(*music: Waveform) -> bytes:
    samples = np.concatenate([one.samples for one in music], -1)
    return np.rint(samples.T * 32767).astype("<i2").tobytes()


def louder(music):
    for window in music:
        yield Waveform(window.samples * 2, window.rate)


def test_nothing_is_heard_that_did_not_go_through_the_seal():
    preview = Preview()
    listener = preview.listen()
    with preview.sealed_by(louder):
        for window in windows(4):
            preview.hear(window)
    assert (preview.rate, preview.channels) == (RATE, 2)
    assert listener.read() == pcm(*louder(windows(4)))
    assert listener.read() == b""


def test_what_is_not_sealed_yet_is_not_there():
    preview, go_on = Preview(), threading.Event()

    def held(music):
        yield next(music)
        go_on.wait()
        yield from music

    listener = preview.listen()
    with preview.sealed_by(held):
        for window in windows(3):
            preview.hear(window)
        while not preview.has_begun:
            pass
        first = listener.read()
        assert first in (b"", pcm(windows(1)[0]))
        assert not listener.ended
        go_on.set()
    assert first + listener.read() == pcm(*windows(3))


def test_those_who_listen_hear_the_rest_of_what_was_released_and_nobody_begins_anew():
    preview = Preview()
    listener = preview.listen()
    with preview.until_released(), preview.sealed_by(iter):
        preview.hear(windows(2)[1])
    assert preview.listen() is None
    assert not listener.ended
    assert listener.read() == pcm(windows(2)[1])
    assert listener.ended


@pytest.mark.parametrize("error", [GenerationCancelledError("cancelled"), SealingError("quiet")])
def test_what_is_not_released_is_taken_back(error):
    preview = Preview()
    listener = preview.listen()
    with pytest.raises(type(error)), preview.until_released():
        with preview.sealed_by(iter):
            preview.hear(windows(2)[1])
        raise error
    assert listener.read() == b""
    assert listener.ended
    assert preview.listen() is None


def test_a_seal_that_fails_ends_the_preview_and_not_the_work():
    def refused(music):
        next(music)
        raise SealingError("too quiet")
        yield

    preview = Preview()
    listener = preview.listen()
    with preview.sealed_by(refused):
        preview.hear(windows(1)[0])
    assert listener.ended
    assert not preview.has_begun
