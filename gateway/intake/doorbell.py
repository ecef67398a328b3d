"""`POST /events/orthanc`: Orthanc's doorbell. It is a hint and never believed, but whoever rings must know the secret.

Without a secret on our side only this machine may ring.
"""

from __future__ import annotations

import hmac
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationError

from gateway.intake.feed import Intake
from gateway.problems import MEDIA_TYPE, Problem

PATH: Final = "/events/orthanc"
_LOOPBACK: Final = {"127.0.0.1", "::1"}

OrthancId = Annotated[str, Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{8}){4}$")]  # anything else is no address to ask at


class Ring(BaseModel):
    """What the doorbell says."""

    deleted_studies: list[OrthancId] = Field(default_factory=list, max_length=1000)


_BODY: Final = {"content": {"application/json": {"schema": Ring.model_json_schema()}}}


_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    403: {"description": "It is not Orthanc's doorbell.", "content": {MEDIA_TYPE: {}}},
    413: {"description": "It is larger than 64 kB.", "content": {MEDIA_TYPE: {}}},
    422: {"description": "It is no ring of Orthanc's plug-in.", "content": {MEDIA_TYPE: {}}},
}


def build_doorbell(intake: Intake, secret: str) -> APIRouter:
    """The route.

    Args:
        intake: which is woken.
        secret: that Orthanc's plug-in sends as a bearer token; empty for none.
    """
    router = APIRouter(tags=["intake"])

    def may_ring(request: Request) -> bool:
        if not secret:
            return request.client is not None and request.client.host in _LOOPBACK
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), secret.encode())

    @router.post(PATH, status_code=202, responses=_REFUSALS, openapi_extra={"requestBody": _BODY})
    async def doorbell(request: Request) -> dict[str, str]:
        """Orthanc's doorbell: something changed, look now."""
        if not may_ring(request):  # before anything of the body is read
            intake.refuse_ring()
            raise Problem(
                403,
                "not Orthanc's doorbell",
                "set FIRSTREAD_DOORBELL_SECRET to the same value for the gateway and for Orthanc",
                code="doorbell_refused",
            )
        body = await request.body()
        try:
            ring = Ring.model_validate_json(body) if body else Ring()
        except ValidationError:
            raise Problem(422, "invalid request", "this is no ring of Orthanc's plug-in", code="no_ring") from None
        intake.ring(ring.deleted_studies)
        return {"status": "accepted"}

    return router
