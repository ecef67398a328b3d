"""Color pixels to grey: a film that was kept as RGB, YBR or with a palette is read as its luminance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from imaging.codestream import Color
from imaging.elements import PYDICOM_ERRORS
from worklist.errors import UnusableImage

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as PS3.3 C.7.6.3.1.2
_BLACK, _WHITE = 16, 235  # of luma in YBR_PARTIAL_422, for 8 bits (PS3.3 C.7.6.3.1.2)
_SAMPLED = 4096
_NO_COLOR = 2  # levels of 256 by which chroma of a grey film strays from the middle

_GREY_SHARE = 0.9  # of the pixels of a grey film whose samples are equal, whatever is drawn on it in color
_COLORS = ("Red", "Green", "Blue")

Samples = npt.NDArray[Any]


def grey_of(samples: Samples, color: Color, *, is_partial: bool) -> Samples:
    """Luminance of (rows, columns, 3), in the type of the samples.

    Args:
        samples: unsigned.
        color: what they are said to be; RGB whose second and third sample are the constant chroma of a grey film is
            YBR, whatever its header says.
        is_partial: whether luma runs from 16 to 235.
    """
    if color is Color.RGB and not _is_chroma(samples):
        weighted: Samples = np.rint(samples @ _LUMINANCE).astype(samples.dtype)
        return weighted
    luma: Samples = samples[..., 0]
    if not is_partial:
        return luma
    unit = (np.iinfo(samples.dtype).max + 1) // 256
    stretched = (luma.astype(np.float32) - _BLACK * unit) * (np.iinfo(samples.dtype).max / ((_WHITE - _BLACK) * unit))
    full: Samples = np.rint(np.clip(stretched, 0, np.iinfo(samples.dtype).max)).astype(samples.dtype)
    return full


def luma_of_subsampled(words: Samples, rows: int, columns: int) -> Samples:
    """(rows, columns, 3) of uncompressed YBR 4:2:2, Y Y Cb Cr for each two pixels (PS3.3 C.7.6.3.1.2)."""
    pairs = words[: rows * columns * 2 // 4 * 4].reshape(-1, 4)
    values = np.empty((rows * columns, 3), words.dtype.newbyteorder("="))
    values[..., 0] = pairs[:, :2].ravel()
    values[..., 1:] = np.repeat(pairs[:, 2:], 2, axis=0)
    return values.reshape(rows, columns, 3)


def interleave(values: Samples, rows: int, columns: int, *, are_planes_stated: bool) -> Samples:
    """Uncompressed color as (rows, columns, 3); of a grey film the values tell whether it lies in planes.

    Read the right way the three samples of its pixels are equal, read the wrong way they are not.
    """
    step = max(1, rows * columns // _SAMPLED) | 1
    as_planes, as_pixels = values.reshape(3, -1)[:, ::step].T, values.reshape(-1, 3)[::step]
    planes, pixels = (float(np.mean((one == one[:, :1]).all(axis=1))) for one in (as_planes, as_pixels))
    stated, other = (planes, pixels) if are_planes_stated else (pixels, planes)
    are_planes = are_planes_stated != (other >= _GREY_SHARE > stated)
    if are_planes:
        return np.moveaxis(values.reshape(3, rows, columns), 0, 2)
    return values.reshape(rows, columns, 3)


def palette(dataset: Dataset, values: npt.NDArray[np.int64], byte_order: str) -> npt.NDArray[np.float64]:
    """Luminance 0..1 of stored values of a PALETTE COLOR image (PS3.3 C.7.6.3.1.5), of a segmented palette too.

    Raises:
        UnusableImage: invalid_palette, there is none, or it cannot be read.
    """
    try:
        entries, first = (int(number) for number in dataset.RedPaletteColorLookupTableDescriptor[:2])
        entries = entries % 2**16 or 2**16
        places = np.clip(values - first, 0, entries - 1)
        if "RedPaletteColorLookupTableData" in dataset:
            colors = np.stack([_entries(dataset, name, entries, byte_order)[places] for name in _COLORS], axis=-1)
        else:
            colors = apply_color_lut(places + first, dataset)[:, :3]
        bits = max(8, int(colors.max()).bit_length())
        return np.asarray(np.clip(colors @ _LUMINANCE.astype(np.float64) / (2**bits - 1), 0, 1))
    except PYDICOM_ERRORS as error:
        raise UnusableImage(
            "invalid_palette", "The image's color palette is missing or cannot be read: the greys are unknown."
        ) from error


def _entries(dataset: Dataset, name: str, count: int, byte_order: str) -> Samples:
    data = dataset[f"{name}PaletteColorLookupTableData"].value
    if isinstance(data, bytes):
        data = np.frombuffer(data, "u1" if len(data) < 2 * count else f"{byte_order}u2")
    table = np.atleast_1d(np.asarray(data, dtype=np.int64))[:count]
    if table.size < count:
        raise ValueError(f"{table.size} of {count} entries")
    return table


def _is_chroma(samples: Samples) -> bool:
    step = max(1, samples.shape[0] * samples.shape[1] // _SAMPLED) | 1
    some = samples.reshape(-1, 3)[::step].astype(np.int32)
    level = (np.iinfo(samples.dtype).max + 1) // 256
    is_flat = bool((np.abs(some[:, 1:] - 128 * level) <= _NO_COLOR * level).all())
    return is_flat and int(np.ptp(some[:, 0])) > 2 * _NO_COLOR * level
