"""What Orthanc tells of an instance that arrived, as the records take it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import structlog

from gateway.intake.orthanc import InstanceFacts, OrthancClient
from worklist.order import OrderPriority
from worklist.records import ReceivedInstance, ReceivedReport
from worklist.reports import DocumentHeader, is_document, radiologist_of
from worklist.scope import WARD_OF, ScopeRules, age_by_dates, assess_scope, is_own_object
from worklist.sight import institution_key

_HEADERS_AT_ONCE = 4
_TIMES = (("AcquisitionDate", "AcquisitionTime"), ("ContentDate", "ContentTime"), ("StudyDate", "StudyTime"))
_DATE = re.compile(r"(\d{4})[-.]?(\d{2})[-.]?(\d{2})")  # DA, also with the dots of ACR-NEMA
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.\d*)?)?)?")  # TM, also with the colons of ACR-NEMA
_DATE_TIME = re.compile(r"(\d{8})(\d{2,6})(?:\.\d*)?([+-]\d{4})?")  # DT that says at least the hour
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")
_LARGEST_OFFSET = timedelta(hours=14)

_LONGEST_QUESTION = 300  # characters
_NO_AGE = 1000  # years, for which an AS value has no room

log = structlog.get_logger()


def read_arrivals(
    orthanc: OrthancClient,
    arrived: Sequence[tuple[str, datetime]],
    rules: ScopeRules,
    report_titles: frozenset[str],
    *,
    is_past: bool,
) -> list[ReceivedInstance | ReceivedReport]:
    """What some instances are, without our own; an image and a report of it may be one object.

    Args:
        orthanc: where they lie.
        arrived: Orthanc's identifier of each, and when it came.
        rules: which images are looked at.
        report_titles: titles of the site's own reports.
        is_past: whether they lay there before the feed was read, so that they can wait.
    """
    # Several at once, because a CT of a thousand slices may stand before the next film.
    with ThreadPoolExecutor(_HEADERS_AT_ONCE) as readers:
        found = list(readers.map(orthanc.instance, [orthanc_id for orthanc_id, _ in arrived]))
    received: list[ReceivedInstance | ReceivedReport] = []
    for (orthanc_id, received_at), facts in zip(arrived, found, strict=True):
        if facts is None or is_own_object(facts.header):
            continue
        if not facts.header.get("StudyInstanceUID"):
            log.error("an instance without a Study Instance UID cannot be listed", orthanc_id=orthanc_id)
            continue
        received.append(replace(received_instance(facts, received_at, rules), is_past=is_past))
        report = received_report(facts, received_at, report_titles)
        if report:
            received.append(report)
    return received


def received_instance(facts: InstanceFacts, received_at: datetime, rules: ScopeRules) -> ReceivedInstance:
    """One instance.

    Args:
        facts: what Orthanc tells of it; its header holds a Study Instance UID.
        received_at: when Orthanc stored it.
        rules: which images are looked at.
    """
    header = facts.header
    return ReceivedInstance(
        orthanc_id=facts.study_orthanc_id,
        instance_orthanc_id=facts.orthanc_id,
        study_instance_uid=header["StudyInstanceUID"],
        series_instance_uid=header.get("SeriesInstanceUID", ""),
        sop_instance_uid=header.get("SOPInstanceUID", ""),
        digest=facts.digest,
        received_at=received_at,
        patient_id=header.get("PatientID", ""),
        patient_name=header.get("PatientName", "").strip(),
        patient_sex=header.get("PatientSex", ""),
        patient_age=header.get("PatientAge", "").strip() or _age(header),
        accession_number=header.get("AccessionNumber", "").strip(),
        study_description=header.get("StudyDescription", "").strip(),
        study_date=_plain_date(header.get("StudyDate", "")),
        modality=header.get("Modality", ""),
        acquired_at=acquired_at(header),
        order_priority=OrderPriority.of(header.get("RequestedProcedurePriority", "")),
        scope_failure=assess_scope(header, rules),
        ward=next(filter(None, (header.get(keyword, "").strip() for keyword in WARD_OF)), ""),
        institution=institution_key(header.get("InstitutionName", "")),
        station=header.get("StationName", "").strip(),
        view=header.get("ViewPosition", "").strip().upper(),
        question=_question(facts),
    )


def received_report(
    facts: InstanceFacts, received_at: datetime, report_titles: frozenset[str]
) -> ReceivedReport | None:
    """The reading that an instance tells of, where it is a radiologist's own report; it must not be one of ours."""
    header = facts.header
    if not is_document(header):
        return None
    concept, observer = (
        facts.first_items.get(sequence, {}) for sequence in ("ConceptNameCodeSequence", "VerifyingObserverSequence")
    )
    document = DocumentHeader(
        sop_class_uid=header["SOPClassUID"].strip(),
        verification=header.get("VerificationFlag", ""),
        completion=header.get("CompletionFlag", ""),
        preliminary=header.get("PreliminaryFlag", ""),
        titles=(header.get("DocumentTitle", ""), concept.get("CodeValue", ""), concept.get("CodeMeaning", "")),
        verifying_observer=observer.get("VerifyingObserverName", ""),
    )
    reader = radiologist_of(document, report_titles)
    if reader is None:
        return None
    return ReceivedReport(orthanc_id=facts.study_orthanc_id, reader=reader, received_at=received_at)


def acquired_at(header: Mapping[str, str]) -> datetime | None:
    """When an image was taken, in UTC; None where its header does not say, or says what cannot be.

    That is Acquisition DateTime (0008,002A), or else the first pair of date and time that is complete: acquisition,
    content, study. A time without an offset is of the zone that Timezone Offset From UTC (0008,0201) names, or else
    of this machine's.

    Args:
        header: attribute values by DICOM keyword, as text; absent ones may be missing.
    """
    stated = _OFFSET.fullmatch(header.get("TimezoneOffsetFromUTC", "").strip())
    moments = [_date_time(header.get("AcquisitionDateTime", ""))]
    moments += [_date_and_time(header.get(day, ""), header.get(time, "")) for day, time in _TIMES]
    for moment in filter(None, moments):
        local = moment if moment.tzinfo or not stated else moment.replace(tzinfo=_zone(stated))
        try:
            return local.astimezone(UTC)  # without a zone it is taken for this machine's local time
        except (OverflowError, OSError, ValueError):  # the years 1 and 9999
            continue
    return None


def _date_time(text: str) -> datetime | None:
    found = _DATE_TIME.fullmatch(text.strip())
    moment = _date_and_time(found[1], found[2]) if found else None
    offset = _OFFSET.fullmatch(found[3]) if found and found[3] else None
    return moment.replace(tzinfo=_zone(offset)) if moment and offset else moment


def _date_and_time(day: str, time: str) -> datetime | None:
    date_parts, time_parts = _DATE.fullmatch(day.strip()), _TIME.fullmatch(time.strip())
    if not date_parts or not time_parts:
        return None
    year, month, day_of_month = map(int, date_parts.groups())
    hour, minute, second = (int(part or 0) for part in time_parts.groups())
    try:
        return datetime(year, month, day_of_month, hour, minute, min(second, 59))  # noqa: DTZ001 - 60 is a leap second
    except ValueError:
        return None


def _zone(offset: re.Match[str]) -> timezone | None:
    span = timedelta(hours=int(offset[2]), minutes=int(offset[3])) * (-1 if offset[1] == "-" else 1)
    return timezone(span) if abs(span) <= _LARGEST_OFFSET else None


def _plain_date(text: str) -> str:
    """A DA value as YYYYMMDD; empty where it is none."""
    moment = _date_and_time(text, "00")
    return moment.date().isoformat().replace("-", "") if moment else ""


def _age(header: Mapping[str, str]) -> str:
    """The age at the study by the birth date, as an AS value; empty where it is not known to be a year or more."""
    years = age_by_dates(header)
    return f"{years:03}Y" if years and years < _NO_AGE else ""


def _question(facts: InstanceFacts) -> str:
    """What the referrer asks, as one line.

    That is Reason for the Requested Procedure (0040,1002), of the image or of the first item of its Request Attributes
    Sequence (0040,0275), or else Reason for Study (0032,1030).
    """
    reason, request = "ReasonForTheRequestedProcedure", facts.first_items.get("RequestAttributesSequence", {})
    asked = (facts.header.get(reason, ""), request.get(reason, ""), facts.header.get("ReasonForStudy", ""))
    lines = (" ".join(line.split()) for stated in asked for line in stated.splitlines())
    return next(filter(None, lines), "")[:_LONGEST_QUESTION]
