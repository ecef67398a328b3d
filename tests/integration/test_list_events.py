"""GET /worklist/events, on a real list: what pages hear, in which order, and what happens to slow ones."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

import migrations
from gateway.list.hub import ListHub
from tests.hospitals import wait_until
from tests.list_gateway import ListGateway, running_list
from tests.lists import EFFUSION, NOTHING, PNEUMOTHORAX, FilledList, uid_of
from worklist.records import Database, Worklist
from worklist.site import SiteRules

_LONG_S = 60.0

Event = tuple[str, str, dict[str, Any]]
"""Kind, number ("" where it bears none) and data."""


@pytest.fixture
def listed(database: Database) -> FilledList:
    """Three studies, on SQLite and on PostgreSQL."""
    filled = FilledList(database)
    for number in (1, 2, 3):
        filled.add(number, minutes=number, findings=NOTHING)
    return filled


@pytest.fixture
def gateway(listed: FilledList) -> Iterator[ListGateway]:
    """The list, served, with heartbeats ten times as fast."""
    with running_list(listed, heartbeat=timedelta(seconds=1)) as gateway:
        yield gateway


@contextmanager
def listening(gateway: ListGateway, **more: Any) -> Iterator[Iterator[Event]]:  # noqa: ANN401 - of the request
    """The events of one connection, from its first heartbeat on."""
    with (
        httpx.Client(trust_env=False, timeout=60) as client,
        client.stream("GET", f"{gateway.url}worklist/events", **more) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events_of(answer.iter_lines())


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    """The events of a stream."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields.get("event", ""), fields.get("id", ""), json.loads(fields["data"])
            fields = {}


def until_heartbeat(events: Iterator[Event]) -> list[Event]:
    """What is heard up to the next heartbeat, that one included."""
    heard = []
    for event in events:
        heard.append(event)
        if event[0] == "heartbeat":
            return heard
    pytest.fail("the stream ended")


def test_a_page_hears_each_change_once(gateway: ListGateway, listed: FilledList) -> None:
    """A change brings its item, one that leaves is gone, and a heartbeat with counts and number ends each burst."""
    with listening(gateway) as events:
        ((kind, first, counts),) = until_heartbeat(events)
        assert (kind, counts) == ("heartbeat", {"listed": 3, "overdue": 0, "priors": 0})
        listed.claim(2, "Dr. A")
        (item, beat) = next_change(events)
        assert item[:2] == ("item", "")
        assert (item[2]["study_instance_uid"], item[2]["reading"]["by"]) == (uid_of(2), "Dr. A")
        assert int(beat[1]) > int(first)
        listed.read(2, "Dr. A")
        (gone, beat) = next_change(events)
        assert gone == ("gone", "", {"study_instance_uid": uid_of(2)})
        assert beat[2] == {"listed": 2, "overdue": 0, "priors": 0}


def next_change(events: Iterator[Event]) -> list[Event]:
    """The next burst that is more than a heartbeat."""
    while True:
        heard = until_heartbeat(events)
        if len(heard) > 1:
            return heard


def test_silence_is_broken_by_heartbeats(gateway: ListGateway) -> None:
    """Where nothing happens they come regularly, as events, and their number stays."""
    started = time.monotonic()
    with listening(gateway) as events:
        beats = [until_heartbeat(events) for _ in range(8)]
        assert all(len(beat) == 1 for beat in beats)
        assert len({beat[0][1] for beat in beats}) == 1
    assert 5 < time.monotonic() - started < 60, "eight in ten seconds each are no eight in one"


@pytest.mark.parametrize("by_header", [True, False])
def test_a_page_that_comes_back_misses_nothing(gateway: ListGateway, listed: FilledList, *, by_header: bool) -> None:
    """With its last number, in the header or the address, it hears at once all that happened meanwhile."""
    with listening(gateway) as events:
        number = until_heartbeat(events)[0][1]
    listed.read(1, "Dr. A")
    listed.add(4, findings=PNEUMOTHORAX)
    listed.add(5, findings=EFFUSION, days_old=400)
    more = {"headers": {"Last-Event-ID": number}} if by_header else {"params": {"after": number}}
    with listening(gateway, **more) as events:
        *changes, beat = until_heartbeat(events)
    assert {(kind, data["study_instance_uid"]) for kind, _, data in changes} == {
        ("gone", uid_of(1)),
        ("item", uid_of(4)),
        ("gone", uid_of(5)),
    }
    assert beat[2] == {"listed": 3, "overdue": 0, "priors": 1}
    assert int(beat[1]) > int(number)


@pytest.mark.parametrize("number", ["999999999", "9" * 30])
def test_a_number_of_another_database_means_all_anew(gateway: ListGateway, number: str) -> None:
    """A page whose number the database has never reached is told to ask for the whole list."""
    with listening(gateway, headers={"Last-Event-ID": number}) as events:
        assert [kind for kind, _, _ in until_heartbeat(events)] == ["resync", "heartbeat"]


@pytest.mark.parametrize("number", ["", "x", "-1", "٣"])
def test_a_senseless_number_is_none(gateway: ListGateway, number: str) -> None:
    """Such a page begins like a new one."""
    with listening(gateway, headers=[(b"Last-Event-ID", number.encode())]) as events:
        assert [kind for kind, _, _ in until_heartbeat(events)] == ["heartbeat"]


def test_many_pages_hear_the_same_soon(gateway: ListGateway, listed: FilledList) -> None:
    """Twenty pages hear a change, all the same bytes."""
    assert '"by":"Dr. A"' in hear_by_all(gateway, listed, 20)


def hear_by_all(gateway: ListGateway, listed: FilledList, pages: int) -> str:
    """What all of the pages hear of one claim."""

    async def hear() -> list[str]:
        async with httpx.AsyncClient(trust_env=False, timeout=60, limits=httpx.Limits(max_connections=pages)) as client:
            ready = asyncio.Semaphore(0)
            heard = [asyncio.create_task(one(client, ready)) for _ in range(pages)]
            for _ in range(pages):
                await ready.acquire()
            await asyncio.to_thread(listed.claim, 3, "Dr. A")
            return await asyncio.gather(*heard)

    async def one(client: httpx.AsyncClient, ready: asyncio.Semaphore) -> str:
        async with client.stream("GET", f"{gateway.url}worklist/events") as answer:
            async for line in answer.aiter_lines():
                if line == "event: heartbeat":
                    ready.release()
                if line.startswith("data: ") and uid_of(3) in line:
                    return line
        pytest.fail("the stream ended")

    said = asyncio.run(hear())
    assert len(set(said)) == 1
    return said[0]


def test_a_slow_page_is_hung_up_on_and_others_are_not(migrated_sqlite: bytes, tmp_path: Path) -> None:
    """A page that takes nothing loses its connection, not its place: with its number it hears the rest later."""
    file = tmp_path / "firstread.db"
    file.write_bytes(migrated_sqlite)
    with closing(Database(f"sqlite:///{file}")) as database:
        listed = FilledList(database)
        listed.add(1, findings=NOTHING)
        asyncio.run(_slow_beside_fast(listed))


async def _slow_beside_fast(listed: FilledList) -> None:
    hub = ListHub(listed.database, listed.worklist)
    hub.start()
    try:
        slow, fast = hub.stream(None), hub.stream(None)
        first = await anext(slow)
        heard = [await anext(fast)]
        for turn in range(100):
            step = listed.claim if turn % 2 == 0 else listed.put_back
            await asyncio.to_thread(step, 1, "Dr. A")
            while b"event: item" not in (chunk := await asyncio.wait_for(anext(fast), _LONG_S)):
                pass  # a heartbeat
            heard.append(chunk)
        assert heard[0] == first
        assert len(heard) == 101
        left = [chunk async for chunk in slow]
        assert len(left) < 100
        number = int(first.partition(b"id: ")[2].split(b"\n")[0])
        again = await anext(hub.stream(number))
        assert again.count(b"event: item") == 1
        assert heard[-1].rpartition(b"id: ")[2] == again.rpartition(b"id: ")[2]
    finally:
        hub.stop()
    assert [chunk async for chunk in fast] == []


def test_a_page_that_comes_before_the_first_look_loads_nothing_anew(
    listed: FilledList, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pages come back as a gateway starts: each hears what happens from its own look on, and no resync."""
    asyncio.run(_early(listed, looks_later(listed, monkeypatch)))


def looks_later(listed: FilledList, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Until it is set the hub waits with its own look."""
    watches, commits = threading.Event(), listed.database.commits

    def later(should_stop: Callable[[], bool], gathered_s: float) -> Iterator[None]:
        watches.wait(_LONG_S)
        return commits(should_stop, gathered_s)

    monkeypatch.setattr(listed.database, "commits", later)
    return watches


async def _early(listed: FilledList, watches: threading.Event) -> None:
    hub = ListHub(listed.database, listed.worklist)
    hub.start()
    try:
        stream: AsyncIterator[bytes] = hub.stream(None)
        heard = await anext(stream)
        await asyncio.to_thread(listed.claim, 1, "Dr. A")
        watches.set()
        while b"event: item" not in heard and b"event: resync" not in heard:
            heard = await asyncio.wait_for(anext(stream), _LONG_S)
        assert heard.count(b"event: item") == 1
    finally:
        hub.stop()


def test_a_page_hears_nothing_twice(listed: FilledList, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page has asked for itself is not told again to it when the others hear it."""
    asyncio.run(_between(listed, looks_later(listed, monkeypatch)))


async def _between(listed: FilledList, watches: threading.Event) -> None:
    hub = ListHub(listed.database, listed.worklist)
    hub.start()
    try:
        early = hub.stream(None)
        number = int((await anext(early)).partition(b"id: ")[2].split(b"\n")[0])
        await asyncio.to_thread(listed.claim, 1, "Dr. A")
        late = hub.stream(number)
        assert (await anext(late)).count(b"event: item") == 1
        watches.set()
        while b"event: item" not in await asyncio.wait_for(anext(early), _LONG_S):
            pass  # a heartbeat
        heard = await asyncio.wait_for(anext(late), _LONG_S)
        assert (heard.count(b"event: item"), heard.count(b"event: heartbeat")) == (0, 1)
    finally:
        hub.stop()


def test_without_a_database_no_page_hears_a_heartbeat(tmp_path: Path) -> None:
    """Where the list cannot be read there is no sign of life, and it comes back with the database."""
    with closing(Database(f"sqlite:///{tmp_path / 'empty.db'}")) as database, capture_logs() as logs:
        asyncio.run(_dead_then_alive(database, logs))


async def _dead_then_alive(database: Database, logs: Sequence[Mapping[str, object]]) -> None:
    hub = ListHub(database, Worklist(database, SiteRules()), timedelta(seconds=0.2))
    hub.start()
    try:
        stream: AsyncIterator[bytes] = hub.stream(None)
        first = asyncio.ensure_future(anext(stream))
        await asyncio.to_thread(wait_until, lambda: len(logs) >= 2)  # it has tried again
        assert {log["event"] for log in logs} == {"the list cannot be watched"}
        assert not first.done()
        await asyncio.to_thread(migrations.upgrade, database)
        assert b"event: heartbeat" in await asyncio.wait_for(first, _LONG_S)
    finally:
        hub.stop()
