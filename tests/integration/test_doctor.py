"""What the doctor says where a part is there and does not do its work: a line each, and never a traceback."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import redis
from pydantic import SecretStr
from sqlalchemy import text

from firstread.doctor import State, _items, examine
from firstread.schema import require_current_database, upgrade_database
from firstread.settings import Settings
from gateway.access.keys import make_key
from tests.gateways import running_gateway
from tests.left_sockets import LEFT_SOCKETS
from tests.proxies import Meddle, proxied
from tests.servers import OrthancServer, RedisServer
from worklist.errors import PermanentError
from worklist.records import Database
from worklist.roles import Role

pytestmark = LEFT_SOCKETS


@contextmanager
def read_only(server: RedisServer) -> Iterator[None]:
    """Redis as the replica of one that is gone, as after a failover."""
    with redis.Redis.from_url(server.url) as client:
        client.replicaof("127.0.0.1", "1")
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def full(server: RedisServer) -> Iterator[None]:
    """Redis at its limit."""
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", "1")
        try:
            yield
        finally:
            client.config_set("maxmemory", "0")


@pytest.fixture
def database_url(tmp_path: Path, migrated_sqlite: bytes) -> str:
    """Of a database as this version has it."""
    path = tmp_path / "firstread.db"
    path.write_bytes(migrated_sqlite)
    return f"sqlite:///{path}"


def later(hours: int) -> Meddle:
    """What makes Orthanc's clock seem ahead."""

    def meddle(request: str, answer: httpx.Response) -> httpx.Response:
        if request != "GET /tools/now":
            return answer
        told = datetime.now(UTC) + timedelta(hours=hours)
        return httpx.Response(200, text=f"{told:%Y%m%dT%H%M%S}")

    return meddle


def beside(orthanc: OrthancServer, database_url: str, orthanc_url: str) -> Settings:
    """A site with a PACS and records, and nothing else."""
    return Settings(
        orthanc_url=orthanc_url,
        orthanc_dicom_port=orthanc.dicom_port,
        database_url=database_url,
        broker_url="redis://127.0.0.1:1/0",
        http_port=1,
    )


def said(settings: Settings, *checks: str) -> str:
    """The lines of some checks, each of which must fail, or be unknown for the same cause."""
    found = {finding.check: finding for finding in examine(settings)}
    assert not any(found[check].ok for check in checks)
    return "\n".join(found[check].detail for check in checks)


@pytest.mark.parametrize(("refusing", "why"), [(read_only, "is a read-only replica: promote it"), (full, "no room")])
def test_a_broker_that_takes_nothing_is_named(
    redis_server: RedisServer, refusing: Callable[[RedisServer], AbstractContextManager[None]], why: str
) -> None:
    """It answers, and refuses every write: as the replica that it has become, or full."""
    with refusing(redis_server):
        assert why in said(Settings(broker_url=redis_server.url, orthanc_url="http://127.0.0.1:1"), "Broker", "Queues")


@pytest.mark.parametrize("name", ["aet", "orthanc_aet"])
def test_an_ae_title_of_umlauts_is_named(orthanc: OrthancServer, name: str) -> None:
    """DICOM knows none (PS3.5 section 6.2), and the library would raise what no doctor expects."""
    chosen = {"broker_url": "redis://127.0.0.1:1/0", "orthanc_url": orthanc.url, name: "ÄÖ"}
    settings = Settings.model_validate(chosen)
    assert f"FIRSTREAD_{name.upper()}" in said(settings, "AE title and C-ECHO")


def test_clocks_that_differ_are_named(orthanc: OrthancServer, database_url: str) -> None:
    """A film would be listed three hours off, and nothing else would say so; two seconds are nobody's fault."""
    with proxied(orthanc.url, later(hours=-3)) as behind:
        settings = beside(orthanc, database_url, behind)
        assert re.search(r"Orthanc is 10[78]\d\d s behind", said(settings, "Clocks"))
    settings = beside(orthanc, database_url, orthanc.url)
    (clocks,) = (finding for finding in examine(settings, with_film=False) if finding.check == "Clocks")
    assert clocks.state is State.OK


def test_a_slow_answer_is_no_other_clock(
    orthanc: OrthancServer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a busy PACS told while it was waited for may be right."""
    monkeypatch.setattr("firstread.doctor._CLOCKS_S", 1.5)  # of which one is Orthanc's, which tells whole seconds

    def late(request: str, answer: httpx.Response) -> httpx.Response:
        if request == "GET /tools/now":
            time.sleep(3)
        return answer

    with proxied(orthanc.url, late) as url:
        found = {finding.check: finding for finding in examine(beside(orthanc, database_url, url), with_film=False)}
    assert found["Clocks"].state is State.OK


def test_a_pacs_without_a_doorbell_is_a_warning(orthanc: OrthancServer, database_url: str) -> None:
    """Another build of Orthanc may have no Python: films then wait for the poll, and the site works."""

    def without_python(request: str, answer: httpx.Response) -> httpx.Response:
        is_asked = request == "GET /plugins"
        return httpx.Response(200, json=["dicom-web"]) if is_asked else answer

    with proxied(orthanc.url, without_python) as url:
        settings = beside(orthanc, database_url, url)
        found = {finding.check: finding for finding in examine(settings, with_film=False)}
    assert found["Orthanc's plug-ins"].state is State.WARN
    assert "doorbell" in found["Orthanc's plug-ins"].detail


def test_a_database_of_a_newer_version_is_not_to_be_upgraded(database_url: str) -> None:
    """After a step back: upgrading would fail, so the doctor, a start and db upgrade all say what does help."""
    with closing(Database(database_url)) as database, database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    settings = Settings(database_url=database_url, orthanc_url="http://127.0.0.1:1", broker_url="redis://127.0.0.1:1/0")
    assert "newer Firstread" in said(settings, "Database")
    with pytest.raises(PermanentError, match="newer Firstread") as refused:
        require_current_database(settings)
    assert refused.value.code == "database_outdated"
    with pytest.raises(PermanentError, match="restore the backup"):
        list(upgrade_database(settings))


def test_behind_a_login_the_doctor_needs_a_key(tmp_path: Path) -> None:
    """Without one, and with one that may not, it says what to set; with a service's it looks further."""
    keys = tmp_path / "keys"
    service, it = make_key(keys, "doctor", Role.SERVICE), make_key(keys, "nurse", Role.IT)
    with running_gateway(tmp_path, "http://127.0.0.1:9", auth="on", api_keys_file=keys, predict_wait_s=0.1) as url:
        site = Settings(
            orthanc_url="http://127.0.0.1:9",
            database_url=f"sqlite:///{tmp_path / 'firstread.db'}",
            broker_url="redis://127.0.0.1:1/0",
            http_port=int(url.rpartition(":")[2]),
        )

        def asked(key: str) -> tuple[str, str]:
            known = site.model_copy(update={"api_key": SecretStr(key)})
            found = {finding.check: finding.detail for finding in examine(known, with_film=False)}
            try:
                listed = f"{len(list(_items(known)))} listed"
            except PermanentError as error:
                listed = error.message
            return found["Uploads"], listed

        for told in (*asked(""), asked(it)[1]):
            assert "FIRSTREAD_API_KEY needs a key of the role service" in told, told
            assert "\n" not in told
        uploads, listed = asked(service)
        assert "FIRSTREAD_API_KEY" not in uploads
        assert "does not judge a film" in uploads, "there is no broker here"
        assert listed == "0 listed"
