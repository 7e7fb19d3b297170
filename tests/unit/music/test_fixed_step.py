"""The step with fixed buffers, which a GPU replays as a graph, draws what the other step draws."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from studio.core.errors import ModelError
from studio.music.models.checkpoints import load_checkpoint
from studio.music.models.decoding import CachedLM, fixed_step, precision
from studio.music.models.decoding.fixed_step import FixedStep
from studio.music.models.decoding.network import Network
from studio.music.models.decoding.run import Run
from studio.music.models.decoding.sampling import Sampling
from studio.music.models.decoding.together import Decoder
from studio.music.models.generator import MusicGenerator
from tests.support.models import tiny_house_model, tiny_hub_model

STEPS = 40


@pytest.fixture(scope="module", params=["hub", "melody"])
def lm(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    config = tiny_hub_model(directory, melody=request.param == "melody")
    return load_checkpoint(config, offline=True).lm


def tokens(lm, decoder, *, prompt=None, count=1, **options):
    cached = CachedLM(lm, decoder)
    cached.begin([torch.Generator().manual_seed(seed) for seed in range(count)])
    conditions = [precision.probe_condition(lm)] * count
    return cached.generate(
        prompt, conditions=conditions, max_gen_len=STEPS, **{"top_k": 16, **options}
    )


@pytest.mark.parametrize(
    "options",
    [{"cfg_coef": 3.0}, {"cfg_coef": 1.0}, {"use_sampling": False}, {"count": 2}, {"top_k": 0}],
    ids=str,
)
@pytest.mark.parametrize("buckets", [(8, 16, 32), (128,), ()])
def test_the_same_tokens_across_buckets(monkeypatch, lm, options, buckets):
    monkeypatch.setattr(fixed_step, "_BUCKETS", buckets)
    network = Network(lm)
    expected = tokens(lm, Decoder(network, fixed=False), **options)
    assert torch.equal(tokens(lm, Decoder(network, fixed=True), **options), expected)
    assert expected.unique().numel() > 3


def test_a_prompt_is_read_first(lm):
    network = Network(lm)
    prompt = torch.randint(lm.card, (1, lm.n_q, 9), generator=torch.Generator().manual_seed(1))
    expected = tokens(lm, Decoder(network, fixed=False), prompt=prompt)
    assert torch.equal(tokens(lm, Decoder(network, fixed=True), prompt=prompt), expected)
    assert torch.equal(expected[..., :9], prompt)


@torch.inference_mode()
def test_its_buffers_stay_where_they_are_and_its_work_is_the_same_when_done_again(lm):
    """A graph can be replayed only if so; recording does the step twice."""
    network = Network(lm)
    run = Run(network, [precision.probe_condition(lm)], guided=True, steps=STEPS)
    start = torch.full((1, lm.n_q, 1), lm.special_token_id)
    network.step([run], [start])
    step = FixedStep(run, Sampling(top_k=16))
    one = torch.Generator().manual_seed(0)
    first = step.draw(start, [one])
    kept = first.clone()
    step._compute(step._length)
    assert torch.equal(first, kept)
    second = step.draw(kept[..., None], [one])
    assert second.data_ptr() == first.data_ptr()
    run.position = run.capacity
    with pytest.raises(ModelError, match="room"):
        step.draw(kept[..., None], [one])


def test_a_gpu_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = tiny_hub_model(tmp_path)
    config = type(config).model_validate({**config.model_dump(), "device": "cuda"})
    with pytest.raises(ModelError, match="device: cuda"):
        MusicGenerator(config, offline=True).load()
    house = tiny_house_model(tmp_path / "house")
    with pytest.raises(ValidationError, match="runs on the CPU"):
        type(house).model_validate({**house.model_dump(), "device": "cuda"})
