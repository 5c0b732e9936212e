"""The largest part of each label, as MONAI finds it, looked for where the label lies.

MONAI's ``KeepLargestConnectedComponentd`` numbers the parts of each label over the whole scan, in eight bytes a
voxel. A label's parts lie within its box: there they are the same, in the same order, in a fraction of the time.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import KeepLargestConnectedComponent, KeepLargestConnectedComponentd, MapTransform

from medseg.label_map import box_around, label_boxes

__all__ = ["LargestPartsd"]

LARGEST_VALUE = 255


class LargestPartsd(MapTransform):
    """What ``step`` does to label maps (1, I, J, K), within boxes; all else is left to the step itself."""

    def __init__(self, step: KeepLargestConnectedComponentd) -> None:
        super().__init__(step.keys, step.allow_missing_keys)
        self.step = step

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with each key cleaned; as with MONAI, in place where it can be."""
        done = dict(data)
        for key in self.key_iterator(done):
            done[key] = _largest_parts(done[key], self.step.converter)
        return done


def _largest_parts(labels: torch.Tensor, cleaning: KeepLargestConnectedComponent) -> torch.Tensor:
    wanted = cleaning.applied_labels
    is_of_values = labels.dtype == torch.uint8 and labels.shape[0] == 1 and not cleaning.is_onehot
    if not is_of_values or any(value not in range(1, LARGEST_VALUE + 1) for value in wanted or ()):
        return cleaning(labels)  # type: ignore[no-any-return]
    boxes = label_boxes(labels[0].cpu().numpy())
    values = [int(value) for value in boxes if wanted is None or value in wanted]
    for together in ([value] for value in values) if cleaning.independent else [values] if values else []:
        box = (slice(None), *box_around(boxes[value] for value in together))
        part = labels[box]
        within = KeepLargestConnectedComponent(
            applied_labels=together,
            is_onehot=False,
            independent=cleaning.independent,
            connectivity=cleaning.connectivity,
            num_components=cleaning.num_components,
        )
        part.copy_(within(part.clone()))
    return labels
