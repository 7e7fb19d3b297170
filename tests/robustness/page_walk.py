"""Every event handler of the page is offered files that the caller never uploaded.

``python -m tests.robustness.page_walk`` prints how many offers were made and how many files were
read. A file counts as read where an answer holds its content or its path, where the handler
succeeded, or where a FIFO found a reader.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

JSON = {"Content-Type": "application/json"}
SECRET = "the-content-of-a-secret-file"


@dataclass
class Outcome:
    """What a walk came to."""

    handlers: int = 0
    kinds: int = 0
    offers: int = 0
    refused: int = 0
    read: list[str] = field(default_factory=list)


def bait(home: Path, other_upload: str | None = None) -> dict[str, str]:
    """Kind -> path: what a stranger would like to have read, or to have the server hang on."""
    place = home.parent / "bait"
    place.mkdir(exist_ok=True)
    uploads = home / "uploads"
    uploads.mkdir(exist_ok=True)
    key = home / "keys" / "stolen.key"
    key.write_text(SECRET)
    for folder in (place, uploads):
        (folder / "link.wav").symlink_to(key)
        os.mkfifo(folder / "fifo.wav")
        (folder / "plain.wav").write_text(SECRET)
    kinds = {
        "key": str(key),
        "database": str(home / "ledger.db"),
        "system file": "/etc/passwd",
        "file of the machine": str(place / "plain.wav"),
        "file in the folder of uploads that nobody uploaded": str(uploads / "plain.wav"),
        "symlink": str(place / "link.wav"),
        "symlink among the uploads": str(uploads / "link.wav"),
        "FIFO": str(place / "fifo.wav"),
        "FIFO among the uploads": str(uploads / "fifo.wav"),
        "device": "/dev/zero",
        "process": "/proc/self/environ",
        "traversal": f"{uploads}/x/../../keys/stolen.key",
        "traversal by the folder of uploads": f"{uploads}/../keys/stolen.key",
        "relative": os.path.relpath(key),
        "file URL": key.as_uri(),
        "URL": "http://127.0.0.1:9/x.wav",
        "folder": str(home / "keys"),
        "NUL": f"{key}\0.wav",
        "empty": "",
    }
    if other_upload is not None:
        kinds["another caller's upload"] = other_upload
    return kinds


def shapes(path: str) -> list[Any]:
    """The forms in which a client can hand a path over."""
    meta = {"_type": "gradio.FileData"}
    return [
        {"path": path, "meta": meta},
        [{"path": path, "meta": meta}],
        {"path": path},
        {"path": path, "url": path, "meta": meta, "is_stream": True},
        {"url": path, "meta": meta},
        {"value": {"path": path, "meta": meta}, "__type__": "update"},
        {"path": {"path": path, "meta": meta}, "meta": meta},
    ]


def fifo_has_reader(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as exc:
        if exc.errno == errno.ENXIO:
            return False
        raise
    return True


def events(client: httpx.Client, function: int, data: Sequence[Any], **more: Any) -> str:
    """Send one event and read everything that comes of it, as text."""
    session = secrets.token_hex(6)
    body = {"fn_index": function, "session_hash": session, "data": list(data), **more}
    joined = client.post("/gradio_api/queue/join", content=json.dumps(body), headers=JSON)
    text = joined.text
    if joined.status_code == 200:
        with client.stream(
            "GET", "/gradio_api/queue/data", params={"session_hash": session}
        ) as answer:
            text = "".join(answer.iter_text())
    direct = client.post("/gradio_api/run/predict", content=json.dumps(body), headers=JSON)
    return f"{joined.status_code} {text}\n{direct.status_code} {direct.text}"


def handlers(client: httpx.Client) -> Iterator[tuple[int, int]]:
    """Number of every handler and how many values it takes, as the page itself tells."""
    for dependency in client.get("/config").json()["dependencies"]:
        yield dependency["id"], len(dependency["inputs"])


def walk(client: httpx.Client, kinds: dict[str, str], forms: slice = slice(None)) -> Outcome:
    """Offer every kind in every shape (of ``forms``) to every handler."""
    outcome = Outcome(kinds=len(kinds))
    fifos = [Path(path) for kind, path in kinds.items() if kind.startswith("FIFO")]
    for function, inputs in handlers(client):
        outcome.handlers += 1
        for kind, path in kinds.items():
            for shape in shapes(path)[forms]:
                text = events(client, function, [shape] * max(inputs, 1), event_data=shape)
                outcome.offers += 1
                outcome.refused += text.startswith("4") and "\n4" in text
                leaks = SECRET in text or (len(path) > 3 and path in text)
                if leaks or '"success":true' in text or any(map(fifo_has_reader, fifos)):
                    outcome.read.append(f"handler {function}, {kind}: {text[:300]}")
    return outcome


def main() -> int:
    from tests.support.accounts import PASSWORD, add_one_of_each, with_cheap_passwords
    from tests.support.serving import served
    from tests.unit.pretend import PretendStudio

    for mode in ("single-user", "accounts"):
        with tempfile.TemporaryDirectory() as folder:
            studio = with_cheap_passwords(PretendStudio(Path(folder) / "home"))
            studio.config = studio.config.model_copy(
                update={
                    "accounts": studio.config.accounts.model_copy(
                        update={"page_events_per_minute": 10**6}
                    )
                }
            )
            if mode == "accounts":
                add_one_of_each(studio.accounts())
            with served(studio) as url, httpx.Client(base_url=url, timeout=30) as client:
                if mode == "accounts":
                    client.post("/login", data={"name": "root", "password": PASSWORD})
                outcome = walk(client, bait(studio.paths.home))
        print(
            f"{mode}: {outcome.handlers} handlers x {outcome.kinds} kinds of file x "
            f"{len(shapes(''))} shapes = {outcome.offers} offers twice (queue and direct): "
            f"{outcome.refused} refused before Gradio saw them, {len(outcome.read)} files read"
        )
        for line in outcome.read[:10]:
            print("  ", line)
        if outcome.read:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
