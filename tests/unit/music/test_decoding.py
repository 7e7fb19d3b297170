"""The decoder gives audiocraft's own tokens; batch mates and the process's state change none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from studio.core.errors import GenerationCancelledError, ModelError
from studio.music.models.checkpoints import load_checkpoint
from studio.music.models.decoding import CachedLM, Sampling, sample
from tests.support.models import tiny_hub_model

pytestmark = pytest.mark.slow

SHORT = "a waltz"
LONG = "bright and happy orchestra in a gentle waltz time, calm and bright"


@pytest.fixture(scope="module", params=["hub", "stereo", "melody"])
def model(request, tmp_path_factory):
    """audiocraft's MusicGen twice over the same weights: its own decoder, and ours."""
    directory = tmp_path_factory.mktemp(request.param)
    kind = request.param
    config = tiny_hub_model(directory, stereo=kind == "stereo", melody=kind == "melody")
    checkpoint = load_checkpoint(config, offline=True)
    from audiocraft.models import MusicGen

    own = MusicGen("own", checkpoint.codec, checkpoint.lm, max_duration=30)
    ours = MusicGen("ours", checkpoint.codec, CachedLM(checkpoint.lm), max_duration=30)
    own.max_duration = ours.max_duration = 1.5
    return SimpleNamespace(own=own, ours=ours, texts=(SHORT, LONG), kind=kind)


def set_both(model, **parameters):
    for musicgen in (model.own, model.ours):
        musicgen.set_generation_params(extend_stride=0.9, top_k=16, **parameters)


def tokens_of(model, texts, seeds, prompt=None):
    model.ours.lm.begin([torch.Generator().manual_seed(seed) for seed in seeds])
    attributes, known = model.ours._prepare_tokens_and_attributes(texts, prompt)
    return model.ours._generate_tokens(attributes, known)


@pytest.mark.parametrize(("duration", "guidance"), [(0.5, 1.0), (0.5, 3.0), (2.2, 3.0)])
def test_tokens_are_audiocrafts_own(model, guidance, duration):
    set_both(model, duration=duration, cfg_coef=guidance)
    torch.manual_seed(11)
    _, expected = model.own.generate([model.texts[0]], return_tokens=True)
    assert torch.equal(tokens_of(model, [model.texts[0]], [11]), expected)
    assert expected.unique().numel() > 3  # the comparison is not of constants


def test_greedy_tokens_are_audiocrafts_own(model):
    set_both(model, duration=0.6, use_sampling=False)
    _, expected = model.own.generate([model.texts[1]], return_tokens=True)
    assert torch.equal(tokens_of(model, [model.texts[1]], [0]), expected)


def test_a_continued_prompt_gives_audiocrafts_own_tokens(model):
    set_both(model, duration=0.6)
    channels = model.own.audio_channels
    prompt = 0.1 * torch.randn(
        1, channels, model.own.sample_rate // 5, generator=torch.Generator().manual_seed(1)
    )
    torch.manual_seed(3)
    _, expected = model.own.generate_continuation(
        prompt, model.own.sample_rate, [model.texts[0]], return_tokens=True
    )
    found = tokens_of(model, [model.texts[0]], [3], prompt)
    assert torch.equal(found, expected)
    known, _ = model.own.compression_model.encode(prompt)
    assert torch.equal(found[..., : known.shape[-1]], known)


def test_batch_mates_do_not_change_tokens(model):
    if model.kind == "melody":  # its text is prepended, so lengths must agree
        texts = [model.texts[0], model.texts[0]]
    else:
        texts = [model.texts[0], model.texts[1]]
    set_both(model, duration=0.6)
    together = tokens_of(model, texts, [5, 6])
    for row, seed in enumerate((5, 6)):
        alone = tokens_of(model, [texts[row]], [seed])
        assert torch.equal(together[row], alone[0])
    assert not torch.equal(together[0], together[1])


def test_another_seed_gives_other_tokens(model):
    set_both(model, duration=0.4)
    first, again, other = (tokens_of(model, [model.texts[0]], [seed]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_process_random_numbers_are_neither_used_nor_moved(model):
    set_both(model, duration=0.4)
    torch.manual_seed(1)
    first = tokens_of(model, [model.texts[0]], [4])
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = tokens_of(model, [model.texts[0]], [4])
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_the_callback_raises_ends_the_loop_at_once(model):
    set_both(model, duration=0.6)
    expected = tokens_of(model, [model.texts[0]], [9])
    steps = []

    def stop(done, total):
        steps.append((done, total))
        if done == 7:
            raise GenerationCancelledError("enough")

    model.ours.set_custom_progress_callback(stop)
    model.ours.lm.begin([torch.Generator().manual_seed(9)])
    with pytest.raises(GenerationCancelledError):
        model.ours.generate([model.texts[0]], progress=True)
    model.ours.set_custom_progress_callback(None)
    assert len(steps) == 7
    assert torch.equal(tokens_of(model, [model.texts[0]], [9]), expected)


def test_audiocrafts_own_batches_do_depend_on_batch_mates(tmp_path):
    """The negative control: the fault this decoder is for is there, and this test sees it."""
    checkpoint = load_checkpoint(tiny_hub_model(tmp_path), offline=True)
    from audiocraft.models import MusicGen

    own = MusicGen("own", checkpoint.codec, checkpoint.lm, max_duration=30)
    own.set_generation_params(duration=0.6, use_sampling=False)
    _, alone = own.generate([SHORT], return_tokens=True)
    _, together = own.generate([SHORT, LONG], return_tokens=True)
    assert not torch.equal(together[:1], alone)


def test_draws_follow_the_distribution():
    """Chi-squared of 20,000 draws against softmax: 15 degrees of freedom, p of about 1e-4."""
    logits = torch.linspace(-2, 2, 16).repeat(1, 1)
    generators = [torch.Generator().manual_seed(0)]
    draws = torch.tensor(
        [int(sample(logits, generators, Sampling(top_k=0))) for _ in range(20_000)]
    )
    expected = 20_000 * torch.softmax(logits[0], 0)
    chi_squared = ((torch.bincount(draws, minlength=16) - expected) ** 2 / expected).sum()
    assert 2 < chi_squared < 44


def test_top_k_draws_only_from_the_likeliest():
    logits = torch.arange(8.0).repeat(1, 1)
    generators = [torch.Generator().manual_seed(0)]
    drawn = {int(sample(logits, generators, Sampling(top_k=3))) for _ in range(500)}
    assert drawn == {5, 6, 7}
    assert int(sample(logits, generators, Sampling(temperature=0.0))) == 7


def test_unsupported_networks_are_refused(tmp_path):
    checkpoint = load_checkpoint(tiny_hub_model(tmp_path), offline=True)
    CachedLM(checkpoint.lm)
    for way in ("sum", "input_interpolate"):
        checkpoint.lm.fuser.fuse2cond[way] = ["description"]
        with pytest.raises(ModelError, match=r"conditions .* the input are not supported"):
            CachedLM(checkpoint.lm)
        checkpoint.lm.fuser.fuse2cond[way] = []
    checkpoint.lm.transformer.layers[0].norm_first = False
    with pytest.raises(ModelError, match="normalise"):
        CachedLM(checkpoint.lm)
