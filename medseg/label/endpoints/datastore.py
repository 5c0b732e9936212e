"""Endpoints of the data store where MONAI Label's would fail or trust: folders as images, notes, sessions, weights."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Query, UploadFile
from fastapi.background import BackgroundTasks
from fastapi.responses import FileResponse
from monailabel.endpoints import datastore as stock
from monailabel.endpoints import session as stock_session
from monailabel.interfaces.utils.app import app_instance

from medseg.errors import CaseError, SettingsError
from medseg.io import read_volume, write_image
from medseg.io.dicom.series import is_dicom_folder
from medseg.io.formats import image_suffix, is_hidden
from medseg.io.naming import is_label_name
from medseg.label.application import LabelApp
from medseg.label.endpoints.infer import SESSION_ID
from medseg.label.names import ACCEPTED, check_name
from medseg.label.request import parse_values, refuse_places

__all__ = ["router"]


ANSWERED = frozenset(["id", "path", "name"])
FILE_NAME_BYTES = 200

router = APIRouter(tags=["Datastore"])


@router.get("/datastore/image")
def image(
    background_tasks: BackgroundTasks, image: str, channel: Annotated[str, Query(max_length=64)] = ""
) -> FileResponse:
    """An image's file; of a folder the first one, or the one whose name ends in ``channel``."""
    app: LabelApp = app_instance()
    path = Path(app.datastore().get_image_uri(image))
    if path.is_dir() and is_dicom_folder(path):
        folder, path = path, app.work_folder / "tmp" / f"{abs(hash(path))}.nii.gz"
        write_image(read_volume(folder), path, overwrite=True)
        background_tasks.add_task(path.unlink, missing_ok=True)
    elif path.is_dir():
        path = _channel_file(path, channel)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.get("/datastore/")
def listing(output: stock.ResultType | None = None) -> Any:
    """The images and the tags of their labels, with what was decided elsewhere meanwhile."""
    app: LabelApp = app_instance()
    app.follow_review()
    return stock.datastore(output)


@router.put("/datastore/")
@router.put("/datastore/image")
def add_image(
    background_tasks: BackgroundTasks,
    file: UploadFile,
    image: str | None = None,
    params: Annotated[str, Form()] = "{}",
) -> Any:
    """An image, added."""
    _check_file_name(file)
    with _done_when_refused(background_tasks):
        return stock.add_image(background_tasks, image, json.dumps(parse_values(params)), file)


@router.put("/datastore/label")
def save_label(
    background_tasks: BackgroundTasks,
    image: str,
    label: UploadFile,
    params: Annotated[str, Form()] = "{}",
    tag: Annotated[str, Query(max_length=64)] = ACCEPTED,
) -> Any:
    """A label, kept; a tag that decides is entered in the journal of the review."""
    app: LabelApp = app_instance()
    _check_file_name(label)
    info = refuse_places(parse_values(params))
    with _done_when_refused(background_tasks):
        told = stock.save_label(background_tasks, image, json.dumps(info), tag, label)
    app.note_decision(image, tag, client=str(info.get("client_id", "")))
    return told


@router.delete("/datastore/label")
def remove_label(id: str, tag: str) -> Any:  # noqa: A002  MONAI Label's name
    """A label, removed."""
    app: LabelApp = app_instance()
    app.datastore().remove_label(id, tag)
    if tag == ACCEPTED:
        app.note_reopened(id)
    return {}


@router.put("/datastore/image/info")
def image_info(image: str, info: Annotated[str, Form()] = "{}") -> Any:
    return stock.update_image_info(image, json.dumps(_note(info)))


@router.put("/datastore/label/info")
@router.put("/datastore/updatelabelinfo")
def label_info(label: str, tag: str, info: Annotated[str, Form()] = "{}") -> Any:
    return stock.update_label_info(label, tag, json.dumps(_note(info)))


@router.get("/datastore/dataset")
def dataset(limit_cases: Annotated[int | None, Query(ge=1)] = None) -> Any:
    if not app_instance().datastore().datalist():
        raise HTTPException(404, "no label has been accepted yet: there is nothing to download.")
    return stock.download_dataset(limit_cases)


@router.put("/session/")
def new_session(
    background_tasks: BackgroundTasks,
    files: list[UploadFile],
    uncompress: bool = False,
    expiry: Annotated[int, Query(ge=0)] = 0,
) -> Any:
    """A session with one file, or the slices of one series; archives are not unpacked."""
    names = [file.filename or "" for file in files]
    if uncompress or not all(names):
        raise HTTPException(400, "send the files themselves, each with its name: archives are not unpacked.")
    for name in names:
        check_name(name, what="the file name")
    with _done_when_refused(background_tasks):
        return stock_session.create_session(background_tasks, False, expiry, files)


@router.get("/session/{session_id}")
def session(session_id: str, update_ts: bool = False, image: bool = False) -> Any:
    return stock_session.get_session(_session_id(session_id), update_ts, image)


@router.delete("/session/{session_id}")
def remove_session(session_id: str) -> Any:
    return stock_session.remove_session(_session_id(session_id))


@router.put("/model/{model}")
@router.delete("/model/{model}")
def model(model: str) -> Any:  # noqa: ARG001  whichever it is
    raise HTTPException(403, "weights change by training and promotion only.")


@contextmanager
def _done_when_refused(tasks: BackgroundTasks) -> Iterator[None]:
    """FastAPI lets the tasks of a refused request fall, and with them what they would have removed."""
    try:
        yield
    except BaseException:
        for task in tasks.tasks:
            task.func(*task.args, **task.kwargs)
        raise


def _note(text: str) -> dict[str, Any]:
    """A note on an image; MONAI Label lays it over its own answers."""
    note = parse_values(text)
    found = sorted(ANSWERED & set(note))
    if found:
        raise SettingsError(f"a note may not be called {found[0]!r}: the server says that itself.")
    return note


def _check_file_name(file: UploadFile) -> None:
    """MONAI Label makes files whose names end like those of clients."""
    if len((file.filename or "").encode(errors="replace")) > FILE_NAME_BYTES:
        raise SettingsError(f"the name of the file has more than {FILE_NAME_BYTES} bytes: choose a shorter one.")


def _session_id(text: str) -> str:
    if not SESSION_ID.fullmatch(text):
        raise HTTPException(404, "there is no such session.")
    return text


def _channel_file(folder: Path, channel: str) -> Path:
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and not is_hidden(path) and image_suffix(path) and not is_label_name(path)
    ]
    wanted = [path for path in files if _without_suffix(path).casefold().endswith(channel.casefold())]
    if not wanted:
        known = ", ".join(_without_suffix(path) for path in files)
        raise CaseError(f"no file of this image ends in {channel[:40]!r}: it has {known or 'none'}.")
    return wanted[0]


def _without_suffix(path: Path) -> str:
    return path.name[: -len(image_suffix(path) or "")]
