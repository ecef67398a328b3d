"""Uploads are bounded by their bytes over all requests, and served in the order in which they came."""

from __future__ import annotations

import asyncio

import pytest

from gateway.predict.in_hand import BytesInHand
from worklist.errors import ModelUnavailable

MB = 1_000_000


def test_so_many_bytes_are_in_hand_at_a_time() -> None:
    """What does not fit waits for those before it; a small one counts a little, and a huge one fits alone."""
    most_at_once = 0

    async def upload(store: BytesInHand, size: int, held: list[int]) -> None:
        nonlocal most_at_once
        async with store.reserved(size, 60):
            held.append(size)
            most_at_once = max(most_at_once, sum(held))
            await asyncio.sleep(0)
            held.remove(size)

    async def all_of(sizes: list[int]) -> None:
        store, held = BytesInHand(100 * MB), list[int]()
        await asyncio.gather(*(upload(store, size, held) for size in sizes))

    asyncio.run(all_of([60 * MB, 40 * MB, 30 * MB, 70 * MB, 100 * MB]))
    assert most_at_once == 100 * MB
    most_at_once = 0
    asyncio.run(all_of([1] * 100))
    assert most_at_once == 25
    asyncio.run(all_of([900 * MB]))


def test_first_come_first_served() -> None:
    """A small upload does not overtake a large one that waits, or that one would wait for ever."""
    order = []

    async def upload(store: BytesInHand, size: int) -> None:
        async with store.reserved(size, 60):
            order.append(size)
            await asyncio.sleep(0)

    async def run() -> None:
        store = BytesInHand(100 * MB)
        await asyncio.gather(*(upload(store, size) for size in (60 * MB, 90 * MB, 10 * MB, 80 * MB)))

    asyncio.run(run())
    assert order == [60 * MB, 90 * MB, 10 * MB, 80 * MB]


def test_who_finds_no_room_is_told_in_time() -> None:
    """And the room is not lost to the one who gave up."""

    async def run() -> None:
        store = BytesInHand(10 * MB)
        async with store.reserved(10 * MB, 60):
            with pytest.raises(ModelUnavailable) as refused:
                async with store.reserved(MB, 0.01):
                    raise AssertionError("there was no room")
            assert refused.value.code == "busy"
        async with store.reserved(10 * MB, 60):
            pass

    asyncio.run(run())
