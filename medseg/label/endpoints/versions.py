"""Endpoints for the versions of a model's weights: what there is, which one to use, one step back."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from monailabel.interfaces.utils.app import app_instance

from medseg.label.application import LabelApp
from medseg.label.versions import WeightsVersions

__all__ = ["router"]


router = APIRouter(prefix="/medseg/versions", tags=["Versions"])


@router.get("/{model}")
def versions(model: str) -> dict[str, Any]:
    return _state(_versions_of(model))


@router.post("/{model}/promote")
def promote(model: str, version: Annotated[int, Query(ge=0)]) -> dict[str, Any]:
    versions = _versions_of(model)
    versions.promote(version)
    return _state(versions)


@router.post("/{model}/rollback")
def rollback(model: str) -> dict[str, Any]:
    versions = _versions_of(model)
    versions.rollback()
    return _state(versions)


def _versions_of(model: str) -> WeightsVersions:
    app: LabelApp = app_instance()
    found: WeightsVersions = app.task("model", model, app.versions)
    return found


def _state(versions: WeightsVersions) -> dict[str, Any]:
    return {"current": versions.current, "versions": [version.model_dump() for version in versions.all()]}
