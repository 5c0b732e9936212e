import hashlib

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import ImageError
from medseg.geometry import geometry_of
from medseg.io import CaseFiles, ChannelFile, read_case, read_volume
from medseg.io.dicom.series import is_dicom_folder, load_series, series_files, slice_values

REFUSED = {
    "ct_head_gantry_tilt_uneven_gaps_GE": "is not evenly spaced",
    "dicom2nifti/ct_gantry_tilt_4slices": r"gantry tilt 14\.0°",
    "dicom2nifti/ct_missing_slice_5_5_10mm": "slices 3 and 4 of 4 lie 10 mm apart, the others 5 mm",
    "dicom2nifti/mr_4d_fmri_repeated_positions": "8 slices at 2 positions",
    "dicom2nifti/mr_enhanced_multiframe_siemens": "holds several frames",
    "dicom2nifti/mr_multiframe_hyperfine": "holds several frames",
    "dicom2nifti/mr_mixed_orientations_two_series": "different orientation|2 series",
    "dicom2nifti/mr_rgb_secondary": "is a colour picture",
    "dicom2nifti/mr_single_slice": "one slice of unknown thickness",
    "mr_siemens_mosaic_9_transfer_syntaxes": "is a Siemens mosaic",
    "pydicom": "cannot be read as DICOM",
    "pydicom/dicomdir_tree": "holds no DICOM images",
    "pydicom/dicomdir_tree/77654033/CR1": "does not say where it lies",
    "pydicom/dicomdir_tree/77654033/CT2": "lie 202.5 mm apart",
    "pydicom/dicomdir_tree/98892001/CT2N": "is a localizer",
    "pydicom/dicomdir_tree/98892003/MR1": "holds 3 series",
    "pydicom/dicomdir_tree/98892003/MR2": "holds 3 series",
    "pydicom/dicomdir_tree/98892003/MR700": "different orientation",
    "seg_highdicom": "holds 6 series",
}

EXPECTED = {
    "mr_non_isotropic_float_rescale": "mr_non_isotropic_float_rescale_expected",
    "mr_sagittal_explicit_le": "mr_sagittal_explicit_le_expected",
    "mr_sagittal_jpeg2000": "mr_sagittal_compressed_expected",
    "mr_sagittal_jpeg_lossless": "mr_sagittal_compressed_expected",
    "mr_sagittal_rle": "mr_sagittal_compressed_expected",
    "mr_two_slices_only": "mr_two_slices_only_expected",
}


def test_slices_are_stacked_by_position_and_rescaled(write_series):
    stored = load_series(write_series())
    assert stored.array.shape == (1, 4, 3, 4)
    assert stored.array.dtype == np.int16  # half the memory of a long series
    pixels = np.arange(12).reshape(3, 4).T
    for k, height in enumerate((10, 12, 14, 16)):
        assert np.array_equal(stored.array[0, :, :, k], (pixels + height * 10) * 2 - 1000)
    assert np.array_equal(stored.affine, [[-0.5, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 2, 10], [0, 0, 0, 1]])


def test_the_modality_is_known_and_reaches_the_scan(write_series):
    def by_a_magnet(dataset, number):
        dataset.Modality = "MR"

    def unsaid(dataset, number):
        del dataset.Modality

    for change, folder, expected in ((None, "ct", "CT"), (by_a_magnet, "mr", "MR"), (unsaid, "unsaid", "")):
        series = write_series(change=change, folder=folder)
        assert read_case(CaseFiles("case", (ChannelFile("CT", series),))).modalities == (expected,)


def test_every_slice_has_its_own_rescaling(write_series):
    def change(dataset, number):
        dataset.RescaleSlope, dataset.RescaleIntercept = number + 1, 0

    stored = load_series(write_series(change=change))
    assert stored.array[0, 0, 0].tolist() == [100, 240, 420, 640]


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, 0), (1, 0.25), (1, 40000), (1, -40000)])
@pytest.mark.parametrize("number_of_the_slice", [0, 2])
def test_values_that_are_no_16_bit_integers_are_kept_from_whichever_slice_they_come(
    write_series, slope, intercept, number_of_the_slice
):
    def change(dataset, number):
        is_it = number == number_of_the_slice
        dataset.RescaleSlope, dataset.RescaleIntercept = (slope, intercept) if is_it else (1, 0)

    stored = load_series(write_series(change=change))
    assert stored.array.dtype == np.float32
    pixels = np.arange(12).reshape(3, 4).T
    for k, height in enumerate((10, 12, 14, 16)):
        scaled = (slope, intercept) if k == number_of_the_slice else (1, 0)
        assert np.array_equal(stored.array[0, :, :, k], (pixels + height * 10) * scaled[0] + scaled[1])


def test_blank_identifiers_are_no_obstacle(write_series):
    def change(dataset, number):
        dataset.StudyInstanceUID = dataset.SeriesInstanceUID = dataset.SOPInstanceUID = ""

    assert load_series(write_series(change=change)).array.shape == (1, 4, 3, 4)


def test_a_dicomdir_notes_and_hidden_files_are_passed_over(write_series):
    folder = write_series()
    for name in ("DICOMDIR", "notes.txt", "._001.dcm"):
        (folder / name).write_text("anything")
    assert len(series_files(folder)) == 4
    assert load_series(folder).array.shape == (1, 4, 3, 4)


def test_a_report_beside_the_slices_is_passed_over(write_series):
    def change(dataset, number):
        if number == 3:
            dataset.SeriesInstanceUID = "1.2.3.5"
            del dataset.Rows, dataset.Columns, dataset.PixelData

    assert load_series(write_series(change=change)).array.shape == (1, 4, 3, 3)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("SeriesInstanceUID", "1.2.3.5", r"holds 2 series \(1× CT, 3× CT\): one was expected"),
        ("NumberOfFrames", 2, "holds several frames"),
        ("SamplesPerPixel", 3, "is a colour picture"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"], "is a localizer"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], "is a Siemens mosaic"),
        ("ImagePositionPatient", None, "does not say where it lies"),
        ("ImageOrientationPatient", [1, 0, 0], "does not say where it lies"),
        ("PixelSpacing", None, "does not say where it lies"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], "different orientation"),
        ("ImagePositionPatient", [-10, -20, 10], "holds 4 slices at 3 positions"),
    ],
)
def test_one_slice_that_does_not_fit_refuses_the_series(write_series, attribute, value, message):
    def change(dataset, number):
        if number == 3:
            setattr(dataset, attribute, value)

    with pytest.raises(ImageError, match=message) as caught:
        load_series(write_series(change=change))
    assert "\n" not in str(caught.value)
    assert "Doe" not in str(caught.value)


def test_pixels_cut_short_are_refused(write_series):
    def change(dataset, number):
        if number == 2:
            dataset.PixelData = dataset.PixelData[:10]

    with pytest.raises(ImageError, match=r"series/002\.dcm cannot be read as DICOM .*cut short"):
        load_series(write_series(change=change))


def test_a_file_called_dicom_that_is_text_is_refused(write_series):
    folder = write_series()
    (folder / "005.dcm").write_text("hello")
    with pytest.raises(ImageError, match=r"series/005\.dcm cannot be read as DICOM"):
        load_series(folder)


def test_a_folder_without_slices_is_no_series(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert not is_dicom_folder(tmp_path)
    with pytest.raises(ImageError, match="holds no DICOM images"):
        load_series(tmp_path)


def test_slices_without_suffix_are_found_by_their_content(write_series):
    folder = write_series()
    for path in folder.iterdir():
        path.rename(folder / path.stem)
    assert is_dicom_folder(folder)
    assert len(series_files(folder)) == 4


def test_the_scan_carries_the_hash_of_every_slice_and_no_name(write_series):
    folder = write_series()
    scan = read_case(CaseFiles("series", (ChannelFile("ct", folder),)))
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir())
    assert scan.sha256 == hashlib.sha256("\n".join(digests).encode()).hexdigest()
    assert "Doe" not in str(scan.image.meta)


@pytest.mark.realdata
@pytest.mark.parametrize("folder", REFUSED)
def test_every_irregular_real_series_is_refused_in_one_line(test_data, folder):
    with pytest.raises(ImageError, match=REFUSED[folder]) as caught:
        load_series(test_data / "DICOM" / folder)
    assert "\n" not in str(caught.value)


@pytest.mark.realdata
@pytest.mark.parametrize("folder", EXPECTED)
def test_regular_real_series_are_what_another_program_made_of_them(test_data, folder):
    place = test_data / "DICOM" / "dicom2nifti"
    ours = read_volume(place / folder)
    theirs = nib.as_closest_canonical(nib.load(place / f"{EXPECTED[folder]}.nii.gz"))
    image = nib.as_closest_canonical(nib.Nifti1Image(ours.numpy()[0], ours.affine.numpy()))
    assert np.abs(image.affine - theirs.affine).max() < 1e-3
    assert np.allclose(image.get_fdata(), theirs.get_fdata(), atol=1e-4)


@pytest.mark.realdata
def test_a_real_ct_without_identifiers_lies_where_its_segmentation_lies(test_data):
    image = read_volume(test_data / "DICOM" / "ct_abdomen_jpeg2000_siemens_20slices")
    labels = nib.load(test_data / "TotalSegmentator_examples" / "ct_dicom_seg.nii.gz")
    ours = nib.as_closest_canonical(nib.Nifti1Image(image.numpy()[0], image.affine.numpy()))
    theirs = nib.as_closest_canonical(labels)
    assert ours.shape == theirs.shape
    assert np.abs(ours.affine - theirs.affine).max() < 1e-3
    assert geometry_of(image).spacing_mm == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert (float(image.min()), float(image.max())) == (-1024, 1839)


@pytest.mark.realdata
def test_nine_transfer_syntaxes_of_one_real_image_decode_to_the_same_values(test_data):
    folder = test_data / "DICOM" / "mr_siemens_mosaic_9_transfer_syntaxes"
    first, *others = [slice_values(folder / f"{number}.dcm") for number in range(1, 10)]
    assert first.shape == (384, 384)
    for other in others:
        assert np.array_equal(first, other)


@pytest.mark.realdata
def test_a_real_file_with_truncated_pixels_is_refused(test_data):
    with pytest.raises(ImageError, match=r"MR_truncated\.dcm cannot be read as DICOM"):
        slice_values(test_data / "DICOM" / "pydicom" / "MR_truncated.dcm")
