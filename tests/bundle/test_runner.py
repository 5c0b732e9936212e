"""A bundle over cases: what a run leaves beside the labels, what it warns of, what it does not touch."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg.bundle import OutputPaths, Runner
from medseg.errors import OutputError
from medseg.inference import Stages
from medseg.io import CaseFiles, ChannelFile

CPU = torch.device("cpu")

SHAPE = (20, 18, 12)
"""Voxels of a scan in these tests; they measure 1×1×2 mm."""


def files_of(case_id: str, path: Path) -> CaseFiles:
    return CaseFiles(case_id, (ChannelFile("T1", path),), notes=("something was assumed.",))


def test_a_run_leaves_labels_record_picture_and_statistics(bundle, tmp_path, write_scan):
    path = write_scan(tmp_path / "scan.nii.gz", shape=SHAPE)
    files = OutputPaths.beside(tmp_path / "out.nii.gz")
    heard = []
    stages = Stages(windows=lambda done, total: heard.append((done, total)))
    result = Runner(bundle, device=CPU).run(files_of("scan", path), files, overwrite=False, stages=stages)
    assert all(file.stat().st_size > 0 for file in files.all)
    written = nib.load(files.labels)
    assert np.array_equal(np.asarray(written.dataobj), result.segmentation.labels)
    np.testing.assert_allclose(written.affine, nib.load(path).affine)
    record = json.loads(files.record.read_text())
    assert record["case_id"] == "scan"
    assert record["bundle"]["name"] == "tiny"
    assert record["settings"]["roi_size"] == [16, 16, 16]
    assert record["warnings"] == ["something was assumed."]
    assert {"read", "preprocess", "infer", "restore", "postprocess", "report"} <= record["stage_s"].keys()
    assert heard[-1][0] == heard[-1][1] > 1
    assert record["windows"] == {"count": heard[-1][1], "reused": 0}
    shown = json.loads(json.dumps(result.as_json()))
    assert shown["files"]["labels"] == str(files.labels)
    assert shown["warnings"] == ["something was assumed."]


def test_a_scan_far_larger_than_those_of_the_training_draws_a_warning(bundle, tmp_path, write_scan):
    path = write_scan(tmp_path / "mni.nii.gz", shape=(16, 16, 40), affine=np.diag([-1.0, -1.0, 4.0, 1.0]))
    files = OutputPaths.beside(tmp_path / "out.nii.gz")
    result = Runner(bundle, device=CPU).run(files_of("scan", path), files, overwrite=False)
    assert result.warnings[-1].startswith("the scan covers 16×16×160 mm, and tiny was trained on regions of at most")
    assert json.loads(files.record.read_text())["warnings"] == list(result.warnings)


def test_a_result_that_exists_stays_and_no_half_result_appears_beside_it(bundle, tmp_path, write_scan):
    path = write_scan(tmp_path / "scan.nii.gz", shape=SHAPE)
    files = OutputPaths.beside(tmp_path / "out.nii.gz")
    files.labels.write_bytes(b"earlier")
    with pytest.raises(OutputError, match=r"out.nii.gz exists already"):
        Runner(bundle, device=CPU).run(files_of("scan", path), files, overwrite=False)
    assert files.labels.read_bytes() == b"earlier"
