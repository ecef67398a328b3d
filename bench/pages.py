"""What open pages cost the gateway: idle, and when a study changes; and how long one page of the list takes.

    python -m bench.pages

A gateway of its own process serves 2,000 unread studies among as many read ones as asked for, from SQLite. Fifty
clients watch its events, as fifty browsers would. Before there was one look for all pages, each asked the database
four times a second and ranked the whole list for each change: 20 pages and one changed study took 4.6 s of processor.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import psutil
import uvicorn
from rich.console import Console

import migrations
from bench.figures import Figure, as_table, percentile
from gateway.intake.orthanc import OrthancClient
from tests.list_gateway import list_app
from tests.lists import FilledList, multiply
from tests.servers import free_ports
from worklist.records import Database

PAGES, UNREAD, READ = 50, 2_000, 20_000
_IDLE_S = 25.0  # two and a half heartbeats
_CHANGES, _REQUESTS = 20, 200


def measure_pages(read: int = READ) -> list[Figure]:
    """The figures, on a list of which so many studies have been read."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'firstread.db'}"
        with closing(Database(url)) as database:
            migrations.upgrade(database)
            listed = FilledList(database)
            multiply(listed, UNREAD)
            multiply(listed, read, is_read=True)
            with _gateway(url) as (root, process):
                took = _list_ms(f"{root}/worklist")
                cost, delays, burst = asyncio.run(_watch(f"{root}/worklist/events", process, listed))
    size = f"{UNREAD:,} unread of {UNREAD + read:,}"
    return [
        Figure(name=f"GET /worklist?limit=100, p95, {size}", value=percentile(took, 95), unit="ms", at_most=20),
        Figure(name=f"{PAGES} idle pages, processor", value=cost, unit="% of a core", at_most=5),
        Figure(name=f"a change on all of {PAGES} pages, p95", value=percentile(delays, 95), unit="ms", at_most=300),
        Figure(name=f"a change on {PAGES} pages, processor", value=burst, unit="ms"),
    ]


def _list_ms(url: str) -> list[float]:
    took = []
    with httpx.Client(trust_env=False, timeout=20) as client:
        for _ in range(_REQUESTS):
            started = time.perf_counter()
            client.get(url, params={"limit": 100}).raise_for_status()
            took.append(1000 * (time.perf_counter() - started))
    return took[10:]


async def _watch(url: str, process: psutil.Process, listed: FilledList) -> tuple[float, list[float], float]:
    uid = listed.uids()[UNREAD // 2]
    heard: asyncio.Queue[float] = asyncio.Queue()
    limits = httpx.Limits(max_connections=PAGES)
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:
        pages = [asyncio.create_task(_page(client, url, uid, heard)) for _ in range(PAGES)]
        for _ in range(PAGES):
            await heard.get()  # each page's first heartbeat
        before = _processor_s(process)
        await asyncio.sleep(_IDLE_S)
        idle = (_processor_s(process) - before) / _IDLE_S
        delays = []
        before = _processor_s(process)
        for turn in range(_CHANGES):
            started = time.perf_counter()
            await asyncio.to_thread(listed.put_back if turn % 2 else listed.claim, uid, "Dr. Bench")
            delays.append(1000 * (max([await heard.get() for _ in range(PAGES)]) - started))
        burst = (_processor_s(process) - before) / _CHANGES
        for page in pages:
            page.cancel()
        await asyncio.gather(*pages, return_exceptions=True)
    return 100 * idle, delays, 1000 * burst


async def _page(client: httpx.AsyncClient, url: str, uid: str, heard: asyncio.Queue[float]) -> None:
    async with client.stream("GET", url) as answer:
        is_new = True
        async for line in answer.aiter_lines():
            if (is_new and line == "event: heartbeat") or (line.startswith('data: {"rank') and uid in line):
                is_new = False
                heard.put_nowait(time.perf_counter())


def _processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def _gateway(database_url: str) -> Iterator[tuple[str, psutil.Process]]:
    (port,) = free_ports(1)
    root = f"http://127.0.0.1:{port}"
    started = subprocess.Popen([sys.executable, "-m", "bench.pages", database_url, str(port)])
    try:
        deadline = time.monotonic() + 30
        while not _answers(root):
            if time.monotonic() > deadline:
                raise TimeoutError("the gateway did not start")
            time.sleep(0.1)
        yield root, psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait(20)


def _answers(root: str) -> bool:
    try:
        return httpx.get(f"{root}/worklist/scope", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _serve(database_url: str, port: int) -> None:
    with closing(Database(database_url)) as database, closing(OrthancClient("http://127.0.0.1:1", auth=None)) as pacs:
        app = list_app(FilledList(database), pacs)
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=2)


if __name__ == "__main__":
    if len(sys.argv) == 3:  # noqa: PLR2004 - the gateway's own process
        _serve(sys.argv[1], int(sys.argv[2]))
    else:
        Console().print(as_table("Open pages", measure_pages(*map(int, sys.argv[1:]))))
