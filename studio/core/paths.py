"""Paths: the studio's home (state) and its configuration folder.

Nothing is read from the environment at import; :func:`resolve_paths` does it when asked.

>>> paths = resolve_paths(environ={"STUDIO_HOME": "/srv/studio"})
>>> paths.ledger.as_posix()
'/srv/studio/ledger.db'
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from studio.core.errors import ConfigError, UsageError
from studio.core.home import check_reachable, check_whole, is_open, is_read_only, make_private
from watermark.util.files import sweep

__all__ = ["StudioPaths", "default_configs", "resolve_paths", "shipped_configs", "write_configs"]


@dataclass(frozen=True, slots=True)
class StudioPaths:
    """The two roots; every other location is derived from them."""

    home: Path
    configs: Path

    @property
    def keys(self) -> Path:
        """Secret site keys, one file per epoch, readable by the owner only."""
        return self.home / "keys"

    @property
    def credentials(self) -> Path:
        """Development signing chains of Content Credentials, readable by the owner only."""
        return self.home / "credentials"

    @property
    def outputs(self) -> Path:
        """Released files: only files in here have been released."""
        return self.home / "outputs"

    @property
    def renditions(self) -> Path:
        """Released outputs in further formats; made again where one is missing."""
        return self.home / "renditions"

    @property
    def tmp(self) -> Path:
        """Work in progress, one folder per process; same file system as :attr:`outputs`."""
        return self.home / "tmp"

    @property
    def uploads(self) -> Path:
        """Files that callers uploaded, until they are examined; for this user alone."""
        return self.home / "uploads"

    @property
    def held(self) -> Path:
        """Files that were fetched from addresses to be examined, each under its SHA-256."""
        return self.home / "held"

    @property
    def watches(self) -> Path:
        """What of watched folders was examined, and what others are still to be told."""
        return self.home / "watches"

    @property
    def ledger(self) -> Path:
        """The SQLite database that holds the ledger."""
        return self.home / "ledger.db"

    @property
    def checkpoints(self) -> Path:
        """Signed checkpoints of the ledger, and the public keys they are checked with."""
        return self.home / "checkpoints"

    @property
    def fingerprints(self) -> Path:
        """The index of released content; made again from the ledger where it is missing."""
        return self.home / "fingerprints"

    @property
    def codebook(self) -> Path:
        """The words of all seals, for this user alone; made again from the keys and the ledger."""
        return self.home / "codebook"

    @property
    def consent(self) -> Path:
        """Vocabulary, rights holders, grants and revocations."""
        return self.configs / "consent"

    @property
    def models(self) -> Path:
        """One YAML file per generation model."""
        return self.configs / "models"

    def create(self) -> None:
        """Make the home and its folders, its owner's alone; mend rights that are loose.

        A home that this process may only read stays as it is.

        Raises:
            ConfigError: it cannot be made or mended, or it is half restored.
        """
        check_whole(self.home)
        if is_read_only(self.home):
            return
        database = [self.ledger, *(self.home / f"ledger.db-{part}" for part in ("wal", "shm"))]
        folders = (
            *(self.keys, self.credentials, self.outputs, self.renditions, self.tmp),
            *(self.checkpoints, self.fingerprints, self.codebook),
        )
        try:
            make_private(self.home, folders, database)
            for folder in (self.home, self.keys, self.credentials, self.checkpoints):
                sweep(folder)
        except OSError as exc:
            if is_open(self.home):
                raise ConfigError(
                    f"the studio's home {self.home} is open to other users, and its rights cannot "
                    f"be mended ({exc.strerror}); run the studio as its owner, or "
                    f"chmod -R go-rwx {self.home}"
                ) from exc
            raise ConfigError(
                f"cannot make the studio's home {self.home} ({exc.strerror}); "
                "set STUDIO_HOME to a folder that can be written"
            ) from exc


def shipped_configs() -> Path:
    """The configuration that comes with the studio: in the package, or in its checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"  # an installed wheel carries it there (pyproject.toml)
    return inside if inside.is_dir() else package.parent / "configs"


def default_configs(home: Path, *, environ: Mapping[str, str] | None = None) -> Path:
    """Where a site keeps its own configuration: ``$STUDIO_CONFIGS``, or ``configs`` in its home."""
    env = os.environ if environ is None else environ
    if env.get("STUDIO_CONFIGS"):
        return Path(env["STUDIO_CONFIGS"]).expanduser()
    return home / "configs"


def write_configs(target: Path) -> None:
    """Copy the shipped configuration into ``target``, which is made or empty.

    Raises:
        UsageError: ``target`` is not empty.
        ConfigError: it cannot be written.
    """
    source = shipped_configs()
    try:
        if target.exists() and any(target.iterdir()):
            raise UsageError(f"{target} is not empty; nothing was written")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".configs-") as folder:
            copy = Path(folder) / "configs"
            shutil.copytree(source, copy, copy_function=shutil.copyfile)
            copy.replace(target)  # whole or not at all
    except OSError as exc:
        raise ConfigError(f"cannot write {target}: {exc.strerror}") from exc


def resolve_paths(
    home: Path | None = None,
    configs: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> StudioPaths:
    """Find the roots: argument, then ``$STUDIO_HOME``/``$STUDIO_CONFIGS``, then the defaults.

    The default home is ``~/.local/share/consented-music-studio`` (``$XDG_DATA_HOME`` is honoured).
    The default configuration is ``configs`` in the home, where ``studio init`` writes it, and where
    there is none the one that comes with the studio. Nothing is created or read here.

    Raises:
        ConfigError: the home is no folder, or this process may not look into it.
    """
    env = os.environ if environ is None else environ
    if home is None:
        if env.get("STUDIO_HOME"):
            home = Path(env["STUDIO_HOME"]).expanduser()
        else:
            data = env.get("XDG_DATA_HOME") or "~/.local/share"
            home = Path(data).expanduser() / "consented-music-studio"
    if configs is None:
        check_reachable(home)
        configs = default_configs(home, environ=env)
        if not env.get("STUDIO_CONFIGS") and not configs.is_dir():
            configs = shipped_configs()
    return StudioPaths(home=home, configs=configs)
