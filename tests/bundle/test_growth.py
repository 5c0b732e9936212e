"""What an expression of an unknown bundle may hold: bounded by reading it, through references too."""

import pytest

from medseg.bundle.growth import Growth
from medseg.bundle.trust import TrustError, check_part

CONFIG = {
    "roi_size": [96, 96, 96],
    "spacing": [1.5, 1.5, 2.0],
    "steps": 10_000,
    "epochs": 500,
    "names": ["a", "b", "c"],
    "many": 10**9,
    "text": "x" * 40,
    "network": {"_target_": "UNet", "channels": "$[16] * 5"},
    "double": ["$[0] * 1000", "$@double::0 * 1000", "$@double::1 * 1000"],
    "nested": ["$[0, 0]", *(f"$[@nested::{n}, @nested::{n}]" for n in range(40))],
    "squared": ["$10**16", *(f"$@squared::{n} * @squared::{n}" for n in range(6))],
    "round": "$@round + [1]",
}


@pytest.mark.parametrize(
    "expression",
    [
        "torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "@network.to(@device)",
        "@bundle_root + '/models/' + @text + '/' + @text + '/model.pt'",
        "os.path.join(@bundle_root, @text, 'models')",
        "@roi_size[0] * 2 - 1",
        "[size // 2 for size in @roi_size]",
        "('bilinear',) * 4",
        "[0.5] * len(@roi_size) + [1] * 3",
        "@steps * @epochs * @steps * @epochs",
        "1.0 / @steps",
        "1e30 * @steps",
        "list(range(@steps))",
        "[i * j for i in range(100) for j in range(100)]",
        "{name: index for index, name in enumerate(@names)}",
        "lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))",
        "lambda x, scale=@steps: [part * scale for part in x] + [x.sum() / 255]",
        "10**-3 * @steps ** 0.5",
        "sum([a * b for a, b in zip(@roi_size, @spacing)])",
        "str(@roi_size) + '%d of %s' % (3, 4)",
        "max(@roi_size) * 1000 + min(@steps, 5)",
        "math.prod(@roi_size)",
        "int('96') * [0]",
        "dict(image=@names * 2).items()",
        "@double::0",
        "@round",
        "@absent * 10",
    ],
)
def test_what_published_bundles_write_is_no_growth(expression):
    assert Growth(CONFIG).outgrown(expression, "part") is None


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("range(10**15)", "range(10 ** 15)"),
        ("sum(range(@many))", "range(_ref_0)"),
        ("[0] * 10**12", "[0] * 10 ** 12"),
        ("10**12 * [0]", "10 ** 12 * [0]"),
        ("'a' * 10**10", "'a' * 10 ** 10"),
        ("(1, 2)[::-1] * @many", "(1, 2)[::-1] * _ref_0"),
        ("[[0] * 1000] * 2000", "[[0] * 1000] * 2000"),
        ("[0 for a in range(9999) for b in range(9999)]", "[0 for a in range(9999) for b in range(9999)]"),
        ("[[0] * 1000 for a in range(2000)]", "[[0] * 1000 for a in range(2000)]"),
        ("[[0 for b in range(2000)] for a in range(2000)]", "[[0 for b in range(2000)] for a in range(2000)]"),
        ("all(1 for a in range(9999) for b in range(a))", "(1 for a in range(9999) for b in range(a))"),
        ("[b for a in [[2000000]] for b in a for c in range(b)]", "range(b)"),
        ("'%100000000d' % 1", "'%100000000d' % 1"),
        ("@text % 1", "_ref_0 % 1"),
        ("int('9' * 400)", "int('9' * 400)"),
        ("range(int(1 / 1e-12))", "range(int(1 / 1e-12))"),
        ("range(int(@steps / @spacing[0]))", "range(int(_ref_0 / _ref_1[0]))"),
        ("[0] * int(1e12)", "[0] * int(1000000000000.0)"),
        ("torch.tensor(list(range(2000))) * torch.tensor(list(range(2000)))", "torch.tensor(list(range(2000))) * "),
        ("@double::2", "[0] * 1000"),
        ("str(@nested::40)", ""),
        ("@squared::6", ""),
        ("@##double::2", ""),
    ],
)
def test_what_would_grow_without_a_bound_is_named(expression, named):
    found = Growth(CONFIG).outgrown(expression, "part::deep")
    assert found is not None
    if "@double" not in expression and "@##" not in expression:
        assert found.startswith(named)


def test_a_chain_of_references_without_an_end_is_refused_and_not_followed():
    config = {str(number): f"$@{number + 1} + [1]" for number in range(5000)} | {"5000": "$[1]"}
    assert Growth(config).outgrown("@0", "part") is not None


def test_a_part_that_grows_is_refused_in_one_line(tmp_path):
    (tmp_path / "inference.json").write_text("{}")
    config = {"part": {"_target_": "UNet", "channels": "@sizes"}, "sizes": "$[0]\\\n * 10**12"}
    with pytest.raises(TrustError, match=r"more than 1000000 values, or endless numbers, by \[0\] \* 10 \*\* 12"):
        check_part(config, "part", tmp_path)
