"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import traceback
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worklist.errors import Conflict, FirstreadError, NotPermitted, PermanentError
from worklist.scope import OUT_OF_SCOPE

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_S = 5
_ABSENT = {"unknown_study", "no_order_reason"}  # codes of errors about something that is not there

log = structlog.get_logger()


class Problem(HTTPException):
    """A refusal with a title for the kind and a detail for this case."""

    def __init__(self, status: int, title: str, detail: str, **more: object) -> None:
        super().__init__(status, detail)
        self.title = title
        self.more = more


def problem(status: int, title: str, detail: str, **more: object) -> JSONResponse:
    """A problem document (RFC 9457 section 3)."""
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(content, status_code=status, media_type=MEDIA_TYPE)


def install_problems(app: FastAPI) -> None:
    """Have every error of an application answered as a problem document."""
    app.add_middleware(_Unforeseen)

    @app.exception_handler(HTTPException)
    def _refused(request: Request, error: HTTPException) -> JSONResponse:
        del request
        title, more = HTTPStatus(error.status_code).phrase, {}
        if isinstance(error, Problem):
            title, more = error.title, error.more
        answer = problem(error.status_code, title, str(error.detail), **more)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        )
        return problem(422, "invalid request", faults)

    @app.exception_handler(SQLAlchemyError)
    def _no_database(request: Request, error: SQLAlchemyError) -> JSONResponse:
        del request
        if isinstance(error, DataError):
            return problem(422, "invalid request", "the request holds a value that no record can have")
        log.error("the database failed a request", error=str(getattr(error, "orig", None) or error))
        detail = "the database does not answer: GET /ready and the gateway's log say why"
        answer = problem(503, "Service Unavailable", detail, code="database_unavailable")
        answer.headers["Retry-After"] = str(_RETRY_AFTER_S)
        return answer

    @app.exception_handler(FirstreadError)
    def _failed(request: Request, error: FirstreadError) -> JSONResponse:
        del request
        status = _status_of(error)
        more = {"ups_status": str(error.status)} if isinstance(error, Conflict) and error.status else {}
        title = "out of scope" if error.code in OUT_OF_SCOPE else status.phrase
        answer = problem(status, title, error.message, code=error.code, **more)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            answer.headers["Retry-After"] = str(_RETRY_AFTER_S)
        return answer


def _status_of(error: FirstreadError) -> HTTPStatus:
    if isinstance(error, Conflict):
        return HTTPStatus.CONFLICT
    if isinstance(error, NotPermitted):
        return HTTPStatus.FORBIDDEN
    if error.code in _ABSENT:
        return HTTPStatus.NOT_FOUND
    return HTTPStatus.UNPROCESSABLE_ENTITY if isinstance(error, PermanentError) else HTTPStatus.SERVICE_UNAVAILABLE


class _Unforeseen:
    """Answers what nobody foresaw, and logs where it came from without its message, which may quote a patient."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def note(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as error:
            if scope["type"] != "http":
                raise
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("a request failed unexpectedly", error=type(error).__name__, place=place)  # noqa: TRY400
            if has_begun:
                raise RuntimeError("the answer was broken off, see above") from None
            detail = f"unexpected {type(error).__name__}: the gateway's log says where"
            answer = problem(500, "Internal Server Error", detail, code="unexpected_error")
            await answer(scope, receive, send)
