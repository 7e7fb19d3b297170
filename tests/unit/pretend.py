"""A studio for tests of the faces: real consent, configuration and types; pretended sound and desk.

Generation writes a short tone and takes as long as the test says; verification gives the report the
test put in place. What the page makes of them is what these tests are about; the real path is
driven by tests/browser and tests/integration.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile

from studio.app.container import (
    GenerationRequest,
    Progress,
    Release,
    Stage,
    Studio,
    TagStatus,
    Verdict,
    VerifyReport,
)
from studio.core.config import load_config
from studio.core.errors import ConsentRefusedError, GenerationCancelledError, UsageError
from studio.core.paths import resolve_paths
from studio.generation.takes import Take, make_takes, take_requests
from studio.provenance.release import OutputId, credit_lines, title_of


class PretendStudio(Studio):
    """See the module. ``takes_s``: how long a generation lasts; ``failure``: raised by it, and
    ``failing_seeds`` by that of a seed."""

    def __init__(self, home: Path, *, takes_s: float = 0.0) -> None:
        paths = resolve_paths(home=home, environ={})
        super().__init__(paths, load_config(paths.configs / "studio.yaml"))
        paths.create()
        self.takes_s = takes_s
        self.failure: BaseException | None = None
        self.failing_seeds: dict[int | None, BaseException] = {}
        self.report: VerifyReport | None = None
        self.requests: list[GenerationRequest] = []
        self.releases: dict[str, Release] = {}
        self.stopped = threading.Event()

    def tag_status(self, *scope: Any, **scope_by_name: Any) -> list[TagStatus]:
        """As the shipped house model would have it, whether or not its weights are here."""
        return [
            replace(status, known_to_model=status.tag.id != "genre/choral")
            for status in super().tag_status(*scope, **scope_by_name)
        ]

    def generate(
        self,
        request: GenerationRequest,
        *,
        progress: Any = None,
        cancel: Any = None,
        account: str | None = None,
    ) -> Release:
        self.requests.append(request)
        if self.failure is not None:
            raise self.failure
        if request.seed in self.failing_seeds:
            raise self.failing_seeds[request.seed]
        decision = self.decide(
            request.tags, use=request.use, territory=request.territory, model=request.model
        )
        if not request.tags:
            raise UsageError("a request names at least one tag; `studio tags` lists them")
        if not decision.allowed:
            raise ConsentRefusedError(f"refused: {decision.explain()}")
        begin = time.monotonic()
        while (elapsed := time.monotonic() - begin) < self.takes_s:
            if cancel is not None and cancel.is_set():
                self.stopped.set()
                raise GenerationCancelledError("cancelled; nothing was kept")
            if progress is not None:
                share = elapsed / self.takes_s
                text = f"Generating: {share * request.duration_s:.1f} of {request.duration_s:.1f} s"
                progress(Progress(Stage.GENERATE, 0.02 + 0.8 * share, text))
            time.sleep(0.02)
        release = self._hand_out(request, decision)
        if account is not None:
            self.accounts().own(release.output_id, account)
        return release

    def generate_takes(
        self,
        request: GenerationRequest,
        count: int,
        *,
        progress: Any = None,
        cancel: Any = None,
        account: str | None = None,
    ) -> tuple[Take, ...]:
        return make_takes(
            take_requests(request, count),
            lambda one, report, stop: self.generate(
                one, progress=report, cancel=stop, account=account
            ),
            progress=progress,
            cancel=cancel,
        )

    def _hand_out(self, request: GenerationRequest, decision: Any) -> Release:
        output_id = OutputId(secrets.token_hex(8))
        path = self.paths.outputs / f"{output_id}.{request.format}"
        tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(int(request.duration_s * 16000)) / 16000)
        soundfile.write(path, tone * np.abs(np.sin(np.arange(len(tone)) / 9000)), 16000)
        body = decision.to_json()
        holders = {holder.id: holder.name for holder in self.consent().holders.values()}
        release = Release(
            output_id=output_id,
            path=path,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            seal_id=output_id,
            entry_index=len(self.releases) + 1,
            entry_hash=hashlib.sha256(output_id.encode()).hexdigest(),
            request=request,
            decision=body,
            rate=16000,
            channels=1,
            duration_s=request.duration_s,
            title=title_of(request.tags, output_id),
            credits=credit_lines(body, holders, "House model"),
            created_at=datetime.now(UTC),
            seal={"id": output_id, "pair": "house"},
            model={"id": request.model, "title": "House model", "licence": "MIT"},
        )
        self.releases[output_id] = release
        return release

    def release(self, output_id: str) -> Release:
        try:
            return self.releases[output_id]
        except KeyError:
            raise UsageError(f"no output {output_id!r} in the ledger") from None

    def audio_file(self, output_id: str) -> Path:
        return self._download_of(self.release(output_id))

    def score_file(self, output_id: str) -> SimpleNamespace:
        self.release(output_id)
        return SimpleNamespace(content=b"MThd")

    def outputs(self, limit: int = 50, *, account: str | None = None) -> list[Release]:
        mine = self.releases if account is None else self.accounts().outputs_of(account)
        return [self.releases[output_id] for output_id in mine][::-1][:limit]

    def recent(self, limit: int = 20) -> list[Release]:
        return list(self.releases.values())[::-1][:limit]

    def verify(
        self, source: str | Path | bytes, *, record: bool = True, progress: Any = None, **_: Any
    ) -> VerifyReport:
        if self.failure is not None:
            raise self.failure
        begin = time.monotonic()
        while (elapsed := time.monotonic() - begin) < self.takes_s:
            progress(elapsed)
            time.sleep(0.02)
        return self.report or VerifyReport(
            verdict=Verdict.UNREADABLE, explanation="It is not audio.", file="x", error="not audio"
        )
