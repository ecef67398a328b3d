"""Fetch from Orthanc and store into it.

Images come by its own interface: it sends the file as it lies on the disk, where its DICOMweb plug-in takes six times
the processor time, and it still gives an instance whose UID it holds twice. Search and storing are DICOMweb.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from http import HTTPStatus
from typing import Any, Literal
from uuid import uuid4

import pydicom
import urllib3
from pydicom.uid import EnhancedSRStorage
from urllib3.exceptions import HTTPError, ProtocolError

from dicom_sr.revision import InstanceReference
from worker.answers import PIECE, Beginning, is_unserved, json_of, read_object, reading, uids_of
from worker.encoding import encode
from worklist.errors import PACS_FULL, InvalidInput, PacsUnavailable, UnusableImage
from worklist.pacs_connection import no_answer
from worklist.scope import MANUFACTURER, is_own_manufacturer

_PAGE = 500
_ORTHANC_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{8}){4}")
_MOST_BROKEN = 16  # unreadable files in a row, where a PACS that refuses everything is given up
TIMEOUT_S = (3.0, 20.0)  # to connect, between two pieces of an answer: both end before the task's own limit

_DICOM_JSON = {"Accept": "application/dicom+json"}
_REFERENCED, _FAILED, _REASON = "00081199", "00081198", "00081197"
_REFERENCED_UID = "00081155"
_OUT_OF_RESOURCES = 0xA7  # A7xx, PS3.18 section I.2.2
_OWN_MODALITIES = {"SR", "OT", "PR", "KO"}  # a device may bear our name too


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSeries:
    """A series in Orthanc: the tags that its index keeps, by keyword, and Orthanc's identifiers of its instances."""

    tags: Mapping[str, str]
    instances: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredStudy:
    """A study in Orthanc: its identifier there, and the tags that its index keeps, by keyword."""

    orthanc_id: str
    tags: Mapping[str, str]


class Pacs:
    """One Orthanc.

    Args:
        url: root of its interface.
        dicomweb_root: path of its DICOMweb plug-in below that.
        auth: user name and password, or None.
        tls: whom to trust; None for what this machine trusts.

    Every method raises PacsUnavailable where it does not answer, refuses us or has no DICOMweb: a site can mend that.
    """

    def __init__(
        self,
        url: str,
        *,
        dicomweb_root: str = "dicom-web",
        auth: tuple[str, str] | None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._dicomweb = f"{self._url}/{dicomweb_root.strip('/')}"
        login = base64.b64encode(":".join(auth).encode()).decode() if auth else ""
        self._http = urllib3.PoolManager(
            ssl_context=tls,
            timeout=urllib3.Timeout(connect=TIMEOUT_S[0], read=TIMEOUT_S[1]),
            retries=False,  # the job is retried, with everyone able to see it
            headers={"Authorization": f"Basic {login}"} if login else {},
        )

    def fetch_image(
        self, study_orthanc_id: str, series_instance_uid: str, sop_instance_uid: str, orthanc_id: str | None = None
    ) -> pydicom.Dataset:
        """An image of a study as it was stored, in its own transfer syntax.

        Where Orthanc's identifier of it is not known it is looked for by its UIDs; where the study holds that in
        several series, that of the series is given, or else another of them.

        Args:
            study_orthanc_id: Orthanc's identifier of its study: the same image may lie under two patients.
            series_instance_uid: of its series.
            sop_instance_uid: its own.
            orthanc_id: Orthanc's identifier of it.

        Raises:
            UnusableImage: the study no longer holds it, or what came back is not DICOM.
        """
        return self.read(orthanc_id or self.locate(study_orthanc_id, series_instance_uid, sop_instance_uid))

    def locate(self, study_orthanc_id: str, series_instance_uid: str, sop_instance_uid: str) -> str:
        """Orthanc's identifier of an image of a study, as fetch_image looks for it.

        It is found below its study: to look a UID up, Orthanc 1.10 reads much of its index, 1.6 s of a million studies.

        Raises:
            UnusableImage: the study no longer holds it.
        """
        indexed = self._indexed_or_none(f"studies/{study_orthanc_id}/instances") or ()
        held = [one for one in indexed if one["MainDicomTags"].get("SOPInstanceUID") == sop_instance_uid]
        if not held:
            raise _gone()
        in_series = {one["ParentSeries"]: str(one["ID"]) for one in reversed(held)}
        for series_orthanc_id, orthanc_id in in_series.items() if len(in_series) > 1 else ():
            series = self._indexed_or_none(f"series/{series_orthanc_id}")
            if series and series["MainDicomTags"].get("SeriesInstanceUID") == series_instance_uid:
                return orthanc_id
        return str(held[0]["ID"])

    def fetch_instance(
        self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str
    ) -> pydicom.Dataset:
        """The object with these UIDs as it was stored, of whichever patient.

        Raises:
            UnusableImage: it is no longer there, or what came back is not DICOM.
        """
        for orthanc_id in self._lookup(sop_instance_uid, "Instance"):
            dataset = self.read(orthanc_id)
            if uids_of(dataset) == (study_instance_uid, series_instance_uid, sop_instance_uid):
                return dataset
        raise _gone()

    def fetch_triage_reports(self, study: str) -> list[pydicom.Dataset]:
        """The AI triage reports of a study, of every revision; none where there is no such study.

        Args:
            study: its Study Instance UID, or Orthanc's identifier of it.

        Raises:
            InvalidInput: shared_uid, it is the Study Instance UID of several patients.
        """
        found = [study] if _ORTHANC_ID.fullmatch(study) else self._lookup(study, "Study")
        if len(found) > 1:
            names = " or ".join(sorted(found))
            raise InvalidInput(
                "shared_uid", f"{len(found)} patients share Study Instance UID {study}: name one study, as {names}"
            )
        series = self.own_series(found[0]) if found else []
        documents = [orthanc_id for one in series if one.tags["Modality"] == "SR" for orthanc_id in one.instances]
        reports = [self.read(orthanc_id) for orthanc_id in documents]
        return [report for report in reports if _is_own(report) and report.get("SOPClassUID") == EnhancedSRStorage]

    def _lookup(self, uid: str, kind: str) -> list[str]:
        found = self._ask("POST", f"{self._url}/tools/lookup", content=uid.encode())
        return [entry["ID"] for entry in json_of(found) if entry["Type"] == kind]

    def own_series(self, study_orthanc_id: str) -> list[StoredSeries]:
        """The series of a study that Firstread wrote, by Orthanc's index; none where there is no such study."""
        return [series for series in self.series(study_orthanc_id) if is_own_series(series)]

    def series(self, study_orthanc_id: str) -> list[StoredSeries]:
        """The series of a study, by Orthanc's index; none where there is no such study."""
        found = self._indexed_or_none(f"studies/{study_orthanc_id}/series")
        return [StoredSeries(tags=one["MainDicomTags"], instances=tuple(one["Instances"])) for one in found or ()]

    def patient_studies(self, study_orthanc_id: str, most: int) -> list[StoredStudy]:
        """The studies under the Patient ID of a study, itself among them; none where there is no such study.

        Orthanc goes from the study to its patient and on to all its studies by keys: what else it holds costs nothing.

        Raises:
            UnusableImage: too_many_studies, the ID has more than so many.
        """
        patient = self._indexed_or_none(f"studies/{study_orthanc_id}/patient")
        if patient and len(patient["Studies"]) > most:
            raise UnusableImage(
                "too_many_studies", f"more than {most} studies have this Patient ID, as a placeholder has"
            )
        studies = self._indexed_or_none(f"patients/{patient['ID']}/studies") if patient else None
        return [StoredStudy(orthanc_id=one["ID"], tags=one["MainDicomTags"]) for one in studies or ()]

    def _indexed_or_none(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """What Orthanc's index says of a resource; None where there is none."""
        try:
            return json_of(self._ask("GET", f"{self._url}/{path}"))
        except UnusableImage:
            return None

    def indexed(self, orthanc_id: str) -> dict[str, str]:
        """What Orthanc's index says of an instance: SOPInstanceUID, SOPClassUID, InstanceNumber and more."""
        instance = json_of(self._ask("GET", f"{self._url}/instances/{orthanc_id}"))
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
        return read_object(self._ask("GET", f"{self._url}/instances/{orthanc_id}/file").data)

    def header(self, orthanc_id: str) -> pydicom.Dataset:
        """What an instance's file states before its pixels, as it was stored; its pixels are neither kept nor parsed.

        Orthanc's own answers about tags are not used: it has decoded them, by the character set that it believes in.
        """
        with self._stream(f"{self._url}/instances/{orthanc_id}/file") as answer:
            return read_object(Beginning(answer), stop_before_pixels=True)

    def size_bytes(self, orthanc_id: str) -> int:
        """The size of an instance's file."""
        size = self._ask("GET", f"{self._url}/instances/{orthanc_id}/attachments/dicom/size").data
        return int(size) if size.isdigit() else 0

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
        with reading():
            return [pydicom.Dataset.from_json(entry) for entry in (json_of(answer) if answer.data else [])]

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
        outcome = json_of(answer)
        stored, refused = (outcome.get(tag, {}).get("Value") or [] for tag in (_REFERENCED, _FAILED))
        named = {uid for item in stored for uid in item.get(_REFERENCED_UID, {}).get("Value") or []}
        unnamed = {str(dataset.SOPInstanceUID) for dataset in datasets} - named
        if unnamed:
            reasons = {(item.get(_REASON, {}).get("Value") or [0])[0] for item in refused}
            lacks = f"the PACS lacks {len(unnamed)} of {len(datasets)} objects that were sent"
            if all(reason >> 8 == _OUT_OF_RESOURCES for reason in reasons):  # on a full disk Orthanc 1.10 gives none
                why = f"{lacks} and seems to be full: free the disk of its storage, or raise its MaximumStorageSize"
                raise PacsUnavailable(PACS_FULL, why)
            why = ", ".join(f"{reason:04X}" for reason in sorted(reasons))
            raise PacsUnavailable("store_refused", f"{lacks} (reason {why}): see its log")

    def _ask(  # noqa: PLR0913 - of a request
        self,
        method: Literal["GET", "POST"],
        url: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        is_streamed: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        def ask() -> urllib3.BaseHTTPResponse:
            return self._http.request(
                method,
                url,
                body=content,
                fields=query,
                headers={**self._http.headers, **(headers or {})},
                preload_content=not is_streamed,
            )

        try:
            try:
                answer = ask()
            except ProtocolError:  # it had closed the connection, which it does after a second of silence
                answer = ask()
        except HTTPError as error:
            raise no_answer(self._url, error) from error
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise self._refusal(url, answer)
        return answer

    @contextmanager
    def _stream(self, url: str) -> Iterator[urllib3.BaseHTTPResponse]:
        """An answer that is read by whoever asked, as far as it is wanted.

        What is left of it is thrown away as it comes: of a connection that is cut instead, Orthanc 1.10 logs an error,
        and it knows no Range.
        """
        answer = self._ask("GET", url, is_streamed=True)
        try:
            yield answer
            while answer.read(PIECE):
                pass
        except HTTPError as error:
            raise no_answer(self._url, error) from error
        except BaseException:
            answer.close()  # what is left of it must not be taken for the next answer
            raise
        answer.release_conn()

    def _refusal(self, url: str, answer: urllib3.BaseHTTPResponse) -> PacsUnavailable | UnusableImage:
        if answer.status == HTTPStatus.NOT_FOUND:
            if url.startswith(self._dicomweb) and is_unserved(answer):  # of its own paths Orthanc says so of any
                return PacsUnavailable(
                    "no_dicomweb",
                    f"no DICOMweb at {self._dicomweb}: load Orthanc's plug-in or set FIRSTREAD_ORTHANC_DICOMWEB_ROOT",
                )
            return _gone()
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return PacsUnavailable(
                "pacs_refuses_login",
                f"Orthanc at {self._url} refuses our login: set FIRSTREAD_ORTHANC_USERNAME and _PASSWORD",
            )
        kind = _BadRequest if answer.status == HTTPStatus.BAD_REQUEST else PacsUnavailable
        return kind("pacs_error", f"Orthanc at {self._url} answers {answer.status}: see its log")


class _BadRequest(PacsUnavailable):
    """The PACS cannot answer this question, though it may answer others."""


def is_own_series(series: StoredSeries) -> bool:
    """Whether Firstread wrote a series."""
    tags = series.tags
    return is_own_manufacturer(tags.get("Manufacturer", "")) and tags.get("Modality") in _OWN_MODALITIES


def _gone() -> UnusableImage:
    return UnusableImage("deleted_from_pacs", "the image is no longer in the PACS")


def _is_own(dataset: pydicom.Dataset) -> bool:
    return is_own_manufacturer(str(dataset.get("Manufacturer", "")))
