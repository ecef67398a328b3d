"""A worker's connection to the broker: it comes back soon, knows when it is dead, and minds no junk.

What Celery leaves to chance is settled here: how long a worker waits between two tries to reach a broker that was
away, how soon it drops a connection on which nothing comes any more, and what happens to a message that is none of
ours, which would end the worker, or hold its one place for a message for ever.
"""

from __future__ import annotations

import socket
from functools import cache
from typing import Any, Final

import structlog
from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.transport.redis import Transport as RedisTransport
from kombu.transport.virtual import Transport

from worklist.job import Queue

VISIBILITY_S: Final = 3600  # Redis hands an unacknowledged message to another worker after this long
_LONGEST_PAUSE_S: Final = 3.0  # between two tries to reach the broker; Celery's own grows to half a minute
_KEEPALIVE: Final = {  # a broker whose host is gone is noticed within half a minute, not after hours
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 20_000,  # ms
}
TRANSPORT_OPTIONS: Final[dict[str, Any]] = {
    "visibility_timeout": VISIBILITY_S,
    "socket_connect_timeout": 5,
    "socket_timeout": 5,
    "socket_keepalive": True,
    "socket_keepalive_options": _KEEPALIVE,
    # Redis answers each question for a message within a second: where it has not for this long, the connection is dead.
    "health_check_interval": 5,
}

_TASK_QUEUES: Final = frozenset(queue.task for queue in Queue)

log = structlog.get_logger()


class _Connection(Connection):
    def ensure_connection(self, *args: Any, **kwargs: Any) -> Connection:  # noqa: ANN401 - as the base class has it
        pauses = {"interval_start": 1, "interval_step": 1, "interval_max": _LONGEST_PAUSE_S}
        connected: Connection = super().ensure_connection(*args, **{**pauses, **kwargs})  # type: ignore[no-untyped-call]
        return connected

    def get_transport_cls(self) -> type[Transport]:
        return _without_junk(super().get_transport_cls())  # type: ignore[no-untyped-call]


class WorkerAmqp(AMQP):  # type: ignore[misc]  # Celery has no types here
    """What a worker's Celery application makes its connections with."""

    Connection = _Connection


@cache
def _without_junk(transport: type[Transport]) -> type[Transport]:
    """A transport of Redis that puts junk aside; any other, which has a protocol of its own, as it is."""
    if not issubclass(transport, RedisTransport):
        return transport

    class Channel(transport.Channel):  # type: ignore[misc,name-defined]  # Redis's own, or that of its sentinels
        def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401
            try:
                return super()._brpop_read(**options)
            except ValueError as error:  # no JSON, or a body in no known encoding; it has left the queue
                _put_aside(type(error).__name__)
                return None

    class Checked(transport):  # type: ignore[misc,valid-type]
        def _deliver(self, message: Any, queue: str) -> None:  # noqa: ANN401
            # Celery's own questions to a worker come by queues of their own.
            if queue in _TASK_QUEUES and (fault := _fault(message, queue)):
                _put_aside(fault)
            else:
                super()._deliver(message, queue)

    Checked.Channel = Channel
    return Checked


def _fault(message: Any, queue: str) -> str:  # noqa: ANN401 - whatever JSON can be
    """Why a message is none of ours; "" where it is one."""
    if not isinstance(message, dict):
        return "no object"
    headers, properties = message.get("headers"), message.get("properties")
    if not isinstance(headers, dict) or not isinstance(properties, dict):
        return "no headers"
    if headers.get("task") != queue:  # a queue's tasks bear its name
        return "another task"
    texts = (headers.get("id"), properties.get("delivery_tag"), message.get("body"))
    if not all(isinstance(text, str) for text in texts):
        return "no identifier or no body"
    return ""


def _put_aside(why: str) -> None:
    # Without the message: nobody knows what somebody else has put there.
    log.warning("put aside a message in the broker that is none of ours: see who else writes into it", why=why)
