"""Whatever stands in a bundle, checkpoint or key: an answer of ours, never another exception."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.core.errors import ProofError, UnreadableProofError
from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
from studio.provenance.ledger.checkpoints.public_keys import read_keys
from studio.provenance.ledger.proof_bundle import BUNDLE_TYPE, check_bundle

GOLDEN = Path(__file__).parents[1] / "golden"
BUNDLE = (GOLDEN / "proof-v1.json").read_bytes()
KEYS = read_keys((GOLDEN / "proof-v1.key").read_text())

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def refused(content: bytes) -> None:
    with pytest.raises((ProofError, UnreadableProofError)):
        check_bundle(content, KEYS)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(content):
    refused(content)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["leaf", "index", "inclusion", "checkpoint", "openings", "timestamp"]), anything
)
def test_any_value_in_any_place(name, value):
    bundle = json.loads(BUNDLE)
    if bundle.get(name) == value or (name in {"openings", "timestamp"} and not value):
        return
    bundle[name] = value
    content = json.dumps(bundle).encode()
    if name == "timestamp":  # it is carried, and checked only where roots are given
        with contextlib.suppress(UnreadableProofError):
            check_bundle(content, KEYS)
        return
    refused(content)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BUNDLE) - 1), st.integers(1, 255))
def test_any_bit_flipped_in_a_real_bundle(at, mask):
    spoilt = bytearray(BUNDLE)
    spoilt[at] ^= mask
    try:
        proven = check_bundle(bytes(spoilt), KEYS)
    except (ProofError, UnreadableProofError):
        return
    # Only what proves nothing can change unnoticed: white space, or a name that nobody reads.
    assert proven == check_bundle(BUNDLE, KEYS)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_as_checkpoint_or_key(text):
    with pytest.raises((ProofError, UnreadableProofError)):
        Checkpoint.open(text, *KEYS)
    with pytest.raises(UnreadableProofError):
        read_keys(text)


@pytest.mark.parametrize("name", ["leaf", "checkpoint"])
def test_half_a_character(name):
    bundle = {**json.loads(BUNDLE), name: "\ud800", "type": BUNDLE_TYPE}
    refused(json.dumps(bundle).encode())
