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
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile

from studio.app.container import Container
from studio.app.outputs.releases import Releases
from studio.core.config import load_config
from studio.core.errors import ConsentRefusedError, GenerationCancelledError, UsageError
from studio.core.paths import resolve_paths
from studio.generation.derived.renditions import LeftOut, StemFile, Stems
from studio.generation.limits.quota import Quotas
from studio.generation.progress import Progress, Stage
from studio.music.composer.notation.score import Score
from studio.provenance.release import (
    GenerationRequest,
    OutputId,
    Release,
    credit_lines,
    title_of,
)
from studio.verification.report import Verdict, VerifyReport
from tests.support.databases import place_database
from watermark.audio.waveform import Waveform


class PretendStudio(Container):
    """See the module. ``takes_s``: how long a generation lasts; ``failure``: raised by it, and
    ``failing_seeds`` by that of a seed.

    Its parts that make music, examine files and look outputs up are pretended; consent, accounts,
    the security log and the limits are real.
    """

    def __init__(self, home: Path, *, takes_s: float = 0.0) -> None:
        paths = resolve_paths(home=home, environ={})
        super().__init__(paths, load_config(paths.configs / "studio.yaml"))
        paths.create()
        place_database(paths.ledger)
        self.takes_s = takes_s
        self.failure: BaseException | None = None
        self.failing_seeds: dict[int | None, BaseException] = {}
        self.report: VerifyReport | None = None
        self.examine: Callable[..., VerifyReport] | None = None  # instead of all that
        self.requests: list[GenerationRequest] = []
        self.made: dict[str, Release] = {}
        self.stopped = threading.Event()
        parts = {
            "_pipeline": PretendPipeline(self),
            "_releases": PretendReleases(self),
            "_renditions": PretendRenditions(),
            "_examiner": PretendExaminer(self),
            "_quotas": PretendQuotas(self.database(), self.config.quotas),
            "_registry": None,
        }
        vars(self).update(parts)


class PretendQuotas(Quotas):
    """Counts requests; compares no fingerprints."""

    def look_for_alike(self, *_: Any, **__: Any) -> None:
        """Outputs of this module have none."""


class PretendPipeline:
    """Decides by real consent, then writes a tone."""

    def __init__(self, studio: PretendStudio) -> None:
        self._studio = studio

    def check(self, request: GenerationRequest) -> None:
        """Asks for nothing."""

    def close(self) -> None:
        """Nothing is open."""

    def generate(
        self,
        request: GenerationRequest,
        *,
        progress: Any = None,
        cancel: Any = None,
        reserved: Any = None,
        preview: Any = None,
        **_: Any,
    ) -> Release:
        studio = self._studio
        studio.requests.append(request)
        if studio.failure is not None:
            raise studio.failure
        if request.seed in studio.failing_seeds:
            raise studio.failing_seeds[request.seed]
        decision = studio.policy().decide(
            request.tags,
            use=request.use,
            territory=request.territory,
            model=request.model,
            at=datetime.now(UTC),
        )
        if not request.tags:
            raise UsageError("a request names at least one tag; `studio tags` lists them")
        if not decision.allowed:
            raise ConsentRefusedError(f"refused: {decision.explain()}")
        if preview is not None:
            with preview.sealed_by(iter):
                preview.hear(Waveform(np.full((2, 100), 0.5, np.float32), 16_000))
        begin = time.monotonic()
        while (elapsed := time.monotonic() - begin) < studio.takes_s:
            if cancel is not None and cancel.is_set():
                studio.stopped.set()
                raise GenerationCancelledError("cancelled; nothing was kept")
            if progress is not None:
                share = elapsed / studio.takes_s
                text = f"Generating: {share * request.duration_s:.1f} of {request.duration_s:.1f} s"
                progress(Progress(Stage.GENERATE, 0.02 + 0.8 * share, text))
            time.sleep(0.02)
        release = self._release(request, decision)
        if reserved is not None:
            reserved(release.output_id)
        return release

    def _release(self, request: GenerationRequest, decision: Any) -> Release:
        studio = self._studio
        output_id = OutputId(secrets.token_hex(8))
        path = studio.paths.outputs / f"{output_id}.{request.format}"
        tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(int(request.duration_s * 16000)) / 16000)
        soundfile.write(path, tone * np.abs(np.sin(np.arange(len(tone)) / 9000)), 16000)
        body = decision.to_json()
        holders = {holder.id: holder.name for holder in studio.consent().holders.values()}
        release = Release(
            output_id=output_id,
            path=path,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            seal_id=output_id,
            entry_index=len(studio.made) + 1,
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
        studio.made[output_id] = release
        return release


class PretendReleases(Releases):
    """Looks up what was made here; the ledger holds none of it."""

    def __init__(self, studio: PretendStudio) -> None:
        super().__init__(studio)
        self._made = studio.made
        self._accounts = studio.accounts

    def get(self, output_id: str) -> Release:
        try:
            return self._made[output_id]
        except KeyError:
            raise UsageError(f"no output {output_id!r} in the ledger") from None

    def recent(self, limit: int) -> list[Release]:
        return list(self._made.values())[::-1][:limit]

    def made_by(self, account: str | None, limit: int) -> list[Release]:
        if account is None:
            return self.recent(limit)
        mine = self._accounts().outputs_of(account)
        return [self._made[output_id] for output_id in mine][::-1][:limit]

    def require_distribution(self, output_id: str) -> None:
        """Nothing is withdrawn."""


class PretendRenditions:
    """A short score, a file that is none, and one stem that says in which format it was asked."""

    def score(self, release: Release) -> Score:
        from studio.music.composer.arrange import compose_score

        return compose_score(["genre/waltz"], 1, 10.0)

    def score_file(self, release: Release) -> SimpleNamespace:
        return SimpleNamespace(content=b"MThd")

    def stems(self, release: Release, *, format: str | None, **more: Any) -> Stems:
        kind = format or release.request.format
        return Stems(
            release=release,
            files=(StemFile("bass", f"Fünf - bass.{kind}", kind.encode(), "0" * 64),),
            left_out=(LeftOut("drums", "silent"),),
            entry_index=7,
            entry_hash="0" * 64,
        )


class PretendExaminer:
    """Gives the report that the test put in place."""

    def __init__(self, studio: PretendStudio) -> None:
        self._studio = studio

    def examine(
        self, source: str | Path | bytes, *, progress: Any = None, **more: Any
    ) -> VerifyReport:
        studio = self._studio
        if studio.examine is not None:
            return studio.examine(source, progress=progress, **more)
        if studio.failure is not None:
            raise studio.failure
        begin = time.monotonic()
        while (elapsed := time.monotonic() - begin) < studio.takes_s:
            progress(elapsed)
            time.sleep(0.02)
        return studio.report or VerifyReport(
            verdict=Verdict.UNREADABLE, explanation="It is not audio.", file="x", error="not audio"
        )
