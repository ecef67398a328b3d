"""UPS-RS (PS3.18 section 11) as a workstation uses it: the workitems of readings, and those of other systems."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest

from tests.lists import FilledList
from tests.workitems import (
    PERFORMED,
    PRIORITY,
    STATE,
    STATION,
    TRANSACTION,
    UID,
    change,
    created,
    detection,
    element,
    found,
    of_reading,
    state_of,
    value,
)
from worklist.errors import Conflict
from worklist.procedure_step import ProcedureStepState
from worklist.reading import Actor, ActorSource
from worklist.records import Database, ReadingRecords, SubscriptionRecords, WorkitemRecords


def clock_ahead(database: Database, span: timedelta) -> Database:
    """The same database some time later."""
    return Database(database.url.render_as_string(hide_password=False), lambda _: datetime.now(UTC) + span)


# ---- Readings ----


def test_each_reading_is_a_workitem_in_reading_order(web: httpx.Client, studies: dict[str, str]) -> None:
    """The critical study first; the priority follows the urgency, the UID the study, and the input is its films."""
    readings = found(web, "ScheduledWorkitemCodeSequence.CodeValue=110005&ProcedureStepState=SCHEDULED")
    assert [value(one, PRIORITY) for one in readings] == ["HIGH", "MEDIUM", "LOW"]
    order = [studies["critical"], studies["urgent"], studies["plain"]]
    assert [value(one, UID) for one in readings] == [of_reading(study) for study in order]
    assert [value(value(one, "00404021"), "0020000D") for one in readings] == order
    whole = web.get(f"/workitems/{of_reading(studies['critical'])}").json()[0]
    assert value(whole, "00741204") == "Interpretation: XR CHEST PA"
    assert value(value(whole, "00404018"), "00080100") == "110005"
    assert TRANSACTION not in whole


def test_the_priority_follows_a_stat_order(web: httpx.Client, listed: FilledList, studies: dict[str, str]) -> None:
    """What becomes STAT is HIGH and first, at once."""
    listed.change(studies["plain"], order_priority="STAT", stat_rank=0)
    first = found(web, "limit=1")[0]
    assert (value(first, UID), value(first, PRIORITY)) == (of_reading(studies["plain"]), "HIGH")


def test_claiming_and_completing_a_workitem_reads_the_study(
    web: httpx.Client, listed: FilledList, studies: dict[str, str]
) -> None:
    """The list shows who reads, and no longer what was read; the workitem says all that a completed one must."""
    study = studies["critical"]
    uid = of_reading(study)
    assert change(web, uid, "IN PROGRESS", "1.2.3").status_code == 200
    line = listed.worklist.find(study)
    assert line
    assert (line.reading.state, line.reading.reader) == ("reading", "STATION")
    assert state_of(web, uid) == "IN PROGRESS"
    assert change(web, uid, "COMPLETED", "1.2.3").status_code == 200
    assert study not in listed.uids()
    whole = web.get(f"/workitems/{uid}").json()[0]
    assert value(whole, STATE) == "COMPLETED"
    performed = value(whole, "00741216")
    assert all(performed[tag]["Value"] for tag in ("00404019", "00404028", "00404050", "00404051"))
    assert value(value(performed, "00404035"), "00404037") == {"Alphabetic": "STATION"}
    again = change(web, uid, "COMPLETED", "1.2.3")
    assert again.status_code == 200
    assert "already in the requested state of COMPLETED" in again.headers["Warning"]
    assert value(found(web, "ProcedureStepState=COMPLETED&limit=1")[0], UID) == uid


def test_a_film_that_came_after_the_claim_is_not_taken_for_read(
    web: httpx.Client, listed: FilledList, studies: dict[str, str]
) -> None:
    """Its performer completes; the study is to be read again as the next workitem, marked, which a Warning names."""
    study = studies["plain"]
    uid, following = of_reading(study), of_reading(study, 2)
    change(web, uid, "IN PROGRESS", "1.2.3")
    listed.new_image(study)
    answer = change(web, uid, "COMPLETED", "1.2.3")
    assert answer.status_code == 200
    assert answer.headers["Warning"].endswith(f"the study is to be read again, as Workitem {following}.")
    assert (state_of(web, uid), state_of(web, following)) == ("COMPLETED", "SCHEDULED")
    line = listed.worklist.find(study)
    assert line
    assert (line.reading.state, line.reading.returned_for) == ("unread", "new image")
    again = change(web, uid, "COMPLETED", "1.2.3")
    assert again.headers["Warning"].endswith("already in the requested state of COMPLETED.")
    change(web, following, "IN PROGRESS", "1.2.4")
    last = change(web, following, "COMPLETED", "1.2.4")
    assert "Warning" not in last.headers
    assert study not in listed.uids()


def test_a_claim_on_the_page_is_that_of_the_workitem(
    web: httpx.Client, listed: FilledList, studies: dict[str, str]
) -> None:
    """Whoever claims on the page has the workitem; nobody else can claim, complete or change it."""
    study = studies["urgent"]
    uid = of_reading(study)
    listed.claim(study, "Ann")
    assert state_of(web, uid) == "IN PROGRESS"
    second = change(web, uid, "IN PROGRESS", "1.2.4")
    assert second.status_code == 409
    assert second.headers["Warning"].endswith("inconsistent with the state of the UPS Instance.")
    assert second.json()["ups_status"] == "C302"
    wrong = change(web, uid, "COMPLETED", "1.2.4")
    assert (wrong.status_code, wrong.json()["ups_status"]) == (400, "C301")
    assert wrong.headers["Warning"].endswith(": The Transaction UID is incorrect.")
    listed.read(study, "Ann")
    assert state_of(web, uid) == "COMPLETED"


def test_what_a_station_claimed_nobody_claims_on_the_page(
    web: httpx.Client, listed: FilledList, studies: dict[str, str]
) -> None:
    """Ann is told who reads it."""
    change(web, of_reading(studies["plain"]), "IN PROGRESS", "1.2.5")
    with pytest.raises(Conflict, match="STATION is reading"):
        listed.claim(studies["plain"], "Ann")


def test_canceling_puts_the_study_back_as_another_workitem(
    web: httpx.Client, listed: FilledList, studies: dict[str, str]
) -> None:
    """The canceled workitem stays so; the study is to be read, under the next one, and stands where it stood."""
    study = studies["critical"]
    first, second = of_reading(study), of_reading(study, 2)
    change(web, first, "IN PROGRESS", "1.2.6")
    assert change(web, first, "CANCELED", "1.2.6").status_code == 200
    canceled = web.get(f"/workitems/{first}").json()[0]
    assert value(canceled, STATE) == "CANCELED"
    assert value(canceled, "00741002")["00404052"]["Value"]
    assert state_of(web, second) == "SCHEDULED"
    assert listed.uids()[0] == study
    again = change(web, first, "CANCELED", "1.2.6")
    assert (again.status_code, "state of CANCELED" in again.headers["Warning"]) == (200, True)
    assert web.get(f"/workitems/{of_reading(study, 3)}").status_code == 404


def test_a_claim_given_up_on_the_page_cancels_its_workitem(
    web: httpx.Client, listed: FilledList, studies: dict[str, str]
) -> None:
    """And what was read and put back stays completed, under its own UID."""
    study = studies["plain"]
    listed.claim(study, "Ann")
    listed.put_back(study, "Ann")
    listed.read(study, "Ann")
    listed.put_back(study, "Ann")
    states = [state_of(web, of_reading(study, number)) for number in (1, 2, 3)]
    assert states == ["CANCELED", "COMPLETED", "SCHEDULED"]


def test_a_search_finds_canceled_readings(web: httpx.Client, studies: dict[str, str]) -> None:
    """For a day, as they are retrieved; behind what is open and what is completed, and by their keys."""
    first = of_reading(studies["urgent"])
    assert change(web, first, "IN PROGRESS", "1.2.6").status_code == 200
    assert change(web, first, "CANCELED", "1.2.6").status_code == 200
    query = f"ProcedureStepState=CANCELED&StudyInstanceUID={studies['urgent']}"
    (canceled,) = found(web, query)
    assert canceled == web.get(f"/workitems/{first}").json()[0]
    assert found(web, f"{query}&ScheduledWorkitemCodeSequence.CodeValue=110004") == []
    assert found(web, f"{query}&PatientName=Critical*") == []
    again = of_reading(studies["urgent"], 2)
    assert change(web, again, "IN PROGRESS", "1.2.7").status_code == 200
    assert change(web, again, "COMPLETED", "1.2.7").status_code == 200
    uids = [value(one, UID) for one in found(web, f"StudyInstanceUID={studies['urgent']}")]
    assert uids == [again, first]
    everything = [value(one, UID) for one in found(web)]
    assert everything.index(of_reading(studies["plain"])) < everything.index(again) < everything.index(first)


def test_the_claim_of_a_workstation_lapses_after_an_hour_without_a_word(
    web: httpx.Client, listed: FilledList, studies: dict[str, str]
) -> None:
    """Four times as long as a page's, and then its workitem is canceled; an update counts as a word."""
    study = studies["urgent"]
    uid = of_reading(study)
    change(web, uid, "IN PROGRESS", "1.2.3")
    for later, state in ((timedelta(minutes=59), "IN PROGRESS"), (timedelta(minutes=61), "CANCELED")):
        with closing(clock_ahead(listed.database, later)) as database:
            ReadingRecords(database=database, rules=listed.rules).lapse()
        assert state_of(web, uid) == state
    assert change(web, uid, "COMPLETED", "1.2.3").status_code == 409
    assert state_of(web, of_reading(study, 2)) == "SCHEDULED"


def test_nobody_cancels_a_reading_from_outside(web: httpx.Client, listed: FilledList, studies: dict[str, str]) -> None:
    """A request is refused where nobody reads the study, and passed on to the reader where somebody does."""
    study = studies["urgent"]
    uid = of_reading(study)
    refused = web.post(f"/workitems/{uid}/cancelrequest", json={})
    assert refused.status_code == 409
    assert refused.headers["Warning"].endswith(": Performer chooses not to cancel.")
    assert listed.uids()[1] == study
    listed.claim(study, "Ann")
    asked = web.post(f"/workitems/{uid}/cancelrequest", json={"00741238": element("LT", "wrong patient")})
    assert asked.status_code == 202
    assert state_of(web, uid) == "IN PROGRESS"
    listed.read(study, "Ann")
    late = web.post(f"/workitems/{uid}/cancelrequest")
    assert (late.status_code, late.headers["Warning"].endswith("The UPS is already COMPLETED.")) == (409, True)


def test_a_performer_says_how_far_it_is_and_nothing_of_the_study_changes(
    web: httpx.Client, studies: dict[str, str]
) -> None:
    """Progress is kept; the priority is the study's own, and the answer says that it was left out."""
    uid = of_reading(studies["plain"])
    change(web, uid, "IN PROGRESS", "1.2.7")
    progress = {"00741002": element("SQ", {"00741004": element("DS", 40)})}
    told = web.post(f"/workitems/{uid}?transaction-uid=1.2.7", json=progress)
    assert (told.status_code, "Warning" in told.headers) == (200, False)
    left_out = web.post(f"/workitems/{uid}?1.2.7", json={PRIORITY: element("CS", "HIGH")})
    assert left_out.status_code == 200
    assert left_out.headers["Warning"].endswith("The Workitem was updated with modifications.")
    whole = web.get(f"/workitems/{uid}").json()[0]
    assert value(value(whole, "00741002"), "00741004") == 40
    assert value(whole, PRIORITY) == "LOW"


def test_a_study_that_left_the_pacs_is_gone_unless_somebody_keeps_it(
    web: httpx.Client, listed: FilledList, studies: dict[str, str]
) -> None:
    """410, for whatever is asked; under a deletion lock it says that it was canceled, and why."""
    uid, kept = of_reading(studies["plain"]), of_reading(studies["urgent"])
    SubscriptionRecords(database=listed.database).subscribe(STATION, "KEEPER", kept, has_lock=True)
    listed.withdraw(studies["plain"])
    listed.withdraw(studies["urgent"])
    assert web.get(f"/workitems/{uid}").status_code == 410
    assert change(web, uid, "IN PROGRESS", "1.2.8").status_code == 410
    assert state_of(web, kept) == "CANCELED"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("limit=1&offset=1", ["urgent"]),
        ("ScheduledProcedureStepPriority=HIGH,MEDIUM", ["critical", "urgent"]),
        ("PatientName=Crit*", ["critical"]),
        ("00100010=%2AUlla", ["urgent"]),
        ("00404018.00080100=110004", []),
        ("InputReadinessState=READY&00741200=LOW", ["plain"]),
        ("ScheduledProcedureStepStartDateTime=20000101-", ["critical", "urgent", "plain"]),
        ("ScheduledProcedureStepStartDateTime=-20000101000000%2B0100", []),
        ("WorklistLabel=Firstread&ProcedureStepState=SCHEDULED", ["critical", "urgent", "plain"]),
        ("includefield=all&ProcedureStepState=IN%20PROGRESS", []),
    ],
)
def test_keys_of_a_search(web: httpx.Client, studies: dict[str, str], query: str, names: list[str]) -> None:
    """Of the open workitems those that meet all keys, in reading order."""
    uids = [value(one, UID) for one in found(web, query) if value(one, STATE) == "SCHEDULED"]
    assert uids[: len(names) + 1] == [of_reading(studies[name]) for name in names]


def test_keys_that_name_one_study(web: httpx.Client, studies: dict[str, str]) -> None:
    """Its UID and the workitem's own find the one workitem, at the top or in its sequence."""
    study = studies["urgent"]
    for key in ("StudyInstanceUID", "ReferencedRequestSequence.StudyInstanceUID", "00404021.0020000D"):
        assert [value(one, UID) for one in found(web, f"{key}={study}")] == [of_reading(study)]
    assert len(found(web, f"SOPInstanceUID={of_reading(study)}")) == 1


def test_a_search_says_what_it_does_not_do_and_speaks_xml(web: httpx.Client, studies: dict[str, str]) -> None:
    """Names that sound alike are not matched; the native model is offered beside JSON."""
    del studies
    fuzzy = web.get("/workitems?fuzzymatching=true&limit=1")
    assert "fuzzymatching" in fuzzy.headers["Warning"]
    answer = web.get("/workitems?limit=2", headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
    assert answer.headers["Content-Type"].startswith("multipart/related")
    assert answer.text.count("</NativeDicomModel>") == 2
    assert web.get("/workitems", headers={"Accept": "text/html"}).status_code == 406


# ---- Workitems of other systems ----


def test_another_systems_workitem_from_creation_to_completion(web: httpx.Client, studies: dict[str, str]) -> None:
    """Created, found behind the readings, claimed, updated, refused while something is missing, completed."""
    created_at = web.post("/workitems?workitem=1.2.900.1", json=detection())
    assert created_at.status_code == 201
    assert created_at.headers["Location"].endswith("/dicom-web/workitems/1.2.900.1")
    assert "Warning" not in created_at.headers
    assert web.post("/workitems?1.2.900.1", json=detection()).status_code == 409
    assert [value(one, UID) for one in found(web)][3] == "1.2.900.1"
    assert [value(one, UID) for one in found(web, "ScheduledWorkitemCodeSequence.CodeValue=110004")] == ["1.2.900.1"]
    assert [value(one, UID) for one in found(web, "PatientName=M%C3%BCller*")] == ["1.2.900.1"]
    assert change(web, "1.2.900.1", "COMPLETED", "1.2.9").status_code == 409
    assert change(web, "1.2.900.1", "IN PROGRESS", "1.2.9").status_code == 200
    unmet = change(web, "1.2.900.1", "COMPLETED", "1.2.9")
    assert (unmet.status_code, unmet.json()["ups_status"]) == (409, "C304")
    foreign = web.post("/workitems/1.2.900.1?transaction-uid=1.2.10", json={"00741216": PERFORMED})
    assert foreign.status_code == 400
    assert web.post("/workitems/1.2.900.1?transaction-uid=1.2.9", json={"00741216": PERFORMED}).status_code == 200
    assert change(web, "1.2.900.1", "COMPLETED", "1.2.9").status_code == 200
    late = web.post("/workitems/1.2.900.1?transaction-uid=1.2.9", json={"00741204": element("LO", "x")})
    assert late.status_code == 400
    assert state_of(web, "1.2.900.1") == "COMPLETED"
    del studies


def test_what_is_missing_is_filled_in_or_refused(web: httpx.Client) -> None:
    """The worklist's label is filled in, with a warning; a UID is made where none is given."""
    answer = web.post("/workitems", json=[detection(**{"00741202": element("LO")})])
    assert answer.status_code == 201
    assert answer.headers["Warning"].endswith("The Workitem was created with modifications.")
    uid = answer.headers["Location"].rpartition("/")[2]
    whole = web.get(f"/workitems/{uid}").json()[0]
    assert (value(whole, "00741202"), value(whole, UID)) == ("Firstread", uid)


def test_a_request_cancels_what_nobody_has_begun(web: httpx.Client) -> None:
    """With its reason; a second one is told so."""
    uid = created(web)
    reason = {"00741238": element("LT", "sent twice")}
    assert web.post(f"/workitems/{uid}/cancelrequest?requester=RIS", json=reason).status_code == 202
    whole = web.get(f"/workitems/{uid}").json()[0]
    assert (value(whole, STATE), value(value(whole, "00741002"), "00741238")) == ("CANCELED", "sent twice")
    again = web.post(f"/workitems/{uid}/cancelrequest")
    assert (again.status_code, "state of CANCELED" in again.headers["Warning"]) == (202, True)


def test_a_workitem_as_xml(web: httpx.Client) -> None:
    """What is retrieved as XML can be created again, and says the same."""
    uid = created(web)
    as_xml = web.get(f"/workitems/{uid}", headers={"Accept": "application/dicom+xml"})
    assert ET.fromstring(as_xml.content).tag.endswith("NativeDicomModel")  # noqa: S314 - our own
    copy = as_xml.text.replace(uid, "1.2.900.2")
    answer = web.post("/workitems", content=copy.encode(), headers={"Content-Type": "application/dicom+xml"})
    assert answer.status_code == 201, answer.text
    one, other = (web.get(f"/workitems/{name}").json()[0] for name in (uid, "1.2.900.2"))
    assert {**one, UID: 0, "00404010": 0} == {**other, UID: 0, "00404010": 0}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({STATE: element("CS", "IN PROGRESS")}, "a new workitem is SCHEDULED"),
        ({STATE: element("CS")}, "Procedure Step State"),
        ({TRANSACTION: element("UI", "1.2")}, "Transaction UID is empty"),
        ({"00741216": PERFORMED}, "is empty in a new workitem"),
        ({PRIORITY: element("CS", "STAT")}, "HIGH, MEDIUM, LOW"),
        ({"00741204": element("LO")}, "Procedure Step Label"),
        ({UID: element("UI", "1." + "2" * 64)}, "no UID"),
        ({"0040A370": element("SQ", "text")}, "items are objects"),
        ({"00100010": element("PN", "Doe^Jane")}, "person name"),
        ({"00100020": element("LO", "a\u0000b")}, "no text"),
        ({"00100020": element("LO", "\ud800")}, "no text"),
        ({"00100020": {"vr": "LO", "Value": "x"}}, "no array"),
        ({"nonsense": element("LO")}, "no tag"),
    ],
)
def test_what_cannot_be_created(web: httpx.Client, more: dict[str, Any], said: str) -> None:
    """400, and the answer says which attribute is wrong."""
    content = json.dumps(detection(**more))  # in ASCII, as half a character can be sent
    answer = web.post("/workitems", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, said in answer.json()["detail"]) == (400, True), answer.text


@pytest.mark.parametrize(
    ("method", "path", "content", "media_type", "status"),
    [
        ("POST", "/workitems", b"{", "application/dicom+json", 400),
        ("POST", "/workitems", b"\xff\xfe", "application/dicom+json", 400),
        ("POST", "/workitems", b"[[[]]]", "application/json", 400),
        ("POST", "/workitems", b'{"00100020":' * 20_000, "application/json", 400),
        ("POST", "/workitems", b"[" * 200_000, "application/json", 400),
        ("POST", "/workitems", b"<!DOCTYPE a><a/>", "application/dicom+xml", 400),
        ("POST", "/workitems", b"<NativeDicomModel>", "application/dicom+xml", 400),
        ("POST", "/workitems", b"<html/>", "application/dicom+xml", 400),
        ("POST", "/workitems", b"{}", "text/plain", 415),
        ("POST", "/workitems?workitem=1." + "2" * 64, b"{}", "application/dicom+json", 400),
        ("GET", "/workitems/1." + "2" * 64, b"", "", 400),
        ("GET", "/workitems/1.2.3.4", b"", "", 404),
        ("POST", "/workitems/1.2.3.4", b"{}", "application/dicom+json", 404),
        ("POST", "/workitems/1.2.3.4/cancelrequest", b"", "application/dicom+json", 404),
        ("PUT", "/workitems/1.2.3.4/state", b"{}", "application/dicom+json", 400),
        ("DELETE", "/workitems/1.2.3.4", b"", "", 405),
        ("GET", "/workitems?limit=-1", b"", "", 400),
        ("GET", "/workitems?limit=1000000000", b"", "", 200),
        ("GET", "/workitems?StudyDate=20260101", b"", "", 400),
        ("GET", "/workitems?PatientID=1&00100020=2", b"", "", 400),
        ("GET", "/workitems?ScheduledWorkitemCodeSequence=110004", b"", "", 400),
        ("GET", "/workitems?ScheduledProcedureStepStartDateTime=2026-2025", b"", "", 400),
        ("GET", "/workitems?ScheduledProcedureStepStartDateTime=yesterday", b"", "", 400),
        ("GET", "/workitems?nonsense=1", b"", "", 400),
    ],
)
def test_bad_requests(  # noqa: PLR0913, PLR0917 - what a request is made of
    web: httpx.Client, method: str, path: str, content: bytes, media_type: str, status: int
) -> None:
    """The standard's error, in one line, and never a 500."""
    headers = {"Content-Type": media_type} if media_type else {}
    answer = web.request(method, path, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.json()["detail"]


def test_a_workitem_of_ten_megabytes_is_refused_before_it_is_sent(web: httpx.Client) -> None:
    """413, as soon as the request says how large it is."""
    with closing(socket.create_connection((web.base_url.host, web.base_url.port or 0), timeout=60)) as connection:
        head = f"POST {web.base_url.path}workitems HTTP/1.1\r\nHost: {web.base_url.host}\r\nContent-Length: 10000000"
        connection.sendall(f"{head}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_transaction_uids_that_are_none(web: httpx.Client) -> None:
    """Missing, too long, and given where nobody has claimed."""
    uid = created(web)
    missing = change(web, uid, "IN PROGRESS")
    assert (missing.status_code, missing.headers["Warning"][-27:]) == (400, "Transaction UID is missing.")
    assert change(web, uid, "IN PROGRESS", "1." + "2" * 64).status_code == 400
    unclaimed = web.post(f"/workitems/{uid}?transaction-uid=1.2.3", json={"00741204": element("LO", "x")})
    assert unclaimed.status_code == 409
    assert unclaimed.headers["Warning"].endswith("did not reference a claimed Workitem.")
    scheduled = change(web, uid, "SCHEDULED", "1.2.3")
    assert (scheduled.status_code, scheduled.json()["ups_status"]) == (409, "C303")
    assert change(web, uid, "DONE", "1.2.3").status_code == 400
    patient = web.post(f"/workitems/{uid}", json={"00100010": element("PN", {"Alphabetic": "Roe^Rick"})})
    assert (patient.status_code, "Patient's Name" in patient.json()["detail"]) == (400, True)


def test_of_some_that_create_at_once_one_does(web: httpx.Client) -> None:
    """The others are told that the UID is taken."""
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: web.post("/workitems?workitem=1.2.900.3", json=detection()), range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


def test_of_two_that_claim_at_once_one_has_it(web: httpx.Client) -> None:
    """The other is refused."""
    uid = created(web)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: change(web, uid, "IN PROGRESS", f"1.2.{number}"), range(1, 9)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


def test_what_has_ended_is_deleted_after_a_day_unless_it_is_kept(web: httpx.Client, listed: FilledList) -> None:
    """A deletion lock keeps it until its subscriber lets it go."""
    gone, kept = created(web), created(web)
    subscriptions = SubscriptionRecords(database=listed.database)
    subscriptions.subscribe(STATION, "KEEPER", kept, has_lock=True)
    for uid in (gone, kept):
        web.post(f"/workitems/{uid}/cancelrequest")
    with closing(clock_ahead(listed.database, timedelta(hours=25))) as tomorrow:
        records = WorkitemRecords(database=tomorrow, rules=listed.rules)
        records.sweep()
        assert [web.get(f"/workitems/{uid}").status_code for uid in (gone, kept)] == [404, 200]
        subscriptions.unsubscribe(STATION, "KEEPER", kept)
        records.sweep()
    assert web.get(f"/workitems/{kept}").status_code == 404


def test_who_is_logged_in_acts_for_nobody_else(listed: FilledList, studies: dict[str, str]) -> None:
    """Not even with the Transaction UID of the one who claimed the study; the one goes on with it."""
    records = WorkitemRecords(database=listed.database, rules=listed.rules)
    ann, ben = (Actor(name=name, source=ActorSource.KEY) for name in ("Ann", "Ben"))
    uid, transaction = of_reading(studies["plain"]), "1.2.3"
    records.change_state(ann, uid, ProcedureStepState.IN_PROGRESS, transaction)
    for state in (ProcedureStepState.COMPLETED, ProcedureStepState.CANCELED):
        with pytest.raises(Conflict, match="Ann is reading"):
            records.change_state(ben, uid, state, transaction)
    records.change_state(ann, uid, ProcedureStepState.COMPLETED, transaction)
    assert listed.readings.history(studies["plain"])[-1].actor == "Ann"
