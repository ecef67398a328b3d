"""JPEG 2000 and HTJ2K by each decoder at hand: processor time of a film, and whether every value comes back."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.figures import Figure
from bench.films import COLUMNS, ROWS
from imaging.simulated.phantom import simulate_film
from worklist.finding import FindingType

_REPEATS: Final = 5
_BITS: Final = 12

Decoder = Callable[[bytes], npt.NDArray[Any]]


def measure_decoders() -> list[Figure]:
    """A film of 2500 x 2048 pixels and 12 bits, without loss, on one thread.

    Processor time and not time on the clock, so that what else the machine does counts little. A decoder that does not
    give every value back, or that does not take the encoding, has no figure.
    """
    film = simulate_film(1, finding=FindingType.PLEURAL_EFFUSION, rows=ROWS, columns=COLUMNS).astype("u2")
    jpeg_2000 = bytes(imagecodecs.jpeg2k_encode(film, level=0, codecformat="j2k", reversible=True, bitspersample=_BITS))
    encoded = {"JPEG 2000": jpeg_2000, "HTJ2K": bytes(imagecodecs.htj2k_encode(film))}
    decoders: dict[str, Decoder] = {
        "OpenJPEG of imagecodecs, as it is used": imagecodecs.jpeg2k_decode,
        "OpenJPH of imagecodecs": imagecodecs.htj2k_decode,
        "OpenJPEG of Pillow": lambda frame: np.asarray(Image.open(io.BytesIO(frame))),
    }
    return [
        Figure(name=f"{encoding} by {name}", value=cpu_ms, unit="ms")
        for encoding, frame in encoded.items()
        for name, decode in decoders.items()
        if (cpu_ms := _cpu_ms(decode, frame, film)) is not None
    ]


def _cpu_ms(decode: Decoder, frame: bytes, film: npt.NDArray[np.uint16]) -> float | None:
    try:
        values = decode(frame)
    except (OSError, RuntimeError, ValueError):  # what the decoders derive from, and Pillow's
        return None
    if values.shape != film.shape or not np.array_equal(values, film):
        return None
    taken = []
    for _ in range(_REPEATS):
        begun = time.process_time()
        decode(frame)
        taken.append(time.process_time() - begun)
    return statistics.median(taken) * 1000
