"""Lossy precisions stay near fp32, rows do not touch each other, `auto` follows its rule."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from studio.core.errors import ModelError
from studio.music.models.checkpoints import load_checkpoint
from studio.music.models.decoding import CachedLM, Sampling, kernels, precision
from studio.music.models.decoding.attention import attend
from studio.music.models.decoding.network import Network
from studio.music.models.decoding.quality import LIMIT_KL, Quality, measure_quality
from studio.music.models.decoding.run import Run
from studio.music.models.decoding.together import Decoder
from tests.support.models import tiny_house_model, tiny_hub_model

EVERY = [*kernels.HALVES, *kernels.BF16, *kernels.INT8]
USABLE = kernels.available(EVERY)
GOOD = Quality(48, 0.001, 0.01, 0.99, 0.99, 3.0, 3.0)
BAD = Quality(48, 0.5, 3.0, 0.5, 0.5, 4.0, 3.0)


def names(chosen):
    return [kernel.__name__ for kernel in chosen]


@pytest.fixture(scope="module", params=["hub", "melody"])
def checkpoint(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    config = tiny_hub_model(directory, melody=request.param == "melody")
    return load_checkpoint(config, offline=True)


def tokens_for(lm, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(lm.card, (lm.n_q, steps), generator=generator)


@pytest.mark.parametrize("kernel", USABLE, ids=names(USABLE))
@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("biased", [False, True])
def test_a_kernel_multiplies(kernel, rows, biased):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(96, 256, generator=generator).half().float() / 16
    bias = torch.randn(96, generator=generator) if biased else None
    x = torch.randn(rows, 256, generator=generator)
    residual = torch.randn(rows, 96, generator=generator)
    expected = torch.nn.functional.linear(x, weight, bias)
    allowed = 1e-5 if kernel in kernels.HALVES else 0.03
    packed = kernel(weight, bias)
    assert (packed(x) - expected).norm() < allowed * expected.norm()
    assert torch.allclose(packed.add_to(residual, x), residual + packed(x), atol=1e-5)


def test_a_row_of_nothing_gives_the_bias():
    for kernel in USABLE:
        out = kernel(torch.ones(32, 64), torch.ones(32))(torch.zeros(2, 64))
        assert torch.equal(out, torch.ones(2, 32)), kernel.__name__


@pytest.mark.parametrize("kernel", kernels.available(kernels.INT8))
def test_rows_in_int8_do_not_depend_on_the_rows_beside_them(kernel):
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(96, 256, generator=generator)
    x = torch.randn(16, 256, generator=generator)
    x[3] *= 50
    packed = kernel(weight, None)
    together = packed(x)
    for start in range(0, 16, 2):
        pair = together[start : start + 2]
        alone = packed(x[start : start + 2].contiguous())
        # One scale for all rows would be off by a hundredth and more; adding up in another order,
        # as oneDNN does for many rows on processors with AMX, is off by rounding.
        assert ((pair - alone).norm(dim=1) < 1e-6 * alone.norm(dim=1)).all()
        assert torch.equal(pair, alone) or not kernels.keeps_rows_apart(kernel)


def test_int8_is_as_near_with_7_bits_of_activation_as_with_8(monkeypatch):
    """Processors without VNNI have 63 steps to either side; what these leave is multiplied too."""
    monkeypatch.setattr(kernels, "_fbgemm_levels", lambda: 63)
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(512, 1024, generator=generator)
    x = torch.randn(4, 1024, generator=generator)
    exact = torch.nn.functional.linear(x, weight)
    packed = kernels.Int8(weight, None)
    assert (packed(x) - exact).norm() < 0.01 * exact.norm()
    largest = x.abs().amax(1, keepdim=True)
    coarse = packed._rounded_product(x / largest) * largest
    assert (coarse - exact).norm() > 0.015 * exact.norm()  # without the rest


def test_rows_over_fp16_weights_are_summed_alike_whatever_stands_beside_them():
    assert kernels.keeps_rows_apart(kernels.Fp16)
    packed = kernels.Fp16(torch.randn(64, 128), None)
    assert [packed(torch.ones(n, 128)).shape[0] for n in range(1, 20)] == [*range(1, 20)]


@pytest.mark.slow
def test_exact_reads_fp16_only_where_no_weight_is_rounded(monkeypatch, checkpoint):
    offered = []
    monkeypatch.setattr(kernels, "fastest", lambda usable, _: offered.append(usable) or usable[-1])
    lm = checkpoint.lm
    assert precision.prepare(lm, "exact").kernel == "Fp16"  # the checkpoint was saved in fp16
    weight = lm.transformer.layers[0].linear1.weight
    kept = weight[0, 0].item()
    with torch.no_grad():
        weight[0, 0] = 0.1
    try:
        assert precision.prepare(lm, "exact").kernel != "Fp16"
    finally:
        with torch.no_grad():
            weight[0, 0] = kept
    assert [kernels.Fp16 in usable for usable in offered] == [True, False]


@pytest.mark.parametrize("kernel", kernels.available(kernels.HALVES))
def test_each_exact_kernel_gives_the_same_tokens(checkpoint, kernel):
    """test_decoding holds those of torch's own routine to audiocraft's."""
    lm = checkpoint.lm

    def tokens(network):
        cached = CachedLM(lm, Decoder(network))
        cached.begin([torch.Generator().manual_seed(3)])
        return cached.generate(
            conditions=[precision.probe_condition(lm)], max_gen_len=40, top_k=16, cfg_coef=3.0
        )

    expected = tokens(Network(lm))
    assert torch.equal(tokens(Network(lm, kernel)), expected)
    assert expected.unique().numel() > 6


def test_a_kernel_that_is_wrong_or_missing_is_not_available():
    class Wrong(kernels.Plain):
        def __call__(self, x):
            return super().__call__(x) * 1.1

    class Missing(kernels.Plain):
        def __call__(self, x):
            return torch.ops.studio.no_such_operator(x)

    assert kernels.available([Wrong, Missing, kernels.Plain]) == [kernels.Plain]


def test_the_fastest_kernel_must_be_clearly_faster(monkeypatch):
    weights = [torch.empty(4096, 4096)]
    for times, chosen in (([1.0, 0.95, 2.0], 0), ([1.0, 0.8, 0.5], 2), ([1.0, 0.8, 0.79], 1)):
        monkeypatch.setattr(kernels, "time_kernels", lambda *args, t=times: t)
        assert kernels.fastest(kernels.EXACT, weights) is kernels.EXACT[chosen]
    small = [torch.empty(64, 64)]  # nothing is timed
    assert kernels.fastest(kernels.EXACT, small) is kernels.EXACT[0]


@pytest.mark.parametrize(
    ("exact", "bf16", "int8", "quality", "expected"),
    [
        (100, 60, 20, {"int8": GOOD, "bf16": GOOD}, "int8"),
        (100, 60, 45, {"int8": GOOD, "bf16": GOOD}, "bf16"),  # not 1.5 times as fast
        (100, 60, 20, {"int8": BAD, "bf16": GOOD}, "bf16"),
        (100, 60, 20, {"int8": BAD, "bf16": BAD}, "exact"),
        (100, 90, 80, {"int8": GOOD, "bf16": GOOD}, "exact"),
        (100, 300, 60, {"int8": GOOD, "bf16": BAD}, "int8"),  # a processor without bf16
    ],
)
def test_auto_takes_what_is_worth_it(monkeypatch, checkpoint, exact, bf16, int8, quality, expected):
    monkeypatch.setattr(kernels, "small", lambda weights: False)
    monkeypatch.setattr(kernels, "fastest", lambda usable, weights: usable[0])
    monkeypatch.setattr(kernels, "time_kernels", lambda *args: [exact, bf16, int8])
    pack = precision._pack

    def noted(lm, name, kernel):
        packed = pack(lm, name, kernel)
        packed.network.precision = name
        return packed

    monkeypatch.setattr(precision, "_pack", noted)
    monkeypatch.setattr(precision, "_gate", lambda lm, network, _: quality[network.precision])
    found = precision.prepare(checkpoint.lm, "auto")
    assert found.precision == expected
    assert found.quality == (None if expected == "exact" else GOOD)


def test_a_small_model_is_decoded_exactly_without_a_trial(monkeypatch, checkpoint):
    monkeypatch.setattr(kernels, "time_kernels", lambda *args: pytest.fail("timed"))
    assert precision.prepare(checkpoint.lm, "auto").precision == "exact"


def test_unknown_and_impossible_precisions_are_refused(monkeypatch, checkpoint):
    with pytest.raises(ModelError, match="no precision 'int3'"):
        precision.prepare(checkpoint.lm, "int3")
    monkeypatch.setattr(kernels, "available", lambda _: [])
    with pytest.raises(ModelError, match="cannot decode in int8"):
        precision.prepare(checkpoint.lm, "int8")


@pytest.mark.parametrize("name", ["bf16", "int8"])
def test_a_lossy_precision_is_near_fp32(checkpoint, name):
    lm = checkpoint.lm
    packed = precision.prepare(lm, name)
    assert packed.precision == name
    tokens = tokens_for(lm, 100)
    how = Sampling(top_k=16)
    found = measure_quality(packed.network, Network(lm), precision.probe_condition(lm), tokens, how)
    assert found.steps == 99
    assert found.holds, found
    assert 0 < found.kl < LIMIT_KL  # not fp32 in disguise
    assert 0.99 < found.perplexity_ratio < 1.01


def test_exact_is_no_different_from_itself_and_damage_is_seen(checkpoint):
    lm = checkpoint.lm
    tokens = tokens_for(lm, 60)
    how = Sampling(top_k=16)
    same = measure_quality(Network(lm), Network(lm), precision.probe_condition(lm), tokens, how)
    assert same.kl == 0
    assert same.same_drawn == same.same_likeliest == 1
    assert same.loss == same.reference_loss

    class Damaged(kernels.Plain):
        def __call__(self, x):
            return super().__call__(x).sign()

    condition = precision.probe_condition(lm)
    broken = measure_quality(Network(lm, Damaged), Network(lm), condition, tokens, how)
    assert not broken.holds


@pytest.mark.parametrize("name", ["exact", "bf16", "int8"])
def test_freed_weights_are_not_needed(tmp_path, name):
    lm = load_checkpoint(tiny_hub_model(tmp_path), offline=True).lm
    condition = precision.probe_condition(lm)

    def tokens():
        cached.begin([torch.Generator().manual_seed(3)])
        return cached.generate(conditions=[condition], max_gen_len=20, top_k=16)

    cached = CachedLM(lm, Decoder(precision.prepare(lm, name).network))
    expected = tokens()
    cached = CachedLM(lm, Decoder(precision.prepare(lm, name, release=True).network))
    assert torch.equal(tokens(), expected)
    assert expected.unique().numel() > 6
    assert sum(p.numel() for p in lm.transformer.layers.parameters()) < 1000  # norms alone


@pytest.mark.parametrize("name", ["exact", "bf16", "int8"])
def test_generations_that_step_together_do_not_touch_each_other(checkpoint, name):
    """Two runs at different positions, one of them guided alone: the same logits as alone."""
    lm = checkpoint.lm
    network = precision.prepare(lm, name).network
    first, second = tokens_for(lm, 12, 1), tokens_for(lm, 5, 2)

    def runs():
        one = Run(network, [precision.probe_condition(lm)], guided=True, steps=12)
        two = Run(network, [precision.probe_condition(lm)], guided=False, steps=5)
        with torch.inference_mode():
            network.step([one], [first[None, :, :9]])
        return one, two

    with torch.inference_mode():
        one, two = runs()
        alone = [network.step([one], [first[None, :, 9:10]])[0]]
        alone += network.step([two], [second[None, :, :4]])
        alone += network.step([one], [first[None, :, 10:11]])
        alone += network.step([two], [second[None, :, 4:5]])
        one, two = runs()
        together = network.step([one, two], [first[None, :, 9:10], second[None, :, :4]])
        together += network.step([one, two], [first[None, :, 10:11], second[None, :, 4:5]])
    for a, b in zip(alone, together, strict=True):
        assert torch.allclose(a, b, atol=1e-5 if name != "bf16" else 1e-3)
        assert name != "int8" or torch.equal(a, b)


def test_a_house_model_is_decoded_exactly(tmp_path):
    config = tiny_house_model(tmp_path)
    with pytest.raises(ValidationError, match="decoded exactly"):
        type(config).model_validate({**config.model_dump(), "precision": "int8"})


@pytest.mark.parametrize("positions", [1, 7, 300])
def test_attention_over_bf16_is_near_fp32_and_each_rows_own(positions):
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (
        torch.randn(4, 2, n, 16, generator=generator) for n in (1, positions + 9, positions + 9)
    )
    seen = keys[:, :, :positions], values[:, :, :positions]  # a part of what is allocated
    expected = attend(query, *seen)
    half = tuple(one.bfloat16() for one in (keys, values))
    made = attend(query, *(one[:, :, :positions] for one in half))
    assert made.dtype is torch.bfloat16
    assert (made.float() - expected).abs().max() < 0.03 * expected.abs().max()
    pair = attend(query[:2], *(one[:2, :, :positions] for one in half))
    assert torch.equal(pair, made[:2])
