"""What an audit trail holds: who did what, to which study, when, from where, and how it ended (PS3.15, section A.5)."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any, Final

NOBODY: Final = "nobody who said so"
"""Whoever asked where nobody has to log in."""
WORKITEM: Final = "workitem"
"""In an entry's detail: the UID of the workitem that it concerns; that of a reading says of which study."""
_UNFIT: Final = frozenset({"Cc", "Cs"})
_NEVER: Final = "\ufffe\uffff"  # XML 1.0, section 2.2


class AuditKind(StrEnum):
    """What happened."""

    START = "start"
    STOP = "stop"
    LOGIN = "login"
    LOGOUT = "logout"
    QUERY = "query"
    ACCESS = "access"
    CHANGE = "change"
    IMPORT = "import"
    EXPORT = "export"
    EMERGENCY = "emergency"
    SETTINGS = "settings"
    DELETE = "delete"  # records of ours; what lies in the PACS stays
    REFUSED = "refused"
    NODE = "node"  # an association was refused
    GAP = "gap"  # something could not be kept


class Outcome(IntEnum):
    """How it ended, as PS3.15 counts."""

    SUCCESS = 0
    MINOR_FAILURE = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """One thing that somebody did.

    Attributes:
        at: when, in UTC.
        actor: the name that is known of who did it.
        actor_source: how that is known: session, key, proxy, dicom, typed, and so on.
        address: from where; empty for this machine's own.
        study_instance_uid: of the study that it concerns; empty for none or several, and filled in where the entry is
            kept if it names the workitem of a reading.
        patient_id: of that study's patient, filled in where the entry is kept.
        detail: what else there is to say, such as the query.
    """

    at: datetime
    kind: AuditKind
    outcome: Outcome = Outcome.SUCCESS
    actor: str = NOBODY
    actor_source: str = ""
    roles: tuple[str, ...] = ()
    address: str = ""
    study_instance_uid: str = ""
    patient_id: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


def printable(entry: AuditEntry) -> AuditEntry:
    """An entry without what neither XML nor each database can hold: control characters and halves of characters.

    Whoever asks chooses addresses and titles, and one that cannot be kept must not hold up the others.
    """
    return replace(
        entry,
        actor=_printable(entry.actor),
        address=_printable(entry.address),
        study_instance_uid=_printable(entry.study_instance_uid),
        patient_id=_printable(entry.patient_id),
        detail={name: _printable(said) if isinstance(said, str) else said for name, said in entry.detail.items()},
    )


def _printable(text: str) -> str:
    return "".join("\ufffd" if unicodedata.category(one) in _UNFIT or one in _NEVER else one for one in text)


def link(previous: str, entry: AuditEntry) -> str:
    """The SHA-256 of an entry and of all before it, in hexadecimal: of the digest before, and the entry as JSON."""
    fields = asdict(entry) | {"at": entry.at.astimezone(UTC).isoformat(timespec="microseconds")}
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
