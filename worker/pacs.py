"""Fetch and store by DICOMweb."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from http import HTTPStatus

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.errors import InvalidDicomError
from pydicom.uid import EnhancedSRStorage

from dicom_sr.parse import is_own
from dicom_sr.revision import InstanceReference
from worklist.errors import PacsUnavailable, UnusableImage
from worklist.scope import MANUFACTURER

_PAGE = 500
_UNKNOWN_RESOURCE = 17  # Orthanc's own number for a path that neither it nor a plug-in serves
_MOST_BROKEN = 16  # unreadable files in a row, where a PACS that refuses everything is given up
TIMEOUT_S = (3.0, 20.0)  # to connect, between two pieces of an answer: told before the task's own limit ends it


class Pacs:
    """One Orthanc's DICOMweb service.

    Args:
        url: the DICOMweb root.
        auth: user name and password, or None.

    Every method raises PacsUnavailable where it does not answer, refuses us or has no DICOMweb: a site can mend that.
    """

    def __init__(self, url: str, *, auth: tuple[str, str] | None) -> None:
        self._url = url
        session = requests.Session()
        session.trust_env = False
        session.auth = auth
        self._client = DICOMwebClient(url, session=session, timeout=TIMEOUT_S)
        self._client.set_http_retry_params(retry=False)  # the job is retried, with everyone able to see it

    def fetch_instance(
        self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str
    ) -> pydicom.Dataset:
        """The instance as it was stored, in its own transfer syntax (WADO-RS, PS3.18 section 10.4).

        Raises:
            UnusableImage: it is no longer there, or what came back is not DICOM.
        """
        with self._translated(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values in a hospital's headers are no news here
            return self._client.retrieve_instance(
                study_instance_uid,
                series_instance_uid,
                sop_instance_uid,
                media_types=(("application/dicom", "*"),),
            )

    def fetch_triage_reports(self, study_instance_uid: str) -> list[pydicom.Dataset]:
        """The AI triage reports of a study, of every revision."""
        with self._translated():
            found = self._client.search_for_instances(
                study_instance_uid, fields=["SOPClassUID"], search_filters={"Modality": "SR"}
            )
            instances = [pydicom.Dataset.from_json(entry) for entry in found]
        reports = [
            self.fetch_instance(study_instance_uid, instance.SeriesInstanceUID, instance.SOPInstanceUID)
            for instance in instances
            if instance.get("SOPClassUID") == EnhancedSRStorage
        ]
        return [report for report in reports if is_own(report)]

    def find_triage_reports(self, since: date | None = None) -> tuple[list[InstanceReference], int]:
        """Every AI triage report, by QIDO-RS (PS3.18 section 10.6), and how many objects the PACS cannot describe.

        Args:
            since: the first Series Date, which is the day on which the report was written; None for all.
        """
        filters = {"Modality": "SR", "Manufacturer": MANUFACTURER}
        if since is not None:
            filters["SeriesDate"] = f"{since:%Y%m%d}-"
        found: dict[str, InstanceReference] = {}  # once each: what comes in meanwhile may shift a page
        unreadable = 0
        with self._translated():
            offset, page = 0, self._page(filters, 0, _PAGE)
            while page:
                for instance in page:
                    if instance is None:
                        unreadable += 1
                    elif is_own(instance) and instance.get("SOPClassUID") == EnhancedSRStorage:
                        found[instance.SOPInstanceUID] = InstanceReference.to(instance)
                offset += len(page)
                page = self._page(filters, offset, _PAGE)
        return list(found.values()), unreadable

    def _page(self, filters: dict[str, str], offset: int, length: int) -> list[pydicom.Dataset | None]:
        """Matches from an offset on; None for one whose file Orthanc cannot read, for which it refuses the page."""
        try:
            entries = self._client.search_for_instances(
                fields=["SOPClassUID", "Manufacturer"], search_filters=filters, offset=offset, limit=length
            )
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != HTTPStatus.BAD_REQUEST:
                raise
            if length == 1:
                return [None]
            half = length // 2
            page = [*self._page(filters, offset, half), *self._page(filters, offset + half, length - half)]
            if len(page) > _MOST_BROKEN and not any(page):
                raise  # it refuses the question, not a file
            return page
        return [pydicom.Dataset.from_json(entry) for entry in entries]

    def store(self, datasets: Sequence[pydicom.Dataset]) -> None:
        """Store objects of one study (STOW-RS, PS3.18 section 10.5), all of them.

        Raises:
            PacsUnavailable: it took none or only some; storing all again is right, the UIDs are the same.
        """
        with self._translated():
            answer = self._client.store_instances(list(datasets))
        failed = answer.get("FailedSOPSequence") or []
        if failed:
            reasons = ", ".join(f"{entry.get('FailureReason', 0):04X}" for entry in failed)
            raise PacsUnavailable(
                "store_refused", f"the PACS refused {len(failed)} of {len(datasets)} objects (reason {reasons})"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status == HTTPStatus.NOT_FOUND and _is_unserved(error.response):
                raise PacsUnavailable(
                    "no_dicomweb",
                    f"no DICOMweb at {self._url}: load Orthanc's plug-in or set FIRSTREAD_ORTHANC_DICOMWEB_ROOT",
                ) from error
            if status == HTTPStatus.NOT_FOUND:
                raise UnusableImage("deleted_from_pacs", "the image is no longer in the PACS") from error
            if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                raise PacsUnavailable(
                    "pacs_refuses_login",
                    f"DICOMweb at {self._url} refuses our login: set FIRSTREAD_ORTHANC_USERNAME and _PASSWORD",
                ) from error
            raise PacsUnavailable(
                "pacs_error", f"DICOMweb at {self._url} answers {status}: see Orthanc's log"
            ) from error
        except requests.RequestException as error:
            raise PacsUnavailable(
                "pacs_unavailable", f"no answer from DICOMweb at {self._url} ({type(error).__name__}): start Orthanc"
            ) from error
        except (InvalidDicomError, ValueError, EOFError) as error:
            raise UnusableImage("unreadable_object", f"the PACS returned no readable DICOM: {error}") from error


def _is_unserved(answer: requests.Response | None) -> bool:
    try:
        said = None if answer is None else answer.json()
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("OrthancStatus") == _UNKNOWN_RESOURCE
