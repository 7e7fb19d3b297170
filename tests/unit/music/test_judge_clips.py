"""Pictures of pieces: those drawn from single notes are near those of renders."""

from __future__ import annotations

import numpy as np
import pytest

from studio.core.errors import ConfigError, HouseError
from studio.music.composer.arrange import compose_score
from studio.music.models.config import HOUSE_WEIGHTS
from studio.music.models.house.performer import CODEC_NAME
from studio.music.models.house.stem_codec import StemCodec
from studio.music.training.evaluation.judge_clips import (
    JudgeClips,
    JudgeDataConfig,
    middle_and_side,
    picture,
    reference,
    render_clips,
)
from studio.music.training.evaluation.judge_features import features
from studio.music.training.evaluation.judge_pictures import NotePictures
from studio.music.training.stems.rendering import StemRenderer

pytestmark = pytest.mark.slow

TAGS = ("genre/jazz", "genre/rock", "mood/calm", "mood/happy", "lead/flute", "tempo/fast")


@pytest.fixture(scope="module")
def renderer():
    with StemRenderer() as opened:
        yield opened


def test_a_drawn_picture_is_near_the_renders(renderer):
    tables = StemCodec.load(HOUSE_WEIGHTS / CODEC_NAME).excitation.tables
    pictures = NotePictures(renderer, tables)
    scores = [compose_score([genre, "mood/happy"], 3, 6.0) for genre in TAGS[:2]]
    drawn = [_leveled(pictures.of_score(score)) for score in scores]
    real = [_leveled(picture(middle_and_side(reference(score, renderer)))) for score in scores]
    near = [np.abs(d - r).mean() for d, r in zip(drawn, real, strict=True)]
    far = [np.abs(d - r).mean() for d, r in zip(drawn, real[::-1], strict=True)]
    assert max(near) < 0.45  # nepers: 4 dB
    assert min(far) > 2 * max(near)


def _leveled(logs: np.ndarray) -> np.ndarray:
    logs = logs[:, :290]  # the end fades in a render
    return np.clip(logs - np.quantile(logs[0], 0.95), -7, 9)


def test_clips_are_rendered_once_and_another_recipe_is_refused(tmp_path):
    config = JudgeDataConfig(train_per_genre=1, test_per_genre=1, drawn_per_genre=1, seconds=5.0)
    assert render_clips(config, TAGS, tmp_path, limit=3) == 3
    assert render_clips(config, TAGS, tmp_path) == 1
    assert render_clips(config, TAGS, tmp_path) == 0
    clips = JudgeClips(tmp_path, "train")
    assert [request.tags[0] for request in clips.requests] == ["genre/jazz", "genre/rock"]
    assert {p.shape for p in clips.pictures()} == {(2, 250, 128)}
    with pytest.raises(HouseError, match="another recipe"):
        render_clips(JudgeDataConfig(seed=1), TAGS, tmp_path)
    with pytest.raises(HouseError, match="no clips"):
        JudgeClips(tmp_path / "nothing", "train")
    with pytest.raises(ConfigError, match="recipe"):
        JudgeDataConfig.load(tmp_path / "absent.yaml")


def test_features_do_not_depend_on_level_and_need_four_seconds():
    rng = np.random.default_rng(1)
    logs = rng.normal(size=(2, 300, 128)).astype(np.float32) - 5
    assert np.allclose(features(logs), features(logs + 2), atol=1e-3)
    assert features(logs).shape == features(logs[:, :220]).shape
    with pytest.raises(HouseError, match="four seconds"):
        features(logs[:, :150])
