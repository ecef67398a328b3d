"""How often somebody may ask, counted in a bounded amount of memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MOST_NAMES: Final = 10_000


class Rate:
    """A number of turns a minute for each name; they may come all at once, and then one by one again (token bucket).

    Args:
        a_minute: turns.
        most_names: remembered at one time; beyond them, whoever was away longest starts anew.
        clock: seconds.
    """

    def __init__(
        self, a_minute: int, most_names: int = MOST_NAMES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = float(a_minute)
        self._a_second = a_minute / 60
        self._most_names = most_names
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # turns, as of a time

    def take(self, name: str) -> bool:
        """Take a turn; False where there is none left."""
        left = self._now_left(name)
        has_turn = left >= 1
        self._left[name] = (left - 1 if has_turn else left, self._clock())
        self._left.move_to_end(name)
        if len(self._left) > self._most_names:
            self._left.popitem(last=False)
        return has_turn

    def has_turn(self, name: str) -> bool:
        """Whether there is a turn left."""
        return self._now_left(name) >= 1

    def _now_left(self, name: str) -> float:
        left, at = self._left.get(name, (self._most, 0.0))
        return min(self._most, left + (self._clock() - at) * self._a_second)
