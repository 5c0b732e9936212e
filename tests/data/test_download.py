"""Fetching from a server on this machine: complete and checked, or nothing at all."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from medseg.data import DataManifest, fetch_case
from medseg.errors import DataError, DownloadError, OutputError

IMAGE = gzip.compress(b"image of case_0" * 1000)
LABEL = gzip.compress(b"label of case_0" * 1000)


def archive_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = archive_of({"Blocks/imagesTr/case_0.nii.gz": IMAGE, "Blocks/labelsTr/case_0.nii.gz": LABEL})
MD5 = hashlib.md5(ARCHIVE).hexdigest()


@pytest.fixture
def server(publisher) -> str:
    """The address of the archive."""
    publisher.files["/Blocks.tar"] = ARCHIVE
    return f"{publisher.url}/Blocks.tar"


def manifest_of(url: str | None, *, md5: str = MD5, image_sha256: str | None = None) -> DataManifest:
    hashes = {
        "image_sha256": image_sha256 or hashlib.sha256(IMAGE).hexdigest(),
        "label_sha256": hashlib.sha256(LABEL).hexdigest(),
    }
    values = {
        "name": "blocks",
        "title": "Blocks",
        "folder": "Blocks",
        "licence": "CC0-1.0",
        "citation": "none",
        "archive": None if url is None else {"url": url, "md5": md5},
        "channels": [{"name": "T1", "modality": "MR"}],
        "labels": [{"index": 1, "name": "block", "color": [255, 0, 0]}],
        "image": "imagesTr/{case_id}.nii.gz",
        "label": "labelsTr/{case_id}.nii.gz",
        "cases": {"case_0": hashes},
        "splits": {"train": ["case_0"]},
    }
    return DataManifest.from_mapping(values, source="test")


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_case_is_fetched_out_of_the_archive(tmp_path, server):
    image, label = fetch_case(manifest_of(server), "case_0", tmp_path)
    assert (image.read_bytes(), label.read_bytes()) == (IMAGE, LABEL)
    assert files_in(tmp_path) == ["Blocks.tar", "Blocks/imagesTr/case_0.nii.gz", "Blocks/labelsTr/case_0.nii.gz"]
    assert image == tmp_path / "Blocks" / "imagesTr" / "case_0.nii.gz"


def test_what_is_there_with_the_right_hash_is_not_fetched_again(tmp_path, publisher, server):
    manifest = manifest_of(server)
    first = fetch_case(manifest, "case_0", tmp_path)
    (tmp_path / "Blocks.tar").unlink()
    assert fetch_case(manifest, "case_0", tmp_path) == first
    assert [path for path, _ in publisher.requests] == ["/Blocks.tar"]


def test_a_damaged_file_is_taken_anew_from_the_archive_that_is_there(tmp_path, publisher, server):
    manifest = manifest_of(server)
    image, _ = fetch_case(manifest, "case_0", tmp_path)
    image.write_bytes(b"damaged")
    fetch_case(manifest, "case_0", tmp_path)
    assert image.read_bytes() == IMAGE
    assert [path for path, _ in publisher.requests] == ["/Blocks.tar"]


def test_an_archive_with_another_checksum_is_not_kept(tmp_path, server):
    with pytest.raises(DownloadError, match=f"has MD5 {MD5}, {'0' * 32} was expected: the file is damaged"):
        fetch_case(manifest_of(server, md5="0" * 32), "case_0", tmp_path)
    assert files_in(tmp_path) == []


def test_a_file_that_is_not_the_one_described_is_not_kept(tmp_path, server):
    with pytest.raises(DownloadError, match=r"case_0.nii.gz in Blocks.tar is not the file the manifest describes"):
        fetch_case(manifest_of(server, image_sha256="0" * 64), "case_0", tmp_path)
    assert files_in(tmp_path) == ["Blocks.tar"]


@pytest.mark.parametrize(
    "body",
    [archive_of({"Blocks/imagesTr/other.nii.gz": IMAGE}), b"no archive at all", b""],
    ids=["without the case", "no archive", "empty"],
)
def test_an_archive_without_the_case_is_refused(tmp_path, publisher, server, body):
    publisher.files["/Blocks.tar"] = body
    with pytest.raises(DownloadError, match=r"Blocks.tar has no readable Blocks/imagesTr/case_0.nii.gz"):
        fetch_case(manifest_of(server, md5=hashlib.md5(body).hexdigest()), "case_0", tmp_path)
    assert files_in(tmp_path) == ["Blocks.tar"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, server):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken cannot be made"):
        fetch_case(manifest_of(server), "case_0", tmp_path / "taken")


@pytest.mark.parametrize(("url", "case_id"), [(None, "case_0"), ("http://127.0.0.1/Blocks.tar", "case_1")])
def test_a_case_that_is_not_published_is_refused(tmp_path, url, case_id):
    with pytest.raises(DataError, match=f"blocks has no public archive, or no case '{case_id}'"):
        fetch_case(manifest_of(url), case_id, tmp_path)
