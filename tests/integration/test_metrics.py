"""GET /metrics: what Prometheus reads, from a real gateway over a real database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.gateways import running_gateway
from tests.hospitals import analysis_of
from tests.records import received
from tests.servers import REPOSITORY
from worklist.job import JobLimits, Queue
from worklist.records import Database, IntakeRecords, JobRecords
from worklist.site import SiteRules

NAME, PATIENT, STUDY = "Doe^Jane", "4711", "1.2.826.0.1.4711.55"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the gateway's database lies."""
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """A gateway with no PACS behind it."""
    with running_gateway(folder, "http://127.0.0.1:9") as url:
        yield url


def scrape(url: str) -> tuple[str, Samples]:
    """The text, and its samples by name and labels."""
    answer = httpx.get(f"{url}/metrics", trust_env=False, timeout=60)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.text, {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_a_film_that_is_scored_is_counted_between_two_scrapes(url: str, folder: Path) -> None:
    """Counters rise by what happened, gauges tell what stands, and no patient is named by any of it."""
    _, before = scrape(url)
    database = Database(f"sqlite:///{folder / 'firstread.db'}")
    jobs = JobRecords(database, SiteRules(), JobLimits())
    IntakeRecords(database, SiteRules()).ingest([received(STUDY, at=datetime.now(UTC) - timedelta(minutes=5))], [])
    _, waiting = scrape(url)
    ((job_id, _),) = jobs.due(1, Queue.SCORE)
    job = jobs.claim(job_id, "w")
    assert job
    assert jobs.complete_score(job_id, "w", analysis_of(job))
    jobs.say_alive((Queue.SCORE,))
    text, after = scrape(url)
    database.close()
    listed = ("firstread_listed_studies", (("reading", "unread"), ("urgency", "not_assessed")))
    assert (before.get(listed), waiting[listed]) == (None, 1)
    assert 300 <= waiting["firstread_listed_oldest_seconds", listed[1]] < 900
    waits = ("firstread_jobs", (("queue", "score"), ("state", "waiting")))
    assert (before[waits], waiting[waits], after[waits]) == (0, 1, 0)
    scored = ("firstread_arrival_to_scored_seconds_count", (("urgency", "not_assessed"),))
    assert (waiting.get(scored), after[scored]) == (None, 1)
    assert after["firstread_workers", (("queue", "score"),)] == 1
    assert after["firstread_feed_reader", ()] == 0
    assert after["firstread_disk_free_bytes", (("folder", "the database"),)] > 0
    assert not [word for word in (NAME, "Doe", STUDY, "A1", "Chest PA") if word in text]


def test_the_documented_names_are_the_ones_that_are_told(url: str) -> None:
    """The table of docs/operations.md has every metric, with its labels, and no other."""
    page = (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`firstread_.*?) \| (.*?) \|", page, re.MULTILINE)
    documented = {name: labels for names, labels in rows for name in re.findall(r"`(\w+)`", names)}
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", trust_env=False, timeout=60).text)
    told = {family.name.removesuffix("_info") for family in families}
    assert {name.removesuffix("_info") for name in documented} == told
    alarms = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert alarms
    used = set(re.findall(r"firstread_\w+", alarms[1]))
    assert used <= documented.keys()
