"""The linear layers of a decoding step by torch, torchao, OpenVINO and onnxruntime, in one run.

``python -m tests.bench.linear_layers [--layers 6] [--rows 2 --rows 16] [--only NAME]``

The layers have the shapes of musicgen-small and random weights; a step has 24 layers, of which some
are timed and the rest taken to cost as much. All take turns, so that a busy machine troubles all
alike. Printed are milliseconds of processor time on one thread (the least of the repeats) and the
error relative to fp64.

torchao, OpenVINO and onnxruntime are no dependencies of the project; what is not installed is named
and left out. For all of them, in an environment of its own:
``pip install torchao openvino onnxruntime onnx``.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from studio.music.models.decoding import kernels

DIM = 1024
LAYERS = 24
SHAPES = ((3 * DIM, DIM), (DIM, DIM), (DIM, DIM), (DIM, DIM), (4 * DIM, DIM), (DIM, 4 * DIM))
"""(outputs, inputs): self-attention in and out, cross-attention in and out, hidden in and out."""

Step = Callable[[dict[int, Tensor]], Sequence[Any]]
"""From the rows by width to the products of all layers."""
Build = Callable[[list[Tensor]], Step]


class Missing(Exception):
    """A package is not installed, or has no routine for this processor."""


def _each(kernel: Callable[[Tensor, Tensor | None], Any]) -> Build:
    def build(weights: list[Tensor]) -> Step:
        packed = [(weight.shape[1], kernel(weight, None)) for weight in weights]
        return lambda rows: [linear(rows[width]) for width, linear in packed]

    return build


def _own(kernel: kernels.Kernel) -> Build:
    def build(weights: list[Tensor]) -> Step:
        if not kernels.available([kernel]):
            raise Missing("this torch has no such routine, or it computes wrongly here")
        return _each(kernel)(weights)

    return build


def _int8_weights(weights: list[Tensor]) -> Step:
    """torch's routine for int8 weights and bf16 activations."""

    def pack(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
        rounded, scale = (torch.from_numpy(one) for one in _rounded(weight))
        scale = scale[:, 0].bfloat16()
        return lambda x: torch._weight_int8pack_mm(x.bfloat16(), rounded, scale)

    return _each(pack)(weights)


def _quantize_dynamic(weights: list[Tensor]) -> Step:
    """As the user of torch has it: all rows of a layer scaled alike."""
    from torch.ao.quantization import quantize_dynamic

    layers = quantize_dynamic(_modules(weights), {nn.Linear}, dtype=torch.qint8)
    return _through(layers, weights)


def _torchao(weights: list[Tensor]) -> Step:
    _require("torchao")
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    layers = _modules(weights)
    quantize_(layers, Int8DynamicActivationInt8WeightConfig())
    return _through(layers, weights)


def _torchao_weights(weights: list[Tensor]) -> Step:
    _require("torchao")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    layers = _modules(weights).bfloat16()
    quantize_(layers, Int8WeightOnlyConfig())
    step = _through(layers, weights)
    return lambda rows: step({width: one.bfloat16() for width, one in rows.items()})


def _modules(weights: list[Tensor]) -> nn.ModuleList:
    layers = nn.ModuleList()
    for weight in weights:
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight = nn.Parameter(weight, requires_grad=False)
        layers.append(linear)
    return layers.eval()


def _through(layers: nn.ModuleList, weights: list[Tensor]) -> Step:
    widths = [weight.shape[1] for weight in weights]
    return lambda rows: [layer(rows[width]) for layer, width in zip(layers, widths, strict=True)]


def _openvino(group: int | None) -> Build:
    """int8 weights; activations in int8 by groups of so many, or in fp32."""

    def build(weights: list[Tensor]) -> Step:
        _require("openvino")
        import openvino as ov
        from openvino import opset13 as ops

        inputs = {w: ops.parameter([-1, w], np.float32, name=f"x{w}") for w in (DIM, 4 * DIM)}
        products: list[Any] = []
        for weight in weights:
            rounded, scale = _rounded(weight)
            constant = ops.convert(ops.constant(rounded), "f32")
            scaled = ops.multiply(constant, ops.constant(scale))
            products.append(ops.matmul(inputs[weight.shape[1]], scaled, False, True))
        options: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": group or 0,
        }
        model = ov.Model(products, list(inputs.values()))
        request = ov.Core().compile_model(model, "CPU", options).create_infer_request()

        def step(rows: dict[int, Tensor]) -> Sequence[Any]:
            given = {f"x{width}": one.numpy() for width, one in rows.items()}
            return list(request.infer(given, share_inputs=True, share_outputs=True).values())

        return step

    return build


def _onnxruntime(kind: str) -> Build:
    """`kind`: MatMulNBits (8 bits, blocks of 128) or DynamicQuantizeMatMul (per channel)."""

    def build(weights: list[Tensor]) -> Step:
        _require("onnxruntime")
        _require("onnx")
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper

        nodes: list[Any] = []
        constants: list[Any] = []
        outputs: list[Any] = []
        for index, weight in enumerate(weights):
            width, name = weight.shape[1], f"y{index}"
            operands: dict[str, Any]
            if kind == "MatMulNBits":
                operands, attributes = _blocks(weight)
            else:
                rounded, scale = _rounded(weight)
                whole = np.ascontiguousarray(rounded.T)
                zero = np.zeros(len(scale), whole.dtype)
                operands, attributes = {"b": whole, "s": scale[:, 0], "z": zero}, {}
            for key, value in operands.items():
                constants.append(numpy_helper.from_array(value, f"{key}{index}"))
            names = [f"x{width}", *(f"{key}{index}" for key in operands)]
            nodes.append(
                helper.make_node(kind, names, [name], domain="com.microsoft", **attributes)
            )
            outputs.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, weight.shape[0]])
            )
        inputs = [
            helper.make_tensor_value_info(f"x{width}", TensorProto.FLOAT, [None, width])
            for width in (DIM, 4 * DIM)
        ]
        graph = helper.make_graph(nodes, "step", inputs, outputs, constants)
        versions = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=9)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return lambda rows: session.run(
            None, {f"x{width}": one.numpy() for width, one in rows.items()}
        )

    return build


def _rounded(weight: Tensor) -> tuple[Any, Any]:
    """int8 per output channel (outputs, inputs), and the scale (outputs, 1)."""
    scale = (weight.abs().amax(1, keepdim=True) / 127).clamp_min(1e-12)
    return (weight / scale).round().to(torch.int8).numpy(), scale.numpy()


def _blocks(weight: Tensor, block: int = 128) -> tuple[dict[str, Any], dict[str, Any]]:
    outputs, width = weight.shape
    parts = weight.view(outputs, width // block, block)
    scale = (parts.abs().amax(-1, keepdim=True) / 127).clamp_min(1e-12)
    rounded = ((parts / scale).round() + 128).to(torch.uint8).numpy()
    attributes = {"K": width, "N": outputs, "bits": 8, "block_size": block, "accuracy_level": 4}
    return {"b": rounded, "s": scale.flatten().numpy()}, attributes


def _require(package: str) -> None:
    if find_spec(package) is None:
        raise Missing(f"{package} is not installed")


CANDIDATES: dict[str, Build] = {
    "torch fp32, F.linear": _own(kernels.Plain),
    "torch fp32, mm(w, xT)": _own(kernels.Columns),
    "torch fp32, oneDNN reordered": _own(kernels.Prepacked),
    "torch fp16 weights, FBGEMM": _own(kernels.Fp16),
    "torch bf16, F.linear": _own(kernels.PlainHalf),
    "torch bf16, oneDNN reordered": _own(kernels.PrepackedHalf),
    "torch int8 weights, bf16": _int8_weights,
    "torch int8, quantize_dynamic": _quantize_dynamic,
    "torch int8, FBGEMM, rows apart": _own(kernels.Int8),
    "torch int8, oneDNN, rows apart": _own(kernels.Int8OneDnn),
    "torchao int8, dynamic": _torchao,
    "torchao int8 weights, bf16": _torchao_weights,
    "OpenVINO int8 weights": _openvino(None),
    "OpenVINO int8, groups of 128": _openvino(128),
    "onnxruntime DynamicQuantizeMatMul": _onnxruntime("DynamicQuantizeMatMul"),
    "onnxruntime MatMulNBits 8": _onnxruntime("MatMulNBits"),
}


@torch.inference_mode()
def main() -> None:
    """Print a line per candidate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rows", type=int, action="append")
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--only", choices=list(CANDIDATES), action="append")
    arguments = parser.parse_args()
    counts = arguments.rows or [2, 16]
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    weights = [
        torch.randn(shape, generator=generator) * shape[1] ** -0.5
        for _ in range(arguments.layers)
        for shape in SHAPES
    ]
    steps: dict[str, Step] = {}
    for name in arguments.only or CANDIDATES:
        try:
            steps[name] = CANDIDATES[name](weights)
        except Missing as exc:
            print(f"{name}: left out, {exc}", flush=True)
        except (RuntimeError, ImportError, AttributeError) as exc:
            print(f"{name}: left out, it failed: {str(exc).splitlines()[0][:100]}", flush=True)
    factor = LAYERS / arguments.layers * 1e3
    for count in counts:
        rows = {w: torch.randn(count, w, generator=generator) for w in (DIM, 4 * DIM)}
        right = [rows[weight.shape[1]].double() @ weight.double().t() for weight in weights]
        best, reading = dict.fromkeys(steps, math.inf), math.inf
        for _ in range(arguments.repeats + 1):
            started = time.process_time()
            for weight in weights:
                weight.sum()
            reading = min(reading, time.process_time() - started)
            for name, step in steps.items():
                started = time.process_time()
                step(rows)
                best[name] = min(best[name], time.process_time() - started)
        size = sum(weight.numel() for weight in weights)
        print(f"{count} rows; the fp32 weights are read at {4 * size / reading / 1e9:.1f} GB/s")
        for name, seconds in best.items():
            error = _error(steps[name](rows), right)
            print(f"  {name:36} {seconds * factor:7.1f} ms   error {error:.2%}", flush=True)


def _error(products: Sequence[Any], right: list[Tensor]) -> float:
    """Over all layers, relative to the size of the products."""
    wrong = total = 0.0
    for product, expected in zip(products, right, strict=True):
        got = torch.as_tensor(product).double()
        wrong += float((got - expected).square().sum())
        total += float(expected.square().sum())
    return math.sqrt(wrong / total)


if __name__ == "__main__":
    main()
