"""The real servers that tests talk to: PostgreSQL, Redis and Orthanc, on free loopback ports.

Each lives in a folder of its own and ends with the process that started it, however that process ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import psycopg
import pydicom
import pytest
import redis

from firstread.processes import wait_until_ready

REPOSITORY = Path(__file__).resolve().parents[1]

LATER_ORTHANC = Path(os.environ.get("ORTHANC_1_12") or Path(sys.prefix) / "share" / "orthanc-1.12")
"""Where `make orthanc-1.12` puts one, beside this machine's own."""
ORTHANCS = (
    pytest.param("", id="this machine's"),
    pytest.param(
        str(LATER_ORTHANC),
        id="1.12",
        marks=pytest.mark.skipif(not LATER_ORTHANC.is_dir(), reason="no later Orthanc: make orthanc-1.12"),
    ),
)
"""The Orthancs that tests run against, by their roots."""

_LOOPBACK = "127.0.0.1"
_START_S, _STOP_S, _DEAD_S = 180.0, 15.0, 60.0
_BLOCK = 64  # ports that a process takes at once

_AnyServer = TypeVar("_AnyServer", bound="Server")


def find_shared_data() -> Path:
    """The folder of real films beside a developer's checkout; a test that needs it is skipped where there is none."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real films in {folder}")
    return folder


def orthanc_id(patient_id: str, *uids: str) -> str:
    """Orthanc's identifier of a patient's study, or of the series or instance to which more UIDs lead."""
    digest = hashlib.sha1("|".join((patient_id, *uids)).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def free_ports(count: int) -> list[int]:
    """Loopback ports on which nobody listens, and that nobody else takes until this process ends.

    So a server may be started there later, and again, and where none is started a connection is refused.
    """
    found: list[int] = []
    while len(found) < count:
        port = next(_own_ports)
        with contextlib.suppress(OSError), socket.socket() as probe:  # some other program listens there
            probe.bind((_LOOPBACK, port))
            found.append(port)
    return found


def _claim_ports() -> Iterator[int]:
    """Ports of this process alone: the kernel hands out none of them, and each block goes to one process of tests.

    Whoever connects, or listens at any port, would else get one of them between its being found and its being used.
    """
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split())
    blocks = range(10_240, 65_536, _BLOCK)
    apart = [first for first in blocks if first + _BLOCK <= lowest or first > highest] or blocks
    for first in random.sample(apart, len(apart)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0firstread-tests-{first}")  # a name that goes with this process, whatever ends it
        except OSError:
            claim.close()
            continue
        claim.detach()
        yield from range(first, first + _BLOCK)
    pytest.fail("other processes of tests have claimed every port: wait until they end", pytrace=False)


_own_ports = _claim_ports()


def find_program(name: str, *places: Path) -> str:
    """Where a program lies; a test that needs a missing one fails, because a skipped test proves nothing."""
    path = os.pathsep.join([*map(str, places), os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.fail(f"{name} is not installed: run make setup", pytrace=False)
    return found


class Server:
    """One program that is started, waited for, and stopped by its process id.

    Args:
        name: what it is called in messages.
        command: program and arguments.
        is_ready: tells whether it answers.
        log: file that takes its output.
        account: the account it runs under; None for our own.
        stop_signal: what asks it to end at once.
        environment: variables beside our own.
    """

    def __init__(  # noqa: PLR0913 - what sets one program apart from another
        self,
        name: str,
        command: list[str],
        is_ready: Callable[[], bool],
        *,
        log: Path,
        account: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._name = name
        self._command = [*_as(account), "--pdeathsig", stop_signal.name.removeprefix("SIG"), *command]
        self._is_ready = is_ready
        self._log = log
        self._stop_signal = stop_signal
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; nothing where it runs already."""
        if self._process:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # what answers there once it has ended is another one
        wait_until_ready(self._name, lambda: self.is_running and self._is_ready(), self._log, _START_S)

    def stop(self) -> None:
        """End it and wait until it is gone; nothing where it does not run."""
        if self._process is None:
            return
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill_and_start(self) -> None:
        """End it without a word, its children too, and start it anew, as whoever supervises it does."""
        if self.is_running:
            _, alive = psutil.wait_procs(self._signal(signal.SIGKILL), _DEAD_S)
            assert not alive, f"{self._name} does not die"
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it stand still, its children too."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended since."""
        return self._process is not None and self._process.poll() is None

    def _signal(self, number: signal.Signals) -> list[psutil.Process]:
        assert self._process, f"{self._name} does not run"
        parent = psutil.Process(self._process.pid)
        parent.suspend()  # else it might start a child that is not found, and lives on
        deadline = time.monotonic() + _DEAD_S
        while parent.status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}:
            assert time.monotonic() < deadline, f"{self._name} does not stand still"
            time.sleep(0.01)
        found = [parent, *parent.children(recursive=True)]
        for one in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)
        return found


class PostgresServer(Server):
    """PostgreSQL without a care for durability. Its owner is the account postgres where we are root."""

    def __init__(self, folder: Path) -> None:
        places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        self.port = free_ports(1)[0]
        account = "postgres" if os.geteuid() == 0 else None
        if account:
            shutil.chown(folder, account)
        settings = {
            "port": self.port,
            "listen_addresses": _LOOPBACK,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        data = str(folder / "data")
        super().__init__(
            "PostgreSQL",
            [
                find_program("postgres", *places),
                *("-D", data),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            self._answers,
            log=folder / "postgres.log",
            account=account,
            stop_signal=signal.SIGQUIT,  # the "immediate" shutdown: it waits for nobody and writes nothing
        )
        initialize = [find_program("initdb", *places), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run(
            [*_as(account), *initialize, "--locale=C", "--no-sync", "--no-instructions"],
            cwd=folder,
            check=True,
            capture_output=True,
        )

    def create_database(self, options: str = "") -> str:
        """A new, empty database, with options of CREATE DATABASE; returns its name."""
        name = f"test_{uuid.uuid4().hex}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        """SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://postgres@{_LOOPBACK}:{self.port}/{name}"

    def _execute(self, statement: str) -> None:
        with self._connect() as connection:
            connection.execute(statement)

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(host=_LOOPBACK, port=self.port, user="postgres", dbname="postgres", autocommit=True)

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True


class RedisServer(Server):
    """Redis without a file."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self.url = f"redis://{_LOOPBACK}:{self.port}/0"
        command = [find_program("redis-server"), "--port", str(self.port), "--bind", _LOOPBACK, "--save", "", "--dir"]
        super().__init__("Redis", [*command, str(folder)], self._answers, log=folder / "redis.log")

    def flush(self) -> None:
        """Forget everything."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class OrthancServer(Server):
    """Orthanc with the product's own configuration and plug-in, on the same ports however often it is started.

    Its plug-in rings at doorbell_port, whether or not anybody listens there.

    Args:
        folder: where it keeps everything.
        environment: variables beside our own.
        configuration: what a hospital sets otherwise.
        root: where another Orthanc than this machine's own lies.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environment: dict[str, str] | None = None,
        configuration: dict[str, Any] | None = None,
        root: str = "",
    ) -> None:
        http_port, self.dicom_port, self.doorbell_port = free_ports(3)
        self.url = f"http://{_LOOPBACK}:{http_port}"
        self.aet = "ORTHANC"
        self._storage = folder / "storage"
        self._http = self._client()
        complete = {
            **json.loads((REPOSITORY / "orthanc" / "orthanc.json").read_text(encoding="utf-8")),
            "StorageDirectory": str(self._storage),
            "IndexDirectory": str(self._storage),
            "PythonScript": str(REPOSITORY / "orthanc" / "plugin.py"),
            "Firstread": {"DoorbellUrl": f"http://{_LOOPBACK}:{self.doorbell_port}/events/orthanc"},
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "RegisteredUsers": {},
            "HttpPort": http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": self.aet,
            "StableAge": 1,
            **({"Plugins": [f"{root}/usr/share/orthanc/plugins"]} if root else {}),
            **(configuration or {}),
        }
        file = folder / "orthanc.json"
        file.write_text(json.dumps(complete), encoding="utf-8")
        super().__init__(
            "Orthanc",
            [f"{root}/Orthanc" if root else find_program("Orthanc"), str(file)],
            self._answers,
            log=folder / "orthanc.log",
            stop_signal=signal.SIGKILL,  # asked politely it takes 4 s; what it has acknowledged survives either way
            environment=environment,
        )

    def post(self, dataset: pydicom.Dataset) -> str:
        """Store a dataset as it is; returns Orthanc's identifier of the instance."""
        part10 = io.BytesIO()
        dataset.save_as(part10, enforce_file_format=True)
        return str(self._http.post("/instances", content=part10.getvalue()).raise_for_status().json()["ID"])

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """What its REST interface answers."""
        return self._http.get(path).raise_for_status().json()

    def delete(self, path: str) -> None:
        """Remove a resource."""
        self._http.delete(path).raise_for_status()

    def spoil(self, study_instance_uid: str, *, is_absent: bool) -> None:
        """Cut the file of a study's only instance short, or remove it, behind Orthanc's back; it starts anew."""
        uuid = self.get(f"/instances/{self.find(study_instance_uid)}/attachments/dicom/info")["Uuid"]
        self.stop()  # it keeps what it read last in memory
        (file,) = self._storage.rglob(uuid)
        if is_absent:
            file.unlink()
        else:
            os.truncate(file, 200)
        self.start()

    def lookup(self, uid: str, level: str) -> list[str]:
        """Orthanc's identifiers of what bears a UID: of a Study, Series or Instance."""
        found = self._http.post("/tools/lookup", content=uid).raise_for_status().json()
        return [str(entry["ID"]) for entry in found if entry["Type"] == level]

    def study(self, study_instance_uid: str) -> str:
        """Orthanc's identifier of the only study with a UID."""
        (study,) = self.lookup(study_instance_uid, "Study")
        return study

    def find(self, study_instance_uid: str) -> str:
        """Orthanc's identifier of a study's only instance."""
        (instance,) = self.get(f"/studies/{self.study(study_instance_uid)}/instances")
        return str(instance["ID"])

    def delete_everything(self) -> None:
        """Remove every study; the numbers of the change log go on."""
        for study in self.get("/studies"):
            self.delete(f"/studies/{study}")

    def replace(self) -> None:
        """Be another Orthanc at the same place: nothing stored, and changes numbered from 1."""
        self.stop()
        shutil.rmtree(self._storage)
        self.start()

    def back_up(self) -> Path:
        """A copy of what it holds now."""
        self.stop()
        copy = Path(tempfile.mkdtemp(dir=self._storage.parent)) / "backup"
        shutil.copytree(self._storage, copy)
        self.start()
        return copy

    def restore(self, copy: Path) -> None:
        """Hold what a copy holds, and forget all that came since."""
        self.stop()
        shutil.rmtree(self._storage)
        shutil.copytree(copy, self._storage)
        self.start()

    def stop(self) -> None:
        """End it and wait until it is gone."""
        super().stop()
        self._http.close()
        self._http = self._client()

    def _client(self) -> httpx.Client:
        # Orthanc closes idle connections after a second: a request on one that is just being closed would fail.
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.Client(base_url=self.url, trust_env=False, timeout=60, limits=limits)

    def _answers(self) -> bool:
        try:
            return self._http.get("/system").is_success
        except httpx.HTTPError:
            return False


@contextlib.contextmanager
def running(server: _AnyServer) -> Iterator[_AnyServer]:
    """A server that runs for the time of a block."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _as(account: str | None) -> list[str]:
    drop = [f"--reuid={account}", f"--regid={account}", "--init-groups"] if account else []
    return [find_program("setpriv"), *drop]
