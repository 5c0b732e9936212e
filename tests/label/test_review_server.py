"""A review whose cases come from the real server, and whose accepted labels go back to it."""

import numpy as np
import pytest

from medseg.bundle import segment
from medseg.errors import ReviewError
from medseg.io import read_labels
from medseg.review import ReviewServer, ServerJob, StoppedError


@pytest.fixture
def server(label_server, tmp_path) -> ReviewServer:
    return ReviewServer(label_server.client, tmp_path)


@pytest.fixture
def desk(server, napari_installed):
    from napari.components import ViewerModel

    from medseg.review.desk import ReviewDesk
    from medseg.review.preferences import ReviewPreferences

    desk = ReviewDesk(ViewerModel(), preferences=ReviewPreferences(reviewer="R. Eader"))
    desk.show_worklist(server.worklist())
    yield desk
    desk.close_case()


def test_the_images_of_the_server_are_the_cases(server, label_server):
    cases = {case.case_id for case in server.worklist().cases}
    assert cases == {image.image_id for image in label_server.client.images()}
    assert not (server.folder / "images").exists()  # fetched when opened


def test_a_case_is_fetched_segmented_there_accepted_and_final_for_everybody(desk, server, label_server):
    session = desk.open_case("oblique")
    expected = segment(label_server.studies / "oblique.nii.gz", bundle=label_server.bundles["tiny"], device="cpu")
    desk.take_proposal(ServerJob(server, "tiny", "oblique").run())
    np.testing.assert_array_equal(session.editor.labels, expected.labels)
    assert session.case.bundle.name == "tiny"
    assert set(session.editor.label_table.names) == set(expected.label_table.names)
    desk.layers.labels.paint((5, 5, 5), 1)
    accepted = session.editor.labels.copy()
    desk.accept()
    tags = next(image.tags for image in label_server.client.images() if image.image_id == "oblique")
    assert "final" in tags
    again = label_server.client.download_label("oblique", tag="final", folder=server.folder)
    np.testing.assert_array_equal(read_labels(again)[0].numpy(), accepted)
    np.testing.assert_allclose(read_labels(again).affine, session.scan.geometry.affine, atol=1e-4)


def test_what_somebody_accepted_elsewhere_comes_last_and_counts_as_accepted(server, label_server, tmp_path):
    case = server.fetched(server.worklist().case("case_3"))
    proposal = server.segment("tiny", "case_3")
    assert case.segmentation is None
    label_server.client.save_label("case_3", next((tmp_path / "labels").glob("case_3_tiny*")))
    listed = ReviewServer(label_server.client, tmp_path / "other").worklist()
    assert listed.case("case_3").state == "accepted"
    fetched = ReviewServer(label_server.client, tmp_path / "other").fetched(listed.case("case_3"))
    np.testing.assert_array_equal(read_labels(fetched.segmentation)[0].numpy(), proposal.segmentation.labels)


def test_an_unknown_model_is_refused_with_those_there_are(server):
    with pytest.raises(ReviewError, match="tiny"):
        server.segment("absent", "case_0")


def test_a_job_that_was_stopped_lets_the_answer_fall(server):
    job = ServerJob(server, "tiny", "case_0")
    job.stop()
    with pytest.raises(StoppedError):
        job.run()
