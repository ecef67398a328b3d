"""What a request of UPS-RS says: its data set, its query, and who asks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl

from fastapi import Request

from gateway.access.actors import Actors, clean_name
from gateway.dicomweb.media import JSON, PLAIN_JSON, XML
from gateway.problems import Problem
from gateway.workitems.native import read_native
from worklist.errors import InvalidInput
from worklist.matching import LONGEST_UID, is_uid
from worklist.reading import Actor
from worklist.workitems.datasets import DicomJson, checked

MOST_BYTES: Final = 1_000_000
"""Of a workitem: the largest that is taken."""

_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}", re.ASCII)  # no backslash (PS3.5 section 6.2)
_MOST_PARAMETERS: Final = 50


async def body_of(request: Request) -> bytes:
    """All of it; how large it may be has been looked at before."""
    return await request.body()


def dataset_of(request: Request, body: bytes) -> DicomJson:
    """The data set of a request, by its Content-Type.

    Raises:
        Problem: 400, it is none; 415, it is in another form.
        WorkitemRefused: it is not in the DICOM JSON model.
    """
    stated = request.headers.get("content-type", JSON)
    media_type = stated.partition(";")[0].strip().lower()
    if media_type == XML:
        return checked(read_native(body))
    if media_type not in {JSON, PLAIN_JSON}:
        raise Problem(
            415, "unsupported media type", f"workitems come as {JSON}, {PLAIN_JSON} or {XML}, and not as {stated[:64]}"
        )
    try:
        found = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise Problem(400, "no usable workitem", f"the body is no JSON in UTF-8: {why}") from error
    try:
        return checked(found)
    except RecursionError as error:
        raise Problem(400, "no usable workitem", "sequences lie within each other too deep") from error


def pairs_of(request: Request) -> list[tuple[str, str]]:
    """Names and values of the query.

    Raises:
        Problem: 400, it is none.
    """
    query = request.scope["query_string"]
    try:
        return parse_qsl(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError as error:
        raise Problem(400, "no usable query", f"a query is UTF-8 with at most {_MOST_PARAMETERS} parameters") from error


def named_uid(pairs: Sequence[tuple[str, str]], *names: str) -> str:
    """A UID of the query, by one of some names or, as some clients send it, bare; "" where there is none.

    Raises:
        Problem: 400, it is none.
    """
    uid = next((value for name, value in pairs if name.lower() in names), "")
    uid = uid or next((name for name, value in pairs if not value and is_uid(name)), "")
    return checked_uid(uid) if uid else ""


def checked_uid(uid: str) -> str:
    """A UID that can be one.

    Raises:
        Problem: 400, it cannot.
    """
    if not is_uid(uid):
        detail = f"{uid[:80]} is no UID: digits and dots, {LONGEST_UID} characters at most"
        raise Problem(400, "no usable UID", detail)
    return uid


def checked_ae_title(ae_title: str) -> str:
    """An AE title.

    Raises:
        Problem: 400, it cannot be one.
    """
    if not _AE_TITLE.fullmatch(ae_title) or not ae_title.strip():
        raise Problem(400, "no usable AE title", "an AE title has 1 to 16 characters of ASCII, without backslash")
    return ae_title.strip()


def actor_of(request: Request, actors: Actors, pairs: Sequence[tuple[str, str]]) -> Actor:
    """Who asks: whoever is signed in, or else the application that names itself as `requester`.

    Raises:
        Problem: 400, it has no usable name.
    """
    try:
        signed_in = actors.signed_in(request)
        if signed_in:
            return signed_in
        named = clean_name(next((value for name, value in pairs if name.lower() == "requester"), ""))
    except InvalidInput as error:
        raise Problem(400, "no usable name", error.message, code=error.code) from error
    host = request.client.host if request.client else ""
    return actors.typed(request, named or f"A workstation at {host}"[:64])
