"""A scan on the network's grid, as windows are cut from it: steps at each voxel alone may wait until one is looked at.

A long CT then lies in memory as its scanner counted, two bytes a voxel, and no second time in floating point.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform

from medseg.geometry import Geometry, geometry_of
from medseg.inference.blocks import cuts_only

__all__ = ["Prepared", "in_floats", "is_small", "parts_along", "placed"]

PART_VOXELS = 4_000_000
"""Voxels that are computed at a time; a volume of no more is given to a transform as it is."""

Values = TypeVar("Values", bound=torch.Tensor)


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image (C, I, J, K) on the network's grid, and the ``waiting`` steps that each voxel still has to go through.

    The image may be in integers; what comes out of the steps, and of the methods here, is in floating point.
    """

    image: MetaTensor
    waiting: tuple[MapTransform, ...] = ()

    @property
    def geometry(self) -> Geometry:
        """The network's grid."""
        return geometry_of(self.image)

    def on(self, device: torch.device) -> "Prepared":
        """The same on a device."""
        image: MetaTensor = self.image.to(device)
        return Prepared(image, self.waiting)

    def finished(self, *, may_replace: bool = False) -> MetaTensor:
        """The whole image with nothing left to do; ``may_replace``: it may take the memory of the one that waits."""
        if not self.waiting:
            return in_floats(self.image)
        result: torch.Tensor | None = None
        for first, count in parts_along(tuple(self.image.shape[1:])):
            planes = self.values(self.image.as_tensor().narrow(1, first, count))
            if result is None:
                is_room = may_replace and planes.dtype == self.image.dtype
                result = self.image.as_tensor() if is_room else planes.new_empty(self.image.shape)
            result.narrow(1, first, count).copy_(planes)
        assert result is not None, "a volume has planes"
        return placed(result, self.geometry, meta=self.image.meta)

    def values(self, cut: torch.Tensor) -> torch.Tensor:
        """What the network is to see of values cut from the image, of any shape."""
        values: torch.Tensor = in_floats(cut)
        for step in self.waiting:
            values = in_floats(step({"image": values})["image"])
        return values.as_tensor() if isinstance(values, MetaTensor) else values

    def seen_by(self, network: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        """A network for windows cut from the image."""
        return lambda windows: network(self.values(windows))

    def ready_for(self, inferer: Inferer) -> "Prepared":
        """The same with nothing left to do where the inferer does more with a volume than cut windows from it."""
        if cuts_only(inferer, self.image.shape[1:]):
            return self
        return Prepared(self.finished())


def placed(values: torch.Tensor, geometry: Geometry, *, meta: Mapping[str, Any] | None = None) -> MetaTensor:
    """Values (C, I, J, K) on a grid, with what else an image told."""
    told = {key: value for key, value in (meta or {}).items() if key != "affine"}
    return MetaTensor(values, affine=torch.from_numpy(geometry.affine.copy()), meta=told)


def in_floats(values: Values) -> Values:
    """The same values in floating point: themselves where they are."""
    return values if values.is_floating_point() else values.to(torch.float32)  # type: ignore[return-value]


def is_small(n_voxels: int) -> bool:
    """Whether a volume of so many voxels is given to a transform as it is."""
    return n_voxels <= PART_VOXELS


def parts_along(shape: tuple[int, ...], *, at_least: int = 0) -> Iterator[tuple[int, int]]:
    """The first plane of each part along the first axis, and how many planes it has; a plane counts ``at_least`` so."""
    n_planes = max(PART_VOXELS // max(shape[1] * shape[2], at_least), 1)
    for first in range(0, shape[0], n_planes):
        yield first, min(n_planes, shape[0] - first)
