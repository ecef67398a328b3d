"""`GET /dicom-web/studies`: QIDO-RS (PS3.18 section 10.6), studies in reading order, then what else the PACS has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic_core import to_json

from gateway.dicomweb.datasets import EVERYTHING, DicomJson, multipart_xml, of_studies
from gateway.dicomweb.guards import GUARDS
from gateway.dicomweb.media import JSON, PLAIN_JSON, XML, chosen
from gateway.dicomweb.turns import Turns
from gateway.problems import Problem
from gateway.search.studies import FoundStudy, StudySearch
from worklist.attributes import Level, attribute
from worklist.errors import InvalidInput
from worklist.matching import Key, key_of
from worklist.sight import sight

MOST_RESULTS: Final = 5000  # of one answer; a Warning tells of more (PS3.18 section 8.3.4.4)
_PAGES_AT_ONCE, _KEYED_AT_ONCE = 2, 4  # searches that are worked on at one time: without keys, and with keys
_LEVELS: Final = {"series": Level.SERIES, "instances": Level.IMAGE}
_MOST_PARAMETERS: Final = 200
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_FIELD = re.compile(r"[A-Za-z0-9]{1,64}(\.[A-Za-z0-9]{1,64}){0,8}", re.ASCII)
_FUZZY: Final = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
MakeKey = Callable[[str, str], Key | None]
_PARAMETERS: Final = {"limit", "offset", "fuzzymatching", "includefield", "accept"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What a query asks for (PS3.18 section 8.3.4).

    Attributes:
        keys: what must be met.
        fields: keywords, tags and "all" of includefield, and the names of the keys, which are returned too.
        limit: how many results at most; None where it is left open.
        offset: how many are passed over.
        is_fuzzy: whether names may sound alike.
        accept: the media types that the query itself names; "" where it names none.
    """

    keys: Sequence[Key]
    fields: Sequence[str]
    limit: int | None = None
    offset: int = 0
    is_fuzzy: bool = False
    accept: str = ""


def read_search(query: bytes, make_key: MakeKey) -> Search:
    """A query as it was sent.

    Args:
        query: as it was sent.
        make_key: a key of a name and a value; None where it matches everything.

    Raises:
        Problem: 400, there is something in it that cannot be meant.
    """
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
        named = dict(_once(pairs))
        keys = [make_key(name, value) for name, value in named.items() if name not in _PARAMETERS]
    except UnicodeDecodeError as error:
        raise _bad("the query is not in UTF-8") from error
    except ValueError as error:
        raise _bad(f"a query has at most {_MOST_PARAMETERS} parameters") from error
    except InvalidInput as error:
        raise _bad(error.message, code=error.code) from error
    fields = [field.strip() for name, value in pairs if name == "includefield" for field in value.split(",")]
    fields = [field for field in fields if field]
    if not all(map(_FIELD.fullmatch, fields)):
        raise _bad("includefield takes keywords or tags of attributes, or all")
    fuzzy = named.get("fuzzymatching", "false").lower()
    if fuzzy not in {"true", "false"}:
        raise _bad("fuzzymatching is true or false")
    return Search(
        keys=[key for key in keys if key],
        fields=[*fields, *(name for name in named if name not in _PARAMETERS)],
        limit=_number("limit", named["limit"]) if "limit" in named else None,
        offset=_number("offset", named.get("offset", "0")),
        is_fuzzy=fuzzy == "true",
        accept=named.get("accept", ""),
    )


def check_search(path: str, query: bytes) -> None:
    """Refuse a search for series or instances that cannot be meant; what can is Orthanc's to answer.

    Args:
        path: the resource, without the root of the service; one that is no search is none of our business.
        query: as it was sent.

    Raises:
        Problem: 400.
    """
    level = _LEVELS.get(path.rpartition("/")[2])
    if level:
        read_search(query, partial(key_of, level=level))


def searched_by(query: bytes) -> set[str]:
    """The keywords of the keys of a query, as it may write them.

    Raises:
        Problem: 400, there is something in it that cannot be meant.
    """
    return {key.attribute.keyword for key in read_search(query, partial(key_of, level=Level.IMAGE)).keys}


def build_searches(search: StudySearch, prefixes: Iterable[str]) -> APIRouter:
    """The route of studies, under each beginning of the DICOMweb service's paths."""
    router = APIRouter()
    pages, keyed = Turns[Response](_PAGES_AT_ONCE), Turns[Response](_KEYED_AT_ONCE)

    async def studies(request: Request) -> Response:
        asked = read_search(request.scope["query_string"], key_of)
        media_type = chosen(asked.accept or request.headers.get("accept", ""), (JSON, PLAIN_JSON, XML))
        root = request.url.path.removesuffix("/").removesuffix("/studies")
        service = f"{request.url.scheme}://{request.headers['host']}{root}"
        question = (service, request.scope["query_string"], media_type, sight())
        turns = keyed if asked.keys else pages  # Orthanc may take long over keys, and no list waits for that
        shared = await turns.answer(question, lambda: answer(asked, media_type, service))
        own = Response(shared.body, shared.status_code)
        own.raw_headers = list(shared.raw_headers)
        return own

    def answer(asked: Search, media_type: str, service: str) -> Response:
        limit = min(MOST_RESULTS if asked.limit is None else asked.limit, MOST_RESULTS)
        is_cut = asked.limit is None or asked.limit > limit
        try:
            page = search.page(asked.keys, offset=asked.offset, limit=limit, is_counted=is_cut)
        except InvalidInput as error:
            raise _bad(error.message, code=error.code) from error
        datasets = of_studies(page.studies, f"{service}/studies/", asked.fields)
        _add_further(search, page.studies, datasets, asked.fields)
        return found_answer(
            datasets, media_type, service, remaining=page.remaining if is_cut else None, is_fuzzy=asked.is_fuzzy
        )

    for prefix in prefixes:
        for path in (f"{prefix}studies", f"{prefix}studies/"):
            router.add_api_route(path, studies, methods=["GET", "HEAD"], include_in_schema=False)
    return router


def found_answer(
    datasets: Sequence[DicomJson], media_type: str, service: str, *, remaining: int | None, is_fuzzy: bool
) -> Response:
    """What was found, with the warnings of PS3.18 section 8.3.4.

    Args:
        datasets: what was found.
        media_type: of the answer.
        service: root of the service, as the caller names it.
        remaining: how many more there are where the answer was cut; None where it was not.
        is_fuzzy: whether the query wanted names that sound alike.
    """
    answer = _answer(datasets, media_type)
    if remaining:
        told = f"There are {remaining} additional results that can be requested"
        answer.headers.append("Warning", f"299 {service}: {told}")
    if is_fuzzy:
        answer.headers.append("Warning", f"299 {service}: {_FUZZY}")
    return answer


def _answer(datasets: Sequence[DicomJson], media_type: str) -> Response:
    if media_type == XML:
        body, media_type = multipart_xml(datasets)
    else:
        body = to_json(datasets)
    return Response(body, media_type=media_type, headers=GUARDS)


def _add_further(
    search: StudySearch, studies: Sequence[FoundStudy], datasets: Sequence[DicomJson], fields: Sequence[str]
) -> None:
    """Add attributes that the index does not have, as Orthanc reads them from the files."""
    names = [field for field in fields if field != EVERYTHING and _is_further(field)]
    if not names:
        return
    uids = [found.texts["StudyInstanceUID"] for found in studies]
    told = {_identity(one): one for one in search.pacs.elements(uids, names)}
    for dataset in datasets:
        dataset |= {tag: held for tag, held in told.get(_identity(dataset), {}).items() if tag not in dataset}


def _is_further(field: str) -> bool:
    known = attribute(field)
    return known is None or not known.is_of_studies


def _identity(dataset: DicomJson) -> tuple[Any, ...]:
    # Two patients may share a UID.
    return tuple(str(dataset.get(tag, {}).get("Value")) for tag in ("0020000D", "00100020"))


def _once(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    seen = set()
    for name, value in pairs:
        if name == "includefield":
            continue
        known = attribute(name)
        if (known.keyword if known else name) in seen:
            raise InvalidInput("bad_key", f"{name[:64]} is given twice: a list has its values in one parameter")
        seen.add(known.keyword if known else name)
        yield name, value


def _number(name: str, text: str) -> int:
    if not _NUMBER.fullmatch(text.strip()):
        raise _bad(f"{name} is a whole number from 0")
    return int(text)


def _bad(detail: str, **more: object) -> Problem:
    return Problem(400, "no usable search", detail, **more)
