"""Puts ``configs/`` into a wheel. A checkout keeps it at the top, where people look for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ConfigsHook(BuildHookInterface):  # type: ignore[type-arg]  # of no configuration of its own
    """Inside the packages, unless the checkout itself is installed (``pip install -e``)."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        configs = Path(self.root) / "configs"
        build_data["force_include"][str(configs)] = "studio/configs"
        build_data["force_include"][str(configs / "watermark")] = "watermark/configs"
