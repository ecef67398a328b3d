"""An Orthanc that has been in use for weeks: many small films, stored one by one, then dated back in its index."""

from __future__ import annotations

import io
import json
import sqlite3
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
import numpy as np
from pydicom import Dataset

from firstread.demo import Site, orthanc_configuration
from firstread.processes import Program, Supervisor, wait_until_ready
from imaging.simulated.phantom import simulate_film
from imaging.wrapping import chest_dx, complete_file_meta

_ROWS, _COLUMNS = 120, 96  # a tenth of a second of Orthanc's time goes into headers; pixels would only fill the disk
_AT_ONCE = 4
_UID_ROOT: Final = "2.25."
_UID_DIGITS = 20
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


# Type 2 is ReceptionDate, type 7 LastUpdate; what was stored later has a higher number.
_DATED_METADATA: Final = """UPDATE Metadata SET value = strftime('%Y%m%dT%H%M%S',
    :now - CAST(:span * (1.0 - id * 1.0 / :newest) AS INTEGER), 'unixepoch') WHERE type IN (2, 7)"""
_DATED_CHANGES: Final = """UPDATE Changes SET date = strftime('%Y%m%dT%H%M%S',
    :now - CAST(:span * (1.0 - internalId * 1.0 / :newest) AS INTEGER), 'unixepoch')"""


def fill(site: Site, studies: int, span: timedelta) -> None:
    """Give a site, before it is started, the Orthanc of a hospital.

    Args:
        site: whose folder is empty.
        studies: how many, of one film each, all different and of as many patients.
        span: over which they arrived, evenly, until now.
    """
    storage = site.state / "orthanc"
    for folder in (storage, site.state / "logs"):
        folder.mkdir(parents=True)
    # A study that is stable before all are dated back would stand in the log as younger than it is.
    configuration = {**orthanc_configuration(site), "StableAge": 1_000_000, "Plugins": [], "PythonScript": ""}
    file = site.state / "filling.json"
    file.write_text(json.dumps(configuration), encoding="utf-8")
    supervisor = Supervisor()
    try:
        supervisor.start(Program(name="orthanc", command=["Orthanc", file], log=site.log("filling")))
        with httpx.Client(base_url=site.orthanc_url, trust_env=False, timeout=60) as http:
            wait_until_ready("Orthanc", lambda: _answers(http), site.log("filling"))
            with ThreadPoolExecutor(_AT_ONCE) as senders:
                for answer in senders.map(lambda film: http.post("/instances", content=film), films(studies)):
                    answer.raise_for_status()
    finally:
        supervisor.stop()
    _date_back(storage / "index", span)


def films(count: int) -> Iterator[bytes]:
    """Small films as files: one, with other UIDs of the same length and another patient each."""
    film = chest_dx(simulate_film(1, finding=None, rows=_ROWS, columns=_COLUMNS).astype(np.uint16), bits_stored=12)
    film.PatientID = film.PatientName = _patient(0)
    film.StudyDescription, film.ViewPosition, film.SyntheticData = "Chest PA", "PA", "YES"
    film.StudyDate = f"{datetime.now(UTC):%Y%m%d}"
    for keyword in _UIDS:
        setattr(film, keyword, _uid(keyword))
    complete_file_meta(film)
    template = _as_file(film)
    for number in range(count):
        content = template.replace(_patient(0).encode(), _patient(number).encode())
        for keyword in _UIDS:
            content = content.replace(_uid(keyword).encode(), _uid(f"{keyword} {number}").encode())
        yield content


def _as_file(film: Dataset) -> bytes:
    stream = io.BytesIO()
    film.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _patient(number: int) -> str:
    return f"SIMULATED-BENCH-{number:07d}"


def _uid(name: str) -> str:
    digits = str(uuid.uuid5(uuid.NAMESPACE_OID, name).int)[:_UID_DIGITS]
    return f"{_UID_ROOT}{digits.replace('0', '1')}"


def _date_back(index: Path, span: timedelta) -> None:
    """Spread what lies in Orthanc's SQLite index over a time that ends now, in the order in which it came."""
    now = int(datetime.now(UTC).timestamp())
    with closing(sqlite3.connect(index)) as connection, connection:
        newest = connection.execute("SELECT max(internalId) FROM Resources").fetchone()[0]
        spread = {"now": now, "span": int(span.total_seconds()), "newest": newest}
        connection.execute(_DATED_METADATA, spread)
        connection.execute(_DATED_CHANGES, spread)


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/system").is_success
    except httpx.HTTPError:
        return False
