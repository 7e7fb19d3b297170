"""A hub model's music heard while it is drawn: chunks together are the whole."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from studio.core.errors import GenerationCancelledError
from studio.core.tags import Vocabulary
from studio.music.models.checkpoints import load_checkpoint
from studio.music.models.generator import MusicGenerator
from studio.music.models.hub import token_model
from studio.music.models.hub.chunk_decoder import MARGIN, ChunkDecoder
from tests.support.models import TAGS_FILE, tiny_hub_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["mono", "stereo"])
def config(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return tiny_hub_model(folder, stereo=request.param == "stereo")


@pytest.fixture(scope="module")
def codec(config):
    checkpoint = load_checkpoint(config, offline=True)
    from audiocraft.models.builders import get_wrapped_compression_model

    return get_wrapped_compression_model(checkpoint.codec, checkpoint.lm.cfg)


@pytest.fixture
def tags():
    return Vocabulary.load(TAGS_FILE).parse(["genre/waltz", "mood/calm"])


def codes(codec, frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(codec.cardinality, (1, codec.num_codebooks, frames), generator=generator)


@pytest.mark.parametrize("chunk", [1, 7, 50, 130])
def test_chunks_together_are_the_whole(codec, chunk):
    tokens = codes(codec, 130)
    with torch.no_grad():
        whole = codec.decode(tokens, None)[0]
    decoder = ChunkDecoder(codec)
    parts = [decoder.push(part) for part in tokens.split(chunk, -1)]
    parts.append(decoder.push(tokens[..., :0], last=True))
    made = torch.cat(parts, -1)
    assert made.shape == whole.shape
    assert whole.std() > 1e-4
    assert (made - whole).abs().max() < 1e-5 * whole.abs().max()


def test_a_chunk_comes_at_most_two_margins_late(codec):
    hop = round(codec.sample_rate / codec.frame_rate)
    sound = ChunkDecoder(codec).push(codes(codec, 50))
    assert sound.shape[-1] == (50 - 2 * MARGIN) * hop


def test_the_state_of_the_lstm_matters(codec):
    """The control: chunks that each begin anew are not the whole."""
    tokens = codes(codec, 60)
    with torch.no_grad():
        whole = codec.decode(tokens, None)[0]
        anew = torch.cat([codec.decode(part, None)[0] for part in tokens.split(20, -1)], -1)
    assert (anew - whole).abs().max() > 1e-3 * whole.abs().max()


@pytest.mark.parametrize("seconds", [0.7, 3.0, 5.3])  # the last one takes more than a window
def test_what_is_heard_is_what_is_made(config, tags, seconds, monkeypatch):
    monkeypatch.setattr(token_model, "_PEAK", 100.0)  # the tiny model is too loud
    heard = []
    generator = MusicGenerator(config, offline=True)
    made = generator.generate(tags, duration_s=seconds, seed=3, on_window=heard.append)
    assert np.array_equal(
        made.samples, generator.generate(tags, duration_s=seconds, seed=3).samples
    )
    together = np.concatenate([window.samples for window in heard], -1)
    assert together.shape == made.samples.shape
    assert np.abs(together - made.samples).max() < 1e-4
    if seconds > 2:
        assert len(heard) >= int(seconds) - 1


def test_too_loud_music_is_clipped_where_it_is_heard_and_turned_down_where_it_is_kept(config, tags):
    heard = []
    made = MusicGenerator(config, offline=True).generate(
        tags, duration_s=1, seed=3, on_window=heard.append
    )
    together = np.concatenate([window.samples for window in heard], -1)
    peaks = [np.abs(together).max(), np.abs(made.samples).max()]
    assert peaks == pytest.approx([0.98, 0.98], abs=1e-6)


def test_cancelling_ends_what_is_heard_too(config, tags):
    cancel, heard = threading.Event(), []

    def hear(window):
        heard.append(window)
        cancel.set()

    with pytest.raises(GenerationCancelledError):
        MusicGenerator(config, offline=True).generate(
            tags, duration_s=5, seed=3, on_window=hear, cancel=cancel
        )
    assert len(heard) == 1
