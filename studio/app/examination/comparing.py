"""A suspect file beside its originals: spectrograms, figures and matching sound."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studio.core.errors import OutputGoneError, UsageError
from studio.verification.comparison import (
    MARGIN_S,
    MOST_S,
    Comparison,
    Place,
    as_flac,
    cut_file,
    places_of,
    spectra_of,
)

if TYPE_CHECKING:
    from studio.app.outputs.releases import Releases
    from studio.verification.report import VerifyReport
    from watermark.audio.waveform import DecodeLimits, Waveform

__all__ = ["ComparedPart", "compare", "excerpt"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ComparedPart:
    """One matched part beside its original.

    ``files``: ``suspect.png``, ``original.png``, ``difference.png`` and ``suspect.flac``, the sound
    of the file's own seconds.
    """

    comparison: Comparison
    files: Mapping[str, bytes]


def compare(
    releases: Releases, source: Path | bytes, report: VerifyReport, limits: DecodeLimits
) -> tuple[ComparedPart, ...]:
    """Lay the longest matched parts of an examined file beside their originals.

    Parts whose original is no longer on this machine are left out, and so is everything where the
    file cannot be decoded again: the verdict stands without it.
    """
    from studio.reports.verification.pictures import pictures_of
    from watermark.errors import WatermarkError

    places = places_of(report)
    found: dict[int, ComparedPart] = {}
    try:
        for number, suspect in cut_file(source, places, limits) if places else ():
            if not suspect.length:
                continue
            place = places[number]
            start_s = max(0.0, place.original_start_s - MARGIN_S)
            try:
                original = excerpt(
                    releases, place.output_id, start_s, place.original_end_s + MARGIN_S
                )
            except OutputGoneError:
                continue
            spectra = spectra_of(suspect, original, place, place.original_start_s - start_s)
            pictures = pictures_of(spectra)
            files = {f"{name}.png": content for name, content in pictures.items()}
            files["suspect.flac"] = as_flac(suspect)
            found[number] = ComparedPart(Comparison.of(number + 1, place, spectra), files)
    except (WatermarkError, OSError) as exc:
        _logger.warning("a file cannot be laid beside its original: %s", exc)
    return tuple(found[number] for number in sorted(found))


def excerpt(releases: Releases, output_id: str, start_s: float, end_s: float) -> Waveform:
    """Seconds of a released output; whoever calls has asked whether they may be had.

    Raises :class:`UsageError` for a place that is none, and :class:`OutputGoneError` where its file
    is no longer on this machine.
    """
    from watermark.audio.waveform import CHILD_LIMITS

    if not 0 <= start_s < end_s <= start_s + 2 * MOST_S + 2:
        raise UsageError(f"an excerpt has at most {2 * MOST_S + 2:g} seconds")
    release = releases.get(output_id)
    path = releases.file_of(release)
    place = Place(start_s, end_s, start_s, end_s, output_id, "")
    for _, waveform in cut_file(path, [place], CHILD_LIMITS):
        if waveform.length:
            return waveform
    raise UsageError(f"the output has no sound from second {start_s:g} on")
