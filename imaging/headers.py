"""The header of a DICOM file as texts by keyword, read from its octets and without trust."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, STR_VR

from imaging.characters import decoded
from imaging.elements import PYDICOM_ERRORS, quiet
from worklist.errors import UnusableImage
from worklist.scope import HEADER_KEYWORDS

_CHARACTER_SET: Final = 0x00080005
_NUMBERS: Final = {"FD", "FL", "SL", "SS", "UL", "US"}
_ONE_AT_A_TIME = threading.Lock()  # Python's warnings, which are silenced meanwhile, are those of all threads


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """Values as text, parts joined by backslashes, without trailing padding; leading blanks of an ID are its own.

    Attributes:
        texts: by keyword.
        first_items: of each sequence the texts of its first item.
    """

    texts: Mapping[str, str]
    first_items: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_header(file: bytes) -> Header:
    """The header of a file; its pixels are not needed, and what cannot be read of it is left out.

    Raises:
        UnusableImage: unreadable_object, it is no DICOM file.
    """
    with _ONE_AT_A_TIME, quiet():
        try:
            dataset = dcmread(io.BytesIO(file), stop_before_pixels=True)
            character_set = character_set_of(dataset)
            texts = _texts(dataset, character_set)
        except (InvalidDicomError, *PYDICOM_ERRORS) as error:
            raise UnusableImage(
                "unreadable_object", f"the file is no readable DICOM ({type(error).__name__})"
            ) from error
        return Header(texts=texts, first_items=_first_items(dataset, character_set))


def scope_texts(dataset: Dataset) -> dict[str, str]:
    """What worklist.scope.assess_scope reads of a dataset, by keyword."""
    values = ((keyword, dataset.get(keyword)) for keyword in HEADER_KEYWORDS)
    return {
        keyword: "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
        for keyword, value in values
        if value is not None
    }


def text_of(dataset: Dataset, tag: int, character_set: Sequence[str]) -> str | None:
    """The text of an element as it stands, trailing padding aside; None where it is no text.

    Args:
        dataset: as it was read.
        tag: of the element.
        character_set: the terms by which its octets are read.
    """
    element = dataset.get_item(tag)
    if element is None:
        return None
    vr = element.VR if element.VR not in {None, "UN"} else dictionary_VR(tag)
    value: Any = element.value
    if isinstance(value, bytes):
        if vr not in STR_VR:
            return None
        value = decoded(value, vr, character_set) if vr in CUSTOMIZABLE_CHARSET_VR else value.decode("latin-1")
    elif isinstance(value, MultiValue | list | tuple):
        value = "\\".join(str(part) for part in value)
    return "" if value is None else str(value).rstrip(" \0")


def character_set_of(dataset: Dataset, enclosing: Sequence[str] = ()) -> list[str]:
    """The terms of Specific Character Set (0008,0005), of the enclosing data set where an item has none of its own."""
    stated = text_of(dataset, _CHARACTER_SET, ())
    return [term.strip() for term in stated.split("\\")] if stated else list(enclosing)


def _texts(dataset: Dataset, character_set: list[str]) -> dict[str, str]:
    texts = {}
    for tag in list(dataset.keys()):
        keyword = keyword_for_tag(tag)
        if not keyword:
            continue
        try:
            vr = dictionary_VR(tag)
            text = str(dataset[tag].value) if vr in _NUMBERS else text_of(dataset, tag, character_set)
        except PYDICOM_ERRORS:
            continue
        if text is not None and vr != "SQ":
            texts[keyword] = text.replace("\0", "")
    return texts


def _first_items(dataset: Dataset, character_set: list[str]) -> dict[str, dict[str, str]]:
    found = {}
    for tag in list(dataset.keys()):
        keyword = keyword_for_tag(tag)
        try:
            if keyword and dictionary_VR(tag) == "SQ":
                value = dataset[tag].value
                if isinstance(value, DicomSequence) and value:
                    found[keyword] = _texts(value[0], character_set_of(value[0], character_set))
        except PYDICOM_ERRORS:
            continue
    return found
