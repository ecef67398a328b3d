"""From DICOM datasets to films: every encoding, every grey-scale step, every way a file can be bad."""

from __future__ import annotations

import importlib.util
import os
import struct
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmwrite, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from imaging.decoding import MAX_PIXELS, MIN_SIDE_PX
from imaging.display import to_display
from imaging.files import read_image, read_image_file
from imaging.geometry import SquareGeometry, fit_square, patient_side
from imaging.radiograph import read_radiograph
from imaging.windowing import LEAST_SHOWN
from worklist.errors import FirstreadError, InvalidInput, UnusableImage
from worklist.finding import MIRRORED_FILM, TURNED_FILM, Side

Pixels = npt.NDArray[Any]

ROWS, COLUMNS = 70, 91
SHARED = Path(__file__).parents[2] / ".." / "shared" / "data" / "dicom"


def ramp(dtype: str = "u2", *, low: int = 0, high: int = 4095) -> Pixels:
    """A smooth image with a corner mark, so that mirrored or transposed pixels do not pass for right ones."""
    image = np.add.outer(np.linspace(0, 0.6, ROWS), np.linspace(0, 0.4, COLUMNS) ** 2)
    image[3:9, 60:80] = 1.0
    values: Pixels = np.rint(low + image / image.max() * (high - low)).astype(dtype)
    return values


def film_dataset(pixels: Pixels, **attributes: object) -> Dataset:
    """A CR image holding an array, with every other attribute as given."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = uid.ComputedRadiographyImageStorage
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "1.2.1", "1.2.2", "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    dataset.BitsAllocated = dataset.BitsStored = pixels.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def encapsulated(pixels: Pixels, syntax: uid.UID, *frames: bytes | bytearray, **attributes: object) -> Dataset:
    """The same image in an encapsulated transfer syntax."""
    dataset = film_dataset(pixels, **attributes)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([bytes(frame) for frame in frames])
    dataset["PixelData"].VR = "OB"
    return dataset


def rle_frame(pixels: Pixels) -> bytes:
    """An RLE frame, encoded by pydicom."""
    dataset = film_dataset(pixels)
    dataset.compress(uid.RLELossless)
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def code_of(dataset: Dataset) -> str:
    """The code with which an image is refused, its message being one line."""
    with pytest.raises(UnusableImage) as refused:
        read_radiograph(dataset)
    assert refused.value.message
    assert "\n" not in refused.value.message
    return refused.value.code


WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}

LOSSLESS: dict[uid.UID, Callable[[Pixels], bytes | bytearray]] = {
    uid.JPEGLosslessSV1: lambda pixels: imagecodecs.ljpeg_encode(pixels, bitspersample=16),
    uid.JPEGLossless: lambda pixels: imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=4, bitspersample=16),
    uid.JPEGLSLossless: imagecodecs.jpegls_encode,
    uid.JPEG2000Lossless: lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True),
    uid.HTJ2KLossless: imagecodecs.htj2k_encode,
    uid.RLELossless: rle_frame,
}


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_lossless_encodings_give_the_very_same_film(syntax: uid.UID) -> None:
    """Each lossless transfer syntax decodes to the pixels of the uncompressed film, bit for bit."""
    pixels = ramp()
    film = read_radiograph(encapsulated(pixels, syntax, LOSSLESS[syntax](pixels), **WINDOW))
    np.testing.assert_array_equal(film.pixels, read_radiograph(film_dataset(pixels, **WINDOW)).pixels)


@pytest.mark.parametrize(
    ("syntax", "frame", "high", "tolerance"),
    [
        (uid.JPEGBaseline8Bit, lambda p: imagecodecs.jpeg8_encode(p.astype("u1"), level=95), 255, 0.08),
        (uid.JPEGExtended12Bit, lambda p: imagecodecs.jpeg8_encode(p, level=95, bitspersample=12), 4095, 0.08),
        (uid.JPEGLSNearLossless, lambda p: imagecodecs.jpegls_encode(p, level=2), 4095, 3 / 4095),
        (uid.JPEG2000, lambda p: imagecodecs.jpeg2k_encode(p, level=80, codecformat="jp2"), 4095, 0.02),
        (uid.HTJ2K, lambda p: imagecodecs.htj2k_encode(p.astype("u1"), reversible=False), 255, 0.02),
        (uid.HTJ2KLossless, lambda p: imagecodecs.htj2k_encode(p.astype("u1"), reversible=False), 255, 0.02),
    ],
    ids=["JPEGBaseline8Bit", "JPEGExtended12Bit", "JPEGLSNearLossless", "JPEG2000", "HTJ2K", "HTJ2K said lossless"],
)
def test_lossy_encodings_give_nearly_the_same_film(
    syntax: uid.UID, frame: Callable[[Pixels], bytes | bytearray], high: int, tolerance: float
) -> None:
    """Each lossy transfer syntax decodes to within its loss, JP2 boxes around the codestream included."""
    pixels = ramp("u1" if high == 255 else "u2", high=high)
    window = {"WindowCenter": high / 2, "WindowWidth": high, "VOILUTFunction": "LINEAR_EXACT"}
    film = read_radiograph(encapsulated(pixels, syntax, frame(pixels), **window))
    np.testing.assert_allclose(film.pixels, pixels / high, atol=tolerance)


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
    ],
    ids=lambda syntax: syntax.keyword,
)
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
def test_uncompressed_files_are_read_in_every_byte_order(syntax: uid.UID, dtype: str) -> None:
    """A film written to a file in any native transfer syntax reads back as the film that went in."""
    pixels = ramp(dtype, high=250, low=-100 if dtype == "i2" else 0)
    dataset = film_dataset(pixels, WindowCenter=120, WindowWidth=260)
    expected = read_radiograph(dataset).pixels
    dataset.file_meta.TransferSyntaxUID = syntax
    if not syntax.is_little_endian:
        dataset.PixelData = np.frombuffer(pixels.tobytes(), "<u2").astype(">u2").tobytes()
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    np.testing.assert_array_equal(read_radiograph(read_image(stream, "the upload")).pixels, expected)


def test_a_file_without_meta_information_is_read(tmp_path: Path) -> None:
    """A dataset as stored before Part 10, without preamble and meta information, is read as Implicit VR."""
    dataset = film_dataset(ramp(), **WINDOW)
    expected = read_radiograph(dataset).pixels
    del dataset.file_meta
    file = tmp_path / "old.dcm"
    dcmwrite(file, dataset, implicit_vr=True, little_endian=True)
    assert file.read_bytes()[:2] == b"\x08\x00"
    np.testing.assert_array_equal(read_radiograph(read_image_file(file)).pixels, expected)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty", b""),
        ("text", b"not a film"),
        ("picture", b"\x89PNG\r\n\x1a\n" + bytes(200)),
        ("preamble alone", bytes(128) + b"DICM"),
        ("noise after the preamble", bytes(128) + b"DICM" + bytes(range(256)) * 4),
        ("noise after the group", b"\x08\x00" + bytes(range(255, 0, -1)) * 4),
    ],
)
def test_other_files_are_no_images(name: str, content: bytes) -> None:
    """Whatever is no DICOM object and no picture is refused as such."""
    with pytest.raises(InvalidInput) as refused:
        read_image(BytesIO(content), name)
    assert refused.value.code in {"not_an_image", "unreadable_dicom", "unreadable_picture"}, name


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path that cannot be read gives its name and the system's reason."""
    with pytest.raises(InvalidInput, match=r"gone\.dcm cannot be read: No such file") as refused:
        read_image_file(tmp_path / "gone.dcm")
    assert refused.value.code == "unreadable_file"


def test_a_named_pipe_is_refused(tmp_path: Path) -> None:
    """Nobody may ever write into it, so it is not even opened."""
    pipe = tmp_path / "pipe.dcm"
    os.mkfifo(pipe)
    with pytest.raises(InvalidInput, match=r"pipe\.dcm is no regular file") as refused:
        read_image_file(pipe)
    assert refused.value.code == "unreadable_file"


def test_a_header_is_read_without_pixels(tmp_path: Path) -> None:
    """A header has every attribute up to the pixel data, and not those."""
    file = tmp_path / "film.dcm"
    film_dataset(ramp()).save_as(file, enforce_file_format=True)
    header = read_image_file(file, header_only=True)
    assert header.Rows == ROWS
    assert "PixelData" not in header


@pytest.mark.parametrize("syntax", [None, uid.JPEGLSLossless, uid.JPEG2000Lossless])
def test_signed_pixels_keep_their_sign(syntax: uid.UID | None) -> None:
    """Signed values are windowed as signed, also where the codestream knows no sign."""
    pixels = ramp("i2", low=-3000, high=3000)
    coded = pixels.view("u2") if syntax == uid.JPEGLSLossless else pixels
    window = {"WindowCenter": 0, "WindowWidth": 6000, "VOILUTFunction": "LINEAR_EXACT"}
    dataset = (
        encapsulated(pixels, syntax, LOSSLESS[syntax](coded), **window) if syntax else film_dataset(pixels, **window)
    )
    np.testing.assert_allclose(read_radiograph(dataset).pixels, (pixels + 3000) / 6000, atol=1e-6)


def test_overlay_bits_above_the_stored_bits_are_masked() -> None:
    """With 12 of 16 bits stored, what lies in the upper four, such as an old overlay, does not reach the film."""
    pixels = ramp()
    expected = read_radiograph(film_dataset(pixels, BitsStored=12, HighBit=11, **WINDOW)).pixels
    drawn = pixels.copy()
    drawn[10:20, 10:20] |= 0xA000
    np.testing.assert_array_equal(
        read_radiograph(film_dataset(drawn, BitsStored=12, HighBit=11, **WINDOW)).pixels, expected
    )


def test_bits_stored_high_are_shifted_down() -> None:
    """With a High Bit of 15, twelve stored bits lie in the upper part of the word."""
    pixels = ramp()
    shifted = film_dataset(pixels << 4, BitsStored=12, HighBit=15, **WINDOW)
    np.testing.assert_array_equal(
        read_radiograph(shifted).pixels, read_radiograph(film_dataset(pixels, **WINDOW)).pixels
    )


def test_twelve_signed_bits_are_extended() -> None:
    """The sign of a 12-bit value in 16 bits is bit 11, whatever lies above."""
    pixels = ramp("i2", low=-2048, high=2047)
    window = {"WindowCenter": 0, "WindowWidth": 4096, "VOILUTFunction": "LINEAR_EXACT"}
    masked = film_dataset(pixels & 0x0FFF, BitsStored=12, HighBit=11, **window)
    np.testing.assert_array_equal(
        read_radiograph(masked).pixels, read_radiograph(film_dataset(pixels, **window)).pixels
    )


FAR_SIGMOID = {"WindowCenter": 1033, "WindowWidth": 1, "VOILUTFunction": "SIGMOID"}
"""Ten above the greatest value: pydicom gives greys that differ by 1e-17."""


@st.composite
def windowed_films(draw: st.DrawFn) -> Dataset:
    """Films of any depth and sign, rescaled and windowed at random."""
    bits, signed = draw(st.sampled_from([10, 12, 14, 15, 16])), draw(st.booleans())
    low = -(2 ** (bits - 1)) if signed else 0
    return film_dataset(
        ramp("i2" if signed else "u2", low=low, high=low + 2**bits - 1),
        BitsStored=bits,
        HighBit=bits - 1,
        WindowCenter=f"{draw(st.floats(-40_000, 40_000)):.6f}",
        WindowWidth=f"{draw(st.floats(1, 80_000)):.6f}",
        VOILUTFunction=draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"])),
        RescaleSlope=draw(st.sampled_from([1.0, 0.5, -1.0, 2.25])),
        RescaleIntercept=draw(st.sampled_from([0.0, -1024.0, 12.5])),
    )


@settings(max_examples=150, deadline=None)
@example(dataset=film_dataset(ramp(high=1023), BitsStored=10, HighBit=9, **FAR_SIGMOID))
@given(dataset=windowed_films())
def test_windows_equal_pydicom(dataset: Dataset) -> None:
    """Any window that shows anything gives the greys of pydicom's apply_voi_lut, to 1e-4."""
    film = read_radiograph(dataset)
    stored = dataset.pixel_array
    with np.errstate(over="ignore"):  # pydicom's exponential
        shown = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
    # The ramp holds the least and the greatest stored value, between which pydicom lays its result.
    black, white = apply_modality_lut(np.array([stored.min(), stored.max()]), dataset)
    expected = (shown - black) / (white - black)
    if np.ptp(expected) < LEAST_SHOWN:
        assert "window_ignored" in {note.code for note in film.quality}
    else:
        np.testing.assert_allclose(film.pixels, expected, atol=1e-4)


def test_the_first_of_several_windows_counts() -> None:
    """A multi-valued Window Center and Width is read as its first pair."""
    several = film_dataset(ramp(), WindowCenter=[1000, 3000], WindowWidth=[500, 100])
    first = film_dataset(ramp(), WindowCenter=1000, WindowWidth=500)
    np.testing.assert_array_equal(read_radiograph(several).pixels, read_radiograph(first).pixels)


@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": 2000, "WindowWidth": 0},
        {"WindowCenter": 2000},
        {"WindowCenter": "nan", "WindowWidth": 100},
        {"WindowCenter": 60_000, "WindowWidth": 10},
        {"WindowCenter": 2000, "WindowWidth": "1e-310", "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": "1e308", "WindowWidth": 1},
        {"VOILUTSequence": [Dataset()]},
    ],
    ids=["width 0", "no width", "not a number", "beside every pixel", "no width left", "center far off", "empty LUT"],
)
def test_an_unusable_window_is_replaced_and_said_so(window: dict[str, object]) -> None:
    """A window that shows nothing gives way to the film's own range, with a quality note."""
    film = read_radiograph(film_dataset(ramp(), **window))
    np.testing.assert_array_equal(film.pixels, read_radiograph(film_dataset(ramp())).pixels)
    assert [note.code for note in film.quality] == ["window_ignored", "low_resolution"]


def test_without_a_window_the_range_is_robust() -> None:
    """A few stray values, such as a burnt-in marker, do not squeeze the greys of the film."""
    pixels = ramp(low=1000, high=2000)
    pixels[0, :10] = 65535
    film = read_radiograph(film_dataset(pixels))
    low, high = np.percentile(pixels, (0.5, 99.5))
    assert high < 2100
    np.testing.assert_allclose(film.pixels, np.clip((pixels - low) / (high - low), 0, 1), atol=1e-6)


def lut_item(*descriptor: int, data: object, vr: str = "US") -> Dataset:
    """An item of a Modality or VOI LUT Sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if descriptor[1] < 0 else "US", list(descriptor))
    item.add_new("LUTData", vr, data)
    item.ModalityLUTType = "US"
    return item


@pytest.mark.parametrize("first", [-100, 0, 300])
@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize(("bits", "entries"), [(8, 250), (12, 900), (16, 900)])
def test_voi_luts_equal_pydicom(first: int, vr: str, bits: int, entries: int) -> None:
    """A VOI LUT, whose first value may be negative, gives the greys of pydicom, and wins over a window."""
    table = np.rint((1 - np.linspace(1, 0, entries) ** 2) * (2**bits - 1)).astype("<u2")
    # pydicom wraps values beyond a short table around, so the film stays within each table here.
    dataset = film_dataset(ramp("i2", low=first, high=first + entries - 1), **WINDOW)
    data = table.tobytes() if vr == "OW" else table.tolist()
    dataset.VOILUTSequence = [lut_item(entries, first, bits, data=data, vr=vr)]
    expected = apply_voi_lut(dataset.pixel_array, dataset) / (2**bits - 1)
    np.testing.assert_allclose(read_radiograph(dataset).pixels, expected, atol=1e-6)


def test_values_beyond_a_voi_lut_take_its_ends() -> None:
    """Values below the first and above the last entry of a LUT take those entries (PS3.3 C.11.2.1.1)."""
    pixels = ramp("i2", low=-500, high=3000)
    dataset = film_dataset(pixels)
    dataset.VOILUTSequence = [lut_item(256, 100, 8, data=bytes(range(256)), vr="OW")]
    np.testing.assert_allclose(read_radiograph(dataset).pixels, np.clip(pixels - 100, 0, 255) / 255, atol=1e-6)


def test_a_broken_voi_lut_gives_way_to_the_window() -> None:
    """A VOI LUT shorter than its descriptor says is passed over for the window beside it."""
    dataset = film_dataset(ramp(), VOILUTSequence=[lut_item(900, 0, 16, data=[1, 2])], **WINDOW)
    np.testing.assert_array_equal(
        read_radiograph(dataset).pixels, read_radiograph(film_dataset(ramp(), **WINDOW)).pixels
    )


def test_a_modality_lut_equals_pydicom() -> None:
    """A Modality LUT comes before the window and replaces slope and intercept."""
    table = (np.linspace(0, 1, 4096) ** 3 * 60_000).astype("u2").tolist()
    dataset = film_dataset(ramp(), WindowCenter=30_000, WindowWidth=50_000, RescaleSlope=7, RescaleIntercept=9)
    dataset.ModalityLUTSequence = [lut_item(4096, 0, 16, data=table)]
    values = apply_modality_lut(dataset.pixel_array, dataset).astype(np.float64)
    expected = np.clip((values - 29_999.5) / 49_999 + 0.5, 0, 1)
    np.testing.assert_allclose(read_radiograph(dataset).pixels, expected, atol=1e-6)


def test_a_lut_of_65536_entries_is_written_as_zero_entries() -> None:
    """An entry count of 0 in the LUT Descriptor means 65,536 (PS3.3 C.11.2.1.1)."""
    identity = np.arange(65536, dtype="<u2").tobytes()
    dataset = film_dataset(ramp(high=65535))
    dataset.VOILUTSequence = [lut_item(0, 0, 16, data=identity, vr="OW")]
    np.testing.assert_allclose(read_radiograph(dataset).pixels, ramp(high=65535) / 65535, atol=1e-6)


@pytest.mark.parametrize(
    "attributes",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    ],
    ids=["MONOCHROME1", "INVERSE", "both, as PS3.3 C.8.11.3 demands"],
)
def test_inverted_films_are_turned_over_once(attributes: dict[str, object]) -> None:
    """MONOCHROME1, an INVERSE presentation, or both show the inverse of MONOCHROME2."""
    plain = read_radiograph(film_dataset(ramp(), **WINDOW)).pixels
    np.testing.assert_allclose(
        read_radiograph(film_dataset(ramp(), **WINDOW, **attributes)).pixels, 1 - plain, atol=1e-6
    )


@pytest.mark.parametrize("photometric_interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_count(photometric_interpretation: str) -> None:
    """Padding pixels are black in either polarity and leave the range of the film alone."""
    pixels = ramp(low=1000, high=2000)
    bordered = pixels.copy()
    bordered[:20] = 0
    bordered[20:30] = 7
    film = read_radiograph(
        film_dataset(
            bordered,
            PhotometricInterpretation=photometric_interpretation,
            PixelPaddingValue=0,
            PixelPaddingRangeLimit=7,
        )
    )
    assert not film.pixels[:30].any()
    low, high = np.percentile(pixels[30:], (0.5, 99.5))
    expected = np.clip((pixels[30:] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(
        film.pixels[30:], 1 - expected if photometric_interpretation == "MONOCHROME1" else expected, atol=1e-6
    )


def test_negative_padding_under_the_wrong_vr_is_understood() -> None:
    """A signed Pixel Padding Value that was stored as an unsigned number means the negative one."""
    pixels = ramp("i2", low=0, high=2000)
    pixels[:20] = -2000
    dataset = film_dataset(pixels, PhotometricInterpretation="MONOCHROME1")
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    assert not read_radiograph(dataset).pixels[:20].any()


def color(dtype: str = "u1") -> Pixels:
    """A color image, its planes unlike each other."""
    grey = ramp(high=np.iinfo(dtype).max).astype(np.float64)
    values: Pixels = np.rint(np.stack([grey, grey * 0.5, grey.max() - grey], axis=-1)).astype(dtype)
    return values


def luminance(pixels: Pixels) -> Pixels:
    """ITU-R BT.601 luminance, 0..1."""
    weighted: Pixels = pixels.astype(np.float64) @ [0.299, 0.587, 0.114] / np.iinfo(pixels.dtype).max
    return weighted


@pytest.mark.parametrize(
    "dataset",
    [
        film_dataset(color()),
        film_dataset(color("u2")),
        film_dataset(color(), PlanarConfiguration=1, PixelData=np.moveaxis(color(), 2, 0).tobytes()),
        encapsulated(color(), uid.RLELossless, rle_frame(color())),
        encapsulated(color("u2"), uid.RLELossless, rle_frame(color("u2"))),
        encapsulated(color(), uid.JPEGLSLossless, imagecodecs.jpegls_encode(color())),
        encapsulated(
            color(),
            uid.JPEG2000Lossless,
            imagecodecs.jpeg2k_encode(color(), level=0, codecformat="j2k", reversible=True),
            PhotometricInterpretation="YBR_RCT",
        ),
    ],
    ids=["native", "16 bits", "planar", "RLE", "RLE 16 bits", "JPEG-LS", "JPEG 2000"],
)
def test_color_becomes_luminance(dataset: Dataset) -> None:
    """A film kept as a color Secondary Capture is read as its luminance."""
    expected = luminance(color("u2" if dataset.BitsAllocated == 16 else "u1"))
    np.testing.assert_allclose(read_radiograph(dataset).pixels, expected, atol=0.6 / 255)


@pytest.mark.parametrize("photometric_interpretation", ["RGB", "YBR_FULL_422"])
def test_color_jpeg_is_read_as_its_header_says(photometric_interpretation: str) -> None:
    """A color JPEG without a marker of its own is RGB or YBR as Photometric Interpretation says."""
    space = "RGB" if photometric_interpretation == "RGB" else "YCBCR"
    frame = imagecodecs.jpeg8_encode(color(), level=98, outcolorspace=space, colorspace="RGB")
    film = read_radiograph(
        encapsulated(color(), uid.JPEGBaseline8Bit, frame, PhotometricInterpretation=photometric_interpretation)
    )
    assert np.abs(film.pixels - luminance(color())).mean() < 0.01


def test_ybr_full_is_read_as_its_first_sample() -> None:
    """The luminance of an uncompressed YBR_FULL image is its Y."""
    pixels = color()
    film = read_radiograph(film_dataset(pixels, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_allclose(film.pixels, pixels[..., 0] / 255, atol=1e-6)


@pytest.mark.parametrize("encoding", ["native", "JPEG-LS"])
def test_the_first_frame_is_taken(encoding: str) -> None:
    """Of a multi-frame image the first frame is read."""
    first, second = ramp(), ramp()[::-1]
    if encoding == "JPEG-LS":
        frames = [imagecodecs.jpegls_encode(np.ascontiguousarray(frame)) for frame in (first, second)]
        dataset = encapsulated(first, uid.JPEGLSLossless, *frames, NumberOfFrames=2, **WINDOW)
    else:
        dataset = film_dataset(first, NumberOfFrames=2, PixelData=first.tobytes() + second.tobytes(), **WINDOW)
    np.testing.assert_array_equal(
        read_radiograph(dataset).pixels, read_radiograph(film_dataset(first, **WINDOW)).pixels
    )


def without(keyword: str) -> Dataset:
    """A good film but for one missing attribute."""
    dataset = film_dataset(ramp())
    delattr(dataset, keyword)
    return dataset


def with_raw(keyword: str, vr: str, value: object) -> Dataset:
    """A good film but for one attribute under another VR."""
    dataset = film_dataset(ramp())
    del dataset[keyword]
    dataset.add_new(keyword, vr, value)
    return dataset


def with_syntax(syntax: uid.UID) -> Dataset:
    """A good film that claims another encoding."""
    dataset = film_dataset(ramp())
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


BAD: dict[str, tuple[str, Callable[[], Dataset]]] = {
    "no pixel data": ("no_pixel_data", lambda: without("PixelData")),
    "empty pixel data": ("no_pixel_data", lambda: film_dataset(ramp(), PixelData=b"")),
    "pixel data cut off": ("pixel_data_truncated", lambda: film_dataset(ramp(), PixelData=ramp().tobytes()[:-2])),
    "empty frame": ("pixel_data_damaged", lambda: encapsulated(ramp(), uid.JPEGLSLossless, b"\0\0")),
    "frame is noise": ("pixel_data_damaged", lambda: encapsulated(ramp(), uid.JPEGLSLossless, b"\xff\xd8 noise")),
    "not encapsulated": ("pixel_data_truncated", lambda: with_syntax(uid.JPEG2000Lossless)),
    "MPEG": ("unsupported_transfer_syntax", lambda: with_syntax(uid.MPEG2MPML)),
    "unknown encoding": ("unsupported_transfer_syntax", lambda: with_syntax(uid.UID("1.2.3.4.5"))),
    "one row": ("image_too_small", lambda: film_dataset(ramp()[:1])),
    "63 columns": ("image_too_small", lambda: film_dataset(np.ascontiguousarray(ramp()[:, : MIN_SIDE_PX - 1]))),
    "101 megapixels, never sent": ("image_too_large", lambda: film_dataset(ramp(), Rows=10_100, Columns=10_000)),
    "no Rows": ("invalid_pixel_attributes", lambda: without("Rows")),
    "Rows in words": ("invalid_pixel_attributes", lambda: with_raw("Rows", "LO", "seventy")),
    "Rows as a sequence": ("invalid_pixel_attributes", lambda: with_raw("Rows", "SQ", [Dataset()])),
    "32 bits": ("invalid_pixel_attributes", lambda: film_dataset(ramp(), BitsAllocated=32)),
    "12 bits allocated": ("invalid_pixel_attributes", lambda: film_dataset(ramp(), BitsAllocated=12)),
    "more bits stored than allocated": ("invalid_pixel_attributes", lambda: film_dataset(ramp(), BitsStored=17)),
    "no Bits Stored": ("invalid_pixel_attributes", lambda: without("BitsStored")),
    "three grey samples": ("invalid_pixel_attributes", lambda: film_dataset(ramp(), SamplesPerPixel=3)),
    "no polarity": ("unsupported_photometric_interpretation", lambda: without("PhotometricInterpretation")),
    "CMYK": (
        "unsupported_photometric_interpretation",
        lambda: film_dataset(ramp(), PhotometricInterpretation="CMYK"),
    ),
    "no palette": ("invalid_palette", lambda: film_dataset(ramp(), PhotometricInterpretation="PALETTE COLOR")),
    "slope not a number": ("invalid_rescale", lambda: film_dataset(ramp(), RescaleSlope="nan")),
    "slope infinite": ("invalid_rescale", lambda: film_dataset(ramp(), RescaleSlope=float("inf"))),
    "slope zero": ("invalid_rescale", lambda: film_dataset(ramp(), RescaleSlope=0)),
    "intercept infinite": ("invalid_rescale", lambda: film_dataset(ramp(), RescaleIntercept="-inf")),
    "slope without bounds": ("invalid_rescale", lambda: film_dataset(ramp(), RescaleSlope="1e307")),
    "empty Modality LUT": ("invalid_modality_lut", lambda: film_dataset(ramp(), ModalityLUTSequence=[Dataset()])),
    "short Modality LUT": (
        "invalid_modality_lut",
        lambda: film_dataset(ramp(), ModalityLUTSequence=[lut_item(900, 0, 16, data=[1, 2])]),
    ),
    "blank": ("blank_image", lambda: film_dataset(np.full((80, 80), 7, "u2"))),
    "blank but for padding": (
        "blank_image",
        lambda: film_dataset(np.repeat(np.array([[0, 9]], "u2"), 80, axis=0).repeat(40, 1), PixelPaddingValue=0),
    ),
    "padding alone": ("blank_image", lambda: film_dataset(np.zeros((80, 80), "u2"), PixelPaddingValue=0)),
    "no Study Instance UID": ("missing_identifier", lambda: without("StudyInstanceUID")),
    "empty SOP Instance UID": ("missing_identifier", lambda: film_dataset(ramp(), SOPInstanceUID="")),
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")  # from building such a film, not from reading it
@pytest.mark.parametrize("name", BAD)
def test_bad_films_are_refused_with_their_reason(name: str) -> None:
    """Each way to be unusable has its own stable code and a message of one line."""
    code, build = BAD[name]
    assert code_of(build()) == code


def test_an_unsupported_encoding_is_named() -> None:
    """The message names the transfer syntax, so that an engineer can change it at the modality."""
    with pytest.raises(UnusableImage, match=r"MPEG2 .*1\.2\.840\.10008\.1\.2\.4\.100"):
        read_radiograph(with_syntax(uid.MPEG2MPML))


def test_exactly_the_largest_size_is_not_too_large() -> None:
    """The bound on the size is inclusive: such an image fails for its missing pixels alone."""
    assert code_of(film_dataset(ramp(), Rows=10_000, Columns=MAX_PIXELS // 10_000)) == "pixel_data_truncated"


@pytest.mark.parametrize("syntax", [*LOSSLESS, uid.JPEGBaseline8Bit], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_an_encoded_frame_that_is_cut_off_is_refused(syntax: uid.UID, kept: float) -> None:
    """No decoder's guess at the missing rest of a film passes for the film."""
    pixels = ramp("u1", high=255) if syntax == uid.JPEGBaseline8Bit else ramp()
    frame = imagecodecs.jpeg8_encode(pixels) if syntax == uid.JPEGBaseline8Bit else LOSSLESS[syntax](pixels)
    cut = frame[: int(len(frame) * kept)]
    assert code_of(encapsulated(pixels, syntax, cut)) in {"pixel_data_truncated", "pixel_data_damaged"}


@pytest.mark.parametrize("offset", [0, 63, 10_000_000, 2**32 - 1])
def test_an_rle_header_that_points_outside_is_refused(offset: int) -> None:
    """A damaged RLE header, on which the decoder would read foreign memory, never reaches it."""
    frame = bytearray(rle_frame(ramp()))
    struct.pack_into("<I", frame, 8, offset)
    assert code_of(encapsulated(ramp(), uid.RLELossless, bytes(frame))) == "pixel_data_truncated"


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_a_codestream_of_another_size_is_refused(syntax: uid.UID) -> None:
    """A frame that is larger than its header says is refused, and its memory is never taken."""
    frame = LOSSLESS[syntax](np.ascontiguousarray(np.tile(ramp(), (2, 2))))
    expected = "pixel_data_damaged" if syntax == uid.RLELossless else "invalid_pixel_attributes"
    small = np.zeros((MIN_SIDE_PX, MIN_SIDE_PX), "u2")
    assert code_of(encapsulated(small, syntax, frame)) == expected


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEGLosslessSV1, uid.JPEG2000Lossless])
def test_a_codestream_that_claims_gigabytes_never_reaches_a_decoder(syntax: uid.UID) -> None:
    """A small frame that states 60,000 x 60,000 pixels is refused for its size before anything is allocated."""
    claimed, size = (">2I", (COLUMNS, ROWS)) if syntax == uid.JPEG2000Lossless else (">2H", (ROWS, COLUMNS))
    frame = bytes(LOSSLESS[syntax](ramp()))
    assert struct.pack(claimed, *size) in frame
    bomb = frame.replace(struct.pack(claimed, *size), struct.pack(claimed, 60_000, 60_000))
    with pytest.raises(UnusableImage, match="encoded image has 60000 x 60000 pixels"):
        read_radiograph(encapsulated(ramp(), syntax, bomb))


def test_a_codestream_of_many_samples_never_reaches_a_decoder() -> None:
    """A small frame of more samples than its header says is refused before memory is taken for them."""
    frame = imagecodecs.jpeg2k_encode(np.zeros((ROWS, COLUMNS, 40), "u1"), level=0, codecformat="j2k", reversible=True)
    with pytest.raises(UnusableImage, match="has 91 x 70 pixels of 40 samples"):
        read_radiograph(encapsulated(ramp("u1", high=255), uid.JPEG2000Lossless, frame))


def test_runs_beyond_the_frame_are_never_written_out() -> None:
    """An RLE frame takes no more memory than its header says, however long its runs are."""
    segment = b"\x81\x00" * 1_000_000  # 128 MB
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + segment
    dataset = encapsulated(ramp("u1", high=255), uid.RLELossless, frame)
    tracemalloc.start()
    try:
        assert code_of(dataset) == "pixel_data_damaged"
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_fill_bytes_before_a_marker_are_passed_over() -> None:
    """A JPEG whose markers stand behind fill bytes, as the standard allows, is read."""
    frame = imagecodecs.jpeg8_encode(ramp("u1", high=255))
    filled = frame.replace(b"\xff\xc0", b"\xff\xff\xff\xc0", 1)
    plain, found = (read_radiograph(encapsulated(ramp("u1"), uid.JPEGBaseline8Bit, item)) for item in (frame, filled))
    np.testing.assert_array_equal(found.pixels, plain.pixels)


def test_a_codestream_with_more_bits_than_its_header_is_read_whole() -> None:
    """Of sixteen encoded bits under a header of eight all are read, since the decoder obeys the codestream."""
    dataset = encapsulated(ramp("u1", high=255), uid.JPEGLSLossless, imagecodecs.jpegls_encode(ramp(high=65535)))
    found = read_radiograph(dataset)
    expected = read_radiograph(film_dataset(ramp(high=65535)))
    np.testing.assert_allclose(found.pixels, expected.pixels, atol=1e-6)


def small_file(syntax: uid.UID) -> bytes:
    """A complete small film, as the bytes of a file."""
    dataset = encapsulated(ramp(), syntax, LOSSLESS[syntax](ramp()), **WINDOW)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


SMALL_FILES = [small_file(syntax) for syntax in LOSSLESS]


@settings(max_examples=300, deadline=None)
@given(
    content=st.sampled_from(SMALL_FILES),
    damage=st.lists(st.tuples(st.integers(0, 1_000_000), st.integers(0, 255)), max_size=12),
    kept=st.sampled_from([1.0, 1.0, 1.0, 0.9, 0.3]),
)
def test_a_damaged_file_is_read_or_refused(content: bytes, damage: list[tuple[int, int]], kept: float) -> None:
    """However a file is damaged, it gives a film or an error of ours, never a library's error or warning."""
    damaged = bytearray(content)
    for position, value in damage:
        # Half of the damage goes to the header, where each byte means something.
        damaged[position % (len(damaged) if position % 2 else min(len(damaged), 1200))] = value
    try:
        film = read_radiograph(read_image(BytesIO(damaged[: int(len(damaged) * kept)]), "the upload"))
    except FirstreadError as error:
        assert error.code  # noqa: PT017 - either outcome is right
    else:
        assert film.pixels.dtype == np.float32
        assert 0 <= film.pixels.min() <= film.pixels.max() <= 1


def test_a_film_knows_its_image() -> None:
    """A film carries the identifiers and size of its DICOM image, and float32 greys of the full resolution."""
    film = read_radiograph(film_dataset(ramp()))
    assert (film.image.study_instance_uid, film.image.series_instance_uid) == ("1.2.1", "1.2.2")
    assert (film.image.sop_class_uid, film.image.sop_instance_uid) == ("1.2.840.10008.5.1.4.1.1.1", "1.2.3")
    assert (film.image.rows, film.image.columns) == film.pixels.shape == (ROWS, COLUMNS)
    assert film.pixels.dtype == np.float32


def notes(film_pixels: Pixels, **attributes: object) -> set[str]:
    """The codes of the quality notes of a film."""
    return {note.code for note in read_radiograph(film_dataset(film_pixels, **attributes)).quality}


def large(pixels: Pixels) -> Pixels:
    """The same image at a resolution beyond doubt."""
    return np.kron(pixels, np.ones((8, 8), pixels.dtype))


def test_a_good_film_has_no_quality_notes() -> None:
    """A film of sufficient size, contrast and usual orientation carries no remark."""
    assert notes(large(ramp()), PatientOrientation=["L", "F"], **WINDOW) == set()


@pytest.mark.parametrize(
    ("code", "pixels", "attributes"),
    [
        ("low_resolution", ramp(), WINDOW),
        ("low_contrast", large(ramp(low=2000, high=2200)), WINDOW),
        ("cut_off_greys", large(ramp()), {"WindowCenter": 900, "WindowWidth": 50}),
        (MIRRORED_FILM, large(ramp()), {"PatientOrientation": ["R", "F"], **WINDOW}),
        (TURNED_FILM, large(ramp()), {"PatientOrientation": ["F", "R"], **WINDOW}),
    ],
)
def test_what_limits_a_film_is_noted(code: str, pixels: Pixels, attributes: dict[str, object]) -> None:
    """Each limitation gives its own note, and nothing but it."""
    assert notes(pixels, **attributes) == {code}


@pytest.mark.parametrize(
    ("orientation", "side"),
    [
        (["L", "F"], Side.RIGHT),
        (["R", "F"], Side.LEFT),
        ("R\\F", Side.LEFT),
        (["LA", "FL"], Side.RIGHT),
        (None, Side.RIGHT),
        ([], Side.RIGHT),
        ("", Side.RIGHT),
        ("L", Side.RIGHT),
        (["L", "H"], None),
        (["F", "L"], None),
        (["A", "F"], None),
    ],
)
def test_the_side_at_the_left_edge_follows_patient_orientation(orientation: object, side: Side | None) -> None:
    """Rows that run to the patient's left begin at the patient's right, which is also the default."""
    assert patient_side(orientation) is side


def test_display_pixels_are_eight_bits() -> None:
    """A film for display has 8-bit greys, rounded to the nearest."""
    film = read_radiograph(film_dataset(ramp("u1", high=255), WindowCenter=128, WindowWidth=256))
    np.testing.assert_array_equal(to_display(film), ramp("u1", high=255))


sides = st.integers(1, 3000)


@given(rows=sides, columns=sides, size_px=st.integers(8, 512), box=st.tuples(*[st.floats(0, 1)] * 4))
def test_geometry_comes_back_to_the_same_source_pixels(
    rows: int, columns: int, size_px: int, box: tuple[float, float, float, float]
) -> None:
    """A box of the image goes to model pixels inside the square and comes back where it was."""
    geometry = SquareGeometry(rows=rows, columns=columns, size_px=size_px)
    source = (box[0] * columns, box[1] * rows, box[2] * columns, box[3] * rows)
    model = geometry.to_model(*source)
    assert all(-1e-6 <= edge <= size_px + 1e-6 for edge in model)
    assert geometry.to_source(*model) == pytest.approx(source, abs=1e-6)


@given(rows=sides, columns=sides, size_px=st.integers(8, 512), box=st.tuples(*[st.floats(-0.5, 1.5)] * 4))
def test_regions_lie_inside_the_image(
    rows: int, columns: int, size_px: int, box: tuple[float, float, float, float]
) -> None:
    """Any box in model pixels, in the padding too, gives a region inside the image or none at all."""
    geometry = SquareGeometry(rows=rows, columns=columns, size_px=size_px)
    x0, x1 = sorted((box[0] * size_px, box[2] * size_px))
    y0, y1 = sorted((box[1] * size_px, box[3] * size_px))
    region = geometry.region(x0, y0, x1, y1)
    if region:
        assert region.x + region.width <= columns
        assert region.y + region.height <= rows


def test_a_box_in_the_padding_is_no_region() -> None:
    """Of a tall film, the left margin of the square is padding and holds nothing."""
    geometry = SquareGeometry(rows=1000, columns=500, size_px=100)
    assert geometry.region(0, 0, 24, 100) is None
    region = geometry.region(0, 0, 26, 100)
    assert region is not None
    assert (region.x, region.y, region.width, region.height) == (0, 0, 10, 1000)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(64, 900), columns=st.integers(64, 900), size_px=st.sampled_from([64, 97, 128, 224]))
def test_the_square_shows_the_film_where_geometry_says(rows: int, columns: int, size_px: int) -> None:
    """The padding is black, the film keeps its greys, and a mark lies where its coordinates map to."""
    film = np.full((rows, columns), 0.5, np.float32)
    mark = (columns // 3, rows // 4, columns // 3 + columns // 4, rows // 4 + rows // 3)
    film[mark[1] : mark[3], mark[0] : mark[2]] = 1.0
    square, geometry = fit_square(film, size_px)
    assert square.shape == (size_px, size_px)
    assert square.dtype == np.float32
    edges = np.arange(size_px)

    def inside(x0: float, y0: float, x1: float, y1: float, margin: float) -> npt.NDArray[np.bool_]:
        x, y = ((edges >= low + margin) & (edges + 1 <= high - margin) for low, high in ((x0, x1), (y0, y1)))
        return np.logical_and.outer(y, x)

    whole, marked = geometry.to_model(0, 0, columns, rows), geometry.to_model(*mark)
    blur = max(2.0, size_px / geometry.side)  # enlarging spreads an edge over one source pixel
    np.testing.assert_allclose(square[inside(*marked, blur)], 1.0, atol=2e-3)
    np.testing.assert_allclose(square[inside(*whole, blur) & ~inside(*marked, -blur)], 0.5, atol=2e-3)
    np.testing.assert_allclose(square[~inside(*whole, -blur)], 0.0, atol=2e-3)


@pytest.mark.parametrize("shape", [(1000, 601), (601, 1000), (777, 777), (1003, 40)])
def test_a_mark_keeps_its_place_to_a_fraction_of_a_pixel(shape: tuple[int, int]) -> None:
    """The center of brightness of a mark lies within a tenth of a model pixel of where geometry maps it."""
    rows, columns = shape
    film = np.zeros(shape, np.float32)
    mark = (columns // 4, rows // 5, columns // 4 + columns // 3, rows // 5 + rows // 4)
    film[mark[1] : mark[3], mark[0] : mark[2]] = 1.0
    square, geometry = fit_square(film, 64)
    x0, y0, x1, y1 = geometry.to_model(*mark)
    centers = np.arange(64) + 0.5
    assert (square.sum(axis=0) @ centers) / square.sum() == pytest.approx((x0 + x1) / 2, abs=0.1)
    assert (square.sum(axis=1) @ centers) / square.sum() == pytest.approx((y0 + y1) / 2, abs=0.1)


def test_shrinking_averages_over_the_area() -> None:
    """A film shrunk nineteen-fold equals its exact area average to within 1 % of the grey scale, without aliasing."""
    fine = np.random.default_rng(3).random((1216, 1216), dtype=np.float32)
    square, _ = fit_square(fine, 64)
    exact = fine.reshape(64, 19, 64, 19).mean(axis=(1, 3))
    assert np.abs(square - exact).mean() < 0.01
    assert square.std() == pytest.approx(exact.std(), rel=0.25)


def test_a_film_of_the_models_size_is_left_alone() -> None:
    """A square film of exactly the model's size passes unchanged."""
    film = np.random.default_rng(4).random((128, 128), dtype=np.float32)
    np.testing.assert_array_equal(fit_square(film, 128)[0], film)


def test_the_film_of_pydicom_data_is_read() -> None:
    """A real 15-bit MONOCHROME1 chest film: uncompressed and JPEG 2000 are alike and equal pydicom's window."""
    package = importlib.util.find_spec("data_store")
    if package is None or not package.submodule_search_locations:
        pytest.skip("pydicom-data is not installed")
    folder = Path(package.submodule_search_locations[0]) / "data"
    dataset = read_image_file(folder / "RG1_UNCR.dcm")
    film = read_radiograph(dataset)
    shown = 1 - apply_voi_lut(dataset.pixel_array, dataset) / (2**15 - 1)
    np.testing.assert_allclose(film.pixels, shown, atol=1e-4)
    assert film.quality == ()
    assert patient_side(dataset.PatientOrientation) is Side.RIGHT
    np.testing.assert_array_equal(read_radiograph(read_image_file(folder / "RG1_J2KR.dcm")).pixels, film.pixels)


@pytest.mark.parametrize(
    ("file", "shape", "codes"),
    [
        ("cr_mono1_10bit_chest.dcm", (440, 440), {"low_resolution"}),
        ("nhsx_google_nih_dx.dcm", (1024, 1024), set()),
        ("rg1_chest_15bit_mono1_j2k_lossless.dcm", (1955, 1841), set()),
        ("rg1_chest_15bit_mono1_uncompressed.dcm", (1955, 1841), set()),
    ],
)
def test_real_films_are_read(file: str, shape: tuple[int, int], codes: set[str]) -> None:
    """Real chest films, one of them without file meta information, are read, lungs darker than the middle."""
    if not SHARED.is_dir():
        pytest.skip("the films for development are not here")
    film = read_radiograph(read_image_file(SHARED / file))
    assert film.pixels.shape == shape
    assert {note.code for note in film.quality} == codes
    square, _ = fit_square(film.pixels, 32)
    assert square[10:18, 14:18].mean() > (square[10:18, 6:11].mean() + square[10:18, 21:26].mean()) / 2
