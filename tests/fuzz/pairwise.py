"""Sealed and unsealed music through every pair of codec, channels, level, rate, depth and damage.

``python -m tests.fuzz.pairwise [--rows N] [--seed S]``: the rows are chosen so that every pair of
values of two dimensions stands in one of them (those that ffmpeg cannot write aside). Each row is
made from a release and from other music, and is read by ``verify`` and ``detect``, and sealed
by ``embed``. A crash is an exception that is not one of ours, or a process that dies. A verdict is
wrong where a sealed piece is called a copied or a foreign seal, or, undamaged and not too quiet,
anything but ours; and where other music is called ours in any way.
"""

from __future__ import annotations

import argparse
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.inputs.files import PANS, cut, tagged, wav_sizes
from tests.support.studios import as_owner
from watermark.errors import AudioError, CarrierError

__all__ = ["DIMENSIONS", "pairwise"]

SECONDS = 12.0

#: Extension of the container, codec.
_CODECS = (
    ("wav", "pcm_s16le"),
    ("wav", "pcm_s24le"),
    ("wav", "pcm_s32le"),
    ("wav", "pcm_f32le"),
    ("wav", "adpcm_ms"),
    ("aiff", "pcm_s16be"),
    ("au", "pcm_s16be"),
    ("caf", "pcm_s24le"),
    ("w64", "pcm_s16le"),
    ("flac", "flac"),
    ("mka", "flac"),
    ("m4a", "alac"),
    ("wv", "wavpack"),
    ("m4a", "aac"),
    ("aac", "aac"),
    ("ts", "aac"),
    ("flv", "aac"),
    ("mp3", "libmp3lame"),
    ("avi", "libmp3lame"),
    ("mpg", "mp2"),
    ("ac3", "ac3"),
    ("mka", "eac3"),
    ("ogg", "libvorbis"),
    ("webm", "libopus"),
    ("opus", "libopus"),
    ("wma", "wmav2"),
)
DIMENSIONS: dict[str, tuple] = {
    "codec": _CODECS,
    "channels": (1, 2, 3, 4, 5, 6, 7, 8),
    "level_db": (0, -12, -30, -45),
    "rate": (16_000, 22_050, 32_000, 44_100, 48_000, 96_000),
    "form": ("s16", "s32", "flt"),  # in which ffmpeg hands the sound to the encoder
    "damage": ("none", "cut", "hole", "tag in front", "no sizes", "twice"),
}


def pairwise(dimensions: dict[str, tuple], rng: random.Random) -> list[dict[str, object]]:
    """Rows in which every pair of values of two dimensions stands at least once, greedily."""
    names = list(dimensions)
    missing = {
        (a, x, b, y)
        for a, b in itertools.combinations(names, 2)
        for x in dimensions[a]
        for y in dimensions[b]
    }
    rows = []
    while missing:
        a, x, b, y = min(missing, key=repr)
        best, most = {}, -1
        for _ in range(12):
            row = {name: rng.choice(dimensions[name]) for name in names} | {a: x, b: y}
            new = sum(pair in missing for pair in _pairs(row, names))
            if new > most:
                best, most = row, new
        missing.difference_update(_pairs(best, names))
        rows.append(best)
    return rows


def _pairs(row: dict[str, object], names: Sequence[str]):
    return [(a, row[a], b, row[b]) for a, b in itertools.combinations(names, 2)]


def make(row: dict[str, object], source: Path, folder: Path) -> Path | None:
    """The row as a file; None where ffmpeg cannot write it."""
    extension, codec = row["codec"]  # type: ignore[misc] - a pair
    path = folder / f"x.{extension}"
    path.unlink(missing_ok=True)
    channels = row["channels"]
    pan = PANS.get(channels, f"aformat=channel_layouts={'mono' if channels == 1 else 'stereo'}")  # type: ignore[call-overload] - an int
    filters = f"volume={row['level_db']}dB,{pan},aformat=sample_fmts={row['form']}"
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-af", filters]
    command += ["-ar", str(row["rate"]), "-c:a", codec, "-strict", "-2", str(path)]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode or not path.exists() or path.stat().st_size < 1000:
        return None
    data = path.read_bytes()
    damage = row["damage"]
    if damage == "cut":
        data = cut(0.7)(data)
    elif damage == "hole":
        middle = len(data) // 2
        data = data[:middle] + bytes(600) + data[middle + 600 :]
    elif damage == "tag in front":
        data = tagged(data)
    elif damage == "no sizes" and data[:4] == b"RIFF" and b"data" in data[:500]:
        data = wav_sizes(0, lambda _: 0)(data)
    elif damage == "twice":
        data += data
    path.write_bytes(data)
    return path


def right(row: dict[str, object], verdict: str, *, sealed: bool) -> bool:
    """Whether the verdict accuses nobody wrongly, and finds what is there."""
    if not sealed:
        return verdict in ("not-detected", "unreadable")
    if verdict in ("sealed", "excerpt"):
        return True
    if verdict in ("transplanted", "foreign-seal", "unsealed-copy"):
        return False
    # Coarse codecs at these settings keep the seal of undamaged music that is not very quiet.
    return row["damage"] in ("cut", "hole", "twice") or row["level_db"] == -45


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.pairwise", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="of the pairwise rows, at most")
    parser.add_argument("--first", type=int, default=0, help="row to begin with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="then stop, and count")
    options = parser.parse_args()
    from tests.support.studios import PlainGenerator, make_studio, music
    from watermark.audio.waveform import Waveform, write
    from watermark.coding.message import SealId, SealKey
    from watermark.detection.detect import detect
    from watermark.embedding.file import embed_file
    from watermark.models.loading import load_seal_model

    rng = random.Random(options.seed)
    rows = pairwise(DIMENSIONS, rng)[options.first :][: options.rows]
    model = load_seal_model()
    key, seal_id = SealKey(1, bytes(range(32))), SealId(bytes(range(8)))
    tally: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        piece = PlainGenerator(music(1, SECONDS, 44_100, 2))
        with make_studio(folder / "studio", seal=model, generator=piece, isolate=True) as studio:
            request = as_owner(studio).generation.request(
                ["genre/jazz"], duration_s=SECONDS, seed=1, format="wav"
            )
            ours = as_owner(studio).generation.create(request).path
            other = folder / "other.wav"
            write(other, Waveform(np.array(music(2, SECONDS, 44_100, 2).samples), 44_100))
            end = time.monotonic() + 60 * options.minutes
            for row in rows:
                if time.monotonic() > end:
                    tally["rows left out"] += 1
                    continue
                for sealed, source in ((True, ours), (False, other)):
                    path = make(row, source, folder)
                    if path is None:
                        tally["not written by ffmpeg"] += 1
                        continue
                    tally["inputs"] += 1
                    try:
                        verdict = str(as_owner(studio).verification.verify(path).verdict)
                        tally[f"{'sealed' if sealed else 'other'}: {verdict}"] += 1
                        print(f"{row} sealed={sealed}: {verdict}", file=sys.stderr, flush=True)
                        if not right(row, verdict, sealed=sealed):
                            tally["wrong verdicts"] += 1
                            print(f"wrong: {row} sealed={sealed}: {verdict}", flush=True)
                        found = None
                        try:
                            found = detect(path, model=model)
                        except AudioError:
                            tally["detect: unreadable"] += 1
                        if found is not None and found.detected and not sealed:
                            tally["false alarms of detect"] += 1
                            print(f"alarm: {row}", flush=True)
                        if sealed:
                            continue
                        target = folder / f"o.{rng.choice(('wav', 'flac', 'm4a', 'opus', 'ogg'))}"
                        try:
                            embed_file(path, target, seal_id, key, model=model)
                            tally["embed: sealed"] += 1
                        except (AudioError, CarrierError):
                            tally["embed: refused"] += 1
                    except Exception as exc:  # noqa: BLE001 - that is what is looked for
                        tally["crashes"] += 1
                        print(f"crash: {row} sealed={sealed}: {exc!r}", flush=True)
    for word, count in sorted(tally.items()):
        print(f"{count:6} {word}")
    print(
        f"{tally['inputs']} inputs of {len(rows)} rows, {tally['crashes']} crashes, "
        f"{tally['wrong verdicts']} wrong verdicts"
    )
    return 1 if tally["crashes"] or tally["wrong verdicts"] else 0


if __name__ == "__main__":
    sys.exit(main())
