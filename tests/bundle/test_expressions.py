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
        "[x + y for x in @roi_size if x > 0 for y in [x]]",
        "lambda x, *rest, scale=@scale: [x * scale for x in rest]",
        "@##roi_size#0 + @training::steps",
        "{name: index for index, name in enumerate(@names)}",
        "10**-3 * @steps ** 0.5",
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
        ("9**9**9", "9 ** 9 ** 9"),
        ("1 << 10000000000", "1 << 10000000000"),
        ("2 ** @steps", "2 ** _ref_"),
        ("[@scale << 16 << 16 << 16 << 16]", "_ref_ << 16"),
    ],
)
def test_what_could_do_more_is_named(expression, named):
    assert forbidden_part(expression) == named


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("(lambda eval: 0) and eval('1')", "eval()"),
        ("[eval for eval in []] or eval('1')", "eval()"),
        ("{exec: 1 for exec in []} or exec('1')", "exec()"),
        ("[__import__ for __import__ in []] or __import__('os')", "__import__()"),
        ("(lambda *, eval=0: 0) and eval", "eval"),
        ("(lambda x=eval: x)", "eval"),
        ("(lambda *, x=eval: x)", "eval"),
        ("[x for x in [1] if eval('1')]", "eval()"),
        ("[x for x in eval('1')]", "eval()"),
        ("[x for y in x for x in [y]]", "x"),
    ],
)
def test_a_name_that_is_bound_elsewhere_is_pythons_own(expression, named):
    assert forbidden_part(expression) == named


@pytest.mark.parametrize(
    "expression",
    [
        """'@f {open("x")}'""",  # to MONAI: '__local_refs[' f'] {open("x")}'
        "(1, 2)[0 #open('x')\n]",  # to MONAI: (1, 2)[0 ::open('x') ]
        "1 # why",
    ],
)
def test_what_monai_would_write_otherwise_is_refused(expression):
    assert forbidden_part(expression) is not None


@pytest.mark.parametrize(
    "expression", ["@net(pretrained=True)", "@nets[0](1)", "[f(1) for f in @nets]", "(lambda: 0)()"]
)
def test_what_an_entry_is_cannot_be_known_so_that_it_is_never_called(expression):
    assert str(forbidden_part(expression)).endswith("()")


def test_nothing_is_assigned_to_through_a_comprehension():
    assert forbidden_part("[0 for @net.eval in [1]]") == "_ref_.eval"


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
        "from medseg.bundle import load_bundle as load_weights",
    ],
)
def test_other_imports_are_refused_however_they_are_written(expression):
    assert is_import(expression)
    assert forbidden_import(expression) is not None


def test_the_loader_of_our_own_bundles_may_be_imported():
    assert forbidden_import("from medseg.bundle import load_weights") is None
