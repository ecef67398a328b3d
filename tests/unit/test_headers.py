"""Headers as text, from files that nobody vouches for."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from imaging.characters import decoded
from imaging.headers import read_header
from tests.bad_films import chest
from tests.charsets import DECLARED, MISLABELLED, UNDECLARED, Writing
from worklist.errors import UnusableImage


def file_of(dataset: Dataset) -> bytes:
    """A data set as a file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


FILM = file_of(chest())


@pytest.mark.parametrize("writing", [*DECLARED, *UNDECLARED, *MISLABELLED], ids=lambda one: f"{one.character_set}")
def test_octets_are_read_as_they_were_meant(writing: Writing) -> None:
    """By the declared character set, also where its term is misspelled; as UTF-8 or Latin-1 where it cannot be so."""
    terms = (writing.character_set or "").split("\\")
    assert decoded(writing.name.encode(writing.codec), "PN", terms) == writing.name
    assert decoded(writing.description.encode(writing.codec), "LO", terms) == writing.description


def test_no_letter_is_left_out() -> None:
    """What a character set cannot read becomes a replacement character."""
    assert decoded(b"A\xff\xfeB", "LO", ["GB18030"]).count("\ufffd") > 0


def test_a_header_is_told_by_keyword() -> None:
    """Texts without padding but for an ID's leading blanks, numbers, and of a sequence its first item."""
    film, request = chest(), Dataset()
    request.ReasonForTheRequestedProcedure = "Dyspnée"
    film.SpecificCharacterSet, film.RequestAttributesSequence, film.PatientID = "ISO_IR 100", [request], "  77"
    film.AccessionNumber, film.CurrentPatientLocation = "A1 ", "Ward 3"
    header = read_header(file_of(film))
    assert {key: header.texts[key] for key in ("PatientID", "AccessionNumber", "CurrentPatientLocation", "Rows")} == {
        "PatientID": "  77",
        "AccessionNumber": "A1",
        "CurrentPatientLocation": "Ward 3",
        "Rows": "512",
    }
    assert header.first_items["RequestAttributesSequence"] == {"ReasonForTheRequestedProcedure": "Dyspnée"}


@given(cut=st.integers(0, len(FILM)), at=st.integers(128, 2000), octets=st.binary(min_size=1, max_size=8))
def test_no_file_breaks_the_reading(cut: int, at: int, octets: bytes) -> None:
    """A damaged file is read as far as it goes, or refused as unreadable."""
    with suppress(UnusableImage):
        read_header((FILM[:at] + octets + FILM[at + len(octets) :])[:cut])
    with pytest.raises(UnusableImage, match="no readable DICOM"):
        read_header(b"no film")
