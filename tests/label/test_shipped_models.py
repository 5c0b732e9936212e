"""Every model that comes with weights, through the real server and without it."""

import nibabel as nib
import numpy as np
import pytest

from medseg.bundle import find_bundles, load_bundle, segment

pytestmark = pytest.mark.slow

SHIPPED = {name: folder for name, folder in find_bundles().items() if load_bundle(folder).weights_path.is_file()}
SCANS = {"hippocampus": "hippocampus_001", "head_neck_oar": "head_neck"}


@pytest.fixture(scope="module")
def server(label_server_installed, test_data, tmp_path_factory, start_label_server):
    """A server of all of them, over a hippocampus and a part of a head and neck."""
    folder = tmp_path_factory.mktemp("shipped")
    studies = folder / "studies"
    studies.mkdir()
    hippocampus = test_data / "Task04_Hippocampus" / "imagesTr" / "hippocampus_001.nii.gz"
    (studies / hippocampus.name).write_bytes(hippocampus.read_bytes())
    head_neck = nib.load(min((test_data / "OpenKBP_HaN" / "imagesTr").glob("openkbp_*.nii.gz")))
    nib.save(head_neck.slicer[40:88, 40:88, 40:72], studies / "head_neck.nii.gz")
    yield from start_label_server("--runtime", "torch", studies=studies, work_folder=folder / "work", bundles=SHIPPED)


def test_the_server_gives_the_labels_of_medseg_segment_for_every_model(server, tmp_path):
    assert set(server.client.info().models) == set(SHIPPED)
    found_something = set()
    for name, folder in SHIPPED.items():
        scan = next(scan for task, scan in SCANS.items() if name.endswith(task))
        expected = segment(server.studies / f"{scan}.nii.gz", bundle=folder, device="cpu").labels
        result = server.client.infer(name, scan, folder=tmp_path)
        assert np.array_equal(np.asarray(nib.load(result.labels).dataobj), expected), name
        if expected.any():
            found_something.add(name)
    assert {name for name in SHIPPED if name.endswith("hippocampus")} <= found_something
    assert any(name.endswith("head_neck_oar") for name in found_something)
