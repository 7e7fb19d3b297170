"""Vary and extend the studio's own outputs, with their consent and record.

* :meth:`Lineage.vary`: the parent's tags (or others) and settings, with another seed; or the
  parent's own notes in another performance.
* :meth:`Lineage.extend`: the parent's music, and what comes after its end. The house model plays
  the parent's recorded score on; a hub model goes on from the parent's sound.

The parent is named by its output id, or given as a file, in which its seal must read and its
content must agree: a verdict of `sealed` or `excerpt`. What the child is made from is always the
studio's own record and own file, never the file that was given. Consent is decided anew, for the
tags and for every grant up the line (:mod:`studio.generation.derived.derivation`); the child's
entry names its parent. How the parent's seal comes off before the child's goes on:
:mod:`studio.generation.derived.seal_removal`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from studio.core.config import FORMATS, OutputFormat
from studio.core.db.tables.lineage import output_parent
from studio.core.errors import LedgerError, ParentRefusedError, UsageError
from studio.generation.derived.derivation import Derivation, Relation, Wish
from studio.generation.derived.scores import ScoreStore
from studio.provenance.release import GenerationRequest, Release

if TYPE_CHECKING:
    from studio.music.composer.notation.score import Score
    from studio.provenance.keys import KeyRing
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.sealer import Sealer
    from studio.verification.verifier import VerifyReport
    from watermark.audio.waveform import Waveform

__all__ = ["MAX_DEPTH", "Child", "FamilyTree", "Lineage", "Source", "in_words"]

Source = str | Path | bytes
"""An output id (16 hexadecimal digits), a file, or the content of one."""

MAX_DEPTH = 32
"""Longest line of descent; an output with so many ancestors has no children."""

_OUTPUT_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Child:
    """An output that was made from another one."""

    release: Release
    relation: Relation


@dataclass(frozen=True, slots=True)
class FamilyTree:
    """Where an output comes from and what was made from it."""

    release: Release
    ancestors: tuple[Release, ...]  # the parent first; empty for an output made from tags alone
    children: tuple[Child, ...]  # oldest first

    @property
    def relation(self) -> str | None:
        """How it was made from its parent."""
        return None if self.release.lineage is None else str(self.release.lineage["relation"])

    def to_json(self) -> dict[str, Any]:
        return {
            "output_id": self.release.output_id,
            "entry": self.release.entry_index,
            "relation": self.relation,
            **taken(self.release),
            "forebears": [_step(release) for release in self.ancestors],
            "children": [
                {**_step(child.release), "relation": child.relation, **taken(child.release)}
                for child in self.children
            ],
        }

    def text(self) -> str:
        """One line of plain words; empty for an output without ancestors."""
        if not self.ancestors:
            return ""
        verbs = {"extend": "extends", "vary": "varies"}
        steps, current = [], self.release
        for ancestor in self.ancestors:
            assert current.lineage is not None  # it has a parent
            verb = verbs[current.lineage["relation"]]
            words = in_words(current)
            steps.append(f"{verb} “{ancestor.title}” (output {ancestor.output_id}, ledger entry "
                         f"{ancestor.entry_index}{f'; {words}' if words else ''})")  # fmt: skip
            current = ancestor
        return f"It {', which '.join(steps)}."


class Lineage:
    """Finds parents, and turns wishes into requests with their derivation."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        keys: KeyRing,
        sealer: Callable[[], Sealer],
        verify: Callable[[Source], VerifyReport],
        require_distribution: Callable[[str], None],
        performs_scores: Callable[[str], bool],
    ) -> None:
        """`performs_scores` says of a model's id whether it plays from a score."""
        self._performs_scores = performs_scores
        self._scores = ScoreStore(ledger)
        self._ledger = ledger
        self._keys = keys
        self._sealer = sealer
        self._verify = verify
        self._require_distribution = require_distribution

    # -- looking up ---------------------------------------------------------------------------

    def ancestors(self, release: Release) -> tuple[Release, ...]:
        """The parent, its parent, and so on. Raises :class:`LedgerError` where one is missing."""
        found: list[Release] = []
        while release.request.parent is not None:
            parent = self._ledger.release(release.request.parent)
            if parent is None or parent.entry_index >= release.entry_index:
                raise LedgerError(
                    f"the parent of output {release.output_id} is not in the ledger before it; "
                    "run `studio ledger verify`"
                )
            found.append(parent)
            release = parent
        return tuple(found)

    def family(self, release: Release) -> FamilyTree:
        """Ancestors and children of an output."""
        query = select(output_parent).where(output_parent.c.parent_id == release.output_id)
        with self._ledger.database.reading() as connection:
            rows = connection.execute(query).all()
        children = [
            Child(child, row.relation)
            for row in rows
            if (child := self._ledger.release(row.output_id)) is not None
        ]
        children.sort(key=lambda child: child.release.entry_index)
        return FamilyTree(release, self.ancestors(release), tuple(children))

    def parent_of(self, source: Source) -> Release:
        """The output that a source is. Raises :class:`ParentRefusedError` where it is none."""
        if isinstance(source, str) and _OUTPUT_ID.fullmatch(source):
            release = self._ledger.release(source)
            if release is None:
                raise ParentRefusedError(f"there is no output {source} in this studio")
        else:
            report = self._verify(source)
            if report.release is None or report.verdict.is_negative:
                raise ParentRefusedError(
                    "only outputs of this studio can be varied or extended, recognised by their "
                    f"seal; this file is {report.verdict}. {report.explanation}"
                )
            release = report.release
        self._require_distribution(release.output_id)
        return release

    def _line(self, parent: Release) -> tuple[Release, ...]:
        line = (parent, *self.ancestors(parent))
        if len(line) > MAX_DEPTH:
            raise ParentRefusedError(
                f"output {parent.output_id} has {MAX_DEPTH} ancestors already; begin anew from tags"
            )
        return line

    # -- wishes -------------------------------------------------------------------------------

    def vary(
        self,
        parent: Release,
        *,
        tags: Sequence[str] | None = None,
        seed: int | None = None,
        changes: Mapping[str, Any] | None = None,
        wish: Wish | None = None,
    ) -> tuple[GenerationRequest, Derivation]:
        """A request like the parent's with another seed, and its derivation.

        ``changes`` replaces further fields of the parent's request where they are not None. With a
        ``wish`` the child is made from the parent's recorded score: tags and duration stay, but for
        the lead. Raises :class:`UsageError` where they are to change, and
        :class:`ParentRefusedError` where the parent has no score.
        """
        chosen = tuple(tags) if tags else parent.request.tags
        request = _changed(parent, {"tags": chosen, "seed": seed, **(changes or {})})
        if wish is not None and not wish.empty:
            if (
                request.tags != parent.request.tags
                or request.duration_s != parent.request.duration_s
            ):
                raise UsageError(
                    "what is made from the parent's score has its tags and duration; only the lead "
                    "can be another"
                )
            score = self._score_of(parent, request.model, "varied from its score")
            again = (
                parent.model["performance_seed"] if wish.keep == "notes" else parent.request.seed
            )
            if seed is not None and seed == again:
                raise UsageError(f"seed {seed} would make the parent again; leave the seed out")
            request = replace(request, tags=_led_by(request.tags, wish))
            played = self._scores.performance_of(parent)
            return request, Derivation(
                "vary", self._line(parent), score=score, played=played, wish=wish
            )
        if request.seed == parent.request.seed and request.tags == parent.request.tags:
            raise UsageError(
                f"seed {seed} and the same tags would make the parent again; leave the seed out"
            )
        return request, Derivation("vary", self._line(parent))

    def extend(
        self,
        parent: Release,
        seconds: float,
        *,
        seed: int | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> tuple[GenerationRequest, Derivation]:
        """A request for the parent's music and ``seconds`` more, and its derivation.

        Raises :class:`ParentRefusedError` where the parent's file is gone or not as released, or,
        for the house model, where the parent was not performed from a score.
        """
        if seconds <= 0:
            raise UsageError("an extension adds more than 0 seconds")
        duration_s = parent.duration_s + seconds
        request = _changed(parent, {"seed": seed, "duration_s": duration_s, **(changes or {})})
        line = self._line(parent)
        if self._performs_scores(request.model):
            score = self._score_of(parent, request.model, "extended")
            request = replace(request, duration_s=score.duration_s + seconds)
            played = self._scores.performance_of(parent)
            return request, Derivation("extend", line, score=score, played=played)
        return request, Derivation("extend", line, prompt=self._music_of(parent))

    def _score_of(self, parent: Release, model: str, wish: str) -> Score:
        """The parent's score. Raises :class:`ParentRefusedError` where it has none."""
        score = self._scores.of_output(parent) if self._performs_scores(model) else None
        if score is not None:
            return score
        if not self._performs_scores(model):
            why = f"model {model!r} performs no scores"
        elif parent.request.model == model:
            why = "it was made by an earlier design of the house model, which kept no score"
        else:
            why = f"it was made by model {parent.request.model!r}, which plays from no score"
        raise ParentRefusedError(
            f"output {parent.output_id} cannot be {wish}: {why}; it can be varied as a whole"
        )

    def _music_of(self, release: Release) -> Waveform:
        """The output's music as it was before it was sealed."""
        from studio.generation.derived.seal_removal import unsealed
        from watermark.audio.waveform import read
        from watermark.coding.message import SealId
        from watermark.errors import AudioError

        try:
            content = release.path.read_bytes()
            if hashlib.sha256(content).hexdigest() != release.sha256:
                raise ParentRefusedError(
                    f"the file of output {release.output_id} is not the one that was released"
                )
            waveform = read(content)
        except (OSError, AudioError) as exc:
            raise ParentRefusedError(
                f"the file of output {release.output_id} cannot be read: {exc}"
            ) from exc
        sealer = self._sealer()
        if sealer.describe()["digest"] != release.seal["digest"]:
            raise ParentRefusedError(
                f"output {release.output_id} was sealed with another pair of seal models than this "
                "studio uses now; it can be varied, not extended"
            )
        return unsealed(
            waveform,
            SealId.parse(release.seal_id),
            self._keys.of(release.seal["epoch"]),
            sealer=sealer,
            strength=release.seal["strength"],
        )


def _changed(parent: Release, changes: Mapping[str, Any]) -> GenerationRequest:
    """The parent's request with changes; the seed is drawn anew unless given. What people typed
    about the parent (title, note, lead sheet, contribution) is not inherited."""
    given = {name: value for name, value in changes.items() if value is not None}
    if "format" in given:
        given["format"] = _format(given["format"])
    return replace(
        parent.request,
        **{
            "seed": None,
            "title": None,
            "sheet": None,
            "human": (),
            **given,
            "parent": parent.output_id,
        },
    )


def _led_by(tags: tuple[str, ...], wish: Wish) -> tuple[str, ...]:
    """The parent's tags with the lead that is wished for; with new instruments none is asked for
    unless named, and the composer takes another of the genre's own."""
    if wish.lead is None and wish.new is None:
        return tags
    rest = tuple(tag for tag in tags if not tag.startswith("lead/"))
    return rest if wish.lead is None else (*rest, f"lead/{wish.lead}")


def _format(name: str) -> OutputFormat:
    chosen = next((known for known in FORMATS if known == name), None)
    if chosen is None:
        raise UsageError(f"format {name!r} is not one of {', '.join(FORMATS)}")
    return chosen


def taken(release: Release) -> dict[str, str]:
    """What a variation took of its parent's score, as its entry says: kept, redone, new."""
    row = release.lineage or {}
    return {name: str(row[name]) for name in ("kept", "redone", "new") if name in row}


def in_words(release: Release) -> str:
    """The same for a person: ``drums redone``; empty for what was made anew as a whole."""
    return ", ".join(
        f"new {what}" if how == "new" else f"{what} {how}" for how, what in taken(release).items()
    )


def _step(release: Release) -> dict[str, Any]:
    return {
        "output_id": release.output_id,
        "entry": release.entry_index,
        "title": release.title,
        "tags": list(release.request.tags),
        "duration_s": release.duration_s,
    }
