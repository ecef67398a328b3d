"""UPS by DIMSE (PS3.4 Annex CC), asked by pynetdicom: the same workitems, in the same order, by the same rules."""

from __future__ import annotations

from io import BytesIO
from struct import pack
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from pydicom import Dataset
from pydicom.tag import Tag
from pynetdicom.dimse_primitives import C_FIND

from gateway.dimse.association import GuestAssociation
from gateway.dimse.certificates import names_in
from gateway.dimse.peers import PeerRoles
from tests.left_sockets import LEFT_SOCKETS
from tests.lists import FilledList
from tests.workitem_stations import PULL, PUSH, QUERY, RECEIVER, WATCH, associated, change, dataset, serving
from tests.workitems import PERFORMED, STATE, TRANSACTION, created, detection, element, of_reading, state_of
from worklist.audit import AuditEntry, AuditKind, Outcome
from worklist.records import AuditRecords
from worklist.roles import Role
from worklist.workitems.identity import new_uid

pytestmark = LEFT_SOCKETS


def test_a_workstation_finds_claims_and_completes(
    web: httpx.Client, port: int, listed: FilledList, studies: dict[str, str]
) -> None:
    """In reading order; what it completes leaves the list, and what it asked for is all that it is told."""
    asked = Dataset()
    asked.ProcedureStepState, asked.PatientName, asked.ScheduledProcedureStepPriority = "SCHEDULED", "", ""
    asked.ScheduledWorkitemCodeSequence = [Dataset()]
    asked.ScheduledWorkitemCodeSequence[0].CodeValue = "110005"
    with associated(port) as association:
        answers = list(association.send_c_find(asked, QUERY))
        assert [int(status.Status) for status, _ in answers] == [0xFF00, 0xFF00, 0xFF00, 0]
        found = [one for _, one in answers if one]
        assert [one.ScheduledProcedureStepPriority for one in found] == ["HIGH", "MEDIUM", "LOW"]
        assert str(found[0].PatientName) == "Critical^Carl"
        assert "PatientID" not in found[0]
        uid = str(found[0].SOPInstanceUID)
        assert uid == of_reading(studies["critical"])
        assert change(association, uid, "IN PROGRESS", "1.2.3") == 0
        assert change(association, uid, "IN PROGRESS", "1.2.4") == 0xC302
        assert change(association, uid, "COMPLETED", "1.2.4") == 0xC301
        assert change(association, uid, "COMPLETED", "1.2.3") == 0
        assert change(association, uid, "COMPLETED", "1.2.3") == 0xB306
        wanted = [Tag("ProcedureStepState"), Tag("PatientName")]
        status, told = association.send_n_get(wanted, PUSH, uid, meta_uid=PULL)
        assert told is not None
        assert (int(status.Status), told.ProcedureStepState, len(told)) == (0, "COMPLETED", 3)
    assert studies["critical"] not in listed.uids()
    assert state_of(web, uid) == "COMPLETED"


def test_a_film_that_came_after_the_claim_is_the_next_workitem(
    web: httpx.Client, port: int, listed: FilledList, studies: dict[str, str]
) -> None:
    """Its performer completes, as by HTTP; the study is scheduled again, and completing that takes it off the list."""
    study = studies["plain"]
    uid, following = of_reading(study), of_reading(study, 2)
    with associated(port) as association:
        assert change(association, uid, "IN PROGRESS", "1.2.3") == 0
        listed.new_image(study)
        assert change(association, uid, "COMPLETED", "1.2.3") == 0
        assert (state_of(web, uid), state_of(web, following)) == ("COMPLETED", "SCHEDULED")
        line = listed.worklist.find(study)
        assert line
        assert (line.reading.state, line.reading.returned_for) == ("unread", "new image")
        assert change(association, following, "IN PROGRESS", "1.2.4") == 0
        assert change(association, following, "COMPLETED", "1.2.4") == 0
    assert study not in listed.uids()


def test_a_requester_creates_and_a_performer_completes(web: httpx.Client, port: int) -> None:
    """As IHE AIW-I has it, with text in any script; the final state requirements hold."""
    with associated(port) as association:
        new = dataset(**detection(**{"00100010": element("PN", {"Alphabetic": "Соколова^Вера"})}))
        new.SpecificCharacterSet = "ISO_IR 192"
        status, _ = association.send_n_create(new, PUSH, "1.2.901.1")
        assert int(status.Status) == 0
        assert int(association.send_n_create(new, PUSH, "1.2.901.1")[0].Status) == 0x0111
        assert change(association, "1.2.901.1", "IN PROGRESS", "1.2.3") == 0
        assert change(association, "1.2.901.1", "COMPLETED", "1.2.3") == 0xC304
        done = dataset(**{"00741216": PERFORMED, TRANSACTION: element("UI", "1.2.3")})
        assert int(association.send_n_set(done, PUSH, "1.2.901.1", meta_uid=PULL)[0].Status) == 0
        assert change(association, "1.2.901.1", "COMPLETED", "1.2.3") == 0
    assert web.get("/workitems/1.2.901.1").json()[0]["00100010"]["Value"] == [{"Alphabetic": "Соколова^Вера"}]


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element in Explicit VR Little Endian."""
    value += b" " * (len(value) % 2)
    return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


@pytest.mark.parametrize(
    ("identifier", "status"),
    [
        (_element(0x00080005, b"CS", b"KLINGON") + _element(0x00100010, b"PN", b"D*"), 0xC001),
        (_element(0x00080005, b"CS", b"ISO_IR 192") + _element(0x00100010, b"PN", b"\xff\xfe"), 0xC001),
        (_element(0x00100010, b"PN", b"\xff\xfe*"), 0xC001),
        (_element(0x00080018, b"UI", b"1.2.*"), 0xC001),
        (_element(0x00080018, b"UI", b"1." + b"2" * 63), 0xC001),
        (_element(0x00404005, b"DT", b"20260102-20260101"), 0xC001),
        (_element(0x00100010, b"PN", b"Doe")[:6], 0xC002),
        (_element(0x00080018, b"UI", b"1.2.3.4") + _element(0x00110010, b"LO", b"nobody knows"), 0x0000),
    ],
    ids=[
        *("unknown set", "not in the set", "not in UTF-8", "wildcard in a UID", "65 characters", "range backwards"),
        *("cut off", "unknown tag"),
    ],
)
def test_a_bad_identifier_is_refused(port: int, identifier: bytes, status: int) -> None:
    """By the same codes as in a search for studies; what is not known is passed over; and the association goes on."""
    with associated(port) as association:
        request = C_FIND()
        request.MessageID, request.AffectedSOPClassUID, request.Priority = 7, QUERY, 2
        request.Identifier = BytesIO(identifier)
        context = next(one for one in association.accepted_contexts if one.abstract_syntax == QUERY)
        association._reactor_checkpoint.clear()  # noqa: SLF001 - its own thread would take the answer
        association.dimse.send_msg(request, context.context_id or 0)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()  # noqa: SLF001
        assert answer is not None
        assert answer.Status == status
        assert int(association.send_n_get([], PUSH, "1.2.3.4", meta_uid=WATCH)[0].Status) == 0xC307


def test_what_is_refused(web: httpx.Client, port: int) -> None:
    """The standard's code, and the association goes on."""
    uid = created(web)
    with associated(port) as association:
        assert int(association.send_n_get([], PUSH, "1.2.3.4", meta_uid=WATCH)[0].Status) == 0xC307
        claimed = dataset(**detection(**{STATE: element("CS", "IN PROGRESS")}))
        assert int(association.send_n_create(claimed, PUSH, "1.2.901.2")[0].Status) == 0x0106
        subscribing = Dataset()
        subscribing.ReceivingAE, subscribing.DeletionLock = "UNKNOWN", "FALSE"
        assert int(association.send_n_action(subscribing, 3, PUSH, uid, meta_uid=WATCH)[0].Status) == 0xC308
        subscribing.ReceivingAE, subscribing.DeletionLock = RECEIVER, "PERHAPS"
        assert int(association.send_n_action(subscribing, 3, PUSH, uid, meta_uid=WATCH)[0].Status) == 0x0106
        subscribing.DeletionLock = "FALSE"
        assert int(association.send_n_action(subscribing, 3, PUSH, "1.2.9", meta_uid=WATCH)[0].Status) == 0xC307
        assert int(association.send_n_action(subscribing, 5, PUSH, uid, meta_uid=WATCH)[0].Status) == 0xC314
        assert int(association.send_n_action(None, 1, PUSH, uid, meta_uid=WATCH)[0].Status) == 0x0123
        asked = Dataset()
        asked.ScheduledProcedureStepStartDateTime = "20260102-20260101"
        assert [int(status.Status) for status, _ in association.send_c_find(asked, PULL)] == [0xC001]
        reason = Dataset()
        reason.ReasonForCancellation = "sent twice"
        assert int(association.send_n_action(reason, 2, PUSH, uid, meta_uid=WATCH)[0].Status) == 0
        assert int(association.send_n_action(reason, 2, PUSH, uid, meta_uid=WATCH)[0].Status) == 0xB304
    assert state_of(web, uid) == "CANCELED"


@pytest.mark.parametrize(
    ("role", "permitted"),
    [
        (None, {"create", "find"}),
        (Role.RADIOLOGIST, {"claim", "create", "find"}),
        (Role.TECHNOLOGIST, {"create", "find"}),
        (Role.QA, {"find"}),
        (Role.IT, set()),
    ],
)
def test_a_peer_does_what_its_role_may(
    listed: FilledList, studies: dict[str, str], role: Role | None, permitted: set[str]
) -> None:
    """Where a login is asked for, an AE title has the role that the site gives it, or else that of a service."""
    uid, asked, new = of_reading(studies["plain"]), Dataset(), dataset(**detection())
    asked.PatientName, new.SpecificCharacterSet = "", "ISO_IR 192"
    with serving(listed, PeerRoles({"STATION": role} if role else {})) as port, associated(port) as association:
        statuses = {
            "claim": change(association, uid, "IN PROGRESS", "1.2.3"),
            "create": int(association.send_n_create(new, PUSH, new_uid())[0].Status),
            "find": int(list(association.send_c_find(asked, QUERY))[-1][0].Status),
        }
    assert {what for what, status in statuses.items() if status == 0} == permitted, statuses
    assert set(statuses.values()) <= {0x0000, 0x0124}


def test_what_is_asked_of_workitems_is_in_the_audit_trail(listed: FilledList, studies: dict[str, str]) -> None:
    """Looks, claims and refusals, as by UPS-RS, with the study of a reading and its patient; faults leave nothing."""
    uid, asked, kept = of_reading(studies["plain"]), Dataset(), list[AuditEntry]()
    asked.PatientName = ""
    subscribing = Dataset()
    subscribing.ReceivingAE, subscribing.DeletionLock = RECEIVER, "FALSE"
    with (
        serving(listed, PeerRoles({"STATION": Role.RADIOLOGIST}), kept.append) as port,
        associated(port) as association,
    ):
        list(association.send_c_find(asked, QUERY))
        association.send_n_get([], PUSH, uid, meta_uid=PULL)
        assert change(association, uid, "IN PROGRESS", "1.2.3") == 0
        assert change(association, uid, "COMPLETED", "1.2.4") == 0xC301
        assert change(association, uid, "COMPLETED", "1.2.3") == 0
        assert int(association.send_n_action(subscribing, 3, PUSH, uid, meta_uid=WATCH)[0].Status) == 0
        new = dataset(**detection())
        new.SpecificCharacterSet = "ISO_IR 192"
        assert int(association.send_n_create(new, PUSH, "1.2.901.7")[0].Status) == 0
    with serving(listed, PeerRoles({"STATION": Role.IT}), kept.append) as port, associated(port) as association:
        assert change(association, uid, "IN PROGRESS", "1.2.3") == 0x0124
    trail = AuditRecords(database=listed.database)
    trail.append(kept)
    entries = [one.entry for one in trail.after(0)]
    services = [(one.kind, one.detail["service"], one.detail.get("state"), one.study_instance_uid) for one in entries]
    assert services == [
        (AuditKind.QUERY, "C-FIND", None, ""),
        (AuditKind.QUERY, "N-GET", None, studies["plain"]),
        (AuditKind.CHANGE, "N-ACTION", "IN PROGRESS", studies["plain"]),
        (AuditKind.CHANGE, "N-ACTION", "COMPLETED", studies["plain"]),
        (AuditKind.QUERY, "N-ACTION", None, studies["plain"]),
        (AuditKind.CHANGE, "N-CREATE", None, ""),
        (AuditKind.REFUSED, "N-ACTION", "IN PROGRESS", studies["plain"]),
    ]
    assert entries[0].detail["of"] == "Unified Procedure Step - Query SOP Class"
    assert entries[2].patient_id
    assert (entries[2].detail["workitem"], entries[2].detail["action"]) == (uid, "change state")
    assert {(one.actor, one.actor_source, one.address) for one in entries} == {("STATION", "dicom", "127.0.0.1")}
    assert [one.outcome for one in entries] == [Outcome.SUCCESS] * 6 + [Outcome.MINOR_FAILURE]


def test_a_name_in_a_certificate_goes_before_an_ae_title() -> None:
    """What is proved counts, and what a peer merely says of itself only where nothing is."""
    peers = PeerRoles({"WS": Role.IT, "tls:ws.hospital": Role.RADIOLOGIST})
    certificate = {"subject": ((("commonName", "a"),),), "subjectAltName": (("DNS", "ws.hospital"), ("email", "x"))}
    assert names_in(certificate) == {"a", "ws.hospital"}
    assert names_in({}) == frozenset()
    for certified, role in ((names_in(certificate), Role.RADIOLOGIST), (frozenset({"b"}), Role.IT)):
        peer = SimpleNamespace(requestor=SimpleNamespace(ae_title="WS "), certified=certified, place="10.1.2.3")
        actor = peers.actor(cast("GuestAssociation", peer))
        assert (actor.name, actor.roles, actor.address) == ("WS", frozenset({role}), "10.1.2.3")
