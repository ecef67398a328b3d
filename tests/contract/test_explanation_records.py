"""What a slow explainer asks the records, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.records import ANN, DAY, HOUR, NOON, STUDY, Records, policy, received
from worklist.account import Account, Certainty, Change, Statement
from worklist.comparison import ComparedFinding, PriorComparison
from worklist.finding import FindingType
from worklist.job import Queue
from worklist.order import OrderPriority
from worklist.records import Database, ExplanationRecords, ReportLoad, StudyFacts
from worklist.triage import Grounds, SiteChoices, Urgency


@pytest.fixture
def explanations(database: Database) -> ExplanationRecords:
    """The slow explainer's side of the records."""
    return ExplanationRecords(database)


def test_a_study_is_described_by_its_order_and_its_flag(records: Records, explanations: ExplanationRecords) -> None:
    """The question of the order, whether it comes first, and the names and numbers that no words may repeat."""
    records.ingest(received(question="Cough, r/o pneumonia"), received("1.1", order_priority=OrderPriority.STAT))
    assert explanations.facts(f"o{STUDY}") == StudyFacts(
        reason="Cough, r/o pneumonia", comes_first=False, identifiers=("Doe^Jane", "4711", "A1")
    )
    assert explanations.facts("o1.1").comes_first
    assert explanations.facts("o9.9") == StudyFacts(reason="", comes_first=False, identifiers=())


def test_a_flagged_study_comes_first(records: Records, explanations: ExplanationRecords) -> None:
    """As soon as it is scored."""
    records.jobs.adopt_policy(policy())
    records.ingest(received())
    records.score({FindingType.PLEURAL_EFFUSION: 0.9})
    assert explanations.facts(f"o{STUDY}").comes_first


def test_the_load_is_what_is_still_to_be_reported(records: Records, explanations: ExplanationRecords) -> None:
    """All reports that are open, and those of flagged and STAT studies among them; what is done counts no more."""
    assert explanations.load() == ReportLoad(waiting=0, waiting_first=0)
    records.ingest(received(), received("1.1", order_priority=OrderPriority.STAT), received("1.2"))
    for _ in range(3):
        records.score()
    records.ingest(stable=(STUDY, "1.1", "1.2"))
    assert explanations.load() == ReportLoad(waiting=3, waiting_first=1)
    records.report()
    assert explanations.load() == ReportLoad(waiting=2, waiting_first=0)


def test_words_are_unwanted_once_somebody_has_read_or_more_has_come(
    records: Records, explanations: ExplanationRecords
) -> None:
    """Each reason in its own words; a study that waits or is being read is still to be explained."""
    records.ingest(received(), received("1.1", study_date="20200101", at=NOON - DAY))
    assert explanations.why_unwanted(f"o{STUDY}", 1) == ""
    records.readings.claim(ANN, STUDY)
    assert explanations.why_unwanted(f"o{STUDY}", 1) == "", "whoever has just opened it may still read the words"
    records.readings.complete(ANN, STUDY)
    assert explanations.why_unwanted(f"o{STUDY}", 1) == "the study has been read"
    assert explanations.why_unwanted(f"o{STUDY}", 0) == "a newer film of the study has arrived"
    assert explanations.why_unwanted("o1.1", 1) == "the study is taken for a prior"
    records.intake.record_presence(f"o{STUDY}", is_present=False)
    assert explanations.why_unwanted(f"o{STUDY}", 1) == "the study is no longer in the PACS"
    assert explanations.why_unwanted("o9.9", 1) == "the study is no longer in the PACS"


@pytest.mark.parametrize("site", [SiteChoices(language_model_may_raise=True), SiteChoices()])
def test_a_study_that_words_raised_stays_raised(records: Records, site: SiteChoices) -> None:
    """Its report raises it where the site allows it, and neither a further film nor that one's score lowers it."""
    records.jobs.adopt_policy(policy(site=site))
    records.ingest(received())
    records.score({FindingType.CARDIOMEGALY: 0.3})
    assert records.study().urgency is Urgency.NONE
    records.ingest(stable=(STUDY,))
    job = records.claim(Queue.REPORT)
    subject = records.jobs.report_subject(job)
    assert subject.analysis is not None
    stated = Statement(type=FindingType.PNEUMOTHORAX, certainty=Certainty.POSSIBLE)
    account = Account(explained_at=NOON, statements=(stated,), saw_film_alone=True)
    worded = replace(subject.analysis, account=account)
    assert records.jobs.keep_report(job.job_id, "w", subject, worded)
    assert records.jobs.complete_report(job.job_id, "w", [])
    expected = Urgency.URGENT if site.language_model_may_raise else Urgency.NONE
    assert records.study().urgency is expected
    arrived = records.study().received_at
    assert records.study().queue_at == arrived - (site.least_head_start if expected is Urgency.URGENT else HOUR * 0)
    records.ingest(received(image="2"))
    assert records.study().urgency is expected
    records.score({FindingType.CARDIOMEGALY: 0.1})
    assert records.study().urgency is expected


@pytest.mark.parametrize("site", [SiteChoices(prior_raises=True), SiteChoices()])
def test_a_study_that_a_change_raised_stays_raised(records: Records, site: SiteChoices) -> None:
    """Its report raises it where the site allows it; neither a further film nor its milder comparison lowers it."""
    records.jobs.adopt_policy(policy(site=site))
    records.ingest(received())
    records.score({FindingType.PNEUMOTHORAX: 0.3})
    assert records.study().urgency is Urgency.NONE
    expected = Urgency.URGENT if site.prior_raises else Urgency.NONE
    for image, change in ((None, Change.NEW), ("2", Change.STABLE)):
        if image:
            records.ingest(received(image=image))
            assert records.study().urgency is expected
            records.score({FindingType.PNEUMOTHORAX: 0.1})
        records.ingest(stable=(STUDY,))
        job = records.claim(Queue.REPORT)
        subject = records.jobs.report_subject(job)
        assert subject.analysis is not None
        one = ComparedFinding(type=FindingType.PNEUMOTHORAX, then=0.01, now=0.3, change=change)
        prior = PriorComparison(study_instance_uid="1.9", study_date="20260303", compared=(one,))
        assert records.jobs.keep_report(job.job_id, "w", subject, replace(subject.analysis, prior=prior))
        assert records.jobs.complete_report(job.job_id, "w", [])
        assert records.study().urgency is expected
        raised = Grounds(worse=frozenset({one.type.key})) if image and site.prior_raises else Grounds()
        assert subject.earlier == raised, "the next report says what the list says"
    arrived = records.study().received_at
    assert records.study().queue_at == arrived - (site.least_head_start if site.prior_raises else HOUR * 0)
