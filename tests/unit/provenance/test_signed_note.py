"""Signed notes and checkpoints: the specification's own example, and what must be refused."""

from __future__ import annotations

import pytest

from studio.core.errors import ProofError, UnreadableProofError
from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
from studio.provenance.ledger.checkpoints.signed_note import (
    SignerKey,
    VerifierKey,
    open_note,
    sign_note,
)

# The example of https://c2sp.org/signed-note.
KEY = VerifierKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXm"
    "RKuwHjG1Yu72IneyaQM=\n"
)


def test_the_example_of_the_specification():
    text, signed = open_note(NOTE, KEY)
    assert text == "This is an example message.\n"
    assert signed == [KEY]
    assert str(KEY) == "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"


def test_the_example_with_one_letter_changed_is_refused():
    with pytest.raises(ProofError, match="does not hold"):
        open_note(NOTE.replace("example message", "example massage"), KEY)


def test_keys_survive_their_text_form_and_hide_their_secret():
    key = SignerKey.create("studio.example/ledger")
    assert SignerKey.parse(key.to_text() + "\n") == key
    assert VerifierKey.parse(str(key.verifier())) == key.verifier()
    assert key.secret.hex() not in repr(key)


def test_unknown_keys_do_not_matter_and_bad_signatures_of_known_ones_do():
    ours, other = SignerKey.create("a.example"), SignerKey.create("b.example")
    note = sign_note("text\n", other, ours)
    assert open_note(note, ours.verifier())[1] == [ours.verifier()]
    assert len(open_note(note, ours.verifier(), other.verifier())[1]) == 2
    with pytest.raises(ProofError, match="not signed by"):
        open_note(note, SignerKey.create("a.example").verifier())
    first, second = note.rpartition("\n\n")[2].splitlines()
    swapped = first[:-20] + "A" * 18 + "=="
    with pytest.raises((ProofError, UnreadableProofError)):
        open_note(f"text\n\n{swapped}\n{second}\n", ours.verifier(), other.verifier())


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        "text\n\n",
        NOTE[:-1],
        NOTE.replace("— ", "- "),
        NOTE.replace("Uw2Q", "U w2Q"),
        NOTE.replace("example message", "example\tmessage"),
        NOTE + "x" * 1_000_001,
        "text\n\n" + "— a.example AAAAAAAA\n" * 101,
    ],
)
def test_what_is_no_note_is_said_so(note):
    with pytest.raises(UnreadableProofError):
        open_note(note, KEY)


@pytest.mark.parametrize(
    "text",
    ["", "a", "a+b+c", str(KEY).replace("530d", "530e"), str(KEY)[:-4], "PRIVATE+KEY+" + str(KEY)],
)
def test_what_is_no_public_key_is_said_so(text):
    with pytest.raises(UnreadableProofError):
        VerifierKey.parse(text)


@pytest.mark.parametrize("text", ["", str(KEY), "PRIVATE+KEY+a+b+c", "PRIVATE+KEY+" + str(KEY)])
def test_what_is_no_private_key_is_said_so(text):
    with pytest.raises(UnreadableProofError):
        SignerKey.parse(text)


def test_a_checkpoint_survives_signing():
    key = SignerKey.create("studio.example/ledger")
    checkpoint = Checkpoint(key.name, 12, bytes(range(32)))
    assert Checkpoint.open(checkpoint.sign(key), key.verifier()) == checkpoint


def test_a_key_signs_for_its_own_ledger_only():
    key = SignerKey.create("studio.example/ledger")
    note = Checkpoint("studio.example/other", 12, bytes(32)).sign(key)
    with pytest.raises(ProofError, match="another ledger"):
        Checkpoint.open(note, key.verifier())


@pytest.mark.parametrize(
    "text",
    [
        "studio.example/ledger\n12\n",
        "studio.example/ledger\n-1\nAAAA\n",
        "studio.example/ledger\n012\nAAAA\n",
        "studio.example/ledger\n٣\nAAAA\n",
        "studio.example/ledger\n1\nAAAA\n",
        "studio.example/ledger\n1\n!\n",
        f"studio.example/ledger\n{'9' * 40}\nAAAA\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint(text):
    key = SignerKey.create("studio.example/ledger")
    with pytest.raises(UnreadableProofError):
        Checkpoint.open(sign_note(text, key), key.verifier())
