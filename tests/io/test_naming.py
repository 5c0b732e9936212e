from pathlib import Path

import pytest

from medseg.errors import CaseError
from medseg.io import ChannelSpec
from medseg.io.naming import ChannelVocabulary, ParsedName, is_label_name

BRATS = tuple(ChannelSpec(name, "MR") for name in ("flair", "t1ce", "t1", "t2"))


@pytest.mark.parametrize(
    ("name", "rest", "channel"),
    [
        ("Brats18_2013_0_1_t1ce", "Brats18_2013_0_1", "t1ce"),
        ("BraTS2021_00006_t1", "BraTS2021_00006", "t1"),
        ("BraTS-GLI-00001-000-t1n", "BraTS-GLI-00001-000", "t1"),
        ("BraTS-GLI-00001-000-t1c", "BraTS-GLI-00001-000", "t1ce"),
        ("BraTS-GLI-00001-100-t2w", "BraTS-GLI-00001-100", "t2"),
        ("BraTS-MET-00001-000-t2f", "BraTS-MET-00001-000", "flair"),
        ("BraTS-MEN-RT-0001-1_t1c", "BraTS-MEN-RT-0001-1", "t1ce"),
        ("patient FLAIR", "patient", "flair"),
        ("T1", "", "t1"),
    ],
)
def test_the_last_word_of_a_name_is_its_channel_in_every_years_spelling(name, rest, channel):
    assert ChannelVocabulary(BRATS).parse(name) == ParsedName(rest, channel=channel)


def test_a_word_must_stand_alone_to_be_a_channel():
    assert ChannelVocabulary(BRATS).parse("start1") == ParsedName("start1")


def test_a_known_channel_that_is_not_wanted_is_marked_as_another():
    assert ChannelVocabulary(BRATS[:1]).parse("X_t1ce") == ParsedName("X", is_other=True)


def test_nnu_net_numbers_have_four_digits_after_an_underscore():
    vocabulary = ChannelVocabulary(BRATS)
    assert vocabulary.parse("BRATS_001_0003") == ParsedName("BRATS_001", number=3)
    assert vocabulary.parse("hippocampus_001") == ParsedName("hippocampus_001")
    assert vocabulary.parse("img0001") == ParsedName("img0001")


def test_aliases_of_a_bundle_are_words_of_the_channel():
    vocabulary = ChannelVocabulary([ChannelSpec("dwi", aliases=("b1000", "trace")), ChannelSpec("adc")])
    assert vocabulary.channel("Trace") == "dwi"
    assert vocabulary.parse("sub-01_b1000") == ParsedName("sub-01", channel="dwi")
    assert vocabulary.channel("flair") is None


def test_an_alias_wins_over_the_words_of_brats():
    vocabulary = ChannelVocabulary([ChannelSpec("post", aliases=("t1ce",)), ChannelSpec("pre", aliases=("t1", "t1c"))])
    assert vocabulary.channel("t1c") == "pre"
    assert vocabulary.channel("t1gd") == "post"


def test_one_word_for_two_channels_is_refused():
    with pytest.raises(CaseError, match="channels a and b are both called 'x'"):
        ChannelVocabulary([ChannelSpec("a", aliases=("x",)), ChannelSpec("b", aliases=("X",))])


def test_a_model_without_channels_is_refused():
    with pytest.raises(CaseError, match="names no input channel"):
        ChannelVocabulary([])


def test_numbers_of_brats_follow_nnu_net_and_not_the_model():
    channels, reason = ChannelVocabulary(BRATS).numbered_channels(4)
    assert channels == ("t1", "t1ce", "t2", "flair")
    assert "nnU-Net" in reason


def test_frames_of_brats_follow_the_decathlon():
    channels, reason = ChannelVocabulary(BRATS).frame_channels(4)
    assert channels == ("flair", "t1", "t1ce", "t2")
    assert "Decathlon" in reason


def test_frames_of_other_models_follow_the_model_where_the_count_agrees():
    vocabulary = ChannelVocabulary([ChannelSpec("t2"), ChannelSpec("adc")])
    assert vocabulary.frame_channels(2) == (("t2", "adc"), "frames were read in the model's own order")
    assert vocabulary.frame_channels(3)[0] == ()


@pytest.mark.parametrize(
    ("name", "is_label"),
    [
        ("BraTS2021_00006_seg.nii.gz", True),
        ("BraTS-GLI-00001-000-seg.nii.gz", True),
        ("W39_1998.09.19_Segm.nii", True),
        ("TCGA-DU-7294_seg_silver.nii.gz", True),
        ("BraTS-MEN-RT-0001-1_gtv.nii.gz", True),
        ("sub-strokecase0009_msk.nii.gz", True),
        ("brain1_label.nrrd", True),
        ("case.seg.nrrd", True),
        ("mask_study_7_t1.nii.gz", False),
        ("BraTS2021_00006_t1.nii.gz", False),
        ("unmasked.nii.gz", False),
    ],
)
def test_label_maps_are_known_by_their_last_word(name, is_label):
    assert is_label_name(Path(name)) is is_label
