"""Searches that take turns."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from gateway.dicomweb.turns import Turns


def test_who_asks_the_same_while_it_waits_shares_the_answer() -> None:
    """One that was begun before the question is shared by nobody; a third question is answered by itself."""
    begun, go_on = threading.Event(), threading.Event()
    asked: list[str] = []

    def work(question: str) -> str:
        asked.append(question)
        begun.set()
        assert go_on.wait(60)
        return f"{question} {len(asked)}"

    async def ask_all() -> list[str]:
        turns: Turns[str] = Turns(1)
        first = asyncio.create_task(turns.answer("a", lambda: work("a")))
        assert await asyncio.to_thread(begun.wait, 60)
        later = [asyncio.create_task(turns.answer(name, lambda name=name: work(name))) for name in "aaba"]  # type: ignore[misc]
        await asyncio.sleep(0.01)
        go_on.set()
        return list(await asyncio.gather(first, *later))

    assert asyncio.run(ask_all()) == ["a 1", "a 2", "a 2", "b 3", "a 2"]
    assert asked == ["a", "a", "b"]


def test_one_that_fails_or_goes_leaves_the_others_their_answer() -> None:
    """What is raised is raised to all who share it; whoever hangs up ends nobody else's search."""
    go_on = threading.Event()

    def fail() -> str:
        raise ValueError("no")

    def wait() -> str:
        assert go_on.wait(60)
        return "told"

    async def ask_all() -> None:
        turns: Turns[str] = Turns(1)
        holding = asyncio.create_task(turns.answer("held", wait))
        await asyncio.sleep(0.01)
        gone, staying = (asyncio.create_task(turns.answer("same", wait)) for _ in range(2))
        failing = [asyncio.create_task(turns.answer("bad", fail)) for _ in range(2)]
        await asyncio.sleep(0.01)
        gone.cancel()
        go_on.set()
        assert [await holding, await staying] == ["told", "told"]
        for one in failing:
            with pytest.raises(ValueError, match="no"):
                await one

    asyncio.run(ask_all())


def test_where_several_have_just_met_the_next_ones_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    """After two that met, those who come one by one share an answer; whoever asks alone gets each at once."""
    asked: list[str] = []
    now_s, waits, run_others = 0.0, list[tuple[float, asyncio.Future[None]]](), asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append((now_s + seconds, asyncio.get_running_loop().create_future()))
        await waits[-1][1]

    monkeypatch.setattr("gateway.dicomweb.turns.asyncio.sleep", sleep)
    monkeypatch.setattr("gateway.dicomweb.turns.time", SimpleNamespace(monotonic=lambda: now_s))

    async def pass_time(seconds: float) -> None:
        nonlocal now_s
        for _ in range(5):  # whatever can be done by now
            await run_others(0)
        now_s += seconds
        for until_s, due in waits:
            if until_s <= now_s and not due.done():
                due.set_result(None)

    def work(question: str) -> str:
        asked.append(question)
        return f"{question} {len(asked)}"

    async def ask_all() -> None:
        turns: Turns[str] = Turns(1)

        def ask(name: str) -> asyncio.Task[str]:
            return asyncio.create_task(turns.answer(name, lambda: work(name)))

        met = [ask("a"), ask("b")]
        await pass_time(0.1)
        assert await asyncio.gather(*met) == ["a 1", "b 2"]
        later = []
        for _ in range(3):  # nothing is being answered any more, and nothing waits but these
            later.append(ask("a"))
            await pass_time(0.03)
        assert asked == ["a", "b"]
        await pass_time(0.01)
        assert await asyncio.gather(*later) == ["a 3"] * 3
        await pass_time(0.3)
        waits.clear()
        assert [await ask("c") for _ in range(10)] == [f"c {4 + number}" for number in range(10)]
        assert not waits

    asyncio.run(ask_all())
