"""The house catalogue: which pieces are composed, under which grant, and where their audio lies.

A catalogue is a folder::

    plan.jsonl          every track to be rendered, written once by compose_catalogue
    manifest.jsonl      every track rendered so far, in the plan's order, one JSON object a line
    catalogue.json      format version, sample rate, soundfont and its digest
    audio/<id>.npy      int16 mono samples, to be mapped into memory

Composing decides seeds, tags and split; rendering can be stopped and taken up again at any track.
The training set holds every combination of the four kinds of tag the same number of times.

>>> rows = plan(CatalogueConfig(repeats=1, validation=80, test=240))
>>> len(rows), sum(row.split == "train" for row in rows)
(2720, 2400)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from studio.core.errors import ConfigError, HouseError
from studio.music.composer import GENRES, LEADS, MOODS, TEMPI, Composition, compose

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Catalogue",
    "CatalogueConfig",
    "PlannedTrack",
    "Split",
    "Track",
    "compose_catalogue",
    "plan",
    "render_catalogue",
]

Split = Literal["train", "validation", "test"]
Progress = Callable[[int, int], None]

FORMAT = 1
"""Version of the folder's format (docs/house-catalogue.md)."""

_SAVE_EVERY = 8


@dataclass(frozen=True, slots=True)
class CatalogueConfig:
    """What to compose. ``repeats`` tracks of every tag combination train; the rest is held out.

    ``validation`` and ``test`` are numbers of tracks. ``grant`` and ``holder`` are recorded with
    every track.
    """

    seed: int = 2026
    repeats: int = 1
    validation: int = 80
    test: int = 240
    grant: str = "house-catalogue-2026"
    holder: str = "house"

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.validation < 0 or self.test < 0:
            raise ConfigError("a catalogue needs repeats >= 1 and no negative number of tracks")

    @classmethod
    def load(cls, path: Path) -> CatalogueConfig:
        """Read ``configs/train/catalogue.yaml``. Raises :class:`ConfigError`."""
        import yaml

        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as exc:
            raise ConfigError(f"cannot read the catalogue configuration {path}: {exc}") from exc
        types = {field.name: type(field.default) for field in fields(cls)}
        if not isinstance(data, dict) or any(
            key not in types or type(value) is not types[key] for key, value in data.items()
        ):
            raise ConfigError(f"{path} may hold only {', '.join(types)}, each of its own type")
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Track:
    """One track of the catalogue; the last two fields are empty until it is rendered."""

    id: str
    split: Split
    seed: int
    tags: tuple[str, ...]
    bpm: float
    beats_per_bar: int
    duration_s: float
    composition_sha256: str
    grant: str
    holder: str
    samples: int = 0
    audio_sha256: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Track:
        """Read one line. Raises :class:`HouseError` for anything but a whole track."""
        try:
            data = json.loads(line)
            track = cls(**{**data, "tags": tuple(data["tags"])})
        except (ValueError, TypeError, KeyError) as exc:
            raise HouseError(f"damaged line in a catalogue: {exc}") from exc
        if track.split not in ("train", "validation", "test") or "/" in track.id:
            raise HouseError(f"damaged line in a catalogue: track {track.id!r}")
        return track

    def compose(self) -> Composition:
        """The piece itself, composed again from seed and tags."""
        names = dict(tag.split("/", 1) for tag in self.tags)
        return compose(
            seed=self.seed,
            genre=names["genre"],
            mood=names["mood"],
            lead=names["lead"],
            tempo=names["tempo"],
        )


@dataclass(frozen=True, slots=True)
class PlannedTrack:
    """A row of the plan before anything is composed."""

    id: str
    split: Split
    seed: int
    genre: str
    mood: str
    lead: str
    tempo: str


def plan(config: CatalogueConfig) -> list[PlannedTrack]:
    """Every track in rendering order: genres, moods, tempi, leads and splits are interleaved.

    Row ``i`` of the training set takes genre ``i mod 16``, mood ``i mod 5`` and tempo ``i mod 3``;
    as these are coprime, and the lead moves on by one every 240 rows, 2,400 rows hold every
    combination once.
    """
    train = 2400 * config.repeats
    rows: list[tuple[float, PlannedTrack]] = []
    counts: tuple[tuple[Split, int, int], ...] = (
        ("train", train, 0),
        ("validation", config.validation, 1),
        ("test", config.test, 2),
    )
    for split, count, shift in counts:
        for index in range(count):
            # Held-out splits start at another lead, and are spread evenly over the plan.
            row = _planned(config, split, index, lead_shift=3 * shift)
            rows.append(((index + 0.5) / count + shift * 1e-9, row))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _planned(config: CatalogueConfig, split: Split, index: int, *, lead_shift: int) -> PlannedTrack:
    genres, moods, leads = list(GENRES), list(MOODS), list(LEADS)
    lead = leads[(index + index // 240 + lead_shift) % len(leads)]
    identity = f"{split}-{index:05d}"
    digest = hashlib.sha256(f"{config.seed}/{identity}".encode("ascii")).digest()
    return PlannedTrack(
        id=identity,
        split=split,
        seed=int.from_bytes(digest[:6], "big"),
        genre=genres[index % len(genres)],
        mood=moods[index % len(moods)],
        lead=lead,
        tempo=TEMPI[index % len(TEMPI)],
    )


def compose_catalogue(
    config: CatalogueConfig,
    out_dir: Path,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
) -> list[Track]:
    """Compose every track of the plan and write ``plan.jsonl`` and ``catalogue.json``.

    ``limit`` keeps only the first tracks of the plan, for trials. A folder that holds a plan of
    another configuration or of other composing rules is refused with :class:`HouseError`, so that
    one catalogue never mixes two.
    """
    rows = plan(config)[:limit]
    tracks = []
    for done, row in enumerate(rows, start=1):
        piece = compose(
            seed=row.seed, genre=row.genre, mood=row.mood, lead=row.lead, tempo=row.tempo
        )
        tracks.append(
            Track(
                id=row.id,
                split=row.split,
                seed=row.seed,
                tags=piece.tags,
                bpm=round(piece.bpm, 3),
                beats_per_bar=piece.beats_per_bar,
                duration_s=piece.duration_s,
                composition_sha256=piece.digest(),
                grant=config.grant,
                holder=config.holder,
            )
        )
        if progress is not None:
            progress(done, len(rows))
    text = _lines(tracks)
    path = out_dir / "plan.jsonl"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise HouseError(f"{out_dir} holds another catalogue; choose an empty folder")
    out_dir.mkdir(parents=True, exist_ok=True)
    _write(path, text)
    return tracks


def render_catalogue(
    out_dir: Path,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
) -> list[Track]:
    """Render every planned track that is not in the manifest yet; returns the whole manifest.

    ``limit`` is the greatest number of tracks rendered by this call. ``progress`` is told tracks
    done and tracks planned. Raises :class:`HouseError` where FluidSynth, the soundfont or the plan
    is missing, where a track no longer composes as planned, or where the folder holds renders of
    another soundfont or version.
    """
    import numpy as np

    from studio.music.training.rendering import (
        RATE,
        RENDERING,
        Renderer,
        samples_digest,
    )
    from studio.music.training.synthesiser import find_soundfont

    planned = _read(out_dir / "plan.jsonl", "compose the catalogue first")
    manifest = out_dir / "manifest.jsonl"
    done = {t.id: t for t in _read(manifest, "")} if manifest.exists() else {}
    todo = [
        t for t in planned if t.id not in done or not (out_dir / "audio" / f"{t.id}.npy").exists()
    ]
    (out_dir / "audio").mkdir(exist_ok=True)
    soundfont = find_soundfont()
    info = {
        "format": FORMAT,
        "rate": RATE,
        "rendering": RENDERING,
        "soundfont": soundfont.name,
        "soundfont_sha256": hashlib.sha256(soundfont.read_bytes()).hexdigest(),
    }
    about = json.dumps(info, indent=2) + "\n"
    path = out_dir / "catalogue.json"
    if done and path.exists() and path.read_text(encoding="utf-8") != about:
        raise HouseError(f"{out_dir} was rendered otherwise; render into an empty folder")
    _write(path, about)
    with Renderer(soundfont) as renderer:
        for count, track in enumerate(todo[:limit], start=1):
            piece = track.compose()
            if piece.digest() != track.composition_sha256:
                raise HouseError(
                    f"{track.id} no longer composes as planned; compose into an empty folder"
                )
            samples = renderer.render(piece)
            target = out_dir / "audio" / f"{track.id}.npy"
            part = target.with_suffix(".part")
            with part.open("wb") as file:
                np.save(file, samples)
            part.replace(target)
            rendered = {"samples": len(samples), "audio_sha256": samples_digest(samples)}
            done[track.id] = Track(**{**asdict(track), "tags": track.tags, **rendered})
            if count % _SAVE_EVERY == 0 or count == len(todo[:limit]):
                _write(manifest, _lines(done[t.id] for t in planned if t.id in done))
            if progress is not None:
                progress(len(done), len(planned))
    return [done[t.id] for t in planned if t.id in done]


class Catalogue:
    """A rendered (or half-rendered) catalogue: its tracks, and their samples as memory maps."""

    def __init__(self, root: Path, tracks: Sequence[Track], rate: int) -> None:
        self.root = root
        self.rate = rate
        self._tracks = tuple(tracks)

    @classmethod
    def open(cls, root: Path) -> Catalogue:
        """Read the manifest as it is now. Raises :class:`HouseError`."""
        try:
            info: dict[str, Any] = json.loads((root / "catalogue.json").read_text(encoding="utf-8"))
            version, rate = info["format"], int(info["rate"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise HouseError(f"{root} is not a rendered catalogue: {exc}") from exc
        if version != FORMAT:
            raise HouseError(f"{root} has format {version}; this version reads {FORMAT}")
        return cls(root, _read(root / "manifest.jsonl", "render the catalogue first"), rate)

    def tracks(self, split: Split | None = None) -> tuple[Track, ...]:
        """Rendered tracks, of one split or of all, in the order they were rendered."""
        return tuple(t for t in self._tracks if split is None or t.split == split)

    def samples(self, track: Track) -> NDArray[np.int16]:
        """A read-only memory map of the mono samples. Raises :class:`HouseError` if damaged."""
        import numpy as np

        path = self.root / "audio" / f"{track.id}.npy"
        try:
            samples: NDArray[np.int16] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as exc:
            raise HouseError(f"cannot read {path}: {exc}") from exc
        if samples.dtype != np.int16 or samples.shape != (track.samples,):
            raise HouseError(f"{path} does not hold the {track.samples} samples of the manifest")
        return samples

    def verify(self, track: Track) -> None:
        """Compare samples with the manifest's digest. Raises :class:`HouseError` if they differ."""
        from studio.music.training.rendering import samples_digest

        if samples_digest(self.samples(track)) != track.audio_sha256:
            raise HouseError(f"the samples of {track.id} are not those of the manifest")

    def seconds(self, split: Split | None = None) -> float:
        """Total length in seconds."""
        return sum(t.samples for t in self.tracks(split)) / self.rate


def _lines(tracks: Iterable[Track]) -> str:
    return "".join(track.to_json() + "\n" for track in tracks)


def _read(path: Path, advice: str) -> list[Track]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise HouseError(f"cannot read {path}: {advice or exc}") from exc
    return [Track.from_json(line) for line in text.splitlines()]


def _write(path: Path, text: str) -> None:
    """Write to a temporary name, sync, replace: a reader sees the old file or the new one."""
    part = path.with_suffix(path.suffix + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
