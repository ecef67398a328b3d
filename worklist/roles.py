"""Who may do what: one table for all who ask, whether by HTTP, DIMSE, UPS or the command line."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What somebody is at this hospital; one who is several things may do what any of them may."""

    RADIOLOGIST = "radiologist"
    TECHNOLOGIST = "technologist"
    QA = "qa"
    IT = "it"
    SERVICE = "service"  # another system: a viewer, a workstation, Orthanc's plug-in


class UseCase(StrEnum):
    """What can be asked for, in the words in which a refusal says it."""

    SEE_LIST = "see the reading list"
    SEARCH = "search for studies and workitems"
    OPEN_STUDY = "open a study's images and results"
    OPEN_IN_EMERGENCY = "open one study in an emergency, with a reason"
    READ = "claim, read and put back studies"
    SCHEDULE = "create, change and cancel workitems"
    SUBSCRIBE = "subscribe to workitems"
    STORE = "store images"
    TRY = "try the model on a film, or in a simulation"
    SEE_FAILURES = "see what failed"
    RETRY = "try again what failed"
    SEE_METRICS = "see the counts and times of the site"
    SEE_TRIAGE = "see the triage settings"
    CHANGE_TRIAGE = "change the triage settings"


_R, _T, _Q, _I, _S = Role.RADIOLOGIST, Role.TECHNOLOGIST, Role.QA, Role.IT, Role.SERVICE
PERMITTED: Final[Mapping[UseCase, frozenset[Role]]] = {
    UseCase.SEE_LIST: frozenset({_R, _T, _Q, _S}),
    UseCase.SEARCH: frozenset({_R, _T, _Q, _S}),
    UseCase.OPEN_STUDY: frozenset({_R, _Q, _S}),
    UseCase.OPEN_IN_EMERGENCY: frozenset({_T, _I}),
    UseCase.READ: frozenset({_R}),
    UseCase.SCHEDULE: frozenset({_R, _T, _S}),
    UseCase.SUBSCRIBE: frozenset({_R, _T, _Q, _S}),
    UseCase.STORE: frozenset({_T, _S}),
    UseCase.TRY: frozenset({_R, _T, _Q, _I, _S}),
    UseCase.SEE_FAILURES: frozenset({_R, _T, _Q, _I}),
    UseCase.RETRY: frozenset({_T, _Q, _I}),
    UseCase.SEE_METRICS: frozenset({_Q, _I, _S}),
    UseCase.SEE_TRIAGE: frozenset({_R, _Q, _I}),
    UseCase.CHANGE_TRIAGE: frozenset({_Q}),
}
"""The table; docs/security.md shows it, and a test compares the two."""

BY_SITE: Final = frozenset(
    {
        UseCase.SEE_LIST,
        UseCase.SEARCH,
        UseCase.OPEN_STUDY,
        UseCase.OPEN_IN_EMERGENCY,
        UseCase.READ,
        UseCase.SCHEDULE,
        UseCase.TRY,
        UseCase.SEE_FAILURES,
        UseCase.RETRY,
    }
)
"""What somebody may who sees some sites alone (sight.py): it is held to these. All else concerns every site."""

EVERY_ROLE: Final = frozenset(Role)
"""Of who acts where nobody is asked to log in."""
