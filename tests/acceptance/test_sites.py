"""Several sites share one list: what somebody of one site is answered does not tell that another site's studies exist.

Everything is asked twice by somebody of the north: before the south has sent anything, and when it has films of the
same patient in every state. Each answer must be the same, on every route and method. Somebody who sees all asks the
same, and must be answered otherwise: so nothing here is asked in vain. By DICOM: test_sites_dicom.py.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from firstread.compose_gateway import build_gateway
from firstread.settings import Settings
from gateway.access.rights import MOUNT, WEBSOCKET, RouteRights
from tests.bad_films import chest
from tests.left_sockets import LEFT_SOCKETS
from tests.servers import OrthancServer, orthanc_id
from tests.sites import (
    ABSENT,
    FAILED,
    NOBODYS,
    OTHERS_WORKITEM,
    OWN,
    PATIENCE_S,
    PATIENT,
    SOUTH,
    THEIRS,
    Film,
    Hospital,
    fill_south,
    shared_list,
)
from tests.workitems import TRANSACTION, detection, element
from worklist.audit import AuditKind
from worklist.records import AuditRecords
from worklist.roles import Role
from worklist.sight import sight

pytestmark = LEFT_SOCKETS

# ---- What is asked ----

HELD, REFUSED, APART = "held to the studies that are seen", "refused to who sees some sites", "tells of no study"
FOR_ANYBODY: Final = "told without any login: how much work there is at all, and of no study"
READS, WRITES = ("GET", "HEAD", "OPTIONS"), ("POST", "PUT", "PATCH", "DELETE")
STUDY, WORKITEM = "/worklist/{study_instance_uid}", "/dicom-web/workitems/{workitem}"
SUBSCRIBER = f"{WORKITEM}/subscribers/{{ae_title}}"
ROUTES: Final[Mapping[str, Mapping[str, str]]] = {
    "/health": {"GET": APART},
    "/ready": {"GET": FOR_ANYBODY},
    "/login": {"GET": APART},
    "/login/start": {"GET": APART},
    "/login/callback": {"GET": APART},
    "/logout": {"POST": APART},
    "/events/orthanc": {"POST": APART},
    "/me": {"GET": APART},
    "/openapi.json": {"GET": APART, "HEAD": APART},
    "/docs": {"GET": APART},
    "/static": {MOUNT: APART},
    "/viewer": {"GET": APART},
    "/viewer/{_:path}": {"GET": APART},
    "/try": {"GET": APART},
    "/simulate": {"GET": APART},
    "/worklist/scope": {"GET": APART, "OPTIONS": APART},
    "/predict": {"POST": APART},
    "/predict/{prediction_id}/film.png": {"GET": APART},
    "/predict/{prediction_id}/crop-{position}.png": {"GET": APART},
    "/text": {"POST": APART},
    "/dictate": {"POST": APART},
    "/metrics": {"GET": REFUSED},
    "/settings": {"GET": REFUSED},
    "/settings/triage": {"GET": REFUSED, "PUT": REFUSED},
    "/settings/triage/history": {"GET": REFUSED},
    "/settings/triage/preview": {"POST": REFUSED},
    "/": {"GET": HELD},
    "/failures": {"GET": HELD},
    "/worklist": dict.fromkeys(READS, HELD),
    "/worklist/order": {"GET": HELD},
    "/worklist/events": dict.fromkeys(READS, HELD),
    "/worklist/failures": {"GET": HELD, "OPTIONS": HELD},
    "/worklist/failures/retry": {"PUT": HELD, "OPTIONS": HELD},
    STUDY: {"GET": HELD, "OPTIONS": HELD},
    f"{STUDY}/state": {"PUT": HELD, "OPTIONS": HELD},
    f"{STUDY}/feedback": {"GET": HELD, "POST": HELD, "OPTIONS": HELD},
    f"{STUDY}/opening": {"PUT": HELD},
    f"{STUDY}/openings": {"GET": HELD},
    f"{STUDY}/priors": {"GET": HELD, "OPTIONS": HELD},
    f"{STUDY}/steps": {"GET": HELD, "OPTIONS": HELD},
    f"{STUDY}/crops/{{position}}.png": {"GET": HELD},
    f"{STUDY}/images/{{position}}.png": {"GET": HELD},
    "/fhir/DiagnosticReport": {"GET": HELD},
    "/fhir/DiagnosticReport/{study_instance_uid}": {"GET": HELD},
    "/text/{study_instance_uid}": {"GET": HELD, "POST": HELD},
    "/dictate/{study_instance_uid}": {"POST": HELD},
    "/dicom-web/studies": {"GET": HELD, "HEAD": HELD},
    "/dicom-web/workitems": dict.fromkeys((*READS, *WRITES), HELD),
    WORKITEM: dict.fromkeys((*READS, *WRITES), HELD),
    f"{WORKITEM}/state": dict.fromkeys((*READS, *WRITES), HELD),
    f"{WORKITEM}/cancelrequest": dict.fromkeys((*READS, *WRITES), HELD),
    SUBSCRIBER: dict.fromkeys((*READS, *WRITES), REFUSED),
    f"{SUBSCRIBER}/suspend": dict.fromkeys((*READS, *WRITES), REFUSED),
    "/dicom-web/subscribers/{ae_title}": dict.fromkeys((*READS, *WRITES, WEBSOCKET), REFUSED),
    "/dicom-web/{path:path}": dict.fromkeys(READS, HELD) | dict.fromkeys(WRITES, REFUSED),
}
"""What each route and method is to somebody who sees some sites alone."""
SAME_FOR_ALL: Final = {
    # where who sees all is answered alike, too, with the south's studies and without: methods that no resource has
    *((template, method) for template in (WORKITEM, "/dicom-web/workitems") for method in ("PUT", "PATCH", "DELETE")),
    *(
        (f"{WORKITEM}/{end}", method)
        for end, own in (("state", "PUT"), ("cancelrequest", "POST"))
        for method in ("GET", *WRITES)
        if method != own
    ),
}
QUERIES: Final[Mapping[str, Sequence[str]]] = {
    "/worklist": (
        *("", "?reading=all&limit=1000", "?reading=read", "?reading=reading", "?reading=unread", "?reading=prior"),
        *("?state=failed&reading=all", "?limit=1&offset=1"),
    ),
    "/fhir/DiagnosticReport": ("?study={study}", "?study=urn:oid:{study}"),
    "/dicom-web/studies": (
        *("", "?limit=1", "?offset=1", "?StudyInstanceUID={study}", "?PatientID={patient}", "?0020000D={study}"),
        *("?InstitutionName=*SOUTH*", "?PatientID={patient}&limit=0", "?StudyInstanceUID={study},1.2.3"),
        "?PatientID={patient}&includefield=all",
        "?PatientID={patient}&includefield=00201200,00201202,00201204,00201206,00201208",
        "?SOPInstanceUID={instance}",
        "?AccessionNumber=SOUTH1&includefield=InstitutionName",
    ),
    "/dicom-web/workitems": (
        *("", "?limit=1", "?00100020={patient}", "?00741000=IN PROGRESS", "?00080018={workitem}"),
        "?00741204=Nodule detection",
    ),
}
RESOURCES: Final = (
    *("studies/{study}", "studies/{study}/metadata", "studies/{study}/series", "studies/{study}/instances"),
    *("studies/{study}/rendered", "studies/{study}/series/{series}", "studies/{study}/series/{series}/metadata"),
    *("studies/{study}/series/{series}/instances", "studies/{study}/series/{series}/rendered"),
    "studies/{study}/series?Modality=DX&includefield=all",
    "studies/{study}/instances?includefield=all",
    *(
        f"studies/{{study}}/series/{{series}}/instances/{{instance}}{what}"
        for what in ("", "/metadata", "/rendered", "/thumbnail", "/frames/1", "/bulk/00100010", "/bulkdata/7fe00010")
    ),
    # a study of the north with what is in another's
    *("studies/{own}/series/{series}", "studies/{own}/series/{series}/metadata"),
    "studies/{own}/series/{own_series}/instances/{instance}",
    *(
        f"studies/{{own}}/series/{{own_series}}/instances/{{instance}}/{what}"
        for what in ("metadata", "rendered", "frames/1", "thumbnail")
    ),
    "studies/{own}/instances/{instance}",
    "studies/{own}/instances/{instance}/metadata",
    *("studies/{own},{study}", "studies/{own},{study}/metadata", "studies/{own}/series/{own_series},{series}/metadata"),
    *("studies/{own}/series?StudyInstanceUID={study}", "studies/{own}/series?0020000D={study}"),
    *("studies/{own}/series?0020000d={study}", "studies/{own}/series?0020%2C000D={study}"),
    *("studies/{own}/series?%30020000D={study}", "studies/{own}/series?studyinstanceuid={study}"),
    "studies/{own}/instances?StudyInstanceUID={study}",
    "studies/{own}/series/{own_series}/instances?SeriesInstanceUID={series}",
    "studies/{own}/series?includefield=00201200,00201202,00201204,00201206,00201208",
    "studies/{own}/instances?includefield=00201200,00201202,00201204",
    "studies/{own}/metadata?includefield=all",
    "studies/{own}/series?PatientID={patient}",
    *("series", "instances", "series?StudyInstanceUID={study}", "instances?StudyInstanceUID={study}"),
    *("studies/%7Bstudy%7D", "studies/{study}%2Fmetadata", "studies//{study}", "studies/{own}/../{study}"),
)
NOTE: Final = {"text": "Cough for a week. Known effusion."}
BODIES: Final[Mapping[tuple[str, str], Any]] = {
    (f"{STUDY}/state", "PUT"): {"state": "reading"},
    (f"{STUDY}/feedback", "POST"): {"finding": "Pleural effusion", "verdict": "agree"},
    (f"{STUDY}/opening", "PUT"): {"reason": "an emergency in the other house"},
    ("/worklist/failures/retry", "PUT"): {"study_instance_uids": ["{failed}"]},
    ("/text/{study_instance_uid}", "POST"): NOTE,
    ("/dictate/{study_instance_uid}", "POST"): {"text": "compare with the earlier film"},
    ("/text", "POST"): NOTE,
    ("/dictate", "POST"): {"text": "next study"},
    (WORKITEM, "POST"): {"00404036": element("LO", "elsewhere")},
    (f"{WORKITEM}/state", "PUT"): {"00741000": element("CS", "IN PROGRESS"), TRANSACTION: element("UI", "1.2.9")},
    (f"{WORKITEM}/cancelrequest", "POST"): {},
    ("/dicom-web/workitems", "POST"): detection(),
}
"""What is sent; {failed} stands for the study of the south that could not be scored."""
VOLATILE: Final = (  # what differs from one moment to the next, and tells of nothing
    (re.compile(r'"elapsed_ms":[0-9.]+'), '"elapsed_ms":0'),
    (re.compile(r"(?:&lt; )?\b\d+ (?:s|min)\b"), "a while"),
    (re.compile(r"\d\d:\d\d:\d\d UTC"), "a moment"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)"), "a moment"),
    (re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|--[0-9a-f]{32}|boundary=\S+"), "by chance"),
)
HEADERS: Final = ("content-type", "allow", "warning", "location", "content-location", "www-authenticate")


PLACES: Final = {
    "{own}": OWN.study,
    "{own_series}": f"{OWN.study}.1",
    "{patient}": PATIENT,
    "{failed}": FAILED.study,
}


@pytest.fixture(scope="module")
def hospital(orthanc_server: OrthancServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """A gateway that two sites share."""
    with shared_list(orthanc_server, tmp_path_factory.mktemp("sites")) as hospital:
        yield hospital


# ---- By HTTP ----


@dataclass(frozen=True, order=True)
class Probe:
    """One request, and what it is an example of."""

    template: str
    method: str
    path: str
    body: str = ""


Answers = dict[tuple[str, Probe], tuple[int, tuple[str, ...], str]]
"""Status, headers and body of each answer, by the role of whoever asked, and what they asked."""


def probes() -> list[Probe]:
    """Every route and method, about each study of the south, by both of its names."""
    found = []
    for template, methods in ROUTES.items():
        for method in methods:
            if method == WEBSOCKET:
                continue
            body = BODIES.get((template, method))
            sent = "" if body is None else _filled(json.dumps(body), THEIRS)
            asked = "GET" if method == MOUNT else method
            found += [Probe(template, asked, path, sent) for path in dict.fromkeys(_paths(template, method))]
    return found


def _paths(template: str, method: str) -> Iterator[str]:
    if method == MOUNT:
        yield f"{template}/page.css"
        return
    for film in (THEIRS, FAILED, NOBODYS, ABSENT):
        resources: Sequence[str] = ("",)
        names = {film.study, film.orthanc_id} if "{study_instance_uid}" in template else {""}
        if template.endswith("{path:path}"):
            resources = RESOURCES if film is THEIRS and method == "GET" else RESOURCES[:2]
        for name in sorted(names):
            for resource in resources:
                for query in QUERIES.get(template, ("",)):
                    path = template.replace("{study_instance_uid}", name).replace("{path:path}", resource) + query
                    path = path.replace("{position}", "1").replace("{ae_title}", "NORTH").replace("{_:path}", "x.html")
                    yield _filled(path.replace("{prediction_id}", "0" * 32), film)
    if template == WORKITEM or template.startswith(f"{WORKITEM}/"):
        yield template.replace("{workitem}", OTHERS_WORKITEM).replace("{ae_title}", "NORTH")


def _filled(text: str, film: Film) -> str:
    places = {
        **PLACES,
        "{study}": film.study,
        "{series}": f"{film.study}.1",
        "{instance}": f"{film.study}.1.1",
        "{workitem}": film.workitem,
    }
    for place, value in places.items():
        text = text.replace(place, value)
    return text


def answered(client: httpx.Client, probe: Probe) -> tuple[int, tuple[str, ...], str]:
    """Status, headers and body of an answer, without what differs from one moment to the next."""
    if (probe.template, probe.method) == ("/worklist/events", "GET"):
        return _first_events(client)
    is_dicom = probe.template.startswith("/dicom-web/workitems")
    headers = {"Content-Type": "application/dicom+json" if is_dicom else "application/json"} if probe.body else {}
    answer = client.request(probe.method, probe.path, content=probe.body or None, headers=headers)
    body, told = answer.content.decode("latin-1"), [answer.headers.get(name, "") for name in HEADERS]
    for pattern, instead in VOLATILE:
        body, told = pattern.sub(instead, body), [pattern.sub(instead, one) for one in told]
    return answer.status_code, tuple(told), body


def _first_events(client: httpx.Client) -> tuple[int, tuple[str, ...], str]:
    """What a page hears that has seen nothing yet, up to the first heartbeat."""
    heard = []
    with client.stream("GET", "/worklist/events?after=0") as answer:
        if answer.status_code == 200:
            for line in answer.iter_lines():
                heard.append(line)
                if '"listed"' in line:
                    break
    text = "\n".join(line for line in heard if not line.startswith("id:"))
    for pattern, instead in VOLATILE:
        text = pattern.sub(instead, text)
    return answer.status_code, (), text


def all_answers(hospital: Hospital, who: str) -> Answers:
    """The answers to everybody of a kind, by role."""
    told = {}
    for role in Role if who == "north" else (Role.RADIOLOGIST, Role.TECHNOLOGIST):
        with hospital.client(who, role) as client:
            for probe in probes():
                told[role.value, probe] = answered(client, probe)
    return told


class Statements:
    """Hears each statement to any database of this process, and notes those that are not held to what is seen."""

    TABLE = re.compile(
        r"(?:FROM|JOIN|,)\s+(studies|instances|analyses|reports|events|jobs|results|workitems)\b(?:\s+AS\s+(\w+))?"
    )

    def __init__(self) -> None:
        self.heard = 0
        self.open: list[str] = []

    def __call__(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:  # noqa: ANN401
        """As SQLAlchemy calls it, in the context of whoever asks."""
        if sight() is None or statement.lstrip().startswith("INSERT"):
            return
        self.heard += 1
        for table, alias in self.TABLE.findall(statement):
            name = alias or table
            if name == "seen":
                continue
            held = {"studies": f"{name}.institution IN", "workitems": f"{name}.state IS NULL"}
            if held.get(table, f"seen.orthanc_id = {name}.study_orthanc_id AND seen.institution IN") not in statement:
                self.open.append(statement)


def test_every_route_is_here(tmp_path: Path) -> None:
    """A route or method that is added fails here until somebody has thought of who sees some sites alone."""
    choices = {"auth": "on", "oidc_issuer": "https://sso.example", "public_url": "https://firstread.example"}
    app = build_gateway(Settings.model_validate({"database_url": "sqlite://", "upload_dir": tmp_path, **choices}))
    known: dict[str, set[str]] = {}
    for row in RouteRights(app, ["/dicom-web/"]).rows:
        template = row.template if row.template == "/" else row.template.removesuffix("/")
        known.setdefault(template, set()).add(row.method)
    assert known == {template: set(methods) for template, methods in ROUTES.items()}


@pytest.fixture(scope="module")
def answers(hospital: Hospital) -> dict[str, Answers]:
    """What everybody is told before the south has sent anything, and afterwards; and which statements were not held."""
    statements = Statements()
    event.listen(Engine, "before_cursor_execute", statements)
    try:
        hospital.take_in(OWN)
        hospital.report(OWN, crops=1)
        told = {f"{who} before": all_answers(hospital, who) for who in ("north", "all")}
        fill_south(hospital)
        told |= {f"{who} after": all_answers(hospital, who) for who in ("north", "all")}
    finally:
        event.remove(Engine, "before_cursor_execute", statements)
    assert statements.heard > 1000
    assert statements.open == []
    return told


def test_nobody_is_told_of_another_site(
    answers: dict[str, Answers],
) -> None:
    """To the byte the same, with the other site's studies and without them: every route, method and role."""
    before, after = answers["north before"], answers["north after"]
    told = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    apart = {key for key in told if ROUTES[key[1].template].get(key[1].method) == FOR_ANYBODY}
    assert {key: told[key] for key in told.keys() - apart} == {}


def test_nothing_of_another_site_is_in_any_answer(
    answers: dict[str, Answers],
) -> None:
    """Nor is any word of theirs, but what was asked with."""
    words = ("SOUTH1", "SOUTH2", "NOWHERE", "Dr South", "SOUTH WARD", "Nodule", "South station", "truncated")
    for (role, probe), (_, headers, body) in answers["north after"].items():
        asked = f"{probe.path}{probe.body}"
        leaked = [word for word in words if word in f"{headers}{body}" and word not in asked.replace("%20", " ")]
        assert leaked == [], (role, probe)


def test_who_sees_all_is_told(
    answers: dict[str, Answers],
) -> None:
    """On every route and method that tells of studies, with the very same requests."""
    before, after = answers["all before"], answers["all after"]
    differ = {(probe.template, probe.method) for (role, probe), told in after.items() if before[role, probe] != told}
    held = {
        (template, method)
        for template, methods in ROUTES.items()
        for method, is_held in methods.items()
        if is_held == HELD
    }
    silent = {pair for pair in held - differ if pair[1] not in {"OPTIONS", "HEAD"}}
    assert silent == SAME_FOR_ALL


def test_what_concerns_every_site_is_refused(
    answers: dict[str, Answers],
) -> None:
    """403 to every role, whatever is named."""
    refused = {
        told[0]
        for (_, probe), told in answers["north after"].items()
        if ROUTES[probe.template].get(probe.method) == REFUSED
    }
    assert refused == {403}


def test_what_is_their_own_is_whole(hospital: Hospital, answers: object) -> None:
    """Somebody of the north sees their study, its picture, file and workitem, and its places are those of the north."""
    del answers
    with hospital.client("north", "radiologist") as north, hospital.client("all", "radiologist") as everybody:
        (item,) = north.get("/worklist").json()["items"]
        assert (item["study_instance_uid"], item["rank"], item["prior_count"], item["prior"]) == (OWN.study, 1, 0, None)
        assert north.get("/worklist").json()["counts"]["listed"] == 1
        assert everybody.get("/worklist").json()["counts"]["listed"] == 4
        for film in (OWN, THEIRS):
            wado = f"/dicom-web/studies/{film.study}/series/{film.study}.1/instances/{film.study}.1.1"
            there = [200 if film is OWN else 404] * 4
            pictures = [f"/worklist/{film.study}/{kind}/1.png" for kind in ("images", "crops")]
            paths = [*pictures, wado, f"{wado}/metadata"]
            assert [north.get(path).status_code for path in paths] == there
            assert [everybody.get(path).status_code for path in paths] == [200] * 4
        found = north.get("/dicom-web/studies").json()
        assert [one["0020000D"]["Value"] for one in found] == [[OWN.study]]
        assert north.get(f"/dicom-web/workitems/{OWN.workitem}").status_code == 200
        assert north.put(f"/worklist/{OWN.study}/state", json={"state": "reading"}).status_code == 200
        assert north.put(f"/worklist/{OWN.study}/state", json={"state": "unread"}).status_code == 200


def test_an_open_list_hears_of_its_sites_alone(hospital: Hospital, answers: object) -> None:
    """A page of the north hears what happens there, and nothing when something happens in the south."""
    del answers
    with hospital.client("north", "radiologist") as north, hospital.client("all", "radiologist") as everybody:
        everybody.put(f"/worklist/{THEIRS.study}/state", json={"state": "unread"})  # which the table has claimed
        with (
            north.stream("GET", f"/worklist/events?after={_last_number(north)}") as theirs,
            everybody.stream("GET", f"/worklist/events?after={_last_number(everybody)}") as ours,
        ):
            heard, all_heard = theirs.iter_lines(), ours.iter_lines()
            _until_heartbeat(heard)
            _until_heartbeat(all_heard)
            hospital.listed.claim(THEIRS.study, "Dr South")
            _through(all_heard, THEIRS, "Dr South")
            hospital.listed.claim(OWN.study, "Dr North")
            said = _through(heard, OWN, "Dr North")
        events = {line.partition(":")[2].strip() for line in said if line.startswith("event:")}
        assert events - {"heartbeat"} == {"item"}
        assert THEIRS.study not in "".join(said)
        hospital.listed.put_back(THEIRS.study, "Dr South")
        hospital.listed.put_back(OWN.study, "Dr North")


def _through(lines: Iterator[str], film: Film, reader: str) -> list[str]:
    """What is heard until somebody reads a film, that event included."""
    said = []
    for line in lines:
        said.append(line)
        if line.startswith("data:") and film.study in line and reader in line:
            return said
    raise AssertionError(said)


def _last_number(client: httpx.Client) -> int:
    with client.stream("GET", "/worklist/events") as answer:
        return next(int(line[3:]) for line in answer.iter_lines() if line.startswith("id:"))


def _until_heartbeat(lines: Iterator[str]) -> None:
    """Until all that happened before has been heard."""
    assert "event: heartbeat" in lines


def test_a_shared_uid_opens_nothing(hospital: Hospital, answers: object) -> None:
    """Where another site's patient bears the same Study Instance UID, the PACS is not asked by it."""
    del answers
    other = chest(8)
    other.StudyInstanceUID, other.PatientID, other.InstitutionName = OWN.study, "SOUTH-8", SOUTH
    theirs = orthanc_id("SOUTH-8", OWN.study)
    path = f"/dicom-web/studies/{OWN.study}"
    own = f"{path}/series/{OWN.study}.1/metadata"
    with hospital.client("north", "radiologist") as north:
        assert north.get(f"{path}/metadata").status_code == 200
        hospital.orthanc.post(other)
        try:
            assert north.get(f"{path}/metadata").status_code == 404  # at once, before anybody has listed it
            assert north.get(own).status_code == 200
            assert north.get(f"{path}/series/{other.SeriesInstanceUID}/metadata").status_code == 404
            assert north.get(f"/worklist/{theirs}").status_code == 404
            assert north.get(f"/worklist/{OWN.study}").status_code == 200
        finally:
            hospital.orthanc.delete(f"/studies/{theirs}")


def test_what_nobody_listed_is_not_there(hospital: Hospital, answers: object) -> None:
    """A study that is gone from the list's records is served to who sees all, and to nobody who sees some sites."""
    del answers
    with hospital.client("north", "radiologist") as north, hospital.client("all", "radiologist") as everybody:
        for film in (NOBODYS, ABSENT):
            path = f"/dicom-web/studies/{film.study}/metadata"
            assert north.get(path).status_code == 404
        assert everybody.get(f"/dicom-web/studies/{NOBODYS.study}/metadata").status_code == 200


def test_a_look_at_another_site_is_kept(hospital: Hospital, answers: object) -> None:
    """Who asks for a study that is not theirs is in the audit trail, though they are told that there is none."""
    del answers
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        kept = AuditRecords(database=hospital.listed.database).concerning(THEIRS.study)
        if any(one.entry.kind == AuditKind.REFUSED and one.entry.actor == "north radiologist" for one in kept):
            return
        time.sleep(0.2)
    pytest.fail("nothing is kept")
