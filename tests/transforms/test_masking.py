"""Masked scans: a share of the patches hidden, the rest untouched, and the truth in the label's place."""

import pytest
import torch

from medseg.errors import SettingsError
from medseg.transforms import RandMaskPatchesd


@pytest.fixture
def data() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"image": torch.rand(2, 16, 12, 8, generator=generator), "label": torch.zeros(1, 16, 12, 8)}


def test_the_share_of_patches_is_hidden_and_the_rest_is_untouched(data):
    masked = RandMaskPatchesd("image", patch_size=4, share=0.5).set_random_state(1)(data)
    whole, mask = masked["label"][:2], masked["label"][2]
    assert torch.equal(whole, data["image"])
    patches = mask.reshape(4, 4, 3, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).reshape(24, 64)
    assert sorted(patches.mean(dim=1).tolist()) == [0.0] * 12 + [1.0] * 12
    hidden = mask.bool()
    for channel in range(2):
        assert torch.equal(masked["image"][channel][~hidden], data["image"][channel][~hidden])
        assert masked["image"][channel][hidden].unique().item() == pytest.approx(data["image"][channel].mean().item())


def test_slices_are_masked_too_and_patches_may_be_cut_off_at_the_border():
    masked = RandMaskPatchesd("image", patch_size=8).set_random_state(0)({"image": torch.rand(5, 20, 20)})
    assert masked["image"].shape == (5, 20, 20)
    assert masked["label"].shape == (6, 20, 20)
    assert 0 < masked["label"][5].mean() < 1


def test_the_mask_depends_on_the_random_state_alone(data):
    transform = RandMaskPatchesd("image", patch_size=4)
    first = transform.set_random_state(3)(data)["label"]
    assert torch.equal(transform.set_random_state(3)(data)["label"], first)
    assert not torch.equal(transform.set_random_state(4)(data)["label"], first)


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.0}, {"patch_size": 0}])
def test_settings_without_meaning_are_refused(wrong):
    with pytest.raises(SettingsError, match="a share between 0 and 1 and a size from 1"):
        RandMaskPatchesd("image", **wrong)
