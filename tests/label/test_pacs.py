"""The label server over a PACS: Orthanc on this machine, a series of ours, segmentations that go back to it."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from medseg.bundle import segment
from medseg.errors import ServerError

PROGRAMS = ("Orthanc", "dciodvfy", "itkimage2segimage")
PLUGINS = "/usr/share/orthanc/plugins/"
STUDY, FRAME = generate_uid(), generate_uid()
SLICES, ROWS, COLUMNS = 18, 20, 22


def _found(name):
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@pytest.fixture(scope="module")
def programs(label_server_installed):
    """Nothing where the programs are installed, else a skip."""
    missing = [name for name in PROGRAMS if _found(name) is None]
    if missing:
        if os.environ.get("MEDSEG_REQUIRE_LABEL"):
            pytest.fail(f"MEDSEG_REQUIRE_LABEL is set, but {', '.join(missing)} are not installed")
        pytest.skip(f"{', '.join(missing)} not installed: apt-get install orthanc orthanc-dicomweb dicom3tools")


def _slice(number, values, series):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    one = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    one.SOPClassUID, one.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = STUDY, series, FRAME
    one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = "Doe^Jane", "42", "19700101", "F"
    one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20260101", "120000", "1", "1"
    one.SeriesDate, one.SeriesTime, one.ContentDate, one.ContentTime = "20260101", "120000", "20260101", "120000"
    one.ReferringPhysicianName, one.PositionReferenceIndicator, one.Manufacturer = "", "", "medseg"
    one.Modality, one.ImageType, one.SeriesNumber, one.InstanceNumber = "MR", ["ORIGINAL", "PRIMARY", "M"], 1, number
    one.ScanningSequence, one.SequenceVariant, one.ScanOptions, one.MRAcquisitionType = "GR", "SP", "", "3D"
    one.EchoTime, one.RepetitionTime, one.EchoTrainLength = 3, 8, 1
    one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = ROWS, COLUMNS, 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, 0
    one.PixelSpacing, one.SliceThickness, one.SpacingBetweenSlices = [1, 1], 1.5, 1.5
    one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-11.0, -10.0, 1.5 * number]
    one.PixelData = values.astype("<u2").tobytes()
    return one


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A folder with an MR series of two touching blocks in noise."""
    folder = tmp_path_factory.mktemp("series")
    random = np.random.default_rng(5)
    volume = random.normal(100, 10, size=(SLICES, ROWS, COLUMNS))
    volume[4:10, 5:12, 4:8] += 100
    volume[4:10, 5:12, 8:13] += 200
    uid = generate_uid()
    for number, values in enumerate(volume):
        _slice(number, values, uid).save_as(folder / f"{number:03d}.dcm")
    return uid, folder


@pytest.fixture(scope="module")
def pacs(programs, series, tmp_path_factory, free_local_port):
    """Orthanc with the series in it; its address, and a function that asks it."""
    folder = tmp_path_factory.mktemp("orthanc")
    port, dicom_port = free_local_port(), free_local_port()
    settings = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [PLUGINS],
        "HttpPort": port,
        "DicomPort": dicom_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def ask(path, body=None):
        request = urllib.request.Request(url + path, data=body)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    for _ in range(100):
        try:
            ask("/system")
            break
        except OSError:
            time.sleep(0.2)
    for path in sorted(series[1].iterdir()):
        ask("/instances", path.read_bytes())
    yield url, ask
    process.terminate()
    process.wait(timeout=30)


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
