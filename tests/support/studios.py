"""A whole studio in a temporary folder, with as little of it replaced as a test wants."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from studio.accounts.permissions import LOCAL_OWNER, Actor
from studio.app.container import Container, open_container
from studio.app.session import Session
from studio.core.paths import StudioPaths, shipped_configs
from studio.music.models.config import ModelInfo
from studio.provenance.sealer import Sealer
from tests.support.consent import file_of, revocation, sign_shipped
from tests.support.databases import place_database
from tests.support.seals import TonalSeal
from watermark.audio.waveform import Waveform
from watermark.models.base import SealModel

CONFIGS = shipped_configs()


@lru_cache(maxsize=32)
def music(seed: int, duration_s: float, rate: int = 16_000, channels: int = 1) -> Waveform:
    """Notes with attack and decay over soft noise: enough like music to seal and to fingerprint."""
    rng = np.random.default_rng(seed)
    length = round(duration_s * rate)
    out = 0.01 * rng.standard_normal((channels, length))
    t = np.arange(rate) / rate  # a note sounds for a second
    for start in range(0, length, rate // 4):
        note = 220 * 2 ** (rng.integers(0, 30) / 12)
        sound = sum(np.sin(2 * np.pi * note * partial * t) / partial for partial in (1, 2, 3))
        out[:, start : start + rate] += (0.1 * np.exp(-4 * t) * sound)[: length - start]
    return Waveform((0.5 * out / np.abs(out).max()).astype(np.float32), rate)


class PlainGenerator:
    """Stands where :class:`studio.music.models.generator.MusicGenerator` does; needs no torch."""

    def __init__(self, waveform: Waveform | None = None) -> None:
        self._waveform = waveform
        self.calls = 0
        self.info = ModelInfo(
            id="house",
            kind="house",
            title="Plain test model",
            licence="MIT",
            licence_uses=frozenset({"experiment", "noncommercial", "commercial"}),
            training_basis="none",
            digest="0" * 64,
            rate=16_000,
            channels=1,
            max_duration_s=60.0,
            tags=None,
        )

    def require(self) -> None:
        """Nothing is needed."""

    def use_device(self, device: str) -> None:
        """It makes music with numpy."""
        assert device == "cpu"

    def generate(self, tags: Sequence[object], *, duration_s, seed, progress, cancel, **_):
        from studio.core.errors import GenerationCancelledError

        self.calls += 1
        for step in range(5):
            if cancel.is_set():
                raise GenerationCancelledError("cancelled")
            progress(duration_s * (step + 1) / 5, duration_s)
        return self._waveform or music(seed, duration_s)


class InWindows(PlainGenerator):
    """Says what it makes in windows of a second; ``heard`` is called after each."""

    def __init__(self, heard=lambda: None) -> None:
        super().__init__()
        self.heard = heard

    def generate(self, tags, *, duration_s, seed, on_window, **options):
        made = super().generate(tags, duration_s=duration_s, seed=seed, **options)
        if on_window is not None:
            for first in range(0, made.samples.shape[1], made.rate):
                on_window(Waveform(made.samples[:, first : first + made.rate], made.rate))
                self.heard()
        return made


def make_studio(
    folder: Path,
    *,
    seal: SealModel | None = None,
    generator: PlainGenerator | None = None,
    isolate: bool = False,
    home: bool = True,
) -> Container:
    """A studio with its own home and its own copy of the configuration, in ``folder``.

    Suspect files are decoded in this process, which is quicker, unless ``isolate`` is given. Its
    home is there with an empty database, which saves each test the migrations, unless ``home`` is
    false.
    """
    configs = folder / "configs"
    if not configs.exists():
        configs.mkdir(parents=True)
        shutil.copy(CONFIGS / "studio.yaml", configs)
        shutil.copytree(CONFIGS / "consent", configs / "consent")
        sign_shipped(configs / "consent")
        for part in ("models", "names", "rates"):
            shutil.copytree(CONFIGS / part, configs / part)
    paths = StudioPaths(home=folder / "home", configs=configs)
    if home and not paths.home.exists():
        paths.create()
        place_database(paths.ledger)
    studio = open_container(paths=paths)
    if not isolate:
        studio.trust_uploads()
    # Studio builds its parts on first use and keeps them under these names.
    vars(studio)["_sealer"] = Sealer(seal or TonalSeal())
    if generator is not None:
        vars(studio)["generator"] = lambda _model: generator
    return studio


def revoke(studio: Container, grant: str = "house-catalogue-2026") -> None:
    """Take a grant back, from now on."""
    assert as_owner(studio).consent.import_file(file_of(revocation(grant))).ok


def events(studio: Container) -> list[str]:
    """Kinds of the ledger's entries after those of the consent that ships with the studio."""
    kinds = [entry.kind for entry in studio.ledger().entries()]
    return kinds[kinds.index("consent-start") + 1 :] if "consent-start" in kinds else kinds


def left_over(studio: Container) -> list[str]:
    """Files in outputs/ and work files in tmp/: what a failed request must not leave."""
    home = studio.paths.home
    found = [*(home / "outputs").rglob("*"), *(home / "tmp").rglob("*")]
    return [path.name for path in found if path.is_file() and path.name != "lock"]


def as_owner(studio: Container) -> Session:
    """The session of whoever owns the studio's files."""
    return Session(studio, LOCAL_OWNER)


def as_account(studio: Container, name: str) -> Session:
    """The session of an account."""
    found = studio.accounts().named(name)
    return Session(studio, Actor(found.account_id, found.name, found.role))
