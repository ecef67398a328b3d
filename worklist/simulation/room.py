"""The reading room as events: a study arrives, a reader is free, a shift begins or ends.

An event loop of our own: SimPy 4.1 gives the same films the same waits in six times the time, and a page of the gateway
has to answer in a few seconds.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from worklist.simulation.department import SimulatedStudy
from worklist.simulation.orders import Queue
from worklist.simulation.staffing import Staffing


def wait_times(studies: Sequence[SimulatedStudy], staffing: Staffing, queue: Queue) -> list[float]:
    """How long each study waits from its arrival until its reading begins, seconds.

    The run ends once every counted study is being read, or with the last study that arrives; after it nobody waits
    for ever, because readers go on while no more films come. What is not counted and not read by then is NaN.

    Args:
        studies: in order of arrival.
        staffing: who reads when.
        queue: empty; studies are pushed by their index.
    """
    waits = [math.nan] * len(studies)
    finishes: list[float] = []  # when each reader who reads now will be free
    changes = staffing.changes()
    change_s, next_readers = next(changes)
    readers = index = 0
    left = sum(study.is_counted for study in studies)
    while left:
        arrives_s = studies[index].at_s if index < len(studies) else math.inf
        free_s = finishes[0] if finishes else math.inf
        now_s = min(change_s, arrives_s, free_s)
        if change_s == now_s:
            readers = next_readers
            change_s, next_readers = next(changes, (math.inf, readers))
        elif free_s == now_s:
            heapq.heappop(finishes)
        else:
            queue.push(index)
            index += 1
        while len(finishes) < readers and len(queue):
            chosen = queue.pop(now_s)
            waits[chosen] = now_s - studies[chosen].at_s
            left -= studies[chosen].is_counted
            heapq.heappush(finishes, now_s + studies[chosen].reading_s)
    return waits
