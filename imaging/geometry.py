"""Where things lie: the patient's sides on an image, and an image in the square that a network looks at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset

from imaging.elements import first_number, read_value, upper_words
from worklist.finding import Region, Side

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
_OBLONG = 5.0  # the highest ratio that is believed
_SQUARE = 0.01  # by which the sides of a pixel may differ in a square one


def patient_side(orientation: object) -> Side | None:
    r"""The patient's side at the left edge of an image with this Patient Orientation (0020,0020), PS3.3 C.7.6.1.1.1.

    The first value says where the rows run to: in L\F to the patient's left, so the image starts at the patient's
    right. That is also how a frontal film hangs when nothing is stated. None for a film on its side or on its head.
    """
    rows_run_to, columns_run_to = (*upper_words(orientation), "", "")[:2]
    if rows_run_to[:1] not in {"", "L", "R"} or columns_run_to[:1] not in {"", "F"}:
        return None
    return Side.LEFT if rows_run_to.startswith("R") else Side.RIGHT


def pixel_aspect(dataset: Dataset) -> float:
    """Height of a pixel over its width: 1 for a square one, and where nothing usable is stated.

    That is the first of Pixel Spacing (0028,0030), Imager Pixel Spacing (0018,1164), Nominal Scanned Pixel Spacing
    (0018,2010) and Pixel Aspect Ratio (0028,0034) that holds two positive numbers (PS3.3 10.7, C.7.6.3.1.7).
    """
    for keyword in _SPACINGS:
        value = read_value(dataset, keyword)
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:  # noqa: PLR2004 - row, column
            continue
        height, width = (first_number(part) for part in value)
        if height and width and height > 0 and width > 0 and 1 / _OBLONG <= height / width <= _OBLONG:
            return 1.0 if abs(height / width - 1) < _SQUARE else height / width
    return 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SquareGeometry:
    """How an image of rows x columns pixels lies in a network's square of size_px: centered, its shape kept."""

    rows: int
    columns: int
    size_px: int

    @property
    def side(self) -> int:
        """Side of the padded square, in source pixels."""
        return max(self.rows, self.columns)

    @property
    def origin(self) -> tuple[int, int]:
        """(x, y) of the image's upper left corner in the padded square, in source pixels."""
        return ((self.side - self.columns) // 2, (self.side - self.rows) // 2)

    def to_model(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """The edges of a box in source pixels as edges in model pixels."""
        (left, top), scale = self.origin, self.size_px / self.side
        return ((x0 + left) * scale, (y0 + top) * scale, (x1 + left) * scale, (y1 + top) * scale)

    def to_source(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """The edges of a box in model pixels as edges in source pixels, clipped to the image."""
        (left, top), scale = self.origin, self.side / self.size_px
        x0, x1 = (min(max(x * scale - left, 0.0), self.columns) for x in (x0, x1))
        y0, y1 = (min(max(y * scale - top, 0.0), self.rows) for y in (y0, y1))
        return (x0, y0, x1, y1)

    def region(self, x0: float, y0: float, x1: float, y1: float) -> Region | None:
        """The smallest box of whole source pixels around a box in model pixels; None for one in the padding."""
        left, top, right, bottom = self.to_source(x0, y0, x1, y1)
        if right <= left or bottom <= top:
            return None
        x, y = math.floor(left), math.floor(top)
        return Region(x=x, y=y, width=math.ceil(right) - x, height=math.ceil(bottom) - y)


def fit_square(pixels: npt.NDArray[np.float32], size_px: int) -> tuple[npt.NDArray[np.float32], SquareGeometry]:
    """Center an image (rows, columns) on a black square and resize it to (size_px, size_px), both float32 in 0..1.

    Shrinking averages over the area of a model pixel, first by a whole factor and then by a windowed filter, so that
    fine structure does not alias; enlarging is bilinear.
    """
    return next(fit_squares(pixels, [size_px]))


def fit_squares(
    pixels: npt.NDArray[np.float32], sizes_px: Iterable[int]
) -> Iterator[tuple[npt.NDArray[np.float32], SquareGeometry]]:
    """The same for several sizes."""
    image = Image.fromarray(pixels)  # a copy, which costs as much as a size does
    for size_px in sizes_px:
        geometry = SquareGeometry(rows=pixels.shape[0], columns=pixels.shape[1], size_px=size_px)
        factor = max(1, geometry.side // (2 * size_px))
        side, left, top = (length / factor for length in (geometry.side, *geometry.origin))
        # The canvas is in whole reduced pixels, the square need not be: (x, y) says where exactly it begins.
        corner = (math.ceil(left), math.ceil(top))
        x, y = corner[0] - left, corner[1] - top
        canvas = Image.new("F", (math.ceil(x + side), math.ceil(y + side)))
        canvas.paste(image.reduce(factor), corner)
        resampling = Image.Resampling.HAMMING if geometry.side > size_px else Image.Resampling.BILINEAR
        square = canvas.resize((size_px, size_px), resampling, box=(x, y, x + side, y + side))
        yield np.asarray(square, dtype=np.float32), geometry
