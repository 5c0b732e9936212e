"""The label server over a PACS: Orthanc on this machine, a series of ours, segmentations that go back to it."""

import json
import subprocess

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medseg.bundle import segment
from medseg.errors import ServerError


@pytest.fixture(scope="module")
def series(tmp_path_factory, write_series):
    """The UID of a series, and the folder that it lies in."""
    folder = tmp_path_factory.mktemp("series") / "one"
    return write_series(folder, seed=5)[0], folder


@pytest.fixture(scope="module")
def pacs(start_orthanc, series, tmp_path_factory):
    """Orthanc with the series in it; its address, and a function that asks it."""
    yield from start_orthanc(tmp_path_factory.mktemp("orthanc"), [series[1]])


@pytest.fixture(scope="module")
def server(pacs, label_bundles, tmp_path_factory, start_label_server):
    folder = tmp_path_factory.mktemp("pacs")
    tiny = {"tiny": label_bundles["tiny"]}
    yield from start_label_server(studies=f"{pacs[0]}/dicom-web", work_folder=folder / "work", bundles=tiny)


def _errors_of(seg):
    found = subprocess.run(["dciodvfy", "-new", str(seg)], capture_output=True, text=True, check=False)
    return [line for line in (found.stdout + found.stderr).splitlines() if line.startswith("Error")]


def test_a_series_is_segmented_as_its_folder_and_the_result_goes_back_as_a_valid_seg(server, pacs, series, tmp_path):
    client, (uid, folder) = server.client, series
    assert client.next_sample("first").image_id == uid
    expected = segment(folder, bundle=server.bundles["tiny"], device="cpu")
    assert set(np.unique(expected.labels)) > {0}
    result = client.infer("tiny", uid, folder=tmp_path)
    found = nib.load(result.labels)
    assert np.array_equal(np.asarray(found.dataobj), expected.labels)
    assert np.allclose(found.affine, expected.geometry.affine, atol=1e-4)

    client.save_label(uid, result.labels, tag="final", label_names=dict(result.params["label_names"]))
    _, ask = pacs
    (entry,) = json.loads(ask("/dicom-web/series?Modality=SEG&includefield=0020000E"))
    seg_uid = entry["0020000E"]["Value"][0]
    (instance,) = json.loads(ask("/tools/lookup", seg_uid.encode()))
    (stored,) = json.loads(ask(f"/series/{instance['ID']}"))["Instances"]
    path = tmp_path / "seg.dcm"
    path.write_bytes(ask(f"/instances/{stored}/file"))
    assert _errors_of(path) == []
    seg = pydicom.dcmread(path)
    present = sorted(set(np.unique(expected.labels)) - {0})
    assert len(seg.SegmentSequence) == len(present)
    assert {one.SegmentedPropertyTypeCodeSequence[0].CodeValue for one in seg.SegmentSequence} == {"5366008"}
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == uid
    assert client.next_sample("first") is None  # nothing is left without a segmentation


def test_a_seg_can_be_asked_for_without_storing_it(server, series, tmp_path):
    body = b'--x\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n--x--\r\n'
    kind = "multipart/form-data; boundary=x"
    query = {"image": series[0], "output": "dicom_seg"}
    with server.client._server.answer("POST", "/infer/tiny", query=query, body=body, content_type=kind) as answer:
        (tmp_path / "seg.dcm").write_bytes(answer.read())
    assert _errors_of(tmp_path / "seg.dcm") == []


def test_the_viewer_reaches_the_series_and_nothing_else_of_the_pacs(server, series):
    (entry,) = server.client.request("GET", "/proxy/dicom/qido/series", query={"Modality": "MR"})
    assert entry["0020000E"]["Value"] == [series[0]]
    for path in ("/proxy/dicom/system", "/proxy/dicom/wado/tools", "/proxy/dicom/wado/studies/%2e%2e/%2e%2e/system"):
        with pytest.raises(ServerError, match=r"\(400\)"):
            server.client.request("GET", path)


@pytest.mark.parametrize("name", ["../../etc", "1.2/../..", "", "a.b", "1" * 70 + ".1"])
def test_an_id_that_is_no_uid_is_not_looked_for(server, name, tmp_path):
    with pytest.raises(ServerError, match=r"\((404|422)\)"):
        server.client.infer("tiny", name, folder=tmp_path)
