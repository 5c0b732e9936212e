"""The client against a server of the tests' own that answers as MONAI Label does, and as broken servers do."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medseg.errors import OutputError, ServerError
from medseg.monai_label_client import MonaiLabelClient
from medseg.monai_label_client.transport import form, parts_of

EVERY_BYTE = bytes(range(256)) * 3 + b"\r\n--not-the-boundary\r\n\r\n\n\r"


class _Answering(BaseHTTPRequestHandler):
    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        self.server.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        status, headers, body = self.server.answers[self.path.split("?")[0]]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def log_message(self, *words): ...


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answering) as listening:
        listening.asked, listening.answers = [], {}
        listening.url = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


def _json(value, status=200):
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


def test_labels_named_without_numbers_are_counted_from_one(server):
    server.answers["/info/"] = _json({"models": {"m": {"labels": ["spleen", "liver"], "dimension": 3}}})
    assert MonaiLabelClient(server.url).info().models["m"].labels == {"spleen": 1, "liver": 2}


def test_images_come_with_their_tags_in_order(server):
    objects = {"b": {"image": {"info": {"ts": 1}}, "labels": {"original": {}, "final": {}}}, "a": {"labels": {}}}
    server.answers["/datastore/"] = _json({"objects": objects})
    assert [(one.image_id, one.tags) for one in MonaiLabelClient(server.url).images()] == [
        ("a", ()),
        ("b", ("final", "original")),
    ]


def test_the_token_goes_with_every_request(server):
    server.answers["/info/"] = _json({})
    MonaiLabelClient(server.url, token="s3cret").info()
    assert server.asked[0][2]["Authorization"] == "Bearer s3cret"


def test_a_redirection_is_refused_and_the_token_stays_here(server):
    server.answers["/info/"] = (302, {"Location": f"{server.url}/elsewhere"}, b"")
    with pytest.raises(ServerError, match="302"):
        MonaiLabelClient(server.url, token="s3cret").info()
    assert [path for _, path, _, _ in server.asked] == ["/info/"]


def test_a_label_file_of_any_bytes_arrives_whole(server, tmp_path):
    body, kind = form({"params": '{"label_names": {"x": 1}}'}, {"image": ("x.seg.nrrd", EVERY_BYTE)})
    server.answers["/infer/some%20model"] = (200, {"Content-Type": kind}, body)
    result = MonaiLabelClient(server.url).infer("some model", "case/../1", folder=tmp_path)
    assert result.labels == tmp_path / "case_.._1_some_model.seg.nrrd"
    assert result.labels.read_bytes() == EVERY_BYTE
    assert result.params == {"label_names": {"x": 1}}


def test_a_form_is_read_back_as_it_was_written():
    body, kind = form({"a": "1"}, {"b": ("c.nii.gz", EVERY_BYTE)})
    assert parts_of(kind, body) == {"a": ("", b"1"), "b": ("c.nii.gz", EVERY_BYTE)}


def test_a_downloaded_image_gets_the_suffix_the_server_names_and_no_other_folder(server, tmp_path):
    headers = {"Content-Disposition": 'attachment; filename="../../evil.nii.gz"'}
    server.answers["/datastore/image"] = (200, headers, b"scan")
    path = MonaiLabelClient(server.url).download_image("../up", folder=tmp_path)
    assert path.parent == tmp_path
    assert path.name.endswith(".nii.gz")
    assert path.read_bytes() == b"scan"


def test_the_refusal_of_the_server_is_told_in_its_own_words(server):
    server.answers["/activelearning/x"] = _json({"detail": "no such strategy"}, 404)
    with pytest.raises(ServerError, match=r"\(404\): no such strategy"):
        MonaiLabelClient(server.url).next_sample("x")


def test_nothing_left_to_label_is_none(server):
    server.answers["/activelearning/random"] = _json({})
    assert MonaiLabelClient(server.url).next_sample("random") is None


def test_no_training_yet_is_none(server):
    server.answers["/train/"] = _json({"detail": "No Train Tasks Found"}, 404)
    assert MonaiLabelClient(server.url).train_status() is None


def test_an_answer_that_is_no_json_is_refused(server):
    server.answers["/info/"] = (200, {}, b"<html>")
    with pytest.raises(ServerError, match="no JSON"):
        MonaiLabelClient(server.url).info()


def test_a_server_that_is_not_there_is_said_to_be_so():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answering) as listening:
        port = listening.server_address[1]
    with pytest.raises(ServerError, match="is the server running there"):
        MonaiLabelClient(f"http://127.0.0.1:{port}").info()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "file:///etc/passwd", ""])
def test_an_address_that_is_none_of_http_is_refused(url):
    with pytest.raises(ServerError, match="http://HOST:PORT"):
        MonaiLabelClient(url)


def test_a_label_file_that_is_missing_is_refused_before_anything_is_sent(server, tmp_path):
    with pytest.raises(OutputError, match="cannot be read"):
        MonaiLabelClient(server.url).save_label("a", tmp_path / "absent.nii.gz")
    assert server.asked == []
