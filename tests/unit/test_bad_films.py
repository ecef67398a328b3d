"""The bad films are bad in the way that they say, and in no other."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import DigitalXRayImageStorageForPresentation

from tests.bad_films import BAD_FILMS, HUGE_SIDE, chest

_NOT_RADIOGRAPHS = {"sr", "ct_slice"}


def read(name: str, folder: Path) -> Dataset:
    """The one file that a fault makes."""
    return dcmread(BAD_FILMS[name](folder))


def read_pair(name: str, folder: Path) -> tuple[Dataset, Dataset]:
    """The two files that a fault makes."""
    first, second = sorted(BAD_FILMS[name](folder).iterdir())
    return dcmread(first), dcmread(second)


@pytest.mark.parametrize("name", sorted(set(BAD_FILMS) - _NOT_RADIOGRAPHS))
def test_all_else_is_a_chest_film(name: str, tmp_path: Path) -> None:
    """Apart from its fault each file says of itself that it is a frontal DX image of a chest, in Part 10 format."""
    path = BAD_FILMS[name](tmp_path)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        film = dcmread(file, specific_tags=["SOPClassUID", "Modality", "BodyPartExamined", "ViewPosition"])
        assert film.SOPClassUID == DigitalXRayImageStorageForPresentation
        assert (film.Modality, film.BodyPartExamined, film.ViewPosition) == ("DX", "CHEST", "PA")


def test_the_starting_point_is_sound() -> None:
    """Without a fault the film decodes to a full range of grey values."""
    pixels = chest().pixel_array
    assert pixels.shape == (512, 512)
    assert pixels.std() > 500


def test_truncated_pixel_data(tmp_path: Path) -> None:
    """The element is well formed, but holds half of the film."""
    film = read("truncated_pixel_data", tmp_path)
    assert len(film.PixelData) == film.Rows * film.Columns


def test_no_pixel_data(tmp_path: Path) -> None:
    """Rows and Columns are there, the pixels are not."""
    film = read("no_pixel_data", tmp_path)
    assert film.Rows == 512
    assert "PixelData" not in film


def test_missing_patient_id(tmp_path: Path) -> None:
    """Patient ID is absent, Patient's Name is not."""
    film = read("missing_patient_id", tmp_path)
    assert "PatientID" not in film
    assert film.PatientName


@pytest.mark.parametrize("name", ["unsupported_transfer_syntax", "corrupt_jpeg_2000"])
def test_pixels_that_nothing_decodes(name: str, tmp_path: Path) -> None:
    """The pixels are encapsulated, and no decoder turns them into a film."""
    film = read(name, tmp_path)
    assert film.file_meta.TransferSyntaxUID.is_encapsulated
    with pytest.raises((RuntimeError, NotImplementedError)):
        _ = film.pixel_array


def test_blank(tmp_path: Path) -> None:
    """Every pixel has one value."""
    pixels = read("blank", tmp_path).pixel_array
    assert pixels.min() == pixels.max() == 2048


def test_one_pixel(tmp_path: Path) -> None:
    """The film is a single pixel."""
    assert read("one_pixel", tmp_path).pixel_array.shape == (1, 1)


def test_huge(tmp_path: Path) -> None:
    """A small file unfolds into 144 million pixels."""
    path = BAD_FILMS["huge"](tmp_path)
    film = dcmread(path)
    assert (film.Rows, film.Columns) == (HUGE_SIDE, HUGE_SIDE)
    assert path.stat().st_size < 10_000_000
    assert film.pixel_array.std() > 20


def test_nan_rescale_slope(tmp_path: Path) -> None:
    """The rescale slope is a decimal string that reads as not a number."""
    raw = read("nan_rescale_slope", tmp_path).get_item("RescaleSlope")
    assert raw is not None
    assert math.isnan(float(raw.value))


def test_window_center_text(tmp_path: Path) -> None:
    """The window center is a word."""
    raw = read("window_center_text", tmp_path).get_item("WindowCenter")
    assert raw is not None
    assert raw.value.strip() == b"AUTO"


def test_rows_as_text(tmp_path: Path) -> None:
    """Rows has the value representation LO."""
    film = read("rows_as_text", tmp_path)
    assert (film["Rows"].VR, film["Rows"].value) == ("LO", "512")


def test_sr(tmp_path: Path) -> None:
    """A structured report has no image attributes."""
    film = read("sr", tmp_path)
    assert film.Modality == "SR"
    assert not {"Rows", "PixelData"} & {element.keyword for element in film}


def test_ct_slice(tmp_path: Path) -> None:
    """A CT slice has pixels like a film, and another SOP class and modality."""
    film = read("ct_slice", tmp_path)
    assert film.Modality == "CT"
    assert film.SOPClassUID.name == "CT Image Storage"
    assert film.pixel_array.shape == (512, 512)


def test_japanese_name(tmp_path: Path) -> None:
    """The name is written with ISO 2022 escape sequences and reads as kanji."""
    path = BAD_FILMS["japanese_name"](tmp_path)
    assert b"\x1b$B" in path.read_bytes()
    assert dcmread(path).PatientName.ideographic == "山田^太郎"


def test_two_studies_one_accession_number(tmp_path: Path) -> None:
    """One order, one patient, two studies."""
    first, second = read_pair("two_studies_one_accession_number", tmp_path)
    assert (first.AccessionNumber, first.PatientID) == (second.AccessionNumber, second.PatientID)
    assert first.StudyInstanceUID != second.StudyInstanceUID


def test_one_sop_instance_uid_twice(tmp_path: Path) -> None:
    """Two films that differ in their pixels claim to be the same object."""
    first, second = read_pair("one_sop_instance_uid_twice", tmp_path)
    assert first.SOPInstanceUID == second.SOPInstanceUID == second.file_meta.MediaStorageSOPInstanceUID
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert (first.pixel_array != second.pixel_array).any()
