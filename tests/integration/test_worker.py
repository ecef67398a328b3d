"""The three pipelines on real Orthanc and real records: from images to a report, and what may fail on the way."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import numpy as np
import pytest
import structlog
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import EnhancedSRStorage

from dicom_sr.parse import TriageReport, parse
from imaging.radiograph import Radiograph
from imaging.simulated.phantom import simulate_film
from models import Explainer
from models.context import NO_CONTEXT, StudyContext
from models.embedded.scorer import EmbeddedScorer
from models.gates.scorer import GatedScorer
from models.medgemma.notes import NoteSummarizer
from models.medgemma.prompt import load_prompt
from models.template import TemplateExplainer
from tests.bad_films import chest
from tests.language_films import explainer_at
from tests.language_servers import MODEL, answer_json, scripted, send_json
from tests.note_models import Obedient, answer_of
from tests.prior_studies import film_of, text_report
from tests.records import HOUR, NOON, Clock
from tests.servers import OrthancServer, free_ports, orthanc_id
from worker.explaining import Explaining
from worker.pacs import Pacs, StoredStudy
from worker.predict import Predictor, PredictPipeline
from worker.priors import PriorFinder
from worker.report import ReportPipeline
from worker.score import ScorePipeline
from worklist.account import CONFIRM, Change, Layer
from worklist.card import Precision
from worklist.errors import ModelUnavailable, PacsUnavailable
from worklist.finding import Analysis, FindingType, ImageReference, Snippet
from worklist.job import JobLimits, Queue
from worklist.order import OrderPriority
from worklist.reading import Actor, ActorSource
from worklist.records import (
    Database,
    ExplanationRecords,
    IntakeRecords,
    JobRecords,
    ListedStudy,
    PredictionRecords,
    ReadingRecords,
    ReceivedInstance,
    UploadFiles,
    Worklist,
)
from worklist.scope import ScopeRules
from worklist.site import SiteRules
from worklist.step import Step, StepName, StepVerdict
from worklist.study import StudyState
from worklist.triage import SiteChoices, Triage, TriagePolicy, Urgency

RULES = SiteRules(quiet=timedelta(0), prior_after=None)
SCORER = GatedScorer(EmbeddedScorer())
CARD = replace(  # flags and names whatever the shipped scorer sees, so that no test hangs on how well it sees
    SCORER.card,
    flag_from=0.05,
    findings=tuple(
        replace(found, is_shown=True, named_from=0.05, precision=Precision(value=0.7, n=10))
        for found in SCORER.card.findings
    ),
)
ALL_FLAGGED = SiteChoices(alert_budget=1)


@dataclass
class Site:
    """Orthanc, records with a clock to set, and the pipelines of its workers."""

    orthanc: OrthancServer
    database: Database
    clock: Clock
    jobs: JobRecords = field(init=False)

    def __post_init__(self) -> None:
        """Open the records."""
        self.jobs = JobRecords(self.database, RULES, JobLimits())
        self.intake = IntakeRecords(self.database, RULES)

    @property
    def pacs(self) -> Pacs:
        """The workers' side of Orthanc."""
        return Pacs(self.orthanc.url, auth=None)

    def adopt_policy(self, choices: SiteChoices = ALL_FLAGGED) -> TriagePolicy:
        """Bring the scorer's policy into force."""
        policy = TriagePolicy.of(CARD, choices)
        self.jobs.adopt_policy(policy)
        return policy

    def receive(self, *films: Dataset) -> str:
        """Store the films of one study, take them in, and call the study complete; returns its UID."""
        for film in films:
            self.orthanc.post(film)
        self.intake.ingest([_received(film) for film in films], [])
        return str(films[0].StudyInstanceUID)

    def score_all(self) -> None:
        """Run every job of the score queue that is due."""
        for job_id in self.due(Queue.SCORE):
            ScorePipeline(jobs=self.jobs, pacs=self.pacs, scorer=SCORER).run(job_id)
        self.intake.complete_quiet()

    def report_all(
        self,
        explainer: Explainer | None = None,
        *,
        jobs: JobRecords | None = None,
        pacs: Pacs | None = None,
    ) -> None:
        """Run every job of the report queue that is due."""
        records = ExplanationRecords(self.database)
        explaining = Explaining(explainer or TemplateExplainer(), records)
        for job_id in self.due(Queue.REPORT):
            ReportPipeline(
                jobs=jobs or self.jobs,
                pacs=pacs or self.pacs,
                explaining=explaining,
                priors=PriorFinder(
                    pacs or self.pacs,
                    records,
                    scope=ScopeRules,
                    load_scorer=lambda: SCORER,
                ),
            ).run(job_id)

    def due(self, queue: Queue) -> list[str]:
        """The jobs of a queue that are due."""
        self.jobs.forget_enqueued()
        return [job_id for job_id, _ in self.jobs.due(100, queue)]

    def listed(self, study_instance_uid: str) -> ListedStudy:
        """A study as the list shows it."""
        study = Worklist(self.database, RULES).find(study_instance_uid)
        assert study is not None
        return study

    def steps(self, study_instance_uid: str) -> tuple[Step, ...]:
        """How what the list shows of a study came about."""
        steps = Worklist(self.database, RULES).steps(study_instance_uid)
        assert steps is not None
        return steps

    def files(self) -> dict[str, bytes]:
        """The files that Orthanc holds of what Firstread wrote, by SOP Instance UID."""
        found = {}
        for found_id in self.orthanc.get("/instances"):
            tags = self.orthanc.get(f"/instances/{found_id}/simplified-tags")
            if tags.get("Manufacturer") == "Firstread":
                answer = httpx.get(f"{self.orthanc.url}/instances/{found_id}/file", trust_env=False, timeout=60)
                found[tags["SOPInstanceUID"]] = answer.raise_for_status().content
        return found

    def report(self) -> TriageReport:
        """The one triage report that Orthanc holds."""
        datasets = [dcmread(io.BytesIO(file)) for file in self.files().values()]
        (report,) = (one for one in datasets if one.SOPClassUID == EnhancedSRStorage)
        return parse(report)


def _received(film: Dataset) -> ReceivedInstance:
    return ReceivedInstance(
        orthanc_id=orthanc_id(film.PatientID, film.StudyInstanceUID),
        instance_orthanc_id=orthanc_id(
            film.PatientID, film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID
        ),
        study_instance_uid=film.StudyInstanceUID,
        series_instance_uid=film.SeriesInstanceUID,
        sop_instance_uid=film.SOPInstanceUID,
        digest=str(film.InstanceNumber),
        received_at=NOON,
        patient_id=film.PatientID,
        patient_name=str(film.PatientName),
        accession_number=film.AccessionNumber,
        study_description=film.StudyDescription,
        modality=film.Modality,
        order_priority=OrderPriority.ROUTINE,
        scope_failure=None,
        study_date="20261122",
    )


@pytest.fixture
def site(orthanc: OrthancServer, tmp_path: Path, migrated_sqlite: bytes) -> Iterator[Site]:
    """A site whose clock shows noon."""
    file, clock = tmp_path / "firstread.db", Clock()
    file.write_bytes(migrated_sqlite)
    with closing(Database(f"sqlite:///{file}", clock=clock)) as database:
        yield Site(orthanc=orthanc, database=database, clock=clock)


def sick(seed: int = 5, **attributes: str) -> Dataset:
    """A simulated film with an effusion, on which the shipped model finds one."""
    film = chest(seed)
    pixels = simulate_film(seed, finding=FindingType.PLEURAL_EFFUSION, rows=film.Rows, columns=film.Columns)
    film.PixelData = pixels.astype(np.uint16).tobytes()
    film.InstanceNumber = seed
    for keyword, value in attributes.items():
        setattr(film, keyword, value)
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    return film


class Wordy(TemplateExplainer):
    """Says something else each time, as a language model does."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0

    def explain(
        self,
        analysis: Analysis,
        triage: Triage,
        radiographs: Callable[[ImageReference], Radiograph],
        context: StudyContext = NO_CONTEXT,
    ) -> Analysis:
        """The template's Analysis with the number of the try for its words."""
        self.tries += 1
        explained = super().explain(analysis, triage, radiographs, context)
        return replace(explained, explanation=f"Said at try {self.tries}.")


def test_a_study_goes_from_image_to_report(site: Site) -> None:
    """It is scored, takes its place by the policy in force, and is reported with the times at which that happened."""
    policy = site.adopt_policy()
    uid = site.receive(sick())
    site.score_all()
    scored = site.listed(uid)
    assert (scored.state, scored.urgency) == (StudyState.SCORED, Urgency.URGENT)
    assert scored.queue_at < NOON
    reported_at = site.clock.forward(timedelta(seconds=7))
    site.report_all()
    assert site.listed(uid).state is StudyState.REPORTED
    report = site.report()
    assert report.analysis is not None
    assert report.fetched_at is not None
    assert report.scored_at == report.analysis.completed_at
    elapsed = report.scored_at - report.fetched_at
    assert elapsed.total_seconds() * 1000 == pytest.approx(report.analysis.elapsed_ms, abs=1)
    assert report.reported_at == reported_at
    assert report.policy == policy


def test_a_language_model_explains_into_the_report(site: Site) -> None:
    """Words, account and signature stand in the SR and on the list; the study stays in its place."""
    site.adopt_policy()
    uid = site.receive(sick(ReasonForTheRequestedProcedure="Cough"))
    site.score_all()
    scored = site.listed(uid)
    with scripted(lambda handler: send_json(handler, _agreeing(scored))) as server:
        site.report_all(explainer_at(server.url))
    reported, report = site.listed(uid), site.report()
    assert report.analysis is not None
    assert report.analysis == reported.analysis
    assert (report.format, report.analysis.explainer and report.analysis.explainer.name) == (4, MODEL)
    account = report.analysis.account
    assert account is not None
    assert (account.instead_of, account.prompt_sha256) == ("", load_prompt().sha256)
    assert [check.layer for check in account.checks] == [*Layer]
    assert report.analysis.explanation.endswith(CONFIRM)
    assert (reported.urgency, reported.queue_at, reported.harm) == (scored.urgency, scored.queue_at, scored.harm)
    assert report.triage == scored.triage


def _agreeing(study: ListedStudy) -> dict[str, object]:
    """An answer that says what the triage of a study says."""
    assert study.triage is not None
    words = [f"{one.likelihood} {one.side or ''} {one.finding.type.label.lower()}" for one in study.triage.named]
    sentence = " ".join(" and ".join(words).split())
    return {"choices": [{"message": {"content": answer_json(f"{sentence[0].upper()}{sentence[1:]}.")}}]}


def test_a_dead_language_model_costs_no_report(site: Site) -> None:
    """The study is reported with the template's words, and report and list say in whose place and why."""
    site.adopt_policy()
    uid = site.receive(sick())
    site.score_all()
    site.report_all(explainer_at(f"http://127.0.0.1:{free_ports(1)[0]}"))
    assert site.listed(uid).state is StudyState.REPORTED
    report = site.report()
    assert report.analysis is not None
    account = report.analysis.account
    assert account is not None
    assert report.analysis.explainer is not None
    assert report.analysis.explainer.name == "Firstread template"
    assert account.instead_of == f"{MODEL}, version as served"
    assert "does not answer" in account.why


def test_a_study_that_is_read_while_the_model_thinks_is_reported_at_once(site: Site) -> None:
    """The model is not waited for, and the report says that it was read."""
    site.adopt_policy()
    uid = site.receive(sick())
    site.score_all()
    readings = ReadingRecords(database=site.database, rules=RULES)

    def read_meanwhile(handler: BaseHTTPRequestHandler) -> None:
        readings.complete(Actor(name="Ann", source=ActorSource.TYPED), uid)
        handler.connection.settimeout(250)
        handler.connection.recv(1)

    with scripted(read_meanwhile) as server:
        site.report_all(explainer_at(server.url, time_limit_s=250))
    report = site.report()
    assert report.analysis is not None
    assert report.analysis.account is not None
    assert report.analysis.account.why == "the study has been read"


def test_a_report_that_is_tried_again_is_the_same_to_the_byte(site: Site) -> None:
    """Stored but not completed, it is built again from what was kept: no second opinion under the first one's UIDs."""

    class AwayAtTheEnd(JobRecords):
        def complete_report(self, *_: object) -> bool:
            raise ConnectionError

    site.adopt_policy()
    uid = site.receive(sick())
    site.score_all()
    explainer = Wordy()
    site.report_all(explainer, jobs=AwayAtTheEnd(site.database, RULES, JobLimits()))
    first = site.files()
    assert site.listed(uid).state is StudyState.SCORED
    assert len(first) > 1
    site.clock.forward(HOUR)
    site.report_all(explainer)
    assert site.files() == first
    assert site.listed(uid).state is StudyState.REPORTED
    report = site.report()
    assert report.analysis is not None
    assert (explainer.tries, report.analysis.explanation) == (1, "Said at try 1.")


def test_report_and_list_tell_how_the_result_came_about(site: Site) -> None:
    """All seven steps stand in the SR, which gives them back as they were kept, and the list tells the same."""
    site.adopt_policy()
    uid = site.receive(sick())
    site.score_all()
    assert [step.name for step in site.steps(uid)] == [StepName.SCOPE, StepName.SCORE, StepName.LOCALIZE]
    site.report_all()
    report = site.report()
    assert report.analysis is not None
    assert report.analysis.steps == site.steps(uid)
    assert [(step.name, step.verdict) for step in report.analysis.steps] == [
        (StepName.SCOPE, StepVerdict.DONE),
        (StepName.SCORE, StepVerdict.DONE),
        (StepName.PRIORS, StepVerdict.NOTHING),
        (StepName.LOCALIZE, report.analysis.steps[3].verdict),
        (StepName.COMPARE, StepVerdict.LEFT_OUT),
        (StepName.EXPLAIN, StepVerdict.DONE),
        (StepName.CHECK, StepVerdict.LEFT_OUT),
    ]


def test_priors_that_do_not_answer_cost_the_priors_alone(site: Site) -> None:
    """The study is reported with its findings and its words, and the step says what failed."""

    class Away(Pacs):
        def patient_studies(self, study_orthanc_id: str, most: int) -> list[StoredStudy]:
            raise PacsUnavailable(
                "pacs_away", f"not even {most} studies of {study_orthanc_id}: Orthanc does not answer"
            )

    site.adopt_policy()
    uid = site.receive(sick())
    site.score_all()
    site.report_all(pacs=Away(site.orthanc.url, auth=None))
    assert site.listed(uid).state is StudyState.REPORTED
    analysis = site.report().analysis
    assert analysis is not None
    assert analysis.explanation
    verdicts = {step.name: step.verdict for step in analysis.steps}
    assert verdicts[StepName.PRIORS] is StepVerdict.FAILED
    assert verdicts[StepName.EXPLAIN] is StepVerdict.DONE


def test_nothing_is_stored_where_nothing_could_be_kept(site: Site) -> None:
    """A worker that has lost its lease while it thought stores nothing: whoever has the job now does."""

    class Slow(TemplateExplainer):
        def explain(
            self,
            analysis: Analysis,
            triage: Triage,
            radiographs: Callable[[ImageReference], Radiograph],
            context: StudyContext = NO_CONTEXT,
        ) -> Analysis:
            site.clock.forward(HOUR)
            (job_id,) = claimed
            assert site.jobs.claim(job_id, "another")
            return super().explain(analysis, triage, radiographs, context)

    site.adopt_policy()
    uid = site.receive(sick())
    site.score_all()
    claimed = site.due(Queue.REPORT)
    site.report_all(Slow())
    assert site.files() == {}
    assert site.listed(uid).state is StudyState.SCORED
    assert site.jobs.renew(claimed[0], "another")


def test_a_pacs_that_takes_nothing_is_tried_again(site: Site) -> None:
    """A report that could not be stored waits, says why, and is stored later with the words of its first try."""
    site.adopt_policy()
    uid = site.receive(sick())
    site.score_all()
    explainer = Wordy()
    site.report_all(explainer, pacs=Pacs(site.orthanc.url, dicomweb_root="nowhere", auth=None))
    assert site.files() == {}
    site.clock.forward(HOUR / 2)
    site.report_all(explainer)
    assert site.listed(uid).state is StudyState.REPORTED
    assert explainer.tries == 1


def test_a_study_of_two_images_has_one_report_of_both(site: Site) -> None:
    """Findings, sources and crops come from the image that shows them, fetched from wherever it lies."""
    site.adopt_policy()
    first = sick(5)
    second = sick(7, StudyInstanceUID=first.StudyInstanceUID)
    healthy = chest(4)
    healthy.StudyInstanceUID, healthy.InstanceNumber = first.StudyInstanceUID, 4
    second.PatientID = healthy.PatientID = first.PatientID
    uid = site.receive(healthy, first, second)
    site.score_all()
    site.report_all()
    assert site.listed(uid).state is StudyState.REPORTED
    report = site.report()
    assert report.analysis is not None
    assert {image.sop_instance_uid for image in report.analysis.images} == {
        film.SOPInstanceUID for film in (first, second, healthy)
    }
    crops = [item for item in map(dcmread, map(io.BytesIO, site.files().values())) if item.Modality == "OT"]
    leading = report.analysis.image.sop_instance_uid
    assert leading in {first.SOPInstanceUID, second.SOPInstanceUID}
    assert {crop.SourceImageSequence[0].ReferencedSOPInstanceUID for crop in crops} <= {
        film.SOPInstanceUID for film in (first, second)
    }
    assert crops


def test_a_study_that_cannot_be_scored_is_reported_as_such(site: Site) -> None:
    """The report says why nothing was said, and by which scorer, although the process that writes it has none."""
    policy = site.adopt_policy()
    film = chest(5)
    film.PixelData = film.PixelData[: len(film.PixelData) // 2]
    film.InstanceNumber = 1
    uid = site.receive(film)
    site.score_all()
    site.report_all()
    assert site.listed(uid).state is StudyState.FAILED
    report = site.report()
    assert report.analysis is None
    assert report.failure is not None
    assert report.failure.code == "pixel_data_truncated"
    assert report.scorer is not None
    assert report.scorer.sha256 == policy.card.sha256


def striped() -> Dataset:
    """A film whose header says chest, and whose pixels do not."""
    film = chest(5)
    stripes = (np.arange(512) // 4 % 2 * 2000 + 500).astype(np.uint16)
    film.PixelData = np.broadcast_to(stripes, (512, 512)).tobytes()
    return film


def test_what_does_not_look_like_a_chest_film_is_out_of_scope(site: Site) -> None:
    """The list says so and not that the AI failed, and the report says that nothing was assessed, and why."""
    site.adopt_policy()
    uid = site.receive(striped())
    site.score_all()
    site.report_all()
    study, report = site.listed(uid), site.report()
    assert study.failure is not None
    assert (study.state, study.failure.code, study.urgency) == (StudyState.OUT_OF_SCOPE, "not_chest_film", None)
    assert (report.analysis, report.failure) == (None, study.failure)
    assert "does not look like a frontal chest film" in study.reason


def test_a_site_that_wants_no_report_on_what_is_out_of_scope_gets_none(site: Site) -> None:
    """Neither by the header nor by the pixels; the study is out of scope, and its job is done."""
    site.adopt_policy()
    uid = site.receive(striped())
    site.score_all()
    site.report_all(jobs=JobRecords(site.database, replace(RULES, report_out_of_scope=False), JobLimits()))
    assert site.files() == {}
    assert site.listed(uid).state is StudyState.OUT_OF_SCOPE
    assert site.due(Queue.REPORT) == []


def test_without_a_policy_nothing_is_reported(site: Site) -> None:
    """A report waits until a worker has said by which rule: it never goes by a rule that nobody registered."""
    uid = site.receive(sick())
    site.score_all()
    with structlog.testing.capture_logs() as logs:
        site.report_all()
    assert [entry["code"] for entry in logs if entry["event"] == "job not done"] == ["no_policy"]
    assert site.files() == {}
    site.adopt_policy()
    site.clock.forward(HOUR)
    site.report_all()
    assert site.listed(uid).state is StudyState.REPORTED


def test_what_nobody_foresaw_is_logged_without_its_message(site: Site) -> None:
    """An exception may quote the header: the log has its type and place, the list a code, and neither the name."""

    class Broken(TemplateExplainer):
        def explain(
            self,
            analysis: Analysis,  # noqa: ARG002 - the protocol's
            triage: Triage,  # noqa: ARG002
            radiographs: Callable[[ImageReference], Radiograph],  # noqa: ARG002
            context: StudyContext = NO_CONTEXT,  # noqa: ARG002
        ) -> Analysis:
            raise ValueError(f"{film.PatientName} is no number")

    site.adopt_policy()
    film = sick(PatientName="Doe^Jane")
    uid = site.receive(film)
    site.score_all()
    with structlog.testing.capture_logs() as logs:
        for _ in range(JobLimits().max_attempts):
            site.report_all(Broken())
            site.clock.forward(HOUR)
    failures = [entry for entry in logs if entry["event"] == "job failed unexpectedly"]
    assert len(failures) == JobLimits().max_attempts
    assert {(entry["error"], entry["study"]) for entry in failures} == {("ValueError", uid)}
    assert "in explain" in failures[0]["place"]
    assert "Doe" not in json.dumps(logs)
    failure = site.listed(uid).failure
    assert failure is not None
    assert failure.code == "unexpected_error"
    assert "Doe" not in failure.message


def an_upload() -> io.BytesIO:
    """A film with an effusion as PNG."""
    film = sick()
    pixels = np.frombuffer(film.PixelData, np.uint16).reshape(film.Rows, film.Columns) >> 4
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    stream.seek(0)
    return stream


def predict(site: Site, folder: Path) -> dict[str, object]:
    """What a worker makes of an upload with an earlier report, under the shipped card where no policy is in force."""
    predictions = PredictionRecords(site.database, UploadFiles(folder))
    prediction_id = predictions.submit(an_upload(), "Small left effusion.", NOON)
    PredictPipeline(
        jobs=site.jobs,
        predictions=predictions,
        load_predictor=lambda: Predictor(scorer=SCORER, explainer=TemplateExplainer(), scope=ScopeRules()),
    ).run(prediction_id)
    result = predictions.result(prediction_id)
    assert result is not None
    assert predictions.files.picture(prediction_id, 0)
    document: dict[str, object] = json.loads(result)
    return document


def test_an_upload_is_judged_by_the_policy_in_force(site: Site, tmp_path: Path) -> None:
    """What the reading list would call urgent is called that here, before and after the site's choices change it."""
    assert predict(site, tmp_path)["threshold"] == TriagePolicy.of(SCORER.card, RULES.triage).flag_from
    site.adopt_policy()
    before = predict(site, tmp_path)
    assert (before["label"], before["urgency"]) == ("Urgent", "urgent")
    site.adopt_policy(replace(ALL_FLAGGED, weights={found.type.key: 0.01 for found in CARD.findings}))
    after = predict(site, tmp_path)
    assert (after["label"], after["urgency"]) == ("Non-Urgent", "none")
    assert after["score"] == before["score"]


def test_a_note_is_read_beside_its_film_and_alone(site: Site, tmp_path: Path) -> None:
    """With the language model's words in both; nothing of it is in the database, or in the folder once it is told."""
    words = "The note states cough with possible left effusion."
    predictions = PredictionRecords(site.database, UploadFiles(tmp_path))
    pipeline = PredictPipeline(
        jobs=site.jobs,
        predictions=predictions,
        load_predictor=lambda: Predictor(scorer=SCORER, explainer=TemplateExplainer(), scope=ScopeRules()),
        summarizer=NoteSummarizer(Obedient([answer_of(words)]), time_limit_s=60),
    )
    documents, readings = [], []
    for film in (an_upload(), None):
        prediction_id = predictions.submit(film, None, NOON, note="Cough, ?left effusion.")
        pipeline.run(prediction_id)
        documents.append(json.loads(predictions.result(prediction_id) or ""))
        readings.append(json.loads(predictions.files.take_reading(prediction_id)))
        assert predictions.files.note(prediction_id) is None
        with pytest.raises(ModelUnavailable):
            predictions.files.take_reading(prediction_id)
    beside, alone = readings
    assert documents[0]["explanation"].startswith("Asked about pleural effusion.")
    assert (documents[0]["text"], documents[1]) == (None, {})
    assert [one["text"] for one in beside["statements"]] == ["Cough", "effusion"]
    assert beside["language_model"] == alone
    assert alone["summary"].startswith(words)


def test_a_prior_goes_from_the_pacs_into_report_and_list(site: Site) -> None:
    """Its scores and its report's sentence stand in the SR with their source, and nothing of it moves the study."""
    site.adopt_policy()
    earlier = film_of("20260303", 8)
    report = text_report(earlier, "Small left pleural effusion.")
    site.orthanc.post(earlier)
    site.orthanc.post(report)
    film = film_of("20261120", 5)
    film.InstanceNumber = 1
    uid = site.receive(film)
    site.score_all()
    scored = site.listed(uid)
    site.report_all()
    read, listed = site.report(), site.listed(uid)
    assert read.analysis is not None
    assert read.analysis == listed.analysis
    prior = read.analysis.prior
    assert prior is not None
    assert prior.film is not None
    assert prior.film.sop_instance_uid == earlier.SOPInstanceUID
    assert prior.report is not None
    assert read.analysis.snippets == (Snippet(source=report.SOPInstanceUID, snippet="Small left pleural effusion."),)
    assert len(prior.compared) == len(read.analysis.findings)
    assert "the film of 3 March 2026" in read.analysis.explanation
    assert (listed.urgency, listed.harm, listed.queue_at) == (scored.urgency, scored.harm, scored.queue_at)


def test_a_change_for_the_worse_raises_a_study_where_the_site_allows_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its report the study gets the least head start; list, explanation and SR give the change as the reason."""
    monkeypatch.setattr("worklist.comparison.change_of", lambda _then, _now: Change.NEW)
    choices = SiteChoices(prior_raises=True)
    least = max(found.weight for found in CARD.findings if found.is_shown)  # no score of a film here reaches it
    policy = TriagePolicy(card=CARD, site=choices, flag_from=least, budget_basis="a test")
    site.jobs.adopt_policy(policy)
    site.orthanc.post(film_of("20260303", 8))
    film = film_of("20261120", 5)
    film.InstanceNumber = 1
    uid = site.receive(film)
    site.score_all()
    scored = site.listed(uid)
    assert scored.urgency is Urgency.NONE
    site.report_all()
    read, listed = site.report(), site.listed(uid)
    flag = "Urgent finding suspected by the change since an earlier film alone"
    assert (listed.urgency, listed.queue_at) == (Urgency.URGENT, scored.queue_at - choices.least_head_start)
    assert f"{flag}, none certain enough to name" in listed.reason
    assert (read.urgency, read.triage and read.triage.is_raised_by_change) == (Urgency.URGENT, True)
    assert read.analysis is not None
    assert f"{flag}, for none of these." in read.analysis.explanation


def test_a_language_model_is_shown_the_earlier_film_and_report(site: Site) -> None:
    """Two images, the earlier one first, and the report's sentence go to the model."""
    site.adopt_policy()
    earlier = film_of("20260303", 8)
    site.orthanc.post(earlier)
    site.orthanc.post(text_report(earlier, "Small left pleural effusion."))
    film = film_of("20261120", 5)
    film.InstanceNumber = 1
    uid = site.receive(film)
    site.score_all()
    scored = site.listed(uid)
    with scripted(lambda handler: send_json(handler, _agreeing(scored))) as server:
        site.report_all(explainer_at(server.url))
    parts = server.asked[0]["messages"][1]["content"]
    assert [part["type"] for part in parts] == ["image_url", "image_url", "text"]
    assert "Small left pleural effusion." in parts[2]["text"]
    assert "2026-03-03" in parts[2]["text"]
