"""studio.yaml and the folders: read, checked, overridable, and wrong ones refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from studio.core.config import StudioConfig, UploadConfig, load_config
from studio.core.errors import ConfigError, UsageError
from studio.core.paths import default_configs, resolve_paths, shipped_configs, write_configs

SHIPPED = shipped_configs() / "studio.yaml"


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


def test_the_shipped_file_shows_every_field_at_its_default():
    shown = yaml.safe_load(SHIPPED.read_text())
    assert shown == StudioConfig().model_dump(mode="json")


def test_what_a_file_leaves_out_has_its_default(tmp_path):
    """A site's file from before a field existed, or of one line, goes on working."""
    path = tmp_path / "studio.yaml"
    path.write_text("server: {port: 9000}")
    config = load_config(path)
    assert config.server.port == 9000
    assert config.server.host == "127.0.0.1"
    assert config.uploads == UploadConfig()
    path.write_text("server: {prt: 9000}")
    with pytest.raises(ConfigError, match=r"server\.prt"):
        load_config(path)


def test_the_environment_goes_before_the_file_field_by_field(tmp_path, monkeypatch):
    path = write(tmp_path, "server", port=9000, host="::1")
    monkeypatch.setenv("STUDIO_SERVER__PORT", "9001")
    monkeypatch.setenv("STUDIO_UPLOADS__ALLOW_UNFILTERED", "true")
    monkeypatch.setenv("STUDIO_SERVER__TRUSTED_PROXIES", '["10.0.0.0/8"]')
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path))  # no setting of a section
    config = load_config(path)
    assert (config.server.port, config.server.host) == (9001, "::1")
    assert config.server.trusted_proxies == ("10.0.0.0/8",)
    assert config.uploads.allow_unfiltered
    assert load_config(SHIPPED).server.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value"),
    [("STUDIO_SERVER__PORT", "no"), ("STUDIO_SERVER__PRT", "1"), ("STUDIO_SERVER", "{")],
)
def test_a_wrong_variable_is_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"(?i)environment.*server"):
        load_config(SHIPPED)


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


def test_a_site_s_own_copy_goes_before_the_shipped_configuration(tmp_path):
    home = tmp_path / "home"
    shipped = resolve_paths(home, environ={}).configs
    assert shipped == shipped_configs()
    write_configs(default_configs(home, environ={}))
    assert resolve_paths(home, environ={}).configs == home / "configs"
    assert resolve_paths(home, environ={"STUDIO_CONFIGS": "/etc/s"}).configs == Path("/etc/s")
    assert load_config(home / "configs/studio.yaml") == load_config(shipped / "studio.yaml")


def test_nothing_is_overwritten_with_the_shipped_configuration(tmp_path):
    (tmp_path / "studio.yaml").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        write_configs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["studio.yaml"]
    with pytest.raises(ConfigError, match="cannot write"):
        write_configs(tmp_path / "studio.yaml" / "below")


def test_a_home_that_cannot_be_made_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="STUDIO_HOME"):
        resolve_paths(tmp_path / "file" / "home", environ={}).create()


def test_the_keys_folder_is_private(tmp_path):
    paths = resolve_paths(tmp_path / "home", environ={})
    paths.create()
    assert paths.keys.stat().st_mode & 0o777 == 0o700
