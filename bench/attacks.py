"""`make attacks`: a site with a login, half an hour under attack, while films come.

From this machine come at once: connections that send their header a byte at a time, keys and tokens that are wrong,
rings at the doorbell with a secret that is wrong, and, with a key that is good, searches by wildcards and films for
`/predict`, as many as are taken. What is measured is how long a film of the hospital waits from the end of its C-STORE
until it has its score, and how much memory each program takes.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

import httpx
import yaml
from rich.console import Console

from bench.figures import Figure, as_table, markdown_lines, percentile
from bench.films import simulated_films
from bench.load import Arrivals, Memory, every
from firstread.demo import Site, running_site
from gateway.access.keys import make_key
from tests.faults.report import PAGE, versions, write_block
from tests.servers import REPOSITORY
from worklist.records import Database
from worklist.roles import Role

_PORT_BASE = 19180
_FILM_EVERY_S, _QUIET_FILMS = 5.0, 12
_SLOW_SOCKETS, _BYTE_EVERY_S = 200, 2.0
_FAR_BEHIND_S = 300.0
_SCORED_WITHIN_S: Final = 3.0
_PROGRAMS: Final = {
    "gateway": "gateway",
    "worker-score": "worker-score",
    "worker-report": "worker-report",
    "redis": "redis",
}
"""The demo's programs, and the services of docker-compose.yml whose limits hold for them."""


@dataclass(frozen=True)
class _LockedSite(Site):
    """A site at which everybody logs in."""

    keys: Path = field(default=Path("keys.json"), kw_only=True)

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "FIRSTREAD_AUTH": "on", "FIRSTREAD_API_KEYS_FILE": str(self.keys)}


class Attackers:
    """Everybody who attacks, for the time of a block.

    Attributes:
        answers: how often what was answered, by attack.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="attackers", daemon=True)
        buffer = io.BytesIO()
        next(iter(simulated_films(1))).save_as(buffer, enforce_file_format=True)
        self._film = buffer.getvalue()
        self.answers: dict[str, Counter[str]] = {}

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self._stopping.set()
        self._thread.join()

    async def _work(self) -> None:
        bearer = {"Authorization": f"Bearer {self._key}"}
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self._url, trust_env=False, timeout=60, limits=limits) as http:

            def ask(method: str, path: str, **more: object) -> Callable[[], Awaitable[httpx.Response]]:
                return lambda: http.request(method, path, **more)  # type: ignore[arg-type]

            search = "/dicom-web/studies?PatientName=*a*&StudyDescription=*x*&limit=1000"
            floods = {
                "wrong tokens": (8, ask("GET", "/worklist", headers={"Authorization": "Bearer nobody.knows.it"})),
                "wrong rings": (8, ask("POST", "/events/orthanc", content=b"{" + b" " * 60_000 + b"}")),
                "searches": (8, ask("GET", search, headers=bearer)),
                "films": (4, ask("POST", "/predict", files={"file": ("a.dcm", self._film)}, headers=bearer)),
            }
            tasks = [asyncio.create_task(self._flood(name, one)) for name, (n, one) in floods.items() for _ in range(n)]
            tasks += [asyncio.create_task(self._trickle()) for _ in range(_SLOW_SOCKETS)]
            await asyncio.to_thread(self._stopping.wait)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _flood(self, name: str, ask: Callable[[], Awaitable[httpx.Response]]) -> None:
        told = self.answers.setdefault(name, Counter())
        while True:
            try:
                told[str((await ask()).status_code)] += 1
            except httpx.HTTPError as error:
                told[type(error).__name__] += 1
                await asyncio.sleep(0.1)

    async def _trickle(self) -> None:
        told = self.answers.setdefault("slow headers", Counter())
        host, _, port = self._url.removeprefix("http://").partition(":")
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                with closing(writer):
                    writer.write(b"GET /worklist HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
                    with suppress(ConnectionError):
                        while not writer.transport.is_closing():
                            writer.write(b"a")
                            await writer.drain()
                            await asyncio.sleep(_BYTE_EVERY_S)
                told["closed by the gateway"] += 1
            await asyncio.sleep(0.1)


def main() -> None:
    """Measure and print; the table of docs/reliability.md where asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.attacks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = _LockedSite(state=Path(folder), port_base=_PORT_BASE, has_priors=False, keys=Path(folder) / "keys.json")
        key = make_key(site.keys, "viewer", Role.SERVICE)
        with (
            running_site(site) as supervisor,
            closing(Database(site.database_url)) as database,
            Arrivals(site, database) as arrivals,
            Memory(supervisor, list(_PROGRAMS)) as memory,
        ):
            arrivals.send(3)  # to warm up, one of each kind
            _drain(arrivals)
            arrivals.waits.clear()
            _films(arrivals, _QUIET_FILMS * _FILM_EVERY_S)
            quiet = [wait.lasted_s for wait in arrivals.waits]
            arrivals.waits.clear()
            with Attackers(site.gateway_url, key) as attackers:
                _films(arrivals, arguments.minutes * 60)
            busy = [wait.lasted_s for wait in arrivals.waits]
            answers = attackers.answers
            peaks = memory.peaks()
    figures = _figures(quiet, busy, peaks)
    Console(width=130).print(as_table("Under attack", figures))
    print(json.dumps(answers, indent=2))
    if arguments.write:
        write_block(PAGE, "attacks", _lines(figures, answers, len(busy), arguments.minutes))


def _films(arrivals: Arrivals, lasts_s: float) -> None:
    started = time.monotonic()
    for _ in every(_FILM_EVERY_S, until=lambda: time.monotonic() > started + lasts_s):
        arrivals.send(1)
    _drain(arrivals)


def _drain(arrivals: Arrivals) -> None:
    deadline = time.monotonic() + _FAR_BEHIND_S
    while arrivals.waiting:
        if time.monotonic() > deadline:
            raise SystemExit(f"{arrivals.waiting} films have no score after {_FAR_BEHIND_S:.0f} s")
        time.sleep(0.1)


def _figures(quiet: Sequence[float], busy: Sequence[float], peaks: dict[str, float]) -> list[Figure]:
    figures = [
        Figure(name="C-STORE to score before, p50", value=percentile(quiet, 50), unit="s"),
        Figure(name="... under attack, p50", value=percentile(busy, 50), unit="s"),
        Figure(name="... under attack, p95", value=percentile(busy, 95), unit="s", at_most=_SCORED_WITHIN_S),
    ]
    limits = _limits_mb()
    return figures + [
        Figure(name=f"Most memory: {name}", value=most, unit="MB", at_most=limits[_PROGRAMS[name]])
        for name, most in peaks.items()
    ]


def _limits_mb() -> dict[str, float]:
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    units = {"m": 1, "g": 1024}
    return {
        name: float(service["mem_limit"][:-1]) * units[service["mem_limit"][-1]]
        for name, service in services.items()
        if "mem_limit" in service
    }


def _lines(figures: Sequence[Figure], answers: dict[str, Counter[str]], films: int, minutes: float) -> list[str]:
    told = "; ".join(
        f"{name} {', '.join(f'{count:,} times {what}' for what, count in counts.most_common())}"
        for name, counts in answers.items()
    )
    course = (
        f"Run on {datetime.now(UTC):%Y-%m-%d}: {minutes:g} minutes, {films} films of 2500 x 2048 pixels, one each "
        f"{_FILM_EVERY_S:g} s; attackers, site and modality on one machine. {versions()}"
    )
    return [
        course,
        "",
        *markdown_lines(figures),
        "",
        f"Answered: {told}.",
    ]


if __name__ == "__main__":
    main()
