"""A film as the language model sees it, and its boxes back on the stored image.

google's model card and notebooks for MedGemma have the image centered on a black square; boxes come as [y0, x0, y1, x1]
from 0 to 1000 of that square. The model sees every film hanging as usual, the patient's right at the left edge, so a
mirrored film is turned over first and an inverted one inverted; its boxes are turned back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from imaging.geometry import SquareGeometry, fit_square
from imaging.radiograph import Radiograph
from worklist.finding import MIRRORED_FILM, QualityNote, Region

SIDE_PX: Final = 896  # of the square that MedGemma's encoder takes
_SCALE: Final = 1000  # of its boxes
_INVERTED: Final = "inverted_film"  # a quality note of the gates


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownFilm:
    """A film on its square.

    Attributes:
        picture: RGB, SIDE_PX x SIDE_PX.
        geometry: where the film lies on it.
        is_mirrored: whether it was turned over.
    """

    picture: Image.Image
    geometry: SquareGeometry
    is_mirrored: bool

    def region(self, box: Sequence[int]) -> Region | None:
        """A box of the model on the stored image, in source pixels; None for an empty one and one in the padding.

        Args:
            box: y0, x0, y1, x1 from 0 to 1000 of the square.
        """
        y0, x0, y1, x1 = (value * self.geometry.size_px / _SCALE for value in box)
        if y1 <= y0 or x1 <= x0:
            return None
        found = self.geometry.region(x0, y0, x1, y1)
        if found is None or not self.is_mirrored:
            return found
        return Region(
            x=self.geometry.columns - found.x - found.width, y=found.y, width=found.width, height=found.height
        )


def show_film(radiograph: Radiograph, notes: Sequence[QualityNote] = ()) -> ShownFilm:
    """A film on its square.

    Args:
        radiograph: the film as it is stored.
        notes: what was noticed of it beside its own notes.
    """
    codes = {note.code for note in (*radiograph.quality, *notes)}
    pixels = 1 - radiograph.pixels if _INVERTED in codes else radiograph.pixels
    if MIRRORED_FILM in codes:
        pixels = pixels[:, ::-1]
    square, geometry = fit_square(np.ascontiguousarray(pixels, dtype=np.float32), SIDE_PX)
    greys = np.floor(np.clip(square, 0, 1) * 255 + 0.5).astype(np.uint8)
    return ShownFilm(
        picture=Image.fromarray(greys).convert("RGB"), geometry=geometry, is_mirrored=MIRRORED_FILM in codes
    )
