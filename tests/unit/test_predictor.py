"""One film judged without a site: by the site's own thresholds, refused without a crash, reported in order of time."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydicom import Dataset
from worker.pipeline import Pipeline
from worklist.urgency import Urgency, UrgencyPolicy

from dicom_sr.parse import parse
from imaging.radiograph import Radiograph, read_radiograph
from models.embedded.scorer import EmbeddedScorer
from models.template import TemplateExplainer
from tests.bad_films import chest
from worker.predict import Predictor
from worklist.errors import InvalidInput
from worklist.finding import Analysis
from worklist.media import ImageFormat, image_format
from worklist.records import Job, JobLimits
from worklist.scope import ScopeRules
from worklist.study import JobPath, ReadingPolicy


def part_10(film: Dataset) -> bytes:
    """A dataset as a file's content."""
    stream = io.BytesIO()
    film.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def predictor(policy: UrgencyPolicy) -> Predictor:
    """The shipped models under a site's thresholds."""
    return Predictor(scorer=EmbeddedScorer(), explainer=TemplateExplainer(), urgency=policy, scope=ScopeRules())


@pytest.mark.parametrize(
    ("urgent_from", "critical_from", "urgency", "label"),
    [
        (0.0, 1.0, Urgency.URGENT, "Urgent"),
        (1.0, 1.0, Urgency.ROUTINE, "Non-Urgent"),
        (1.0, 0.0, Urgency.CRITICAL, "Urgent"),
    ],
)
def test_the_label_follows_the_sites_thresholds(
    urgent_from: float, critical_from: float, urgency: Urgency, label: str
) -> None:
    """A film is called what the site's reading list would call it, and the threshold that is told is the site's."""
    policy = UrgencyPolicy(urgent_threshold=urgent_from, critical_threshold=critical_from)
    prediction = predictor(policy).predict(io.BytesIO(part_10(chest(51))), "film")
    result = prediction.to_json()
    assert (prediction.urgency, result["label"], result["threshold"]) == (urgency, label, urgent_from)
    assert result["image"]["film_path"] is None
    assert len(prediction.pictures()) == 1 + len(result["crops"])


def test_the_models_own_threshold_is_told_where_the_site_has_none() -> None:
    """Without a choice of the site the operating point of the model decides."""
    prediction = predictor(UrgencyPolicy()).predict(io.BytesIO(part_10(chest(51))), "film")
    assert prediction.to_json()["threshold"] == prediction.analysis.threshold


def test_a_header_that_cannot_be_read_is_refused() -> None:
    """An element that decides the scope and does not decode ends as a refusal that names the file."""
    film = chest(51)
    film.BodyPartExamined = "CHEST"
    content = part_10(film).replace(b"\x28\x00\x10\x00US\x02\x00\x00\x02", b"\x28\x00\x10\x00FD\x02\x00\x00\x02")
    with pytest.raises(InvalidInput) as caught:
        predictor(UrgencyPolicy()).predict(io.BytesIO(content), "the upload")
    assert caught.value.code == "unreadable_dicom"
    assert caught.value.message.startswith("the upload is broken DICOM")


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\x89PNG\r\n\x1a\n", ImageFormat.PNG),
        (b"\xff\xd8\xff\xe0", ImageFormat.JPEG),
        (bytes(128) + b"DICM", ImageFormat.DICOM),
        (b"II*\x00".ljust(128, b"\0") + b"DICM", ImageFormat.DICOM),  # a preamble may be TIFF's (PS3.10 section 7.1)
        (b"\x08\x00\x05\x00", ImageFormat.DICOM),
        (b"\x00\x08\x00\x05", ImageFormat.DICOM),
        (b"GIF89a", None),
        (b"DICM", None),
        (b"", None),
    ],
)
def test_files_are_told_by_their_first_bytes(head: bytes, found: ImageFormat | None) -> None:
    """PNG, JPEG, DICOM with or without preamble and of either byte order, and nothing else."""
    assert image_format(head) is found


class OneReport:
    """Records and a PACS that hold one scored film, and the one report job of its study."""

    def __init__(self, stable_at: datetime) -> None:
        self.limits = JobLimits(lease=timedelta(seconds=0.3))
        self.film = chest(51)
        self.analysis = EmbeddedScorer().score(read_radiograph(self.film))
        uids = self.film.StudyInstanceUID, self.film.SeriesInstanceUID, self.film.SOPInstanceUID
        study, series, instance = uids
        self.job = Job(
            job_id="1",
            path=JobPath.REPORT,
            study_instance_uid=study,
            series_instance_uid=series,
            sop_instance_uid=instance,
            revision=1,
            created_at=stable_at,
        )
        self.renewals = 0
        self.stored: Sequence[Dataset] = ()

    def renew(self, *_: object) -> bool:
        """The database is away at the first time."""
        self.renewals += 1
        if self.renewals == 1:
            raise ConnectionError
        return True

    def claim(self, *_: object) -> Job:
        """The job."""
        return self.job

    def leading_analysis(self, _: str) -> Analysis:
        """The film's."""
        return self.analysis

    def predecessors(self, *_: object) -> list[object]:
        """None: it is the first revision."""
        return []

    def complete_report(self, *_: object) -> bool:
        """The job is done."""
        return True

    def fetch_instance(self, *_: str) -> Dataset:
        """The film."""
        return self.film

    def store(self, datasets: Sequence[Dataset]) -> None:
        """Keep the results."""
        self.stored = datasets


class SlowExplainer(TemplateExplainer):
    """Takes several leases' time."""

    def explain(
        self, analysis: Analysis, film: Radiograph, prior_reports: tuple[tuple[str, str], ...] = ()
    ) -> Analysis:
        """The template's words, late."""
        time.sleep(1)
        return super().explain(analysis, film, prior_reports)


def test_a_report_is_no_older_than_its_score_and_keeps_its_lease() -> None:
    """Where a backlog scores after the study was stable the times stay in order; one lost renewal ends no lease."""
    site: Any = OneReport(stable_at=datetime.now(UTC) - timedelta(minutes=5))
    pipeline = Pipeline(
        jobs=site,
        pacs=site,
        scorer=EmbeddedScorer(),
        explainer=SlowExplainer(),
        policy=ReadingPolicy(),
        predictions=site,
        predictor=site,
    )
    pipeline.report("1")
    report = parse(site.stored[-1])
    assert report.fetched_at
    assert report.scored_at
    assert report.fetched_at <= report.scored_at <= report.reported_at
    assert site.renewals > 1
