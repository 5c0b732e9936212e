"""A bundle over one split of a data set: every case segmented, and scored against its reference."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from medseg.bundle.build import build_segmenter, choose_device
from medseg.bundle.load import Bundle, load_bundle
from medseg.data import DataManifest, Split, convert_labels, load_manifest
from medseg.evaluation import Evaluation, check_targets, evaluate_pairs, pair_files, write_evaluation
from medseg.geometry import geometry_of
from medseg.io import CaseFiles, read_case, read_labels, write_labels
from medseg.segmentation import Segmentation

__all__ = ["evaluate_bundle", "evaluate_split"]

TOLERANCE_MM = 1.0
"""Distance at which two surfaces still agree, as in ``medseg evaluate``."""


def evaluate_split(  # noqa: PLR0913  what is scored on what, where to, on which device, and who watches
    bundle: Bundle,
    manifest: DataManifest,
    *,
    data_root: Path,
    output: Path,
    split: Split = "test",
    device: torch.device,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Segment a split into ``output/predictions`` and write its scores beside: per_case.csv and summary.json.

    Where the data set has other label values than the bundle, references are written in the bundle's, beside the
    predictions.

    Raises:
        OutputError: the folder holds an evaluation.
        DataError: the data are not there, or a label means nothing to the bundle.
    """
    check_targets(output, overwrite=False)
    segmenter = build_segmenter(bundle, device=device)
    names = [channel.name for channel in manifest.channels]
    cases = manifest.locate(data_root, split=split)
    folders = {kind: output / kind for kind in ("predictions", "references")}
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for number, case in enumerate(cases, start=1):
        file_of = {file.channel: file for file in case.channel_files(names)}
        wanted = tuple(file_of[channel.name] for channel in bundle.channels)
        found = segmenter(read_case(CaseFiles(case.case_id, wanted)).image)
        write_labels(found, folders["predictions"] / f"{case.case_id}.nii.gz", overwrite=False)
        reference = read_labels(case.label)
        values = convert_labels(reference.numpy()[0], source=manifest.schema_of_labels, target=bundle.label_schema)
        expected = Segmentation(labels=values, geometry=geometry_of(reference), label_table=bundle.label_table)
        write_labels(expected, folders["references"] / f"{case.case_id}.nii.gz", overwrite=False)
        on_case(number, len(cases))
    pairs = pair_files(folders["predictions"], folders["references"])
    evaluation = evaluate_pairs(
        pairs, label_table=bundle.label_table, tolerance_mm=TOLERANCE_MM, regions=bundle.regions_of(bundle.label_schema)
    )
    write_evaluation(evaluation, output, overwrite=False)
    return evaluation


def evaluate_bundle(  # noqa: PLR0913  by names what evaluate_split takes, and what MONAI made of the configuration
    folder: str | Path,
    *,
    data: str,
    data_root: str | Path,
    output: str | Path,
    split: Split = "test",
    device: str = "auto",
    parts: Mapping[str, Any] | None = None,
) -> Evaluation:
    """``evaluate_split`` by names, as a bundle's ``evaluate.yaml`` calls it.

    Args:
        parts: what MONAI made of the configuration, with its overrides and overlays: the path ``weights``, and network,
            transforms and inferer as objects. They take the place of what the bundle's own files say.
    """
    bundle = load_bundle(folder)
    built = dict(parts or {})
    if "weights" in built:
        bundle = _with_weights(bundle, Path(built.pop("weights")))
    return evaluate_split(
        replace(bundle, built=built),
        load_manifest(data),
        data_root=Path(data_root),
        output=Path(output),
        split=split,
        device=choose_device(device),
    )


def _with_weights(bundle: Bundle, weights: Path) -> Bundle:
    """The bundle with the weights that its configuration names; its own may have either of their endings."""
    own = bundle.weights_path
    is_own = weights.resolve().with_suffix("") == own.resolve().with_suffix("")
    return bundle if is_own and not weights.is_file() else replace(bundle, weights=weights)
