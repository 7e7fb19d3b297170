"""The bench in processes: the same report for any number of them, and a clean end when stopped."""

from __future__ import annotations

import json
import multiprocessing
from functools import partial

import numpy as np
import pytest

from tests.unit.watermark.test_bench import KEY, run, toy_read, toy_seal
from watermark.audio.waveform import Waveform
from watermark.errors import BenchError
from watermark.evaluation.bench import Bench, Clip, synthetic_clips
from watermark.evaluation.distortions import AttackSpec
from watermark.evaluation.parallel import attack_all

pytestmark = pytest.mark.slow

SPECS = (
    AttackSpec("clean", "none", "clean", {}),
    AttackSpec("noise", "noise", "white-noise", {"snr_db": 0}),
    AttackSpec("shifted", "time", "delay", {"ms": 10}),
    AttackSpec("unknown codec", "codec", "codec", {"format": "nonsense"}),
)


def clips() -> list[Clip]:
    found = synthetic_clips(count=3, seconds=6.0)
    return [Clip(c.name, Waveform(c.waveform.samples * np.float32(0.1), 32_000)) for c in found]


def toy_bench(seed: int = 0) -> Bench:
    return Bench(clips(), seal=toy_seal, read=toy_read, key=KEY, decoys=100, seed=seed)


NAMES = [clip.name for clip in clips()]


def broken(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    raise ZeroDivisionError("no such luck")


def as_json(results) -> str:
    return json.dumps([result.to_json() for result in results])


def attacked(seed: int, jobs: int, specs=SPECS) -> tuple[str, list[str]]:
    said: list[str] = []
    start = partial(toy_bench, seed)
    return as_json(attack_all(start, specs, NAMES, jobs=jobs, progress=said.append)), said


def test_any_number_of_processes_gives_the_figures_of_one_run():
    here, said = attacked(0, 0)
    whole = run(SPECS, clips(), decoys=100)
    by_name = {result.attack: result for result in whole.results}
    assert here == as_json(by_name[spec.name] for spec in SPECS)
    assert [line.split(", ")[0] for line in said] == [f"{n} of 4 attacks" for n in (1, 2, 3, 4)]
    assert said[1].endswith(" s: noise")
    assert attacked(0, 2)[0] == here
    # Another seed is other noise under other ids: the equality above says something.
    assert attacked(1, 0)[0] != here


def test_the_place_in_the_list_seeds_the_noise_and_nothing_else_does():
    bench, spec = toy_bench(), SPECS[1]
    one = bench.one(1, spec, 2)
    bench.one(0, spec, 0)
    assert bench.one(1, spec, 2) == one
    assert bench.one(2, spec, 2) != one


def test_stopped_in_the_middle_no_process_is_left():
    def stop(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack_all(toy_bench, SPECS, NAMES, jobs=2, progress=stop)
    assert multiprocessing.active_children() == []


def test_a_plugin_that_fails_is_named_in_the_report_and_stops_nothing():
    spec = AttackSpec("mine", "x", "plugin", {"function": f"{__name__}:broken"})
    mine, clean = attack_all(
        toy_bench, (spec, SPECS[0]), NAMES, jobs=0, progress=lambda _line: None
    )
    assert (mine.clips, len(mine.failed)) == (0, 3)
    assert "broken' failed: no such luck" in mine.failed[0]
    assert mine.fails
    assert clean.detected == 3


def test_a_plugin_that_is_not_there_is_refused_before_anything_runs():
    lost = AttackSpec("lost", "x", "plugin", {"function": "nowhere:f"})

    def start() -> Bench:
        raise AssertionError("nothing may be sealed")

    with pytest.raises(BenchError, match="cannot be imported"):
        attack_all(start, (SPECS[0], lost), NAMES, jobs=0, progress=lambda _line: None)
