"""The parts as shipped: a real generator behind the pipeline, and the embedded seal weights."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from studio.core.errors import GenerationCancelledError, UsageError
from studio.generation.progress import Stage
from studio.music.models.generator import get_generator
from studio.verification.report import Verdict
from tests.support.models import tiny_house_model
from tests.support.studios import PlainGenerator, as_owner, left_over, make_studio, music
from watermark.audio.waveform import Waveform, encode, read
from watermark.models.loading import load_seal_model

# audioseal 0.2.0 decorates functions with torch.jit.script when it is imported.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)

TAGS = ["genre/jazz", "mood/calm", "lead/piano", "tempo/slow"]
SECONDS = 14.0


# -- the embedded seal -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """Two releases under the house seal: seed 1 as WAV, seed 2 as MP3."""
    folder = tmp_path_factory.mktemp("sealed")
    with make_studio(folder, seal=load_seal_model("house"), generator=PlainGenerator()) as studio:
        for seed, format in ((1, "wav"), (2, "mp3")):
            as_owner(studio).generation.create(
                as_owner(studio).generation.request(
                    TAGS, duration_s=SECONDS, seed=seed, format=format
                )
            )
        yield studio


@pytest.mark.parametrize("format", ["wav", "mp3"])
def test_a_wav_an_mp3_and_ten_seconds_are_found_again(sealed, format):
    release = as_owner(sealed).outputs.recent()[-1]
    whole = read(release.path)
    found = as_owner(sealed).verification.verify(encode(whole, format))
    assert found.verdict is Verdict.SEALED, found.explanation
    assert found.release == release
    part = as_owner(sealed).verification.verify(encode(whole.slice(2.6, 12.6), format))
    assert part.verdict is Verdict.EXCERPT, part.explanation
    assert part.release == release
    assert abs(part.matches[0].original_start_s - 2.6) < 0.2


def test_the_released_mp3_itself(sealed):
    release = as_owner(sealed).outputs.recent()[0]
    assert release.request.format == "mp3"
    assert as_owner(sealed).verification.verify(release.path).verdict is Verdict.SEALED


def test_unmarked_unsealed_and_transplanted_with_the_embedded_seal(sealed):
    release = as_owner(sealed).outputs.recent()[-1]
    plain = music(1, SECONDS)
    assert (
        as_owner(sealed).verification.verify(encode(music(99, SECONDS), "wav")).verdict
        is Verdict.NOT_DETECTED
    )
    assert (
        as_owner(sealed).verification.verify(encode(plain, "wav")).verdict is Verdict.UNSEALED_COPY
    )
    residual = read(release.path).samples - plain.samples
    forged = Waveform(music(55, SECONDS).samples + residual, plain.rate)
    report = as_owner(sealed).verification.verify(encode(forged, "wav"))
    # This mark rides on its host: moved, it may be read (transplanted) or lost. Never is it ours.
    assert report.verdict.is_negative
    assert (report.release is not None) == (report.verdict is Verdict.TRANSPLANTED)


# -- a real generator ------------------------------------------------------------------------------


@pytest.fixture
def studio(tmp_path):
    """The tiny house model: real architecture and loading, random weights."""
    generator = get_generator(tiny_house_model(tmp_path / "model"))
    with make_studio(tmp_path, generator=generator) as studio:
        yield studio


def test_the_same_seed_gives_the_same_music_under_another_seal(studio):
    request = as_owner(studio).generation.request(TAGS, duration_s=4.0, seed=11, format="wav")
    one, two = (
        as_owner(studio).generation.create(request),
        as_owner(studio).generation.create(request),
    )
    other = as_owner(studio).generation.create(
        as_owner(studio).generation.request(TAGS, duration_s=4.0, seed=12, format="wav")
    )
    assert one.seal_id != two.seal_id
    a, b, c = (read(release.path).samples for release in (one, two, other))

    def correlation(x, y):
        return float(np.corrcoef(x[0], y[0])[0, 1])

    assert correlation(a, b) > 0.92  # but for the seal, which is strong in so short a clip
    assert correlation(a, c) < 0.91  # random weights play much alike
    assert one.model["digest"] == two.model["digest"]
    assert len(one.model["digest"]) == 64


def test_cancelling_while_it_generates(studio):
    cancel = threading.Event()

    def stop(step):
        if step.stage is Stage.GENERATE and step.fraction > 0.03:
            cancel.set()

    request = as_owner(studio).generation.request(TAGS, duration_s=5.0, seed=1)
    with pytest.raises(GenerationCancelledError):
        as_owner(studio).generation.create(request, progress=stop, cancel=cancel)
    assert left_over(studio) == []


def test_a_tag_the_model_was_not_trained_on_is_a_usage_error(tmp_path):
    generator = get_generator(tiny_house_model(tmp_path / "model", tags=["genre/rock"]))
    with make_studio(tmp_path, generator=generator) as studio, pytest.raises(UsageError):
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(["genre/jazz"], duration_s=4.0, seed=1)
        )
