"""Searches take turns: a few at one time, and one for all who ask the same while it waits.

Lists that many viewers refresh at once would else fill all threads of the gateway, which are those of the feed too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from fastapi.concurrency import run_in_threadpool

_GATHERING_S: Final = 0.1
_CROWDED_S: Final = 2 * _GATHERING_S  # after two that met: the second itself gathers half of it

_Answer = TypeVar("_Answer")


class Turns(Generic[_Answer]):
    """Answers questions, each in a thread.

    An answer is shared by those alone who asked before it was begun, so that nobody is told what was before he asked.
    Where several have just asked at once, a question waits a moment, so that more share its answer; whoever asks one
    after the other does not wait.

    Args:
        most: how many are answered at one time.
    """

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._begun = 0
        self._crowded_until = 0.0
        self._waiting: dict[Hashable, asyncio.Task[_Answer]] = {}

    async def answer(self, question: Hashable, work: Callable[[], _Answer]) -> _Answer:
        """The answer to a question, by this work or by the same work of another one who waits.

        Args:
            question: equal where the answers are the same.
            work: finds it; what it raises is raised.
        """
        if self._begun or self._waiting:
            self._crowded_until = time.monotonic() + _CROWDED_S
        task = self._waiting.get(question)
        if task is None:
            task = self._waiting[question] = asyncio.create_task(self._begin(question, work))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # all may have gone
        return await asyncio.shield(task)

    async def _begin(self, question: Hashable, work: Callable[[], _Answer]) -> _Answer:
        try:
            if time.monotonic() < self._crowded_until:
                await asyncio.sleep(_GATHERING_S)
            await self._free.acquire()
        finally:
            del self._waiting[question]
        self._begun += 1
        try:
            return await run_in_threadpool(work)
        finally:
            self._begun -= 1
            self._free.release()
