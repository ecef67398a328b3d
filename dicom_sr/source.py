"""A source image's attributes, read without trust.

A source may hold raw, mistyped, overlong, private or undecodable elements; none of that may stop a report or reach
an object of ours. So values are read as text, one by one, and never by copying elements.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from pydicom import config
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.valuerep import STR_VR, validate_value

from imaging.headers import character_set_of, text_of
from worklist.errors import PermanentError
from worklist.finding import ImageReference
from worklist.order import OrderPriority
from worklist.scope import WARD_OF

_EXPLICIT_VR_LIMIT: Final = 65534  # bytes in a value with a two-byte length (PS3.5 section 7.1.2)
_PATIENT_ID: Final = 0x00100020
_CHARACTERS: Final = {"LO": 64, "SH": 16}
CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_OFFSET: Final = re.compile(r"(?P<sign>[+-])(?P<hours>0\d|1[0-4])(?P<minutes>[0-5]\d)")  # &ZZXX, -1200 to +1400

# Copied whatever they hold: they say whose and which the study is.
_IDENTIFYING: Final = ("PatientName", "PatientID", "AccessionNumber", "StudyID")
# Type 2 as well: present, but empty where the source has nothing valid.
_TYPE_2: Final = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName")
_OPTIONAL: Final = (
    "IssuerOfPatientID",
    "OtherPatientNames",
    "PatientBirthTime",
    "EthnicGroup",
    "PatientSpeciesDescription",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "AdmissionID",
    "StudyDescription",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansOfRecord",
    "InstitutionName",
    "SyntheticData",
)
_SEQUENCES: Final = (
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "DeidentificationMethodCodeSequence",
    "IssuerOfAccessionNumberSequence",
    "ProcedureCodeSequence",
)
_REQUEST: Final = (  # Referenced Request Sequence, all type 2 (PS3.3 table C.17-2)
    "AccessionNumber",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Acquisition:
    """How and for whom an image was made, in the header's own words; "" and None where it does not say.

    Attributes:
        view: View Position (0018,5101).
        station: Station Name (0008,1010).
        manufacturer: Manufacturer (0008,0070).
        ward: who asked for it, or where the patient lies: the first of worklist.scope.WARD_OF that is there.
        order_priority: Requested Procedure Priority (0040,1003).
    """

    view: str = ""
    station: str = ""
    manufacturer: str = ""
    ward: str = ""
    order_priority: OrderPriority | None = None


class Source:
    """A data set whose attributes are read as text.

    Args:
        dataset: the film's attributes; pixel data are not needed.
        enclosing: Specific Character Set of an enclosing data set, for a sequence item.
    """

    def __init__(self, dataset: Dataset, enclosing: Sequence[str] = ()) -> None:
        self._dataset = dataset
        self.character_set = character_set_of(dataset, enclosing)

    @property
    def knows_character_set(self) -> bool:
        """Whether every term of Specific Character Set (0008,0005) can be decoded."""
        return all(not term or term in python_encoding for term in self.character_set)

    def text(self, keyword: str) -> str:
        """An attribute's value, its parts joined by backslashes; "" where it is absent, empty or no text.

        Never raises and never validates.
        """
        tag = tag_for_keyword(keyword)
        return (text_of(self._dataset, tag, self.character_set) or "").strip(" \0") if tag is not None else ""

    @property
    def patient_id(self) -> str | bytes:
        """Patient ID (0010,0020) but for its trailing padding, by which a PACS tells patients apart.

        Leading blanks are its own. One that is not plain ASCII is given as its octets: a PACS may read them in another
        way than we do, and takes for the same patient what has the same octets under the same character set.
        """
        element = self._dataset.get_item(_PATIENT_ID)
        octets = element.value if element is not None and isinstance(element.value, bytes) else b""
        if not octets.isascii():
            return octets.rstrip(b" \0")
        return text_of(self._dataset, _PATIENT_ID, self.character_set) or ""

    def valid_text(self, keyword: str) -> str:
        """An attribute's value if it obeys its VR (PS3.5 section 6.2), or else "".

        A string that is merely too long is cut to what its VR holds.
        """
        text, vr = self.text(keyword), dictionary_VR(keyword)
        if CONTROL.search(text):
            return ""
        if vr in _CHARACTERS:
            return "\\".join(part[: _CHARACTERS[vr]].strip() for part in text.split("\\"))
        try:
            for part in text.split("\\"):
                validate_value(vr, part, config.RAISE)
        except ValueError:
            return ""
        return text

    def pair(self, keyword: str) -> tuple[float, float] | None:
        """A pair of positive numbers, of a DS or IS attribute; None where it is anything else."""
        match [float(part) for part in self.valid_text(keyword).split("\\") if part]:
            case [first, second] if first > 0 and second > 0:
                return first, second
        return None

    def items(self, keyword: str) -> list[Source]:
        """The items of a sequence; none where it is absent or unreadable."""
        value = self._value(keyword)
        return [Source(item, self.character_set) for item in value] if isinstance(value, DicomSequence) else []

    def copied_items(self, keyword: str) -> list[Dataset]:
        """The items of a sequence as new data sets: their valid standard attributes, without private ones."""
        return [copy for item in self.items(keyword) if (copy := item.copied())]

    def copied(self) -> Dataset:
        """The valid standard attributes of a sequence item as a new data set, without private ones."""
        new = Dataset()
        for tag in list(self._dataset.keys()):
            keyword = keyword_for_tag(tag)
            if keyword and dictionary_VR(tag) == "SQ":
                if items := self.copied_items(keyword):
                    setattr(new, keyword, items)
            elif keyword and dictionary_VR(tag) in STR_VR and (text := self.valid_text(keyword)):
                setattr(new, keyword, text)
        return new

    def image_reference(self) -> ImageReference:
        """What identifies the source image; rows and columns are 0 where it does not state them.

        Raises:
            PermanentError: a UID is missing.
        """
        uids = [
            self.text(keyword) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
        ]
        if not all(uids):
            raise PermanentError(
                "unidentified_source",
                "the source image lacks its study, series, SOP Class or SOP Instance UID; send it again in full",
            )
        rows, columns = (value if isinstance(value, int) else 0 for value in map(self._value, ("Rows", "Columns")))
        return ImageReference(
            study_instance_uid=uids[0],
            series_instance_uid=uids[1],
            sop_class_uid=uids[2],
            sop_instance_uid=uids[3],
            rows=rows,
            columns=columns,
        )

    @property
    def place(self) -> str:
        """Where a reader finds the image in a viewer: "PA, series 1, image 2"; empty where the header does not say."""
        view, series, number = map(self.valid_text, ("ViewPosition", "SeriesNumber", "InstanceNumber"))
        return ", ".join(filter(None, (view, f"series {series}", f"image {number}"))) if series and number else ""

    @property
    def acquisition(self) -> Acquisition:
        """How and for whom the image was made."""
        priority = self.valid_text("RequestedProcedurePriority").upper()
        return Acquisition(
            view=self.valid_text("ViewPosition"),
            station=self.valid_text("StationName"),
            manufacturer=self.valid_text("Manufacturer"),
            ward=next(filter(None, map(self.valid_text, WARD_OF)), ""),
            order_priority=OrderPriority(priority) if priority in set(OrderPriority) else None,
        )

    def local(self, when: datetime) -> datetime:
        """The moment by the source's clock (Timezone Offset From UTC, PS3.3 section C.12.1.1.8).

        Where the source states no valid offset, the moment keeps the zone it came in.
        """
        return when if self._zone is None else when.astimezone(self._zone)

    def copy_patient_and_study(self, new: Dataset) -> None:
        """Put the patient and study modules (PS3.3 sections C.7.1, C.7.2) into a new object of the same study.

        Raises:
            PermanentError: an identifier is longer than a DICOM object can carry.
        """
        new.StudyInstanceUID = self.text("StudyInstanceUID")
        for keyword in _IDENTIFYING:
            text = self.patient_id if keyword == "PatientID" else self.text(keyword)
            if len(text if isinstance(text, bytes) else text.encode()) > _EXPLICIT_VR_LIMIT:
                raise PermanentError(
                    "oversized_identifier",
                    f"{keyword} of the source image has {len(text)} characters; correct it in the PACS",
                )
            _set(new, keyword, text)
        for keyword in _TYPE_2:
            _set(new, keyword, self.valid_text(keyword))
        for keyword in _OPTIONAL:
            if text := self.valid_text(keyword):
                _set(new, keyword, text)
        if self._zone is not None:
            new.TimezoneOffsetFromUTC = self.text("TimezoneOffsetFromUTC")
        for keyword in _SEQUENCES:
            if items := self.copied_items(keyword):
                setattr(new, keyword, items)

    def referenced_requests(self) -> list[Dataset]:
        """Items for the Referenced Request Sequence (0040,A370): the requests that the source answers."""
        items = []
        for request in self.items("RequestAttributesSequence"):
            if not request.copied():
                continue
            item = Dataset()
            item.StudyInstanceUID = self.text("StudyInstanceUID")
            item.ReferencedStudySequence = []
            item.RequestedProcedureCodeSequence = request.copied_items("RequestedProcedureCodeSequence")
            for keyword in _REQUEST:
                _set(item, keyword, request.valid_text(keyword))
            if not item.AccessionNumber:
                _set(item, "AccessionNumber", self.text("AccessionNumber"))
            items.append(item)
        return items

    def _value(self, keyword: str) -> object:
        try:
            return self._dataset.get(keyword)
        except Exception:  # noqa: BLE001 - pydicom raises whatever a broken element makes it stumble over
            return None

    @property
    def _zone(self) -> timezone | None:
        offset = _OFFSET.fullmatch(self.text("TimezoneOffsetFromUTC"))
        if offset is None:
            return None
        minutes = int(offset["hours"]) * 60 + int(offset["minutes"])
        return timezone(timedelta(minutes=-minutes if offset["sign"] == "-" else minutes))


def _set(new: Dataset, keyword: str, text: str | bytes) -> None:
    """Set an attribute without validation: it was validated, or it is carried as it is."""
    new.add(DataElement(keyword, dictionary_VR(keyword), text, validation_mode=config.IGNORE))
