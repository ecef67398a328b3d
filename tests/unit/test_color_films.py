"""Films kept in color are read as their samples are, whatever the header calls them."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset, uid

from imaging.radiograph import read_radiograph
from tests.film_corpus import dataset_of, encapsulated, film, values_of

GREY = values_of(8).astype("u1")
RGB = np.repeat(GREY[..., None], 3, axis=2)
YBR = np.stack([GREY, np.full_like(GREY, 128), np.full_like(GREY, 128)], axis=2)


def color(content: bytes, photometric: str, **header: Any) -> Dataset:  # noqa: ANN401 - of any VR
    """A film of three samples."""
    dataset = dataset_of(
        GREY,
        bits=8,
        SamplesPerPixel=3,
        PhotometricInterpretation=photometric,
        PlanarConfiguration=0,
        PixelData=content,
        **header,
    )
    dataset["PixelData"].VR = "OB"
    return dataset


def assert_is_film(dataset: Dataset, tolerance: float = 0.004) -> None:
    """The greys are those of the film."""
    assert float(np.abs(read_radiograph(dataset).pixels - film(8)).mean()) < tolerance


@pytest.mark.parametrize("photometric", ["RGB", "YBR_ICT", "YBR_FULL", "YBR_FULL_422"])
def test_a_jfif_stream_is_ybr(photometric: str) -> None:
    """JFIF defines its samples as YCbCr, so the header's word for them does not count."""
    stream = imagecodecs.jpeg8_encode(RGB, level=97, colorspace="RGB", outcolorspace="YCBCR")
    assert_is_film(encapsulated(color(b"", photometric), uid.JPEGBaseline8Bit, bytes(stream)))


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_an_rgb_stream_of_adobe_is_rgb(photometric: str) -> None:
    """An Adobe marker without a transformation says RGB."""
    stream = imagecodecs.jpeg8_encode(RGB, level=97, colorspace="RGB", outcolorspace="RGB")
    assert_is_film(encapsulated(color(b"", photometric), uid.JPEGBaseline8Bit, bytes(stream)))


@pytest.mark.parametrize("stated", [0, 1])
def test_planes_are_told_by_the_samples_of_a_grey_film(stated: int) -> None:
    """Planar Configuration may say either."""
    planes, pixels = np.moveaxis(RGB, 2, 0).tobytes(), RGB.tobytes()
    for content in (planes, pixels):
        dataset = color(content, "RGB")
        dataset.PlanarConfiguration = stated
        assert_is_film(dataset)


def test_samples_of_constant_chroma_are_no_rgb() -> None:
    """YBR that is called RGB would lose most of its contrast."""
    assert_is_film(color(YBR.tobytes(), "RGB"))


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_PARTIAL_422"])
def test_uncompressed_422_is_read(photometric: str) -> None:
    """Two pixels share their chroma: Y Y Cb Cr."""
    luma = GREY if photometric == "YBR_FULL_422" else np.rint(16 + GREY * (219 / 255)).astype("u1")
    pairs = luma.reshape(-1, 2)
    content = np.concatenate([pairs, np.full_like(pairs, 128)], axis=1).tobytes()
    assert_is_film(color(content, photometric))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_is_read(bits: int) -> None:
    """A stored value is the place of its color in the palette, here the negative of a film."""
    dataset = dataset_of(255 - GREY, bits=8, PhotometricInterpretation="PALETTE COLOR")
    table = np.linspace(2**bits - 1, 0, 256).round().astype(f"<u{bits // 8}").tobytes()
    for name in ("Red", "Green", "Blue"):
        dataset.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, bits])
        dataset.add_new(f"{name}PaletteColorLookupTableData", "OW", table)
    assert_is_film(dataset)
