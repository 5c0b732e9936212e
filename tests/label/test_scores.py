"""Scores of scans: what they say, and that those of other weights are not used."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medseg.bundle import load_bundle
from medseg.io import read_volume
from medseg.label.scores import ImageScore, Scorer, ScoreStore

SCORE = ImageScore(entropy=0.5, mutual_information=0.1, features=(1.0, 2.0), slices=3)


def test_scores_of_other_weights_are_none(tmp_path):
    ScoreStore(tmp_path, model="m", weights_sha256="a" * 64).write("case", SCORE)
    assert ScoreStore(tmp_path, model="m", weights_sha256="a" * 64).read(["case"]) == {"case": SCORE}
    assert ScoreStore(tmp_path, model="m", weights_sha256="b" * 64).read(["case"]) == {}


def test_a_damaged_score_is_computed_again(tmp_path):
    store = ScoreStore(tmp_path, model="m", weights_sha256="a" * 64)
    store.write("case", SCORE)
    next(tmp_path.rglob("case.json")).write_text("{")
    assert store.read(["case"]) == {}


@pytest.fixture(scope="module")
def scan(tmp_path_factory, write_blocks):
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    write_blocks(path, seed=1)
    return read_volume(path)


@pytest.mark.parametrize("axes", [[0], None])
def test_mirrors_or_noise_make_passes_that_can_contradict_one_another(label_bundles, scan, axes):
    scorer = Scorer(load_bundle(label_bundles["tiny"]).with_config(mirror_axes=axes), device=torch.device("cpu"))
    score = scorer.score(scan)
    assert 0 < score.entropy <= 1
    assert 0 < score.mutual_information < score.entropy
    assert score == scorer.score(scan).model_copy(update={"seconds": score.seconds})


def test_features_tell_two_scans_apart_and_are_the_same_for_the_same(label_bundles, scan):
    scorer = Scorer(load_bundle(label_bundles["tiny"]), device=torch.device("cpu"))
    other = MetaTensor(torch.rand(scan.shape, generator=torch.Generator().manual_seed(0)), affine=scan.affine)
    assert len(scorer.score(scan).features) == 8  # channels of the deepest level of the tiny network
    assert not np.allclose(scorer.score(scan).features, scorer.score(other).features, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin_unetr_hippocampus", "transunet_hippocampus"])
def test_networks_of_volumes_and_of_slices_have_features_and_uncertainty(name, test_data):
    path = min((test_data / "Task04_Hippocampus" / "imagesTr").glob("hippocampus_*.nii.gz"))
    score = Scorer(load_bundle(name), device=torch.device("cpu")).score(read_volume(path))
    assert len(score.features) >= 32
    assert np.std(score.features) > 0
    assert 0 < score.entropy < 1
    assert score.slices > 5
