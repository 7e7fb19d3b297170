"""Whatever bytes arrive: an answer that is right, or an error of ours. Nothing else, ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import EDITS, spoil
from tests.fuzz.targets import TARGETS, Target

QUICK = [target for target in TARGETS if not target.slow]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_honest_examples_are_accepted(target: Target):
    assert target.seeds()
    assert all(target.run(seed) for seed in target.seeds())


@pytest.mark.parametrize("target", QUICK, ids=lambda target: target.name)
def test_spoiled_examples(target: Target):
    seeds = target.seeds()
    errors = target.errors()

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(seed=st.sampled_from(range(len(seeds))), edits=EDITS)
    def run(seed, edits):
        try:
            target.run(spoil(seeds[seed], edits))
        except errors as error:
            assert str(Path.cwd()) not in str(error)

    run()


def test_the_long_run_counts_what_it_finds(capsys):
    from tests.fuzz.__main__ import fuzz

    def bomb(data: bytes) -> bool:
        if data.startswith(b"boom"):
            raise KeyError("a crash")
        return True

    broken = Target("broken", lambda: (b"boom0000",), bomb, lambda: ())
    found = fuzz(broken, inputs=200, seed=1)
    assert found.inputs == 200
    assert found.crashes > 0
    sound = fuzz(Target("sound", lambda: (b"x" * 9,), lambda _: True, lambda: ()), 200, seed=1)
    assert (sound.crashes, sound.hangs, sound.leaks) == (0, 0, 0)
