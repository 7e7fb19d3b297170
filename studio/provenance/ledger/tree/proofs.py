"""RFC 6962 inclusion and consistency proofs: make and check.

An inclusion proof shows that an entry is in a tree of which only the head is known; a consistency
proof shows that a tree only grew since an earlier head. Making follows RFC 6962, sections 2.1.1 and
2.1.2; checking follows RFC 9162, sections 2.1.3.2 and 2.1.4.2, and needs the standard library only.

>>> from studio.provenance.ledger.tree.merkle import leaf_hash, node_hash
>>> a, b = leaf_hash(b"a"), leaf_hash(b"b")
>>> check_inclusion(a, 0, 2, [b], head=node_hash(a, b))
>>> check_inclusion(b, 0, 2, [b], head=node_hash(a, b))
Traceback (most recent call last):
studio.core.errors.ProofError: the inclusion proof leads to another tree head
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from studio.core.errors import ProofError
from studio.provenance.ledger.tree.merkle import EMPTY_HEAD, node_hash, range_head

__all__ = ["check_consistency", "check_inclusion", "consistency_path", "inclusion_path"]

_Node = Callable[[int, int], bytes]  # (level, index) of a complete subtree to its hash


def inclusion_path(index: int, size: int, node: _Node) -> list[bytes]:
    """The proof that leaf ``index`` is in the tree of the first ``size``: from leaf to root.

    ``node`` is asked for O(log² size) hashes. Raises ValueError for an index that is not in it.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            path.append(range_head(split, end, node))
            end = split
        else:
            path.append(range_head(start, split, node))
            start = split
    return path[::-1]


def consistency_path(first: int, second: int, node: _Node) -> list[bytes]:
    """The proof that the tree of ``second`` leaves begins with that of ``first``.

    Raises ValueError unless ``0 <= first <= second``. Nothing needs proof where they are equal, or
    where the first is empty.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {second} cannot begin with one of {first}")
    if first in (0, second):
        return []
    path: list[bytes] = []
    start, end = 0, second
    while end != first:
        split = start + _split(end - start)
        if first <= split:
            path.append(range_head(split, end, node))
            end = split
        else:
            path.append(range_head(start, split, node))
            start = split
    if start > 0:  # else it is the first head itself, which the reader has
        path.append(range_head(start, end, node))
    return path[::-1]


def check_inclusion(
    hash_: bytes, index: int, size: int, path: Sequence[bytes], *, head: bytes
) -> None:
    """Whether ``path`` leads from the leaf hash to the head. Raises :class:`ProofError`."""
    if not 0 <= index < size:
        raise ProofError(f"entry {index} cannot be in a tree of {size} entries")
    position, last = index, size - 1
    for sibling in path:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if position & 1 or position == last:
            hash_ = node_hash(sibling, hash_)
            position, last = _up_to_left_edge(position, last)
        else:
            hash_ = node_hash(hash_, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofError("the inclusion proof is too short")
    if hash_ != head:
        raise ProofError("the inclusion proof leads to another tree head")


def check_consistency(
    first: int, second: int, path: Sequence[bytes], *, first_head: bytes, second_head: bytes
) -> None:
    """Whether the second tree begins with the first. Raises :class:`ProofError`."""
    if not 0 <= first <= second:
        raise ProofError(f"a ledger of {second} entries cannot continue one of {first}")
    if first in (0, second):
        if path:
            raise ProofError("the consistency proof is too long")
        if first_head != (EMPTY_HEAD if first == 0 else second_head):
            raise ProofError("two different heads are given for the same tree")
        return
    hashes = list(path)
    if first & (first - 1) == 0:  # a power of two: the first head is a node of the second tree
        hashes.insert(0, first_head)
    if not hashes:
        raise ProofError("the consistency proof is too short")
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    head_then = head_now = hashes[0]
    for hash_ in hashes[1:]:
        if last == 0:
            raise ProofError("the consistency proof is too long")
        if position & 1 or position == last:
            head_then, head_now = node_hash(hash_, head_then), node_hash(hash_, head_now)
            position, last = _up_to_left_edge(position, last)
        else:
            head_now = node_hash(head_now, hash_)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofError("the consistency proof is too short")
    if head_then != first_head or head_now != second_head:
        raise ProofError("the later ledger does not continue the earlier one")


def _split(size: int) -> int:
    """The largest power of two below ``size`` (RFC 6962, section 2.1)."""
    return 1 << (size - 1).bit_length() - 1


def _up_to_left_edge(position: int, last: int) -> tuple[int, int]:
    """Skip the levels on which a right edge without a sibling is only passed up."""
    while not position & 1 and position:
        position, last = position >> 1, last >> 1
    return position, last
