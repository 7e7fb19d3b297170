"""Inclusion and consistency proofs: published vectors, every small tree, and every kind of lie."""

from __future__ import annotations

import pytest

from studio.core.errors import ProofError
from studio.provenance.ledger.tree.merkle import completed_nodes, leaf_hash, tree_head
from studio.provenance.ledger.tree.proofs import (
    check_consistency,
    check_inclusion,
    consistency_path,
    inclusion_path,
)
from tests.support.ledgers import LEAVES

# Inclusion and consistency proofs of the Certificate Transparency reference implementation
# (google/certificate-transparency, merkletree tests; also transparency-dev/merkle's testonly).
NAMES = {
    "a": "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "b": "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "c": "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    "d": "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "e": "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "f": "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "g": "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "h": "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "i": "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "j": "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
}


def hashes(names: str) -> list[bytes]:
    return [bytes.fromhex(NAMES[name]) for name in names]


def nodes_of(leaves: list[bytes]) -> dict[tuple[int, int], bytes]:
    nodes: dict[tuple[int, int], bytes] = {}
    for index, leaf in enumerate(leaves):
        for level, i, hash_ in completed_nodes(index, leaf_hash(leaf), lambda *key: nodes[key]):
            nodes[level, i] = hash_
    return nodes


def node_of(leaves):
    nodes = nodes_of(leaves)
    return lambda *key: nodes[key]


def head(leaves: list[bytes]) -> bytes:
    return tree_head([leaf_hash(leaf) for leaf in leaves])


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [(0, 1, ""), (0, 8, "abc"), (5, 8, "def"), (2, 3, "g"), (1, 5, "hbd")],
)
def test_published_inclusion_proofs(index, size, path):
    assert inclusion_path(index, size, node_of(LEAVES)) == hashes(path)
    check_inclusion(leaf_hash(LEAVES[index]), index, size, hashes(path), head=head(LEAVES[:size]))


@pytest.mark.parametrize(
    ("first", "second", "path"),
    [(1, 1, ""), (1, 8, "abc"), (6, 8, "ief"), (2, 5, "bd"), (6, 7, "ijf")],
)
def test_published_consistency_proofs(first, second, path):
    assert consistency_path(first, second, node_of(LEAVES)) == hashes(path)
    check_consistency(
        first,
        second,
        hashes(path),
        first_head=head(LEAVES[:first]),
        second_head=head(LEAVES[:second]),
    )


def test_every_entry_and_every_pair_of_small_trees():
    leaves = [bytes([number]) for number in range(34)]
    node = node_of(leaves)
    for size in range(1, 35):
        for index in range(size):
            path = inclusion_path(index, size, node)
            check_inclusion(leaf_hash(leaves[index]), index, size, path, head=head(leaves[:size]))
    for second in range(35):
        for first in range(second + 1):
            check_consistency(
                first,
                second,
                consistency_path(first, second, node),
                first_head=head(leaves[:first]),
                second_head=head(leaves[:second]),
            )


def test_an_inclusion_proof_with_anything_changed_does_not_hold():
    for size in (1, 2, 3, 6, 7, 8):
        for index in range(size):
            path = inclusion_path(index, size, node_of(LEAVES))
            right = (leaf_hash(LEAVES[index]), index, size, path)
            wrong = [
                (leaf_hash(b"other"), index, size, path),
                (right[0], index, size, [*path, bytes(32)]),
                (right[0], size, size, path),
                (right[0], -1, size, path),
            ]
            if path:
                wrong += [
                    (right[0], index, size, path[:-1]),
                    (right[0], index ^ 1, size, path),
                    (right[0], index, size, [bytes(32), *path[1:]]),
                ]
            for lie in wrong:
                with pytest.raises(ProofError):
                    check_inclusion(*lie, head=head(LEAVES[:size]))


def test_a_consistency_proof_with_anything_changed_does_not_hold():
    for second in range(2, 9):
        for first in range(1, second):
            path = consistency_path(first, second, node_of(LEAVES))
            heads = {"first_head": head(LEAVES[:first]), "second_head": head(LEAVES[:second])}
            changed = [path[:-1], [*path, bytes(32)], [bytes(32), *path[1:]], []]
            for lie in changed:
                with pytest.raises(ProofError):
                    check_consistency(first, second, lie, **heads)
            for name in heads:
                with pytest.raises(ProofError):
                    check_consistency(first, second, path, **{**heads, name: bytes(32)})


def test_equal_empty_and_shrinking_trees():
    one, two = head(LEAVES[:1]), head(LEAVES[:2])
    check_consistency(2, 2, [], first_head=two, second_head=two)
    check_consistency(0, 2, [], first_head=head([]), second_head=two)
    for first, second, path, first_head in (
        (2, 2, [], one),
        (2, 2, [one], two),
        (0, 2, [], one),
        (2, 1, [], two),
    ):
        with pytest.raises(ProofError):
            check_consistency(first, second, path, first_head=first_head, second_head=two)


@pytest.mark.parametrize(("index", "size"), [(2, 2), (-1, 2), (0, 0)])
def test_no_proof_is_made_for_what_is_not_there(index, size):
    with pytest.raises(ValueError, match="not in a tree"):
        inclusion_path(index, size, node_of(LEAVES))
    with pytest.raises(ValueError, match="cannot begin"):
        consistency_path(3, 2, node_of(LEAVES))
