"""OpenVINO on the CPU: kernels for this processor, in bfloat16 where the processor multiplies it in hardware.

A conversion is proved in float32 first, where nothing but rounding may differ; half precision would hide a mistake.
A converted network is kept on disk, and what the compiler made of it for this processor beside: the second start
takes a second. Both are made in a process of their own (``openvino_worker``), while torch computes here what they
are proved against.
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medseg.inference.runtime.apart import NotCompiledError, started_worker
from medseg.inference.runtime.compiled import CompiledNetwork
from medseg.inference.runtime.kept_proof import this_machine
from medseg.inference.runtime.openvino_worker import COMPILE, CONVERT, Order, compile_settings, import_quietly
from medseg.inference.runtime.proof import Golden, compared
from medseg.inference.runtime.written_norms import with_written_norms

__all__ = ["REVISION", "compile_openvino"]

REVISION = 3
"""Of the way to convert: what an earlier one left in the cache is not used."""

LIMIT_S = 180.0
"""That a compilation may take at any rate: the largest network here takes 5 s on two idle cores."""

LIMIT_SHARE = 12.0
"""To which a conversion adds so many times what the export took, under the same load; it takes 3 to 4 times that."""


def compile_openvino(golden: Golden, *, key: str, cache: Path) -> tuple[nn.Module, str]:
    """The network (B, C, *S) → (B, L, *S) compiled for this processor, and the precision it computes in.

    Args:
        golden: the network, and the batches that will come.
        key: names the network and its weights; converted files are kept under it in ``cache``.
    Raises:
        ImportError: OpenVINO is not installed.
        NotCompiledError: it cannot be exported, the compiler crashed or took too long, or made something else.
    """
    openvino = import_quietly()
    core = openvino.Core()
    precision = "bfloat16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "float32"
    n_threads = torch.get_num_threads()
    name = f"{key}_{'x'.join(map(str, golden.shape))}_ov{openvino.__version__.split('-')[0]}_{REVISION}"
    model = cache / f"{name}.xml"
    compiled = cache / "compiled" / f"{name}_{precision}_{n_threads}_{this_machine('openvino')}"
    if not (model.is_file() and _is_filled(compiled)):
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as folder:
            _make(golden, model, compiled, folder=Path(folder), precision=precision)
    core.set_property({"CACHE_DIR": str(compiled)})
    settings = compile_settings(precision=precision, n_threads=n_threads)
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    return CompiledNetwork(_computing(request), batch_size=golden.shape[0], window=golden.shape[1:]), precision


def _make(golden: Golden, model: Path, compiled: Path, *, folder: Path, precision: str) -> None:
    """Convert, unless ``model`` is there, and compile; what is kept takes its place when it is complete and proved."""
    converts = not model.is_file()
    order = Order(
        program=str(folder / "program.pt2") if converts else "",
        model=str(folder / "model.xml" if converts else model),
        window=str(folder / "window.npy") if converts else "",
        answer=str(folder / "answer.npy"),
        folder=str(folder / "compiled"),
        precision=precision,
        n_threads=torch.get_num_threads(),
    )
    with started_worker(CONVERT if converts else COMPILE, folder) as worker:
        limit_s = LIMIT_S
        if converts:
            np.save(order.window, golden.window.numpy())
            limit_s += LIMIT_SHARE * _seconds_of(lambda: _export(golden, Path(order.program)))
        worker.begin(order, limit_s=limit_s)
        if converts:
            golden.expected  # noqa: B018  computed while the worker works
        worker.finish()
    if converts:
        proof = compared(torch.from_numpy(np.load(order.answer)), golden.expected, precision="float32")
        if not proof.is_passed:
            raise NotCompiledError(
                f"the converted network computes something else: logits differ by {proof.max_difference:.2g} at most, "
                f"their standard deviation is {proof.scale:.2g}",
                is_lasting=True,
            )
        # The weights are in place before the file that is looked for.
        Path(order.model).with_suffix(".bin").replace(model.with_suffix(".bin"))
        Path(order.model).replace(model)
    _take_place(Path(order.folder), compiled)


def _export(golden: Golden, path: Path) -> None:
    try:
        with torch.no_grad():
            network = with_written_norms(golden.network)
            program = torch.export.export(network, (torch.zeros(golden.shape),), strict=False)
        torch.export.save(program, path)
    except (OSError, MemoryError):  # no fault of the network
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split()[:30])}"
        raise NotCompiledError(reason, is_lasting=True) from error


def _seconds_of(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _take_place(folder: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.replace(place)
    except OSError:
        if not _is_filled(place):  # else another process was first
            raise


def _computing(request: Any) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    def compute(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        request.infer([windows], share_inputs=True)
        logits: NDArray[np.float32] = request.get_output_tensor(0).data
        return logits

    return compute
