"""A step whose buffers stay in place, so that a GPU can replay it as one graph.

A step of audiocraft's transformer is some 550 kernels, each of which a GPU does in less time than
it takes to start; recorded as a CUDA graph they are started at once. A graph reads and writes the
same memory each time, so the token, the position, the random numbers and the draw live in buffers
of their own, and attention reads a whole bucket of positions of which those to come are masked.
There is one graph per run, hence per number of rows, and bucket. On a CPU the same code runs
without a graph, which is how the tests compare it with :meth:`Network.step`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from studio.core.errors import ModelError
from studio.music.models.decoding.attention import attend
from studio.music.models.decoding.run import Run
from studio.music.models.decoding.sampling import Sampling, noise_of, pick

__all__ = ["FixedStep"]

_BUCKETS = (128, 256, 512, 1024)
"""Positions that attention reads; beyond them all that the run has room for."""


class FixedStep:
    """Takes `run`, whose prompt and prefix it has read, one token further at a time.

    Raises :class:`ModelError` for a model that turns queries by their position (rope), whose angles
    torch is given as whole numbers.
    """

    def __init__(self, run: Run, how: Sampling) -> None:
        if run.rope is not None:
            raise ModelError("a step with rotary positions has no fixed form")
        network = run.network
        self.run, self._how = run, how
        self._requests = run.rows // (2 if run.guided else 1)
        device = network.embeddings.device
        shape = (self._requests, network.codebooks)
        self._tokens = torch.zeros(*shape, 1, dtype=torch.int64, device=device)
        self._position = torch.zeros(1, dtype=torch.int64, device=device)
        self._places = torch.arange(run.capacity, device=device)
        self._noise = torch.ones(*shape, network.lm.card, device=device)
        self._drawn = torch.zeros(shape, dtype=torch.int64, device=device)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._length, self._seen = 0, self._places[:0]
        for cache in (*run.keys, *run.values):
            cache[:, :, run.position :].zero_()  # what is masked must still be numbers

    def draw(self, tokens: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Feed `tokens` (requests, codebooks, 1); the next, (requests, codebooks).

        The answer is overwritten by the next call.
        """
        run = self.run
        if run.position >= run.capacity or (run.position == 0 and run.prefix is not None):
            raise ModelError("a fixed step needs the prefix read and room for one more token")
        self._tokens.copy_(tokens)
        self._position.fill_(run.position)
        if self._how.temperature > 0:
            self._noise.copy_(noise_of(self._noise.shape[1:], generators))
        length = next((one for one in _BUCKETS if run.position < one), run.capacity)
        length = min(length, run.capacity)
        if not self._tokens.is_cuda:
            self._compute(length)
        else:
            if length not in self._graphs:
                self._graphs[length] = self._recorded(length)
            self._graphs[length].replay()
        run.position += 1
        return self._drawn

    def _recorded(self, length: int) -> torch.cuda.CUDAGraph:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._compute(length)  # libraries set themselves up; the step can be done again
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._compute(length)
        return graph

    def _compute(self, length: int) -> None:
        """The step over the buffers; what it does depends on nothing else but `length`."""
        network, run = self.run.network, self.run
        self._length, self._seen = length, (self._places[:length] <= self._position)
        x = torch.nn.functional.embedding(
            self._tokens + network.offsets[:, None], network.embeddings
        ).sum(1)
        if run.guided:
            x = torch.cat([x, x])
        if run.positions is not None:
            x = x + run.positions.index_select(1, self._position)
        x = x.flatten(0, 1)
        for index, layer in enumerate(network.layers):
            x = layer.step(x, index, [self], [slice(None)])
        if network.out_norm is not None:
            x = network.out_norm(x)
        logits = network.heads(x).view(run.rows, network.codebooks, -1)
        if run.guided:
            logits = self._how.guided(*torch.split(logits, self._requests))
        self._drawn.copy_(pick(logits, self._noise, self._how))

    def attend(self, index: int, projected: Tensor) -> Tensor:
        """Self-attention of layer `index`: (rows, 3 dim) to (rows, dim)."""
        run = self.run
        query, key, value = (
            part.view(run.rows, run.heads, 1, -1) for part in projected.chunk(3, dim=-1)
        )
        keys, values = run.keys[index], run.values[index]
        keys.index_copy_(2, self._position, key.to(keys.dtype))
        values.index_copy_(2, self._position, value.to(values.dtype))
        seen = keys[:, :, : self._length], values[:, :, : self._length]
        attended = attend(query, *seen, mask=self._seen[None, None, None])
        return attended.reshape(run.rows, -1).to(run.network.embeddings.dtype)

    def attend_to_text(self, index: int, query: Tensor) -> Tensor:
        """Cross-attention of layer `index`: (rows, dim) to the same."""
        return self.run.attend_to_text(index, query)
