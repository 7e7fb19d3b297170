"""Whatever cancels or drowns the mix, or is quiet, gets the right verdict and accuses nobody."""

from __future__ import annotations

import numpy as np
import pytest

from studio.verification.report import Verdict
from tests.integration.test_verify import SECONDS, check, three_releases
from tests.support.studios import as_owner, music
from watermark.audio.waveform import Waveform, encode, read

RATE = 16_000


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    with three_releases(tmp_path_factory.mktemp("channels")) as studio:
        yield studio


@pytest.fixture(scope="module")
def ours(studio):
    """A release (seed 1) and its sound, (samples,)."""
    release = as_owner(studio).outputs.recent()[-1]
    return release, read(release.path).samples[0]


OTHER = music(90, SECONDS).samples[0]
LOUD = music(91, SECONDS).samples[0]
ARRANGED = {
    "left and minus left": lambda x: [x, -x],
    "left alone": lambda x: [x, 0 * x],
    "right alone": lambda x: [0 * x, x],
    "beside louder music": lambda x: [0.3 * x, LOUD],
    "the side of louder music": lambda x: [0.6 * LOUD + 0.3 * x, 0.6 * LOUD - 0.3 * x],
    "four channels that cancel": lambda x: [x, -x, x, -x],
    "the third of three channels": lambda x: [LOUD, -OTHER[::-1], 0.4 * x],
    "beside its own delay, inverted": lambda x: [x, -np.roll(x, 3)],
    "two channels alike": lambda x: [x, x],
}


def arranged(how: str, samples: np.ndarray) -> bytes:
    channels = np.stack(ARRANGED[how](samples)).astype(np.float32)
    return encode(Waveform(0.9 * channels, RATE), "wav", subtype="FLOAT")


@pytest.mark.parametrize("how", ARRANGED)
def test_ours_in_any_arrangement_of_channels_is_ours(studio, ours, how):
    release, samples = ours
    report = check(studio, arranged(how, samples))
    assert report.verdict is Verdict.SEALED, report.explanation
    assert report.seal_id == release.seal_id
    assert report.fingerprint_distance is not None
    assert report.fingerprint_distance < 0.25


@pytest.mark.parametrize("how", ARRANGED)
def test_a_copied_seal_in_any_arrangement_is_never_ours(studio, ours, how):
    """The negative control: only the mark, on music that is not ours."""
    release, samples = ours
    mark = samples - music(1, SECONDS).samples[0]
    report = check(studio, arranged(how, music(92, SECONDS).samples[0] + mark))
    # Under louder music the mark is often not clear enough for an accusation.
    drowned = how in ("beside louder music", "the third of three channels")
    wanted = {Verdict.TRANSPLANTED} | ({Verdict.SEAL_ONLY} if drowned else set())
    assert report.verdict in wanted, report.explanation
    assert report.seal_id == release.seal_id


@pytest.mark.parametrize("how", ARRANGED)
def test_other_music_in_any_arrangement_is_nothing_of_ours(studio, how):
    report = check(studio, arranged(how, music(93, SECONDS).samples[0]))
    assert report.verdict is Verdict.NOT_DETECTED, report.explanation


@pytest.mark.parametrize("how", ["left and minus left", "the side of louder music"])
def test_ours_without_its_seal_is_found_by_content_there_too(studio, how):
    report = check(studio, arranged(how, music(1, SECONDS).samples[0]))
    assert report.verdict is Verdict.UNSEALED_COPY, report.explanation


@pytest.mark.parametrize("how", ["left and minus left", "left alone"])
def test_a_changed_speed_is_found_where_the_channels_cancel(studio, ours, how):
    faster = Waveform(ours[1][None], round(RATE * 1.03)).resample(RATE).samples[0]
    report = check(studio, arranged(how, faster))
    assert report.verdict in (Verdict.SEALED, Verdict.EXCERPT), report.explanation
    assert report.speed == pytest.approx(1.03, abs=0.01)


# -- levels ----------------------------------------------------------------------------------------

LEVELS = [
    ("-30 dB, 16 bits", 10 ** (-30 / 20), "PCM_16"),
    ("-50 dB, 24 bits", 10 ** (-50 / 20), "PCM_24"),
    ("-80 dB, float", 10 ** (-80 / 20), "FLOAT"),
    ("right-aligned in 32 bits", 2.0**-16, "FLOAT"),
    ("far below any converter", 1e-9, "FLOAT"),
]


def at_level(samples: np.ndarray, gain: float, subtype) -> bytes:
    quiet = Waveform((np.float32(gain) * samples)[None], RATE)
    return encode(quiet, "wav", subtype=subtype)


@pytest.mark.parametrize(("name", "gain", "subtype"), LEVELS)
def test_ours_at_any_level_is_ours(studio, ours, name, gain, subtype):
    release, samples = ours
    report = check(studio, at_level(samples, gain, subtype))
    assert report.verdict is Verdict.SEALED, report.explanation
    assert report.seal_id == release.seal_id


@pytest.mark.parametrize(("name", "gain", "subtype"), LEVELS)
def test_what_is_not_ours_stays_so_at_any_level(studio, ours, name, gain, subtype):
    other = check(studio, at_level(music(93, SECONDS).samples[0], gain, subtype))
    assert other.verdict is Verdict.NOT_DETECTED, other.explanation
    unsealed = check(studio, at_level(music(1, SECONDS).samples[0], gain, subtype))
    assert unsealed.verdict is Verdict.UNSEALED_COPY, unsealed.explanation
    assert ("so low a level" in unsealed.explanation) == (gain < 0.01)
    assert ("dBFS" in other.explanation) == (gain < 0.01)


def test_silence_is_called_silence(studio):
    report = check(studio, at_level(np.zeros(5 * RATE, np.float32), 1.0, "PCM_16"))
    assert report.verdict is Verdict.NOT_DETECTED
    assert "digital silence" in report.explanation


def test_what_rounding_destroyed_is_not_called_removed_without_saying_so(studio, ours):
    """Two bits of 16 are left: the content may still be known, the seal hardly."""
    report = check(studio, at_level(ours[1], 2**-13.5, "PCM_16"))
    assert report.verdict is not Verdict.TRANSPLANTED
    assert report.verdict.is_negative == ("so low a level" in report.explanation)


@pytest.mark.parametrize(("lasts_s", "shorter"), [(9.99, False), (10.0, False), (6.0, True)])
def test_a_hair_less_than_the_measured_length_is_not_called_shorter(lasts_s, shorter):
    from studio.provenance.sealer import FalseNegativeRate
    from studio.verification.report import false_negative_text

    text = false_negative_text((FalseNegativeRate("clean", 10.0, 0, 20),), lasts_s)
    assert ("shorter" in text) == shorter
