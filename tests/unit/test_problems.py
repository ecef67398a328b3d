"""Every error of the gateway is a problem document, also those that nobody foresaw."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http import HTTPStatus

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from structlog.testing import capture_logs

from gateway.problems import MEDIA_TYPE, install_problems
from worklist.errors import Conflict, FirstreadError, InvalidInput, PacsUnavailable
from worklist.procedure_step import Status


def answer_to(error: Exception, path: str = "/") -> httpx.Response:
    """What an application answers whose routes raise: one at once, one half way through its answer."""
    app = FastAPI()
    install_problems(app)

    @app.get("/")
    def fail() -> None:
        raise error

    @app.get("/late")
    def fail_late() -> StreamingResponse:
        def pieces() -> Iterator[bytes]:
            yield b"half an answer"
            raise error

        return StreamingResponse(pieces())

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.get(path)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("code", "title"), [("child", "out of scope"), ("blank_image", HTTPStatus.UNPROCESSABLE_ENTITY.phrase)]
)
def test_what_is_out_of_scope_is_called_so(code: str, title: str) -> None:
    """A film that may not be judged is no failure of anything, and one that is broken is."""
    assert answer_to(InvalidInput(code, "it says why")).json()["title"] == title


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Conflict("being_read", "Dr. Nowak is reading it", status=Status.WRONG_TRANSACTION_UID), 409),
        (InvalidInput("unknown_study", "there is no such study"), 404),
        (InvalidInput("no_name", "say who reads it"), 422),
        (PacsUnavailable("pacs_unavailable", "no answer"), 503),
    ],
)
def test_our_own_errors_have_code_and_detail(error: FirstreadError, status: int) -> None:
    """The kind decides the status; code and message are the error's."""
    answer = answer_to(error)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, MEDIA_TYPE)
    assert (answer.json()["status"], answer.json()["code"]) == (status, error.code)
    assert answer.json()["detail"] == error.message


def test_a_conflict_tells_the_status_of_the_standard() -> None:
    """Whoever was second learns by which rule of PS3.4 Annex CC."""
    conflict = Conflict("already_read", "somebody has read it", status=Status.NO_LONGER_UPDATED)
    assert answer_to(conflict).json()["ups_status"] == "C300"
    assert "ups_status" not in answer_to(Conflict("taken", "somebody was first")).json()


def test_what_nobody_foresaw_is_a_problem_without_its_words() -> None:
    """An exception's message may quote a patient: neither answer nor log has it, and the log has the place."""
    with capture_logs() as logs:
        answer = answer_to(ValueError("Doe^Jane"))
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, MEDIA_TYPE)
    assert answer.json()["code"] == "unexpected_error"
    assert "Doe" not in answer.text
    assert [log["error"] for log in logs] == ["ValueError"]
    assert "in fail" in logs[0]["place"]
    assert "Doe" not in json.dumps(logs)


def test_an_answer_that_fails_half_way_is_broken_off() -> None:
    """What has begun cannot become a problem document: the connection ends, without the words."""
    with capture_logs() as logs, pytest.raises(RuntimeError) as broken:
        answer_to(ValueError("Doe^Jane"), "/late")
    assert "Doe" not in str(broken.value)
    assert [log["error"] for log in logs] == ["ValueError"]
