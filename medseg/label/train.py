"""MONAI Label's training task over ``fine_tune``; it runs in a process of its own that a client can stop."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from medseg.bundle import Bundle
from medseg.errors import CaseError, MedsegError
from medseg.label.finetune import AcceptedCase, FineTuneRequest, fine_tune
from medseg.label.infer import only_case
from medseg.label.versions import WeightsVersions

__all__ = ["FineTuneTask"]

logger = logging.getLogger(__name__)


class FineTuneTask(TrainTask):
    """Learns from the labels with the tag ``final``.

    Args:
        folder: for runs.
    """

    def __init__(self, bundle: Bundle, versions: WeightsVersions, *, folder: Path) -> None:
        super().__init__(f"Fine-tune {bundle.name} on the accepted labels")
        self._bundle = bundle
        self._versions = versions
        self._folder = folder

    def config(self) -> dict[str, Any]:
        """What a client may set, with its default."""
        return {**FineTuneRequest().model_dump(exclude={"seed"}), "promote": ["better", "never"]}

    def stats(self) -> dict[str, Any]:
        """The versions so far, the one in use, and the best Dice under the name that viewers look for."""
        versions = self._versions.all()
        best = max((one.measured.mean_after for one in versions), default=None)
        return {
            "current": self._versions.current,
            "versions": [one.model_dump() for one in versions],
            **({"best_metric": best} if best is not None else {}),
        }

    @staticmethod
    def check(params: Mapping[str, Any]) -> None:
        """Nothing, if these parameters can be trained with.

        Raises:
            SettingsError: one of them is out of range.
        """
        FineTuneRequest.of(params)

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train; the version that came of it.

        Raises:
            MedsegError: there are too few accepted labels, or training failed.
        """
        asked = FineTuneRequest.of(request)
        try:
            done = fine_tune(
                self._bundle,
                self._versions,
                self._accepted(datastore),
                request=asked,
                folder=self._folder,
                told=logger.info,
            )
        except MedsegError as error:
            logger.error("training ended: %s", error)
            raise
        return {"version": done.version.number, "promoted": done.is_promoted, **done.version.measured.model_dump()}

    def _accepted(self, datastore: Datastore) -> list[AcceptedCase]:
        """The accepted cases that this model takes; those of other models are passed over."""
        accepted, others = [], 0
        for image_id, image, label in datastore.accepted(self._bundle.label_table):
            try:
                files = only_case(image, self._bundle, case_id=image_id)
            except CaseError:
                others += 1
                continue
            accepted.append(AcceptedCase(files, label))
        if others:
            logger.info("%d accepted images are none for this model and were passed over", others)
        return accepted
