"""Servers and databases for every test that asks; see tests/servers.py."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import inspect, text

import migrations
from tests.records import Clock
from tests.servers import OrthancServer, PostgresServer, RedisServer, running
from worklist.finding import Algorithm, Analysis, Finding, FindingType, ImageReference
from worklist.records import Database, leases

# A busy machine fails no test. Elsewhere each run looks at other examples, and so does `make fuzz`; in continuous
# integration they are the same for the same code, so that what fails there fails here.
settings.register_profile(
    "whatever the machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("whatever the machine")


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder that other accounts may enter, which pytest's own temporary folders are not."""
    with tempfile.TemporaryDirectory(prefix="firstread-tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="module")
def collected_sockets() -> Iterator[None]:
    """Of the marks in tests/left_sockets.py: what pynetdicom left is collected here."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FIRSTREAD_MODEL_DIR with stand-ins of the licensed models, to be read only; see tests/licensed.py."""
    from models.checkpoints.stand_in import write_stand_ins  # noqa: PLC0415 - it loads transformers

    folder = tmp_path_factory.mktemp("models")
    write_stand_ins(folder)
    return folder


@pytest.fixture(scope="session")
def exported_stand_ins(stand_ins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with MedSigLIP exported for the CPU, to be read only."""
    from models.medsiglip.export import export  # noqa: PLC0415 - it loads torch

    folder = Path(shutil.copytree(stand_ins, tmp_path_factory.mktemp("exported") / "models"))
    export(folder / "medsiglip", threads=1, machine="a test", say=lambda _: None)
    return folder


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path) -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests."""
    folder = server_folder / "postgres"
    folder.mkdir()
    with running(PostgresServer(folder)) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """SQLAlchemy URL of a new, empty database."""
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def redis_server(server_folder: Path) -> Iterator[RedisServer]:
    """One Redis for all tests."""
    folder = server_folder / "redis"
    folder.mkdir()
    with running(RedisServer(folder)) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture(scope="session")
def orthanc_server(server_folder: Path) -> Iterator[OrthancServer]:
    """One Orthanc for all tests."""
    folder = server_folder / "orthanc"
    folder.mkdir()
    with running(OrthancServer(folder)) as server:
        yield server


@pytest.fixture
def orthanc(orthanc_server: OrthancServer) -> OrthancServer:
    """A running Orthanc without studies; its change log may have a past."""
    orthanc_server.start()  # a test before may have stopped it
    orthanc_server.delete_everything()
    return orthanc_server


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: PostgresServer) -> str:
    """SQLAlchemy URL of a PostgreSQL database with all tables."""
    url = postgres_server.url(postgres_server.create_database())
    with closing(Database(url)) as database:
        migrations.upgrade(database)
    return url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An SQLite database with all tables, for copying."""
    file = tmp_path_factory.mktemp("migrated") / "firstread.db"
    with closing(Database(f"sqlite:///{file}")) as database:
        migrations.upgrade(database)
    return file.read_bytes()


@pytest.fixture
def clock() -> Clock:
    """The clock of the test's database; it stands until the test moves it."""
    return Clock()


@pytest.fixture
def long_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the feed keeps it for the time of a test, however slow the machine is."""
    monkeypatch.setattr(leases, "LENGTH", timedelta(hours=1))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Database]:
    """A database with all tables and no rows, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        file = tmp_path / "firstread.db"
        file.write_bytes(request.getfixturevalue("migrated_sqlite"))
        with closing(Database(f"sqlite:///{file}", clock)) as opened:
            yield opened
    else:
        with closing(Database(request.getfixturevalue("migrated_postgres"), clock)) as opened:
            with opened.write() as session:
                tables = set(inspect(opened.engine).get_table_names()) - {"alembic_version"}
                session.execute(text("SET LOCAL session_replication_role = replica"))  # the audit trail refuses else
                session.execute(text("TRUNCATE " + ", ".join(tables)))
            yield opened


@pytest.fixture(scope="session")
def make_analysis() -> Callable[..., Analysis]:
    """Builds an Analysis from its score, findings' probabilities and identity; every threshold is 0.5."""

    def make(
        score: float,
        findings: Mapping[FindingType, float] | None = None,
        *,
        study_instance_uid: str = "1.2.3",
        sop_instance_uid: str = "1.2.3.1.1",
        scorer_sha256: str = "0" * 64,
    ) -> Analysis:
        probabilities = sorted((findings or {}).items(), key=lambda pair: -pair[1])
        return Analysis(
            images=(
                ImageReference(
                    study_instance_uid=study_instance_uid,
                    series_instance_uid=f"{study_instance_uid}.1",
                    sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
                    sop_instance_uid=sop_instance_uid,
                    rows=2048,
                    columns=2500,
                ),
            ),
            scorer=Algorithm(name="a model", version="1", sha256=scorer_sha256, device_uid="2.25.1"),
            findings=tuple(Finding(type=kind, probability=p, threshold=0.5) for kind, p in probabilities),
            score=score,
            threshold=0.5,
            completed_at=datetime(2026, 11, 22, 6, 0, 1, 234000, tzinfo=UTC),
            elapsed_ms=12.345,
        )

    return make
