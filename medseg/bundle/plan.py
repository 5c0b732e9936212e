"""The plan of a new bundle: every setting that follows from a data set's fingerprint, with its reason.

In: a fingerprint, channels, labels and a network. Out: a ``Plan`` of plain values; ``template.py`` writes it down.
Nothing here is learned from data beyond the training split.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from math import prod
from typing import Any

import torch
from monai.utils import ensure_tuple_rep

from medseg.bundle.cost import network_cost
from medseg.data import DataManifest, Fingerprint
from medseg.errors import BundleError, DataError
from medseg.free_memory import total_memory_bytes
from medseg.networks import network_names

__all__ = ["Plan", "plan_bundle"]

ANISOTROPIC = 3.0
"""Spacing ratio from which the coarse axis is cut across into slices by 2D networks (nnU-Net's threshold)."""

SHARE_OF_MEMORY = 0.3
"""What the maps of one training step may take of the device's memory: optimiser, data and other programs need some."""

MOST_MEMORY_MB = 24_000
"""Windows do not grow beyond what this holds, however large the device."""

CPU_VOXELS = 96**3
"""Largest window on a CPU: a training step should take seconds."""

LARGEST_CROP_MM = 120.0
"""Scans up to this size are regions around one organ, not whole heads or bodies."""

AXIAL = 2

LEAST_SIDE = 32

WINDOW_MARGIN = 1.1
"""A window holds the median patient with a tenth to spare, where memory allows."""

CONTEXT_SLICES = 2


@dataclass(frozen=True)
class Plan:
    """Settings of a bundle. Axes are (R, A, S); 2D networks have a window of two sizes and a ``slice_axis``."""

    name: str
    network: str
    network_class: str
    network_config: dict[str, Any]
    parameters: int
    axcodes: str
    spacing_mm: tuple[float, float, float]
    roi_size: tuple[int, ...]
    slice_axis: int | None
    context_slices: int
    is_ct: bool
    intensities: tuple[tuple[float, float, float, float], ...]
    uses_non_zero: bool
    crops_to_patient: bool
    batch_size: int
    samples_per_scan: int
    steps: int
    mirrored_axes: tuple[int, ...]
    deep_supervision: bool
    training_mb: float
    device: str


def plan_bundle(
    manifest: DataManifest, fingerprint: Fingerprint, *, network: str, name: str, device: torch.device
) -> Plan:
    """Decide everything.

    Raises:
        BundleError: there is no such network.
        DataError: the labels' values leave one out.
    """
    values = sorted(label.index for label in manifest.labels)
    if values != list(range(1, len(values) + 1)):  # a network's channel n is the label of value n
        raise DataError(
            f"the labels of {manifest.name} have the values {', '.join(map(str, values))}: 1 to {len(values)} were "
            "expected, one for each channel of the network. Renumber them in the label files and the manifest."
        )
    if network not in network_names():
        raise BundleError(f"no network {network!r}: expected one of {', '.join(network_names())}.")
    module = import_module(f"medseg.networks.{network}")
    is_2d = module.CONFIG.tiny().spatial_dims == 2
    spacing = fingerprint.spacing_mm
    slice_axis = _slice_axis(fingerprint) if is_2d else None
    context = CONTEXT_SLICES if is_2d else 0
    config = module.CONFIG.compact(
        in_channels=len(manifest.channels) * (2 * context + 1), out_channels=len(manifest.labels) + 1
    )
    budget_mb = _memory_mb(device) * SHARE_OF_MEMORY
    extents = [size for axis, size in enumerate(fingerprint.extent_mm) if axis != slice_axis]
    spacings = [size for axis, size in enumerate(spacing) if axis != slice_axis]
    divisor = ensure_tuple_rep(config.divisor, 3)[: len(extents)]
    wanted = [
        max(_least(step), step * -(-int(extent * WINDOW_MARGIN / one) // step))
        for extent, one, step in zip(extents, spacings, divisor, strict=True)
    ]
    is_mr = any(channel.modality != "CT" for channel in manifest.channels)  # anything beside a CT has no unit
    plan = Plan(
        name=name,
        network=network,
        network_class=module.NETWORK.__name__,
        network_config=_written(config),
        parameters=sum(parameter.numel() for parameter in module.NETWORK(config).parameters()),
        axcodes="RAS",
        spacing_mm=spacing,
        roi_size=tuple(wanted),
        slice_axis=slice_axis,
        context_slices=context,
        is_ct=not is_mr,
        intensities=fingerprint.intensities,
        uses_non_zero=is_mr and fingerprint.is_skull_stripped,
        crops_to_patient=not is_mr or fingerprint.is_skull_stripped,
        batch_size=4 if is_2d else 1,
        samples_per_scan=4 if is_2d else 2,
        steps=25_000 if device.type == "cuda" else 3_000,
        mirrored_axes=() if any(label.laterality for label in manifest.labels) else (0,),
        deep_supervision=hasattr(module.NETWORK, "heads") and _head_count(module, config) > 1,
        training_mb=0.0,
        device=device.type,
    )
    return _within(plan, divisor, budget_mb=budget_mb, network=module.NETWORK(config))


def _within(plan: Plan, divisor: Sequence[int], *, budget_mb: float, network: torch.nn.Module) -> Plan:
    """The plan with a window that fits into memory: the axis with most steps to spare loses one, again and again."""
    sizes = list(plan.roi_size)
    at_once = plan.batch_size * plan.samples_per_scan
    most_voxels = CPU_VOXELS if plan.device == "cpu" else float("inf")

    def shrink() -> bool:
        shrinkable = [axis for axis, (size, step) in enumerate(zip(sizes, divisor, strict=True)) if size > _least(step)]
        if shrinkable:
            largest = max(shrinkable, key=lambda axis: sizes[axis] / divisor[axis])
            sizes[largest] -= divisor[largest]
        return bool(shrinkable)

    while at_once * prod(sizes) > most_voxels and shrink():
        pass
    training_mb = network_cost(network, (at_once, plan.network_config["in_channels"], *sizes)).training_mb
    while training_mb > budget_mb and shrink():
        training_mb = network_cost(network, (at_once, plan.network_config["in_channels"], *sizes)).training_mb
    return replace(plan, roi_size=tuple(sizes), training_mb=round(training_mb))


def _least(step: int) -> int:
    """The smallest side of a window: below it a network's deepest map is a single token."""
    return step if step >= LEAST_SIDE else 2 * step


def _slice_axis(fingerprint: Fingerprint) -> int:
    """Across the coarse axis where there is one; a crop across its thinnest side; anything else axially."""
    spacing, extents = fingerprint.spacing_mm, fingerprint.extent_mm
    if max(spacing) / min(spacing) >= ANISOTROPIC:
        return spacing.index(max(spacing))
    return extents.index(min(extents)) if max(extents) <= LARGEST_CROP_MM else AXIAL


def _memory_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return min(float(torch.cuda.get_device_properties(device).total_memory) / 1e6, MOST_MEMORY_MB)
    return min(total_memory_bytes() / 1e6, MOST_MEMORY_MB)


def _written(config: Any) -> dict[str, Any]:
    """The settings that are not the network's defaults, and channels."""
    values: dict[str, Any] = config.model_dump(mode="json")
    fields = type(config).model_fields
    return {key: value for key, value in values.items() if getattr(config, key) != fields[key].default}


def _head_count(module: Any, config: Any) -> int:
    divisor = ensure_tuple_rep(config.divisor, 3)[: config.spatial_dims]
    with torch.inference_mode():
        return len(
            module.NETWORK(config).eval().heads(torch.zeros(1, config.in_channels, *(2 * step for step in divisor)))
        )
