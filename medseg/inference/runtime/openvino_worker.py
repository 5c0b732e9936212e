"""A process of its own for OpenVINO's compiler, which can crash, or never end, without taking the run with it.

    python -P openvino_worker.py ORDER     one order, as JSON

In: a converted model. Out: its answer in float32 to a window, or a folder with what the compiler made for this
processor. Exit code 0; ``REFUSED`` with one line on standard error where the model cannot be compiled.

It runs by its path and imports nothing of this package: that takes longer than most compilations.
"""

import json
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

__all__ = ["BLOB", "CHECKSUM", "REFUSED", "Order", "compile_settings", "import_quietly", "open_sizes"]

BLOB: Final = "network.blob"
CHECKSUM: Final = "network.crc32"
"""The compiled network in its folder, and its checksum beside it."""

REFUSED: Final = 3
"""Exit code: what was given cannot be compiled, and will not be the next time."""


@dataclass(frozen=True)
class Order:
    """What a worker makes, all by path.

    Attributes:
        model: the converted model (.xml, its weights beside).
        window: to be answered in float32, (B, C, *S) as .npy; empty where the model is to be compiled for use.
        answer: the window's logits, as .npy.
        folder: for what the compiler makes.
        precision: of what is compiled for use, ``bfloat16`` or ``float32``.
    """

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


def open_sizes(model: Any) -> None:
    """Let the converted model take inputs (B, C, *S) of other batches and sizes, as far as its operations do."""
    sizes = model.input(0).partial_shape
    model.reshape([sizes[axis] if axis == 1 else -1 for axis in range(len(sizes))])


def _carry_out(order: Order) -> None:
    core = import_quietly().Core()
    model = core.read_model(order.model)
    if order.window:
        open_sizes(model)  # compiled in half the time, which one window does not bring in again
        exact = core.compile_model(model, "CPU", compile_settings(precision="float32", n_threads=order.n_threads))
        np.save(order.answer, exact([np.load(order.window)])[0])
        return
    compiled = core.compile_model(model, "CPU", compile_settings(precision=order.precision, n_threads=order.n_threads))
    with compiled.export_model().getbuffer() as content:
        folder = Path(order.folder)
        folder.mkdir(exist_ok=True)
        (folder / BLOB).write_bytes(content)
        (folder / CHECKSUM).write_text(f"{zlib.crc32(content):08x}\n", encoding="utf-8")


def _main() -> int:
    try:
        _carry_out(Order(**json.loads(sys.argv[1])))
    except (OSError, MemoryError):  # no fault of the network
        raise
    except Exception as error:  # noqa: BLE001  a compiler refuses a network in many ways
        sys.stderr.write(f"\n{type(error).__name__}: {' '.join(str(error).split()[:40])}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_main())
