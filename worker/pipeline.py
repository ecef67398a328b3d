"""What a worker does with a job: score one film, or report one study."""

from __future__ import annotations

import io
import json
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import structlog

from dicom_sr.build import Results, Revision, build_failure_report, build_results
from dicom_sr.revision import InstanceReference
from imaging.display import to_display
from imaging.radiograph import read_radiograph
from models import Explainer, Scorer
from worker.pacs import Pacs
from worker.predict import Predictor
from worklist.errors import FirstreadError, ModelUnavailable, UnusableImage
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
        with self._claimed(job_id) as claim:
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
        with self._claimed(job_id) as claim:
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
        except Exception as error:  # noqa: BLE001 - as in _claimed, but an exception's message may quote the upload
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("prediction failed unexpectedly", error=type(error).__name__, place=place)  # noqa: TRY400
            self.predictions.fail(prediction_id, _surprise(error))

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

    @contextmanager
    def _claimed(self, job_id: str) -> Iterator[_Claim | None]:
        claim = self._claim(job_id)
        if claim is None:
            yield None
            return
        try:
            with claim:
                yield claim
        except FirstreadError as error:
            log.warning("job not done", study=claim.job.study_instance_uid, code=error.code, error=error.message)
            self.jobs.give_up(job_id, claim.holder, error, datetime.now(UTC))
        except Exception as error:
            # Nothing may take the worker down or vanish: the list shows it, the log has the traceback.
            log.exception("job failed unexpectedly", study=claim.job.study_instance_uid)
            self.jobs.give_up(job_id, claim.holder, _surprise(error), datetime.now(UTC))

    def _claim(self, job_id: str) -> _Claim | None:
        holder = str(uuid4())
        job = self.jobs.claim(job_id, holder, datetime.now(UTC))
        return _Claim(self.jobs, job, holder) if job else None


def _surprise(error: Exception) -> ModelUnavailable:
    return ModelUnavailable("unexpected_error", f"unexpected {type(error).__name__}: see the worker's log")


class _Claim:
    """A claimed job whose lease is renewed for as long as its process works on it."""

    def __init__(self, jobs: JobRecords, job: Job, holder: str) -> None:
        self.job = job
        self.holder = holder
        self._jobs = jobs
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _renew(self) -> None:
        pause_s = self._jobs.limits.lease.total_seconds() / 3
        while not self._done.wait(pause_s):
            try:
                if not self._jobs.renew(self.job.job_id, self.holder, datetime.now(UTC)):
                    return
            except Exception as error:  # noqa: BLE001 - a database that is away for a moment costs one renewal of three
                log.warning("lease not renewed, will be tried again", error=type(error).__name__)
