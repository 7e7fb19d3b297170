"""MusicGenerator on a tiny hub checkpoint: lengths, seeds, cancelling, prompts, clear errors."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from studio.core.errors import (
    GenerationCancelledError,
    ModelError,
    ModelMemoryError,
    UsageError,
)
from studio.core.tags import Tag, TagId, Vocabulary
from studio.music.models.generator import MusicGenerator, get_generator, hub_is_off
from tests.support.models import TAGS_FILE, tiny_hub_model
from watermark.audio.waveform import Waveform

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tiny_hub_model(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def generator(config):
    return MusicGenerator(config)


@pytest.fixture(scope="module")
def tags():
    return Vocabulary.load(TAGS_FILE).parse(["genre/waltz", "mood/calm"])


@pytest.mark.parametrize("duration_s", [0.013, 1.0, 2.77, 5.5])
def test_the_music_is_as_long_as_asked(generator, tags, duration_s):
    music = generator.generate(tags, duration_s=duration_s, seed=1)
    assert isinstance(music, Waveform)
    assert music.rate == generator.info.rate == 32000
    assert music.samples.shape == (1, round(duration_s * 32000))
    assert music.samples.dtype == np.float32
    assert 0.01 < np.abs(music.samples).max() <= 0.98


def test_the_seed_decides(generator, tags):
    first, again, other = (generator.generate(tags, duration_s=1, seed=s) for s in (5, 5, 6))
    assert np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)


def test_another_process_state_changes_nothing(generator, tags):
    first = generator.generate(tags, duration_s=1, seed=5)
    torch.manual_seed(99)
    np.random.seed(99)
    assert np.array_equal(generator.generate(tags, duration_s=1, seed=5).samples, first.samples)


def test_tags_and_settings_matter(generator, tags):
    plain = generator.generate(tags, duration_s=1, seed=5).samples
    for change in ({"guidance": 1.0}, {"temperature": 0.5}, {"top_k": 2}):
        assert not np.array_equal(
            generator.generate(tags, duration_s=1, seed=5, **change).samples, plain
        )
    assert not np.array_equal(generator.generate(tags[:1], duration_s=1, seed=5).samples, plain)


def test_progress_counts_seconds_up_to_the_end(generator, tags):
    seen: list[tuple[float, float]] = []
    generator.generate(tags, duration_s=6, seed=1, progress=lambda *step: seen.append(step))
    done = [one for one, _ in seen]
    assert done == sorted(done)
    assert {total for _, total in seen} == {6}
    assert seen[-1] == (6, 6)
    assert len(seen) > 6 * 50


def test_cancelling_ends_within_one_step_and_leaves_the_model_usable(generator, tags):
    expected = generator.generate(tags, duration_s=1, seed=3)
    cancel = threading.Event()
    seen: list[float] = []

    def progress(done, total):
        seen.append(done)
        if len(seen) == 10:
            cancel.set()

    with pytest.raises(GenerationCancelledError):
        generator.generate(tags, duration_s=8, seed=3, progress=progress, cancel=cancel)
    assert len(seen) == 10
    assert np.array_equal(generator.generate(tags, duration_s=1, seed=3).samples, expected.samples)


def test_a_request_cancelled_beforehand_makes_nothing(generator, tags):
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(GenerationCancelledError):
        generator.generate(tags, duration_s=1, seed=1, cancel=cancel)


def test_requests_at_the_same_time_get_their_own_music(generator, tags):
    alone = {seed: generator.generate(tags, duration_s=1, seed=seed).samples for seed in range(4)}
    together: dict[int, np.ndarray] = {}

    def make(seed):
        together[seed] = generator.generate(tags, duration_s=1, seed=seed).samples

    threads = [threading.Thread(target=make, args=(seed,)) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(together[seed], alone[seed]) for seed in alone)


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
def test_a_recording_is_continued(generator, tags, rate, channels):
    made = generator.generate(tags, duration_s=2, seed=1)
    prompt = Waveform(np.repeat(made.resample(rate).samples, channels, axis=0), rate)
    longer = generator.generate(tags, duration_s=4.5, seed=2, prompt=prompt)
    assert longer.duration_s == 4.5
    kept = slice(400, round(1.95 * 32000))  # the last 20 ms fade into what is added
    expected = prompt.mono().resample(32000).samples
    assert np.abs(longer.samples[:, kept] - expected[:, kept]).max() < 1e-6
    assert np.abs(longer.samples[:, 66000:]).max() > 0.01
    step = np.abs(np.diff(longer.samples[0]))
    seam = slice(round(1.97 * 32000), round(2.01 * 32000))
    assert step[seam].max() <= 1.5 * step.max()
    other = generator.generate(tags, duration_s=4.5, seed=3, prompt=prompt)
    assert not np.array_equal(other.samples, longer.samples)


def test_a_recording_longer_than_the_models_context_is_continued(generator, tags):
    made = generator.generate(tags, duration_s=5, seed=1)  # the model's window is 4 s
    longer = generator.generate(tags, duration_s=8, seed=2, prompt=made)
    assert longer.duration_s == 8
    assert np.array_equal(longer.samples[:, : 4 * 32000], made.samples[:, : 4 * 32000])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duration_s": 0}, "duration"),
        ({"duration_s": float("nan")}, "duration"),
        ({"duration_s": float("inf")}, "duration"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"tags": ()}, "at least one tag"),
        ({"tags": (Tag(TagId("mood/calm"), "a"), Tag(TagId("mood/dark"), "b"))}, "one tag of each"),
        ({"prompt": Waveform(np.zeros((1, 32000), np.float32), 16000)}, "must be longer"),
        ({"prompt": Waveform(np.zeros((1, 100), np.float32), 16000)}, "one codec frame"),
    ],
)
def test_requests_that_cannot_be_are_refused(generator, tags, arguments, message):
    request = {"tags": tags, "duration_s": 1.0, "seed": 1, **arguments}
    with pytest.raises(UsageError, match=message):
        generator.generate(request.pop("tags"), **request)


def test_out_of_memory_says_what_to_do(config, tags):
    generator = MusicGenerator(config)
    generator.load()

    def decode(codes, scale):
        return torch.empty(2**50)  # torch's own refusal, as a long piece would meet it

    generator._model.codec.decode = decode
    with pytest.raises(ModelMemoryError, match="shorter piece"):
        generator.generate(tags, duration_s=0.1, seed=1)


def test_weights_that_make_no_sound_are_reported(config, tags):
    generator = MusicGenerator(config)
    generator.load()
    codec = generator._model.codec
    with torch.no_grad():
        for parameter in codec.decoder.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ModelError, match="no sound"):
        generator.generate(tags, duration_s=0.1, seed=1)


def test_other_faults_of_torch_are_not_taken_for_memory(config, tags):
    generator = MusicGenerator(config)
    generator.load()
    generator._model.codec.decode = lambda codes, scale: codes @ codes
    with pytest.raises(RuntimeError):
        generator.generate(tags, duration_s=0.1, seed=1)


def test_one_generator_per_configuration_loaded_at_first_use(tmp_path, tags):
    config = tiny_hub_model(tmp_path)
    generator = get_generator(config)
    assert generator._model is None
    assert get_generator(config.model_copy()) is generator
    assert get_generator(config.model_copy(update={"top_k": 7})) is not generator
    generator.generate(tags, duration_s=0.1, seed=1)
    loaded = generator._model
    generator.load()
    assert generator._model is loaded


def test_torch_gets_its_threads_back(generator, tags):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        MusicGenerator(generator.config, threads=1).generate(tags, duration_s=0.1, seed=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("value", "off"), [("1", True), ("true", True), ("ON", True), ("0", False), ("", False)]
)
def test_the_hub_switch_is_read_when_asked(monkeypatch, value, off):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert hub_is_off() is off
