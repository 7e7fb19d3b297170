"""Renditions of a released output: four stems, and the score as MIDI.

An output of the house model was performed from a recorded score. The same weights perform the same
score with the same seed again, and this time the stems are released one by one. Each is sealed
with the output's own seal, read back, tagged and signed; consent is asked again, as for new music;
one ledger entry records them all. Nothing is kept: whoever wants the files again makes them again.

A stem without sound cannot carry a seal. It is left out, and the entry says so.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from studio.consent.enforcement import perform_under
from studio.consent.storage.repository import ConsentMovedError
from studio.core.config import OutputFormat
from studio.core.errors import SealingError, UsageError
from studio.generation.decisions import Decisions, credits_of
from studio.generation.derived.derivation import Derivation
from studio.generation.derived.scores import ScoreStore
from studio.generation.progress import OnProgress, Progress, Run, Stage
from studio.generation.releasing.manifest import claim_of, file_title
from studio.generation.releasing.sealing import FileSealing, FileTexts, SealedFile
from studio.provenance.ledger.private_fields import Personal
from studio.provenance.release import Release
from studio.provenance.renditions import SCORE, RenditionRow, RenditionStore

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.consent import Decision
    from studio.core.tags import Vocabulary
    from studio.music.composer.notation.score import Score
    from studio.music.models.config import ModelConfig
    from studio.music.models.generator import MusicGenerator
    from studio.music.models.house.performer import Performance
    from studio.provenance.credentials.claims import Claim
    from studio.provenance.keys import KeyRing
    from studio.provenance.ledger.entry import Entry
    from studio.provenance.ledger.log import Ledger
    from watermark.audio.waveform import Waveform

__all__ = ["LeftOut", "RenditionMaker", "ScoreFile", "StemFile", "Stems"]

_SILENT_PEAK = 1e-3
"""-60 dBFS: a stem that never gets louder is the room's noise, if anything."""

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')
"""What some file system does not take in a name."""


@dataclass(frozen=True, slots=True)
class StemFile:
    """One released stem."""

    stem: str
    name: str  # of the file
    content: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A stem that is not released: ``silent``, or ``no-readable-seal``."""

    stem: str
    why: str

    def text(self) -> str:
        if self.why == "silent":
            return f"{self.stem}: the piece has no {self.stem}, and silence carries no seal"
        return f"{self.stem}: no seal can be read in it, so it is not released"


@dataclass(frozen=True, slots=True)
class Stems:
    """The stems of an output, as recorded."""

    release: Release
    files: tuple[StemFile, ...]
    left_out: tuple[LeftOut, ...]
    entry_index: int
    entry_hash: str

    def to_json(self) -> dict[str, Any]:
        """What the command line prints; without the sound."""
        return {
            "output_id": self.release.output_id,
            "entry": self.entry_index,
            "entry_hash": self.entry_hash,
            "stems": [
                {"stem": file.stem, "file": file.name, "sha256": file.sha256} for file in self.files
            ],
            "left_out": [{"stem": left.stem, "why": left.why} for left in self.left_out],
        }


@dataclass(frozen=True, slots=True)
class ScoreFile:
    """The score of an output, and the MIDI file of it as recorded."""

    release: Release
    score: Score
    content: bytes
    sha256: str
    entry_index: int


class RenditionMaker:
    """Makes and records renditions; safe to call from several threads.

    ``ancestors`` gives an output's parent, its parent and so on; ``require_distribution`` refuses
    an output that may not be distributed any more.
    """

    def __init__(
        self,
        *,
        vocabulary: Callable[[], Vocabulary],
        decisions: Decisions,
        sealing: FileSealing,
        models: Mapping[str, ModelConfig],
        generator: Callable[[str], MusicGenerator],
        ledger: Ledger,
        keys: KeyRing,
        ancestors: Callable[[Release], tuple[Release, ...]],
        require_distribution: Callable[[str], None],
        consent_unmoved: Callable[[Connection, int], None],
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._decisions = decisions
        self._sealing = sealing
        self._models = models
        self._generator = generator
        self._ledger = ledger
        self._keys = keys
        self._ancestors = ancestors
        self._require_distribution = require_distribution
        self._consent_unmoved = consent_unmoved
        self._clock = clock or (lambda: datetime.now(UTC))
        self._scores = ScoreStore(ledger)
        self._store = RenditionStore(ledger)

    # -- stems ----------------------------------------------------------------------------------

    def stems(
        self,
        release: Release,
        *,
        format: OutputFormat | None = None,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        permit: Callable[[Connection], None] | None = None,
    ) -> Stems:
        """Perform the output's score again and release its stems.

        Raises :class:`UsageError` where the output has no score, or its model has other weights
        now, and as a generation does. On any exception nothing is released.
        """
        now = [""]  # which stem is being worked at

        def told(step: Progress) -> None:
            if progress is not None:
                progress(replace(step, text=f"{now[0]}{step.text}"))

        run = Run(told, cancel or threading.Event())
        run.enter(Stage.CONSENT, "Asking the rights holders' grants")
        self._require_distribution(release.output_id)
        score = self._score_of(release)
        derivation = self._derivation(release)
        about = {"output_id": release.output_id}
        decision = self._decisions.decide(
            release.request, derivation, stage=Stage.CONSENT, about=about
        )
        run.enter(Stage.GENERATE, "Loading the model")
        played = self._performed(release, score, decision, run)

        sealed: dict[str, SealedFile] = {}
        left_out: list[LeftOut] = []
        for stem, waveform in played.stems.items():
            now[0] = f"{stem}: "
            if not any(part.notes for part in score.stem(stem)) or _is_silent(waveform):
                left_out.append(LeftOut(stem, "silent"))
                continue
            try:
                sealed[stem] = self._sealed(
                    release, stem, waveform, format or release.request.format, decision, run
                )
            except SealingError:
                left_out.append(LeftOut(stem, "no-readable-seal"))
        now[0] = ""
        if not sealed:
            raise SealingError("nothing was released: no stem of this output can carry its seal")

        run.enter(Stage.RELEASE, "Recording and releasing")
        entry = self._recorded(release, derivation, decision, sealed, left_out, permit)
        run.enter(Stage.DONE, "Released", can_cancel=False)
        return Stems(
            release=release,
            files=tuple(
                StemFile(
                    stem,
                    f"{_file_stem(release)} - {stem}.{file.format}",
                    file.content,
                    file.file["sha256"],
                )
                for stem, file in sealed.items()
            ),
            left_out=tuple(left_out),
            entry_index=entry.index,
            entry_hash=entry.leaf_hash.hex(),
        )

    def require_consent(self, release: Release) -> None:
        """Ask consent again for stems that were made before.

        Raises :class:`ConsentRefusedError` and records the refusal where a grant no longer covers
        the output.
        """
        self._require_distribution(release.output_id)
        about = {"output_id": release.output_id}
        derivation = self._derivation(release)
        self._decisions.decide(release.request, derivation, stage=Stage.RELEASE, about=about)

    def _performed(
        self, release: Release, score: Score, decision: Decision, run: Run
    ) -> Performance:
        """The performance that the output is, once more: as it was kept, or drawn again."""
        from studio.music.models.house.played import Given

        generator = self._generator(release.request.model)
        generator.require()
        generator.load()
        played = self._scores.performance_of(release)
        kept = None if played is None or not generator.plays(played) else Given.whole(played)
        if kept is None and generator.info.digest != release.model["digest"]:
            raise UsageError(
                f"the stems of output {release.output_id} cannot be made: it was performed by "
                f"other weights of model {release.request.model!r} than this studio has now; "
                "`studio vary --keep notes` performs its notes anew"
            )
        tags = self._vocabulary().parse(release.request.tags)
        performance = perform_under(
            decision,
            generator,
            tags,
            score,
            model=release.request.model,
            seed=int(release.model["performance_seed"]),
            progress=run.generated,
            cancel=run.cancel,
            given=kept,
        )
        if not self._is_the_output(performance.mix, release):
            raise UsageError(
                f"the stems of output {release.output_id} cannot be made: its score and seed sound "
                "otherwise now (the model's settings were changed); `studio vary --keep notes` "
                "performs its notes anew"
            )
        return performance

    def _is_the_output(self, mix: Waveform, release: Release) -> bool:
        """Whether the mix is what was released, but for the seal."""
        from watermark.fingerprint.haitsma_kalker import fingerprint, match

        found = match(fingerprint(mix), self._scores.fingerprint_of(release))
        return found is not None and found.is_match

    def _sealed(
        self,
        release: Release,
        stem: str,
        waveform: Waveform,
        format: OutputFormat,
        decision: Decision,
        run: Run,
    ) -> SealedFile:
        from watermark.coding.message import SealId

        basis = self._models[release.request.model].training_basis.strip()
        request = replace(release.request, title=release.title)
        parents = self._ancestors(release)

        def claim() -> Claim:
            return claim_of(
                request,
                decision,
                model={**release.model, "training_basis": basis},
                seal_id=release.seal_id,
                made_at=self._clock(),
                parent=parents[0] if parents else None,
                stem=stem,
            )

        texts = FileTexts(
            file_title(release.title, stem),
            (
                *credits_of(decision, release.model),
                f"The {stem} stem of output {release.output_id}",
            ),
            claim,
        )
        seal_id = SealId.parse(release.seal_id)
        key = self._keys.of(release.seal["epoch"])
        return self._sealing.seal_readably(waveform, format, texts, seal_id, key, run)

    def _recorded(
        self,
        release: Release,
        derivation: Derivation | None,
        signed: Decision,
        sealed: Mapping[str, SealedFile],
        left_out: list[LeftOut],
        permit: Callable[[Connection], None] | None,
    ) -> Entry:
        """Decide again and append the entry."""
        about = {"output_id": release.output_id}
        rows = [
            RenditionRow(
                part=stem,
                output_id=release.output_id,
                sha256=file.file["sha256"],
                fingerprint=file.fingerprint.to_bytes(),
                label=file.signed.label,
                manifest=file.signed.manifest,
            )
            for stem, file in sealed.items()
        ]
        while True:
            self._require_distribution(release.output_id)
            decision = self._decisions.decide(
                release.request, derivation, stage=Stage.RELEASE, about=about
            )
            self._decisions.require_same_grants(release.request, signed, decision, about=about)
            body = {
                "output_id": release.output_id,
                "release": release.entry_index,
                "decision": decision.to_json(),
                "model": {
                    name: release.model[name]
                    for name in ("id", "digest", "score_sha256", "performance_seed")
                },
                "files": [
                    {
                        "part": stem,
                        **file.file,
                        "fingerprint_sha256": hashlib.sha256(
                            file.fingerprint.to_bytes()
                        ).hexdigest(),
                        "audio": file.audio,
                        "seal": file.seal,
                        "c2pa": file.c2pa,
                    }
                    for stem, file in sealed.items()
                ],
                "left_out": [{"part": left.stem, "why": left.why} for left in left_out],
                "credit_lines": [Personal(line) for line in credits_of(decision, release.model)],
            }

            def also(connection: Connection, version: int = decision.consent_entry) -> None:
                if permit is not None:
                    permit(connection)
                self._consent_unmoved(connection, version)

            # Decided again if consent changes between the decision and the commit.
            with suppress(ConsentMovedError):
                return self._store.record(body, rows, also=also)

    # -- score ----------------------------------------------------------------------------------

    def score(self, release: Release) -> Score:
        """What the output was performed from. Raises :class:`UsageError` where it has no score."""
        self._require_distribution(release.output_id)
        return self._score_of(release)

    def score_file(self, release: Release) -> ScoreFile:
        """The score as a MIDI file with title, ids and credits; recorded once.

        Raises :class:`UsageError` where the output has no score.
        """
        from studio.music.composer.notation.midi import score_midi

        score = self.score(release)
        texts = (
            f"Output {release.output_id}",
            f"Seal {release.seal_id}",
            *release.credits,
            # The ledger keeps the file's digest: no title may be found by trying.
            f"Serial {self._serial(release)}",
        )
        content = score_midi(score, title=release.title, texts=texts)
        digest = hashlib.sha256(content).hexdigest()
        entry = self._store.entry_of(release.output_id, digest)
        if entry is None:
            body = {
                "output_id": release.output_id,
                "release": release.entry_index,
                "model": {"score_sha256": release.model["score_sha256"]},
                "files": [
                    {"part": SCORE, "format": "mid", "bytes": len(content), "sha256": digest}
                ],
            }
            row = RenditionRow(SCORE, release.output_id, digest)
            entry = self._store.record(body, [row]).index
        return ScoreFile(release, score, content, digest, entry)

    def _serial(self, release: Release) -> str:
        from studio.provenance.credentials.repository import ManifestStore

        manifest = ManifestStore(self._ledger).of_output(release.output_id)
        secret = b"" if manifest is None else manifest.content
        return hashlib.sha256(b"consented-music-studio/score\x00" + secret).hexdigest()[:16]

    # -- helpers --------------------------------------------------------------------------------

    def _score_of(self, release: Release) -> Score:
        score = self._scores.of_output(release)
        if score is None:
            raise UsageError(
                f"output {release.output_id} has no score: it was made by a model that plays from "
                "none, or by an earlier design of the house model; so it has no stems either"
            )
        return score

    def _derivation(self, release: Release) -> Derivation | None:
        """How the output was made from its ancestors, whose grants are asked for again."""
        ancestors = self._ancestors(release)
        if release.lineage is None or not ancestors:
            return None
        return Derivation(release.lineage["relation"], ancestors)


def _is_silent(waveform: Waveform) -> bool:
    samples = waveform.samples
    return not samples.size or float(abs(samples).max()) < _SILENT_PEAK


def _file_stem(release: Release) -> str:
    """The name of an output's files: its title, told apart by the start of its id.

    Free of what a file system may refuse, and short enough with a stem and an extension behind it.
    """
    mark = f"({release.output_id[:4]})"
    title = _FORBIDDEN.sub(" ", release.title.removesuffix(mark)).strip(" .") or "Output"
    return f"{title.encode()[:180].decode(errors='ignore').strip()} {mark}"
