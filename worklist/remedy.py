"""What to do about work that failed, in a line for whoever has to mend it."""

from __future__ import annotations

from typing import Final

from worklist.errors import PACS_FULL

_SEND_AGAIN: Final = (
    "Trying again gives the same. Have the image sent again, which is taken up by itself; "
    "until then the study is read without the AI."
)
_ORTHANC: Final = "Mend Orthanc, its address or its disk: firstread doctor says what does not answer. Then try again."
_UPLOADS: Final = "Free the disk of FIRSTREAD_UPLOAD_DIR, then send the file again."
_MODEL: Final = "Install the model's files again, start the workers, then try again."
_LOG: Final = (
    "Look into the worker's log of that time. Try again once the cause is gone; "
    "if it fails again, read the study without the AI."
)
_POLICY: Final = "Start a worker for the queue score (firstread worker), then try again."
_GONE: Final = "Send the image again if it should be there; otherwise nothing is to be done."
_REMEDIES: Final = {
    "pacs_unavailable": _ORTHANC,
    "pacs_refuses_login": _ORTHANC,
    "pacs_certificate_refused": (
        "Renew Orthanc's certificate, or name the file of the hospital's authority in FIRSTREAD_ORTHANC_CA_FILE. "
        "Then try again."
    ),
    "pacs_error": _ORTHANC,
    "no_dicomweb": _ORTHANC,
    "store_refused": _ORTHANC,
    PACS_FULL: "Free Orthanc's disk, or raise MaximumStorageSize in its configuration. Then try again.",
    "pacs_nearly_full": "Free Orthanc's disk, or raise MaximumStorageSize in its configuration, before it is full.",
    "disk_nearly_full": "Free the disk that firstread doctor names, before nothing new can be kept.",
    "upload_not_kept": _UPLOADS,
    "upload_not_shared": (
        "Let FIRSTREAD_UPLOAD_DIR be one folder for gateway and workers (a volume, NFS), then send the file again."
    ),
    "model_missing": _MODEL,
    "model_damaged": _MODEL,
    "model_invalid": _MODEL,
    "card_invalid": _MODEL,
    "card_of_another_model": _MODEL,
    "model_failed": _LOG,
    "worker_lost": _LOG,
    "not_enough_memory": "Give the worker more memory, as by mem_limit in docker-compose.yml. Then try again.",
    "unexpected_error": _LOG,
    "no_policy": _POLICY,
    "deleted_from_pacs": _GONE,
}


def remedy(failure_code: str) -> str:
    """What to do about a failure; whatever is not the site's fault is the image's."""
    return _REMEDIES.get(failure_code, _SEND_AGAIN)
