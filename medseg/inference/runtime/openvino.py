"""OpenVINO: Intel's compiler for CPUs, in bfloat16 where the processor multiplies it in hardware.

A conversion is proved in float32 first, where nothing but rounding may differ; half precision would hide a mistake.
A converted network is kept on disk, and what the compiler made of it for this processor beside: the second start
takes a second.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medseg.inference.runtime.compiled import CompiledNetwork
from medseg.inference.runtime.proof import prove
from medseg.inference.runtime.separate_heads import separate_heads
from medseg.inference.runtime.written_norms import with_written_norms

__all__ = ["compile_openvino"]

REVISION = 3
"""Of this file's way to convert: what an earlier one left in the cache is not used."""


def compile_openvino(network: nn.Module, *, shape: tuple[int, ...], key: str, cache: Path) -> tuple[nn.Module, str]:
    """The network (B, C, *S) → (B, L, *S) compiled for this processor, and the precision it computes in.

    Args:
        shape: of the batches that will come.
        key: names the network and its weights; converted files are kept under it in ``cache``.
    Raises:
        ImportError: OpenVINO is not installed.
        ValueError: the converted network does not compute what torch does.
        Exception: whatever else the conversion fails with; callers fall back to torch.
    """
    openvino = _import_quietly()
    core = openvino.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    precision = "bfloat16" if "BF16" in capabilities else "float32"
    name = f"{key}_{'x'.join(map(str, shape))}_ov{openvino.__version__.split('-')[0]}_{REVISION}"
    path = cache / f"{name}.xml"
    if not path.is_file():
        with torch.no_grad():
            program = torch.export.export(with_written_norms(network), (torch.zeros(shape),), strict=False)
        model = openvino.convert_model(program)
        separate_heads(openvino, model)
        exact = _compiled(core, model, shape=shape, precision="float32")
        proof = prove(exact, network, shape=shape, precision="float32")
        if not proof.is_passed:
            raise ValueError(
                f"the converted network computes something else: logits differ by {proof.max_difference:.2g} at most, "
                f"their standard deviation is {proof.scale:.2g}"
            )
        _write_model(openvino, model, path)
    core.set_property({"CACHE_DIR": str(cache / "compiled")})
    return _compiled(core, core.read_model(path), shape=shape, precision=precision), precision


def _compiled(core: Any, model: Any, *, shape: tuple[int, ...], precision: str) -> CompiledNetwork:
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    def compute(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        request.infer([windows], share_inputs=True)
        logits: NDArray[np.float32] = request.get_output_tensor(0).data
        return logits

    return CompiledNetwork(compute, batch_size=shape[0], window=shape[1:])


def _import_quietly() -> Any:
    """OpenVINO without its telemetry, which reports every import over the network: a hospital's machine is silent."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes the import fail, as absent
    import openvino

    return openvino


def _write_model(openvino: Any, model: Any, path: Path) -> None:
    """Keep the converted model; the weights are in place before the file that is looked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as folder:
        written = Path(folder) / "model.xml"
        openvino.serialize(model, str(written))
        written.with_suffix(".bin").replace(path.with_suffix(".bin"))
        written.replace(path)
