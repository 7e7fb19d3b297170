"""The examples in the docstrings of the studio's core say what happens."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = [
    "studio.cli.main",
    "studio.core.config",
    "studio.consent.signed.documents",
    "studio.consent.signed.keys",
    "studio.consent.policy",
    "studio.consent.registry",
    "studio.consent.signed.signing",
    "studio.consent.types",
    "studio.reports.disclosure",
    "studio.consent.name_screen.normalize",
    "studio.music.models.house.excitation",
    "studio.music.models.house.mastering",
    "studio.music.models.house.notes",
    "studio.consent.name_screen.evaluation",
    "studio.consent.name_screen.screen",
    "studio.core.paths",
    "studio.generation.progress",
    "studio.provenance.ledger.entry",
    "studio.provenance.file_tags",
    "studio.provenance.ledger.log",
    "studio.provenance.release",
    "studio.provenance.ledger.merkle",
    "studio.reports.statements.rates",
    "studio.reports.statements.statement",
    "studio.core.tags",
    "studio.verification.report",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
