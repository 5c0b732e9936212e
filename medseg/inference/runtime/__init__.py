"""Runtimes: what computes the windows, chosen by name, and proved against plain torch before it is used."""

from medseg.inference.runtime.choose import RUNTIMES, WindowRuntime, batch_shape, check_runtime, installed_runtimes
from medseg.inference.runtime.compiled import CompiledNetwork
from medseg.inference.runtime.proof import Proof, RuntimeChoice, golden_window

__all__ = [
    "RUNTIMES",
    "CompiledNetwork",
    "Proof",
    "RuntimeChoice",
    "WindowRuntime",
    "batch_shape",
    "check_runtime",
    "golden_window",
    "installed_runtimes",
]
