"""What is compared where a seal was read faintly."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from studio.verification.evidence import Examiner
from studio.verification.parts import PartKind
from tests.support.studios import music
from watermark.audio.waveform import Waveform
from watermark.coding.identify import Identification
from watermark.coding.message import SealId
from watermark.detection.detect import Segment
from watermark.fingerprint.haitsma_kalker import fingerprint

SEAL = SealId(bytes(8))


def parts(heard: Waveform, ours: Waveform, *, segments: tuple[Segment, ...], offset_s: float):
    """What is said where ours was named over the whole of what is heard."""
    registry = SimpleNamespace(
        index=SimpleNamespace(reference=lambda key: fingerprint(ours)),
        keys_of=lambda output_id: (output_id,),
    )
    examiner = Examiner(registry, read=lambda _: pytest.fail("nothing is read again"))
    recording = SimpleNamespace(print=fingerprint(heard), duration_s=heard.duration_s)
    found = Identification(SEAL, 1, 7.0, 1e-8, offset_s, 0.68, 20, 1000)
    detection = SimpleNamespace(segments=segments)
    return examiner._where_read(found, recording, [recording.print], detection, [])


@pytest.mark.parametrize("offset_s", [0.0, 0.084, -0.084])  # a faint seal's place: to a cell
def test_under_loud_sound_all_shared_seconds_are_compared(offset_s):
    ours, other = music(1, 20.0), music(2, 20.0)
    heard = Waveform(ours.samples + np.float32(0.5) * other.samples, ours.rate)
    (part,) = parts(heard, ours, segments=(Segment(12.0, 13.0, 2.6),), offset_s=offset_s)
    assert part.kind is PartKind.OVERLAID
    assert (part.start_s, part.end_s) == (pytest.approx(0, abs=0.1), pytest.approx(20, abs=0.1))


def test_on_other_content_the_stretch_that_looks_sealed_is_a_copied_seal():
    ours, other = music(1, 20.0), music(2, 20.0)
    (part,) = parts(other, ours, segments=(Segment(8.0, 13.0, 2.6),), offset_s=0.0)
    assert (part.kind, part.start_s, part.end_s) == (PartKind.COPIED, 8.0, 13.0)
    (part,) = parts(other, ours, segments=(Segment(2.0, 18.0, 5.0),), offset_s=0.0)
    assert part.kind is PartKind.COPIED
    assert part.distance is not None
    assert math.isclose(part.distance, 0.48, abs_tol=0.06)


@pytest.mark.parametrize("segments", [(Segment(12.0, 13.0, 2.6),), ()])
def test_nothing_to_compare_and_a_seal_that_is_nowhere_clear_accuse_nobody(segments):
    ours, other = music(1, 20.0), music(2, 20.0)
    (part,) = parts(other, ours, segments=segments, offset_s=0.0)
    assert part.kind is PartKind.ALONE


@pytest.mark.parametrize("seconds", [0.6, 1.5, 2.9])
def test_silence_and_snippets_are_never_a_copied_seal(seconds):
    ours = music(1, 20.0)
    for heard in (Waveform(0 * ours.samples, ours.rate), music(2, seconds)):
        (part,) = parts(heard, ours, segments=(Segment(0.0, seconds, 9.0),), offset_s=0.0)
        assert (part.kind, part.distance) == (PartKind.ALONE, None)
