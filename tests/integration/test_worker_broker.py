"""What a worker does with its broker: junk in it costs a line, and a dead connection a few seconds."""

from __future__ import annotations

import json
import pickle
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import ContentDisallowed
from kombu.messaging import Consumer
from kombu.serialization import loads, prepare_accept_content
from structlog.testing import capture_logs

from gateway.intake.dispatch import build_sender
from tests.hospitals import wait_until
from worker.broker import TRANSPORT_OPTIONS, WorkerAmqp
from worker.tasks import build_worker

QUEUE = "firstread.score"


@dataclass(frozen=True, slots=True)
class _Attack:
    """Makes a file where somebody unpickles it."""

    mark: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def _no_heartbeat() -> Any:  # noqa: ANN401
    raise NotImplementedError  # no process is started


@contextmanager
def consuming(url: str, taken: list[str]) -> Iterator[Any]:
    """A worker's connection that takes messages of one queue one by one, as late as a worker acknowledges them."""
    app = Celery("test", broker=url, amqp=WorkerAmqp, set_as_current=False)
    app.conf.broker_transport_options = TRANSPORT_OPTIONS

    def take(message: Any) -> None:  # noqa: ANN401 - kombu's
        taken.append(message.payload[0][0])
        message.ack()

    with closing(app), app.connection_for_read() as connection:
        channel = connection.default_channel
        channel.basic_qos(prefetch_count=1)
        queues = [Queue(QUEUE, routing_key=QUEUE)]  # type: ignore[no-untyped-call]  # kombu has types, but for these
        with Consumer(channel, queues, on_message=take, accept=["json"]):  # type: ignore[no-untyped-call]
            yield connection


def drain_until(connection: Any, taken: list[str], count: int) -> None:  # noqa: ANN401
    """Take messages until there are so many; what ends the connection ends the test."""

    def is_done() -> bool:
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.2)
        return len(taken) >= count

    wait_until(is_done)


def of_ours(**changes: Any) -> bytes:  # noqa: ANN401 - JSON
    """A message as Celery writes it, with parts that are not."""
    headers = {"task": QUEUE, "id": str(uuid.uuid4()), "lang": "py"}
    properties = {"delivery_tag": str(uuid.uuid4()), "body_encoding": "base64", "delivery_info": {"routing_key": QUEUE}}
    message = {"body": "W1tdLCB7fSwge31d", "content-encoding": "utf-8", "content-type": "application/json"}
    return json.dumps({**message, "headers": headers, "properties": properties, **changes}).encode()


@pytest.mark.parametrize("kind", ["pickle", "application/x-python-serialize"])
def test_no_pickle_is_opened(tmp_path: Path, kind: str) -> None:
    """What would run when it is read is not read: a worker takes JSON alone, whoever writes into the broker."""
    mark = tmp_path / "was here"
    body = pickle.dumps(_Attack(mark))
    with closing(build_worker("memory://", {}, _no_heartbeat)) as app, pytest.raises(ContentDisallowed):
        loads(body, kind, "binary", accept=prepare_accept_content(app.conf.accept_content))  # type: ignore[no-untyped-call]
    assert not mark.exists()
    pickle.loads(body)  # noqa: S301 - the attack is a real one
    assert mark.exists()


@pytest.mark.parametrize(
    "junk",
    [
        b"null",
        b"[1]",
        b"no JSON",
        b"\xff\xfe",
        b"{}",
        of_ours(headers={"task": "firstread.nothing", "id": "1"}),
        of_ours(headers={"task": ["x"], "id": "1"}),
        of_ours(headers={"task": QUEUE}),
        of_ours(properties={"delivery_tag": {}}),
        of_ours(properties=None),
        of_ours(body="not base64!"),
        of_ours(body=7),
    ],
)
def test_junk_in_the_broker_costs_a_line(redis_url: str, junk: bytes) -> None:
    """What is no message of ours is put aside, said once and not shown, and the work behind it is done."""
    taken: list[str] = []
    with redis.Redis.from_url(redis_url) as client, consuming(redis_url, taken) as connection, capture_logs() as logs:
        client.lpush(QUEUE, junk)
        build_sender(redis_url).send_task(QUEUE, args=["the job"], queue=QUEUE)
        drain_until(connection, taken, 1)
        build_sender(redis_url).send_task(QUEUE, args=["the next"], queue=QUEUE)
        drain_until(connection, taken, 2)
        assert client.llen(QUEUE) == 0
    assert taken == ["the job", "the next"]
    (said,) = logs
    assert said["event"].startswith("put aside a message in the broker that is none of ours")
    assert set(said) == {"event", "log_level", "why"}
