"""Endpoints for viewers: OHIF's pages, the log, the way to the PACS behind the server, a token for a password."""

import hmac
import re
from collections import deque
from pathlib import Path
from typing import Annotated, Any

import httpx
import monailabel.endpoints
from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response

from medseg import __version__
from medseg.label.launch import ServerPlan

__all__ = ["router"]

OHIF = Path(monailabel.endpoints.__file__).parent / "static" / "ohif"

PACS_TIMEOUT_S = 60.0

DICOMWEB = re.compile(r"(wado/|qido/|stow/)?(studies|series|instances|bulkdata)(/[A-Za-z0-9.,_-]+)*/?")
"""What DICOMweb addresses look like; a PACS has others, by which it is configured."""


router = APIRouter(tags=["Viewers"])


@router.get("/")
def root() -> dict[str, str]:
    return {"name": "medseg", "version": __version__, "models": "/info/", "viewer": "/ohif/"}


@router.get("/logs/")
def logs(request: Request, lines: Annotated[int, Query(ge=1, le=10_000)] = 300) -> PlainTextResponse:
    """The end of the log, as text: MONAI Label's page of it runs scripts of other servers."""
    path = _plan(request).app_folder / "logs" / "app.log"
    with path.open(encoding="utf-8", errors="replace") as file:
        return PlainTextResponse("".join(deque(file, lines)))


@router.get("/ohif/{path:path}")
def ohif(request: Request, path: str) -> FileResponse:
    """OHIF's files; its page also learns where the server is, which it would look for at port 8000."""
    file = (OHIF / path).resolve()
    if not (file.is_relative_to(OHIF) and file.is_file()):
        file = OHIF / "index.html"  # OHIF finds its own way from there
    if not file.is_file():
        raise HTTPException(404, "this installation of MONAI Label has no OHIF.")
    cookie = {"Set-Cookie": f"MONAILABEL_SERVER_URL={request.base_url}; Path=/ohif; SameSite=Strict"}
    return FileResponse(file, headers=cookie if file.name == "index.html" else None)


@router.get("/proxy/dicom/{path:path}")
@router.post("/proxy/dicom/{path:path}")
async def proxy(request: Request, path: str) -> Response:
    """What the PACS answers; MONAI Label's own proxy drops the question and mislabels packed answers."""
    if not _plan(request).is_pacs:
        raise HTTPException(404, "these studies are files: there is no PACS behind this server.")
    if not DICOMWEB.fullmatch(path) or ".." in path:
        raise HTTPException(400, "an address of DICOMweb was expected: studies, series or instances.")
    kind, _, rest = path.partition("/")
    address = f"{_plan(request).studies.rstrip('/')}/{rest if kind in ('wado', 'qido', 'stow') else path}"
    passed_on = {name: request.headers[name] for name in ("accept", "content-type") if name in request.headers}
    try:
        async with httpx.AsyncClient(timeout=PACS_TIMEOUT_S) as pacs:
            answer = await pacs.request(
                request.method,
                address,
                params=request.query_params,
                headers={**passed_on, "accept-encoding": "identity"},
                content=await request.body(),
            )
    except httpx.HTTPError as error:
        raise HTTPException(502, f"the PACS cannot be reached ({type(error).__name__}).") from error
    kind_of_answer = {name: answer.headers[name] for name in ("content-type",) if name in answer.headers}
    return Response(answer.content, status_code=answer.status_code, headers=kind_of_answer)


@router.get("/auth/")
def is_token_needed(request: Request) -> dict[str, Any]:
    if _plan(request).token is None:
        raise HTTPException(404, "no token is needed.")
    return {"enabled": True, "client_id": "medseg", "realm": ""}


@router.post("/auth/token")
def token(
    request: Request,
    password: Annotated[str, Form(max_length=500)],
    username: Annotated[str, Form()] = "",  # noqa: ARG001  viewers send one
) -> dict[str, str]:
    """The token for those who know it: 3D Slicer asks for a name and a password."""
    expected = _plan(request).token
    if expected is None or not hmac.compare_digest(password.encode(), expected.encode()):
        raise HTTPException(401, "the password is the server's token.", headers={"WWW-Authenticate": "Bearer"})
    return {"access_token": expected, "token_type": "bearer"}


def _plan(request: Request) -> ServerPlan:
    found: ServerPlan = request.app.state.plan
    return found
