"""A workstation's list by C-FIND: `firstread dimse` of a large site as a process of its own, before a real Orthanc."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

import migrations
from bench.figures import Figure, percentile
from bench.lists import databases, fill_records
from bench.searches import STUDIES, UNREAD, stored
from firstread.processes import Program, Supervisor, wait_until_ready
from gateway.dimse.associate import associate
from tests.servers import OrthancServer, find_program, free_ports, running
from worklist.records import Database

_REPEATS: Final = 40
_RESPONSES: Final = 1000
_FIRST_MS, _ALL_MS = 50.0, 1000.0  # targets
_KEYS: Final = (
    "QueryRetrieveLevel=STUDY",
    *("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ModalitiesInStudy", "StudyDescription", "NumberOfStudyRelatedInstances", "ReportingPriority"),
)


def measure_finds(studies: int = STUDIES, unread: int = UNREAD) -> list[Figure]:
    """Times of a C-FIND of all studies, on both databases."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="firstread-bench-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "orthanc").mkdir()
        with running(OrthancServer(root / "orthanc")) as orthanc:
            known = stored(orthanc, unread)
            for name, url in databases(root):
                with closing(Database(url)) as database:
                    migrations.upgrade(database)
                    fill_records(database, studies, unread, known)
                with _running_dimse(url, orthanc.url, root / f"{name}.log") as port:
                    figures += _measure(name, port)
    return figures


@contextmanager
def _running_dimse(database_url: str, orthanc_url: str, log: Path) -> Iterator[int]:
    (port,) = free_ports(1)
    environment = {
        "FIRSTREAD_DATABASE_URL": database_url,
        "FIRSTREAD_ORTHANC_URL": orthanc_url,
        "FIRSTREAD_DIMSE_PORT": str(port),
    }
    command = [sys.executable, "-m", "firstread", "dimse"]
    supervisor = Supervisor()
    try:
        supervisor.start(Program(name="dimse", command=command, environment=environment, log=log))
        wait_until_ready("the DICOM server", lambda: _first_response_ms(port) is not None, log, timeout_s=600)
        yield port
    finally:
        supervisor.stop()


def _measure(name: str, port: int) -> list[Figure]:
    first = [taken for taken in (_first_response_ms(port) for _ in range(_REPEATS)) if taken is not None]
    many = [_many_ms(port) for _ in range(_REPEATS // 4)]
    return [
        Figure(name=f"{name}: first response, p50", value=percentile(first, 50), unit="ms"),
        Figure(name=f"{name}: first response, p95", value=percentile(first, 95), unit="ms", at_most=_FIRST_MS),
        Figure(name=f"{name}: 1,000 responses by findscu, p50", value=percentile(many, 50), unit="ms"),
        Figure(name=f"{name}: 1,000 responses by findscu, p95", value=percentile(many, 95), unit="ms", at_most=_ALL_MS),
    ]


def _first_response_ms(port: int) -> float | None:
    """From the request on an open association to the first response; None where there is no association."""
    entity = AE(ae_title="BENCH")
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association, _ = associate(entity, "127.0.0.1", port, ae_title="FIRSTREAD")
    if not association.is_established:
        return None
    identifier = Dataset()
    for key in _KEYS:
        keyword, _, value = key.partition("=")
        setattr(identifier, keyword, value or None)
    started = time.perf_counter()
    status, found = next(association.send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind))
    taken = (time.perf_counter() - started) * 1000
    association.abort()
    if not found:
        raise RuntimeError(f"nothing is found, so nothing would be measured: {status}")
    return taken


def _many_ms(port: int) -> float:
    """Of DCMTK's findscu from its start to its end, association and the C-CANCEL that ends it included."""
    keys = [part for key in _KEYS for part in ("-k", key)]
    to = ["-q", "-S", "--cancel", str(_RESPONSES), "-aec", "FIRSTREAD", "127.0.0.1", str(port)]
    started = time.perf_counter()
    subprocess.run([find_program("findscu", Path("/usr/bin")), *to, *keys], check=True)
    return (time.perf_counter() - started) * 1000
