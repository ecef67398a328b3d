"""The worklist page: drawn by the server, kept live by server-sent events, and safe to show hostile names.

The words that a reader sees for an urgency or a state are written here once; the template shows them and the
page's script clones them, so the first drawing and each later change read the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from worklist.finding import DISCLAIMER
from worklist.person_name import person_name

Item = Mapping[str, Any]

_HERE = Path(__file__).parent
_TWO_DAYS_H = 48  # from here on nobody reads hours alone
_SECURITY_HEADERS = {
    # trusted-types: a script that tried to write markup instead of text would fail at once, in every test.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteFacts:
    """What the page tells about this installation.

    Attributes:
        version: Firstread's version.
        dicom_host: host to which modalities send, as they reach it.
        dicom_port: Orthanc's DICOM port.
        dicom_aet: Orthanc's AE title.
        viewer: address to which a Study Instance UID is appended to open the study in the viewer, such as
            "viewer/viewer?StudyInstanceUIDs="; None shows no such link.
        upload_mb: largest file that may be tried, in megabytes (10^6 bytes).
    """

    version: str
    dicom_host: str
    dicom_port: int
    dicom_aet: str
    viewer: str | None = None
    upload_mb: int = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """How one urgency or state is shown: the item's key, a label, and what it does and does not mean."""

    key: str
    label: str
    meaning: str


URGENCIES = (
    Word(key="critical", label="Critical", meaning="Critical finding suspected by AI (ACR category 1)."),
    Word(key="urgent", label="Urgent", meaning="Urgent finding suspected by AI (ACR category 2)."),
    Word(
        key="routine",
        label="Routine",
        meaning="The AI score stayed below the urgent threshold. That is not a negative reading.",
    ),
    Word(key="unscored", label="Not scored", meaning="No AI score. Nothing is said about the film."),
)
STATES = (
    Word(key="waiting", label="Waiting for AI", meaning="Not scored yet; listed by its time of arrival."),
    Word(key="scored", label="AI scored", meaning="In its place by its score; the AI report is being written."),
    Word(
        key="reported",
        label="AI report ready",
        meaning="The AI report is in the PACS, unverified. It is not the radiologist's report.",
    ),
    Word(
        key="out_of_scope",
        label="Out of scope",
        meaning="Not a film the AI may judge; listed by its time of arrival. Nothing is said about the film.",
    ),
    Word(
        key="failed",
        label="AI failed",
        meaning="The AI's work on it did not succeed; the details say why. A missing score says nothing about it.",
    ),
)

_BLANK: Item = {
    "rank": "",
    "study_instance_uid": "",
    "patient_id": "",
    "patient_name": "",
    "accession_number": "",
    "study_description": "",
    "modality": "",
    "received_at": None,
    "order_priority": "ROUTINE",
    "urgency": None,
    "state": "waiting",
    "reason": "",
}


def build_pages(load_items: Callable[[], Sequence[Item]], site: SiteFacts) -> APIRouter:
    """The router of `GET /` and `GET /try`.

    Args:
        load_items: returns the items of `GET /worklist`, in reading order; called in a worker thread.
        site: what the page tells about this installation.
    """
    templates = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(person_name=person_name, waiting=waiting)
    page = templates.get_template("worklist.html")
    words = {
        "urgencies": {word.key: word for word in URGENCIES},
        "states": {word.key: word for word in STATES},
        "disclaimer": DISCLAIMER,
        "blank": _BLANK,
    }
    router = APIRouter()

    @router.get("/", response_class=HTMLResponse, include_in_schema=False)
    def worklist_page() -> HTMLResponse:
        html = page.render(items=load_items(), site=site, now=datetime.now(UTC), **words)
        return HTMLResponse(html, headers={**_SECURITY_HEADERS, "Cache-Control": "no-store"})

    @router.get("/try", response_class=HTMLResponse, include_in_schema=False)
    def try_page() -> HTMLResponse:
        html = templates.get_template("try.html").render(site=site, **words)
        return HTMLResponse(html, headers={**_SECURITY_HEADERS, "Cache-Control": "no-store"})

    return router


def mount_static(app: FastAPI) -> None:
    """Serve the page's style and script at /static, checked for a new version at each load."""
    app.mount("/static", _GuardedFiles(directory=_HERE / "static"), name="static")


class _GuardedFiles(StaticFiles):
    """Static files under the page's own security headers."""

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update({**_SECURITY_HEADERS, "Cache-Control": "no-cache"})
        return response


def waiting(received_at: str | None, now: datetime) -> str:
    """How long a study has waited, such as '12 min', '3 h 05 min' or '2 d 4 h'.

    Args:
        received_at: ISO 8601 with its offset; None gives "".
        now: the moment to count to, with its time zone.
    """
    if received_at is None:
        return ""
    minutes = max(0, (now - datetime.fromisoformat(received_at)) // timedelta(minutes=1))
    hours = minutes // 60
    if hours >= _TWO_DAYS_H:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else "< 1 min"
