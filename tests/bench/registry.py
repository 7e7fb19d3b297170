"""What the registry of outputs takes when it is large: seals and fingerprints of N outputs.

::

    python -m tests.bench.registry --outputs 1000000 --database sqlite
    python -m tests.bench.registry --outputs 1000000 --database postgresql

The outputs are written by a bulk path of this bench, which fills the very tables that as many
releases would have (``tests/unit/provenance/test_registry_bench.py`` compares them row by row).
Seals are the key's; fingerprints are random words, which no two recordings share, so that a search
meets less in the index than it does among real music. All else is the studio's own code: a process
that opens the registry with nothing on disk and another that finds it there, look-ups, and outputs
released one by one while two processes look up.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from studio.core.db.database import Database
from studio.core.db.tables.ledger import ledger_entry, ledger_node, output, seal_reservation
from studio.core.db.tables.provenance import opening
from studio.core.errors import StudioError
from studio.provenance.keys import KeyRing
from studio.provenance.ledger.entry import INSTANT, LEAF_VERSION
from studio.provenance.ledger.log import Ledger
from studio.provenance.ledger.private_fields import Personal, take_out
from studio.provenance.ledger.tree.merkle import completed_nodes, head_from_nodes, leaf_hash
from studio.provenance.output_index import OutputIndex
from tests.bench.ledger import insert
from watermark.coding.identify import identify
from watermark.coding.message import SealId, SealKey, messages
from watermark.errors import WatermarkError
from watermark.fingerprint.haitsma_kalker import Fingerprint
from watermark.models.base import SCRAMBLING_WEIGHTS

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)  # outputs go on from there
KEY = SealKey(1, hashlib.sha256(b"registry bench").digest())
SECONDS = 30
_WORDS = 1_290  # of a fingerprint of 30 s
_BATCH = 10_000
_ASKED_S = 10


def seal_of(index: int) -> SealId:
    return SealId(hashlib.sha256(b"seal %d" % index).digest()[:8])


def print_of(index: int) -> Fingerprint:
    words = np.random.default_rng(index).integers(1, 2**32, _WORDS, dtype=np.uint32)
    return Fingerprint(words, float(SECONDS))


def time_of(index: int) -> datetime:
    return START + timedelta(milliseconds=index)


def body_of(index: int, seal_id: SealId | None = None, seconds: float = SECONDS) -> dict[str, Any]:
    """As large as that of a release is; under a made-up seal unless one is given."""
    seal, digest = (seal_id or seal_of(index)).hex, hashlib.sha256(b"file %d" % index).hexdigest()
    tags = ["genre/jazz", "mood/calm"]
    grants = [
        {
            "grant": "house-catalogue-2026",
            "granted": True,
            "holder": "house",
            "tag": tag,
            "terms_sha256": "ae431ce0f491f281a7304106636bbecb4fe515f8c5c64ab54030a5a9dd86e67f",
            "valid_until": "2036-01-01T00:00:00.000000Z",
        }
        for tag in tags
    ]
    scope = {"territory": "WORLD", "use": "noncommercial"}
    asked = {"duration_s": seconds, "format": "wav", "guidance": None, "model": "house"}
    return {
        "request": {**asked, **scope, "parent": None, "seed": index, "tags": tags},
        "decision": {
            **scope,
            "allowed": True,
            "at": time_of(index).strftime(INSTANT),
            "consent_entry": 12,
            "model": "house",
            "tags": grants,
        },
        "model": {
            "digest": digest,
            "id": "house",
            "licence": "MIT",
            "performance_seed": index,
            "performance_sha256": digest,
            "score": "C major, 4/4, 150.7 beats a minute; chorus 4, ending 1 bars",
            "score_sha256": digest,
            "title": "House model",
        },
        "seal": {
            "digest": next(iter(SCRAMBLING_WEIGHTS)),
            "epoch": KEY.epoch,
            "id": seal,
            "pair": "house-8b9047047268",
            "readback": {"bit_accuracy": 0.96875, "chance_bound": 0.0, "score": 10.651524543762207},
            "strength": 1,
        },
        "audio": {"channels": 2, "duration_s": seconds, "rate": 48000},
        "file": {"bytes": 5760044, "format": "wav", "sha256": digest},
        "c2pa": {
            "certificate_sha256": digest,
            "development": True,
            "label": "urn:c2pa:d50ba819-a460-4fad-bb86-03a2f1fcc23f",
            "manifest_sha256": digest,
        },
        "title": f"Calm jazz ({seal[:4]})",
        "credits": ["genre/jazz: the house catalogue", "mood/calm: the house catalogue"],
    }


def release(ledger: Ledger, index: int) -> None:
    """One output, as the studio writes it."""
    seal_id = seal_of(index).hex
    ledger.reserve(seal_id, KEY.epoch)
    content = print_of(index).to_bytes()
    ledger.append_release(body_of(index), file_name=f"{seal_id}.wav", fingerprint=content)


def bulk(database: Database, outputs: int) -> None:
    """Fill an empty ledger with ``outputs`` outputs."""
    peaks: dict[tuple[int, int], bytes] = {}  # complete subtrees that no larger one holds yet
    for start in range(0, outputs, _BATCH):
        rows: dict[Any, list[tuple[Any, ...]]] = {
            table: [] for table in (ledger_entry, ledger_node, seal_reservation, output, opening)
        }
        for index in range(start, min(start + _BATCH, outputs)):
            seal_id, at = seal_of(index).hex, time_of(index).strftime(INSTANT)
            content = print_of(index).to_bytes()
            leaf, openings = _leaf(index, seal_id, at, content)
            hash_ = leaf_hash(leaf)
            for level, i, node in completed_nodes(index, hash_, lambda *key: peaks[key]):
                if level:
                    del peaks[level - 1, 2 * i]
                    peaks.pop((level - 1, 2 * i + 1), None)
                peaks[level, i] = node
                rows[ledger_node].append((level, i, node))
            head = head_from_nodes(index + 1, lambda *key: peaks[key])
            rows[ledger_entry].append((index, "release", at, leaf, hash_, head))
            rows[seal_reservation].append((seal_id, KEY.epoch, at))
            rows[output].append((seal_id, seal_id, index, f"{seal_id}.wav", content))
            rows[opening] += [(index, *each) for each in openings]
        with database.writing() as connection:
            for table, each in rows.items():
                insert(connection, table, each)


def _leaf(
    index: int, seal_id: str, at: str, content: bytes
) -> tuple[bytes, list[tuple[str, bytes, str]]]:
    """The same bytes as RFC 8785 gives for this body; field, salt and value of what it hides."""
    body = body_of(index)
    lines = [Personal(line) for line in body.pop("credits")]
    body |= {
        "output_id": seal_id,
        "credit_lines": lines,
        "file": {**body["file"], "name": f"{seal_id}.wav"},
        "fingerprint_sha256": hashlib.sha256(content).hexdigest(),
        "owner": None,
    }
    body["seal"]["readback"]["chance_bound"] = 0  # how RFC 8785 writes 0.0
    public, openings = take_out(body)
    entry = {"version": LEAF_VERSION, "index": index, "at": at, "kind": "release", "body": public}
    leaf = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    return leaf, [(field, kept.salt, kept.value) for field, kept in openings.items()]


# -- one process of the studio -----------------------------------------------------------------


def opened(location: Path | str, folder: Path) -> tuple[Ledger, OutputIndex]:
    ledger = Ledger.open(location, outputs=folder)
    keys = KeyRing({KEY.epoch: KEY})
    return ledger, OutputIndex(ledger, keys, folder / "fingerprints", folder / "codebook")


def memory_mib() -> dict[str, float]:
    """Of this process: its own, and pages of files, which processes share."""
    fields = dict(
        line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    )
    kib = {name: int(value.split()[0]) for name, value in fields.items()}
    own = kib["Anonymous"]
    return {"own": round(own / 1024, 1), "files": round((kib["Rss"] - own) / 1024, 1)}


def process(location: Path | str, folder: Path, outputs: int, calls: int) -> dict[str, Any]:
    """Open the registry, and look up if ``calls`` are wanted."""
    before = memory_mib()
    ledger, registry = opened(location, folder)
    cpu, wall = time.process_time(), time.perf_counter()
    registry.refresh()
    result: dict[str, Any] = {
        "open_cpu_s": round(time.process_time() - cpu, 2),
        "open_wall_s": round(time.perf_counter() - wall, 2),
        "memory_mib_before": before,
        "memory_mib_opened": memory_mib(),
    }
    assert len(registry) == outputs
    if calls:
        result |= look_ups(registry, outputs, calls)
        result["memory_mib_after_look_ups"] = memory_mib()
    ledger.close()
    return result


def look_ups(registry: OutputIndex, outputs: int, calls: int) -> dict[str, Any]:
    """10 s of each of some outputs, a tenth of what is read of it wrong, and of none."""
    rng = np.random.default_rng(0)
    wanted = rng.integers(0, outputs, calls).tolist()
    strangers = [outputs * 10 + number for number in range(calls)]

    def by_seal(index: int) -> bool:
        start = index % (SECONDS - _ASKED_S)
        logits = messages(KEY, seal_of(index), _ASKED_S, start) * 2.0 - 1.0
        logits += 0.78 * np.random.default_rng(index).standard_normal(logits.shape)
        found = identify(
            logits, registry.codebook, key=KEY, second=start % 8, max_chance=1e-9, thorough=False
        )
        return found is not None and found.seal_id == seal_of(index)

    def by_fingerprint(index: int) -> bool:
        query = print_of(index).between(5.0, 5.0 + _ASKED_S)
        noise = np.random.default_rng(index + 1)
        words = query.words.copy()
        for bit in range(32):
            words ^= (noise.random(len(words)) < 0.1).astype(np.uint32) << np.uint32(bit)
        doubtful = noise.permuted(np.tile(np.arange(32, dtype=np.uint8), (len(words), 1)), axis=1)
        asked = Fingerprint(words, query.duration_s, doubtful[:, :6])
        found = registry.index.search(asked)
        return bool(found) and found[0].key == seal_of(index).hex

    return {
        "by_seal": _times(wanted, by_seal),
        "by_seal_not_registered": _times(strangers, by_seal),
        "by_fingerprint": _times(wanted, by_fingerprint),
        "by_fingerprint_not_registered": _times(strangers, by_fingerprint),
    }


def _times(asked: Iterable[int], look_up: Callable[[int], bool]) -> dict[str, float]:
    taken, found = [], 0
    for index in asked:
        began = time.process_time()
        found += look_up(index)
        taken.append(1000 * (time.process_time() - began))
    return {
        "found": found,
        "of": len(taken),
        "p50_cpu_ms": round(statistics.median(taken), 2),
        "p95_cpu_ms": round(float(np.percentile(taken, 95)), 2),
    }


def reader(location: Path | str, folder: Path, written: Any, stop: Any, results: Any) -> None:
    """Look up the newest output, again and again, as a server does."""
    looks = stale = 0
    errors: list[str] = []
    ledger, registry = opened(location, folder)
    registry.refresh()
    results.put("ready")
    while not stop.is_set():
        newest = written.value
        try:
            registry.refresh()
            there = seal_of(newest - 1)
            stale += there not in registry.codebook or there.hex not in registry.index
            looks += 1
        except (StudioError, WatermarkError, OSError, LookupError, ValueError) as exc:
            errors.append(repr(exc)[:200])
    ledger.close()
    results.put({"looks": looks, "stale": stale, "errors": len(errors), "first": errors[:1]})


def growth(location: Path | str, folder: Path, outputs: int, more: int) -> dict[str, Any]:
    """Outputs released one by one while two processes look up."""
    context = multiprocessing.get_context("spawn")
    written, stop, results = context.Value("q", outputs), context.Event(), context.Queue()
    readers = [
        context.Process(target=reader, args=(location, folder, written, stop, results))
        for _ in range(2)
    ]
    for each in readers:
        each.start()
    for _ in readers:
        results.get(timeout=600)
    ledger, registry = opened(location, folder)
    registry.refresh()
    began, cpu = time.perf_counter(), time.process_time()
    for index in range(outputs, outputs + more):
        release(ledger, index)
        written.value = index + 1
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    stop.set()
    seen = [results.get(timeout=600) for _ in readers]
    for each in readers:
        each.join()
    registry.refresh()
    assert len(registry) == outputs + more
    ledger.close()
    return {
        "released": more,
        "wall_s": round(wall, 1),
        "cpu_ms_each": round(1000 * cpu / more, 2),
        "readers": seen,
    }


def measure(
    location: Path | str, folder: Path, outputs: int, *, calls: int, more: int
) -> dict[str, Any]:
    """Everything, each in a process of its own."""
    context = multiprocessing.get_context("spawn")

    def alone(calls: int) -> dict[str, Any]:
        with context.Pool(1) as pool:
            return pool.apply(process, (location, folder, outputs, calls))

    result = {"cold": alone(0)}
    result["disk_mib"] = {name: _mib(folder / name) for name in ("fingerprints", "codebook")}
    result["warm"] = alone(calls)
    result["growth"] = growth(location, folder, outputs, more)
    return result


def _mib(folder: Path) -> float:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return round(sum(sizes) / 2**20, 1)


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outputs", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--calls", type=int, default=200, help="look-ups of each kind")
    parser.add_argument("--more", type=int, default=1_000, help="outputs released while two read")
    parser.add_argument("--folder", type=Path, help="where to work; default a temporary folder")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    server = None
    folder = Path(tempfile.mkdtemp(prefix="registry-", dir=options.folder))
    try:
        location: Path | str = folder / "ledger.db"
        if options.database == "postgresql":
            from tests.support.databases import Server

            server = Server(fsync=True)
            location = server.make_database()
        ledger = Ledger.open(location, outputs=folder)
        wall, cpu = time.perf_counter(), time.process_time()
        bulk(ledger.database, options.outputs)
        filled = {
            "cpu_s": round(time.process_time() - cpu, 1),
            "wall_s": round(time.perf_counter() - wall, 1),
        }
        print(f"filled: {filled}", file=sys.stderr)
        if server is None:
            size = (folder / "ledger.db").stat().st_size
        else:
            server.sql("ANALYZE", database="test_0")
            ((size,),) = server.sql("SELECT pg_database_size('test_0')")
        ledger.close()
        result = {
            "rows": options.outputs,
            "database_mib": round(size / 2**20),
            "filled": filled,
            **measure(location, folder, options.outputs, calls=options.calls, more=options.more),
            "load_average": round(os.getloadavg()[0], 1),
        }
    finally:
        if server is not None:
            server.remove()
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({"database": options.database, **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
