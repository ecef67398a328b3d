"""The slow path: what was found is put into words and kept, and only then built as DICOM objects and stored.

A try after that builds from what was kept, so that it stores the same bytes under the same UIDs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import structlog
from pydicom import Dataset

from dicom_sr.build import Results, Revision, build_failure_report, build_results
from dicom_sr.revision import InstanceReference
from imaging.display import to_display
from imaging.radiograph import Radiograph, read_radiograph
from worker.claim import claimed
from worker.explaining import Explaining
from worker.found import find_reports
from worker.pacs import Pacs
from worker.priors import Prior, PriorFinder
from worklist.errors import ModelUnavailable, UnusableImage
from worklist.finding import Algorithm, Analysis, ImageReference
from worklist.records import Job, JobRecords, ReportSubject, StoredResult
from worklist.triage import Triage, TriagePolicy, assess
from worklist.uids import device_uid

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportPipeline:
    """What reports studies, put together once a process.

    Attributes:
        jobs: the work.
        pacs: where images come from and results go.
        explaining: what puts an Analysis into words.
        priors: what finds the patient's earlier film and report.
        write_overlay: whether boxes also become a presentation state.
        write_key_image: whether an image with a suspected finding also gets a key image note.
    """

    jobs: JobRecords
    pacs: Pacs
    explaining: Explaining
    priors: PriorFinder
    write_overlay: bool = False
    write_key_image: bool = False

    def run(self, job_id: str) -> None:
        """Report the study of a job: what was found, or why nothing could be said."""
        with claimed(self.jobs, job_id) as claim:
            if claim is None:
                return
            job = claim.job
            subject = self.jobs.report_subject(job)
            if not self.jobs.is_reported(subject):
                self.jobs.complete_report(job_id, claim.holder, [])
                return
            if subject.is_new:
                going_on = self._take_over(job, claim.holder, subject)
                if going_on is None:
                    return
                if going_on != job:
                    job = going_on
                    subject = self.jobs.report_subject(job)
            images = _Images(self.pacs, job.study_orthanc_id, subject.orthanc_ids)
            analysis = subject.analysis if subject.is_kept else self._explain(job, subject, images)
            reported_at = self.jobs.keep_report(job_id, claim.holder, subject, analysis)
            if reported_at is None:
                return  # the lease is lost, and another worker reports it
            revision = _revision(job, subject, analysis, reported_at)
            if analysis:
                results = self._build(analysis, subject, images, revision)
            else:
                results = self._build_failure(subject, job, revision)
            self.pacs.store(results.objects)
            stored = list(_placed(results))
            kept = self.jobs.complete_report(job_id, claim.holder, stored)
            log.info("reported", study=job.study_instance_uid, objects=len(stored), kept=kept)

    def _take_over(self, job: Job, holder: str, subject: ReportSubject) -> Job | None:
        """What is left to do: where the database was restored or lost, the PACS may have the report already."""
        series = self.pacs.own_series(job.study_orthanc_id)
        if not series:
            return job
        going_on = self.jobs.take_over(job, holder, find_reports(self.pacs, series), subject)
        if going_on is None:
            log.info("found in the PACS", study=job.study_instance_uid)
        return going_on

    def _explain(self, job: Job, subject: ReportSubject, images: _Images) -> Analysis | None:
        if subject.analysis is None:
            return None
        analysis, policy = subject.analysis, _policy(subject)

        def triaged(analysis: Analysis) -> Triage:
            return assess(analysis, policy, subject.earlier)

        def find_prior() -> Prior | None:
            return self.priors.find(job.study_orthanc_id, analysis, images.dataset(analysis.image))

        return self.explaining.explain(job, analysis, triaged, images.radiograph, find_prior)

    def _build(self, analysis: Analysis, subject: ReportSubject, images: _Images, revision: Revision) -> Results:
        policy = _policy(subject)
        return build_results(
            analysis,
            # With the words and the comparison that it has by now, as the list does.
            triage=assess(analysis, policy, subject.earlier),
            policy=policy,
            sources={image.sop_instance_uid: images.dataset(image) for image in analysis.images},
            pixels=images.greys,
            revision=revision,
            unscored=subject.unscored,
            write_overlay=self.write_overlay,
            write_key_image=self.write_key_image,
        )

    def _build_failure(self, subject: ReportSubject, job: Job, revision: Revision) -> Results:
        failed = subject.failed
        if failed is None:
            raise UnusableImage("no_image_scored", "none of the study's images could be scored")
        policy = self.jobs.policy()
        if policy is None:
            raise _no_policy()
        card = policy.card
        return build_failure_report(
            source=self.pacs.fetch_image(
                job.study_orthanc_id, failed.series_instance_uid, failed.sop_instance_uid, failed.orthanc_id
            ),
            code=failed.failure.code,
            message=failed.failure.message,
            revision=revision,
            card=card,
            scorer=Algorithm(
                name=card.name, version=card.version, sha256=card.sha256, device_uid=device_uid(card.sha256)
            ),
        )


class _Images:
    """The images of one study, fetched once each and decoded where it is asked for."""

    def __init__(self, pacs: Pacs, study_orthanc_id: str, orthanc_ids: Mapping[str, str]) -> None:
        self._pacs = pacs
        self._study_orthanc_id = study_orthanc_id
        self._orthanc_ids = orthanc_ids
        self._datasets: dict[str, Dataset] = {}

    def dataset(self, image: ImageReference) -> Dataset:
        if image.sop_instance_uid not in self._datasets:
            self._datasets[image.sop_instance_uid] = self._pacs.fetch_image(
                self._study_orthanc_id,
                image.series_instance_uid,
                image.sop_instance_uid,
                self._orthanc_ids.get(image.sop_instance_uid),
            )
        return self._datasets[image.sop_instance_uid]

    def radiograph(self, image: ImageReference) -> Radiograph:
        return read_radiograph(self.dataset(image))

    def greys(self, image: ImageReference) -> npt.NDArray[np.uint8]:
        return to_display(self.radiograph(image))


def _policy(subject: ReportSubject) -> TriagePolicy:
    if subject.policy is None:
        raise _no_policy()
    return subject.policy


def _no_policy() -> ModelUnavailable:
    return ModelUnavailable(
        "no_policy", "no worker has registered the triage policy of this study's scorer: start one for the queue score"
    )


def _revision(job: Job, subject: ReportSubject, analysis: Analysis | None, reported_at: datetime) -> Revision:
    # All of it was kept, nothing depends on the present moment: a job that is done twice writes the same bytes.
    return Revision(
        number=job.revision,
        predecessor=tuple(
            InstanceReference(
                sop_class_uid=document.sop_class_uid,
                sop_instance_uid=document.sop_instance_uid,
                series_instance_uid=document.series_instance_uid,
                study_instance_uid=job.study_instance_uid,
            )
            for document in subject.predecessors
        ),
        fetched_at=analysis.completed_at - timedelta(milliseconds=analysis.elapsed_ms) if analysis else None,
        scored_at=analysis.completed_at if analysis else None,
        reported_at=reported_at.astimezone(),  # local, as DICOM reads times without an offset
    )


def _placed(results: Results) -> Iterator[StoredResult]:
    """What was stored, crops counted from 1 and the rest at 0."""
    crops = {str(crop.SOPInstanceUID): place for place, crop in enumerate(results.crops, start=1)}
    for item in results.objects:
        yield StoredResult(
            sop_instance_uid=str(item.SOPInstanceUID),
            series_instance_uid=str(item.SeriesInstanceUID),
            sop_class_uid=str(item.SOPClassUID),
            position=crops.get(str(item.SOPInstanceUID), 0),
        )
