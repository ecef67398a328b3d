"""Backup and restore of real databases, on SQLite and on PostgreSQL, as the command does them."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from sqlalchemy import text

import migrations
from firstread.backup import back_up
from firstread.backup_file import manifest_of
from firstread.restore import restore_backup
from firstread.settings import Settings
from tests.lists import EFFUSION, FilledList, filled_list
from tests.servers import PostgresServer
from worklist.errors import FirstreadError, InvalidInput, PermanentError, TransientError
from worklist.job import Queue
from worklist.records import Database, Lease, PredictionRecords, UploadFiles


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database may be."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'firstread.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def other_url(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Iterator[str]:
    """Where another of its kind may be."""
    if url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'other.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def listed(url: str) -> Iterator[FilledList]:
    """A list of three studies: one scored and reported, one failed, one read."""
    with closing(Database(url)) as database:
        migrations.upgrade(database)
        filled = FilledList(database)
        filled.add(1, "Doe^Jane", minutes=3, findings=EFFUSION)
        filled.add(2, minutes=2, failed=True)
        filled.add(3, minutes=1)
        filled.read(3, "Dr. A")
        yield filled


def settings(url: str) -> Settings:
    """Settings with a database."""
    return Settings(database_url=url)


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the tables that a backup keeps."""
    tables = ("studies", "instances", "analyses", "reports", "results", "jobs", "policies", "events", "feeds")
    with closing(Database(url)) as database, database.read() as session:
        return {
            table: sorted((tuple(row) for row in session.execute(text(f"SELECT * FROM {table}"))), key=repr)  # noqa: S608
            for table in tables
        }


def refusal(url: str, file: Path, *, replace: bool = False) -> FirstreadError:
    """Why a backup is not restored."""
    with pytest.raises(FirstreadError) as error:
        list(restore_backup(settings(url), file, replace=replace))
    return error.value


def test_what_was_backed_up_is_what_is_restored(listed: FilledList, url: str, other_url: str, tmp_path: Path) -> None:
    """Row by row, in a database that did not exist or was empty; the file is private and says what it is."""
    listed.jobs.forget_enqueued()
    before = rows(url)
    file = tmp_path / "one.backup"
    line = back_up(settings(url), file)
    assert f"{file}: 3 studies, revision" in line
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.glob(".*")) == []
    counts = manifest_of(file).counts
    assert (counts["studies"], counts["events"]) == (3, len(before["events"]))
    lines = list(restore_backup(settings(other_url), file, replace=False))
    assert lines[0] == f"restored {file}: {manifest_of(file).words}"
    assert rows(other_url) == before
    with closing(Database(other_url)) as database:
        assert FilledList(database).uids() == listed.uids()


def test_a_folder_gets_a_file_with_the_time_in_its_name(listed: FilledList, url: str, tmp_path: Path) -> None:
    """And a backup of the same name is replaced once the new one is whole."""
    folder = tmp_path / "backups"
    folder.mkdir()
    back_up(settings(url), folder)
    (file,) = folder.iterdir()
    listed.add(4)
    back_up(settings(url), file)
    assert manifest_of(file).counts["studies"] == 4
    assert list(folder.iterdir()) == [file]


def test_a_backup_under_writing_is_of_one_moment(listed: FilledList, url: str, tmp_path: Path) -> None:
    """Studies come in meanwhile; in the copy each has its image, its job and its event, or is not there at all."""
    stop, numbers = threading.Event(), iter(range(100, 100_000))

    def arrive() -> None:
        while not stop.is_set():
            listed.add(next(numbers))

    writer = threading.Thread(target=arrive)
    writer.start()
    try:
        for _ in range(5):
            back_up(settings(url), tmp_path / "moving.backup")
            counts = manifest_of(tmp_path / "moving.backup").counts
            assert counts["studies"] == counts["instances"]
    finally:
        stop.set()
        writer.join()


def test_uploads_and_leases_are_left_out(listed: FilledList, url: str, other_url: str, tmp_path: Path) -> None:
    """What was only to be tried is of the moment, and so is who was alive."""
    records = PredictionRecords(listed.database, UploadFiles(tmp_path / "uploads"))
    records.submit(BytesIO(b"a film that somebody tries"), None, datetime.now(UTC))
    listed.jobs.say_alive((Queue.SCORE,))
    file = tmp_path / "one.backup"
    back_up(settings(url), file)
    list(restore_backup(settings(other_url), file, replace=False))
    with closing(Database(other_url)) as database, database.read() as session:
        assert session.execute(text("SELECT count(*) FROM predictions")).scalar_one() == 0
        assert session.execute(text("SELECT count(*) FROM leases WHERE name LIKE 'worker%'")).scalar_one() == 0


def test_a_database_that_holds_something_is_kept(listed: FilledList, url: str, tmp_path: Path) -> None:
    """Unless --replace says that it may be lost, and then it is as it was backed up."""
    file = tmp_path / "one.backup"
    listed.jobs.forget_enqueued()
    before = rows(url)
    back_up(settings(url), file)
    listed.add(4)
    listed.database.close()
    error = refusal(url, file)
    assert (error.code, "4 studies" in error.message) == ("not_empty", True)
    list(restore_backup(settings(url), file, replace=True))
    assert rows(url) == before


def test_tables_of_another_program_are_never_replaced(
    listed: FilledList, url: str, other_url: str, tmp_path: Path
) -> None:
    """Not even with --replace: somebody mistook the address."""
    del listed
    back_up(settings(url), tmp_path / "one.backup")
    with closing(Database(other_url)) as database, database.write() as session:
        session.execute(text("CREATE TABLE invoices (number int)"))
    error = refusal(other_url, tmp_path / "one.backup", replace=True)
    assert (error.code, "another program" in error.message) == ("not_empty", True)
    with closing(Database(other_url)) as database, database.read() as session:
        assert session.execute(text("SELECT count(*) FROM invoices")).scalar_one() == 0


@pytest.mark.parametrize("who", ["gateway", "worker"])
def test_nothing_is_restored_beside_what_runs(listed: FilledList, url: str, tmp_path: Path, who: str) -> None:
    """Leases tell; what runs is named."""
    file = tmp_path / "one.backup"
    back_up(settings(url), file)
    name = {"gateway": "orthanc", "worker": "worker score elsewhere 1"}[who]
    with listed.database.write() as session:
        until = "2999-01-01 00:00:00" + ("" if url.startswith("sqlite") else "+00")
        session.execute(
            text("INSERT INTO leases VALUES (:name, 'elsewhere pid:[1] 77-1', 1, :until)"),
            {"name": name, "until": until},
        )
    error = refusal(url, file, replace=True)
    assert error.code == "still_running"
    assert f"{who} on elsewhere (process 77)" in error.message


@pytest.mark.usefixtures("long_leases")
def test_nothing_is_restored_where_the_feed_is_held(listed: FilledList, url: str, tmp_path: Path) -> None:
    """Also by this very process."""
    file = tmp_path / "one.backup"
    back_up(settings(url), file)
    assert Lease(listed.database, "orthanc").hold()
    assert refusal(url, file, replace=True).code == "still_running"


def test_a_file_of_sqlite_that_is_open_elsewhere_is_not_replaced(tmp_path: Path) -> None:
    """Whoever has it open would go on with a file that nobody sees."""
    url = f"sqlite:///{tmp_path / 'firstread.db'}"
    with closing(Database(url)) as database:
        migrations.upgrade(database)
        back_up(settings(url), tmp_path / "one.backup")
        with database.read() as session:
            session.execute(text("SELECT count(*) FROM studies"))
            error = refusal(url, tmp_path / "one.backup", replace=True)
    assert (error.code, "has" in error.message) == ("still_running", True)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(listed: FilledList, url: str, tmp_path: Path, part: float) -> None:
    """And the database stays as it is."""
    file = tmp_path / "one.backup"
    back_up(settings(url), file)
    os.truncate(file, int(file.stat().st_size * part))
    before = rows(url)
    listed.database.close()
    assert refusal(url, file, replace=True).code == "not_a_backup"
    assert rows(url) == before


@pytest.mark.parametrize("place", range(5, 100, 10))
def test_a_file_with_a_changed_byte_is_refused(listed: FilledList, tmp_path: Path, url: str, place: int) -> None:
    """Wherever it is."""
    del listed
    file = tmp_path / "one.backup"
    back_up(settings(url), file)
    data = bytearray(file.read_bytes())
    data[len(data) * place // 100] ^= 0xFF
    file.write_bytes(data)
    assert refusal(url, file, replace=True).code in {"damaged_backup", "not_a_backup"}


def test_a_backup_of_a_newer_version_is_refused(listed: FilledList, url: str, tmp_path: Path) -> None:
    """It names the version to install."""
    with listed.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    back_up(settings(url), tmp_path / "one.backup")
    with listed.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    listed.database.close()
    error = refusal(url, tmp_path / "one.backup", replace=True)
    assert (error.code, "revision 9999" in error.message) == ("newer_backup", True)


def test_a_backup_of_an_older_version_is_brought_up_to_date(url: str, other_url: str, tmp_path: Path) -> None:
    """By the same steps as db upgrade."""
    from alembic import command  # noqa: PLC0415

    with closing(Database(url)) as database:
        command.upgrade(migrations.configure(database), "0003")
    back_up(settings(url), tmp_path / "old.backup")
    lines = list(restore_backup(settings(other_url), tmp_path / "old.backup", replace=False))
    assert lines[1].startswith("applied 0004")
    with closing(Database(other_url)) as database:
        current, newest = migrations.revisions(database)
    assert current == newest


def test_a_damaged_database_is_replaced(tmp_path: Path) -> None:
    """That is what backups are for; without --replace it is kept for whoever may read it."""
    with filled_list(tmp_path) as listed:
        listed.add(1)
        url = listed.database.url.render_as_string()
        back_up(settings(url), tmp_path / "one.backup")
    (tmp_path / "firstread.db").write_bytes(b"\0" * 8192)
    assert refusal(url, tmp_path / "one.backup").code == "not_empty"
    list(restore_backup(settings(url), tmp_path / "one.backup", replace=True))
    assert len(rows(url)["studies"]) == 1


def test_a_restored_file_has_the_owner_of_the_one_before(tmp_path: Path) -> None:
    """Root restores at night, and the gateway reads under its own account."""
    with filled_list(tmp_path) as listed:
        url = listed.database.url.render_as_string()
        back_up(settings(url), tmp_path / "one.backup")
    file = tmp_path / "firstread.db"
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 1234, 1234)
    before = file.stat()
    list(restore_backup(settings(url), tmp_path / "one.backup", replace=True))
    after = file.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert after.st_ino != before.st_ino


def test_what_is_no_backup_is_neither_read_nor_overwritten(listed: FilledList, url: str, tmp_path: Path) -> None:
    """Not a letter, and not the database itself."""
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear colleague", encoding="utf-8")
    assert refusal(url, letter).code == "not_a_backup"
    places = [letter, Path(listed.database.url.database or "")] if url.startswith("sqlite") else [letter]
    for place in places:
        with pytest.raises(InvalidInput):
            back_up(settings(url), place)
    assert letter.read_text(encoding="utf-8") == "Dear colleague"
    with pytest.raises(InvalidInput):
        back_up(settings(url), tmp_path / "nowhere" / "one.backup")


def test_a_backup_is_of_its_kind_of_database(listed: FilledList, url: str, tmp_path: Path) -> None:
    """One of SQLite goes into no PostgreSQL, and the other way round."""
    del listed
    back_up(settings(url), tmp_path / "one.backup")
    other = "postgresql://nobody@127.0.0.1:1/none" if url.startswith("sqlite") else f"sqlite:///{tmp_path / 'x.db'}"
    assert refusal(other, tmp_path / "one.backup").code == "other_database"


def test_without_a_database_nothing_is_backed_up(tmp_path: Path) -> None:
    """And no empty one is made on the way."""
    with pytest.raises(PermanentError) as error:
        back_up(settings(f"sqlite:///{tmp_path / 'none.db'}"), tmp_path / "one.backup")
    assert error.value.code == "no_database"
    with pytest.raises(TransientError):
        back_up(settings("postgresql://nobody@127.0.0.1:1/none"), tmp_path / "one.backup")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_old_pg_dump_is_named(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package to install."""
    with closing(Database(postgres_url)) as database:
        migrations.upgrade(database)
    monkeypatch.setattr("firstread.postgres_programs._DEBIAN", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PermanentError, match=r"pg_dump is missing for PostgreSQL \d+: install postgresql-client-\d+"):
        back_up(settings(postgres_url), tmp_path / "one.backup")
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n", encoding="utf-8")
    old.chmod(0o755)
    with pytest.raises(PermanentError, match="pg_dump 9 is too old"):
        back_up(settings(postgres_url), tmp_path / "one.backup")


def test_a_restore_that_fails_halfway_changes_nothing(
    listed: FilledList, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's programs work in one transaction, a file of SQLite is renamed at the end."""
    file = tmp_path / "one.backup"
    back_up(settings(url), file)
    listed.add(4)
    listed.jobs.forget_enqueued()
    before = rows(url)
    listed.database.close()
    if url.startswith("sqlite"):

        def broken(_: sqlite3.Connection) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("firstread.restore.require_sound", broken)
    else:
        programs = tmp_path / "bin"
        programs.mkdir()
        half = programs / "pg_restore"
        half.write_text(
            "#!/bin/sh\n[ \"$1\" = --version ] && echo 'pg_restore (PostgreSQL) 99.0' && exit\n"
            "echo 'CREATE TABLE half (x int);'\necho 'pg_restore: error: input file is too short' >&2\nexit 1\n",
            encoding="utf-8",
        )
        half.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert refusal(url, file, replace=True).code in {"unwritable_file", "postgres_client_failed"}
    assert rows(url) == before
