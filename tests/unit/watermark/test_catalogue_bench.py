"""The bench of a catalogue: what it makes, measures and compares."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from tests.bench.catalogue.making import LIST, lengths, make, truth_of
from tests.bench.catalogue.processes import ProcessTree
from tests.bench.catalogue.scanning import different, report_of, rows_of, scan, verdicts
from tests.bench.catalogue.tables import hours
from tests.unit.seal_carriers import music


def test_lengths_are_those_of_a_catalogue():
    seconds = lengths(10_000, seed=1)
    assert len(seconds) == 10_000
    assert 15 <= seconds.min() < seconds.max() <= 240
    assert 57 < seconds.mean() < 63
    assert np.array_equal(seconds, lengths(10_000, seed=1))
    assert not np.array_equal(seconds, lengths(10_000, seed=2))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small catalogue: its folder, the music, and its files."""
    audio, folder = tmp_path_factory.mktemp("audio"), tmp_path_factory.mktemp("made")
    for number in range(2):
        clip = music(95.0 + number, 44_100, 2)
        soundfile.write(audio / f"{number}.flac", clip.samples.T, clip.rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.bench.catalogue.making._REGISTERED", 20)
        patch.setattr("tests.bench.catalogue.making._MIXES", 2)
        files = make(audio, folder, files=30, seed=1, jobs=2, bounds=(15.0, 18.0))
    return folder, audio, files


@pytest.mark.slow
def test_the_files_are_what_the_truth_says(made):
    folder, audio, files = made
    truth = truth_of(folder)
    assert len(truth) == len(files) == 30
    assert {row["expect"] for row in truth.values()} == {"sealed", "no seal", "unreadable", "any"}
    for file, row in truth.items():
        if row["expect"] in ("sealed", "no seal") and not file.endswith((".m4a", ".aac")):
            assert soundfile.info(file).duration == pytest.approx(row["seconds"], abs=0.2), file
    with pytest.raises(SystemExit, match="another catalogue"):
        make(audio, folder, files=31, seed=1, jobs=1)


@pytest.mark.slow
def test_a_studio_scans_a_catalogue_whose_seals_it_has_registered(made):
    folder, _, _ = made
    jobs = ["--jobs", "1"]
    truth = truth_of(folder)
    sealed = [file for file, row in truth.items() if row["expect"] == "sealed"]
    some = {*sealed, *list(truth)[:12]}
    (folder / LIST).write_text("".join(f"{folder / file}\n" for file in truth if file in some))
    runs = list(scan(folder, "studio", jobs, kills=0, seed=1, program="studio"))
    assert [(run.ended, run.rows) for run in runs] == [("done", len(some))]
    report = report_of(folder, "studio")
    assert {row["registered"] for row in rows_of(report).values() if "error" not in row} == {20}
    found = verdicts(folder, report)
    assert (found.missing, found.strange, found.named_wrong) == (len(truth) - len(some), 0, 0)
    assert found.named == found.table["sealed", "sealed"] == len(sealed) == 2
    # Cut from the tracks that the sealed pieces are made of.
    assert found.table["no seal", "copy"] >= 3
    assert found.table["unreadable", "unreadable"] >= 1
    alarms = {(expected, outcome) for expected, outcome in found.table if outcome == "sealed"}
    assert alarms == {("sealed", "sealed")}
    with pytest.raises(SystemExit, match="holds a scan by studio"):
        next(scan(folder, "studio", jobs, kills=0, seed=1, program="watermark"))


BUSY = """
import subprocess, sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
if sys.argv[1:]:
    burn(0.3)
else:
    subprocess.run([sys.executable, __file__, "child"], check=True)  # waited for
    subprocess.Popen([sys.executable, __file__, "child"])  # outlives this process
    burn(0.3)
    time.sleep(0.5)
"""


@pytest.mark.slow
def test_time_of_children_counts_once_whether_they_are_waited_for_or_not(tmp_path):
    (tmp_path / "busy.py").write_text(BUSY)
    with subprocess.Popen([sys.executable, str(tmp_path / "busy.py")]) as process:
        tree = ProcessTree(process.pid)
        while tree.living():
            tree.sample()
            time.sleep(0.02)
    assert (
        0.6 < tree.cpu_s < 1.5
    )  # 0.9 and what Python takes to start; the last looks may be missed
    assert tree.pss_peak >= tree.root_rss_peak / 4 > 0


def test_rows_are_compared_with_the_truth_and_with_each_other(tmp_path):
    truth = [("a", "sealed", "01"), ("b", "no seal", None), ("c", "unreadable", None)]
    (tmp_path / "truth.jsonl").write_text(
        "".join(
            json.dumps({"file": file, "kind": "cut", "expect": expect, "seal_id": seal}) + "\n"
            for file, expect, seal in [*truth, ("d", "sealed", "02")]
        )
    )
    rows = [
        {"file": "a", "verdict": "sealed", "duration_s": 2.0, "identification": {"seal_id": "01"}},
        {"file": "b", "verdict": "sealed", "duration_s": 3.0, "identification": {"seal_id": "01"}},
        {"file": "c", "error": "c: no audio in it", "kind": "AudioReadError"},
    ]
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    for path, count in ((one, 3), (other, 2)):
        lines = [
            json.dumps({**row, "file": str(tmp_path / row["file"])}) + "\n" for row in rows[:count]
        ]
        path.write_text("".join(lines) + '{"torn')
    found = verdicts(tmp_path, one)
    assert found.table["sealed", "sealed"] == 1
    assert found.by_kind == {("cut", "no seal", "sealed"): 1}
    assert (found.named, found.named_wrong, found.missing) == (1, 1, 1)
    assert found.reasons == {"no audio in it": 1}
    assert different(one, other) == (2, [])
    other.write_text(other.read_text().replace("3.0", "3.5"))
    assert different(one, other) == (2, [str(tmp_path / "b")])


def test_many_cores_wait_for_the_command():
    assert hours(36_000, 10, 1.0, 0.001, 0.0) == 1.0
    assert hours(36_000, 10_000, 1.0, 0.01, 0.0) == pytest.approx(0.1)
