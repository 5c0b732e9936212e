"""Learning through the real server: accepted labels, training, promotion, going back; scores and choices."""

import time

import nibabel as nib
import numpy as np
import pytest

from medseg.bundle import sha256_of
from medseg.errors import ServerError
from medseg.label.scores import ScoreStore
from medseg.label.versions import WeightsVersions
from medseg.monai_label_client import MonaiLabelClient

PATIENCE_S = 240
TOKEN = "a-token-of-enough-letters"


def wait_for(status, *ends):
    """The task when it has ended in one of these ways."""
    for _ in range(PATIENCE_S * 2):
        task = status()
        if task is not None and task["status"] in ("DONE", "ERROR", "STOPPED"):
            assert task["status"] in ends, task["details"]
            return task
        time.sleep(0.5)
    raise AssertionError(f"the task did not end: {task}")


@pytest.fixture(scope="module")
def server(label_server_installed, label_bundles, tmp_path_factory, write_blocks, start_label_server):
    """A server of its own: what is learned here would change what others expect."""
    folder = tmp_path_factory.mktemp("learning")
    studies = folder / "studies"
    for number in range(6):
        write_blocks(studies / f"case_{number}.nii.gz", seed=number, labels=folder / "labels" / f"case_{number}.nii.gz")
    work_folder = folder / "work"
    yield from start_label_server(studies=studies, work_folder=work_folder, bundles=label_bundles, token=TOKEN)


@pytest.fixture
def client(server):
    return server.client


@pytest.fixture
def versions(server):
    own = server.bundles["tiny"] / "models" / "model.safetensors"
    return WeightsVersions(server.work_folder / "versions" / "tiny", own_weights=own)


def _accept(server, client, *numbers):
    for number in numbers:
        name = f"case_{number}"
        client.save_label(name, server.studies.parent / "labels" / f"{name}.nii.gz", tag="final")


def test_only_those_who_know_the_token_are_answered(server):
    for token in (None, "another-token-of-letters"):
        with pytest.raises(ServerError, match="401"):
            MonaiLabelClient(server.url, token=token).info()
    stranger = MonaiLabelClient(server.url)
    assert stranger.request("GET", "/auth/")["enabled"]


def test_scores_are_computed_aside_and_the_least_certain_image_is_chosen(server, client, versions):
    first = client.next_sample("entropy", {"model": "tiny"})
    assert first.info["note"] == "no scores yet: any image"
    wait_for(client.score_status, "DONE")
    sha256 = sha256_of(versions.current_weights)
    scores = ScoreStore(server.work_folder / "scores", model="tiny", weights_sha256=sha256).read(
        [f"case_{number}" for number in range(6)]
    )
    assert len(scores) == 6
    chosen = client.next_sample("entropy", {"model": "tiny"})
    assert chosen.image_id == max(scores, key=lambda image_id: scores[image_id].entropy)
    assert "note" not in chosen.info
    assert client.next_sample("diversity", {"model": "tiny"}) is not None
    assert client.next_sample("first").image_id == "case_0"


def test_training_ends_in_a_promoted_version_that_segments_and_can_be_taken_back(
    server, client, versions, tmp_path, medseg_command
):
    with pytest.raises(ServerError, match="learning_rate"):
        client.train_start("tiny", {"learning_rate": -1})
    assert client.train_status() is None
    before = client.infer("tiny", "case_5", folder=tmp_path).params
    _accept(server, client, 0, 1, 2, 3)
    asked = {"epochs": 4, "learning_rate": 0.02, "device": "cpu"}
    client.train_start("tiny", asked)
    task = wait_for(client.train_status, "DONE")
    assert any("validation Dice" in line for line in task["details"])
    assert "validation Dice" in client.logs()
    assert versions.current == 1
    after = client.infer("tiny", "case_5", folder=tmp_path).params
    assert after["weights_sha256"] == versions.all()[0].sha256 != before["weights_sha256"]
    assert client.info().raw["train_stats"]["tiny"]["current"] == 1
    assert client.next_sample("entropy", {"model": "tiny"}).info["note"] == "no scores yet: any image"  # stale ones
    work = ["--work-folder", server.work_folder]
    assert "* 1" in medseg_command("label", "versions", server.bundles["tiny"], *work).err
    assert medseg_command("label", "rollback", server.bundles["tiny"], *work).exit_code == 0
    assert versions.current == 0
    assert client.infer("tiny", "case_5", folder=tmp_path).params["weights_sha256"] == before["weights_sha256"]
    client.request("POST", "/medseg/versions/tiny/promote", query={"version": "1"})
    assert versions.current == 1
    wait_for(client.score_status, "DONE")


def test_a_training_that_is_stopped_goes_on_where_it_was(server, client):
    _accept(server, client, 0, 1, 2, 3)
    asked = {"epochs": 400, "learning_rate": 0.001, "device": "cpu"}
    client.train_start("tiny", asked)
    with pytest.raises(ServerError, match="429"):
        client.train_start("tiny", asked)
    runs = server.work_folder / "training" / "tiny"
    for _ in range(PATIENCE_S * 4):
        if list(runs.glob("*/checkpoint.pt")):
            break
        time.sleep(0.25)
    client.train_stop()
    assert client.train_status()["status"] == "STOPPED"
    client.train_start("tiny", asked)
    for _ in range(PATIENCE_S * 4):
        details = list(client.train_status().get("details") or [])
        if any("going on with" in line for line in details):
            break
        time.sleep(0.25)
    client.train_stop()
    assert any("going on with" in line for line in details)


def test_many_images_are_segmented_aside(server, client, tmp_path):
    client.batch_infer("tiny", images="unlabeled")
    wait_for(client.batch_status, "DONE")
    proposed = [image.image_id for image in client.images() if "original" in image.tags]
    assert {"case_4", "case_5"} <= set(proposed)
    kept = nib.load(client.download_label("case_4", tag="original", folder=tmp_path))
    alone = nib.load(client.infer("tiny", "case_4", folder=tmp_path).labels)
    assert np.array_equal(np.asarray(kept.dataobj), np.asarray(alone.dataobj))
