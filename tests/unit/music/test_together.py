"""Requests of a hub model in the same steps: each one's tokens are what they are alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from studio.core.errors import GenerationCancelledError
from studio.core.tags import Vocabulary
from studio.music.models.batching import Batch
from studio.music.models.checkpoints import load_checkpoint
from studio.music.models.decoding import CachedLM, kernels, together
from studio.music.models.decoding.network import Network
from studio.music.models.decoding.together import Decoder, places_for
from studio.music.models.generator import MusicGenerator
from tests.support.models import TAGS_FILE, tiny_hub_model

pytestmark = pytest.mark.slow

TEXTS = ("calm", "a waltz for piano and strings, slow and calm", "rock")
LENGTHS = (60, 11, 34, 60, 5, 23)


class Counted(Network):
    """Notes how many requests take part in each step."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.together: list[int] = []

    def step(self, runs, tokens, **options):
        self.together.append(len(runs))
        return super().step(runs, tokens, **options)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tiny_hub_model(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def lm(config):
    return load_checkpoint(config, offline=True).lm


def tokens(lm, decoder: Decoder, number: int, callback=None) -> torch.Tensor:
    from audiocraft.modules.conditioners import ConditioningAttributes

    text = dict.fromkeys(lm.condition_provider.text_conditions, TEXTS[number % len(TEXTS)])
    cached = CachedLM(lm, decoder)
    cached.begin([torch.Generator().manual_seed(number)])
    with decoder.place(lambda: None):
        return cached.generate(
            conditions=[ConditioningAttributes(text=text)],
            max_gen_len=LENGTHS[number], top_k=16, cfg_coef=3.0 if number % 2 else 1.0,
            callback=callback,
        )  # fmt: skip


@pytest.mark.parametrize("kernel", [kernels.Plain, kernels.Prepacked, kernels.Int8])
def test_tokens_are_the_same_alone_and_beside_others(lm, kernel):
    if not kernels.available([kernel]):
        kernel = kernels.Plain
    decoder = Decoder(network := Counted(lm, kernel))
    alone = [tokens(lm, decoder, number) for number in range(len(LENGTHS))]
    assert set(network.together) == {1}
    most = 0
    for _ in range(3):
        with ThreadPoolExecutor(len(LENGTHS)) as pool:
            made = list(pool.map(lambda k: tokens(lm, decoder, k), range(len(LENGTHS))))
        assert all(torch.equal(one, other) for one, other in zip(made, alone, strict=True))
        most = max(most, *network.together)
    assert (most > 1) == network.keeps_rows_apart  # another kernel's requests take turns


def test_a_kernel_whose_rows_touch_each_other_is_found_out():
    class Touching(kernels.Plain):
        def __call__(self, x):
            return super().__call__(x) + 1e-6 * x.shape[0]

    assert not kernels.keeps_rows_apart(Touching)
    if kernels.available([kernels.Int8]):
        assert kernels.keeps_rows_apart(kernels.Int8)


def test_one_that_is_cancelled_leaves_within_a_step_and_disturbs_nobody(lm):
    decoder = Decoder(Network(lm, kernels.Prepacked))
    expected = tokens(lm, decoder, 0)
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        if done >= 9:
            raise GenerationCancelledError("cancelled")

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(tokens, lm, decoder, 0)
        with pytest.raises(GenerationCancelledError):
            tokens(lm, decoder, 3, stop)
        assert torch.equal(other.result(), expected)
    assert sum(done >= 9 for done in seen) == 1


def test_an_error_of_a_step_is_everybodys_and_the_places_are_given_back():
    meeting = threading.Barrier(3)

    def step(rows):
        raise MemoryError("no more")

    batch: Batch[int] = Batch(step, places=3)

    def one(number: int) -> str:
        with batch.place(lambda: None):
            meeting.wait()
            try:
                batch.advance(number, 5, lambda: None)
            except MemoryError as exc:
                return str(exc)
        return "went on"

    for _ in range(2):
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(one, range(3))) == ["no more"] * 3


def test_requests_at_a_time_make_what_each_makes_alone(config):
    tags = Vocabulary.load(TAGS_FILE).parse(["genre/waltz", "mood/calm"])
    lengths = (0.7, 1.5, 0.3, 2.4)  # the last one takes more than a window
    generator = MusicGenerator(config, offline=True)
    alone = [generator.generate(tags, duration_s=s, seed=k) for k, s in enumerate(lengths)]
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(
            lambda pair: generator.generate(tags, duration_s=pair[1], seed=pair[0]),
            enumerate(lengths),
        )
        for one, other in zip(made, alone, strict=True):
            assert np.array_equal(one.samples, other.samples)


def test_a_request_that_waits_for_a_place_can_be_cancelled(config, monkeypatch):
    monkeypatch.setattr(together, "places_for", lambda network, steps: 1)
    tags = Vocabulary.load(TAGS_FILE).parse(["genre/waltz"])
    generator = MusicGenerator(config, offline=True)
    begun, go_on, cancel = threading.Event(), threading.Event(), threading.Event()

    def hold(done: float, total: float) -> None:
        begun.set()
        go_on.wait()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(generator.generate, tags, duration_s=0.5, seed=1, progress=hold)
        begun.wait()
        second = pool.submit(generator.generate, tags, duration_s=0.5, seed=1, cancel=cancel)
        cancel.set()
        with pytest.raises(GenerationCancelledError):
            second.result()
        go_on.set()
        assert first.result().duration_s == 0.5


def test_the_places_follow_the_memory_and_one_always_is(lm, monkeypatch):
    network = Network(lm)
    assert places_for(network, 100) == 8
    assert places_for(network, 10**12) == 1
