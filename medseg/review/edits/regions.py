"""Regions that lie in one another, such as the tumour core in the whole tumour, kept so while they are edited.

In: a label schema, the voxels of a stroke. Out: new labels. A label map holds one value a voxel; a region is a union
of values, and its shell is the value of a voxel that lies in it and in no region inside it. Editing a region moves a
voxel to the shell of that region, or of the one around it, so that no order of strokes can break the nesting::

        BraTS 2021                     erase enhancing_tumor   →  tumor_core's shell, 1
        whole_tumor       2 1 4        erase tumor_core        →  whole_tumor's shell, 2
          tumor_core        1 4        erase whole_tumor       →  background, 0
            enhancing_tumor   4        paint whole_tumor on 1  →  1, it is inside already
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.data import LabelSchema
from medseg.errors import ReviewError
from medseg.review.edits.protect import BACKGROUND_ONLY, Limits, keep_protected

__all__ = ["NestedRegion", "NestedRegions", "edit_region", "erase_region", "nested_regions", "paint_region"]


@dataclass(frozen=True)
class NestedRegion:
    """A region: its name, the values in it, and the value of its own shell."""

    name: str
    values: frozenset[int]
    shell: int


@dataclass(frozen=True)
class NestedRegions:
    """Regions from the outermost to the innermost; siblings, such as cyst and enhancing tumour, in either order.

    Raises:
        ReviewError: two regions overlap without one lying in the other, a shell is not of its own region, or a shell
            lies in a region inside its own: then erasing has no value to go to.
    """

    regions: tuple[NestedRegion, ...]

    def __post_init__(self) -> None:
        for region in self.regions:
            if region.shell not in region.values or 0 in region.values:
                raise ReviewError(f"region {region.name} paints {region.shell}, which is none of its labels.")
            for other in self.regions:
                common = region.values & other.values
                if common and common not in (region.values, other.values):
                    raise ReviewError(f"regions {region.name} and {other.name} overlap, but none lies in the other.")
            around = self._around(region)
            if around is not None and around.shell in region.values:
                raise ReviewError(
                    f"the label that {around.name} paints lies in {region.name}: nothing tells them apart."
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The regions' names, from the outermost to the innermost."""
        return tuple(region.name for region in self.regions)

    def painted_by(self, label: int) -> NestedRegion | None:
        """The region that a person means who chose ``label``; None where it paints none."""
        return next((region for region in self.regions if region.shell == label), None)

    def values_after_painting(self, name: str) -> NDArray[np.uint8]:
        """What each of the 256 values becomes where the region is painted, (256,) uint8.

        Raises:
            ReviewError: there is no such region.
        """
        region = self._named(name)
        table = np.full(256, region.shell, np.uint8)
        table[list(region.values)] = list(region.values)
        return table

    def values_after_erasing(self, name: str) -> NDArray[np.uint8]:
        """What each of the 256 values becomes where the region is erased, (256,) uint8.

        Raises:
            ReviewError: there is no such region.
        """
        region = self._named(name)
        around = self._around(region)
        table = np.arange(256, dtype=np.uint8)
        table[list(region.values)] = around.shell if around is not None else 0
        return table

    def mask(self, name: str, labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Where a voxel of ``labels`` (any shape) lies in the region.

        Raises:
            ReviewError: there is no such region.
        """
        table = np.zeros(256, bool)
        table[list(self._named(name).values)] = True
        return table[labels]

    def shells_around(self, name: str) -> frozenset[int]:
        """The shells of every region that the region lies in: what it may grow into without leaving them.

        Raises:
            ReviewError: there is no such region.
        """
        region = self._named(name)
        return frozenset(other.shell for other in self.regions if other.values > region.values)

    def _named(self, name: str) -> NestedRegion:
        found = next((region for region in self.regions if region.name == name), None)
        if found is None:
            raise ReviewError(f"no region {name!r} here: expected one of {', '.join(self.names)}.")
        return found

    def _around(self, region: NestedRegion) -> NestedRegion | None:
        """The smallest region that the region lies in."""
        holders = [other for other in self.regions if other.values > region.values]
        return min(holders, key=lambda other: len(other.values), default=None)


def nested_regions(schema: LabelSchema) -> NestedRegions | None:
    """The regions of a schema for editing; None where none of them lies in another: its labels are edited one by one.

    The schema is that of a bundle (``Bundle.label_schema``) or of a manifest (``Manifest.schema_of_labels``).

    Raises:
        ReviewError: the regions cannot be edited as nested ones.
    """
    index_of = {label.name: label.index for label in schema.labels}
    regions = tuple(
        NestedRegion(region.name, frozenset(schema.values_of(region.name)), index_of[region.paints])
        for region in schema.regions
    )
    if not any(one.values < other.values for one in regions for other in regions):
        return None
    return NestedRegions(tuple(sorted(regions, key=lambda region: -len(region.values))))


def paint_region(
    labels: NDArray[np.uint8],
    stroke: NDArray[np.bool_],
    *,
    region: str,
    regions: NestedRegions,
    limits: Limits = BACKGROUND_ONLY,
) -> NDArray[np.uint8]:
    """Labels in which the stroke lies in the region: what is in it already stays as it is, the rest gets its shell.

    A voxel of another label, in a region around it or in none, is taken too: painting is asking. Lock what is to stay.

    Args:
        labels: any shape, (I, J, K) or the voxels of a stroke.
        stroke: of the same shape, where the brush went.
    Raises:
        ReviewError: there is no such region.
    """
    return _through(regions.values_after_painting(region), labels, stroke, limits)


def erase_region(
    labels: NDArray[np.uint8],
    stroke: NDArray[np.bool_],
    *,
    region: str,
    regions: NestedRegions,
    limits: Limits = BACKGROUND_ONLY,
) -> NDArray[np.uint8]:
    """Labels in which the stroke is outside the region: its voxels go to the shell of the region around it, or to 0.

    Args:
        labels: any shape, (I, J, K) or the voxels of a stroke.
        stroke: of the same shape, where the brush went.
    Raises:
        ReviewError: there is no such region.
    """
    return _through(regions.values_after_erasing(region), labels, stroke, limits)


def edit_region(
    labels: NDArray[np.uint8],
    edit: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    *,
    region: str,
    regions: NestedRegions,
    limits: Limits = BACKGROUND_ONLY,
) -> NDArray[np.uint8]:
    """Labels in which a whole region was edited as if it were one label: grown, smoothed, its islands removed.

    Voxels that the region gains are painted with it, voxels that it loses are erased from it. It gains voxels from
    ``limits.over`` and from the shells of the regions around it; other regions are not taken from.

    Args:
        labels: (I, J, K).
        edit: takes a label map in which the region is label 1 and everything else 0, and gives the edited one, such as
            ``lambda mask: grow(mask, 1, by_mm=2, geometry=geometry)``.
    Raises:
        ReviewError: there is no such region, it is nowhere, or the edit refuses it (it then speaks of label 1).
    """
    mask = regions.mask(region, labels)
    if not mask.any():
        raise ReviewError(f"region {region} is nowhere in this case: paint it first.")
    wanted = edit(mask.view(np.uint8)).astype(bool)
    takes = Limits(limits.protected, limits.over | regions.shells_around(region))
    gained = wanted & ~mask
    shell = int(regions.values_after_painting(region)[0])
    gained &= takes.free_for(shell, labels)
    painted = paint_region(labels, gained, region=region, regions=regions, limits=limits)
    return erase_region(painted, mask & ~wanted, region=region, regions=regions, limits=limits)


def _through(
    table: NDArray[np.uint8], labels: NDArray[np.uint8], stroke: NDArray[np.bool_], limits: Limits
) -> NDArray[np.uint8]:
    result = labels.copy()
    before = labels[stroke]
    result[stroke] = keep_protected(before, table[before], limits.protected)
    return result
