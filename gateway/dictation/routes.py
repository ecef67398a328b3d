"""`POST /dictate` and `POST /dictate/{study_instance_uid}`: what a reader says or types, understood.

The speech waits for a worker as a file in the folder that gateways and workers share, and is erased before the answer
goes out, whatever becomes of it. Neither speech nor words are logged or kept. A command is named and never carried
out here: the page does what it does for the command's key.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import ClientDisconnect

from gateway.intake.dispatch import Dispatcher
from gateway.predict.in_hand import BytesInHand
from gateway.problems import MEDIA_TYPE, Problem
from gateway.schemas import ModelSchema
from worklist.errors import InvalidInput, ModelUnavailable
from worklist.finding import DISCLAIMER, KNOWN_FINDINGS, Side
from worklist.job import Queue
from worklist.reading import ReadingState
from worklist.records import JobRecords, ListedStudy, PredictionRecords, Worklist
from worklist.spoken.answers import AskedStudy, answer, compared
from worklist.spoken.understanding import MOST_CHARACTERS, Kind, Understood, understand
from worklist.spoken.wav import MOST_BYTES, read_wav

REQUEST_BYTES: Final = MOST_BYTES
_IN_HAND_BYTES: Final = 16_000_000  # of speech that is heard at one time
_WAIT_S: Final = 25.0  # for a worker; it gives up a task after 30 s
_FIRST_LOOK_S, _LAST_LOOK_S = 0.02, 0.1
_WAV: Final = frozenset({"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"})
_JSON: Final = "application/json"


class TypedWords(BaseModel, extra="forbid"):
    """The same as speech, typed."""

    text: str = Field(min_length=1, max_length=MOST_CHARACTERS)


class SpokenCommand(BaseModel, extra="forbid"):
    """What the page is asked to do: name, words, the key that does the same, and the finding that it is about."""

    name: str
    says: str
    key: str
    finding: str | None


class SpokenAnswer(BaseModel, extra="forbid"):
    """What was said, and what it was understood as. Not a diagnosis.

    Attributes:
        text: what was heard, or typed.
        kind: "command" where the page is to do something, "question" where `answer` answers it, "text" for a dictation.
        side: the side that it is about, where one was named.
        answer: in words, from this study's own data; of a command only where the study is compared.
        elapsed_ms: that the model took; with typed words, that understanding took.
        model: what heard the speech; null where the words were typed.
    """

    text: str
    kind: Kind
    command: SpokenCommand | None
    side: Side | None
    answer: str | None
    elapsed_ms: float
    model: ModelSchema | None
    disclaimer: Literal["Not a diagnosis. Research use. Unverified AI output."]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dictation:
    """What hears and knows.

    Attributes:
        worklist: knows the studies.
        speeches: hold what waits for a worker.
        dispatcher: tells the workers.
        jobs: know which workers live.
        is_heard: whether this site hears speech; typed words are understood anyway.
    """

    worklist: Worklist
    speeches: PredictionRecords
    dispatcher: Dispatcher
    jobs: JobRecords
    is_heard: bool


_BODY: Final = {
    "required": True,
    "content": {
        "audio/wav": {
            "schema": {"type": "string", "format": "binary", "description": "PCM, 16 kHz, 16 bits, one channel, 60 s."}
        },
        _JSON: {"schema": TypedWords.model_json_schema()},
    },
}


_PROBLEMS: Final = {
    400: "The request was broken off.",
    404: "There is no such study.",
    408: "The speech came too slowly.",
    409: "Several patients share the Study Instance UID: `detail` names their studies.",
    413: "The speech or the text is too large.",
    415: "It is neither audio/wav nor application/json.",
    422: "The speech is none that can be heard, or no words were heard; `code` says which.",
    503: "No speech is heard here or now, not in time, or the broker does not answer; `code` says which.",
}


def build_dictation(dictation: Dictation) -> APIRouter:
    """The routes below /dictate."""
    router = APIRouter(prefix="/dictate", tags=["dictate"])
    in_hand = BytesInHand(_IN_HAND_BYTES)
    answers: dict[str, Any] = {"response_model": SpokenAnswer, "openapi_extra": {"requestBody": _BODY}}

    @router.post("", responses=_problem_responses(400, 408, 413, 415, 422, 503), **answers)
    async def dictate(request: Request) -> JSONResponse:
        """What was said or typed: a command, a question, or text. Not a diagnosis; research use."""
        words = await _words(request, dictation, in_hand)
        return JSONResponse(_answer(words, None))

    @router.post("/{study_instance_uid}", responses=_problem_responses(*_PROBLEMS), **answers)
    async def dictate_beside(study_instance_uid: str, request: Request) -> JSONResponse:
        """The same, a question answered from what is known of this study."""
        study = await run_in_threadpool(dictation.worklist.find, study_instance_uid)
        if study is None:
            raise InvalidInput("unknown_study", f"there is no study {study_instance_uid}: check the address")
        words = await _words(request, dictation, in_hand)
        return JSONResponse(_answer(words, _asked(study)))

    return router


def _problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"description": _PROBLEMS[status], "content": {MEDIA_TYPE: {}}} for status in statuses}


async def _words(request: Request, dictation: Dictation, in_hand: BytesInHand) -> dict[str, Any]:
    """Text, time and model of what was said or typed."""
    form = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if form not in {*_WAV, _JSON}:
        raise Problem(
            415, "neither speech nor text", 'send audio/wav, or {"text": "..."} as application/json', code="not_speech"
        )
    if form in _WAV and not dictation.is_heard:
        raise ModelUnavailable(
            "dictation_off",
            "no speech is heard here: type it instead, or have FIRSTREAD_DICTATION=medasr set, see docs/dictation.md",
        )
    try:
        if form == _JSON:
            return _typed(await request.body())
        async with in_hand.reserved(REQUEST_BYTES, _WAIT_S):
            return await _heard(await request.body(), dictation)
    except ClientDisconnect:
        raise Problem(400, "broken off", "the request was broken off", code="upload_broken_off") from None


def _typed(body: bytes) -> dict[str, Any]:
    try:
        words = TypedWords.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, fault["loc"])) or "body"
        raise InvalidInput("bad_text", f'{place}: {fault["msg"]}: send {{"text": "..."}}') from None
    return {"text": words.text, "elapsed_ms": 0.0, "model": None}


async def _heard(content: bytes, dictation: Dictation) -> dict[str, Any]:
    await run_in_threadpool(read_wav, content)  # refused here, before anything is written or a worker is asked
    if not (await run_in_threadpool(dictation.jobs.living_workers))[Queue.DICTATE]:
        raise ModelUnavailable(
            "nobody_hears",
            "no worker hears speech now: type it, and see that firstread worker --queues dictate runs; it loads its "
            "model for some seconds",
        )
    speech_id = await run_in_threadpool(dictation.speeches.submit, io.BytesIO(content), None, datetime.now(UTC))
    try:
        await run_in_threadpool(dictation.dispatcher.send_speech, speech_id)
        async with asyncio.timeout(_WAIT_S):
            pause_s = _FIRST_LOOK_S
            while await run_in_threadpool(dictation.speeches.result, speech_id) is None:
                await asyncio.sleep(pause_s)
                pause_s = min(1.5 * pause_s, _LAST_LOOK_S)
        heard: dict[str, Any] = json.loads(await run_in_threadpool(dictation.speeches.files.take_reading, speech_id))
    except TimeoutError:
        raise ModelUnavailable(
            "not_heard_in_time",
            f"no worker has heard it within {_WAIT_S:.0f} s: try again, or see that firstread worker --queues dictate "
            "runs",
        ) from None
    except ModelUnavailable as error:
        if error.code != "worker_lost":
            raise
        raise ModelUnavailable(
            "worker_lost", "the worker's process died on this speech: see its log, then try once more"
        ) from None
    finally:
        await run_in_threadpool(dictation.speeches.withdraw, speech_id)
    if not heard["text"]:
        raise InvalidInput("no_words", "no words were heard: speak closer to the microphone, or type it")
    return heard


def _answer(words: dict[str, Any], study: AskedStudy | None) -> dict[str, Any]:
    started = time.perf_counter()
    understood = understand(words["text"])
    said = _said(understood, study)
    elapsed_ms = words["elapsed_ms"] or round((time.perf_counter() - started) * 1000, 1)
    return {
        "text": words["text"],
        "kind": understood.kind.value,
        "command": _command(understood),
        "side": understood.side,
        "answer": said or None,
        "elapsed_ms": elapsed_ms,
        "model": words["model"],
        "disclaimer": DISCLAIMER,
    }


def _said(understood: Understood, study: AskedStudy | None) -> str:
    if understood.kind is Kind.QUESTION:
        return answer(understood, study)
    return compared(study) if understood.name == "compare" and study else ""


def _command(understood: Understood) -> dict[str, Any] | None:
    if understood.kind is not Kind.COMMAND:
        return None
    finding = KNOWN_FINDINGS[understood.finding].label if understood.finding else None
    return {"name": understood.name, "says": understood.says, "key": understood.key, "finding": finding}


def _asked(study: ListedStudy) -> AskedStudy:
    judged = study.judgement
    return AskedStudy(
        analysis=judged.analysis if judged else None,
        triage=judged.triage if judged else None,
        policy=study.policy,
        reason=study.reason,
        rank=study.rank if study.reading.state in {ReadingState.UNREAD, ReadingState.READING} else 0,
        question=study.question,
        failure=study.failure.message if study.failure else "",
        prior_date=study.prior.study_date if study.prior else "",
    )
