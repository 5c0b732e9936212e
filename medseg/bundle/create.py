"""``medseg bundle create``: a data set's fingerprint → a complete bundle, ready to train."""

import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from medseg.bundle.load import load_bundle
from medseg.bundle.metadata import SCHEMA_URL, network_data_format
from medseg.bundle.plan import Plan, plan_bundle
from medseg.bundle.recipe import train_yaml
from medseg.bundle.template import evaluate_yaml, inference_yaml, multi_gpu_yaml, readme
from medseg.data import DataManifest, Fingerprint, data_fingerprint
from medseg.errors import OutputError
from medseg.shared_folder import shared_folder

__all__ = ["create_bundle"]

EXAMPLE = "swin_unetr_hippocampus"
"""The bundle whose licence and logging a new one takes over."""

PACKAGES = ("medseg", "nibabel", "pytorch-ignite", "safetensors", "scikit-image")


def create_bundle(
    manifest: DataManifest,
    *,
    data_root: Path,
    network: str,
    output: Path,
    device: torch.device,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> Plan:
    """Write the bundle folder ``output``; its weights come with ``medseg train``.

    The folder appears complete or not at all.

    Raises:
        OutputError: something lies there already, or the folder cannot be written.
        DataError: the data are not there, or the labels' values leave one out.
        BundleError: there is no such network.
    """
    if output.exists():
        raise OutputError(f"{output} exists: choose another name with --output, or remove it.")
    fingerprint = data_fingerprint(manifest, data_root, on_case=on_case)
    plan = plan_bundle(manifest, fingerprint, network=network, name=output.name, device=device)
    temporary = output.with_name(f".{output.name}.new")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        _write(temporary, plan, manifest, fingerprint)
        temporary.rename(output)
    except OSError as error:
        raise OutputError(f"{output} cannot be written ({error.strerror}): choose another place.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return plan


def _write(folder: Path, plan: Plan, manifest: DataManifest, fingerprint: Fingerprint) -> None:
    texts = {
        "configs/inference.yaml": inference_yaml(plan, manifest, fingerprint),
        "configs/train.yaml": train_yaml(plan),
        "configs/evaluate.yaml": evaluate_yaml(),
        "configs/multi_gpu_train.yaml": multi_gpu_yaml(),
        "configs/metadata.json": "{}",
        "docs/README.md": readme(plan, manifest, fingerprint),
        "docs/data_license.txt": f"{manifest.title}\n\nLicence: {manifest.licence}\nCite: {manifest.citation}\n",
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "models").mkdir()
    for name in ("LICENSE", "configs/logging.conf"):  # the same in every bundle
        shutil.copy(shared_folder("bundles") / EXAMPLE / name, folder / name)
    metadata = _metadata(plan, manifest)
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    metadata["network_data_format"] = network_data_format(load_bundle(folder))
    text = json.dumps(metadata, indent=2, ensure_ascii=False)
    (folder / "configs" / "metadata.json").write_text(text + "\n", encoding="utf-8")


def _metadata(plan: Plan, manifest: DataManifest) -> dict[str, Any]:
    return {
        "schema": SCHEMA_URL,
        "version": "0.1.0",
        "changelog": {"0.1.0": "created from the data set's fingerprint"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in PACKAGES},
        "supported_apps": {},
        "name": plan.name,
        "task": manifest.title,
        "description": f"{plan.network_class} for {manifest.title}",
        "authors": "not stated",
        "copyright": "not stated",
        "data_source": manifest.access.url if manifest.access else manifest.name,
        "data_type": "nibabel",
        "intended_use": "Research. Not a medical device: no diagnosis or treatment may rest on its output alone.",
        "references": [manifest.citation],
        "eval_metrics": {},
        "network_data_format": {},
    }
