"""`POST /text` and `POST /text/{study_instance_uid}`: a clinical note read by rules, here and at once.

`GET` of the latter reads the reason that the order of the study states.
Nothing of a note is logged or kept. Where the site has a language model, the note waits for a worker as an upload does,
and is erased with its answer. Beside a study it is held against what the triage names on its film.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Literal

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from gateway.list.readings import problem_responses
from gateway.notes.schemas import NoteAnswer, RequestAnswer
from gateway.notes.words import NoteModel
from worklist.errors import InvalidInput
from worklist.notes.answers import note_answer, request_answer
from worklist.notes.film import FilmFacts, age_of, named_findings
from worklist.notes.reading import MOST_CHARACTERS, read_note
from worklist.notes.statements import Source
from worklist.records import ListedStudy, Worklist

REQUEST_BYTES: Final = 1_000_000
"""Of the largest request: a note of the most characters, each of them escaped, has less."""
_OLDEST: Final = 125


class Note(BaseModel, extra="forbid"):
    """A clinical note in English."""

    text: str = Field(description=f"At most {MOST_CHARACTERS} characters.")
    age: int | None = Field(
        default=None, ge=0, le=_OLDEST, description="Of the patient, in years; it counts before the note's."
    )
    sex: Literal["M", "F"] | None = Field(default=None, description="Of the patient.")


def build_notes(worklist: Worklist, model: NoteModel | None) -> APIRouter:
    """The routes below /text.

    Args:
        worklist: knows the studies.
        model: the site's language model; None where it has none.
    """
    router = APIRouter(prefix="/text", tags=["text"])

    @router.post("", response_model=NoteAnswer, responses=problem_responses(400, 413, 422))
    async def read(note: Note) -> JSONResponse:
        """What a note states, by rules. Not a diagnosis; research use; unverified AI output."""
        return await answered(note, None)

    @router.post(
        "/{study_instance_uid}", response_model=NoteAnswer, responses=problem_responses(400, 404, 409, 413, 422, 503)
    )
    async def read_beside(study_instance_uid: str, note: Note) -> JSONResponse:
        """The same, held against what the triage names on the film of a study, each contradiction named."""
        study = await run_in_threadpool(found, study_instance_uid)
        return await answered(note, _film(study), study.question)

    @router.get("/{study_instance_uid}", response_model=RequestAnswer, responses=problem_responses(404, 409, 422, 503))
    def read_request(study_instance_uid: str) -> JSONResponse:
        """The reason that the order of a study states, held against what the triage names on its film."""
        study = found(study_instance_uid)
        if not study.question:
            raise InvalidInput("no_order_reason", "the order of this study states no reason: there is nothing to read")
        return JSONResponse(request_answer(read_note(study.question, film=_film(study), source=Source.REQUEST)))

    def found(study_instance_uid: str) -> ListedStudy:
        study = worklist.find(study_instance_uid)
        if study is None:
            raise InvalidInput("unknown_study", f"there is no study {study_instance_uid}: check the address")
        return study

    async def answered(note: Note, film: FilmFacts | None, reason: str = "") -> JSONResponse:
        read = partial(read_note, note.text, age=note.age, sex=note.sex or "", film=film, reason=reason)
        reading = await run_in_threadpool(read)
        words = await model.answer(reading.text) if model and not reading.language else None
        return JSONResponse(note_answer(reading, words))

    return router


def _film(study: ListedStudy) -> FilmFacts:
    judged = study.judgement
    return FilmFacts(
        named=named_findings(judged.analysis, judged.triage) if judged and judged.triage else None,
        patient_name=study.patient_name,
        patient_id=study.patient_id,
        sex=study.patient_sex,
        age=age_of(study.patient_age),
    )
