"""OHIF 3.13 on the gateway, in a real browser: a film and what gateway and worker made of it.

The worker's model is the shipped one with a card and operating points by which findings on a simulated film are named
and have boxes, so that nothing here depends on what the weights of the day think of such films. The film has 8 bits,
because Chromium's software WebGL cannot show more.
With FIRSTREAD_SCREENSHOTS=FOLDER in the environment the pictures are kept there.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, expect
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, EnhancedSRStorage

from dicom_sr.parse import TriageReport, parse
from firstread.compose import build_job_records
from firstread.compose_worker import build_report, build_score, build_scorer
from firstread.settings import Settings
from imaging.radiograph import read_radiograph
from imaging.simulated.phantom import simulate_film, simulate_lateral_film
from models.embedded.scorer import WEIGHTS
from tests.browsing import wait_until_live
from tests.gateways import running_gateway
from tests.servers import OrthancServer
from tests.viewers import COLUMNS, FILM, OHIF, ROWS, SLOWLY_MS, Pixels, Viewer, film_browser, film_of, stored_pixels
from worker.pacs import Pacs
from worklist.finding import KNOWN_FINDINGS, FindingType, Region
from worklist.job import Queue
from worklist.records import Database, Worklist
from worklist.triage import Urgency
from worklist.words import two_places

CROPS, BOXES, REPORT = (
    "AI evidence crops, not a diagnosis",
    "AI findings, not a diagnosis",
    "AI triage report, not a diagnosis",
)

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
        """Words and box of each measurement group of the AI findings, from the data set alone (TID 1410)."""
        (dataset,) = (item for item in self.objects if item.SOPClassUID == Comprehensive3DSRStorage)
        found = []
        for group in _below(dataset, "Measurement Group"):
            (words,), (outline,) = _below(group, "Tracking Identifier"), _below(group, "Image Region")
            points = np.array(outline.GraphicData).reshape(-1, 2)
            (x, y), (x_end, y_end) = points.min(axis=0), points.max(axis=0)
            box = Region(x=int(x), y=int(y), width=int(x_end - x), height=int(y_end - y))
            found.append((str(words.TextValue), box))
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


def tuned_model(folder: Path, named: Collection[FindingType]) -> Path:
    """The shipped model with another card: these findings are always flagged, named and outlined, no others ever."""
    own = folder / "embedded"
    own.mkdir(parents=True)
    keys = {kind.key for kind in named}
    outputs = json.loads((WEIGHTS / "embedded.json").read_text(encoding="utf-8"))
    for output in (*outputs["outputs"], *outputs["sharp"]["outputs"]):
        if output["key"] in KNOWN_FINDINGS:
            output["threshold"] = 0.0 if output["key"] in keys else 1.0
    document = json.dumps(outputs).encode()
    (own / "embedded.json").write_bytes(document)
    card = json.loads((WEIGHTS / "card.json").read_text(encoding="utf-8"))
    card |= {"flag_from": 1e-6, "reference_harms": [0.0], "sha256": hashlib.sha256(document).hexdigest()}
    for found in card["findings"]:
        is_named = found["key"] in keys
        found |= {"is_shown": True, "weight": 1.0, "named_from": 0.0 if is_named else None}
        found["precision"] = {"value": 0.9, "n": 20, "interval": None} if is_named else None
    (own / "card.json").write_text(json.dumps(card), encoding="utf-8")
    (own / "embedded.onnx").symlink_to(WEIGHTS / "embedded.onnx")
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
            Queue.SCORE: build_score(settings, partial(build_scorer, settings)),
            Queue.REPORT: build_report(settings, partial(build_scorer, settings)),
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
    """A browser that can draw films."""
    with film_browser() as films:
        yield films


@pytest.fixture(scope="module")
def first_view(context: BrowserContext, served: Served) -> Viewer:
    """The study just opened, with nothing chosen yet; the film must be what is seen.

    One page serves all tests, for starting the viewer takes longer than all that they do in it.
    """
    viewer = Viewer(context.new_page(), served.url)
    viewer.open(served.judged.film)
    expect(viewer.series(REPORT)).to_be_visible(timeout=SLOWLY_MS)
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
    expect(viewer.drawn_texts).to_have_count(0)  # no box before anybody asks


def test_boxes_lie_on_their_pixels_and_say_what_they_are(viewer: Viewer, served: Served) -> None:
    """Each box of the AI findings is drawn where the SR has it, with its words, without statistics, and listed."""
    located = served.judged.boxes
    triage = served.judged.report.triage
    assert triage is not None
    assert located
    assert {box for _, box in located} <= {named.finding.region for named in triage.named}
    viewer.show(BOXES)
    expect(viewer.page.locator("svg.svg-layer rect")).to_have_count(len(located), timeout=SLOWLY_MS)
    viewer.page.get_by_test_id("trackedMeasurements-btn").click()
    panel = viewer.page.get_by_test_id("trackedMeasurements-panel")
    for words, _ in located:
        assert words.startswith("AI")
        expect(panel.get_by_text(words, exact=True)).to_be_visible(timeout=SLOWLY_MS)
    expect(panel.get_by_text("AI, not a diagnosis")).to_have_count(len(located))
    expect(viewer.drawn_texts).to_have_count(len(located))
    assert sorted(viewer.drawn_texts.all_text_contents()) == sorted(words for words, _ in located)
    assert not re.search(r"px|max|Area", panel.inner_text()), panel.inner_text()
    viewer.expect_picture(stored_pixels(served.judged.film))
    viewer.keep("ohif-findings.png")

    left, top, scale = viewer.fit(ROWS, COLUMNS)
    seen = viewer.screenshot().astype(int)
    yellow = (seen[..., 0] > 150) & (seen[..., 1] > 150) & (seen[..., 2] < 110)
    for words, box in located:
        x_from, x_to = left + box.x * scale, left + (box.x + box.width) * scale
        y_from, y_to = top + box.y * scale, top + (box.y + box.height) * scale
        rows, columns = slice(round(y_from), round(y_to)), slice(round(x_from), round(x_to))
        for x in (x_from, x_to):
            assert _line(yellow[rows, :], x) == pytest.approx(x, abs=3), words
        for y in (y_from, y_to):
            assert _line(yellow[:, columns].T, y) == pytest.approx(y, abs=3), words


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
    viewer.open(film)
    viewer.expect_picture(stored_pixels(film))  # a series chosen while the film still loads is an error to OHIF
    viewer.show(REPORT)
    said = text_of_report(viewer)
    assert "Summary Not assessed. " in said
    assert "only frontal films are scored" in report.failure.message
    assert report.failure.message in said
    assert "Not looked for because of this: pneumothorax, pleural effusion, " in said
    assert not any(urgency.label in said for urgency in Urgency)
    assert viewer.troubles == []
    viewer.page.close()


def test_worklist_links_to_the_viewer(viewer: Viewer, served: Served) -> None:
    """The page of the reading list opens a study in the viewer."""
    film = served.judged.film
    page = viewer.page.context.new_page()
    page.goto(viewer.gateway)
    wait_until_live(page)
    row = page.locator(f"tr[data-uid='{film.StudyInstanceUID}']")
    expect(row).to_be_visible(timeout=SLOWLY_MS)
    row.locator(".name").press("Enter")
    link = page.get_by_role("link", name="Open in the viewer")
    expect(link).to_have_attribute("href", f"{viewer.gateway}/viewer/viewer?StudyInstanceUIDs={film.StudyInstanceUID}")
    page.close()


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
