"""Spoiling bytes: what a stranger's file may have gone through, by hypothesis or by dice."""

from __future__ import annotations

import random

from hypothesis import strategies as st

# Lengths and counts at the edge of what fields hold.
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_KINDS = ("set", "insert", "delete", "flip", "edge", "repeat", "cut")

Edit = tuple[int, str, bytes]

EDITS = st.lists(
    st.tuples(
        # Half of the edits in the headers, where decisions are made.
        st.one_of(st.integers(0, 200), st.integers(0, 40_000)),
        st.sampled_from(_KINDS),
        st.binary(min_size=1, max_size=16),
    ),
    min_size=1,
    max_size=8,
)


def spoil(data: bytes, edits: list[Edit]) -> bytes:
    """The bytes after these edits."""
    spoiled = bytearray(data)
    for at, kind, value in edits:
        at %= len(spoiled) + 1
        if kind == "set":
            spoiled[at : at + len(value)] = value
        elif kind == "insert":
            spoiled[at:at] = value
        elif kind == "delete":
            del spoiled[at : at + len(value)]
        elif kind == "flip" and at < len(spoiled):
            spoiled[at] ^= 1 << (value[0] % 8)
        elif kind == "edge":
            edge = _EDGES[value[0] % len(_EDGES)]
            order = "big" if value[-1] % 2 else "little"
            spoiled[at : at + 4] = edge.to_bytes(4, order)
        elif kind == "repeat":
            spoiled[at:at] = spoiled[at : at + 64 * value[0]]
        elif kind == "cut" and value[0] % 8 == 0:  # seldom: little is left to look at
            del spoiled[at:]
    return bytes(spoiled)


def dice(rng: random.Random, size: int) -> list[Edit]:
    """Edits for a file of that size, a quarter of them in its first 200 bytes."""
    edits = []
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(200) if rng.random() < 0.25 else rng.randrange(size + 1)
        edits.append((at, rng.choice(_KINDS), rng.randbytes(rng.randint(1, 16))))
    return edits
