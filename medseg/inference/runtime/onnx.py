"""ONNX Runtime on the CPU: for machines where it is what is installed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.inference.runtime.compiled import Compiled, CompiledNetwork
from medseg.inference.runtime.proof import Golden

__all__ = ["OPSET", "compile_onnx"]

OPSET = 18


def compile_onnx(golden: Golden, *, key: str, cache: Path) -> Compiled:
    """The network (B, C, *S) → (B, L, *S) in ONNX Runtime, and the precision it computes in.

    Args:
        golden: the network, and the batches that will come.
        key: names the network and its weights; converted files are kept under it in ``cache``.
    Raises:
        ImportError: ONNX Runtime, or what converts to ONNX, is not installed.
        Exception: whatever the conversion fails with; callers fall back to torch.
    """
    import onnxruntime

    path = cache / f"{key}_{'x'.join(map(str, golden.shape))}_opset{OPSET}.onnx"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        # With gradients torch would plan another kernel of attention than the one that it takes apart.
        with TemporaryDirectory(dir=cache) as folder, torch.no_grad(), _quiet():
            written = Path(folder) / "model.onnx"
            torch.onnx.export(
                golden.network,
                (torch.zeros(golden.shape),),
                written,
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
            written.replace(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (entrance,) = session.get_inputs()

    def compute(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        (logits,) = session.run(None, {entrance.name: windows})
        return np.asarray(logits, dtype=np.float32)

    return Compiled(CompiledNetwork(compute, batch_size=golden.shape[0], window=golden.shape[1:]), "float32")


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, torch does not say which packages it looked for and did not need."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
