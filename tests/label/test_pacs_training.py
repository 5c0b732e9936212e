"""Learning from what a PACS holds: segmentations of any making → label maps in the model's values → a version."""

import os
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicomweb_client import DICOMwebClient

from medseg.errors import DataError, ServerError
from medseg.geometry import Geometry
from medseg.label.pacs_segmentations import PacsSegmentations, read_seg
from medseg.label.versions import WeightsVersions
from medseg.labels import CodedConcept, Label, LabelTable
from medseg.monai_label_client.transport import form

AFFINE = np.array([[-1.0, 0, 0, 11], [0, -1, 0, 10], [0, 0, 1.5, 0], [0, 0, 0, 1]])
"""Of the series, in RAS+ millimetres."""

NAMES = {"anterior_hippocampus": 1, "posterior_hippocampus": 2}
PATIENCE_S = 240


@pytest.fixture(scope="module")
def scans(tmp_path_factory, write_series):
    """Four series and their labels (I, J, K); of the last one only the second structure is there."""
    folder = tmp_path_factory.mktemp("scans")
    found = {}
    for seed in range(4):
        uid, labels = write_series(folder / str(seed), seed=seed)
        found[uid] = labels.transpose(2, 1, 0) * (labels.transpose(2, 1, 0) == 2 if seed == 3 else 1)
    return folder, found


@pytest.fixture(scope="module")
def pacs(start_orthanc, scans, tmp_path_factory):
    yield from start_orthanc(tmp_path_factory.mktemp("orthanc"), sorted(scans[0].iterdir()))


@pytest.fixture
def untouched(start_orthanc, scans, label_bundles, tmp_path):
    """What servers over a PACS of its own, without segmentations, are started with, but the work folder."""
    (tmp_path / "orthanc").mkdir()
    running = start_orthanc(tmp_path / "orthanc", sorted(scans[0].iterdir()))
    url, _ = next(running)
    yield {"studies": f"{url}/dicom-web", "bundles": {"tiny": label_bundles["tiny"]}}
    next(running, None)


def _saved(labels, path):
    nib.save(nib.Nifti1Image(labels, AFFINE), path)
    return path


def _ended(client):
    for _ in range(PATIENCE_S * 2):
        task = client.train_status()
        if task["status"] in ("DONE", "ERROR"):
            return task
        time.sleep(0.5)
    raise AssertionError(f"the training did not end: {task}")


def test_labels_in_a_pacs_are_learned_from_by_a_server_that_never_saw_them(
    untouched, scans, start_label_server, tmp_path
):
    running = start_label_server(work_folder=tmp_path / "first", **untouched)
    first = next(running).client
    assert {image.image_id: image.tags for image in first.images()} == dict.fromkeys(scans[1], ())
    for uid, labels in scans[1].items():
        first.save_label(uid, _saved(labels, tmp_path / "labels.nii.gz"), tag="final", label_names=NAMES)
    next(running, None)

    running = start_label_server(work_folder=tmp_path / "second", **untouched)
    server = next(running)
    client = server.client
    assert {image.image_id: image.tags for image in client.images()} == dict.fromkeys(scans[1], ("final",))
    for uid, labels in scans[1].items():
        back = nib.load(client.download_label(uid, tag="final", folder=tmp_path))
        assert np.array_equal(np.asarray(back.dataobj), labels)
        assert np.allclose(back.affine, AFFINE, atol=1e-4)
    client.train_start("tiny", {"epochs": 4, "learning_rate": 0.02, "device": "cpu"})
    task = _ended(client)
    assert task["status"] == "DONE", task["details"]
    own = server.bundles["tiny"] / "models" / "model.safetensors"
    (version,) = WeightsVersions(server.work_folder / "versions" / "tiny", own_weights=own).all()
    assert version.measured.n_train + version.measured.n_validation == 4
    assert set(version.measured.dice_before) == set(NAMES)
    corrected = np.roll(scans[1][uid], 1, axis=0)
    client.save_label(uid, _saved(corrected, tmp_path / "labels.nii.gz"), tag="final", label_names=NAMES)
    back = nib.load(client.download_label(uid, tag="final", folder=tmp_path))
    assert np.array_equal(np.asarray(back.dataobj), corrected)  # the newest counts
    next(running, None)


@pytest.fixture(scope="module")
def server(pacs, label_bundles, start_label_server, tmp_path_factory):
    """A server for what is refused."""
    yield from start_label_server(
        work_folder=tmp_path_factory.mktemp("refusing"),
        studies=f"{pacs[0]}/dicom-web",
        bundles={"tiny": label_bundles["tiny"]},
    )


@pytest.fixture(scope="module")
def segmented(server, scans, tmp_path_factory):
    """The last series, with its labels saved in the PACS as a segmentation."""
    uid, labels = list(scans[1].items())[3]
    path = _saved(labels, tmp_path_factory.mktemp("segmented") / "labels.nii.gz")
    server.client.save_label(uid, path, tag="final", label_names=NAMES)
    return uid, labels


def _send(server, method, path, query, files):
    body, kind = form({"params": "{}"}, files)
    return server.client._server.json(method, path, query=query, body=body, content_type=kind)


@pytest.mark.parametrize("name", ["../../app/main", "1.2.3", "x"])
def test_nothing_can_be_written_beside_a_pacs(server, name):
    before = (server.work_folder / "app" / "main.py").read_bytes()
    with pytest.raises(ServerError, match=r"\(422\).*PACS"):
        _send(server, "PUT", "/datastore/", {"image": name}, {"file": ("x.py", b"import os")})
    with pytest.raises(ServerError, match=r"\(422\).*PACS"):
        server.client.request("DELETE", "/datastore/image", query={"id": name})
    assert (server.work_folder / "app" / "main.py").read_bytes() == before
    assert not list(server.work_folder.rglob("x.py"))


def test_an_empty_label_cannot_be_accepted_and_is_kept_with_another_tag(server, scans, tmp_path):
    uid, labels = next(iter(scans[1].items()))
    empty = _saved(np.zeros_like(labels), tmp_path / "labels.nii.gz")
    with pytest.raises(ServerError, match=r"\(422\).*empty"):
        server.client.save_label(uid, empty, tag="final")
    server.client.save_label(uid, empty, tag="edited")
    server.client.request("DELETE", "/datastore/label", query={"id": uid, "tag": "edited"})
    with pytest.raises(ServerError, match=r"\(422\).*remove it there"):
        server.client.request("DELETE", "/datastore/label", query={"id": uid, "tag": "final"})


@pytest.mark.parametrize("size", [0, 5, 18 * 20 * 22 + 1])
def test_voxels_that_do_not_fill_the_series_are_refused(server, scans, size):
    uid = next(iter(scans[1]))
    with pytest.raises(ServerError, match=r"\(422\).*bytes were sent"):
        _send(server, "PUT", "/datastore/label", {"image": uid, "tag": "final"}, {"label": ("x.bin", bytes(size))})


def test_the_voxels_that_ohif_sends_alone_are_laid_on_the_series(server, scans, tmp_path):
    uid, labels = list(scans[1].items())[1]
    sent = np.roll(labels, 2, axis=1)
    files = {"label": ("label.bin", sent.tobytes(order="F"))}
    _send(server, "PUT", "/datastore/label", {"image": uid, "tag": "final"}, files)
    back = nib.load(server.client.download_label(uid, tag="final", folder=tmp_path))
    assert np.array_equal(np.asarray(back.dataobj), sent)
    assert np.allclose(back.affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("told", ["5", '[{"idx": "x", "name": "a"}]', '[{"idx": 1}]', '"x"'])
def test_names_of_labels_that_are_none_are_refused(server, scans, tmp_path, told):
    uid, labels = next(iter(scans[1].items()))
    body, kind = form(
        {"params": f'{{"label_info": {told}}}'},
        {"label": ("x.nii.gz", _saved(labels, tmp_path / "x.nii.gz").read_bytes())},
    )
    with pytest.raises(ServerError, match=r"\(422\).*label_info"):
        server.client._server.json(
            "PUT", "/datastore/label", query={"image": uid, "tag": "edited"}, body=body, content_type=kind
        )


def test_a_pacs_that_is_away_is_said_to_be(label_bundles, tmp_path, start_label_server, free_local_port, start_orthanc):
    (tmp_path / "orthanc").mkdir()
    running = start_orthanc(tmp_path / "orthanc", [])
    url, _ = next(running)
    tiny = {"tiny": label_bundles["tiny"]}
    served = start_label_server(studies=f"{url}/dicom-web", work_folder=tmp_path / "work", bundles=tiny)
    client = next(served).client
    next(running, None)
    with pytest.raises(ServerError, match=r"\(502\).*PACS"):
        client.infer("tiny", "1.2.3", folder=tmp_path)
    next(served, None)


CONCEPT = CodedConcept(value="5366008", meaning="Hippocampus")


@pytest.fixture
def dcmqi(monkeypatch):
    """dcmqi's programs lie beside Python."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([Label(index=7, name="Posterior_Hippocampus", color=(1, 1, 1))], 7),
        ([Label(index=9, name="hippocampus", color=(1, 1, 1), concept=CONCEPT)], 9),
    ],
)
def test_a_segment_is_known_by_its_name_or_its_concept_whatever_its_number(
    pacs, dcmqi, segmented, tmp_path, table, expected
):
    uid, labels = segmented
    path = _seg_of(pacs, uid, tmp_path)
    found = read_seg(path, table=LabelTable(labels=tuple(table)), grid=Geometry(labels.shape, AFFINE)).labels
    assert np.array_equal(found, np.where(labels == 2, expected, 0))


def test_a_segmentation_of_other_structures_is_refused(pacs, dcmqi, segmented, tmp_path):
    uid, labels = segmented
    liver = LabelTable(labels=(Label(index=1, name="liver", color=(1, 1, 1)),))
    with pytest.raises(DataError, match="'posterior_hippocampus': expected one of liver"):
        read_seg(_seg_of(pacs, uid, tmp_path), table=liver, grid=Geometry(labels.shape, AFFINE))


def _seg_of(pacs, uid, folder):
    """The newest segmentation of a series, as a file."""
    segmentations = PacsSegmentations(DICOMwebClient(url=f"{pacs[0]}/dicom-web"))
    path = folder / "seg.dcm"
    segmentations.fetch(segmentations.newest()[uid], path)
    return path
