"""The house seal comes off our own output, and off nothing else: figures of docs/lineage.md."""

from __future__ import annotations

import numpy as np
import pytest

from studio.core.errors import ParentRefusedError
from studio.generation.derived.seal_removal import unsealed
from studio.provenance.sealer import Sealer
from tests.support.studios import music
from watermark.audio.waveform import encode, read
from watermark.coding.identify import Codebook, CodebookEntry
from watermark.coding.message import SealId, SealKey

pytestmark = pytest.mark.slow

KEY = SealKey(epoch=1, secret=bytes(range(32)))
SEAL = SealId.parse("9f2c00a1b2c3d4e5")


@pytest.fixture(scope="module")
def sealer() -> Sealer:
    return Sealer.load("house")


def snr_db(original, other) -> float:
    length = min(original.samples.shape[1], other.samples.shape[1])
    clean = original.samples[:, :length].astype(np.float64)
    error = other.samples[:, :length] - clean
    return 10 * np.log10(np.sum(clean**2) / np.sum(error**2))


def seal_in(sealer, waveform, seal=SEAL):
    codebook = Codebook([CodebookEntry(seal, KEY, waveform.duration_s)])
    return sealer.read(waveform, codebook).identification


@pytest.mark.parametrize(("strength", "least_gain_db"), [(1.0, 20), (1.6, 5)])
def test_the_mark_comes_off_a_wav_file(sealer, strength, least_gain_db):
    original = music(2, 8.0, 32_000)
    released = read(encode(sealer.seal(original, SEAL, KEY, strength=strength), "wav"))
    assert seal_in(sealer, released) is not None
    bare = unsealed(released, SEAL, KEY, sealer=sealer, strength=strength)
    assert snr_db(original, bare) > snr_db(original, released) + least_gain_db
    assert seal_in(sealer, bare) is None


def test_off_an_mp3_only_what_the_coding_lost_is_left(sealer):
    original = music(2, 8.0, 32_000)
    coded = read(encode(original, "mp3", bitrate=192_000))
    released = read(encode(sealer.seal(original, SEAL, KEY, strength=1.0), "mp3", bitrate=192_000))
    bare = unsealed(released, SEAL, KEY, sealer=sealer, strength=1.0)
    assert snr_db(original, bare) > snr_db(original, coded) - 0.5
    assert seal_in(sealer, bare) is None


def test_sealed_again_it_carries_the_new_seal_only(sealer):
    original = music(3, 8.0, 32_000)
    released = sealer.seal(original, SEAL, KEY, strength=1.0)
    bare = unsealed(released, SEAL, KEY, sealer=sealer, strength=1.0)
    other = SealId.parse("0011223344556677")
    again = sealer.seal(bare, other, KEY, strength=1.0)
    assert seal_in(sealer, again, other) is not None
    assert seal_in(sealer, again, SEAL) is None


def test_a_wrong_id_and_a_seal_that_stays_are_noticed(sealer, monkeypatch):
    """The negative controls."""
    original = music(4, 8.0, 32_000)
    released = sealer.seal(original, SEAL, KEY, strength=1.0)
    wrong = SealId.parse("0011223344556677")
    # Taking off what was never there leaves its inverse, and half a cell away that reads as a seal.
    with pytest.raises(ParentRefusedError, match="could not be taken off"):
        unsealed(released, wrong, KEY, sealer=sealer, strength=1.0)
    monkeypatch.setattr("studio.generation.derived.seal_removal._ITERATIONS", 0)
    with pytest.raises(ParentRefusedError, match="could not be taken off"):
        unsealed(released, SEAL, KEY, sealer=sealer, strength=1.0)
