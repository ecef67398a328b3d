"""What a radiologist's report in SR says, as its own sentences. Needs pydicom alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from imaging.elements import PYDICOM_ERRORS
from imaging.headers import character_set_of, text_of

_CONTENT_SEQUENCE, _CONCEPT_NAME, _CONCEPT = 0x0040A730, 0x0040A043, 0x0040A168
_VALUE_TYPE, _RELATIONSHIP, _TEXT_VALUE = 0x0040A040, 0x0040A010, 0x0040A160
_CODE_VALUE, _SCHEME = 0x00080100, 0x00080102
_DEEPEST: Final = 32
_MOST_ITEMS: Final = 5000
# What a referrer asked or told is no finding of a radiologist's (CID 7001): History, Request, Reason, Indications.
_ASKED: Final = {
    *(("121060", "DCM"), ("121062", "DCM"), ("121064", "DCM"), ("121109", "DCM")),
    *(("11329-0", "LN"), ("55115-0", "LN"), ("18785-6", "LN"), ("55752-0", "LN")),
}
_ABOUT: Final = {"HAS OBS CONTEXT", "HAS CONCEPT MOD", "HAS ACQ CONTEXT"}
_OBSERVER_TYPE: Final = ("121005", "DCM")
_DEVICE: Final = ("121007", "DCM")


def report_text(document: Dataset, most_characters: int) -> tuple[str, bool]:
    """The TEXT items of a report in their order, an empty line between two, and whether that is all of them.

    Codes and numbers are left out: without what stands below them, they would say what nobody wrote.

    Args:
        document: an SR of any template.
        most_characters: how much of it is read.
    """
    parts: list[str] = []
    length = 0
    for count, item in enumerate(_texts(document, character_set_of(document), 0)):
        if count >= _MOST_ITEMS or length > most_characters:
            return "\n\n".join(parts)[:most_characters], False
        parts.append(item)
        length += len(item) + 2
    text = "\n\n".join(parts)
    return text[:most_characters], len(text) <= most_characters


def is_by_device(document: Dataset) -> bool:
    """Whether a report says that a device observed what it tells (TID 1002): a machine's, whoever signed it."""
    return any(
        _code(item, _CONCEPT_NAME) == _OBSERVER_TYPE and _code(item, _CONCEPT) == _DEVICE
        for item in _items(document, _CONTENT_SEQUENCE)
    )


def _texts(item: Dataset, enclosing: Sequence[str], depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    for child in _items(item, _CONTENT_SEQUENCE):
        character_set = character_set_of(child, enclosing)
        name = _code(child, _CONCEPT_NAME)
        if name in _ASKED or (text_of(child, _RELATIONSHIP, ()) or "").strip() in _ABOUT:
            continue
        if (text_of(child, _VALUE_TYPE, ()) or "").strip() == "TEXT":
            said = (text_of(child, _TEXT_VALUE, character_set) or "").strip()
            if said:
                yield said
        yield from _texts(child, character_set, depth + 1)


def _code(item: Dataset, tag: int) -> tuple[str, str]:
    code = next(iter(_items(item, tag)), None)
    if code is None:
        return "", ""
    return (text_of(code, _CODE_VALUE, ()) or "").strip(), (text_of(code, _SCHEME, ()) or "").strip()


def _items(dataset: Dataset, tag: int) -> list[Dataset]:
    try:
        value = dataset[tag].value if tag in dataset else None
    except PYDICOM_ERRORS:
        return []
    return list(value) if isinstance(value, DicomSequence) else []
