"""Data sets of workitems between DIMSE's encodings and the DICOM JSON model, and the keys in them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import Final

from pydicom import Dataset
from pynetdicom.dsutils import decode, encode

from gateway.dimse.question import BROKEN
from gateway.dimse.statuses import BAD_VALUE, UNREADABLE, Refusal
from gateway.dimse.text import CHARACTER_SET_TAG, character_sets
from worklist.attributes import attribute
from worklist.matching import Key
from worklist.workitems.datasets import DicomJson, checked
from worklist.workitems.keys import workitem_key

_REPLACED: Final = "\ufffd"  # what pydicom makes of a byte that the character set does not have


def decoded_json(encoded: BytesIO | None, *, is_implicit: bool) -> DicomJson:
    """A data set as it came; empty where there was none.

    Raises:
        Refusal: it cannot be read, or a value is not in the stated character set.
    """
    if encoded is None:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values are looked at when they are used
            dataset = decode(encoded, is_implicit, True)  # noqa: FBT003 - the library's own signature: little endian
            stated = dataset.get_item(CHARACTER_SET_TAG)
            if not (stated and character_sets(stated.value or b"")):
                dataset.SpecificCharacterSet = "ISO_IR 192"  # what states none is taken for UTF-8, as by text.py
            dataset.decode()
            read = checked(dataset.to_json_dict())
            if not stated:
                del read["00080005"]
    except BROKEN as error:
        raise Refusal(UNREADABLE, f"a data set that cannot be read ({type(error).__name__})") from error
    if _REPLACED in json.dumps(read, ensure_ascii=False):
        raise Refusal(BAD_VALUE, "a value is not in the stated SpecificCharacterSet")
    if not read and encoded.getbuffer().nbytes:
        raise Refusal(UNREADABLE, "a data set that is cut off")
    return read


def encoded_json(told: DicomJson, *, is_implicit: bool) -> bytes:
    """A data set in little endian and in Unicode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told as it was given
        dataset = Dataset.from_json({**told, "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}})
        return encode(dataset, is_implicit, True) or b""  # noqa: FBT003 - the same


def keys_of(asked: DicomJson) -> Iterator[Key]:
    """The keys of an identifier; what no workitem is searched by is asked for, and matches everything."""
    for path, written in asked_values(asked):
        key = workitem_key(path, written)
        if key:
            yield key


def asked_values(asked: DicomJson, before: str = "") -> Iterator[tuple[str, str]]:
    """Path and text of each attribute that has a value and is known."""
    for tag, held in asked.items():
        values = held.get("Value", ())
        if held["vr"] == "SQ":
            for item in values:
                yield from asked_values(item or {}, f"{before}{tag}.")
        elif values and attribute(tag) and tag != "00080005":
            yield f"{before}{tag}", "\\".join(_written(value) for value in values)


def _written(value: object) -> str:
    if isinstance(value, dict):
        return "=".join(str(value.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    return "" if value is None else str(value)
