"""How far the stems of a genre are moved, so that they stand together as they should.

The levels in the genres say how the instruments of a stem stand to each other. How loud they come
out depends on the soundfont and on how much they play, so each genre was rendered four times, each
stem was measured beside the lead (above 250 Hz, passages that sound), and the difference from
what the genre should have is taken here: drums 5, bass 7 and accompaniment 2 dB below the lead,
more or less of each where the genre asks for it.

>>> sorted(LEVELS)[0], len(LEVELS["rock"])
('afrobeat', 3)
"""

from __future__ import annotations

__all__ = ["LEVELS"]

LEVELS: dict[str, tuple[float, float, float]] = {
    "afrobeat": (2.0, -0.5, -2.0),
    "ambient": (0.0, 4.0, 3.0),
    "baroque": (0.0, 1.5, -2.0),
    "blues": (3.5, 1.0, -3.0),
    "bossa-nova": (3.0, 2.5, -2.0),
    "celtic": (1.0, 2.0, -5.0),
    "chiptune": (3.5, 3.5, 0.0),
    "cinematic": (0.0, 4.5, -2.5),
    "country": (5.0, 3.0, -4.0),
    "deep-house": (-3.5, 0.0, -1.0),
    "disco": (3.0, 0.5, -3.5),
    "drum-and-bass": (-0.5, 0.0, 0.0),
    "flamenco": (1.5, 3.5, -5.5),
    "folk": (4.5, 4.0, -2.0),
    "funk": (3.0, 2.0, -2.0),
    "gospel": (4.0, 0.5, -2.5),
    "hip-hop": (-2.5, 0.5, 0.0),
    "jazz": (0.0, 3.5, 0.0),
    "klezmer": (4.0, 6.0, 0.5),
    "lo-fi": (3.5, 0.5, 0.5),
    "march": (1.5, 3.5, 1.5),
    "metal": (-1.0, 1.5, -1.0),
    "reggae": (6.0, 0.5, -1.0),
    "rock": (2.0, 3.0, -2.0),
    "salsa": (3.0, 0.5, -2.0),
    "ska": (2.0, 0.5, -5.0),
    "soul": (3.0, 0.5, -2.0),
    "synthwave": (3.0, 6.0, -0.5),
    "tango": (0.0, 6.0, -3.0),
    "techno": (0.5, 1.5, 0.5),
    "waltz": (0.0, 2.5, -1.0),
}
"""Drums, bass and harmony, in dB."""
