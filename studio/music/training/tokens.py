"""Turns the rendered catalogue into the codec's tokens, once, and samples training segments.

A token store is a folder::

    tokens.jsonl        one line per track: id, split, tags, lead sheet, place in the file
    <split>.u16         tokens of all tracks, frame after frame, (frames, codebooks) little-endian

It is appended to track by track, so that encoding can be stopped and taken up again, and so that
the language model can start on what is there. The store names the digest of the codec it was made
with; tokens of another codec are refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from studio.core.errors import HouseError
from studio.music.composer.lead_sheet import LeadSheet, lead_sheet_of

if TYPE_CHECKING:
    from audiocraft.models.encodec import EncodecModel
    from torch import Tensor

    from studio.music.training.catalogue import Catalogue

__all__ = ["Heard", "SegmentPlan", "TokenStore", "TokenTrack", "encode_track", "tokens_digest"]


@dataclass(frozen=True, slots=True)
class TokenTrack:
    """Where the tokens of one track lie; `sheet` is the text of its lead sheet."""

    id: str
    split: str
    tags: tuple[str, ...]
    sheet: str
    start: int
    frames: int


def tokens_digest(codec: EncodecModel) -> str:
    """SHA-256 over what tokens depend on: encoder and codebooks, as fp16."""
    digest = hashlib.sha256()
    for name, value in sorted(codec.state_dict().items()):
        if name.startswith("encoder.") or name.endswith("._codebook.embed"):
            digest.update(name.encode())
            # + 0: a negative zero is another pattern of bits for the same weight.
            digest.update((value.detach().cpu().half() + 0.0).numpy().tobytes())
    return digest.hexdigest()


def encode_track(codec: EncodecModel, samples: NDArray[np.int16]) -> NDArray[np.uint16]:
    """(samples,) int16 -> (frames, codebooks); whole frames only, in one pass over the track."""
    import torch

    hop = codec.sample_rate // int(codec.frame_rate)
    whole = len(samples) // hop * hop
    x = torch.from_numpy(samples[:whole].astype(np.float32) / 32768)
    with torch.inference_mode():
        codes, _ = codec.encode(x[None, None].to(next(codec.parameters()).device))
    tokens: NDArray[np.uint16] = codes[0].T.cpu().numpy().astype(np.uint16)
    return tokens


class TokenStore:
    """Tokens of a catalogue on disk. Open one with :meth:`open` or fill it with :meth:`extend`."""

    def __init__(self, root: Path, codebooks: int, digest: str) -> None:
        self.root, self.codebooks, self.digest = root, codebooks, digest
        self.tracks: list[TokenTrack] = []
        self._maps: dict[str, NDArray[np.uint16]] = {}

    @classmethod
    def open(cls, root: Path, codec: EncodecModel) -> TokenStore:
        """An existing or empty store for this codec.

        Raises :class:`HouseError` when it holds tokens of another codec or a damaged index.
        """
        store = cls(root, codec.num_codebooks, tokens_digest(codec))
        try:
            lines = (root / "tokens.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return store
        try:
            head = json.loads(lines[0])
            store.tracks = [
                TokenTrack(**{**row, "tags": tuple(row["tags"])})
                for row in map(json.loads, lines[1:])
            ]
        except (ValueError, TypeError, KeyError, IndexError) as exc:
            raise HouseError(f"damaged token store in {root}: {exc}; delete it") from exc
        if head != {"codebooks": store.codebooks, "codec": store.digest}:
            raise HouseError(f"{root} holds tokens of another codec; choose an empty folder")
        return store

    def extend(
        self,
        catalogue: Catalogue,
        codec: EncodecModel,
        *,
        limit: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Encode tracks that are not in the store yet (at most `limit`); how many were added."""
        self.root.mkdir(parents=True, exist_ok=True)
        index = self.root / "tokens.jsonl"
        if not index.exists():
            head = json.dumps({"codebooks": self.codebooks, "codec": self.digest})
            index.write_text(head + "\n", encoding="utf-8")
        known = {track.id for track in self.tracks}
        todo = [track for track in catalogue.tracks() if track.id not in known][:limit]
        ends = {s: self._end(s) for s in ("train", "validation", "test")}
        for done, track in enumerate(todo, start=1):
            tokens = encode_track(codec, catalogue.samples(track))
            start = ends[track.split]
            # The tokens are on disk before the line that names them; a torn write is overwritten.
            with (self.root / f"{track.split}.u16").open("r+b" if start else "wb") as file:
                file.seek(start * self.codebooks * 2)
                file.write(tokens.astype("<u2").tobytes())
                file.flush()
                os.fsync(file.fileno())
            sheet = lead_sheet_of(track.compose()).text
            row = TokenTrack(track.id, track.split, track.tags, sheet, start, len(tokens))
            with index.open("a", encoding="utf-8") as file_:
                file_.write(json.dumps(asdict(row)) + "\n")
            self.tracks.append(row)
            ends[track.split] += len(tokens)
            if progress is not None:
                progress(done, len(todo))
        self._maps.clear()
        return len(todo)

    def _end(self, split: str) -> int:
        return max((t.start + t.frames for t in self.tracks if t.split == split), default=0)

    def of_split(self, split: str) -> list[TokenTrack]:
        return [track for track in self.tracks if track.split == split]

    def tokens(self, track: TokenTrack) -> NDArray[np.uint16]:
        """(frames, codebooks), a view into a memory map."""
        if track.split not in self._maps:
            path = self.root / f"{track.split}.u16"
            flat = np.memmap(path, np.dtype("<u2"), "r")
            self._maps[track.split] = flat[: len(flat) // self.codebooks * self.codebooks].reshape(
                -1, self.codebooks
            )
        tokens = self._maps[track.split][track.start : track.start + track.frames]
        if len(tokens) != track.frames:
            raise HouseError(
                f"{self.root}: the tokens of {track.id} are cut short; delete the store"
            )
        return tokens


@dataclass(frozen=True, slots=True)
class Heard:
    """What a training segment is: track, tags, lead sheet, and the frame it begins at."""

    track: str
    tags: tuple[str, ...]
    sheet: LeadSheet
    start: int


class SegmentPlan:
    """Random segments that begin on a bar line, chosen by a key alone.

    A share `from_start` begins where the track begins, so that generation, which has nothing before
    it, begins as music does; the others begin on any bar, so that it also learns how music goes on.
    """

    def __init__(self, store: TokenStore, split: str, frames: int, from_start: float) -> None:
        self.store, self.frames, self.from_start = store, frames, from_start
        self.tracks = [t for t in store.of_split(split) if t.frames >= frames]
        if not self.tracks:
            raise HouseError(f"the token store has no {split} track of {frames} frames")

    def batch(self, count: int, key: Sequence[int]) -> tuple[Tensor, list[Heard]]:
        """(count, codebooks, frames) int64 and what each is; the same key, the same batch."""
        rng = np.random.default_rng(list(key))
        chosen = [self.tracks[int(rng.integers(len(self.tracks)))] for _ in range(count)]
        return self._stack([(t, self._start(t, rng)) for t in chosen])

    def fixed(self, count: int) -> tuple[Tensor, list[Heard]]:
        """The beginnings of the first `count` tracks: for held-out figures."""
        return self._stack([(t, 0) for t in self.tracks[:count]])

    def _start(self, track: TokenTrack, rng: np.random.Generator) -> int:
        if rng.random() < self.from_start:
            return 0
        bar_frames = LeadSheet.parse(track.sheet).bar_frames
        return int(rng.integers((track.frames - self.frames) // bar_frames + 1)) * bar_frames

    def _stack(self, places: Sequence[tuple[TokenTrack, int]]) -> tuple[Tensor, list[Heard]]:
        import torch

        rows: list[NDArray[Any]] = [
            self.store.tokens(t)[start : start + self.frames].T for t, start in places
        ]
        heard = [Heard(t.id, t.tags, LeadSheet.parse(t.sheet), start) for t, start in places]
        return torch.from_numpy(np.stack(rows).astype(np.int64)), heard
