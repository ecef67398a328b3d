"""The attributes by which studies are searched: one table for QIDO-RS, C-FIND and the search for workitems.

It holds what PS3.18 Tables 10.6.1-5 and 10.6.3-3 name of studies, what else Orthanc's index has of them, and the keys
of the levels below, so that one of these is known for what it is. How a key matches follows from its VR (PS3.4 section
C.2.2.2, see matching.py). A key with a column is matched by the records; one without it is Orthanc's to match.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Level(StrEnum):
    """The levels of the Query/Retrieve Information Models (PS3.4 section C.6), in the words of (0008,0052).

    Beside them stand workitems, which are of no such model (PS3.4 section CC.2.8).
    """

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"
    WORKITEM = "WORKITEM"


class Matching(StrEnum):
    """How a key matches (PS3.4 section C.2.2.2); an empty key matches everything."""

    UID_LIST = "one UID or a list"
    DATE_RANGE = "one date or a range"
    TIME_RANGE = "one time or a range"
    MOMENT_RANGE = "one moment or a range"
    PERSON_NAME = "person name, with wildcards"
    WORDS = "one value or a list, with wildcards"
    TEXT = "text, with wildcards"
    NONE = "returned, never matched"


_BY_VR: Final = {
    "UI": Matching.UID_LIST,
    "DA": Matching.DATE_RANGE,
    "TM": Matching.TIME_RANGE,
    "DT": Matching.MOMENT_RANGE,
    "PN": Matching.PERSON_NAME,
    "CS": Matching.WORDS,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribute:
    """One attribute.

    Attributes:
        keyword: DICOM's.
        tag: eight hexadecimal digits, as the DICOM JSON model has it.
        vr: its value representation.
        level: of the entity that it is an attribute of.
        column: where the records have its value of a study on the list; "" where they have none.
        is_key: whether it may be matched.
        is_ours_alone: whether it is of the reading list, so that the PACS knows nothing of it.
        is_returned: whether QIDO-RS returns it of every study (PS3.18 Table 10.6.3-3).
    """

    keyword: str
    tag: str
    vr: str
    level: Level
    column: str = ""
    is_key: bool = True
    is_ours_alone: bool = False
    is_returned: bool = False

    @property
    def is_of_studies(self) -> bool:
        """Whether it is told of a study: its own, or its patient's."""
        return self.level in {Level.PATIENT, Level.STUDY}

    @property
    def matching(self) -> Matching:
        """How it matches."""
        return _BY_VR.get(self.vr, Matching.TEXT) if self.is_key else Matching.NONE


_ROWS: Final = """
PatientName                    00100010 PN PATIENT key  returned patient_name
PatientID                      00100020 LO PATIENT key  returned patient_id
PatientBirthDate               00100030 DA PATIENT key  returned -
PatientSex                     00100040 CS PATIENT key  returned patient_sex
SpecificCharacterSet           00080005 CS STUDY   none returned -
StudyDate                      00080020 DA STUDY   key  returned study_date
StudyTime                      00080030 TM STUDY   key  returned -
AccessionNumber                00080050 SH STUDY   key  returned accession_number
InstanceAvailability           00080056 CS STUDY   none returned -
ModalitiesInStudy              00080061 CS STUDY   key  returned -
InstitutionName                00080080 LO STUDY   key  -        -
ReferringPhysicianName         00080090 PN STUDY   key  returned -
StudyDescription               00081030 LO STUDY   key  -        study_description
RetrieveURL                    00081190 UR STUDY   none returned -
StudyInstanceUID               0020000D UI STUDY   key  returned study_instance_uid
StudyID                        00200010 SH STUDY   key  returned -
NumberOfStudyRelatedSeries     00201206 IS STUDY   none returned -
NumberOfStudyRelatedInstances  00201208 IS STUDY   none returned -
RequestingPhysician            00321032 PN STUDY   key  -        -
RequestedProcedureDescription  00321060 LO STUDY   key  -        -
ReportingPriority              00401009 SH STUDY   ours returned reporting_priority
Modality                       00080060 CS SERIES  key  -        -
SeriesInstanceUID              0020000E UI SERIES  key  -        -
SeriesNumber                   00200011 IS SERIES  key  -        -
SeriesDescription              0008103E LO SERIES  key  -        -
SeriesDate                     00080021 DA SERIES  key  -        -
SeriesTime                     00080031 TM SERIES  key  -        -
ProtocolName                   00181030 LO SERIES  key  -        -
NumberOfSeriesRelatedInstances 00201209 IS SERIES  none -        -
BodyPartExamined               00180015 CS SERIES  key  -        -
PerformedProcedureStepStartDate 00400244 DA SERIES key  -        -
PerformedProcedureStepStartTime 00400245 TM SERIES key  -        -
SOPClassUID                    00080016 UI IMAGE   key  -        -
SOPInstanceUID                 00080018 UI IMAGE   key  -        -
InstanceNumber                 00200013 IS IMAGE   key  -        -
NumberOfFrames                 00280008 IS IMAGE   none -        -
ProcedureStepState                         00741000 CS WORKITEM key  - -
ScheduledProcedureStepPriority             00741200 CS WORKITEM key  - -
ProcedureStepLabel                         00741204 LO WORKITEM key  - -
WorklistLabel                              00741202 LO WORKITEM key  - -
ScheduledProcedureStepStartDateTime        00404005 DT WORKITEM key  - -
ScheduledProcedureStepModificationDateTime 00404010 DT WORKITEM key  - -
ExpectedCompletionDateTime                 00404011 DT WORKITEM key  - -
InputReadinessState                        00404041 CS WORKITEM key  - -
AdmissionID                                00380010 LO WORKITEM key  - -
ScheduledWorkitemCodeSequence              00404018 SQ WORKITEM none - -
ScheduledStationNameCodeSequence           00404025 SQ WORKITEM none - -
ScheduledStationClassCodeSequence          00404026 SQ WORKITEM none - -
ScheduledStationGeographicLocationCodeSequence 00404027 SQ WORKITEM none - -
ScheduledHumanPerformersSequence           00404034 SQ WORKITEM none - -
HumanPerformerCodeSequence                 00404009 SQ WORKITEM none - -
HumanPerformerName                         00404037 PN WORKITEM key  - -
HumanPerformerOrganization                 00404036 LO WORKITEM key  - -
InputInformationSequence                   00404021 SQ WORKITEM none - -
ReferencedRequestSequence                  0040A370 SQ WORKITEM none - -
RequestedProcedureID                       00401001 SH WORKITEM key  - -
CodeValue                                  00080100 SH WORKITEM key  - -
CodingSchemeDesignator                     00080102 SH WORKITEM key  - -
CodeMeaning                                00080104 LO WORKITEM key  - -
"""


def _attributes() -> Iterator[Attribute]:
    for row in _ROWS.split("\n")[1:-1]:
        keyword, tag, vr, level, key, returned, column = row.split()
        yield Attribute(
            keyword=keyword,
            tag=tag,
            vr=vr,
            level=Level(level),
            column=column.strip("-"),
            is_key=key != "none",
            is_ours_alone=key == "ours",
            is_returned=returned == "returned",
        )


ATTRIBUTES: Final = tuple(_attributes())
_BY_NAME: Final = {name: one for one in ATTRIBUTES for name in (one.keyword, one.tag)}


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivateAttribute:
    """An element of ours beside the standard ones, under PRIVATE_CREATOR (PS3.5 section 7.8.1).

    Attributes:
        tag: eight hexadecimal digits; its block is the one that PRIVATE_CREATOR_TAG reserves.
        vr: its value representation.
        meaning: what it tells.
    """

    tag: str
    vr: str
    meaning: str


PRIVATE_CREATOR: Final = "FIRSTREAD"
PRIVATE_CREATOR_TAG: Final = "00090010"
URGENCY: Final = PrivateAttribute(
    tag="00091001", vr="CS", meaning="CRITICAL, URGENT or NO AI FLAG; empty where it was not assessed"
)
PLACE: Final = PrivateAttribute(
    tag="00091002", vr="IS", meaning="place on the reading list, from 1; empty where it is not on it"
)
READING: Final = PrivateAttribute(
    tag="00091003", vr="CS", meaning="UNREAD, READING, READ or PRIOR; empty where the records do not have it"
)
PRIVATE_ATTRIBUTES: Final = (URGENCY, PLACE, READING)


def attribute(name: str) -> Attribute | None:
    """The attribute of a keyword or tag; None where the table does not have it."""
    return _BY_NAME.get(name) or _BY_NAME.get(name.upper())
