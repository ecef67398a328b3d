"""Uploads and predictions keep their promises on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import text

from gateway.predict.routes import sweep
from worklist.errors import InvalidInput, ModelUnavailable, OutOfScope
from worklist.records import Database, PredictionRecords, UploadFiles

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FILM, PRIOR = b"DICM\x00\xff a film" * 100_000, "Kleiner Pleuraerguß links. 胸水"
PICTURES = [b"\x89PNG film", b"\x89PNG one", b"\x89PNG two"]


@pytest.fixture
def records(database: Database, tmp_path: Path) -> PredictionRecords:
    """The records of an empty database, and an empty folder."""
    return PredictionRecords(database, UploadFiles(tmp_path / "state" / "uploads"))


def submit(records: PredictionRecords, at: datetime = NOON) -> str:
    """Keep the upload."""
    return records.submit(io.BytesIO(FILM), PRIOR, at)


def upload(records: PredictionRecords, prediction_id: str) -> tuple[bytes, str | None]:
    """Film and earlier report as a worker finds them."""
    with records.files.film(prediction_id) as film:
        return film.read(), records.files.prior_report(prediction_id)


def held(records: PredictionRecords, database: Database) -> tuple[int, list[str]]:
    """How many predictions there are, and the names of all files that are kept."""
    with database.read() as session:
        count = session.scalar(text("SELECT count(*) FROM predictions")) or 0
    return count, sorted(file.name for file in records.files.folder.rglob("*") if file.is_file())


def test_an_upload_reaches_one_worker_once(records: PredictionRecords) -> None:
    """What was submitted is taken byte for byte, and a message that comes again finds nothing."""
    prediction_id = submit(records)
    assert records.result(prediction_id) is None
    assert records.take(prediction_id, NOON)
    assert upload(records, prediction_id) == (FILM, PRIOR)
    assert not records.take(prediction_id, NOON)
    assert not records.take("never submitted", NOON)


def test_an_upload_whose_worker_has_died_fails_by_name(records: PredictionRecords) -> None:
    """Whoever waits hears of it, from this machine or by the message that comes again; one that lives is left alone."""
    program = "from worklist.records import name_of_a_claim; print(name_of_a_claim())"
    dead = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    judged, seen, redelivered = submit(records), submit(records), submit(records)
    for prediction_id in (judged, seen, redelivered):
        assert records.take(prediction_id, NOON)
    assert records.result(judged) is None
    for prediction_id in (seen, redelivered):
        records.files.hold(prediction_id, dead)
    assert not records.take(redelivered, NOON)
    assert not records.take(judged, NOON)
    records.files.hold(redelivered, "another machine")  # whose gateway knows of no process here
    for prediction_id in (seen, redelivered):
        with pytest.raises(ModelUnavailable) as caught:
            records.result(prediction_id)
        assert caught.value.code == "worker_lost"
    assert records.complete(judged, "{}", PICTURES)
    assert records.result(judged) == "{}"


def test_a_worker_that_dies_as_it_takes_an_upload_has_not_taken_it(
    records: PredictionRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message that comes again finds it, whether or not it had said who it is."""
    before, after = submit(records), submit(records)
    hold = records.files.hold

    def die_before(*_: str) -> None:
        raise SystemExit

    def die_after(prediction_id: str, holder: str) -> None:
        hold(prediction_id, holder)
        raise SystemExit

    for prediction_id, death in ((before, die_before), (after, die_after)):
        with monkeypatch.context() as patched:
            patched.setattr(records.files, "hold", death)
            with pytest.raises(SystemExit):
                records.take(prediction_id, NOON)
        assert records.take(prediction_id, NOON)
        assert records.result(prediction_id) is None


def test_an_upload_is_readable_by_nobody_else(records: PredictionRecords) -> None:
    """Folders and files are the account's own, whatever its mask lets through."""
    before = os.umask(0)
    try:
        prediction_id = submit(records)
        records.complete(submit(records), "{}", PICTURES)
    finally:
        os.umask(before)
    folder = records.files.folder
    assert {stat.S_IMODE(place.stat().st_mode) for place in (folder, folder / prediction_id)} == {0o700}
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert len(files) == 5
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_worker_that_shares_no_folder_says_so(records: PredictionRecords, tmp_path: Path) -> None:
    """Where the film is not there, the refusal names the setting."""
    prediction_id = submit(records)
    with pytest.raises(ModelUnavailable, match="FIRSTREAD_UPLOAD_DIR") as caught:
        UploadFiles(tmp_path / "another").film(prediction_id)
    assert caught.value.code == "upload_not_shared"


def test_an_upload_that_cannot_be_kept_leaves_nothing(records: PredictionRecords, database: Database) -> None:
    """A folder that is gone, as a full disk, is told as what could be another time."""
    records.files.folder.rmdir()
    with pytest.raises(ModelUnavailable) as caught:
        submit(records)
    assert caught.value.code == "upload_not_kept"
    assert held(records, database) == (0, [])


def test_of_many_workers_one_takes_it(records: PredictionRecords) -> None:
    """However many workers reach for an upload at the same moment, one has it."""
    prediction_id = submit(records)
    start = Barrier(4)

    def take(_: int) -> bool:
        start.wait()
        return records.take(prediction_id, NOON)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(take, range(4))) == [False, False, False, True]


def test_a_result_takes_the_place_of_the_upload(records: PredictionRecords, database: Database) -> None:
    """The result and its pictures are there, the film and the earlier report are gone."""
    prediction_id = submit(records)
    records.take(prediction_id, NOON)
    assert records.complete(prediction_id, '{"score": 0.5}', PICTURES)
    assert records.result(prediction_id) == '{"score": 0.5}'
    assert [records.files.picture(prediction_id, position) for position in range(4)] == [*PICTURES, None]
    assert held(records, database) == (1, ["0.png", "1.png", "2.png"])


@pytest.mark.parametrize("name", ["..", "../uploads", "a/b", "", "x" * 24 + "\n"])
def test_no_other_file_is_served_as_a_picture(records: PredictionRecords, name: str) -> None:
    """A name that is no prediction's leads nowhere."""
    (records.files.folder.parent / "0.png").write_bytes(b"secret")
    assert records.files.picture(name, 0) is None


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
    prediction_id = submit(records)
    records.fail(prediction_id, error)
    with pytest.raises(raised) as caught:
        records.result(prediction_id)
    assert (getattr(caught.value, "code", ""), str(caught.value)) == (error.code, error.message)
    assert held(records, database) == (1, [])


def test_what_nobody_waits_for_is_gone(records: PredictionRecords, database: Database) -> None:
    """After a withdrawal no worker finds the upload, and a late result is not kept."""
    late, early = submit(records), submit(records)
    records.take(late, NOON)
    records.withdraw(late)
    records.withdraw(early)
    assert not records.take(early, NOON)
    assert not records.complete(late, "{}", PICTURES)
    records.fail(late, ModelUnavailable("model_failed", "the model failed"))
    assert records.result(late) is None
    assert held(records, database) == (0, [])


def test_everything_expires(records: PredictionRecords, database: Database) -> None:
    """Done or not, what is older than the limit goes with its files, and nothing younger does."""
    done, waiting, young = (submit(records, NOON + minutes * HOUR / 60) for minutes in (0, 1, 2))
    records.complete(done, "{}", PICTURES)
    assert records.expire(NOON + 2 * HOUR / 60) == 2
    assert held(records, database) == (1, ["film", "prior_report"])
    assert records.files.picture(done, 0) is None
    assert not records.take(waiting, NOON)
    assert records.take(young, NOON)
    assert upload(records, young) == (FILM, PRIOR)


def test_the_gateway_sweeps(records: PredictionRecords, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is older than the setting, and what no record speaks of, is erased when the gateway starts; else nothing."""
    submit(records, datetime.now(UTC) - 2 * HOUR)
    young, orphan = submit(records, datetime.now(UTC)), submit(records, datetime.now(UTC))
    with database.write() as session:
        session.execute(text("DELETE FROM predictions WHERE prediction_id = :orphan"), {"orphan": orphan})

    async def end(_: float) -> None:
        raise KeyError("it waits for its next turn")

    monkeypatch.setattr("gateway.predict.routes.asyncio.sleep", end)
    with pytest.raises(KeyError, match="next turn"):
        asyncio.run(sweep(records, HOUR))
    assert held(records, database) == (1, ["film", "prior_report"])
    assert records.files.kept() == {young}
    assert records.take(young, NOON)
    assert upload(records, young) == (FILM, PRIOR)
