"""A prepared scan whose last steps wait: windows show what they would of the finished volume, at less memory."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer, SlidingWindowInferer
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureTyped,
    Lambdad,
    NormalizeIntensityd,
    Orientationd,
    ScaleIntensityRanged,
    Spacingd,
)
from torch import nn

from medseg.errors import RunError
from medseg.inference import ManyPasses, MirrorInferer, Segmenter, SliceBySliceInferer, ThreePlaneInferer, prepared
from medseg.inference.preprocessing import prepare, preprocess
from medseg.labels import LabelTable

HU = {"a_min": -175.0, "a_max": 250.0, "b_min": 0.0, "b_max": 1.0, "clip": True}
CT = [
    Orientationd("image", "RAS", labels=None),
    ScaleIntensityRanged("image", **HU),
    CropForegroundd("image", source_key="image", allow_smaller=True),
    EnsureTyped("image", track_meta=True),
]
TABLE = LabelTable.from_entries(
    [{"index": index, "name": f"label_{index}", "color": [index, 0, 0]} for index in (1, 2)], source="test"
)
INFERERS = {
    "windows": SlidingWindowInferer((16, 16, 16), overlap=0.5, mode="gaussian"),
    "a window longer than the scan": SlidingWindowInferer((64, 16, 16), overlap=0.5, padding_mode="constant", cval=0.3),
    "slices": SliceBySliceInferer(2, (16, 16), context=1),
    "a window larger than the slice": SliceBySliceInferer(2, (64, 16), cval=0.3),
    "three planes": ThreePlaneInferer(SliceBySliceInferer(0, (16, 16))),
    "mirrored windows": MirrorInferer(SlidingWindowInferer((16, 16, 16), overlap=0.5), (0, 2)),
    "the whole volume": SimpleInferer(),
}


@pytest.fixture(autouse=True)
def _parts(monkeypatch):
    """Volumes are prepared in parts of a few planes."""
    monkeypatch.setattr(prepared, "PART_VOXELS", 3000)


def scan_of(dtype=torch.int16, *, directions=(0.8, 0.8, 1.0)) -> MetaTensor:
    """A body of noise in air."""
    values = torch.full((1, 40, 36, 32), -1000.0)
    noise = torch.randint(-150, 240, (1, 28, 24, 27), generator=torch.Generator().manual_seed(3)).float()
    values[:, 5:33, 7:31, 2:29] = noise
    return MetaTensor(values.to(dtype), affine=torch.diag(torch.tensor([*directions, 1.0], dtype=torch.float64)))


def test_a_ct_on_its_own_grid_takes_no_memory_of_its_own():
    scan = scan_of()
    ready = prepare(scan, Compose([*CT[:1], Spacingd("image", (0.8, 0.8, 1.0)), *CT[1:]]))
    assert ready.image.shape == (1, 28, 24, 27)
    assert ready.image.dtype == torch.int16
    assert ready.image.untyped_storage().data_ptr() == scan.untyped_storage().data_ptr()


def test_a_scan_stored_in_another_order_is_turned_and_cropped_in_integers():
    ready = prepare(scan_of(directions=(-0.8, -0.8, 1.0)), Compose(CT))
    assert ready.image.dtype == torch.int16
    assert ready.image.untyped_storage().nbytes() == ready.image.nbytes


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32], ids=str)
@pytest.mark.parametrize("directions", [(0.8, 0.8, 1.0), (-0.8, 0.9, -3.0)])
def test_what_windows_show_is_bit_for_bit_what_the_finished_volume_shows(monkeypatch, dtype, directions):
    scan = scan_of(dtype, directions=directions)
    ready = prepare(scan, Compose(CT))
    monkeypatch.setattr(prepared, "PART_VOXELS", 10**9)
    at_once = preprocess(scan_of(torch.float32, directions=directions), Compose(CT))
    assert ready.waiting or dtype == torch.float32  # a copy that was turned has room for the result
    assert torch.equal(ready.image.affine, at_once.affine)
    cut = ready.image.as_tensor()[:, 3:19, 5:21, 7:23]
    assert torch.equal(ready.values(cut), at_once.as_tensor()[:, 3:19, 5:21, 7:23])
    assert torch.equal(ready.finished().as_tensor(), at_once.as_tensor())
    assert torch.equal(ready.finished().as_tensor(), at_once.as_tensor())  # the first time left it as it was
    assert torch.equal(scan.as_tensor(), scan_of(dtype).as_tensor())


def test_a_volume_of_its_own_in_floating_point_is_finished_in_its_place():
    steps = [Spacingd("image", (1.6, 1.6, 2.0)), ScaleIntensityRanged("image", **HU)]
    ready = prepare(scan_of(), Compose(steps))
    assert not ready.waiting
    assert float(ready.image.max()) <= 1.0


def test_a_copy_on_a_device_is_not_held_for_the_sake_of_a_small_crop(monkeypatch):
    scan = scan_of()
    # Stands for a device of its own: what comes is a copy that nobody else holds.
    move = MetaTensor.to
    monkeypatch.setattr(
        MetaTensor, "to", lambda self, *to, **how: self.clone() if to == (1,) else move(self, *to, **how)
    )
    ready = prepare(scan, Compose(CT), device=1)
    assert ready.image.untyped_storage().nbytes() == ready.image.nbytes


def test_what_a_crop_tells_of_its_place_is_there_for_those_that_follow():
    told = []
    crop = CropForegroundd("image", source_key="image", start_coord_key="from", end_coord_key="to", allow_smaller=True)
    steps = [ScaleIntensityRanged("image", **HU), crop]
    look = Lambdad(["from", "to"], lambda corner: told.append(corner.tolist()) or corner)
    preprocess(scan_of(), Compose([*steps, look]))
    assert told == [[5, 7, 2], [33, 31, 29]]


@pytest.mark.parametrize("last", [ScaleIntensityRanged("image", 0.0, 1.0, 5.0, 6.0), NormalizeIntensityd("image")])
def test_the_scan_stays_as_it_was_also_by_way_of_numpy(last):
    scan = scan_of(torch.float32)
    crop = CropForegroundd("image", source_key="image", allow_smaller=True)
    preprocess(scan, Compose([crop, EnsureTyped("image", data_type="numpy"), last]))
    assert torch.equal(scan.as_tensor(), scan_of(torch.float32).as_tensor())


class Overwriting(nn.Module):
    """Logits of three labels by a network that writes into its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu_(x.mul_(2))
        return torch.cat([1 - x, x, x * 0.5], dim=1)


@pytest.mark.parametrize(
    "inferer", [*INFERERS.values(), SlidingWindowInferer((16, 16, 16), buffer_steps=1, buffer_dim=0)]
)
@pytest.mark.parametrize("step", [CropForegroundd("image", "image", allow_smaller=True), EnsureTyped("image")])
def test_a_network_that_writes_into_its_input_does_not_write_into_the_scan(inferer, step):
    scan = scan_of(torch.float32)
    segmenter = Segmenter(Compose([step]), Overwriting().eval(), inferer, Compose([]), TABLE, channel_names=("CT",))
    segmenter(scan)
    assert torch.equal(scan.as_tensor(), scan_of(torch.float32).as_tensor())


class Halving(nn.Module):
    """Logits of half the size, as some networks leave them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, 1 - x, x * 0.5], dim=1)[:, :, ::2, ::2, ::2]


@pytest.mark.parametrize("inferer", [INFERERS["windows"], SimpleInferer()])
def test_logits_of_another_size_are_refused_because_nobody_knows_their_place(inferer):
    segmenter = Segmenter(Compose(CT), Halving().eval(), inferer, Compose([]), TABLE, channel_names=("CT",))
    for road in (segmenter, ManyPasses((segmenter, segmenter))):
        with pytest.raises(RunError, match="voxels for an image of 28×24×27"):
            road(scan_of())


def test_a_step_that_gives_integers_is_seen_in_floating_point():
    rounding = ScaleIntensityRanged("image", a_min=-200.0, a_max=200.0, b_min=0.0, b_max=100.0, dtype=np.int16)
    ready = prepare(scan_of(), Compose([rounding]))
    assert ready.waiting
    for values in (ready.finished().as_tensor(), ready.values(ready.image.as_tensor())):
        assert values.dtype == torch.float32
        assert torch.equal(values, rounding({"image": scan_of(torch.float32)})["image"].as_tensor().float())


def test_a_step_that_needs_finished_values_gets_them():
    twice = [*CT, Spacingd("image", (1.6, 1.6, 2.0)), ScaleIntensityRanged("image", 0.0, 1.0, -1.0, 1.0)]
    expected = scan_of(torch.float32)
    for step in twice:
        expected = step({"image": expected})["image"]
    found = preprocess(scan_of(), Compose(twice))
    assert torch.allclose(found.as_tensor(), expected.as_tensor(), rtol=0, atol=1e-5)


class Bands(nn.Module):
    """Logits of three labels that depend on the intensity, and on neighbours in the plane or in space."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        middle = x[:, x.shape[1] // 2 : x.shape[1] // 2 + 1]
        around = middle.mean(dim=tuple(range(2, x.ndim)), keepdim=True)
        return torch.cat([0.3 - middle, middle * 0, middle - 0.6 + 0.1 * around], dim=1)


def segmenter_of(inferer) -> Segmenter:
    return Segmenter(Compose(CT), Bands().eval(), inferer, Compose([]), TABLE, channel_names=("CT",))


@pytest.mark.parametrize("inferer", INFERERS.values(), ids=INFERERS)
def test_labels_are_those_of_a_volume_prepared_at_once(monkeypatch, inferer):
    found = segmenter_of(inferer)(scan_of())
    together = ManyPasses((segmenter_of(inferer),))(scan_of())
    monkeypatch.setattr(prepared, "PART_VOXELS", 10**9)
    expected = segmenter_of(inferer)(scan_of(torch.float32))
    assert len(np.unique(expected.labels)) == 3
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(together.labels, expected.labels)


@pytest.mark.parametrize(
    ("name", "waits"), [(name, name in {"windows", "slices", "mirrored windows"}) for name in INFERERS]
)
def test_steps_wait_only_where_nothing_is_put_around_the_volume(name, waits):
    ready = prepare(scan_of(), Compose(CT)).ready_for(INFERERS[name])
    assert bool(ready.waiting) == waits
    assert waits or ready.image.dtype == torch.float32
