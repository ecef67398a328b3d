"""What a workitem must have, and may have changed, at each moment of its life (PS3.4 Table CC.2.5-3), as data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from worklist.matching import is_uid
from worklist.procedure_step import STEP_TRANSITIONS, ProcedureStepEvent, ProcedureStepState, Status
from worklist.workitems.datasets import DicomJson, element, moment, text, texts
from worklist.workitems.identity import UPS_PUSH
from worklist.workitems.refusal import Refusal, WorkitemRefused

SOP_CLASS, SOP_INSTANCE, TRANSACTION = "00080016", "00080018", "00081195"
STATE, PRIORITY, LABEL, WORKLIST_LABEL = "00741000", "00741200", "00741204", "00741202"
START, MODIFIED, READINESS = "00404005", "00404010", "00404041"
PROGRESS_SEQUENCE, PERFORMED_SEQUENCE = "00741002", "00741216"
PROGRESS, PROGRESS_DESCRIPTION, CONTACT_URI_SEQUENCE = "00741004", "00741006", "00741008"
CANCELED_AT, CANCEL_REASON, DISCONTINUATION_CODES = "00404052", "00741238", "0074100E"
STATIONS, PERFORMERS = "00404025", "00404034"
WORKITEM_CODES, INPUT, REQUEST = "00404018", "00404021", "0040A370"

PRIORITIES: Final = ("HIGH", "MEDIUM", "LOW")
_READINESS: Final = frozenset({"READY", "UNAVAILABLE", "INCOMPLETE"})
DEFAULT_WORKLIST: Final = "Firstread"
LONGEST_UID: Final = 64

# Type 1 at creation, with what they are called; the worklist's label is filled in where it is empty.
_NEEDED: Final = {
    STATE: "Procedure Step State",
    PRIORITY: "Scheduled Procedure Step Priority",
    LABEL: "Procedure Step Label",
    START: "Scheduled Procedure Step Start DateTime",
    READINESS: "Input Readiness State",
}
# What is not said of a step that nobody has begun.
_NOT_AT_CREATION: Final = {
    TRANSACTION: "Transaction UID",
    PROGRESS_SEQUENCE: "Procedure Step Progress Information Sequence",
    PERFORMED_SEQUENCE: "Unified Procedure Step Performed Procedure Sequence",
}
# What stays as it was created: whose it is, and what was asked for.
_NEVER_CHANGED: Final = {
    SOP_CLASS: "SOP Class UID",
    SOP_INSTANCE: "SOP Instance UID",
    STATE: "Procedure Step State",
    "00100010": "Patient's Name",
    "00100020": "Patient ID",
    "00100021": "Issuer of Patient ID",
    "00100030": "Patient's Birth Date",
    "00100040": "Patient's Sex",
    "00380010": "Admission ID",
    "00380014": "Issuer of Admission ID Sequence",
    REQUEST: "Referenced Request Sequence",
    "00741224": "Replaced Procedure Step Sequence",
}
_EMPTY_WHERE_ABSENT: Final = {  # type 2
    **dict.fromkeys(("00404025", "00404026", "00404027", WORKITEM_CODES, INPUT, "00741210", REQUEST), "SQ"),
    **dict.fromkeys(("00404034", PROGRESS_SEQUENCE, PERFORMED_SEQUENCE, "00380014"), "SQ"),
    "00100010": "PN",
    "00100020": "LO",
    "00100030": "DA",
    "00100040": "CS",
    "00380010": "LO",
    "00400400": "LT",
}
# Of each performed procedure, once the step is complete; those of type 2 may be empty.
_PERFORMED_NEEDED: Final = {
    "00404028": "Performed Station Name Code Sequence",
    "00404050": "Performed Procedure Step Start DateTime",
    "00404019": "Performed Workitem Code Sequence",
    "00404051": "Performed Procedure Step End DateTime",
}
_OUTPUT: Final = "00404033"


def created(given: DicomJson, workitem_uid: str, now: datetime) -> tuple[DicomJson, bool]:
    """A new workitem, and whether it differs from what was given.

    Raises:
        WorkitemRefused: something is missing, or must not be there.
    """
    for tag, name in _NOT_AT_CREATION.items():
        if texts(given, tag) or given.get(tag, {}).get("Value"):
            raise _invalid(f"{name} is empty in a new workitem")
    for tag, name in _NEEDED.items():
        if not text(given, tag):
            raise WorkitemRefused(Refusal.MISSING_ATTRIBUTE, f"{name} ({tag}) is missing")
    if text(given, STATE) != ProcedureStepState.SCHEDULED:
        raise WorkitemRefused(Refusal.INVALID_VALUE, "a new workitem is SCHEDULED: claim it afterwards")
    if text(given, SOP_CLASS) not in {"", UPS_PUSH}:
        raise _invalid(f"SOP Class UID is {UPS_PUSH} or left out")
    _check_words(given)
    filled = {tag: element(vr) for tag, vr in _EMPTY_WHERE_ABSENT.items()} | given
    filled.pop(TRANSACTION, None)
    is_changed = not text(given, WORKLIST_LABEL)
    if is_changed:
        filled[WORKLIST_LABEL] = element("LO", DEFAULT_WORKLIST)
    filled |= {
        SOP_CLASS: element("UI", UPS_PUSH),
        SOP_INSTANCE: element("UI", workitem_uid),
        MODIFIED: element("DT", moment(now)),
    }
    return filled, is_changed


def check_update(given: Mapping[str, Any]) -> None:
    """Refuse to change what stays as it was created.

    Raises:
        WorkitemRefused: an attribute that is not to be changed, or a value that it cannot have.
    """
    for tag, name in _NEVER_CHANGED.items():
        if tag in given:
            hint = ": PUT it to .../state" if tag == STATE else ""
            raise _invalid(f"{name} ({tag}) cannot be changed by an update{hint}")
    for tag, name in _NEEDED.items():
        if tag in given and not text(given, tag):
            raise _invalid(f"{name} ({tag}) cannot be emptied")
    _check_words(given)


def check_final(dataset: Mapping[str, Any], state: ProcedureStepState) -> None:
    """Whether a workitem says all that it must in a final state.

    Raises:
        WorkitemRefused: it does not.
    """
    if state is not ProcedureStepState.COMPLETED:
        return  # when it was canceled is filled in
    items = dataset.get(PERFORMED_SEQUENCE, {}).get("Value", ())
    if not items:
        raise _unmet("Unified Procedure Step Performed Procedure Sequence (0074,1216) is empty")
    for item in items:
        for tag, name in _PERFORMED_NEEDED.items():
            if not item.get(tag, {}).get("Value"):
                raise _unmet(f"{name} ({tag[:4]},{tag[4:]}) is missing of what was performed")
        if _OUTPUT not in item:
            raise _unmet("Output Information Sequence (0040,4033) is missing of what was performed; it may be empty")


def check_transaction_uid(transaction_uid: str) -> None:
    """Refuse what can be no Transaction UID.

    Raises:
        WorkitemRefused: it is empty, or no UID.
    """
    if not transaction_uid:
        raise wrong_transaction(transaction_uid)
    if not is_uid(transaction_uid):
        raise _invalid(f"the Transaction UID is no UID of digits and dots, {LONGEST_UID} characters at most")


def wrong_transaction(transaction_uid: str) -> WorkitemRefused:
    """The refusal where a Transaction UID is needed, and is none or another one."""
    message = (
        "the Transaction UID is not the one by which the workitem was claimed"
        if transaction_uid
        else "the Transaction UID by which the workitem was claimed is missing"
    )
    return WorkitemRefused(Status.WRONG_TRANSACTION_UID, message, is_missing=not transaction_uid)


def following(
    state: ProcedureStepState | None, event: ProcedureStepEvent, transaction_uid: str = ""
) -> ProcedureStepState | Status:
    """What the state table says: the next state, or a warning.

    Raises:
        WorkitemRefused: the table refuses the event.
    """
    outcome = STEP_TRANSITIONS[state, event]
    if isinstance(outcome, ProcedureStepState) or outcome.startswith("B"):
        return outcome
    if outcome is Status.WRONG_TRANSACTION_UID:
        raise wrong_transaction(transaction_uid)
    raise WorkitemRefused(outcome, _MESSAGES[outcome])


_MESSAGES: Final = {
    Status.DUPLICATE_INSTANCE: "there is a workitem of this UID already",
    Status.NO_LONGER_UPDATED: "the workitem is completed or canceled and changes no more",
    Status.ALREADY_IN_PROGRESS: "the workitem is claimed already",
    Status.ONLY_BY_CREATION: "a workitem is SCHEDULED when it is created, and never again",
    Status.UNKNOWN_INSTANCE: "there is no such workitem",
    Status.NOT_YET_IN_PROGRESS: "nobody has claimed the workitem: claim it first, with state IN PROGRESS",
    Status.ALREADY_COMPLETED: "the workitem is completed",
}


def unknown(workitem_uid: str) -> WorkitemRefused:
    """The refusal where there is no such workitem."""
    return WorkitemRefused(Status.UNKNOWN_INSTANCE, f"there is no workitem {workitem_uid[:64]}")


def canceled(dataset: DicomJson, now: datetime) -> DicomJson:
    """A workitem that is canceled says when, whoever cancels it."""
    items = list(dataset.get(PROGRESS_SEQUENCE, {}).get("Value", ())) or [{}]
    items[0] = {**items[0], CANCELED_AT: items[0].get(CANCELED_AT) or element("DT", moment(now))}
    return {**dataset, PROGRESS_SEQUENCE: {"vr": "SQ", "Value": items}}


def _check_words(given: Mapping[str, Any]) -> None:
    if PRIORITY in given and text(given, PRIORITY) not in PRIORITIES:
        raise _invalid(f"Scheduled Procedure Step Priority is one of {', '.join(PRIORITIES)}")
    if READINESS in given and text(given, READINESS) not in _READINESS:
        raise _invalid(f"Input Readiness State is one of {', '.join(sorted(_READINESS))}")


def _invalid(message: str) -> WorkitemRefused:
    return WorkitemRefused(Refusal.INVALID_VALUE, message)


def _unmet(message: str) -> WorkitemRefused:
    return WorkitemRefused(Refusal.FINAL_STATE_UNMET, f"the workitem cannot be completed yet: {message}")
