"""The bench's codec: what its linear path gives before training, its weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from studio.core.errors import CheckpointError, ConfigError
from studio.music.training import codec_attack
from studio.music.training.codec.network import BenchCodec, CodecConfig
from studio.music.training.codec.weights_file import load_codec, save_weights

SMALL = CodecConfig(
    sample_rate=16000, dim=32, encoder_layers=1, decoder_layers=1, envelope_layers=1, bands=8,
    latent_dim=16, envelope_dim=8, codebooks=2, envelope_codebooks=1, bins=32,
)  # fmt: skip


def write(directory: Path, *, seed: int = 0) -> BenchCodec:
    """A small codec with random weights, as the shipped one lies on disk."""
    torch.manual_seed(seed)
    codec = BenchCodec(SMALL).eval()
    save_weights(codec, directory, {"title": "A test"})
    return codec


def change_card(directory: Path, **changes: object) -> None:
    card = json.loads((directory / "card.json").read_text())
    card["config"]["codec"].update(changes)
    (directory / "card.json").write_text(json.dumps(card))


def test_a_sound_becomes_tokens_and_a_sound_of_whole_frames():
    codec = BenchCodec(SMALL)
    x = torch.randn(3, 1, 16000) / 10
    codes = codec.encode(x)
    assert codes.shape == (3, 2, 50)
    assert codec.decode(codes).shape == (3, 1, 16000)
    # A length that is no whole number of frames is padded.
    assert codec.encode(x[..., :15900]).shape[-1] == 50


def test_before_training_the_codec_passes_what_its_latents_can_hold():
    codec = BenchCodec(
        CodecConfig(
            sample_rate=16000, dim=16, encoder_layers=1, decoder_layers=1, latent_dim=160, bins=4
        )
    )
    t = torch.arange(16000) / 16000
    low = (torch.sin(2 * torch.pi * 440 * t) / 4)[None, None]
    high = (torch.sin(2 * torch.pi * 7000 * t) / 4)[None, None]
    with torch.no_grad():
        kept, lost = (codec.decoder(*codec.latents(x)) for x in (low, high))
    # 160 MDCT coefficients of 320 reach up to 4 kHz; the outer frames lack their neighbour.
    inner = slice(640, -640)
    error = (kept - low)[0, 0, inner].square().mean()
    assert error < 1e-3 * low[0, 0, inner].square().mean()
    assert lost.square().mean() < 0.01 * high.square().mean()


def test_level_passes_unchanged_through_the_companded_latents():
    codec = BenchCodec(CodecConfig(sample_rate=16000, dim=16, encoder_layers=1, decoder_layers=1))
    t = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * 300 * t)[None, None]
    with torch.no_grad():
        codec.decoder.noise_gain.bias.fill_(-12.0)
        for gain in (0.01, 0.5):
            out = codec.decoder(*codec.latents(gain * tone))[..., 800:-800]
            assert out.square().mean().sqrt() == pytest.approx(gain * 0.5**0.5, rel=0.05)


def test_the_decoders_noise_is_the_same_every_time():
    codec = BenchCodec(SMALL)
    with torch.no_grad():
        codec.decoder.noise_gain.bias.fill_(-2.0)
        latents = codec.latents(torch.zeros(1, 1, 16000))
        one, same, other = (codec.decoder(*latents, noise_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert (one - other).abs().mean() > 0.01


def test_a_shape_that_cannot_be_is_refused():
    for wrong in ({"sample_rate": 16001}, {"codebooks": 2, "envelope_codebooks": 2}):
        with pytest.raises(ConfigError):
            CodecConfig(**wrong)


def test_weights_come_back_with_the_same_tokens(tmp_path: Path):
    built = write(tmp_path)
    built.load_state_dict({name: v.half().float() for name, v in built.state_dict().items()})
    loaded = load_codec(tmp_path)
    x = torch.randn(1, 1, 16000) / 10
    codes = loaded.encode(x)
    assert torch.equal(codes, built.encode(x))
    assert codes.unique().numel() > 4  # tokens of all kinds, or equality would say nothing
    assert torch.equal(loaded.decode(codes), built.decode(codes))


def test_damaged_and_missing_weights_are_refused(tmp_path: Path):
    write(tmp_path)
    path = tmp_path / "codec.safetensors"
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 1
    path.write_bytes(payload)
    with pytest.raises(CheckpointError, match="damaged"):
        load_codec(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match="no readable codec"):
        load_codec(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path):
    write(tmp_path)
    change_card(tmp_path, decoder_layers=2)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_codec(tmp_path)
    change_card(tmp_path, colour=1)
    with pytest.raises(CheckpointError, match="no readable codec"):
        load_codec(tmp_path)


def test_the_shipped_weights_are_those_its_card_names_and_nothing_but_a_codec():
    codec = load_codec(codec_attack._WEIGHTS)
    assert (codec.config.sample_rate, codec.config.codebooks) == (32000, 8)
    files = {path.name for path in codec_attack._WEIGHTS.iterdir()}
    assert files == {"card.json", "codec.safetensors"}
    size = (codec_attack._WEIGHTS / "codec.safetensors").stat().st_size
    assert size < 6_000_000
    assert all(tensor.isfinite().all() for tensor in codec.state_dict().values())
