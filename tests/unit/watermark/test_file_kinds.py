"""Files as people have them: cut, joined, with wrong headers, of many channels, with tags."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import av
import numpy as np
import pytest
import soundfile

from tests.inputs.files import PICTURE, aiff_sizes, tagged, wav_sizes
from tests.unit.seal_carriers import music
from watermark.audio.channels import USUAL, alike, mask_of, of_mask, writable
from watermark.audio.containers import look
from watermark.audio.decoding import decode_blocks
from watermark.audio.sandbox import _take_over
from watermark.audio.tags import Picture, Tags, left_out, read_tags
from watermark.audio.waveform import (
    FORMATS,
    AudioInfo,
    DecodeLimits,
    Encoder,
    Waveform,
    encode,
    read,
)
from watermark.errors import UnreadableAudioError, UnsupportedAudioError

pytestmark = pytest.mark.slow

LIMITS = DecodeLimits()
SIDE = ("FL", "FR", "FC", "LFE", "SL", "SR")


def known(data: bytes, limits: DecodeLimits = LIMITS) -> tuple[Waveform, AudioInfo]:
    info = AudioInfo()
    return read(data, limits, info=info), info


def distinct(channels: int, layout=None, rate: int = 48_000) -> Waveform:
    """Another rhythm and pitch in every channel, low in the LFE's."""
    t = np.arange(rate * 2) / rate
    names = layout or USUAL[channels]
    rows = []
    for number, name in enumerate(names):
        pitch = 60 if name == "LFE" else 160 + 150 * number
        beat = np.sin(2 * np.pi * (0.7 + 0.9 * number) * t) > 0
        rows.append(0.2 * np.sin(2 * np.pi * pitch * t) * beat)
    return Waveform(np.array(rows, np.float32), rate, layout)


def caf(sound: Waveform) -> bytes:
    """A Core Audio file of 16 bits, by FFmpeg's own writer."""
    out = io.BytesIO()
    with av.open(out, "w", format="caf") as container:
        stream = container.add_stream("pcm_s16le", rate=sound.rate)
        layout = "mono" if sound.channels == 1 else "stereo"
        stream.layout = layout
        steps = (sound.samples.T * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(steps, format="s16", layout=layout)
        frame.sample_rate = sound.rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return out.getvalue()


def two_streams(first: Waveform, second: Waveform) -> bytes:
    """Two audio streams in Matroska."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as file:
        streams = []
        for sound in (first, second):
            stream = file.add_stream("flac", rate=sound.rate)
            stream.layout, stream.format = "stereo", "s16"
            streams.append(stream)
        for sound, stream in zip((first, second), streams, strict=True):
            packed = np.ascontiguousarray((sound.samples.T * 32767).astype(np.int16))
            frame = av.AudioFrame.from_ndarray(packed.reshape(1, -1), "s16", "stereo")
            frame.sample_rate, frame.pts = sound.rate, 0
            file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return buffer.getvalue()


class TestWhatADecoderDelivered:
    """It is kept when the decoder's next call fails."""

    def test_a_flac_of_unstated_length_is_whole(self):
        sound = music(3.3, 44_100, 2)
        data = bytearray(encode(sound, "flac"))
        data[21] &= 0xF0  # the 36 bits of the total in STREAMINFO, and its MD5
        data[22:42] = bytes(20)
        again, info = known(bytes(data))
        np.testing.assert_allclose(again.samples, sound.samples, atol=2**-15)
        assert info.damage is None

    def test_a_cut_flac_is_read_to_its_last_whole_frame_and_said_to_be_cut(self):
        data = encode(music(4.0, 44_100, 2), "flac")
        whole, info = known(data)
        assert info.damage is None
        for share in (0.3, 0.5, 0.77):
            part, info = known(data[: int(len(data) * share)])
            assert part.length > 0.8 * share * whole.length
            np.testing.assert_array_equal(part.samples, whole.samples[:, : part.length])
            assert info.damage is not None
            assert "cut short" in info.damage

    @pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
    def test_whether_a_file_is_whole_is_known_of_every_format(self, format):
        data = encode(music(4.0, 44_100, 2), format)
        assert known(data)[1].damage is None
        assert known(data[: int(len(data) * 0.6)])[1].damage is not None

    def test_a_block_of_libsndfile_that_ends_in_an_error_is_kept(self, monkeypatch):
        sound = music(3.0, 44_100, 2)

        class Failing(soundfile.SoundFile):
            def read(self, *args, **options):
                found = super().read(*args, **options)
                if self.tell() > 70_000:
                    raise soundfile.LibsndfileError(1)
                return found

        monkeypatch.setattr(soundfile, "SoundFile", Failing)
        part, info = known(encode(sound, "wav"))
        assert part.length == 131_072  # the second block too, in which the error came
        assert info.damage is not None

    def test_the_child_says_the_same(self):
        data = encode(music(2.0, 44_100, 2), "flac")[:-40_000]
        here, there = known(data)[1], known(data, replace(LIMITS, isolated=True))[1]
        assert here == there
        assert here.damage is not None


class TestChannels:
    @pytest.mark.parametrize("isolated", [False, True])
    @pytest.mark.parametrize("format", ["wav", "flac", "m4a", "opus", "ogg"])
    def test_eight_channels_do_not_end_the_process(self, format, isolated):
        sound = distinct(8)
        again, info = known(encode(sound, format), replace(LIMITS, isolated=isolated))
        assert again.channels == 8
        assert info.layout in (None, USUAL[8])

    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize(
        "layout", [*USUAL.values(), SIDE, ("FC", "FL", "FR"), ("FL", "FR", "LFE")]
    )
    def test_every_channel_comes_back_under_its_name_or_is_refused(self, format, layout):
        sound = distinct(len(layout), layout)
        try:
            data = encode(sound, format)
        except UnsupportedAudioError as exc:
            assert "channels" in str(exc)
            assert format in ("mp3", "m4a", "opus", "ogg")
            return
        again = read(data)
        names = again.layout or USUAL[again.channels]
        assert alike(names, layout, len(layout))
        if layout == SIDE and "SL" not in names:
            names = tuple({"BL": "SL", "BR": "SR"}.get(name, name) for name in names)
        length = min(again.length, sound.length)
        for number, name in enumerate(layout):
            back = again.samples[names.index(name), :length]
            assert np.corrcoef(back, sound.samples[number, :length])[0, 1] > 0.9, (name, names)

    @pytest.mark.parametrize("isolated", [False, True])
    @pytest.mark.parametrize("labels", [(2, 1, 3), (3, 1, 2, 5, 6, 4), (4, 3, 2, 1, 8, 7, 6, 5)])
    def test_an_order_of_its_own_is_kept_and_does_not_end_the_process(self, labels, isolated):
        """PyAV frees such a layout twice, with every frame."""
        sound = distinct(len(labels))
        steps = (sound.samples * 32767).astype(">i2").T.tobytes()
        desc = struct.pack(">d4sIIIII", 48_000.0, b"lpcm", 0, 2 * len(labels), 1, len(labels), 16)
        chan = struct.pack(">III", 0, 0, len(labels))
        chan += b"".join(struct.pack(">II12x", label, 0) for label in labels)
        data = b"caff" + struct.pack(">HH", 1, 0)
        for name, body in ((b"desc", desc), (b"chan", chan), (b"data", bytes(4) + steps)):
            data += name + struct.pack(">q", len(body)) + body
        again, info = known(data, replace(LIMITS, isolated=isolated))
        np.testing.assert_allclose(again.samples, sound.samples, atol=2**-14)
        assert info.layout is not None
        front = [{1: "FL", 2: "FR", 3: "FC", 4: "LFE"}.get(label) for label in labels]
        for name, label in zip(info.layout, front, strict=True):
            assert label in (None, name)
        written = read(encode(again, "wav"))  # in the order of the mask
        place = info.layout.index("FL")
        np.testing.assert_allclose(written.samples[0], sound.samples[place], atol=2**-13)

    def test_what_a_format_cannot_state_is_refused_in_words(self):
        with pytest.raises(UnsupportedAudioError, match=r"FL FR LFE; write \.wav or \.flac"):
            writable(("FL", "FR", "LFE"), 3, "ogg")
        with pytest.raises(UnsupportedAudioError, match="1 to 8 channels"):
            writable(None, 9, "wav")
        # FFmpeg's libopus encoder exchanges the channels of 5.0 and 6.1.
        for channels in (5, 7):
            with pytest.raises(UnsupportedAudioError, match="opus"):
                writable(None, channels, "opus")

    def test_wave_masks(self):
        assert of_mask(0x60F, 6) == SIDE
        assert mask_of(SIDE) == 0x60F
        assert of_mask(0x3, 6) is None
        data = encode(distinct(6, SIDE), "wav")
        assert struct.unpack("<HI", data[20:22] + data[40:44]) == (0xFFFE, 0x60F)

    def test_a_file_without_a_mask_stays_without(self):
        assert encode(distinct(6), "wav")[20:22] == struct.pack("<H", 1)


class TestParts:
    def test_every_audio_stream_can_be_read_and_how_many_is_said(self):
        one, two = music(2.0, 44_100, 2), music(2.0, 44_100, 2, seed=9)
        data = two_streams(one, two)
        for number, sound in enumerate((one, two)):
            again, info = known(data, replace(LIMITS, stream=number))
            np.testing.assert_allclose(
                again.samples[:, :80_000], sound.samples[:, :80_000], atol=1e-3
            )
            assert info.streams == 2
        with pytest.raises(UnreadableAudioError, match="no audio stream 3"):
            read(data, replace(LIMITS, stream=2))

    @pytest.mark.parametrize("format", ["ogg", "mp3"])
    def test_sections_of_another_shape_are_read_and_said(self, format):
        stereo, mono = music(2.0, 44_100, 2), music(2.0, 22_050, 1, seed=9)
        again, info = known(encode(stereo, format) + encode(mono, format))
        assert (again.channels, again.rate) == (2, 44_100)
        assert again.duration_s == pytest.approx(4.0, abs=0.1)
        back = again.resample(22_050).samples[0, -40_000:-2000]
        lag = range(-2000, 2000, 1)
        tail = mono.samples[0, -42_000:]
        best = max(abs(np.corrcoef(back[:30_000], tail[4000 + k : 34_000 + k])[0, 1]) for k in lag)
        assert best > 0.9
        assert not info.uniform
        assert any("from 2.0 s" in note or "from 2.1 s" in note for note in info.notes)

    def test_a_chained_ogg_of_one_shape_is_one_piece(self):
        part = encode(music(2.0, 44_100, 2), "ogg")
        again, info = known(part * 3)
        assert again.length == 3 * 88_200
        assert info.uniform

    def test_a_section_that_cannot_be_read_is_said(self):
        part = encode(music(2.0, 44_100, 2), "ogg")
        broken = bytearray(part)
        broken[28:60] = bytes(32)  # the identification header
        again, info = known(part + bytes(broken) + part)
        assert again.length == 2 * 88_200
        assert info.damage is not None
        assert "section 2" in info.damage

    def test_joined_wav_files_are_read_both(self):
        one = encode(music(2.0, 44_100, 2), "wav")
        again, info = known(one + one)
        assert again.length == 4 * 44_100
        assert "one behind the other" in info.notes[0]

    @pytest.mark.parametrize("stated", [None, 0, -1])
    def test_joined_caf_files_are_read_both_whatever_size_the_first_states(self, stated):
        first, second = distinct(1), distinct(2)
        head = caf(first)
        if stated is not None:
            at = head.index(b"data") + 4
            head = head[:at] + struct.pack(">q", stated) + head[at + 8 :]
        sound, info = known(head + caf(second))
        assert sound.duration_s == pytest.approx(first.duration_s + second.duration_s)
        assert "several CAF files" in info.notes[0]
        assert info.damage is None

    def test_a_cut_caf_file_is_read_to_its_end_and_called_cut(self):
        data = caf(distinct(1))
        sound, info = known(data[: len(data) // 2])
        assert 0 < sound.duration_s < distinct(1).duration_s
        assert "cut short" in info.damage

    @pytest.mark.parametrize("chunk", [b"free" + bytes(8), b"caff\0\1\0\0" + bytes(4)])
    def test_a_file_of_a_million_empty_chunks_ends(self, chunk):
        data = b"caff\0\1\0\0" + chunk * 1_000_000
        reads = 0

        class Counted(io.BytesIO):
            def read(self, size=-1):
                nonlocal reads
                reads += 1
                return super().read(size)

        look(Counted(data))
        assert reads < 200_000


class TestHeaders:
    @pytest.mark.parametrize(
        "change",
        [
            wav_sizes(0, lambda _: 0),
            wav_sizes(None, lambda _: 0),
            wav_sizes(36, lambda _: 0),
            wav_sizes(None, lambda size: size // 2),
            wav_sizes(0xFFFFFFFF, lambda _: 0xFFFFFFFF),
            wav_sizes(0x7FFFFFFF, lambda _: 0x7FFFFFFF - 36),
        ],
    )
    @pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
    def test_sizes_of_riff(self, change, subtype):
        sound = music(3.0, 44_100, 2)
        data = encode(sound, "wav", subtype=subtype)
        again, info = known(change(data))
        np.testing.assert_array_equal(again.samples, read(data).samples)
        assert info.damage is None

    def test_right_headers_are_left_alone(self):
        """Chunks behind the audio, and a few odd bytes, are no sound."""
        sound = music(1.0, 44_100, 2)
        data = encode(sound, "wav")
        for more in (b"LIST\4\0\0\0INFO", b"TAG" + bytes(125), bytes(3000)):
            again, info = known(data + more)
            assert again.length == sound.length, more[:4]
            assert info.remarks == ()

    def test_a_wav_that_is_empty_stays_empty(self):
        empty = encode(Waveform(np.zeros((1, 0), np.float32), 8000), "wav")
        with pytest.raises(UnreadableAudioError, match="no audio samples"):
            read(empty + b"LIST\4\0\0\0INFO")

    def test_rf64(self):
        sound = music(1.0, 44_100, 2)
        buffer = io.BytesIO()
        soundfile.write(buffer, sound.samples.T, 44_100, format="RF64", subtype="PCM_16")
        data = bytearray(buffer.getvalue())
        whole = read(bytes(data))
        if data[:4] == b"RF64":
            data[20:36] = bytes(16)
        assert read(bytes(data)).length == whole.length == sound.length

    def test_sizes_of_aiff(self):
        sound = music(1.0, 44_100, 2)
        buffer = io.BytesIO()
        soundfile.write(buffer, sound.samples.T, 44_100, format="AIFF", subtype="PCM_16")
        assert read(aiff_sizes(buffer.getvalue())).length == sound.length

    @pytest.mark.parametrize("format", FORMATS)
    def test_a_tag_in_front(self, format):
        data = encode(music(1.0, 44_100, 2), format)
        np.testing.assert_array_equal(read(tagged(data)).samples, read(data).samples)
        np.testing.assert_array_equal(read(tagged(tagged(data))).samples, read(data).samples)

    @pytest.mark.parametrize(
        ("magic", "name"),
        [(b"MAC \x96\x0f", "Monkey's Audio"), (b"MThd\0\0\0\6", "MIDI"), (b"MPCK", "Musepack")],
    )
    def test_what_is_known_and_not_read_is_named(self, magic, name):
        with pytest.raises(UnsupportedAudioError, match=name):
            read(magic + bytes(200))

    def test_a_child_that_lies_about_a_file_is_cut_to_size(self):
        info = AudioInfo()
        told = {"layout": ["FL\x1b[31m"] * 900, "streams": 10**9, "notes": ["x" * 10**6] * 900}
        _take_over(info, {**told, "damage": "a\nb" * 9000, "subtype": "EVIL"}, LIMITS)
        assert info.layout is None
        assert info.streams <= 16
        assert len(info.notes) <= 16
        assert max(len(note) for note in info.remarks) <= 1000
        assert not any("\n" in note or "\x1b" in note for note in info.remarks)
        assert info.subtype is None
        _take_over(info, "no object", LIMITS)


class TestWriting:
    @pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"])
    def test_the_sample_format_of_a_file_is_known_and_kept(self, subtype):
        sound = music(0.5, 44_100, 2)
        data = encode(sound, "wav", subtype=subtype)
        again, info = known(data)
        assert info.subtype == subtype
        assert soundfile.info(io.BytesIO(data)).subtype == subtype
        step = {"PCM_16": 2**-15, "PCM_24": 2**-23, "PCM_32": 2**-23, "FLOAT": 0}[subtype]
        assert np.abs(again.samples - sound.samples).max() <= step

    @pytest.mark.parametrize(("format", "subtype"), [("flac", "PCM_16"), ("flac", "PCM_24")])
    def test_flac_is_exact(self, format, subtype):
        sound = music(0.5, 44_100, 2)
        data = encode(sound, format, subtype=subtype)
        with soundfile.SoundFile(io.BytesIO(data)) as file:  # another reader than ours
            assert file.frames == sound.length
            assert file.subtype == subtype
            other = file.read(dtype="float32").T
        np.testing.assert_array_equal(read(data).samples, other)

    def test_clipped_samples_are_counted(self):
        loud = Waveform(np.array([[1.5, -1.5, 0.25, 1.0, -1.0]], np.float32), 8000)
        for subtype, count in (("PCM_16", 2), ("PCM_24", 2), ("FLOAT", 0)):
            encoder = Encoder(io.BytesIO(), "wav", channels=1, rate=8000, subtype=subtype)
            with encoder:
                encoder.write(loud.samples)
            assert encoder.clipped == count

    @pytest.mark.parametrize(
        ("format", "rate", "asked", "noted"),
        [
            ("mp3", 44_100, 192_000, False),
            ("mp3", 44_100, 100_000, True),
            ("mp3", 16_000, 320_000, True),
            ("opus", 48_000, 2_000_000, True),
            ("m4a", 44_100, 128_000, False),
            ("m4a", 8_000, 320_000, True),
        ],
    )
    def test_another_bit_rate_than_asked_for_is_said(self, format, rate, asked, noted):
        encoder = Encoder(io.BytesIO(), format, channels=2, rate=rate, bitrate=asked)
        with encoder:
            encoder.write(music(0.5, rate, 2).samples)
        assert bool(encoder.notes) == noted

    @pytest.mark.parametrize("format", FORMATS)
    def test_tags_and_picture(self, format):
        text = {"title": "Tïtle", "artist": "A", "album": "B", "date": "2020", "genre": "Jazz"}
        tags = Tags(text, (Picture("image/png", PICTURE),))
        buffer = io.BytesIO()
        sound = music(1.0, 48_000, 2)
        with Encoder(buffer, format, channels=2, rate=48_000, tags=tags) as encoder:
            encoder.write(sound.samples)
        data = buffer.getvalue()
        assert read(data).duration_s == pytest.approx(1.0, abs=0.03)
        for isolated in (False, True):
            found = read_tags(data, replace(LIMITS, isolated=isolated))
            assert {name: found.text.get(name) for name in text} == text
            missing = left_out(tags, found)
            assert missing == (["picture"] if format == "ogg" else [])
            if format != "ogg":
                assert found.pictures[0].data == PICTURE

    def test_no_tags_where_there_are_none(self):
        for format in FORMATS:
            assert read_tags(encode(music(0.5, 48_000, 1), format), LIMITS) == Tags()
        assert read_tags(b"not audio", LIMITS) == Tags()

    @pytest.mark.parametrize("format", FORMATS)
    def test_a_full_disk_is_the_systems_own_error_in_every_format(self, format):
        with (
            pytest.raises(OSError, match="No space left"),
            open("/dev/full", "r+b", buffering=0) as full,  # noqa: PTH123 - a device
            Encoder(full, format, channels=2, rate=48_000) as encoder,
        ):
            encoder.write(music(5.0, 48_000, 2).samples)


def test_blocks_have_one_shape():
    data = encode(music(1.0, 44_100, 1), "ogg") + encode(music(1.0, 48_000, 2), "ogg")
    shapes = {(block.shape[0], rate) for block, rate in decode_blocks(data, LIMITS)}
    assert shapes == {(1, 44_100)}
