"""Keep a large codebook on disk, for all processes of a machine to map.

The words of a seal are made by HMAC: a minute for a million seals, at every start of a process.
Kept in a folder they are there at once, and processes that map the same files share their memory.
The words of seals registered since are made as always, and join the files at the next
:meth:`CodebookStore.save`.

**Format** ``watermark-codebook/2``. A folder holds ``codebook.json`` and the files that it lists,
one *part* each: seals of one kind, which is key, sequence length, and whether they are known to be
scrambled. The list is ::

    {"format", "note", "mac", "parts": [
        {"file", "epoch", "length", "scrambled", "seals", "sha256"}, ...]}

A file is arrays without headers, little-endian: the ids in order (uint64 each, the most significant
byte first in the id), and the words by second (uint16); between them, in parts of 65,536 seals and
more, the inverted index (uint32: places, and where those of a word and second begin). Such large
parts are mapped; the seals of a kind that fill no large part are in one small one, which is loaded.
A file never changes. The list changes in one step, and who has an older one goes on with the files
that it mapped.

**Secret.** The words follow from the key, so folder and files are their owner's alone, as a key's
file is, and files that others may open are not used. ``mac`` is HMAC-SHA256, by the keys of all
parts, of the rest of the list, digests of the files included: what is damaged, or was made with
another key, is not used.

>>> import tempfile
>>> from watermark.coding.message import SealId, SealKey
>>> key = SealKey(1, bytes(32))
>>> with tempfile.TemporaryDirectory() as folder:
...     store = CodebookStore(Path(folder) / "codebook", {1: key}.__getitem__)
...     codebook = Codebook([CodebookEntry(SealId(bytes(8)), key, seconds=30)])
...     saved = store.save(codebook, note="of the first output")
...     again, note = CodebookStore(Path(folder) / "codebook", {1: key}.__getitem__).open()
>>> len(again), SealId(bytes(8)) in again, note
(1, True, 'of the first output')
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.coding.codebook import Codebook, CodebookEntry, SealGroup, WordIndex
from watermark.coding.message import BITS, SealKey
from watermark.errors import CodebookError
from watermark.util.files import PRIVATE, locked_if_free, replacing, write_file

__all__ = ["Codebook", "CodebookEntry", "CodebookStore"]

_FORMAT = "watermark-codebook/2"  # 1 did not tell what is scrambled; it is made anew
_LIST, _LOCK = "codebook.json", "lock"
_LARGE = 2**16  # seals of a part that has an index
_APART = 8  # large parts are merged until each is so much larger than the next: a search asks all


@dataclass(frozen=True, slots=True)
class _Part:
    """A file as the list names it."""

    file: str
    epoch: int
    length: int
    scrambled: bool
    seals: int
    sha256: str

    @classmethod
    def of_json(cls, fields: dict[str, Any]) -> _Part:
        """Raises KeyError, TypeError or ValueError for what is none."""
        part = cls(**fields)
        numbers = (part.epoch, part.length, part.seals)
        if (
            Path(part.file).name != part.file
            or not all(type(n) is int and n > 0 for n in numbers)
            or type(part.scrambled) is not bool
        ):
            raise ValueError("no part of a codebook")
        return part

    def layout(self) -> list[tuple[str, int]]:
        """Type and count of the arrays in the file."""
        words = self.length * self.seals
        index = [("<u4", words), ("<u4", 2**BITS * self.length + 1)] if self.seals >= _LARGE else []
        return [("<u8", self.seals), *index, ("<u2", words)]

    def group(self, key: SealKey, content: NDArray[np.uint8]) -> SealGroup:
        """The seals in the file's bytes, which are not copied where there are many."""
        arrays: list[NDArray[Any]] = []
        at = 0
        for kind, count in self.layout():
            size = np.dtype(kind).itemsize * count
            arrays.append(content[at : at + size].view(kind))
            at += size
        ids, words = arrays[0], arrays[-1].reshape(self.length, self.seals)
        if self.seals < _LARGE:
            return SealGroup.of_arrays(key, ids.copy(), words.copy(), scrambled=self.scrambled)
        index = WordIndex.of_arrays(self.length, self.seals, arrays[1], arrays[2])
        return SealGroup.of_arrays(key, ids, words, index, scrambled=self.scrambled)


class CodebookStore:
    """A folder of a codebook. One process writes at a time, any number read.

    Args:
        folder: its own folder, which is made.
        key: gives the key of an epoch; what it raises passes through.
    """

    def __init__(self, folder: Path, key: Callable[[int], SealKey]) -> None:
        self._folder = folder
        self._key = key
        self._mac = ""  # of the list that the codebook was opened or saved with
        self._files: dict[SealGroup, _Part] = {}  # of the kept groups

    def open(self) -> tuple[Codebook, str]:
        """The codebook that is kept, and the note on it; both empty where none is.

        Raises:
            CodebookError: what is there cannot be used: damaged, of another key or version, or open
                to other users. Saving another one replaces it.
        """
        for again in (True, False):
            body = self._read()
            try:
                return self._opened(body)
            except FileNotFoundError as exc:
                # Written anew between the two: then there is another list.
                if not again:
                    raise CodebookError("a file of the kept codebook is missing") from exc
            except (OSError, ValueError) as exc:
                raise CodebookError(f"a file of the kept codebook is damaged ({exc})") from exc
        raise AssertionError

    def save(self, codebook: Codebook, note: str, *, replace: bool = False) -> bool:
        """Write what is not on disk yet, and map it from there.

        Args:
            codebook: as :meth:`open` gave it, with the seals added since; it then uses the files.
            note: of the caller's, kept with it: what the codebook is of.
            replace: whatever is kept now, instead of refusing to.

        Returns:
            False where nothing was done, as another process is writing, or has written since: open
            again to use that.

        Raises:
            OSError: it cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        with locked_if_free(self._folder / _LOCK) as free:
            if not free or (not replace and self._kept_mac() != self._mac):
                return False
            groups = [
                group
                for (key, _, _), parts in codebook.kinds.items()
                for group in self._merged(key, parts)
            ]
            listed = [self._files[group] for group in groups]
            self._write_list(listed, note)
            self._files = {group: part for group, part in self._files.items() if group.kept}
            codebook.use(groups)
            names = {part.file for part in listed}
            for path in self._folder.glob("*.part*"):
                if path.name not in names:  # merged, or of a run that broke off
                    with suppress(OSError):
                        path.unlink()
        return True

    def _read(self) -> dict[str, Any]:
        path = self._folder / _LIST
        try:
            for each in (self._folder, path):
                _check_private(each.stat())
            body = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            raise CodebookError("the list of the kept codebook is damaged") from exc
        if not isinstance(body, dict) or body.get("format") != _FORMAT:
            raise CodebookError("the kept codebook is of another version")
        return body

    def _kept_mac(self) -> str:
        try:
            return str(self._read().get("mac", ""))
        except CodebookError:
            return "of what cannot be used"

    def _opened(self, body: dict[str, Any]) -> tuple[Codebook, str]:
        self._files, self._mac = {}, ""
        if not body:
            return Codebook(), ""
        try:
            parts = [_Part.of_json(fields) for fields in body["parts"]]
            note, mac = str(body["note"]), str(body["mac"])
        except (KeyError, TypeError, ValueError) as exc:
            raise CodebookError("the list of the kept codebook is damaged") from exc
        if not hmac.compare_digest(mac.encode(), self._sign(parts, note).encode()):
            raise CodebookError("the kept codebook is damaged, or of another key")
        files = {self._open_part(part): part for part in parts}
        self._files, self._mac = {g: p for g, p in files.items() if g.kept}, mac
        return Codebook.of_groups(files), note

    def _open_part(self, part: _Part) -> SealGroup:
        path = self._folder / part.file
        with path.open("rb") as file:
            _check_private(os.fstat(file.fileno()))
            if hashlib.file_digest(file, "sha256").hexdigest() != part.sha256:
                raise ValueError("not what was written")
            content = np.memmap(file, np.uint8, "r")
        return part.group(self._key(part.epoch), np.asarray(content))

    def _merged(self, key: SealKey, parts: Sequence[SealGroup]) -> list[SealGroup]:
        """Groups on disk in place of these: the large ones, and at most one small one."""
        kept = [group for group in parts if group.kept]
        small = [group for group in parts if not group.kept]
        if sum(map(len, small)) >= _LARGE:
            while kept and len(kept[-1]) < _APART * sum(map(len, small)):
                small.append(kept.pop())
        if small:
            kept.append(self._write_part(key, small))
        return kept

    def _write_part(self, key: SealKey, groups: Sequence[SealGroup]) -> SealGroup:
        ids = np.concatenate([group.ids for group in groups])
        order = np.argsort(ids)
        words = np.concatenate([group.words for group in groups], axis=1)[:, order]
        arrays = [ids[order], words]
        if len(ids) >= _LARGE:
            arrays[1:1] = WordIndex(words).arrays
        name = f"{secrets.token_hex(8)}.part"
        part = _Part(name, key.epoch, len(words), groups[0].scrambled, len(ids), "")
        digest = hashlib.sha256()
        with replacing(self._folder / name, mode=PRIVATE) as file:
            for array, (kind, _) in zip(arrays, part.layout(), strict=True):
                content = np.ascontiguousarray(array, kind).data
                digest.update(content)
                file.write(content)
        part = replace(part, sha256=digest.hexdigest())
        group = part.group(key, np.asarray(np.memmap(self._folder / name, np.uint8, "r")))
        self._files[group] = part
        return group

    def _write_list(self, parts: Sequence[_Part], note: str) -> None:
        mac = self._sign(parts, note)
        body = {"format": _FORMAT, "note": note, "parts": [asdict(p) for p in parts], "mac": mac}
        write_file(self._folder / _LIST, json.dumps(body).encode())
        self._mac = mac

    def _sign(self, parts: Iterable[_Part], note: str) -> str:
        listed = [asdict(part) for part in parts]
        epochs = sorted({part["epoch"] for part in listed})
        message = json.dumps([_FORMAT, note, listed], sort_keys=True).encode()
        by = hashlib.sha256(b"".join(self._key(epoch).secret for epoch in epochs)).digest()
        return hmac.digest(by, message, "sha256").hex()


def _check_private(status: os.stat_result) -> None:
    if os.name != "posix":
        return
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CodebookError("the kept codebook is open to other users")
