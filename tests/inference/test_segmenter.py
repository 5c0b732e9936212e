"""The engine: the known answer of a network that compares voxels with a threshold, on scans stored in any order."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer, SliceInferer, SlidingWindowInferer
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    EnsureTyped,
    KeepLargestConnectedComponentd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    Spacingd,
)
from scipy.spatial.transform import Rotation
from torch import nn

from medseg.errors import ImageError, RunError
from medseg.geometry import geometry_of
from medseg.inference import Segmenter, Stages, count_windows
from medseg.labels import LabelTable
from medseg.transforms import RemoveSmallComponentsd

ALL_48_AXCODES = sorted("".join(codes) for axes in permutations(("LR", "PA", "IS")) for codes in product(*axes))

SPACING_MM = (0.7, 1.3, 3.1)

THRESHOLD = 499.5
"""Between two whole numbers: no rounding on the way changes on which side a voxel lies."""

TABLE = LabelTable.from_entries([{"index": 1, "name": "bright", "color": [255, 0, 0]}], source="test")


class Threshold(nn.Module):
    """Logits of background and of what is brighter than the threshold."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x[:, :1]), x[:, :1] - THRESHOLD], dim=1)


class Watcher(Threshold):
    """The same, keeping every window it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.windows.append(x.clone())
        return super().forward(x)


def scan_of(shape=(9, 8, 7), *, seed=0, channels=1) -> MetaTensor:
    """An oblique scan of whole numbers."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (11, -7, 23), degrees=True).as_matrix() * SPACING_MM
    affine[:3, 3] = (-31.5, 12.25, 401.0)
    values = np.random.default_rng(seed).integers(0, 1000, size=(channels, *shape)).astype(np.float32)
    return MetaTensor(torch.from_numpy(values), affine=torch.from_numpy(affine))


def stored_as(image: MetaTensor, axcodes: str) -> MetaTensor:
    """The same scan with its axes stored in another order, by nibabel."""
    nifti = nib.Nifti1Image(image.as_tensor()[0].numpy(), np.asarray(image.affine))
    to = nib.orientations.axcodes2ornt(axcodes)
    turned = nifti.as_reoriented(nib.orientations.ornt_transform(nib.orientations.io_orientation(nifti.affine), to))
    return MetaTensor(torch.from_numpy(np.array(turned.dataobj))[None], affine=torch.from_numpy(turned.affine))


def segmenter_of(network: nn.Module | None = None, *, inferer=None, postprocessing=(), channels=("T1",)) -> Segmenter:
    road = [
        LoadImaged(keys="image", ensure_channel_first=True),
        Orientationd("image", "RAS", labels=None),
        Spacingd("image", SPACING_MM, mode="bilinear"),
        EnsureTyped("image", track_meta=True),
    ]
    return Segmenter(
        preprocessing=Compose(road),
        network=(network or Threshold()).eval(),
        inferer=inferer or SlidingWindowInferer(roi_size=(4, 5, 6), sw_batch_size=3, overlap=0.5, mode="gaussian"),
        postprocessing=Compose(list(postprocessing)),
        label_table=TABLE,
        channel_names=channels,
    )


@pytest.mark.parametrize("axcodes", ALL_48_AXCODES)
def test_labels_of_an_oblique_scan_are_exact_in_any_order_of_its_axes(axcodes):
    scan = stored_as(scan_of(), axcodes)
    segmentation = segmenter_of()(scan)
    assert np.array_equal(segmentation.labels, (scan.numpy()[0] > THRESHOLD).astype(np.uint8))
    assert segmentation.labels.dtype == np.uint8
    assert segmentation.geometry.matches(geometry_of(scan), tolerance_mm=0)
    assert segmentation.geometry.axcodes == axcodes


def test_the_network_sees_the_same_windows_whatever_the_order_of_the_axes():
    seen = []
    for axcodes in ("RAS", "LPS", "SPL", "AIR"):
        watcher = Watcher()
        segmenter_of(watcher)(stored_as(scan_of(), axcodes))
        seen.append(torch.cat(watcher.windows))
    assert torch.equal(seen[0][0, 0], scan_of().as_tensor()[0, :4, :5, :6])
    for windows in seen[1:]:
        assert torch.equal(windows, seen[0])


@pytest.mark.parametrize("shape", [(3, 3, 3), (1, 8, 7), (9, 1, 7), (9, 8, 1), (2, 1, 1), (20, 3, 6)])
def test_scans_smaller_than_the_window_are_labelled_whole(shape):
    scan = scan_of(shape)
    assert np.array_equal(segmenter_of()(scan).labels, scan.numpy()[0] > THRESHOLD)


@pytest.mark.parametrize("sw_batch_size", [1, 2, 5, 64])
def test_labels_do_not_depend_on_how_many_windows_run_at_once(sw_batch_size):
    torch.manual_seed(0)
    network = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,))
    scan = scan_of((17, 16, 15))
    one_at_a_time, several = (
        segmenter_of(network, inferer=SlidingWindowInferer(roi_size=8, sw_batch_size=size, overlap=0.25))(scan).labels
        for size in (1, sw_batch_size)
    )
    assert 0 < one_at_a_time.mean() < 1
    assert np.array_equal(one_at_a_time, several)


def test_the_same_scan_gives_the_same_labels_again():
    torch.manual_seed(0)
    network = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,), dropout=0.5)
    segmenter = segmenter_of(network, inferer=SlidingWindowInferer(roi_size=8, sw_batch_size=2))
    assert np.array_equal(segmenter(scan_of()).labels, segmenter(scan_of()).labels)


@pytest.mark.parametrize("channels", [2, 3])
def test_another_number_of_channels_is_refused(channels):
    with pytest.raises(ImageError, match=rf"the image has {channels} channels .*takes 1 \(T1\)"):
        segmenter_of()(scan_of(channels=channels))


def test_an_image_without_a_channel_axis_is_refused():
    with pytest.raises(ImageError, match=r"has no channels and shape \(9, 8, 7\)"):
        segmenter_of()(scan_of()[0])


def test_a_channel_of_one_value_is_refused_by_name():
    scan = scan_of(channels=2)
    scan[1] = 7
    with pytest.raises(ImageError, match="channel T2 has the value 7 in every voxel: there is nothing to segment"):
        segmenter_of(channels=("T1", "T2"))(scan)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(value):
    scan = scan_of()
    scan[0, 1, 1, 1] = value
    with pytest.raises(ImageError, match="channel T1 holds 1 values that are no finite numbers"):
        segmenter_of()(scan)


class Failing(nn.Module):
    """A network whose weights overflow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x * torch.nan], dim=1)


def test_a_run_that_fails_leaves_no_watcher_on_the_network():
    network = Failing()
    with pytest.raises(RunError, match="not numbers"):
        segmenter_of(network)(scan_of())
    assert len(network._forward_pre_hooks) == 0


def test_the_scan_is_left_as_it_was():
    scan = scan_of()
    before = scan.clone()
    segmenter = segmenter_of()
    normalising = Compose([*segmenter.preprocessing.transforms, NormalizeIntensityd("image", nonzero=True)])
    Segmenter(
        preprocessing=normalising,
        network=segmenter.network,
        inferer=segmenter.inferer,
        postprocessing=segmenter.postprocessing,
        label_table=TABLE,
        channel_names=("T1",),
    )(scan)
    assert torch.equal(scan.as_tensor(), before.as_tensor())
    assert torch.equal(scan.affine, before.affine)
    assert scan.applied_operations == []


@pytest.mark.parametrize(
    ("inferer", "total"),
    [
        (SlidingWindowInferer(roi_size=(4, 5, 6), sw_batch_size=1, overlap=0.5), 24),
        (SlidingWindowInferer(roi_size=(4, 5, 6), sw_batch_size=7, overlap=0.5), 24),
        (SlidingWindowInferer(roi_size=4, sw_batch_size=3, overlap=0.0), 12),
        (SlidingWindowInferer(roi_size=(-1, 5, 0), sw_batch_size=1, overlap=(0, 0.2, 0)), 2),
        (SlidingWindowInferer(roi_size=(32, 32, 32), sw_batch_size=1), 1),
        (SliceInferer(roi_size=(8, 7), sw_batch_size=4, spatial_dim=0), 9),
        (SliceInferer(roi_size=(9, 4), sw_batch_size=4, spatial_dim=2, overlap=0.5), 21),
    ],
    ids=["one by one", "in batches", "cubes", "whole axes", "one window", "slices", "windows of slices"],
)
def test_every_window_is_told_of_and_the_last_is_the_total(inferer, total):
    heard = []
    segmenter_of(inferer=inferer)(scan_of(), stages=Stages(windows=lambda done, of: heard.append((done, of))))
    assert heard[-1] == (total, total)
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})
    assert {of for _, of in heard} == {total}


def test_twice_the_same_slice_inferer_gives_the_same_count():
    inferer = SliceInferer(roi_size=(9, 7), sw_batch_size=4, spatial_dim=1)  # MONAI keeps its last window in it
    segmenter = segmenter_of(inferer=inferer)
    for _ in range(2):
        heard = []
        segmenter(scan_of(), stages=Stages(windows=lambda done, of, heard=heard: heard.append(of)))
        assert set(heard) == {count_windows((9, 8, 7), roi_size=(9, 1, 7), overlap=0.25)}


def test_an_inferer_without_windows_tells_of_none():
    heard = []
    segmentation = segmenter_of(inferer=SimpleInferer())(scan_of(), stages=Stages(windows=lambda *of: heard.append(of)))
    assert heard == []
    assert segmentation.labels.any()


def test_stages_come_in_the_order_of_the_road():
    heard = []

    class Timed:
        def __init__(self, stage: str) -> None:
            heard.append(stage)

        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None: ...

    segmenter_of()(scan_of(), stages=Stages(timed=Timed))
    assert list(dict.fromkeys(heard)) == ["preprocess", "infer", "restore", "postprocess"]
    assert heard[-1] == "postprocess"


def scan_with_blocks() -> MetaTensor:
    """A scan with two bright blocks, of 27 and of 4 voxels; a voxel is 2.8 mm³."""
    scan = scan_of()
    scan[:] = torch.arange(scan.numel()).reshape(scan.shape) % 10
    scan[0, 1:4, 1:4, 1:4] = 900
    scan[0, 6:8, 6:8, 5] = 800
    return scan


@pytest.mark.parametrize(("min_volume_mm3", "voxels"), [(11.2, 31), (11.4, 27), (76.1, 27), (76.3, 0)])
def test_postprocessing_measures_in_millimetres_of_the_scan(min_volume_mm3, voxels):
    segmenter = segmenter_of(postprocessing=[RemoveSmallComponentsd("pred", min_volume_mm3=min_volume_mm3)])
    assert segmenter(scan_with_blocks()).labels.sum() == voxels


@pytest.mark.parametrize("axcodes", ["RAS", "LIP", "SAR"])
def test_the_largest_component_is_kept_in_any_order_of_the_axes(axcodes):
    keep = KeepLargestConnectedComponentd("pred", applied_labels=[1], is_onehot=False, independent=True)
    scan = stored_as(scan_with_blocks(), axcodes)
    labels = segmenter_of(postprocessing=[keep])(scan).labels
    assert np.array_equal(labels, scan.numpy()[0] == 900)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_labels_found_on_a_gpu_are_those_of_the_cpu():
    here = segmenter_of()
    there = Segmenter(
        preprocessing=here.preprocessing,
        network=Threshold().to("cuda"),
        inferer=here.inferer,
        postprocessing=here.postprocessing,
        label_table=TABLE,
        channel_names=("T1",),
        device=torch.device("cuda"),
    )
    assert np.array_equal(there(scan_of()).labels, here(scan_of()).labels)
