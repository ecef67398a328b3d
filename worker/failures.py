"""Why work failed: what is logged of it, and what the records keep."""

from __future__ import annotations

import traceback

import structlog

from worklist.errors import FirstreadError, ModelUnavailable, TransientError

log = structlog.get_logger()


def log_failure(work: str, error: Exception, **names: str) -> FirstreadError:
    """Log why a piece of work failed, and give the error that the records keep.

    Nothing is logged that was read out of an image. What nobody foresaw is logged by its type and place, without its
    message: pydicom's quote the header, and so the patient's name. Our own errors are logged by their code, those of
    the site (a PACS that is away, a model that is not there) with their message.

    Args:
        work: what was to be done.
        error: why it was not.
        names: of what it was, such as a Study Instance UID.
    """
    if isinstance(error, FirstreadError):
        why = {"why": error.message} if isinstance(error, TransientError) else {}
        log.warning("job not done", work=work, code=error.code, **names, **why)
        return error
    place = "".join(traceback.format_tb(error.__traceback__))
    log.error("job failed unexpectedly", work=work, error=type(error).__name__, place=place, **names)
    if isinstance(error, MemoryError):
        return ModelUnavailable("not_enough_memory", "the worker has too little memory for this image: give it more")
    return ModelUnavailable("unexpected_error", f"unexpected {type(error).__name__}: see the worker's log")
