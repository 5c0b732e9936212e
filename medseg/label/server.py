"""The server: MONAI Label's own endpoints behind a guard, and medseg's where MONAI Label trusts its clients too much.

In: a ``ServerPlan``, in a process that was prepared for it. Out: a server that runs until it is stopped. Endpoints of
ours come first and hide MONAI Label's of the same address.
"""

import argparse
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import BoundedSemaphore

import uvicorn
from fastapi import FastAPI
from monailabel.endpoints import activelearning, batch_infer, datastore, info, logs, model, scoring, session, train
from monailabel.interfaces.utils.app import app_instance
from monailabel.main import Main
from monailabel.utils.async_tasks.utils import background_executors, stop_background_task

from medseg import __version__
from medseg.label.endpoints import OWN_ROUTERS, add_refusals
from medseg.label.guard import Guard
from medseg.label.launch import ServerPlan, log_settings

__all__ = ["build_app", "run"]

STOCK = (info, model, batch_infer, train, activelearning, scoring, datastore, logs, session)
"""MONAI Label's endpoints that are offered. Not those for slides of pathology, which take paths from clients."""

STOPPING_S = 10
"""Seconds that requests have to end when the server is stopped."""

logger = logging.getLogger(__name__)


def run(plan: ServerPlan) -> None:
    """Serve until a signal says to stop."""
    options = plan.options.model_dump_json()
    Main().start_server_init_settings(
        argparse.Namespace(
            app=str(plan.app_folder), studies=plan.studies, port=plan.port, conf=[["medseg", options]], dryrun=False
        )
    )
    uvicorn.run(
        Guard(build_app(plan), host=plan.host, token=plan.token, body_limit_bytes=plan.body_limit_bytes),
        host=plan.host,
        port=plan.port,
        log_config=str(log_settings(plan)),
        access_log=False,  # it would repeat the names of images
        server_header=False,
        timeout_graceful_shutdown=STOPPING_S,
    )


def build_app(plan: ServerPlan) -> FastAPI:
    """The endpoints; the guard is to be put before them."""
    app = FastAPI(title="medseg", version=__version__, lifespan=_lifespan, docs_url=None, redoc_url=None)
    app.state.plan = plan
    app.state.places = BoundedSemaphore(plan.infer_limit)
    for router in OWN_ROUTERS:
        app.include_router(router)
    for module in STOCK:
        app.include_router(module.router)
    add_refusals(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001  FastAPI's signature
    instance = app_instance()
    instance.server_mode(True)
    instance.on_init_complete()
    logger.info("ready: %d models", len(instance.bundles))
    yield
    for method, executor in background_executors.items():
        executor.shutdown(wait=False, cancel_futures=True)  # else the next in the queue would begin
        stop_background_task(method)  # a training is gone on with when it is started again
