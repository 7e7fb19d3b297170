"""The generator over the house model: it performs scores, and only those of the tags asked for."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from studio.core.errors import CheckpointError, GenerationCancelledError, UsageError
from studio.core.tags import Vocabulary
from studio.music.models.config import ModelConfig, describe, performs_scores
from studio.music.models.generator import MusicGenerator
from tests.support.models import TAGS_FILE, house_tags
from tests.support.performers import tiny_performer


def house(path) -> ModelConfig:
    return ModelConfig(
        id="house", kind="house", title="Tiny", licence="MIT", training_basis="none",
        licence_uses=frozenset({"experiment"}), guidance=1.0, temperature=1.0, top_k=0,
        extend_keep=0.4, threads=1, path=path,
    )  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return house(tiny_performer(tmp_path_factory.mktemp("house"), tags=house_tags()))


@pytest.fixture(scope="module")
def generator(config):
    return MusicGenerator(config)


@pytest.fixture(scope="module")
def tags():
    return Vocabulary.load(TAGS_FILE).parse(["genre/waltz", "mood/happy"])


def test_it_is_described_as_stereo_at_48_khz_for_up_to_ten_minutes(config):
    info = describe(config)
    assert (info.rate, info.channels, info.max_duration_s) == (48_000, 2, 600.0)
    assert info.scored and performs_scores(config)
    assert info.tags == frozenset(house_tags())


@pytest.mark.slow
def test_the_same_request_gives_the_same_stereo_music(generator, config, tags):
    first = generator.generate(tags, duration_s=3.21, seed=4)
    again = MusicGenerator(config).generate(tags, duration_s=3.21, seed=4)
    assert first.samples.shape == (2, round(3.21 * 48_000))
    assert np.array_equal(first.samples, again.samples)
    other = generator.generate(tags, duration_s=3.21, seed=5)
    assert not np.array_equal(first.samples, other.samples)


@pytest.mark.slow
def test_requests_at_a_time_make_what_each_makes_alone(generator, config, tags):
    lengths = [3.21, 4.0, 3.21, 5.5, 3.0]
    alone = [
        MusicGenerator(config).generate(tags, duration_s=length, seed=seed).samples
        for seed, length in enumerate(lengths)
    ]
    with ThreadPoolExecutor(len(lengths)) as pool:
        together = pool.map(
            lambda pair: generator.generate(tags, duration_s=pair[1], seed=pair[0]).samples,
            enumerate(lengths),
        )
        for one, other in zip(together, alone, strict=True):
            assert np.array_equal(one, other)


@pytest.mark.slow
def test_a_performance_has_four_stems_that_add_up_to_the_mix(generator, tags):
    score = generator.score(tags, seed=4, duration_s=3)
    played = generator.perform(tags, score, seed=9)
    assert set(played.stems) == {"drums", "bass", "lead", "harmony"}
    total = sum(stem.samples for stem in played.stems.values())
    assert np.allclose(total, played.mix.samples, atol=1e-6)
    assert not np.array_equal(
        played.mix.samples, generator.perform(tags, score, seed=8).mix.samples
    )


def test_a_score_of_tags_that_were_not_asked_for_is_refused(generator, tags):
    score = generator.score(tags, seed=4, duration_s=3)
    with pytest.raises(UsageError, match="mood/happy, which was not asked for"):
        generator.perform(tags[:1], score, seed=9)
    with pytest.raises(UsageError, match="lasts 3 s, not 4 s"):
        generator.generate(tags, duration_s=4, seed=4, score=score)


@pytest.mark.slow
def test_it_takes_neither_a_recording_to_go_on_from_nor_guidance(generator, tags):
    music = generator.generate(tags, duration_s=3, seed=1)
    for options in ({"prompt": music}, {"guidance": 3.0}):
        with pytest.raises(UsageError, match="performs a score"):
            generator.generate(tags, duration_s=5, seed=1, **options)
    assert generator.generate(tags, duration_s=3, seed=1, guidance=1.0).duration_s == 3


def test_progress_reaches_the_whole_and_cancelling_stops_it(generator, tags):
    told: list[tuple[float, float]] = []
    generator.generate(tags, duration_s=3, seed=1, progress=lambda *step: told.append(step))
    assert told[-1] == (3, 3)
    assert all(total == 3 for _, total in told)
    assert [done for done, _ in told] == sorted(done for done, _ in told)

    stop = threading.Event()
    steps: list[float] = []

    def cancel(done: float, _total: float) -> None:
        steps.append(done)
        stop.set()

    with pytest.raises(GenerationCancelledError):
        generator.generate(tags, duration_s=3, seed=1, progress=cancel, cancel=stop)
    assert len(steps) == 1


@pytest.mark.parametrize("name", ["performer.safetensors", "stem-codec.safetensors"])
def test_a_damaged_file_or_another_than_the_one_configured_is_refused(tmp_path, tags, name):
    config = house(tiny_performer(tmp_path, tags=house_tags()))
    content = (tmp_path / name).read_bytes()
    right = {name: hashlib.sha256(content).hexdigest()}
    MusicGenerator(config.model_copy(update={"digests": right})).load()
    with pytest.raises(CheckpointError, match="not the file its configuration names"):
        MusicGenerator(config.model_copy(update={"digests": {name: "0" * 64}})).load()
    (tmp_path / name).write_bytes(content[:-100] + bytes(100))
    with pytest.raises(CheckpointError, match="damaged"):
        MusicGenerator(config).generate(tags, duration_s=3, seed=1)


def test_a_tag_that_the_model_does_not_know_is_refused(tmp_path):
    config = house(tiny_performer(tmp_path, tags=("genre/jazz", "mood/calm")))
    vocabulary = Vocabulary.load(TAGS_FILE)
    with pytest.raises(UsageError, match="was not trained on tag 'genre/waltz'"):
        MusicGenerator(config).generate(vocabulary.parse(["genre/waltz"]), duration_s=3, seed=1)
    assert json.loads((tmp_path / "card.json").read_text())["design"] == 3
