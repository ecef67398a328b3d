"""Fetch from Orthanc and store into it.

Images come by its own interface: it sends the file as it lies on the disk, where its DICOMweb plug-in takes six times
the processor time, and it still gives an instance whose UID it holds twice. Search and storing are DICOMweb.
"""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from http import HTTPStatus
from typing import Any, Literal
from uuid import uuid4

import pydicom
import urllib3
from pydicom.errors import InvalidDicomError
from pydicom.uid import EnhancedSRStorage
from urllib3.exceptions import HTTPError, ProtocolError

from dicom_sr.revision import InstanceReference
from imaging.elements import PYDICOM_ERRORS
from worker.encoding import encode
from worklist.errors import PacsUnavailable, UnusableImage
from worklist.scope import MANUFACTURER, is_own_manufacturer

_PAGE = 500
_UNKNOWN_RESOURCE = 17  # Orthanc's own number for a path that neither it nor a plug-in serves
_MOST_BROKEN = 16  # unreadable files in a row, where a PACS that refuses everything is given up
TIMEOUT_S = (3.0, 20.0)  # to connect, between two pieces of an answer: both end before the task's own limit

_DICOM_JSON = {"Accept": "application/dicom+json"}
_REFERENCED, _FAILED, _REASON = "00081199", "00081198", "00081197"
_REFERENCED_UID = "00081155"
_OWN_MODALITIES = {"SR", "OT", "PR", "KO"}  # a device may bear our name too


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSeries:
    """A series in Orthanc: the tags that its index keeps, by keyword, and Orthanc's identifiers of its instances."""

    tags: Mapping[str, str]
    instances: tuple[str, ...]


class Pacs:
    """One Orthanc.

    Args:
        url: root of its interface.
        dicomweb_root: path of its DICOMweb plug-in below that.
        auth: user name and password, or None.

    Every method raises PacsUnavailable where it does not answer, refuses us or has no DICOMweb: a site can mend that.
    """

    def __init__(self, url: str, *, dicomweb_root: str = "dicom-web", auth: tuple[str, str] | None) -> None:
        self._url = url.rstrip("/")
        self._dicomweb = f"{self._url}/{dicomweb_root.strip('/')}"
        login = base64.b64encode(":".join(auth).encode()).decode() if auth else ""
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=TIMEOUT_S[0], read=TIMEOUT_S[1]),
            retries=False,  # the job is retried, with everyone able to see it
            headers={"Authorization": f"Basic {login}"} if login else {},
        )

    def fetch_instance(
        self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str
    ) -> pydicom.Dataset:
        """The instance as it was stored, in its own transfer syntax.

        Raises:
            UnusableImage: it is no longer there, or what came back is not DICOM.
        """
        found = self._ask("POST", f"{self._url}/tools/lookup", content=sop_instance_uid.encode())
        orthanc_ids = [entry["ID"] for entry in _json(found) if entry["Type"] == "Instance"]
        for orthanc_id in orthanc_ids:
            dataset = self.read(orthanc_id)
            if _uids(dataset) == (study_instance_uid, series_instance_uid, sop_instance_uid):
                return dataset
        raise UnusableImage("deleted_from_pacs", "the image is no longer in the PACS")

    def fetch_triage_reports(self, study_instance_uid: str) -> list[pydicom.Dataset]:
        """The AI triage reports of a study, of every revision."""
        reports_of_all = {"Modality": "SR", "includefield": "SOPClassUID"}
        instances = self._search(f"studies/{study_instance_uid}/instances", reports_of_all)
        reports = [
            self.fetch_instance(study_instance_uid, instance.SeriesInstanceUID, instance.SOPInstanceUID)
            for instance in instances
            if instance.get("SOPClassUID") == EnhancedSRStorage
        ]
        return [report for report in reports if _is_own(report)]

    def own_series(self, study_instance_uid: str) -> list[StoredSeries]:
        """The series of a study that Firstread wrote."""
        found = _json(self._ask("POST", f"{self._url}/tools/lookup", content=study_instance_uid.encode()))
        studies = [entry["ID"] for entry in found if entry["Type"] == "Study"]
        return [series for orthanc_id in studies for series in self.own_series_of(orthanc_id)]

    def own_series_of(self, study_orthanc_id: str) -> list[StoredSeries]:
        """The same of a study by Orthanc's identifier; all of it stands in Orthanc's index."""
        series = _json(self._ask("GET", f"{self._url}/studies/{study_orthanc_id}/series"))
        return [
            StoredSeries(tags=one["MainDicomTags"], instances=tuple(one["Instances"]))
            for one in series
            if is_own_manufacturer(one["MainDicomTags"].get("Manufacturer", ""))
            and one["MainDicomTags"].get("Modality") in _OWN_MODALITIES
        ]

    def indexed(self, orthanc_id: str) -> dict[str, str]:
        """What Orthanc's index says of an instance: SOPInstanceUID, SOPClassUID, InstanceNumber and more."""
        instance = _json(self._ask("GET", f"{self._url}/instances/{orthanc_id}"))
        sop_class = self._ask("GET", f"{self._url}/instances/{orthanc_id}/metadata/SopClassUid")
        return {**instance["MainDicomTags"], "SOPClassUID": sop_class.data.decode()}

    def source_image(self, orthanc_id: str) -> str:
        """The SOP Instance UID of the image that a crop was cut from; empty where it does not say."""
        path = f"{self._url}/instances/{orthanc_id}/content/0008-2112/0/0008-1155"
        try:
            return self._ask("GET", path).data.decode().strip("\0 ")
        except UnusableImage:  # there is no such attribute
            return ""

    def read(self, orthanc_id: str) -> pydicom.Dataset:
        """An instance by Orthanc's identifier."""
        return _read(self._ask("GET", f"{self._url}/instances/{orthanc_id}/file").data)

    def find_triage_reports(
        self, since: date | None = None, until: date | None = None
    ) -> tuple[list[InstanceReference], int]:
        """Every AI triage report, by QIDO-RS (PS3.18 section 10.6), and how many objects the PACS cannot describe.

        Args:
            since: the first Series Date, which is the day on which the report was written; None for the earliest.
            until: the last one; None for the latest.
        """
        filters = {"Modality": "SR", "Manufacturer": MANUFACTURER}
        if since or until:
            filters["SeriesDate"] = "-".join(f"{day:%Y%m%d}" if day else "" for day in (since, until))
        found: dict[str, InstanceReference] = {}  # once each: what comes in meanwhile may shift a page
        unreadable = 0
        offset, page = 0, self._page(filters, 0, _PAGE)
        while page:
            for instance in page:
                if instance is None:
                    unreadable += 1
                elif _is_own(instance) and instance.get("SOPClassUID") == EnhancedSRStorage:
                    found[instance.SOPInstanceUID] = InstanceReference.to(instance)
            offset += len(page)
            page = self._page(filters, offset, _PAGE)
        return list(found.values()), unreadable

    def _page(self, filters: Mapping[str, str], offset: int, length: int) -> list[pydicom.Dataset | None]:
        """Matches from an offset on; None for one whose file Orthanc cannot read, for which it refuses the page."""
        try:
            paged = {**filters, "includefield": "SOPClassUID,Manufacturer", "offset": str(offset), "limit": str(length)}
            return list(self._search("instances", paged))
        except _BadRequest:
            if length == 1:
                return [None]
            half = length // 2
            page = [*self._page(filters, offset, half), *self._page(filters, offset + half, length - half)]
            if len(page) > _MOST_BROKEN and not any(page):
                raise  # it refuses the question, not a file
            return page

    def _search(self, path: str, query: Mapping[str, str]) -> list[pydicom.Dataset]:
        answer = self._ask("GET", f"{self._dicomweb}/{path}", headers=_DICOM_JSON, query=query)
        with _reading():
            return [pydicom.Dataset.from_json(entry) for entry in (_json(answer) if answer.data else [])]

    def store(self, datasets: Sequence[pydicom.Dataset]) -> None:
        """Store objects of one study (STOW-RS, PS3.18 section 10.5), all of them.

        Raises:
            PacsUnavailable: it took none or only some; storing all again is right, the UIDs are the same.
        """
        boundary = uuid4().hex
        parts = [
            part
            for dataset in datasets
            for part in (f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(), encode(dataset), b"\r\n")
        ]
        answer = self._ask(
            "POST",
            f"{self._dicomweb}/studies",
            content=b"".join((*parts, f"--{boundary}--\r\n".encode())),
            headers={
                **_DICOM_JSON,
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            },
        )
        outcome = _json(answer)
        stored, refused = (outcome.get(tag, {}).get("Value") or [] for tag in (_REFERENCED, _FAILED))
        named = {uid for item in stored for uid in item.get(_REFERENCED_UID, {}).get("Value") or []}
        unnamed = {str(dataset.SOPInstanceUID) for dataset in datasets} - named
        if unnamed:  # on a full disk Orthanc 1.10 says neither of any object, under the status 200
            reasons = {f"{(item.get(_REASON, {}).get('Value') or [0])[0]:04X}" for item in refused}
            why = f"reason {', '.join(sorted(reasons))}" if reasons else "no reason given: is its disk full?"
            raise PacsUnavailable(
                "store_refused",
                f"the PACS lacks {len(unnamed)} of {len(datasets)} objects that were sent ({why}): see its log",
            )

    def _ask(
        self,
        method: Literal["GET", "POST"],
        url: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        def ask() -> urllib3.BaseHTTPResponse:
            return self._http.request(
                method, url, body=content, fields=query, headers={**self._http.headers, **(headers or {})}
            )

        try:
            try:
                answer = ask()
            except ProtocolError:  # it had closed the connection, which it does after a second of silence
                answer = ask()
        except HTTPError as error:
            raise PacsUnavailable(
                "pacs_unavailable", f"no answer from Orthanc at {self._url} ({type(error).__name__}): start it"
            ) from error
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise self._refusal(answer)
        return answer

    def _refusal(self, answer: urllib3.BaseHTTPResponse) -> PacsUnavailable | UnusableImage:
        if answer.status == HTTPStatus.NOT_FOUND:
            if _is_unserved(answer):
                return PacsUnavailable(
                    "no_dicomweb",
                    f"no DICOMweb at {self._dicomweb}: load Orthanc's plug-in or set FIRSTREAD_ORTHANC_DICOMWEB_ROOT",
                )
            return UnusableImage("deleted_from_pacs", "the image is no longer in the PACS")
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return PacsUnavailable(
                "pacs_refuses_login",
                f"Orthanc at {self._url} refuses our login: set FIRSTREAD_ORTHANC_USERNAME and _PASSWORD",
            )
        kind = _BadRequest if answer.status == HTTPStatus.BAD_REQUEST else PacsUnavailable
        return kind("pacs_error", f"Orthanc at {self._url} answers {answer.status}: see its log")


class _BadRequest(PacsUnavailable):
    """The PACS cannot answer this question, though it may answer others."""


def _is_own(dataset: pydicom.Dataset) -> bool:
    return is_own_manufacturer(str(dataset.get("Manufacturer", "")))


def _uids(dataset: pydicom.Dataset) -> tuple[str, str, str]:
    with _reading():
        study, series, instance = (
            str(dataset.get(keyword, "")).strip()
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        )
    return study, series, instance


def _read(file: bytes) -> pydicom.Dataset:
    with _reading(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in a hospital's headers are no news here
        return pydicom.dcmread(io.BytesIO(file))


def _json(answer: urllib3.BaseHTTPResponse) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(answer.data)
    except ValueError as error:
        raise PacsUnavailable("pacs_error", "Orthanc answers something else than JSON: see its log") from error


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (InvalidDicomError, *PYDICOM_ERRORS) as error:
        raise UnusableImage(
            "unreadable_object", f"the PACS returned no readable DICOM ({type(error).__name__})"
        ) from error


def _is_unserved(answer: urllib3.BaseHTTPResponse) -> bool:
    try:
        said = json.loads(answer.data)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("OrthancStatus") == _UNKNOWN_RESOURCE
