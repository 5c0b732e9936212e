"""Prepared scans within a memory budget: what does not fit waits in files, and comes back as it was."""

import pytest
import torch
from monai.data import MetaTensor

from medseg.errors import OutputError
from medseg.training.example import Example
from medseg.training.store import ExampleStore, default_budget


@pytest.fixture
def examples() -> list[Example]:
    """Three scans of 128 bytes with labels of 32, on oblique grids."""
    generator = torch.Generator().manual_seed(0)
    affine = torch.eye(4, dtype=torch.float64) + 0.1 * torch.rand(4, 4, generator=generator)
    return [
        Example(
            str(number),
            MetaTensor(torch.rand(1, 4, 4, 2, generator=generator), affine=affine),
            MetaTensor(torch.randint(3, (1, 4, 4, 2), dtype=torch.uint8, generator=generator), affine=affine),
        )
        for number in range(3)
    ]


@pytest.mark.parametrize(("budget", "n_in_files"), [(0, 3), (159, 3), (160, 2), (320, 1), (480, 0)])
def test_scans_are_kept_in_memory_as_far_as_the_budget_goes(budget, n_in_files, examples, tmp_path):
    store = ExampleStore(tmp_path / "cache", budget=budget)
    for example in examples:
        store.add(example)
    assert (len(store), store.n_in_files, store.n_bytes) == (3, n_in_files, 160 * (3 - n_in_files))
    assert len(list(tmp_path.rglob("*.safetensors"))) == n_in_files
    for found, expected in zip(store, examples, strict=True):
        assert found.case_id == expected.case_id
        for part in ("image", "label"):
            ours, theirs = getattr(found, part), getattr(expected, part)
            assert torch.equal(ours, theirs)
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours.affine, theirs.affine)


def test_files_are_gone_when_the_store_is_closed(examples, tmp_path):
    store = ExampleStore(tmp_path / "cache", budget=0)
    store.add(examples[0])
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_by_default_scans_take_no_more_than_what_is_free():
    assert 0 < default_budget() < 2**50


def test_scans_that_fit_neither_the_memory_nor_the_disk_are_told_in_one_line(examples, tmp_path):
    (tmp_path / "cache" / "000000.safetensors").mkdir(parents=True)  # nothing can be written in its place
    store = ExampleStore(tmp_path / "cache", budget=0)
    with pytest.raises(OutputError, match=r"cannot be kept in .*cache \(.*\): free space there, .*--set cache_gb\.$"):
        store.add(examples[0])
