"""Workers of a Ray cluster that die, hang, fail or leave with their machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter

import pytest

from tests.support.ray_work import cluster, seen, start, start_badly
from watermark.batch.pool import Failure
from watermark.batch.ray_pool import RayOptions, on_ray
from watermark.errors import ScanError


@pytest.fixture(scope="module")
def machines():
    """A head and two machines."""
    with cluster(2) as made:
        yield made


@pytest.fixture
def run(machines):
    def run(items, work=start, *, workers=0, retries=2, timeout_s=None, num_gpus=0.0):
        options = RayOptions(machines.address, workers, retries, num_gpus)
        return list(on_ray(items, work, options, timeout_s=timeout_s))

    return run


def test_every_item_has_one_answer_whatever_becomes_of_the_workers(run, tmp_path):
    plain = [f"item {n}" for n in range(40)]
    odd = [
        "dies ",
        f"dies-once {tmp_path}/a",
        f"busy-once {tmp_path}/b",
        "busy ",
        "raises something",
    ]
    given = run([*plain[:20], *odd, *plain[20:]])
    assert Counter(item for item, _ in given) == Counter([*plain, *odd])
    found = dict(given)
    assert all(found[item] == item.upper() for item in plain)
    assert found["dies "] == Failure("the process that examined it crashed")
    assert found[odd[1]] == odd[1].upper()
    assert found[odd[2]] == odd[2].upper()
    assert found["busy "].why == "the store is busy"
    assert found["raises something"] == Failure("internal error (ValueError)")


def test_an_item_that_hangs_is_given_up(run):
    given = dict(run(["hangs ", "item 1", "item 2"], timeout_s=5.0))
    assert given["hangs "] == Failure("no answer within 5 s")
    assert given["item 1"] == "ITEM 1"
    assert given["item 2"] == "ITEM 2"


def test_what_a_worker_cannot_start_is_raised_here(run):
    with pytest.raises(RuntimeError, match="no weights here"):
        run(["item"], start_badly)


def test_without_retries_the_first_death_counts(run, tmp_path):
    given = dict(run([f"dies-once {tmp_path}/c", "item"], retries=0))
    assert isinstance(given[f"dies-once {tmp_path}/c"], Failure)
    assert given["item"] == "ITEM"


def test_workers_get_the_home_and_no_secret(run, monkeypatch):
    monkeypatch.setenv("STUDIO_HOME", "/somewhere")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    given = dict(run(["where STUDIO_HOME", "where AWS_SECRET_ACCESS_KEY"]))
    assert given["where STUDIO_HOME"] == "/somewhere"
    assert given["where AWS_SECRET_ACCESS_KEY"] == ""


def test_a_machine_that_is_lost_costs_no_answer(machines, run):
    lost = machines.add_node(num_cpus=1)
    items = [f"slow {n}" for n in range(60)]
    killed = threading.Event()

    def taken():
        for number, item in enumerate(items):
            if number == 20:
                machines.remove_node(lost, allow_graceful=False)
                killed.set()
            yield item

    given = run(taken())
    assert killed.is_set()
    assert sorted(given) == sorted((item, item.upper()) for item in items)


def test_a_machine_that_joins_later_is_used(machines, run):
    def taken():
        yield "item 0"
        joined.append(machines.add_node(num_cpus=1))
        yield from (f"item {n}" for n in range(1, 9))

    joined = []
    assert len(run(taken())) == 9
    machines.remove_node(joined[0])


@pytest.mark.parametrize(("share", "most"), [(1.0, 1), (0.5, 2), (0.4, 2)])
def test_workers_that_need_a_gpu_stand_where_there_is_one(machines, run, share, most):
    """Ray counts the GPU that this machine only claims to have."""
    with_gpu = machines.add_node(num_cpus=4, num_gpus=1)
    given = run(["seen"] * 12, seen, num_gpus=share)
    machines.remove_node(with_gpu)
    processes, gpus = zip(*(answer for _, answer in given), strict=True)
    assert set(gpus) == {"0"}
    assert len(set(processes)) == most
    assert {gpu for _, (_, gpu) in run(["seen"] * 4, seen)} == {""}  # who asks for none sees none


TWICE = """
from tests.support.ray_work import start
from watermark.batch.ray_pool import RayOptions, on_ray
for run in ("first", "second"):
    print(list(on_ray([run], start, RayOptions(workers=1))))
"""


def test_a_process_can_have_a_cluster_of_its_own_twice():
    command = [sys.executable, "-c", TWICE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout.splitlines() == ["[('first', 'FIRST')]", "[('second', 'SECOND')]"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "somewhere", "http://localhost", "a:99999"])
def test_an_address_without_a_cluster_is_told(address):
    with pytest.raises(ScanError, match="Ray cluster"):
        list(on_ray(["item"], start, RayOptions(address)))
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
