"""Requests that meet the closing of a kept connection, before a server that closes each at its second request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from gateway.kept_connections import AsyncKeptConnections, KeptConnections


class ClosingServer(ThreadingHTTPServer):
    """Answers the first request of each connection with its body, and closes at the second, unheard.

    Attributes:
        unheard: requests that met the closing.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.unheard = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    is_kept = False

    def do_GET(self) -> None:
        assert isinstance(self.server, ClosingServer)
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.is_kept:
            self.server.unheard += 1
            self.close_connection = True
            return
        self.is_kept = True
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815 - the library's name

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[ClosingServer]:
    """One that runs."""
    with ClosingServer() as closing:
        thread = threading.Thread(target=closing.serve_forever, args=(0.05,))
        thread.start()
        yield closing
        closing.shutdown()
        thread.join()


def test_what_met_the_closing_is_asked_again(server: ClosingServer) -> None:
    """Each second request meets it, and each is answered, whole."""
    url = f"http://127.0.0.1:{server.server_port}"
    with httpx.Client(base_url=url, transport=KeptConnections(), trust_env=False) as client:
        answers = [client.get("/").text, client.post("/", json=[1]).text, client.post("/", json=[2]).text]
    assert (answers, server.unheard) == (["", "[1]", "[2]"], 2)


def test_what_met_the_closing_is_asked_again_without_threads(server: ClosingServer) -> None:
    """The same of an asynchronous client."""

    async def asked() -> list[str]:
        url = f"http://127.0.0.1:{server.server_port}"
        async with httpx.AsyncClient(base_url=url, transport=AsyncKeptConnections(), trust_env=False) as client:
            return [(await client.post("/", json=number)).text for number in range(3)]

    assert (asyncio.run(asked()), server.unheard) == (["0", "1", "2"], 2)


def test_what_is_streamed_is_not_sent_again(server: ClosingServer) -> None:
    """Its beginning is gone."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"film"

    async def asked() -> None:
        url = f"http://127.0.0.1:{server.server_port}"
        async with httpx.AsyncClient(base_url=url, transport=AsyncKeptConnections(), trust_env=False) as client:
            await client.get("/")
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)):
                await client.post("/", content=pieces(), headers={"Content-Length": "4"})

    asyncio.run(asked())


def test_who_never_answers_is_asked_twice_alone(server: ClosingServer) -> None:
    """Nobody waits for ever for a server that closes every connection."""
    server.RequestHandlerClass = type("Closing", (_Handler,), {"is_kept": True})
    url = f"http://127.0.0.1:{server.server_port}"
    with (
        httpx.Client(base_url=url, transport=KeptConnections(), trust_env=False) as client,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        client.get("/")
    assert server.unheard == 2
