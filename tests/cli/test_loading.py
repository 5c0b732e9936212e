"""MONAI without the packages that inference never uses: loaded sooner, the same labels."""

import gc
import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from medseg.bundle import load_bundle
from medseg.cli.loading import are_brought_along, without_garbage_collection
from medseg.shared_folder import shared_folder

ALONE = """
import sys
from medseg.cli.loading import UNUSED, import_monai_alone
import_monai_alone()
print(*(name for name in UNUSED if name in sys.modules))
import matplotlib.figure
from monai.transforms import Compose, Spacingd
"""


def test_monai_is_imported_without_what_inference_never_uses_and_the_rest_is_imported_later_as_ever():
    found = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_a_command_of_its_own_finds_the_labels_that_a_process_with_all_packages_finds(
    test_data, tmp_path, medseg_command
):
    scan = test_data / "Task04_Hippocampus" / "imagesTr" / "hippocampus_001.nii.gz"
    alone, along = tmp_path / "alone.nii.gz", tmp_path / "along.nii.gz"
    words = ["segment", scan, "--bundle", "swin_unetr_hippocampus", "--runtime", "torch", "--quiet", "--output"]
    subprocess.run([sys.executable, "-m", "medseg", *map(str, words), str(alone)], check=True, timeout=600)
    assert medseg_command(*words, along).exit_code == 0
    assert np.array_equal(nib.load(alone).dataobj, nib.load(along).dataobj)


NIFTI = """
import sys
from medseg.cli.main import run
try:
    run()
finally:
    print(*({"SimpleITK", "itk"} & set(sys.modules)), file=sys.stderr)
"""


def test_a_nifti_file_is_segmented_without_the_libraries_that_read_other_files(test_data, tmp_path):
    scan = test_data / "Task04_Hippocampus" / "imagesTr" / "hippocampus_001.nii.gz"
    words = ["segment", scan, "--bundle", "swin_unetr_hippocampus", "--runtime", "torch", "--quiet", "--output"]
    done = subprocess.run(
        [sys.executable, "-c", NIFTI, *map(str, words), str(tmp_path / "labels.nii.gz")],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert (tmp_path / "labels.nii.gz").is_file()
    assert done.stderr.split() == []


def test_bundles_are_known_as_brought_along_by_name_and_by_folder(tmp_path):
    own = shared_folder("bundles") / "swin_unetr_btcv"
    (tmp_path / "swin_unetr_btcv" / "configs").mkdir(parents=True)
    assert are_brought_along(["dformer_synapse", str(own)])
    assert not are_brought_along([str(tmp_path / "swin_unetr_btcv")])
    assert not are_brought_along(["dformer_synapse", str(tmp_path / "swin_unetr_btcv")])


def test_cycles_are_searched_for_again_afterwards_but_not_where_they_were_not_before():
    with without_garbage_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with without_garbage_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


HEAVY = """
import sys
from medseg.cli.main import run
try:
    run()
finally:
    print(*({"torch", "monai", "scipy", "nibabel", "skimage"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["bundle", "list"],
        ["data", "list"],
        ["data", "info", "brats_2021"],
        ["bundle", "info", "--help"],
        ["segment", "--help"],
    ],
    ids=" ".join,
)
def test_what_runs_no_network_imports_neither_torch_nor_monai(words):
    done = subprocess.run([sys.executable, "-c", HEAVY, *words, "--json"], capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr.split() == []


def test_a_list_in_a_process_of_its_own_says_what_the_models_say(medseg_command):
    listed = json.loads(medseg_command("bundle", "list", "--json").out)
    models = [load_bundle(entry["name"]) for entry in listed]
    assert listed == [
        {
            "name": model.name,
            "version": model.version,
            "task": model.metadata["task"],
            "has_weights": model.weights_path.is_file(),
        }
        for model in models
    ]


BROKEN = """
import sys
sys.modules["torch"] = sys.modules["monai"] = None  # Python's own mark of a module that cannot be imported
from medseg.cli.main import run
run(["doctor", "--json"])
"""


def test_doctor_tells_of_a_torch_that_cannot_be_imported():
    done = subprocess.run([sys.executable, "-c", BROKEN], capture_output=True, text=True, check=False)
    found = {entry["part"]: entry for entry in json.loads(done.stdout)}
    assert found["torch's import"]["state"] == "missing"
    assert "pip install" in found["torch's import"]["fix"]
    assert found["swin_unetr_hippocampus"]["state"] == "well"
    assert done.returncode == 2
