"""Sealing a carrier: every rate, any length, never clipped, never silently skipped."""

import sys

import numpy as np
import pytest

from tests.unit.seal_carriers import music
from watermark.audio.waveform import Waveform
from watermark.coding.message import SealId, SealKey
from watermark.embedding.embed import FULL_SCALE, embed, embed_stream
from watermark.errors import (
    CarrierTooQuietError,
    CarrierTooShortError,
    SealModelError,
    UnsupportedAudioError,
)
from watermark.models.base import SealModel

KEY = SealKey(epoch=1, secret=bytes(range(32)))
SEAL = SealId.parse("0011223344556677")


@pytest.fixture(scope="module")
def untrained() -> SealModel:
    return SealModel.random(seed=3)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_shape_rate_and_every_channel_gets_the_same_mark(untrained, rate, channels):
    carrier = music(2.6, rate, channels)
    sealed = embed(carrier, SEAL, KEY, model=untrained)
    assert sealed.rate == rate
    assert sealed.samples.shape == carrier.samples.shape
    residual = sealed.samples - carrier.samples
    assert np.abs(residual).max() > 1e-4
    np.testing.assert_allclose(residual[0], residual[-1], atol=1e-6)
    # The mark is far below the carrier, over its whole length.
    half = carrier.length // 2
    for part in (slice(0, half), slice(half, None)):
        ratio = np.mean(carrier.samples[:, part] ** 2) / np.mean(residual[:, part] ** 2)
        assert 15 < 10 * np.log10(ratio) < 45


@pytest.mark.slow
def test_streaming_in_any_blocks_equals_the_whole(untrained):
    carrier = music(47.3, 22_050, 2)
    whole = embed(carrier, SEAL, KEY, model=untrained)
    sizes = [1, 5_000, 123_457, 400_000]
    blocks, at = [], 0
    while at < carrier.length:
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(Waveform(carrier.samples[:, at : at + size], carrier.rate))
        at += size
    parts = list(embed_stream(iter(blocks), SEAL, KEY, model=untrained))
    assert len(parts) > 1
    streamed = np.concatenate([p.samples for p in parts], axis=1)
    assert streamed.shape == whole.samples.shape
    np.testing.assert_allclose(streamed, whole.samples, atol=1e-6)


def test_block_borders_leave_no_trace(untrained, monkeypatch):
    """The mark of small blocks with context is the mark of one block over the whole carrier."""
    module = sys.modules["watermark.embedding.embed"]

    carrier = music(13.0, 16_000, 1)
    monkeypatch.setattr(module, "_BLOCK_S", 60.0)
    one = embed(carrier, SEAL, KEY, model=untrained).samples
    monkeypatch.setattr(module, "_BLOCK_S", 2.56)
    many = embed(carrier, SEAL, KEY, model=untrained).samples
    residual = np.abs(one - carrier.samples).max()
    assert np.abs(one - many).max() < 1e-3 * residual


def test_a_shorter_look_ahead_comes_sooner_and_marks_nearly_the_same(untrained):
    carrier = music(8.0, 16_000, 1)
    tenths = [
        Waveform(carrier.samples[:, at : at + 1_600], 16_000) for at in range(0, 128_000, 1_600)
    ]

    def stream(ahead_s):
        """The sealed carrier, and how many blocks were asked for until its first part came."""
        asked = []
        blocks = (asked.append(each) or each for each in tenths)
        sealed = embed_stream(blocks, SEAL, KEY, model=untrained, block_s=0.4, ahead_s=ahead_s)
        parts, first = [], None
        for part in sealed:
            parts.append(part.samples)
            first = first or len(asked)
        return np.concatenate(parts, axis=1), first

    whole, late = stream(None)
    hurried, early = stream(0.32)
    assert early <= 8 < 20 < late
    assert hurried.shape == whole.shape
    mark, apart = whole - carrier.samples, hurried - whole
    assert 0 < np.mean(apart**2) < 0.05 * np.mean(mark**2)


def test_memory_does_not_grow_with_length(untrained):
    """The sealer holds a few blocks, however much went through it."""
    from watermark.embedding.embed import _BLOCK_S, _Sealer

    sealer = _Sealer(16_000, 1, SEAL, KEY, untrained, 1.0, _BLOCK_S)
    block = music(10.0, 16_000, 1)
    held = []
    for _ in range(9):
        sealer.push(block)
        held.append(sealer._original.samples.shape[1] + sealer._mono.samples.shape[1])
    assert max(held) < 16_000 * 90
    assert max(held[5:]) <= max(held[:5]) + block.length


def test_deterministic_and_dependent_on_id_and_key(untrained):
    carrier = music(3.0, 16_000, 1)
    first = embed(carrier, SEAL, KEY, model=untrained).samples
    np.testing.assert_array_equal(first, embed(carrier, SEAL, KEY, model=untrained).samples)
    other_id = embed(carrier, SealId(b"\x01" * 8), KEY, model=untrained).samples
    other_key = embed(carrier, SEAL, SealKey(1, b"\x02" * 32), model=untrained).samples
    assert np.abs(first - other_id).max() > 1e-4
    assert np.abs(first - other_key).max() > 1e-4


def test_the_message_switches_at_the_second(untrained):
    """Ids that agree in second 0 only make marks that agree there only."""
    rng = np.random.default_rng(0)
    seen: dict[bytes, SealId] = {}
    from watermark.coding.message import message

    while True:  # birthday search: two ids with one first message
        one = SealId(rng.bytes(8))
        word = message(KEY, one, 0).tobytes()
        if word in seen:
            break
        seen[word] = one
    carrier = music(3.0, 16_000, 1)
    a = embed(carrier, one, KEY, model=untrained).samples[0]
    b = embed(carrier, seen[word], KEY, model=untrained).samples[0]
    difference = np.abs(a - b)
    assert difference[: round(0.4 * 16_000)].max() < 0.05 * difference[16_000:].max()


def test_strength_is_linear_and_limited(untrained):
    carrier = music(3.0, 16_000, 1)

    def power(strength):
        sealed = embed(carrier, SEAL, KEY, model=untrained, strength=strength)
        return np.mean((sealed.samples - carrier.samples) ** 2)

    assert 10 * np.log10(power(1.0) / power(0.5)) == pytest.approx(6.0, abs=0.7)
    for bad in (0.0, -1.0, untrained.max_strength * 1.01, float("nan")):
        with pytest.raises(SealModelError, match="strength"):
            embed(carrier, SEAL, KEY, model=untrained, strength=bad)


def test_never_clips_and_only_the_mark_is_limited(untrained):
    carrier = music(3.0, 16_000, 1)
    loud = Waveform(np.clip(carrier.samples * 40, -1, 1), 16_000)
    sealed = embed(loud, SEAL, KEY, model=untrained, strength=untrained.max_strength)
    over = np.abs(sealed.samples) > np.maximum(np.abs(loud.samples), FULL_SCALE) + 1e-7
    assert not over.any()
    assert np.abs(sealed.samples - loud.samples).max() > 1e-3


def test_too_short_and_too_quiet_are_errors(untrained):
    with pytest.raises(CarrierTooShortError, match=r"1\.99"):
        embed(music(1.99, 16_000, 1), SEAL, KEY, model=untrained)
    with pytest.raises(CarrierTooShortError):
        list(embed_stream([], SEAL, KEY, model=untrained))
    silence = Waveform(np.zeros((2, 5 * 32_000), np.float32), 32_000)
    with pytest.raises(CarrierTooQuietError, match=r"0\.0 s"):
        embed(silence, SEAL, KEY, model=untrained)
    # One second of music and nine of silence hold no seal either.
    samples = np.zeros((1, 160_000), np.float32)
    samples[:, :16_000] = music(1.0, 16_000, 1).samples
    with pytest.raises(CarrierTooQuietError):
        embed(Waveform(samples, 16_000), SEAL, KEY, model=untrained)


@pytest.mark.parametrize("rate", [4_000, 192_000])
def test_rates_outside_are_refused(untrained, rate):
    with pytest.raises(UnsupportedAudioError, match=str(rate)):
        embed(Waveform(np.ones((1, rate * 3), np.float32), rate), SEAL, KEY, model=untrained)


def test_blocks_of_another_kind_are_refused(untrained):
    blocks = [music(1.0, 16_000, 1), music(1.0, 16_000, 2)]
    with pytest.raises(UnsupportedAudioError, match="differ"):
        list(embed_stream(blocks, SEAL, KEY, model=untrained))
