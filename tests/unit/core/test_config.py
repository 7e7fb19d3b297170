"""studio.yaml and the folders: read, checked, overridable, and wrong ones refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from studio.core.config import load_config
from studio.core.errors import ConfigError
from studio.core.paths import resolve_paths

SHIPPED = resolve_paths(environ={}).configs / "studio.yaml"


def write(tmp_path: Path, section: str, **fields) -> Path:
    data = yaml.safe_load(SHIPPED.read_text())
    data[section] |= fields
    path = tmp_path / "studio.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_the_shipped_file_is_valid_and_frozen():
    config = load_config(SHIPPED)
    with pytest.raises(ValidationError):
        config.generation.duration_s = 1.0


@pytest.mark.parametrize(
    ("section", "fields", "said"),
    [
        ("generation", {"duration_s": 600.0}, "duration_s must lie between"),
        ("generation", {"min_duration_s": 1.0}, "min_duration_s"),
        ("generation", {"format": "aiff"}, "format"),
        ("generation", {"use": "training"}, "use"),
        ("generation", {"typo": 1}, "typo"),
        ("seal", {"strengths": [3.0, 1.0]}, "must rise"),
        ("seal", {"strengths": []}, "strengths"),
        ("server", {"port": 0}, "port"),
    ],
)
def test_an_impossible_value_is_refused_by_name(tmp_path, section, fields, said):
    with pytest.raises(ConfigError, match=said):
        load_config(write(tmp_path, section, **fields))


def test_no_default_is_written_twice(tmp_path):
    """A field left out of the file is an error: there is no second default in code."""
    data = yaml.safe_load(SHIPPED.read_text())
    for section, fields in data.items():
        for name in fields:
            less = {**data, section: {k: v for k, v in fields.items() if k != name}}
            path = tmp_path / "studio.yaml"
            path.write_text(yaml.safe_dump(less))
            with pytest.raises(ConfigError, match=name):
                load_config(path)


@pytest.mark.parametrize("content", ["[", "- 1", ""])
def test_a_file_of_another_shape(tmp_path, content):
    path = tmp_path / "studio.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError):
        load_config(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "studio.yaml")


def test_environment_and_arguments(tmp_path):
    env = {"STUDIO_HOME": str(tmp_path / "h"), "STUDIO_CONFIGS": str(tmp_path / "c")}
    assert resolve_paths(environ=env).home == tmp_path / "h"
    assert resolve_paths(environ=env).consent == tmp_path / "c" / "consent"
    assert resolve_paths(tmp_path, environ=env).home == tmp_path
    xdg = resolve_paths(environ={"XDG_DATA_HOME": "/data"})
    assert xdg.home == Path("/data/consented-music-studio")


def test_a_home_that_cannot_be_made_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="STUDIO_HOME"):
        resolve_paths(tmp_path / "file" / "home", environ={}).create()


def test_the_keys_folder_is_private(tmp_path):
    paths = resolve_paths(tmp_path / "home", environ={})
    paths.create()
    assert paths.keys.stat().st_mode & 0o777 == 0o700
