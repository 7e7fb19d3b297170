"""What the tests and the examples in the packages' docstrings share."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("studio", deadline=None)  # no example fails because the machine is busy
settings.load_profile("studio")

# Not imported for their examples: they have none, and importing them has effects (Alembic runs a
# migration; audiocraft is loaded).
collect_ignore_glob = [
    "studio/core/db/migrations/*",
    "studio/music/models/hub/conditioners.py",
]


@pytest.fixture(autouse=True)
def _no_home_of_whoever_runs_this(request, tmp_path_factory, monkeypatch):
    """An example that opens the studio opens an empty one."""
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.setenv("STUDIO_HOME", str(tmp_path_factory.mktemp("home")))
        monkeypatch.delenv("STUDIO_CONFIGS", raising=False)
