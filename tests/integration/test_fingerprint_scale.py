"""The bench of a large fingerprint index, on a small one."""

from __future__ import annotations

import re

import numpy as np
import pytest

from watermark.evaluation.fingerprint_scale import Collection, built, show_scale
from watermark.fingerprint.haitsma_kalker import Fingerprint
from watermark.fingerprint.index import FingerprintIndex

pytestmark = pytest.mark.slow


def track(seed: int) -> Fingerprint:
    return Fingerprint(np.random.default_rng(seed).integers(1, 2**32, 1290, np.uint32), 30.0)


def test_it_measures_memory_growth_and_readers_beside_a_writer(tmp_path, capsys):
    collection = Collection([track(n) for n in range(3)])
    spent = built(tmp_path, collection, 200, "note")
    assert 0 < spent.own_mb <= spent.mapped_mb
    index = FingerprintIndex(tmp_path, store=collection)
    assert (len(index), index.note) == (203, "note")
    made = collection.fingerprint("made 77")
    assert index.search(made.between(5, 15))[0].key == "made 77"
    assert index.search(track(1).between(5, 15))[0].key == "real 1", "and no track made of it"
    show_scale(tmp_path, collection, [track(1).between(5, 15)], [track(9).between(0, 10)])
    said = capsys.readouterr().out
    assert len(re.findall(r"^cold, .*read from disk", said, re.M)) == 2
    assert len(re.findall(r"MB of its own", said)) == 3
    asked = re.findall(r"asked (\d+), 0 wrong", said)
    assert len(asked) == 3
    assert all(int(count) > 0 for count in asked)
    assert len(FingerprintIndex(tmp_path, store=collection)) == 203 + 11_000
