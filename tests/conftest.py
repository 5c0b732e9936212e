"""Fixtures that every room shares: where the real scans and the golden values lie, and a small synthetic scan."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests run side by side: one thread each, set before torch
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

REQUIRE = "MEDSEG_REQUIRE_DATA"
"""Set by continuous integration where real scans are at hand: a test of them that was skipped is then a failure."""

BESIDE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared"


def _folder_from_environment(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        pytest.skip(f"{variable} names no folder ({folder.name!r} is absent)")
    return folder


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real scans, or a skip; mark tests that use it ``realdata``."""
    return _folder_from_environment("MEDSEG_TEST_DATA", BESIDE_REPOSITORY / "data")


@pytest.fixture(scope="session")
def test_golden() -> Path:
    """The folder of golden vectors (outputs of the authors' own programs), or a skip."""
    return _folder_from_environment("MEDSEG_TEST_GOLDEN", BESIDE_REPOSITORY / "golden")


@pytest.fixture
def write_scan() -> Callable[..., Path]:
    """A function that writes a small NIfTI scan with known values and returns its path."""

    def write(
        path: Path, *, shape: tuple[int, ...] = (6, 5, 4), affine: np.ndarray | None = None, seed: int = 0
    ) -> Path:
        values = np.random.default_rng(seed).integers(0, 1000, size=shape).astype(np.int16)
        placed = np.diag([-1.0, -1.0, 2.0, 1.0]) if affine is None else affine
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values, placed), path)
        return path

    return write


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses real scans or golden values says so by its marker, without being told."""
    for item in items:
        if {"test_data", "test_golden"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.realdata)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """A skipped test of real scans fails where the scans were promised."""
    report = yield
    if report.skipped and os.environ.get(REQUIRE) and item.get_closest_marker("realdata"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} needs real scans, was skipped, and {REQUIRE} is set: {report.longrepr}"
    return report
