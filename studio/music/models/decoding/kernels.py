"""Linear layers of a decoding step in fp32, bf16 and int8; picks the fastest.

A step multiplies two rows by every weight of the model, so it costs what reading the weights
costs, and which routine comes close to that depends on the processor. All kernels here are torch's
own. A kernel takes rows ``(n, inputs)`` in fp32 and gives ``(n, outputs)`` in fp32.

int8: weights are rounded per output channel, activations per row at each step. Scaling each row
by itself (torch's `quantize_dynamic` scales all rows alike) makes a row's result independent of
the rows beside it but for rounding; :func:`keeps_rows_apart` tells whether it is so bit for bit on
this processor (with oneDNN and AMX it is not). Where the processor has no room for 8 bits of
activation, they are multiplied as two numbers of 7 bits.
"""

from __future__ import annotations

import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "BF16",
    "EXACT",
    "HALVES",
    "INT8",
    "MARGIN",
    "Kernel",
    "Linear",
    "are_halves",
    "available",
    "fastest",
    "keeps_rows_apart",
    "small",
    "time_kernels",
]

MARGIN = 1.1
"""A kernel replaces one before it in the list only if it is this much faster."""

_TRIAL_BYTES = 48 * 2**20
"""Weights touched by a trial, in fp32: more than a cache holds, or the cache would be timed."""


class Linear(Protocol):
    """One packed linear layer."""

    def __call__(self, x: Tensor) -> Tensor:
        """`x` (rows, inputs) times the weight, plus the bias: (rows, outputs)."""
        ...

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """``residual + self(x)``."""
        ...


Kernel = Callable[[Tensor, Tensor | None], Linear]
"""Packs a weight (outputs, inputs) and a bias or None."""


class Plain:
    """torch's own routine, which audiocraft calls."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        return residual + self(x)


class Columns(Plain):
    """The same product the other way round, for which MKL reads the weights faster.

    Only up to two rows; more go the plain way, which is then the faster.
    """

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[0] > 2:
            return super().__call__(x)
        out = torch.mm(self.weight, x.t()).t().contiguous()
        return out if self.bias is None else out.add_(self.bias)


class Prepacked(Plain):
    """oneDNN's routine over weights reordered once."""

    dtype = torch.float32

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(self.dtype).contiguous(), 2)
        super().__init__(packed, None if bias is None else bias.to(self.dtype))

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self.dtype), self.weight, self.bias, "none", [], ""
        )
        return out.float()


class PrepackedHalf(Prepacked):
    """oneDNN's routine over reordered bf16 weights."""

    dtype = torch.bfloat16


class Fp16:
    """FBGEMM's routine over weights in fp16: exact for weights that are fp16 numbers.

    Products and sums are fp32; half as much is read. It sums in another order for some numbers of
    rows; rows of nothing are added to avoid these.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight.float(), bias)
        self.padding = _fp16_padding()

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.shape[0]
        if rows < len(self.padding) and self.padding[rows]:
            x = F.pad(x, (0, 0, 0, self.padding[rows]))
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self.packed)
        return out[:rows]

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        return residual + self(x)


class PlainHalf(Plain):
    """torch's own routine in bf16."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight.bfloat16(), None if bias is None else bias.bfloat16())

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x.bfloat16()).float()


class _RowScaled(ABC):
    """int8 weights, each row of activations scaled to its own largest value.

    Subclasses say which routine multiplies.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        weight = weight.float()
        scale = weight.abs().amax(dim=1).clamp_min(1e-12) / 127
        self.bias = bias
        self.pack((weight / scale[:, None]).round_().to(torch.int8), scale)

    @abstractmethod
    def pack(self, rounded: Tensor, scale: Tensor) -> None:
        """Keep the weight, which is ``rounded * scale``, as the routine reads it.

        `rounded` (outputs, inputs) is int8, `scale` (outputs,) fp32.
        """

    @abstractmethod
    def multiply(self, unit: Tensor) -> Tensor:
        """`unit` (rows, inputs), within ±1, times the weight: (rows, outputs) in fp32."""

    def _product(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The product of the rows brought to ±1, and what each row was divided by."""
        largest = x.abs().amax(dim=1, keepdim=True).clamp_min_(1e-12)
        return self.multiply(x / largest), largest

    def __call__(self, x: Tensor) -> Tensor:
        product, largest = self._product(x)
        if self.bias is None:
            return product.mul_(largest)
        return torch.addcmul(self.bias, product, largest)

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        product, largest = self._product(x)
        out = torch.addcmul(residual, product, largest)
        return out if self.bias is None else out.add_(self.bias)


class Int8(_RowScaled):
    """FBGEMM's routine, the one under torch's `quantize_dynamic`.

    With 63 steps of activation the rounding would cost twice the error of the weights, so what it
    leaves is multiplied too: as further rows, since reading the weights is what costs.
    """

    def pack(self, rounded: Tensor, scale: Tensor) -> None:
        self.packed = _fbgemm_pack(rounded, scale)
        self.levels = _fbgemm_levels()

    def multiply(self, unit: Tensor) -> Tensor:
        if self.levels == 127:
            return self._rounded_product(unit)
        coarse = (unit * self.levels).round_().div_(self.levels)
        finer = 2 * self.levels  # brings what is left to within ±1
        both = self._rounded_product(torch.cat([coarse, (unit - coarse).mul_(finer)]))
        product, rest = both.chunk(2)
        return torch.add(product, rest, alpha=1 / finer)

    def _rounded_product(self, unit: Tensor) -> Tensor:
        out: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            unit, 1 / self.levels, self.levels + 1, self.packed
        )
        return out


class Int8OneDnn(_RowScaled):
    """oneDNN's routine, the one under torch.compile."""

    def pack(self, rounded: Tensor, scale: Tensor) -> None:
        self.packed = torch.ops.onednn.qlinear_prepack(rounded, [2, rounded.shape[1]])
        self.scale = scale
        self.zero = torch.zeros(len(scale), dtype=torch.int64)

    def multiply(self, unit: Tensor) -> Tensor:
        # Unsigned activations: torch 2.13 has no fast routine for signed ones.
        rounded = (unit * 127).round_().add_(128).to(torch.uint8)
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, 1 / 127, 128, self.packed, self.scale, self.zero, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return out


EXACT: tuple[Kernel, ...] = (Plain, Columns, Prepacked)
HALVES: tuple[Kernel, ...] = (*EXACT, Fp16)
"""As exact, where all weights :func:`are_halves`."""
BF16: tuple[Kernel, ...] = (PlainHalf, PrepackedHalf)
INT8: tuple[Kernel, ...] = (Int8, Int8OneDnn)


def available(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Those of `kernels` that this build of torch has and that are right on this processor."""
    return [kernel for kernel in kernels if _is_right(kernel)]


@cache
def _is_right(kernel: Kernel) -> bool:
    """Whether the kernel multiplies: near fp32 on random rows, and at the ends of the range."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 128, generator=generator)
    rows = torch.randn(2, 128, generator=generator)
    extreme = torch.ones(64, 128), torch.ones(2, 128)
    try:
        for w, x in ((weight, rows), extreme):
            expected = F.linear(x, w)
            if (kernel(w, None)(x) - expected).norm() > 0.05 * expected.norm():
                return False
    except (RuntimeError, AttributeError, NotImplementedError):
        return False  # an operator that this build of torch lacks
    return True


@cache
def keeps_rows_apart(kernel: Kernel) -> bool:
    """Whether a row's product is the same, bit for bit, whatever rows stand beside it.

    Tried on random weights of the shapes that models have, two rows against up to 16.
    """
    generator = torch.Generator().manual_seed(0)
    for outputs, inputs in ((96, 64), (1024, 1024), (4096, 1024), (1024, 4096)):
        linear = kernel(torch.randn(outputs, inputs, generator=generator), None)
        rows = torch.randn(16, inputs, generator=generator)
        alone = torch.cat([linear(pair) for pair in torch.split(rows, 2)])
        if not all(torch.equal(linear(rows[:n]), alone[:n]) for n in range(4, 17, 2)):
            return False
    return True


def are_halves(weights: Sequence[Tensor]) -> bool:
    """Whether fp16 holds all `weights` without rounding, as in a checkpoint saved in fp16."""
    return all(torch.equal(weight.half().to(weight.dtype), weight) for weight in weights)


def small(weights: Sequence[Tensor]) -> bool:
    """Whether all weights together are less than a trial reads, so that nothing can be told."""
    return sum(weight.numel() * 4 for weight in weights) < _TRIAL_BYTES


def time_kernels(
    kernels: Sequence[Kernel], weights: Sequence[Tensor], *, rows: int = 2, repeats: int = 3
) -> list[float]:
    """Seconds that one pass over `weights` takes by each kernel, the least of `repeats` passes.

    The kernels take turns, so that a busy machine troubles all alike.
    """
    chosen: list[Tensor] = []
    for weight in weights:
        chosen.append(weight)
        if sum(one.numel() * 4 for one in chosen) >= _TRIAL_BYTES:
            break
    inputs = {weight.shape[1]: torch.ones(rows, weight.shape[1]) for weight in chosen}
    packed = [[kernel(weight, None) for weight in chosen] for kernel in kernels]
    # On one thread the time this process was given, which other processes do not lengthen.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = [math.inf] * len(packed)
    for repeat in range(repeats + 1):  # the first warms up
        for index, layers in enumerate(packed):
            started = clock()
            for layer, weight in zip(layers, chosen, strict=True):
                layer(inputs[weight.shape[1]])
            if repeat:
                best[index] = min(best[index], clock() - started)
    return best


def fastest(kernels: Sequence[Kernel], weights: Sequence[Tensor]) -> Kernel:
    """The kernel to use for `weights` on this machine; the first unless another is clearly faster.

    The margin keeps the choice the same from one start to the next; a model whose weights are
    :func:`small` is not timed at all.
    """
    if small(weights):
        return kernels[0]
    times = time_kernels(kernels, weights)
    best = 0
    for index, seconds in enumerate(times):
        if seconds * MARGIN < times[best]:
            best = index
    return kernels[best]


def _fbgemm_pack(rounded: Tensor, scale: Tensor) -> Any:
    with warnings.catch_warnings():
        # torch 2.13 announces another way to make quantized tensors, and has none yet that packs.
        warnings.filterwarnings("ignore", message=".*quantize_per_tensor.*", category=UserWarning)
        weight = torch._make_per_channel_quantized_tensor(
            rounded, scale.double(), torch.zeros(len(scale), dtype=torch.int64), 0
        )
    return torch.ops.quantized.linear_prepack(weight, None)


@cache
def _fp16_padding() -> tuple[int, ...]:
    """By the number of rows, how many to add so that each is summed as the first six are."""
    generator = torch.Generator().manual_seed(0)
    packed = torch.ops.quantized.linear_prepack_fp16(
        torch.randn(96, 1024, generator=generator), None
    )
    one = torch.randn(1, 1024, generator=generator)
    expected = torch.ops.quantized.linear_dynamic_fp16(one.expand(6, -1), packed)[:1]
    alike = [
        bool((torch.ops.quantized.linear_dynamic_fp16(one.expand(n, -1), packed) == expected).all())
        for n in range(1, 19)
    ]
    padding = [0]
    for rows in range(1, 17):
        padding.append(alike.index(True, rows - 1) + 1 - rows if any(alike[rows - 1 :]) else 0)
    return tuple(padding)


@cache
def _fbgemm_levels() -> int:
    """Steps from 0 to the largest activation: 127, or 63 where 127 overflows.

    Processors without VNNI add pairs of products in 16 bits, which saturate with all eight.
    """
    most = torch.full((16, 64), 127, dtype=torch.int8)
    packed = _fbgemm_pack(most, torch.ones(16))
    out = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
        torch.ones(1, 64), 1 / 127, 128, packed
    )
    return 127 if abs(float(out[0, 0]) - 127 * 64) < 1 else 63
