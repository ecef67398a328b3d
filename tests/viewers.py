"""OHIF as a reader sees it: a page of Debian's Chromium, and what its viewports show."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect, sync_playwright
from pydicom import Dataset
from pydicom.uid import generate_uid

from gateway.list.viewer import OPEN_STUDY
from imaging.wrapping import chest_dx, complete_file_meta
from tests.servers import find_program

OHIF = Path(sys.prefix) / "share" / "ohif"
ROWS, COLUMNS = 1024, 880  # not square: rows and columns cannot change places unseen
SLOWLY_MS = 120_000  # two shared cores draw without a graphics card
FILM = "Chest PA"

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

    def open(self, *films: Dataset) -> None:
        """Open studies as the worklist page does."""
        uids = ",".join(film.StudyInstanceUID for film in films)
        self.page.goto(f"{self.gateway}/{OPEN_STUDY}{uids}", timeout=SLOWLY_MS)
        expect(self.series(str(films[0].SeriesDescription)).first).to_be_visible(timeout=SLOWLY_MS)

    def series(self, description: str) -> Locator:
        """A series in the list at the left."""
        return self.page.get_by_test_id("series-description-label").get_by_text(description, exact=True)

    def show(self, description: str) -> None:
        """Put a series into the viewport."""
        self.series(description).dblclick()

    def expect_picture(self, pixels: Pixels, viewport: int = 0) -> None:
        """Wait until a viewport shows an image, fitted into it; all but the parts that texts cover are compared."""
        deadline = time.monotonic() + SLOWLY_MS / 1000
        while (deviation := self._deviation(pixels, viewport)) > 3:  # greys of 255
            assert time.monotonic() < deadline, f"the viewport shows something else: greys differ by {deviation:.1f}"
            self.page.wait_for_timeout(200)

    def fit(self, rows: int, columns: int, viewport: int = 0) -> tuple[float, float, float]:
        """Where an image lies that was fitted into a viewport: x and y of its corner on the page, and its scale."""
        frame = self._canvases.nth(viewport).bounding_box()
        assert frame
        scale = min(frame["width"] / columns, frame["height"] / rows)
        left = frame["x"] + (frame["width"] - columns * scale) / 2
        return left, frame["y"] + (frame["height"] - rows * scale) / 2, scale

    @property
    def drawn_texts(self) -> Locator:
        """What stands beside boxes and other drawings."""
        return self.page.locator("svg.svg-layer text")

    def screenshot(self) -> Pixels:
        """The page, shape (rows, columns, 3)."""
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))

    def keep(self, name: str) -> None:
        """Save the page as a picture for the documentation, if somebody wants one."""
        if folder := os.environ.get("FIRSTREAD_SCREENSHOTS"):
            Image.fromarray(self.screenshot()).quantize(160).save(Path(folder) / name, optimize=True)

    @property
    def _canvases(self) -> Locator:
        # while it draws thumbnails the viewer has another canvas outside the viewport
        return self.page.get_by_test_id("viewport-pane").locator("canvas.cornerstone-canvas")

    def _deviation(self, pixels: Pixels, viewport: int) -> float:
        rows, columns = pixels.shape
        if self._canvases.count() <= viewport:
            return 255.0
        left, top, scale = self.fit(rows, columns, viewport)
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


@contextmanager
def film_browser() -> Iterator[BrowserContext]:
    """Debian's Chromium, without a window or a graphics card."""
    graphics = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    with sync_playwright() as driver:
        driver.selectors.set_test_id_attribute("data-cy")
        chromium = driver.chromium.launch(executable_path=find_program("chromium"), args=graphics)
        yield chromium.new_context(viewport={"width": 1200, "height": 760})
        chromium.close()


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
