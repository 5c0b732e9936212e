"""Fine-tuning without a server: what is learned from, what is measured, what is kept, and going on after a kill."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from safetensors.torch import load_file

from medseg.bundle import Bundle, load_bundle, sha256_of
from medseg.errors import DataError, SettingsError
from medseg.io import CaseFiles, ChannelFile
from medseg.label import finetune
from medseg.label.finetune import AcceptedCase, FineTuneRequest, fine_tune, validation_cases
from medseg.label.versions import WeightsVersions

REQUEST = FineTuneRequest(epochs=4, learning_rate=0.02, validation_share=0.3, device="cpu")


@pytest.fixture(scope="module")
def cases(tmp_path_factory, write_blocks):
    folder = tmp_path_factory.mktemp("accepted")
    accepted = []
    for number in range(5):
        image, label = folder / f"c{number}.nii.gz", folder / "labels" / f"c{number}.nii.gz"
        write_blocks(image, seed=number, labels=label)
        accepted.append(AcceptedCase(CaseFiles(f"c{number}", (ChannelFile("T1", image),)), label))
    return accepted


@pytest.fixture
def bundle(label_bundles) -> Bundle:
    return load_bundle(label_bundles["tiny"])


@pytest.fixture
def versions(bundle, tmp_path):
    return WeightsVersions(tmp_path / "versions" / "tiny", own_weights=bundle.weights_path)


def _tune(bundle, versions, cases, tmp_path, request=REQUEST, told=lambda line: None):
    return fine_tune(bundle, versions, cases, request=request, folder=tmp_path / "runs", told=told)


def test_a_better_version_is_used_from_then_on_and_the_old_weights_are_untouched(bundle, versions, cases, tmp_path):
    own = sha256_of(bundle.weights_path)
    done = _tune(bundle, versions, cases, tmp_path)
    measured = done.version.measured
    assert measured.mean_after > measured.mean_before
    assert done.is_promoted
    assert versions.current == 1
    assert sha256_of(versions.current_weights) == done.version.sha256 != own
    assert done.version.parent_sha256 == own == sha256_of(bundle.weights_path)
    assert measured.n_train + measured.n_validation == len(cases)


def test_by_hand_means_that_a_better_version_waits(bundle, versions, cases, tmp_path):
    done = _tune(bundle, versions, cases, tmp_path, REQUEST.model_copy(update={"promote": "never"}))
    assert done.version.measured.is_better
    assert versions.current == 0


def test_a_worse_version_is_kept_and_not_used(bundle, versions, cases, tmp_path):
    best = _tune(bundle, versions, cases, tmp_path)
    useless = FineTuneRequest(epochs=1, learning_rate=1.0, device="cpu", seed=3)
    done = _tune(bundle, versions, cases, tmp_path, useless)
    assert done.version.measured.mean_before == pytest.approx(best.version.measured.mean_after, abs=0.2)
    assert not done.version.measured.is_better
    assert versions.current == 1
    assert [one.number for one in versions.all()] == [1, 2]


class _KilledError(Exception):
    pass


def test_a_killed_run_is_gone_on_with_and_ends_in_the_same_weights(bundle, versions, cases, tmp_path, monkeypatch):
    whole = _tune(bundle, versions, cases, tmp_path / "whole")
    versions.rollback()
    real, steps = finetune.train, []

    def killed_later(*arguments, progress, **named):
        def watch(stage, done, total):
            progress(stage, done, total)
            if stage == "train" and done == 5 and not steps:  # in the middle of an epoch
                steps.append(done)
                raise _KilledError

        return real(*arguments, progress=watch, **named)

    monkeypatch.setattr(finetune, "train", killed_later)
    with pytest.raises(_KilledError):
        _tune(bundle, versions, cases, tmp_path)
    said = []
    again = _tune(bundle, versions, cases, tmp_path, told=said.append)
    assert said[0].startswith("going on with")
    first, second = (load_file(versions.weights_of(one.version.number)) for one in (whole, again))
    assert all((first[key] == second[key]).all() for key in first)


def test_what_is_told_names_no_case(bundle, versions, cases, tmp_path):
    said = []
    _tune(bundle, versions, cases, tmp_path, told=said.append)
    assert any(line.startswith("train ") for line in said)
    assert not [line for line in said for case in cases if case.files.case_id in line.split()]


def test_a_finished_run_leaves_its_log_and_no_weights(bundle, versions, cases, tmp_path):
    _tune(bundle, versions, cases, tmp_path)
    (run,) = (tmp_path / "runs").iterdir()
    assert not {"checkpoint.pt", "model.safetensors"} & {path.name for path in run.iterdir()}
    assert json.loads((run / "log.jsonl").read_text().splitlines()[-1])["step"] > 0


def test_one_accepted_label_is_too_few(bundle, versions, cases, tmp_path):
    with pytest.raises(DataError, match="two are needed"):
        _tune(bundle, versions, cases[:1], tmp_path)


def test_a_case_stays_in_validation_when_others_are_added(cases):
    few = {case.files.case_id for case in validation_cases(cases[:4], share=0.5)}
    more = {case.files.case_id for case in validation_cases(cases, share=0.5)}
    assert few
    assert few <= more


def test_one_case_is_always_left_to_learn_from(cases):
    assert len(validation_cases(cases, share=0.999)) == len(cases) - 1


def test_the_stock_name_for_epochs_is_understood():
    assert FineTuneRequest.of({"max_epochs": 3, "client_id": "slicer"}).epochs == 3


def test_a_learning_rate_below_zero_is_refused():
    with pytest.raises(SettingsError, match="learning_rate"):
        FineTuneRequest.of({"learning_rate": -1})


def test_an_accepted_label_of_another_shape_is_refused(bundle, versions, cases, tmp_path):
    wrong = tmp_path / "wrong.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), wrong)
    with pytest.raises(DataError, match=r"shape \(4, 4, 4\), its scan \(22, 20, 18\)"):
        _tune(bundle, versions, [replace(case, label=wrong) for case in cases], tmp_path)
