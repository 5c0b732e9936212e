"""The state of an installation: what is there, and the fix for what is not."""

from importlib.metadata import PackageNotFoundError, version

import pytest

from medseg.bundle import find_bundles
from medseg.bundle.health import REQUIRED, examine


def findings() -> dict[str, tuple[str, str, str]]:
    return {finding.part: (finding.state, finding.found, finding.fix) for finding in examine()}


def test_this_installation_has_what_a_run_needs():
    found = findings()
    assert found["Python"][0] == "well"
    for package in REQUIRED:
        assert found[package] == ("well", version(package), "")
    assert set(find_bundles()) <= found.keys()


def test_whatever_is_not_well_comes_with_a_fix():
    for state, _, fix in findings().values():
        assert (state == "well") == (fix == "")


def test_a_package_that_is_not_there_is_missing(monkeypatch):
    def absent(package: str) -> str:
        if package in {"pydicom", "napari"}:
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr("medseg.bundle.health.version", absent)
    found = findings()
    assert found["pydicom"][0] == "missing"
    assert found["extra napari"][0] == "optional"
    assert "medseg[napari]" in found["extra napari"][2]


@pytest.mark.parametrize(
    ("name", "said"), [("configs/inference.yaml", "is not a complete"), ("models/x", "no weights")]
)
def test_a_broken_model_is_missing_with_its_reason(folder, monkeypatch, name, said):
    damaged = folder / name if name != "models/x" else folder / "models" / "model.safetensors"
    damaged.unlink()
    monkeypatch.setattr("medseg.bundle.health.find_bundles", lambda: {"tiny": folder})
    state, found, _ = findings()["tiny"]
    assert state == "missing"
    assert said in found
