"""Reports that lie in the PACS and that the records do not know: taken over, or followed by the next revision."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from tests.records import EXPLAINER, NOON, SECOND, STUDY, Records, policy, received, result
from worklist.finding import FindingType
from worklist.job import Queue
from worklist.procedure_step import ProcedureStepState
from worklist.records import FoundReport, FoundReports, Job
from worklist.records.tables import ReportRow, ResultRow
from worklist.study import StudyState
from worklist.triage import SiteChoices

SICK = {FindingType.PLEURAL_EFFUSION: 0.9}
OLD_POLICY = policy(site=SiteChoices(steepness=3.0))


@pytest.fixture
def job(records: Records) -> Job:
    """The claimed report of a scored study, of which the records know nothing else."""
    records.jobs.adopt_policy(policy())
    records.ingest(received(), stable=[STUDY])
    records.score(SICK, 0.9)
    records.ingest(stable=[STUDY])
    return records.claim(Queue.REPORT)


def found(records: Records, job: Job, probability: float = 0.9, *revisions: int) -> FoundReports:
    """Reports of the study's image, written under another policy."""
    subject = records.jobs.report_subject(job)
    assert subject.analysis
    finding = replace(subject.analysis.findings[0], probability=probability)
    analysis = replace(subject.analysis, findings=(finding,)).explained("Old.", explainer=EXPLAINER, prompt_version="1")
    reports = tuple(
        FoundReport(
            revision=revision,
            analysis=analysis,
            failure=None,
            source_sop_instance_uid=job.sop_instance_uid or f"{STUDY}.1.1",
            policy=OLD_POLICY,
            unscored=0,
            reported_at=NOON - SECOND,
            results=(result(10 * revision), result(10 * revision + 1, position=1)),
        )
        for revision in revisions
    )
    return FoundReports(reports=reports, highest=max(revisions))


def take_over(records: Records, job: Job, reports: FoundReports) -> Job | None:
    """As the slow path does it."""
    return records.jobs.take_over(job, "w", reports, records.jobs.report_subject(job))


def test_a_report_that_says_the_same_is_taken_over(records: Records, job: Job) -> None:
    """With its words, results and revision; the list goes on by the policy in force, and the old one is kept."""
    assert take_over(records, job, found(records, job, 0.9, 1, 2)) is None
    study = records.study()
    assert (study.state, study.crop_count) == (StudyState.REPORTED, 1)
    assert study.analysis is not None
    assert study.analysis.explanation == "Old."
    assert study.policy == policy()
    assert records.jobs.policy() == policy()
    assert records.states(Queue.REPORT) == [(2, ProcedureStepState.COMPLETED)]
    assert records.kinds()[-1] == "triaged"
    assert "report found" in records.kinds()
    with records.database.read() as session:
        digests = {row.revision: row.policy_digest for row in session.scalars(select(ReportRow))}
        assert digests == {1: OLD_POLICY.digest, 2: OLD_POLICY.digest}
        assert len(session.scalars(select(ResultRow)).all()) == 4
    records.ingest(received(image="2"), stable=[STUDY])
    records.score(SICK, 0.9)
    assert records.claim(Queue.REPORT).revision == 3


def test_a_report_that_says_something_else_is_followed(records: Records, job: Job) -> None:
    """By the next free revision, which names it as its predecessor."""
    going_on = take_over(records, job, found(records, job, 0.4, 1, 2))
    assert going_on == replace(job, revision=3)
    subject = records.jobs.report_subject(going_on)
    assert {document.sop_instance_uid for document in subject.predecessors} == {result(20).sop_instance_uid}
    records.finish(going_on, result(30))
    assert records.study().state is StudyState.REPORTED
    assert records.states(Queue.REPORT) == [(3, ProcedureStepState.COMPLETED)]


def test_nothing_found_changes_nothing(records: Records, job: Job) -> None:
    """Also where there are reports of earlier revisions alone, which the records know."""
    assert take_over(records, job, FoundReports()) == job
    records.finish(job, result(1))
    records.ingest(received(image="2"), stable=[STUDY])
    records.score(SICK, 0.9)
    second = records.claim(Queue.REPORT)
    assert take_over(records, second, found(records, second, 0.9, 1)) == second


def test_a_report_that_cannot_be_read_is_not_overwritten(records: Records, job: Job) -> None:
    """Its revision is taken, whatever it says."""
    going_on = take_over(records, job, FoundReports(reports=(), highest=4))
    assert going_on == replace(job, revision=5)


def test_a_report_that_was_overtaken_is_not_written(records: Records, job: Job) -> None:
    """Where the next revision is due already, that one tells all of it."""
    reports = found(records, job, 0.4, 1)
    records.ingest(received(image="2"))
    assert take_over(records, job, reports) is None
    records.score(SICK, 0.9)
    records.ingest(stable=[STUDY])
    assert records.claim(Queue.REPORT).revision == 2


def test_who_has_lost_the_job_takes_nothing_over(records: Records, job: Job) -> None:
    """Whoever has it now does."""
    reports = found(records, job, 0.9, 1)
    subject = records.jobs.report_subject(job)
    records.clock.forward(60 * SECOND)
    assert records.jobs.claim(job.job_id, "another")
    assert records.jobs.take_over(job, "w", reports, subject) is None
    assert records.study().state is StudyState.SCORED
