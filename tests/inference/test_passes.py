"""Several passes over one scan: averaged in blocks as they would be at once, and what they say of certainty."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    KeepLargestConnectedComponentd,
    Lambdad,
    Orientationd,
    Spacingd,
    SpatialCropd,
)
from torch import nn

from medseg.errors import ImageError, SettingsError
from medseg.geometry import geometry_of
from medseg.inference import (
    ManyPasses,
    MirrorInferer,
    Segmenter,
    SliceBySliceInferer,
    ThreePlaneInferer,
    WindowRuntime,
    predict_logits,
    preprocess,
)
from medseg.inference.restore import restore_labels
from medseg.labels import LabelTable

TABLE = LabelTable.from_entries(
    [{"index": 1, "name": "one", "color": [255, 0, 0]}, {"index": 2, "name": "two", "color": [0, 255, 0]}],
    source="test",
)
WINDOWS = SlidingWindowInferer((16, 16, 16), 2, 0.5, mode="gaussian")
SLICES = SliceBySliceInferer(1, (16, 16), context=1, batch_size=5)


def network(seed: int, *, slices: bool = False) -> nn.Module:
    torch.manual_seed(seed)
    return UNet(2 if slices else 3, 3 if slices else 1, 3, channels=(4, 8), strides=(2,)).eval()


def segmenter(seed=0, *, inferer=WINDOWS, preprocessing=(), **changes) -> Segmenter:
    return Segmenter(
        preprocessing=Compose(list(preprocessing)),
        network=network(seed, slices=inferer is SLICES),
        inferer=inferer,
        postprocessing=Compose([]),
        label_table=TABLE,
        channel_names=("T1",),
        **changes,
    )


@pytest.fixture
def image() -> MetaTensor:
    affine = torch.tensor([[-1.5, 0, 0, 10], [0, 0, 2.0, -7], [0, 1.0, 0, 3], [0, 0, 0, 1]], dtype=torch.float64)
    return MetaTensor(torch.rand(1, 23, 34, 19, generator=torch.Generator().manual_seed(0)), affine=affine)


RESAMPLED = (
    Orientationd(keys="image", axcodes="RAS", labels=None),
    Spacingd(keys="image", pixdim=(1.2, 1.6, 1.1), mode="bilinear"),
)


@pytest.mark.parametrize("inferer", [WINDOWS, SLICES], ids=["3D", "2D"])
@pytest.mark.parametrize("preprocessing", [(), RESAMPLED], ids=["own grid", "another grid"])
def test_one_pass_gives_the_labels_of_the_segmenter_alone(inferer, preprocessing, image):
    alone = segmenter(inferer=inferer, preprocessing=preprocessing)
    expected = alone(image).labels
    assert len(np.unique(expected)) == 3
    np.testing.assert_array_equal(ManyPasses((alone,))(image).labels, expected)


@pytest.mark.parametrize("inferer", [WINDOWS, SLICES], ids=["3D", "2D"])
def test_planes_that_no_pass_has_seen_are_background_for_certain(inferer, image):
    cropped = SpatialCropd(keys="image", roi_start=(9, 8, 6), roi_end=(15, 20, 12))
    alone = segmenter(preprocessing=[cropped], inferer=inferer)
    shares = torch.full((3, *image.shape[1:]), torch.nan)

    def sink(axis: int, first: int, planes: torch.Tensor) -> None:
        shares.narrow(axis + 1, first, planes.shape[axis + 1]).copy_(planes)

    found = ManyPasses((alone,), measures_uncertainty=True)(image, probabilities=sink)
    assert (found.labels == alone(image).labels).all()
    assert found.labels.any()
    assert torch.equal(shares[0, :8], torch.ones_like(shares[0, :8]))
    assert not shares.isnan().any()
    assert not found.uncertainty.entropy[:8].any()


@pytest.mark.parametrize("axes", [(0,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("inferer", [WINDOWS, SLICES], ids=["3D", "2D"])
def test_mirror_images_give_the_labels_of_the_mirroring_inferer(inferer, axes, image):
    mirrored = replace(segmenter(inferer=inferer, preprocessing=RESAMPLED), inferer=MirrorInferer(inferer, axes))
    found, expected = ManyPasses((mirrored,))(image).labels, mirrored(image).labels
    assert (found == expected).mean() > 0.9999  # sums in another order


def test_three_planes_are_three_passes(image):
    planes = replace(segmenter(inferer=SLICES, preprocessing=RESAMPLED), inferer=ThreePlaneInferer(SLICES))
    found = ManyPasses((planes,), measures_uncertainty=True)(image)
    assert (found.labels == planes(image).labels).mean() > 0.9999
    assert found.uncertainty.mutual_information.max() > 0


def test_several_models_on_grids_of_their_own_are_averaged_by_their_probabilities(image):
    models = segmenter(1), segmenter(2, preprocessing=RESAMPLED[:1]), segmenter(3, inferer=SLICES)
    taken = {}
    found = ManyPasses(models)(image, probabilities=lambda axis, first, values: taken.update({(axis, first): values}))
    probabilities = []
    for model in models[:2]:  # both on the scan's voxels, in another order
        prepared = preprocess(image, model.preprocessing)
        logits = predict_logits(prepared, model.network, model.inferer)
        if model is models[1]:
            logits = Orientationd(keys="x", axcodes="LSA", labels=None)({"x": logits})["x"]
        assert geometry_of(logits).matches(geometry_of(image))
        probabilities.append(logits.as_tensor().softmax(0))
    third = predict_logits(image, models[2].network, models[2].inferer).as_tensor().softmax(0)
    expected = torch.stack([*probabilities, third]).mean(0)
    (axis,) = {axis for axis, _ in taken}
    whole = torch.cat([values for _, values in sorted(taken.items())], dim=axis + 1)
    assert whole.shape == (3, *image.shape[1:])
    assert torch.allclose(whole, expected, atol=1e-5)
    assert (found.labels == expected.argmax(0).numpy()).mean() > 0.9999


def test_a_scan_turned_against_the_models_grid_is_averaged_too(image):
    turned = MetaTensor(image.as_tensor(), affine=image.affine.clone())
    c, s = np.cos(0.3), np.sin(0.3)
    turned.affine = torch.tensor([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]], dtype=torch.float64)
    straight = Lambdad(keys="image", func=lambda x: MetaTensor(x.as_tensor(), affine=torch.eye(4, dtype=torch.float64)))
    models = segmenter(1, preprocessing=[straight]), segmenter(2, preprocessing=[straight])
    found = ManyPasses(models, measures_uncertainty=True)(turned)
    assert found.labels.shape == tuple(turned.shape[1:])
    assert found.uncertainty.mutual_information.max() > 0
    mixed = ManyPasses((models[0], segmenter(2)))(turned)  # one turned against the scan, one not
    swapped = ManyPasses((segmenter(2), models[0]))(turned)
    np.testing.assert_array_equal(mixed.labels, swapped.labels)
    alone = models[0](turned)
    prepared = preprocess(turned, models[0].preprocessing)
    logits = predict_logits(prepared, models[0].network, models[0].inferer)
    np.testing.assert_array_equal(alone.labels, restore_labels(logits, geometry_of(turned)).numpy())
    np.testing.assert_array_equal(ManyPasses(models[:1])(turned).labels, alone.labels)


class Constant(nn.Module):
    """The same probabilities everywhere."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).log().reshape(1, -1, 1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(x.shape[0], -1, *x.shape[2:])


def certainty_of(image, *networks):
    models = tuple(replace(segmenter(), network=one) for one in networks)
    return ManyPasses(models, measures_uncertainty=True)(image)


def test_the_entropy_of_known_probabilities(image):
    uncertainty = certainty_of(image, Constant(1 / 3, 1 / 3, 1 / 3)).uncertainty
    np.testing.assert_allclose(uncertainty.entropy, 1, atol=1e-5)
    assert uncertainty.mutual_information is None
    sure = certainty_of(image, Constant(1e-9, 1.0, 1e-9)).uncertainty
    np.testing.assert_allclose(sure.entropy, 0, atol=1e-5)


def test_models_that_contradict_one_another_share_information_and_widen_the_interval(image):
    result = certainty_of(image, Constant(0.005, 0.99, 0.005), Constant(0.005, 0.005, 0.99))
    mean = np.array([0.005, 0.4975, 0.4975])
    one = np.array([0.005, 0.99, 0.005])
    expected = (-(mean * np.log(mean)).sum() + (one * np.log(one)).sum()) / np.log(3)
    np.testing.assert_allclose(result.uncertainty.mutual_information, expected, atol=1e-4)
    ml = image[0].numel() * 3.0 / 1000
    assert result.uncertainty.volume_interval_ml["two"] == pytest.approx((0, ml))
    agreed = certainty_of(image, Constant(0.1, 0.8, 0.1), Constant(0.1, 0.8, 0.1)).uncertainty
    np.testing.assert_allclose(agreed.mutual_information, 0, atol=1e-5)
    assert agreed.volume_interval_ml["one"] == pytest.approx((ml, ml))


@pytest.mark.parametrize(("probability", "expected"), [(0.8, (1, 1)), (0.5, (0, 1)), (0.1, (0, 0))])
def test_after_one_pass_the_interval_is_from_the_sure_to_the_possible(probability, expected, image):
    rest = 1 - probability
    uncertainty = certainty_of(image, Constant(rest * 0.9, probability, rest * 0.1)).uncertainty
    ml = image[0].numel() * 3.0 / 1000
    assert uncertainty.volume_interval_ml["one"] == pytest.approx(tuple(share * ml for share in expected))


def test_regions_that_overlap_are_averaged_and_have_no_interval(image):
    to_labels = Lambdad(keys="pred", func=lambda regions: regions[:1] + (regions[:1] * regions[1:2]))
    steps = Compose([Activationsd(keys="pred", sigmoid=True), AsDiscreted(keys="pred", threshold=0.5)])
    assert len(steps.transforms) == 2
    alone = replace(segmenter(4), postprocessing=Compose([to_labels]), region_threshold=0.5)
    found = ManyPasses((alone,), measures_uncertainty=True)(image)
    np.testing.assert_array_equal(found.labels, alone(image).labels)
    assert found.uncertainty.volume_interval_ml is None
    assert 0 < found.uncertainty.entropy.max() <= 1


def test_the_bundles_postprocessing_may_write_into_the_labels(image):
    cleaned = Compose([KeepLargestConnectedComponentd(keys="pred", applied_labels=[1, 2], is_onehot=False)])
    alone = replace(segmenter(), postprocessing=cleaned)
    found = ManyPasses((alone,), measures_uncertainty=True)(image)
    np.testing.assert_array_equal(found.labels, alone(image).labels)
    assert not np.array_equal(found.labels, segmenter()(image).labels)


def test_more_classes_than_a_label_map_can_name_are_refused_in_several_passes_too(image):
    many = replace(segmenter(), network=nn.Conv3d(1, 257, 1).eval())
    with pytest.raises(ImageError, match="257 classes found"):
        ManyPasses((many,))(image)


def test_models_with_other_labels_or_channels_do_not_go_together():
    other_table = LabelTable.from_entries([{"index": 1, "name": "other", "color": [1, 2, 3]}], source="test")
    with pytest.raises(SettingsError, match="name different labels"):
        ManyPasses((segmenter(), replace(segmenter(), label_table=other_table)))
    with pytest.raises(SettingsError, match=r"take different channels \(T1; CT\)"):
        ManyPasses((segmenter(), replace(segmenter(), channel_names=("CT",))))


def test_every_model_gives_back_what_only_its_windows_needed(image):
    rested = []

    class Resting(WindowRuntime):
        def rest(self) -> None:
            rested.append(self)

    models = [segmenter(seed) for seed in (0, 1)]
    runtimes = [Resting(one.network, name="torch", device=one.device) for one in models]
    ManyPasses(tuple(replace(one, runtime=own) for one, own in zip(models, runtimes, strict=True)))(image)
    assert rested == runtimes
