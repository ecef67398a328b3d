"""OHIF 3.13 on the gateway, in a real browser: the film, the boxes on it, the reports and the crops.

The film has 8 bits, because Chromium's software WebGL cannot show more. With FIRSTREAD_SCREENSHOTS=FOLDER in the
environment the pictures are kept there.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect, sync_playwright
from pydicom import Dataset
from pydicom.uid import generate_uid

from dicom_sr.build import Results, Revision, build_failure_report, build_results
from firstread.demo import Site
from firstread.phantom import simulate_film
from firstread.wrap import chest_dx, complete_file_meta
from tests.gateways import running_gateway
from tests.servers import OrthancServer, find_program
from worker.pacs import Pacs
from worklist.errors import InvalidInput
from worklist.finding import (
    Algorithm,
    Analysis,
    Finding,
    FindingType,
    ImageReference,
    QualityNote,
    Region,
    Side,
    Snippet,
)
from worklist.urgency import Urgency

OHIF = Path(sys.prefix) / "share" / "ohif"
ROWS, COLUMNS = 1024, 880  # not square: rows and columns cannot change places unseen
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SCORER = Algorithm(name="embedded", version="1.0.0", sha256="5f" * 32, device_uid="2.25.7")
REVISION = Revision(number=1, fetched_at=NOON, scored_at=NOON, reported_at=NOON + timedelta(seconds=2))
FINDINGS = (
    Finding(
        type=FindingType.PNEUMOTHORAX,
        probability=0.93,
        threshold=0.5,
        side=Side.LEFT,
        region=Region(x=612, y=150, width=150, height=380),
    ),
    Finding(
        type=FindingType.CARDIOMEGALY,
        probability=0.71,
        threshold=0.5,
        region=Region(x=321, y=451, width=328, height=241),
    ),
    Finding(type=FindingType.CONSOLIDATION, probability=0.21, threshold=0.4),
)
LIGHT = np.array((230, 230, 230))
SLOWLY_MS = 60_000  # two shared cores draw without a graphics card
FILM, CROPS, BOXES, REPORT = (
    "Chest PA",
    "AI evidence crops, not a diagnosis",
    "AI findings, not a diagnosis",
    "AI triage report, not a diagnosis",
)

Pixels = npt.NDArray[np.uint8]


@dataclass
class Viewer:
    """One page of the viewer, and what went wrong on it."""

    page: Page
    gateway: str
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen from the start."""
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", self._see)

    def open(self, film: Dataset) -> None:
        """Open a study as the worklist page does."""
        self.page.goto(f"{self.gateway}/viewer/viewer?StudyInstanceUIDs={film.StudyInstanceUID}")
        self.page.get_by_role("button", name="Confirm and hide").click(timeout=SLOWLY_MS)
        expect(self.series(REPORT)).to_be_visible(timeout=SLOWLY_MS)

    def series(self, description: str) -> Locator:
        """A series in the list at the left."""
        return self.page.get_by_test_id("series-description-label").get_by_text(description, exact=True)

    def show(self, description: str) -> None:
        """Put a series into the viewport."""
        self.series(description).dblclick()

    def expect_picture(self, pixels: Pixels) -> None:
        """Wait until the viewport shows an image, fitted into it; all but the parts that texts cover are compared."""
        deadline = time.monotonic() + SLOWLY_MS / 1000
        while (deviation := self._deviation(pixels)) > 3:  # greys of 255
            assert time.monotonic() < deadline, f"the viewport shows something else: greys differ by {deviation:.1f}"
            self.page.wait_for_timeout(200)

    def fit(self, rows: int, columns: int) -> tuple[float, float, float]:
        """Where an image lies that was fitted into the viewport: x and y of its corner on the page, and its scale."""
        frame = self._canvas.bounding_box()
        assert frame
        scale = min(frame["width"] / columns, frame["height"] / rows)
        left = frame["x"] + (frame["width"] - columns * scale) / 2
        return left, frame["y"] + (frame["height"] - rows * scale) / 2, scale

    def screenshot(self) -> Pixels:
        """The page, shape (rows, columns, 3)."""
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))

    def keep(self, name: str) -> None:
        """Save the page as a picture for the documentation, if somebody wants one."""
        if folder := os.environ.get("FIRSTREAD_SCREENSHOTS"):
            Image.fromarray(self.screenshot()).quantize(160).save(Path(folder) / name, optimize=True)

    @property
    def _canvas(self) -> Locator:
        # while it draws thumbnails the viewer has another canvas outside the viewport
        return self.page.get_by_test_id("viewport-pane").locator("canvas.cornerstone-canvas")

    def _deviation(self, pixels: Pixels) -> float:
        rows, columns = pixels.shape
        if not self._canvas.count():
            return 255.0
        left, top, scale = self.fit(rows, columns)
        box = (round(left), round(top), round(left + columns * scale), round(top + rows * scale))
        shown = Image.fromarray(self.screenshot()).convert("L").crop(box).resize((64, 64), Image.Resampling.BOX)
        wanted = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BOX)
        difference = np.abs(np.asarray(shown, np.float32) - np.asarray(wanted, np.float32))
        return float(np.quantile(difference, 0.75))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.troubles.append(message.text)

    def _see(self, request: Request) -> None:
        if not request.url.startswith((self.gateway, "blob:", "data:")):
            self.troubles.append(f"asked elsewhere: {request.url}")


# ---- A study with known boxes, and one that failed ----


@pytest.fixture(scope="module")
def film() -> Dataset:
    """A simulated film of 8 bits."""
    return simulated_film("SIM-0006")


@pytest.fixture(scope="module")
def failed_film() -> Dataset:
    """Another patient's, that could not be judged."""
    return simulated_film("SIM-0007")


def simulated_film(patient_id: str) -> Dataset:
    """A DX film of a left pneumothorax, as a new study."""
    pixels = simulate_film(6, finding=FindingType.PNEUMOTHORAX, rows=ROWS, columns=COLUMNS) >> 4
    image = chest_dx(pixels.astype(np.uint8), bits_stored=8)
    image.ImageType = ["DERIVED", "PRIMARY"]
    image.PatientName, image.PatientID = "SIMULATED-Haddad^Yusuf", patient_id
    image.PatientBirthDate, image.PatientSex = "20010130", "M"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = (generate_uid() for _ in range(3))
    image.StudyDate, image.StudyTime, image.AccessionNumber = "20261122", "115900", "A1"
    image.StudyDescription = image.SeriesDescription = FILM
    image.ViewPosition = "PA"
    complete_file_meta(image)
    return image


@pytest.fixture(scope="module")
def results(film: Dataset) -> Results:
    """What the worker would store for it."""
    analysis = Analysis(
        image=ImageReference(
            study_instance_uid=film.StudyInstanceUID,
            series_instance_uid=film.SeriesInstanceUID,
            sop_class_uid=film.SOPClassUID,
            sop_instance_uid=film.SOPInstanceUID,
            rows=ROWS,
            columns=COLUMNS,
        ),
        scorer=SCORER,
        findings=FINDINGS,
        score=0.93,
        threshold=0.5,
        completed_at=NOON,
        elapsed_ms=21.5,
        quality=(QualityNote(code="rotated", message="The patient is slightly rotated."),),
        explanation="The region that weighed most lies in the upper zone of the patient's left lung.",
        explainer=Algorithm(name="template", version="1", sha256="", device_uid="2.25.8"),
        prompt_version="1",
        snippets=(Snippet(source="2.25.9", snippet="No pneumothorax after removal of the drain."),),
    )
    return build_results(analysis, urgency=Urgency.CRITICAL, source=film, pixels=stored_pixels(film), revision=REVISION)


def stored_pixels(film: Dataset) -> Pixels:
    """The film's greys, which its window leaves as they are."""
    return np.frombuffer(film.PixelData, np.uint8)[: ROWS * COLUMNS].reshape(ROWS, COLUMNS)


# ---- The viewer ----


@pytest.fixture(scope="module")
def gateway(
    orthanc_server: OrthancServer,
    tmp_path_factory: pytest.TempPathFactory,
    film: Dataset,
    failed_film: Dataset,
    results: Results,
) -> Iterator[str]:
    """The gateway with the viewer, before an Orthanc that holds both studies with their results."""
    if not (OHIF / "index.html").is_file():
        pytest.fail(f"OHIF is not in {OHIF}: run make setup", pytrace=False)
    orthanc_server.start()
    failure = build_failure_report(
        source=failed_film,
        code="pixel_data_truncated",
        message="The pixel data ends too early: send the study again.",
        revision=REVISION,
        scorer=SCORER,
        looked_for=(FindingType.PNEUMOTHORAX, FindingType.PNEUMONIA),
    )
    for image in (film, failed_film):
        orthanc_server.post(image)
    for written in (results, failure):
        Pacs(f"{orthanc_server.url}/dicom-web", auth=None).store(written.objects)
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, orthanc_server.url, viewer_dir=OHIF) as url:
        yield url


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    """Debian's Chromium, without a window or a graphics card."""
    graphics = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    with sync_playwright() as driver:
        driver.selectors.set_test_id_attribute("data-cy")
        chromium = driver.chromium.launch(executable_path=find_program("chromium"), args=graphics)
        yield chromium.new_context(viewport={"width": 1200, "height": 760})
        chromium.close()


@pytest.fixture(scope="module")
def first_view(context: BrowserContext, gateway: str, film: Dataset) -> Viewer:
    """The study just opened, with nothing chosen yet; the film must be what is seen.

    One page serves all tests, for starting the viewer takes longer than all that they do in it.
    """
    viewer = Viewer(context.new_page(), gateway)
    viewer.open(film)
    viewer.expect_picture(stored_pixels(film))
    return viewer


@pytest.fixture
def viewer(first_view: Viewer) -> Iterator[Viewer]:
    """The open study; errors in the console, exceptions and requests to other machines fail the test."""
    yield first_view
    assert first_view.troubles == []


def test_film_opens_first(viewer: Viewer) -> None:
    """The film itself, pixel for pixel, is what opens, and the AI's series stand below it with names of their own."""
    labels = viewer.page.get_by_test_id("series-description-label").all_inner_texts()
    assert labels[0] == FILM
    assert sorted(labels[1:]) == [CROPS, BOXES, REPORT]  # the viewer lists them as they happen to arrive


def test_boxes_lie_on_their_pixels_and_become_measurements(viewer: Viewer, film: Dataset) -> None:
    """Each box of the AI findings is drawn where its region lies, and the measurement panel lists it by its name."""
    viewer.show(BOXES)
    located = [(finding.type.label, finding.region) for finding in FINDINGS if finding.region]
    expect(viewer.page.locator("svg.svg-layer rect")).to_have_count(len(located), timeout=SLOWLY_MS)
    viewer.page.get_by_test_id("trackedMeasurements-btn").click()
    panel = viewer.page.get_by_test_id("trackedMeasurements-panel")
    for name, _ in located:
        expect(panel.get_by_text(name, exact=True)).to_be_visible(timeout=SLOWLY_MS)
    viewer.expect_picture(stored_pixels(film))
    viewer.keep("ohif-findings.png")

    left, top, scale = viewer.fit(ROWS, COLUMNS)
    seen = viewer.screenshot().astype(int)
    yellow = (seen[..., 0] > 150) & (seen[..., 1] > 150) & (seen[..., 2] < 110)
    for name, box in located:
        x_from, x_to = left + box.x * scale, left + (box.x + box.width) * scale
        y_from, y_to = top + box.y * scale, top + (box.y + box.height) * scale
        rows, columns = slice(round(y_from), round(y_to)), slice(round(x_from), round(x_to))
        for x in (x_from, x_to):
            assert _line(yellow[rows, :], x) == pytest.approx(x, abs=3), name
        for y in (y_from, y_to):
            assert _line(yellow[:, columns].T, y) == pytest.approx(y, abs=3), name


def test_triage_report_reads_as_text(viewer: Viewer) -> None:
    """Urgency and sentence stand at the top, every list says of what it is, and nothing is lost or garbled."""
    viewer.show(REPORT)
    said = text_of_report(viewer)
    viewer.keep("ohif-triage-report.png")
    expect(viewer.page.get_by_text("CRITICAL, read first.")).to_be_in_viewport()
    sentences = [
        "CRITICAL, read first. AI suspects left pneumothorax and cardiomegaly.",
        "Probability of any urgent finding 93.0 % (the model's threshold is 50.0 %). Not a diagnosis.",
        "Pneumothorax, left: 93.0 % (threshold 50.0 %). Cardiomegaly: 71.0 % (threshold 50.0 %).",
        "Below threshold, not excluded: consolidation 21.0 %.",
        "The patient is slightly rotated.",
        "The region that weighed most lies in the upper zone of the patient's left lung.",
        "Quoted from earlier reports, each with its source: No pneumothorax after removal of the drain. 2.25.9",
        "Everything that was looked for, suspected or not, coded for machines: Pneumothorax Cardiomegaly Consolidation",
        "Scored in 22 ms by embedded, version 1.0.0.",
        "Written by software, not by a radiologist.",
    ]
    places = [said.find(sentence) for sentence in sentences]
    assert -1 not in places, (sentences[places.index(-1)], said)
    assert places == sorted(places)
    assert not re.search(r"undefined|NaN|\[object|not supported|unsupported", said, re.IGNORECASE)


def test_crops_are_shown(viewer: Viewer, results: Results) -> None:
    """The first crop is drawn as it was stored, as the first of as many as there are."""
    viewer.show(CROPS)
    expect(viewer.page.get_by_text(f"(1/{len(results.crops)})")).to_be_visible(timeout=SLOWLY_MS)
    crop = results.crops[0]
    colors = np.frombuffer(crop.PixelData, np.uint8)[: crop.Rows * crop.Columns * 3]
    picture = Image.fromarray(colors.reshape(crop.Rows, crop.Columns, 3)).convert("L")
    viewer.expect_picture(np.asarray(picture))
    viewer.keep("ohif-crop.png")


def test_failure_reads_as_not_assessed(viewer: Viewer, gateway: str, failed_film: Dataset) -> None:
    """The report on a film that could not be judged says so, and names no finding without saying: not looked for."""
    viewer = Viewer(viewer.page.context.new_page(), gateway)
    viewer.page.goto(f"{gateway}/viewer/viewer?StudyInstanceUIDs={failed_film.StudyInstanceUID}")
    expect(viewer.series(REPORT)).to_be_visible(timeout=SLOWLY_MS)
    viewer.expect_picture(stored_pixels(failed_film))  # a series chosen while the film still loads is an error to OHIF
    viewer.show(REPORT)
    said = text_of_report(viewer)
    assert "NOT ASSESSED by AI." in said
    assert "The pixel data ends too early: send the study again." in said
    assert "Not looked for because of this: pneumothorax and pneumonia." in said
    assert "None of these was looked for: Pneumothorax Pneumonia" in said
    assert "CRITICAL" not in said
    assert viewer.troubles == []
    viewer.page.close()


# ---- Serving it ----


def test_worklist_links_to_the_viewer(viewer: Viewer, film: Dataset) -> None:
    """The page of the reading list opens a study in the viewer."""
    page = viewer.page.context.new_page()
    page.goto(viewer.gateway)
    row = page.locator(f"tr[data-uid='{film.StudyInstanceUID}']")
    expect(row).to_be_visible(timeout=SLOWLY_MS)
    row.click()
    link = page.get_by_role("link", name="Open in the viewer")
    expect(link).to_have_attribute("href", f"viewer/viewer?StudyInstanceUIDs={film.StudyInstanceUID}")
    page.close()


def test_only_files_are_served_and_only_to_this_page(viewer: Viewer) -> None:
    """Addresses of the viewer give its page, missing files and paths outside give 404, and it may call nobody else."""
    request = viewer.page.request
    for path in ("/viewer", "/viewer/", "/viewer/viewer?StudyInstanceUIDs=1.2", "/viewer/segmentation"):
        answer = request.get(viewer.gateway + path)
        assert "<title>OHIF Viewer</title>" in answer.text()
        assert "connect-src 'self' data: blob:;" in answer.headers["content-security-policy"]
    assert "disableConfirmationPrompts: true" in request.get(f"{viewer.gateway}/viewer/app-config.js").text()
    for path in ("missing.js", "..%2f..%2fpyvenv.cfg", "%2e%2e/%2e%2e/pyvenv.cfg"):
        assert request.get(f"{viewer.gateway}/viewer/{path}").status == 404


def test_demo_has_the_viewer(tmp_path: Path) -> None:
    """The demo's gateway serves the viewer that make setup fetched."""
    assert Site(state=tmp_path).environment["FIRSTREAD_VIEWER_DIR"] == str(OHIF)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    """A folder without OHIF, or with OHIF for another address, stops the gateway with the reason and the remedy."""
    (tmp_path / "index.html").write_text('<script src="/app-config.js"></script>', encoding="utf-8")
    with (
        pytest.raises(InvalidInput, match="run make setup"),
        running_gateway(tmp_path, "http://127.0.0.1:1", viewer_dir=tmp_path),
    ):
        pass


def text_of_report(viewer: Viewer) -> str:
    """The text of the report in the viewport, with single spaces."""
    grid = viewer.page.get_by_test_id("viewport-grid")
    expect(grid).to_contain_text("Disclaimer", timeout=SLOWLY_MS)
    return re.sub(r"\s+", " ", grid.inner_text())


def _line(mask: npt.NDArray[np.bool_], near: float) -> float:
    """Where, close to a place, a line is drawn: the middle of the column of a mask that is covered most.

    Args:
        mask: shape (length of the line, extent across it).
        near: the place, in pixels across.
    """
    first = max(round(near) - 15, 0)
    covered = mask[:, first : round(near) + 15].mean(axis=0)
    assert covered.max() > 0.6, f"no line near {near:.0f}: {covered.max():.2f} of it is drawn"
    return first + float(np.flatnonzero(covered > covered.max() / 2).mean()) + 0.5
