"""The HTML of one output: player, files, credits and record.

Pure functions from a release to markup. The player is drawn by ``assets/player.js``; a button with
``data-command`` asks the page for something about the output.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.app.outputs.downloads import FORMS, why_not
from studio.generation.derived.lineage import in_words
from studio.reports.formatting import file_name
from studio.web.ui.templating import draw

if TYPE_CHECKING:
    from markupsafe import Markup

    from studio.app.outputs.library import Listed
    from studio.provenance.release import Release

__all__ = ["release_card", "take_head", "take_row", "use_words"]

_LONGEST_EXTENSION_S = 30


def take_head(listed: Listed) -> Markup:
    """The line of one output: title, length, format, seed, and whether it has a star."""
    return draw("output.html", "take_head", listed)


def take_row(listed: Listed, audio_url: str) -> dict[str, Any]:
    """One output for the lists' script: its line, and what is under it."""
    return {
        "id": str(listed.release.output_id),
        "title": listed.title,
        "starred": listed.starred,
        "discarded": listed.discarded,
        "head": take_head(listed),
        "html": release_card(listed.release, audio_url, title=listed.title),
    }


def release_card(release: Release, audio_url: str, *, title: str | None = None) -> Markup:
    """What was made: player, download, credits, seal id, ledger entry, how to check it.

    ``title``: the one it was given later.
    """
    shown = release if title is None else replace(release, title=title)
    return draw(
        "output.html",
        "release_card",
        shown,
        audio_url,
        file_name(shown),
        forms=[(form, why_not(form, release)) for form in FORMS],
        has_stems="score_sha256" in release.model,  # for `chart.js` and `mixer.js`
        longest_extension_s=_LONGEST_EXTENSION_S,
        use=use_words(release.request.use),
        made_from=_made_from(release),
        played_from=_played_from(release),
    )


def _made_from(release: Release) -> str:
    """Whether it was varied or extended, and what was kept; empty if it has no parent."""
    if release.lineage is None:
        return ""
    how = {"vary": "varied", "extend": "extended"}[release.lineage["relation"]]
    return ", ".join(filter(None, (how, in_words(release))))


def _played_from(release: Release) -> tuple[str, str] | None:
    """What the model played from, named and in words; earlier designs recorded a lead sheet."""
    if words := release.model.get("score"):
        return "Score", str(words)
    if text := release.model.get("lead_sheet"):
        return "Lead sheet", _old_sheet(str(text))
    return None


def _old_sheet(text: str) -> str:
    """What the line says that earlier designs of the house model recorded, for a person to read.

    >>> _old_sheet("A-minor:28:4x4:intro=Am7:A=Am7|Dm7-E7|F|G|Am7")
    'A minor, 107 beats a minute; Am7 Dm7 E7 F G …'
    >>> _old_sheet("something else")
    'something else'
    """
    match = _OLD_SHEET.fullmatch(text)
    if match is None:
        return text
    tonic, mode, frames, bars = match.groups()
    chords = " ".join(bars.replace("-", " ").split("|")[:4])
    return f"{tonic} {mode.replace('-', ' ')}, {3000 / int(frames):.0f} beats a minute; {chords} …"


_OLD_SHEET = re.compile(r"([A-G]b?)-([a-z-]+):([1-9][0-9]?):[0-9]x[0-9]:(?:.*:)?[^=:]+=([^=:]+)")
"""Key, frames of 20 ms in a beat, metre, sections; the last section's bars."""


def use_words(use: str) -> str:
    """An intended use as it stands in a sentence."""
    return {"experiment": "an experiment"}.get(use, f"{use} use")
