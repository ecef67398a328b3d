"""`/dicom-web`: QIDO-RS, WADO-RS and STOW-RS (PS3.18 section 10), handed through to Orthanc piece by piece.

Nothing is held in memory, either way. Orthanc's login is added here, and the caller's own headers stay here but for
the few that DICOMweb needs. Only the resources below studies, series and instances are reached: neither the rest of
Orthanc's REST interface nor the plug-in's means to send images to other servers. Nor does a request reach Orthanc that
is known to end it. The file of one instance comes past the plug-in (stored_files.py). Who sees some sites alone reaches
what lies in a study of theirs, by its Study Instance UID.
"""

from __future__ import annotations

import json
import re
import ssl
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import httpcore
import httpx
from fastapi import APIRouter, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gateway.dicomweb.guards import GUARDS
from gateway.dicomweb.questions import accepted, check_uid, drawn, drawn_instance, plain_query
from gateway.dicomweb.searches import check_search, searched_by
from gateway.dicomweb.spacing import without_unusable_spacing
from gateway.dicomweb.stored_files import StoredFile, stored_file
from gateway.kept_connections import AsyncKeptConnections
from gateway.problems import Problem, problem
from worklist.errors import PacsUnavailable
from worklist.pacs_connection import no_answer
from worklist.sight import sight

_ROOT = "dicom-web"
_LEVELS = ("studies", "series", "instances")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
_RETRIEVAL = ("GET", "HEAD", "OPTIONS")
_CONNECT_S = 3.0
_PIECE_BYTES = 262_144  # as much as asyncio reads at one time
_RESOURCE = re.compile(r"[0-9A-Za-z][\w.,-]*(/[0-9A-Za-z][\w.,-]*)*", re.ASCII)  # no segment is "." or ".."
_IN_A_STUDY = re.compile(
    "studies/([^/]+)(?:/series/([^/]+)(?:/instances/([^/]+))?)?(?!/(?:series|instances)/)(?:/.*)?", re.ASCII
)
_STORAGE = re.compile(r"studies(/[^/]+)?")
_ASKED = ("accept", "accept-charset", "content-type", "content-length", "range", "if-none-match", "if-modified-since")
_ANSWERED = ("content-type", "content-length", "content-range", "content-location", "etag", "last-modified", "warning")
_FAILED_SOP_SEQUENCE = "00081198"
_SOP_SEQUENCES = (_FAILED_SOP_SEQUENCE, "00081199")  # what could not be stored, and what was


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomWebOrigin:
    """Orthanc's DICOMweb service.

    Attributes:
        url: root of Orthanc.
        root: path of the DICOMweb plug-in below it.
        auth: user name and password, or None.
        tls: whom to trust; None for what this machine trusts.
        is_seen: told Study, Series and SOP Instance UID, as far as a resource names them, whether whoever asks sees it.
        check_drawable: told a SOP Instance UID, raises UnusableImage where drawing it might end Orthanc.
        accepts: whether images may be stored through it.
        patience_s: longest wait for an answer, and for each next piece of it.
    """

    url: str
    check_drawable: Callable[[str], None]
    is_seen: Callable[[Sequence[str]], bool]
    root: str = _ROOT
    auth: tuple[str, str] | None = None
    tls: ssl.SSLContext | None = None
    accepts: bool = False
    patience_s: float = 60.0

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The beginnings of the paths under which it answers: ours, and Orthanc's own, which its answers speak of."""
        return tuple(dict.fromkeys(f"/{root}/" for root in (_ROOT, self.root.strip("/"))))


def build_dicomweb(origin: DicomWebOrigin) -> APIRouter:
    """The routes of the DICOMweb service; its connections live as long as the application."""
    root = origin.root.strip("/")
    orthanc = httpx.AsyncClient(
        base_url=f"{origin.url.rstrip('/')}/{root}",
        auth=origin.auth,
        transport=AsyncKeptConnections(origin.tls),
        timeout=httpx.Timeout(origin.patience_s, connect=_CONNECT_S),
        trust_env=False,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with orthanc:
            yield

    async def resource(request: Request, path: str) -> Response:
        path = path.removesuffix("/")
        allowed = _allowed(request, path, accepts=origin.accepts)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ", ".join(allowed)})
        await _check_seen(origin, path, request.scope["query_string"])
        question = _question(orthanc, request, path)
        if instance := drawn_instance(path):
            await run_in_threadpool(origin.check_drawable, instance)
        is_head = request.method == "HEAD"
        try:
            if _is_plain(request) and (file := await stored_file(orthanc, origin.url.rstrip("/"), path)):
                return await _as_part(file, is_head=is_head)  # sooner than the plug-in would
            answer = await orthanc.send(question, stream=True)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is left to read it
        except httpx.HTTPError as error:
            raise no_answer(origin.url, error) from error
        if request.method == "POST" and answer.is_success:
            return await _stored(answer)
        is_metadata = path.endswith("/metadata")
        return await _handed_on(answer, is_head=is_head, is_metadata=is_metadata)

    router = APIRouter(lifespan=lifespan)
    for prefix in origin.prefixes:
        router.add_api_route(f"{prefix}{{path:path}}", resource, methods=_METHODS, include_in_schema=False)
    return router


def _allowed(request: Request, path: str, *, accepts: bool) -> tuple[str, ...]:
    """The methods that a resource has, that of the request among them."""
    if path.partition("/")[0] not in _LEVELS or not _RESOURCE.fullmatch(path):
        raise Problem(404, "no such resource", f"{path} is no DICOMweb resource below studies, series or instances")
    is_storage = _STORAGE.fullmatch(path) is not None
    allowed = (*_RETRIEVAL, "POST") if is_storage and accepts else _RETRIEVAL
    if request.method not in allowed:
        stored = "stored by POST to studies" if accepts else "stored in the PACS: FIRSTREAD_ACCEPT_STOW allows it here"
        detail = f"{request.method} is refused: images are retrieved here, and {stored}"
        raise HTTPException(405, detail, {"Allow": ", ".join(allowed)})
    return allowed


async def _check_seen(origin: DicomWebOrigin, path: str, query: bytes) -> None:
    if sight() is not None:
        await run_in_threadpool(_require_seen, origin, path, query)


def _require_seen(origin: DicomWebOrigin, path: str, query: bytes) -> None:
    """Refuse what does not lie in a study that is seen, as if it were not there.

    Raises:
        Problem: 404; or 403, a search of more than one study, which knows of no sites.
        PacsUnavailable: Orthanc does not answer.
    """
    if path in _LEVELS:
        detail = "series and instances of all sites are searched by who sees all: search below a study"
        raise Problem(403, "not permitted", detail, code="not_permitted")
    named = _IN_A_STUDY.fullmatch(path)
    uids = [uid for uid in named.groups() if uid] if named else []
    if not uids or not origin.is_seen(uids):
        raise Problem(404, "no such resource", f"there is no {path} here: check the address")
    if path.rpartition("/")[2] in _LEVELS and (again := searched_by(query) & set(_UIDS[: len(uids)])):
        raise Problem(400, "no usable search", f"{', '.join(sorted(again))}: the address says that already")


def _question(orthanc: httpx.AsyncClient, request: Request, path: str) -> httpx.Request:
    headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
    asked, accept = request.scope["query_string"], headers.get("accept", "*/*")
    if request.method == "POST":
        check_uid(path)
        query, headers["accept"] = plain_query(asked), accept
    else:
        check_search(path, asked)
        path, query = drawn(path, plain_query(asked))
        headers["accept"] = accepted(path, accept)
    # Orthanc builds RetrieveURL and BulkDataURI from this; it wants the host without the quotes of RFC 7239.
    headers["forwarded"] = f"host={request.headers['host']};proto={request.url.scheme}"
    headers["accept-encoding"] = "identity"  # images are compressed as they are
    return orthanc.build_request(
        "POST" if request.method == "POST" else "GET",  # Orthanc knows no HEAD
        httpx.URL(path, query=query or None),
        headers=headers,
        content=request.stream() if request.method == "POST" else None,
    )


def _is_plain(request: Request) -> bool:
    """Whether it asks for the whole of what is stored, without anything further."""
    return request.method in {"GET", "HEAD"} and not request.scope["query_string"] and "range" not in request.headers


async def _as_part(file: StoredFile, *, is_head: bool) -> Response:
    headers = file.headers | GUARDS
    if is_head:
        await file.answer.aclose()
        return Response(headers=headers)

    async def pieces() -> AsyncIterator[bytes]:
        yield file.before
        async for piece in _pieces(file.answer):
            yield piece
        yield file.after

    return _Piecewise(file.answer, pieces(), headers)


async def _handed_on(answer: httpx.Response, *, is_head: bool, is_metadata: bool) -> Response:
    if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        await answer.aclose()
        raise PacsUnavailable(
            "pacs_refuses_login", "Orthanc refuses our login: set FIRSTREAD_ORTHANC_USERNAME and _PASSWORD"
        )
    if answer.is_error and "content-type" not in answer.headers:
        return await _complaint(answer)
    headers = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers} | GUARDS
    is_mended = is_metadata and headers.get("content-type", "").startswith("application/dicom+json")
    if is_mended:
        headers.pop("content-length", None)
    if is_head:
        await answer.aclose()
        head = Response(status_code=answer.status_code, headers=headers)
        if "content-length" not in headers:
            del head.headers["content-length"]  # of no body, where GET has one
        return head
    pieces = _pieces(answer)
    return _Piecewise(answer, without_unusable_spacing(pieces) if is_mended else pieces, headers)


async def _pieces(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes in.

    What follows the first piece is read past the library's parser, which takes it in small pieces and copies each five
    times. A body in chunks (RFC 9112 section 7.1) is left to it.
    """
    stream: httpcore.AsyncNetworkStream = answer.extensions["network_stream"]
    patience_s = answer.request.extensions["timeout"]["read"]
    left = int(answer.headers.get("content-length", sys.maxsize))  # without one, the connection's end is the body's
    parsed = answer.aiter_raw()  # kept to the end: the connection is closed with it
    async for piece in parsed:
        yield piece
        left -= len(piece)
        if left and "transfer-encoding" not in answer.headers:
            break
    else:
        return
    while left and (piece := await stream.read(min(left, _PIECE_BYTES), patience_s)):
        yield piece
        left -= len(piece)


class _Piecewise(StreamingResponse):
    """Orthanc's answer as it comes in; its connection is given back even where the caller hangs up before it begins."""

    def __init__(self, answer: httpx.Response, pieces: AsyncIterable[bytes], headers: dict[str, str]) -> None:
        super().__init__(pieces, status_code=answer.status_code, headers=headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answer.aclose()


async def _stored(answer: httpx.Response) -> Response:
    """What STOW-RS says that it stored; Orthanc may say that all went well where it found nothing to store."""
    body = await answer.aread()
    await answer.aclose()
    try:
        told = json.loads(body)
        is_named = any(told.get(sequence, {}).get("Value") for sequence in _SOP_SEQUENCES)
    except (ValueError, AttributeError):
        is_named = any(f'tag="{sequence}"'.encode() in body for sequence in _SOP_SEQUENCES) and b"<Item" in body
    if not is_named:
        detail = (
            'nothing was stored: send multipart/related; type="application/dicom" with one part, '
            "Content-Type: application/dicom, for each instance; if it was that, look at the PACS's disk and log"
        )
        raise Problem(409, "nothing stored", detail)
    headers = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers} | GUARDS
    return Response(body, answer.status_code, headers)


async def _complaint(answer: httpx.Response) -> Response:
    """An error to which Orthanc gives no media type.

    That is its own JSON object, which becomes a problem document, or what STOW-RS could not store, in the DICOM JSON or
    native XML model, which is handed on under its media type.
    """
    body = await answer.aread()
    await answer.aclose()
    status = HTTPStatus(answer.status_code)
    if body.startswith(b"<"):
        return Response(body, status, GUARDS, "application/dicom+xml")
    try:
        told = json.loads(body)
    except ValueError:
        told = {"Message": body[:200].decode(errors="replace")}
    if isinstance(told, dict) and _FAILED_SOP_SEQUENCE in told:
        return Response(body, status, GUARDS, "application/dicom+json")
    detail = (told.get("Details") or told.get("Message") or "") if isinstance(told, dict) else ""
    return problem(status, status.phrase.lower(), str(detail) or f"Orthanc answers {answer.status_code}")
