"""Audio in and out: round trips of every format, alignment, and files sent by strangers."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from watermark.audio.waveform import (
    FORMATS,
    DecodeLimits,
    Encoder,
    Waveform,
    encode,
    format_of,
    read,
    replacing,
    stream,
    write,
)
from watermark.errors import (
    AudioError,
    AudioTooLongError,
    UnreadableAudioError,
    UnsupportedAudioError,
)


def music(seconds: float = 2.0, rate: int = 32_000, channels: int = 2, seed: int = 0) -> Waveform:
    """Band-limited noise bursts over chords: has attacks to align by, and survives codecs."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for f in (220, 277, 330, 1108, 1760))
    bursts = rng.standard_normal(len(t)) * np.exp(-((t * 4) % 1) * 12)
    noise = np.convolve(bursts, np.hanning(9) / 4, "same")
    samples = 0.05 * tones + 0.1 * noise
    scale = np.linspace(1, 0.5, channels)[:, None]
    return Waveform((samples[None] * scale).astype(np.float32), rate)


def wav_bytes(samples, rate=16_000, **options) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **{"format": "WAV", "subtype": "FLOAT", **options})
    return buffer.getvalue()


class TestWaveform:
    def test_refuses_what_is_not_sound(self):
        with pytest.raises(UnreadableAudioError, match="float32"):
            Waveform(np.zeros((1, 4)), 8000)
        with pytest.raises(UnreadableAudioError, match="shape"):
            Waveform(np.zeros(4, np.float32), 8000)
        with pytest.raises(UnreadableAudioError, match="NaN"):
            Waveform(np.array([[0, np.nan]], np.float32), 8000)
        with pytest.raises(UnreadableAudioError, match="infinite"):
            Waveform(np.array([[0, -np.inf]], np.float32), 8000)
        with pytest.raises(UnsupportedAudioError):
            Waveform(np.zeros((1, 4), np.float32), 0)

    def test_slice_and_mono(self):
        sound = music(2.0)
        assert sound.slice(0.5, 1.5).length == 32_000
        assert sound.slice(1.5).duration_s == 0.5
        assert sound.slice(5, 6).length == 0
        np.testing.assert_allclose(sound.mono().samples[0], sound.samples.mean(axis=0), atol=1e-7)

    def test_resampling_there_and_back_keeps_the_sound(self):
        sound = music(1.0, rate=16_000)
        back = sound.resample(48_000).resample(16_000)
        assert back.length == sound.length
        # Band edges aside (the noise reaches half the rate): compare below 6 kHz.
        spectrum = np.fft.rfft(back.samples - sound.samples, axis=1)[:, :6_000]
        assert np.abs(spectrum).max() < 1e-3 * np.abs(np.fft.rfft(sound.samples)).max()


class TestRoundTrip:
    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2)])
    def test_aligned_and_like_the_original(self, format, rate, channels):
        sound = music(2.0 + 0.0123, rate, channels)
        decoded = read(encode(sound, format))
        assert decoded.channels == channels
        assert decoded.rate == (48_000 if format == "opus" else rate)
        again = decoded.resample(rate).samples
        # AAC keeps its last frame whole, MP3 some of it; the others have the length they had.
        longer = again.shape[1] - sound.length
        assert 0 <= longer <= {"m4a": 1024, "mp3": 1152}.get(format, 0)
        again = again[:, : sound.length]
        error = np.sum((again - sound.samples) ** 2) / np.sum(sound.samples**2)
        lag = np.argmax(np.correlate(again[0, 2000:12_000], sound.samples[0, 2100:11_900]))
        assert lag == 100, "the decoded file is shifted"
        assert error < (1e-6 if format in ("wav", "flac") else 0.5)

    @pytest.mark.slow
    def test_bit_rate_is_obeyed(self):
        sound = music(5.0, 44_100)
        sizes = [len(encode(sound, "mp3", bitrate=b)) for b in (64_000, 128_000, 320_000)]
        for size, kilobits in zip(sizes, (64, 128, 320), strict=True):
            assert abs(size * 8 / 5 / 1000 - kilobits) < 0.1 * kilobits + 2

    def test_16_bit_audio_survives_unchanged(self):
        integers = np.random.default_rng(0).integers(-32768, 32768, (2, 5000))
        sound = Waveform((integers / 32768).astype(np.float32), 44_100)
        for format in ("wav", "flac"):
            np.testing.assert_array_equal(read(encode(sound, format)).samples, sound.samples)

    def test_subtypes(self):
        sound = music(0.5)
        for subtype, step in (("PCM_16", 2**-16), ("PCM_24", 2**-24), ("FLOAT", 1e-9)):
            error = np.abs(read(encode(sound, "wav", subtype=subtype)).samples - sound.samples)
            assert error.max() <= step * 1.01
        with pytest.raises(UnsupportedAudioError):
            encode(sound, "flac", subtype="FLOAT")
        with pytest.raises(UnsupportedAudioError):
            encode(sound, "mp3", subtype="PCM_16")

    def test_clips_instead_of_wrapping(self):
        loud = Waveform(np.array([[1.5, -1.5, 0.25]], np.float32), 8000)
        np.testing.assert_allclose(
            read(encode(loud, "wav")).samples, [[1.0, -1.0, 0.25]], atol=2**-15
        )

    def test_vorbis_of_minutes_does_not_crash(self):
        """libsndfile crashes when it is handed more than about two minutes at once."""
        sound = Waveform(np.tile(music(5.0, 8_000, 1).samples, 30), 8_000)
        assert read(encode(sound, "ogg")).length == sound.length

    def test_channels_beyond_the_codec(self):
        with pytest.raises(UnsupportedAudioError, match="channels"):
            encode(music(0.5, channels=3), "mp3")

    def test_unknown_format(self):
        with pytest.raises(UnsupportedAudioError, match="wav, flac"):
            encode(music(0.5), "xyz")
        with pytest.raises(UnsupportedAudioError, match=r"song\.xyz"):
            format_of("/secret/song.xyz")


class TestStream:
    @pytest.mark.parametrize("format", ["flac", "mp3"])
    def test_blocks_join_to_the_whole(self, format):
        data = encode(music(3.3, 44_100), format)
        blocks = list(stream(data, block_s=0.5))
        assert [block.length for block in blocks[:-1]] == [22_050] * (len(blocks) - 1)
        joined = np.concatenate([block.samples for block in blocks], axis=1)
        np.testing.assert_array_equal(joined, read(data).samples)

    def test_stops_where_the_consumer_stops(self, tmp_path):
        path = tmp_path / "x.wav"
        write(path, music(3.0))
        first = next(iter(stream(path, block_s=1.0)))
        assert first.duration_s == 1.0

    def test_consumer_time_is_not_decoding_time(self):
        import time

        limits = DecodeLimits(deadline_s=0.5)
        for _ in stream(encode(music(2.0), "wav"), block_s=0.5, limits=limits):
            time.sleep(0.2)


class TestWrite:
    def test_format_by_extension_and_nothing_left_behind(self, tmp_path):
        write(tmp_path / "a.flac", music(0.5))
        assert (tmp_path / "a.flac").read_bytes()[:4] == b"fLaC"
        assert [p.name for p in tmp_path.iterdir()] == ["a.flac"]

    def test_a_failed_write_keeps_the_old_file(self, tmp_path):
        path = tmp_path / "a.wav"
        path.write_bytes(b"old")
        with pytest.raises(UnsupportedAudioError):
            write(path, music(0.5, channels=3), "mp3")
        with pytest.raises(RuntimeError, match="stop"), replacing(path) as file:
            file.write(b"half")
            raise RuntimeError("stop")
        assert path.read_bytes() == b"old"
        assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]

    @pytest.mark.parametrize("format", FORMATS)
    def test_what_fails_halfway_leaves_nothing(self, tmp_path, format):
        def blocks():
            yield music(1.0)
            raise AudioTooLongError("in the middle")

        with (
            pytest.raises(AudioTooLongError, match="in the middle"),
            replacing(tmp_path / "a") as file,
            Encoder(file, format, channels=2, rate=32_000) as encoder,
        ):
            for block in blocks():
                encoder.write(block.samples)
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_is_the_systems_own_error(self):
        with (
            pytest.raises(OSError, match="No space left"),
            Path("/dev/full").open("r+b") as full,
            Encoder(full, "mp3", channels=2, rate=32_000) as encoder,
        ):
            encoder.write(music(5.0).samples)


class TestHostile:
    """Each is refused with an error of ours that names the file only."""

    @pytest.mark.parametrize(
        ("samples", "reason"),
        [
            (np.full((100, 1), np.nan), "NaN"),
            (np.full((100, 1), np.inf), "infinite"),
            (np.full((100, 1), 1e30), "beyond full scale"),
            (np.zeros((0, 1)), "no audio samples"),
        ],
    )
    def test_samples(self, samples, reason):
        with pytest.raises(UnreadableAudioError, match=reason):
            read(wav_bytes(samples))

    def test_a_nan_late_in_a_stream(self):
        samples = np.zeros((200_000, 1))
        samples[150_000] = np.nan
        with pytest.raises(UnreadableAudioError, match="NaN"):
            list(stream(wav_bytes(samples), block_s=0.5))

    def test_a_thousand_channels(self):
        data = wav_bytes(np.zeros((10, 1000)))
        with pytest.raises(UnsupportedAudioError, match="1000 channels"):
            read(data)

    @pytest.mark.parametrize("rate", [1, 4000, 384_000])
    def test_rates(self, rate):
        with pytest.raises(UnsupportedAudioError, match="sample rate"):
            read(wav_bytes(np.zeros((10, 1)), rate))

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\0" * 5000,
            b"RIFF",
            b"fLaC" + b"\xff" * 3000,
            b"OggS" + b"\0" * 100,
            b"ID3\x04\0\0\xff\xff\xff\xff",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n",
            b"ffconcat version 1.0\nfile '/etc/hostname'\n",
            b"\x89PNG\r\n\x1a\n" + b"\0" * 200,
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"hello, this is text " * 100,
            bytes(range(256)) * 40,
        ],
    )
    def test_not_audio(self, data):
        with pytest.raises(UnreadableAudioError):
            read(data)

    @pytest.mark.slow
    def test_a_flac_bomb_stops_at_the_limit(self):
        """An hour of silence in some kilobytes: only what the limit allows is ever decoded."""
        buffer = io.BytesIO()
        with soundfile.SoundFile(buffer, "w", 44_100, 2, format="FLAC", subtype="PCM_16") as file:
            for _ in range(120):
                file.write(np.zeros((44_100 * 10, 2), np.int16))
        data = buffer.getvalue()
        assert len(data) < 600_000
        with pytest.raises(AudioTooLongError, match="30 s"):
            read(data, DecodeLimits(max_duration_s=30))
        with pytest.raises(AudioTooLongError, match="memory"):
            read(data, DecodeLimits(max_values=10**6))
        with pytest.raises(AudioTooLongError, match="took longer"):
            read(data, DecodeLimits(deadline_s=0.0))

    @pytest.mark.parametrize("format", ["wav", "mp3"])
    def test_limits_hold_for_both_decoders(self, format):
        data = encode(music(3.0), format)
        with pytest.raises(AudioTooLongError, match="longer than 1 s"):
            read(data, DecodeLimits(max_duration_s=1))
        with pytest.raises(AudioTooLongError, match="larger than"):
            read(data, DecodeLimits(max_bytes=1000))
        with pytest.raises(AudioTooLongError, match="took longer"):
            read(data, DecodeLimits(deadline_s=0.0))
        with pytest.raises(UnsupportedAudioError, match="2 channels"):
            read(data, DecodeLimits(max_channels=1))
        assert read(data, replace(DecodeLimits(), max_duration_s=3.2)).duration_s >= 3.0

    @pytest.mark.parametrize("format", FORMATS)
    def test_cut_short_is_read_as_far_as_it_goes_or_refused(self, format):
        sound = music(4.0, 44_100)
        data = encode(sound, format)
        for share in (0.0005, 0.02, 0.5, 0.9):
            try:
                part = read(data[: int(len(data) * share)])
            except UnreadableAudioError:
                # m4a keeps its index at the end: without it nothing can be read.
                assert format == "m4a" or share < 0.1
            else:
                assert 0 < part.duration_s < 4.1 * share + 0.5

    def test_damage_in_the_middle_loses_only_the_middle(self):
        data = bytearray(encode(music(4.0, 44_100), "mp3"))
        middle = len(data) // 2
        data[middle : middle + 2000] = os.urandom(2000)
        assert 3.5 < read(bytes(data)).duration_s < 4.2

    def test_wrong_extension_is_no_error(self, tmp_path):
        path = tmp_path / "song.wav"
        path.write_bytes(encode(music(1.0), "mp3"))
        assert read(path).duration_s == pytest.approx(1.0, abs=0.05)

    def test_video_without_sound_and_cover_art(self):
        import av

        def container(format, with_audio):
            buffer = io.BytesIO()
            with av.open(buffer, "w", format=format) as file:
                audio = file.add_stream("libmp3lame", rate=44_100) if with_audio else None
                video = file.add_stream("png" if with_audio else "mpeg4", rate=25)
                video.width = video.height = 64
                video.pix_fmt = "rgb24" if with_audio else "yuv420p"
                picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
                for packet in video.encode(picture.reformat(format=video.pix_fmt)):
                    file.mux(packet)
                for packet in video.encode(None):
                    file.mux(packet)
                if audio is not None:
                    noise = np.zeros((1, 1152), np.float32)
                    for n in range(50):
                        frame = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
                        frame.sample_rate, frame.pts = 44_100, n * 1152
                        file.mux(audio.encode(frame))
                    file.mux(audio.encode(None))
            return buffer.getvalue()

        with pytest.raises(UnreadableAudioError, match="no audio stream"):
            read(container("mp4", with_audio=False))
        with_cover = container("mp3", with_audio=True)
        assert b"APIC" in with_cover
        assert read(with_cover).duration_s == pytest.approx(50 * 1152 / 44_100, abs=0.1)

    def test_places_that_are_no_files(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for name in ("absent.wav", "pipe", ".", "nul\0byte"):
            with pytest.raises(UnreadableAudioError):
                read(tmp_path / name if name != "nul\0byte" else name)

    def test_errors_show_the_name_only_and_no_escape_codes(self, tmp_path):
        path = tmp_path / "evil\x1b[31m.wav"
        path.write_bytes(b"nothing")
        with pytest.raises(AudioError) as caught:
            read(path)
        assert str(tmp_path) not in str(caught.value)
        assert "\x1b" not in str(caught.value)
        assert "evil" in str(caught.value)

    def test_a_header_that_claims_more_than_there_is(self):
        data = bytearray(wav_bytes(np.zeros((100, 1), np.float32)))
        at = data.index(b"data") + 4
        data[at : at + 4] = struct.pack("<I", 0xFFFFFFF0)
        assert read(bytes(data)).length <= 200
