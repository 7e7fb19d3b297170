"""Runs the commands of a checkout on inputs and gives each answer as a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.inputs.case import Case, Source

__all__ = ["Tree"]

_LIMIT_S = 600
_MISSING_S = 0.05  # of a carrier, from which on the sealed file counts as shorter
#: Runs the command that the first argument names, in this layout and in earlier ones.
_PROGRAM = """
import importlib, sys
name = sys.argv.pop(1)
sys.argv[0] = name
module = importlib.import_module(name + ".cli")
if not callable(getattr(module, "main", None)):
    module = importlib.import_module(name + ".cli.main")
module.main()
"""
_TAGS = "genre/bossa-nova,mood/calm"
_DETECT = {True: "sealed", False: "no seal"}


_BASH = """
set -o pipefail
watermark() { "$PYTHON" -c "$PROGRAM" watermark "$@"; }
studio() { "$PYTHON" -c "$PROGRAM" studio "$@"; }
bound() {
  setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search \
    "$PYTHON" -c "$PROGRAM" "$@"
}
told() {
  local words="$1" all code; shift
  all="$("$@" 2>&1)"; code=$?
  printf '%s\\n' "$all"
  [[ "$all" == *"$words"* ]] && return $code
  return 99
}
"""


@dataclass
class Tree:
    """A checkout, a studio of its own, and what it says of inputs."""

    root: Path
    folder: Path
    answers: dict[str, dict[str, str]] = field(default_factory=dict)  # by case, by command

    def source(self, seconds: int = 12) -> Source:
        """A new studio, its first release, and other music."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._run("watermark", "key", "create", "k.key")
        self._run(
            *("studio", "generate", "--tags", _TAGS, "--seconds", str(seconds), "--seed", "7"),
            *("--out", "piece.wav"),
            checked=True,
        )
        plain, sealed = self.folder / "plain.wav", self.folder / "sealed.wav"
        _stereo(self.folder / "piece.wav", sealed)
        _plain(plain, seconds)
        return Source(sealed, plain, self.folder)

    def run(self, cases: Sequence[tuple[Case, Path]], source: Source) -> None:
        """Fill :attr:`answers`: all files at once, then one by one where that gave none."""
        for command, run in (
            ("detect", self._detect),
            ("identify", self._identify),
            ("scan", self._scan),
            ("verify", self._verify),
        ):
            meant = [(case, path) for case, path in cases if command in case.wanted]
            found = run([path for _, path in meant]) if meant else {}
            for case, path in meant:
                word = found.get(path.name)
                if word is None:
                    word = run([path]).get(path.name, "no answer")
                self.answers.setdefault(case.name, {})[command] = word
        for case, path in cases:
            if "embed" in case.wanted:
                word = self._embed(case, path, source)
                self.answers.setdefault(case.name, {})["embed"] = word

        for case, _path in cases:
            if "line" in case.wanted:
                self.answers.setdefault(case.name, {})["line"] = self._line(case)

    # -- commands ---------------------------------------------------------------------------------

    def _detect(self, paths: Sequence[Path]) -> dict[str, str]:
        done = self._run("watermark", "detect", "--json", *map(str, paths))
        return self._words(done, paths, lambda found: _DETECT[found["detected"]])

    def _identify(self, paths: Sequence[Path]) -> dict[str, str]:
        """Named by the studio's own key and its list of seals."""
        key, ids = self._registry()
        done = self._run(
            *("watermark", "identify", "--json", "--ids", ids, "--key-file", key),
            *map(str, paths),
        )
        return self._words(
            done, paths, lambda found: "named" if found["identification"] else "not named"
        )

    def _verify(self, paths: Sequence[Path]) -> dict[str, str]:
        done = self._run("studio", "verify", "--json", *map(str, paths))
        return self._words(done, paths, lambda found: found["verdict"])

    def _scan(self, paths: Sequence[Path]) -> dict[str, str]:
        report = self.folder / "report.jsonl"
        report.unlink(missing_ok=True)
        done = self._run("watermark", "scan", "--out", str(report), *map(str, paths))
        lines = report.read_text().splitlines() if report.exists() else []
        found = {}
        for record in map(json.loads, lines):
            word = "unreadable" if "error" in record else record["verdict"]
            found[Path(record["file"]).name] = word
        return found or self._died(done, paths)

    def _embed(self, case: Case, path: Path, source: Source) -> str:
        out = case.out(source, path) if callable(case.out) else self.folder / case.out
        done = self._run(
            "watermark", "embed", str(path), str(out), *case.options, "--key-file", "k.key"
        )
        parts = [p.name for p in self.folder.iterdir() if p.name.endswith(".part")]
        if parts:
            return ".part left"
        if done.returncode < 0:
            return f"died of signal {-done.returncode}"
        if done.returncode == 0:
            if "\n" in done.stdout.strip():
                return "sealed, in two lines"
            if not case.options and _seconds(out) < _seconds(path) - _MISSING_S:
                return "sealed, but shorter"
            notes = done.stderr.count("note: ")
            return "sealed" + (f", {notes} notes" if notes else "")
        return {1: "refused", 2: "usage", 3: "refused"}.get(done.returncode, "crash")

    def _line(self, case: Case) -> str:
        """The exit code of a line of bash."""
        environment = {"PYTHON": sys.executable, "PROGRAM": _PROGRAM, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            ["bash", "-c", _BASH + case.line],
            cwd=self.folder,
            env={**self._environment(), **environment},
            capture_output=True,
            timeout=_LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if b"Traceback" in done.stderr:
            return f"crash, exit {done.returncode}"
        return f"exit {done.returncode}"

    # -- parts ------------------------------------------------------------------------------------

    def _registry(self) -> tuple[str, str]:
        home = self.folder / "home"
        ids = "".join(f"{path.stem} 12\n" for path in sorted((home / "outputs").glob("*.wav")))
        (self.folder / "ids.txt").write_text(ids)
        return str(next(home.glob("keys/epoch-*.key"))), "ids.txt"

    def _run(self, *command: str, checked: bool = False) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *command],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if checked and done.returncode:
            raise RuntimeError(f"{command[:3]}: {done.stderr[-2000:]}")
        return done

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(self.root),
            "STUDIO_HOME": str(self.folder / "home"),
            "OMP_NUM_THREADS": "1",
        }

    def _words(self, done, paths, word) -> dict[str, str]:
        found = {}
        for line in done.stdout.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            name = Path(record["file"]).name
            if record.get("error"):
                found[name] = "unreadable"
            else:
                found[name] = word(record)
        return found if found else self._died(done, paths)

    @staticmethod
    def _died(done, paths) -> dict[str, str]:
        if len(paths) > 1:
            return {}
        died = f"died of signal {-done.returncode}" if done.returncode < 0 else "crash"
        return {paths[0].name: died}


def _seconds(path: Path) -> float:
    """Duration of a file, as this checkout reads it; of what is no file, anything."""
    from watermark.audio.waveform import read

    if not path.is_file():
        return float("inf")
    return read(path).duration_s


def _stereo(piece: Path, path: Path) -> None:
    """The piece as other people would have it: 44.1 kHz, two channels, 16 bits."""
    from watermark.audio.waveform import Waveform, read, write

    mono = read(piece).resample(44_100).samples[0]
    write(path, Waveform(np.stack([mono, 0.9 * mono]), 44_100))


def _plain(path: Path, seconds: int) -> None:
    from tests.unit.seal_carriers import music
    from watermark.audio.waveform import write

    write(path, music(float(seconds), 44_100, 2))
