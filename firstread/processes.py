"""Child processes that are kept running, and that never outlive their parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worklist.errors import PermanentError

_PR_SET_PDEATHSIG = 1
_STOP_S = 10.0
_RESTART_PAUSE_S = 0.5
_LAST_LINES = 5

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """What to run.

    Attributes:
        name: what people call it.
        command: program and arguments.
        environment: variables beside the parent's own.
        log: file that takes its output; None leaves it with the parent's.
    """

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None


class Supervisor:
    """Starts programs, starts those again that end, and stops all.

    Each program leads a process group of its own, so that its children go with it, and so that Ctrl-C in the
    terminal reaches the parent alone, which then stops them.
    """

    def __init__(self) -> None:
        self._running: dict[str, tuple[Program, subprocess.Popen[bytes]]] = {}
        self._ended: list[Program] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._keep_alive, name="supervisor", daemon=True)

    def start(self, program: Program) -> None:
        """Start a program, and from now on keep it running."""
        with self._lock:
            self._running[program.name] = (program, _spawn(program))
        if not self._watch.is_alive() and not self._stopping.is_set():
            self._watch.start()

    def pid(self, name: str) -> int:
        """The present process id of a program."""
        with self._lock:
            return self._running[name][1].pid

    def require_no_end(self) -> None:
        """Make sure that every program has run since it was started.

        Raises:
            PermanentError: program_ended, with its last words.
        """
        with self._lock:
            for program in self._ended:
                raise PermanentError("program_ended", f"{program.name} ended by itself; {_last_words(program.log)}")

    def stop(self) -> None:
        """Have every program end, the last started first, and wait until all are gone."""
        self._stopping.set()
        if self._watch.is_alive():
            self._watch.join()
        with self._lock:
            processes = [process for _, process in reversed(self._running.values())]
            for process in processes:
                process.terminate()
            deadline = time.monotonic() + _STOP_S
            for process in processes:
                _wait_for_end(process, deadline)
            self._running.clear()

    def _keep_alive(self) -> None:
        while not self._stopping.wait(_RESTART_PAUSE_S):
            with self._lock:
                for name, (program, process) in self._running.items():
                    if process.poll() is not None:
                        _kill_group(process)
                        self._ended.append(program)
                        self._running[name] = (program, _spawn(program))


def require_free_port(host: str, port: int, name: str, remedy: str) -> None:
    """Make sure that a program will be able to listen.

    Args:
        host: the address it listens at.
        port: its TCP port.
        name: what people call it.
        remedy: how to choose another port.

    Raises:
        PermanentError: port_taken, the port is in use, or the address is none of this machine.
    """
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise PermanentError(
            "port_taken",
            f"{name} cannot listen at {host}, port {port} ({os.strerror(error.errno or 0)}): "
            f"stop what uses it, or {remedy}",
        ) from error


def wait_until_ready(what: str, is_ready: Callable[[], bool], log: Path | None = None, timeout_s: float = 60.0) -> None:
    """Wait for a program to answer.

    Args:
        what: the program's name.
        is_ready: called without arguments until it returns true.
        log: where its last words are found.
        timeout_s: how long to wait.

    Raises:
        PermanentError: it did not answer in time; the message holds the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if is_ready():
            return
        time.sleep(0.1)
    raise PermanentError("not_started", f"{what} did not start within {timeout_s:.0f} s; {_last_words(log)}")


def _last_words(log: Path | None) -> str:
    words = ""
    if log and log.exists():
        words = " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:])
    return f"see {log}: {words}"


def _spawn(program: Program) -> subprocess.Popen[bytes]:
    output = program.log.open("ab") if program.log else None
    try:
        return subprocess.Popen(  # noqa: S603 - our own programs with our own arguments
            [str(part) for part in program.command],
            env={**os.environ, **program.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, and no lock is taken in it
        )
    finally:
        if output:
            output.close()


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_for_end(process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # nobody of it is left, which is what is wanted
        os.killpg(process.pid, signal.SIGKILL)
