"""The ways of ordering a list that are compared, each as a queue that gives the study to be read next."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

from worklist.order import OrderKey, OrderPriority
from worklist.simulation.arrivals import MONDAY
from worklist.simulation.department import SimulatedStudy
from worklist.simulation.judging import Judged
from worklist.triage import SiteChoices, Urgency, queue_at

_CLASSES = (Urgency.CRITICAL, Urgency.URGENT, Urgency.NONE)


class Order(StrEnum):
    """A way of ordering the list. STAT orders come first under each, and ties are read in order of arrival."""

    FIRST_COME = "first_come"
    SCORE = "score"
    SCORE_CAPPED = "score_capped"
    CLASSES = "classes"
    FIRSTREAD = "firstread"

    @property
    def label(self) -> str:
        """The order in words."""
        return {
            Order.FIRST_COME: "First come, first served",
            Order.SCORE: "By score alone",
            Order.SCORE_CAPPED: "By score, with a longest wait",
            Order.CLASSES: "Classes as separate queues",
            Order.FIRSTREAD: "Firstread",
        }[self]

    @property
    def meaning(self) -> str:
        """What is read next."""
        return {
            Order.FIRST_COME: "the study that arrived first",
            Order.SCORE: "the study with the greatest harm of waiting, flagged or not",
            Order.SCORE_CAPPED: "the same, but whatever has waited longer than the limit first",
            Order.CLASSES: "critical, then urgent, then the others, each in order of arrival",
            Order.FIRSTREAD: "the study that arrived first, flagged ones moved up by a bounded head start",
        }[self]


class Queue(Protocol):
    """Studies that wait."""

    def __len__(self) -> int:
        """How many."""

    def push(self, index: int) -> None:
        """A study has arrived."""

    def pop(self, now_s: float) -> int:
        """The study that is read next."""


def queue_of(order: Order, judged: Sequence[Judged], site: SiteChoices, longest_wait: timedelta) -> Queue:
    """An empty queue for these studies, which are pushed by their index, in order of arrival.

    Args:
        order: the way of ordering.
        judged: all studies of a run.
        site: what the site chooses of the triage rule.
        longest_wait: of Order.SCORE_CAPPED.
    """
    keys = [_KEYS[order](index, each, site) for index, each in enumerate(judged)]
    if order is Order.SCORE_CAPPED:
        return _CappedQueue(keys, [each.study for each in judged], longest_wait.total_seconds())
    return _SortedQueue(keys)


def _is_not_stat(judged: Judged) -> bool:
    return judged.study.order_priority is not OrderPriority.STAT


def _first_come(index: int, judged: Judged, site: SiteChoices) -> tuple[Any, ...]:
    del site
    return (_is_not_stat(judged), index)


def _by_score(index: int, judged: Judged, site: SiteChoices) -> tuple[Any, ...]:
    del site
    return (_is_not_stat(judged), -judged.triage.harm, index)


def _by_class(index: int, judged: Judged, site: SiteChoices) -> tuple[Any, ...]:
    del site
    return (_is_not_stat(judged), _CLASSES.index(judged.triage.urgency), index)


def _as_shipped(index: int, judged: Judged, site: SiteChoices) -> tuple[Any, ...]:
    study = judged.study
    received_at = MONDAY + timedelta(seconds=study.at_s)
    key = OrderKey(
        order_priority=study.order_priority,
        queue_at=queue_at(received_at, study.order_priority, judged.triage, site),
        received_at=received_at,
        study_instance_uid=f"2.25.{index:09d}",
    )
    return key.sort_key


_KEYS: Mapping[Order, Callable[[int, Judged, SiteChoices], tuple[Any, ...]]] = {
    Order.FIRST_COME: _first_come,
    Order.SCORE: _by_score,
    Order.SCORE_CAPPED: _by_score,
    Order.CLASSES: _by_class,
    Order.FIRSTREAD: _as_shipped,
}


class _SortedQueue:
    """The waiting study with the smallest key."""

    def __init__(self, keys: Sequence[tuple[Any, ...]]) -> None:
        self._keys = keys
        self._heap: list[tuple[tuple[Any, ...], int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, index: int) -> None:
        heapq.heappush(self._heap, (self._keys[index], index))

    def pop(self, now_s: float) -> int:
        del now_s
        return heapq.heappop(self._heap)[1]


class _CappedQueue:
    """The same, but the study that has waited longest where it has waited too long, behind STAT orders alone."""

    def __init__(self, keys: Sequence[tuple[Any, ...]], studies: Sequence[SimulatedStudy], cap_s: float) -> None:
        self._keys, self._studies, self._cap_s = keys, studies, cap_s
        self._heap: list[tuple[tuple[Any, ...], int]] = []
        self._is_waiting = bytearray(len(studies))
        self._oldest = self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, index: int) -> None:
        heapq.heappush(self._heap, (self._keys[index], index))
        self._is_waiting[index] = 1
        self._count += 1

    def pop(self, now_s: float) -> int:
        while not self._is_waiting[self._oldest]:
            self._oldest += 1
        while not self._is_waiting[self._heap[0][1]]:  # it was read for its wait
            heapq.heappop(self._heap)
        chosen = self._heap[0][1]
        is_stat = self._studies[chosen].order_priority is OrderPriority.STAT
        if not is_stat and now_s - self._studies[self._oldest].at_s > self._cap_s:
            chosen = self._oldest
        self._is_waiting[chosen] = 0
        self._count -= 1
        return chosen
