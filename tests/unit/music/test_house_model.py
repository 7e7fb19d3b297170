"""The house networks: shapes, what the linear path gives before training, tags, weights on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from studio.core.errors import CheckpointError, ConfigError, UnknownTagError
from studio.music.composer import LeadSheet
from studio.music.models.house.codec import CodecConfig, build_codec
from studio.music.models.house.model import (
    CARD_NAME,
    WEIGHTS_NAME,
    HouseConfig,
    TagConditioner,
    build_house_model,
    condition_text,
    load_house_model,
    save_house_model,
)
from studio.music.training.codec.losses import si_sdr

TAGS = ("genre/waltz", "genre/folk", "mood/calm", "tempo/slow")


@pytest.fixture(scope="module")
def built():
    torch.manual_seed(1)
    config = HouseConfig.tiny(TAGS)
    return config, *build_house_model(config)


def test_codec_speaks_audiocrafts_interface(built):
    config, codec, _ = built
    x = torch.randn(3, 1, 16000) / 10
    codes, scale = codec.encode(x)
    assert codes.shape == (3, config.codec.codebooks, 50)
    assert scale is None
    assert codec.decode(codes).shape == (3, 1, 16000)
    # A length that is no whole number of frames is padded, as audiocraft's codecs do.
    assert codec.encode(x[..., :15900])[0].shape[-1] == 50


def test_before_training_the_codec_passes_what_its_latents_can_hold():
    codec = build_codec(
        CodecConfig(
            sample_rate=16000, dim=16, encoder_layers=1, decoder_layers=1, latent_dim=160, bins=4
        )
    )
    t = torch.arange(16000) / 16000
    low = (torch.sin(2 * torch.pi * 440 * t) / 4)[None, None]
    high = (torch.sin(2 * torch.pi * 7000 * t) / 4)[None, None]
    with torch.no_grad():
        kept, lost = (codec.decoder(codec.encoder(x)) for x in (low, high))
    # 160 MDCT coefficients of 320 reach up to 4 kHz; the outer frames lack their neighbour.
    assert si_sdr(kept[0, 0, 640:-640], low[0, 0, 640:-640]) > 30
    assert lost.square().mean() < 0.01 * high.square().mean()


def test_level_passes_unchanged_through_the_companded_latents():
    codec = build_codec(CodecConfig(sample_rate=16000, dim=16, encoder_layers=1, decoder_layers=1))
    t = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * 300 * t)[None, None]
    with torch.no_grad():
        for gain in (0.01, 0.5):
            out = codec.decoder(codec.encoder(gain * tone))[..., 800:-800]
            assert out.square().mean().sqrt() == pytest.approx(gain * 0.5**0.5, rel=0.05)


def test_gradients_reach_every_parameter(built):
    config, _, _ = built
    codec, _lm = build_house_model(config)
    codec.train()
    x = torch.randn(2, 1, 3200) / 10
    for _ in range(2):  # the network's last layers start at zero: they move first
        (codec.decoder(codec.encoder(x)) - x).square().mean().backward()
        with torch.no_grad():
            for p in codec.parameters():
                p.add_(0.1 * torch.randn_like(p))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in codec.parameters())


def test_unknown_tags_are_refused_and_never_ignored(built):
    _, _, lm = built
    from audiocraft.modules.conditioners import ConditioningAttributes

    with pytest.raises(UnknownTagError, match="genre/polka"):
        lm.condition_provider.tokenize(
            [ConditioningAttributes(text={"description": "mood/calm genre/polka"})]
        )


def test_tags_are_parted_by_commas_or_spaces_and_one_of_a_kind():
    conditioner = TagConditioner(TAGS, 8)
    same = conditioner.tokenize(["genre/waltz,mood/calm", "mood/calm  genre/waltz"])
    assert torch.equal(same[0], same[1])
    nothing = conditioner.tokenize([None, ""])
    assert torch.equal(nothing[0], nothing[1])
    assert not torch.equal(nothing[0], same[0])
    with pytest.raises(ConfigError, match="one kind"):
        conditioner.tokenize(["genre/waltz genre/folk"])


def test_every_tag_changes_the_prediction_at_every_step(built):
    config, _, lm = built
    from audiocraft.modules.conditioners import ConditioningAttributes

    tokens = torch.randint(0, 32, (1, config.codec.codebooks, 40))
    out = [
        lm(tokens, [ConditioningAttributes(text={"description": text})])
        for text in ("genre/waltz", "genre/folk")
    ]
    assert ((out[0] - out[1]).abs().amax((0, 1, 3)) > 0).all()


def test_a_config_with_doubled_or_kindless_tags_is_refused():
    for tags in (("genre/waltz", "genre/waltz"), ("waltz",), ()):
        with pytest.raises(ConfigError):
            HouseConfig.tiny(tags)
    with pytest.raises(ConfigError, match="not a house model"):
        HouseConfig.from_dict({"codec": {"colour": 1}, "lm": {}, "tags": []})


def test_saved_weights_come_back_with_the_same_tokens(built, tmp_path: Path):
    config, codec, lm = built
    digest = save_house_model(tmp_path, config, codec, lm, {"title": "trial"})
    first = load_house_model(tmp_path)
    assert (first.digest, first.config, first.card["title"]) == (digest, config, "trial")
    assert (first.sample_rate, first.frame_rate, first.tags) == (16000, 50, TAGS)
    # fp16 once is fp16 for ever: saving what was loaded changes nothing.
    again = tmp_path / "again"
    assert save_house_model(again, config, first.codec, first.lm, {}) == digest
    x = torch.randn(1, 1, 16000) / 10
    codes = first.codec.encode(x)[0]
    assert torch.equal(codes, load_house_model(again).codec.encode(x)[0])
    assert codes.unique().numel() > 4  # tokens of all kinds, or equality would say nothing


def test_damaged_weights_are_refused(built, tmp_path: Path):
    config, codec, lm = built
    save_house_model(tmp_path, config, codec, lm, {})
    path = tmp_path / WEIGHTS_NAME
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 1
    path.write_bytes(payload)
    with pytest.raises(CheckpointError, match="damaged"):
        load_house_model(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match="no readable house model"):
        load_house_model(tmp_path)


def test_weights_of_another_shape_are_refused(built, tmp_path: Path):
    config, codec, lm = built
    save_house_model(tmp_path, config, codec, lm, {})
    card = json.loads((tmp_path / CARD_NAME).read_text())
    card["config"]["lm"]["layers"] = 3
    (tmp_path / CARD_NAME).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_house_model(tmp_path)


def test_a_lead_sheet_acts_on_the_frames_it_speaks_of_and_later_ones_only(built):
    """The same sheet but for its second bar: until there the predictions are the same."""
    config, _, lm = built
    from audiocraft.modules.conditioners import ConditioningAttributes

    def told(sheet: LeadSheet, start: int = 0) -> str:
        return condition_text(["mood/calm"], sheet, start)

    sheets = [LeadSheet.parse(f"C-major:20:4x4:A=C|{second}|F|C") for second in ("G7", "Am")]
    tokens = torch.randint(0, 32, (1, config.codec.codebooks, 100))
    out = [
        lm(
            tokens,
            [ConditioningAttributes(text={"description": told(sheet, 70)})],
        )
        for sheet in sheets
    ]
    changed = (out[0] - out[1]).abs().amax((0, 1, 3))
    # From frame 70 on: bar 2 begins 10 frames later; the next chord's root is told all through.
    assert (changed > 0).all()
    first = [sheet.frames(70, 10).pitches for sheet in sheets]
    assert (first[0] != first[1]).any()
    same = [
        lm(
            tokens,
            [ConditioningAttributes(text={"description": told(sheet)})],
        )
        for sheet in (
            LeadSheet.parse("C-major:20:4x4:A=C|G7|F|C"),
            LeadSheet.parse("C-major:20:4x4:A=C|G7|Am|C"),
        )
    ]
    changed = (same[0] - same[1]).abs().amax((0, 1, 3))
    assert (changed[:80] == 0).all()  # the first bar ends before anything differs
    assert (changed[80:] > 0).all()


def test_conditions_move_on_with_the_window(built):
    _, _, lm = built
    from audiocraft.modules.conditioners import ConditioningAttributes

    sheet = LeadSheet.parse("C-major:20:4x4:A=C|G7")
    inputs = [
        ConditioningAttributes(text={"description": text})
        for text in (condition_text(["mood/calm"], sheet, 5), "mood/calm", None)
    ]
    later = lm.condition_provider.later(inputs, 30)
    texts = [item.text["description"] for item in later]
    assert texts == [condition_text(["mood/calm"], sheet, 35), "mood/calm", ""]
    with pytest.raises(ConfigError, match="starts"):
        lm.condition_provider.tokenize(
            [ConditioningAttributes(text={"description": "sheet=C-major:20:4x4:A=C"})]
        )


def test_guidance_compares_with_the_same_sheet_without_tags(built):
    _, _, lm = built
    from audiocraft.modules.conditioners import ConditioningAttributes

    sheet = LeadSheet.parse("C-major:20:4x4:A=C|G7")
    inputs = [
        ConditioningAttributes(text={"description": text})
        for text in (condition_text(["mood/calm"], sheet, 5), "mood/calm", None)
    ]
    provider = lm.condition_provider
    plain = provider.unguided(inputs)
    assert plain[0].text["description"] == condition_text([], sheet, 5)
    tokens = [provider.tokenize([item]) for item in (*plain[1:], inputs[2])]
    for name in tokens[0]:  # without a sheet: nothing at all, as audiocraft has it
        assert all(torch.equal(one[name], tokens[-1][name]) for one in tokens)
