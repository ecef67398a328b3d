"""The messages of PS3.15, section A.5.1, and the line of syslog around each."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from pydicom.sr._concepts_dict import concepts

from gateway.audit.message import _EVENTS, Source, audit_message, syslog_line
from worklist.audit import AuditEntry, AuditKind, Outcome

HERE = Source(host="gate.hospital")
ENTRY = AuditEntry(
    at=datetime(2026, 11, 22, 12, 0, 0, 123456, UTC),
    kind=AuditKind.ACCESS,
    actor="Ann <Roe>",
    actor_source="session",
    roles=("radiologist",),
    address="10.1.2.3",
    study_instance_uid="1.2.3",
    patient_id="4711 & co",
)


def test_an_access_says_who_what_whom_and_whence() -> None:
    """Event, the person, ourselves, the source, the patient and the study, in the order of the schema."""
    root = fromstring(audit_message(ENTRY, HERE))  # noqa: S314 - our own
    assert [child.tag for child in root] == [
        "EventIdentification",
        "ActiveParticipant",
        "ActiveParticipant",
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
        "ParticipantObjectIdentification",
    ]
    event, person, ourselves, source, patient, study = root
    assert event.attrib == {
        "EventActionCode": "R",
        "EventDateTime": "2026-11-22T12:00:00.123Z",
        "EventOutcomeIndicator": "0",
    }
    assert event[0].attrib["csd-code"] == "110103"
    assert (person.attrib["UserID"], person.attrib["UserIsRequestor"]) == ("Ann <Roe>", "true")
    assert person.attrib["NetworkAccessPointID"] == "10.1.2.3"
    assert person[0].attrib["csd-code"] == "radiologist"
    assert (ourselves.attrib["UserID"], ourselves.attrib["UserIsRequestor"]) == ("firstread", "false")
    assert source.attrib["AuditSourceID"] == "gate.hospital"
    assert (patient.attrib["ParticipantObjectID"], patient[0].attrib["csd-code"]) == ("4711 & co", "2")
    assert (study.attrib["ParticipantObjectID"], study[0].attrib["csd-code"]) == ("1.2.3", "110180")


@pytest.mark.parametrize("kind", AuditKind)
def test_every_kind_has_a_code_of_the_standard(kind: AuditKind) -> None:
    """Event and type are concepts of DICOM's own dictionary, under their meaning there."""
    dicom: dict[str, Any] = dict(concepts)["DCM"]
    known = {code: meaning for held in dicom.values() for code, (meaning, _) in held.items()}
    event, meaning, kind_of, action = _EVENTS[kind]
    assert known[event] == meaning
    assert action in set("CRUDE")
    if kind_of:
        assert known[kind_of[0]] == kind_of[1]


def test_the_line_is_one_of_rfc_5424() -> None:
    """Priority by outcome, version, time, host, program, process, and the name that IHE's ATNA gives the message."""
    failed = AuditEntry(at=ENTRY.at, kind=AuditKind.LOGIN, outcome=Outcome.MINOR_FAILURE)
    for entry, priority in ((ENTRY, 85), (failed, 84)):
        head, mark, message = syslog_line(entry, HERE).partition(b"\xef\xbb\xbf")
        pattern = rf"<{priority}>1 2026-11-22T12:00:00\.123Z gate\.hospital firstread \d+ DICOM\+RFC3881 - "
        assert re.fullmatch(pattern, head.decode())
        assert mark
        assert message == audit_message(entry, HERE)
