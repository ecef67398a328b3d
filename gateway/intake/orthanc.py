"""Orthanc's own REST interface: the change log, headers and studies.

Each request has a time-out, so that a silent Orthanc can never hold the gateway.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from pyorthanc import Orthanc

from gateway.kept_connections import KeptConnections
from imaging.headers import Header, read_header
from worklist.errors import PacsUnavailable, UnusableImage
from worklist.pacs_connection import no_answer
from worklist.records import StoredImage
from worklist.scope import is_own_object

_PAGE = 1000
_LARGE = ("7fe0-0008", "7fe0-0009", "7fe0-0010", "5400-0100", "0040-a730")
"""Pixels of three kinds, waveforms, and the content of a Structured Report: what no listing needs."""
_PIXEL_LAYOUT = ("0028-0010", "0028-0011", "0028-0002", "0028-0100", "0028-0008")
"""Rows, Columns, Samples per Pixel and Bits Allocated, all of VR US, and Number of Frames."""
_US_BYTES = 2
_UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}
_PIXEL_DATA_HEADER = 8  # bytes of tag and length, at least, before the pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One entry of the change log; date has a resolution of one second."""

    sequence: int
    change_type: str
    orthanc_id: str
    date: datetime

    @property
    def mark(self) -> str:
        """What identifies this very change: another Orthanc's log has another text at this place."""
        return f"{self.sequence} {self.date:%Y%m%dT%H%M%S} {self.change_type} {self.orthanc_id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceFacts:
    """What the intake needs to know of an instance.

    Attributes:
        header: text values by DICOM keyword.
        orthanc_id: Orthanc's identifier of it.
        digest: changes with the stored file.
        study_orthanc_id: Orthanc's identifier of its study.
        first_items: of each sequence the text values of its first item.
    """

    header: Mapping[str, str]
    orthanc_id: str
    digest: str
    study_orthanc_id: str
    first_items: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@contextmanager
def reading_answer() -> Iterator[None]:
    """Tell as PacsUnavailable what is raised by an answer that Orthanc would never give."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise PacsUnavailable(
            "pacs_error",
            f"Orthanc answers otherwise than it should ({type(error).__name__}): check FIRSTREAD_ORTHANC_URL",
        ) from error


class OrthancClient:
    """A connection to one Orthanc.

    Args:
        url: root of its REST interface.
        auth: user name and password, or None.
        tls: whom to trust; None for what this machine trusts.
        dicomweb_root: path of its DICOMweb plug-in below the root.
        timeout_s: longest wait for any answer.

    Every method raises PacsUnavailable where Orthanc does not answer or refuses us.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: tuple[str, str] | None,
        tls: ssl.SSLContext | None = None,
        dicomweb_root: str = "dicom-web",
        timeout_s: float = 10.0,
    ) -> None:
        self.url = url.rstrip("/")
        self.dicomweb_root = dicomweb_root.strip("/")
        options = {"auth": auth, "timeout": timeout_s, "trust_env": False, "transport": KeptConnections(tls)}
        self.rest = Orthanc(self.url, return_raw_response=True, base_url=self.url, **options)

    def close(self) -> None:
        """Close the connections."""
        self.rest.close()

    @reading_answer()
    def system(self) -> dict[str, Any]:
        """Name, version and settings that Orthanc tells of itself."""
        return dict(self._json(self.rest.get_system))

    @reading_answer()
    def plugins(self) -> list[str]:
        """The identifiers of its plug-ins."""
        return [str(name) for name in self._json(self.rest.get_plugins)]

    @reading_answer()
    def changes(self, since: int, limit: int = _PAGE) -> list[Change]:
        """The changes after a sequence number, oldest first."""
        answer = self._json(self.rest.get_changes, {"since": since, "limit": limit})
        return [
            Change(
                sequence=int(entry["Seq"]),
                change_type=str(entry["ChangeType"]),
                orthanc_id=str(entry["ID"]),
                date=_moment(entry["Date"]),
            )
            for entry in answer["Changes"]
        ]

    @reading_answer()
    def last_sequence(self) -> int:
        """The number of the last change there ever was; it stays where changes are deleted."""
        return int(self._json(self.rest.get_changes, {"since": 2**62, "limit": 1})["Last"])

    @reading_answer()
    def study_ids(self) -> set[str]:
        """Orthanc's identifiers of every study that it holds."""
        return {str(orthanc_id) for orthanc_id in self._json(self.rest.get_studies)}

    @reading_answer()
    def studies(self, offset: int, limit: int) -> list[tuple[str, datetime]]:
        """A page of the studies that it holds, in its own order: identifier, and when the study last changed."""
        page = self._json(self.rest.get_studies, {"since": offset, "limit": limit, "expand": ""})
        return [(str(study["ID"]), _moment(study["LastUpdate"])) for study in page]

    @reading_answer()
    def study_instances(self, orthanc_id: str) -> dict[str, str] | None:
        """The instances of a study, SOP Instance UID by Orthanc's identifier; None where the study is gone."""
        found = self._find(self.rest.get_studies_id_instances, orthanc_id)
        if found is None:
            return None
        return {str(one["ID"]): str(one["MainDicomTags"].get("SOPInstanceUID", "")) for one in found}

    @reading_answer()
    def institutions(self, orthanc_ids: Sequence[str]) -> dict[str, str]:
        """Institution Name (0008,0080) of some studies, as Orthanc's index has it; "" of what it does not tell."""
        asked = {"Resources": list(orthanc_ids), "Level": "Study"}
        told = self.ask(self.rest.post, "/tools/bulk-content", json=asked).json()
        stated = {str(one["ID"]): str(one["MainDicomTags"].get("InstitutionName", "")) for one in told}
        return {one: stated.get(one, "") for one in orthanc_ids}

    @reading_answer()
    def instance(self, orthanc_id: str) -> InstanceFacts | None:
        """Header, digest and study of an instance; None where it is gone.

        Of a file that Orthanc cannot read the header is what its index holds: one bad file must not stop the feed, and
        a film that is listed fails for everyone to see, where one that is passed over is lost. Where Orthanc keeps no
        digests ("StoreMD5ForAttachments": false) the name of the stored file is the digest: a repetition counts as new.
        """
        header = self._header(orthanc_id)
        if header and is_own_object(header.texts):
            return InstanceFacts(header=header.texts, orthanc_id=orthanc_id, digest="", study_orthanc_id="")
        digest = self._find_text(self.rest.get_instances_id_attachments_name_md5, orthanc_id, "dicom")
        if not digest:
            file = self._find(self.rest.get_instances_id_attachments_name_info, orthanc_id, "dicom") or {}
            digest = file.get("Uuid")
        study = self._find(self.rest.get_instances_id_study, orthanc_id)
        texts = header.texts if header else self._indexed(orthanc_id)
        if digest is None or study is None or texts is None:
            return None
        return InstanceFacts(
            header=texts,
            orthanc_id=orthanc_id,
            digest=str(digest),
            study_orthanc_id=str(study["ID"]),
            first_items=header.first_items if header else {},
        )

    def _header(self, orthanc_id: str) -> Header | None:
        """The header of an instance as it stands in the file; None where it is gone, or Orthanc cannot read it.

        Orthanc's own decoding loses names in common character sets. So it is asked for a copy without what is large,
        which it makes in memory and stores nowhere.
        """
        without = {"Remove": list(_LARGE), "Keep": ["SOPInstanceUID"], "Force": True}
        try:
            copy = self.ask(self.rest.post, f"/instances/{orthanc_id}/modify", json=without, absent_ok=True)
            return None if copy.is_error else read_header(copy.content)
        except (
            PacsUnavailable,
            UnusableImage,
        ):  # of this file, or of everything: then the index does not answer either
            return None

    def _indexed(self, orthanc_id: str) -> dict[str, Any] | None:
        asked = (self.rest.get_instances_id_study, self.rest.get_instances_id_series, self.rest.get_instances_id)
        levels = [self._find(ask, orthanc_id) for ask in asked]
        if None in levels:
            return None
        header = {"SOPClassUID": self._find_text(self.rest.get_instances_id_metadata_name, orthanc_id, "SopClassUid")}
        for level in levels:
            header |= level.get("PatientMainDicomTags", {}) | level["MainDicomTags"]
        return header

    @reading_answer()
    def reception_date(self, orthanc_id: str) -> datetime | None:
        """When an instance arrived; None where it is gone."""
        text = self._find_text(self.rest.get_instances_id_metadata_name, orthanc_id, "ReceptionDate")
        return _moment(text) if text else None

    @reading_answer()
    def lookup(self, uid: str) -> list[dict[str, Any]]:
        """The resources that carry a DICOM UID."""
        return list(self.ask(self.rest.post, "/tools/lookup", content=uid).json())

    @reading_answer()
    def find_instance(self, study_orthanc_id: str, sop_instance_uid: str) -> str | None:
        """Orthanc's identifier of an instance of a study; None where that study does not have it.

        A SOP Instance UID alone may be that of several: of the same image under two patients, or in two series.
        """
        for found in self.lookup(sop_instance_uid):
            if found["Type"] == "Instance":
                study = self._find(self.rest.get_instances_id_study, found["ID"])
                if study and study["ID"] == study_orthanc_id:
                    return str(found["ID"])
        return None

    @reading_answer()
    def rendered(self, image: StoredImage, longest_px: int) -> bytes:
        """An image as PNG, its longer side so many pixels, its shape kept.

        Orthanc's own interface draws by the header: first window, rescale and MONOCHROME1; it knows no VOI LUT. Its
        DICOMweb plug-in stretches all greys, and fills a viewport with bars.

        Raises:
            UnusableImage: it is gone, or cannot be drawn. A broken image takes Orthanc down, so that it is asked for
                none of which it is not known that its header is sound and all its pixels are there.
        """
        found = image.orthanc_id or self.find_instance(image.study_orthanc_id, image.sop_instance_uid)
        if found is None or self._find(self.rest.get_instances_id, found) is None:
            raise UnusableImage("deleted_from_pacs", "the image is no longer in the PACS")
        if not self._can_be_drawn(found, is_decoded=image.is_decoded):
            raise UnusableImage(
                "not_drawn_safely",
                "the image is broken, or compressed and was not decoded by the AI: open the study in the viewer",
            )
        size = {"width": str(longest_px), "height": str(longest_px), "smooth": "1"}
        try:
            path = f"/instances/{found}/rendered"
            return self.ask(self.rest.get, path, params=size, headers={"Accept": "image/png"}).content
        except PacsUnavailable as error:
            if error.code != "pacs_error":
                raise
            raise UnusableImage("not_drawn", "the PACS cannot draw the image: open the study in the viewer") from error

    @reading_answer()
    def check_drawable(self, sop_instance_uid: str) -> None:
        """Make sure that drawing an image, whichever bears the UID, cannot take Orthanc down.

        Raises:
            UnusableImage: not_drawn_safely, it is broken or compressed.
        """
        for found in self.lookup(sop_instance_uid):
            if found["Type"] == "Instance" and not self._can_be_drawn(found["ID"], is_decoded=False):
                raise UnusableImage(
                    "not_drawn_safely", "a picture is drawn of a whole, uncompressed image alone: retrieve it as it is"
                )

    def _can_be_drawn(self, orthanc_id: str, *, is_decoded: bool) -> bool:
        """Whether an image's header is one that Orthanc reads as it stands, and all its pixels are there."""
        *layout, frames = (
            self.ask(self.rest.get_instances_id_content_path, orthanc_id, tag, absent_ok=True) for tag in _PIXEL_LAYOUT
        )
        if any(len(number.content) != _US_BYTES for number in layout):
            return False  # not there, or not an unsigned short: as text, Rows alone takes Orthanc down
        if frames.is_success and frames.text.strip("\0 ") not in {"", "1"}:
            return False
        if is_decoded:
            return True
        syntax, offset, size = (
            self._find_text(get, orthanc_id, name) or ""
            for get, name in (
                (self.rest.get_instances_id_metadata_name, "TransferSyntax"),
                (self.rest.get_instances_id_metadata_name, "PixelDataOffset"),
                (self.rest.get_instances_id_attachments_name_size, "dicom"),
            )
        )
        if syntax not in _UNCOMPRESSED or not offset or not size:
            return False
        bits = math.prod(int.from_bytes(number.content, "little") for number in layout)
        return 0 < bits <= 8 * (int(size) - int(offset) - _PIXEL_DATA_HEADER)

    def dicomweb_get(self, path: str, accept: str) -> bytes | None:
        """The body of a DICOMweb answer; None for 404."""
        url = f"/{self.dicomweb_root}/{path}"
        answer = self.ask(self.rest.get, url, headers={"Accept": accept}, absent_ok=True)
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.content

    def ask(
        self,
        request: Callable[..., Any],  # of the client, which has one for each of Orthanc's routes, without exact types
        *arguments: object,
        absent_ok: bool = False,
        **options: object,
    ) -> httpx.Response:
        """The answer to a request of `rest`, our errors instead of the library's; a 404 only where absent_ok."""
        try:
            answer: httpx.Response = request(*arguments, **options)
        except httpx.HTTPError as error:
            raise no_answer(self.url, error) from error
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise PacsUnavailable(
                "pacs_refuses_login",
                f"Orthanc at {self.url} refuses our login: set FIRSTREAD_ORTHANC_USERNAME and _PASSWORD",
            )
        if answer.is_error and not (absent_ok and answer.status_code == httpx.codes.NOT_FOUND):
            asked = f"{answer.request.method} {answer.request.url.path}"
            raise PacsUnavailable("pacs_error", f"Orthanc answers {answer.status_code} to {asked}: see Orthanc's log")
        return answer

    def _json(self, request: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - JSON
        return self.ask(request, *arguments).json()

    def _find(self, request: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - JSON
        answer = self.ask(request, *arguments, absent_ok=True)
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.json()

    def _find_text(self, request: Callable[..., Any], *arguments: object) -> str | None:
        answer = self.ask(request, *arguments, absent_ok=True)
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.text


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
