"""What a worker does with a job: score one film, or report one study."""

from __future__ import annotations

import io
import json
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from dicom_sr.build import Results, Revision, build_failure_report, build_results
from dicom_sr.revision import InstanceReference
from imaging.display import to_display
from imaging.radiograph import read_radiograph
from models import Explainer, Scorer
from worker.claim import claimed, surprise
from worker.pacs import Pacs
from worker.predict import Predictor
from worklist.errors import FirstreadError, UnusableImage
from worklist.finding import Analysis, FindingType
from worklist.records import Job, JobRecords, PredictionRecords, StoredResult
from worklist.study import ReadingPolicy
from worklist.urgency import assess_urgency

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """The parts of a worker, put together once a process."""

    jobs: JobRecords
    pacs: Pacs
    scorer: Scorer
    explainer: Explainer
    policy: ReadingPolicy
    predictions: PredictionRecords
    predictor: Predictor
    write_overlay: bool = False
    write_key_image: bool = False

    def score(self, job_id: str) -> None:
        """The fast path: fetch one film, score it, and move its study."""
        with claimed(self.jobs, job_id) as claim:
            if claim is None:
                return
            job = claim.job
            dataset = self.pacs.fetch_instance(job.study_instance_uid, job.series_instance_uid, job.sop_instance_uid)
            analysis = self.scorer.score(read_radiograph(dataset))
            kept = self.jobs.complete_score(job_id, claim.holder, analysis, datetime.now(UTC))
            log.info("scored", study=job.study_instance_uid, score=round(analysis.score, 3), kept=kept)

    def report(self, job_id: str) -> None:
        """The slow path: explain the highest film, build the objects, store them, mark the study reported.

        Where no film could be scored, or all are out of scope, the report says so.
        """
        with claimed(self.jobs, job_id) as claim:
            if claim is None:
                return
            job = claim.job
            analysis = self.jobs.leading_analysis(job.study_instance_uid)
            if analysis:
                analysis, results = self._explain(job, analysis)
            else:
                results = self._tell_failure(job)
            self.pacs.store(results.objects)
            others = results.objects[len(results.crops) :]
            placed = [*enumerate(results.crops, start=1), *((0, other) for other in others)]
            stored = [
                StoredResult(
                    sop_instance_uid=str(dataset.SOPInstanceUID),
                    series_instance_uid=str(dataset.SeriesInstanceUID),
                    sop_class_uid=str(dataset.SOPClassUID),
                    position=position,
                )
                for position, dataset in placed
            ]
            kept = self.jobs.complete_report(job_id, claim.holder, analysis, stored, datetime.now(UTC))
            log.info("reported", study=job.study_instance_uid, objects=len(stored), kept=kept)

    def predict(self, prediction_id: str) -> None:
        """Judge an upload; neither what it holds nor what comes of it is logged."""
        upload = self.predictions.take(prediction_id, datetime.now(UTC))
        if upload is None:
            return
        prior_reports = (("prior_report", upload.prior_report),) if upload.prior_report else ()
        try:
            prediction = self.predictor.predict(io.BytesIO(upload.content), "the upload", prior_reports)
            result = json.dumps(prediction.to_json(f"/predict/{prediction_id}"))
            self.predictions.complete(prediction_id, result, prediction.pictures())
        except FirstreadError as error:
            self.predictions.fail(prediction_id, error)
        except Exception as error:  # noqa: BLE001 - as in claimed, but an exception's message may quote the upload
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("prediction failed unexpectedly", error=type(error).__name__, place=place)  # noqa: TRY400
            self.predictions.fail(prediction_id, surprise(error))

    def _explain(self, job: Job, analysis: Analysis) -> tuple[Analysis, Results]:
        image = analysis.image
        source = self.pacs.fetch_instance(image.study_instance_uid, image.series_instance_uid, image.sop_instance_uid)
        film = read_radiograph(source)
        explained = self.explainer.explain(analysis, film)
        return explained, build_results(
            explained,
            urgency=assess_urgency(explained, self.policy.urgency),
            source=source,
            pixels=to_display(film),
            revision=self._revision(job, analysis),
            write_overlay=self.write_overlay,
            write_key_image=self.write_key_image,
        )

    def _tell_failure(self, job: Job) -> Results:
        film = self.jobs.failed_film(job.study_instance_uid)
        if film is None:
            raise UnusableImage("no_film_scored", "none of the study's films could be scored")
        return build_failure_report(
            source=self.pacs.fetch_instance(job.study_instance_uid, film.series_instance_uid, film.sop_instance_uid),
            code=film.failure.code,
            message=film.failure.message,
            revision=self._revision(job),
            scorer=self.scorer.algorithm,
            looked_for=tuple(FindingType),
        )

    def _revision(self, job: Job, analysis: Analysis | None = None) -> Revision:
        # Nothing here depends on the present moment: a job that is done twice writes the same bytes.
        scored_at = analysis.completed_at if analysis else None
        return Revision(
            number=job.revision,
            predecessor=tuple(
                InstanceReference(
                    sop_class_uid=document.sop_class_uid,
                    sop_instance_uid=document.sop_instance_uid,
                    series_instance_uid=document.series_instance_uid,
                    study_instance_uid=job.study_instance_uid,
                )
                for document in self.jobs.predecessors(job.study_instance_uid, job.revision)
            ),
            fetched_at=analysis.completed_at - timedelta(milliseconds=analysis.elapsed_ms) if analysis else None,
            scored_at=scored_at,
            # A backlog may score after the study was stable. Local time, as DICOM reads times without an offset.
            reported_at=max(job.created_at, scored_at or job.created_at).astimezone(),
        )
