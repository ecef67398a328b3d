"""A film as MedSigLIP's vision tower takes it: padded to a square, resized, three equal channels from -1 to 1.

The checkpoint's own processor resizes three channels that are all the same; here one is resized and then repeated, and
the 256 greys are scaled by a table. The numbers are the processor's, in less than half its time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from imaging.display import to_display
from imaging.geometry import SquareGeometry
from imaging.radiograph import Radiograph
from models.medsiglip.prompts import Resize

RESCALE: Final = 0.00392156862  # as preprocessor_config.json has it, a little less than 1/255
MEAN: Final = 0.5
STD: Final = 0.5
_GREYS: Final = ((np.arange(256, dtype=np.float32) * np.float32(RESCALE) - np.float32(MEAN)) / np.float32(STD)).astype(
    np.float32
)


def to_input(
    radiograph: Radiograph, size_px: int, resize: Resize, *, threads: int = 1
) -> tuple[npt.NDArray[np.float32], SquareGeometry]:
    """The tower's input, float32, shape (1, 3, size_px, size_px), -1..1, and where the film lies in it.

    Args:
        radiograph: the film; it is centered on a black square of its longer side.
        size_px: side of the model's square.
        resize: "bicubic", antialiased, or "bilinear", from the four nearest pixels alone; both round to 8 bits, the
            second one down.
        threads: of the processor; the numbers do not depend on them.
    """
    display = to_display(radiograph)
    geometry = SquareGeometry(rows=display.shape[0], columns=display.shape[1], size_px=size_px)
    left, top = geometry.origin
    square = np.zeros((geometry.side, geometry.side), np.uint8)
    square[top : top + geometry.rows, left : left + geometry.columns] = display
    small = _bicubic(square, size_px, threads) if resize == "bicubic" else _bilinear(square, size_px)
    return np.broadcast_to(_GREYS[small], (1, 3, size_px, size_px)), geometry


def _bicubic(square: npt.NDArray[np.uint8], size_px: int, threads: int) -> npt.NDArray[np.uint8]:
    """As Pillow resizes, which makes whole greys of all rows first, and then of the columns.

    The rows are most of the work and need nothing of one another, and Pillow lets other threads run meanwhile.
    """
    if threads > 1:
        with ThreadPoolExecutor(threads) as workers:
            square = np.concatenate(
                list(workers.map(lambda rows: _resized(rows, size_px, len(rows)), np.array_split(square, threads)))
            )
    return _resized(square, size_px, size_px)


def _resized(pixels: npt.NDArray[np.uint8], columns: int, rows: int) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BICUBIC))


def _bilinear(square: npt.NDArray[np.uint8], size_px: int) -> npt.NDArray[np.uint8]:
    """As tf.image.resize(method="bilinear", antialias=False), cut to whole greys: samples at the cells' centers."""
    side = len(square)
    centers = np.clip((np.arange(size_px, dtype=np.float32) + 0.5) * np.float32(side / size_px) - 0.5, 0, side - 1)
    low = centers.astype(np.intp)
    high = np.minimum(low + 1, side - 1)
    share = (centers - low).astype(np.float32)
    rows = square[low] * (1 - share)[:, None] + square[high] * share[:, None]
    return np.asarray(rows[:, low] * (1 - share) + rows[:, high] * share, dtype=np.float32).astype(np.uint8)
