"""What tests of workitems share: data sets, the calls of a workstation, and the service before a reading list."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
from fastapi import FastAPI

from gateway.access.actors import Actors
from gateway.access.bodies import BodyLimit
from gateway.access.door import Door
from gateway.list.hub import ListHub
from gateway.problems import install_problems
from gateway.workitems.hub import WorkitemHub
from gateway.workitems.requests import MOST_BYTES
from gateway.workitems.routes import WorkitemService, build_workitems
from gateway.workitems.subscribers import SubscriberService, build_subscribers
from tests.lists import FilledList
from worklist.reading import Actor, ActorSource
from worklist.records import SubscriptionRecords, WorkitemEvents, WorkitemRecords, WorkitemSearches
from worklist.workitems.identity import reading_uid

STATE, PRIORITY, UID, TRANSACTION = "00741000", "00741200", "00080018", "00081195"
STATION = Actor(name="A workstation", source=ActorSource.TYPED)


def hash_of(*uids: str) -> str:
    """An identifier in the form of Orthanc's."""
    digest = hashlib.sha1("|".join(uids).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def element(vr: str, *values: object) -> dict[str, Any]:
    """An element of the DICOM JSON model."""
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def detection(**more: dict[str, Any]) -> dict[str, Any]:
    """A new workitem as an IHE AIW-I task requester makes it: computer aided detection."""
    item = {
        "00080100": element("SH", "110004"),
        "00080102": element("SH", "DCM"),
        "00080104": element("LO", "Computer Aided Detection"),
    }
    return {
        STATE: element("CS", "SCHEDULED"),
        PRIORITY: element("CS", "MEDIUM"),
        "00741204": element("LO", "Nodule detection"),
        "00741202": element("LO", "CAD"),
        "00404005": element("DT", "20261126080000"),
        "00404041": element("CS", "READY"),
        "00404018": element("SQ", item),
        "00100010": element("PN", {"Alphabetic": "Müller^Jörg"}),
        "00100020": element("LO", "P-1"),
        **more,
    }


PERFORMED = element(
    "SQ",
    {
        "00404019": element("SQ", {"00080100": element("SH", "110004"), "00080102": element("SH", "DCM")}),
        "00404028": element("SQ", {"00080100": element("SH", "CAD1"), "00080102": element("SH", "99SITE")}),
        "00404033": element("SQ"),
        "00404050": element("DT", "20261126080000"),
        "00404051": element("DT", "20261126080100"),
    },
)


def found(web: httpx.Client, query: str = "") -> list[dict[str, Any]]:
    """What a search finds."""
    answer = web.get(f"/workitems?{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def value(dataset: dict[str, Any], tag: str) -> Any:  # noqa: ANN401 - JSON
    """The first value of an attribute."""
    return dataset[tag]["Value"][0]


def change(web: httpx.Client, uid: str, state: str, transaction: str = "") -> httpx.Response:
    """Ask for another state."""
    asked = {STATE: element("CS", state), TRANSACTION: element("UI", *([transaction] if transaction else []))}
    return web.put(f"/workitems/{uid}/state?requester=STATION", json=asked)


def state_of(web: httpx.Client, uid: str) -> str:
    """The state of a workitem."""
    return str(value(web.get(f"/workitems/{uid}").json()[0], STATE))


def of_reading(study_instance_uid: str, number: int = 1) -> str:
    """The UID of a reading's workitem."""
    return reading_uid(hash_of(study_instance_uid), number)


def created(web: httpx.Client, **more: dict[str, Any]) -> str:
    """A new workitem of another system."""
    answer = web.post("/workitems", json=detection(**more))
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"].rpartition("/")[2]


def workitem_app(listed: FilledList, patience: timedelta = timedelta(seconds=30)) -> FastAPI:
    """UPS-RS as the gateway puts it together, without the gateway's other parts."""
    records = WorkitemRecords(database=listed.database, rules=listed.rules)
    hub = WorkitemHub(WorkitemEvents(listed.database), records, patience)
    watch = ListHub(listed.database, listed.worklist, beside=hub.look)
    actors = Actors()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        watch.start()
        hub.start()
        yield
        hub.stop()
        watch.stop()

    app = FastAPI(lifespan=lifespan)
    install_problems(app)
    app.add_middleware(BodyLimit, limits={"/dicom-web/workitems": MOST_BYTES})
    app.add_middleware(Door, hosts=())
    service = WorkitemService(records=records, searches=WorkitemSearches(listed.database), actors=actors)
    app.include_router(build_workitems(service, ["/dicom-web/"]))
    subscribers = SubscriberService(records=SubscriptionRecords(database=listed.database), hub=hub, actors=actors)
    app.include_router(build_subscribers(subscribers, ["/dicom-web/"]))
    return app
