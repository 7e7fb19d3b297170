"""Times decoding: audiocraft, transformers and ours side by side, and whole generations.

* :mod:`.steps`: one decoding step at several lengths of context, per precision
* :mod:`.variants`: what is timed
* :mod:`.decoders`: whole generations by audiocraft's decoder and ours, with their tokens compared
* :mod:`.shapes`: real layouts with random weights
* :mod:`.memory`: what one variant takes, in a process of its own

``studio models bench`` runs these.
"""

from studio.music.models.benchmark.decoders import DecodingTimes, compare_decoders
from studio.music.models.benchmark.shapes import SHAPES, musicgen_shape
from studio.music.models.benchmark.steps import StepReport, time_steps

__all__ = [
    "SHAPES",
    "DecodingTimes",
    "StepReport",
    "compare_decoders",
    "musicgen_shape",
    "time_steps",
]
