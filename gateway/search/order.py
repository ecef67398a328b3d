"""`GET /worklist/order`: the reading order alone, for Orthanc's plug-in, which has 200 ms for it."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel
from pydantic_core import to_json

from gateway.search.studies import StudySearch

PATH: Final = "/worklist/order"


class ReadingOrder(BaseModel, extra="forbid"):
    """Orthanc's identifiers of the studies that are to be read, in reading order."""

    studies: list[str]


def build_order(search: StudySearch) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["worklist"])

    @router.get(PATH, response_class=Response, responses={200: {"model": ReadingOrder}})
    def order() -> Response:
        """The studies that are to be read, in reading order, by Orthanc's identifiers."""
        return Response(to_json({"studies": search.order()}), media_type="application/json")

    return router
