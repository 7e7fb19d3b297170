"""The Python API as a stranger uses it: it reads what it can and refuses the rest with a hint."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import torch

import watermark
from tests.unit.seal_carriers import music
from watermark import (
    Codebook,
    CodebookEntry,
    SealId,
    SealKey,
    SealModel,
    WatermarkError,
    Waveform,
    detect,
    embed,
    encode,
    identify,
    load_seal_model,
    write,
)

KEY = SealKey(epoch=1, secret=bytes(range(32)))
SEAL = SealId(bytes(range(8)))
RATE = 32_000


@pytest.fixture(scope="module")
def model() -> SealModel:
    return load_seal_model("house")


@pytest.fixture(scope="module")
def sealed(model) -> Waveform:
    return embed(music(6.0, RATE, 2), SEAL, KEY, model=model)


def forms(waveform: Waveform, folder) -> dict[str, tuple[object, dict[str, int]]]:
    """The same sound in everything that is accepted, with the keywords that belong to it."""
    path = folder / "sound.wav"
    write(path, waveform, subtype="FLOAT")
    x, rate = waveform.samples, {"rate": waveform.rate}
    return {
        "path": (path, {}),
        "path as text": (str(path), {}),
        "bytes": (encode(waveform, "wav", subtype="FLOAT"), {}),
        "waveform": (waveform, {}),
        "array": (x, rate),
        "array of float64": (x.astype(np.float64), rate),
        "array as soundfile gives it": (np.ascontiguousarray(x.T), rate),
        "array of 16 bits": ((x * 32767).round().astype(np.int16), rate),
        "array of 32 bits": ((x * (2.0**31 - 1)).astype(np.int32), rate),
        "array in the other byte order": (x.astype(">f4"), rate),
        "array of one channel": (x[0], rate),
        "tensor": (torch.from_numpy(x.copy()), rate),
        "tensor with a gradient": (torch.from_numpy(x.copy()).requires_grad_(), rate),
        "rate as a float": (x, {"rate": float(waveform.rate)}),
    }


FORMS = (
    "path", "path as text", "bytes", "waveform", "array", "array of float64",
    "array as soundfile gives it", "array in the other byte order", "array of 16 bits",
    "array of 32 bits", "array of one channel", "tensor", "tensor with a gradient",
    "rate as a float",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_whatever_holds_sound_is_read_and_sealed(model, sealed, tmp_path, form):
    entries = [CodebookEntry(SEAL, KEY, 6.0)]
    source, rate = forms(sealed, tmp_path)[form]
    found = detect(source, model=model, codebook=entries, **rate)
    assert found.identification is not None
    assert found.duration_s == pytest.approx(6.0)
    carrier, rate = forms(music(6.0, RATE, 2), tmp_path)[form]
    made = embed(carrier, SEAL, KEY, model=model, **rate)
    channels = 1 if form == "array of one channel" else 2
    assert (made.channels, made.length) == (channels, 6 * RATE)
    assert detect(made, model=model, codebook=Codebook(entries)).identification is not None


@pytest.mark.parametrize(
    ("source", "keywords", "hint"),
    [
        (None, {}, "a path, a file's bytes, a Waveform"),
        (3.5, {}, "not float"),
        ([0.1, 0.2], {}, "not list"),
        ((np.zeros(9), RATE), {}, "not tuple"),
        (io.BytesIO(b"RIFF"), {}, "not BytesIO"),
        (np.zeros((2, 0)), {"rate": RATE}, "holds no samples"),
        (torch.zeros(90, dtype=torch.bfloat16), {"rate": RATE}, r"pass one of float32"),
        (np.zeros(90), {}, "pass rate="),
        (torch.zeros(90), {}, "pass rate="),
        (np.zeros(90), {"rate": 0}, "sample rate 0 Hz"),
        (np.zeros(90), {"rate": 44_100.5}, "whole number of Hz"),
        (np.zeros(90), {"rate": float("nan")}, "whole number of Hz"),
        (np.zeros(90), {"rate": True}, "whole number of Hz"),
        (np.zeros(90), {"rate": "44100"}, "whole number of Hz"),
        (np.zeros((2, 3, 90)), {"rate": RATE}, "shape"),
        (np.zeros((90, 90)), {"rate": RATE}, "90 channels"),
        (np.zeros(90, complex), {"rate": RATE}, "not complex"),
        (np.zeros(90, np.uint8), {"rate": RATE}, "not uint8"),
        (np.full(90, np.nan), {"rate": RATE}, "NaN"),
        (Waveform(np.zeros((1, 90), np.float32), RATE), {"rate": RATE}, "says its own"),
        (b"RIFF", {"rate": RATE}, "says its own"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_pass(model, source, keywords, hint):
    for call in (
        lambda: detect(source, model=model, **keywords),
        lambda: embed(source, SEAL, KEY, model=model, **keywords),
    ):
        with pytest.raises(WatermarkError, match=hint):
            call()


@pytest.mark.parametrize(
    ("samples", "rate", "hint"),
    [
        (np.zeros((440_752, 2), np.float32), 44_100, r"440752 channels; pass .*x\.T"),
        (np.zeros((2, 90)), 44_100, "not float64"),
        ([0.0], 44_100, "not list"),
        (torch.zeros(2, 90), 44_100, "as_waveform"),
        (np.zeros((2, 90), np.float32), 44_100.5, "whole number"),
        (np.zeros((2, 90), np.float32), None, "whole number"),
    ],
)
def test_a_waveform_refuses_what_it_would_take_for_something_else(samples, rate, hint):
    with pytest.raises(WatermarkError, match=hint):
        Waveform(samples, rate)


@pytest.mark.parametrize("codebook", ["ids.txt", 7, [SEAL], [("id", "key", 3)], {"a": 1}, b"x"])
def test_a_codebook_of_another_kind_is_refused(model, sealed, codebook):
    with pytest.raises(WatermarkError, match="CodebookEntry"):
        detect(sealed, model=model, codebook=codebook)
    with pytest.raises(WatermarkError, match="CodebookEntry"):
        identify(np.zeros((3, 16)), codebook)


def test_arguments_of_another_kind_are_refused(model, sealed):
    with pytest.raises(WatermarkError, match="load_seal_model"):
        detect(sealed, model="house")
    with pytest.raises(WatermarkError, match="load_seal_model"):
        embed(sealed, SEAL, KEY, model=None)
    with pytest.raises(WatermarkError, match=r"SealId\.parse"):
        embed(sealed, SEAL.hex, KEY, model=model)
    with pytest.raises(WatermarkError, match=r"SealKey\.load"):
        embed(sealed, SEAL, "k.key", model=model)
    with pytest.raises(WatermarkError, match="detect"):
        identify("song.wav", [CodebookEntry(SEAL, KEY, 3.0)])


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan"), float("inf"), 99.0])
def test_the_range_of_strengths_is_the_one_that_holds(model, sealed, strength):
    with pytest.raises(WatermarkError, match=f"above 0 and at most {model.max_strength:g}"):
        embed(sealed, SEAL, KEY, model=model, strength=strength)
    assert embed(sealed, SEAL, KEY, model=model, strength=model.max_strength).length


@pytest.mark.parametrize("strength", ["1", True, None.__class__])
def test_a_strength_is_a_number(model, sealed, strength):
    with pytest.raises(WatermarkError, match="strength is a number"):
        embed(sealed, SEAL, KEY, model=model, strength=strength)


def test_every_exported_name_exists():
    assert [name for name in watermark.__all__ if not hasattr(watermark, name)] == []


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import watermark.cli.main",
        "from watermark.evaluation.bench import Bench; import watermark.batch.files",
    ],
)
def test_the_functions_are_functions_whatever_was_imported_before(before):
    code = f"{before}\nfrom watermark import detect, embed, identify\n"
    code += "print(*(f.__class__.__name__ for f in (detect, embed, identify)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["function"] * 3, done.stderr
