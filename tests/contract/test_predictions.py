"""Uploads and predictions keep their promises on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import text

from gateway.predict.routes import sweep
from worklist.errors import InvalidInput, ModelUnavailable, OutOfScope
from worklist.records import Database, PredictionRecords, Upload

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
UPLOAD = Upload(content=b"DICM\x00\xff a film" * 100_000, prior_report="Kleiner Pleuraerguß links. 胸水")
PICTURES = [b"\x89PNG film", b"\x89PNG one", b"\x89PNG two"]


@pytest.fixture
def records(database: Database) -> PredictionRecords:
    """The records of an empty database."""
    return PredictionRecords(database)


def held(database: Database) -> dict[str, int]:
    """How many rows there are, by what they still hold of a patient."""
    counts = {
        "predictions": "SELECT count(*) FROM predictions",
        "uploads": "SELECT count(*) FROM predictions WHERE upload IS NOT NULL OR prior_report IS NOT NULL",
        "pictures": "SELECT count(*) FROM prediction_pictures",
    }
    with database.read() as session:
        return {what: session.scalar(text(query)) or 0 for what, query in counts.items()}


def test_an_upload_reaches_one_worker_once(records: PredictionRecords) -> None:
    """What was submitted is taken byte for byte, and a message that comes again finds nothing."""
    prediction_id = records.submit(UPLOAD, NOON)
    assert records.result(prediction_id) is None
    assert records.take(prediction_id, NOON) == UPLOAD
    assert records.take(prediction_id, NOON) is None
    assert records.take("never submitted", NOON) is None


def test_of_many_workers_one_takes_it(records: PredictionRecords) -> None:
    """However many workers reach for an upload at the same moment, one has it."""
    prediction_id = records.submit(UPLOAD, NOON)
    start = Barrier(4)

    def take(_: int) -> bool:
        start.wait()
        return records.take(prediction_id, NOON) is not None

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(take, range(4))) == [False, False, False, True]


def test_a_result_takes_the_place_of_the_upload(records: PredictionRecords, database: Database) -> None:
    """The result and its pictures are there, the film and the earlier report are gone."""
    prediction_id = records.submit(UPLOAD, NOON)
    records.take(prediction_id, NOON)
    assert records.complete(prediction_id, '{"score": 0.5}', PICTURES)
    assert records.result(prediction_id) == '{"score": 0.5}'
    assert [records.picture(prediction_id, position) for position in range(4)] == [*PICTURES, None]
    assert held(database) == {"predictions": 1, "uploads": 0, "pictures": 3}


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OutOfScope("not_chest", "body part is knee, not chest"), InvalidInput),
        (ModelUnavailable("model_failed", "the model failed"), ModelUnavailable),
    ],
)
def test_a_failure_is_handed_on(
    records: PredictionRecords, database: Database, error: OutOfScope | ModelUnavailable, raised: type[Exception]
) -> None:
    """Whoever asks hears the worker's own code and message, and whether another try may help."""
    prediction_id = records.submit(UPLOAD, NOON)
    records.fail(prediction_id, error)
    with pytest.raises(raised) as caught:
        records.result(prediction_id)
    assert (getattr(caught.value, "code", ""), str(caught.value)) == (error.code, error.message)
    assert held(database)["uploads"] == 0


def test_what_nobody_waits_for_is_gone(records: PredictionRecords, database: Database) -> None:
    """After a withdrawal no worker finds the upload, and a late result is not kept."""
    late, early = records.submit(UPLOAD, NOON), records.submit(UPLOAD, NOON)
    records.take(late, NOON)
    records.withdraw(late)
    records.withdraw(early)
    assert records.take(early, NOON) is None
    assert not records.complete(late, "{}", PICTURES)
    records.fail(late, ModelUnavailable("model_failed", "the model failed"))
    assert records.result(late) is None
    assert held(database) == {"predictions": 0, "uploads": 0, "pictures": 0}


def test_everything_expires(records: PredictionRecords, database: Database) -> None:
    """Done or not, what is older than the limit goes with its pictures, and nothing younger does."""
    done, waiting, young = (records.submit(UPLOAD, NOON + minutes * HOUR / 60) for minutes in (0, 1, 2))
    records.complete(done, "{}", PICTURES)
    assert records.expire(NOON + 2 * HOUR / 60) == 2
    assert held(database) == {"predictions": 1, "uploads": 1, "pictures": 0}
    assert records.picture(done, 0) is None
    assert records.take(waiting, NOON) is None
    assert records.take(young, NOON) == UPLOAD


def test_the_gateway_sweeps(records: PredictionRecords, database: Database) -> None:
    """What is older than the setting is erased when the gateway starts, and what is not stays."""
    records.submit(UPLOAD, datetime.now(UTC) - 2 * HOUR)
    young = records.submit(UPLOAD, datetime.now(UTC))

    async def for_a_moment() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(sweep(records, HOUR), 1)

    asyncio.run(for_a_moment())
    assert held(database)["predictions"] == 1
    assert records.take(young, NOON) == UPLOAD


def test_nothing_of_an_upload_is_shown_by_accident() -> None:
    """An upload in a log line or a traceback shows neither film nor report."""
    assert repr(UPLOAD) == "Upload()"
