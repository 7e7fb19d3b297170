"""The examples in the docstrings of the studio's core say what happens."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = [
    "studio.cli",
    "studio.config",
    "studio.consent.documents",
    "studio.consent.keys",
    "studio.consent.policy",
    "studio.consent.registry",
    "studio.consent.signing",
    "studio.consent.types",
    "studio.disclosure",
    "studio.folding",
    "studio.music.models.house.excitation",
    "studio.music.models.house.mastering",
    "studio.music.models.house.notes",
    "studio.name_tables",
    "studio.names",
    "studio.paths",
    "studio.progress",
    "studio.provenance.entry",
    "studio.provenance.file_metadata",
    "studio.provenance.ledger",
    "studio.provenance.release",
    "studio.provenance.tree",
    "studio.rates",
    "studio.statements",
    "studio.tags",
    "studio.verdict",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
