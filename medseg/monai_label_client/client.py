"""A client of a MONAI Label server: models, images and their tags, segmentations, accepted labels, training.

In: the address of a server, ours or any other of MONAI Label 0.8. Out: plain values and files. It needs nothing
but Python, so that a viewer on another machine can use it without the server's packages::

    client = MonaiLabelClient("http://127.0.0.1:8000", token="…")
    result = client.infer("swin_unetr_hippocampus", "case_1", folder=Path("."))
    client.save_label("case_1", result.labels, tag="final")

A token is sent to the server's own address only: a redirection elsewhere is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from medseg.atomic import atomic_write
from medseg.errors import OutputError
from medseg.monai_label_client.transport import (
    NotFoundError,
    OnBytes,
    Transport,
    as_mapping,
    form,
    parsed,
    parts_of,
    safe_name,
    suffix_of,
)

__all__ = ["MonaiLabelClient", "RemoteImage", "RemoteModel", "RemoteResult", "ServerInfo"]

TIMEOUT_S = 30.0
"""For an answer that needs no computing."""

INFER_TIMEOUT_S = 1800.0
"""For a segmentation: a large scan takes minutes on a CPU, and may wait for others."""


@dataclass(frozen=True)
class RemoteModel:
    """A model of the server: its labels by name with their voxel values, and whether it takes volumes (3) or slices."""

    name: str
    labels: Mapping[str, int]
    dimension: int
    description: str


@dataclass(frozen=True)
class ServerInfo:
    """What a server offers, and how far the labelling is."""

    name: str
    version: str
    models: Mapping[str, RemoteModel]
    trainers: tuple[str, ...]
    strategies: tuple[str, ...]
    scoring: tuple[str, ...]
    n_images: int
    n_completed: int
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class RemoteImage:
    """One image in the data store and the tags of its labels; ``final`` means accepted."""

    image_id: str
    tags: tuple[str, ...]
    info: Mapping[str, Any] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class RemoteResult:
    """What an inference gave: the label file, where there is one, and what the server says of it."""

    labels: Path | None
    params: Mapping[str, Any]


class MonaiLabelClient:
    """A MONAI Label server, asked over HTTP.

    Args:
        url: its address, such as ``http://127.0.0.1:8000``.
        token: sent as bearer token with every request.
        timeout_s: for all answers but segmentations, which may take ``infer_timeout_s``.
    Raises:
        ServerError: the address is none of HTTP. Every method raises it when the server cannot be reached, refuses
            (with its own words), or answers with something else.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = TIMEOUT_S,
        infer_timeout_s: float = INFER_TIMEOUT_S,
    ) -> None:
        self._server = Transport(url, token=token, timeout_s=timeout_s)
        self._infer_timeout_s = infer_timeout_s

    @property
    def url(self) -> str:
        """The server's address."""
        return self._server.url

    def info(self) -> ServerInfo:
        """The models, strategies and counts of the server."""
        raw = self._server.mapping("GET", "/info/")
        store = raw.get("datastore") or {}
        models = raw.get("models") or {}
        return ServerInfo(
            name=str(raw.get("name", "")),
            version=str(raw.get("version", "")),
            models={name: _model(name, entry) for name, entry in models.items()},
            trainers=tuple(raw.get("trainers") or ()),
            strategies=tuple(raw.get("strategies") or ()),
            scoring=tuple(raw.get("scoring") or ()),
            n_images=int(store.get("total", 0)),
            n_completed=int(store.get("completed", 0)),
            raw=raw,
        )

    def images(self) -> tuple[RemoteImage, ...]:
        """Every image in the data store with the tags of its labels, sorted by id."""
        objects = self._server.mapping("GET", "/datastore/", query={"output": "all"}).get("objects") or {}
        return tuple(
            RemoteImage(one, tuple(sorted(entry.get("labels") or ())), (entry.get("image") or {}).get("info") or {})
            for one, entry in sorted(objects.items())
        )

    def image_info(self, image_id: str) -> Mapping[str, Any]:
        """What the data store notes of an image."""
        return self._server.mapping("GET", "/datastore/image/info", query={"image": image_id})

    def update_image_info(self, image_id: str, info: Mapping[str, Any]) -> None:
        """Note more of an image; entries of the same name are replaced."""
        body, content_type = form({"info": json.dumps(info)}, {})
        self._server.json(
            "PUT", "/datastore/image/info", query={"image": image_id}, body=body, content_type=content_type
        )

    def download_image(self, image_id: str, *, folder: Path, on_bytes: OnBytes | None = None) -> Path:
        """The image's file, written into ``folder`` under the image's name; one that is there is replaced.

        Args:
            on_bytes: told how many bytes of how many have come; what it raises ends the transfer.
        """
        stem = folder / safe_name(image_id)
        query = {"image": image_id}
        return self._server.download(
            "/datastore/image", query, stem, timeout_s=self._infer_timeout_s, on_bytes=on_bytes
        )

    def download_label(self, image_id: str, *, tag: str, folder: Path, on_bytes: OnBytes | None = None) -> Path:
        """The label file of an image with a tag, written into ``folder`` under the image's name and the tag.

        Args:
            on_bytes: as ``download_image`` takes it.
        """
        stem = folder / f"{safe_name(image_id)}_{safe_name(tag)}"
        query = {"label": image_id, "tag": tag}
        return self._server.download(
            "/datastore/label", query, stem, timeout_s=self._infer_timeout_s, on_bytes=on_bytes
        )

    def infer(
        self, model: str, image_id: str, *, folder: Path, params: Mapping[str, Any] | None = None
    ) -> RemoteResult:
        """The model's labels of an image, in a file in ``folder``.

        Args:
            params: for the model; of ours ``result_extension`` (``.nii.gz``, ``.nrrd``, ``.seg.nrrd``, ``.mha``),
                ``result_dtype``, ``device`` and ``mirror``.
        """
        body, content_type = form({"params": json.dumps(dict(params or {}))}, {})
        query = {"image": image_id, "output": "all"}
        with self._server.answer(
            "POST",
            f"/infer/{quote(model, safe='')}",
            query=query,
            body=body,
            content_type=content_type,
            timeout_s=self._infer_timeout_s,
        ) as answer:
            content_type, content = answer.headers.get("content-type", ""), answer.read()
        if content_type.startswith("application/json"):
            return RemoteResult(None, as_mapping(parsed(content), "/infer"))
        parts = parts_of(content_type, content)
        given = as_mapping(parsed(parts["params"][1]) if "params" in parts else {}, "/infer")
        if "image" not in parts:
            return RemoteResult(None, given)
        file_name, content = parts["image"]
        path = folder / f"{safe_name(image_id)}_{safe_name(model)}{suffix_of(file_name)}"
        with atomic_write(path, overwrite=True) as temporary:
            temporary.write_bytes(content)
        return RemoteResult(path, given)

    def save_label(
        self, image_id: str, path: Path, *, tag: str = "final", label_names: Mapping[str, int] | None = None
    ) -> None:
        """Keep a label file for an image; ``final`` says that a person accepted it.

        Args:
            label_names: the structures in it with their voxel values, which a DICOM SEG needs.
        """
        entries = [{"name": name, "idx": value} for name, value in (label_names or {}).items()]
        params = {"label_info": entries} if entries else {}
        body, content_type = form({"params": json.dumps(params)}, {"label": (path.name, _content(path))})
        query = {"image": image_id, "tag": tag}
        self._server.json("PUT", "/datastore/label", query=query, body=body, content_type=content_type)

    def upload_image(self, image_id: str, path: Path) -> str:
        """Add an image file to the data store; returns its id there."""
        body, content_type = form({"params": "{}"}, {"file": (path.name, path.read_bytes())})
        answer = self._server.mapping(
            "PUT", "/datastore/", query={"image": image_id}, body=body, content_type=content_type
        )
        return str(answer.get("image", image_id))

    def next_sample(self, strategy: str, params: Mapping[str, Any] | None = None) -> RemoteImage | None:
        """The image that a strategy would have labelled next; None when nothing is left."""
        answer = self._server.mapping(
            "POST", f"/activelearning/{quote(strategy, safe='')}", json_body=dict(params or {})
        )
        return RemoteImage(str(answer["id"]), (), answer) if answer.get("id") else None

    def train_start(self, model: str, params: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Start training a model on the accepted labels; the task as the server states it."""
        return self._server.mapping("POST", f"/train/{quote(model, safe='')}", json_body=dict(params or {}))

    def train_status(self) -> Mapping[str, Any] | None:
        """The last training: ``status`` (SUBMITTED, RUNNING, DONE, ERROR, STOPPED) and the end of its log in
        ``details``; None where there was none."""
        return self._task("/train/")

    def train_stop(self) -> None:
        """End the training that runs, if one does; it can be gone on with."""
        self._server.json("DELETE", "/train/")

    def score_start(self, method: str, params: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Start scoring the images that have no accepted label."""
        return self._server.mapping("POST", f"/scoring/{quote(method, safe='')}", json_body=dict(params or {}))

    def score_status(self) -> Mapping[str, Any] | None:
        """The last scoring, as ``train_status``."""
        return self._task("/scoring/")

    def batch_infer(self, model: str, *, images: str = "unlabeled") -> Mapping[str, Any]:
        """Start segmenting ``all``, ``labeled`` or ``unlabeled`` images; their labels get the tag ``original``."""
        path = f"/batch/infer/{quote(model, safe='')}"
        return self._server.mapping("POST", path, query={"images": images}, json_body={"label_tag": "original"})

    def batch_status(self) -> Mapping[str, Any] | None:
        """The last inference over many images, as ``train_status``."""
        return self._task("/batch/infer")

    def logs(self, *, lines: int = 300) -> str:
        """The end of the server's log."""
        return self._server.text("/logs/", query={"lines": str(lines), "text": "true"})

    def request(self, method: str, path: str, *, query: Mapping[str, str] | None = None, json_body: Any = None) -> Any:
        """Any other call of the server, answered in JSON; ``path`` begins with a slash."""
        return self._server.json(method, path, query=query, json_body=json_body)

    def _task(self, path: str) -> Mapping[str, Any] | None:
        try:
            return self._server.mapping("GET", path)
        except NotFoundError:
            return None


def _model(name: str, entry: Mapping[str, Any]) -> RemoteModel:
    labels = entry.get("labels") or {}
    numbered = labels if isinstance(labels, Mapping) else {label: at for at, label in enumerate(labels, start=1)}
    return RemoteModel(
        name=name,
        labels={str(label): int(value) for label, value in numbered.items()},
        dimension=int(entry.get("dimension") or 3),
        description=str(entry.get("description", "")),
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror}): an image file was expected.") from error
