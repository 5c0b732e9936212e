"""Fixtures that every room shares: where the real scans and the golden values lie, and a small synthetic scan."""

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

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
