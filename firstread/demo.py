"""A whole hospital on one machine: Orthanc, Redis, gateway, DICOM server and workers, with sample studies by C-STORE.

Whoever starts it keeps it in the background for days, so what needs much memory once, the tables and the films, is
done in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, cast

import httpx
import redis
from rich.console import Console

from firstread.processes import Program, Supervisor, require_free_port, wait_until_ready
from firstread.settings import Settings
from firstread.tables import print_worklist
from worklist.errors import FirstreadError, InvalidInput, PermanentError
from worklist.job import Queue

# ruff: noqa: PLC0415 - see above

_LOOPBACK = "127.0.0.1"
_AET = "ORTHANC"
_OUR_AET = "FIRSTREAD"
_VIEWER = Path(sys.prefix) / "share" / "ohif"  # where make setup puts it
_QUIET_S = 2.0
_Arguments = TypeVarTuple("_Arguments")
_Outcome = TypeVar("_Outcome")
_WORKERS = ((Queue.SCORE,), (Queue.REPORT, Queue.PREDICT))  # a process for each: a third would cost its memory
_HEARS = (Queue.DICTATE,)  # where FIRSTREAD_DICTATION asks for it
_LOADING_S = 900  # a worker reads every byte of a licensed model before it begins
_PATIENCE_S = 1800  # a demo that has not ended by then never will
_UNFINISHED = {"waiting", "scored"}
_STOP_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where everything of one demo lives.

    Attributes:
        state: folder of Orthanc, Redis, the database and the logs.
        port_base: the gateway's port; the next four are Orthanc's HTTP and DICOM, Firstread's DICOM, and Redis.
        quiet_s: how long a study must be without a new image to be complete.
        has_priors: whether a study of long ago is taken for a prior, or for work like any other.
        doorbell_secret: of Orthanc's plug-in and the gateway; another one at each start.
    """

    state: Path
    port_base: int = 8080
    quiet_s: float = _QUIET_S
    has_priors: bool = True
    doorbell_secret: str = field(default_factory=secrets.token_urlsafe, repr=False)

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
    def dimse_port(self) -> int:
        """Where Firstread answers C-FIND."""
        return self.port_base + 3

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
            "FIRSTREAD_AUTH": "off",
            "FIRSTREAD_HTTP_HOST": _LOOPBACK,
            "FIRSTREAD_HTTP_PUBLISHED_HOST": "",
            "FIRSTREAD_HTTP_PORT": str(self.port_base),
            "FIRSTREAD_AET": _OUR_AET,
            "FIRSTREAD_DIMSE": "true",
            "FIRSTREAD_DIMSE_HOST": _LOOPBACK,
            "FIRSTREAD_DIMSE_PORT": str(self.dimse_port),
            "FIRSTREAD_DOORBELL_SECRET": self.doorbell_secret,
            "FIRSTREAD_UPLOAD_DIR": str(self.state.resolve() / "uploads"),
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
        site.state.chmod(0o700)  # patients' names lie in it
    except OSError as error:
        raise InvalidInput(
            "bad_state_folder", f"{site.state} cannot be used ({error.strerror}): choose another --state"
        ) from error
    (site.state / "orthanc.json").write_text(json.dumps(orthanc_configuration(site), indent=2), encoding="utf-8")
    _in_a_process_of_its_own(_upgrade, site.database_url)
    supervisor = Supervisor()
    try:
        for program in programs:
            supervisor.start(program)
        wait_until_ready("Redis", lambda: _redis_answers(site), site.log("redis"))
        wait_until_ready("Orthanc", lambda: _http_answers(f"{site.orthanc_url}/system"), site.log("orthanc"))
        wait_until_ready("the gateway", lambda: _http_answers(f"{site.gateway_url}/health"), site.log("gateway"))
        wait_until_ready("the DICOM server", lambda: _listens(site.dimse_port), site.log("dimse"))
        wait_until_ready(
            "the workers", lambda: _is_ready(site, supervisor), site.log("worker-report"), timeout_s=_LOADING_S
        )
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
    if studies:
        _in_a_process_of_its_own(_require_files, studies)
    console.print(f"Starting Orthanc, Redis, the gateway, the DICOM server and two workers in {site.state} ...")
    with running_site(site):
        if studies is None:
            console.print("Simulating the sample films ...")
        stored = _in_a_process_of_its_own(_send, site, studies)
        console.print(
            f"Reading list: {site.gateway_url}/   (Orthanc: {site.orthanc_url}/, DICOM {_AET} at port "
            f"{site.orthanc_dicom_port})"
        )
        console.print("Nobody is asked to log in: the demo answers this machine alone.")
        console.print(
            f"The same order by DICOM: findscu -S -aec {_OUR_AET} {_LOOPBACK} {site.dimse_port} "
            "-k QueryRetrieveLevel=STUDY -k StudyInstanceUID -k PatientName -k 0040,1009"
        )
        if once:
            wait_until_done(site, min(1, stored))
            print_worklist(_worklist(site), as_json=as_json)
            return
        console.print("Ctrl-C stops everything.")
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            console.print("Stopping ...")


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
                    f"worker-{queues[0]}": ["worker", "--together", "--queues", ",".join(queues)]
                    for queues in (*_WORKERS, *([_HEARS] if Queue.DICTATE in Settings().queues else []))
                },
                "gateway": ["gateway"],
                "dimse": ["dimse"],
            }.items()
        ),
    ]


def orthanc_configuration(site: Site) -> dict[str, object]:
    """The configuration of a site's Orthanc: the product's own, on this machine alone."""
    folder = _orthanc_folder()
    configuration = json.loads((folder / "orthanc.json").read_text(encoding="utf-8"))
    storage = str((site.state / "orthanc").resolve())
    return {
        **configuration,
        "DicomAet": "ORTHANC",
        "StorageDirectory": storage,
        "IndexDirectory": storage,
        "PythonScript": str(folder / "plugin.py"),
        "Firstread": {
            "DoorbellUrl": f"{site.gateway_url}/events/orthanc",
            "DoorbellSecret": site.doorbell_secret,
            "OrderUrl": f"{site.gateway_url}/worklist/order",
        },
        "RemoteAccessAllowed": False,
        "LuaScripts": [str(folder / "own_pages.lua")],
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


def _in_a_process_of_its_own(work: Callable[[*_Arguments], _Outcome], *arguments: *_Arguments) -> _Outcome:
    """Do something with a process of its own, whose memory goes with it.

    Raises:
        FirstreadError: the work raised it.
        PermanentError: the process ended without a word.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, work, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        outcome = receiver.recv()
    except EOFError:
        raise PermanentError("process_ended", "a process of the demo ended before its time, see above") from None
    finally:
        process.terminate()
        process.join(_STOP_S)
        process.kill()
        process.join()
    if isinstance(outcome, FirstreadError):
        raise outcome
    return cast("_Outcome", outcome)


def _work(sender: Connection, work: Callable[..., Any], arguments: Sequence[object]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent ends it as soon as it has the outcome
    with contextlib.suppress(KeyboardInterrupt):  # the parent says what there is to say
        try:
            outcome = work(*arguments)
        except FirstreadError as error:
            outcome = error
        sender.send(outcome)


def _upgrade(database_url: str) -> None:
    import migrations
    from worklist.records import Database

    with contextlib.closing(Database(database_url)) as database:
        migrations.upgrade(database)


def _require_files(studies: Path) -> None:
    from imaging.files import open_study_files

    if not any(open_study_files([studies])):
        raise InvalidInput("nothing_to_send", f"{studies} holds no DICOM, PNG or JPEG files: choose another folder")


def _send(site: Site, studies: Path | None) -> int:
    """C-STORE the studies, or the samples, under a progress bar on stderr; how many images were stored."""
    from gateway.dimse.send import progress_bar, send
    from imaging.files import open_study_files
    from imaging.simulated.samples import build_samples

    sources = build_samples() if studies is None else open_study_files([studies])
    with progress_bar() as on_progress:
        result = send(sources, host=_LOOPBACK, port=site.orthanc_dicom_port, called_aet=_AET, on_progress=on_progress)
    return sum(outcome.is_stored for outcome in result.outcomes)


def _redis_answers(site: Site) -> bool:
    try:
        with redis.Redis(host=_LOOPBACK, port=site.redis_port) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _is_ready(site: Site, supervisor: Supervisor) -> bool:
    supervisor.require_no_end()
    return _http_answers(f"{site.gateway_url}/ready")


def _listens(port: int) -> bool:
    try:
        socket.create_connection((_LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def _http_answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False
