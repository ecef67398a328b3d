"""What a login and the check of roles add to a request, beside a gateway that asks for none, in turns.

    python -m bench.access

Two gateways of processes of their own serve one empty SQLite database; an identity provider signs the tokens.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from rich.console import Console

import migrations
from bench.figures import Figure, as_table
from firstread.compose_gateway import build_gateway
from firstread.settings import Settings
from gateway.access.connections import PatientProtocol, listening_socket
from gateway.access.keys import make_key
from tests.issuers import AUDIENCE, running_provider
from tests.servers import free_ports
from worklist.records import Database, SessionRecords
from worklist.roles import Role

_ROUNDS = 400
_PATH = "/worklist/failures?limit=1"  # small, and asks the database once


def measure_access() -> list[Figure]:
    """The figures."""
    with tempfile.TemporaryDirectory() as name, running_provider() as provider:
        folder = Path(name)
        url = f"sqlite:///{folder / 'firstread.db'}"
        key = make_key(folder / "keys", "a machine", Role.RADIOLOGIST)
        with closing(Database(url)) as database:
            migrations.upgrade(database)
            day = timedelta(days=1)
            secret = SessionRecords(database=database, idle=day, longest=day).begin("ada", [Role.RADIOLOGIST])
        common = {"database_url": url, "broker_url": "redis://127.0.0.1:1/0", "orthanc_url": "http://127.0.0.1:1"}
        access = {
            "auth": "on",
            "api_keys_file": str(folder / "keys"),
            "oidc_issuer": provider.url,
            "oidc_audience": AUDIENCE,
            "oidc_roles_claim": "realm_access.roles",
            "public_url": "http://127.0.0.1",
        }
        callers = {
            "a session": {"Cookie": f"firstread={secret}"},
            "an API key": {"Authorization": f"Bearer {key}"},
            "an access token": {"Authorization": f"Bearer {provider.access_token(exp=int(time.time()) + 3600)}"},
        }
        with _gateway(common) as without, _gateway({**common, **access, "requests_per_min": 1_000_000}) as with_login:
            took = _in_turns(without, with_login, callers)
    base = statistics.median([plain for pairs in took.values() for plain, _ in pairs])
    added = [
        Figure(
            name=f"Login by {who} and the check of roles add, p50",
            value=statistics.median([checked for _, checked in pairs])
            - statistics.median([plain for plain, _ in pairs]),
            unit="ms",
            at_most=2,
        )
        for who, pairs in took.items()
    ]
    return [Figure(name="The same request without a login, p50", value=base, unit="ms"), *added]


def _in_turns(
    without: str, with_login: str, callers: Mapping[str, Mapping[str, str]]
) -> dict[str, list[tuple[float, float]]]:
    """Of each caller, pairs of the time without a login and with one, ms; which comes first changes."""
    took: dict[str, list[tuple[float, float]]] = {who: [] for who in callers}
    with httpx.Client(trust_env=False, timeout=60) as client:

        def one(root: str, headers: Mapping[str, str]) -> float:
            started = time.perf_counter()
            client.get(f"{root}{_PATH}", headers=headers).raise_for_status()
            return 1000 * (time.perf_counter() - started)

        for turn in range(_ROUNDS):
            for who, headers in callers.items():
                if turn % 2:
                    checked, plain = one(with_login, headers), one(without, {})
                else:
                    plain, checked = one(without, {}), one(with_login, headers)
                took[who].append((plain, checked))
    return {who: pairs[20:] for who, pairs in took.items()}


@contextmanager
def _gateway(choices: Mapping[str, Any]) -> Iterator[str]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "bench.access", json.dumps({**choices, "http_port": port})]
    started = subprocess.Popen(command)
    root = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _answers(root):
            if time.monotonic() > deadline:
                raise TimeoutError("the gateway did not start")
            time.sleep(0.1)
        yield root
    finally:
        started.terminate()
        started.wait(20)


def _answers(root: str) -> bool:
    try:
        return httpx.get(f"{root}/health", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _serve(choices: str) -> None:
    settings = Settings.model_validate_json(choices)
    config = uvicorn.Config(build_gateway(settings), port=settings.http_port, http=PatientProtocol, log_level="warning")
    uvicorn.Server(config).run(sockets=[listening_socket(config)])


if __name__ == "__main__":
    if len(sys.argv) == 2:  # noqa: PLR2004 - a gateway's own process
        _serve(sys.argv[1])
    else:
        Console().print(as_table("Logins", measure_access()))
