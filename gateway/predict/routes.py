"""`POST /predict`: one image judged by the workers' own models, without any PACS; and the pictures of the result.

The upload waits for a worker as a file in a folder that gateways and workers share. It is erased once it is judged,
the rest after an hour. Nothing of it is logged.
"""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, BinaryIO, Literal

import structlog
from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gateway.intake.dispatch import Dispatcher
from gateway.notes.schemas import NoteAnswer
from gateway.predict.in_hand import BytesInHand
from gateway.problems import MEDIA_TYPE, Problem
from gateway.schemas import FindingSchema, ModelSchema
from worklist.errors import InvalidInput, ModelUnavailable
from worklist.media import HEAD_BYTES, image_format
from worklist.notes.reading import readable
from worklist.records import PredictionRecords
from worklist.triage import Urgency

_PRIOR_BYTES = 1_000_000
_NOTE_BYTES = 1_000_000
_FORM_BYTES = 3_000_000  # of everything in the form but the file
_FIRST_LOOK_S, _LAST_LOOK_S = 0.02, 0.25
_SWEEP_EVERY_S = 30

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictLimits:
    """How much and how long.

    Attributes:
        upload_bytes: size of the largest file that is taken.
        in_hand_bytes: size of all that are received or judged at one time; more wait their turn.
        wait_s: how long a worker may take.
        keep: how long a result is kept.
    """

    upload_bytes: int
    in_hand_bytes: int
    wait_s: float
    keep: timedelta

    @property
    def request_bytes(self) -> int:
        """Size of the largest request."""
        return self.upload_bytes + _FORM_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class _Upload:
    """What is to be judged: a file, and the texts of an earlier report and of a note where there are any."""

    film: BinaryIO
    prior_report: str | None
    note: str | None


class PredictedBox(BaseModel, extra="forbid"):
    """Where the evidence of a finding lies, in pixels of the source image; x and y of the upper left corner."""

    x: int
    y: int
    w: int
    h: int
    thumb_path: str
    finding: str


class Quotation(BaseModel, extra="forbid"):
    """A sentence of the prior report that mentions a finding, word for word."""

    source: str
    snippet: str


class Prediction(BaseModel, extra="forbid"):
    """What the models say of one image. Not a diagnosis.

    `urgency` is "critical", "urgent", or "none" where nothing was flagged, which is never a negative; `label` is
    "Urgent" for the first two. `score` is the calibrated probability of any urgent finding, `harm` the number behind
    the class, `threshold` the harm from which an image is flagged. `image` is where the whole film is shown, `rows` and
    `columns` are the size of the source image, `crops` are the boxes, `quality` is what bears on the trust in the
    score, `elapsed_ms` the time from pixels to score. `text` is what the note states, held against the film; null
    where none was given.
    """

    label: Literal["Urgent", "Non-Urgent"]
    urgency: Urgency
    score: float
    harm: float
    threshold: float
    explanation: str
    crops: list[PredictedBox]
    image: str
    rows: int
    columns: int
    provenance: list[Quotation]
    findings: list[FindingSchema]
    quality: dict[str, str]
    model: ModelSchema
    elapsed_ms: float
    model_size_mb: float
    text: NoteAnswer | None
    disclaimer: str


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str = ""


_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "A chest film: DICOM, PNG or JPEG."},
                    "prior_report": {
                        "type": "string",
                        "description": "Text of an earlier report (UTF-8); sentences of it may be quoted.",
                    },
                    "note": {
                        "type": "string",
                        "description": "A clinical note in English (UTF-8); it is read as by POST /text, what it asks "
                        "about is answered first, and what contradicts the film is named.",
                    },
                },
            }
        }
    },
}
_PROBLEMS = {
    400: "The form cannot be read.",
    404: "There is no such picture, or it has expired.",
    408: "The upload took too long.",
    413: "The file, the prior report or the note is too large.",
    415: "The request is no form, or the file is neither DICOM, PNG nor JPEG.",
    422: "The file is missing, broken, or no image that may be judged; `code` says which.",
    503: "No worker answered in time, or the one that took the film died on it, or the broker does not answer; `code` "
    "says which. Try again after `Retry-After` seconds.",
}


def _problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = ProblemDocument.model_json_schema()
    return {
        status: {"description": _PROBLEMS[status], "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses
    }


_PICTURE = {
    200: {"description": "PNG", "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
    **_problem_responses(404),
    422: {"description": "The position is no number from 1 to 1000.", "content": {MEDIA_TYPE: {}}},
}


def build_predict(records: PredictionRecords, dispatcher: Dispatcher, limits: PredictLimits) -> APIRouter:
    """The routes below /predict."""
    router = APIRouter(prefix="/predict", tags=["predict"])
    in_hand = BytesInHand(limits.in_hand_bytes)

    @router.post(
        "",
        response_class=Response,
        responses={200: {"model": Prediction}, **_problem_responses(400, 408, 413, 415, 422, 503)},
        openapi_extra={"requestBody": _BODY},
    )
    async def predict(request: Request) -> Response:
        """Judge one chest film. Not a diagnosis; research use; unverified AI output."""
        _require_form(request)
        size = min(int(request.headers.get("content-length", limits.request_bytes)), limits.request_bytes)
        async with in_hand.reserved(size, limits.wait_s):
            answer = await _answer(request, records, dispatcher, limits)
        return Response(answer, media_type="application/json")

    @router.get("/{prediction_id}/film.png", response_class=Response, responses=_PICTURE)
    def film(prediction_id: str) -> Response:
        """The whole film, at most 1024 pixels long, for as long as the prediction is kept."""
        return _picture(records, prediction_id, 0)

    @router.get("/{prediction_id}/crop-{position}.png", response_class=Response, responses=_PICTURE)
    def crop(prediction_id: str, position: Annotated[int, Path(ge=1, le=1000)]) -> Response:
        """The part of the film behind the box at this position in `crops`, counted from 1."""
        return _picture(records, prediction_id, position)

    return router


async def sweep(records: PredictionRecords, keep: timedelta) -> None:
    """Erase what has expired, for ever."""
    while True:
        try:
            await run_in_threadpool(records.expire, datetime.now(UTC) - keep)
        except Exception as error:  # noqa: BLE001 - patients' films are erased, whatever happened once
            trouble = str(getattr(error, "orig", None) or error)
            log.warning("expired predictions will be erased later", error=trouble)
        await asyncio.sleep(_SWEEP_EVERY_S)


def _picture(records: PredictionRecords, prediction_id: str, position: int) -> Response:
    png = records.files.picture(prediction_id, position)
    if png is None:
        raise Problem(404, "no such picture", "there is no such picture, or it has expired", code="no_such_picture")
    return Response(png, media_type="image/png")


async def _answer(request: Request, records: PredictionRecords, dispatcher: Dispatcher, limits: PredictLimits) -> str:
    async with _received(request, limits) as upload:
        if upload.note is not None:
            await run_in_threadpool(readable, upload.note)
        keep = partial(records.submit, upload.film, upload.prior_report, datetime.now(UTC), note=upload.note)
        prediction_id = await run_in_threadpool(keep)
        has_note = upload.note is not None
    answer = await judged(prediction_id, records, dispatcher, limits)
    if not has_note:
        return answer
    reading = await run_in_threadpool(records.files.take_reading, prediction_id)
    return json.dumps(json.loads(answer) | {"text": json.loads(reading)})


async def judged(prediction_id: str, records: PredictionRecords, dispatcher: Dispatcher, limits: PredictLimits) -> str:
    """What a worker makes of an upload that is kept.

    Raises:
        FirstreadError: no worker answers, or it cannot be judged; the upload is withdrawn.
    """
    try:
        await run_in_threadpool(dispatcher.send_prediction, prediction_id)
        async with asyncio.timeout(limits.wait_s):
            pause_s = _FIRST_LOOK_S
            while (result := await run_in_threadpool(records.result, prediction_id)) is None:
                await asyncio.sleep(pause_s)
                pause_s = min(1.5 * pause_s, _LAST_LOOK_S)
            return result
    except BaseException as error:
        was_taken = await run_in_threadpool(records.withdraw, prediction_id)
        if isinstance(error, TimeoutError):
            raise _late(limits.wait_s, was_taken=was_taken) from None
        raise


def _late(wait_s: float, *, was_taken: bool) -> ModelUnavailable:
    if was_taken:
        return ModelUnavailable(
            "not_judged_in_time",
            f"a worker took the film and was not done after {wait_s:.0f} s: try again; if it happens with this film "
            "alone, see the worker's log",
        )
    return ModelUnavailable(
        "no_answer_in_time",
        f"no worker has answered within {wait_s:.0f} s: try again, or see that firstread worker runs",
    )


def _require_form(request: Request) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise Problem(415, "not a form", "send multipart/form-data with a part named file", code="not_a_form")


@asynccontextmanager
async def _received(request: Request, limits: PredictLimits) -> AsyncIterator[_Upload]:
    """What a request uploads; its size and the time it takes are bounded before it comes here."""
    async with AsyncExitStack() as stack:
        try:
            form = await stack.enter_async_context(request.form(max_files=3, max_fields=3))
            upload = await _read(form, limits)
        except ClientDisconnect:
            raise Problem(400, "broken off", "the upload was broken off", code="upload_broken_off") from None
        except Problem:
            raise
        except HTTPException as error:
            raise Problem(400, "unreadable form", str(error.detail), code="unreadable_form") from error
        yield upload


async def _read(form: FormData, limits: PredictLimits) -> _Upload:
    file = form.get("file")
    if len(form.getlist("file")) > 1:
        raise InvalidInput("several_files", "there are several files: send one film, as the only part named file")
    if not isinstance(file, UploadFile):
        raise InvalidInput("no_file", "there is no file: send it as the part named file, with a file name")
    if (file.size or 0) > limits.upload_bytes:
        raise _too_large("the file", limits.upload_bytes)
    head = await file.read(HEAD_BYTES)
    if not head:
        raise InvalidInput("empty_file", "the file is empty: choose another")
    if image_format(head) is None:
        raise Problem(
            415,
            "not an image",
            "the file is neither DICOM, PNG nor JPEG: give a chest film in one of these",
            code="not_an_image",
        )
    await file.seek(0)
    prior_report = await _text(form, "prior_report", "the prior report", _PRIOR_BYTES)
    note = await _text(form, "note", "the note", _NOTE_BYTES)
    return _Upload(film=file.file, prior_report=prior_report, note=note if note and note.strip() else None)


async def _text(form: FormData, name: str, what: str, limit_bytes: int) -> str | None:
    """A text beside the film, sent as a field or as a file."""
    sent = form.get(name)
    if sent is None:
        return None
    content = sent.encode(errors="replace") if isinstance(sent, str) else await sent.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise _too_large(what, limit_bytes)
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"bad_{name}", f"{what} is no UTF-8 text: save it as UTF-8") from None
    return text.replace("\0", "") or None


def _too_large(what: str, limit_bytes: int) -> Problem:
    return Problem(413, "too large", f"{what} is larger than {limit_bytes // 1_000_000} MB", code="too_large")
