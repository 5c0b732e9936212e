"""A process of its own for OpenVINO's conversion and compilation, which can crash, or never end, without the run.

    python -P openvino_worker.py convert|compile     one order as a line of JSON on standard input

In: a program written by ``torch.export.save``, or a converted model. Out: the converted model, its answer in float32
to a window, and a folder with what the compiler made for this processor. Exit code 0; ``REFUSED`` with one line on
standard error where the network cannot be converted or compiled.

It runs by its path and imports nothing of this package, whose imports take longer than many compilations.
"""

import json
import sys
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

__all__ = ["COMPILE", "CONVERT", "REFUSED", "Order", "compile_settings", "import_quietly", "separate_heads"]

CONVERT, COMPILE = "convert", "compile"

REFUSED: Final = 3
"""Exit code: what was given cannot be converted or compiled, and will not be the next time."""

ATTENTION = "ScaledDotProductAttention"
QUERIES_KEYS_VALUES = 3
"""Inputs of an attention without a mask; with one it is computed rightly."""


@dataclass(frozen=True)
class Order:
    """What a worker makes, all by path.

    Attributes:
        program: to convert; empty where ``model`` is there already.
        model: the converted model (.xml, its weights beside).
        window: to be answered in float32, (B, C, *S) as .npy; empty where no proof is wanted.
        answer: its logits, as .npy.
        folder: for what the compiler makes.
        precision: ``bfloat16`` or ``float32``.
    """

    program: str
    model: str
    window: str
    answer: str
    folder: str
    precision: str
    n_threads: int


def import_quietly() -> Any:
    """OpenVINO without its telemetry, which reports every import over the network: a hospital's machine is silent."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes the import fail, as absent
    import openvino

    return openvino


def compile_settings(*, precision: str, n_threads: int) -> dict[str, Any]:
    """How a model is compiled; what is kept on disk is found again under the same settings only."""
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "INFERENCE_NUM_THREADS": n_threads,
        "PERFORMANCE_HINT": "LATENCY",
    }


def separate_heads(model: Any) -> int:
    """Change attention with as many heads (H) as tokens (N): from (B, H, N, d) to (B·H, 1, N, d), without a mask.

    The compiler fuses attention with the exchange of heads and tokens before it. Where both are equally many the
    exchange changes no shape, and OpenVINO 2026.4 leaves it out, in float32 or in bfloat16 depending on how queries
    and keys were cut: the answer is another. Heads that stand as samples are not fused; the numbers are the same.

    Returns:
        How many attentions were changed.
    """
    found = [node for node in model.get_ordered_ops() if _is_mistaken(node)]
    for attention in found:
        batch, heads, tokens, width = attention.output(0).get_shape()
        for number in range(QUERIES_KEYS_VALUES):
            source = attention.input_value(number)
            alone = _reshaped(source, (batch * heads, 1, tokens, source.get_shape()[-1]))
            attention.input(number).replace_source_output(alone)
        targets = attention.output(0).get_target_inputs()
        together = _reshaped(attention.output(0), (batch, heads, tokens, width))
        for target in targets:
            target.replace_source_output(together)
    model.validate_nodes_and_infer_types()
    return len(found)


def _is_mistaken(node: Any) -> bool:
    if node.get_type_name() != ATTENTION or node.get_input_size() > QUERIES_KEYS_VALUES:
        return False
    shape = node.output(0).get_partial_shape()
    return bool(shape.is_static) and shape.to_shape()[1] == shape.to_shape()[2] > 1


def _reshaped(source: Any, shape: tuple[int, ...]) -> Any:
    opset = import_quietly().opset13
    return opset.reshape(source, np.array(shape, np.int64), False).output(0)


def _carry_out(order: Order) -> None:
    openvino = import_quietly()
    if order.program:
        import torch

        model = openvino.convert_model(torch.export.load(order.program))
        separate_heads(model)
        openvino.serialize(model, order.model)
    core = openvino.Core()
    model = core.read_model(order.model)
    if order.window:
        exact = core.compile_model(model, "CPU", compile_settings(precision="float32", n_threads=order.n_threads))
        np.save(order.answer, exact([np.load(order.window)])[0])
        del exact
    core.set_property({"CACHE_DIR": order.folder})
    core.compile_model(model, "CPU", compile_settings(precision=order.precision, n_threads=order.n_threads))


def _main() -> int:
    if sys.argv[1] == CONVERT:
        import torch  # noqa: F401  while the program that it will read is still being written
    import_quietly()
    words = sys.stdin.readline()
    if not words:  # whoever started this is gone
        return 1
    try:
        _carry_out(Order(**json.loads(words)))
    except (OSError, MemoryError):  # no fault of the network
        raise
    except Exception as error:  # noqa: BLE001  a compiler refuses a network in many ways
        sys.stderr.write(f"\n{type(error).__name__}: {' '.join(str(error).split()[:40])}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_main())
