"""Servers of language models for the tests: real ones on a stand-in, and a small one that answers as it is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.servers import free_ports

MODEL = "medgemma"
_START_S = 120.0


def answer_json(  # noqa: PLR0913 - the fields of an answer
    explanation: str,
    *,
    statements: list[dict[str, str]] | None = None,
    boxes: list[dict[str, Any]] | None = None,
    comparison: str = "not compared",
    uncertainty: str = "Limited by a single frontal view.",
    quotes: list[int] | None = None,
) -> str:
    """An answer of the schema."""
    return json.dumps(
        {
            "explanation": explanation,
            "statements": statements or [],
            "boxes": boxes or [],
            "comparison": comparison,
            "uncertainty": uncertainty,
            "quotes": quotes or [],
        }
    )


@dataclass
class ScriptedServer:
    """An OpenAI-compatible server that answers what it is told, and keeps what it was asked.

    Attributes:
        replies: one for each question in turn, the last one for all after it: the text of an answer, or what is to be
            done with the connection.
        asked: the bodies of the questions.
    """

    replies: list[str | Callable[[BaseHTTPRequestHandler], None]]
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""


@contextmanager
def scripted(*replies: str | Callable[[BaseHTTPRequestHandler], None]) -> Iterator[ScriptedServer]:
    """A running server."""
    script = ScriptedServer(list(replies))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            send_json(self, {"data": [{"id": MODEL}]})

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            script.asked.append(json.loads(self.rfile.read(length)))
            reply = script.replies[min(len(script.asked), len(script.replies)) - 1]
            if isinstance(reply, str):
                send_json(self, {"choices": [{"message": {"content": reply}, "finish_reason": "stop"}]})
            else:
                reply(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send_json(handler: BaseHTTPRequestHandler, values: object, status: int = 200) -> None:
    """Answer with JSON."""
    send_bytes(handler, json.dumps(values).encode(), status)


def send_bytes(handler: BaseHTTPRequestHandler, content: bytes, status: int = 200, promised: int = 0) -> None:
    """Answer with some bytes, of as many as were promised."""
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(promised or len(content)))
    handler.end_headers()
    handler.wfile.write(content)


@contextmanager
def llama_server(gguf: Path, mmproj: Path) -> Iterator[str]:
    """llama.cpp's own server on a model; yields its root."""
    port = free_ports(1)[0]
    program = (
        "import sys, time, xllamacpp\n"
        "p = xllamacpp.CommonParams()\n"
        "p.model.path, p.mmproj.path, port = sys.argv[1:]\n"
        "p.hostnames, p.port, p.n_ctx, p.n_parallel = ['127.0.0.1'], int(port), 8192, 1\n"
        "p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1\n"
        f"p.warmup, p.use_jinja, p.model_alias = False, True, {{{MODEL!r}}}\n"
        "server = xllamacpp.Server(p)\n"
        "while True: time.sleep(60)\n"
    )
    with _running([sys.executable, "-c", program, str(gguf), str(mmproj), str(port)], port) as url:
        yield url


@contextmanager
def transformers_server(folder: Path) -> Iterator[str]:
    """`transformers serve`, which passes over the schema without a word; its model's name is the folder's path."""
    port = free_ports(1)[0]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    with _running([*command, "--device", "cpu", "--port", str(port)], port) as url:
        yield url


@contextmanager
def _running(command: list[str], port: int) -> Iterator[str]:
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(url):
            assert process.poll() is None, f"{command[0]} ended at once"
            assert time.monotonic() < deadline, f"{command[0]} does not answer"
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/models", trust_env=False, timeout=5).is_success
    except httpx.HTTPError:
        return False
