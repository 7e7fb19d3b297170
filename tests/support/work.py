"""Work for worker processes: functions of a module, so that a spawned process can import them."""

from __future__ import annotations

import os
import time

from tests.support.seals import TonalSeal
from watermark.detection.detect import detect
from watermark.errors import AudioError, SealModelError


def squares():
    """Answers n * n; some numbers misbehave."""

    def work(n, report):
        if n == "crash":
            os._exit(11)
        if n == "hang":
            time.sleep(60)
        if n == "raise":
            raise RuntimeError("a fault")
        if n == "slow":
            for second in range(4):
                report(float(second))
                time.sleep(0.4)
            return "slow"
        if n == "pid":
            return os.getpid()
        return n * n

    return work


def slow_to_start():
    """Loads for longer than any item may take."""
    time.sleep(4)
    return squares()


def no_weights():
    raise SealModelError("no weights here")


def tonal():
    """As `watermark detect` does it, with the test's seal."""
    model = TonalSeal()

    def work(file, report):
        try:
            return detect(file, model=model)
        except AudioError as exc:
            return exc

    return work
