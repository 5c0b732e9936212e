"""``POST /infer/{model}``: one image of the data store, of a session or sent along → labels.

MONAI Label's own endpoint takes any existing path for an image and lets the parameters replace it; it also holds up
every other request while it computes. This one takes ids, computes aside, and sends away whom it cannot serve soon.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import BoundedSemaphore
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, HTTPException, Query, Request, UploadFile
from fastapi.background import BackgroundTasks
from fastapi.responses import FileResponse, Response
from monailabel.datastore.utils.convert import nifti_to_dicom_seg
from monailabel.interfaces.utils.app import app_instance
from requests_toolbelt import MultipartEncoder

from medseg.errors import SettingsError
from medseg.io import read_labels
from medseg.io.text_header import check_self_contained
from medseg.label.application import LabelApp
from medseg.label.dicom_seg import coded_segments
from medseg.label.names import IMAGE_PATTERNS
from medseg.label.pacs import PacsDatastore
from medseg.label.request import parse_values, refuse_places

__all__ = ["router"]

SESSION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
BUSY_S = "30"

Output = Literal["image", "json", "all", "dicom_seg"]


router = APIRouter(prefix="/infer", tags=["Infer"])


@router.post("/{model}")
def infer(
    http: Request,
    background_tasks: BackgroundTasks,
    model: str,
    image: Annotated[str, Query(max_length=200)] = "",
    session_id: Annotated[str, Query(max_length=64)] = "",
    params: Annotated[str, Form()] = "{}",
    file: UploadFile | None = None,
    label: UploadFile | None = None,  # noqa: ARG001  scribbles, which no model here takes
    output: Output | None = None,
) -> Any:
    app: LabelApp = app_instance()
    app.task("model", model, app._infers)
    asked = refuse_places(parse_values(params))
    request = {**asked, "model": model, "image": image, "save_label": False}
    _check_output(output, app)
    with _place(http.app.state.places), _file_of(app, file, session_id) as path:
        if path is not None:
            request["file"] = str(path)
        elif not image:
            raise SettingsError("neither an image, nor a file, nor a session was named.")
        result = app.infer(request)
        result_file = Path(result["file"])
        background_tasks.add_task(result_file.unlink, missing_ok=True)
        if output == "dicom_seg":
            seg = _dicom_seg(app, model, image, result_file)
            background_tasks.add_task(seg.unlink, missing_ok=True)
            return FileResponse(seg, media_type="application/dicom", filename="segmentation.dcm")
        return _response(result_file, result["params"], output)


def _check_output(output: Output | None, app: LabelApp) -> None:
    if output == "dicom_seg" and not isinstance(app.datastore(), PacsDatastore):
        raise SettingsError("output=dicom_seg needs the DICOM series of a PACS: these studies are files.")


@contextmanager
def _place(places: BoundedSemaphore) -> Iterator[None]:
    if not places.acquire(blocking=False):
        raise HTTPException(429, "too many segmentations wait already: try again.", headers={"Retry-After": BUSY_S})
    try:
        yield
    finally:
        places.release()


@contextmanager
def _file_of(app: LabelApp, upload: UploadFile | None, session_id: str) -> Iterator[Path | None]:
    """The file that was sent, now or with a session; None where an image of the data store is meant."""
    if session_id:
        session = app.sessions().get_session(session_id) if SESSION_ID.fullmatch(session_id) else None
        if session is None or not app.own_file(Path(session.image)):
            raise HTTPException(404, "there is no such session.")
        path = Path(session.image)
        for sent in path.iterdir() if path.is_dir() else (path,):
            check_self_contained(sent)
        yield path
        return
    if upload is None:
        yield None
        return
    name = Path(upload.filename or "scan.nii.gz")
    suffix = next((one[1:] for one in IMAGE_PATTERNS if name.match(one)), None)
    if suffix is None:
        raise SettingsError(f"the file sent should end in one of {', '.join(one[1:] for one in IMAGE_PATTERNS)}.")
    with tempfile.TemporaryDirectory(dir=app.work_folder / "tmp") as folder:
        path = Path(folder) / f"scan{suffix}"
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        check_self_contained(path)
        yield path


def _dicom_seg(app: LabelApp, model: str, image: str, labels: Path) -> Path:
    present = sorted(set(read_labels(labels).unique().int().tolist()) - {0})
    if not present:
        raise SettingsError(f"{model} found nothing in this series: a DICOM SEG without segments cannot be written.")
    segments = coded_segments(present, {}, [app.bundles[model].label_table])
    seg = nifti_to_dicom_seg(str(app.datastore().scan_path(image)), str(labels), segments)
    path = Path(seg)
    if not path.is_file():
        raise HTTPException(500, "the DICOM SEG could not be written: see the server's log.")
    return path


def _response(file: Path, params: dict[str, Any], output: Output | None) -> Any:
    if output == "json":
        return params
    if output == "image":
        return FileResponse(file, media_type="application/octet-stream", filename=file.name)
    with file.open("rb") as stream:
        message = MultipartEncoder(
            fields={
                "params": (None, json.dumps(params), "application/json"),
                "image": (file.name, stream, "application/octet-stream"),
            }
        )
        return Response(content=message.to_string(), media_type=message.content_type)
