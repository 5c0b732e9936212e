"""A compiled network on disk: loaded as it was, its pages given back and read again, refused where it is damaged."""

import sys
from pathlib import Path

import numpy as np
import pytest

from medseg.inference.runtime.compiled_file import is_whole, loaded, remove_damaged
from medseg.inference.runtime.openvino_worker import BLOB, CHECKSUM, Order, _carry_out, compile_settings

openvino = pytest.importorskip("openvino")

SETTINGS = compile_settings(precision="float32", n_threads=1)
N_WEIGHTS = 4_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the worker made of x + w, w being 16 MB."""
    where = tmp_path_factory.mktemp("compiled")
    x = openvino.opset13.parameter([1, N_WEIGHTS], np.float32)
    weights = np.random.default_rng(0).random((1, N_WEIGHTS), np.float32)
    model = openvino.Model([openvino.opset13.add(x, weights)], [x])
    openvino.save_model(model, where / "model.xml", compress_to_fp16=False)
    _carry_out(Order(str(where / "model.xml"), "", "", str(where / "made"), "float32", 1))
    return where / "made"


def test_what_the_compiler_made_is_loaded_as_it_was(folder):
    assert is_whole(folder)
    request, _ = loaded(folder, SETTINGS)
    expected = np.random.default_rng(0).random((1, N_WEIGHTS), np.float32)
    assert np.array_equal(request.infer([np.zeros((1, N_WEIGHTS), np.float32)])[0], expected)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_network_that_rests_gives_its_files_pages_back_and_reads_them_again(folder):
    request, rest = loaded(folder, SETTINGS)
    window = np.ones((1, N_WEIGHTS), np.float32)
    before = request.infer([window])[0].copy()
    used = resident_of_files()
    rest()
    assert resident_of_files() <= used - 0.9 * 4 * N_WEIGHTS
    assert np.array_equal(request.infer([window])[0], before)


@pytest.mark.parametrize("damage", ["one bit", "cut short", "no checksum", "another checksum", "nothing there"])
def test_a_damaged_one_is_known_before_it_is_loaded_and_makes_way(damage, folder, tmp_path):
    content = bytearray((folder / BLOB).read_bytes())
    other = tmp_path / "other"
    other.mkdir()
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    if damage == "cut short":
        del content[-1:]
    if damage != "nothing there":
        (other / BLOB).write_bytes(content)
    if damage != "no checksum":
        checksum = "00000000" if damage == "another checksum" else (folder / CHECKSUM).read_text()
        (other / CHECKSUM).write_text(checksum)
    assert not is_whole(other)
    remove_damaged(other)
    assert not other.exists()


def test_a_whole_one_does_not_make_way(folder):
    remove_damaged(folder)
    assert is_whole(folder)


def resident_of_files() -> int:
    """Bytes of files and shared memory that lie in this process's memory."""
    words = Path("/proc/self/status").read_text().split()
    return 1024 * int(words[words.index("RssFile:") + 1])
