"""An Orthanc that forgets, is replaced or restored, and work in amounts or shapes that nobody expects."""

from __future__ import annotations

import json
import sqlite3
import uuid
from contextlib import closing, suppress

import httpx
import redis

from tests.faults.fault import BOTH, Moment, fault
from tests.faults.films import ct_slices, is_scored, second_film
from tests.faults.hospital import Plan
from tests.servers import orthanc_id
from worklist.job import Queue

_JUNK: tuple[bytes, ...] = (b"null", b"[1]", b"no JSON", b"{}")


@fault("Orthanc is replaced by an empty one", loses=True)
def orthanc_replaced(moment: Moment) -> None:
    """What it held leaves the list; what it takes from now on is listed."""
    moment.last(5)
    moment.hospital.orthanc.replace()
    moment.last(5)


@fault("Orthanc is restored from a copy that is older and holds no results", loses=True, is_quick=True)
def orthanc_restored(moment: Moment) -> None:
    """The copy has films whose reports it lacks, and its change log is shorter than the cursor that we keep."""
    hospital = moment.hospital
    for program in hospital.programs:
        hospital.freeze(program)
    hospital.stream.send(moment.count(6))
    copy = hospital.orthanc.back_up()
    for program in hospital.programs:
        hospital.resume(program)
    hospital.stream.send(moment.count(6))
    hospital.wait_for(None, 120)
    hospital.orthanc.restore(copy)
    hospital.stream.send(moment.count(6))


@fault("25 studies are deleted from Orthanc before they are complete", loses=True)
def studies_deleted(moment: Moment) -> None:
    """They hide nobody else's."""
    hospital = moment.hospital
    before = set(hospital.stream.studies)
    hospital.stream.send_at_once(moment.count(25))
    for uid in set(hospital.stream.studies) - before:
        for study in hospital.orthanc.lookup(uid, "Study"):
            hospital.orthanc.delete(f"/studies/{study}")
        hospital.stream.has_lost(uid)


@fault("a film is deleted from a study of two", recovers_within_s=150)
def film_removed(moment: Moment) -> None:
    """Its score and its place in the report go with it."""
    hospital = moment.hospital
    firsts = [
        films[0] for films in hospital.stream.studies.values() if len(films) == 1 and films[0].ViewPosition != "LL"
    ]
    seconds = [second_film(first) for first in firsts[: moment.count(3)]]
    hospital.stream.send_these(seconds)
    hospital.wait_for(None, 120)
    for second in seconds:
        (instance,) = hospital.orthanc.lookup(str(second.SOPInstanceUID), "Instance")
        hospital.orthanc.delete(f"/instances/{instance}")
        hospital.stream.has_lost(str(second.StudyInstanceUID), str(second.SOPInstanceUID))


@fault("each message comes twice, shuffled, with junk between", plan=Plan(gateways=2, workers=2), is_quick=True)
def messages_doubled(moment: Moment) -> None:
    """What waits in Redis, five times over, with junk of each kind behind it."""
    hospital = moment.hospital
    with redis.Redis.from_url(hospital.redis.url) as client:
        for _ in range(5):
            hospital.stream.send_at_once(2)
            for queue in (Queue.SCORE, Queue.REPORT):
                waiting = client.lrange(queue.task, 0, -1) * 2
                moment.random.shuffle(waiting)
                for message in waiting:
                    client.lpush(queue.task, message)
            for junk in (*_JUNK, _unknown_task()):
                client.lpush(moment.random.choice((Queue.SCORE, Queue.REPORT)).task, junk)
            moment.last(2)


@fault("60,000 deletions of studies that nobody knows are rung at the doorbell")
def doorbell_flood(moment: Moment) -> None:
    """As after a large purge, or by somebody who means harm."""
    with httpx.Client(trust_env=False, timeout=30) as http:
        for _ in range(moment.count(60)):
            unknown = [orthanc_id(str(uuid.uuid4())) for _ in range(1000)]
            with suppress(httpx.HTTPError):
                rung = http.post(f"{moment.hospital.gateways[0]}/events/orthanc", json={"deleted_studies": unknown})
                assert rung.is_success, rung.text


@fault("a CT of 2,000 slices amid the films", is_load=True)
def ct_amid_films(moment: Moment) -> None:
    """It is listed once, out of scope."""
    moment.hospital.stream.send_these(ct_slices(moment.count(2000)))


@fault("300 films at once", plan=Plan(gateways=2, workers=2), databases=BOTH, recovers_within_s=300, is_load=True)
def films_at_once(moment: Moment) -> None:
    """All are sent in one association."""
    moment.hospital.stream.send_at_once(moment.count(300))


@fault("somebody holds SQLite's write lock for 45 s")
def sqlite_locked(moment: Moment) -> None:
    """As a backup does that copies the file under a lock."""
    with closing(moment.hospital.database) as database:
        assert database.url.database
        with closing(sqlite3.connect(database.url.database, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            moment.last(45)
            connection.execute("ROLLBACK")


@fault("films whose device calls itself Firstread")
def namesakes(moment: Moment) -> None:
    """They are films like any other."""
    hospital = moment.hospital
    firsts = list(hospital.stream.studies.values())[: moment.count(4)]
    films = [second_film(taken[0]) for taken in firsts if is_scored(taken[0])]
    for film in films:
        film.Manufacturer = "Firstread"
    hospital.stream.send_these(films)


def _unknown_task() -> bytes:
    headers = {"lang": "py", "task": "firstread.nothing", "id": str(uuid.uuid4()), "argsrepr": "", "kwargsrepr": ""}
    properties = {"delivery_mode": 2, "delivery_tag": str(uuid.uuid4()), "body_encoding": "base64"}
    properties |= {"delivery_info": {"exchange": "", "routing_key": "x"}, "priority": 0, "correlation_id": "x"}
    message = {"body": "W1tdLCB7fSwge31d", "content-encoding": "utf-8", "content-type": "application/json"}
    return json.dumps({**message, "headers": headers, "properties": properties}).encode()
