"""Drums: grooves, fills that lead into what follows, stops and the last stroke."""

from __future__ import annotations

import random
from collections.abc import Mapping

from studio.music.composer.notation.rhythm import Feel, recut, steps
from studio.music.composer.notation.score import METRES, TICKS_PER_BEAT, Note
from studio.music.composer.styles.idiom import DRUM_KEYS, Drums, Groove

__all__ = ["FILLS", "bar_of_drums", "fill", "last_stroke", "soften"]

# Fills of one bar of 4/4; a shorter one is the end of it, so each gathers force towards the end.
FILLS: Mapping[str, tuple[Groove, ...]] = {
    "rock": (
        {"snare": "x.xxx.xxx.xxxxXX", "kick": "X.......X......."},
        {
            "snare": "x...xx..........",
            "high-tom": "......xxx.......",
            "mid-tom": ".........xxx....",
            "low-tom": "............xxXX",
        },
        {"snare": "X..X..X..X..X.XX", "kick": "..X..X..X..X..X."},
        {
            "high-tom": "xx......xx......",
            "mid-tom": "..xx......xx....",
            "low-tom": "....xxX.....xxXX",
        },
        {"snare": "x.x.x.x.xxxxXXXX", "crash": "X..............."},
    ),
    "light": (
        {"stick": "....x.......x.xx", "low-tom": "..........x....."},
        {"snare": "....o...o.o.oxxx"},
        {"stick": "x..x..x..x..x.x.", "low-tom": "..............xx"},
        {"snare": "........oooooxxX", "hat": "x.x.x.x........."},
    ),
    "swing": (
        {"snare": "..x...x.x.x.x.X.", "kick": "x.......x......."},
        {
            "snare": "x.x...x.........",
            "high-tom": "........x.x.....",
            "low-tom": "............x.X.",
        },
        {"ride": "x...x...", "snare": "......x...x.x.X.", "kick": "........x...x..."},
    ),
    "triplet": (
        {"snare": "x...x...xxxxxxxX", "kick": "X.......X......."},
        {
            "snare": "x.xxx...........",
            "high-tom": "........x.xx....",
            "low-tom": "............x.xX",
        },
        {"snare": "..xx..xx..xxX.XX", "kick": "X...X...X...X..."},
    ),
    "electronic": (
        {"snare": "x...x...x.x.xxxx"},
        {"snare": "x.x.x.x.xxxxxxxx", "clap": "............X.X."},
        {"snare": "..x..x..x..x.xxX", "kick": "X.......X......."},
        {"clap": "....x...x.x.xxXX", "low-tom": "............x.x."},
    ),
    "tom": (
        {
            "high-tom": "X.x.X...........",
            "mid-tom": "......x.X.x.....",
            "low-tom": "............X.XX",
        },
        {
            "high-tom": "xxxx............",
            "mid-tom": "....xxxx........",
            "low-tom": "........xxxx....",
            "floor-tom": "............xXXX",
        },
        {"low-tom": "X..x..X..x..X.XX"},
    ),
    "timbale": (
        {"high-timbale": "x.x.xxx.x.......", "low-timbale": "..........x.xxX."},
        {"high-timbale": "X..x..x.x.x.x.xx", "low-timbale": "..........x..x.X"},
        {"snare": "..x..x..xxx.X.X.", "low-timbale": "............x.xX"},
        {"high-timbale": "xxxxx...xxxxX...", "low-timbale": ".....xx......xXX"},
    ),
    "snare": (
        {"snare": "o.ooo.oox.xxxxXX"},
        {"snare": "oooooooxxxxxxXXX"},
        {"snare": "x.xxX.x.x.xxXxXx", "kick": "X.......X......."},
    ),
    "orchestral": (
        {"floor-tom": "o.o.o.o.oxoxxxXX", "snare": "........ooooxxXX"},
        {"low-tom": "X...x...X.x.XxXX", "floor-tom": "..x...x...x.xXXX"},
        {"floor-tom": "X..x..x.X..xX.XX", "snare": "............xxXX"},
    ),
}
_BASE = {"X": 112, "x": 92, "o": 54}
_KEPT_IN_FILLS = ("kick", "shaker", "clave", "hat", "ride", "open-hat", "cowbell")


def bar_of_drums(
    groove: Groove,
    bar: int,
    start: int,
    *,
    metre: str,
    feel: Feel,
    level: float,
    draw: random.Random,
    until: int | None = None,
    lag: int = 0,
    loose: int = 0,
) -> list[Note]:
    """One bar of a groove made for this metre, up to tick ``until`` of the bar."""
    notes = []
    for name, pattern in groove.items():
        late = lag if name in ("snare", "clap", "stick") else 0
        for step in steps(pattern, bar, metre, feel):
            if (until is not None and step.start >= until) or step.mark not in _BASE:
                continue
            stray = draw.randint(-loose, loose) if loose else 0
            at = max(0, start + step.start + late + stray)
            velocity = round(_BASE[step.mark] * level) + draw.randint(-5, 5)
            notes.append(
                Note(at, max(40, min(step.step, 160) - 4), DRUM_KEYS[name], _midi(velocity))
            )
    return notes


def fill(
    drums: Drums,
    groove: Groove,
    bar: int,
    start: int,
    beats: int,
    *,
    metre: str,
    feel: Feel,
    level: float,
    draw: random.Random,
    loose: int = 0,
) -> list[Note]:
    """A bar whose last ``beats`` beats are a fill that grows louder into the next bar."""
    whole = METRES[metre]
    beats = min(beats, whole.beats)
    from_tick = (whole.beats - beats) * TICKS_PER_BEAT
    chosen = draw.choice(FILLS[drums.fills])
    notes = bar_of_drums(
        groove, bar, start, metre=metre, feel=feel, level=level, draw=draw,
        until=from_tick or 1, lag=drums.lag, loose=loose,
    )  # fmt: skip
    for name, pattern in chosen.items():
        for step in steps(_tail(pattern.ljust(16, "."), metre), 0, metre, feel):
            if step.start < from_tick:
                continue
            grown = 0.85 + 0.3 * (step.start - from_tick) / (beats * TICKS_PER_BEAT)
            velocity = round(_BASE[step.mark] * level * grown) + draw.randint(-4, 4)
            notes.append(Note(start + step.start, 100, DRUM_KEYS[name], _midi(velocity)))
    kick = [s for s in steps(groove.get("kick", "."), bar, metre, feel) if s.start >= from_tick]
    if "kick" not in chosen and beats > 1:
        notes += [
            Note(start + s.start, 100, DRUM_KEYS["kick"], _midi(round(_BASE[s.mark] * level)))
            for s in kick
            if s.start % TICKS_PER_BEAT == 0 and s.mark in _BASE
        ]
    return notes


def _tail(pattern: str, metre: str) -> str:
    """A bar of 4/4 whose last beats fill a bar of another metre."""
    beats = METRES[metre].beats
    if METRES[metre].compound:
        pattern = recut(pattern, "4/4", "12/8")
        size = len(pattern) // 4
        return pattern[(4 - beats) * size :]
    return pattern[(4 - beats) * 4 :]


def soften(groove: Groove) -> dict[str, str]:
    """A calm groove: the side stick instead of the snare, no crashes, closed hats."""
    quiet = {name: pattern for name, pattern in groove.items() if name not in ("crash", "china")}
    if "snare" in quiet:
        snare = quiet.pop("snare")
        quiet.setdefault("stick", snare.replace("o", ".").replace("X", "x"))
    if "open-hat" in quiet and "hat" not in quiet:
        quiet["hat"] = quiet.pop("open-hat").replace("X", "x")
    return quiet


def last_stroke(
    drums: Drums, start: int, level: float, draw: random.Random, length: int
) -> list[Note]:
    """The stroke with which the drums end a piece."""
    strokes = {"kick": 108, "crash": 96} if drums.crash else {"kick": 96}
    if "kick" not in {name for groove in drums.grooves for name in groove}:
        main = max(drums.grooves[0], key=lambda name: drums.grooves[0][name].count("X"))
        strokes = {main: 104}
    return [
        Note(start, length if name == "crash" else 120, DRUM_KEYS[name], _midi(round(v * level)))
        for name, v in strokes.items()
    ]


def _midi(velocity: int) -> int:
    return max(12, min(127, velocity))
