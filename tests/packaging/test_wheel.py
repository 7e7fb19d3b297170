"""The wheel works where there is no checkout: in a fresh environment, in another folder.

An environment here holds the wheel and, as links into this one, exactly what the wheel declares to
need: without extras (lean), and with the extras and audiocraft (full). So a dependency that nobody
declared is found out. Not tested: that an installer finds versions that fit together, and downloads
them; `make setup` does that for the checkout.
"""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import venv
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.support.studios import music
from watermark.audio.waveform import write

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXTRAS = ("generation", "receipts", "server")


def needed(requirements: Iterable[str], extras: Iterable[str] = ()) -> set[str]:
    """Names of all distributions that the requirements lead to, markers heeded."""
    found: dict[str, set[str]] = {}
    ahead = [(text, frozenset(extras)) for text in requirements]
    while ahead:
        text, active = ahead.pop()
        wanted = Requirement(text)
        marker = wanted.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in {"", *active}):
            continue
        known, extras_of = found.get(wanted.name.lower()), set(wanted.extras)
        if known is not None and extras_of <= known:
            continue
        found[wanted.name.lower()] = extras_of | (known or set())
        deeper = distribution(wanted.name).requires or []
        ahead += [(further, frozenset(extras_of)) for further in deeper]
    return set(found)


def link(names: Iterable[str], site: Path) -> None:
    """Put the files of these distributions into a folder of packages, as links."""
    for name in names:
        files = distribution(name).files or []
        for part in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            source = Path(str(distribution(name).locate_file(part)))
            if source.exists() and not (site / part).exists():
                (site / part).symlink_to(source)


class Place:
    """An environment with the wheel in it, a folder to work in, and a home."""

    def __init__(self, folder: Path, wheel: Path, *, extras: tuple[str, ...], besides=()) -> None:
        self.bin, self.work, self.home = folder / "env/bin", folder / "work", folder / "home"
        self.work.mkdir(parents=True)
        venv.create(folder / "env", with_pip=False)
        site = next((folder / "env/lib").glob("python*/site-packages"))
        install = ["-m", "pip", "--python", str(self.bin / "python"), "install", "-q", "--no-deps"]
        subprocess.run([sys.executable, *install, str(wheel)], check=True)
        metadata = next(site.glob("consented_music_studio-*.dist-info")) / "METADATA"
        requires = [
            line.removeprefix("Requires-Dist: ")
            for line in metadata.read_text().splitlines()
            if line.startswith("Requires-Dist: ")
        ]
        link(needed(requires, extras) | set(besides), site)
        self.environ = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(folder),
            "STUDIO_HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }

    def run(self, *words: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words,
            cwd=self.work,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([sys.executable, *build, str(ROOT)], check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def lean(wheel, tmp_path_factory) -> Place:
    return Place(tmp_path_factory.mktemp("lean"), wheel, extras=())


@pytest.fixture(scope="module")
def full(wheel, tmp_path_factory) -> Place:
    folder = tmp_path_factory.mktemp("full")
    return Place(folder, wheel, extras=EXTRAS, besides=["audiocraft"])


def test_what_the_extras_bring_is_not_there_without_them(lean):
    for module in ("gradio", "transformers", "audiocraft", "reportlab", "matplotlib"):
        lean.run("python", "-c", f"import {module}", code=1)


def test_nothing_is_found_in_the_checkout(lean):
    out = lean.run("python", "-c", "import studio, watermark; print(studio.__path__)").stdout
    assert str(lean.bin.parent) in out
    assert str(ROOT) not in out


def test_the_modules_are_the_commands(lean):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name in ("studio", "watermark"):
        for words in ((name,), ("python", "-m", name)):
            assert version in lean.run(*words, "--version").stdout


def test_the_watermark_commands(lean):
    write(lean.work / "song.wav", music(1, 12.0))
    lean.run("watermark", "key", "create", "k")
    sealed = json.loads(
        lean.run("watermark", "embed", "song.wav", "out.flac", "--key-file", "k", "--json").stdout
    )
    (lean.work / "ids").write_text(sealed["seal_id"] + " 12\n")
    lean.run("watermark", "detect", "song.wav", code=1)
    found = lean.run("watermark", "identify", "out.flac", "--ids", "ids", "--key-file", "k")
    assert sealed["seal_id"] in found.stdout


def test_the_bench_finds_its_list_and_says_what_is_left_out(lean):
    words = ("--clips", "1", "--seconds", "3", "--decoys", "10", "--out", "report")
    done = lean.run("watermark", "bench", "--only", "codec round trip", *words)
    assert "bench.png needs matplotlib" in done.stderr
    assert "house codec round trip" in (lean.work / "report/bench.json").read_text()


def test_tags_and_verdicts_need_no_extra(lean):
    tags = [json.loads(line) for line in lean.run("studio", "tags", "--json").stdout.splitlines()]
    assert any(tag["granted"] for tag in tags)
    write(lean.work / "stranger.wav", music(2, 6.0))
    done = lean.run("studio", "verify", "--json", "stranger.wav", code=1)
    assert json.loads(done.stdout)["verdict"] == "not-detected"


def test_without_audiocraft_it_is_said_how_to_add_it_before_an_id_is_reserved(lean):
    request = ("studio", "generate", "--tags", "genre/waltz", "--seconds", "3", "--out", "x.wav")
    said = lean.run(*request, "--model", "facebook/musicgen-small", code=4).stderr
    assert "pip install 'consented-music-studio[generation]'" in said
    assert "pip install --no-deps audiocraft==1.3.0" in said
    with sqlite3.connect(lean.home / "ledger.db") as database:
        assert database.execute("select count(*) from seal_reservation").fetchone() == (0,)


def test_the_house_model_needs_no_extra(lean):
    lean.run("studio", "generate", "--tags", "genre/waltz", "--seconds", "4", "--out", "waltz.wav")
    assert json.loads(lean.run("studio", "verify", "--json", "waltz.wav").stdout)["seal_id"]


def test_serving_without_its_extra_says_which(lean):
    said = lean.run("studio", "serve", code=2).stderr
    assert "pip install 'consented-music-studio[server]'" in said
    assert "Traceback" not in said


def test_a_copy_of_the_configuration_is_edited(lean):
    lean.run("studio", "init")
    settings = lean.home / "configs/studio.yaml"
    data = yaml.safe_load(settings.read_text())
    settings.write_text(yaml.safe_dump(data | {"generation": {"use": "commercial"}}))
    tags = [json.loads(line) for line in lean.run("studio", "tags", "--json").stdout.splitlines()]
    assert tags
    settings.write_text("generation: {duration_s: -1}")
    assert "generation.duration_s" in lean.run("studio", "tags", code=2).stderr
    assert "not empty" in lean.run("studio", "init", code=2).stderr
    lean.run("studio", "init", "other")
    lean.run("studio", "tags", STUDIO_CONFIGS="other")


def test_from_tags_to_a_verdict_and_a_receipt(full):
    done = full.run(
        *("studio", "generate", "--tags", "genre/waltz,mood/calm", "--seconds", "4"),
        *("--seed", "7", "--out", "piece.wav", "--json"),
    )
    output = json.loads(done.stdout.splitlines()[-1])["output_id"]  # it is the seal's id, too
    found = json.loads(full.run("studio", "verify", "--json", "piece.wav").stdout)
    assert (found["verdict"], found["seal_id"]) == ("sealed", output)
    full.run("studio", "receipt", output, "--out", "receipt.pdf")
    assert (full.work / "receipt.pdf").read_bytes().startswith(b"%PDF")


def test_the_page_is_served(full):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = full.work / "serve.log"
    with log.open("w") as lines:
        server = subprocess.Popen(
            [full.bin / "studio", "serve", "--port", str(port)],
            cwd=full.work,
            env=full.environ,
            stdout=lines,
            stderr=lines,
        )
    try:
        assert "gradio" in fetched(f"http://127.0.0.1:{port}/", server)
        assert json.loads(fetched(f"http://127.0.0.1:{port}/readyz", server))["ready"]
        assert "studio_jobs" in fetched(f"http://127.0.0.1:{port}/metrics", server)
        tags = json.loads(fetched(f"http://127.0.0.1:{port}/api/v1/tags", server))
        assert tags
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def fetched(url: str, server: subprocess.Popen[bytes]) -> str:
    """The answer, once the server gives one."""
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError("the server never answered")
