"""A job, claimed for as long as its process works on it, and given up for everyone to see where that fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from worker.failures import log_failure
from worklist.records import Job, JobRecords, name_of_a_claim

log = structlog.get_logger()


@contextmanager
def claimed(jobs: JobRecords, job_id: str) -> Iterator[Claim | None]:
    """The claim to a job; None where it is done, or another's. What is raised inside is kept with the job."""
    holder = name_of_a_claim()
    job = jobs.claim(job_id, holder)
    if job is None:
        yield None
        return
    claim = Claim(jobs, job, holder)
    try:
        with claim:
            yield claim
    except Exception as error:  # noqa: BLE001 - nothing may take the worker down or vanish: the list shows it
        jobs.give_up(job_id, holder, log_failure(job.queue, error, study=job.study_instance_uid))


class Claim:
    """A claimed job whose lease is renewed for as long as its process works on it."""

    def __init__(self, jobs: JobRecords, job: Job, holder: str) -> None:
        self.job = job
        self.holder = holder
        self._jobs = jobs
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> None:
        """Renew the lease from now on."""
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        """Let the lease run out."""
        self._done.set()
        self._thread.join()

    def _renew(self) -> None:
        pause_s = self._jobs.limits.lease.total_seconds() / 3
        while not self._done.wait(pause_s):
            try:
                if not self._jobs.renew(self.job.job_id, self.holder):
                    return
            except Exception as error:  # noqa: BLE001 - a database that is away for a moment costs one renewal of three
                log.warning("lease not renewed, will be tried again", error=type(error).__name__)
