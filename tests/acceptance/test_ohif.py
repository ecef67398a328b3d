"""OHIF 3.13 on the gateway, in a real browser: a film and what gateway and worker made of it.

The worker's model is the shipped one with a card and operating points by which findings on a simulated film are named
and have boxes, so that nothing here depends on what the weights of the day think of such films. The film has 8 bits,
because Chromium's software WebGL cannot show more.
With FIRSTREAD_SCREENSHOTS=FOLDER in the environment the pictures are kept there.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect, sync_playwright
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, EnhancedSRStorage, generate_uid

from dicom_sr.parse import TriageReport, parse
from firstread.compose import build_job_records
from firstread.compose_worker import build_report, build_score, build_scorer
from firstread.demo import Site
from firstread.settings import Settings
from imaging.radiograph import read_radiograph
from imaging.simulated.phantom import simulate_film, simulate_lateral_film
from imaging.wrapping import chest_dx, complete_file_meta
from models.embedded.scorer import WEIGHTS
from tests.gateways import running_gateway
from tests.servers import OrthancServer, find_program
from worker.pacs import Pacs
from worklist.errors import InvalidInput
from worklist.finding import KNOWN_FINDINGS, FindingType, Region
from worklist.job import Queue
from worklist.records import Database, Worklist
from worklist.triage import Urgency
from worklist.words import two_places

OHIF = Path(sys.prefix) / "share" / "ohif"
ROWS, COLUMNS = 1024, 880  # not square: rows and columns cannot change places unseen
SLOWLY_MS = 120_000  # two shared cores draw without a graphics card
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
        self.page.goto(f"{self.gateway}/viewer/viewer?StudyInstanceUIDs={film.StudyInstanceUID}", timeout=SLOWLY_MS)
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


# ---- A film with boxes and one out of scope, and what the worker wrote about them ----


@dataclass(frozen=True, kw_only=True)
class Written:
    """A film, and the objects that gateway and worker left in its study."""

    film: Dataset
    objects: Sequence[Dataset]

    @property
    def report(self) -> TriageReport:
        """The triage report, read back."""
        (dataset,) = (item for item in self.objects if item.SOPClassUID == EnhancedSRStorage)
        return parse(dataset)

    @property
    def boxes(self) -> list[tuple[str, Region]]:
        """Name and box of each measurement group of the AI findings, from the data set alone (TID 1410)."""
        (dataset,) = (item for item in self.objects if item.SOPClassUID == Comprehensive3DSRStorage)
        found = []
        for group in _below(dataset, "Measurement Group"):
            (name,), (outline,) = _below(group, "Finding"), _below(group, "Image Region")
            points = np.array(outline.GraphicData).reshape(-1, 2)
            (x, y), (x_end, y_end) = points.min(axis=0), points.max(axis=0)
            box = Region(x=int(x), y=int(y), width=int(x_end - x), height=int(y_end - y))
            found.append((str(name.ConceptCodeSequence[0].CodeMeaning), box))
        return found

    @property
    def captures(self) -> list[Dataset]:
        """Crops and overview in their order."""
        return sorted((item for item in self.objects if item.Modality == "OT"), key=lambda item: item.InstanceNumber)


def _below(item: Dataset, meaning: str) -> list[Dataset]:
    found = []
    for child in item.get("ContentSequence", ()):
        if child.ConceptNameCodeSequence[0].CodeMeaning == meaning:
            found.append(child)
        found += _below(child, meaning)
    return found


@dataclass(frozen=True, kw_only=True)
class Served:
    """The gateway's address, and the two studies behind it."""

    url: str
    judged: Written
    refused: Written


def film_of(pixels: npt.NDArray[np.uint16], view: str) -> Dataset:
    """A DX film of 8 bits, as a new study."""
    image = chest_dx((pixels >> 4).astype(np.uint8), bits_stored=8)
    image.ImageType = ["DERIVED", "PRIMARY"]
    image.PatientName, image.PatientID = "SIMULATED-Haddad^Yusuf", f"SIM-{view}"
    image.PatientBirthDate, image.PatientSex = "19610130", "M"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = (generate_uid() for _ in range(3))
    image.StudyDate, image.StudyTime, image.AccessionNumber = "20261122", "115900", "A1"
    image.StudyDescription = image.SeriesDescription = FILM
    image.ViewPosition = view
    complete_file_meta(image)
    return image


def stored_pixels(film: Dataset) -> Pixels:
    """The film's greys, which its window leaves as they are."""
    return np.frombuffer(film.PixelData, np.uint8)[: ROWS * COLUMNS].reshape(ROWS, COLUMNS)


def tuned_model(folder: Path, named: Collection[FindingType]) -> Path:
    """The shipped model with another card: these findings are always flagged, named and outlined, no others ever."""
    folder.mkdir()
    keys = {kind.key for kind in named}
    outputs = json.loads((WEIGHTS / "embedded.json").read_text(encoding="utf-8"))
    for output in outputs["outputs"]:
        if output["key"] in KNOWN_FINDINGS:
            output["threshold"] = 0.0 if output["key"] in keys else 1.0
    (folder / "embedded.json").write_text(json.dumps(outputs), encoding="utf-8")
    card = json.loads((WEIGHTS / "card.json").read_text(encoding="utf-8"))
    card |= {"flag_from": 1e-6, "reference_harms": [0.0]}
    for found in card["findings"]:
        is_named = found["key"] in keys
        found |= {"is_shown": True, "weight": 1.0, "named_from": 0.0 if is_named else None}
        found["precision"] = {"value": 0.9, "n": 20, "interval": None} if is_named else None
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    (folder / "embedded.onnx").symlink_to(WEIGHTS / "embedded.onnx")
    return folder


def film_with_boxes(model: Path) -> tuple[Dataset, list[FindingType]]:
    """A simulated film on which a model draws two boxes that can be told apart, or one if need be, and what of.

    None may touch the film's upper or lower border, which is the viewport's, too.
    """
    scorer = build_scorer(Settings(model_dir=model))
    found: list[tuple[Dataset, list[FindingType]]] = []
    for seed, kind in product((6, 7, 8), KNOWN_FINDINGS.values()):
        film = film_of(simulate_film(seed, finding=kind, rows=ROWS, columns=COLUMNS), "PA")
        boxes: list[Region] = []
        types: list[FindingType] = []
        analysis = scorer.score(read_radiograph(film))
        for finding in analysis.findings:
            box = analysis.box_of(finding)
            if box and box.y > 0 and box.y + box.height < ROWS and all(_are_apart(box, other) for other in boxes):
                boxes.append(box)
                types.append(finding.type)
        found.append((film, types))
        if types[1:]:
            break
    best = max(found, key=lambda pair: len(pair[1]))
    assert best[1], "the shipped model points to no place on any simulated film, whatever its operating points"
    return best


def _are_apart(one: Region, other: Region) -> bool:
    edges, others = (np.array((box.x, box.x + box.width, box.y, box.y + box.height)) for box in (one, other))
    return bool((np.abs(edges - others) > 50).all())


# ---- The viewer ----


@pytest.fixture(scope="module")
def served(orthanc_server: OrthancServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The gateway with the viewer, before an Orthanc to which it and a worker have brought both studies' results."""
    if not (OHIF / "index.html").is_file():
        pytest.fail(f"OHIF is not in {OHIF}: run make setup", pytrace=False)
    orthanc_server.start()
    folder = tmp_path_factory.mktemp("gateway")
    film, located = film_with_boxes(tuned_model(folder / "all", list(KNOWN_FINDINGS.values())))
    lateral = film_of(simulate_lateral_film(6, rows=ROWS, columns=COLUMNS), "LL")
    with running_gateway(folder, orthanc_server.url, viewer_dir=OHIF) as url:
        for image in (film, lateral):
            orthanc_server.post(image)
        settings = Settings(
            database_url=f"sqlite:///{folder / 'firstread.db'}",
            orthanc_url=orthanc_server.url,
            model_dir=tuned_model(folder / "some", located),
        )
        work(settings, until_reported=[film.StudyInstanceUID, lateral.StudyInstanceUID])
        yield Served(url=url, judged=written(orthanc_server, film), refused=written(orthanc_server, lateral))


def work(settings: Settings, *, until_reported: Sequence[str]) -> None:
    """Do, as a worker does, all jobs that the gateway makes of its change feed, until these studies have results."""
    with closing(Database(settings.database_url)) as database:
        jobs, worklist = build_job_records(settings, database), Worklist(database, settings.site_rules)
        tasks: dict[Queue, Callable[[str], None]] = {
            Queue.SCORE: build_score(settings),
            Queue.REPORT: build_report(settings),
        }
        deadline = time.monotonic() + SLOWLY_MS / 1000
        while not all((study := worklist.find(uid)) and study.result_series_uids for uid in until_reported):
            assert time.monotonic() < deadline, [worklist.find(uid) for uid in until_reported]
            for job_id, queue in jobs.due(10):
                tasks[queue](job_id)
            time.sleep(0.1)


def written(orthanc: OrthancServer, film: Dataset) -> Written:
    """What lies beside a film in its study."""
    pacs = Pacs(orthanc.url, auth=None)
    (study,) = (study for study in orthanc.get("/studies?expand") if _uid(study, "Study") == film.StudyInstanceUID)
    instances = [
        (_uid(series, "Series"), _uid(orthanc.get(f"/instances/{instance}"), "SOP"))
        for series in (orthanc.get(f"/series/{series}") for series in study["Series"])
        for instance in series["Instances"]
    ]
    return Written(
        film=film,
        objects=[
            pacs.fetch_instance(film.StudyInstanceUID, series, instance)
            for series, instance in instances
            if instance != film.SOPInstanceUID
        ],
    )


def _uid(resource: dict[str, dict[str, str]], level: str) -> str:
    return resource["MainDicomTags"][f"{level}InstanceUID"]


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
def first_view(context: BrowserContext, served: Served) -> Viewer:
    """The study just opened, with nothing chosen yet; the film must be what is seen.

    One page serves all tests, for starting the viewer takes longer than all that they do in it.
    """
    viewer = Viewer(context.new_page(), served.url)
    viewer.open(served.judged.film)
    viewer.expect_picture(stored_pixels(served.judged.film))
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


def test_boxes_lie_on_their_pixels_and_become_measurements(viewer: Viewer, served: Served) -> None:
    """Each box of the AI findings is drawn where the SR has it, and the measurement panel lists it by its name."""
    located = served.judged.boxes
    triage = served.judged.report.triage
    assert triage is not None
    assert located
    assert {box for _, box in located} <= {named.finding.region for named in triage.named}
    viewer.show(BOXES)
    expect(viewer.page.locator("svg.svg-layer rect")).to_have_count(len(located), timeout=SLOWLY_MS)
    viewer.page.get_by_test_id("trackedMeasurements-btn").click()
    panel = viewer.page.get_by_test_id("trackedMeasurements-panel")
    for name, _ in located:
        expect(panel.get_by_text(name, exact=True)).to_be_visible(timeout=SLOWLY_MS)
    viewer.expect_picture(stored_pixels(served.judged.film))
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


def test_triage_report_reads_as_text(viewer: Viewer, served: Served) -> None:
    """Flag and findings stand at the top, every list says of what it is, and nothing is lost or garbled."""
    report = served.judged.report
    analysis, triage = report.analysis, report.triage
    assert analysis is not None
    assert triage is not None
    viewer.show(REPORT)
    said = text_of_report(viewer)
    viewer.keep("ohif-triage-report.png")
    expect(viewer.page.get_by_text(triage.urgency.label).first).to_be_in_viewport()
    sentences = [
        f"{triage.urgency.label}. {'; '.join(named.words for named in triage.named)}. Not a diagnosis.",
        "Boxed on the image: ",
        "Looked for: ",
        "Not looked for: ",
        *(note.message for note in analysis.quality),
        "Written by software, not by a radiologist.",
        *(f"{named.words}: probability {two_places(named.finding.probability)}" for named in triage.named),
        "Probabilities, from 0 to 1: ",
        f"Explanation {analysis.explanation}",
        f"Everything that was scored, suspected or not, coded for machines: {analysis.findings[0].type.code.meaning}",
        f"Score for any urgent finding {two_places(analysis.score)}, computed in {analysis.elapsed_ms:.0f} ms",
        f" ms by {analysis.scorer.name}, version {analysis.scorer.version}.",
    ]
    places = [said.find(sentence) for sentence in sentences]
    assert -1 not in places, (sentences[places.index(-1)], said)
    assert places == sorted(places), said
    assert not re.search(r"undefined|NaN|\[object|not supported|unsupported", said, re.IGNORECASE)


def test_crops_are_shown(viewer: Viewer, served: Served) -> None:
    """The first crop is drawn as it was stored, as the first of as many as there are, and the whole film is last."""
    captures = served.judged.captures
    assert len(captures) == len(served.judged.boxes) + 1
    viewer.show(CROPS)
    expect(viewer.page.get_by_text(f"(1/{len(captures)})")).to_be_visible(timeout=SLOWLY_MS)
    viewer.expect_picture(_greys(captures[0]))
    viewer.keep("ohif-crop.png")
    viewer.page.keyboard.press("End")
    expect(viewer.page.get_by_text(f"({len(captures)}/{len(captures)})")).to_be_visible(timeout=SLOWLY_MS)
    viewer.expect_picture(_greys(captures[-1]))


def _greys(capture: Dataset) -> Pixels:
    return np.asarray(Image.fromarray(capture.pixel_array).convert("L"))


def test_refusal_reads_as_not_assessed(viewer: Viewer, served: Served) -> None:
    """The report on a film out of scope says why, and names no finding without saying: not looked for."""
    film, report = served.refused.film, served.refused.report
    assert report.failure is not None
    viewer = Viewer(viewer.page.context.new_page(), served.url)
    viewer.page.goto(f"{served.url}/viewer/viewer?StudyInstanceUIDs={film.StudyInstanceUID}", timeout=SLOWLY_MS)
    expect(viewer.series(REPORT)).to_be_visible(timeout=SLOWLY_MS)
    viewer.expect_picture(stored_pixels(film))  # a series chosen while the film still loads is an error to OHIF
    viewer.show(REPORT)
    said = text_of_report(viewer)
    assert "Not assessed by AI." in said
    assert "only frontal films are scored" in report.failure.message
    assert report.failure.message in said
    assert "Not looked for because of this: pneumothorax, pleural effusion, " in said
    assert not any(urgency.label in said for urgency in Urgency)
    assert viewer.troubles == []
    viewer.page.close()


# ---- Serving it ----


def test_worklist_links_to_the_viewer(viewer: Viewer, served: Served) -> None:
    """The page of the reading list opens a study in the viewer."""
    film = served.judged.film
    page = viewer.page.context.new_page()
    page.goto(viewer.gateway)
    row = page.locator(f"tr[data-uid='{film.StudyInstanceUID}']")
    expect(row).to_be_visible(timeout=SLOWLY_MS)
    row.locator(".name").press("Enter")
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


@pytest.mark.parametrize(
    ("npm", "status", "reason"),
    [
        ("exit 1", 2, "could not be fetched"),
        ('echo "something else" > "$4/ohif-app-${5#@ohif/app@}.tgz"', 1, "not the package it was when it was pinned"),
    ],
)
def test_only_the_pinned_viewer_is_installed(npm: str, status: int, reason: str, tmp_path: Path) -> None:
    """An absent registry and a changed package are told apart, leave nothing behind, and a viewer in place is kept."""
    (tmp_path / "npm").write_text(f"#!/bin/sh\n{npm}\n", encoding="utf-8")
    (tmp_path / "npm").chmod(0o755)
    script = ["sh", str(Path(__file__).parents[2] / "viewer.sh")]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    target = tmp_path / "ohif"
    refused = subprocess.run([*script, target], env=environment, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (status, "")
    assert reason in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["npm"]
    target.mkdir()
    (target / "installed").write_text((OHIF / "installed").read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run([*script, target], env=environment, check=True)


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
