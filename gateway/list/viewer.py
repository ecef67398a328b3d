"""`/viewer/`: OHIF (3.13), where the site has it, under our configuration and bound to this gateway alone."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from pathlib import Path, PurePosixPath
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from gateway.access.actors import Actors
from gateway.list.words import FLAGS, STATES
from gateway.problems import Problem
from worklist.errors import InvalidInput

OPEN_STUDY = "viewer/viewer?StudyInstanceUIDs="
"""Address, relative to the gateway's root, to which a Study Instance UID is appended."""

_CONFIGURATION = Path(__file__).parent / "static" / "ohif-config.js"
_MARK = '"/viewer/app-config.js"'
_HEADERS = {
    # connect-src 'self': images and reports go nowhere else. OHIF starts with scripts inside its page, and loads
    # decoders as WebAssembly and workers as blobs.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'self' blob:; base-uri 'self'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def mount_viewer(app: FastAPI, folder: Path | None, actors: Actors) -> None:
    """Serve OHIF at /viewer.

    Args:
        app: the gateway's application.
        folder: OHIF's files, built or adapted for the address /viewer/ as `make setup` does. Without them every address
            there answers 404 and says what to do.
        actors: knows who is signed in at a proxy.

    Raises:
        InvalidInput: the folder does not hold that.
    """
    if folder is None:
        for path in ("/viewer", "/viewer/{_:path}"):
            app.add_api_route(path, _no_viewer, include_in_schema=False)
        return
    page = folder / "index.html"
    if not page.is_file() or _MARK not in page.read_text(encoding="utf-8"):
        raise InvalidInput(
            "no_viewer",
            f"FIRSTREAD_VIEWER_DIR={folder} does not hold OHIF for the address /viewer/: run make setup, "
            "or build OHIF with PUBLIC_URL=/viewer/",
        )
    app.mount("/viewer", _Viewer(folder, actors), name="viewer")


def _no_viewer() -> None:
    detail = "this gateway has no viewer: run make setup, and set FIRSTREAD_VIEWER_DIR to the folder of OHIF"
    raise Problem(404, "no viewer", detail, code="no_viewer")


def _configuration(reader: str) -> str:
    """OHIF's configuration, behind who reads and the words for flags and states by their keys."""
    told = {
        "reader": reader,
        "flags": {word.key: word.label for word in FLAGS},
        "states": {word.key: word.label for word in STATES},
    }
    return f"window.firstread = {json.dumps(told)};\n{_CONFIGURATION.read_text(encoding='utf-8')}"


class _Viewer(StaticFiles):
    """OHIF's files; our configuration instead of its own; its page at every address that names no file."""

    def __init__(self, folder: Path, actors: Actors) -> None:
        super().__init__(directory=folder, html=True)
        self._actors = actors

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        response: Response
        if path == "app-config.js":
            actor = self._actors.signed_in(HTTPConnection(scope))
            response = Response(_configuration(actor.name if actor else ""), media_type="text/javascript")
        else:
            try:
                response = await super().get_response(path, scope)
            except HTTPException as error:
                if error.status_code != 404 or PurePosixPath(path).suffix:  # noqa: PLR2004 - an HTTP status
                    raise
                response = await super().get_response("index.html", scope)
        response.headers.update(_HEADERS)
        return response
