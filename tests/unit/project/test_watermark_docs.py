"""The examples in the watermark modules run as printed."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "watermark",
        "watermark.evaluation.distortions",
        "watermark.audio.waveform",
        "watermark.evaluation.bench",
        "watermark.evaluation.clips",
        "watermark.coding.codebook",
        "watermark.coding.codebook_store",
        "watermark.fingerprint.matching",
        "watermark.audio.decoding",
        "watermark.detection.result",
        "watermark.errors",
        "watermark.fingerprint.haitsma_kalker",
        "watermark.fingerprint.index",
        "watermark.fingerprint.postings",
        "watermark.coding.identify",
        "watermark.evaluation.identify_bench",
        "watermark.util.stats",
        "watermark.coding.message",
        "watermark.evaluation.report",
        "watermark.batch.files",
        "watermark.batch.pool",
        "watermark.detection.retiming",
        "watermark.evaluation.adversarial",
    ],
)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
