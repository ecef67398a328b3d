"""An upgrade while the earlier version still runs: nothing is lost, nothing is done twice, and nobody is held up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset

from bench.baseline import COMMIT, REPOSITORY, exported
from dicom_sr.parse import parse
from firstread.compose_worker import build_pacs
from firstread.processes import Program, Supervisor, wait_until_ready
from firstread.settings import Settings
from tests.bad_films import chest
from tests.servers import OrthancServer, free_ports

_WAIT_S = 120.0
_BY_UID = "8dde3fe"  # the last one that knew a study by its Study Instance UID; its queues are the present ones


@dataclass(frozen=True)
class Versions:
    """The earlier version on a site of its own, and the present one beside it."""

    orthanc: OrthancServer
    supervisor: Supervisor
    earlier_supervisor: Supervisor
    folder: Path
    earlier: Path
    environment: Mapping[str, str]

    def upgrade(self, code: Path) -> None:
        """Bring the database to the tables of one version."""
        subprocess.run(self._command("db", "upgrade"), env={**os.environ, **self._of(code)}, check=True)

    def start(self, name: str, code: Path) -> str:
        """A gateway and workers of one version, under a name; the gateway's root."""
        port = free_ports(1)[0]
        here = {**self._of(code), "FIRSTREAD_HTTP_PORT": str(port)}
        queues = "score,report" if code == self.earlier else "score,report,predict"
        supervisor = self.earlier_supervisor if code == self.earlier else self.supervisor
        for program, *arguments in (("gateway",), ("worker", "--queues", queues)):
            supervisor.start(
                Program(
                    name=f"{name} {program}",
                    command=self._command(program, *arguments),
                    environment=here,
                    log=self.folder / f"{name}-{program}.log",
                )
            )
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(f"{name} gateway", lambda: _answers(url), self.folder / f"{name}-gateway.log")
        return url

    def reports(self, film: Dataset) -> list[str]:
        """The SOP Instance UIDs of the AI triage reports of a film's study that the PACS holds."""
        pacs = build_pacs(Settings(orthanc_url=self.orthanc.url))
        return [parse(report).sop_instance_uid for report in pacs.fetch_triage_reports(film.StudyInstanceUID)]

    def _of(self, code: Path) -> dict[str, str]:
        return {**self.environment, "PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}

    @staticmethod
    def _command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "firstread", *arguments]


@pytest.fixture
def commit() -> str:
    """The earlier version."""
    return COMMIT


@pytest.fixture
def database() -> str:
    """The kind of database; each version is tried on one of them."""
    return "postgresql"


@pytest.fixture
def versions(  # noqa: PLR0913, PLR0917 - what a site is made of
    request: pytest.FixtureRequest, orthanc: OrthancServer, redis_url: str, tmp_path: Path, commit: str, database: str
) -> Iterator[Versions]:
    """Orthanc, Redis and a database for both versions; everything that was started is stopped at the end."""
    known = subprocess.run(["git", "cat-file", "-e", commit], cwd=REPOSITORY, capture_output=True, check=False)
    if known.returncode:
        pytest.skip(f"this checkout does not hold the earlier version ({commit})")
    is_sqlite = database == "sqlite"
    environment = {
        "FIRSTREAD_DATABASE_URL": (
            f"sqlite:///{tmp_path / 'firstread.db'}" if is_sqlite else request.getfixturevalue("postgres_url")
        ),
        "FIRSTREAD_BROKER_URL": redis_url,
        "FIRSTREAD_ORTHANC_URL": orthanc.url,
        "FIRSTREAD_QUIET_S": "1",
        "FIRSTREAD_PRIOR_AFTER_DAYS": "0",  # the simulated films have a date of long ago
    }
    with exported(commit) as earlier:
        supervisor, earlier_supervisor = Supervisor(), Supervisor()
        try:
            yield Versions(orthanc, supervisor, earlier_supervisor, tmp_path, earlier, environment)
        finally:
            earlier_supervisor.stop()
            supervisor.stop()


def test_the_present_version_takes_over_beside_the_earlier_one(versions: Versions) -> None:
    """What the earlier version reported stays, what comes during the upgrade is reported once, and soon."""
    first, second, third = chest(1), chest(2), chest(3)
    versions.upgrade(versions.earlier)
    old = versions.start("earlier", versions.earlier)
    versions.orthanc.post(first)
    _wait_until_reported(old, first)
    before = versions.reports(first)
    versions.upgrade(REPOSITORY)
    versions.orthanc.post(second)  # the earlier version alone is there, and can write nothing any more
    new = versions.start("present", REPOSITORY)
    versions.orthanc.post(third)
    for film in (second, third):
        _wait_until_reported(new, film)
    time.sleep(3)  # in which the earlier version could still do harm
    assert _state(new, first) == "reported"
    assert versions.reports(first) == before
    assert [len(versions.reports(film)) for film in (first, second, third)] == [1, 1, 1]


@pytest.mark.parametrize(("commit", "database"), [(_BY_UID, "sqlite")])
def test_a_version_that_knows_studies_by_uid_passes_over_nothing(versions: Versions) -> None:
    """Once the tables name studies by Orthanc's identifier it can neither list a film nor skip one; all are reported.

    Its workers take messages from the same queues, which they cannot use; what they took comes again.
    """
    first, second, third = chest(1), chest(2), chest(3)
    versions.upgrade(versions.earlier)
    old = versions.start("earlier", versions.earlier)
    versions.orthanc.post(first)
    _wait_until_reported(old, first)
    before = versions.reports(first)
    versions.upgrade(REPOSITORY)
    versions.orthanc.post(second)
    time.sleep(3)  # in which the earlier version could pass over it
    new = versions.start("present", REPOSITORY)
    versions.orthanc.post(third)
    versions.earlier_supervisor.stop()
    for film in (second, third):
        _wait_until_reported(new, film)
    assert _state(new, first) == "reported"
    assert versions.reports(first) == before
    assert [len(versions.reports(film)) for film in (first, second, third)] == [1, 1, 1]


def _state(gateway: str, film: Dataset) -> str | None:
    answer = httpx.get(f"{gateway}/worklist", params={"limit": 1000}, trust_env=False, timeout=30)
    items: list[dict[str, Any]] = answer.json()["items"] if answer.is_success else []
    return next((item["state"] for item in items if item["study_instance_uid"] == film.StudyInstanceUID), None)


def _answers(gateway: str) -> bool:
    try:
        return httpx.get(f"{gateway}/health", trust_env=False, timeout=2).is_success
    except httpx.HTTPError:
        return False


def _wait_until_reported(gateway: str, film: Dataset) -> None:
    deadline = time.monotonic() + _WAIT_S
    while (state := _state(gateway, film)) != "reported":
        assert time.monotonic() < deadline, state
        time.sleep(0.2)
