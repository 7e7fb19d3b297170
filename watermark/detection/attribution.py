"""Attribution: which key and which output the soft bits belong to.

Tried on the whole file, on the stretches that look sealed, and on the windows that look most like
it. A *scrambled* seal is looked for in two steps: the scramble of every registered epoch says where
in its period of 8 s the stretch lies (:mod:`watermark.coding.scramble`; the evidence that it is
sealed under that key at all), and at the likeliest places the scramble is undone and the codebook
asked (:mod:`watermark.coding.identify`). Beside the reader's own path, the alignments 20 to 60 ms
away are tried: under a stranger's seal on another grid ours is still written there.

Seals of models that do not scramble, and those of weights before v3, are looked for as they are;
not those that are known to be scrambled.

Every stretch, alignment, key and place tried counts in the bounds, so they hold for all together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from watermark.coding.identify import MAX_CHANCE, Codebook, Identification, identify
from watermark.coding.message import SealKey
from watermark.coding.scramble import Place, Scramble, chance, descrambled, follow, limited, places
from watermark.detection.readout import Readout
from watermark.detection.result import KeyedEvidence, Segment
from watermark.models.base import SealModel

__all__ = ["Attribution", "attribute"]

_BESIDE_FROM = 1.2  # contrast from which a plain seal is looked for under another one
_LIKELY = 1.0  # contrast from which a large registry is searched exhaustively
_SEARCH_S, _SEARCH_HOP_S, _SEARCH_MOST = 12.0, 6.0, 8  # windows the codebook is tried on
_SURE = 1e-6 * MAX_CHANCE  # bound at which no other place need be asked
_CUTS = 3  # of a stretch, that are tried at other lengths
_PLACES = 3  # of the scramble, at which the codebook is asked
_EXCESS = 2.5  # deviations above other places from which that is worth while
_FOLLOWED_S = 60.0  # longest stretch in which a change of place is looked for
_PLACED_S = 40.0  # of a stretch, its middle, that says where in the scramble it lies


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """What the codebook says of one reading.

    Attributes:
        identification: the seal, or None.
        keyed: that it is sealed under a registered key, or None.
        message_phase_s: where the first of the seconds below begins in the file.
        message_logits: soft bits per second, (seconds, 16); the scramble undone where a key showed
            its place, else as they were read.
    """

    identification: Identification | None
    keyed: KeyedEvidence | None
    message_phase_s: float
    message_logits: NDArray[np.float32]


def attribute(
    reading: Readout,
    model: SealModel,
    codebook: Codebook | None,
    segments: tuple[Segment, ...],
    *,
    looks: int = 1,
) -> Attribution:
    """Ask the codebook.

    Args:
        reading: of the file.
        model: that it was read with.
        codebook: None asks nobody.
        segments: stretches that look sealed.
        looks: how often this file was looked at in another way before; the bounds count them.
    """
    if codebook is None:
        return Attribution(None, None, *_plain_logits(reading, None))
    spans = _spans(reading, segments)
    # An exhaustive search of a large registry is worth its time where the pilot says "sealed".
    likely_sealed = reading.score() > _LIKELY or len(spans) > 1
    keyed = view = None
    if model.chip_cells:
        # Half of the chance is kept for seals that may not be scrambled, if there are any.
        shares = 1 if codebook.all_scrambled else 2
        looks = shares * looks
        found, keyed, view = _scrambled(reading, model, codebook, spans, looks, likely_sealed)
        done = found is not None or keyed is not None or not likely_sealed
        if done or codebook.all_scrambled:
            phase_s, logits = view if view is not None else _plain_logits(reading, None)
            return Attribution(found, keyed, phase_s, logits)
    # Where seals are scrambled this is for old ones only, and not worth going through a million.
    thorough = likely_sealed and not model.chip_cells
    found = _plain(reading, codebook, spans, looks, thorough, bool(model.chip_cells))
    if found is None and view is not None:
        return Attribution(None, None, *view)
    return Attribution(found, None, *_plain_logits(reading, found))


def _spans(reading: Readout, segments: tuple[Segment, ...]) -> list[tuple[float, float]]:
    """The file, its sealed stretches, its likeliest windows."""
    duration = reading.duration_s
    spans = [(0.0, duration)]
    spans += [(s.start_s, s.end_s) for s in segments if s.end_s - s.start_s < duration - 1.0]
    if duration > 1.5 * _SEARCH_S:
        starts = np.arange(0.0, duration - _SEARCH_S / 2, _SEARCH_HOP_S)
        scores = [reading.score(s, s + _SEARCH_S) for s in starts]
        likely = [i for i in np.argsort(scores)[::-1][:_SEARCH_MOST] if scores[i] > _LIKELY]
        spans += [(float(starts[i]), float(starts[i]) + _SEARCH_S) for i in likely]
    return spans


# -- scrambled seals --------------------------------------------------------------------------

_Logits = tuple[float, NDArray[np.float32]]  # where the first second begins in the file; (n, 16)


@dataclass(frozen=True, slots=True, eq=False)
class _Stretch:
    """Cells of a span on one alignment: numbers from 0, begins in the file, limited soft bits."""

    index: NDArray[np.int64]
    start_s: NDArray[np.float64]
    bits: NDArray[np.float32]
    cell_s: float

    @staticmethod
    def of(reading: Readout, start_s: float, end_s: float) -> _Stretch | None:
        inside = reading.between(start_s, end_s)
        begins = reading.start_s[inside]
        if len(begins) < 2 or not np.any(reading.bits[inside]):
            return None
        # A path that drifts, or wraps round, moves a cell by less than half of one.
        steps = np.maximum(np.round(np.diff(begins) / reading.cell_s), 0)
        index = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
        return _Stretch(index, begins, limited(reading.bits[inside]), reading.cell_s)

    def middle(self, seconds: float) -> _Stretch:
        """The middle of the soft bits, numbered as the whole is."""
        half = round(seconds / self.cell_s / 2)
        centre = len(self.index) // 2
        part = slice(max(0, centre - half), centre + half)
        return _Stretch(self.index[part], self.start_s[part], self.bits[part], self.cell_s)


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A place for a stretch; ``numbers`` are its cells' in the original, up to whole periods."""

    key: SealKey
    scramble: Scramble
    stretch: _Stretch
    place: Place
    numbers: NDArray[np.int64]

    def chance(self) -> float:
        part = self.stretch.middle(_PLACED_S)
        first = int(part.index[0])
        cell = (self.place.cell + first) % len(self.scramble)
        return chance(part.index - first, part.bits, self.scramble, cell)

    def followed(self) -> _Candidate:
        """Through the cuts and splices there may be."""
        s = self.stretch
        return replace(self, numbers=follow(s.index, s.bits, self.scramble))

    def otherwise(self) -> list[_Candidate]:
        """The same cuts, one of them a whole period longer or the other way round."""
        moved = np.flatnonzero(np.diff(self.numbers - self.stretch.index)) + 1
        out = []
        for cut in moved[:_CUTS]:
            for turn in (len(self.scramble), -len(self.scramble)):
                later = np.arange(len(self.numbers)) >= cut
                out.append(replace(self, numbers=self.numbers + turn * later))
        return out

    def rows(self) -> tuple[int, NDArray[np.float32]]:
        return descrambled(self.numbers, self.stretch.bits, self.scramble)

    def offset_s(self, moved_s: int) -> float:
        """Where the file's second 0 lies in the original, most of it, if the numbers are off by so
        many seconds (whole periods)."""
        s = self.stretch
        return float(np.median(self.numbers * s.cell_s - s.start_s)) + moved_s

    def logits(self, duration_s: float) -> _Logits:
        """Whole seconds within the file."""
        second, rows = self.rows()
        begins = second + np.arange(len(rows)) - self.offset_s(0)
        whole = (begins > -0.05) & (begins + 1 < duration_s + 0.05)
        if not whole.any():
            return 0.0, rows[:0]
        return float(begins[whole][0]), rows[whole]


def _candidates(
    reading: Readout, scrambles: dict[SealKey, Scramble], span: tuple[float, float]
) -> list[_Candidate]:
    """The likeliest places on one alignment under any key."""
    stretch = _Stretch.of(reading, *span)
    if stretch is None:
        return []
    part = stretch.middle(_PLACED_S)
    first = int(part.index[0])
    found = []
    for key, scramble in scrambles.items():
        for place in places(part.index - first, part.bits, scramble, _PLACES):
            begin = Place((place.cell - first) % len(scramble), place.excess)
            numbers = begin.cell + stretch.index
            found.append(_Candidate(key, scramble, stretch, begin, numbers))
    return found


def _rounds(
    reading: Readout, scrambles: dict[SealKey, Scramble], spans: list[tuple[float, float]]
) -> Iterator[tuple[tuple[float, float], list[_Candidate], list[_Candidate]]]:
    """Spans with their likeliest candidates, best first, and with cuts followed.

    The file on the reader's path, the file beside it, then the other spans on the path: one round
    more than there are spans.
    """
    beside = range(reading.rivals.shape[1])
    yield spans[0], *_best(_candidates(reading, scrambles, spans[0]), spans[0])
    pools = [_candidates(reading.beside(rival), scrambles, spans[0]) for rival in beside]
    yield spans[0], *_best([candidate for pool in pools for candidate in pool], spans[0])
    for span in spans[1:]:
        yield span, *_best(_candidates(reading, scrambles, span), span)


def _best(
    candidates: list[_Candidate], span: tuple[float, float]
) -> tuple[list[_Candidate], list[_Candidate]]:
    """The likeliest; and the likeliest of all with its cuts followed, if it has any."""
    best = sorted(candidates, key=lambda c: -c.place.excess)[:_PLACES]
    if best and span[1] - span[0] <= _FOLLOWED_S:
        followed = best[0].followed()
        if np.ptp(followed.numbers - best[0].numbers):
            return best, [followed, *followed.otherwise()]
    return best, []


def _asked(
    candidate: _Candidate, codebook: Codebook, asked: int, thorough: bool
) -> Identification | None:
    """The codebook's answer at one place, at a bound that counts ``asked`` questions."""
    second, rows = candidate.rows()
    found = identify(
        rows,
        codebook,
        thorough=thorough,
        max_chance=MAX_CHANCE / asked,
        key=candidate.key,
        second=second,
    )
    if found is None:
        return None
    return replace(
        found,
        offset_s=round(candidate.offset_s(round(found.offset_s) - second), 6),
        chance_bound=min(1.0, found.chance_bound * asked),
        searched=found.searched * asked,
    )


def _scrambled(
    reading: Readout,
    model: SealModel,
    codebook: Codebook,
    spans: list[tuple[float, float]],
    looks: int,
    likely_sealed: bool,
) -> tuple[Identification | None, KeyedEvidence | None, _Logits | None]:
    """The seal, the evidence for a key, and the messages at the likeliest place."""
    scrambles = {key: s for key in codebook.keys if (s := model.scramble(key)) is not None}
    if not scrambles:
        return None, None, None
    alignments = len(spans) + reading.rivals.shape[1]
    period = max(map(len, scrambles.values()))
    tries = looks * alignments * len(scrambles) * period  # places looked at, for the key
    # Codebook searches, for the seal. The likeliest place of the file has half of the chance, all
    # others together the other half.
    others = (len(spans) + 1) * (_PLACES + 1 + 2 * _CUTS)
    evidence: KeyedEvidence | None = None
    likeliest: _Candidate | None = None
    for number, (span, plain, spliced) in enumerate(_rounds(reading, scrambles, spans)):
        named: tuple[Identification, _Candidate] | None = None
        for candidate in [*spliced, *plain]:
            bound = 1.0
            if candidate.place.least_chance * tries <= MAX_CHANCE:
                bound = min(1.0, candidate.chance() * tries)
            if bound <= min(MAX_CHANCE, evidence.chance_bound if evidence else 1.0):
                evidence = KeyedEvidence(candidate.key.epoch, bound, *span)
            if likeliest is None or candidate.place.excess > likeliest.place.excess:
                likeliest = candidate
            if candidate.place.excess < _EXCESS:
                continue
            first = number == 0 and candidate is plain[0]
            asked = 2 * looks * (1 if first else others)
            found = _asked(candidate, codebook, asked, likely_sealed or bound <= MAX_CHANCE)
            if found and (named is None or found.chance_bound < named[0].chance_bound):
                named = found, candidate
                if found.chance_bound <= _SURE:
                    break
        if named is not None:
            return named[0], evidence, named[1].logits(reading.duration_s)
    return None, evidence, likeliest.logits(reading.duration_s) if likeliest else None


# -- seals that are not scrambled -------------------------------------------------------------


def _plain(
    reading: Readout,
    codebook: Codebook,
    spans: list[tuple[float, float]],
    looks: int,
    thorough: bool,
    unscrambled: bool,
) -> Identification | None:
    search = partial(_search, unscrambled=unscrambled)
    found = search(reading, codebook, spans, 2 * len(spans) * looks, thorough)
    if found is not None or reading.score() < _BESIDE_FROM:
        return found
    # A stranger's seal on another grid, if that is what was read, leaves ours beside it. Half of
    # the chance bound is kept for these further looks.
    rivals = reading.rivals.shape[1]
    hits = [
        hit
        for rival in range(rivals)
        if (hit := search(reading.beside(rival), codebook, spans[:1], 2 * rivals * looks, False))
    ]
    return min(hits, key=lambda hit: hit.chance_bound, default=None)


def _search(
    reading: Readout,
    codebook: Codebook,
    spans: list[tuple[float, float]],
    tries: int,
    thorough: bool,
    *,
    unscrambled: bool,
) -> Identification | None:
    """The first span that names a seal, at a bound that counts ``tries`` searches."""
    for start, end in spans:
        part = replace(reading, duration_s=min(end, reading.duration_s))
        logits = part.on_grid(reading.cell_s, start)
        if not np.any(logits):
            continue
        # Every span counts as searched (a union bound), so the bound holds for all together.
        found = identify(
            logits,
            codebook,
            hop_s=reading.cell_s,
            window_s=reading.cell_s,
            thorough=thorough,
            max_chance=MAX_CHANCE / tries,
            unscrambled=unscrambled,
        )
        if found is not None:
            return replace(
                found,
                offset_s=_refined(found, codebook, reading, start, end),
                chance_bound=min(1.0, found.chance_bound * tries),
                searched=found.searched * tries,
            )
    return None


def _refined(
    found: Identification, codebook: Codebook, reading: Readout, start_s: float, end_s: float
) -> float:
    """Where the file's second 0 lies in the original, to the step of the alignments (5 ms) or,
    where few seconds are there to tell neighbouring cells apart, to a cell.

    The search knows the place to a twelfth of a second. Cells of the original begin at whole cells,
    so where the file's cells begin leaves a few candidates a cell apart; the messages decide.
    """
    rough = found.offset_s - start_s
    use = reading.between(start_s, end_s) & reading.audible
    words = _words(codebook, found)
    if not use.any() or words is None:
        return rough
    cell = reading.cell_s
    turn = np.exp(2j * np.pi * (reading.start_s[use] + rough) / cell).mean()
    near = rough - float(np.angle(turn)) / (2 * np.pi) * cell
    signs = np.unpackbits(words.astype(">u2").view(np.uint8)).reshape(-1, 16) * 2.0 - 1.0
    middles = reading.start_s[use] + cell / 2
    sizes = np.abs(reading.bits[use])
    bits = np.clip(reading.bits[use], -np.median(sizes), np.median(sizes))  # no cell decides alone
    best, best_sum = near, -np.inf
    for candidate in near + cell * np.arange(-3, 4):
        second = np.floor(middles + candidate).astype(int)
        inside = (second >= 0) & (second < len(signs))
        agreement = float((bits[inside] * signs[second[inside]]).sum())
        if agreement > best_sum:
            best, best_sum = float(candidate), agreement
    return best


def _words(codebook: Codebook, found: Identification) -> NDArray[np.uint16] | None:
    """The registered sequence of the seal found, 16-bit words by second."""
    for group in codebook.groups:
        if group.key.epoch == found.epoch and (at := group.find(found.seal_id)) is not None:
            return np.ascontiguousarray(group.words[:, at])
    return None


def _plain_logits(reading: Readout, found: Identification | None) -> _Logits:
    """Soft bits per second at the phase where seconds agree with themselves most."""
    if found is not None:
        phase = (-found.offset_s) % 1.0
        phase -= phase > 0.95  # a second that begins just before the file
        return phase, reading.on_grid(1.0, phase).astype(np.float32)
    best_phase, best_energy = 0.0, -1.0
    for phase in np.arange(0.0, 1.0, 0.04):
        rows = reading.on_grid(1.0, float(phase))
        energy = float(np.abs(rows).mean()) if len(rows) else 0.0
        if energy > best_energy * 1.0001:
            best_phase, best_energy = float(phase), energy
    return best_phase, reading.on_grid(1.0, best_phase).astype(np.float32)
