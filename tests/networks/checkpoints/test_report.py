"""Every key of a release ends in exactly one place, and a network is filled whole or not at all."""

import pytest
import torch
from torch import nn

from medseg.networks.checkpoints.report import RenamedState, WeightsError, check_derived, fill, rename_keys


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def renamed(**changes) -> RenamedState:
    state = {f"old.{name}": torch.ones_like(value) for name, value in network().state_dict().items()}
    state |= {f"old.{name}": value for name, value in changes.items()}
    return rename_keys({name: value for name, value in state.items() if value is not None}, [("^old.", "")])


def test_each_key_is_renamed_derived_or_unused():
    state = {"a.w": torch.ones(1), "a.index": torch.arange(2), "head.w": torch.ones(1)}
    result = rename_keys(
        state,
        [("^a", "b"), ("w$", "weight")],
        unused={"^head": "no head here"},
        derived={"index$": lambda key, found: check_derived(key, found, torch.arange(2))},
    )
    assert result.sources == {"b.weight": "a.w"}
    assert result.derived == ("a.index",)
    assert result.unused == {"head.w": "no head here"}


def test_two_keys_may_not_become_one():
    with pytest.raises(WeightsError, match=r"a\.w and b\.w both become c\.w"):
        rename_keys({"a.w": torch.ones(1), "b.w": torch.ones(1)}, [("^[ab]", "c")])


def test_a_whole_state_fills_the_network_and_is_reported():
    target = network()
    report = fill(target, renamed(), name="n")
    assert all(value.eq(1).all() for value in target.parameters())
    assert report.loaded["old.0.weight"] == "0.weight"
    assert report.parameters == 2 * 3 + 3 + 3 + 1
    assert str(report) == "n: 4 tensors loaded (13 numbers)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"0.bias": None}, r"3 of 4 tensors found\. Missing: 0\.bias\. Unexpected: none"),
        ({"2.bias": torch.ones(1)}, r"Missing: none\. Unexpected: old\.2\.bias"),
        ({"0.weight": torch.ones(3, 5)}, r"old\.0\.weight \(3, 5\) for \(3, 2\)"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(changes, message):
    target = network()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        fill(target, renamed(**changes), name="n")
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_a_long_list_of_names_is_cut_short():
    with pytest.raises(WeightsError, match=r"Missing: .* and 3 more\. Unexpected"):
        fill(nn.Sequential(*(nn.Linear(1, 1) for _ in range(4))), RenamedState(tensors={}, sources={}), name="n")


def test_only_the_scope_must_be_filled():
    target = network()
    state = {"0.weight": torch.ones(3, 2), "0.bias": torch.ones(3)}
    report = fill(target, rename_keys(state, scope=("0.",)), name="n")
    assert report.not_started == ("1.bias", "1.weight")


def test_values_are_cast_to_the_type_of_ours():
    target = network()
    fill(target, renamed(**{"0.bias": torch.ones(3, dtype=torch.float16)}), name="n")
    assert target[0].bias.dtype == torch.float32


@pytest.mark.parametrize(
    ("found", "message"), [(torch.arange(3), "shape"), (torch.tensor([1, 0], dtype=torch.int16), "other values")]
)
def test_a_derived_table_that_is_not_ours_is_refused(found, message):
    with pytest.raises(WeightsError, match=message):
        check_derived("index", found, torch.arange(2))
