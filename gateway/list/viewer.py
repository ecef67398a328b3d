"""`/viewer/`: OHIF (3.13), where the site has it, under our configuration and bound to this gateway alone."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path, PurePosixPath
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

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


def mount_viewer(app: FastAPI, folder: Path | None) -> None:
    """Serve OHIF at /viewer.

    Args:
        app: the gateway's application.
        folder: OHIF's files, built or adapted for the address /viewer/ as `make setup` does. Without them every address
            there answers 404 and says what to do.

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
    app.mount("/viewer", _Viewer(directory=folder, html=True), name="viewer")


def _no_viewer() -> None:
    detail = "this gateway has no viewer: run make setup, and set FIRSTREAD_VIEWER_DIR to the folder of OHIF"
    raise Problem(404, "no viewer", detail, code="no_viewer")


class _Viewer(StaticFiles):
    """OHIF's files; our configuration instead of its own; its page at every address that names no file.

    Where no study is named, OHIF has nothing to show: that address leads to the reading list.
    """

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        response: Response
        if path in {".", "index.html"}:
            response = RedirectResponse("/")
        elif path == "app-config.js":
            response = FileResponse(_CONFIGURATION)
        else:
            try:
                response = await super().get_response(path, scope)
            except HTTPException as error:
                if error.status_code != 404 or PurePosixPath(path).suffix:  # noqa: PLR2004 - an HTTP status
                    raise
                response = await super().get_response("index.html", scope)
        response.headers.update(_HEADERS)
        return response
