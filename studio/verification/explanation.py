"""The sentences of a verdict: what the evidence supports, with error rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from studio.verification.parts import Part, PartKind
from studio.verification.report import (
    ConsentThenNow,
    bits_text,
    consent_text,
    false_negative_text,
    odds_text,
    rate_text,
)

if TYPE_CHECKING:
    from studio.provenance.release import Release
    from studio.provenance.sealer import FalseNegativeRate
    from watermark.detection.detect import Detection

__all__ = [
    "foreign",
    "mixed",
    "not_detected",
    "seal_only",
    "sealed",
    "transplanted",
    "unsealed_copy",
]

NAMED_FROM_S = 3.0
"""A shorter clip holds too few messages for a seal to be surely named (docs/seal-model-card.md)."""

TOO_QUIET_PEAK = 0.01
"""-40 dBFS: below, the rounding of a 16-bit file comes near the mark."""

_TWINS = (
    "Works of one maker on the same chords can agree so far by content alone: of pairs of house "
    "renders with the same tags, 8 in 600 did."
)


def title_text(release: Release, part: Part | None = None) -> str:
    """An output by its title; with a part of a stem, that stem of it."""
    of = "" if part is None or part.stem is None else f"the {part.stem} stem of "
    return f"{of}“{release.title}”, output {release.output_id}, ledger entry {release.entry_index}"


def speed_text(part: Part) -> str:
    """How the part was played; empty at the original's speed and tempo."""
    text = ""
    if part.speed != 1.0:
        text += f"It is played at {part.speed:.3f} times its speed. "
    if part.tempo != 1.0:
        text += f"Its tempo is {part.tempo:.3f} times the original's, its pitch kept. "
    return text


def surely(part: Part) -> str:
    """The bound on a wrong name."""
    assert part.seal is not None
    return (
        f"{odds_text(part.seal.chance_bound)} that any wrong seal fits as well, over everything "
        "searched"
    )


def span_text(part: Part) -> str:
    return (
        f"seconds {part.start_s:.1f} to {part.end_s:.1f} of this file are seconds "
        f"{part.original_start_s:.1f} to {part.original_end_s:.1f}"
    )


def sealed(
    part: Part, release: Release, consent: tuple[ConsentThenNow, ...], *, whole: bool
) -> str:
    """Our seal on its own content, the whole of it or one part."""
    title = title_text(release, part)
    what = f"This is {title}." if whole else f"{_capital(span_text(part))} of {title}."
    if part.kind is PartKind.OVERLAID:
        assert part.distance is not None
        agrees = (
            f"At that place the content still agrees beyond chance ({bits_text(part.distance)}; "
            "unrelated music at one place: 43 % and more): it lies under other sound, or was "
            "heavily processed. A seal copied onto a piece much like it cannot be told from that"
        )
    else:
        agrees = "the content agrees" + (
            "" if part.distance is None else f" ({bits_text(part.distance)})"
        )
    rivals = ""
    if part.rivals:
        names = ", ".join(f"{key} ({distance:.0%})" for key, distance in part.rivals[:3])
        rivals = f"By content alone it would agree with {names} too; the seal says which it is. "
    join = ". " if part.kind is PartKind.OVERLAID else " and "
    return (
        f"{what} Its seal reads back ({surely(part)}){join}{agrees}. {rivals}"
        f"{speed_text(part)}{consent_text(consent)}"
    )


def mixed(
    parts: Sequence[Part],
    releases: Mapping[str, Release],
    consents: Mapping[str, tuple[ConsentThenNow, ...]],
) -> str:
    """Several parts: a line for each kind, then the consent of each output."""
    kinds = {
        PartKind.SEALED: "with its seal on its own content",
        PartKind.OVERLAID: "with its seal, under other sound or heavily processed",
        PartKind.UNSEALED: "by content alone, without a readable seal",
        PartKind.COPIED: "by the seal alone: the content there is not that output's, so the seal "
        "was copied onto it, or the content was changed beyond recognition",
        PartKind.ALONE: "by the seal alone: whether the content there is that output's cannot be "
        "told",
    }
    lines = []
    for part in parts:
        line = f"{_capital(span_text(part))} of {title_text(releases[part.output_id], part)}, "
        line += kinds[part.kind]
        if part.seal is not None:
            line += f" ({odds_text(part.seal.chance_bound)} of a wrong name)"
        lines.append(line + ". " + speed_text(part))
    ours = list(dict.fromkeys(part.output_id for part in parts))
    texts = {output_id: consent_text(consents[output_id]) for output_id in ours}
    if len(set(texts.values())) == 1:
        consent = texts[ours[0]]
    else:
        consent = " ".join(f"{output_id}: {text}" for output_id, text in texts.items())
    alone = "" if len(ours) < 2 else f"{len(ours)} outputs of ours are in this file. "
    return f"{alone}{''.join(lines).rstrip()} {consent}"


def transplanted(part: Part, release: Release, consent: tuple[ConsentThenNow, ...]) -> str:
    """Our seal where its content is not."""
    assert part.distance is not None
    content = f"the content is not that output's ({bits_text(part.distance)})"
    nearer = ""
    if part.rivals and part.rivals[0][1] < part.distance:
        key, near = part.rivals[0]
        nearer = f"It is much nearer to output {key} ({near:.0%}): copied there, or mixed with it. "
    return (
        f"The seal of {title_text(release)} is in this file ({surely(part)}), but "
        f"{content}. {nearer}The seal was copied onto other audio, or the "
        "content was changed beyond recognition. It proves nothing about this content. "
        f"{speed_text(part)}{consent_text(consent)}"
    )


def seal_only(part: Part, release: Release, consent: tuple[ConsentThenNow, ...]) -> str:
    """Our seal, and content that neither agrees nor is surely another."""
    if part.distance is None:
        why = "there is too little sound to compare its content with that output's"
    else:
        why = (
            f"its content neither agrees with that output's nor is it surely another one "
            f"({bits_text(part.distance)}): it may lie under louder sound or be heavily processed"
        )
    return (
        f"The seal of {title_text(release)} is in this file ({surely(part)}), but {why}. Whether "
        "this is that output, or its seal was copied here, cannot be told from this file. "
        f"{speed_text(part)}{consent_text(consent)}"
    )


def unsealed_copy(
    part: Part,
    release: Release,
    consent: tuple[ConsentThenNow, ...],
    detection: Detection,
    *,
    whole: bool,
    peak: float = 1.0,
) -> str:
    """Content of ours without a readable seal, and what content alone is worth."""
    assert part.distance is not None
    title, bits = title_text(release, part), bits_text(part.distance)
    what = (
        f"The content is that of {title} ({bits})"
        if whole
        else f"{_capital(span_text(part))} of {title}, by content ({bits})"
    )
    if part.length_s < NAMED_FROM_S:
        seal = (
            f"but {part.length_s:.1f} s hold too few messages for a seal to be named: that takes "
            f"{NAMED_FROM_S:g} s"
        )
        if detection.detected:
            seal += ". The detector does see a seal"
    else:
        lost = "lost at so low a level, removed" if peak < TOO_QUIET_PEAK else "removed"
        seal = (
            f"but no seal of ours can be read in it: it was {lost} or destroyed, or this is "
            "another recording of the same render"
        )
        if detection.detected:
            seal += ". The detector still sees a seal in this file, but cannot tell whose"
    rivals = ""
    if part.rivals:
        names = ", ".join(f"{key} ({distance:.0%})" for key, distance in part.rivals[:5])
        rivals = f"It also agrees with {names}. Which of them it is, content alone does not prove. "
    named = f"{what}, {seal}. {quiet_text(peak)}{rivals}{_TWINS}"
    return f"{named} {speed_text(part)}{consent_text(consent)}"


def foreign(detection: Detection) -> str:
    """An alarm, and nothing registered that fits."""
    short = (
        f" From {detection.duration_s:.1f} s no seal can be named, not even one of ours: that "
        f"takes {NAMED_FROM_S:g} s."
        if detection.duration_s < NAMED_FROM_S
        else ""
    )
    if detection.keyed is not None:
        return (
            f"The mark was made with this studio's key of epoch {detection.keyed.epoch} (chance "
            f"that any other audio follows it: at most {detection.keyed.chance_bound:.1g}), but no "
            "output in this registry can be named from it: what is left of it is too little, or "
            f"its entry is lost.{short}"
        )
    return (
        "The detector alarms, but the messages it reads belong to no output in this registry: "
        "another site's mark, one put over ours, one of ours whose entry or key is lost, or a "
        f"false alarm.{short} Unmarked music, part of it coded at low bit rates, is taken for "
        f"marked {rate_text(detection)}. Take it as a hint."
    )


def not_detected(
    false_negatives: tuple[FalseNegativeRate, ...], duration_s: float, peak: float = 1.0
) -> str:
    """Nothing found, which is no proof of anything."""
    short = (
        f" This file lasts {duration_s:.1f} s; a seal can be named from {NAMED_FROM_S:g} s on, so "
        "little can be said of it at all."
        if duration_s < NAMED_FROM_S
        else ""
    )
    return (
        "No seal of ours and no content of ours was found. That does not say who or what made "
        "this music: other systems leave no seal of ours, and a seal can be destroyed."
        f"{short} {quiet_text(peak)}" + false_negative_text(false_negatives, duration_s)
    )


def quiet_text(peak: float) -> str:
    """What a very low level means for a reading; empty at other levels."""
    if peak >= TOO_QUIET_PEAK:
        return ""
    if peak == 0:
        return "The file holds digital silence only: there is nothing to read or compare. "
    return (
        f"The loudest sample of this file is at {20 * math.log10(peak):.0f} dBFS. It was brought "
        "up to a normal level before it was read, but rounding at so low a level can destroy a "
        "seal by itself. "
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
