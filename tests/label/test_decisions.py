"""The one journal that napari and the server write."""

import shutil

from medseg.bundle import sha256_of
from medseg.label.decisions import ReviewJournal
from medseg.record import Journal, JournalEntry
from medseg.review.states import review_of


def test_what_a_client_decides_stands_in_the_journal_of_the_review(tmp_path, write_scan):
    labels = write_scan(tmp_path / "label.nii.gz")
    journal = ReviewJournal(tmp_path)
    journal.note("case_1", "original", labels=labels)
    journal.note("case_1", "final", labels=labels, client="slicer-7")
    entries = Journal(tmp_path / "review" / "journal.jsonl").entries()
    assert [(entry.action, entry.reviewer) for entry in entries] == [("accept", "MONAI Label client slicer-7")]
    assert entries[0].output_sha256 == sha256_of(labels)
    assert review_of(entries, "case_1").state == "accepted"
    journal.note_reopened("case_1")
    assert review_of(Journal(tmp_path / "review" / "journal.jsonl").entries(), "case_1").state == "in_review"


def test_a_journal_that_has_not_changed_has_no_news(tmp_path, write_scan):
    journal = ReviewJournal(tmp_path)
    assert journal.news() == {}
    journal.note("case_1", "rejected", labels=write_scan(tmp_path / "label.nii.gz"))
    assert journal.news()["case_1"].action == "reject"
    assert journal.news() == {}


def test_a_case_accepted_in_napari_is_final_for_the_server_and_no_longer_when_it_is_reopened(label_server, tmp_path):
    client = label_server.client
    labels = client.infer("tiny", "case_3", folder=tmp_path).labels
    kept = label_server.studies / "review" / "versions" / "case_3" / "v0001.nii.gz"
    kept.parent.mkdir(parents=True)
    shutil.copyfile(labels, kept)
    journal = Journal(label_server.studies / "review" / "journal.jsonl")
    accepted = {"reviewer": "a reader", "case_id": "case_3", "output_sha256": sha256_of(kept)}
    journal.append(JournalEntry(action="accept", **accepted))
    tags = {image.image_id: image.tags for image in client.images()}
    assert tags["case_3"] == ("final",)
    assert client.download_label("case_3", tag="final", folder=tmp_path).read_bytes() == kept.read_bytes()
    journal.append(JournalEntry(action="reject", reviewer="a reader", case_id="case_3"))
    tags = {image.image_id: image.tags for image in client.images()}
    assert tags["case_3"] == ("rejected",)
    client.request("DELETE", "/datastore/label", query={"id": "case_3", "tag": "rejected"})  # others use the server too


def test_a_case_accepted_through_the_server_is_accepted_in_napari(label_server, tmp_path):
    client = label_server.client
    client.save_label("case_2", client.infer("tiny", "case_2", folder=tmp_path).labels, tag="final")
    entries = Journal(label_server.studies / "review" / "journal.jsonl").entries()
    assert review_of(entries, "case_2").state == "accepted"
    client.request("DELETE", "/datastore/label", query={"id": "case_2", "tag": "final"})
    entries = Journal(label_server.studies / "review" / "journal.jsonl").entries()
    assert review_of(entries, "case_2").state == "in_review"
