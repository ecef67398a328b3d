"""Data sets in the DICOM JSON model (PS3.18 Annex F): what is taken from others, and values by their path."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from worklist.workitems.refusal import Refusal, WorkitemRefused

DicomJson = dict[str, Any]

_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_VR = re.compile(r"[A-Z]{2}", re.ASCII)
_DEEPEST: Final = 16  # sequences within sequences; UPS has four
_MOST_VALUES: Final = 10_000
_MEMBERS: Final = frozenset({"vr", "Value", "BulkDataURI", "InlineBinary"})
_GROUPS: Final = frozenset({"Alphabetic", "Ideographic", "Phonetic"})
_NO_TEXT: Final = frozenset({"Cs"})  # halves of characters, which no database keeps


def checked(found: object) -> DicomJson:
    """A data set that somebody sent, with tags in upper case; an array of one is that one.

    Raises:
        WorkitemRefused: it is none.
    """
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise _bad("a data set in the DICOM JSON model is an object of elements by tag, or an array of one such object")
    return _dataset(found, 0)


def _dataset(found: Mapping[Any, Any], depth: int) -> DicomJson:
    if depth > _DEEPEST:
        raise _bad(f"sequences lie within each other more than {_DEEPEST} deep")
    dataset: DicomJson = {}
    for name, held in found.items():
        if not isinstance(name, str) or not _TAG.fullmatch(name):
            raise _bad(f"{str(name)[:64]} is no tag of eight hexadecimal digits")
        dataset[name.upper()] = _element(name, held, depth)
    return dict(sorted(dataset.items()))


def _element(name: str, held: object, depth: int) -> DicomJson:
    if not isinstance(held, dict) or not set(held) <= _MEMBERS or not _is_vr(held.get("vr")):
        raise _bad(f'{name} is no element: {{"vr": "LO", "Value": ["text"]}}')
    values = held.get("Value", [])
    if not isinstance(values, list) or len(values) > _MOST_VALUES:
        raise _bad(f"{name} has a Value that is no array, or one that is too long")
    vr = held["vr"]
    more = {key: _text(name, held[key]) for key in ("BulkDataURI", "InlineBinary") if key in held}
    taken = [_value(name, vr, value, depth) for value in values]
    return {"vr": vr, **({"Value": taken} if taken else {}), **more}


def _is_vr(vr: object) -> bool:
    return isinstance(vr, str) and bool(_VR.fullmatch(vr))


def _value(name: str, vr: str, value: object, depth: int) -> object:
    if vr == "SQ":
        if value is not None and not isinstance(value, dict):
            raise _bad(f"{name} is a sequence, whose items are objects")
        return _dataset(value or {}, depth + 1)
    if vr == "PN":
        if value is not None and not (isinstance(value, dict) and set(value) <= _GROUPS):
            raise _bad(f'{name} is a person name: {{"Alphabetic": "Doe^Jane"}}')
        return {group: _text(name, text) for group, text in (value or {}).items()}
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise _bad(f"{name} has a value that is neither text nor a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise _bad(f"{name} has a value that is no number")
    return _text(name, value) if isinstance(value, str) else value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or "\0" in value or any(unicodedata.category(letter) in _NO_TEXT for letter in value):
        raise _bad(f"{name} has a value that is no text")
    return value


def texts(dataset: Mapping[str, Any], path: str) -> list[str]:
    """The values of an attribute, of all items on the way.

    Args:
        dataset: where to look.
        path: its tag, behind those of its sequences, joined by dots: 00404018.00080100.
    """
    return list(_texts(dataset, path.split(".")))


def _texts(dataset: Mapping[str, Any], path: Sequence[str]) -> Iterator[str]:
    held = dataset.get(path[0], {}).get("Value", ())
    if len(path) > 1:
        for item in held:
            yield from _texts(item or {}, path[1:])
        return
    for value in held:
        if isinstance(value, dict):
            groups = [value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
            yield "=".join(groups).rstrip("=")
        elif value is not None:
            yield str(value)


def text(dataset: Mapping[str, Any], path: str) -> str:
    """The first value of an attribute, "" without one."""
    return next(iter(texts(dataset, path)), "").strip()


def element(vr: str, *values: object) -> DicomJson:
    """An element; values that are empty or None are left out."""
    held = [value for value in values if value not in {None, ""}] if vr != "SQ" else list(values)
    return {"vr": vr, "Value": held} if held else {"vr": vr}


def name_element(name: str) -> DicomJson:
    """A person name, its component groups joined by equals signs."""
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False)
    held = {group: part for group, part in groups if part}
    return {"vr": "PN", "Value": [held]} if held else {"vr": "PN"}


def code(value: str, scheme: str, meaning: str) -> DicomJson:
    """An item of a code sequence (PS3.3 section 8.8)."""
    return {
        "00080100": element("SH", value),
        "00080102": element("SH", scheme),
        "00080104": element("LO", meaning),
    }


def moment(at: datetime) -> str:
    """A moment as DT, in UTC and saying so."""
    return f"{at.astimezone(UTC):%Y%m%d%H%M%S.%f}+0000"


def _bad(message: str) -> WorkitemRefused:
    return WorkitemRefused(Refusal.INVALID_VALUE, message)
