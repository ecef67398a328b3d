"""A web server before another one, by which a test has its say between an answer and its arrival."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

Meddle = Callable[[str, httpx.Response], httpx.Response]
"""Given method and path with query, and the true answer; returns the answer that is handed on."""


def _as_it_is(_: str, answer: httpx.Response) -> httpx.Response:
    return answer


@contextmanager
def proxied(target: str, meddle: Meddle = _as_it_is, certificate: Path | None = None) -> Iterator[str]:
    """The address of a proxy before a server, for the time of a block.

    Args:
        target: the server's address.
        meddle: called with each answer before it is handed on.
        certificate: PEM file of certificate and key where the proxy speaks HTTPS.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _hand_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            with httpx.Client(trust_env=False, timeout=60) as client:
                answer = client.request(self.command, f"{target}{self.path}", content=body, headers=headers)
            answer = meddle(f"{self.command} {self.path}", answer)
            self.send_response(answer.status_code)
            for name in ("content-type", "location"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_DELETE = _hand_on  # noqa: N815 - names of the library

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - name of the library
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
