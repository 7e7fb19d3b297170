"""Suspect and original side by side: what differs is seen, what does not is not."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from studio.reports.verification.comparison import Shown, side_by_side
from studio.reports.verification.pictures import pictures_of
from studio.verification.comparison import (
    MARGIN_S,
    MOST_PARTS,
    MOST_S,
    Comparison,
    Place,
    as_flac,
    places_of,
    spectra_of,
)
from studio.verification.report import Match
from studio.verification.suspect import played
from tests.support.studios import music
from watermark.audio.waveform import Waveform, read

ORIGINAL = music(3, 20.0, 32_000)
PLACE = Place(0.0, 8.0, 5.0, 13.0, "a" * 16, "sealed")


def louder(waveform: Waveform, gain: float) -> Waveform:
    return Waveform(waveform.samples * np.float32(gain), waveform.rate)


def compared(suspect: Waveform, place: Place = PLACE) -> Comparison:
    original = ORIGINAL.slice(place.original_start_s - MARGIN_S, place.original_end_s + MARGIN_S)
    return Comparison.of(1, place, spectra_of(suspect, original, place, MARGIN_S))


def test_the_same_sound_does_not_differ_at_another_level_or_a_little_off_its_place():
    found = compared(louder(ORIGINAL.slice(5.1, 13.1), 0.3))
    assert found.place.original_start_s == pytest.approx(5.1, abs=0.02)
    assert found.place.original_end_s - found.place.original_start_s == pytest.approx(8.0)
    assert found.gain == pytest.approx(0.3, rel=0.05)
    assert found.differs_db < 1.0
    assert found.much < 0.01


def test_other_sound_differs_much():
    other = compared(music(4, 8.0, 32_000))
    assert other.differs_db > 5.0
    assert other.much > 0.1


def test_what_was_cut_out_of_the_sound_is_seen_where_it_was():
    kept = ORIGINAL.slice(5.0, 13.0).resample(4_000).resample(32_000)  # nothing above 2 kHz
    regions = compared(Waveform(kept.samples[:, : 8 * 32_000], 32_000)).regions_db
    assert regions["2 to 8 kHz"] > 5 * max(regions["below 500 Hz"], 0.1)


def test_a_changed_speed_is_done_to_the_original_too():
    place = replace(PLACE, end_s=8.0 / 1.04, speed=1.04)
    suspect = played(ORIGINAL.slice(5.0, 13.0), 1.04)
    assert compared(suspect, place).differs_db < 1.0
    assert compared(suspect, replace(place, speed=1.0)).differs_db > 3.0


def test_the_place_of_other_sound_stays_what_the_seal_says():
    copied = compared(music(4, 8.0, 32_000), replace(PLACE, kind="copied seal"))
    assert copied.place.original_start_s == PLACE.original_start_s


def test_silence_can_be_compared():
    silence = Waveform(np.zeros((1, 8 * 32_000), np.float32), 32_000)
    assert np.isfinite(compared(silence).differs_db)


def test_numbers_come_back_from_json():
    found = compared(music(4, 8.0, 32_000))
    again = Comparison.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert again.place == found.place


def test_the_longest_parts_are_shown_and_no_more_than_a_bound_of_each():
    matches = [
        Match(0.0, 3.0, 1.0, output_id="a"),
        Match(10.0, 40.0, 2.0, 17.0, output_id="b"),  # at half the tempo
        Match(50.0, 55.0, 0.0, output_id="c"),
        Match(60.0, 66.0, 0.0, output_id="d"),
        Match(70.0, 70.5, 0.0, output_id="e"),  # too short
        Match(80.0, 89.0, 0.0),  # of no output
        Match(90.0, 99.0, 0.0, 90.0, output_id="f"),  # no tempo that there is
    ]
    places = places_of(SimpleNamespace(matches=matches, speed=1.0))
    assert [place.output_id for place in places] == ["b", "d", "c"]
    assert len(places) == MOST_PARTS
    assert places[0].end_s == 10.0 + MOST_S
    assert places[0].original_end_s == 2.0 + MOST_S / 2


def test_pictures_are_small_and_the_difference_shows_which_is_louder():
    spectra = spectra_of(
        ORIGINAL.slice(5.0, 13.0), ORIGINAL.slice(5.0 - MARGIN_S, 13.4), PLACE, MARGIN_S
    )
    pictures = pictures_of(spectra)
    assert sum(map(len, pictures.values())) < 200_000
    flat = np.zeros_like(spectra.original)
    colours = {}
    for name, by in (("louder", 24.0), ("equal", 0.0), ("softer", -24.0)):
        made = pictures_of(replace(spectra, original=flat, suspect=flat + np.float32(by)))
        picture = Image.open(io.BytesIO(made["difference"])).convert("RGB")
        assert picture.size == (flat.shape[1], 192)
        colours[name] = picture.getpixel((0, 0))
    red, _, blue = colours["louder"]
    assert red > blue
    red, _, blue = colours["softer"]
    assert blue > red
    assert min(colours["equal"]) > 240


def test_sound_for_a_browser_is_bounded_in_channels_and_rate(tmp_path):
    for channels, rate in ((1, 44_100), (2, 96_000), (6, 48_000)):
        path = tmp_path / "x.flac"
        path.write_bytes(as_flac(music(1, 1.0, rate, channels)))
        sound = read(path)
        assert (sound.channels, sound.rate) == (
            min(channels, 2) if channels < 3 else 1,
            min(rate, 48_000),
        )


def test_what_may_not_be_seen_or_heard_is_not_named():
    found = compared(ORIGINAL.slice(5.0, 13.0))
    everything = str(side_by_side([Shown(found, "x/".__add__)]))
    for name in ("suspect.png", "original.png", "difference.png", "suspect.flac", "original.flac"):
        assert f"x/{name}" in everything
    assert found.text() in everything
    unheard = str(side_by_side([Shown(found, "x/".__add__, original_sound=False)]))
    assert "original.flac" not in unheard
    assert "original.png" in unheard
    unseen = str(
        side_by_side([Shown(found, "x/".__add__, original_pictures=False, original_sound=False)])
    )
    assert "original.png" not in unseen
    assert "difference.png" not in unseen
    assert f"{found.differs_db:.1f} dB" not in unseen
    assert "another account" in unseen
