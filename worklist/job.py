"""The work on a study: queues, the states of a job, and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from worklist.errors import PermanentError
from worklist.procedure_step import ProcedureStepState


class Queue(StrEnum):
    """The fast path scores one image, the slow path reports one study, uploads are judged, and speech is heard."""

    SCORE = "score"
    REPORT = "report"
    PREDICT = "predict"
    DICTATE = "dictate"

    @property
    def task(self) -> str:
        """The name of the queue at the broker, and of the Celery task that takes up what lies in it.

        A worker of a version before readings serves queues named as the values are, and would throw these away.
        """
        return f"firstread.{self.value}"


ALWAYS_SERVED: Final = (Queue.SCORE, Queue.REPORT, Queue.PREDICT)
"""Every site's; speech is heard only where it is set up."""


class JobEvent(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"
    COMPLETE = "complete"
    POSTPONE = "postpone"
    FAIL = "fail"
    RERUN = "rerun"


_S = ProcedureStepState
JOB_TRANSITIONS: Final[dict[tuple[ProcedureStepState, JobEvent], ProcedureStepState]] = {
    (_S.SCHEDULED, JobEvent.CLAIM): _S.IN_PROGRESS,
    (_S.IN_PROGRESS, JobEvent.CLAIM): _S.IN_PROGRESS,  # only once the lease has run out
    (_S.IN_PROGRESS, JobEvent.COMPLETE): _S.COMPLETED,
    (_S.IN_PROGRESS, JobEvent.POSTPONE): _S.SCHEDULED,
    (_S.IN_PROGRESS, JobEvent.FAIL): _S.CANCELED,
    (_S.SCHEDULED, JobEvent.FAIL): _S.CANCELED,
    (_S.CANCELED, JobEvent.RERUN): _S.SCHEDULED,
}
OPEN_JOBS: Final = (_S.SCHEDULED, _S.IN_PROGRESS)


def next_state(state: ProcedureStepState, event: JobEvent) -> ProcedureStepState:
    """The state that follows.

    Raises:
        PermanentError: the event is not legal in this state.
    """
    try:
        return JOB_TRANSITIONS[state, event]
    except KeyError:
        raise PermanentError("illegal_transition", f"a job that is {state} cannot {event}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """A wait that doubles with each message that was sent in vain, up to a longest one."""

    first: timedelta
    longest: timedelta

    def after(self, sent: int) -> timedelta:
        """How long to wait after so many messages, one at the least."""
        return min(self.first * (1 << (sent - 1)), self.longest)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobLimits:
    """How patient the work is.

    Attributes:
        lease: how long a claim holds unless it is renewed.
        max_attempts: claims after which a job fails.
        first_pause: pause before the second attempt; it doubles with each, up to a minute.
        pacs_patience: how long a job waits for an absent PACS before that counts as a failure.
        requeue_after: how long a message may lie in the broker before another is sent.
        resend_after: how long after a message was sent another is, where none lies in the broker and the job is still
            in nobody's hands.
    """

    lease: timedelta = timedelta(seconds=15)
    max_attempts: int = 5
    first_pause: timedelta = timedelta(seconds=1)
    pacs_patience: timedelta = timedelta(hours=1)
    requeue_after: Patience = Patience(first=timedelta(seconds=20), longest=timedelta(minutes=10))
    resend_after: Patience = Patience(first=timedelta(seconds=2), longest=timedelta(seconds=16))
