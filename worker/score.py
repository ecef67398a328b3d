"""The fast path: one image is fetched, decoded and scored, and its study takes its place."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from imaging.radiograph import read_radiograph
from models import Scorer
from worker.claim import claimed
from worker.pacs import Pacs
from worklist.records import JobRecords

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorePipeline:
    """What scores images, put together once a process."""

    jobs: JobRecords
    pacs: Pacs
    scorer: Scorer

    def run(self, job_id: str) -> None:
        """Score the image of a job."""
        with claimed(self.jobs, job_id) as claim:
            if claim is None:
                return
            job = claim.job
            dataset = self.pacs.fetch_image(
                job.study_orthanc_id, job.series_instance_uid, job.sop_instance_uid, job.image_orthanc_id
            )
            analysis = self.scorer.score(read_radiograph(dataset))
            kept = self.jobs.complete_score(job_id, claim.holder, analysis)
            log.info("scored", study=job.study_instance_uid, score=round(analysis.score, 3), kept=kept)
