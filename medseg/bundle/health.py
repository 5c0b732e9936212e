"""The state of an installation: each part, what was found, and the fix for what is missing.

Only what asks torch for a GPU imports it, so that an installation whose torch is broken is told so.
"""

import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import psutil

from medseg.bundle.download import large_files
from medseg.bundle.found import find_bundles, found_bundle
from medseg.errors import MedsegError
from medseg.free_memory import free_memory_bytes, total_memory_bytes

__all__ = ["Finding", "examine"]

REQUIRED = ("torch", "monai", "numpy", "scipy", "scikit-image", "nibabel", "SimpleITK", "pydicom", "safetensors")

OPTIONAL = {
    "demo": ("nilearn", "the brain template of medseg demo"),
    "itk": ("itk", "image formats that SimpleITK does not read"),
    "napari": ("napari", "review of segmentations in napari"),
    "label": ("monailabel", "the MONAI Label server"),
    "openvino": ("openvino", "faster inference on CPUs"),
}
"""Extras of the package, with the module that shows that one is there, and what it is for."""

MEMORY_WANTED_GB = 4
DISK_WANTED_GB = 1

State = Literal["well", "optional", "missing", "low"]


@dataclass(frozen=True)
class Finding:
    """One part of the installation; ``fix`` is a command or an advice, empty where nothing is wrong."""

    part: str
    state: State
    found: str
    fix: str = ""


def examine() -> list[Finding]:
    """Every part, in the order in which a run needs it."""
    return [_python(), *_packages(), *_devices(), _memory(), _disk(), *_extras(), *_models()]


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    is_supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding(
        "Python", "well" if is_supported else "low", found, "" if is_supported else "use Python 3.11 to 3.13"
    )


def _packages() -> list[Finding]:
    findings = []
    for name in REQUIRED:
        found = _version(name)
        fix = "" if found else "pip install -c constraints.txt medseg"
        findings.append(Finding(name, "well" if found else "missing", found or "not installed", fix))
    return findings


def _devices() -> list[Finding]:
    cores = f"{psutil.cpu_count()} cores"
    try:
        import torch
    except Exception as error:  # noqa: BLE001  a broken installation fails in many ways, and this is to tell of it
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        fix = "pip install -c constraints.txt --force-reinstall torch"
        return [Finding("CPU", "well", cores), Finding("torch's import", "missing", reason, fix)]
    findings = [Finding("CPU", "well", f"{cores}, {torch.get_num_threads()} threads in torch")]
    if not torch.cuda.is_available():
        fix = "install a CUDA build of torch, if this machine has an NVIDIA GPU"
        return [*findings, Finding("GPU", "optional", "none that torch can use: the CPU is used", fix)]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        findings.append(Finding(f"cuda:{index}", "well", f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"))
    return findings


def _memory() -> Finding:
    free, total = free_memory_bytes(), total_memory_bytes()
    found = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    is_enough = free >= MEMORY_WANTED_GB * 1e9
    return Finding("memory", "well" if is_enough else "low", found, "" if is_enough else "close other programs")


def _disk() -> Finding:
    usage = shutil.disk_usage(Path.cwd())
    is_enough = usage.free >= DISK_WANTED_GB * 1e9
    fix = "" if is_enough else "free some space, or work in another folder"
    return Finding("disk", "well" if is_enough else "low", f"{usage.free / 1e9:.0f} GB free in the working folder", fix)


def _extras() -> list[Finding]:
    findings = []
    for extra, (package, purpose) in OPTIONAL.items():
        found = _version(package)
        state: State = "well" if found else "optional"
        fix = "" if found else f"pip install 'medseg[{extra}]'"
        findings.append(Finding(f"extra {extra}", state, found or f"not installed: {purpose}", fix))
    return findings


def _models() -> list[Finding]:
    findings = []
    for name, folder in find_bundles().items():
        try:
            bundle = found_bundle(folder)
        except MedsegError as error:
            findings.append(Finding(name, "missing", str(error), "install medseg again"))
            continue
        if bundle.weights_path.is_file():
            findings.append(Finding(name, "well", f"{bundle.weights_path.stat().st_size / 1e6:.1f} MB of weights"))
        elif not bundle.metadata.get("eval_metrics"):  # a recipe: medseg never brought weights for it
            source = f"medseg bundle download {name}, " if large_files(folder) else ""
            fix = f"{source}medseg train {name} …, or --weights FILE"
            findings.append(Finding(name, "optional", "a recipe without weights", fix))
        else:
            findings.append(Finding(name, "missing", "no weights", f"medseg train {name} …, or install medseg again"))
    return findings


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
