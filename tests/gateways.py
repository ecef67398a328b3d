"""The gateway as its composition root builds it, on a free loopback port of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

import migrations
from firstread.compose_gateway import build_gateway
from firstread.processes import wait_until_ready
from firstread.settings import Settings
from worklist.records import Database

_STOP_S = 20.0


@contextmanager
def running_gateway(
    folder: Path, orthanc_url: str, *, viewer_dir: Path | None = None, **choices: object
) -> Iterator[str]:
    """A gateway without workers or broker; yields its root, without a slash at the end.

    Args:
        folder: where its database lives.
        orthanc_url: root of Orthanc.
        viewer_dir: OHIF's files; None for no viewer.
        choices: further settings.
    """
    database_url = f"sqlite:///{folder / 'firstread.db'}"
    with closing(Database(database_url)) as database:
        migrations.upgrade(database)
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "broker_url": "redis://127.0.0.1:1/0",  # nobody listens there
            "orthanc_url": orthanc_url,
            "upload_dir": folder / "uploads",
            "viewer_dir": viewer_dir,
            **choices,
        }
    )
    with served(build_gateway(settings)) as url:
        yield url


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """An application that answers on a free loopback port; yields its root, without a slash at the end."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, name="gateway")
    thread.start()
    try:
        wait_until_ready("the gateway", lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(_STOP_S)
