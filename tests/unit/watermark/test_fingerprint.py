"""Fingerprints: copies match through codecs and crops, other music does not; the index."""

from __future__ import annotations

import numpy as np
import pytest

from watermark.audio.waveform import Waveform, encode, read
from watermark.errors import FingerprintError
from watermark.evaluation.bench import synthetic_clips
from watermark.fingerprint.haitsma_kalker import (
    MATCH_DISTANCE,
    WORDS_PER_SECOND,
    Fingerprint,
    fingerprint,
    match,
)
from watermark.fingerprint.index import FingerprintIndex

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tracks() -> list[Waveform]:
    return [clip.waveform for clip in synthetic_clips(count=5, seconds=16.0)]


@pytest.fixture(scope="module")
def prints(tracks) -> list[Fingerprint]:
    return [fingerprint(track) for track in tracks]


@pytest.fixture(scope="module")
def index(prints):
    """The tracks among 500 others with the statistics of real ones."""
    rng = np.random.default_rng(0)
    index = FingerprintIndex()
    for n in range(500):
        words = np.roll(prints[n % len(prints)].words, int(rng.integers(600)))
        index.add(f"other-{n}", Fingerprint(words ^ np.uint32(rng.integers(1, 2**32)), 16.0))
    for n, reference in enumerate(prints):
        index.add(str(n), reference)
    return index


def with_noise(track: Waveform, level: float) -> Waveform:
    noise = np.random.default_rng(0).standard_normal(track.samples.shape) * level
    return Waveform((track.samples + noise).astype(np.float32), track.rate)


class TestCopies:
    @pytest.mark.parametrize(
        ("format", "bitrate"), [("mp3", 64_000), ("mp3", 128_000), ("opus", 48_000)]
    )
    def test_through_a_codec_and_cropped(self, tracks, prints, format, bitrate):
        for track, reference in zip(tracks, prints, strict=True):
            copy = read(encode(track.slice(4.0, 12.0), format, bitrate=bitrate))
            found = match(fingerprint(copy), reference)
            assert found.is_match
            assert found.offset_s == pytest.approx(4.0, abs=0.03)
            assert found.overlap_s == pytest.approx(8.0, abs=0.5)

    def test_a_copy_is_nearly_identical(self, tracks, prints):
        other_rate = tracks[0].resample(44_100).mono()
        found = match(fingerprint(other_rate), prints[0])
        assert found.distance < 0.02
        assert found.offset_s == 0

    @pytest.mark.parametrize("gain", [-1.0, 0.05])
    def test_level_and_polarity_do_not_matter(self, tracks, prints, gain):
        changed = Waveform(tracks[1].samples * np.float32(gain), tracks[1].rate)
        assert match(fingerprint(changed), prints[1]).distance < 0.01

    def test_a_file_that_begins_before_the_reference(self, tracks):
        part = fingerprint(tracks[2].slice(6.0, 16.0))
        found = match(fingerprint(tracks[2]), part)
        assert found.is_match
        assert found.offset_s == pytest.approx(-6.0, abs=0.03)

    def test_noise_raises_the_distance_gradually(self, tracks, prints):
        distances = [
            match(fingerprint(with_noise(tracks[0], level)), prints[0]).distance
            for level in (0.001, 0.01, 0.1)
        ]
        assert distances == sorted(distances)
        assert distances[0] < 0.1 < distances[2]


class TestOthers:
    def test_other_music_is_far(self, prints):
        distances = [match(a, b).distance for a in prints for b in prints if a is not b]
        assert min(distances) > MATCH_DISTANCE + 0.05

    def test_noise_is_at_one_half(self):
        rng = np.random.default_rng(0)
        noise = [
            fingerprint(
                Waveform(0.1 * rng.standard_normal((1, 8 * 16_000)).astype(np.float32), 16_000)
            )
            for _ in range(2)
        ]
        assert 0.4 < match(*noise).distance < 0.5

    def test_silence_matches_nothing(self, prints):
        silence = fingerprint(Waveform(np.zeros((1, 16_000 * 10), np.float32), 16_000))
        assert not silence.words.any()
        assert match(silence, silence) is None
        assert match(silence, prints[0]) is None

    def test_shared_silence_is_no_evidence(self, tracks):
        """Two tracks with the same eight seconds of silence in front are two tracks."""
        padded = [
            fingerprint(Waveform(np.pad(t.samples, ((0, 0), (8 * t.rate, 0))), t.rate))
            for t in tracks[:2]
        ]
        assert not match(*padded).is_match

    def test_too_short(self):
        with pytest.raises(FingerprintError, match="too short"):
            fingerprint(Waveform(np.ones((1, 100), np.float32), 16_000))


class TestBytes:
    def test_round_trip(self, prints):
        again = Fingerprint.from_bytes(prints[0].to_bytes())
        np.testing.assert_array_equal(again.words, prints[0].words)
        assert again.duration_s == prints[0].duration_s
        assert len(prints[0].words) == pytest.approx(16 * WORDS_PER_SECOND, abs=18)

    @pytest.mark.parametrize(
        "data", [b"", b"HKF1", b"XXXX" + bytes(12), b"HKF1" + bytes(9), b"HKF1" + b"\xff" * 12]
    )
    def test_other_bytes(self, data):
        with pytest.raises(FingerprintError):
            Fingerprint.from_bytes(data)

    def test_format_is_fixed(self):
        """Ledgers hold fingerprints: the bytes of a known signal must stay what they are."""
        t = np.arange(3 * 16_000) / 16_000
        sweep = np.sin(2 * np.pi * (300 + 300 * t) * t) * (1 + 0.5 * np.sin(40 * t))
        words = fingerprint(Waveform((0.3 * sweep[None]).astype(np.float32), 16_000)).words
        # Bits near zero may turn with the FFT's rounding; the rest must not.
        golden = np.array(GOLDEN, np.uint32)
        assert np.bitwise_count(words[10:90:10] ^ golden).sum() <= 3


GOLDEN = [
    0xFF8FF973,
    0x41F9FA6D,
    0x3FFFBF96,
    0xE101E7ED,
    0x73DFFDFB,
    0x2D00077D,
    0x1DAB9FDF,
    0x30FCA46F,
]


class TestIndex:
    def test_finds_an_excerpt(self, tracks, index):
        for n, track in enumerate(tracks):
            copy = read(encode(track.slice(3.0, 11.0), "mp3", bitrate=64_000))
            found = index.search(fingerprint(copy))
            assert found[0].key == str(n)
            assert found[0].offset_s == pytest.approx(3.0, abs=0.03)
            assert found[0].distance == pytest.approx(
                match(fingerprint(copy), fingerprint(track)).distance, abs=1e-9
            )

    def test_falls_back_to_words_one_bit_away(self, prints, index):
        """A query in which every single word has a bit turned."""
        part = prints[0].words[100:500]
        flips = np.uint32(1) << np.random.default_rng(0).integers(0, 32, 400).astype(np.uint32)
        found = index.search(Fingerprint(part ^ flips, 9.3))
        assert found[0].key == "0"
        assert found[0].distance == pytest.approx(1 / 32, abs=0.01)

    def test_unknown_music_finds_nothing(self, index):
        other = synthetic_clips(count=1, seconds=10.0, seed=99)[0].waveform
        assert index.search(fingerprint(other)) == []

    def test_nothing_in_it(self, prints):
        assert FingerprintIndex().search(prints[0]) == []

    def test_tracks_added_between_searches(self, prints):
        index = FingerprintIndex()
        for n, reference in enumerate(prints * 2):
            index.add(str(n), reference)
            assert str(n) in {found.key for found in index.search(reference)}
        assert len(index) == 10
        assert {found.key for found in index.search(prints[1])} == {"1", "6"}
