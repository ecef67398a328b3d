"""How much of uploads one process holds at a time, in bytes and over all requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from worklist.errors import ModelUnavailable

_LEAST_BYTES: Final = 4_000_000  # that an upload counts, however small: its picture and its waiting cost something too


class BytesInHand:
    """A store of so many bytes; who finds no room waits for it, first come, first served.

    Args:
        most: bytes; an upload larger than that has the store for itself.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._turn = asyncio.Lock()  # serves those who wait in their order
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def reserved(self, size: int, patience_s: float) -> AsyncIterator[None]:
        """Room for so many bytes, for the time of a block.

        Raises:
            ModelUnavailable: busy, there was none for that long.
        """
        size = min(max(size, _LEAST_BYTES), self._most)
        try:
            async with asyncio.timeout(patience_s), self._turn:
                while self._held + size > self._most:
                    self._freed.clear()
                    await self._freed.wait()
                self._held += size
        except TimeoutError:
            raise ModelUnavailable("busy", "too many uploads wait for a worker: try again later") from None
        try:
            yield
        finally:
            self._held -= size
            self._freed.set()
