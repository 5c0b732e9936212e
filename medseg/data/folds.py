"""Folds for cross-validation: every case of training and validation is held out once, the test cases never."""

import hashlib
import re

from medseg.data.manifest import DataManifest
from medseg.data.splits import Splits
from medseg.errors import DataError

__all__ = ["k_folds"]


def k_folds(manifest: DataManifest, n_folds: int) -> list[DataManifest]:
    """The manifest once for each fold: its held-out cases stand as ``test``, the others as ``train``.

    Nothing is left for ``validation``: no choice may see the cases that a fold is scored on. Cases of one patient,
    where the manifest tells them, stay together. The folds depend on the case ids alone.

    Args:
        manifest: with its splits listed, see ``DataManifest.on_disk``.
    Raises:
        DataError: there are fewer patients than folds, or fewer than two folds.
    """
    splits = manifest.splits
    assert splits is not None, "splits are listed by DataManifest.on_disk"
    expression = re.compile(manifest.split_rule.patient if manifest.split_rule else ".*")
    patients: dict[str, list[str]] = {}
    for case_id in sorted((*splits.train, *splits.validation)):
        match = expression.search(case_id)
        patients.setdefault(match[0] if match else case_id, []).append(case_id)
    if not 2 <= n_folds <= len(patients):
        raise DataError(
            f"{manifest.name} has {len(patients)} patients to train on, {n_folds} folds were asked for: "
            f"choose 2 to {len(patients)}."
        )
    drawn = sorted(patients, key=lambda patient: hashlib.sha256(patient.encode()).hexdigest())
    folds = [[case_id for patient in drawn[fold::n_folds] for case_id in patients[patient]] for fold in range(n_folds)]
    return [
        manifest.model_copy(
            update={
                "splits": Splits(
                    train=tuple(case_id for other in folds if other is not fold for case_id in sorted(other)),
                    test=tuple(sorted(fold)),
                )
            }
        )
        for fold in folds
    ]
