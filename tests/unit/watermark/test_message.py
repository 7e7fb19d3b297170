"""Seal ids, keys, and the fixed format of the message sequence."""

from __future__ import annotations

import hashlib
import hmac
import json
import stat

import numpy as np
import pytest

from watermark.coding.message import SealId, SealKey, message, message_words, messages
from watermark.errors import SealIdError, SealKeyError

KEY = SealKey(epoch=1, secret=bytes(range(32)))
SEAL = SealId.parse("0011223344556677")


def test_golden_sequence():
    """These words are in sealed music: whoever changes them can no longer read it."""
    assert [f"{word:04x}" for word in message_words(KEY, SEAL, 5)] == [
        "2c99",
        "cde2",
        "0293",
        "1861",
        "2f96",
    ]
    assert f"{message_words(KEY, SEAL, 1, start=3600)[0]:04x}" == "9312"


def test_is_hmac_as_documented():
    for k in (0, 1, 255, 256, 70_000):
        digest = hmac.new(KEY.secret, SEAL.value + k.to_bytes(4, "big"), hashlib.sha256).digest()
        bits = [int(b) for b in f"{int.from_bytes(digest[:2], 'big'):016b}"]
        assert message(KEY, SEAL, k).tolist() == bits
        assert messages(KEY, SEAL, 1, start=k)[0].tolist() == bits


def test_messages_are_rows_of_bits():
    rows = messages(KEY, SEAL, 40)
    assert rows.shape == (40, 16)
    assert rows.dtype == np.uint8
    assert set(np.unique(rows)) == {0, 1}
    np.testing.assert_array_equal(messages(KEY, SEAL, 10, start=20), rows[20:30])
    assert messages(KEY, SEAL, 0).shape == (0, 16)


def test_other_seals_and_keys_agree_in_half_the_bits():
    other_seal = messages(KEY, SealId.parse("0011223344556678"), 2000)
    other_key = messages(SealKey(1, bytes(32)), SEAL, 2000)
    mine = messages(KEY, SEAL, 2000)
    # 32,000 fair coins: standard deviation 0.0028.
    assert abs((mine == other_seal).mean() - 0.5) < 0.012
    assert abs((mine == other_key).mean() - 0.5) < 0.012
    assert np.abs(mine.mean(axis=0) - 0.5).max() < 0.05


@pytest.mark.parametrize(
    "text", ["", "00", "0011223344556677 ", "00112233445566zz", "0x11223344556677", "٠" * 16]
)
def test_what_is_no_seal_id(text):
    with pytest.raises(SealIdError):
        SealId.parse(text)


def test_seal_ids():
    assert SealId.parse("AABBCCDDEEFF0011").hex == "aabbccddeeff0011"
    assert str(SEAL) == "0011223344556677"
    assert SealId.random() != SealId.random()
    with pytest.raises(SealIdError):
        SealId(b"short")


class TestKeyFile:
    def test_round_trip_with_owner_only_rights(self, tmp_path):
        key = SealKey.create(epoch=3)
        key.save(tmp_path / "key.json")
        assert SealKey.load(tmp_path / "key.json") == key
        assert stat.S_IMODE((tmp_path / "key.json").stat().st_mode) == 0o600
        assert [p.name for p in tmp_path.iterdir()] == ["key.json"]

    def test_is_never_overwritten(self, tmp_path):
        path = tmp_path / "key.json"
        KEY.save(path)
        with pytest.raises(SealKeyError, match="exists"):
            SealKey.create(2).save(path)
        assert SealKey.load(path) == KEY
        assert [p.name for p in tmp_path.iterdir()] == ["key.json"]

    def test_open_to_others_is_refused(self, tmp_path):
        path = tmp_path / "key.json"
        KEY.save(path)
        path.chmod(0o640)
        with pytest.raises(SealKeyError, match="chmod 600"):
            SealKey.load(path)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            '"x"',
            '{"format": "other"}',
            '{"format": "watermark-seal-key/1", "epoch": 1}',
            '{"format": "watermark-seal-key/1", "epoch": 1, "secret": "zz"}',
            '{"format": "watermark-seal-key/1", "epoch": 1, "secret": "00"}',
            json.dumps({"format": "watermark-seal-key/1", "epoch": 0, "secret": "00" * 32}),
        ],
    )
    def test_what_is_no_key_file(self, tmp_path, text):
        path = tmp_path / "key.json"
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(SealKeyError):
            SealKey.load(path)

    def test_missing(self, tmp_path):
        with pytest.raises(SealKeyError, match=r"key file no\.json: no such file") as caught:
            SealKey.load(tmp_path / "no.json")
        assert str(tmp_path) not in str(caught.value)
        with pytest.raises(SealKeyError):
            KEY.save(tmp_path / "no" / "key.json")

    def test_no_text_form_shows_the_secret(self):
        for text in (repr(KEY), str(KEY), f"{KEY}", repr([KEY])):
            assert "hidden" in text
            assert KEY.secret.hex() not in text
            assert repr(KEY.secret) not in text
