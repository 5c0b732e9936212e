import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import DataError, GeometryError, LockedError, ReviewError, SettingsError
from medseg.geometry import Geometry
from medseg.io import CaseFiles, ChannelFile, read_labels
from medseg.labels import Label, LabelTable
from medseg.record import UsedBundle, verify_journal
from medseg.review import CaseToReview, NestedRegions, Proposal, ReviewFolder, ReviewSession, latest_version
from medseg.review.edits import NestedRegion
from medseg.review.label_names import generic_table
from medseg.segmentation import Segmentation

TABLE = LabelTable(
    labels=(Label(index=1, name="liver", color=(200, 0, 0)), Label(index=3, name="spleen", color=(0, 200, 0)))
)
OBLIQUE = np.array([[0.68, -0.17, 0, 11], [0.17, 0.68, 0.2, -4], [-0.04, -0.12, 3.0, 60], [0, 0, 0, 1]])
SHAPE = (12, 14, 6)


@pytest.fixture
def case(tmp_path: Path, write_scan: Callable[..., Path]) -> CaseToReview:
    scan = write_scan(tmp_path / "scan.nii.gz", shape=SHAPE, affine=OBLIQUE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 2:6, 1:3] = 1
    nib.save(nib.Nifti1Image(labels, OBLIQUE), tmp_path / "labels.nii.gz")
    files = CaseFiles("case_1", (ChannelFile("CT", scan),))
    return CaseToReview(files, TABLE, labels=tmp_path / "labels.nii.gz")


@pytest.fixture
def folder(tmp_path: Path) -> ReviewFolder:
    return ReviewFolder.of(tmp_path)


def opened(case: CaseToReview, folder: ReviewFolder, reviewer: str = "R. Eader") -> ReviewSession:
    return ReviewSession.open(case, folder=folder, reviewer=reviewer)


def paint(session: ReviewSession, plane: int, value: int = 3) -> None:
    box = (slice(8, 10), slice(8, 11), slice(plane, plane + 1))
    session.editor.paint(box, np.full((2, 3, 1), value, np.uint8))


def actions(folder: ReviewFolder) -> list[str]:
    lines = folder.journal.read_text().splitlines()
    return [json.loads(line)["entry"]["action"] for line in lines]


def test_an_accepted_case_is_a_new_version_on_the_scans_own_grid(case, folder):
    session = opened(case, folder)
    paint(session, 4)
    expected = session.editor.labels.copy()
    version = session.accept(comment="spleen added")
    session.close()
    written = read_labels(version.path)
    np.testing.assert_array_equal(written[0].numpy(), expected)
    np.testing.assert_allclose(written.affine.numpy(), OBLIQUE, atol=1e-5)
    entry = json.loads(folder.journal.read_text().splitlines()[-1])["entry"]
    assert entry["action"] == "accept"
    assert entry["reviewer"] == "R. Eader"
    assert entry["voxels_changed"] == {"spleen": 6}
    assert entry["input_sha256"] == session.scan.sha256
    assert entry["output_sha256"] == version.record.labels_sha256
    assert verify_journal(folder.journal) == []


def test_accepting_again_keeps_both_versions_and_opening_shows_the_latest(case, folder):
    session = opened(case, folder)
    first = session.accept()
    paint(session, 5)
    second = session.accept()
    session.close()
    assert (first.number, second.number) == (1, 2)
    assert first.read().labels.sum() < second.read().labels.sum()
    again = opened(case, folder)
    np.testing.assert_array_equal(again.editor.labels, second.read().labels)
    assert again.review.state == "accepted"
    again.close()
    assert case.labels is not None
    assert not (read_labels(case.labels)[0].numpy() == 3).any()  # what was given is as it was


def test_edits_that_were_not_accepted_are_there_again(case, folder):
    session = opened(case, folder)
    paint(session, 4)
    paint(session, 5)
    session.editor.undo()
    session.save()
    labels = session.editor.labels.copy()
    session.close()
    again = opened(case, folder, reviewer="S. Econd")
    np.testing.assert_array_equal(again.editor.labels, labels)
    assert any("came back" in note for note in again.notes)
    again.editor.redo()
    assert (again.editor.labels[8:10, 8:11, 5] == 3).all()
    again.close()
    assert "recovered" in actions(folder)


def test_edits_are_given_up_only_when_asked(case, folder):
    session = opened(case, folder)
    paint(session, 4)
    assert session.has_unaccepted_edits
    session.close(keep_edits=False)
    again = opened(case, folder)
    assert not (again.editor.labels == 3).any()
    assert again.notes == ()
    again.close()


def test_saved_edits_of_other_labels_are_moved_aside_and_not_thrown_away(case, folder):
    session = opened(case, folder)
    paint(session, 4)
    session.close()
    other = np.zeros(SHAPE, np.uint8)
    nib.save(nib.Nifti1Image(other, OBLIQUE), case.labels)
    again = opened(case, folder)
    assert any("moved to" in note for note in again.notes)
    assert len(list(folder.autosaves.glob("*.unused"))) == 1
    again.close()


def test_a_case_is_open_to_one_reviewer_at_a_time(case, folder):
    session = opened(case, folder)
    with pytest.raises(LockedError, match=r"R\. Eader"):
        opened(case, folder, reviewer="S. Econd")
    session.close()
    opened(case, folder, reviewer="S. Econd").close()


def test_a_case_that_cannot_be_read_is_not_left_locked(case, folder):
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), np.eye(4)), case.labels)
    with pytest.raises(GeometryError, match="one grid was expected"):
        opened(case, folder)
    assert not list(folder.locks.glob("*.lock"))


def test_labels_that_the_table_does_not_have_are_refused(case, folder):
    nib.save(nib.Nifti1Image(np.full(SHAPE, 9, np.uint8), OBLIQUE), case.labels)
    with pytest.raises(DataError, match="label 9"):
        opened(case, folder)


def test_an_accepted_version_that_was_changed_by_hand_is_refused(case, folder):
    session = opened(case, folder)
    session.accept()
    session.close()
    version = latest_version(folder, "case_1")
    assert version is not None
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), OBLIQUE), version.path)
    with pytest.raises(DataError, match="changed after it was accepted"):
        opened(case, folder)


def test_decisions_and_marks_are_in_the_journal_with_time_spent(case, folder):
    session = opened(case, folder)
    session.accept_structure("liver")
    session.reject("leaks into the stomach", structure="spleen")
    session.flag("motion")
    session.comment("contrast is late")
    session.ask_second_reader("unsure of the spleen")
    assert session.review.state == "needs_second_reader"
    assert session.review.structures["liver"].state == "accepted"
    assert session.review.structures["spleen"].reason == "leaks into the stomach"
    assert session.review.flag_names == ("motion",)
    session.reject("motion")
    assert session.review.state == "rejected"
    session.close()
    assert actions(folder) == ["open", "accept", "reject", "flag", "comment", "second_reader", "reject"]
    assert session.review.seconds_spent >= 0


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda session: session.reject("  "), "needs a reason"),
        (lambda session: session.comment(""), "comment is empty"),
        (lambda session: session.flag(""), "needs a name"),
        (lambda session: session.accept_structure("kidney"), "liver, spleen"),
    ],
)
def test_decisions_that_say_nothing_are_refused(case, folder, act, message):
    session = opened(case, folder)
    with pytest.raises(ReviewError, match=message):
        act(session)
    session.close()
    assert actions(folder) == ["open"]


def test_a_reviewer_has_a_name(case, folder):
    with pytest.raises(ReviewError, match="enter your name"):
        opened(case, folder, reviewer=" ")


def test_a_case_without_labels_is_drawn_from_nothing(case, folder):
    bare = CaseToReview(case.files, TABLE)
    session = opened(bare, folder)
    assert not session.editor.labels.any()
    paint(session, 0, 1)
    version = session.accept()
    assert version.record.origin.base_sha256 is None
    session.close()


def proposal(session: ReviewSession) -> Proposal:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:7, 2:9, 1:4], labels[3:5, 3:5, 2] = 1, 3
    regions = NestedRegions((NestedRegion("liver", frozenset({1, 3}), 1), NestedRegion("spleen", frozenset({3}), 3)))
    model = UsedBundle(name="organs", version="1.0.0", weights_sha256="a" * 64)
    return Proposal(Segmentation(labels, session.scan.geometry, TABLE), "organs 1.0.0", model, regions)


def unlabelled(case: CaseToReview) -> CaseToReview:
    return CaseToReview(case.files, generic_table([]))


def test_a_proposal_that_was_not_accepted_comes_back_with_its_names_its_nesting_and_its_model(case, folder):
    session = opened(unlabelled(case), folder)
    paint(session, 4, 1)
    session.editor.undo()
    session.save()
    session.take_proposal(proposal(session))
    expected = session.editor.labels.copy()
    meant = (session.case.label_table, session.case.regions, session.case.bundle)
    session.close()
    again = opened(unlabelled(case), folder)
    np.testing.assert_array_equal(again.editor.labels, expected)
    assert (again.case.label_table, again.case.regions, again.case.bundle) == meant
    assert (again.editor.label_table, again.editor.rules.regions) == meant[:2]
    version = again.accept()
    assert version.label_table == TABLE
    assert version.record.origin.bundle == meant[2]


def test_an_accepted_case_is_opened_with_the_meaning_that_was_accepted(case, folder):
    session = opened(unlabelled(case), folder)
    session.take_proposal(proposal(session))
    meant = (session.case.label_table, session.case.regions, session.case.bundle)
    session.accept()
    session.close()
    again = opened(unlabelled(case), folder)
    assert (again.case.label_table, again.case.regions, again.case.bundle) == meant
    assert again.accept().label_table == TABLE


def test_names_that_are_given_later_take_the_place_of_mere_numbers(case, folder):
    session = opened(unlabelled(case), folder)
    paint(session, 4, 1)
    paint(session, 2, 9)
    first = session.accept()
    session.close()
    assert first.label_table.names == ("label 1", "label 9")
    again = opened(case, folder)
    assert again.case.label_table.names == ("liver", "spleen", "label 9")


def test_a_value_that_the_table_does_not_have_is_named_when_it_is_accepted(case, folder):
    session = opened(case, folder)
    paint(session, 4, 9)
    version = session.accept()
    assert version.label_table.names == ("liver", "spleen", "label 9")
    assert version.record.origin.voxels_changed == {"label 9": 6}


def test_a_session_whose_case_was_taken_leaves_the_edits_of_the_taker_alone(case, folder):
    first = opened(case, folder)
    paint(first, 4)
    first.save()
    second = ReviewSession.open(case, folder=folder, reviewer="R. Eader", take_own_lock=True)
    paint(first, 2)
    with pytest.raises(LockedError, match="agree"):
        first.save()
    with pytest.raises(LockedError, match="agree"):
        first.close()
    first.close(keep_edits=False)
    paint(second, 3)
    assert second.save() == 1
    expected = second.editor.labels.copy()
    second.close()
    np.testing.assert_array_equal(opened(case, folder).editor.labels, expected)


def test_a_session_whose_case_was_taken_can_be_closed_when_it_has_nothing_to_save(case, folder):
    first = opened(case, folder)
    paint(first, 4)
    first.save()
    second = ReviewSession.open(case, folder=folder, reviewer="R. Eader", take_own_lock=True)
    first.close()
    paint(second, 3)
    assert second.accept().number == 1


@pytest.mark.parametrize("case_id", [" spaced ", "tab\t", "ünïcode 日本", "x" * 255, "a/b", "."])
def test_a_case_is_found_again_whatever_it_is_called(case, folder, case_id):
    named = replace(case, files=CaseFiles(case_id, case.files.channels))
    session = opened(named, folder)
    paint(session, 4)
    session.accept()
    assert session.review.state == "accepted"
    session.close()
    assert [entry.case_id for entry in opened(named, folder).entries] == [case_id] * 3


@pytest.mark.parametrize("case_id", ["x" * 257, "no text\udcff"])
def test_a_name_that_no_journal_holds_is_refused_in_one_line_and_leaves_no_lock(case, folder, case_id):
    named = replace(case, files=CaseFiles(case_id, case.files.channels))
    with pytest.raises(SettingsError, match="case_id"):
        opened(named, folder)
    assert not list(folder.locks.glob("*.lock"))


def test_a_comment_that_no_journal_holds_is_refused_before_a_version_is_written(case, folder):
    session = opened(case, folder)
    paint(session, 4)
    with pytest.raises(SettingsError, match="comment"):
        session.accept(comment="x" * 10_001)
    assert latest_version(folder, case.case_id) is None
    assert session.has_unaccepted_edits
    with pytest.raises(SettingsError, match="reason"):
        session.reject("x" * 10_001)


@pytest.mark.parametrize("left", [(), ("v0002.json",)])
def test_a_reviewer_is_told_when_the_labels_that_were_accepted_last_are_gone(case, folder, left):
    session = opened(case, folder)
    for plane in (2, 4):
        paint(session, plane)
        session.accept()
    session.close()
    assert opened_and_closed(case, folder).notes == ()
    for path in folder.versions_of(case.case_id).glob("v0002*"):
        if path.name not in left:
            path.unlink()
    (note,) = opened_and_closed(case, folder).notes
    assert "R. Eader accepted" in note
    assert "gone" in note


def opened_and_closed(case: CaseToReview, folder: ReviewFolder) -> ReviewSession:
    session = opened(case, folder)
    session.close()
    return session


def test_a_proposal_on_another_grid_changes_nothing(case, folder):
    session = opened(unlabelled(case), folder)
    given = proposal(session)
    moved = Geometry(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
    with pytest.raises(GeometryError, match="another grid"):
        session.take_proposal(replace(given, segmentation=Segmentation(given.segmentation.labels, moved, TABLE)))
    assert session.case.label_table.names == ("label 1",)
    assert not session.has_unaccepted_edits


def test_a_model_whose_colours_have_changed_may_segment_an_accepted_case_again(case, folder):
    session = opened(case, folder)
    session.accept()
    repainted = LabelTable(labels=tuple(label.model_copy(update={"color": (9, 9, 9)}) for label in TABLE))
    given = proposal(session)
    session.take_proposal(replace(given, segmentation=replace(given.segmentation, label_table=repainted)))
    assert session.editor.label_table == repainted
    session.accept()
    session.close()
    assert opened(case, folder).case.label_table == TABLE
