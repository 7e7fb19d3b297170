"""Command lines: streams, rights, names, limits of the system, lists and numbers.

The answer to a line is its exit code; ``crash`` where there is a traceback. In a line ``watermark``
and ``studio`` are the commands of the tree, ``bound`` runs one as somebody whom the rights of files
bind, and ``told WORDS COMMAND`` ends with 99 where the command does not say the words.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.inputs.case import Case, Source

__all__ = ["CASES"]

_BASH = ("bash", "setpriv")


def line(name: str, item: int, text: str, code: int | str, make=None) -> Case:
    return Case(
        name,
        item,
        make or (lambda made: made.sealed),
        {"line": f"exit {code}"},
        line=text,
        parts=_BASH,
    )


def _shut(made: Source) -> Path:
    """A file and a folder that may not be read."""
    path, folder = made.folder / "shut.wav", made.folder / "shut"
    if not path.exists():
        path.write_bytes(made.sealed.read_bytes())
        folder.mkdir()
        path.chmod(0)
        folder.chmod(0)
    return path


def _list(name: str, content: bytes):
    def make(made: Source) -> Path:
        path = made.folder / name
        path.write_bytes(content)
        return path

    return make


def _catalogue(made: Source) -> Path:
    folder = made.folder / "catalogue"
    folder.mkdir(exist_ok=True)
    if not (folder / "a.wav").exists():
        os.link(made.sealed, folder / "a.wav")
    return folder


_ONLY = "watermark bench --only gain --clips 1 --decoys 10"
CASES = (
    line("detect a sealed file, no stderr", 6, "watermark detect sealed.wav 2>&-", 0),
    line("detect an unsealed file, no stderr", 6, "watermark detect plain.wav 2>&-", 1),
    line("detect, no stdout", 6, "watermark detect sealed.wav >&-", 0),
    line("detect, no streams at all", 6, "watermark detect sealed.wav <&- >&- 2>&-", 0),
    line("detect, stdout full", 6, "watermark detect sealed.wav >/dev/full", 4),
    line("detect, stderr full", 6, "watermark detect sealed.wav 2>/dev/full", 0),
    line("detect into a closed pipe", 6, "watermark detect sealed.wav | true", 141),
    line("embed, no stderr", 6, "watermark embed plain.wav o6.wav --key-file k.key 2>&-", 0),
    line("tags, no stderr", 6, "studio tags 2>&-", 0),
    line("tags, stdout full", 6, "studio tags >/dev/full", 4),
    line("tags into a closed pipe", 6, "studio tags | true", 141),
    line("verify a release, no stderr", 6, "studio verify sealed.wav 2>&-", 0),
    line(
        "detect a file that may not be read and others",
        9,
        "told 'sealed.wav: sealed' bound watermark detect shut.wav sealed.wav shut",
        3,
        _shut,
    ),
    line(
        "verify a file that may not be read and others",
        9,
        "told 'sealed.wav: sealed' bound studio verify --no-record shut.wav sealed.wav shut",
        3,
        _shut,
    ),
    line(
        "a name that is no UTF-8, strict stdout",
        14,
        "PYTHONIOENCODING=utf-8:strict watermark embed plain.wav $'caf\\xe9.wav' --key-file k.key",
        0,
    ),
    line(
        "the same, ASCII stdout",
        14,
        "cp sealed.wav $'n\\xe9.wav'; PYTHONIOENCODING=ascii watermark detect $'n\\xe9.wav'",
        0,
    ),
    *(
        line(
            f"{ext} beyond the limit on files",
            15,
            f"ulimit -f 20; told 'o15.{ext}: file too large' "
            f"watermark embed plain.wav o15.{ext} --key-file k.key",
            4,
        )
        for ext in ("wav", "flac", "mp3", "ogg", "m4a")
    ),
    line(
        "scan beyond the limit on files", 15, "ulimit -f 0; watermark scan plain.wav --out l.csv", 4
    ),
    line(
        "bench into what is no folder",
        16,
        f"told 'cannot be written' {_ONLY} --out plain.wav/report",
        2,
    ),
    line(
        "embed into a folder that is not there",
        16,
        "told 'cannot be written' watermark embed plain.wav none/o.wav --key-file k.key",
        2,
    ),
    line(
        "verify with a report into a folder that is not there",
        16,
        "told 'cannot be written' studio verify sealed.wav --report none/r.html",
        2,
    ),
    line(
        "list of files with a byte order mark",
        19,
        "watermark detect --files-from bom.txt",
        0,
        _list("bom.txt", b"\xef\xbb\xbfsealed.wav\n"),
    ),
    line(
        "list of ids with a byte order mark",
        19,
        "watermark identify --ids ids-bom.txt --key-file k.key sealed.wav",
        1,
        _list("ids-bom.txt", b"\xef\xbb\xbf0011223344556677 12\n"),
    ),
    line(
        "list of files in UTF-16",
        19,
        "told UTF-8 watermark detect --files-from wide.txt",
        2,
        _list("wide.txt", "sealed.wav\n".encode("utf-16")),
    ),
    line("bench of nan seconds", 19, f"{_ONLY} --seconds nan", 2),
    line("bench of infinite seconds", 19, f"{_ONLY} --seconds inf", 2),
    line("bench with a seed of 40 digits", 19, f"{_ONLY} --seed {'9' * 40}", 2),
    line(
        "working folder gone",
        19,
        "mkdir -p gone; cd gone; rmdir ../gone; told 'folder is gone' watermark detect a.wav",
        2,
    ),
    line(
        "a report in the scanned folder, by ..",
        19,
        "cd catalogue; for i in 1 2; do watermark scan . --out ../catalogue/r.csv; done",
        0,
        _catalogue,
    ),
    line(
        "Ctrl-C while music is made",
        19,
        "timeout --preserve-status -s INT 12 "
        '$PYTHON -c "$PROGRAM" studio generate --tags genre/jazz --seconds 60 --seed 3',
        130,
    ),
    line(
        "Ctrl-C at a scan",
        19,
        "for i in $(seq 99); do echo sealed.wav; done > many.txt; timeout --preserve-status -s INT "
        '9 $PYTHON -c "$PROGRAM" watermark scan --files-from many.txt --out many.jsonl',
        130,
    ),
    line(
        "Ctrl-C at a server",
        19,
        'timeout --preserve-status -s INT 25 $PYTHON -c "$PROGRAM" studio serve --port 7997',
        130,
    ),
)
