"""The database restored from an older copy, or lost and rebuilt, beside a real Orthanc with films and AI results."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

import migrations
from firstread.backup import back_up
from firstread.rebuild import rebuild_database
from firstread.restore import restore_backup
from firstread.settings import Settings
from gateway.intake.feed import FEED, Intake
from imaging.simulated.phantom import simulate_film
from models.embedded.scorer import EmbeddedScorer
from models.gates.scorer import GatedScorer
from models.template import TemplateExplainer
from tests.bad_films import chest
from tests.hospitals import Site, report_of
from tests.records import ANN
from tests.servers import OrthancServer
from worker.explaining import Explaining
from worker.found import find_reports
from worker.pacs import Pacs
from worker.priors import PriorFinder
from worker.report import ReportPipeline
from worker.score import ScorePipeline
from worklist.card import Precision
from worklist.errors import PermanentError
from worklist.finding import FindingType
from worklist.job import JobLimits, Queue
from worklist.reading import ReadingState
from worklist.records import Database, ExplanationRecords, JobRecords, Lease, ListedStudy, Shown, Worklist
from worklist.scope import ScopeRules
from worklist.site import SiteRules
from worklist.study import StudyState
from worklist.triage import SiteChoices, TriagePolicy

RULES = SiteRules(quiet=timedelta(milliseconds=1))
SCORER = GatedScorer(EmbeddedScorer())
CARD = replace(  # flags and names whatever the shipped scorer sees, so that no test hangs on how well it sees
    SCORER.card,
    flag_from=0.05,
    findings=tuple(
        replace(found, is_shown=True, named_from=0.05, precision=Precision(value=0.7, n=10))
        for found in SCORER.card.findings
    ),
)


@dataclass
class Recovery:
    """A site whose gateway, workers and database come and go; its Orthanc stays."""

    orthanc: OrthancServer
    folder: Path
    redis_url: str
    settings: Settings = field(init=False)
    choices: SiteChoices = field(default_factory=lambda: SiteChoices(alert_budget=1.0))

    def __post_init__(self) -> None:
        """Begin with an empty database."""
        url = f"sqlite:///{self.folder / 'firstread.db'}"
        self.settings = Settings(database_url=url, orthanc_url=self.orthanc.url, quiet_s=0.001)
        self.lose_database()

    def lose_database(self) -> None:
        """Have an empty one."""
        for file in self.folder.glob("firstread.db*"):
            file.unlink()
        with closing(Database(self.settings.database_url)) as database:
            migrations.upgrade(database)

    def send(self, *films: Dataset) -> None:
        """Store films."""
        for film in films:
            self.orthanc.post(film)

    def run(self, *, until_reported: bool = True) -> None:
        """Let a gateway and workers run until nothing is left to do, and end them."""
        with ExitStack() as stack:
            database = stack.enter_context(closing(Database(self.settings.database_url)))
            site = Site(self.orthanc, database, self.redis_url, stack, rules=RULES)
            intake = site.intake(quiet=RULES.quiet)
            jobs, pacs = JobRecords(database, RULES, JobLimits()), Pacs(self.orthanc.url, auth=None)
            jobs.adopt_policy(TriagePolicy.of(CARD, self.choices))
            queues: list[tuple[Queue, Callable[[str], None]]] = [
                (Queue.SCORE, ScorePipeline(jobs=jobs, pacs=pacs, scorer=SCORER).run)
            ]
            if until_reported:
                records = ExplanationRecords(database)
                report = ReportPipeline(
                    jobs=jobs,
                    pacs=pacs,
                    explaining=Explaining(TemplateExplainer(), records),
                    priors=PriorFinder(pacs, records, scope=ScopeRules),
                )
                queues.append((Queue.REPORT, report.run))
            idle = 0
            while idle < 3:
                looked(intake)
                due = [(run, job_id) for queue, run in queues for job_id in self._due(jobs, queue)]
                for run, job_id in due:
                    run(job_id)
                idle = 0 if due else idle + 1

    @staticmethod
    def _due(jobs: JobRecords, queue: Queue) -> list[str]:
        jobs.forget_enqueued()
        return [job_id for job_id, _ in jobs.due(100, queue)]

    def read(self, study_instance_uid: str) -> None:
        """Somebody reads a study."""
        with closing(Database(self.settings.database_url)) as database, ExitStack() as stack:
            Site(self.orthanc, database, self.redis_url, stack, rules=RULES).readings.complete(ANN, study_instance_uid)

    def lines(self, shown: Shown = Shown.ALL) -> list[ListedStudy]:
        """The list."""
        with closing(Database(self.settings.database_url)) as database:
            return Worklist(database, RULES).page(shown=shown)[1]

    def told(self) -> list[dict[str, Any]]:
        """What the list says of every study, in its order, but for when it was written down."""
        written = {"updated_at", "reading"}
        return [{name: value for name, value in asdict(line).items() if name not in written} for line in self.lines()]

    def files(self) -> dict[str, str]:
        """Digest of every file in Orthanc."""
        found = self.orthanc.get("/instances")
        return {one: self.orthanc.get(f"/instances/{one}/attachments/dicom/info")["UncompressedMD5"] for one in found}

    def reports(self, study_instance_uid: str) -> list[int]:
        """The revisions of a study's triage reports in Orthanc."""
        pacs = Pacs(self.orthanc.url, auth=None)
        found = find_reports(pacs, pacs.own_series(self.orthanc.study(study_instance_uid)))
        return [report.revision for report in found.reports]

    def rebuild(self) -> list[str]:
        """Run the command; what it says at the end, without its progress."""
        lines = list(rebuild_database(self.settings))
        last = max(place for place, line in enumerate(lines) if " studies looked at, " in line)
        return lines[last:]


def same(now: list[dict[str, Any]], before: list[dict[str, Any]]) -> bool:
    """Whether two lists are the same; a difference is named."""
    assert [one["study_instance_uid"] for one in now] == [one["study_instance_uid"] for one in before]
    for one, other in zip(now, before, strict=True):
        differing = {name: (one[name], other[name]) for name in one if one[name] != other[name]}
        assert differing == {}
    return True


def looked(intake: Intake) -> None:
    """One round of a gateway, which must succeed."""
    intake.look()
    assert intake.is_reading, intake._troubles  # noqa: SLF001 - what is the matter


@pytest.fixture
def site(orthanc: OrthancServer, tmp_path: Path, redis_url: str) -> Recovery:
    """An empty site."""
    return Recovery(orthanc, tmp_path, redis_url)


def film(seed: int, *, sick: bool = False, days_old: int = 0, **attributes: Any) -> Dataset:  # noqa: ANN401
    """A simulated chest film of today, with an effusion (of which 4, 5, 10, 12 and 13 get a crop) or without."""
    dataset = chest(seed)
    if sick:
        pixels = simulate_film(seed, finding=FindingType.PLEURAL_EFFUSION, rows=dataset.Rows, columns=dataset.Columns)
        dataset.PixelData = pixels.astype(np.uint16).tobytes()
    dataset.StudyDate = f"{datetime.now(UTC) - timedelta(days=days_old):%Y%m%d}"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def stripes(seed: int) -> Dataset:
    """A film whose header says chest, and whose pixels do not."""
    dataset = film(seed)
    pixels = (np.arange(dataset.Columns) // 4 % 2 * 2000 + 500).astype(np.uint16)
    dataset.PixelData = np.broadcast_to(pixels, (dataset.Rows, dataset.Columns)).tobytes()
    return dataset


def further(seed: int, first: Dataset) -> Dataset:
    """Another sick film of a study; the order of two that came in one second is lost with the database."""
    same = {name: first[name].value for name in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber")}
    return film(seed, sick=True, **same)


# ---- Restored ----


def test_after_an_older_copy_everything_is_there_once(site: Recovery) -> None:
    """Films that came after the backup are listed again, with the reports that the PACS has of them."""
    first, second = film(5, sick=True), film(2)
    site.send(first, second)
    site.run()
    site.read(str(second.StudyInstanceUID))
    copy = site.folder / "copy.backup"
    back_up(site.settings, copy)
    later = film(10, sick=True)
    another = further(4, first)
    site.send(later, another, film(5))
    site.run()
    before, files = site.told(), site.files()
    assert site.reports(first.StudyInstanceUID) == [1, 2]
    list(restore_backup(site.settings, copy, replace=True))
    assert len(site.lines()) == 2
    site.run()
    assert site.files() == files
    assert same(site.told(), before)
    assert {line.study_instance_uid: line.reading.state for line in site.lines()}[second.StudyInstanceUID] == "read"
    site.run()
    assert site.files() == files


def test_other_choices_since_the_backup_write_no_second_report(site: Recovery) -> None:
    """The report in the PACS stands, whatever policy is in force by now; the list goes by that one."""
    site.run()
    copy = site.folder / "copy.backup"
    back_up(site.settings, copy)
    sick = film(5, sick=True)
    site.send(sick)
    site.run()
    files = site.files()
    list(restore_backup(site.settings, copy, replace=True))
    site.choices = SiteChoices(alert_budget=1.0, horizon=timedelta(hours=5))
    site.run()
    assert site.files() == files
    (line,) = site.lines()
    assert (line.state, line.crop_count > 0) == (StudyState.REPORTED, True)
    assert line.policy == TriagePolicy.of(CARD, site.choices)


def test_a_film_that_came_while_nothing_ran_makes_the_next_revision(site: Recovery) -> None:
    """The copy knows neither it nor the report before it: that one is kept, and followed by one of both films."""
    site.run()
    copy = site.folder / "copy.backup"
    back_up(site.settings, copy)
    sick = film(5, sick=True)
    site.send(sick)
    site.run()
    files = site.files()
    site.send(further(12, sick))
    list(restore_backup(site.settings, copy, replace=True))
    site.run()
    assert site.reports(sick.StudyInstanceUID) == [1, 2]
    assert files.items() <= site.files().items()
    (line,) = site.lines()
    assert (line.state, line.analysis and len(line.analysis.images)) == (StudyState.REPORTED, 2)


def test_a_failure_that_was_reported_is_not_reported_again(site: Recovery) -> None:
    """Nor that a film is out of scope."""
    site.run()
    copy = site.folder / "copy.backup"
    back_up(site.settings, copy)
    broken = film(1)
    broken.PixelData = broken.PixelData[: len(broken.PixelData) // 2]
    site.send(broken, film(2, ViewPosition="LL"), stripes(3))
    site.run()
    before, files = site.told(), site.files()
    assert len(files) == 6
    list(restore_backup(site.settings, copy, replace=True))
    site.run()
    assert site.files() == files
    assert same(site.told(), before)


def test_a_device_that_bears_our_name_wrote_none_of_our_reports(site: Recovery) -> None:
    """Its film and its document are no results of ours, and the study is reported as any other."""
    odd = film(5, sick=True, Manufacturer="Firstread")
    site.send(odd, report_of(odd.StudyInstanceUID, PatientID=odd.PatientID, Manufacturer="Firstread"))
    site.run()
    assert site.reports(odd.StudyInstanceUID) == [1]


# ---- Rebuilt ----


def test_a_rebuilt_list_is_the_one_that_was_lost(site: Recovery) -> None:
    """Row by row: order, class, findings, words, failures and results; and nothing is written to the PACS."""
    sick = film(5, sick=True)
    broken = film(2)
    broken.PixelData = broken.PixelData[: len(broken.PixelData) // 2]
    site.send(sick, broken, film(3), film(6, ViewPosition="LL"), stripes(7))
    site.send(film(10, sick=True, RequestedProcedurePriority="STAT"), film(12, sick=True, days_old=400))
    reported = film(8)
    site.send(reported)
    site.run()
    site.send(report_of(reported.StudyInstanceUID, PatientID=reported.PatientID))
    site.run()
    before, files = site.told(), site.files()
    assert sum(line["crop_count"] for line in before) == 3
    site.lose_database()
    lines = site.rebuild()
    assert lines[0] == "8 studies looked at, 8 taken in, 8 of them with AI reports"
    assert same(site.told(), before)
    states = {line.study_instance_uid: line.reading.state for line in site.lines()}
    assert states[reported.StudyInstanceUID] is ReadingState.READ
    site.run()
    assert same(site.told(), before)
    assert site.files() == files
    assert site.rebuild()[0] == "8 studies looked at, 0 taken in, 0 of them with AI reports"


def test_nothing_is_scored_that_a_report_tells(site: Recovery) -> None:
    """Of one image a report holds all scores; of several each finding once, so these are scored and not reported."""
    alone, first = film(5, sick=True), film(10, sick=True)
    site.send(alone, first)
    site.run()
    site.send(further(4, first))
    site.run()
    before, files = site.told(), site.files()
    assert site.reports(first.StudyInstanceUID) == [1, 2]
    site.lose_database()
    assert site.rebuild()[1].startswith("1 study with several images is scored again, and not reported again: ")
    with closing(Database(site.settings.database_url)) as database:
        jobs = JobRecords(database, RULES, JobLimits()).due(10)
    assert [queue for _, queue in jobs] == [Queue.SCORE]  # the second image; the first has a report of its own
    site.run()
    assert same(site.told(), before)
    assert site.files() == files


def test_what_came_while_the_database_was_lost_is_reported(site: Recovery) -> None:
    """A film without any report becomes an ordinary study, one beside a reported film makes the next revision."""
    sick = film(5, sick=True)
    site.send(sick)
    site.run()
    new, beside = film(2, sick=True), further(13, sick)
    site.send(new, beside)
    site.lose_database()
    site.rebuild()
    site.run()
    assert site.reports(new.StudyInstanceUID) == [1]
    assert site.reports(sick.StudyInstanceUID) == [1, 2]
    assert {line.state for line in site.lines()} == {StudyState.REPORTED}


def test_a_rebuild_that_is_broken_off_goes_on(site: Recovery, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had taken in is passed over, and the whole is the same."""
    for seed in range(3):
        site.send(film(seed + 3, sick=True))
    site.run()
    before, files = site.told(), site.files()
    site.lose_database()
    seen = 0

    def failing(*arguments: Any) -> Any:  # noqa: ANN401
        nonlocal seen
        seen += 1
        if seen == 2:
            raise KeyboardInterrupt
        return find_reports(*arguments)

    monkeypatch.setattr("firstread.rebuild.find_reports", failing)
    with pytest.raises(KeyboardInterrupt):
        site.rebuild()
    assert len(site.lines()) == 1
    monkeypatch.undo()
    assert site.rebuild()[0] == "3 studies looked at, 2 taken in, 2 of them with AI reports"
    site.run()
    assert same(site.told(), before)
    assert site.files() == files


def test_studies_of_long_ago_stand_aside(site: Recovery) -> None:
    """Nobody knows whether they were read: those that arrived before the look back are priors, not work."""
    site.send(film(1, sick=True))
    site.run()
    site.lose_database()
    site.settings = site.settings.model_copy(update={"lookback_h": 0.0})
    site.send(film(2))  # never looked at by Firstread: it is left out
    assert site.rebuild()[0] == "2 studies looked at, 1 taken in, 1 of them with AI reports"
    (line,) = site.lines()
    assert (line.reading.state, line.state) == (ReadingState.PRIOR, StudyState.REPORTED)


def test_what_is_older_than_the_site_keeps_is_not_rebuilt(site: Recovery) -> None:
    """It had been removed, and stays in the PACS; the command says how many there are."""
    site.send(film(5, sick=True))
    site.run()
    site.lose_database()
    site.settings = site.settings.model_copy(update={"retention_days": 1e-9})  # so that a film of now is older
    lines = site.rebuild()
    assert lines[0] == "1 studies looked at, 0 taken in, 0 of them with AI reports"
    assert lines[1].startswith("1 of them are older than FIRSTREAD_RETENTION_DAYS=")
    assert site.lines() == []


@pytest.mark.usefixtures("long_leases")
def test_nothing_is_rebuilt_beside_a_gateway(site: Recovery) -> None:
    """It would list films that are being rebuilt."""
    with closing(Database(site.settings.database_url)) as database:
        assert Lease(database, FEED).hold()
        with pytest.raises(PermanentError) as error:
            site.rebuild()
    assert error.value.code == "still_running"
