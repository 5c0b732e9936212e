"""A MONAI Label server as the place of a worklist: its images are the cases, its models segment them.

In: a client of the server and a folder on this disk. Out: a ``Worklist`` whose cases are fetched when they are
opened, and whose accepted labels go back as ``final``: what the server learns from, and Slicer shows as done. The
review itself, with its journal and versions, is kept in the folder.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from medseg.bundle import find_bundles, load_bundle
from medseg.errors import OutputError, ReviewError
from medseg.geometry import geometry_of
from medseg.io import CaseFiles, ChannelFile, read_labels
from medseg.labels import Label, LabelTable
from medseg.monai_label_client import MonaiLabelClient, RemoteModel
from medseg.record import SHOWN_FIRST, Journal, UsedBundle, tag_of
from medseg.review.background import Report, StoppedError
from medseg.review.folder import ReviewFolder, folder_name
from medseg.review.label_names import generic_table
from medseg.review.segmenting import Proposal, Watcher
from medseg.review.states import CaseReview, review_states
from medseg.review.versions import Version
from medseg.review.worklist import Worklist, WorklistCase
from medseg.segmentation import Segmentation

__all__ = ["ReviewServer", "ServerJob"]

FINAL: Final = tag_of("accepted")
"""The tag of accepted labels."""

CHANNEL: Final = "image"


@dataclass(frozen=True, eq=False)
class ReviewServer:
    """The server, and the folder where its cases are fetched to and their review is kept."""

    client: MonaiLabelClient
    folder: Path

    def worklist(self) -> Worklist:
        """The server's images, the ones without accepted labels first.

        Raises:
            MedsegError: the server does not answer, or the journal in the folder is damaged.
        """
        place = ReviewFolder.of(self.folder)
        reviews = review_states(Journal(place.journal).entries())
        images = sorted(self.client.images(), key=lambda image: (FINAL in image.tags, image.image_id))
        cases = []
        for image in images:
            files = CaseFiles(image.image_id, (ChannelFile(CHANNEL, self._images / folder_name(image.image_id)),))
            review = reviews.get(image.image_id) or CaseReview(image.image_id)
            if FINAL in image.tags and review.state == "new":
                review = replace(review, state="accepted")  # by somebody else, elsewhere
            quality = image.info.get("quality")
            cases.append(WorklistCase(files, review, quality=float(quality) if quality is not None else None))
        return Worklist(place, tuple(cases), origin=self)

    def fetched(self, case: WorklistCase, *, report: Report | None = None) -> WorklistCase:
        """The case with its image on this disk, and the labels that the server has of it.

        Args:
            case: of the server's worklist.
            report: told how many bytes have come; what it raises ends the transfer, and nothing half is left.
        Raises:
            MedsegError: the server does not give them, or they cannot be written.
        """
        tags = next((image.tags for image in self.client.images() if image.image_id == case.case_id), ())
        image = self.client.download_image(case.case_id, folder=_made(self._images), on_bytes=report)
        tag = next((one for one in SHOWN_FIRST if one in tags), None)
        labels = None
        if tag is not None:
            labels = self.client.download_label(case.case_id, tag=tag, folder=_made(self._labels), on_bytes=report)
        files = CaseFiles(case.case_id, (ChannelFile(CHANNEL, image),))
        return replace(case, files=files, segmentation=labels)

    def send(self, case_id: str, version: Version) -> None:
        """Give accepted labels to the server, as ``final``.

        Raises:
            MedsegError: the server does not take them; the version stays in the folder.
        """
        names = {label.name: label.index for label in version.label_table}
        self.client.save_label(case_id, version.path, tag=FINAL, label_names=names)

    def models(self) -> tuple[str, ...]:
        """What the server can segment with."""
        return tuple(self.client.info().models)

    def segment(self, model: str, case_id: str) -> Proposal:
        """The labels that a model of the server finds in one of its images.

        Raises:
            ReviewError: the server has no such model, or gave no labels.
            MedsegError: the server fails.
        """
        found = self.client.info().models.get(model)
        if found is None:
            raise ReviewError(f"the server has no model {model!r}: choose one of {', '.join(self.models())}.")
        result = self.client.infer(model, case_id, folder=_made(self._labels))
        if result.labels is None:
            raise ReviewError(f"the server's model {model} gave no labels for this case.")
        image = read_labels(result.labels)
        values = np.ascontiguousarray(image.as_tensor()[0].to(torch.uint8).numpy())
        table = _table_of(found) or generic_table([int(value) for value in np.unique(values) if value])
        return Proposal(Segmentation(values, geometry_of(image), table), model=model, bundle=_used(result.params))

    @property
    def _images(self) -> Path:
        return self.folder / "images"

    @property
    def _labels(self) -> Path:
        return self.folder / "labels"


class ServerJob:
    """A model of the server on one of its images; as a ``SegmentationJob``, but no window can be told of.

    The server is not to be stopped from here: ``stop`` lets its answer fall.
    """

    def __init__(self, server: ReviewServer, model: str, case_id: str) -> None:
        self._server, self._model, self._case_id = server, model, case_id
        self._stopped = threading.Event()

    def run(self, watcher: Watcher | None = None) -> Proposal:  # noqa: ARG002  as SegmentationJob has it
        """The labels, when the server has them.

        Raises:
            StoppedError: ``stop`` was called meanwhile.
            MedsegError: the server fails.
        """
        started = time.monotonic()
        proposal = self._server.segment(self._model, self._case_id)
        if self._stopped.is_set():
            raise StoppedError("the segmentation was stopped")
        return replace(proposal, seconds=time.monotonic() - started)

    def stop(self) -> None:
        """Let the answer fall."""
        self._stopped.set()


def _made(folder: Path) -> Path:
    """The folder, made where it is absent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}): choose another place.") from error
    return folder


def _table_of(model: RemoteModel) -> LabelTable | None:
    """The labels of a model as the server names them; colours are those of our own bundle, or made up: it has none."""
    if model.name in find_bundles():
        own = load_bundle(model.name).label_table
        if {label.name: label.index for label in own} == dict(model.labels):
            return own
    colors = {label.index: label.color for label in generic_table([value for value in model.labels.values() if value])}
    labels = [Label(index=value, name=name, color=colors[value]) for name, value in model.labels.items() if value > 0]
    return LabelTable(labels=tuple(labels)) if labels else None


def _used(params: Mapping[str, Any]) -> UsedBundle | None:
    """The model for the records, where the server is one of medseg's and says which weights it used."""
    if not {"model", "version", "weights_sha256"} <= params.keys():
        return None
    values = {"name": params["model"], "version": str(params["version"]), "weights_sha256": params["weights_sha256"]}
    return UsedBundle.from_mapping(values, source="the server's answer")
