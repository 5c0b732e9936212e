"""The tools of the edit panel: what each is called, which numbers it asks for, and the edit that it makes.

In: what a person chose. Out: a function of the label map, for ``LabelEditor.edit``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.edits import (
    Limits,
    NestedRegions,
    Sides,
    copy_slice,
    edit_region,
    fill_holes,
    fill_holes_in_slices,
    grow,
    interpolate_slices,
    keep_largest,
    merge,
    middle_x_mm,
    remove_islands,
    shrink,
    smooth,
    split_left_right,
    split_pieces_left_right,
    swap,
)

__all__ = ["TOOLS", "Amount", "Tool", "ToolUse", "tool_named"]

Labels: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class Amount:
    """A number that a tool asks for: its unit, the range it may lie in, and what it starts with."""

    unit: str
    least: float
    most: float
    usual: float


@dataclass(frozen=True)
class ToolUse:
    """What a person chose before they used a tool.

    Attributes:
        label: the label they work on.
        geometry: the scan's grid.
        axis: the scan's axis through the plane that is shown.
        slice_index: the slice that is shown, along ``axis``.
        step: along ``axis``, 1 or −1: the next slice as the screen counts.
        other: a second label, for tools on two.
        amount: the number that the tool asks for.
        limits: locked labels, and what a growing label may take.
        regions: nested regions that stay nested: tools on one label then work on its region; None: on the label alone.
    """

    label: int
    geometry: Geometry
    axis: int = 2
    slice_index: int = 0
    step: int = 1
    other: int | None = None
    amount: float = 0.0
    limits: Limits = field(default_factory=Limits)
    regions: NestedRegions | None = None


@dataclass(frozen=True)
class Tool:
    """One button: ``key`` names it for programs, ``title`` for people, ``help`` says what it does in a sentence."""

    key: str
    title: str
    help: str
    run: Callable[[Labels, ToolUse], Labels]
    amount: Amount | None = None
    needs_other: bool = False

    def edit(self, use: ToolUse) -> Callable[[Labels], Labels]:
        """The edit of a label map that this use of the tool makes.

        Raises:
            ReviewError: the tool needs a second label and none was chosen.
        """
        if self.needs_other:
            _other(use)
            return lambda labels: self.run(labels, use)
        return lambda labels: _on_region(labels, use, run=self.run)

    def describe(self, use: ToolUse) -> str:
        """What was done, for the history: ``grow 2 mm``."""
        return self.title.lower() if self.amount is None else f"{self.title.lower()} {use.amount:g} {self.amount.unit}"


def _on_region(labels: Labels, use: ToolUse, *, run: Callable[[Labels, ToolUse], Labels]) -> Labels:
    """What a tool makes of the region that the chosen label paints, the labels inside it included, or of the label.

    Raises:
        ReviewError: the tool refuses, the label is locked, or the region is nowhere.
    """
    region = use.regions.painted_by(use.label) if use.regions is not None else None
    if use.regions is None or region is None:
        return run(labels, use)
    use.limits.require_unlocked(use.label)
    alone = replace(use, label=1, limits=Limits())
    try:
        return edit_region(
            labels, lambda mask: run(mask, alone), region=region.name, regions=use.regions, limits=use.limits
        )
    except ReviewError as error:  # in the mask that the tool was given, the region is label 1
        raise ReviewError(str(error).replace("label 1 ", f"region {region.name} ")) from error


def _grow(labels: Labels, use: ToolUse) -> Labels:
    return grow(labels, use.label, by_mm=use.amount, geometry=use.geometry, limits=use.limits)


def _shrink(labels: Labels, use: ToolUse) -> Labels:
    return shrink(labels, use.label, by_mm=use.amount, geometry=use.geometry, limits=use.limits)


def _smooth(labels: Labels, use: ToolUse) -> Labels:
    return smooth(labels, use.label, sigma_mm=use.amount, geometry=use.geometry, limits=use.limits)


def _remove_islands(labels: Labels, use: ToolUse) -> Labels:
    return remove_islands(labels, use.label, smaller_than_ml=use.amount, geometry=use.geometry, limits=use.limits)


def _interpolate(labels: Labels, use: ToolUse) -> Labels:
    return interpolate_slices(labels, use.label, axis=use.axis, geometry=use.geometry, limits=use.limits)


def _copy_on(labels: Labels, use: ToolUse) -> Labels:
    target = use.slice_index + use.step
    return copy_slice(labels, use.label, axis=use.axis, source=use.slice_index, target=target, limits=use.limits)


def _split(labels: Labels, use: ToolUse) -> Labels:
    return split_left_right(labels, use.label, sides=_sides(labels, use), geometry=use.geometry, limits=use.limits)


def _split_pieces(labels: Labels, use: ToolUse) -> Labels:
    sides = _sides(labels, use)
    return split_pieces_left_right(labels, use.label, sides=sides, geometry=use.geometry, limits=use.limits)


def _sides(labels: Labels, use: ToolUse) -> Sides:
    """The chosen label stays the left one; the second becomes the right one."""
    x_mm = middle_x_mm(labels, use.label, geometry=use.geometry)
    return Sides(left=use.label, right=_other(use), x_mm=x_mm)


def _swap(labels: Labels, use: ToolUse) -> Labels:
    return swap(labels, use.label, _other(use), limits=use.limits)


def _merge(labels: Labels, use: ToolUse) -> Labels:
    return merge(labels, use.label, into=_other(use), limits=use.limits)


def _other(use: ToolUse) -> int:
    if use.other is None:
        raise ReviewError("this tool needs a second label: choose it beside the button.")
    return use.other


TOOLS: Final = (
    Tool("grow", "Grow", "Add a margin around the label, into the background.", _grow, Amount("mm", 0.1, 50, 1)),
    Tool("shrink", "Shrink", "Take a margin off the label.", _shrink, Amount("mm", 0.1, 50, 1)),
    Tool("smooth", "Smooth", "Round the outline off; details below this size go.", _smooth, Amount("mm", 0.1, 20, 1)),
    Tool(
        "interpolate",
        "Interpolate",
        "Fill the slices between those that are painted, across the plane that is shown.",
        _interpolate,
    ),
    Tool(
        "copy_slice", "Copy to next slice", "Put the label's outline of this slice on the next one, and go there.",
        _copy_on,
    ),
    Tool(
        "keep_largest", "Keep largest", "Keep the label's largest piece alone.",
        lambda labels, use: keep_largest(labels, use.label, limits=use.limits),
    ),
    Tool(
        "remove_islands", "Remove islands", "Remove pieces of the label smaller than this.", _remove_islands,
        Amount("mL", 0.001, 1000, 0.1),
    ),
    Tool(
        "fill_holes", "Fill holes", "Fill what the label encloses on all sides.",
        lambda labels, use: fill_holes(labels, use.label, limits=use.limits),
    ),
    Tool(
        "fill_holes_in_slices", "Fill holes in slices", "Fill what the label encloses in a slice of the plane shown.",
        lambda labels, use: fill_holes_in_slices(labels, use.label, axis=use.axis, limits=use.limits),
    ),
    Tool(
        "split", "Split at the middle", "What lies right of the label's middle becomes the second label.", _split,
        needs_other=True,
    ),
    Tool(
        "split_pieces", "Split pieces by side", "Pieces whose centre lies on the right become the second label.",
        _split_pieces, needs_other=True,
    ),
    Tool("swap", "Swap", "Exchange the label and the second one.", _swap, needs_other=True),
    Tool("merge", "Merge into", "Give the label's voxels to the second one.", _merge, needs_other=True),
)  # fmt: skip


def tool_named(key: str) -> Tool:
    """The tool of that key.

    Raises:
        ReviewError: there is none.
    """
    found = next((tool for tool in TOOLS if tool.key == key), None)
    if found is None:
        raise ReviewError(f"no tool {key!r}: expected one of {', '.join(tool.key for tool in TOOLS)}.")
    return found
