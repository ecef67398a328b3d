"""PostgreSQL's own programs for copies, pg_dump and its like, found, of a version that fits, and run.

The password reaches them by the environment: what stands on a command line is seen by everybody on the machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from worklist.errors import PermanentError

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_OF_SERVER: Final = text("SELECT current_setting('server_version_num')::int / 10000")
_DEBIAN: Final = "/usr/lib/postgresql"


def find_program(name: str, at_least: int) -> str:
    """The path of a program that a server of a major version needs.

    Raises:
        PermanentError: no_postgres_client, it is missing or too old.
    """
    # Debian keeps each version's own beside the one that is found first.
    beside = sorted(Path(_DEBIAN).glob(f"*/bin/{name}"), key=lambda path: path.parts[-3].rjust(4), reverse=True)
    versions = {}
    for path in filter(None, (shutil.which(name), *map(str, beside))):
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
        found = _VERSION.search(said.stdout)
        if found:
            versions[path] = int(found[1])
            if versions[path] >= at_least:
                return path
    have = f"{name} {max(versions.values())} is too old" if versions else f"{name} is missing"
    raise PermanentError(
        "no_postgres_client", f"{have} for PostgreSQL {at_least}: install postgresql-client-{at_least} on this machine"
    )


def server_version(session: Session) -> int:
    """The server's major version."""
    return int(session.execute(_OF_SERVER).scalar_one())


def address(url: URL) -> str:
    """The database's address without its password."""
    return url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)


def _environment(url: URL) -> dict[str, str]:
    password = {} if url.password is None else {"PGPASSWORD": str(url.password)}
    return {**os.environ, **password, "PGCONNECT_TIMEOUT": "5", "LC_ALL": "C"}


def run(command: Sequence[str], url: URL) -> None:
    """Run a program to its end.

    Raises:
        PermanentError: postgres_client_failed, with its first line.
    """
    done = subprocess.run(  # noqa: S603 - PostgreSQL's own, with our arguments
        command, env=_environment(url), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        raise _failed(command, done.stderr)


def pipe(source: Sequence[str], sink: Sequence[str], url: URL, *, stdin: IO[bytes], first: bytes) -> None:
    """Run two programs, the second on what the first says; where the first fails the second never sees an end.

    Args:
        source: the first program.
        sink: the second.
        url: the database's.
        stdin: what the first one reads.
        first: what the second one reads before all else.

    Raises:
        PermanentError: postgres_client_failed, one of them failed.
    """
    with TemporaryFile() as source_said, TemporaryFile() as sink_said:
        with (
            subprocess.Popen(  # noqa: S603
                sink, env=_environment(url), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=sink_said
            ) as reader,
            subprocess.Popen(  # noqa: S603
                source, env=_environment(url), stdin=stdin, stdout=subprocess.PIPE, stderr=source_said
            ) as writer,
        ):
            if reader.stdin is None or writer.stdout is None:
                raise RuntimeError
            with suppress(BrokenPipeError):  # the second ended, and says why
                reader.stdin.write(first)
                shutil.copyfileobj(writer.stdout, reader.stdin)
                if writer.wait():
                    reader.kill()
                reader.stdin.close()
            writer.stdout.close()
        if reader.returncode or writer.returncode:
            words = [(command, _words(said)) for command, said in ((sink, sink_said), (source, source_said))]
            raise _failed(*next((one for one in words if one[1]), words[0]))


def _words(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _failed(command: Sequence[str], said: bytes) -> PermanentError:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    # The first tells of the cause, those behind it may quote rows.
    return PermanentError("postgres_client_failed", f"{Path(command[0]).name}: {lines[0] if lines else 'it failed'}")
