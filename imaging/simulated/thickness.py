"""Thickness maps: the shapes that a simulated patient is made of, seen along the beam.

Coordinates are centimeters on the detector: x to the right of the film (the patient's left in a frontal view), y
downward, the origin on the midline at the first thoracic vertebra. Maps are float32 of shape (rows, columns) of the
grid, or broadcast to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Map = npt.NDArray[np.floating[Any]]
Point = tuple[float, float]
Stroke = tuple[Sequence[Point], float, float]
"""Points in cm, width in cm, value 0..1."""

_FIELD_CM = (38.5, 35.5)  # the least height and width that a film shows
_ABOVE_ORIGIN_CM = 5.0
_GRID_SIDE_PX = 832  # anatomy is smooth: it is drawn on this grid and enlarged; noise is made at full size
_CURVED_CM = 0.4  # thinner strokes do not need rounded joints


def pixel_spacing_mm(rows: int, columns: int) -> float:
    """Side of a detector pixel in mm, for a film of this size."""
    return 10 * max(_FIELD_CM[0] / rows, _FIELD_CM[1] / columns)


class Grid:
    """The working grid of a film: coordinates in cm, and shapes to draw thickness maps with.

    Args:
        rows: height of the film in pixels.
        columns: width of the film in pixels.
        zoom: above 1 the patient is larger than usual.
    """

    def __init__(self, rows: int, columns: int, *, zoom: float = 1.0) -> None:
        shrink = max(1.0, max(rows, columns) / _GRID_SIDE_PX)
        self.shape = (max(1, round(rows / shrink)), max(1, round(columns / shrink)))
        self.cm = pixel_spacing_mm(*self.shape) / 10 / zoom
        row, column = (np.arange(size, dtype=np.float32) for size in self.shape)
        self.y: Map = ((row + 0.5) * self.cm - _ABOVE_ORIGIN_CM)[:, None]
        self.x: Map = ((column + 0.5 - self.shape[1] / 2) * self.cm)[None, :]

    def draw(self, strokes: Iterable[Stroke], *, blur_cm: float = 0.04) -> Map:
        """Strokes, later ones over earlier ones, with soft edges."""
        rows, columns = self.shape
        image = Image.new("L", (2 * columns, 2 * rows))
        pen = ImageDraw.Draw(image)
        for points, width, value in strokes:
            pixels = [((x / self.cm + columns / 2) * 2, (y + _ABOVE_ORIGIN_CM) / self.cm * 2) for x, y in points]
            joint = "curve" if width > _CURVED_CM else None
            pen.line(pixels, fill=round(255 * value), width=max(1, round(2 * width / self.cm)), joint=joint)
        image = image.reduce(2).filter(ImageFilter.GaussianBlur(blur_cm / self.cm))
        return np.asarray(image, np.float32) / 255

    def ellipsoid(self, center: Point, radii: Point, depth: float, *, tilt: float = 0) -> Map:
        """Thickness of an ellipsoid that is `depth` thick in its middle, turned clockwise by `tilt` radians."""
        dx, dy = self.x - center[0], self.y - center[1]
        c, s = math.cos(tilt), math.sin(tilt)
        return depth * root(1 - ((c * dx + s * dy) / radii[0]) ** 2 - ((c * dy - s * dx) / radii[1]) ** 2)

    def limb(self, start: Point, end: Point, radius: float) -> Map:
        """Thickness of a round rod with round ends."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        along = np.clip(((self.x - start[0]) * dx + (self.y - start[1]) * dy) / (dx * dx + dy * dy), 0, 1)
        off_x, off_y = self.x - start[0] - along * dx, self.y - start[1] - along * dy
        return 2 * root(radius**2 - off_x**2 - off_y**2)

    def haze(self, center: Point, radii: Point) -> Map:
        """A Gaussian cloud, 1 in its middle; the radii are standard deviations."""
        across: Map = np.exp(-(((self.x - center[0]) / radii[0]) ** 2) / 2)
        down: Map = np.exp(-(((self.y - center[1]) / radii[1]) ** 2) / 2)
        return across * down

    def texture(self, rng: np.random.Generator, size_cm: float) -> Map:
        """Smooth random texture, mean 0, mostly within -1..1, with lumps of about this size."""
        coarse = tuple(max(2, round(side * self.cm / size_cm)) for side in self.shape)
        return resize(rng.standard_normal(coarse, np.float32), self.shape)

    def profile(self, heights: Sequence[float], values: Sequence[float]) -> Map:
        """A smooth column of values, given at some heights."""
        reach = max(1, round(1.5 / self.cm))
        y = np.pad(self.y[:, 0], reach, mode="reflect", reflect_type="odd")
        kernel = np.full(2 * reach + 1, 1 / (2 * reach + 1))
        return np.convolve(np.interp(y, heights, values), kernel, mode="valid").astype(np.float32)[:, None]


def resize(values: Map, shape: tuple[int, ...]) -> Map:
    """A map at another size."""
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def root(values: Map) -> Map:
    """The square root, 0 where there is none."""
    result: Map = np.sqrt(np.maximum(values, 0))
    return result


def step(distance: Map, width: float) -> Map:
    """0 before, 1 after, smooth over `width`."""
    t: Map = np.clip(distance / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)
