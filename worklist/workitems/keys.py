"""The keys by which workitems are searched (PS3.4 Table CC.2.5-3): of attributes, and of attributes in sequences."""

from __future__ import annotations

from typing import Final

from worklist.attributes import Attribute, Level, attribute
from worklist.errors import InvalidInput
from worklist.matching import Key, key_for
from worklist.workitems.rules import REQUEST

_OF_WORKITEMS: Final = frozenset(
    {"PatientName", "PatientID", "PatientBirthDate", "PatientSex", "SOPClassUID", "SOPInstanceUID"}
)
# Of a workitem these stand in its Referenced Request Sequence; viewers ask for them as they ask for studies.
_OF_REQUESTS: Final = frozenset(
    {"StudyInstanceUID", "AccessionNumber", "RequestedProcedureDescription", "RequestingPhysician"}
)


def workitem_key(name: str, value: str) -> Key | None:
    """A key of a search for workitems; None where it matches everything.

    Args:
        name: keyword or tag, behind those of its sequences and dots: ScheduledWorkitemCodeSequence.CodeValue.
        value: what it must be.

    Raises:
        InvalidInput: bad_key.
    """
    path = [attribute(part) for part in name.split(".")]
    known = [one for one in path if one]
    if len(known) < len(path) or not _is_of_workitems(known):
        raise InvalidInput("bad_key", f"{name[:64]} is no attribute by which workitems are searched")
    asked = known[-1]
    if asked.vr == "SQ":
        raise InvalidInput("bad_key", f"{asked.keyword} is a sequence: ask for one of its attributes, as .CodeValue")
    tags = [one.tag for one in known]
    if len(known) == 1 and asked.keyword in _OF_REQUESTS:
        tags = [REQUEST, asked.tag]
    return key_for(
        Attribute(
            keyword=".".join(one.keyword for one in known), tag=".".join(tags), vr=asked.vr, level=Level.WORKITEM
        ),
        value,
    )


def _is_of_workitems(path: list[Attribute]) -> bool:
    *sequences, last = path
    if any(one.vr != "SQ" for one in sequences):
        return False
    if last.level is Level.WORKITEM:
        return True
    return last.keyword in _OF_REQUESTS or (last.keyword in _OF_WORKITEMS and not sequences)
