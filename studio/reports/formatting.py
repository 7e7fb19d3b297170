"""Format tags, dates, durations, numbers and territories for people.

>>> tag_name("genre/drum-and-bass"), tag_name("genre/lo-fi")
('drum and bass', 'lo-fi')
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING
from unicodedata import normalize

from studio.core.territories import REGIONS

if TYPE_CHECKING:
    from studio.provenance.release import Release

__all__ = [
    "KIND_TITLES",
    "USE_TITLES",
    "asset",
    "clock",
    "day",
    "file_name",
    "moment",
    "slug",
    "tag_name",
    "territories",
    "territory_name",
]

KIND_TITLES = {"genre": "Genre", "mood": "Mood", "lead": "Lead instrument", "tempo": "Tempo"}
USE_TITLES = {
    "experiment": "Experiment (private, not published)",
    "noncommercial": "Noncommercial",
    "commercial": "Commercial",
}
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_HYPHENATED = {"lo-fi"}  # every other hyphen in a tag stands for a space


def tag_name(tag_id: str) -> str:
    """The name of a tag as a person says it."""
    name = tag_id.rsplit("/", 1)[-1]
    return name if name in _HYPHENATED else name.replace("-", " ")


def day(at: datetime) -> str:
    """A calendar day that nobody can misread.

    >>> day(datetime(2027, 2, 1))
    '1 Feb 2027'
    """
    return f"{at.day} {at:%b %Y}"


def moment(at: datetime) -> str:
    """Day and time of day, with the zone."""
    return f"{day(at)}, {at:%H:%M:%S} {at.tzname() or ''}".rstrip()


def clock(seconds: float) -> str:
    """A place in a recording.

    >>> clock(3.04), clock(75.5), clock(3671)
    ('0:03.0', '1:15.5', '1:01:11.0')
    """
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def slug(title: str, output_id: str) -> str:
    """A title as the name of a file, without the mark of the output's id.

    >>> slug("Calm waltz with piano (9f2c)", "9f2c00a1"), slug("Up/down: “blue”", "9f2c00a1")
    ('calm-waltz-with-piano', 'up-down-blue')
    >>> slug("Für Élise", "9f2c00a1"), slug("???", "9f2c00a1")
    ('für-élise', 'music')
    """
    words = normalize("NFC", title.replace(f"({output_id[:4]})", "").casefold())
    parts = re.sub(r"[^\w]+", " ", words.replace("_", " ")).split()
    return "-".join(parts)[:80].strip("-") or "music"


def file_name(release: Release) -> str:
    """What the file of an output is called where people keep it: after its title.

    >>> from types import SimpleNamespace
    >>> from pathlib import Path
    >>> made = SimpleNamespace(title="Up/down: “blue”", output_id="9f2c00a1", path=Path("x.mp3"))
    >>> file_name(made)
    'up-down-blue.mp3'
    """
    return f"{slug(release.title, release.output_id)}{release.path.suffix}"


def asset(name: str) -> str:
    """The text of a file in ``studio/web/ui/assets``."""
    return (files("studio.web.ui") / "assets" / name).read_text(encoding="utf-8")


@cache
def territories() -> dict[str, str]:
    """Code -> English name: ``WORLD``, the regions, then ISO 3166-1 alpha-2 by name.

    >>> list(territories())[:3], territories()["AT"], territories()["EU"]
    (['WORLD', 'EU', '150'], 'Austria', 'European Union, 27 countries')
    """
    rows = (line.split("\t") for line in asset("territories.tsv").splitlines())
    regions = {
        code: f"{name}, {len(countries)} countries" for code, (name, countries) in REGIONS.items()
    }
    return {"WORLD": "Worldwide"} | regions | {row[0]: row[1] for row in rows}


def territory_name(code: str) -> str:
    """The English name, or the code itself where it is not one of ISO's."""
    return territories().get(code, code)
