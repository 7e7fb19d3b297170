"""Make a catalogue of files as shops and archives have them, with the truth about each.

Each piece of music is encoded once in every format; the files are then cut out of these at seeded
places, most without encoding again. So ten thousand files take minutes, not days. Files of one
piece overlap: they load a scan as other files would, but are not independent evidence of the rate
of false alarms.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from watermark.coding.message import SealId, SealKey

__all__ = ["IDS", "KEY", "LIST", "TRUTH", "File", "lengths", "make", "truth_of"]

TRUTH, LIST, IDS, KEY = "truth.jsonl", "list.txt", "ids.txt", "test.key"

_SHORTEST_S, _LONGEST_S = 15.0, 240.0
_MEDIAN_S, _SPREAD = 49.0, 0.65  # log-normal; with the bounds the mean is near 60 s
_FORMATS = {"mp3": 0.5, "m4a": 0.14, "aac": 0.08, "ogg": 0.13, "flac": 0.11, "wav": 0.04}
_SEALED, _ENCODED_AGAIN, _BROKEN = 0.05, 0.02, 0.005
_LEAST_BROKEN = 6
_BROKEN_KINDS = ("empty", "text", "noise", "no index", "truncated")
_REGISTERED = 1_000  # seals in the list of ids
_MIXES, _SEALED_PIECES = 8, 8
_ENCODERS = {
    "mp3": ("-c:a", "libmp3lame"),
    "m4a": ("-c:a", "aac", "-b:a", "128k"),
    "ogg": ("-c:a", "libvorbis", "-q:a", "4"),
}


@dataclass(frozen=True, slots=True)
class File:
    """A file of the catalogue, and what is true of it.

    Attributes:
        file: path below the catalogue's folder.
        kind: ``cut``, ``encoded again`` (two pieces mixed, or one that is sealed), or how it is
            broken.
        expect: ``sealed``, ``no seal``, ``unreadable``; ``any`` where a truncated file may be read.
        seconds: of the music that was cut.
        seal_id: of the piece; None: it has none.
        piece, start_s: where it was cut; ``other`` is the piece mixed in.
        rate_kbit: of an MP3 that was encoded again.
    """

    file: str
    kind: str
    expect: str
    seconds: float
    seal_id: str | None
    piece: str
    start_s: float
    other: str | None = None
    rate_kbit: int = 128


@dataclass(frozen=True, slots=True)
class _Piece:
    name: str
    seconds: float
    formats: tuple[str, ...]
    seal_id: str | None = None


def lengths(count: int, seed: int, bounds: Sequence[float] | None = None) -> np.ndarray:
    """Lengths of the files in seconds: log-normal within 15 s and 4 min, or even within bounds."""
    rng = np.random.default_rng([seed, 1])
    if bounds is not None:
        return rng.uniform(*bounds, count)
    drawn = np.exp(rng.normal(np.log(_MEDIAN_S), _SPREAD, 8 * count + 100))
    return drawn[(drawn >= _SHORTEST_S) & (drawn <= _LONGEST_S)][:count]


def truth_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The truth about each file, by its absolute path."""
    rows = (json.loads(line) for line in (folder / TRUTH).read_text().splitlines())
    return {str(folder / row["file"]): row for row in rows}


def make(
    audio: Path,
    folder: Path,
    *,
    files: int,
    seed: int,
    jobs: int,
    bounds: Sequence[float] | None = None,
) -> list[File]:
    """Make what is missing of the catalogue; the same seed makes the same cuts.

    Args:
        audio: folder of music.
        folder: the catalogue's; gets ``files/``, ``pieces/``, the list, the truth, a key and a list
            of seals.
        files: how many.
        jobs: processes.
        bounds: as for :func:`lengths`.
    """
    (folder / "pieces").mkdir(parents=True, exist_ok=True)
    plan, asked = folder / "plan.json", json.dumps({"files": files, "seed": seed})
    if bounds is not None:
        asked = json.dumps({"files": files, "seed": seed, "seconds": list(bounds)})
    if plan.exists() and plan.read_text() != asked:
        raise SystemExit(f"{folder} holds another catalogue: {plan.read_text()}")
    plan.write_text(asked)
    if not (folder / KEY).exists():
        SealKey.create(1).save(folder / KEY)
    with ProcessPoolExecutor(jobs) as pool:
        pieces = _pieces(audio, folder, seed, pool)
        planned = list(_plan(pieces, lengths(files, seed, bounds), seed))
        work = partial(_make_one, folder, seed)
        for number, _ in enumerate(pool.map(work, planned, range(files), chunksize=8), 1):
            if number % 1000 == 0:
                print(f"{number:,} of {files:,} files", flush=True)
    (folder / TRUTH).write_text("".join(json.dumps(asdict(each)) + "\n" for each in planned))
    (folder / LIST).write_text("".join(f"{folder / each.file}\n" for each in planned))
    return planned


# -- pieces ----------------------------------------------------------------------------------------


def _pieces(audio: Path, folder: Path, seed: int, pool: ProcessPoolExecutor) -> list[_Piece]:
    """Every track, mixes of two, and sealed ones, each encoded once a format."""
    rng = np.random.default_rng([seed, 2])
    tracks = sorted(path for path in audio.rglob("*") if path.suffix in (".ogg", ".flac", ".wav"))
    tracks = [path for path in tracks if soundfile.info(path).duration > _SHORTEST_S]
    long = [path for path in tracks if soundfile.info(path).duration > 90]
    ids = [rng.bytes(8).hex() for _ in range(_REGISTERED)]
    to_seal = [long[n] for n in rng.permutation(len(long))[:_SEALED_PIECES]]
    pairs = [rng.choice(len(long), 2, replace=False) for _ in range(_MIXES)]
    sources: list[tuple[str, list[Path], str | None]] = [
        *((f"plain-{n}", [path], None) for n, path in enumerate(tracks)),
        *((f"mix-{n}", [long[a], long[b]], None) for n, (a, b) in enumerate(pairs)),
        *((f"sealed-{n}", [path], ids[n]) for n, path in enumerate(to_seal)),
    ]
    pieces = list(pool.map(partial(_encode_piece, folder), sources, range(len(sources))))
    sealed = {piece.seal_id: piece.seconds for piece in pieces if piece.seal_id}
    lines = (f"{each} {sealed.get(each, 60.0):.1f} 1 scrambled\n" for each in ids)
    (folder / IDS).write_text("".join(lines))
    return pieces


def _encode_piece(folder: Path, source: tuple[str, list[Path], str | None], number: int) -> _Piece:
    name, tracks, seal_id = source
    base = folder / "pieces" / name
    wav = base.with_suffix(".wav")
    if not wav.exists():
        part = base.with_suffix(".part.wav")
        if seal_id is not None:
            _seal(tracks[0], part, seal_id, folder / KEY)
        elif len(tracks) == 1:
            _ffmpeg("-i", tracks[0], "-ac", "2", "-ar", "44100", part)
        else:
            mix = "amix=inputs=2:duration=shortest"
            _ffmpeg("-i", tracks[0], "-i", tracks[1], "-filter_complex", mix, "-ac", "2", part)
        part.rename(wav)
    # AAC and Vorbis by turns: encoding is what takes the time.
    formats = ["mp3", *(("m4a", "ogg") if seal_id else (("m4a", "ogg")[number % 2],))]
    for kind in formats:
        target = base.with_suffix(f".{kind}")
        if not target.exists():
            part = base.with_suffix(f".part.{kind}")
            rate = ("-b:a", f"{(128, 192, 256)[number % 3]}k") if kind == "mp3" else ()
            _ffmpeg("-i", wav, *_ENCODERS[kind], *rate, part)
            part.rename(target)
    adts = ("aac",) if "m4a" in formats else ()
    return _Piece(name, soundfile.info(wav).duration, (*formats, *adts, "flac", "wav"), seal_id)


def _seal(source: Path, target: Path, seal_id: str, key: Path) -> None:
    from watermark.audio.waveform import read, write
    from watermark.embedding.embed import embed
    from watermark.models.loading import load_seal_model

    music = read(source)
    sealed = embed(music, SealId.parse(seal_id), SealKey.load(key), model=load_seal_model())
    write(target, sealed)


def _ffmpeg(*arguments: object) -> None:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-threads", "1", *map(str, arguments)]
    subprocess.run(command, check=True)


# -- files -----------------------------------------------------------------------------------------


def _plan(pieces: Sequence[_Piece], long: np.ndarray, seed: int) -> Iterator[File]:
    rng = np.random.default_rng([seed, 3])
    files = len(long)
    names, shares = list(_FORMATS), list(_FORMATS.values())
    broken = min(files // 2, max(_LEAST_BROKEN, round(_BROKEN * files)))
    sealed = round(_SEALED * files)
    again = round(_ENCODED_AGAIN * files)
    roles = ["broken"] * broken + ["sealed"] * sealed + ["again"] * again
    roles += ["cut"] * (files - len(roles))
    kinds = [_BROKEN_KINDS[n % len(_BROKEN_KINDS)] for n in range(broken)]
    for number, (place, seconds) in enumerate(zip(rng.permutation(files), long, strict=True)):
        role = roles[place]
        extension = str(rng.choice(names, p=shares))
        kind = "cut"
        if role == "again" or (role == "sealed" and rng.random() < 0.1):
            kind, extension = "encoded again", "mp3"
        if role == "broken":
            kind = kinds[place]
            extension = {"no index": "m4a"}.get(kind, extension)
        possible = [
            piece
            for piece in pieces
            if (piece.seal_id is not None) == (role == "sealed") and extension in piece.formats
        ]
        fitting = [piece for piece in possible if piece.seconds >= seconds] or [
            max(possible, key=lambda piece: piece.seconds)
        ]
        piece = fitting[rng.integers(len(fitting))]
        seconds = min(float(seconds), piece.seconds)
        mixed = [each for each in fitting if each is not piece] if role == "again" else []
        expect = "sealed" if role == "sealed" else "no seal"
        if role == "broken":
            expect = "any" if kind == "truncated" else "unreadable"
        yield File(
            file=f"files/{number % 100:02d}/{number:06d}.{extension}",
            kind=kind,
            expect=expect,
            seconds=round(seconds, 3),
            seal_id=piece.seal_id,
            piece=piece.name,
            start_s=round(float(rng.uniform(0, piece.seconds - seconds)), 3),
            other=mixed[rng.integers(len(mixed))].name if mixed else None,
            rate_kbit=int(rng.choice([96, 128, 160])),
        )


def _make_one(folder: Path, seed: int, file: File, number: int) -> None:
    target = folder / file.file
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".part-{target.name}")
    rng = np.random.default_rng([seed, 4, number])
    if file.kind == "empty":
        part.touch()
    elif file.kind == "text":
        part.write_text("This is not music.\n" * 500)
    elif file.kind == "noise":
        part.write_bytes(rng.bytes(200_000))
    else:
        _cut(folder, file, part)
        if file.kind in ("no index", "truncated"):  # the index of an M4A file stands at its end
            content = part.read_bytes()
            part.write_bytes(content[: int(len(content) * rng.uniform(0.3, 0.7))])
    part.rename(target)


def _cut(folder: Path, file: File, target: Path) -> None:
    extension = target.suffix[1:]
    base = folder / "pieces" / file.piece
    place: tuple[object, ...] = ("-ss", file.start_s, "-t", file.seconds)
    if file.kind == "encoded again":
        inputs: list[object] = [*place, "-i", base.with_suffix(".mp3")]
        if file.other is not None:
            other = (folder / "pieces" / file.other).with_suffix(".mp3")
            inputs += ["-t", file.seconds, "-i", other]
            inputs += ["-filter_complex", "amix=inputs=2:duration=first"]
        _ffmpeg(*inputs, *_ENCODERS["mp3"], "-b:a", f"{file.rate_kbit}k", target)
    elif extension in ("flac", "wav"):
        with soundfile.SoundFile(base.with_suffix(".wav")) as sound:
            sound.seek(round(file.start_s * sound.samplerate))
            samples = sound.read(round(file.seconds * sound.samplerate), dtype="int16")
            soundfile.write(target, samples, sound.samplerate, subtype="PCM_16")
    else:
        source = base.with_suffix({"aac": ".m4a"}.get(extension, f".{extension}"))
        _ffmpeg(*place, "-i", source, "-c", "copy", "-map", "0:a", target)


def described(folder: Path, files: Sequence[File]) -> str:
    """What was made, in words."""
    seconds = np.array([each.seconds for each in files])
    at = np.percentile(seconds, [5, 25, 50, 75, 95])
    size = sum((folder / each.file).stat().st_size for each in files)
    formats = Counter(Path(each.file).suffix[1:] for each in files)
    expected = Counter(each.expect for each in files)
    kinds = Counter(each.kind for each in files)
    return "\n".join(
        [
            f"{len(files):,} files, {seconds.sum() / 3600:,.1f} h, {size / 1e9:.2f} GB",
            f"seconds: mean {seconds.mean():.1f}, least {seconds.min():.1f}, 5 % {at[0]:.1f}, "
            f"25 % {at[1]:.1f}, median {at[2]:.1f}, 75 % {at[3]:.1f}, 95 % {at[4]:.1f}, "
            f"most {seconds.max():.1f}",
            f"formats: {_counts(formats)}",
            f"expected: {_counts(expected)}",
            f"made how: {_counts(kinds)}",
        ]
    )


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
