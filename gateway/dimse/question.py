"""The identifier of a C-FIND, C-MOVE or C-GET, read once: level, keys, and what is to be told (PS3.4 section C.4)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag
from pynetdicom.dsutils import decode

from gateway.dimse.statuses import BAD_VALUE, NOT_OF_THE_MODEL, UNREADABLE, Refusal
from gateway.dimse.text import CHARACTER_SET_TAG, character_sets, decoded
from worklist.attributes import (
    PRIVATE_ATTRIBUTES,
    PRIVATE_CREATOR,
    PRIVATE_CREATOR_TAG,
    Attribute,
    Level,
    attribute,
)
from worklist.errors import InvalidInput
from worklist.matching import Key, key_of

LEVEL_TAG: Final = 0x00080052
RETRIEVE_AE_TITLE_TAG: Final = 0x00080054
UNIQUE_KEYS: Final[Mapping[Level, str]] = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}
LEVELS: Final = tuple(UNIQUE_KEYS)
"""Of the Patient Root, from the top."""
NOT_TOLD: Final = frozenset(
    {"RetrieveURL", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "SpecificCharacterSet"}
)
"""Attributes of the table that no answer has as values of what was found."""
_STUDIES_ALONE: Final = {"ModalitiesInStudy", "ReportingPriority"}
_OF_THE_QUESTION: Final = {CHARACTER_SET_TAG, LEVEL_TAG, RETRIEVE_AE_TITLE_TAG, 0x00080201}  # the last: Timezone Offset
_PRIVATE_GROUP: Final = int(PRIVATE_CREATOR_TAG[:4], 16)
_PRIVATE: Final = {int(one.tag[6:], 16): one for one in PRIVATE_ATTRIBUTES}
BROKEN: Final = (
    *(ValueError, EOFError, struct.error, OSError, LookupError, TypeError, AttributeError),
    *(NotImplementedError, RecursionError, MemoryError, Warning),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Identifier:
    """What a peer sent, before anybody asks what it means.

    Attributes:
        level: of the search or retrieval.
        values: undecoded, by tag; None for a sequence.
        sets: terms of its Specific Character Set.
    """

    level: Level
    values: Mapping[int, bytes | None]
    sets: Sequence[str]

    def text(self, tag: int) -> str:
        """A value as text; "" where there is none.

        Raises:
            Refusal: it is not in the stated character set.
        """
        return decoded(self.values.get(tag) or b"", self.sets, tag).strip(" \0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a C-FIND asks.

    Attributes:
        identifier: as it was sent.
        keys: what must be met.
        told: the attributes that are returned, by tag.
        private: by tag in the block that the peer reserved for us: the tag of the attribute in our own; "" for the
            block's creator.
        is_supported: whether every key of the identifier is.
    """

    identifier: Identifier
    keys: Sequence[Key]
    told: Mapping[int, Attribute]
    private: Mapping[int, str]
    is_supported: bool


def read_identifier(encoded: BytesIO | None, levels: Sequence[Level], *, is_implicit: bool) -> Identifier:
    """An identifier, and its level.

    Args:
        encoded: as it came.
        levels: those that the information model has.
        is_implicit: how it is encoded.

    Raises:
        Refusal: unreadable; or its level is not of the model.
    """
    try:
        dataset = decode(encoded, is_implicit, True) if encoded else Dataset()  # noqa: FBT003 - positional there
        values = {int(tag): _raw(dataset, tag) for tag in dataset.keys()}  # noqa: SIM118 - values would be decoded
    except BROKEN as error:
        raise Refusal(UNREADABLE, "the identifier cannot be read") from error
    if not values:
        raise Refusal(UNREADABLE, "there is no identifier")
    sets = character_sets(values.get(CHARACTER_SET_TAG) or b"")
    named = decoded(values.get(LEVEL_TAG) or b"", (), LEVEL_TAG).strip(" \0")
    if named not in {str(level) for level in levels}:
        fault = "is not of this model" if named else "is missing"
        raise Refusal(NOT_OF_THE_MODEL, f"QueryRetrieveLevel {fault}: {', '.join(levels)}", LEVEL_TAG)
    return Identifier(level=Level(named), values=values, sets=sets)


def read_question(identifier: Identifier, *, is_relational: bool) -> Question:
    """What an identifier asks for; attributes that are not known at its level are passed over (PS3.4 C.2.2.1.3).

    Args:
        identifier: as it was sent.
        is_relational: whether unique keys of the levels above may be left out (PS3.4 section C.4.1.2.2.1).

    Raises:
        Refusal: a value cannot be meant, or a unique key is missing.
    """
    keys: list[Key] = []
    told: dict[int, Attribute] = {}
    private = _private(identifier)
    is_supported = True
    for tag in identifier.values:
        if tag in _OF_THE_QUESTION or tag in private or not tag & 0xFFFF:  # the last: Group Length
            continue
        known = attribute(f"{tag:08X}")
        if known is None or not is_of(known, identifier.level):
            is_supported = False
            continue
        key = read_key(identifier, known, tag)
        if key:
            keys.append(key)
        if known.keyword in NOT_TOLD:
            is_supported = is_supported and key is not None
        else:
            told[tag] = known
    if not is_relational:
        _require_unique_keys(identifier.level, keys)
    elif not keys and identifier.level in {Level.SERIES, Level.IMAGE}:
        raise Refusal(NOT_OF_THE_MODEL, "a key is needed at this level", LEVEL_TAG)
    return Question(identifier=identifier, keys=keys, told=told, private=private, is_supported=is_supported)


def read_unique_keys(identifier: Identifier) -> list[Key]:
    """The unique keys of a retrieval (PS3.4 section C.4.2.2.1), down to its level.

    Raises:
        Refusal: one is missing, is not a single one above its level, or cannot be meant.
    """
    keys = []
    for level in LEVELS[: LEVELS.index(identifier.level) + 1]:
        known = attribute(UNIQUE_KEYS[level])
        if known is None:
            continue
        tag = int(known.tag, 16)
        key = read_key(identifier, known, tag)
        if key and level is Level.PATIENT and set("*?\\") & set(key.value):
            raise Refusal(BAD_VALUE, "PatientID is a single one, without wildcards", tag)
        if key:
            keys.append(key)
        elif level is identifier.level:
            raise Refusal(NOT_OF_THE_MODEL, f"{known.keyword} is needed at this level", tag)
    _require_unique_keys(identifier.level, keys)
    return keys


def read_key(identifier: Identifier, known: Attribute, tag: int) -> Key | None:
    """What a value of an identifier must be met by; None where everything meets it.

    Raises:
        Refusal: it cannot be meant.
    """
    try:
        return key_of(known.keyword, identifier.text(tag), identifier.level) if known.is_key else None
    except Refusal:
        raise
    except InvalidInput as error:
        raise Refusal(BAD_VALUE, error.message, tag) from error


def is_of(known: Attribute, level: Level) -> bool:
    """Whether an attribute is a key at a level: its own, or one of a level above."""
    is_above = known.level in LEVELS[: LEVELS.index(level) + 1]
    return is_above and not (known.keyword in _STUDIES_ALONE and level is not Level.STUDY)


def _require_unique_keys(level: Level, keys: Sequence[Key]) -> None:
    """The Patient ID may be left out, as many workstations do: a Study Instance UID stands for it."""
    single = {key.attribute.keyword for key in keys if "\\" not in key.value}
    for above in LEVELS[LEVELS.index(Level.STUDY) : LEVELS.index(level)]:
        keyword = UNIQUE_KEYS[above]
        if keyword not in single:
            known = attribute(keyword)
            raise Refusal(NOT_OF_THE_MODEL, f"a single {keyword} is needed", int(known.tag, 16) if known else 0)


def _private(identifier: Identifier) -> dict[int, str]:
    """What is asked of our block, whichever the peer reserved for it (PS3.5 section 7.8.1); nothing above studies."""
    if identifier.level is not Level.STUDY:
        return {}
    for block in range(0x10, 0x100):
        creator = _PRIVATE_GROUP << 16 | block
        if identifier.values.get(creator) and identifier.text(creator) == PRIVATE_CREATOR:
            asked = {_PRIVATE_GROUP << 16 | block << 8 | element: one.tag for element, one in _PRIVATE.items()}
            return {creator: ""} | {tag: own for tag, own in asked.items() if tag in identifier.values}
    return {}


def _raw(dataset: Dataset, tag: BaseTag) -> bytes | None:
    element = dataset.get_item(tag)
    if isinstance(element, RawDataElement) and element.VR != "SQ":
        return element.value or b""
    return None
