"""Endpoints of medseg's own, in the order in which they are to be asked."""

from fastapi import APIRouter

from medseg.label.endpoints import datastore, infer, tasks, versions, viewers
from medseg.label.endpoints.refusals import add_refusals

__all__ = ["OWN_ROUTERS", "add_refusals"]

OWN_ROUTERS: tuple[APIRouter, ...] = tuple(module.router for module in (infer, datastore, tasks, versions, viewers))
"""They come before MONAI Label's, and hide those of the same address."""
