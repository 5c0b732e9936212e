"""What went wrong, said in the status and one line: the client's fault is a 4xx, and ours a 500 without a trace."""

import json
import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException
from requests import RequestException

from medseg.errors import MedsegError
from medseg.label.application import UnknownTaskError
from medseg.label.names import UnknownImageError

__all__ = ["add_refusals"]

logger = logging.getLogger(__name__)


def add_refusals(app: FastAPI) -> None:
    """Let every error end as an answer in JSON."""

    async def ours(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001  FastAPI's signature
        if isinstance(error, UnknownImageError):
            return _answer(404, str(error))
        is_clients = isinstance(error, MedsegError) and error.exit_code == MedsegError.exit_code
        return _answer(422 if is_clients else 500, str(error))

    async def theirs(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001  FastAPI's signature
        is_missing = isinstance(error, UnknownTaskError | ImageNotFoundException | LabelNotFoundException)
        return _answer(404 if is_missing else 400, getattr(error, "msg", "") or "MONAI Label refuses this request.")

    async def no_json(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001  FastAPI's signature
        return _answer(400, f"parameters that are no JSON were sent: {error}")

    async def missing(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001  FastAPI's signature
        return _answer(404, "that file is not there.")

    async def no_pacs(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001  FastAPI's signature
        return _answer(502, f"the PACS does not answer as it should ({type(error).__name__}): is it running?")

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s ended in %s", request.method, request.url.path.split("/")[1], type(error).__name__)
        return _answer(500, f"unexpected {type(error).__name__}: see the server's log.")

    app.add_exception_handler(MedsegError, ours)
    app.add_exception_handler(MONAILabelException, theirs)
    app.add_exception_handler(json.JSONDecodeError, no_json)
    app.add_exception_handler(RecursionError, no_json)  # thousands of brackets
    app.add_exception_handler(FileNotFoundError, missing)
    app.add_exception_handler(RequestException, no_pacs)
    app.add_exception_handler(Exception, unexpected)


def _answer(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": " ".join(detail.split())}, status_code=status)
