"""Sealing files: what is kept, what is said, what is refused, and where OUT may be."""

from __future__ import annotations

import io
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.inputs.files import PICTURE
from tests.unit.seal_carriers import music
from tests.unit.watermark.test_file_kinds import two_streams
from watermark.audio.channels import USUAL
from watermark.audio.tags import Picture, Tags, read_tags
from watermark.audio.waveform import AudioInfo, DecodeLimits, Encoder, Waveform, encode, read
from watermark.coding.message import SealId, SealKey
from watermark.detection.detect import detect
from watermark.embedding.embed import embed
from watermark.embedding.file import _compare, embed_file
from watermark.errors import UnreadableAudioError, UnsupportedAudioError
from watermark.models.base import SealModel
from watermark.models.loading import load_seal_model
from watermark.util.files import replacing

pytestmark = pytest.mark.slow

KEY = SealKey(epoch=1, secret=bytes(range(32)))
SEAL = SealId.parse("0011223344556677")


@pytest.fixture(scope="module")
def house() -> SealModel:
    return load_seal_model()


@pytest.fixture(scope="module")
def carrier() -> Waveform:
    return music(8.0, 44_100, 2)


def seal(source: Path, target: Path, model: SealModel, **options):
    return embed_file(source, target, SEAL, KEY, model=model, **options)


def tagged_file(path: Path, sound: Waveform) -> Path:
    tags = Tags({"title": "Tïtle", "artist": "A"}, (Picture("image/png", PICTURE),))
    with (
        path.open("w+b") as file,
        Encoder(file, "flac", channels=2, rate=44_100, subtype="PCM_24", tags=tags) as encoder,
    ):
        encoder.write(sound.samples)
    return path


class TestKept:
    def test_depth_tags_and_picture(self, tmp_path, house, carrier):
        source = tagged_file(tmp_path / "in.flac", carrier)
        for name, subtype in (("o.wav", "PCM_24"), ("o.flac", "PCM_24"), ("o.m4a", None)):
            made = seal(source, tmp_path / name, house)
            info = AudioInfo()
            read(tmp_path / name, info=info)
            assert info.subtype == subtype
            found = read_tags(tmp_path / name, DecodeLimits())
            assert found.text["title"] == "Tïtle"
            assert found.pictures[0].data == PICTURE
            assert made.notes == ()
            assert made.found.identification is not None

    def test_what_a_format_cannot_hold_is_said(self, tmp_path, house, carrier):
        source = tagged_file(tmp_path / "in.flac", carrier)
        made = seal(source, tmp_path / "o.ogg", house)
        assert made.notes == ("ogg does not hold these tags, left out: picture",)
        loud = Waveform(carrier.samples * 4, carrier.rate)
        (tmp_path / "hot.wav").write_bytes(encode(loud, "wav", subtype="FLOAT"))
        made = seal(tmp_path / "hot.wav", tmp_path / "o.flac", house)
        assert any("24 bits" in note for note in made.notes)
        assert any("beyond full scale were clipped" in note for note in made.notes)
        assert seal(tmp_path / "hot.wav", tmp_path / "o.wav", house).notes == ()
        assert np.abs(read(tmp_path / "o.wav").samples).max() > 1.5

    @pytest.mark.parametrize("extension", ["wav", "flac", "m4a", "opus", "ogg"])
    def test_six_channels_in_their_places(self, tmp_path, house, extension):
        layout = ("FL", "FR", "FC", "LFE", "SL", "SR")
        gains = np.array([1, 0.8, 0.6, 0.5, 0.3, 0.2], np.float32)[:, None]
        rows = [music(8.0, 48_000, 1, seed=n).samples[0] for n in range(6)]
        rows[3] = 0.3 * np.sin(2 * np.pi * 60 * np.arange(len(rows[3])) / 48_000)
        sound = Waveform((gains * np.array(rows)).astype(np.float32), 48_000, layout)
        (tmp_path / "in.wav").write_bytes(encode(sound, "wav"))
        target = tmp_path / f"o.{extension}"
        assert seal(tmp_path / "in.wav", target, house).found.identification is not None
        again = read(target)
        names = again.layout or USUAL[6]
        for number, name in enumerate(layout):
            place = names.index(name if name in names else {"SL": "BL", "SR": "BR"}[name])
            both = np.corrcoef(again.samples[place, :300_000], sound.samples[number, :300_000])
            assert both[0, 1] > 0.8

    def test_exchanged_or_lost_channels_are_noticed(self):
        rng = np.random.default_rng(0)
        levels = rng.uniform(0.01, 0.2, (6, 80))
        _compare(levels, levels * 0.95)
        with pytest.raises(UnsupportedAudioError, match="channel 2 came back as channel 3"):
            _compare(levels, levels[[0, 2, 1, 3, 4, 5]])
        lost = levels.copy()
        lost[3] *= 0.1
        with pytest.raises(UnsupportedAudioError, match="channel 4 came back"):
            _compare(levels, lost)


class TestRefused:
    """Nothing is written, and the error says why."""

    def refused(self, folder: Path, name: str, data: bytes, house, error, match):
        (folder / name).write_bytes(data)
        with pytest.raises(error, match=match):
            seal(folder / name, folder / "o.wav", house)
        with pytest.raises(error, match=match):
            embed(folder / name, SEAL, KEY, model=house)
        assert not (folder / "o.wav").exists()
        assert not list(folder.glob(".*.part"))

    def test_a_carrier_that_ended_in_an_error(self, tmp_path, house, carrier):
        for format in ("wav", "flac", "mp3", "ogg"):
            data = encode(carrier, format)
            cut = data[: int(0.8 * len(data))]
            self.refused(tmp_path, f"x.{format}", cut, house, UnreadableAudioError, "cut short|dam")

    def test_a_carrier_of_several_streams_or_shapes(self, tmp_path, house, carrier):
        data = two_streams(carrier, carrier)
        self.refused(tmp_path, "x.mka", data, house, UnsupportedAudioError, "2 audio streams")
        data = encode(carrier, "ogg") + encode(music(4.0, 44_100, 1), "ogg")
        self.refused(tmp_path, "x.ogg", data, house, UnsupportedAudioError, "one by one")

    def test_in_is_out_by_any_name(self, tmp_path, house, carrier):
        source = tmp_path / "a.wav"
        source.write_bytes(encode(carrier, "wav"))
        (tmp_path / "soft.wav").symlink_to("a.wav")
        os.link(source, tmp_path / "hard.wav")
        before = source.read_bytes()
        for name in ("a.wav", "soft.wav", "hard.wav"):
            with pytest.raises(UnsupportedAudioError, match="same file"):
                seal(source, tmp_path / name, house)
        assert source.read_bytes() == before


class TestOut:
    def test_a_link_is_followed_and_the_mode_kept(self, tmp_path):
        target, link = tmp_path / "real", tmp_path / "link"
        target.write_bytes(b"old")
        target.chmod(0o640)
        link.symlink_to("real")
        with replacing(link) as file:
            file.write(b"new")
        assert link.is_symlink()
        assert target.read_bytes() == b"new"
        assert stat.S_IMODE(target.stat().st_mode) == 0o640

    def test_a_fifo_gets_the_finished_content(self, tmp_path):
        fifo = tmp_path / "pipe"
        os.mkfifo(fifo)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
        reader.start()
        with replacing(fifo) as file:
            file.write(b"all of it")
        reader.join(10)
        assert got == [b"all of it"]
        assert stat.S_ISFIFO(fifo.stat().st_mode)

    def test_errors_name_the_target(self, tmp_path):
        for path, error in (
            (tmp_path / "absent" / "o.wav", FileNotFoundError),
            (tmp_path, IsADirectoryError),
        ):
            with pytest.raises(error) as caught, replacing(path):
                pass
            assert caught.value.filename == str(path)

    def test_a_long_name(self, tmp_path, house, carrier):
        (tmp_path / "a.wav").write_bytes(encode(carrier, "wav"))
        target = tmp_path / ("音" * 80 + ".wav")
        seal(tmp_path / "a.wav", target, house)
        assert target.exists()


def test_the_seal_in_the_second_stream_is_found_and_said(tmp_path, house, carrier):
    sealed = embed(carrier, SEAL, KEY, model=house)
    found = detect(two_streams(music(8.0, 44_100, 2, seed=3), sealed), model=house)
    assert found.detected
    assert found.notes == ("2 audio streams; this is the finding on stream 2",)
    none = detect(two_streams(carrier, carrier), model=house)
    assert not none.detected
    assert none.to_json()["notes"] == ["2 audio streams; this is the finding on stream 1"]


def test_eight_channels_in_an_encoder_that_is_another_reader(tmp_path):
    """libsndfile agrees with FFmpeg on where the channels of a Vorbis file are."""
    rows = [0.1 * np.sin(np.arange(48_000) * 0.02 * (n + 1)) for n in range(6)]
    data = encode(Waveform(np.array(rows, np.float32), 48_000), "ogg")
    raw = soundfile.read(io.BytesIO(data))[0].T  # in Vorbis's order: L C R, surrounds, LFE
    order = [int(np.argmax([abs(np.corrcoef(r, x)[0, 1]) for x in rows])) for r in raw]
    assert order == [0, 2, 1, 4, 5, 3]
