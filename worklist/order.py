"""The reading order: one static key a study, raised by its score, never lowered, and bounded.

queue_at = received_at - head_start(score)
head_start(p) = H * max(0, 2 * sigmoid(k * (logit p - logit prevalence)) - 1)

STAT orders come first, everything else by queue_at. A study at or below the expected prevalence has no
head start, and STAT aside nobody is overtaken by a study that arrived more than H later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

_NEVER_ONE = 1e-9


class OrderPriority(StrEnum):
    """Requested Procedure Priority (0040,1003): the order's own, never changed by Firstread."""

    STAT = "STAT"
    HIGH = "HIGH"
    ROUTINE = "ROUTINE"
    MEDIUM = "MEDIUM"
    LOW = "LOW"

    @classmethod
    def of(cls, value: str) -> OrderPriority:
        """The priority a requisition states; ROUTINE where it states none or an unknown word."""
        try:
            return cls(value.strip().upper())
        except ValueError:
            return cls.ROUTINE


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderPolicy:
    """A site's bound on how far a score may move a study.

    Attributes:
        horizon: H, the largest head start.
        steepness: k, how fast the head start grows with the log odds of the score.
        prevalence: expected rate of urgent studies; at or below it a score moves nothing.
    """

    horizon: timedelta = timedelta(hours=16)
    steepness: float = 1.5
    prevalence: float = 0.35

    def __post_init__(self) -> None:
        """Refuse a policy under which the order would not be defined."""
        if self.horizon < timedelta(0) or not 0 < self.steepness < math.inf or not 0 < self.prevalence < 1:
            raise ValueError(f"the horizon must be >= 0, the steepness > 0 and 0 < prevalence < 1, got {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderKey:
    """What the order depends on, and nothing else."""

    order_priority: OrderPriority
    queue_at: datetime
    received_at: datetime
    study_instance_uid: str

    @property
    def sort_key(self) -> tuple[bool, datetime, datetime, str]:
        """Smallest is read first; ties end at the Study Instance UID, so the order is total."""
        is_stat = self.order_priority is OrderPriority.STAT
        return (not is_stat, self.queue_at, self.received_at, self.study_instance_uid)


def head_start(score: float | None, policy: OrderPolicy) -> timedelta:
    """How much earlier than it arrived a study with this score is queued; zero where there is no score."""
    if score is None:
        return timedelta(0)
    excess = policy.steepness * (_logit(score) - _logit(policy.prevalence))
    share = max(0.0, math.tanh(excess / 2))  # tanh(x / 2) is 2 * sigmoid(x) - 1
    return timedelta(seconds=round(policy.horizon.total_seconds() * share))


def queue_at(received_at: datetime, score: float | None, policy: OrderPolicy) -> datetime:
    """The moment by which a study is sorted."""
    return received_at - head_start(score, policy)


def _logit(p: float) -> float:
    p = min(max(p, _NEVER_ONE), 1 - _NEVER_ONE)
    return math.log(p / (1 - p))
