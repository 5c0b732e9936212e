"""What segmenting a case will take, told before it is done: windows, time, memory, disk.

The scan is read and preprocessed for real, one window is computed and timed, and the rest is arithmetic.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import psutil
import torch
from monai.inferers import Inferer

from medseg.bundle.cost import network_cost
from medseg.bundle.outputs import Extras
from medseg.bundle.runner import Runner
from medseg.gpu import finish_work, gpu_memory_taken, gpu_peak_memory_mb
from medseg.inference import (
    MirrorInferer,
    SliceBySliceInferer,
    Stages,
    ThreePlaneInferer,
    batch_shape,
    golden_window,
    rungs,
)
from medseg.io import CaseFiles

__all__ = ["Forecast", "blocks_mb", "forecast", "together", "with_maps"]

BATCHES_HELD = 3
"""Copies of a batch of slices: its sum, the finished part, and what waits for its neighbours."""

BLOCKS_HELD = 1.5
"""Blocks as deep as a window: under blending, finished, and the logits of a window. Less where windows overlap."""

VOLUMES_HELD = 2
"""Whole volumes of logits: the sum over the planes, and the one being computed."""

BYTES_PER_MB = 1e6

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Forecast:
    """What one case will take; numbers of windows are absent where the bundle's inferer has none.

    Attributes:
        network_grid: size of the preprocessed volume in voxels.
        seconds: for all windows, without reading and writing.
        ram_mb: of this process at its fullest moment, in 10⁶ bytes.
        gpu_mb: of the network and its maps; 0 on a CPU.
        disk_mb: of the label map, and the maps that are wanted beside it, before they are compressed.
    """

    case_id: str
    network_grid: tuple[int, ...]
    n_windows: int | None
    runtime: str
    seconds_a_window: float | None
    seconds: float | None
    ram_mb: float
    gpu_mb: float
    disk_mb: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def forecast(runner: Runner, case: CaseFiles, *, extras: Extras | None = None) -> Forecast:
    """What ``runner.run(case, …)`` will take, the maps themselves aside; nothing is written.

    Args:
        extras: the maps that are wanted: for uncertainty every mirror image is a pass with logits of its own.
    Raises:
        MedsegError: the case cannot be read or does not fit the bundle.
    """
    segmenter, bundle = runner.segmenter, runner.bundle
    scan = runner.read(case).scan  # as a run holds it
    prepared = segmenter.prepared(scan.image, stages=Stages()).image
    n_windows = segmenter.count_windows(prepared.shape[1:])
    network = segmenter.network_for(prepared)
    shape = batch_shape(segmenter.inferer, prepared.shape[0])
    before_mb = _resident_mb()
    proof_mb = gpu_peak_memory_mb(segmenter.device) or 0.0  # a golden window may be the fullest moment of all
    with gpu_memory_taken(segmenter.device) as taken_mb:
        seconds_a_window = None if shape is None else _seconds_a_window(network, shape, segmenter.device)
    maps_mb = held_mb = 0.0
    if shape is not None:
        at_once = (max(shape[0], next(rungs(segmenter.inferer, device=segmenter.device)).batch_size), *shape[1:])
        maps_mb = network_cost(
            bundle.build("network_def", bundle.parser(device=torch.device("cpu"))), at_once
        ).inference_mb
        if taken_mb:
            maps_mb = taken_mb[0] * at_once[0] / shape[0]
        held_mb = blocks_mb(
            segmenter.inferer,
            prepared.shape[1:],
            n_channels=len(bundle.output_channels),
            in_mirrors=extras is not None and extras.uncertainty,
        )
    voxels_mb = prod(scan.geometry.shape) / BYTES_PER_MB
    is_compiled = segmenter.runtime is not None and segmenter.runtime.choice.name != "torch"
    # A compiled network keeps the memory of its window; torch may have given it back already.
    computing_mb = _resident_mb() if is_compiled else max(_resident_mb(), before_mb + maps_mb)
    is_gpu = segmenter.device.type == "cuda"
    weights_mb = sum(value.nbytes for value in segmenter.network.parameters()) / BYTES_PER_MB
    return Forecast(
        case_id=case.case_id,
        network_grid=tuple(prepared.shape[1:]),
        n_windows=n_windows,
        runtime=segmenter.runtime.choice.name if segmenter.runtime else "torch",
        seconds_a_window=seconds_a_window,
        seconds=None if n_windows is None or seconds_a_window is None else n_windows * seconds_a_window,
        ram_mb=voxels_mb + (before_mb if is_gpu else computing_mb + held_mb),
        gpu_mb=max(proof_mb, weights_mb + maps_mb + held_mb + prepared.nbytes / BYTES_PER_MB) if is_gpu else 0.0,
        disk_mb=voxels_mb,
    )


def together(forecasts: Sequence[Forecast]) -> Forecast:
    """What several models on one case will take: their windows one after another, their blocks side by side."""
    first, *others = forecasts
    if not others:
        return first
    shared_mb = _resident_mb()  # each counted the process with all models in it
    windows = [one.n_windows for one in forecasts]
    seconds = [one.seconds for one in forecasts]
    n_windows = None if None in windows else sum(one for one in windows if one is not None)
    in_all = None if None in seconds else sum(one for one in seconds if one is not None)
    return replace(
        first,
        n_windows=n_windows,
        seconds_a_window=in_all / n_windows if in_all is not None and n_windows else None,
        seconds=in_all,
        ram_mb=max(sum(one.ram_mb for one in forecasts) - len(others) * shared_mb, first.ram_mb),
        gpu_mb=sum(one.gpu_mb for one in forecasts),
    )


def with_maps(one: Forecast, extras: Extras, *, n_channels: int, n_passes: int) -> Forecast:
    """The same with the maps that are wanted beside the labels, before those that are packed are."""
    n_maps = (2 if n_passes > 1 else 1) if extras.uncertainty else 0
    maps_mb = FLOAT_BYTES * n_maps * one.disk_mb  # a label takes a byte
    shares_mb = n_channels * one.disk_mb if extras.probabilities else 0.0
    return replace(one, disk_mb=one.disk_mb + maps_mb + shares_mb, ram_mb=one.ram_mb + maps_mb)


def blocks_mb(inferer: Inferer, sizes: Sequence[int], *, n_channels: int, in_mirrors: bool = False) -> float:
    """10⁶ bytes of the logits in float32 that are held of a preprocessed volume of these sizes.

    Of the planes that windows can still reach; of the whole volume where slices of three planes are averaged.

    Args:
        in_mirrors: whether every mirror image is a pass of its own, and not one of their mean.
    """
    if isinstance(inferer, MirrorInferer):
        one_mb = blocks_mb(inferer.inferer, sizes, n_channels=n_channels)
        return one_mb * (inferer.n_passes if in_mirrors else 1)
    if isinstance(inferer, ThreePlaneInferer):
        voxels: float = VOLUMES_HELD * prod(sizes)
    elif isinstance(inferer, SliceBySliceInferer):
        voxels = BATCHES_HELD * inferer.batch_size * prod(sizes) // sizes[inferer.axis]
    else:
        shape = batch_shape(inferer, n_channels)
        assert shape is not None, "the windows are of one size"
        depths = shape[2:]
        axis = max(range(len(sizes)), key=lambda one: sizes[one] / depths[one])
        voxels = BLOCKS_HELD * min(depths[axis], sizes[axis]) * prod(sizes) // sizes[axis]
    return float(FLOAT_BYTES * n_channels * voxels / BYTES_PER_MB)


@torch.inference_mode()
def _seconds_a_window(network: torch.nn.Module, shape: tuple[int, ...], device: torch.device) -> float:
    """The second of two runs: the first finds memory and kernels."""
    windows = golden_window(shape).to(device)
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        network(windows)
        finish_work(device)
        seconds = time.perf_counter() - began
    return seconds / shape[0]


def _resident_mb() -> float:
    """What this process takes of memory now."""
    return psutil.Process().memory_info().rss / BYTES_PER_MB
