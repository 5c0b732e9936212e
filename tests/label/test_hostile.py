"""Two hundred requests that mean no good: no file outside is read or written, nothing crashes, each is told why."""

import asyncio
import gzip
import http.client
import io
import json
import socket
import tarfile
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import nibabel as nib
import numpy as np
import psutil
import pytest

from medseg.label.guard import Guard
from medseg.monai_label_client.transport import form

OUTSIDE = (
    "../outside",
    "../outside.nii.gz",
    "..",
    "/etc/passwd",
    "....//outside",
    "labels/../../outside",
    "a/b",
    "a\\b",
)
ODD_NAMES = (*OUTSIDE, "", "x" * 500, "\x00", "%00", "~root", "-rf", ".hidden", "datastore_v2", "case_0\n", "名前")
PLACES = ("image", "label", "file", "path", "bundle_path", "bundle_root", "app_dir", "studies", "session", "conf")
WRONG_JSON = ("{", "[]", "1", '"text"', "nul", "{'a': 1}", '{"a": }', "[" * 5000)
SECRET = "outside the studies"


@pytest.fixture(scope="module")
def secret(label_server):
    """A file beside the studies that no answer may hold."""
    path = label_server.studies.parent / "secret.txt"
    path.write_text(SECRET)
    return path


@pytest.fixture
def send(label_server):
    """A function that sends one request as it is, and returns status and body."""
    place = urlsplit(label_server.url)

    def request(method, path, body=b"", headers=()):
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
        connection.putrequest(method, path, skip_host="Host" in dict(headers), skip_accept_encoding=True)
        for name, value in {"Content-Length": str(len(body)), **dict(headers)}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    return request


def _form(fields, files=None):
    body, kind = form(fields, files or {})
    return body, {"Content-Type": kind}


def _requests(secret, scan):
    """Method, path, body, headers of every request that must be refused."""
    for name in ODD_NAMES:
        told = quote(name, safe="")
        yield "POST", f"/infer/tiny?image={told}", *_form({"params": "{}"})
        yield "POST", f"/infer/{told or '%20'}?image=case_0", *_form({"params": "{}"})
        yield "GET", f"/datastore/label?label={told}&tag=final", b"", {}
        yield (
            "PUT",
            f"/datastore/label?image=case_0&tag={told or '%20'}",
            *_form({}, {"label": ("l.nii.gz", b"no image")}),
        )
        yield "GET", f"/datastore/image?image={told}", b"", {}
        yield "DELETE", f"/datastore/image?id={told}", b"", {}
        yield "DELETE", f"/datastore/label?id=case_0&tag={told}", b"", {}
        yield "POST", f"/train/{told or '%20'}", b"{}", {"Content-Type": "application/json"}
    for name in OUTSIDE:
        yield "PUT", f"/datastore/?image={quote(name, safe='')}", *_form({}, {"file": ("s.nii.gz", scan)})
        yield "GET", f"/session/{quote(name, safe='')}", b"", {}
        yield "GET", f"/ohif/{quote(name)}/../../../secret.txt", b"", {}
    for key in PLACES:
        params = json.dumps({key: str(secret)})
        yield "POST", "/infer/tiny?image=case_0", *_form({"params": params})
        for path in ("/train/tiny", "/scoring/active_learning", "/batch/infer/tiny", "/activelearning/random"):
            yield "POST", path, params.encode(), {"Content-Type": "application/json"}
    for text in WRONG_JSON:
        yield "POST", "/infer/tiny?image=case_0", *_form({"params": text})
        yield "POST", "/train/tiny", text.encode(), {"Content-Type": "application/json"}
        yield "PUT", "/datastore/image/info?image=case_0", *_form({"info": text})
    for suffix in (".json", ".py", ".pkl", "", ".nii.gz/../../x.py"):
        yield "PUT", "/datastore/?image=datastore_v2", *_form({}, {"file": (f"x{suffix}", b"{}")})
        yield "POST", "/infer/tiny", *_form({"params": "{}"}, {"file": (f"x{suffix}", b"{}")})
    yield from _single_requests(scan)


def _single_requests(scan):
    as_json = {"Content-Type": "application/json"}
    huge = {"Content-Length": "9000000000", "Content-Type": "multipart/form-data"}
    return [
        ("PUT", "/datastore/?image=new", *_form({}, {"file": ("x.nii.gz", b"no image at all")})),
        ("PUT", "/datastore/?image=case_0", *_form({}, {"file": ("x.nii.gz", scan)})),
        ("PUT", "/model/tiny", *_form({}, {"file": ("m.pt", b"weights")})),
        ("DELETE", "/model/tiny", b"", {}),
        ("POST", "/reload", b"", {}),
        ("POST", "/infer/wsi/tiny?image=/etc/passwd", b"{}", as_json),
        ("POST", "/infer/tiny?image=case_0&output=dicom_seg", *_form({"params": "{}"})),
        ("POST", "/infer/tiny?image=case_0&output=everything", *_form({"params": "{}"})),
        ("POST", "/infer/tiny?image=case_0&session_id=../..", *_form({"params": "{}"})),
        ("POST", "/infer/tiny", *_form({"params": "{}"})),
        ("POST", "/scoring/unknown", b"{}", as_json),
        ("POST", "/activelearning/unknown", b"{}", as_json),
        ("POST", "/batch/infer/unknown", b"{}", as_json),
        ("POST", "/train/", b"{}", as_json),
        ("POST", "/medseg/versions/tiny/promote?version=99", b"", {}),
        ("POST", "/medseg/versions/tiny/promote?version=-1", b"", {}),
        ("POST", "/medseg/versions/unknown/rollback", b"", {}),
        ("POST", "/medseg/versions/tiny/rollback", b"", {}),
        ("GET", "/proxy/dicom/studies", b"", {}),
        ("GET", "/proxy/dicom/wado/../../system", b"", {}),
        ("GET", "/../../etc/passwd", b"", {}),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", b"", {}),
        ("GET", "/static/../app.py", b"", {}),
        ("GET", "/info/", b"", {"Host": "evil.example"}),
        ("GET", "/info/", b"", {"Origin": "http://evil.example"}),
        ("POST", "/infer/tiny?image=case_0", *_from_elsewhere(_form({"params": "{}"}))),
        ("POST", "/train/tiny", b'{"a": "' + b"x" * 2_000_000 + b'"}', as_json),
        ("POST", "/infer/tiny?image=case_0", b"", huge),
    ]


def _from_elsewhere(request):
    body, headers = request
    return body, {**headers, "Origin": "null"}


def _state(label_server):
    """Every file beside and below the studies, but what is noted of images, with its size."""
    return {
        path: path.stat().st_size
        for path in sorted(label_server.studies.parent.rglob("*"))
        if path.is_file() and "work" not in path.parts and path.suffix not in (".json", ".log") and path.name != ".lock"
    }


def test_none_of_two_hundred_hostile_requests_reads_writes_or_breaks_anything(label_server, secret, send):
    before = _state(label_server)
    scan = (label_server.studies / "case_0.nii.gz").read_bytes()
    hostile = list(_requests(secret, scan))
    assert len(hostile) >= 200
    wrong = []
    for method, path, body, headers in hostile:
        status, content = send(method, path, body, headers)
        if path.startswith("/ohif/") and status == 200:  # the viewer's own page
            assert b"OHIF" in content
            continue
        is_clear = 400 <= status < 500 and bool(json.loads(content)["detail"])
        if not is_clear or SECRET.encode() in content or b"root:" in content:
            wrong.append((method, path[:80], status, content[:120]))
    assert wrong == []
    assert _state(label_server) == before
    assert not list((label_server.work_folder / "tmp").glob("*.nii.gz"))  # nor is anything kept of what was refused
    assert label_server.process.poll() is None
    assert label_server.client.info().models


def test_an_upload_cannot_become_the_notes_of_the_data_store(label_server, send):
    notes = json.dumps({"name": "x", "description": "x", "images_dir": "/", "labels_dir": "/", "objects": {}}).encode()
    body, headers = _form({}, {"file": ("datastore_v2.json", notes)})
    status, _ = send("PUT", "/datastore/?image=datastore_v2", body, headers)
    assert status == 422
    assert label_server.client.info().n_images >= 6


def test_an_archive_is_not_unpacked(label_server, send, secret):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("../../../unpacked.txt")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"out"))
    body, headers = _form({}, {"files": ("x.tar", packed.getvalue())})
    status, _ = send("PUT", "/session/?uncompress=true", body, headers)
    assert status == 400
    assert not list(label_server.work_folder.parent.rglob("unpacked.txt"))


def test_a_body_without_a_told_length_is_cut_off_at_the_limit(label_server):
    place = urlsplit(label_server.url)
    head = (
        f"POST /train/tiny HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"186A0\r\n" + b"x" * 100_000 + b"\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(head.encode())
        try:
            for _ in range(200):  # 20 MB where one is the limit
                connection.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        else:
            connection.sendall(b"0\r\n\r\n")
        try:
            answer = connection.recv(64)
        except ConnectionResetError:
            answer = b""
    assert answer in (b"",) or answer.split()[1] in (b"400", b"413")
    assert label_server.client.info().models


def test_more_segmentations_at_once_than_can_wait_are_sent_away_and_the_others_done(label_server, send):
    path = "/infer/tiny?image=case_0&output=json"
    body, headers = _form({"params": "{}"})
    with ThreadPoolExecutor(24) as many:
        ends = list(
            many.map(lambda _: send("POST", "/infer/tiny?image=case_0&output=json", body, headers)[0], range(24))
        )
    assert set(ends) <= {200, 429}
    assert ends.count(200) >= 4
    assert ends.count(429) >= 1
    assert send("POST", path, body, headers)[0] == 200


LONG = json.dumps({"note": "a" * 300_000})
UNFIT = ("9" * 5000, "[" * 200_000, '{"a": ' * 100_000, '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', LONG)
"""Values that no other process could be handed, and no answer could hold."""


@pytest.mark.parametrize("text", UNFIT)
def test_values_that_nothing_can_be_done_with_are_refused_wherever_they_are_sent(send, label_server, text):
    before = label_server.client.train_status()  # of a training that another test may have begun
    for key, method, path in (
        ("info", "PUT", "/datastore/image/info?image=case_0"),
        ("info", "PUT", "/datastore/label/info?label=case_0&tag=final"),
        ("params", "POST", "/infer/tiny?image=case_0"),
    ):
        status, content = send(method, path, *_form({key: text}))
        assert (status, bool(json.loads(content)["detail"])) == (422, True), path
    for path in ("/train/tiny", "/scoring/active_learning", "/batch/infer/tiny", "/activelearning/random"):
        status, _ = send("POST", path, text.encode(), {"Content-Type": "application/json"})
        assert 400 <= status < 500, path
    assert send("GET", "/datastore/image/info?image=case_0")[0] == 200
    after = label_server.client.train_status()
    assert (after and after["id"]) == (before and before["id"])  # nothing was begun, and nothing waits for ever


@pytest.mark.parametrize("seed", ["-1", '"x"', "1e30", "[]", "1.5"])
def test_a_seed_that_is_none_is_refused(send, seed):
    body = f'{{"seed": {seed}}}'.encode()
    assert send("POST", "/activelearning/random", body, {"Content-Type": "application/json"})[0] == 422


@pytest.mark.parametrize("key", ["id", "path", "name"])
def test_a_note_on_an_image_cannot_pass_for_what_the_server_says(send, label_server, key):
    note = json.dumps({key: "/etc/passwd"})
    assert send("PUT", "/datastore/image/info?image=case_0", *_form({"info": note}))[0] == 422
    assert label_server.client.image_info("case_0").get("id") is None


@pytest.mark.parametrize("name", ["x" * 300 + ".nii.gz", "a" + ".b" * 200 + ".nii.gz", "名" * 100 + ".nii.gz"])
def test_a_file_name_that_no_disk_takes_is_refused(send, name):
    for path, key in (("/datastore/?image=new", "file"), ("/datastore/label?image=case_0&tag=t", "label")):
        assert send("PUT", path, *_form({}, {key: (name, b"no image")}))[0] == 422


def test_a_small_file_that_claims_more_voxels_than_there_is_memory_for_is_refused_before_it_is_unpacked(send):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((2000, 2000, psutil.virtual_memory().available // (2000 * 2000 * 4)))
    bomb = gzip.compress(header.binaryblock + bytes(1000))
    for method, path, key in (
        ("POST", "/infer/tiny", "file"),
        ("PUT", "/datastore/?image=bomb", "file"),
        ("PUT", "/datastore/label?image=case_0&tag=t", "label"),
    ):
        status, content = send(method, path, *_form({}, {key: ("x.nii.gz", bomb)}))
        assert status == 422
        assert "more than fit into memory" in json.loads(content)["detail"]


NRRD = b"NRRD0004\ntype: unsigned char\ndimension: 3\nsizes: 3 3 2\nencoding: raw\n"
META = b"ObjectType = Image\nNDims = 3\nDimSize = 3 3 2\nElementType = MET_UCHAR\nElementSpacing = 1 1 1\n"
DETACHED = (
    ("x.nrrd", NRRD + b"data file: %s\n\n"),
    ("x.nrrd", NRRD + b"datafile:=%s\ndatafile: %s\n\n"),
    ("x.nrrd", NRRD + b"#" * 70_000 + b"\ndata file: %s\n\n"),
    ("x.mha", META + b"ElementDataFile = %s\n"),
    ("x.mha", META + b"ElementDataFile : %s\nElementDataFile = LOCAL\n"),
    ("x.mha", META + b"Comment = x\rElementDataFile = %s\nElementDataFile = LOCAL\n"),
)


@pytest.mark.parametrize(("name", "header"), DETACHED)
def test_a_header_that_points_at_another_file_is_refused(send, secret, name, header):
    text = header.replace(b"%s", str(secret).encode())
    for method, path, key in (
        ("POST", "/infer/tiny", "file"),
        ("PUT", "/datastore/?image=detached", "file"),
        ("PUT", "/datastore/label?image=case_0&tag=t", "label"),
    ):
        status, content = send(method, path, *_form({}, {key: (name, text)}))
        assert status == 422
        assert "another file" in json.loads(content)["detail"]
    for stored in (name, name.replace(".mha", ".mhd").replace(".nrrd", ".nhdr")):
        _, content = send("PUT", "/session/", *_form({}, {"files": (stored, text)}))
        session = json.loads(content)["session_id"]
        assert send("POST", f"/infer/tiny?session_id={session}", *_form({"params": "{}"}))[0] == 422


def test_the_log_brings_no_scripts_of_others_along(send):
    for path in ("/logs/", "/logs/?html=true", "/logs/?lines=5"):
        status, content = send("GET", path)
        assert status == 200
        assert b"<script" not in content
    assert send("GET", "/logs/?lines=-1")[0] == 422


def test_dozens_of_bodies_that_never_end_keep_nobody_waiting(label_server, send):
    place = urlsplit(label_server.url)
    head = (
        f"POST /infer/tiny?image=case_0 HTTP/1.1\r\nHost: {place.netloc}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n--x"
    )
    slow = [socket.create_connection((place.hostname, place.port)) for _ in range(60)]
    try:
        for connection in slow:
            connection.sendall(head.encode())
        assert send("GET", "/info/")[0] == 200
        assert send("POST", "/infer/tiny?image=case_0&output=json", *_form({"params": "{}"}))[0] == 200
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PATCH", "OPTIONS", "FOO", "PROPFIND"])
def test_methods_that_nobody_offers_are_refused(send, method):
    for path in ("/info/", "/infer/tiny", "/datastore/image?image=case_0"):
        assert send(method, path)[0] in {400, 404, 405}


def test_one_request_cannot_hide_another_behind_two_lengths(label_server):
    place = urlsplit(label_server.url)
    text = (
        f"POST /train/tiny HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\nGET /info/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    )
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        connection.sendall(text.encode())
        connection.settimeout(3)
        try:
            answer = connection.recv(5000)
        except (TimeoutError, ConnectionResetError):
            answer = b""
    assert b'"models"' not in answer


@pytest.mark.parametrize("path", ["/openapi.json", "/ohif/", "/logs/", "/model/tiny", "/", "/proxy/dicom/x", "/ws"])
def test_no_page_is_open_without_the_token(path):
    async def app(scope, receive, send):
        raise AssertionError("let in")

    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.disconnect"}

    guard = Guard(app, host="0.0.0.0", token="a-token-of-enough-letters", body_limit_bytes=10)
    query = b"token=a-token-of-enough-letters"  # known, but not where it is looked for: addresses end up in logs
    scope = {"type": "http", "path": path, "raw_path": path.encode(), "query_string": query, "headers": []}
    asyncio.run(guard(scope, receive, send))
    assert sent[0]["status"] == 401


def test_pages_of_other_servers_get_no_permission(send):
    status, _ = send(
        "OPTIONS", "/info/", b"", {"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}
    )
    assert status == 403
