"""Scores of outputs: composed, stored with the release, read to vary and extend.

An output of the house model is a performance of a score. The release's ledger entry keeps under
``model`` the score's SHA-256 (``score_sha256``), a line of words about it (``score``) and the seed
it was performed with (``performance_seed``); the score itself is a row of ``output_score``. What
was played (:mod:`studio.music.models.house.played`) is a row of ``output_performance``, its SHA-256
stands there as ``performance_sha256``: so stems can be released and kept as they were, also by
other weights of the language model.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from studio.core.db.tables.ledger import output
from studio.core.db.tables.scores import output_performance, output_score
from studio.core.errors import ConfigError, LedgerError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.generation.derived.derivation import Derivation, Wish
    from studio.music.composer.notation.fixed import Fixed
    from studio.music.composer.notation.score import Score
    from studio.music.models.generator import MusicGenerator
    from studio.music.models.house.played import Given, Played
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.release import Release
    from watermark.audio.waveform import Waveform
    from watermark.fingerprint.haitsma_kalker import Fingerprint

__all__ = [
    "Composed",
    "ScoreStore",
    "check_sheet",
    "fixes_form",
    "genre_for",
    "given_to",
    "length_of_sheet",
    "score_record",
    "sheet_contributes",
    "varied",
]


@dataclass(frozen=True, slots=True)
class Composed:
    """Music, what made it, and what it was played from, where it has a score."""

    waveform: Waveform
    model: Mapping[str, Any]
    score: Score | None = None
    played: Played | None = None


class ScoreStore:
    """Keeps and finds scores in the ledger's database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @staticmethod
    def keep(
        connection: Connection, output_id: str, score: Score, played: Played | None = None
    ) -> None:
        """Write score and performance; in the transaction that appends their output's entry."""
        content = zlib.compress(score.to_json().encode("ascii"), 9)
        connection.execute(output_score.insert().values(output_id=output_id, content=content))
        if played is not None:
            values = {"output_id": output_id, "content": played.to_bytes()}
            connection.execute(output_performance.insert().values(values))

    def performance_of(self, release: Release) -> Played | None:
        """What was played of an output's score; None where it was not kept.

        Raises :class:`LedgerError` where the entry names a performance that is not there or is
        another.
        """
        from studio.music.models.house.played import Played

        expected = release.model.get("performance_sha256")
        if expected is None:
            return None
        query = select(output_performance.c.content).where(
            output_performance.c.output_id == release.output_id
        )
        with self._ledger.database.reading() as connection:
            content = connection.execute(query).scalar_one_or_none()
        if content is None or hashlib.sha256(content).hexdigest() != expected:
            raise LedgerError(
                f"the performance of output {release.output_id} is missing or not the one its "
                "ledger entry names; run `studio ledger verify`"
            )
        try:
            return Played.from_bytes(content)
        except ConfigError as exc:
            raise LedgerError(f"output {release.output_id}: {exc}") from exc

    def of_output(self, release: Release) -> Score | None:
        """What an output was performed from; None where it was made without a score.

        Raises :class:`LedgerError` where the entry names a score that is not there or is another.
        """
        from studio.music.composer.notation.score import Score

        expected = release.model.get("score_sha256")
        if expected is None:
            return None
        query = select(output_score.c.content).where(output_score.c.output_id == release.output_id)
        with self._ledger.database.reading() as connection:
            content = connection.execute(query).scalar_one_or_none()
        try:
            score = None if content is None else Score.from_json(_text(content))
        except (zlib.error, UnicodeDecodeError, ConfigError):
            score = None
        if score is None or score.digest() != expected:
            raise LedgerError(
                f"the score of output {release.output_id} is missing or not the one its ledger "
                "entry names; run `studio ledger verify`"
            )
        return score

    def fingerprint_of(self, release: Release) -> Fingerprint:
        """The fingerprint of an output as it was released. Raises :class:`LedgerError`."""
        from watermark.errors import FingerprintError
        from watermark.fingerprint.haitsma_kalker import Fingerprint

        query = select(output.c.fingerprint).where(output.c.output_id == release.output_id)
        with self._ledger.database.reading() as connection:
            content = connection.execute(query).scalar_one()
        try:
            return Fingerprint.from_bytes(content)
        except FingerprintError as exc:
            raise LedgerError(
                f"the fingerprint of output {release.output_id} is damaged; "
                "run `studio ledger verify`"
            ) from exc


def _text(content: bytes) -> str:
    unpacker = zlib.decompressobj()
    return unpacker.decompress(content, 16 * 1024 * 1024).decode("ascii")


def score_record(
    score: Score, performance_seed: int, played: Played | None = None
) -> dict[str, Any]:
    """What a ledger entry keeps of a score and its performance, under ``model``."""
    record = {
        "score_sha256": score.digest(),
        "score": score.words,
        "performance_seed": performance_seed,
    }
    if played is not None:
        record["performance_sha256"] = hashlib.sha256(played.to_bytes()).hexdigest()
    return record


def given_to(
    derivation: Derivation | None, child: Score | None, generator: MusicGenerator
) -> Given | None:
    """What of its parent's performance a child plays as it was; None where nothing is.

    A variation that redoes a stem plays the others as they were; an extension begins as its parent
    does. The codec must be the one that the parent was played by.
    """
    from studio.music.models.house.notes import STEMS
    from studio.music.models.house.played import Given

    if derivation is None or derivation.score is None or child is None:
        return None
    played, redo = derivation.played, derivation.wish.redo
    if played is None or not generator.plays(played):
        return None
    if derivation.relation == "extend":
        return Given.beginning(played, _alike(derivation.score, child))
    return None if redo is None else Given.stems(played, [n for n in STEMS if n != redo])


def _alike(parent: Score, child: Score) -> int:
    """Frames from the beginning in which two scores are the same, for every stem."""
    import numpy as np

    from studio.music.models.house.notes import TimedScore, score_features

    one, two = (score_features(TimedScore.from_score(score)) for score in (parent, child))
    frames = min(one.frames, two.frames)
    differs = np.zeros(frames, bool)
    for a, b in ((one.roll, two.roll), (one.onset, two.onset)):
        differs |= (a[:, :frames] != b[:, :frames]).any((0, 2))
    return int(differs.argmax()) if differs.any() else frames


def varied(score: Score, wish: Wish, tags: Sequence[str], seed: int) -> Score:
    """The score of a variation that takes something of its parent's.

    Raises :class:`UsageError` where there is no other way to write it.
    """
    from studio.music.composer.variation import other_instruments, redone, same_chords

    try:
        if wish.redo is not None:
            return redone(score, wish.redo, seed)
        if wish.new is not None:
            return other_instruments(score, tags, seed)
        return same_chords(score, tags, seed) if wish.keep == "chords" else score
    except ConfigError as exc:
        raise UsageError(str(exc)) from exc


def check_sheet(text: str, tags: Sequence[str], seed: int, duration_s: float) -> Fixed:
    """What a lead sheet fixes, if a piece can be planned from it.

    Raises :class:`UsageError` that names the line and the bar.
    """
    from studio.music.composer.notation.sheet import read_sheet
    from studio.music.composer.planning.plan import plan_piece

    try:
        fixed = read_sheet(text)
        plan_piece(tags, seed, duration_s, fixed)
    except ConfigError as exc:
        raise UsageError(f"the lead sheet: {exc}") from exc
    return fixed


def length_of_sheet(text: str, tags: Sequence[str], seed: int) -> float | None:
    """Seconds of the form that a lead sheet fixes; None where it fixes none.

    Raises :class:`UsageError` as :func:`check_sheet` does.
    """
    from studio.music.composer.notation.sheet import read_sheet
    from studio.music.composer.planning.plan import plan_piece

    try:
        fixed = read_sheet(text)
        return plan_piece(tags, seed, None, fixed).duration_s if fixed.form else None
    except ConfigError as exc:
        raise UsageError(f"the lead sheet: {exc}") from exc


def sheet_contributes(text: str) -> bool:
    """Whether a lead sheet holds chords or notes of a person's own.

    >>> sheet_contributes("key: C major; tempo: 90"), sheet_contributes("chords: C | F")
    (False, True)
    """
    fixed = _read(text)
    return bool(fixed.chords or fixed.melodies)


def fixes_form(text: str) -> bool:
    """Whether a lead sheet says how long the piece is."""
    return bool(_read(text).form)


def _read(text: str) -> Fixed:
    from studio.music.composer.notation.sheet import read_sheet

    try:
        return read_sheet(text)
    except ConfigError as exc:
        raise UsageError(f"the lead sheet: {exc}") from exc


def genre_for(seed: int, genres: Iterable[str], allowed: Callable[[str], bool]) -> str | None:
    """The genre tag for a request that names none: drawn by its seed from those allowed.

    >>> genre_for(7, ["genre/jazz", "genre/waltz"], lambda tag: tag != "genre/jazz")
    'genre/waltz'
    """
    known = sorted(genres)
    order = random.Random(f"{seed}/genre").sample(known, len(known))
    return next((tag for tag in order if allowed(tag)), None)
