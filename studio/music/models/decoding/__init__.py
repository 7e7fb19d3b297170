"""Decode tokens from audiocraft's `LMModel` weights, cached and cancellable.

* :mod:`.cached_lm`: the loop that stands where MusicGen expects an `LMModel`
* :mod:`.network`: one step of the transformer for any number of generations at once
* :mod:`.fixed_step`: a step over buffers that stay in place: a CUDA graph on a GPU
* :mod:`.together`: several requests in the same steps
* :mod:`.run`: the state of one generation: conditions, key and value caches, position
* :mod:`.attention`: attention over what a run keeps
* :mod:`.kernels`: the linear layers in fp32, bf16 and int8, and the trial that picks among them
* :mod:`.precision`: which precision a model is decoded in, and when `auto` means which
* :mod:`.quality`: how far a precision is from fp32
* :mod:`.sampling`: how a token is drawn
"""

from studio.music.models.decoding.cached_lm import CachedLM
from studio.music.models.decoding.sampling import Sampling, sample

__all__ = ["CachedLM", "Sampling", "sample"]
