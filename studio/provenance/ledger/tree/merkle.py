"""RFC 6962 Merkle tree hashing, kept incrementally.

A leaf hashes as SHA-256(0x00 ‖ leaf), an inner node as SHA-256(0x01 ‖ left ‖ right); the head of n
leaves splits at the largest power of two below n (RFC 6962, section 2.1). Complete subtrees never
change, so they are stored by (level, index) and the head is folded from the peaks to their right.

>>> leaf_hash(b"").hex()[:16]
'6e340b9cffb37a98'
>>> tree_head([leaf_hash(b""), leaf_hash(b"\\x00")]).hex()[:16]
'fac54203e7cc696c'
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "EMPTY_HEAD",
    "completed_nodes",
    "head_from_nodes",
    "leaf_hash",
    "node_hash",
    "range_head",
    "tree_head",
]

EMPTY_HEAD = hashlib.sha256(b"").digest()
"""The head of a tree without leaves."""


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one leaf's bytes."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_head(leaf_hashes: Sequence[bytes]) -> bytes:
    """Head over all leaf hashes, straight from the RFC's recursive definition; O(n)."""
    n = len(leaf_hashes)
    if n == 0:
        return EMPTY_HEAD
    if n == 1:
        return leaf_hashes[0]
    split = 1 << (n - 1).bit_length() - 1
    return node_hash(tree_head(leaf_hashes[:split]), tree_head(leaf_hashes[split:]))


def completed_nodes(
    index: int, hash_: bytes, node: Callable[[int, int], bytes]
) -> Iterator[tuple[int, int, bytes]]:
    """Subtrees that leaf ``index`` completes, itself first: (level, index at level, hash).

    ``node(level, index)`` looks up an earlier complete subtree.
    """
    level = 0
    yield level, index, hash_
    while index % 2 == 1:
        hash_ = node_hash(node(level, index - 1), hash_)
        level, index = level + 1, index // 2
        yield level, index, hash_


def head_from_nodes(size: int, node: Callable[[int, int], bytes]) -> bytes:
    """Head of the first ``size`` leaves from the complete subtrees; O(log n) look-ups."""
    return EMPTY_HEAD if size == 0 else range_head(0, size, node)


def range_head(start: int, end: int, node: Callable[[int, int], bytes]) -> bytes:
    """Head over the leaves ``start`` .. ``end - 1``, at least one, from the complete subtrees.

    ``start`` must be where such a range begins in RFC 6962's recursion: a multiple of the smallest
    power of two that is no less than ``end - start``.
    """
    size, head = end - start, None
    # The peaks are the binary digits of size; fold them from the right.
    for level in range(size.bit_length()):
        if size >> level & 1:
            end -= 1 << level
            peak = node(level, end >> level)
            head = peak if head is None else node_hash(peak, head)
    if head is None:
        raise ValueError("the head of an empty range is EMPTY_HEAD")
    return head
