"""Who may ring the gateway's doorbell, and how little it costs when somebody else does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gateway.intake.doorbell import PATH, build_doorbell
from gateway.intake.feed import Intake
from gateway.problems import install_problems
from tests.gateways import running_gateway, served
from tests.hospitals import Site, film, wait_until
from tests.servers import REPOSITORY, OrthancServer, running
from worklist.records import Database

NAME = "FIRSTREAD_DOORBELL_SECRET"
SECRET = "between the two of us"  # noqa: S105 - of a test

ON_POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def site(orthanc: OrthancServer, database: Database, redis_url: str) -> Iterator[Site]:
    """A hospital with an empty Orthanc, list and broker."""
    with ExitStack() as stack:
        yield Site(orthanc, database, redis_url, stack)


def gateway_of(intake: Intake, secret: str) -> FastAPI:
    """As much of a gateway as a doorbell needs."""
    app = FastAPI()
    install_problems(app)
    app.include_router(build_doorbell(intake, secret))
    return app


def ring(intake: Intake, secret: str, *, at: str = "127.0.0.1", **request: Any) -> httpx.Response:  # noqa: ANN401
    """The answer to whoever rings from an address."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=gateway_of(intake, secret), client=(at, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.post(PATH, **request)

    return asyncio.run(ask())


@ON_POSTGRESQL
@pytest.mark.parametrize(("environment", "is_heard"), [({NAME: SECRET}, True), ({NAME: "another"}, False), ({}, False)])
def test_orthancs_plug_in_rings_with_the_secret(
    site: Site,
    tmp_path: Path,
    environment: dict[str, str],
    is_heard: bool,  # noqa: FBT001 - pytest's
) -> None:
    """Orthanc has it from a variable named as the gateway's setting; one with another, or none, is refused."""
    intake = site.intake()
    product = json.loads((REPOSITORY / "orthanc" / "orthanc.json").read_text(encoding="utf-8"))["Firstread"]
    with served(gateway_of(intake, SECRET)) as url:
        own = {"Firstread": {**product, "DoorbellUrl": f"{url}{PATH}"}}
        with running(OrthancServer(tmp_path, configuration=own, environment=environment)) as orthanc:
            orthanc.post(film())
            wait_until(lambda: bool(intake.last_rung_at or intake.last_refused_at))
    assert (intake.last_rung_at is not None, intake.last_refused_at is not None) == (is_heard, not is_heard)


@ON_POSTGRESQL
def test_without_a_secret_this_machine_alone_may_ring(site: Site) -> None:
    """And with one any machine that knows it, this one no more than others."""
    intake = site.intake()
    assert ring(intake, "").status_code == 202
    refused = ring(intake, "", at="10.1.2.3")
    assert (refused.status_code, refused.json()["code"]) == (403, "doorbell_refused")
    assert "FIRSTREAD_DOORBELL_SECRET" in refused.json()["detail"]
    assert ring(intake, SECRET).status_code == 403
    for told in ("Bearer wrong", "Bearer", f"Basic {SECRET}", SECRET, "Bearer \xff".encode("latin-1")):
        assert ring(intake, SECRET, headers={"Authorization": told}).status_code == 403
    assert ring(intake, SECRET, at="10.1.2.3", headers={"Authorization": f"Bearer {SECRET}"}).status_code == 202


@ON_POSTGRESQL
@pytest.mark.parametrize(
    "content",
    [
        b"junk",
        b"[]",
        b'{"deleted_studies": ["../../system"]}',
        b'{"deleted_studies": [1]}',
        b'{"deleted_studies": "x"}',
        b"[" * 60_000,
    ],
)
def test_junk_wakes_nobody(site: Site, content: bytes) -> None:
    """It is refused as soon as it is read."""
    intake = site.intake()
    answer = ring(intake, "", content=content)
    assert (answer.status_code, answer.json()["code"]) == (422, "no_ring")
    assert intake.last_rung_at is None


def test_more_than_a_ring_is_not_read(orthanc: OrthancServer, tmp_path: Path) -> None:
    """Of 300 MB of blanks the gateway reads no more than the 64 kB that a ring may have."""
    sent = 0

    def blanks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(300):
            sent += 1
            yield b" " * 1_000_000

    with running_gateway(tmp_path, orthanc.url) as url:
        answer = httpx.post(f"{url}{PATH}", content=bytes(64_001), trust_env=False, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        try:
            answer = httpx.post(f"{url}{PATH}", content=blanks(), trust_env=False, timeout=60)
        except httpx.TransportError:
            pass  # the connection was closed while there was more to send
        else:
            assert answer.status_code == 413
    assert sent < 30
