"""A radiograph as a screen shows it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imaging.radiograph import Radiograph


def to_display(radiograph: Radiograph) -> npt.NDArray[np.uint8]:
    """The film as 8-bit MONOCHROME2 pixels, shape (rows, columns), for crops and thumbnails."""
    grey = radiograph.pixels * np.float32(255)
    grey += np.float32(0.5)
    return grey.astype(np.uint8)
