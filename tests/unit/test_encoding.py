"""Our own objects as files: the same bytes as pydicom writes, whatever the objects hold."""

from __future__ import annotations

import io
from datetime import date, time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage
from pydicom.valuerep import DS, IS

from worker.encoding import encode

Values = dict[str, Any]
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\\=^"), max_size=20)
WORDS = st.from_regex(r"[A-Z0-9_]{0,16}", fullmatch=True)
UIDS = st.from_regex(r"1\.2(\.(0|[1-9][0-9]{0,5})){0,5}", fullmatch=True)
DOUBLES = st.floats(allow_nan=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "StudyDescription": TEXTS,
    "OtherPatientIDs": st.lists(TEXTS, max_size=3),
    "AccessionNumber": TEXTS.map(lambda text: text[:16]),
    "TextValue": TEXTS.map(lambda text: text * 5),
    "PatientName": TEXTS,
    "Modality": WORDS,
    "ImageType": st.lists(WORDS, max_size=4),
    "StationAETitle": WORDS,
    "PatientAge": st.sampled_from(["", "071Y", "003D"]),
    "StudyDate": st.sampled_from(["", "20261122", date(2026, 11, 22)]),
    "StudyTime": st.sampled_from(["", "101112", "101112.123456", time(10, 11, 12)]),
    "AcquisitionDateTime": st.sampled_from(["", "20261122101112.5+0100"]),
    "FrameOfReferenceUID": UIDS,
    "RetrieveURL": st.sampled_from(["", "http://localhost/a"]),
    "PixelSpacing": st.lists(st.floats(0.001, 9), min_size=2, max_size=2).map(
        lambda pair: [DS(value, auto_format=True) for value in pair]
    ),
    "NumericValue": st.sampled_from([None, "12", 0.25, DS("1.500")]),
    "SeriesNumber": st.sampled_from([None, 7, "-12", IS("007")]),
    "FloatingPointValue": DOUBLES,
    "GraphicData": st.lists(st.floats(width=32, allow_nan=False), max_size=5),
    "ReferencedFrameNumber": st.lists(st.integers(0, 99), max_size=3),
    "Rows": st.integers(0, 65535),
    "SelectorULValue": st.lists(st.integers(0, 2**32 - 1), max_size=3),
    "SelectorSLValue": st.integers(-(2**31), 2**31 - 1),
    "FrameIncrementPointer": st.sampled_from([0x00181063, [0x00181063, 0x00181065]]),
    "EncapsulatedDocument": st.binary(max_size=9),
}
FILLED = st.fixed_dictionaries({}, optional=VALUES)


def an_object(values: Values, character_set: str | list[str] = "ISO_IR 192") -> Dataset:
    """A data set of ours with these values, and file meta information."""
    new = Dataset()
    new.file_meta = FileMetaDataset()
    new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    new.SpecificCharacterSet = character_set
    new.SOPClassUID, new.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    for keyword, value in values.items():
        setattr(new, keyword, value)
    return new


def as_pydicom(dataset: Dataset) -> bytes:
    """The file that pydicom writes."""
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@settings(max_examples=100)
@given(values=FILLED, items=st.lists(FILLED, max_size=3), inner=st.lists(FILLED, max_size=2))
def test_the_bytes_are_pydicoms(
    values: dict[str, Any], items: list[dict[str, Any]], inner: list[dict[str, Any]]
) -> None:
    """Values of every VR that our objects use, empty, several or odd in length, nested twice, give the same file."""
    dataset = an_object(values)
    dataset.ContentSequence = [an_item(item) for item in items]
    for item in dataset.ContentSequence:
        item.ConceptNameCodeSequence = [an_item(one) for one in inner]
    assert encode(dataset) == as_pydicom(dataset)


def an_item(values: Values) -> Dataset:
    """An item of a sequence."""
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 144", "Люкceмбypг"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
    ],
)
def test_every_character_set_is_kept(character_set: str | list[str], name: str) -> None:
    """Names and texts are written in the character set that the object declares, inside sequences too."""
    dataset = an_object({"PatientName": name, "StudyDescription": "plain"}, character_set)
    dataset.ContentSequence = [an_item({"PersonName": name, "TextValue": "plain"})]
    assert encode(dataset) == as_pydicom(dataset)
    assert dcmread(io.BytesIO(encode(dataset))).ContentSequence[0].PersonName == name


def test_a_picture_is_the_same_file() -> None:
    """Pixel data, whose VR depends on their depth, and values of an ambiguous VR are written as pydicom decides."""
    for bits, kind in ((8, np.uint8), (16, np.uint16)):
        dataset = an_object({"Rows": 3, "Columns": 3, "BitsAllocated": bits, "PixelRepresentation": 0})
        dataset.SmallestImagePixelValue = 7
        dataset.PixelData = np.arange(9, dtype=kind).tobytes()
        assert encode(dataset) == as_pydicom(dataset)


def test_an_object_that_was_read_is_written_again() -> None:
    """A data set whose elements have not been looked at since it was read gives the file that it came from."""
    file = as_pydicom(an_object({"PatientName": "Ångström^A", "SeriesNumber": 3, "FloatingPointValue": 0.1}))
    assert encode(dcmread(io.BytesIO(file))) == file


def test_what_cannot_be_written_is_refused() -> None:
    """A value too long for its VR, or another transfer syntax, is an error and never a damaged file."""
    with pytest.raises(ValueError, match="ImageType has 70000 bytes"):
        encode(an_object({"ImageType": ["DERIVED89"] * 7000}))
    dataset = an_object({})
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    with pytest.raises(ValueError, match="Explicit VR Little Endian"):
        encode(dataset)
