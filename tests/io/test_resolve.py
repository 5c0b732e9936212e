import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import CaseError
from medseg.io import CaseFiles, ChannelSpec, FailedCase, resolve_cases, unread_files

BRATS = tuple(ChannelSpec(name, "MR") for name in ("flair", "t1ce", "t1", "t2"))
CT = (ChannelSpec("ct", "CT"),)
OLD_WORDS = {"flair": "flair", "t1ce": "t1ce", "t1": "t1", "t2": "t2"}
NEW_WORDS = {"flair": "t2f", "t1ce": "t1c", "t1": "t1n", "t2": "t2w"}


def touch(folder: Path, *names: str) -> Path:
    """Empty files: names are resolved without opening the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def ids(cases: list[CaseFiles | FailedCase]) -> list[str]:
    return [case.case_id for case in cases]


@pytest.mark.parametrize(
    ("case_id", "separator", "words", "suffix", "label"),
    [
        ("Brats18_2013_0_1", "_", OLD_WORDS, ".nii.gz", "Brats18_2013_0_1_seg.nii.gz"),
        ("BraTS19_CBICA_AAB_1", "_", OLD_WORDS, ".nii", "BraTS19_CBICA_AAB_1_seg.nii"),
        ("BraTS20_Training_355", "_", OLD_WORDS, ".nii", "W39_1998.09.19_Segm.nii"),
        ("BraTS2021_00006", "_", OLD_WORDS, ".nii.gz", "BraTS2021_00006_seg.nii.gz"),
        ("BraTS-GLI-00001-000", "-", NEW_WORDS, ".nii.gz", "BraTS-GLI-00001-000-seg.nii.gz"),
        ("BraTS-PED-00002-000", "-", NEW_WORDS, ".nii.gz", "BraTS-PED-00002-000-seg.nii.gz"),
        ("BraTS-GLI-02062-100", "-", NEW_WORDS, ".nii.gz", "BraTS-GLI-02062-100-seg.nii.gz"),
    ],
)
def test_brats_folders_of_every_year_resolve_in_the_models_order(tmp_path, case_id, separator, words, suffix, label):
    folder = touch(tmp_path / case_id, label, *(f"{case_id}{separator}{word}{suffix}" for word in words.values()))
    (case,) = resolve_cases([folder], channels=BRATS)
    assert isinstance(case, CaseFiles)
    assert case.case_id == case_id
    assert case.table() == [(name, f"{case_id}{separator}{words[name]}{suffix}") for name in OLD_WORDS]


def test_nnu_net_files_of_a_flat_folder_are_cases_with_numbered_channels(tmp_path):
    touch(tmp_path, *(f"BRATS_{case:03d}_{channel:04d}.nii.gz" for case in (1, 2) for channel in range(4)))
    first, second = resolve_cases([tmp_path], channels=BRATS)
    assert isinstance(first, CaseFiles)
    assert second.case_id == "BRATS_002"
    assert first.table() == [
        ("flair", "BRATS_001_0003.nii.gz"),
        ("t1ce", "BRATS_001_0001.nii.gz"),
        ("t1", "BRATS_001_0000.nii.gz"),
        ("t2", "BRATS_001_0002.nii.gz"),
    ]
    assert first.notes == ("BRATS_001: channel numbers were read in nnU-Net's order for BraTS.",)


def test_dataset_json_says_what_the_numbers_mean(tmp_path):
    images = touch(tmp_path / "imagesTr", "p_0000.nii.gz", "p_0001.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "ADC", "1": "T2"}}))
    (case,) = resolve_cases([images], channels=[ChannelSpec("t2"), ChannelSpec("adc")])
    assert isinstance(case, CaseFiles)
    assert case.table() == [("t2", "p_0001.nii.gz"), ("adc", "p_0000.nii.gz")]
    assert case.notes == ("p: channels were read in the order of dataset.json.",)


def test_a_damaged_dataset_json_stops_the_case(tmp_path):
    touch(tmp_path, "p_0000.nii.gz", "p_0001.nii.gz")
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(CaseError, match=r"dataset\.json does not list its channels"):
        resolve_cases([tmp_path], channels=[ChannelSpec("t2"), ChannelSpec("adc")])


def test_a_4d_file_of_the_decathlon_gives_its_frames_by_name(tmp_path, write_scan):
    path = write_scan(tmp_path / "BRATS_001.nii.gz", shape=(3, 3, 3, 4))
    (case,) = resolve_cases([path], channels=BRATS)
    assert isinstance(case, CaseFiles)
    assert case.table() == [
        ("flair", "BRATS_001.nii.gz#0"),
        ("t1ce", "BRATS_001.nii.gz#2"),
        ("t1", "BRATS_001.nii.gz#1"),
        ("t2", "BRATS_001.nii.gz#3"),
    ]
    assert "Decathlon" in case.notes[0]


def test_a_4d_file_with_another_number_of_channels_is_refused(tmp_path, write_scan):
    path = write_scan(tmp_path / "X.nii.gz", shape=(3, 3, 3, 3))
    with pytest.raises(CaseError, match=r"X\.nii\.gz holds 3 channels.*flair, t1ce, t1, t2 were expected.*flair=X"):
        resolve_cases([path], channels=BRATS)


def test_a_folder_of_4d_files_is_a_cohort(tmp_path, write_scan):
    for name in ("BRATS_001", "BRATS_002"):
        write_scan(tmp_path / f"{name}.nii.gz", shape=(3, 3, 3, 4))
    assert ids(resolve_cases([tmp_path], channels=BRATS)) == ["BRATS_001", "BRATS_002"]


def test_a_single_channel_file_is_no_multi_channel_case(tmp_path, write_scan):
    path = write_scan(tmp_path / "scan.nii.gz")
    with pytest.raises(CaseError, match=r"scan\.nii\.gz holds one channel.*which of flair, t1ce, t1, t2"):
        resolve_cases([path], channels=BRATS)


def test_a_missing_channel_is_named_with_what_was_found(tmp_path):
    folder = touch(tmp_path / "X", "X_flair.nii.gz", "X_t1.nii.gz", "X_t2.nii.gz", "X_seg.nii.gz")
    with pytest.raises(CaseError) as caught:
        resolve_cases([folder], channels=BRATS)
    assert str(caught.value) == (
        "X has no file for t1ce: flair, t1ce, t1, t2 were expected, X_flair.nii.gz, X_t1.nii.gz, X_t2.nii.gz found. "
        "Add it, or name each channel's file, t1ce=PATH and so on."
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("double", ["X_t1c.nii.gz", "X_t1ce.nii", "X-t1gd.nrrd"])
def test_a_doubled_channel_is_refused_with_both_files_named(tmp_path, double):
    folder = touch(tmp_path / "X", "X_flair.nii.gz", "X_t1.nii.gz", "X_t1ce.nii.gz", "X_t2.nii.gz", double)
    with pytest.raises(CaseError, match="2 files for channel t1ce") as caught:
        resolve_cases([folder], channels=BRATS)
    assert "X_t1ce.nii.gz" in str(caught.value)
    assert double in str(caught.value)


def test_a_file_of_another_patient_in_a_case_folder_is_refused(tmp_path):
    folder = touch(tmp_path / "X", *(f"X_{word}.nii.gz" for word in OLD_WORDS), "Y_t1.nii.gz")
    with pytest.raises(CaseError, match="X holds the files of Y beside its own"):
        resolve_cases([folder], channels=BRATS)


def test_two_half_cases_in_one_folder_never_become_one(tmp_path):
    folder = touch(tmp_path / "c", "X_flair.nii.gz", "X_t1.nii.gz", "Y_t1ce.nii.gz", "Y_t2.nii.gz")
    with pytest.raises(CaseError, match="X has no file for t1ce or t2"):
        resolve_cases([folder], channels=BRATS)


def test_files_named_by_channel_only_are_a_case_called_like_their_folder(tmp_path):
    folder = touch(tmp_path / "patient7", "T1.nii.gz", "T1ce.nii.gz", "T2.nii.gz", "FLAIR.nii.gz", "seg.nii.gz")
    assert ids(resolve_cases([folder], channels=BRATS)) == ["patient7"]


def test_an_image_of_no_channel_beside_a_case_is_passed_over_with_a_note(tmp_path, write_scan):
    folder = touch(tmp_path / "X", *(f"X_{word}.nii.gz" for word in OLD_WORDS))
    write_scan(folder / "X_brain.nii.gz")
    (case,) = resolve_cases([folder], channels=BRATS)
    assert isinstance(case, CaseFiles)
    assert case.notes == ("X: not used, since its name gives no channel: X_brain.nii.gz.",)


@pytest.mark.parametrize("grades", [("",), ("HGG", "LGG")])
def test_a_folder_of_case_folders_is_a_cohort_also_below_grades(tmp_path, grades):
    for grade in grades:
        name = f"BraTS19_{grade or 'A'}"
        touch(tmp_path / "data" / grade / name, *(f"{name}_{word}.nii.gz" for word in OLD_WORDS))
    assert ids(resolve_cases([tmp_path / "data"], channels=BRATS)) == [f"BraTS19_{grade or 'A'}" for grade in grades]


def test_a_member_of_a_cohort_that_fails_does_not_prevent_the_others(tmp_path):
    touch(tmp_path / "A", *(f"A_{word}.nii.gz" for word in OLD_WORDS))
    touch(tmp_path / "B", "B_t1.nii.gz")
    touch(tmp_path / "C")
    good, missing, empty = resolve_cases([tmp_path], channels=BRATS)
    assert isinstance(good, CaseFiles)
    assert isinstance(missing, FailedCase)
    assert missing.message.startswith("B has no file for flair or t1ce or t2")
    assert empty == FailedCase(
        "C", "C holds no images: NIfTI, NRRD or MHA files, DICOM slices or folders of these were expected."
    )


def test_a_cohort_in_which_every_case_fails_is_an_error(tmp_path):
    touch(tmp_path / "A", "A_t1.nii.gz")
    touch(tmp_path / "B", "B_t1.nii.gz")
    with pytest.raises(CaseError, match=r"A has no file for .*\(1 more of .* fail likewise\.\)"):
        resolve_cases([tmp_path], channels=BRATS)


def test_channels_named_one_by_one_are_one_case_in_the_models_order(tmp_path):
    touch(tmp_path, *(f"X_{word}.nii.gz" for word in NEW_WORDS.values()))
    inputs = [f"{name.upper()}={tmp_path}/X_{NEW_WORDS[name]}.nii.gz" for name in ("t2", "t1", "t1ce", "flair")]
    (case,) = resolve_cases(inputs, channels=BRATS)
    assert isinstance(case, CaseFiles)
    assert case.case_id == "X"
    assert [channel for channel, _ in case.table()] == ["flair", "t1ce", "t1", "t2"]


def test_named_channels_whose_files_share_no_name_are_called_like_their_folder(tmp_path):
    folder = touch(tmp_path / "patient7", "axial.nii.gz", "diffusion.nii.gz")
    channels = [ChannelSpec("t2"), ChannelSpec("adc")]
    assert ids(resolve_cases([f"t2={folder}/axial.nii.gz", f"adc={folder}/diffusion.nii.gz"], channels=channels)) == [
        "patient7"
    ]


def test_a_named_channel_may_be_one_frame_of_a_4d_file(tmp_path):
    touch(tmp_path, "dwi.nii.gz")
    (case,) = resolve_cases([f"adc={tmp_path}/dwi.nii.gz#3"], channels=[ChannelSpec("adc")])
    assert isinstance(case, CaseFiles)
    assert case.table() == [("adc", "dwi.nii.gz#3")]
    assert case.case_id == "dwi"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["t1={0}/X_t1.nii.gz"], "no file was given for channel flair or t1ce or t2"),
        (["t1={0}/X_t1.nii.gz", "T1n={0}/X_t2.nii.gz"], "channel t1 was given twice"),
        (["pd={0}/X_t1.nii.gz"], "no channel is called 'pd': flair, t1ce, t1, t2 were expected"),
        (["t1={0}/absent.nii.gz"], "does not exist: the file of channel t1"),
        (["t1={0}"], "holds no DICOM slices"),
    ],
)
def test_wrong_named_channels_are_refused(tmp_path, inputs, message):
    touch(tmp_path, "X_t1.nii.gz", "X_t2.nii.gz")
    with pytest.raises(CaseError, match=message):
        resolve_cases([text.format(tmp_path) for text in inputs], channels=BRATS)


def test_a_path_with_an_equals_sign_is_a_path(tmp_path):
    path = touch(tmp_path, "run=2.nii.gz") / "run=2.nii.gz"
    assert ids(resolve_cases([path], channels=CT)) == ["run=2"]


def test_a_folder_of_files_is_a_cohort_for_a_model_of_one_channel(tmp_path):
    touch(tmp_path, "b.nii.gz", "a.nrrd", "c.mha", "d.MHD", "c_seg.nii.gz", "d.seg.nrrd")
    touch(tmp_path, ".hidden.nii.gz", "._a.nii.gz", "dataset.json", "readme.txt")
    assert ids(resolve_cases([tmp_path], channels=CT)) == ["a", "b", "c", "d"]
    assert [path.name for path in unread_files([tmp_path])] == ["dataset.json", "readme.txt"]


def test_nnu_nets_channel_number_leaves_the_case_id_where_every_file_has_it(tmp_path):
    touch(tmp_path / "nnunet", "liver_1_0000.nii.gz", "liver_2_0000.nii.gz")
    assert ids(resolve_cases([tmp_path / "nnunet"], channels=CT)) == ["liver_1", "liver_2"]


def test_numbers_that_count_cases_stay_in_the_case_id(tmp_path):
    touch(tmp_path / "amos", "amos_0000.nii.gz", "amos_0001.nii.gz")
    assert ids(resolve_cases([tmp_path / "amos"], channels=CT)) == ["amos_0000", "amos_0001"]


def test_a_model_of_one_brats_channel_takes_its_file_and_leaves_the_others(tmp_path):
    folder = touch(tmp_path / "X", *(f"X_{word}.nii.gz" for word in OLD_WORDS), "X_seg.nii.gz")
    (case,) = resolve_cases([folder], channels=[ChannelSpec("t1c")])
    assert isinstance(case, CaseFiles)
    assert case.table() == [("t1c", "X_t1ce.nii.gz")]


def test_folders_with_one_nameless_image_each_give_their_names(tmp_path):
    touch(tmp_path / "s0001", "ct.nii.gz")
    touch(tmp_path / "s0002", "ct.nii.gz")
    assert ids(resolve_cases([tmp_path], channels=CT)) == ["s0001", "s0002"]


def test_files_typed_one_by_one_keep_their_names_and_none_is_left_out(tmp_path):
    folder = touch(tmp_path / "X", "ct.nii.gz", "X_t1.nii.gz", "X_t2.nii.gz")
    assert ids(resolve_cases([folder / "ct.nii.gz"], channels=CT)) == ["ct"]
    typed = [folder / "X_t1.nii.gz", folder / "X_t2.nii.gz"]
    assert ids(resolve_cases(typed, channels=[ChannelSpec("t1")])) == ["X_t1", "X_t2"]


def test_the_current_folder_has_a_name(tmp_path, monkeypatch):
    touch(tmp_path / "patient7", "ct.nii.gz")
    monkeypatch.chdir(tmp_path / "patient7")
    assert ids(resolve_cases(["."], channels=CT)) == ["patient7"]


@pytest.mark.parametrize("names", [("a.nii", "a.nii.gz"), ("a.nii.gz", "A.nrrd")])
def test_two_files_with_one_case_id_are_refused(tmp_path, names):
    touch(tmp_path, *names)
    with pytest.raises(CaseError, match=r"two cases are called .* would overwrite each other"):
        resolve_cases([tmp_path], channels=CT)
    with pytest.raises(CaseError, match="two cases are called"):
        resolve_cases([tmp_path / name for name in names], channels=CT)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "holds no images"),
        (("notes.txt", ".a.nii.gz"), "holds no images"),
        (("a_seg.nii.gz", "b.seg.nrrd"), "holds only label maps"),
    ],
)
def test_a_folder_without_images_is_an_error(tmp_path, names, message):
    touch(tmp_path, *names)
    with pytest.raises(CaseError, match=message):
        resolve_cases([tmp_path], channels=CT)


def test_a_path_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(CaseError, match=r"absent\.nii\.gz does not exist"):
        resolve_cases([tmp_path / "absent.nii.gz"], channels=CT)


def test_no_input_is_an_error():
    with pytest.raises(CaseError, match="no input was given"):
        resolve_cases([], channels=CT)


def test_a_text_file_in_place_of_a_4d_image_fails_alone_in_a_cohort(tmp_path, write_scan):
    write_scan(tmp_path / "a.nii.gz", shape=(3, 3, 3, 4))
    (tmp_path / "b.nii.gz").write_text("hello")
    good, bad = resolve_cases([tmp_path], channels=BRATS)
    assert isinstance(good, CaseFiles)
    assert isinstance(bad, FailedCase)
    assert "cannot be read as NIfTI" in bad.message


def test_files_given_one_by_one_are_grouped_like_a_folder(tmp_path):
    folder = touch(tmp_path / "X", *(f"X_{word}.nii.gz" for word in OLD_WORDS))
    assert ids(resolve_cases(sorted(folder.iterdir()), channels=BRATS)) == ["X"]


def test_frames_of_a_vector_file_count_as_channels(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3, 1, 2), np.float32), np.eye(4)), tmp_path / "v.nii.gz")
    (case,) = resolve_cases([tmp_path / "v.nii.gz"], channels=[ChannelSpec("t2"), ChannelSpec("adc")])
    assert isinstance(case, CaseFiles)
    assert case.table() == [("t2", "v.nii.gz#0"), ("adc", "v.nii.gz#1")]


@pytest.mark.realdata
def test_real_brats_folders_resolve(test_data):
    cases = resolve_cases(
        [test_data / "BraTS" / "expert" / "BraTS2021_00006", test_data / "BraTS" / "silver" / "TCGA-DU-7294"],
        channels=BRATS,
    )
    assert ids(cases) == ["BraTS2021_00006", "TCGA-DU-7294"]


@pytest.mark.realdata
def test_a_real_dicom_folder_is_one_case_and_two_need_names(test_data):
    folder = test_data / "DICOM" / "dicom2nifti" / "mr_sagittal_explicit_le"
    assert ids(resolve_cases([folder], channels=[ChannelSpec("t1")])) == ["mr_sagittal_explicit_le"]
    with pytest.raises(CaseError, match="is one DICOM series, one channel"):
        resolve_cases([folder], channels=BRATS)
    (case,) = resolve_cases([f"t2={folder}", f"adc={folder}"], channels=[ChannelSpec("t2"), ChannelSpec("adc")])
    assert case.case_id == "mr_sagittal_explicit_le"


@pytest.mark.realdata
def test_a_folder_of_real_dicom_folders_is_a_cohort(test_data):
    cases = resolve_cases([test_data / "DICOM" / "pydicom" / "dicomdir_tree" / "98892001"], channels=CT)
    assert ids(cases) == ["CT2N", "CT5N"]


def test_a_typed_file_with_a_damaged_header_is_refused_by_name(tmp_path):
    (tmp_path / "b.nii.gz").write_text("hello")
    with pytest.raises(CaseError, match=r"b\.nii\.gz cannot be read as NIfTI"):
        resolve_cases([tmp_path / "b.nii.gz"], channels=BRATS)


def test_files_and_folders_that_are_known_to_be_no_scans_are_passed_over(tmp_path, write_scan):
    for name in ("scan.nii.gz", "scan_result.nii.gz", "review/a.nii.gz"):
        write_scan(tmp_path / "a" / name)
    write_scan(tmp_path / "results" / "scan.nii.gz")
    over = [tmp_path / "a" / "scan_result.nii.gz", tmp_path / "a" / "review", tmp_path / "results"]
    (case,) = resolve_cases([tmp_path], channels=[ChannelSpec("T1")], passing_over=over)
    assert (case.case_id, case.channels[0].path) == ("a", tmp_path / "a" / "scan.nii.gz")


def not_text(folder: Path) -> Path:
    """A scan whose name a computer with Latin-1 gave it."""
    path = touch(folder, "good.nii.gz") / "sc\udce4n.nii.gz"
    try:
        path.touch()
    except (OSError, UnicodeError):
        pytest.skip("this disk takes names in UTF-8 only")
    return path


def test_a_name_that_is_no_text_fails_alone_among_the_cases_of_a_folder(tmp_path):
    folder = not_text(tmp_path).parent
    good, failed = resolve_cases([folder], channels=CT)
    assert good.case_id == "good"
    assert isinstance(failed, FailedCase)
    assert failed.case_id == "sc\\udce4n"
    assert "bytes that are no text in UTF-8. Rename it" in failed.message


def test_a_name_that_is_no_text_is_refused_where_it_was_typed(tmp_path):
    with pytest.raises(CaseError, match="no text in UTF-8"):
        resolve_cases([not_text(tmp_path)], channels=CT)


def test_an_empty_input_is_not_the_folder_one_is_in(tmp_path, monkeypatch):
    monkeypatch.chdir(touch(tmp_path, "scan.nii.gz"))
    with pytest.raises(CaseError, match="an empty input was given"):
        resolve_cases([""], channels=CT)


def test_one_file_given_twice_is_said_to_be_one(tmp_path):
    path = touch(tmp_path, "scan.nii.gz") / "scan.nii.gz"
    with pytest.raises(CaseError, match=r"scan\.nii\.gz was given twice: give it once"):
        resolve_cases([path, tmp_path / "." / "scan.nii.gz"], channels=CT)
