"""Fetches a hub model's files to this machine: in a process of its own, resumable, and pinned.

The files go into the cache of ``huggingface_hub``, which goes on with what an earlier fetch left
unfinished. Every file of the model is compared with its configuration's digest, or with the digest
that the hub itself names; what was fetched is pinned: later the studio loads this commit and these
digests only (:func:`with_pins`).

:func:`fetch` starts ``python -m studio.music.models.fetching``, because the client of the hub reads
``HF_HUB_OFFLINE`` when it is imported, and a served studio sets it. Whoever fetches asked for the
network.

>>> import tempfile
>>> home = Path(tempfile.mkdtemp())
>>> keep_pins(home, "a/b", Pins("0" * 40, {"state_dict.bin": "1" * 64}))
>>> read_pins(home)["a/b"].commit[:4]
'0000'
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from studio.core.errors import (
    CheckpointError,
    GenerationCancelledError,
    HubUnreachableError,
    ModelError,
    UsageError,
)
from studio.music.models.config import ModelConfig

__all__ = ["Fetched", "Pins", "fetch", "keep_pins", "read_pins", "with_pins"]

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ERRORS: dict[str, type[ModelError]] = {
    "CheckpointError": CheckpointError,
    "HubUnreachableError": HubUnreachableError,
}
_ETAG = re.compile(r"[0-9A-Za-z-]{8,128}")
_CONNECT_S = 10
_CHUNK = 1 << 16  # bytes


@dataclass(frozen=True, slots=True)
class Fetched:
    """How far a fetch is, in bytes; ``total`` grows as further files become known."""

    name: str
    done: int
    total: int

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def text(self) -> str:
        return f"{self.name}: {self.done / 1e6:.0f} of about {self.total / 1e6:.0f} MB"


@dataclass(frozen=True, slots=True)
class Pins:
    """What was fetched: the commit of the repository, and SHA-256 by file name."""

    commit: str
    digests: Mapping[str, str]


def fetch(
    config: ModelConfig,
    *,
    report: Callable[[Fetched], None] = lambda _: None,
    cancel: threading.Event | None = None,
) -> Pins:
    """Fetch the files of a hub model, or what of them is not here yet.

    Raises :class:`HubUnreachableError`, :class:`CheckpointError` (no such repository; a file is not
    the one expected), :class:`GenerationCancelledError` once ``cancel`` is set (what was fetched so
    far stays for the next time) and :class:`UsageError` for a model that is not of the hub.
    """
    if config.kind != "hub" or config.repo is None or config.path is not None:
        raise UsageError(f"model {config.id!r} is not fetched from the hub")
    command = [sys.executable, "-m", "studio.music.models.fetching"]
    with subprocess.Popen(  # noqa: S603 - this interpreter and a module of ours
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"},
        text=True,
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(config.model_dump_json())
        child.stdin.close()
        over = threading.Event()
        if cancel is not None:
            guard = threading.Thread(target=_stop, args=(child, cancel, over), daemon=True)
            guard.start()
        try:
            return _followed(config, child.stdout, report, cancel)
        finally:
            over.set()
            child.terminate()


def _stop(child: subprocess.Popen[str], cancel: threading.Event, over: threading.Event) -> None:
    while not over.is_set():
        if cancel.wait(0.2):
            child.terminate()
            return


def _followed(
    config: ModelConfig,
    lines: Any,
    report: Callable[[Fetched], None],
    cancel: threading.Event | None,
) -> Pins:
    """Read what the child says until it has ended."""
    for line in lines:
        said = json.loads(line)
        if "pins" in said:
            return Pins(**said["pins"])
        if "error" in said:
            raise _ERRORS.get(said["error"], ModelError)(str(said["message"]))
        report(Fetched(**said))
    if cancel is not None and cancel.is_set():
        raise GenerationCancelledError("the fetch was cancelled; what is here stays for the next")
    raise ModelError(
        f"the fetch of model {config.id!r} ended before all files were here; start it again, it "
        "goes on where it was"
    )


# -- pins ------------------------------------------------------------------------------------------


def _file(home: Path) -> Path:
    return home / "model-pins.json"


def read_pins(home: Path) -> dict[str, Pins]:
    """The pins by model id; none where nothing was fetched. Raises :class:`CheckpointError`."""
    try:
        said = json.loads(_file(home).read_text(encoding="utf-8"))
        pins = {str(id_): Pins(row["commit"], dict(row["digests"])) for id_, row in said.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise CheckpointError(
            f"{_file(home)} cannot be read ({exc}); delete it and fetch the models again"
        ) from exc
    for pin in pins.values():
        if not _COMMIT.fullmatch(pin.commit) or not all(
            map(_DIGEST.fullmatch, pin.digests.values())
        ):
            raise CheckpointError(
                f"{_file(home)} holds what is no commit or digest; delete it and fetch again"
            )
    return pins


def keep_pins(home: Path, model: str, pins: Pins) -> None:
    """Write down what was fetched of a model."""
    rows = {id_: asdict(pin) for id_, pin in (read_pins(home) | {model: pins}).items()}
    beside = _file(home).with_suffix(".new")
    beside.write_text(json.dumps(rows, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    beside.replace(_file(home))


def with_pins(config: ModelConfig, pins: Mapping[str, Pins]) -> ModelConfig:
    """The configuration with what was fetched; what it pins itself goes before it."""
    pin = pins.get(config.id)
    if pin is None or config.path is not None or config.kind != "hub":
        return config
    if config.revision is not None and _COMMIT.fullmatch(config.revision):
        return config
    return config.model_copy(
        update={"revision": pin.commit, "digests": {**pin.digests, **config.digests}}
    )


# -- in the child ----------------------------------------------------------------------------------


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - the parent reads it


class _Tally:
    """Bytes of all files together, said at most ten times a second."""

    def __init__(self, expected: int) -> None:
        self.name, self.done, self.total, self._said = "", 0, expected, 0.0
        self.ended = 0  # bytes of the files that are whole

    def at(self, done: int) -> None:
        import time

        self.done = self.ended + done
        self.total = max(self.total, self.done)
        if time.monotonic() - self._said >= 0.1:
            self._said = time.monotonic()
            _say(name=self.name, done=self.done, total=self.total)

    def meter(self) -> type[Any]:
        """A progress bar for the hub's client, which draws nothing and tells this tally."""
        from huggingface_hub.utils.tqdm import tqdm

        tally = self

        class Meter(tqdm):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                kwargs.pop("name", None)
                super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]  # tqdm has no types
                self._so_far = int(kwargs.get("initial") or 0)
                tally.at(self._so_far)

            def update(self, n: float | None = 1) -> bool | None:
                self._so_far += int(n or 0)
                tally.at(self._so_far)
                return None

        return Meter


def _fetched(config: ModelConfig) -> Pins:
    """The work itself. Raises as :func:`fetch`."""
    from huggingface_hub import constants, hf_hub_download, snapshot_download

    from studio.music.models.hub.loader import (
        CODEC_FILE,
        CODEC_PATTERNS,
        ENCODER_PATTERNS,
        LM_FILE,
        from_hub,
        repositories_of,
    )

    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK  # what a stop loses at most; the client's own is 10 MB
    assert config.repo is not None
    tally = _Tally(1_000_000 * (config.download_mb or 0))
    paths: dict[str, Path] = {}
    for name in (LM_FILE, CODEC_FILE):

        def whole(repo: str, name: str = name, **where: Any) -> str:
            revision = config.revision or "main"
            _into_cache(config, repo, name, revision, where.get("endpoint"), tally)
            return str(hf_hub_download(repo, name, revision=revision, **where))

        paths[name] = from_hub(config, config.repo, whole)
    commit = paths[LM_FILE].parent.name
    if paths[CODEC_FILE].parent.name != commit or not _COMMIT.fullmatch(commit):
        raise CheckpointError(f"{config.repo} changed while it was fetched; fetch it again")
    encoders, codecs = repositories_of(paths[LM_FILE], paths[CODEC_FILE])
    for patterns, repos in ((ENCODER_PATTERNS, encoders), (CODEC_PATTERNS, codecs)):

        def all_of(repo: str, patterns: tuple[str, ...] = patterns, **where: Any) -> str:
            wanted = snapshot_download(repo, allow_patterns=[*patterns], dry_run=True, **where)
            for file in wanted:
                if file.will_download:
                    endpoint = where.get("endpoint")
                    _into_cache(config, repo, file.filename, file.commit_hash, endpoint, tally)
            return str(snapshot_download(repo, allow_patterns=[*patterns], **where))

        for repo in repos:
            from_hub(config, repo, all_of)
    return Pins(commit, {name: _sha256(path) for name, path in paths.items()})


def _into_cache(
    config: ModelConfig,
    repo: str,
    name: str,
    revision: str,
    endpoint: str | None,
    tally: _Tally,
) -> None:
    """Put a file of the hub into the client's cache, where the client then finds it.

    The client itself begins a file anew in every process; here the part that a stop left goes on.
    Raises :class:`CheckpointError` for a file with another digest than the one expected.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get, repo_folder_name

    url = hf_hub_url(repo, name, revision=revision, endpoint=endpoint)
    about = get_hf_file_metadata(url, timeout=_CONNECT_S, endpoint=endpoint)
    if about.etag is None or about.size is None or not _ETAG.fullmatch(about.etag):
        return  # the client fetches it
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    blob = folder / "blobs" / about.etag
    tally.name = name if repo == config.repo else f"{repo}, {name}"
    if not blob.exists():
        part = blob.with_name(f"{about.etag}.studio-part")
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            if file.tell() > about.size:
                file.truncate(0)
            if file.tell() < about.size:
                http_get(
                    about.location,
                    file,
                    resume_size=file.tell(),
                    expected_size=about.size,
                    tqdm_class=tally.meter(),
                )
        _require_digest(config, repo, name, about.etag, part)
        part.replace(blob)
    tally.ended += about.size
    tally.at(0)


def _require_digest(config: ModelConfig, repo: str, name: str, etag: str, part: Path) -> None:
    """Delete a file whose digest is not the configured one, or the one that the hub names."""
    pinned = config.digests.get(name) if repo == config.repo else None
    wanted = pinned or etag
    if not _DIGEST.fullmatch(wanted):
        return
    digest = _sha256(part)
    if digest != wanted:
        part.unlink()
        raise CheckpointError(
            f"{name} of {repo} is not the file that was expected: SHA-256 {digest[:12]}… instead "
            f"of {wanted[:12]}…; it was deleted"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _main() -> None:
    config = ModelConfig.model_validate_json(sys.stdin.read())
    try:
        _say(pins=asdict(_fetched(config)))
    except ModelError as exc:
        _say(error=type(exc).__name__, message=str(exc))


if __name__ == "__main__":
    _main()
