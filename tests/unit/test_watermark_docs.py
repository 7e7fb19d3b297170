"""The examples in the watermark modules run as printed."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "watermark",
        "watermark.attacks",
        "watermark.audio",
        "watermark.bench",
        "watermark.clips",
        "watermark.codebook",
        "watermark.content",
        "watermark.decoding",
        "watermark.detection",
        "watermark.errors",
        "watermark.fingerprint",
        "watermark.fingerprint_index",
        "watermark.identify",
        "watermark.identify_bench",
        "watermark.measures",
        "watermark.message",
        "watermark.report",
        "watermark.scan",
        "watermark.workers",
        "watermark.retiming",
        "watermark.threats",
    ],
)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
