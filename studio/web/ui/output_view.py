"""An output as the page shows it: a line, and under it player, files, credits and record.

Pure functions from a release to HTML. The player is drawn by ``assets/player.js``; a button with
``data-command`` asks the page for something about the output.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.generation.lineage import in_words
from studio.reports.formatting import esc, file_name, moment, territory_name

if TYPE_CHECKING:
    from studio.app.library import Listed
    from studio.provenance.release import Release

__all__ = ["release_card", "take_head", "take_row", "use_words"]

_LONGEST_EXTENSION_S = 30


# -- when it is done ------------------------------------------------------------------------------


def take_head(listed: Listed) -> str:
    """The line of one output: title, length, format, seed, and whether it has a star."""
    release = listed.release
    star = '<span class="star" title="starred">★</span> ' if listed.starred else ""
    return (
        f'{star}<b>{esc(listed.title)}</b> <span class="small soft">'
        f"{release.duration_s:.0f} s, {esc(release.request.format.upper())}, "
        f"seed {release.request.seed}</span>"
    )


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


def release_card(release: Release, audio_url: str, *, title: str | None = None) -> str:
    """What was made: player, download, credits, seal id, ledger entry, how to check it.

    ``title``: the one it was given later.
    """
    request = release.request
    shown = release if title is None else replace(release, title=title)
    credits = "".join(f"<li>{esc(line)}</li>" for line in release.credits)
    return (
        f'<section aria-label="Your output">{_player(shown, audio_url)}{_mixer(shown)}'
        f'<p class="small soft">{release.duration_s:.1f} s, {release.rate / 1000:g} kHz, '
        f"{'mono' if release.channels == 1 else 'stereo'}, {esc(request.format.upper())}, "
        f"seed {request.seed}</p>"
        f'<div class="button-row"><a class="button-link" href="{esc(audio_url)}" '
        f'download="{esc(file_name(shown))}">Download {esc(request.format.upper())}</a>'
        f"{_button(release, 'again', 'Again, new seed')}"
        f"{_button(release, 'settings', 'Use these settings')}"
        f"{_button(release, 'vary', 'Vary')}"
        f'<span class="extend">{_button(release, "extend", "Extend by")}<input type="number" '
        f'min="1" max="{_LONGEST_EXTENSION_S}" value="10" aria-label="Seconds more"> s</span>'
        f"{_button(release, 'star', 'Star')}{_button(release, 'rename', 'Rename')}"
        f"{_button(release, 'discard', 'Discard')}"
        f'<a class="button-link" href="/outputs/{esc(release.output_id)}" target="_blank" '
        'rel="noopener">Record (JSON)</a>'
        f'<a class="button-link" href="/api/v1/outputs/{esc(release.output_id)}/receipt" '
        'target="_blank" rel="noopener">Receipt</a></div>'
        '<details class="family small"><summary>Lineage</summary><div></div></details>'
        f"<h3 class='small'>Credits</h3><ul class='small'>{credits}</ul>"
        f'<dl class="facts">{_made_from(release)}{_played_from(release)}'
        f'<dt>Seal id</dt><dd class="mono">{esc(release.seal_id)}</dd>'
        f'<dt>Ledger entry</dt><dd>no. {release.entry_index} <span class="mono soft">'
        f"{esc(release.entry_hash[:16])}…</span></dd>"
        f"<dt>Intended use</dt><dd>{esc(use_words(request.use))}, "
        f"{esc(territory_name(request.territory))}</dd>"
        f"<dt>Made</dt><dd>{esc(moment(release.created_at))}</dd></dl>"
        '<p class="small soft after">The file carries a seal in its sound. Drop it, an MP3 of it '
        "or a part of it anywhere on this page to see it recognised.</p></section>"
    )


def _player(release: Release, audio_url: str) -> str:
    return (
        f'<studio-player data-src="{esc(audio_url)}" data-title="{esc(release.title)}" '
        f'data-seconds="{release.duration_s:.2f}"></studio-player>'
    )


def _mixer(release: Release) -> str:
    """The mixer of the stems, where the output was performed from a score (``mixer.js``)."""
    if "score_sha256" not in release.model:
        return ""
    return (
        f'<studio-mixer data-id="{esc(release.output_id)}" '
        f'data-title="{esc(release.title)}"></studio-mixer>'
    )


def _button(release: Release, command: str, words: str) -> str:
    return (
        f'<button type="button" class="button-link" data-command="{command}" '
        f'data-id="{esc(release.output_id)}">{words}</button>'
    )


def _made_from(release: Release) -> str:
    """The output that it was varied or extended from, and what was kept of it."""
    if release.lineage is None:
        return ""
    how = {"vary": "varied", "extend": "extended"}[release.lineage["relation"]]
    words = ", ".join(filter(None, (how, in_words(release))))
    parent = f'<span class="mono">{esc(str(release.lineage["parent"]))}</span>'
    return f"<dt>Made from</dt><dd>{parent} ({esc(words)})</dd>"


def _played_from(release: Release) -> str:
    """What the model played from, in words: a score, or a lead sheet where it is of before."""
    if words := release.model.get("score"):
        return f"<dt>Score</dt><dd>{esc(words)}</dd>"
    if text := release.model.get("lead_sheet"):
        return f"<dt>Lead sheet</dt><dd>{esc(_old_sheet(str(text)))}</dd>"
    return ""


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
