"""A whole hospital on one machine: Orthanc, Redis, gateway and workers, with sample studies sent by C-STORE."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pydicom
import redis
from rich.console import Console

import migrations
from firstread.processes import Program, Supervisor, require_free_port, wait_until_ready
from firstread.tables import print_worklist
from gateway.dimse.send import SendResult, progress_bar, send
from imaging.files import open_study_files
from imaging.simulated.samples import build_samples
from worklist.errors import InvalidInput, PermanentError
from worklist.job import Queue
from worklist.records import Database

_LOOPBACK = "127.0.0.1"
_AET = "ORTHANC"
_VIEWER = Path(sys.prefix) / "share" / "ohif"  # where make setup puts it
_QUIET_S = 2.0
_WORKERS = ((Queue.SCORE,), (Queue.REPORT, Queue.PREDICT))  # a process for each: a third would cost its memory
_PATIENCE_S = 1800  # a demo that has not ended by then never will
_UNFINISHED = {"waiting", "scored"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where everything of one demo lives.

    Attributes:
        state: folder of Orthanc, Redis, the database and the logs.
        port_base: the gateway's port; the next four are Orthanc's HTTP and DICOM, Firstread's DICOM, and Redis.
        quiet_s: how long a study must be without a new image to be complete.
        has_priors: whether a study of long ago is taken for a prior, or for work like any other.
    """

    state: Path
    port_base: int = 8080
    quiet_s: float = _QUIET_S
    has_priors: bool = True

    @property
    def gateway_url(self) -> str:
        """Root of the gateway."""
        return f"http://{_LOOPBACK}:{self.port_base}"

    @property
    def orthanc_url(self) -> str:
        """Root of Orthanc's REST interface."""
        return f"http://{_LOOPBACK}:{self.port_base + 1}"

    @property
    def orthanc_dicom_port(self) -> int:
        """Where Orthanc takes C-STORE."""
        return self.port_base + 2

    @property
    def redis_port(self) -> int:
        """Redis' port."""
        return self.port_base + 4

    @property
    def database_url(self) -> str:
        """The SQLite database."""
        return f"sqlite:///{self.state.resolve() / 'firstread.db'}"

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.state / "logs" / f"{name}.log"

    @property
    def environment(self) -> dict[str, str]:
        """The settings of gateway, workers and tools on this site."""
        return {
            "FIRSTREAD_DATABASE_URL": self.database_url,
            "FIRSTREAD_BROKER_URL": f"redis://{_LOOPBACK}:{self.redis_port}/0",
            "FIRSTREAD_ORTHANC_URL": self.orthanc_url,
            "FIRSTREAD_ORTHANC_USERNAME": "",
            "FIRSTREAD_ORTHANC_AET": _AET,
            "FIRSTREAD_ORTHANC_DICOM_HOST": _LOOPBACK,
            "FIRSTREAD_ORTHANC_DICOM_PORT": str(self.orthanc_dicom_port),
            "FIRSTREAD_HTTP_HOST": _LOOPBACK,
            "FIRSTREAD_HTTP_PORT": str(self.port_base),
            "FIRSTREAD_DIMSE_PORT": str(self.port_base + 3),
            "FIRSTREAD_QUIET_S": str(self.quiet_s),
            **({} if self.has_priors else {"FIRSTREAD_PRIOR_AFTER_DAYS": "0"}),
            **({"FIRSTREAD_VIEWER_DIR": str(_VIEWER)} if _VIEWER.is_dir() else {}),
        }


@contextmanager
def running_site(site: Site) -> Iterator[Supervisor]:
    """Everything up and answering; everything gone afterwards.

    Raises:
        InvalidInput: the state cannot be kept there.
        PermanentError: a program is missing, a port is taken, or something did not start.
    """
    programs = _programs(site)
    _check(site, programs)
    try:
        for folder in ("logs", "orthanc", "redis"):
            (site.state / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            "bad_state_folder", f"{site.state} cannot be used ({error.strerror}): choose another --state"
        ) from error
    (site.state / "orthanc.json").write_text(json.dumps(_orthanc_configuration(site), indent=2), encoding="utf-8")
    database = Database(site.database_url)
    migrations.upgrade(database)
    database.close()
    supervisor = Supervisor()
    try:
        for program in programs:
            supervisor.start(program)
        wait_until_ready("Redis", lambda: _redis_answers(site), site.log("redis"))
        wait_until_ready("Orthanc", lambda: _http_answers(f"{site.orthanc_url}/system"), site.log("orthanc"))
        wait_until_ready("the gateway", lambda: _http_answers(f"{site.gateway_url}/ready"), site.log("gateway"))
        yield supervisor
    finally:
        supervisor.stop()


def run_demo(site: Site, *, studies: Path | None, once: bool, as_json: bool) -> None:
    """Start the site, send the studies, and show what becomes of them until Ctrl-C, or until all are done.

    Raises:
        InvalidInput: there is nothing to send.
        PermanentError: something did not start, or did not finish.
    """
    console = Console(stderr=True, soft_wrap=True)
    sources = _sources(studies, console)
    console.print(f"Starting Orthanc, Redis, the gateway and two workers in {site.state} ...")
    with running_site(site):
        result = send_with_progress(site, sources)
        sources.clear()  # films in memory are large, and a demo may run for days
        console.print(
            f"Reading list: {site.gateway_url}/   (Orthanc: {site.orthanc_url}/, DICOM {_AET} at port "
            f"{site.orthanc_dicom_port})"
        )
        if once:
            wait_until_done(site, min(1, sum(outcome.is_stored for outcome in result.outcomes)))
            print_worklist(_worklist(site), as_json=as_json)
            return
        console.print("Ctrl-C stops everything.")
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            console.print("Stopping ...")


def send_with_progress(site: Site, sources: Sequence[Path | pydicom.Dataset]) -> SendResult:
    """C-STORE the studies to the site's Orthanc, under a progress bar on stderr."""
    with progress_bar() as on_progress:
        return send(sources, host=_LOOPBACK, port=site.orthanc_dicom_port, called_aet=_AET, on_progress=on_progress)


def wait_until_done(site: Site, sent: int, patience_s: float = _PATIENCE_S) -> dict[str, Any]:
    """Every study, read ones and priors included, once each is reported, failed or out of scope.

    Args:
        site: a running site.
        sent: how many studies there must be at the least.
        patience_s: how long to wait.

    Raises:
        PermanentError: it took longer.
    """
    deadline = time.monotonic() + patience_s
    unfinished = sent
    while time.monotonic() < deadline:
        try:
            ready = httpx.get(f"{site.gateway_url}/ready", trust_env=False).json()
            worklist = _worklist(site, reading="all")
        except (httpx.HTTPError, ValueError):
            ready = {}  # the gateway is being restarted
        if ready.get("changes_behind") == 0 and ready.get("open_jobs") == 0:
            items = worklist["items"]
            unfinished = sum(1 for item in items if item["state"] in _UNFINISHED) + max(0, sent - worklist["total"])
            if unfinished == 0:
                return worklist
        time.sleep(0.2)
    raise PermanentError(
        "not_finished", f"{unfinished} studies are not done after {patience_s:.0f} s: see the logs in {site.log('')}"
    )


def _worklist(site: Site, **wanted: str) -> dict[str, Any]:
    answer = httpx.get(f"{site.gateway_url}/worklist", params={"limit": "1000", **wanted}, trust_env=False)
    return dict(answer.raise_for_status().json())


def _programs(site: Site) -> list[Program]:
    firstread = [sys.executable, "-m", "firstread"]
    redis_server = ["redis-server", "--port", str(site.redis_port), "--bind", _LOOPBACK, "--save", "", "--dir"]
    return [
        Program(name="redis", command=[*redis_server, site.state / "redis"], log=site.log("redis")),
        Program(name="orthanc", command=["Orthanc", site.state / "orthanc.json"], log=site.log("orthanc")),
        *(
            Program(
                name=name,
                command=[*firstread, *arguments],
                environment=site.environment,
                log=site.log(name),
            )
            for name, arguments in {
                **{
                    f"worker-{queues[0]}": ["worker", "--together", "--queues", ",".join(queues)] for queues in _WORKERS
                },
                "gateway": ["gateway"],
            }.items()
        ),
    ]


def _orthanc_configuration(site: Site) -> dict[str, object]:
    folder = _orthanc_folder()
    configuration = json.loads((folder / "orthanc.json").read_text(encoding="utf-8"))
    storage = str((site.state / "orthanc").resolve())
    return {
        **configuration,
        "StorageDirectory": storage,
        "IndexDirectory": storage,
        "PythonScript": str(folder / "plugin.py"),
        "Firstread": {"DoorbellUrl": f"{site.gateway_url}/events/orthanc"},
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "RegisteredUsers": {},
        "HttpPort": site.port_base + 1,
        "DicomPort": site.orthanc_dicom_port,
    }


def _orthanc_folder() -> Path:
    # Beside the packages in a checkout; inside this one in an installed wheel.
    here = Path(__file__).resolve().parent
    installed = here / "orthanc"
    return installed if installed.is_dir() else here.parent / "orthanc"


def _check(site: Site, programs: Sequence[Program]) -> None:
    for program in programs:
        if shutil.which(str(program.command[0])) is None:
            raise PermanentError("program_missing", f"{program.command[0]} is not installed: run make setup")
    for offset, name in enumerate(("the gateway", "Orthanc HTTP", "Orthanc DICOM", "Firstread DICOM", "Redis")):
        require_free_port(_LOOPBACK, site.port_base + offset, name, "choose --port-base")


def _sources(studies: Path | None, console: Console) -> list[Path | pydicom.Dataset]:
    if studies is None:
        console.print("Simulating the sample films ...")
        return list(build_samples())
    sources: list[Path | pydicom.Dataset] = list(open_study_files([studies]))
    if not sources:
        raise InvalidInput("nothing_to_send", f"{studies} holds no DICOM, PNG or JPEG files: choose another folder")
    return sources


def _redis_answers(site: Site) -> bool:
    try:
        with redis.Redis(host=_LOOPBACK, port=site.redis_port) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _http_answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False
