"""The catalogue: balance, splits, the manifest, resuming and damage."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from studio.core.errors import ConfigError, HouseError
from studio.music.training.catalogue import (
    Catalogue,
    CatalogueConfig,
    Track,
    compose_catalogue,
    plan,
    render_catalogue,
)

pytestmark = pytest.mark.slow

needs_synth = pytest.mark.needs("fluidsynth", "soundfont")
CONFIG = Path(__file__).parents[3] / "configs" / "train" / "catalogue.yaml"


def tags(row) -> tuple[str, str, str, str]:
    return row.genre, row.mood, row.lead, row.tempo


def test_training_holds_every_combination_once_and_held_out_splits_are_balanced():
    rows = plan(CatalogueConfig())
    train = Counter(tags(row) for row in rows if row.split == "train")
    assert len(train) == 16 * 5 * 10 * 3
    assert set(train.values()) == {1}
    for split, expected in (("validation", 80), ("test", 240)):
        held_out = [row for row in rows if row.split == split]
        assert len(held_out) == expected
        genres = Counter(row.genre for row in held_out)
        assert len(genres) == 16
        assert set(genres.values()) == {expected // 16}
        for kind in range(1, 4):
            counts = Counter(tags(row)[kind] for row in held_out)
            assert max(counts.values()) - min(counts.values()) <= 1


def test_seeds_are_distinct_so_that_no_held_out_track_is_also_trained_on():
    rows = plan(CatalogueConfig())
    assert len({row.seed for row in rows}) == len(rows) == len({row.id for row in rows})
    assert {row.seed for row in rows}.isdisjoint(row.seed for row in plan(CatalogueConfig(seed=7)))


def test_any_early_stop_leaves_a_balanced_catalogue():
    """The plan interleaves, so that training can begin on what is there."""
    rows = plan(CatalogueConfig())[:300]
    splits = Counter(row.split for row in rows)
    assert splits["train"] > 250
    assert splits["test"] > 20
    assert splits["validation"] > 5
    for kind in range(4):
        counts = Counter(tags(row)[kind] for row in rows if row.split == "train")
        assert max(counts.values()) - min(counts.values()) <= 2


def test_repeats_multiply_the_training_set():
    rows = plan(CatalogueConfig(repeats=2, validation=0, test=0))
    assert set(Counter(tags(row) for row in rows).values()) == {2}


def test_the_shipped_configuration_is_the_default():
    assert CatalogueConfig.load(CONFIG) == CatalogueConfig()


@pytest.mark.parametrize(
    "text", ["seed: many", "tracks: 3", "- 1", "repeats: 0", "test: -1", "seed: true", "a: ["]
)
def test_a_wrong_configuration_is_refused(tmp_path, text):
    path = tmp_path / "catalogue.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        CatalogueConfig.load(path)
    with pytest.raises(ConfigError):
        CatalogueConfig.load(tmp_path / "missing.yaml")


def test_composing_writes_a_plan_that_reads_back(tmp_path):
    seen: list[tuple[int, int]] = []
    tracks = compose_catalogue(
        CatalogueConfig(), tmp_path, limit=6, progress=lambda *done: seen.append(done)
    )
    assert seen[-1] == (6, 6)
    lines = (tmp_path / "plan.jsonl").read_text(encoding="utf-8").splitlines()
    assert [Track.from_json(line) for line in lines] == tracks
    for track in tracks:
        assert [tag.split("/")[0] for tag in track.tags] == ["genre", "mood", "lead", "tempo"]
        assert (track.grant, track.holder) == ("house-catalogue-2026", "house")
        piece = track.compose()
        assert piece.digest() == track.composition_sha256
        assert piece.duration_s == track.duration_s


def test_composing_twice_is_the_same_and_another_configuration_is_refused(tmp_path):
    first = compose_catalogue(CatalogueConfig(), tmp_path, limit=3)
    assert compose_catalogue(CatalogueConfig(), tmp_path, limit=3) == first
    with pytest.raises(HouseError, match="another catalogue"):
        compose_catalogue(CatalogueConfig(seed=1), tmp_path, limit=3)


def test_rendering_wants_a_plan(tmp_path):
    with pytest.raises(HouseError, match="compose the catalogue first"):
        render_catalogue(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"id": "../x"}, {"split": "holdout"}, {"unknown": 1}, {"tags": None}],
)
def test_a_damaged_line_is_refused(tmp_path, change):
    track = compose_catalogue(CatalogueConfig(), tmp_path, limit=1)[0]
    line = json.dumps({**json.loads(track.to_json()), **change})
    with pytest.raises(HouseError, match="damaged line"):
        Track.from_json(line)
    with pytest.raises(HouseError, match="damaged line"):
        Track.from_json(line[:-5])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    """Three tracks, rendered by two calls; tests that damage it work on copies."""
    root = tmp_path_factory.mktemp("catalogue")
    compose_catalogue(CatalogueConfig(), root, limit=3)
    assert len(render_catalogue(root, limit=1)) == 1
    assert len(render_catalogue(root)) == 3
    return root


def copy(rendered: Path, to: Path) -> Path:
    (to / "audio").mkdir()
    for path in rendered.rglob("*.*"):
        (to / path.relative_to(rendered)).write_bytes(path.read_bytes())
    return to


@needs_synth
def test_a_rendered_catalogue_opens_with_its_samples_mapped(rendered):
    catalogue = Catalogue.open(rendered)
    assert catalogue.rate == 32_000
    assert len(catalogue.tracks()) == 3
    track = catalogue.tracks("train")[0]
    samples = catalogue.samples(track)
    assert isinstance(samples, np.memmap)
    assert samples.dtype == np.int16
    assert len(samples) == track.samples == round(track.duration_s * catalogue.rate)
    assert catalogue.seconds() == pytest.approx(sum(t.duration_s for t in catalogue.tracks()))
    for track in catalogue.tracks():
        catalogue.verify(track)
    assert not list(rendered.rglob("*.part"))


@needs_synth
def test_rendering_goes_on_where_it_stopped_and_renders_nothing_twice(rendered, tmp_path):
    root = copy(rendered, tmp_path)
    catalogue = Catalogue.open(root)
    kept, lost = catalogue.tracks()[0], catalogue.tracks()[1]
    path = root / "audio" / f"{kept.id}.npy"
    stamp = path.stat().st_mtime_ns
    (root / "audio" / f"{lost.id}.npy").unlink()
    again = render_catalogue(root)
    assert again == list(catalogue.tracks()), "the same samples come out again"
    assert path.stat().st_mtime_ns == stamp
    Catalogue.open(root).verify(lost)


@needs_synth
def test_damage_is_found(rendered, tmp_path):
    root = copy(rendered, tmp_path)
    catalogue = Catalogue.open(root)
    altered, cut, gone = catalogue.tracks()
    samples = np.array(catalogue.samples(altered))
    samples[1000] ^= 1
    np.save(root / "audio" / f"{altered.id}.npy", samples)
    with pytest.raises(HouseError, match="are not those of the manifest"):
        catalogue.verify(altered)
    np.save(root / "audio" / f"{cut.id}.npy", samples[:100])
    with pytest.raises(HouseError, match="does not hold"):
        catalogue.samples(cut)
    (root / "audio" / f"{gone.id}.npy").write_bytes(b"not an array")
    with pytest.raises(HouseError, match="cannot read"):
        catalogue.samples(gone)


@needs_synth
def test_a_plan_of_other_rules_is_not_rendered(rendered, tmp_path):
    root = copy(rendered, tmp_path)
    tracks = [Track.from_json(x) for x in (root / "plan.jsonl").read_text("utf-8").splitlines()]
    changed = replace(tracks[0], composition_sha256="0" * 64)
    (root / "plan.jsonl").write_text(changed.to_json() + "\n", encoding="utf-8")
    (root / "manifest.jsonl").unlink()
    with pytest.raises(HouseError, match="no longer composes as planned"):
        render_catalogue(root)


@needs_synth
def test_a_catalogue_of_another_rendering_is_not_continued(rendered, tmp_path):
    root = copy(rendered, tmp_path)
    info = json.loads((root / "catalogue.json").read_text("utf-8"))
    (root / "catalogue.json").write_text(json.dumps({**info, "rendering": 1}), encoding="utf-8")
    with pytest.raises(HouseError, match="rendered otherwise"):
        render_catalogue(root)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 99, "rate": 32000}', '{"rate": 1}'])
def test_what_is_no_catalogue_does_not_open(tmp_path, text):
    (tmp_path / "catalogue.json").write_text(text, encoding="utf-8")
    with pytest.raises(HouseError):
        Catalogue.open(tmp_path)
