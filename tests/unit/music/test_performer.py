"""The performer: what it is told, how it draws; a performance is the same however it is made."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from studio.core.errors import CheckpointError, ConfigError, GenerationCancelledError, UsageError
from studio.music.models.house.language_model import (
    PerformerConfig,
    delayed,
    performable,
)
from studio.music.models.house.notes import STEMS
from studio.music.models.house.performer import HousePerformer
from studio.music.models.house.played import Given, Played
from studio.music.models.house.token_stream import ROWS, Drawing, TokenRows
from tests.support.performers import (
    small_score,
    step_weights,
    tiny_config,
    tiny_lm,
    tiny_performer,
    without_tags,
)

pytestmark = pytest.mark.slow

PRESENT = torch.ones(4, dtype=torch.bool)


@pytest.fixture(scope="module")
def performer(tmp_path_factory) -> HousePerformer:
    return HousePerformer.load(tiny_performer(tmp_path_factory.mktemp("performer")))


# -- what is told -----------------------------------------------------------------------------


def test_the_score_is_told_frame_by_frame():
    told = performable(small_score())
    assert told.frames == 100
    assert told.present.tolist() == [False, True, True, True]
    pitches = told.pitches.reshape(100, 4, 256)
    assert pitches[0, 2, 72] > 0  # the lead's first note sounds
    assert pitches[0, 2, 128 + 72] > 0  # and begins
    assert pitches[3, 2, 128 + 72] == 0
    assert pitches[12, 2, 128 + 76] > 0  # its second note, a quarter of a second later
    assert not pitches[:, 0].any()
    numbers = told.numbers.reshape(100, 4, -1)
    assert numbers[0, 2, 0] == 1  # no frame since the last onset
    assert numbers[5, 2, 0] == pytest.approx(np.exp(-5))
    assert numbers[50, 0, 0] == pytest.approx(0, abs=1e-6)  # drums: never
    assert told.tags == small_score().tags


def test_a_window_beyond_the_piece_is_silent():
    told = performable(small_score())
    window = told.window(-8, 110)
    assert window.frames == 118
    assert not window.pitches[:8].any()
    assert not window.pitches[-10:].any()
    assert np.array_equal(window.pitches[8:108], told.pitches)


def test_the_clock_turns_once_a_beat():
    clock = performable(small_score()).clock
    assert np.allclose(clock[0:25, :2], clock[25:50, :2], atol=1e-4)  # a beat is 25 frames
    assert not np.allclose(clock[0, :2], clock[12, :2], atol=0.1)


def test_tags_that_were_not_asked_for_are_not_told():
    conditioner = tiny_lm(tiny_config()).condition_provider
    some = conditioner.told([performable(small_score())])
    none = conditioner.told([performable(without_tags(small_score()))])
    assert some.tags.tolist() == [[1, 2, 3, 4]]
    assert none.tags.tolist() == [[5, 6, 7, 8]]  # beyond the vocabulary of five
    assert not torch.allclose(conditioner(some), conditioner(none))


def test_a_configuration_comes_back_and_a_wrong_one_is_refused():
    config = tiny_config()
    assert PerformerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for wrong in ({}, {"tags": ["genre/jazz"], "size": 3}, {"tags": []}, {"tags": ["colour/red"]}):
        with pytest.raises(ConfigError):
            PerformerConfig.from_dict(wrong)


# -- drawing ----------------------------------------------------------------------------------


def test_the_shift_is_audiocrafts_delay_pattern():
    lm = tiny_lm(tiny_config())
    tokens = torch.randint(512, (2, 8, 9))
    pattern = lm.pattern_provider.get_pattern(9)
    sequence, _, mask = pattern.build_pattern_sequence(tokens, lm.special_token_id)
    ours = delayed(tokens, lm.special_token_id)
    assert torch.equal(torch.where(mask, sequence, 512), ours)


def drawn(rows: TokenRows, how: Drawing, seed: int, condition, present=PRESENT) -> torch.Tensor:
    """All tokens of one take, (8, frames)."""
    with rows.take(how, seed) as stream:
        return stream.advance(condition, present)


def conditions(count: int, frames: int) -> torch.Tensor:
    return torch.randn(count, frames, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("frames", [12, 60])  # within and beyond the context of 20
def test_cached_drawing_is_audiocrafts_own_model(frames: int):
    lm = tiny_lm(tiny_config())
    condition = conditions(2, frames + 1)
    rows = TokenRows(step_weights(lm))
    tokens = torch.stack([drawn(rows, Drawing(temperature=0), 1, one) for one in condition])
    assert tokens.shape == (2, 8, frames)
    sequence = delayed(tokens, lm.special_token_id)[..., : frames + 1]
    with torch.no_grad():
        logits = lm(sequence, [], condition_tensors={"score": (condition, torch.ones(2, frames))})
    likeliest = logits.argmax(-1)
    assert torch.equal(likeliest[:, :4, :frames], tokens[:, :4])
    assert torch.equal(likeliest[:, 4:, 1:], tokens[:, 4:])


def test_a_take_is_the_same_alone_beside_others_and_in_pieces():
    """Takes of other lengths and manners come and go beside it, at whatever step."""
    rows = TokenRows(step_weights(tiny_lm(tiny_config())))
    condition = conditions(8, 61)
    lengths = [61, 13, 40, 61, 7, 25, 61, 30]
    how = [Drawing(), Drawing(top_k=9), Drawing(), Drawing(temperature=0)] * 2
    alone = [drawn(rows, how[k], 5 + k, condition[k, : lengths[k]]) for k in range(8)]

    def in_pieces(k: int) -> torch.Tensor:
        with rows.take(how[k], 5 + k) as stream:
            cuts = [0, 1, 7, 8, 20, lengths[k]]
            pairs = [(a, min(b, lengths[k])) for a, b in pairwise(cuts) if a < lengths[k]]
            return torch.cat([stream.advance(condition[k, a:b], PRESENT) for a, b in pairs], -1)

    for _ in range(3):
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(in_pieces, range(8)))
        assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))
    assert not torch.equal(alone[0], drawn(rows, Drawing(), 50, condition[0]))


def test_a_fifth_take_waits_for_a_place_and_may_give_up():
    rows = TokenRows(step_weights(tiny_lm(tiny_config())))
    with ExitStack() as held:
        for seed in range(ROWS):
            held.enter_context(rows.take(Drawing(), seed))

        def waiting() -> None:
            raise GenerationCancelledError("tired of waiting")

        with pytest.raises(GenerationCancelledError), rows.take(Drawing(), 9, waiting):
            pass
    assert drawn(rows, Drawing(), 9, conditions(1, 5)[0]).shape == (8, 4)


def test_a_take_that_stops_leaves_its_place_and_the_others_undisturbed():
    rows = TokenRows(step_weights(tiny_lm(tiny_config())))
    condition = conditions(2, 40)
    expected = drawn(rows, Drawing(), 5, condition[0])

    def stop() -> None:  # called about once a step: the other thread may do two of ours
        if stream.position >= 11:
            raise GenerationCancelledError("stopped")

    for _ in range(ROWS + 1):  # each gives its place back
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(drawn, rows, Drawing(), 5, condition[0])
            with pytest.raises(GenerationCancelledError), rows.take(Drawing(), 6) as stream:
                stream.advance(condition[1], PRESENT, stop)
            assert torch.equal(other.result(), expected)


def test_a_stem_without_notes_has_no_tokens_and_changes_no_other():
    rows = TokenRows(step_weights(tiny_lm(tiny_config())))
    absent = torch.tensor([False, True, True, True])
    tokens = drawn(rows, Drawing(), 5, conditions(1, 30)[0], absent)
    assert not tokens[[0, 4]].any()
    assert tokens[1].float().std() > 0


def test_random_numbers_of_the_process_play_no_part():
    rows = TokenRows(step_weights(tiny_lm(tiny_config())))
    condition = torch.zeros(20, 32)
    torch.manual_seed(1)
    first = drawn(rows, Drawing(), 5, condition)
    torch.manual_seed(2)
    torch.rand(3)
    assert torch.equal(drawn(rows, Drawing(), 5, condition), first)


def test_top_k_keeps_to_the_likeliest():
    rows = TokenRows(step_weights(tiny_lm(tiny_config())))
    condition = torch.zeros(20, 32)
    likeliest = drawn(rows, Drawing(temperature=0), 5, condition)
    assert torch.equal(drawn(rows, Drawing(top_k=1), 5, condition), likeliest)
    with pytest.raises(UsageError, match="negative"):
        Drawing(temperature=-1)


# -- performing -------------------------------------------------------------------------------


def test_windows_are_the_whole_and_stems_are_the_mix(performer: HousePerformer):
    score = small_score(5.0)
    whole = performer.perform([(score, 7)])[0]
    assert whole.mix.samples.shape == (2, 240_000)
    assert whole.mix.rate == 48_000
    assert 0.01 < np.abs(whole.mix.samples).max() <= 0.9
    windows = list(performer.stream(score, 7))
    assert len(windows) > 2
    assert [w.start for w in windows][:2] == [0, windows[0].mix.shape[1]]
    streamed = np.concatenate([w.mix for w in windows], 1)
    assert np.array_equal(streamed, whole.mix.samples)
    assert set(whole.stems) == {"drums", "bass", "lead", "harmony"}
    total = sum(stem.samples for stem in whole.stems.values())
    assert np.allclose(total, whole.mix.samples, atol=1e-6)
    assert not whole.stems["drums"].samples.any()
    left, right = whole.stems["harmony"].samples
    assert np.mean(right**2) > 1.5 * np.mean(left**2)  # it stands to the right


def test_takes_do_not_change_each_other_and_may_differ_in_length(performer: HousePerformer):
    short, long = small_score(1.5), small_score(2.0)
    alone = performer.perform([(long, 8)])[0]
    takes = performer.perform([(long, 7), (short, 8), (long, 8), (long, 9), (long, 10), (long, 11)])
    assert np.array_equal(takes[2].mix.samples, alone.mix.samples)
    assert takes[1].mix.samples.shape == (2, 72_000)
    assert not np.array_equal(takes[0].tokens, takes[2].tokens)


def test_tokens_are_heard_and_the_score_alone_can_be_played(performer: HousePerformer):
    score = small_score()
    plain = performer.as_written(score)
    assert plain.mix.samples.shape == (2, 96_000)
    played = performer.perform([(score, 7)])[0]
    assert not np.allclose(plain.mix.samples, played.mix.samples, atol=1e-3)


def test_a_kept_performance_is_heard_again_and_its_stems_stay_beside_a_new_one(performer):
    score = small_score()
    first = performer.perform([(score, 7)])[0]
    assert first.played is not None
    kept = Played.from_bytes(first.played.to_bytes())
    assert kept == first.played

    def heard(given: Given, seed: int) -> tuple[np.ndarray, Played]:
        said: list[Played] = []
        windows = list(performer.stream(score, seed, given=given, on_played=said.append))
        return np.concatenate([window.stems for window in windows], -1), said[0]

    whole, again = heard(Given.whole(kept), seed=99)
    assert np.array_equal(whole.sum(0), first.mix.samples)
    assert again == kept
    # The limiter's gain is that of the mix, so stems are compared where it has nothing to do.
    soft = replace(kept, gain=kept.gain / 4)
    before, _ = heard(Given.whole(soft), seed=99)
    stems, other = heard(Given.stems(soft, ["bass", "harmony"]), seed=99)
    for k, name in enumerate(STEMS):
        assert np.array_equal(stems[k], before[k]) == (name != "lead")  # the drums have no notes
    assert not np.array_equal(other.tokens, kept.tokens)
    _, longer = heard(Given.beginning(kept, 40), seed=99)
    assert np.array_equal(longer.tokens[:, :40], kept.tokens[:, :40])
    assert not np.array_equal(longer.tokens[:, 40:], kept.tokens[:, 40:])


def test_kept_tokens_that_cannot_be_are_refused(performer):
    wrong = Given(np.full((8, 100), 100_000))
    with pytest.raises(UsageError, match="does not fit"):
        list(performer.stream(small_score(), 1, given=wrong))
    for content in (b"", b"x", zlib.compress(b"{}\n"), zlib.compress(b'{"format": 2}\n')):
        with pytest.raises(ConfigError):
            Played.from_bytes(content)


def test_cancelling_takes_effect_within_one_step(performer: HousePerformer):
    cancel, steps = threading.Event(), []

    def progress(seconds: float) -> None:
        steps.append(seconds)
        if len(steps) == 10:
            cancel.set()

    with pytest.raises(GenerationCancelledError):
        performer.perform([(small_score(), 7)], progress=progress, cancel=cancel)
    assert len(steps) == 10
    assert steps == sorted(steps)


def test_an_unknown_tag_is_an_error(performer: HousePerformer):
    with pytest.raises(UsageError, match="genre/polka"):
        performer.perform([(small_score(tags=("genre/polka",)), 7)])


# -- weights ----------------------------------------------------------------------------------


def test_weights_come_back_and_damage_is_found(tmp_path):
    directory = tiny_performer(tmp_path / "a")
    first = HousePerformer.load(directory)
    assert first.card["design"] == 3
    again = HousePerformer.load(tiny_performer(tmp_path / "b"))
    assert again.digest == first.digest == first.card["digest"]
    for name in ("performer.safetensors", "stem-codec.safetensors"):
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(CheckpointError, match="damaged"):
            HousePerformer.load(directory)
        (directory / name).unlink()
        with pytest.raises(CheckpointError, match="no readable house model"):
            HousePerformer.load(directory)
        (directory / name).write_bytes(content)
    HousePerformer.load(directory)
    for text in ("{}", "[]", '{"config": {"lm": {}}, "digest": "0"}'):
        (directory / "card.json").write_text(text)
        with pytest.raises(CheckpointError, match="no readable house model"):
            HousePerformer.load(directory)


def test_performing_imports_neither_audiocraft_nor_transformers(tmp_path):
    probe = (
        "import sys; from pathlib import Path\n"
        "from studio.music.models.house.performer import HousePerformer\n"
        "HousePerformer.load(Path(sys.argv[1]))\n"
        "print([name for name in ('audiocraft', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, str(tiny_performer(tmp_path))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
