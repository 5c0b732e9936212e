"""One file from a server on this machine: whole and checked, gone on with where it broke off, or refused."""

import hashlib
import socket
import urllib.error
import urllib.request
from http.client import HTTPMessage
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from medseg.data import fetch, fetch_file
from medseg.errors import DownloadError, OutputError

BODY = np.random.default_rng(0).bytes(50_000)
MD5 = hashlib.md5(BODY).hexdigest()
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def url(publisher) -> str:
    publisher.files["/model.pt"] = BODY
    return f"{publisher.url}/model.pt"


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("algorithm", "digest"), [("md5", MD5), ("sha256", SHA256), ("sha256", SHA256.upper())])
def test_a_file_comes_whole_and_alone(tmp_path, url, algorithm, digest):
    fetch_file(url, tmp_path / "new" / "model.pt", digest=digest, algorithm=algorithm)
    assert (tmp_path / "new" / "model.pt").read_bytes() == BODY
    assert files_in(tmp_path / "new") == ["model.pt"]


def test_a_file_that_is_there_is_not_fetched_again(tmp_path, publisher, url):
    (tmp_path / "model.pt").write_bytes(BODY)
    fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert publisher.requests == []


def test_a_damaged_file_is_replaced(tmp_path, url):
    (tmp_path / "model.pt").write_bytes(BODY[:-1])
    fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert (tmp_path / "model.pt").read_bytes() == BODY


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_transfer_that_broke_off_goes_on(tmp_path, publisher, url, knows_ranges):
    publisher.knows_ranges = knows_ranges
    publisher.breaks_off_after = 20_000
    with pytest.raises(DownloadError, match="goes on where it stopped"):
        fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert not (tmp_path / "model.pt").exists()
    publisher.breaks_off_after = None
    heard = []
    fetch_file(
        url,
        tmp_path / "model.pt",
        digest=MD5,
        algorithm="md5",
        on_bytes=lambda done, total: heard.append((done, total)),
    )
    assert (tmp_path / "model.pt").read_bytes() == BODY
    assert publisher.requests[-1] == ("/model.pt", "bytes=20000-")
    assert heard[-1] == (len(BODY), len(BODY))
    assert files_in(tmp_path) == ["model.pt"]


def test_two_at_once_do_not_write_into_one_part(tmp_path, publisher, url):
    part = tmp_path / f".model.pt.{MD5[:12]}.part"
    with FileLock(fetch._lock_of(part)), pytest.raises(DownloadError, match="by another process"):
        fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert publisher.requests == []
    assert files_in(tmp_path) == []
    fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert files_in(tmp_path) == ["model.pt"]


def test_a_part_that_is_whole_or_too_long_begins_anew(tmp_path, publisher, url):
    (tmp_path / f".model.pt.{MD5[:12]}.part").write_bytes(BODY + b"more")
    fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert (tmp_path / "model.pt").read_bytes() == BODY


def test_the_beginning_of_another_file_is_given_up(tmp_path, publisher, url):
    (tmp_path / f".model.pt.{MD5[:12]}.part").write_bytes(b"other" * 1000)
    fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert (tmp_path / "model.pt").read_bytes() == BODY
    assert [asked for _, asked in publisher.requests] == ["bytes=5000-", None]
    assert files_in(tmp_path) == ["model.pt"]


def test_a_connection_that_stalls_loses_nothing_that_it_brought(tmp_path, publisher, url, monkeypatch):
    monkeypatch.setattr("medseg.data.fetch.TIMEOUT_S", 0.3)
    publisher.breaks_off_after, publisher.stalls_s = 20_000, 1.0
    with pytest.raises(DownloadError, match="timed out"):
        fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [BODY[:20_000]]


@pytest.mark.parametrize("elsewhere", ["ftp://127.0.0.1:9/model.pt", "file:///etc/hostname", "data:text/plain,weights"])
def test_a_server_that_sends_one_to_another_scheme_is_not_followed(tmp_path, publisher, elsewhere):
    publisher.moved["/moved.pt"] = elsewhere
    with pytest.raises(DownloadError, match=r"no http or https address|is not allowed"):
        fetch_file(f"{publisher.url}/moved.pt", tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert files_in(tmp_path) == []


def test_a_server_that_sends_one_to_another_address_is_followed(tmp_path, publisher, url):
    publisher.moved["/moved.pt"] = url
    fetch_file(f"{publisher.url}/moved.pt", tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert (tmp_path / "model.pt").read_bytes() == BODY


def test_a_server_that_leads_round_in_a_circle_is_refused_in_one_line(tmp_path, publisher):
    publisher.moved["/moved.pt"] = "/moved.pt"
    with pytest.raises(DownloadError) as refused:
        fetch_file(f"{publisher.url}/moved.pt", tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert len(str(refused.value).splitlines()) == 1


def test_progress_ends_at_the_size_of_the_file(tmp_path, url, monkeypatch):
    monkeypatch.setattr("medseg.data.fetch.CHUNK_BYTES", 4096)
    heard = []
    fetch_file(
        url,
        tmp_path / "model.pt",
        digest=MD5,
        algorithm="md5",
        on_bytes=lambda done, total: heard.append((done, total)),
    )
    assert heard[-1] == (len(BODY), len(BODY))
    assert len(heard) > 2
    assert heard == sorted(heard)


def test_a_file_with_another_checksum_is_not_kept_and_replaces_nothing(tmp_path, url):
    (tmp_path / "model.pt").write_bytes(b"older")
    with pytest.raises(DownloadError, match=f"has MD5 {MD5}, {'0' * 32} was expected"):
        fetch_file(url, tmp_path / "model.pt", digest="0" * 32, algorithm="md5")
    assert (tmp_path / "model.pt").read_bytes() == b"older"
    assert files_in(tmp_path) == ["model.pt"]


def test_an_address_that_is_gone_is_refused(tmp_path, publisher):
    with pytest.raises(DownloadError, match=r"gone cannot be fetched: the server answers 404 .*correct the address"):
        fetch_file(f"{publisher.url}/gone", tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "advice"),
    [(403, "it wants a login"), (410, "no longer there"), (500, "try again later"), (503, "try again later")],
)
def test_what_a_server_answers_is_told_with_what_to_do(code, advice, tmp_path, url, monkeypatch):
    def refused(*_, **__):
        raise urllib.error.HTTPError(url, code, "Refused", HTTPMessage(), None)

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", refused)
    with pytest.raises(DownloadError, match=f"the server answers {code} Refused: .*{advice}"):
        fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")


def test_a_server_that_does_not_answer_is_refused(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/model.pt"
        with pytest.raises(DownloadError, match="Connection refused"):
            fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/model.pt", "model.pt", ""])
def test_an_address_that_is_not_http_is_refused(tmp_path, url):
    with pytest.raises(DownloadError, match="is no http or https address"):
        fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")


@pytest.mark.parametrize("url", ["http://[broken/model.pt", "http:///model.pt", "http://a b/model.pt"])
def test_an_address_that_cannot_be_one_is_refused(tmp_path, url):
    with pytest.raises(DownloadError, match="cannot be fetched"):
        fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("kind", ["symlink_to", "hardlink_to"])
def test_nothing_is_written_through_a_link_in_the_place_of_the_part(tmp_path, url, kind):
    (tmp_path / "another").write_bytes(b"mine")
    getattr(tmp_path / f".model.pt.{MD5[:12]}.part", kind)(tmp_path / "another")
    fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert (tmp_path / "another").read_bytes() == b"mine"
    assert (tmp_path / "model.pt").read_bytes() == BODY
    assert not (tmp_path / "model.pt").is_symlink()


def test_a_file_without_a_stated_length_leaves_room_on_the_disk(tmp_path, publisher, url, monkeypatch):
    publisher.states_length = False
    monkeypatch.setattr("medseg.data.fetch.SPARE_BYTES", 2**60)
    with pytest.raises(OutputError, match="states no length"):
        fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert files_in(tmp_path) == []
    monkeypatch.undo()
    fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert (tmp_path / "model.pt").read_bytes() == BODY


def test_a_file_larger_than_the_disk_is_refused_before_it_is_begun(tmp_path, publisher, url):
    publisher.stated_length = 2**60
    with pytest.raises(OutputError, match="GB are needed"):
        fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert files_in(tmp_path) == []


def test_a_full_disk_is_told(tmp_path, url, full_disk):
    with pytest.raises(OutputError, match=r"model\.pt cannot be written"):
        fetch_file(url, tmp_path / "model.pt", digest=MD5, algorithm="md5")
    assert not (tmp_path / "model.pt").exists()
