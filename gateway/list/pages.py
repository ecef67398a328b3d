"""The pages: drawn by the server, kept live by server-sent events, and safe to show hostile names."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from gateway.access.actors import LONGEST_NAME, Actors
from gateway.list.failures import SHOWN, failures_answer
from gateway.list.items import item
from gateway.list.scope import scope_of
from gateway.list.words import FLAGS, STATES, UNASSESSED, being_read, sex_age, waiting, where
from worklist.finding import DISCLAIMER
from worklist.notes.reading import MOST_CHARACTERS
from worklist.order import OrderPriority
from worklist.person_name import person_name
from worklist.reading import Actor, ActorSource
from worklist.records import JobRecords, Worklist
from worklist.roles import UseCase

_HERE = Path(__file__).parent
_DRAWN_FIRST = 60  # rows that the server draws; the script asks for all others
TEMPLATES = _HERE / "templates"


def security_headers(*, form_action: str = "'none'", microphone: str = "()") -> dict[str, str]:
    """What a browser may do with a page of ours.

    Args:
        form_action: where its forms may be sent (Content Security Policy Level 3, 6.5.1).
        microphone: who may open it, as Permissions Policy writes it: nobody, or "(self)" the page itself.
    """
    return {
        # trusted-types: a script that tried to write markup instead of text would fail at once, in every test.
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            f"base-uri 'none'; form-action {form_action}; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        ),
        "Permissions-Policy": f"camera=(), geolocation=(), microphone={microphone}",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteFacts:
    """What the pages tell about this installation.

    Attributes:
        version: Firstread's version.
        dicom_host: host to which modalities send, as they reach it.
        dicom_port: Orthanc's DICOM port.
        dicom_aet: Orthanc's AE title.
        viewer: address to which a Study Instance UID is appended to open the study in the viewer, such as
            "viewer/viewer?StudyInstanceUIDs="; None shows no such link.
        own_viewer: address of the site's own viewer, with {study_instance_uid} in it; None where there is none.
        upload_mb: largest file that may be tried, in megabytes (10^6 bytes).
        target_wait: studies that wait longer stand in a strip of their own.
        is_speech_heard: whether the page may record, and a worker hears it.
    """

    version: str
    dicom_host: str
    dicom_port: int
    dicom_aet: str
    viewer: str | None = None
    own_viewer: str | None = None
    upload_mb: int = 64
    target_wait: timedelta = timedelta(hours=24)
    is_speech_heard: bool = False

    @property
    def target_wait_s(self) -> float:
        """The target in seconds."""
        return self.target_wait.total_seconds()

    @property
    def target_text(self) -> str:
        """The target as people say it."""
        return f"{self.target_wait / timedelta(hours=1):g} h"


_BLANK: Mapping[str, Any] = {
    "rank": "",
    "study_instance_uid": "",
    "address": "",
    "patient_id": "",
    "patient_name": "",
    "patient_sex": "",
    "patient_age": "",
    "accession_number": "",
    "study_description": "",
    "modality": "",
    "view": "",
    "ward": "",
    "station": "",
    "question": "",
    "acquired_at": None,
    "prior": None,
    "comparison": None,
    "received_at": None,
    "order_priority": "ROUTINE",
    "urgency": None,
    "state": "waiting",
    "reading": {"state": "unread", "by": None, "since": None, "returned_for": None},
    "overdue": False,
    "reason": "",
}


def build_pages(worklist: Worklist, jobs: JobRecords, site: SiteFacts, actors: Actors) -> APIRouter:
    """The router of `GET /`, `GET /try` and `GET /failures`.

    Args:
        worklist: what is listed.
        jobs: knows the policy in force, and what failed.
        site: what the pages tell about this installation.
        actors: knows who is signed in at a proxy.
    """
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(person_name=person_name, waiting=waiting, being_read=being_read)
    templates.globals.update(sex_age=sex_age, where=where)
    words = {
        "flags": {word.key: word for word in FLAGS},
        "states": {word.key: word for word in STATES},
        "unassessed": UNASSESSED,
        "orders": [order.value for order in OrderPriority],
        "disclaimer": DISCLAIMER,
        "blank": _BLANK,
        "site": site,
        "longest_name": LONGEST_NAME,
        "longest_note": MOST_CHARACTERS,
    }
    router = APIRouter()

    @router.get("/", response_class=HTMLResponse, include_in_schema=False)
    def worklist_page(request: Request) -> HTMLResponse:
        total, studies = worklist.page(limit=_DRAWN_FIRST)
        actor = actors.signed_in(request)
        page = _answer(
            templates,
            "worklist.html",
            words,
            total=total,
            items=[item(study) for study in studies],
            counts=worklist.counts(),
            has_failures=jobs.count_failed() > 0,
            scope=scope_of(jobs.policy()),
            has_login=actors.is_login_required,
            **_reader(actor),
            now=datetime.now(UTC),
        )
        page.headers.update(security_headers(microphone="(self)" if site.is_speech_heard else "()"))
        return page

    @router.get("/try", response_class=HTMLResponse, include_in_schema=False)
    def try_page() -> HTMLResponse:
        return _answer(templates, "try.html", words, scope=scope_of(jobs.policy()))

    @router.get("/failures", response_class=HTMLResponse, include_in_schema=False)
    def failures_page(request: Request) -> HTMLResponse:
        actor = actors.signed_in(request)
        failures = failures_answer(*jobs.failed(SHOWN))
        return _answer(templates, "failures.html", words, failures=failures, shown=SHOWN, **_reader(actor))

    return router


def _reader(actor: Actor | None) -> dict[str, object]:
    """What a page tells of whoever looks at it."""
    return {
        "reader": actor.name if actor else "",
        "has_session": actor is not None and actor.source is ActorSource.SESSION,
        "may_read": "no" if actor and not actor.may(UseCase.READ) else "yes",
        "may_open": "no" if actor and not actor.may(UseCase.OPEN_STUDY) else "yes",
    }


def _answer(templates: Environment, name: str, words: Mapping[str, object], **values: object) -> HTMLResponse:
    html = templates.get_template(name).render(**words, **values)
    return HTMLResponse(html, headers=security_headers())


def mount_static(app: FastAPI) -> None:
    """Serve the pages' styles and scripts at /static, checked for a new version at each load."""
    app.mount("/static", _GuardedFiles(directory=_HERE / "static"), name="static")


class _GuardedFiles(StaticFiles):
    """Static files under the pages' own security headers."""

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update({**security_headers(), "Cache-Control": "no-cache"})
        return response
