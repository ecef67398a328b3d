"""How large a request may be is asked before anything of it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from gateway.access.bodies import LEAST_BYTES, BodyLimit
from gateway.problems import install_problems

LIMITS = {"/large": 1_000_000, "/large/small": 1000}
CHUNK = 500


def asked(path: str, content: bytes | AsyncIterator[bytes]) -> tuple[httpx.Response, int]:
    """The answer to what is sent to an application, and how many bytes of it were read."""
    app, read = FastAPI(), 0
    install_problems(app)
    app.add_middleware(BodyLimit, limits=LIMITS)

    @app.post("/{path:path}")
    async def take(request: Request, path: str) -> dict[str, Any]:
        nonlocal read
        del path
        async for piece in request.stream():
            read += len(piece)
        return {"read": read}

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.post(path, content=content)

    return asyncio.run(ask()), read


async def pieces(size: int) -> AsyncIterator[bytes]:
    """So many bytes, without saying beforehand how many."""
    for _ in range(size // CHUNK):
        yield bytes(CHUNK)


@pytest.mark.parametrize(
    ("path", "most"), [("/large/one", 1_000_000), ("/large/small", 1000), ("/anything", LEAST_BYTES), ("/", 64_000)]
)
def test_each_path_has_its_limit(path: str, most: int) -> None:
    """What is as large as permitted is taken, one byte more is refused unread, in a document that says the limit."""
    answer, read = asked(path, bytes(most))
    assert (answer.status_code, read) == (200, most)
    answer, read = asked(path, bytes(most + 1))
    assert (answer.status_code, read) == (413, 0)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "too_large"
    assert f"larger than {most // 1_000_000} MB" in answer.json()["detail"] or f"{most // 1000} kB" in answer.text


def test_a_request_that_does_not_say_its_size_is_read_to_the_limit() -> None:
    """And no further, however much is sent."""
    answer, read = asked("/large/small", pieces(1000))
    assert (answer.status_code, read) == (200, 1000)
    answer, read = asked("/large/small", pieces(100_000))
    assert (answer.status_code, read) == (413, 1000)
    assert answer.json()["code"] == "too_large"


def test_what_is_not_read_is_not_waited_for() -> None:
    """The connection ends with an answer that was given before all was read, and with no other."""
    assert asked("/large/small", bytes(1001))[0].headers["connection"] == "close"
    assert asked("/large/small", pieces(2000))[0].headers["connection"] == "close"
    assert "connection" not in asked("/large/small", pieces(1000))[0].headers
    assert "connection" not in asked("/large/small", b"")[0].headers
