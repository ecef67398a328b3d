"""Simulated films in every encoding and with headers that tell the truth or lie, each with the greys it must give.

A variant is made from one film of greys 0 to 1: its values, its window, how it is encoded, and what its header says of
that. Whatever the header says, a viewer that believes the pixels shows the same film.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate, get_frame

from imaging.simulated.phantom import simulate_film
from imaging.wrapping import chest_dx, complete_file_meta

ROWS, COLUMNS = 256, 224

Greys = npt.NDArray[np.float64]
Words = npt.NDArray[np.generic]


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A film as somebody could send it.

    Attributes:
        name: what is odd about it.
        build: makes the dataset.
        greys: what it must give, 0..1, (rows, columns).
        is_noted: whether its header is false, so that a note must say so.
        tolerance: of the mean absolute difference of greys.
    """

    name: str
    build: Callable[[], Dataset]
    greys: Callable[[], Greys]
    is_noted: bool = False
    tolerance: float = 0.002


@cache
def film(bits: int = 16) -> Greys:
    """The film, its greys rounded to so many bits, whatever lies at its edges black and white."""
    twelve = simulate_film(3, finding=None, rows=ROWS, columns=COLUMNS).astype(np.float64) / 4095
    rounded: Greys = np.rint(twelve * (2**bits - 1)) / (2**bits - 1)
    return rounded


def values_of(bits: int, *, is_signed: bool = False) -> npt.NDArray[np.int64]:
    """The film's values: 0 to the largest, or from the most negative on."""
    whole: npt.NDArray[np.int64] = np.rint(film(bits) * (2**bits - 1)).astype(np.int64)
    return whole - 2 ** (bits - 1) if is_signed else whole


def dataset_of(words: Words, *, bits: int, is_signed: bool = False, **header: Any) -> Dataset:  # noqa: ANN401 - of any VR
    """A chest film of these words with a window over the whole range of so many bits, and a header put over it."""
    plain = np.ascontiguousarray(words)
    dataset = chest_dx(plain.view(f"u{plain.itemsize}"), bits_stored=min(bits, 8 * plain.itemsize))
    dataset.PixelRepresentation = int(is_signed)
    low = -(2 ** (bits - 1)) if is_signed else 0
    dataset.WindowCenter, dataset.WindowWidth = low + 2 ** (bits - 1) - 0.5, 2**bits - 1
    dataset.VOILUTFunction = "LINEAR_EXACT"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "1.2.3", "1.2.3.4", "1.2.3.4.5"
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    complete_file_meta(dataset)
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return dataset


def encapsulated(dataset: Dataset, syntax: uid.UID, *frames: bytes) -> Dataset:
    """The dataset with encoded pixel data."""
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([bytes(frame) for frame in frames])
    dataset["PixelData"].VR = "OB"
    return dataset


def _run_lengths(words: Words, _bits: int) -> bytes:
    dataset = dataset_of(words, bits=8 * words.itemsize)
    dataset.compress(uid.RLELossless)
    return bytes(get_frame(dataset.PixelData, 0, number_of_frames=1))


def _jpeg_2000(words: Words, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(words, level=0, codecformat="j2k", reversible=True, bitspersample=bits))


ENCODERS: dict[str, tuple[uid.UID, Callable[[Words, int], bytes]]] = {
    "RLE": (uid.RLELossless, _run_lengths),
    "JPEG lossless": (
        uid.JPEGLosslessSV1,
        lambda words, bits: bytes(imagecodecs.jpeg8_encode(words, lossless=True, predictor=1, bitspersample=bits)),
    ),
    "JPEG-LS": (uid.JPEGLSLossless, lambda words, _bits: bytes(imagecodecs.jpegls_encode(words))),
    "JPEG 2000": (uid.JPEG2000Lossless, _jpeg_2000),
    "HTJ2K": (uid.HTJ2KLossless, lambda words, _bits: bytes(imagecodecs.htj2k_encode(words))),
}
_WHOLE_WORDS = {"JPEG-LS", "HTJ2K"}  # of which the encoders state 8 or 16 bits, whatever the values have
NATIVE = {
    "explicit": uid.ExplicitVRLittleEndian,
    "implicit": uid.ImplicitVRLittleEndian,
    "big endian": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
}


def encoded(dataset: Dataset, encoding: str, words: Words, precision: int) -> Dataset:
    """The dataset with these words in an encoding of NATIVE or ENCODERS; a codestream states the precision."""
    if encoding in NATIVE:
        dataset.file_meta.TransferSyntaxUID = NATIVE[encoding]
        if encoding == "big endian" and words.itemsize == 2:
            dataset.PixelData = words.astype(words.dtype.newbyteorder(">")).tobytes()
        return dataset
    syntax, encode = ENCODERS[encoding]
    return encapsulated(dataset, syntax, encode(words.view(f"u{words.itemsize}"), precision))


def corpus() -> Iterator[Variant]:
    """Every variant."""
    yield from _true_and_false_bits()
    yield from _signs_of_codestreams()
    yield from _precisions()
    yield from _windows()
    yield from _luts()


def _true_and_false_bits() -> Iterator[Variant]:
    encodings = [*NATIVE, *ENCODERS]
    for encoding, bits, is_signed in itertools.product(encodings, (8, 10, 12, 14, 16), (False, True)):
        kind = "u1" if bits == 8 else "u2"
        container = 8 if bits == 8 else 16
        headers: dict[str, tuple[dict[str, Any], bool]] = {
            "true": ({}, False),
            "sign lies": ({"PixelRepresentation": int(not is_signed)}, True),
        }
        if bits < container:
            headers["High Bit lies"] = ({"HighBit": 15}, True)
            headers["all bits stored"] = ({"BitsStored": 16, "HighBit": 15}, False)
            headers["High Bit below"] = ({"HighBit": bits - 2}, True)
        for lie, (header, is_noted) in headers.items():
            if is_signed and lie == "all bits stored":
                continue  # then the sign must reach bit 15, which is another film

            def build(
                encoding: str = encoding,
                bits: int = bits,
                is_signed: bool = is_signed,  # noqa: FBT001
                kind: str = kind,
                header: dict[str, Any] = header,
            ) -> Dataset:
                words = (values_of(bits, is_signed=is_signed) & (2**bits - 1)).astype(kind)
                return encoded(dataset_of(words, bits=bits, is_signed=is_signed, **header), encoding, words, bits)

            yield Variant(
                name=f"{encoding}, {bits} bits, {'signed' if is_signed else 'unsigned'}, {lie}",
                build=build,
                greys=partial(film, bits),
                is_noted=is_noted,
            )


def _signs_of_codestreams() -> Iterator[Variant]:
    for bits, stored, stated, center in itertools.product((8, 12, 16), (0, 4), (0, 1), (True, False)):
        if bits + stored > 16:
            continue

        def build(bits: int = bits, stored: int = stored, stated: int = stated, center: bool = center) -> Dataset:  # noqa: FBT001
            values = values_of(bits, is_signed=True).astype("i1" if bits == 8 else "i2")
            header: dict[str, Any] = {
                "PixelRepresentation": stated,
                "BitsStored": bits + stored,
                "HighBit": bits + stored - 1,
            }
            if bits + stored > 8:
                header["BitsAllocated"] = 16
            dataset = dataset_of(values, bits=bits, is_signed=center, **header)
            return encapsulated(dataset, uid.JPEG2000Lossless, _jpeg_2000(values, bits))

        if not center and (stored or stated):
            continue  # a window for other values than there are is no lie about the pixels
        yield Variant(
            name=f"signed JPEG 2000 of {bits} bits under {bits + stored}, Pixel Representation {stated}, "
            f"window {'around 0' if center else 'from 0 on'}",
            build=build,
            greys=partial(film, bits),
            is_noted=stated == 0,
        )


def _precisions() -> Iterator[Variant]:
    """More or fewer bits in the codestream, or in the words, than the header says, the window in the header's."""
    pairs = [(16, 12), (14, 12), (12, 10), (16, 10), (12, 14), (8, 12), (8, 16), (12, 16), (10, 16), (10, 12), (14, 16)]
    for encoding, (has, says) in itertools.product([*NATIVE, *ENCODERS], pairs):
        if has < says and (encoding in {*NATIVE, "RLE"} or (encoding in _WHOLE_WORDS and has != 8)):
            continue  # nothing tells that so few bits were meant to fill the window

        def build(encoding: str = encoding, has: int = has, says: int = says) -> Dataset:
            words = values_of(has).astype("u1" if has == 8 else "u2")
            dataset = dataset_of(words, bits=says, BitsStored=says, HighBit=says - 1, BitsAllocated=16)
            return encoded(dataset, encoding, words, has)

        yield Variant(
            name=f"{encoding}, {has} bits under a header and a window of {says}",
            build=build,
            greys=partial(film, has),
            is_noted=True,
            tolerance=0.003,
        )
    for encoding, has in itertools.product([*NATIVE, *ENCODERS], (8, 10, 12, 14)):

        def plain(encoding: str = encoding, has: int = has) -> Dataset:
            words = values_of(has).astype("u1" if has == 8 and encoding in ENCODERS else "u2")
            header: dict[str, Any] = {"BitsStored": 16, "HighBit": 15, "BitsAllocated": 16}
            if encoding == "RLE":
                words = words.astype("u2")
            return encoded(dataset_of(words, bits=has, **header), encoding, words, has)

        yield Variant(
            name=f"{encoding}, {has} bits and their window under a header of 16",
            build=plain,
            greys=partial(film, has),
        )


def _windows() -> Iterator[Variant]:
    def of(name: str, greys: Callable[[], Greys] = lambda: film(12), **header: Any) -> Variant:  # noqa: ANN401 - of any VR
        return Variant(
            name=f"window: {name}",
            build=lambda: dataset_of(values_of(12).astype("u2"), bits=12, **header),
            greys=greys,
        )

    full = 4095 / 2
    yield of("the first of two", WindowCenter=[full, 100], WindowWidth=[4095, 50])
    yield of("slope and intercept", RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=4095 - 1000, WindowWidth=8190)
    yield of("negative slope", lambda: 1 - film(12), RescaleSlope=-1, RescaleIntercept=4095)
    yield of("MONOCHROME1", lambda: 1 - film(12), PhotometricInterpretation="MONOCHROME1")
    yield of("INVERSE", lambda: 1 - film(12), PresentationLUTShape="INVERSE")
    yield of("both", lambda: 1 - film(12), PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    yield of("LINEAR", VOILUTFunction="LINEAR", WindowCenter=2048, WindowWidth=4096)
    yield of("no function", VOILUTFunction="", WindowCenter=2048, WindowWidth=4096)
    yield of("sigmoid", lambda: 0.5 + 0.5 * np.tanh(2 * (film(12) - 0.5)), VOILUTFunction="SIGMOID")


def lut(entries: int, bits: int, top: int, *, packed: bool = False) -> Dataset:
    """A VOI LUT that rises evenly to its top, with the descriptor's bits stated."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries % 65536, 0, bits])
    table = np.rint(np.linspace(0, top, entries))
    item.add_new("LUTData", "OW", table.astype("u1" if packed else "<u2").tobytes())
    return item


def _luts() -> Iterator[Variant]:
    for stated, used, packed in itertools.product((8, 10, 12, 14, 15, 16), (8, 10, 12, 14, 15, 16), (False, True)):
        if packed and used != 8:
            continue

        def build(stated: int = stated, used: int = used, packed: bool = packed) -> Dataset:  # noqa: FBT001
            dataset = dataset_of(values_of(12).astype("u2"), bits=12)
            dataset.VOILUTSequence = [lut(4096, stated, 2**used - 1, packed=packed)]
            return dataset

        yield Variant(
            name=f"VOI LUT of {used} bits, {stated} stated{', packed' if packed else ''}",
            build=build,
            greys=lambda: film(12),
            is_noted=stated != used,
            tolerance=0.003,
        )
