"""Probabilities written plane by plane: whole or not at all, on the scan's grid, read back as 0 to 1."""

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg.errors import OutputError
from medseg.geometry import Geometry
from medseg.io import probability_file

AFFINE = np.array([[-1.5, 0.2, 0, 10], [0.1, 0, 2.0, -7], [0, 1.0, 0, 3], [0, 0, 0, 1]])
GRID = Geometry((5, 6, 7), AFFINE)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_in_any_order_make_the_volume(axis, tmp_path):
    expected = torch.rand(4, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    with probability_file(tmp_path / "p.nii", GRID, overwrite=False, is_of_regions=True) as put:
        for first in (2, 0, 4, 6):
            if first < GRID.shape[axis]:
                count = min(2, GRID.shape[axis] - first)
                put(axis, first, expected.narrow(axis + 1, first, count))
    image = nib.load(tmp_path / "p.nii")
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(image.get_fdata(), expected.movedim(0, 3).numpy(), atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("n_labels", [2, 3, 14, 100])
def test_the_stored_probabilities_of_labels_sum_to_one_and_lie_within_a_step(n_labels, tmp_path):
    generator = torch.Generator().manual_seed(0)
    given = (4 * torch.randn(n_labels, 5, 6, 7, generator=generator)).softmax(0)
    with probability_file(tmp_path / "p.nii", GRID, overwrite=False) as put:
        put(0, 0, given)
    stored = nib.load(tmp_path / "p.nii")
    assert (np.asarray(stored.dataobj.get_unscaled()).astype(int).sum(-1) == 255).all()
    np.testing.assert_allclose(stored.get_fdata(), given.movedim(0, 3).numpy(), atol=1 / 255 + 1e-6)


def test_a_full_disk_is_an_error_and_no_crash(tmp_path, full_disk):
    large = Geometry((64, 64, 64), AFFINE)
    with (
        pytest.raises(OutputError, match="cannot be written"),
        probability_file(tmp_path / "p.nii", large, overwrite=False) as put,
    ):
        put(0, 0, torch.full((2, 64, 64, 64), 0.5))
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_when_it_breaks_off(tmp_path):
    with (
        pytest.raises(RuntimeError, match="broken"),
        probability_file(tmp_path / "p.nii", GRID, overwrite=False) as put,
    ):
        put(0, 0, torch.rand(2, 5, 6, 7))
        raise RuntimeError("broken")
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_not_replaced_unasked(tmp_path):
    (tmp_path / "p.nii").write_text("mine")
    with pytest.raises(OutputError), probability_file(tmp_path / "p.nii", GRID, overwrite=False):
        pass
    assert (tmp_path / "p.nii").read_text() == "mine"


def test_no_planes_are_no_file(tmp_path):
    with (
        pytest.raises(OutputError, match="no probabilities"),
        probability_file(tmp_path / "p.nii", GRID, overwrite=True),
    ):
        pass
    assert not list(tmp_path.iterdir())
