"""Checking a data set: every defect of a broken copy is found, and none in what is intact."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.data import DataManifest, check_data, load_manifest
from medseg.data.between_cases import BetweenCases
from medseg.errors import DataError
from medseg.geometry import Geometry

CASE = "BraTS2021_00006"


def kinds(manifest: DataManifest, root: Path) -> list[str]:
    return [finding.kind for finding in check_data(manifest, root).findings]


def rewrite(path: Path, change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
    image = nib.load(path)
    array, affine = change(np.asarray(image.dataobj).copy(), image.affine.copy())
    nib.save(nib.Nifti1Image(array, affine), path)


@pytest.mark.parametrize("name", ["msd_hippocampus", "openkbp"])
def test_intact_data_have_no_defect(name, test_data):
    result = check_data(load_manifest(name), test_data)
    assert result.findings == ()
    assert result.absent == ()


@pytest.mark.parametrize("folder", ["Task04_Hippocampus", "OpenKBP_HaN", "AMOS22_slabs"])
def test_data_described_by_a_dataset_json_have_no_defect(folder, test_data):
    result = check_data(load_manifest(test_data / folder), test_data / folder)
    assert result.findings == ()


def test_brain_tumours_have_no_defect(test_data):
    assert kinds(load_manifest("brats_2021"), test_data / "BraTS" / "expert") == []


@pytest.fixture
def hippocampus(test_data, tmp_path):
    """Two intact hippocampus cases in a folder of their own; the manifest without their hashes."""
    manifest = load_manifest("msd_hippocampus")
    for case in manifest.locate(test_data, split="test")[:2]:
        for path, folder in ((case.images[0], "imagesTr"), (case.label, "labelsTr")):
            (tmp_path / "Task04_Hippocampus" / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "Task04_Hippocampus" / folder)
    records = {case_id: record.model_copy(update={"image_sha256": None, "label_sha256": None})
               for case_id, record in manifest.cases.items()}  # fmt: skip
    return manifest.model_copy(update={"cases": records}), tmp_path


def first_case(manifest: DataManifest, root: Path) -> tuple[Path, Path]:
    case = manifest.case(root / manifest.folder, manifest.splits.test[0])
    return case.images[0], case.label


def shifted(array, affine):
    affine[:3, 3] += 1.0
    return array, affine


def turned(array, affine):
    return array, affine @ np.diag([-1.0, 1.0, 1.0, 1.0])


def one_label_too_many(array, affine):
    array[2, 2, 2] = 7
    return array, affine


def probabilities(array, affine):
    return array.astype(np.float32) * 0.5, affine


def emptied(array, affine):
    return np.zeros_like(array), affine


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (shifted, "grid"),
        (turned, "grid"),
        (one_label_too_many, "labels"),
        (probabilities, "labels"),
        (emptied, "labels"),
    ],
)
def test_a_broken_label_map_is_found(change, kind, hippocampus):
    manifest, root = hippocampus
    assert kinds(manifest, root) == []
    rewrite(first_case(manifest, root)[1], change)
    result = check_data(manifest, root)
    assert [(finding.case_id, finding.kind) for finding in result.findings] == [(manifest.splits.test[0], kind)]
    assert result.findings[0].fix
    assert (result.checked, len(result.absent)) == (2, 218)


def block_of_nan(array, affine):
    array = array.astype(np.float32)
    array[5:9, 5:9, 5:9] = np.nan
    return array, affine


def constant(array, affine):
    return np.full_like(array, 3), affine


@pytest.mark.parametrize("change", [block_of_nan, constant])
def test_a_broken_image_is_found(change, hippocampus):
    manifest, root = hippocampus
    rewrite(first_case(manifest, root)[0], change)
    assert kinds(manifest, root) == ["image"]


def test_a_missing_file_is_found(hippocampus):
    manifest, root = hippocampus
    first_case(manifest, root)[1].unlink()
    assert kinds(manifest, root) == ["file"]


def test_a_file_that_is_not_the_published_one_is_found(test_data, hippocampus):
    manifest, root = hippocampus
    rewrite(first_case(manifest, root)[0], lambda array, affine: (array + 1, affine))
    assert kinds(manifest, root) == []
    assert kinds(load_manifest("msd_hippocampus"), root) == ["file"]


def test_a_folder_without_a_case_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no Task04_Hippocampus"):
        check_data(load_manifest("msd_hippocampus"), tmp_path)


def test_mirrored_organs_are_found(test_data, tmp_path):
    manifest = load_manifest("openkbp")
    case = manifest.locate(test_data, split="test")[0]
    for path in (*case.images, case.label):
        folder = tmp_path / "OpenKBP_HaN" / path.parent.name
        folder.mkdir(parents=True)
        shutil.copy(path, folder)
        rewrite(folder / path.name, lambda array, affine: (array[::-1], affine))
    result = check_data(manifest, tmp_path)
    assert {finding.kind for finding in result.findings} == {"file", "sides"}
    assert "left_parotid lies to the right of right_parotid" in result.findings[-1].found


@pytest.fixture
def tumour(test_data, tmp_path):
    """The BraTS case, its files free to be renamed and rewritten."""
    shutil.copytree(test_data / "BraTS" / "expert" / CASE, tmp_path / CASE)
    for path in (tmp_path / CASE).iterdir():
        path.chmod(0o644)
    return tmp_path


@pytest.mark.parametrize(
    ("one", "other"),
    [("t1", "t1ce"), ("t1", "t2"), ("t1", "flair"), ("t1ce", "t2"), ("t1ce", "flair"), ("t2", "flair")],
)
def test_swapped_channels_are_found(one, other, tumour):
    paths = [tumour / CASE / f"{CASE}_{channel}.nii.gz" for channel in (one, other)]
    aside = paths[0].rename(tumour / "aside.nii.gz")
    paths[1].rename(paths[0])
    aside.rename(paths[1])
    result = check_data(load_manifest("brats_2021"), tumour)
    assert {finding.kind for finding in result.findings} == {"channels"}
    assert any({one, other} <= set(finding.found.replace(":", "").split()) for finding in result.findings)


def test_one_channel_twice_is_found(tumour):
    shutil.copy(tumour / CASE / f"{CASE}_t2.nii.gz", tumour / CASE / f"{CASE}_flair.nii.gz")
    result = check_data(load_manifest("brats_2021"), tumour)
    assert [finding.found for finding in result.findings] == ["channels t2 and flair hold the same image"]


def test_values_of_another_edition_are_found(tumour):
    def as_2023(array, affine):
        return np.where(array == 4, 3, array).astype(np.uint8), affine

    rewrite(tumour / CASE / f"{CASE}_seg.nii.gz", as_2023)
    result = check_data(load_manifest("brats_2021"), tumour)
    assert [finding.kind for finding in result.findings] == ["labels"]
    assert "brats_2023" in result.findings[0].found


def test_the_order_of_another_edition_is_doubted_although_its_values_fit(tumour):
    def decathlons_order(array, affine):
        return np.array([0, 2, 1, 3, 4], np.uint8)[array.astype(int)], affine

    rewrite(tumour / CASE / f"{CASE}_seg.nii.gz", decathlons_order)
    assert kinds(load_manifest("brats_2021"), tumour) != []


def test_enhancing_tumour_under_the_value_of_a_later_editions_cavity_is_doubted(tumour):
    case_id = "BraTS-GLI-00006-100"
    (tumour / CASE).rename(tumour / case_id)
    for old, new in (("t1", "t1n"), ("t1ce", "t1c"), ("t2", "t2w"), ("flair", "t2f"), ("seg", "seg")):
        (tumour / case_id / f"{CASE}_{old}.nii.gz").rename(tumour / case_id / f"{case_id}-{new}.nii.gz")
    result = check_data(load_manifest("brats_2024_gli"), tumour)
    assert [finding.kind for finding in result.findings] == ["channels"]
    assert "resection_cavity" in result.findings[0].found


def test_channels_on_different_grids_are_found(tumour):
    rewrite(tumour / CASE / f"{CASE}_t2.nii.gz", lambda array, affine: (array[:, :, 1:], affine))
    assert kinds(load_manifest("brats_2021"), tumour) == ["grid"]


def mirrored(axis):
    return lambda array, affine: (np.flip(array, axis), affine)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("which", [0, 1])
def test_labels_or_an_image_that_lie_mirrored_are_found(axis, which, hippocampus):
    manifest, root = hippocampus
    rewrite(first_case(manifest, root)[which], mirrored(axis))
    assert "sides" in kinds(manifest, root)


def test_a_scan_whose_front_lies_behind_is_found(hippocampus):
    manifest, root = hippocampus
    for path in first_case(manifest, root):
        rewrite(path, lambda array, affine: (array, affine @ np.diag([1.0, -1.0, 1.0, 1.0])))
    assert kinds(manifest, root) == ["sides"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_channel_that_lies_mirrored_is_found(axis, tumour):
    folder, root = tumour / CASE, tumour
    rewrite(folder / f"{CASE}_t2.nii.gz", mirrored(axis))
    assert "sides" in kinds(load_manifest("brats_2021"), root)


def saved(path: Path, **codes: int) -> None:
    """The file with a qform 20 mm away from its sform, or with the codes given."""
    image = nib.load(path)
    image = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
    elsewhere = image.affine.copy()
    elsewhere[:3, 3] += 20
    image.set_qform(elsewhere, code=codes.get("qform", 1))
    image.set_sform(image.affine, code=codes.get("sform", 1))
    nib.save(image, path)


@pytest.mark.parametrize("which", [0, 1])
def test_two_places_in_one_header_are_found(which, hippocampus):
    manifest, root = hippocampus
    saved(first_case(manifest, root)[which])
    assert kinds(manifest, root) == ["grid"]


def test_voxel_sizes_that_contradict_the_affine_are_found(hippocampus):
    manifest, root = hippocampus
    path = first_case(manifest, root)[0]
    saved(path, qform=0)
    image = nib.load(path)
    image.header["pixdim"][1:4] = 1000
    voxels = np.asarray(image.dataobj).tobytes("F")
    path.write_bytes(gzip.compress(image.header.binaryblock + bytes(4) + voxels))
    assert "gives voxel sizes of 1e+03×1e+03×1e+03 mm" in check_data(manifest, root).findings[0].found


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("damage", [lambda content: content[:-8], lambda content: content[:-6] + b"xx" + content[-4:]])
def test_damage_behind_the_last_voxel_is_found(which, damage, hippocampus):
    manifest, root = hippocampus
    path = first_case(manifest, root)[which]
    path.write_bytes(damage(path.read_bytes()))
    assert kinds(manifest, root) == ["file"]


@pytest.mark.parametrize("factor", [0.001, 0.1, 1000])
def test_scans_in_another_unit_are_found(factor, hippocampus):
    manifest, root = hippocampus
    for path in first_case(manifest, root):
        rewrite(path, lambda array, affine: (array, np.diag([factor, factor, factor, 1.0]) @ affine))
    assert kinds(manifest, root) == ["case"]


def test_a_small_part_in_usual_voxels_is_no_scan_in_another_unit():
    between = BetweenCases()
    voxels = np.eye(8, dtype=np.uint8)[None].repeat(8, 0)
    between.add("case", voxels, voxels, Geometry(voxels.shape, np.eye(4)))
    assert between.doubts() == []


def test_one_scan_in_another_unit_than_the_others_is_found():
    between = BetweenCases()
    for number, side_mm in enumerate((3.0, 3.5, 2.5, 0.3)):
        voxels = np.full((100, 100, 100), number)
        between.add(f"case {number}", voxels, voxels, Geometry(voxels.shape, np.diag([side_mm] * 3 + [1.0])))
    assert [case_id for case_id, _, _ in between.doubts()] == ["case 3"]


def test_one_case_under_two_names_is_found(hippocampus):
    manifest, root = hippocampus
    other = manifest.case(root / manifest.folder, manifest.splits.test[1])
    for source, target in zip(first_case(manifest, root), (other.images[0], other.label), strict=True):
        shutil.copy(source, target)
        rewrite(target, lambda array, affine: (array, affine))  # other bytes, the same voxels
    findings = check_data(manifest, root).findings
    assert [finding.kind for finding in findings] == ["case"]
    assert "voxel for voxel" in findings[0].found


def test_one_case_under_two_names_and_turned_is_found(hippocampus):
    manifest, root = hippocampus
    other = manifest.case(root / manifest.folder, manifest.splits.test[1])
    for source, target in zip(first_case(manifest, root), (other.images[0], other.label), strict=True):
        nib.save(nib.load(source).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]])), target)
    findings = check_data(manifest, root).findings
    assert [finding.kind for finding in findings] == ["case"]
    assert "voxel for voxel" in findings[0].found


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_channel_without_an_edge_is_found_without_a_warning_of_numpy(tumour):
    rewrite(tumour / CASE / f"{CASE}_t2.nii.gz", constant)
    assert "image" in kinds(load_manifest("brats_2021"), tumour)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_with_fewer_or_more_channels_than_the_manifest_is_found(channels, tmp_path):
    values = np.random.default_rng(0).normal(size=(12, 12, 12, channels)).astype(np.float32)
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[2:6, 3:7, 4:7] = 1
    values[labels == 1] += 9  # on noise alone labels fit nowhere
    for folder, array in (("imagesTr", values), ("labelsTr", labels)):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(array, np.diag([5.0, 5.0, 5.0, 1.0])), tmp_path / folder / "case.nii.gz")
    entry = {"image": "imagesTr/case.nii.gz", "label": "labelsTr/case.nii.gz"}
    content = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "block"}, "training": [entry]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    result = check_data(load_manifest(tmp_path), tmp_path)
    assert [finding.kind for finding in result.findings] == ["image"]
    assert f"holds {channels} channels, 2 were expected: T1, T2" in result.findings[0].found


def test_labels_in_the_place_of_the_scan_are_found(hippocampus):
    manifest, root = hippocampus
    image, labels = first_case(manifest, root)
    shutil.copy(labels, image)
    findings = check_data(manifest, root).findings
    assert "holds the values of labels only" in findings[0].found


def test_labels_without_background_are_found(hippocampus):
    manifest, root = hippocampus
    rewrite(first_case(manifest, root)[1], lambda array, affine: (array * 0 + 1, affine))
    assert "labels" in kinds(manifest, root)


def test_a_case_found_by_its_name_that_lacks_its_labels_is_told(tumour):
    folder, root = tumour / CASE, tumour
    (folder / f"{CASE}_seg.nii.gz").unlink()
    assert kinds(load_manifest("brats_2021"), root) == ["file"]


def test_a_file_that_is_there_packed_and_unpacked_is_told(tumour):
    folder, root = tumour / CASE, tumour
    nib.save(nib.load(folder / f"{CASE}_t1.nii.gz"), folder / f"{CASE}_t1.nii")
    assert kinds(load_manifest("brats_2021"), root) == ["file"]


def test_a_tumour_that_fills_the_brain_is_checked(tumour):
    folder, root = tumour / CASE, tumour
    rewrite(folder / f"{CASE}_seg.nii.gz", lambda array, affine: (array * 0 + 1, affine))
    assert "labels" in kinds(load_manifest("brats_2021"), root)
