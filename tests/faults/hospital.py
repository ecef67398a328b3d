"""A hospital to break: the real programs as processes, with lines between them that can be spoiled."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Self

import httpx
import psutil

import migrations
from firstread.processes import Program, Supervisor, wait_until_ready
from tests.faults.disks import MachineClock, SmallDisk
from tests.faults.site import Site
from tests.faults.stream import Stream
from tests.faults.watch import TLS, Watch
from tests.relays import Relay
from tests.servers import REPOSITORY, OrthancServer, PostgresServer, RedisServer, free_ports, running
from worklist.job import Queue
from worklist.records import Database

_PATIENCE_S = 300.0

DatabaseKind = Literal["sqlite", "postgresql"]
Place = Literal["orthanc", "database", "logs"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a hospital consists of.

    Attributes:
        database: which one.
        gateways: how many gateway processes there are.
        workers: how many worker processes there are of each queue.
        starts_gateways, starts_workers: whether they run from the beginning, or the fault starts them.
        small_disk: whose disk can be filled, and its size in MB.
        has_clock: whether the machine's clock can be set.
    """

    database: DatabaseKind = "sqlite"
    gateways: int = 1
    workers: int = 1
    starts_gateways: bool = True
    starts_workers: bool = True
    small_disk: tuple[Place, int] | None = None
    has_clock: bool = False


class Hospital(Site):
    """One hospital, whose programs run for the time of a block.

    Args:
        plan: what it consists of.
        folder: where everything lies; other accounts must be able to enter it.
        seed: of its films.

    Attributes:
        orthanc, redis, postgres: the servers; postgres is None where the database is SQLite.
        to_orthanc, to_redis: how gateways and workers reach them.
        to_postgres: how each gateway reaches its database, and last how the workers do.
        disk, clock: where the plan has them.
        supervisor: runs gateways and workers, and starts those again that end.
        stream: what the modalities send.
        watch: what each gateway says of itself.
    """

    def __init__(self, plan: Plan, folder: Path, seed: int) -> None:
        self.plan = plan
        self._folder = folder
        self._seed = seed
        self._stack = ExitStack()
        self._ports = free_ports(plan.gateways)
        self.disk: SmallDisk | None = None
        self.clock: MachineClock | None = None
        self.postgres: PostgresServer | None = None

    def __enter__(self) -> Self:
        """Start everything."""
        with self._stack as stack:
            places = {name: self._folder / name for name in ("orthanc", "redis", "database", "logs")}
            for place in places.values():
                place.mkdir()
            if self.plan.small_disk:
                name, size_mb = self.plan.small_disk
                self.disk = SmallDisk(places[name], size_mb)
                stack.callback(self.disk.close)
            if self.plan.has_clock:
                self.clock = MachineClock(self._folder)
            self.redis = stack.enter_context(running(RedisServer(places["redis"])))
            self.orthanc = stack.enter_context(running(self._orthanc(places["orthanc"])))
            self.to_redis = self._line(stack, self.redis.port)
            self.to_orthanc = self._line(stack, int(self.orthanc.url.rpartition(":")[2]))
            self._database_url = self._make_database(stack, places["database"])
            self.stream = Stream(self.orthanc.dicom_port, self._seed)
            self.supervisor = Supervisor()
            stack.callback(self.supervisor.stop)
            if self.plan.starts_gateways:
                self.start_gateways()
            if self.plan.starts_workers:
                self.start_workers()
            self.watch = stack.enter_context(Watch(self.gateways))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop everything."""
        self._stack.close()

    @property
    def gateways(self) -> list[str]:
        """The roots of the gateways."""
        return [f"http://127.0.0.1:{port}" for port in self._ports]

    @property
    def orthanc_url(self) -> str:
        """Orthanc itself, past every line."""
        return self.orthanc.url

    @property
    def database(self) -> Database:
        """The database, past every line; to be closed."""
        return Database(self._database_url)

    def start_gateways(self) -> None:
        """Start them, and wait until they answer."""
        for number, root in enumerate(self.gateways):
            port = {"FIRSTREAD_HTTP_PORT": root.rpartition(":")[2]}
            self._start(f"gateway-{number}", "gateway", environment=self._settings(number) | port)
        for number, root in enumerate(self.gateways):
            log = self._log(f"gateway-{number}")
            wait_until_ready(f"gateway {number}", partial(_answers, root), log, _PATIENCE_S)

    def start_workers(self) -> None:
        """Start them; nobody waits until they have loaded their models."""
        for queue in (Queue.SCORE, Queue.REPORT):
            for number in range(self.plan.workers):
                name = f"{queue}-{number}"
                self._start(name, "worker", "--queues", queue, environment=self._settings(self.plan.gateways))

    def kill(self, name: str) -> None:
        """SIGKILL to a gateway or worker with its children; the supervisor starts it again."""
        with suppress(ProcessLookupError):  # it is being started again
            os.killpg(self.supervisor.pid(name), signal.SIGKILL)

    def kill_child(self, name: str) -> None:
        """SIGKILL to the child of a worker that does its work, as the kernel does where memory is short."""
        for child in self._children(name):
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def child(self, name: str, *, other_than: int = 0) -> psutil.Process:
        """The child of a worker that does its work; waits for it.

        Raises:
            TimeoutError: it has none.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            for child in self._children(name):
                if child.pid != other_than:
                    return child
            time.sleep(0.01)
        raise TimeoutError(f"{name} has no other child")

    def freeze(self, name: str) -> None:
        """Let a gateway or worker stand still, its children too."""
        os.killpg(self.supervisor.pid(name), signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let it go on."""
        os.killpg(self.supervisor.pid(name), signal.SIGCONT)

    @property
    def programs(self) -> list[str]:
        """The names of all gateways and workers of the plan."""
        workers = [f"{queue}-{n}" for queue in (Queue.SCORE, Queue.REPORT) for n in range(self.plan.workers)]
        return [f"gateway-{number}" for number in range(self.plan.gateways)] + workers

    def sizes(self) -> dict[str, tuple[float, int]]:
        """Memory in MB (PSS) and open files of each program with its children, but for one that is just started."""
        sizes: dict[str, tuple[float, int]] = {}
        for name in self.programs:
            with suppress(psutil.NoSuchProcess):
                main = psutil.Process(self.supervisor.pid(name))
                every = [main, *main.children(recursive=True)]
                memory_mb = sum(one.memory_full_info().pss for one in every) / 2**20
                sizes[name] = (memory_mb, sum(one.num_fds() for one in every))
        return sizes

    def _children(self, name: str) -> list[psutil.Process]:
        try:
            return psutil.Process(self.supervisor.pid(name)).children()
        except psutil.NoSuchProcess:
            return []

    def _orthanc(self, folder: Path) -> OrthancServer:
        server = OrthancServer(folder, environment=self.clock.environment if self.clock else None)
        self._ports[0] = server.doorbell_port
        return server

    def _line(self, stack: ExitStack, port: int) -> Relay:
        relay = Relay(port)
        stack.callback(relay.close)
        return relay

    def _make_database(self, stack: ExitStack, folder: Path) -> str:
        self.to_postgres: list[Relay] = []
        if self.plan.database == "postgresql":
            self.postgres = stack.enter_context(running(PostgresServer(folder)))
            self.to_postgres = [self._line(stack, self.postgres.port) for _ in range(self.plan.gateways + 1)]
            url = self.postgres.url(self.postgres.create_database())
        else:
            url = f"sqlite:///{folder / 'firstread.db'}"
        with closing(Database(url)) as database:
            migrations.upgrade(database)
        return url

    def _settings(self, line: int) -> dict[str, str]:
        url = self._database_url
        if self.postgres:
            url = url.replace(f":{self.postgres.port}/", f":{self.to_postgres[line].port}/")
        return {
            "FIRSTREAD_DATABASE_URL": url,
            "FIRSTREAD_BROKER_URL": f"redis://127.0.0.1:{self.to_redis.port}/0",
            "FIRSTREAD_ORTHANC_URL": f"http://127.0.0.1:{self.to_orthanc.port}",
            "FIRSTREAD_QUIET_S": "1",
            "FIRSTREAD_LEAST_FREE_MB": "1",  # the disks of some faults are small
            "FIRSTREAD_UPLOAD_DIR": str(self._folder / "uploads"),
            "FIRSTREAD_PRIOR_AFTER_DAYS": "0",  # the simulated films have a date of long ago
            "PYTHONPATH": os.pathsep.join([*([self.clock.python_path] if self.clock else []), str(REPOSITORY)]),
            **(self.clock.environment if self.clock else {}),
        }

    def _start(self, name: str, *arguments: str, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "firstread", *arguments]
        self.supervisor.start(Program(name=name, command=command, environment=environment, log=self._log(name)))

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"


def _answers(root: str) -> bool:
    try:
        return httpx.get(f"{root}/health", verify=TLS, trust_env=False, timeout=20).is_success
    except httpx.HTTPError:
        return False
