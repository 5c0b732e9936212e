"""The subset of Python that a bundle from elsewhere may write after a dollar sign."""

import pytest

from medseg.bundle.expressions import forbidden_import, forbidden_part, is_import


@pytest.mark.parametrize(
    "expression",
    [
        "torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "@network_def.to(@device)",
        "@bundle_root + '/models/model.pt'",
        "@roi_size[0] * 2 - 1",
        "[size // 2 for size in @roi_size]",
        "lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))",
        "torch.uint8",
        "np.float32",
        "dict(image=@image)",
        "os.path.join(@bundle_root, 'models')",
    ],
)
def test_what_only_computes_is_allowed(expression):
    assert forbidden_part(expression) is None


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("__import__('os').system('true')", ".system"),
        ("os.system('true')", "os.system()"),
        ("open('/etc/passwd')", "open()"),
        ("exec('1')", "exec()"),
        ("getattr(@network, 'x')", "getattr()"),
        ("torch.load('x.pt')", "torch.load()"),
        ("torch.hub.load('a/b', 'c')", "torch.hub.load()"),
        ("@network.__class__", ".__class__"),
        ("[c for c in ().__class__.__mro__]", ".__mro__"),
        ("(lambda torch: torch.to)(os)", "torch"),
        ("[torch][0].load('x')", ".load"),
        ("sorted([1], key=eval)", "eval"),
        ("[os for os in [1]]", "os"),
        ("f'{@x}'", "f'{_ref_}'"),
        ("(x := os)", "(x := os)"),
        ("torch", "torch"),
        ("1; 2", "1; 2"),
        ("_ref_.to('cpu')", "_ref_.to('cpu')"),
    ],
)
def test_what_could_do_more_is_named(expression, named):
    assert forbidden_part(expression) == named


@pytest.mark.parametrize(
    "expression", ["import os", "import glob", "import numpy as np", "import os.path", "import torch"]
)
def test_harmless_imports_are_allowed(expression):
    assert is_import(expression)
    assert forbidden_import(expression) is None


@pytest.mark.parametrize(
    "expression",
    [
        "import subprocess",
        "import scripts.transforms",
        "from os import system",
        "import os as torch",
        "import glob, socket",
        "# harmless\nimport socket",
        "\nimport socket",
        "from medseg.bundle import load_weights, load_bundle",
    ],
)
def test_other_imports_are_refused_however_they_are_written(expression):
    assert is_import(expression)
    assert forbidden_import(expression) is not None


def test_the_loader_of_our_own_bundles_may_be_imported():
    assert forbidden_import("from medseg.bundle import load_weights") is None
