"""Slices with their neighbours as channels: the right neighbours, in the right order, across any axis."""

import pytest
import torch
from monai.data import MetaTensor

from medseg.errors import ImageError, SettingsError
from medseg.transforms import CentralSliced, stack_slices


def numbered(axis: int, count: int = 5, channels: int = 2) -> torch.Tensor:
    """A volume whose voxels hold 10·channel + the number of their slice."""
    shape = [3, 4, 2]
    shape[axis] = count
    places = torch.arange(count).reshape([count if one == axis else 1 for one in range(3)])
    return torch.stack([10 * channel + places.expand(shape) for channel in range(channels)]).float()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_stands_between_its_neighbours_and_the_border_stands_in_for_what_is_beyond(axis):
    stacks = stack_slices(numbered(axis), axis=axis, context=1, numbers=[0, 2, 4])
    assert stacks.shape[:2] == (3, 6)
    found = [[float(channel.unique()) for channel in stack] for stack in stacks]
    assert found == [[0, 10, 0, 10, 1, 11], [1, 11, 2, 12, 3, 13], [3, 13, 4, 14, 4, 14]]


def test_the_axes_in_the_plane_keep_their_order():
    volume = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert torch.equal(stack_slices(volume, axis=1, context=0, numbers=[2])[0, 0], volume[0, :, 2])


def test_training_sees_the_stack_that_inference_sees():
    volume = torch.rand(2, 6, 7, 9)
    slab = MetaTensor(volume[:, :, 2:7])  # slices 2 to 6 across the second axis
    label = MetaTensor(torch.rand(1, 6, 5, 9))
    cut = CentralSliced(["image", "label"], axis=1, context=2)({"image": slab, "label": label})
    assert torch.equal(cut["image"], stack_slices(volume, axis=1, context=2, numbers=[4])[0])
    assert torch.equal(cut["label"], label.as_tensor()[:, :, 2])


def test_a_slab_of_another_thickness_is_refused():
    with pytest.raises(ImageError, match=r"image has 4 slices across axis 2: 5 were expected"):
        CentralSliced("image", axis=2, context=2)({"image": torch.zeros(1, 8, 8, 4)})


@pytest.mark.parametrize(("axis", "context"), [(3, 0), (-1, 0), (0, -1)])
def test_settings_that_name_no_slice_are_refused(axis, context):
    with pytest.raises(SettingsError, match=r"expected"):
        CentralSliced("image", axis=axis, context=context)
