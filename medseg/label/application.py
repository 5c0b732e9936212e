"""The app that MONAI Label runs: which data store, models, trainers, strategies and scores there are.

MONAI Label makes one in the server's process, and one in each process that it starts for training, scoring or
inference of many images.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from dicomweb_client import DICOMwebClient
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.utils.async_tasks.task import AsyncTask
from monailabel.utils.async_tasks.utils import background_tasks

from medseg import __version__
from medseg.bundle import load_bundle
from medseg.label.activelearning import SCORING, ScoredModel, ScoringTask, SelectionTask
from medseg.label.datastore import StudiesDatastore
from medseg.label.hold import end_with
from medseg.label.infer import SegmentTask
from medseg.label.launch import AppOptions, is_url
from medseg.label.pacs import PacsDatastore
from medseg.label.strategies import STRATEGIES
from medseg.label.train import FineTuneTask
from medseg.label.versions import WeightsVersions

__all__ = ["LabelApp", "UnknownTaskError"]

QUIET_LOGGERS = ("monailabel", "__main__", "filelock", "watchdog", "timeloop")
"""They repeat the names of images, or talk of themselves."""

logger = logging.getLogger(__name__)


class UnknownTaskError(MONAILabelException):
    """There is no model, strategy or score of that name."""

    def __init__(self, what: str, name: str, known: Mapping[str, Any]) -> None:
        message = f"there is no {what} {name[:80]!r}: expected one of {', '.join(known) or 'none'}."
        super().__init__(MONAILabelError.INVALID_INPUT, message)


class _Batch(BatchInferTask):
    """Inference of many images, one after the other, on the devices that there are."""

    def __call__(self, request: Mapping[str, Any], datastore: Datastore, infer: Any) -> Any:
        has_gpus = torch.cuda.is_available()
        one_by_one = {"max_workers": 1, "multi_gpu": False, "device": "cuda" if has_gpus else "cpu"}
        return super().__call__({**request, **one_by_one}, datastore, infer)


class LabelApp(MONAILabelApp):
    """Every model that was asked for, over one data store."""

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        for name in QUIET_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        self.options = AppOptions.from_mapping(json.loads(conf["medseg"]), source="the server's options")
        if self.options.server.number != os.getpid():
            end_with(self.options.server)
        self.bundles = {bundle.name: bundle for bundle in map(load_bundle, self.options.bundles)}
        self.versions = {
            name: WeightsVersions(self.work_folder / "versions" / name, own_weights=bundle.weights_path)
            for name, bundle in self.bundles.items()
        }
        self._scored = {
            name: ScoredModel(bundle, self.versions[name], folder=self.work_folder / "scores")
            for name, bundle in self.bundles.items()
        }
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=dict(conf),
            name="medseg",
            description="Transformer networks for medical image segmentation",
            version=__version__,
        )

    @property
    def work_folder(self) -> Path:
        """Where the app keeps what is its own."""
        return self.options.work_folder

    def init_datastore(self) -> Datastore:
        """The studies."""
        if not is_url(self.studies):
            return StudiesDatastore(Path(self.studies), auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD)
        return PacsDatastore(
            DICOMwebClient(url=self.studies.rstrip("/")),
            cache=Path(settings.MONAI_LABEL_DICOMWEB_CACHE_PATH),
            modalities=sorted({channel.modality for bundle in self.bundles.values() for channel in bundle.channels}),
            tables=[bundle.label_table for bundle in self.bundles.values()],
        )

    def init_infers(self) -> dict[str, SegmentTask]:
        """A task for each model."""
        folder = self.work_folder / "tmp"
        return {
            name: SegmentTask(bundle, self.versions[name], runtime=self.options.runtime, folder=folder)
            for name, bundle in self.bundles.items()
        }

    def init_trainers(self) -> dict[str, FineTuneTask]:
        """A task for each model that brings its training recipe along."""
        return {
            name: FineTuneTask(bundle, self.versions[name], folder=self.work_folder / "training" / name)
            for name, bundle in self.bundles.items()
            if (bundle.folder / "configs" / "train.yaml").is_file()
        }

    def init_strategies(self) -> dict[str, SelectionTask]:
        """Every strategy, over the scores of any model."""
        return {
            name: SelectionTask(strategy, self._scored, start_scoring=self.start_scoring)
            for name, strategy in STRATEGIES.items()
        }

    def init_scoring_methods(self) -> dict[str, ScoringTask]:
        """The task that scores, where there is a model."""
        return {SCORING: ScoringTask(self._scored)} if self._scored else {}

    def start_scoring(self, model: str) -> None:
        """Score what has no score, in a process of its own, unless that is under way."""
        if not any(task["status"] == "SUBMITTED" for task in background_tasks.get("scoring", [])):
            AsyncTask.run("scoring", request={"method": SCORING}, params={"model": model})

    def init_batch_infer(self) -> BatchInferTask:
        """Inference of many images."""
        return _Batch()

    def infer(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """One image through one model.

        Args:
            request: ``model``; ``image``, an id of the data store, or ``file``, which the server itself has put into
                its own folders; further what ``InferRequest`` knows, ``save_label`` and ``label_tag``.
        Raises:
            UnknownTaskError: there is no such model.
            MedsegError: there is no such image, or it does not fit the model.
        """
        task: SegmentTask = self.task("model", str(request.get("model")), self._infers)
        store = datastore or self.datastore()
        path = request.get("file") or store.scan_path(str(request.get("image", "")))
        file, params = task({**request, "image": str(path)})
        label = file
        tag = str(request.get("label_tag") or "original")
        if request.get("save_label") and not request.get("file"):
            label = store.save_label(str(request["image"]), file, tag, {"model": task.bundle.name, "params": params})
        return {"label": label, "tag": tag, "file": file, "params": params}

    def next_sample(self, request: Mapping[str, Any]) -> Any:
        """The image that a strategy would have labelled next.

        Raises:
            UnknownTaskError: there is no such strategy.
        """
        self.task("strategy", str(request.get("strategy")), self._strategies)
        self.follow_review()
        return super().next_sample(request)

    def on_init_complete(self) -> None:
        """The server is ready to start."""
        self.follow_review()
        super().on_init_complete()

    def follow_review(self) -> None:
        """Take over what was decided in napari on the same folder of studies."""
        store = self.datastore()
        if isinstance(store, StudiesDatastore):
            store.follow_review()

    def note_decision(self, image_id: str, tag: str, *, client: str) -> None:
        """Enter in the review's journal what a client decided by saving a label."""
        store = self.datastore()
        if isinstance(store, StudiesDatastore):
            store.journal.note(image_id, tag, labels=Path(store.get_label_uri(image_id, tag)), client=client)

    def note_reopened(self, image_id: str) -> None:
        """Enter in the review's journal that an accepted label was removed."""
        store = self.datastore()
        if isinstance(store, StudiesDatastore):
            store.journal.note_reopened(image_id)

    def task(self, what: str, name: str, known: Mapping[str, Any]) -> Any:
        """The task of a name.

        Raises:
            UnknownTaskError: there is none.
        """
        if name not in known:
            raise UnknownTaskError(what, name, known)
        return known[name]

    @property
    def tasks(self) -> Mapping[str, Mapping[str, Any]]:
        """What can be asked for, by the first word of the address."""
        return {
            "infer": self._infers,
            "batch": self._infers,
            "train": self._trainers,
            "scoring": self._scoring_methods,
            "activelearning": self._strategies,
        }

    def own_file(self, path: Path) -> bool:
        """Whether a path is one of an upload or a session."""
        roots = (self.work_folder / "tmp", Path(os.environ.get("MONAI_LABEL_SESSION_PATH", self.work_folder)))
        return any(path.resolve().is_relative_to(root.resolve()) for root in roots)

    def forget(self, path: Path) -> None:
        """Remove an upload."""
        if self.own_file(path):
            path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, ignore_errors=True)
