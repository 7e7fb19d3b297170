"""Kill servers and workers of one studio while it is asked for music; count what was lost.

::

    python -m tests.robustness.kill_servers --kills 200

Two servers and two workers, as processes, share a PostgreSQL database. Clients ask for music over
REST, at whichever server answers. Again and again one process gets SIGKILL (or, as in a rolling
restart, SIGTERM) and is started anew. In the end every job that a server had accepted must be done
with one output a take, and the ledger, the files and the jobs must agree.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.shared import Process, call
from tests.support.studios import PlainGenerator, left_over, make_studio


@dataclass
class Tally:
    """What happened."""

    kills: int = 0
    of_servers: int = 0  # kills
    restarts: int = 0  # by SIGTERM
    accepted: int = 0  # jobs that a server answered 202
    outputs: int = 0  # released
    begun_again: int = 0  # jobs that took more than one worker
    not_sealed: int = 0  # takes whose seal could not be read back: the pretended seal's limit
    refused: int = 0  # requests that no server answered, or that were not accepted
    broken: list[str] = field(default_factory=list)

    def line(self) -> str:
        return (
            f"{self.kills} kills ({self.of_servers} of servers), {self.restarts} restarts: "
            f"{self.accepted} jobs accepted, {self.outputs} outputs, "
            f"{self.begun_again} jobs begun again, {len(self.broken)} lost or doubled"
        )


class Load:
    """Clients that ask for music, and know what they were promised."""

    def __init__(self, ports: list[int], pause_s: float) -> None:
        self.accepted: dict[str, int] = {}  # job -> takes
        self.refused = 0
        self._ports = ports
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        number = 0
        while not self._stop.wait(self._pause_s):
            number += 1
            takes = 2 if number % 3 == 0 else 1
            body = {"tags": ["genre/jazz"], "duration_s": 3.0, "seed": 10 * number, "takes": takes}
            body["preview"] = number % 2 == 0
            for port in (self._ports[number % 2], self._ports[1 - number % 2]):
                try:
                    status, answer = call(port, "POST", "/api/v1/jobs", body)
                except OSError:
                    self.refused += 1
                    continue
                if status == 202:
                    self.accepted[answer["id"]] = takes
                    break
                self.refused += 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(
    folder: Path,
    url: str,
    kills: int,
    *,
    restarts: int = 0,
    seed: int = 0,
    pause_s: float = 1.0,
    say=lambda _line: None,
) -> Tally:
    """Do it; see the module."""
    rng, tally = random.Random(seed), Tally()
    environ = {"STUDIO_DATABASE_URL": url}
    os.environ["STUDIO_DATABASE_URL"] = url
    with make_studio(folder, generator=PlainGenerator()) as studio:
        studio.consent_service()  # one first start, before there are several
    ports = [free_port(), free_port()]
    processes = [Process(folder, port, environ) for port in (*ports, None, None)]
    try:
        for process in processes:
            process.await_ready()
        ends = [signal.SIGKILL] * kills + [signal.SIGTERM] * restarts
        rng.shuffle(ends)
        with Load(ports, pause_s) as load:
            for number, end in enumerate(ends):
                time.sleep(rng.uniform(0.0, 1.5))
                victim = _choose(rng, processes)
                status = victim.end(end)
                tally.kills += end == signal.SIGKILL
                tally.of_servers += end == signal.SIGKILL and victim.port is not None
                tally.restarts += end == signal.SIGTERM
                if end == signal.SIGTERM and status != 0:
                    tally.broken.append(f"SIGTERM ended a process with status {status}")
                victim.start()
                say(f"{number + 1}/{len(ends)}: {len(load.accepted)} jobs accepted")
        for process in processes:
            process.await_ready()
        tally.accepted, tally.refused = len(load.accepted), load.refused
        _await_end(ports, load, tally)
    finally:
        for process in processes:
            with contextlib.suppress(OSError):
                process.process.kill()
            process.process.wait()
    _check(folder, load, tally)
    return tally


def _choose(rng: random.Random, processes: list[Process]) -> Process:
    """One that works, and if it is a server, not the last that answers."""
    while True:
        ready = [process for process in processes if process.ready]
        servers = [process for process in ready if process.port is not None]
        free = [each for each in ready if each.port is None or len(servers) > 1]
        if free:  # a server takes long to start: most are workers
            return rng.choices(free, [1 if each.port else 4 for each in free])[0]
        time.sleep(0.2)


def _await_end(ports: list[int], load: Load, tally: Tally) -> None:
    """Wait until nothing is in line; ask each server about every other job."""
    end = time.monotonic() + 600
    while time.monotonic() < end:
        states = Counter(job["state"] for job in call(ports[0], "GET", "/api/v1/jobs")[1])
        if not states.keys() & {"queued", "running", "cancelling"}:
            break
        time.sleep(0.5)
    for number, (job_id, takes) in enumerate(load.accepted.items()):
        status, job = call(ports[number % 2], "GET", f"/api/v1/jobs/{job_id}")
        said = status == 200 and (job["error"] or {}).get("code") == "not-sealed"
        if said:
            tally.not_sealed += takes - len(job["output_ids"])
        elif status != 200 or job["state"] != "done" or len(job["output_ids"]) != takes:
            tally.broken.append(f"job {job_id}: {status} {job}")


def _check(folder: Path, load: Load, tally: Tally) -> None:
    from sqlalchemy import select

    from studio.core.db.tables.jobs import job, job_output, preview_piece
    from studio.generation.releasing.staging import complete_interrupted

    with make_studio(folder, generator=PlainGenerator()) as studio:
        complete_interrupted(studio.paths, studio.ledger())
        with studio.database().reading() as connection:
            jobs = connection.execute(select(job)).all()
            rows = connection.execute(select(job_output)).all()
            heard = set(connection.scalars(select(preview_piece.c.job_id)))
        releases = {release.output_id: release for release in studio.ledger().releases()}
        tally.outputs = len(releases)
        tally.begun_again = sum(each.attempts > 1 for each in jobs)
        of_jobs = [row.output_id for row in rows]
        if sorted(of_jobs) != sorted(releases):
            tally.broken.append(f"{len(of_jobs)} outputs of jobs, {len(releases)} releases")
        whole = {each.job_id for each in jobs if each.error != "SealingError"}
        made = sum(row.job_id in whole for row in rows)
        if made != (asked := sum(each.takes for each in jobs if each.job_id in whole)):
            tally.broken.append(f"{asked} takes, {made} releases")
        if kept := heard - {each.job_id for each in jobs if each.state == "done"}:
            tally.broken.append(f"previews that were not taken back: {kept}")
        if lost := set(load.accepted) - {each.job_id for each in jobs}:
            tally.broken.append(f"jobs without a trace: {lost}")
        for release in releases.values():
            if not release.path.exists():
                tally.broken.append(f"{release.path.name} is in the ledger but not there")
            elif hashlib.sha256(release.path.read_bytes()).hexdigest() != release.sha256:
                tally.broken.append(f"{release.path.name} has another digest")
        tally.broken += [
            f"{name} is left over" for name in left_over(studio) if Path(name).stem not in releases
        ]
        audit = studio.ledger().verify()
        if not audit.ok:
            tally.broken.append(f"the audit fails: {audit.fault}")


def main() -> int:
    """Exit code 1 if anything was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()

    from tests.support.databases import Server

    server, began = Server(fsync=True), time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="kill-servers-") as folder:
            tally = run(
                Path(folder),
                server.make_database(),
                options.kills,
                restarts=options.restarts,
                seed=options.seed,
                say=lambda line: print(line, file=sys.stderr) if options.verbose else None,
            )
    finally:
        server.remove()
    for line in tally.broken:
        print(f"BROKEN {line}", file=sys.stderr)
    print(tally.line(), file=sys.stderr)
    print(json.dumps({**vars(tally), "seconds": round(time.monotonic() - began)}))
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
