"""What watermark and fingerprint say about each stretch, before a verdict.

The **seal** (:mod:`watermark.detection.detect`) says which registered sequence of messages a
stretch carries; the **content** (:mod:`watermark.fingerprint.matching`) says which registered
recording it is. Here the two are laid over each other: the whole recording is read first, then
again every stretch that one of the two points at and the other has not explained, so that an edit
of several outputs, or of ours and other music, comes apart into its parts.

Content is compared in the mix of the channels, and before anything is held against a file also in
each channel and in the difference of the first two: what cancels in the mix or is drowned by it is
still there. The recorded stems of an output are its content as well. That a seal was *copied* is
said only where the content is positively another one and the seal stands there clearly; a seal that
is named without either is just that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from studio.provenance.renditions import split_key
from studio.verification.parts import (
    Evidence,
    Part,
    PartKind,
    in_order,
    is_covered,
    is_weaker,
    mean_distance,
    nearest_of_output,
    outside,
    unsealed_part,
)
from studio.verification.suspect import SuspectAudio, clearest, played, speed_spans, views_of
from studio.verification.trials import Trials

if TYPE_CHECKING:
    from studio.provenance.output_index import OutputIndex
    from watermark.audio.waveform import Waveform
    from watermark.coding.identify import Identification
    from watermark.detection.detect import Detection
    from watermark.fingerprint.haitsma_kalker import Fingerprint, FingerprintMatch
    from watermark.fingerprint.matching import Stretch

__all__ = ["Evidence", "Examiner", "Part", "PartKind", "Reader"]

Reader = Callable[["SuspectAudio | Waveform"], "Detection"]
"""Reads the seal of a recording against the registry."""

_SAME_PLACE_S = 1.5
"""Seal and fingerprint must place the file within this of each other: both look at whole seconds
or windows of half a second, and a changed tempo shifts them apart."""

_PLACE_OFF_S = 0.1
"""A faint seal places the file to a cell of 80 ms: so far the content is looked for around it."""

_LEAST_S = 4.0
"""A stretch shorter than this is not read again: too few messages to name anything."""

_MOST_STRETCHES = 24
"""Read again at most, longest first: a hostile file must not cost hours."""

_LONGEST_S = 120.0
"""Of a stretch that is read again; outputs are shorter."""

_SURELY_AT_SPEED = 0.15
"""Content this near plays at its own speed: one percent off costs 0.12 and more."""

_DIFFERS = 1e-3
"""Energy of what the channels differ by against their mix, from which each may show more."""

_DIFFERS_MUCH = 0.05
"""The same, from which each is looked at where neither seal nor content was found."""

_NEARER = 0.05
"""By so much of its bits another output must be nearer before the seal's own is doubted."""


@dataclass(frozen=True, slots=True)
class Examiner:
    """Gathers the evidence on one recording, and counts in ``tried`` what was tried for it.

    ``read`` reads a seal; ``max_speed_change`` bounds the speed search.
    """

    registry: OutputIndex
    read: Reader
    max_speed_change: float = 0.0
    tried: Trials = field(default_factory=Trials)
    _cache: dict[str, Fingerprint] = field(default_factory=dict)

    def examine(self, recording: SuspectAudio) -> Evidence:
        """Seal and content of a recording; a changed speed is found and undone."""
        evidence = self._at_this_speed(recording)
        sealed = evidence.of_kind(PartKind.SEALED)
        if len(self.registry) == 0 or (sealed and mean_distance(sealed) <= _SURELY_AT_SPEED):
            return evidence
        undone = self._at_another_speed(recording, evidence)
        if undone is None or undone.weight <= 1.1 * evidence.weight:
            return evidence
        return undone

    # -- one speed ----------------------------------------------------------------------------

    def _at_this_speed(self, recording: SuspectAudio) -> Evidence:
        self.tried.recordings += 1
        detection = self.read(recording)
        mix = [] if recording.print is None else [recording.print]
        self.tried.views = max(self.tried.views, len(mix))
        evidence = self._compared(recording, detection, mix)
        if _is_settled(evidence, recording):
            return evidence
        others = recording.other_prints()
        self.tried.views = max(self.tried.views, len(mix) + len(others))
        return self._compared(recording, detection, [*mix, *others]) if others else evidence

    def _compared(
        self, recording: SuspectAudio, detection: Detection, prints: Sequence[Fingerprint]
    ) -> Evidence:
        """What is said with the content of these views."""
        from watermark.fingerprint.matching import merged, stretches

        content = merged(s for print_ in prints for s in stretches(print_, self.registry.index))
        parts: list[Part] = []
        first = detection.identification
        if first is not None:
            parts += self._on_its_content(first, recording, prints, content)
        todo = self._unexplained(recording, detection, parts, content)
        for number, waveform in recording.cut(todo):
            start_s, _ = todo[number]
            self.tried.stretches += 1
            again = self.read(waveform)
            found = again.identification
            if found is None:
                continue
            # The file's second 0 lies where the stretch's does, less the stretch's start.
            moved = replace(found, offset_s=found.offset_s - start_s)
            fresh = self._on_its_content(moved, recording, prints, content)
            parts += [p for p in fresh if not is_covered(p.start_s, p.end_s, parts)]
            seen = bool(again.segments)
            parts += self._elsewhere(moved, recording, prints, [todo[number]], parts, seen=seen)
        if first is not None and all(part.output_id != first.seal_id.hex for part in parts):
            parts += self._where_read(first, recording, prints, detection, parts)
        retimed = self._at_another_tempo(recording, parts, content)
        # What read at its own tempo there is a piece of the same stretch.
        parts = [p for p in parts if not is_covered(p.start_s, p.end_s, retimed)] + retimed
        parts += [
            unsealed_part(stretch)
            for stretch in content
            if not is_covered(stretch.start_s, stretch.end_s, parts)
            and not is_weaker(stretch, content)
        ]
        return Evidence(detection, tuple(sorted(self._with_rivals(parts, content), key=in_order)))

    def _at_another_tempo(
        self, recording: SuspectAudio, parts: Sequence[Part], content: Sequence[Stretch]
    ) -> list[Part]:
        """Stretches whose tempo was changed, by their content: undone, the seal may read again."""
        from watermark.detection.retiming import Retiming

        changed = [
            s for s in content if s.tempo != 1 and not is_covered(s.start_s, s.end_s, parts)
        ][:_MOST_STRETCHES]
        found: list[Part] = []
        for number, waveform in recording.cut([(s.start_s, s.end_s) for s in changed]):
            stretch = changed[number]
            self.tried.tempos += 1
            named = self.read(Retiming("tempo", stretch.tempo).undo(waveform)).identification
            if named is None or named.seal_id.hex != split_key(stretch.key)[0]:
                continue
            # Second 0 of what was undone is the stretch's start.
            if abs(named.offset_s - stretch.original_start_s) <= _SAME_PLACE_S:
                sealed = replace(unsealed_part(stretch), kind=PartKind.SEALED, seal=named)
                found.append(sealed)
        return found

    def _unexplained(
        self,
        recording: SuspectAudio,
        detection: Detection,
        parts: Sequence[Part],
        content: Sequence[Stretch],
    ) -> list[tuple[float, float]]:
        """Stretches worth a reading of their own."""
        wanted = [(s.start_s, s.end_s) for s in content] + [
            (s.start_s, s.end_s) for s in detection.segments
        ]
        whole_s = recording.duration_s
        spans: list[tuple[float, float]] = []
        for start_s, end_s in wanted:
            for low_s, high_s in outside(start_s, end_s, parts):
                if high_s - low_s < _LEAST_S or high_s - low_s > 0.9 * whole_s:
                    continue  # too short, or what was read as a whole already
                if not is_covered(low_s, high_s, spans=spans):
                    spans.append((low_s, min(high_s, low_s + _LONGEST_S)))
        spans.sort(key=lambda span: span[0] - span[1])
        return spans[:_MOST_STRETCHES]

    def _on_its_content(
        self,
        found: Identification,
        recording: SuspectAudio,
        prints: Sequence[Fingerprint],
        content: Sequence[Stretch],
    ) -> list[Part]:
        """The stretches where the content is that of the seal's output, where the seal says."""
        from watermark.fingerprint.matching import agreeing, merged

        output_id = found.seal_id.hex
        if not prints:
            return []
        every: list[Stretch] = []
        for key in self.registry.keys_of(output_id):
            reference = self._reference(key)
            agreed = merged(
                s
                for print_ in prints
                for s in agreeing(print_, reference, found.offset_s, within_s=_SAME_PLACE_S)
            )
            every += [replace(s, key=key) for s in agreed]
        here = nearest_of_output(every)
        for s in content:
            off_s = abs(s.original_start_s - s.start_s - found.offset_s)
            drift_s = abs(s.tempo - 1) * recording.duration_s
            known = any(s.shared_s(o.start_s, o.end_s) > 0.5 * s.length_s for o in here)
            if split_key(s.key)[0] == output_id and off_s <= _SAME_PLACE_S + drift_s and not known:
                # What agrees at one tempo inside a stretch of another is a piece of that.
                here = [o for o in here if s.shared_s(o.start_s, o.end_s) <= 0.5 * o.length_s]
                here.append(s)
        return [
            Part(
                PartKind.COPIED if self._is_anothers(s, output_id, content) else PartKind.SEALED,
                output_id,
                s.start_s,
                min(s.end_s, recording.duration_s),
                s.original_start_s,
                s.distance,
                found,
                tempo=s.tempo,
                stem=split_key(s.key)[1],
            )
            for s in here
        ]

    def _where_read(
        self,
        found: Identification,
        recording: SuspectAudio,
        prints: Sequence[Fingerprint],
        detection: Detection,
        parts: Sequence[Part],
    ) -> list[Part]:
        """The stretches that look sealed, under other sound or copied there.

        Under loud other sound only a second here and there looks sealed, too little to compare,
        though the name was read over all the seconds that file and original share: then all of
        these are compared.
        """
        everywhere = [(0.0, math.inf)]
        spans = [(s.start_s, s.end_s) for s in detection.segments]
        looked = self._elsewhere(
            found, recording, prints, spans or everywhere, parts, seen=bool(spans)
        )
        if spans and all(part.distance is None for part in looked):
            shared = self._elsewhere(found, recording, prints, everywhere, parts, seen=False)
            if any(part.kind is PartKind.OVERLAID for part in shared):
                return shared
        return looked

    def _elsewhere(
        self,
        found: Identification,
        recording: SuspectAudio,
        prints: Sequence[Fingerprint],
        spans: Sequence[tuple[float, float]],
        parts: Sequence[Part],
        *,
        seen: bool,
    ) -> list[Part]:
        """What is left of the spans where the seal was read: under other sound, or copied there.

        ``seen``: the seal stands there clearly, not only in the sum of many seconds. Where other
        sound drowns the content it drowns the seal as well, so only then is it called copied.
        """
        from watermark.fingerprint.matching import COPIED_DISTANCE, OVERLAID_DISTANCE

        output_id = found.seal_id.hex
        reference = self._reference(output_id)
        first_s = max(0.0, -found.offset_s)
        last_s = min(recording.duration_s, reference.duration_s - found.offset_s)
        fresh: list[Part] = []
        for low_s, high_s in spans:
            for start_s, end_s in outside(max(low_s, first_s), min(high_s, last_s), parts):
                if end_s - start_s < (_LEAST_S if parts else 0.5):
                    continue
                original_s = found.offset_s + start_s

                views = [print_.between(start_s, end_s) for print_ in prints]
                distance, enough, stem = self._nearest(output_id, views, original_s)
                kind = PartKind.ALONE
                if distance is not None and enough and distance <= OVERLAID_DISTANCE:
                    kind = PartKind.OVERLAID
                elif distance is not None and seen and distance >= COPIED_DISTANCE:
                    kind = PartKind.COPIED
                part = Part(kind, output_id, start_s, end_s, original_s, distance, found)
                fresh.append(replace(part, stem=stem) if kind is PartKind.OVERLAID else part)
        return fresh

    def _nearest(
        self, output_id: str, views: Sequence[Fingerprint], original_s: float
    ) -> tuple[float | None, bool, str | None]:
        """The least distance to the output's mix or one of its stems at a place; which stem.

        Also whether enough sound was compared; a stem is only looked at with enough.
        """
        from watermark.fingerprint.matching import nearest_at

        best: tuple[float | None, bool, str | None] = (None, False, None)
        for key in self.registry.keys_of(output_id):
            stem = split_key(key)[1]
            distance, enough = nearest_at(
                views, self._reference(key), original_s, within_s=_PLACE_OFF_S
            )
            if distance is None or (stem is not None and not enough):
                continue
            if best[0] is None or distance < best[0]:
                best = (distance, enough, stem)
        return best

    def _is_anothers(self, here: Stretch, output_id: str, content: Sequence[Stretch]) -> bool:
        """Whether the content is clearly that of another output, which only resembles this one."""
        return any(
            split_key(other.key)[0] != output_id
            and other.distance < here.distance - _NEARER
            and other.shared_s(here.start_s, here.end_s) > 0.8 * here.length_s
            for other in content
        )

    def _with_rivals(self, parts: Sequence[Part], content: Sequence[Stretch]) -> list[Part]:
        """Each part with the other outputs that its content agrees with too."""
        named = []
        for part in parts:
            rivals: dict[str, float] = {}
            for other in content:
                shared_s = other.shared_s(part.start_s, part.end_s)
                output_id, _ = split_key(other.key)
                if output_id != part.output_id and shared_s > 0.5 * part.length_s:
                    rivals[output_id] = min(other.distance, rivals.get(output_id, 1.0))
            ordered = sorted(rivals.items(), key=lambda item: item[1])
            named.append(replace(part, rivals=tuple(ordered)))
        return named

    def _reference(self, key: str) -> Fingerprint:
        if key not in self._cache:
            self._cache[key] = self.registry.index.reference(key)
        return self._cache[key]

    # -- other speeds -------------------------------------------------------------------------

    def _at_another_speed(self, recording: SuspectAudio, evidence: Evidence) -> Evidence | None:
        """The evidence with a change of speed undone, if the content says that there is one."""
        limit = self.max_speed_change
        if limit == 0 or recording.duration_s < 3.0:
            return None
        found = evidence.detection.identification
        spans = speed_spans(recording.duration_s, None if found is None else found.offset_s)
        for number, waveform in recording.cut(spans):
            speed = self._speed_of(waveform, found, limit, evidence)
            if speed is None:
                continue
            if recording.whole is not None:
                return self._undone(SuspectAudio.of(played(recording.whole, 1 / speed)), speed, 0.0)
            # Only the surroundings of a recording of hours.
            start_s = max(0.0, spans[number][0] - _LONGEST_S / 2)
            around = [(start_s, spans[number][1] + _LONGEST_S / 2)]
            for _, part in recording.cut(around):
                undone = self._undone(SuspectAudio.of(played(part, 1 / speed)), speed, start_s)
                if undone is not None:
                    return replace(undone, detection=evidence.detection, speed=1.0)
        return None

    def _speed_of(
        self, waveform: Waveform, found: Identification | None, limit: float, evidence: Evidence
    ) -> float | None:
        from watermark.fingerprint.haitsma_kalker import match
        from watermark.fingerprint.matching import at_any_speed

        def search(query: Fingerprint) -> FingerprintMatch | None:
            self.tried.speeds += 1
            if found is not None:
                keys = self.registry.keys_of(found.seal_id.hex)
                hits = (match(query, self._reference(key)) for key in keys)
                return min(
                    (hit for hit in hits if hit is not None),
                    key=lambda hit: (not hit.is_match, hit.distance),
                    default=None,
                )
            return next(iter(self.registry.index.search(query, limit=1)), None)

        best = at_any_speed(clearest(waveform), search, limit=limit)
        if best is None and evidence.of_kind(PartKind.COPIED, PartKind.ALONE):
            # Nothing is held against a file before every view of it was looked at.
            every = (at_any_speed(view, search, limit=limit) for view in views_of(waveform))
            best = next((hit for hit in every if hit is not None), None)
        return None if best is None else best.speed

    def _undone(self, recording: SuspectAudio, speed: float, start_s: float) -> Evidence | None:
        """Evidence of an undone recording, its parts in seconds of the file; None without any."""
        evidence = self._at_this_speed(recording)
        parts = [
            replace(
                part,
                start_s=round(start_s + part.start_s / speed, 3),
                end_s=round(start_s + part.end_s / speed, 3),
                speed=speed,
            )
            for part in evidence.of_kind(PartKind.SEALED, PartKind.OVERLAID, PartKind.UNSEALED)
        ]
        return replace(evidence, parts=tuple(parts), speed=speed) if parts else None


def _is_settled(evidence: Evidence, recording: SuspectAudio) -> bool:
    """Whether other views of the recording cannot change what its mix shows, or not for less."""
    if not evidence.parts:
        return recording.apart <= _DIFFERS_MUCH
    sealed = all(part.kind is PartKind.SEALED for part in evidence.parts)
    return sealed or recording.apart <= _DIFFERS
