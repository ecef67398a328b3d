"""Docker's programs, run with nothing of this machine's environment that could fill a gap."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Where the engine is, and that its classic builder is asked: BuildKit is a plug-in that not every machine has.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "DOCKER_BUILDKIT": "0",
    **{name: os.environ[name] for name in ("HOME", "DOCKER_HOST") if name in os.environ},
}


class CommandFailed(Exception):
    """A program ended with an error; what it said stands in the message."""


def compose_command() -> list[str] | None:
    """docker-compose, or Docker's own plug-in of it; None where neither is installed."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    if shutil.which("docker") and attempt(["docker", "compose", "version"]).returncode == 0:
        return ["docker", "compose"]
    return None


def attempt(command: list[str], *, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever that is; what it says is one text."""
    return subprocess.run(
        command, cwd=folder, env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def do(command: list[str], *, folder: Path | None = None) -> str:
    """Run a program to its end; what it says.

    Raises:
        CommandFailed: it ended with an error.
    """
    done = attempt(command, folder=folder)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def label_of(project: str, service: str | None = None) -> list[str]:
    """The filters by which Docker finds what belongs to a project, or to one service of it."""
    labels: Mapping[str, str | None] = {"project": project, "service": service}
    return [
        word
        for name, value in labels.items()
        if value
        for word in ("--filter", f"label=com.docker.compose.{name}={value}")
    ]


Facts = dict[str, Any]
