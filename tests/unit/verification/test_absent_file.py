"""A file that is not there gets no verdict: "unreadable" would be one, and would be recorded."""

from __future__ import annotations

import pytest

from studio.app.container import open_container
from studio.core.config import load_config
from studio.core.errors import UsageError
from studio.core.paths import resolve_paths
from tests.support.studios import as_owner


def test_a_file_that_is_gone_is_an_error_and_no_entry_of_the_ledger(tmp_path):
    paths = resolve_paths(home=tmp_path / "home", environ={})
    paths.create()
    with open_container(load_config(paths.configs / "studio.yaml"), paths) as studio:
        before = studio.ledger().size()
        with pytest.raises(UsageError, match="no longer here"):
            as_owner(studio).verification.verify(tmp_path / "gone.wav")
        assert studio.ledger().size() == before
        (tmp_path / "there.wav").write_bytes(b"no audio")
        report = as_owner(studio).verification.verify(tmp_path / "there.wav")
        assert str(report.verdict) == "unreadable"
        assert report.recorded["entry"] == studio.ledger().size() - 1 == before
