import nibabel as nib
import numpy as np
import pytest

from medseg.errors import ReviewError
from medseg.review import IntensityWindow, presets
from medseg.review.windowing import first_window


def test_ct_windows_are_level_plus_minus_half_the_width():
    windows = {one.name: (one.lowest, one.highest) for one in presets("CT", np.zeros((2, 2, 2)))}
    assert windows["soft tissue"] == (-160, 240)  # W 400 L 40
    assert windows["lung"] == (-1350, 150)  # W 1500 L -600
    assert windows["bone"] == (-500, 1300)  # W 1800 L 400
    assert windows["brain"] == (0, 80)  # W 80 L 40
    assert windows["liver"] == (-45, 105)  # W 150 L 30
    assert windows["mediastinum"] == (-125, 225)  # W 350 L 50
    assert windows["stroke"] == (20, 60)  # W 40 L 40
    assert windows["subdural"] == (-25, 175)  # W 200 L 75


def test_a_ct_begins_with_soft_tissue_however_its_modality_is_written():
    assert presets("ct", np.zeros((2, 2, 2)))[0].name == "soft tissue"


def test_mr_windows_are_percentiles_of_what_is_not_air():
    image = np.zeros((10, 10, 101), np.float32)
    image[0, 0, :] = np.arange(101) * 10.0  # the lowest value, 0, is air: 10, 20, ..., 1000 are left
    windows = {one.name: (one.lowest, one.highest) for one in presets("MR", image)}
    assert windows["standard"] == pytest.approx((19.9, 990.1))
    assert windows["strong contrast"] == pytest.approx((59.5, 950.5))
    assert windows["whole range"] == (10.0, 1000.0)


@pytest.mark.parametrize("image", [np.full((3, 3, 3), 7.0), np.full((3, 3, 3), np.nan), np.zeros((3, 3, 3), np.uint8)])
def test_an_image_without_contrast_still_has_windows(image):
    assert all(window.lowest < window.highest for window in presets("MR", image))


def test_values_that_are_no_numbers_do_not_count():
    image = np.array([[[np.nan, np.inf, 0.0, 1.0, 3.0]]], np.float32)
    assert presets("PT", image)[-1] == IntensityWindow("whole range", 1.0, 3.0)


def test_of_a_large_image_a_sample_gives_nearly_the_same_window():
    image = np.random.default_rng(1).normal(500, 100, (150, 150, 150)).astype(np.float32)
    standard = presets("MR", image)[0]
    assert (standard.lowest, standard.highest) == pytest.approx(np.percentile(image, (1, 99)), abs=2)


@pytest.mark.parametrize(("lowest", "highest"), [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_an_empty_window_is_refused(lowest, highest):
    with pytest.raises(ReviewError, match="window 'mine' goes from"):
        IntensityWindow("mine", lowest, highest)


def test_the_window_of_a_skull_stripped_brain_leaves_the_nothing_around_it_out(test_data):
    image = np.asarray(nib.load(test_data / "BraTS/expert/BraTS2021_00006/BraTS2021_00006_t1ce.nii.gz").dataobj)
    brain = image[image > 0]
    standard = presets("MR", image)[0]
    assert (standard.lowest, standard.highest) == pytest.approx(np.percentile(brain, (1, 99)), rel=0.02)
    assert standard.lowest > 0


def test_a_scan_that_shows_air_begins_with_the_soft_tissue_of_a_ct():
    image = np.concatenate([np.full(5000, -1000.0), np.linspace(0, 100, 1000)]).astype(np.float32)
    assert first_window(image) == presets("CT", image)[0]
    assert first_window(image, modality="MR") == presets("MR", image)[0]
    assert first_window(image + 1000) == presets("MR", image + 1000)[0]
