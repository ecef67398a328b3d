"""A Reading: the human side of a study, from unread to read, with the states of a Unified Procedure Step.

    unread (SCHEDULED) -> being read (IN PROGRESS, under a lease that lapses) -> read (COMPLETED)

A read study returns to the list, marked, for a new image or a new critical finding, and a reader may put it back by
hand; both open another round, since a completed step never changes (PS3.4 Table CC.1.1-1). So does a claim that is
given up or lapses: its step is canceled, and no step in progress becomes a scheduled one. A prior stands aside from
the work until somebody makes it work; a study of long ago whose report came along with its images, and which would
return for the rest of them, stands aside too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from worklist.errors import Conflict, NotPermitted
from worklist.procedure_step import STEP_TRANSITIONS, ProcedureStepEvent, ProcedureStepState, Status
from worklist.roles import BY_SITE, EVERY_ROLE, PERMITTED, Role, UseCase
from worklist.sight import Sight


class ReadingState(StrEnum):
    """Where a study stands between people."""

    UNREAD = "unread"
    READING = "reading"
    READ = "read"
    PRIOR = "prior"

    @property
    def step_state(self) -> ProcedureStepState | None:
        """The state of its procedure step; a prior has none."""
        return _STEP_STATES[self]


_STEP_STATES = {
    ReadingState.UNREAD: ProcedureStepState.SCHEDULED,
    ReadingState.READING: ProcedureStepState.IN_PROGRESS,
    ReadingState.READ: ProcedureStepState.COMPLETED,
    ReadingState.PRIOR: None,
}
ON_THE_LIST: Final = (ReadingState.UNREAD, ReadingState.READING)


class ReadingEvent(StrEnum):
    """What can happen to a reading; 'foreign' is by somebody else than the one who reads it."""

    CLAIM = "claim"
    CLAIM_FOREIGN = "claim, foreign"
    COMPLETE = "complete"
    COMPLETE_FOREIGN = "complete, foreign"
    PUT_BACK = "put back"
    PUT_BACK_FOREIGN = "put back, foreign"
    LAPSE = "lapse"
    REPORT = "report"  # a radiologist's report of the study lies in the PACS
    RETURN = "return"  # a new image or a new critical finding
    RETURN_OLD = "return, old"  # the same, of a study that is old enough for a prior


class HowRead(StrEnum):
    """How it is known that a study was read."""

    BY_HAND = "by_hand"
    WORKITEM = "workitem"
    REPORT = "report"
    MESSAGE = "message"  # HL7 or FHIR


class ActorSource(StrEnum):
    """How a name became known."""

    TYPED = "typed"
    PROXY = "proxy"
    SESSION = "session"  # logged in at the hospital's identity provider
    TOKEN = "token"  # noqa: S105 - an access token of the same, of a machine
    KEY = "key"  # an API key
    PLUGIN = "plug-in"  # Orthanc's, by the doorbell's secret
    DICOM = "dicom"  # an AE title, or the name in a certificate
    REPORT = "report"
    SYSTEM = "system"
    COMMAND_LINE = "command line"


_PROVED: Final = frozenset({ActorSource.PROXY, ActorSource.SESSION, ActorSource.TOKEN, ActorSource.KEY})


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """Who asks.

    Attributes:
        name: of the person or the machine.
        source: how it became known.
        roles: every one where nobody is asked to log in.
        address: from where; empty where that is this process, or is not known.
        sight: the sites that are seen; None for all.
    """

    name: str
    source: ActorSource
    roles: frozenset[Role] = field(default=EVERY_ROLE, compare=False)
    address: str = field(default="", compare=False)
    sight: Sight | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuse the nameless."""
        if not self.name.strip():
            raise ValueError("an actor needs a name")

    @property
    def is_known(self) -> bool:
        """Whether the name is proved, by a login, a key or the hospital's proxy, and not merely said."""
        return self.source in _PROVED

    def may(self, use_case: UseCase) -> bool:
        """Whether one of the roles permits it, and who sees some sites alone may do it."""
        is_of_their_sites = self.sight is None or use_case in BY_SITE
        return is_of_their_sites and not self.roles.isdisjoint(PERMITTED[use_case])

    def require(self, use_case: UseCase) -> None:
        """Make sure that it is permitted.

        Raises:
            NotPermitted: not_permitted.
        """
        if self.sight is not None and use_case not in BY_SITE:
            self.require_every_site(use_case)
        if not self.may(use_case):
            has = f"has the role {' and '.join(sorted(self.roles))}" if self.roles else "has no role here"
            may = ", ".join(sorted(PERMITTED[use_case]))
            raise NotPermitted("not_permitted", f"{self.name} {has}: only {may} may {use_case}; ask IT for the role")

    def require_every_site(self, what: str) -> None:
        """Make sure that whoever asks sees all sites.

        Args:
            what: is asked for.

        Raises:
            NotPermitted: not_permitted.
        """
        if self.sight is not None:
            raise NotPermitted(
                "not_permitted", f"{self.name} sees some sites alone: only who sees all may {what}; see FIRSTREAD_SEES"
            )


SYSTEM: Final = Actor(name="Firstread", source=ActorSource.SYSTEM)

_R, _V, _S = ReadingState, ReadingEvent, Status
_TAKEN = STEP_TRANSITIONS[ProcedureStepState.IN_PROGRESS, ProcedureStepEvent.COMPLETE_FOREIGN]
_FINAL = STEP_TRANSITIONS[ProcedureStepState.COMPLETED, ProcedureStepEvent.START_OWNED]
_AGAIN = STEP_TRANSITIONS[ProcedureStepState.COMPLETED, ProcedureStepEvent.COMPLETE_OWNED]
_NOT_STARTED = STEP_TRANSITIONS[ProcedureStepState.SCHEDULED, ProcedureStepEvent.COMPLETE_OWNED]
_STATES = (_R.UNREAD, _R.READING, _R.READ, _R.PRIOR)
# Reading without claiming claims first; a warning and a lapse of what nobody reads change nothing.
_ROWS: Final[dict[ReadingEvent, tuple[ReadingState | ProcedureStepState | Status, ...]]] = {
    _V.CLAIM: (_R.READING, _R.READING, _FINAL, _R.READING),
    _V.CLAIM_FOREIGN: (_TAKEN, _TAKEN, _TAKEN, _TAKEN),
    _V.COMPLETE: (_R.READ, _R.READ, _AGAIN, _R.READ),
    _V.COMPLETE_FOREIGN: (_TAKEN, _TAKEN, _TAKEN, _TAKEN),
    _V.PUT_BACK: (_R.UNREAD, _R.UNREAD, _R.UNREAD, _R.UNREAD),
    _V.PUT_BACK_FOREIGN: (_TAKEN, _TAKEN, _TAKEN, _TAKEN),
    _V.LAPSE: (_NOT_STARTED, _R.UNREAD, _FINAL, _NOT_STARTED),
    _V.REPORT: (_R.READ, _R.READ, _AGAIN, _R.READ),
    _V.RETURN: (_R.UNREAD, _R.READING, _R.UNREAD, _R.PRIOR),
    _V.RETURN_OLD: (_R.UNREAD, _R.READING, _R.PRIOR, _R.PRIOR),
}
READING_TRANSITIONS: Final[dict[tuple[ReadingState, ReadingEvent], ReadingState | Status]] = {
    (state, event): outcome
    for event, outcomes in _ROWS.items()
    for state, outcome in zip(_STATES, outcomes, strict=True)
    if isinstance(outcome, ReadingState | Status)
}
"""Every pair, with the state that follows or the status code of PS3.4 Annex CC that refuses it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Who reads a study, or read it, since when, and how that is known.

    Attributes:
        state: where it stands.
        reader: who is reading it, or read it; empty where nobody does.
        since: from when on it is in this state.
        lease_until: when the claim lapses; None unless it is being read.
        how: how it is known that it was read.
        returned_for: why a read study came back; empty where it did not.
        number: counts from 1; each return, each putting back and each claim that ends without a reading opens another.
    """

    state: ReadingState
    since: datetime
    reader: str = ""
    lease_until: datetime | None = None
    how: HowRead | None = None
    returned_for: str = ""
    number: int = 1

    def __post_init__(self) -> None:
        """Refuse half-made states."""
        if (self.state is ReadingState.READING) != (self.lease_until is not None):
            raise ValueError("a study has a lease exactly while it is being read")
        if (self.state is ReadingState.READ) != (self.how is not None):
            raise ValueError("it is known how exactly where a study was read")

    def claim(self, actor: Actor, now: datetime, lease: timedelta) -> Reading:
        """Begin to read it, or go on: the claim of the one who reads it renews the lease.

        Raises:
            Conflict: being_read by somebody else, or already_read.
        """
        self._follow(self._by(actor, ReadingEvent.CLAIM, ReadingEvent.CLAIM_FOREIGN))
        is_renewal = self.state is ReadingState.READING
        return replace(
            self,
            state=ReadingState.READING,
            reader=actor.name,
            since=self.since if is_renewal else now,
            lease_until=now + lease,
        )

    def complete(self, actor: Actor, now: datetime, how: HowRead) -> Reading:
        """It is read; a report in the PACS or a message says so whoever claimed it. Saying it again changes nothing.

        Raises:
            Conflict: being_read by somebody else.
        """
        event = (
            self._by(actor, ReadingEvent.COMPLETE, ReadingEvent.COMPLETE_FOREIGN)
            if how in {HowRead.BY_HAND, HowRead.WORKITEM}
            else ReadingEvent.REPORT
        )
        if READING_TRANSITIONS[self.state, event] is Status.ALREADY_COMPLETED_WARNING:
            return self
        self._follow(event)
        return replace(self, state=ReadingState.READ, reader=actor.name, since=now, lease_until=None, how=how)

    def put_back(self, actor: Actor, now: datetime) -> Reading:
        """It is to be read (again): a claim is given up, a read study returns, a prior becomes work.

        Raises:
            Conflict: being_read by somebody else.
        """
        self._follow(self._by(actor, ReadingEvent.PUT_BACK, ReadingEvent.PUT_BACK_FOREIGN))
        return self if self.state is ReadingState.UNREAD else self._again(ReadingState.UNREAD, now, self.returned_for)

    def lapse(self, now: datetime) -> Reading:
        """The claim is given up for a reader who went away; nothing happens before its time."""
        if self.lease_until is None or now < self.lease_until:
            return self
        self._follow(ReadingEvent.LAPSE)
        return self._again(ReadingState.UNREAD, now, self.returned_for)

    def come_back(self, why: str, now: datetime, *, is_old: bool = False) -> Reading:
        """A new image or a new critical finding: a read study is to be read again, marked; others go on as they are.

        One that is old enough for a prior comes back as a prior.
        """
        event = ReadingEvent.RETURN_OLD if is_old else ReadingEvent.RETURN
        following = self._follow(event)
        return self._again(following, now, why) if self.state is ReadingState.READ else self

    def _again(self, state: ReadingState, now: datetime, returned_for: str) -> Reading:
        is_next = self.state in {ReadingState.READ, ReadingState.READING}
        return Reading(state=state, since=now, returned_for=returned_for, number=self.number + int(is_next))

    def _by(self, actor: Actor, own: ReadingEvent, foreign: ReadingEvent) -> ReadingEvent:
        return foreign if self.state is ReadingState.READING and actor.name != self.reader else own

    def _follow(self, event: ReadingEvent) -> ReadingState:
        outcome = READING_TRANSITIONS[self.state, event]
        if isinstance(outcome, ReadingState):
            return outcome
        if outcome is Status.WRONG_TRANSACTION_UID:
            raise Conflict(
                "being_read",
                f"{self.reader} is reading this study since {self.since:%H:%M} UTC: ask them, or wait",
                status=outcome,
            )
        raise Conflict(
            "already_read", f"{self.reader or 'somebody'} has read this study: put it back first", status=outcome
        )


def unread(now: datetime) -> Reading:
    """The reading of a study that has just arrived."""
    return Reading(state=ReadingState.UNREAD, since=now)


def prior(now: datetime) -> Reading:
    """The reading of a study of long ago, which is taken for a prior."""
    return Reading(state=ReadingState.PRIOR, since=now)
