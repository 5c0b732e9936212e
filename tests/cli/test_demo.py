"""``medseg demo``: what a newcomer sees first must be anatomically right."""

import hashlib
import http.server
import json
import tarfile
import threading

import nibabel as nib
import numpy as np
import pytest
from nilearn.datasets import load_mni152_template

from medseg.bundle import find_bundles, load_bundle
from medseg.data import load_manifest

pytestmark = pytest.mark.skipif(
    not load_bundle(find_bundles()["swin_unetr_hippocampus"]).weights_path.is_file(),
    reason="the hippocampus bundle has no weights in this checkout",
)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory):
    """The results of one run of the demonstration."""
    from medseg.cli.main import run

    folder = tmp_path_factory.mktemp("demo")
    with pytest.raises(SystemExit) as ended:
        run(["--quiet", "demo", "--output", str(folder)])
    assert not ended.value.code
    return folder


def test_it_leaves_the_template_its_labels_and_what_lies_beside(demo_folder):
    names = {path.name for path in demo_folder.iterdir()}
    stem = "mni152_hippocampus"
    assert names == {"mni152_t1.nii.gz", f"{stem}.nii.gz", f"{stem}.json", f"{stem}.png", f"{stem}_statistics.json"}


def test_labels_lie_on_the_grid_of_the_template(demo_folder):
    template = load_mni152_template(resolution=1)
    labels = nib.load(demo_folder / "mni152_hippocampus.nii.gz")
    assert labels.shape == template.shape
    np.testing.assert_allclose(labels.affine, template.affine, atol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_each_hippocampus_is_where_and_as_large_as_anatomy_says(demo_folder, side):
    image = nib.load(demo_folder / "mni152_hippocampus.nii.gz")
    labels = np.asarray(image.dataobj)
    places = nib.affines.apply_affine(image.affine, np.argwhere(labels > 0))
    values = labels[labels > 0]
    own = places[:, 0] < 0 if side == "left" else places[:, 0] > 0
    anterior, posterior = (places[own & (values == value)] for value in (1, 2))
    voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
    assert 2 <= own.sum() * voxel_ml <= 6
    assert anterior[:, 1].mean() > posterior[:, 1].mean() + 10  # in front, by more than a centimetre
    middle = places[own].mean(axis=0)
    expected = np.array([-27 if side == "left" else 27, -22, -14])
    assert np.abs(middle - expected).max() < 8


def test_both_sides_are_about_the_same_size(demo_folder):
    image = nib.load(demo_folder / "mni152_hippocampus.nii.gz")
    x = nib.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) > 0))[:, 0]
    assert 0.75 < (x < 0).sum() / (x > 0).sum() < 1.33  # the template is an average brain, nearly symmetric


def test_it_says_what_to_look_at(medseg_command, tmp_path):
    outcome = medseg_command("demo", "--output", tmp_path, "--json")
    assert outcome.exit_code == 0
    result = json.loads(outcome.out)
    assert {name: side["plausible"] for name, side in result["sides"].items()} == {"left": True, "right": True}
    again = medseg_command("demo", "--output", tmp_path)
    assert "mni152_hippocampus.png" in again.err
    assert "in front of" in again.err


def test_download_fetches_checks_and_segments_a_case(medseg_command, tmp_path, test_data, monkeypatch):
    real = load_manifest("msd_hippocampus")
    served = tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / "Task04_Hippocampus.tar", "w") as tar:
        for kind in ("imagesTr", "labelsTr"):
            name = f"Task04_Hippocampus/{kind}/hippocampus_001.nii.gz"
            tar.add(test_data / name, arcname=name)
    md5 = hashlib.md5((served / "Task04_Hippocampus.tar").read_bytes()).hexdigest()
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: handler(*args, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/Task04_Hippocampus.tar"
    local = real.model_copy(update={"archive": real.archive.model_copy(update={"url": url, "md5": md5})})
    monkeypatch.setattr("medseg.data.load_manifest", lambda name: local)
    try:
        outcome = medseg_command("demo", "--download", "--output", tmp_path / "out", "--json")
    finally:
        server.shutdown()
    assert outcome.exit_code == 0, outcome.err
    (result,) = json.loads(outcome.out)
    volumes = [entry["volume_ml"] for entry in result["segmentation"]["labels"]]
    assert all(0.5 < volume < 4 for volume in volumes)


def test_a_demo_that_cannot_begin_is_one_line_and_leaves_no_folder(medseg_command, tmp_path):
    (tmp_path / "taken").touch()
    outcome = medseg_command("demo", "--output", tmp_path / "taken")
    assert outcome.exit_code == 2
    assert "taken cannot be made" in outcome.error_lines[0]
    assert medseg_command("demo", "--output", tmp_path / "new", "--device", "cuda:99").exit_code == 2
    assert not (tmp_path / "new").exists()
