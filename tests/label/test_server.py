"""The real server, asked by our client and by MONAI Label's own."""

import json

import nibabel as nib
import numpy as np
import pytest

from medseg.bundle import load_bundle, segment
from medseg.errors import ServerError
from medseg.io import read_labels

BRATS = "BraTS2021_00001"


@pytest.fixture
def client(label_server):
    return label_server.client


def _expected(server, model, image):
    path = server.studies / image if model == "tiny_brats" else server.studies / f"{image}.nii.gz"
    return segment(path, bundle=server.bundles[model], device="cpu")


def test_every_model_is_listed_with_its_voxel_values(client, label_server):
    models = client.info().models
    for name, folder in label_server.bundles.items():
        assert dict(models[name].labels) == {one.name: one.index for one in load_bundle(folder).label_table}


def test_a_folder_of_four_channels_is_one_image_and_its_reference_none(client):
    assert {image.image_id for image in client.images()} >= {BRATS, "case_0", "case_1", "oblique"}
    assert not [image.image_id for image in client.images() if "seg" in image.image_id]


@pytest.mark.parametrize(("model", "image"), [("tiny", "case_0"), ("tiny", "oblique"), ("tiny_brats", BRATS)])
def test_labels_are_those_of_medseg_segment_voxel_for_voxel(label_server, client, tmp_path, model, image):
    expected = _expected(label_server, model, image)
    result = client.infer(model, image, folder=tmp_path)
    found = nib.load(result.labels)
    assert found.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(found.dataobj), expected.labels)
    assert np.allclose(found.affine, expected.geometry.affine, atol=1e-5)
    assert len(np.unique(expected.labels)) > 1  # else nothing was compared
    assert dict(result.params["label_names"]) == {one.name: one.index for one in expected.label_table}


@pytest.mark.parametrize("suffix", [".nrrd", ".seg.nrrd", ".mha"])
def test_another_format_holds_the_same_labels(label_server, client, tmp_path, suffix):
    result = client.infer("tiny", "case_1", folder=tmp_path, params={"result_extension": suffix})
    assert result.labels.name.endswith(suffix)
    assert np.array_equal(read_labels(result.labels).numpy()[0], _expected(label_server, "tiny", "case_1").labels)


def test_another_voxel_type_holds_the_same_labels(label_server, client, tmp_path):
    found = nib.load(client.infer("tiny", "case_1", folder=tmp_path, params={"result_dtype": "uint16"}).labels)
    assert found.get_data_dtype() == np.uint16
    assert np.array_equal(np.asarray(found.dataobj), _expected(label_server, "tiny", "case_1").labels)


def test_the_viewer_that_reads_no_packed_voxels_gets_them_plain(label_server, client, tmp_path):
    asked = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": False}  # as OHIF asks
    path = client.infer("tiny", "oblique", folder=tmp_path, params=asked).labels
    header, _, voxels = path.read_bytes().partition(b"\n\n")
    expected = _expected(label_server, "tiny", "oblique")
    assert b"encoding: raw" in header
    assert np.array_equal(np.frombuffer(voxels, "<u2").reshape(expected.labels.shape, order="F"), expected.labels)
    assert np.allclose(np.asarray(read_labels(path).affine), expected.geometry.affine, atol=1e-4)


def test_a_format_that_is_not_written_is_refused(client, tmp_path):
    with pytest.raises(ServerError, match=r"\(422\): params: result_extension"):
        client.infer("tiny", "case_1", folder=tmp_path, params={"result_extension": ".exe"})


def test_a_model_that_does_not_take_the_image_says_what_it_takes(client, tmp_path):
    with pytest.raises(ServerError, match=r"\(422\).*t1ce"):
        client.infer("tiny_brats", "case_0", folder=tmp_path)


def test_nothing_is_left_of_results_that_were_sent(label_server, client, tmp_path):
    client.infer("tiny", "case_0", folder=tmp_path)
    client.request("GET", "/info/")
    assert not list((label_server.work_folder / "tmp").glob("*.nii.gz"))


def test_an_accepted_label_comes_back_as_it_was_and_counts_as_completed(label_server, client, tmp_path):
    before = client.info().n_completed
    labels = client.infer("tiny", "case_2", folder=tmp_path).labels
    client.save_label("case_2", labels, tag="final", label_names={"anterior_hippocampus": 1})
    back = client.download_label("case_2", tag="final", folder=tmp_path / ".." / tmp_path.name)
    assert back.read_bytes() == labels.read_bytes()
    assert [image.tags for image in client.images() if image.image_id == "case_2"] == [("final",)]
    assert client.info().n_completed == before + 1
    client.request("DELETE", "/datastore/label", query={"id": "case_2", "tag": "final"})
    assert client.info().n_completed == before


def test_an_uploaded_image_can_be_segmented_and_is_not_replaced(label_server, client, tmp_path):
    source = label_server.studies / "case_3.nii.gz"
    assert client.upload_image("sent", source) == "sent"
    labels = client.infer("tiny", "sent", folder=tmp_path).labels
    assert np.array_equal(np.asarray(nib.load(labels).dataobj), _expected(label_server, "tiny", "case_3").labels)
    with pytest.raises(ServerError, match="exists already"):
        client.upload_image("sent", source)
    client.request("DELETE", "/datastore/image", query={"id": "sent"})
    assert not (label_server.studies / "sent.nii.gz").exists()


def test_an_image_can_be_downloaded_and_a_folder_gives_the_channel_asked_for(label_server, client, tmp_path):
    path = client.download_image("case_0", folder=tmp_path)
    assert path.read_bytes() == (label_server.studies / "case_0.nii.gz").read_bytes()
    first = client.download_image(BRATS, folder=tmp_path)
    assert first.read_bytes() == (label_server.studies / BRATS / f"{BRATS}_flair.nii.gz").read_bytes()


def test_a_note_on_an_image_is_kept(client):
    client.update_image_info("case_0", {"reader": "first"})
    assert client.image_info("case_0")["reader"] == "first"


def test_the_log_can_be_read_and_names_no_image(client, tmp_path):
    client.infer("tiny", "case_0", folder=tmp_path)
    log = client.logs()
    assert "ready: 2 models" in log
    assert "case_0" not in log


def test_the_stock_client_does_the_same(label_server, tmp_path):
    stock = pytest.importorskip("monailabel.client", reason="MONAI Label's client needs cgi, gone since Python 3.13")
    client = stock.MONAILabelClient(label_server.url, tmpdir=str(tmp_path))
    assert set(client.info()["models"]) == {"tiny", "tiny_brats"}
    file, params = client.infer("tiny", "case_1", params={})
    expected = _expected(label_server, "tiny", "case_1")
    assert np.array_equal(np.asarray(nib.load(file).dataobj), expected.labels)
    assert params["label_names"] == {"anterior_hippocampus": 1, "posterior_hippocampus": 2}
    session = client.create_session(str(label_server.studies / "case_1.nii.gz"))["session_id"]
    file, _ = client.infer("tiny", "", params={}, session_id=session)
    assert np.array_equal(np.asarray(nib.load(file).dataobj), expected.labels)
    client.remove_session(session)
    client.save_label("case_1", str(file), "original", params={"label_info": []})
    assert client.datastore()["objects"]["case_1"]["labels"].keys() == {"original"}
    assert client.next_sample("random", {})["id"]


def test_ohif_is_served_with_the_files_its_page_asks_for(client):
    with client._server.answer("GET", "/ohif/") as answer:
        assert b"OHIF" in answer.read()
        assert f"MONAILABEL_SERVER_URL={client.url}/" in answer.headers["set-cookie"]
    with client._server.answer("GET", "/ohif/manifest.json") as answer:
        assert json.loads(answer.read())
