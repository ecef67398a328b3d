"""OHIF's study list and the bar in its viewer, in a real browser: the reading order, and from film to film."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Final

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import BrowserContext, Locator, expect
from pydicom import Dataset

from imaging.simulated.phantom import simulate_film
from tests.acceptance.conftest import PATIENCE_MS
from tests.bad_films import chest
from tests.gateways import running_gateway
from tests.lists import FilledList
from tests.servers import OrthancServer, orthanc_id
from tests.viewers import COLUMNS, OHIF, ROWS, SLOWLY_MS, Viewer, film_browser, film_of, stored_pixels
from worklist.finding import FindingType
from worklist.reading import ReadingState
from worklist.records import Database, Shown

READER: Final = "Dr. Lindqvist"
NAMES: Final = {
    1: "SIMULATED-Abara^Chidi",
    2: "SIMULATED-Brandt^Ute",
    3: "SIMULATED-Costa^Rui",
    4: "SIMULATED-Dietz^Ole",
    5: "SIMULATED-Ekström^Liv",
}
UNSEEN: Final = 110  # studies that Orthanc has and the list does not: with these more than OHIF asks for by itself


def uid_of(number: int) -> str:
    """The Study Instance UID of a film's number."""
    return f"1.2.826.0.1.3680043.8.498.77{number}"


def film(number: int) -> Dataset:
    """A frontal film, which its number makes another one than the others."""
    made = film_of(np.roll(_pixels(), 150 * number, axis=1), "PA")
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PatientName, made.PatientID = NAMES[number], f"LIST-{number}"
    made.StudyInstanceUID = uid_of(number)
    made.SeriesInstanceUID, made.SOPInstanceUID = f"{uid_of(number)}.1", f"{uid_of(number)}.1.1"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


@cache
def _pixels() -> npt.NDArray[np.uint16]:
    return simulate_film(7, finding=None, rows=ROWS, columns=COLUMNS)


def wait_long(condition: Callable[[], bool]) -> None:
    """Wait for something, as long as a slow machine may take."""
    until = time.monotonic() + 2 * SLOWLY_MS / 1000
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def patient_of(uid: str) -> str:
    """The ID of the patient of a study of these tests."""
    return f"LIST-{uid.removeprefix(uid_of(0)[:-1])}"


@dataclass
class Department:
    """A gateway with the viewer before an Orthanc, and what is behind its list."""

    url: str
    orthanc: OrthancServer
    listed: FilledList

    def send(self, number: int, findings: Mapping[FindingType, float] | None = None) -> None:
        """A film arrives, is listed, and is scored where findings are given."""
        self.orthanc.post(film(number))
        wait_long(lambda: self.listed.worklist.find(uid_of(number)) is not None)
        if findings is not None:
            self.listed.score(uid_of(number), findings, is_reported=False)


@pytest.fixture(scope="module")
def department(orthanc_server: OrthancServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Department]:
    """Three films on the list, the second of them critical, and many studies that came before Firstread did."""
    orthanc_server.start()
    orthanc_server.delete_everything()
    for number in range(UNSEEN):
        old = chest()  # a study of its own each time
        old.PatientID = old.AccessionNumber = f"OLD-{number:03d}"
        old.StudyDate = "20261126"  # OHIF's own order would have them first
        orthanc_server.post(old)
    folder = tmp_path_factory.mktemp("gateway")
    with (
        running_gateway(folder, orthanc_server.url, viewer_dir=OHIF, prior_after_days=0, lookback_h=0) as url,
        closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database,
    ):
        wait_long(lambda: httpx.get(f"{url}/ready", trust_env=False, timeout=60).json()["checks"]["feed"]["ok"])
        listed = FilledList(database, orthanc_id=lambda uid, *more: orthanc_id(patient_of(uid), uid, *more))
        department = Department(url, orthanc_server, listed)
        department.send(1)
        department.send(2, {FindingType.PNEUMOTHORAX: 0.93})
        department.send(3)
        yield department
    orthanc_server.delete_everything()


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    """A browser that can draw films."""
    with film_browser() as films:
        yield films


@pytest.fixture(scope="module")
def viewer(context: BrowserContext, department: Department) -> Iterator[Viewer]:
    """One page for all tests, in their order, as a reader's morning is one; errors on it fail the last."""
    viewer = Viewer(context.new_page(), department.url)
    viewer.page.set_viewport_size({"width": 1600, "height": 860})
    viewer.page.goto(f"{department.url}/viewer/", timeout=SLOWLY_MS)
    expect.set_options(timeout=SLOWLY_MS)
    yield viewer
    expect.set_options(timeout=PATIENCE_MS)  # as it was
    assert viewer.troubles == []


def rows(viewer: Viewer) -> Locator:
    """The rows of the page of OHIF's list that is shown."""
    return viewer.page.locator("tbody tr[aria-selected]")


def expect_first(viewer: Viewer, *numbers: int) -> None:
    """Wait until OHIF's list begins with these films."""
    for place, number in enumerate(numbers):
        family = str(film(number).PatientName.family_name)
        expect(rows(viewer).nth(place)).to_contain_text(family, timeout=SLOWLY_MS)


def bar(viewer: Viewer) -> Locator:
    """The bar under a study."""
    return viewer.page.get_by_role("toolbar", name="Reading")


def expect_study(viewer: Viewer, number: int) -> None:
    """Wait until a film is what is seen, and the bar tells of it; then as long as no key is taken by surprise."""
    uid = uid_of(number)
    viewer.page.wait_for_url(f"**/viewer/viewer?StudyInstanceUIDs={uid}", timeout=SLOWLY_MS)
    family = str(film(number).PatientName.family_name)
    expect(bar(viewer).locator("bdi")).to_contain_text(family, timeout=SLOWLY_MS)
    viewer.expect_picture(stored_pixels(film(number)))
    viewer.page.wait_for_timeout(1600)


def test_the_list_stands_in_reading_order_and_hides_nothing(viewer: Viewer) -> None:
    """What is critical is first, with its flag, reason, state and wait; behind the list comes all else of Orthanc."""
    expect_first(viewer, 2, 1, 3)
    first = rows(viewer).first
    for words in ("Critical finding suspected", "Pneumothorax likely, right", "AI scored", "min"):
        expect(first).to_contain_text(words)
    expect(rows(viewer).nth(1)).to_contain_text("Waiting for AI")
    expect(rows(viewer).nth(3)).to_contain_text("SIMULATED-Bad")
    expect(viewer.page.get_by_text(f"1-50 of {UNSEEN + 3}")).to_be_visible()
    expect(viewer.page.get_by_role("status").get_by_text("Live")).to_be_visible(timeout=SLOWLY_MS)
    viewer.keep("ohif-list.png")


def test_what_changes_shows_by_itself(viewer: Viewer, department: Department) -> None:
    """A critical film passes all but an earlier one without a reload; what somebody has read stands behind the list."""
    department.send(4, {FindingType.PNEUMOTHORAX: 0.99})
    expect_first(viewer, 2, 4, 1, 3)  # as critical, and later
    department.listed.claim(uid_of(1), "Dr. Marchetti")
    expect(rows(viewer).nth(2)).to_contain_text("being read by Dr. Marchetti")
    department.listed.read(uid_of(4), "Dr. Marchetti")
    expect_first(viewer, 2, 1, 3, 4)
    expect(rows(viewer).nth(3)).to_contain_text("Read")
    expect(viewer.page.get_by_text(f"1-50 of {UNSEEN + 4}")).to_be_visible()
    department.listed.put_back(uid_of(1), "Dr. Marchetti")
    expect(rows(viewer).nth(1)).not_to_contain_text("being read", timeout=SLOWLY_MS)


def test_one_reads_from_film_to_film(viewer: Viewer, department: Department) -> None:
    """Claim, read and next by keys alone: the sickest that is left opens, and what is passed over comes last."""
    keyboard, find = viewer.page.keyboard, department.listed.worklist.find
    rows(viewer).first.dblclick()
    expect_study(viewer, 2)
    expect(bar(viewer)).to_contain_text("Critical finding suspected")
    expect(bar(viewer)).to_contain_text("Pneumothorax likely, right")
    keyboard.press("Shift+C")
    expect(bar(viewer).get_by_label("Your name")).to_be_focused()
    keyboard.type(READER)
    keyboard.press("Enter")
    keyboard.press("Shift+C")
    expect(bar(viewer)).to_contain_text(f"being read by {READER}")
    viewer.keep("ohif-reading.png")
    keyboard.press("n")
    expect_study(viewer, 1)
    expect(bar(viewer)).to_contain_text("SIMULATED-Brandt, Ute: read.")
    keyboard.press("j")
    expect_study(viewer, 3)
    keyboard.press("u")
    expect(bar(viewer)).to_contain_text("Put back: SIMULATED-Brandt, Ute.")
    readings = {number: study.reading for number in (1, 2, 3) if (study := find(uid_of(number)))}
    assert {reading.state for reading in readings.values()} == {ReadingState.UNREAD}
    bar(viewer).get_by_role("button", name="Read and next").click()
    expect_study(viewer, 2)
    keyboard.press("n")
    expect_study(viewer, 1)
    keyboard.press("Shift+R")
    expect(bar(viewer)).to_contain_text(f"read by {READER}")
    keyboard.press("j")
    expect(bar(viewer)).to_contain_text("Nothing else is to be read.")
    read = department.listed.worklist.page(shown=Shown.READ)[1]
    assert {study.reading.reader for study in read if study.study_instance_uid != uid_of(4)} == {READER}


def test_the_arrow_leads_back_to_the_list_in_order(viewer: Viewer, department: Department) -> None:
    """OHIF's own way back has its list in reading order, and without the bar."""
    department.send(5)
    viewer.page.get_by_test_id("return-to-work-list").click(position={"x": 8, "y": 12})
    expect_first(viewer, 5)
    expect(bar(viewer)).to_be_hidden()
