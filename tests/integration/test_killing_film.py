"""A film that ends the process which decodes it fails by name after a few tries, and costs no other film anything."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache

import httpx
import numpy as np
import psutil
import pytest
from pydicom import Dataset
from pydicom.uid import JPEG2000Lossless
from sqlalchemy import select

import migrations
from firstread.processes import Program, Supervisor, wait_until_ready
from tests.bad_films import chest
from tests.film_corpus import ENCODERS, encapsulated
from tests.servers import REPOSITORY, OrthancServer, RedisServer, free_ports
from worklist.procedure_step import ProcedureStepState
from worklist.records import Database, ListedStudy, Shown, Worklist
from worklist.records.tables import JobRow, PredictionRow
from worklist.site import SiteRules
from worklist.study import StudyState

TRIES = 3
LARGER = 10  # times the side of a small film: its decoding takes long enough to die in
PATIENCE_S = 600.0


@dataclass
class Running:
    """A gateway and a worker that scores and judges uploads, as processes."""

    orthanc: OrthancServer
    database: Database
    supervisor: Supervisor
    url: str

    def listed(self) -> dict[str, ListedStudy]:
        """The list by Study Instance UID."""
        return {one.study_instance_uid: one for one in Worklist(self.database, SiteRules()).page(shown=Shown.ALL)[1]}

    def tries(self, film: Dataset) -> int:
        """Which try of a film is going on at this moment; 0 for none."""
        asked = select(JobRow.attempts).where(
            JobRow.sop_instance_uid == film.SOPInstanceUID, JobRow.state == ProcedureStepState.IN_PROGRESS
        )
        with self.database.read() as session:
            return session.scalar(asked) or 0

    def answers(self) -> bool:
        """Whether the gateway does."""
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health", trust_env=False).is_success
        return False

    def is_judging_upload(self) -> bool:
        """Whether a worker has an upload in hand."""
        with self.database.read() as session:
            return session.scalar(select(PredictionRow.taken_at).where(PredictionRow.result.is_(None))) is not None

    def predict(self, film: Dataset) -> httpx.Response:
        """The answer to an upload."""
        stream = io.BytesIO()
        film.save_as(stream, enforce_file_format=True)
        files = {"file": ("film.dcm", stream.getvalue())}
        return httpx.post(f"{self.url}/predict", files=files, timeout=PATIENCE_S, trust_env=False)

    def kill_child(self) -> None:
        """SIGKILL to the process that decodes, as the kernel gives it where memory is short, or as a crash ends it."""
        for child in psutil.Process(self.supervisor.pid("worker")).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()


@pytest.fixture(scope="module")
def running(
    orthanc_server: OrthancServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A site that gives a film up after three tries."""
    orthanc_server.start()
    orthanc_server.delete_everything()
    redis_server.flush()
    tmp_path, (port,) = tmp_path_factory.mktemp("site"), free_ports(1)
    url = f"sqlite:///{tmp_path / 'firstread.db'}"
    environment = {
        "FIRSTREAD_DATABASE_URL": url,
        "FIRSTREAD_BROKER_URL": redis_server.url,
        "FIRSTREAD_ORTHANC_URL": orthanc_server.url,
        "FIRSTREAD_HTTP_PORT": str(port),
        "FIRSTREAD_PREDICT_WAIT_S": str(PATIENCE_S),
        "FIRSTREAD_UPLOAD_DIR": str(tmp_path / "uploads"),
        "FIRSTREAD_LEASE_S": "3",
        "FIRSTREAD_MAX_ATTEMPTS": str(TRIES),
        "FIRSTREAD_PRIOR_AFTER_DAYS": "0",
        "PYTHONPATH": str(REPOSITORY),
    }
    supervisor = Supervisor()
    with closing(Database(url)) as database:
        migrations.upgrade(database)
        try:
            for name, arguments in (("gateway", ["gateway"]), ("worker", ["worker", "--queues", "score,predict"])):
                command = [sys.executable, "-m", "firstread", *arguments]
                log = tmp_path / f"{name}.log"
                supervisor.start(Program(name=name, command=command, environment=environment, log=log))
            running = Running(orthanc_server, database, supervisor, f"http://127.0.0.1:{port}")
            wait_until_ready("gateway", running.answers, timeout_s=PATIENCE_S)
            yield running
        finally:
            supervisor.stop()


@cache
def large_film() -> Dataset:
    """A film of 26 million pixels as JPEG 2000."""
    film = chest(1)
    words = np.frombuffer(film.PixelData, "<u2").reshape(film.Rows, film.Columns)
    words = np.kron(words, np.ones((LARGER, LARGER), "u2"))
    film.Rows, film.Columns = words.shape
    syntax, encode = ENCODERS["JPEG 2000"]
    assert syntax == JPEG2000Lossless
    return encapsulated(film, syntax, encode(words, 12))


@pytest.mark.timeout(900)
def test_a_film_that_ends_its_process_fails_alone(running: Running) -> None:
    """Each time that its decoding has begun the process is killed; after three times the list says so, and why."""
    fatal, others = large_film(), [chest(2), chest(3)]
    for film in (others[0], fatal, others[1]):
        running.orthanc.post(film)
    killed_in: set[int] = set()
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        now = running.tries(fatal)
        if now and now not in killed_in:
            running.kill_child()
            killed_in.add(now)
        states = {uid: one.state for uid, one in running.listed().items()}
        if len(states) == 3 and StudyState.WAITING not in states.values():
            break
        time.sleep(0.02)
    listed = running.listed()
    assert killed_in == set(range(1, TRIES + 1))
    assert listed[fatal.StudyInstanceUID].state == StudyState.FAILED
    failure = listed[fatal.StudyInstanceUID].failure
    assert failure is not None
    assert failure.code == "worker_lost"
    assert {listed[film.StudyInstanceUID].state for film in others} == {StudyState.SCORED}


@pytest.mark.timeout(900)
def test_an_upload_that_ends_its_process_fails_alone(running: Running) -> None:
    """Whoever waits hears at once that the worker died on this film, and the next upload is judged."""
    with ThreadPoolExecutor(1) as pool:
        fatal = pool.submit(running.predict, large_film())
        while not running.is_judging_upload() and not fatal.done():
            time.sleep(0.02)
        running.kill_child()
        answer = fatal.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "worker_lost"), answer.text
    assert running.predict(chest(2)).status_code == 200
