"""Out of memory is a step down, not an end: the same windows with less of them in memory at once.

Each step is taken when the one before ran out of memory. On a CPU the system mostly ends the process instead, so that
the first step is chosen from the memory that is free; there windows of a volume go one by one from the start: a batch
of them is no faster.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from monai.inferers import Inferer, SliceInferer, SlidingWindowInferer
from torch import nn

from medseg.errors import RunError
from medseg.inference.mirror import MirrorInferer
from medseg.inference.prepared import Prepared
from medseg.inference.slices import SliceBySliceInferer
from medseg.inference.three_planes import ThreePlaneInferer

__all__ = [
    "HalfPrecision",
    "Rung",
    "half_precision",
    "is_out_of_memory",
    "more_memory",
    "rungs",
    "too_little_memory",
    "within",
]

CPU = torch.device("cpu")
CPU_OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory"
"""What torch 2.13 says on a CPU, in a RuntimeError like any other."""

HALF = 0.5

AS_GIVEN = "the windows that the bundle takes together"


@dataclass(frozen=True, eq=False)
class Rung:
    """One way to take the windows; ``name`` says, after "ran out of memory with", what it is."""

    name: str
    inferer: Inferer
    is_half: bool = False
    keeps_scan_on_cpu: bool = False

    @property
    def batch_size(self) -> int:
        """How many windows pass through the network together."""
        return _batch_of(self.inferer)

    def scan(self, prepared: Prepared) -> Prepared:
        """The scan where it lies on this rung."""
        return prepared.on(CPU) if self.keeps_scan_on_cpu else prepared

    def network(self, network: nn.Module) -> nn.Module:
        """The network as it computes on this rung."""
        return HalfPrecision(network) if self.is_half else network


def rungs(inferer: Inferer, *, device: torch.device) -> Iterator[Rung]:
    """The bundle's way first, then ways that take less and less memory.

    All blend the same windows in float32. The last computes them in half precision.
    """
    if device.type == "cpu" and _is_volumetric(inferer):
        inferer = _with_batch(inferer, 1)
    yield Rung(AS_GIVEN, inferer)
    size = _batch_of(inferer)
    while size > 1:
        size //= 2
        inferer = _with_batch(inferer, size)
        yield Rung(f"{size} windows at once", inferer)
    is_gpu = device.type != "cpu"
    if is_gpu and _is_volumetric(inferer):
        inferer = _blended_on_cpu(inferer)
        yield Rung("windows blended on the CPU", inferer)
    if is_gpu:
        yield Rung("the scan on the CPU", inferer, keeps_scan_on_cpu=True)
    yield Rung("windows in half precision", inferer, is_half=True, keeps_scan_on_cpu=is_gpu)


def within(steps: Sequence[Rung], *, free_mb: float, window_mb: Callable[[int], float]) -> list[Rung]:
    """The rungs from the first on whose windows fit into the memory that is free; the last one at any rate.

    Args:
        window_mb: what so many windows take together within the network, in 10⁶ bytes.
    """
    for number, step in enumerate(steps[:-1]):
        if window_mb(step.batch_size) * (HALF if step.is_half else 1) <= free_mb:
            return [*steps[number:]]
    return [*steps[-1:]]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory is too little, on a GPU or a CPU, and nothing else.

    MONAI's ``Compose`` raises an error of its own from that of a transform.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or CPU_OUT_OF_MEMORY in str(error):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def too_little_memory(device: torch.device) -> RunError:
    """What is left to say below the last rung."""
    return RunError(f"{device} has too little memory even for one window in half precision: {more_memory(device)}.")


def more_memory(device: torch.device) -> str:
    """Where a person finds more memory than on this device."""
    return "use a machine, or a container, with more memory" if device.type == "cpu" else "use --device cpu"


class HalfPrecision(nn.Module):
    """A network that computes in half precision, with logits in float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Logits (B, L, *S) float32 of windows (B, C, *S)."""
        kind = windows.device.type
        with torch.autocast(kind, dtype=half_precision(kind)):
            logits: torch.Tensor = self._network(windows)
        return logits.float() if isinstance(logits, torch.Tensor) else logits


def half_precision(kind: str) -> torch.dtype:
    """The half precision of a kind of device: bfloat16 where it has that, which overflows no sooner than float32."""
    return torch.bfloat16 if kind == "cpu" or torch.cuda.is_bf16_supported() else torch.float16


def _is_volumetric(inferer: Inferer) -> bool:
    """Whether its windows are three-dimensional, blended over the volume."""
    inner = inferer.inferer if isinstance(inferer, MirrorInferer) else inferer
    return isinstance(inner, SlidingWindowInferer) and not isinstance(inner, SliceInferer)


def _batch_of(inferer: Inferer) -> int:
    if isinstance(inferer, MirrorInferer | ThreePlaneInferer):
        return _batch_of(inferer.inferer)
    if isinstance(inferer, SliceBySliceInferer):
        return inferer.batch_size
    return int(inferer.sw_batch_size) if isinstance(inferer, SlidingWindowInferer) else 1


def _with_batch(inferer: Inferer, size: int) -> Inferer:
    result = copy(inferer)
    if isinstance(result, MirrorInferer | ThreePlaneInferer):
        result.inferer = _with_batch(result.inferer, size)
    elif isinstance(result, SliceBySliceInferer):
        result.batch_size = size
    elif isinstance(result, SlidingWindowInferer):
        result.sw_batch_size = size
    return result


def _blended_on_cpu(inferer: Inferer) -> Inferer:
    result = copy(inferer)
    if isinstance(result, MirrorInferer):
        result.inferer = _blended_on_cpu(result.inferer)
    elif isinstance(result, SlidingWindowInferer):
        result.device = CPU
    return result
