"""One order, in every viewer that a hospital has: ten films, then a worse one, and each way of asking has it first."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import BrowserContext, Locator, expect
from pydicom import Dataset, dcmread

from imaging.radiograph import read_radiograph
from tests.acceptance.conftest import RunningSite, film_with_effusion, shipped_scorer
from tests.bad_films import chest
from tests.servers import find_program
from tests.viewers import SLOWLY_MS, film_browser
from tests.workitems import UID, change, value
from worklist.triage import SiteChoices, TriagePolicy, Urgency, assess
from worklist.workitems.identity import reading_uid

TEN: Final = 10
READER: Final = "Dr. Lindqvist"


@pytest.fixture
def site(running: RunningSite, tmp_path: Path) -> Iterator[Site]:
    """The site with nothing on its list, and a workstation that its Orthanc knows."""
    with httpx.Client(base_url=f"{running.site.gateway_url}/dicom-web", trust_env=False, timeout=60) as web:
        site = Site(running, tmp_path, web)
        site.know_workstation()
        site.read_all()
        yield site


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    """A browser for list and viewer."""
    with film_browser() as films:
        yield films


def ordinary_films() -> list[Dataset]:
    """Ten films that the shipped model does not flag."""
    scorer = shipped_scorer()
    policy = TriagePolicy.of(scorer.card, SiteChoices())
    films = []
    for seed in count(700):
        film = chest(seed)
        if assess(scorer.score(read_radiograph(film)), policy).urgency is Urgency.NONE:
            films.append(film)
        if len(films) == TEN:
            return films
    raise AssertionError


def named(number: int, film: Dataset) -> Dataset:
    """A film under a patient's name by which every list shows it."""
    film.PatientName, film.PatientID = f"Eleven{number:02d}^Test", f"ELEVEN-{number:02d}"
    film.StudyDescription = "CHEST PA"
    return film


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait as long as a slow machine may take."""
    until = time.monotonic() + SLOWLY_MS / 1000
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)


class Site:
    """The site, asked in every way; web speaks with /dicom-web."""

    def __init__(self, running: RunningSite, folder: Path, web: httpx.Client) -> None:
        self._running = running
        self._folder = folder
        self.url = running.site.gateway_url
        self.web = web

    def know_workstation(self) -> None:
        """Wire DCMTK's findscu to Orthanc, as the hospital's workstations are."""
        address = f"{self._running.site.orthanc_url}/modalities/findscu"
        assert httpx.put(address, json=["FINDSCU", "127.0.0.1", 104], trust_env=False, timeout=60).is_success

    def items(self) -> list[dict[str, Any]]:
        """The reading list."""
        answer = httpx.get(f"{self.url}/worklist?limit=1000", trust_env=False, timeout=60).json()
        return list(answer["items"])

    def read_all(self) -> None:
        """Read what other tests left on the list."""
        for item in self.items():
            address = f"{self.url}/worklist/{item['address']}/state"
            assert httpx.put(address, json={"state": "read", "by": READER}, trust_env=False, timeout=60).is_success

    def are_scored(self, films: int) -> bool:
        """Whether so many films are on the list and scored."""
        items = self.items()
        return len(items) == films and all(item["score"] is not None for item in items)

    def by_qido(self) -> list[str]:
        """Study Instance UIDs by QIDO-RS."""
        return [str(value(study, "0020000D")) for study in self.web.get("/studies?limit=1000").json()]

    def by_findscu(self, title: str, port: int) -> list[str]:
        """The same by DCMTK's findscu."""
        folder = self._folder / f"{title}-{time.monotonic_ns()}"
        folder.mkdir()
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID")
        program = find_program("findscu", Path("/usr/bin"))
        to = ("-aec", title, "127.0.0.1", str(port))
        found = subprocess.run(
            [program, "-S", "-X", "-od", folder, *to, *keys], capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stderr
        return [str(dcmread(file, force=True).StudyInstanceUID) for file in sorted(folder.iterdir())]

    def by_workitems(self) -> list[str]:
        """Workitems of readings that are to be done, by UPS search."""
        answer = self.web.get("/workitems?ProcedureStepState=SCHEDULED&limit=1000")
        assert answer.status_code in {200, 204}, answer.text
        return [str(value(workitem, UID)) for workitem in (answer.json() if answer.content else [])]

    def expect_order(self, uids: list[str], workitems: list[str]) -> None:
        """Every way of asking has these studies first, in this order; by UPS search there are no others."""
        site = self._running.site
        told = {
            "QIDO-RS": self.by_qido(),
            "C-FIND of Firstread": self.by_findscu("FIRSTREAD", site.dimse_port),
            "C-FIND of Orthanc": self.by_findscu("ORTHANC", site.orthanc_dicom_port),
        }
        assert {way: found[: len(uids)] for way, found in told.items()} == dict.fromkeys(told, uids)
        assert self.by_workitems() == workitems


def test_a_worse_film_is_first_everywhere_and_what_is_read_is_gone_from_everywhere(
    running: RunningSite, site: Site, context: BrowserContext
) -> None:
    """Page, OHIF, QIDO, findscu against Firstread and Orthanc, and UPS search agree on all eleven, before and after."""
    ten = [named(number, film) for number, film in enumerate(ordinary_films())]
    running.send(ten)
    wait_for(lambda: site.are_scored(TEN))
    page = context.new_page()
    page.goto(f"{site.url}/", timeout=SLOWLY_MS)
    rows = page.locator("#rows tr")
    expect(rows).to_have_count(TEN, timeout=SLOWLY_MS)
    worse = named(TEN, film_with_effusion(730))
    running.send([worse])
    wait_for(lambda: site.are_scored(TEN + 1))

    items = site.items()
    uids = [item["study_instance_uid"] for item in items]
    workitems = [reading_uid(item["orthanc_id"], 1) for item in items]
    assert (uids[0], items[0]["urgency"], items[0]["rank"]) == (str(worse.StudyInstanceUID), "urgent", 1)
    assert set(uids[1:]) == {str(film.StudyInstanceUID) for film in ten}
    expect(rows.first).to_contain_text("Eleven10", timeout=SLOWLY_MS)
    assert uids_of(rows) == uids
    names = [item["patient_name"].partition("^")[0] for item in items]
    viewer = context.new_page()
    viewer.goto(f"{site.url}/viewer/", timeout=SLOWLY_MS)
    listed = viewer.locator("tbody tr[aria-selected]")
    expect_names(listed, names)
    site.expect_order(uids, workitems)

    assert change(site.web, workitems[0], "IN PROGRESS", "1.2.3.11").status_code == 200
    assert change(site.web, workitems[0], "COMPLETED", "1.2.3.11").status_code == 200
    expect(rows).to_have_count(TEN, timeout=SLOWLY_MS)
    assert uids_of(rows) == uids[1:]
    expect_names(listed, names[1:])
    expect(listed.filter(has_text="Eleven10")).to_contain_text("Read", timeout=SLOWLY_MS)
    site.expect_order(uids[1:], workitems[1:])


def uids_of(rows: Locator) -> list[str]:
    """The Study Instance UIDs of the page's rows, from above."""
    return [str(uid) for uid in rows.evaluate_all("rows => rows.map(row => row.dataset.uid)")]


def expect_names(rows: Locator, names: list[str]) -> None:
    """Wait until OHIF's list begins with these patients, in this order."""
    for place, name in enumerate(names):
        expect(rows.nth(place)).to_contain_text(name, timeout=SLOWLY_MS)
