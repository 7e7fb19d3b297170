"""``scan`` on Ray: the rows of the local engine, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pyarrow.dataset
import pytest

from tests.support.ray_work import cluster
from tests.support.s3 import object_store
from tests.unit.seal_carriers import music
from watermark.audio.waveform import write


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """Two sealed files, two others, one that is none, in two folders."""
    folder = tmp_path_factory.mktemp("catalogue")
    environment = {**os.environ, "WATERMARK_KEY_FILE": str(folder / "k.key")}
    (folder / "music" / "deep").mkdir(parents=True)
    subprocess.run(watermark("key", "create", folder / "k.key"), check=True, capture_output=True)
    for number in range(3):
        write(folder / "music" / f"{number}.wav", music(6.0 + number, 44_100, 2))
    for number, extension in enumerate(("flac", "mp3")):
        sealed = folder / "music" / "deep" / f"sealed {number}.{extension}"
        command = watermark("embed", folder / "music" / f"{number}.wav", sealed)
        subprocess.run(command, check=True, capture_output=True, env=environment)
    (folder / "music" / "notes.txt").write_text("no music\n")
    return folder


def watermark(*arguments):
    return [sys.executable, "-m", "watermark", *map(str, arguments)]


def scan(*arguments):
    done = subprocess.run(
        watermark("scan", *arguments), capture_output=True, text=True, check=False, timeout=1800
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def rows(path):
    return sorted(
        (json.loads(line) for line in path.read_text().splitlines()), key=lambda row: row["file"]
    )


def dataset(path):
    table = pyarrow.dataset.dataset(path, partitioning="hive").to_table()
    return sorted(table.to_pylist(), key=lambda row: row["file"])


def test_both_engines_give_the_same_rows(catalogue, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    done = scan(catalogue / "music", "--out", f"{here}.jsonl", "--dataset", here)
    assert done.returncode == 3, done.stderr
    ray = ("--engine", "ray", "--jobs", "2")
    done = scan(catalogue / "music", *ray, "--out", f"{there}.jsonl", "--dataset", there)
    assert done.returncode == 3, done.stderr
    assert "3 no seal, 2 sealed, 1 unreadable" in done.stderr
    assert rows(here.with_suffix(".jsonl")) == rows(there.with_suffix(".jsonl"))
    assert dataset(here) == dataset(there)
    assert len(dataset(here)) == 6


def test_a_driver_that_is_killed_leaves_a_report_that_the_next_run_ends(catalogue, tmp_path):
    names = [str(path) for path in sorted((catalogue / "music").rglob("*.*"))]
    many = []
    for copy in range(6):  # hard links: files of their own, without the space
        for name in names:
            link = tmp_path / f"{copy}-{os.path.basename(name)}"  # noqa: PTH119 - a text
            os.link(name, link)
            many.append(str(link))
    listing, out = tmp_path / "list.txt", tmp_path / "report.jsonl"
    listing.write_text("\n".join(many))
    command = watermark(
        "scan", "--files-from", listing, "--out", out, "--engine", "ray", "--in-process"
    )
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as driver:
        while not (out.exists() and len(out.read_bytes().splitlines()) > 5):
            assert driver.poll() is None
            time.sleep(0.02)
        driver.send_signal(signal.SIGKILL)
    done = len(out.read_bytes().splitlines())
    assert done < len(many)
    with out.open("ab") as torn:
        torn.write(b'{"file": "half a li')
    ended = scan("--files-from", listing, "--out", out, "--engine", "ray")
    assert ended.returncode == 3, ended.stderr
    assert f", {done} known from before" in ended.stderr
    assert [row["file"] for row in rows(out)] == sorted(many)


def test_ctrl_c_ends_the_run_and_its_processes(catalogue, tmp_path):
    out = tmp_path / "report.jsonl"
    command = watermark("scan", catalogue / "music", "--out", out, "--engine", "ray")
    pipe = subprocess.PIPE
    listening = [sys.executable, "-c", LISTENING, *command[3:]]
    with subprocess.Popen(listening, stderr=pipe, text=True, start_new_session=True) as driver:
        while not (out.exists() and out.stat().st_size):
            assert driver.poll() is None
            time.sleep(0.02)
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
        _, said = driver.communicate(timeout=900)
    assert driver.returncode in (130, 3)  # 3: all was done before it came
    assert "Traceback" not in said
    again = scan(catalogue / "music", "--out", out)
    assert again.returncode == 3
    assert len(rows(out)) == 6


LISTENING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from watermark.cli.main import main
sys.argv[0] = "watermark"
main()
"""


def test_a_worker_whose_machine_has_no_cuda_says_what_to_do(catalogue, tmp_path):
    """Ray counts a GPU here that PyTorch does not find."""
    with cluster(0) as machines:
        machines.add_node(num_cpus=1, num_gpus=1)
        gpu = ("--ray-address", machines.address, "--num-gpus", "0.5")
        done = scan(catalogue / "music", *gpu, "--out", tmp_path / "r.jsonl")
    assert done.returncode == 2
    assert f"{socket.gethostname()} has no GPU that PyTorch" in done.stderr
    assert "--num-gpus 0" in done.stderr
    assert "workers use the device cuda and reserve 0.5 GPUs each" in done.stderr


def test_a_machine_without_gpus_is_told(catalogue, tmp_path):
    gpu = ("--engine", "ray", "--jobs", "1", "--num-gpus", "1")
    done = scan(catalogue / "music", *gpu, "--out", tmp_path / "r.jsonl")
    assert done.returncode == 2
    assert "--num-gpus 1: Ray finds 0 GPUs on this machine" in done.stderr
    assert "logs" not in done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--num-gpus", "1"), "add --engine ray"),
        (("--num-gpus", "1.5", "--engine", "ray"), "a whole number of them"),
        (("--num-gpus", "-1", "--engine", "ray"), "not in the range"),
    ],
)
def test_numbers_of_gpus_that_cannot_be_are_refused(tmp_path, options, told):
    done = scan("music", *options, "--out", tmp_path / "r.jsonl")
    assert done.returncode == 2
    assert told in done.stderr


def test_memory_addresses_are_refused(tmp_path):
    done = scan("memory://shop/a.wav", "--out", tmp_path / "r.csv", "--engine", "ray")
    assert done.returncode == 2
    assert "memory of one process" in done.stderr


def test_an_object_store_is_scanned_by_both_engines(catalogue, tmp_path, monkeypatch):
    objects = {
        f"music/{path.name}": path.read_bytes()
        for path in (catalogue / "music").rglob("*.*")
        if path.is_file()
    }
    objects["music/busy.wav"] = objects["music/2.wav"]  # refused once
    with object_store("shop", objects) as endpoint:
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
        named = ("s3://shop/music", "s3://shop/music/none.wav", "--skip", "*.txt")
        assert scan(*named, "--out", here).returncode == 3
        assert scan(*named, "--engine", "ray", "--jobs", "2", "--out", there).returncode == 3
    assert rows(here) == rows(there)
    found = {row["file"]: row.get("verdict") or row["error"] for row in rows(here)}
    assert len(found) == len(objects)
    assert found["s3://shop/music/sealed 0.flac"] == "sealed"
    assert found["s3://shop/music/busy.wav"] == "no seal"
    assert found["s3://shop/music/none.wav"] == "there is no such object"


def test_a_studio_gives_the_same_verdicts_on_ray(catalogue, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "home"))
    files = [str(catalogue / "music" / name) for name in ("0.wav", "notes.txt", "none.wav")]
    for engine in ("local", "ray"):
        options = ("--out", str(tmp_path / f"{engine}.csv"), "--engine", engine, "--jobs", "1")
        command = [sys.executable, "-m", "studio", "scan", *files, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
        assert done.returncode == 3, done.stderr
        assert "1 not-detected, 2 unreadable" in done.stderr
    here, there = (
        sorted((tmp_path / f"{e}.csv").read_text().splitlines()) for e in ("local", "ray")
    )
    assert here == there
