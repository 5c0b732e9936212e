"""Is a bundle whole? Each part is built and run once, and the reason is kept where one fails."""

from collections.abc import Callable
from dataclasses import dataclass

import jsonschema
import torch
from monai.bundle import ConfigParser

from medseg.bundle.build import build_network, build_steps
from medseg.bundle.load import Bundle
from medseg.bundle.metadata import differences, metadata_schema, window_size
from medseg.errors import BundleError, MedsegError

__all__ = ["Check", "verify_bundle"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: whether it is well, and what was found."""

    name: str
    is_passed: bool
    found: str


def verify_bundle(bundle: Bundle) -> list[Check]:
    """Every check, in the order in which a bundle is used; a failed one does not stop the next."""
    checks: dict[str, Callable[[Bundle], str]] = {
        "metadata follows the schema": _check_schema,
        "metadata agrees with inference.yaml": _check_agreement,
        "labels": _check_labels,
        "preprocessing, inferer and postprocessing can be built": _check_parts,
        "weights fit the network": _check_weights,
        "network takes the window and gives one channel a label or region": _check_forward,
        "licence": _check_licence,
    }
    return [_run(name, check, bundle) for name, check in checks.items()]


def _run(name: str, check: Callable[[Bundle], str], bundle: Bundle) -> Check:
    try:
        return Check(name, is_passed=True, found=check(bundle))
    except MedsegError as error:
        return Check(name, is_passed=False, found=str(error))


def _check_schema(bundle: Bundle) -> str:
    validator = jsonschema.Draft202012Validator(metadata_schema())
    for error in validator.iter_errors(dict(bundle.metadata)):
        place = ".".join(str(part) for part in error.absolute_path) or "metadata.json"
        raise BundleError(f"{place}: {error.message}")
    return f"version {bundle.version}"


def _check_agreement(bundle: Bundle) -> str:
    found = differences(bundle)
    if found:
        raise BundleError("; ".join(found[:3]))
    return "one home for each number"


def _check_labels(bundle: Bundle) -> str:
    indices = [label.index for label in bundle.label_table]
    regions = bundle.config.get("regions")
    if not regions and indices != list(range(1, len(indices) + 1)):
        raise BundleError(f"labels {indices} found: 1 to {len(indices)} without a gap were expected.")
    schema = bundle.label_schema
    for region in regions or ():
        schema.values_of(region)
    return ", ".join(bundle.label_table.names)


def _check_parts(bundle: Bundle) -> str:
    parser: ConfigParser = bundle.parser(device=torch.device("cpu"))
    before = build_steps(bundle, "preprocessing", parser)
    bundle.build("inferer", parser)
    after = build_steps(bundle, "postprocessing", parser)
    return f"{len(before.transforms)} steps before, {len(after.transforms)} after"


def _check_weights(bundle: Bundle) -> str:
    if not bundle.weights_path.is_file():
        return "none here yet: train the bundle, or download or name weights"
    network = build_network(bundle, device=torch.device("cpu"))
    return f"{sum(parameter.numel() for parameter in network.parameters()) / 1e6:.1f} million parameters"


def _check_forward(bundle: Bundle) -> str:
    has_weights = bundle.weights_path.is_file()
    cpu = torch.device("cpu")
    network = build_network(bundle, device=cpu) if has_weights else bundle.build("network", bundle.parser(device=cpu))
    network.eval()
    roi_size = window_size(bundle)
    window = torch.zeros(1, len(bundle.network_channels), *roi_size)
    try:
        with torch.inference_mode():
            logits = network(window)
    except Exception as error:  # a network may refuse a window in any way; each is a finding
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BundleError(f"the network refuses one window {tuple(window.shape)}: {reason}") from error
    expected = (1, len(bundle.output_channels), *roi_size)
    if tuple(logits.shape) != expected:
        raise BundleError(f"the network gives {tuple(logits.shape)} for one window: {expected} was expected.")
    return "×".join(str(size) for size in expected)


def _check_licence(bundle: Bundle) -> str:
    for name in ("LICENSE", "docs/README.md", "docs/data_license.txt"):
        if not (bundle.folder / name).is_file():
            raise BundleError(f"{name} is missing: say there under which terms model and data may be used.")
    return "model and data"
