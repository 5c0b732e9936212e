"""Endpoints that start something: training, scoring, inference of many images, the choice of the next image.

MONAI Label starts a process for whatever name it is given, and hands on whatever parameters it is sent, a folder of
Python code to import from among them. These check both first.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException
from monailabel.endpoints import activelearning, batch_infer, scoring, train
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.utils import background_tasks

from medseg.label.application import LabelApp
from medseg.label.request import refuse_places

__all__ = ["router"]

Params = Annotated[dict[str, Any] | None, Body()]

OWN_KEYS = ("model", "method", "strategy", "images", "gpus", "local_rank")
"""Set by the address or the server, whatever the parameters say."""


router = APIRouter(tags=["Tasks"])


@router.post("/activelearning/{strategy}")
def next_sample(strategy: str, params: Params = None) -> Any:
    return activelearning.sample(strategy, _checked("activelearning", "strategy", strategy, params), "client")


@router.post("/train/")
@router.post("/scoring/")
def all_at_once() -> Any:
    raise HTTPException(400, "name one: /train/MODEL or /scoring/METHOD.")


@router.post("/train/{model}")
def start_training(model: str, params: Params = None, enqueue: bool = False) -> Any:
    asked = _checked("train", "model", model, params)
    if not enqueue:
        _refuse_second("train")
    return train.run_model(model, asked, False, enqueue)


@router.post("/scoring/{method}")
def start_scoring(method: str, params: Params = None) -> Any:
    asked = _checked("scoring", "method", method, params)
    _refuse_second("scoring")
    return scoring.run_method(method, asked, False)


@router.post("/batch/infer/{model}")
def start_batch(model: str, images: BatchInferImageType = BatchInferImageType.IMAGES_ALL, params: Params = None) -> Any:
    asked = _checked("batch", "model", model, params)
    _refuse_second("batch_infer")
    return batch_infer.run(model, images, asked, False)


def _checked(kind: str, what: str, name: str, params: Any) -> dict[str, Any]:
    app: LabelApp = app_instance()
    task = app.task(what, name, app.tasks[kind])
    app.follow_review()
    asked = {key: value for key, value in refuse_places(params).items() if key not in OWN_KEYS or key == "model"}
    if what == "model":
        asked.pop("model", None)
    elif "model" in asked:
        app.task("model", str(asked["model"]), app.bundles)
    check = getattr(task, "check", None)
    if check is not None:
        check(asked)
    return asked


def _refuse_second(method: str) -> None:
    """One at a time; MONAI Label looks for processes only, and there is none yet in the moment after a start."""
    if any(task["status"] in ("SUBMITTED", "RUNNING") for task in background_tasks.get(method, [])):
        raise HTTPException(429, "one is under way already: wait for it, or stop it.")
