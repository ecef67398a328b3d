"""The gateway as its composition root builds it, on a free loopback port of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import uvicorn
from fastapi import FastAPI

import migrations
from firstread.compose_gateway import build_gateway
from firstread.processes import wait_until_ready
from firstread.settings import Settings
from gateway.access.connections import UNREAD, PatientProtocol, listening_socket
from worklist.records import Database

_STOP_S = 60.0


@contextmanager
def running_gateway(
    folder: Path, orthanc_url: str, *, viewer_dir: Path | None = None, **choices: object
) -> Iterator[str]:
    """A gateway without workers or broker; yields its root, without a slash at the end.

    Args:
        folder: where its database lives.
        orthanc_url: root of Orthanc.
        viewer_dir: OHIF's files; None for no viewer.
        choices: further settings; without http_port it answers at any that is free.
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
    with served(build_gateway(settings), port=settings.http_port if "http_port" in choices else 0) as url:
        yield url


@contextmanager
def served(app: FastAPI, unread: timedelta = UNREAD, port: int = 0) -> Iterator[str]:
    """An application that answers on a loopback port; yields its root, without a slash at the end.

    Args:
        app: the application.
        unread: after how long a caller that reads nothing is given up.
        port: 0 for any that is free.
    """
    config = uvicorn.Config(app, port=port, log_level="warning", http=PatientProtocol, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    sockets = [listening_socket(config, unread)]
    thread = threading.Thread(target=server.run, args=(sockets,), name="gateway")
    thread.start()
    try:
        wait_until_ready("the gateway", lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(_STOP_S)
        for one in sockets:  # uvicorn leaves those of a server that ends before it has begun
            one.close()
        assert not thread.is_alive(), "the gateway does not end"
