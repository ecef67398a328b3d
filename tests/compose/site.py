"""One project of the Compose file: a site as a hospital starts it, on free ports, under a name of its own."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx

from tests.compose.engine import CommandFailed, Facts, attempt, compose_command, do, label_of
from tests.faults.site import Site
from tests.faults.stream import Stream
from tests.faults.watch import Watch
from worklist.job import ALWAYS_SERVED
from worklist.records import Database

PATIENCE_S = 600.0
_PORTS = (20_000, 30_000)
_GATEWAYS = 2  # for which there are ports


class ComposeSite(Site):
    """A site in containers.

    Args:
        source: the folder of docker-compose.yml, from which images are built.
        folder: where .env is written.
        name: of the project.
        more: further lines of .env.
        host_network: whether builds use this machine's network.
    """

    def __init__(self, source: Path, folder: Path, name: str, *, more: Mapping[str, str], host_network: bool) -> None:
        self.source = source
        self.name = name
        self._folder = folder
        dicom, dimse, orthanc, *gateways = _free_ports(3 + _GATEWAYS)
        self._values = {
            "SECRETS_DIR": str(folder / "secrets"),
            "DICOM_HOST": "127.0.0.1",
            "DICOM_PORT": str(dicom),
            "DIMSE_PORT": str(dimse),
            "ORTHANC_HTTP_PORT": str(orthanc),
            "HTTP_PORT": f"{gateways[0]}-{gateways[-1]}",
            "FIRSTREAD_QUIET_S": "1",
            "FIRSTREAD_PRIOR_AFTER_DAYS": "0",  # the simulated films have a date of long ago
            **more,
        }
        self._host_network = host_network
        do(["sh", str(source / "docker" / "secrets.sh"), self._values["SECRETS_DIR"]])
        self.set()
        self.stream = Stream(dicom, seed=1)
        self.watch = Watch(())

    def set(self, **values: str) -> None:
        """Change lines of .env; nothing takes notice of it before the next `up`."""
        self._values |= values
        lines = "".join(f"{name}={value}\n" for name, value in self._values.items())
        (self._folder / ".env").write_text(lines, encoding="utf-8")
        services = ("migrate", "orthanc", "gateway", "dimse", *(f"worker-{queue}" for queue in ALWAYS_SERVED))
        more = {"services": {name: {"build": {"network": "host"}} for name in services}} if self._host_network else {}
        (self._folder / "more.yml").write_text(json.dumps({"version": "2.4", **more}), encoding="utf-8")

    def compose(self, *words: str) -> list[str]:
        """A command of docker-compose for this project."""
        command = compose_command()
        assert command, "install docker-compose"
        files = ["--file", str(self.source / "docker-compose.yml")]
        if self._host_network:
            files += ["--file", str(self._folder / "more.yml")]
        folder = ["--project-directory", str(self.source), "--env-file", str(self._folder / ".env")]
        return [*command, *files, *folder, "--project-name", self.name, *words]

    def do(self, *words: str) -> str:
        """Run docker-compose; what it says.

        Raises:
            CommandFailed: it ended with an error.
        """
        return do(self.compose(*words), folder=self.source)

    def up(self, *words: str) -> float:
        """`up --detach`, and wait until the site does its work; how long that took, in seconds."""
        began = time.monotonic()
        self.do("up", "--detach", *words)
        self.wait_until_ready()
        return time.monotonic() - began

    def wait_until_ready(self) -> None:
        """Wait until each gateway says so."""

        def is_ready() -> bool:
            told = [self.watch.ask(root) for root in self.gateways]
            return bool(told) and all(one and one["ready"] for one in told)

        wait_until(is_ready, lambda: f"/ready says {[self.watch.ask(root) for root in self.gateways]}")

    def containers(self, service: str | None = None, *, is_running: bool = True) -> list[Facts]:
        """What `docker inspect` says of the containers of a service, or of all."""
        every = [] if is_running else ["--all"]
        ids = do(["docker", "ps", "--quiet", *every, *label_of(self.name, service)]).split()
        return list(json.loads(do(["docker", "inspect", *ids]))) if ids else []

    def crash(self, service: str) -> None:
        """End a container's program by SIGKILL from inside, and wait until the engine has started it again."""
        (before,) = self.containers(service)
        main = "kill -KILL $(cat /proc/1/task/1/children)"
        attempt(["docker", "exec", before["Id"], "sh", "-c", main])

        def is_back() -> bool:
            after = [one for one in self.containers(service) if one["Id"] == before["Id"]]
            return bool(after) and after[0]["RestartCount"] > before["RestartCount"] and after[0]["State"]["Running"]

        wait_until(
            is_back, lambda: f"{service} did not come back: {_state(self.containers(service, is_running=False))}"
        )

    def kill(self, service: str) -> None:
        """`docker kill` of all containers of a service: the engine leaves them as they are."""
        do(["docker", "kill", *(one["Id"] for one in self.containers(service))])

    def wait_until_healthy(self) -> None:
        """Wait until the health checks of all running containers are content."""

        def is_healthy() -> bool:
            found = self.containers()
            return bool(found) and all(map(_is_healthy, found))

        wait_until(is_healthy, lambda: f"not healthy: {_state(self.containers())}")

    @property
    def gateways(self) -> list[str]:
        """The roots of the gateways that run."""
        bound = [one["NetworkSettings"]["Ports"].get("8080/tcp") for one in self.containers("gateway")]
        return [f"http://127.0.0.1:{ports[0]['HostPort']}" for ports in bound if ports]

    @property
    def orthanc_url(self) -> str:
        """Orthanc's REST interface, with its password."""
        return f"http://firstread:{self.secrets['orthanc_password']}@127.0.0.1:{self._values['ORTHANC_HTTP_PORT']}"

    @property
    def database(self) -> Database:
        """The database by its container's own address, which the engine's machine reaches."""
        (postgres,) = self.containers("postgres")
        (network,) = postgres["NetworkSettings"]["Networks"].values()
        return Database(self.secrets["database_url"].replace("@postgres:", f"@{network['IPAddress']}:"))

    @property
    def secrets(self) -> dict[str, str]:
        """Every secret by the name of its file."""
        return {path.name: path.read_text(encoding="utf-8") for path in (self._folder / "secrets").iterdir()}

    def ask(self, path: str) -> httpx.Response:
        """GET at the first gateway."""
        return httpx.get(f"{self.gateways[0]}{path}", trust_env=False, timeout=60)

    def memory(self) -> dict[str, float]:
        """Which share of its limit each service uses, without the files that the kernel keeps for it."""
        ids = [one["Id"] for one in self.containers()]
        told = do(["docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemPerc}}", *ids]).split()
        return {
            name.removeprefix(f"{self.name}_"): float(share.rstrip("%")) / 100
            for name, share in zip(told[::2], told[1::2], strict=True)
        }

    def logs(self) -> str:
        """What all containers wrote."""
        return attempt(self.compose("logs", "--no-color", "--timestamps"), folder=self.source).stdout

    def left(self) -> list[str]:
        """Containers, networks and volumes that bear the project's name."""
        kinds = (["ps", "--all"], ["network", "ls"], ["volume", "ls"])
        return [one for kind in kinds for one in do(["docker", *kind, "--quiet", *label_of(self.name)]).split()]


def wait_until(is_so: Callable[[], bool], why_not: Callable[[], str]) -> None:
    """Ask twice a second.

    Raises:
        CommandFailed: it was not so for ten minutes.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise CommandFailed(why_not())
        time.sleep(0.5)


def _is_healthy(container: Facts) -> bool:
    state = container["State"]
    return bool(state["Running"]) and state.get("Health", {"Status": "healthy"})["Status"] == "healthy"


def _state(containers: Sequence[Facts]) -> dict[str, str]:
    return {
        one["Name"]: f"{one['State']['Status']} {one['State'].get('Health', {}).get('Status', '')}".strip()
        for one in containers
    }


def _free_ports(count: int) -> list[int]:
    """So many free ports in a row, below those that the kernel hands out: they must still be free a while later."""
    while True:
        first = secrets.choice(range(*_PORTS))
        ports = list(range(first, first + count))
        with ExitStack() as stack, suppress(OSError):
            for port in ports:
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return ports
