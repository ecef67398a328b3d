"""The routes below /worklist, on a real list: what is listed, what people do with a study, and who asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.list.items import WorklistItem, WorklistPage
from tests.list_gateway import ListGateway, running_list
from tests.lists import EFFUSION, LATERAL, NOTHING, PNEUMOTHORAX, FilledList, uid_of
from worklist.finding import Analysis, FindingType, Region
from worklist.order import OrderPriority
from worklist.reading import ReadingState
from worklist.records import Database
from worklist.step import Step, StepName, StepVerdict

LIST = "/worklist"


@pytest.fixture
def listed(migrated_sqlite: bytes, tmp_path: Path) -> Iterator[FilledList]:
    """Seven studies: two flagged, one not, one not assessed, one overdue, one read and one prior."""
    file = tmp_path / "firstread.db"
    file.write_bytes(migrated_sqlite)
    with closing(Database(f"sqlite:///{file}")) as database:
        filled = FilledList(database)
        filled.add(1, minutes=10, findings=PNEUMOTHORAX, crops=2)
        filled.add(2, minutes=20, findings=EFFUSION)
        filled.add(3, minutes=30, findings=NOTHING)
        filled.add(4, minutes=40, refused=LATERAL)
        filled.add(5, minutes=25 * 60, order_priority=OrderPriority.HIGH)
        filled.add(6, minutes=50, findings=NOTHING)
        filled.read(6, "Dr. A")
        filled.add(7, minutes=60, days_old=400, findings=EFFUSION)
        yield filled


@pytest.fixture
def gateway(listed: FilledList) -> Iterator[ListGateway]:
    """The list, served."""
    with running_list(listed) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: ListGateway) -> Iterator[httpx.Client]:
    """Asks the gateway."""
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as client:
        yield client


def numbers(page: dict[str, Any]) -> list[int]:
    """The numbers of a page's studies."""
    return [int(item["study_instance_uid"].rpartition(".")[2]) for item in page["items"]]


def put(client: httpx.Client, number: int, state: str, by: str | None = "Dr. B", **more: Any) -> httpx.Response:  # noqa: ANN401
    """Change a study's reading."""
    return client.put(f"{LIST}/{uid_of(number)}/state", json={"state": state, "by": by}, **more)


# ---- What is listed ----


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [5, 1, 2, 4, 3]),
        ({"reading": "unread"}, [5, 1, 2, 4, 3]),
        ({"reading": "reading"}, []),
        ({"reading": "read"}, [6]),
        ({"reading": "prior"}, [7]),
        ({"state": "reported"}, [1, 2, 3]),
        ({"reading": "prior", "state": "reported"}, [7]),
        ({"limit": 2, "offset": 1}, [1, 2]),
        ({"offset": 99}, []),
    ],
)
def test_each_question_has_its_studies(client: httpx.Client, query: dict[str, Any], expected: list[int]) -> None:
    """By default what is unread and being read, in reading order; by reading and by state whatever is asked for."""
    page = client.get(LIST, params=query).json()
    assert numbers(page) == expected
    assert page["counts"] == {"listed": 5, "overdue": 1, "priors": 1}
    if "offset" not in query:
        assert page["total"] == len(expected)


def test_all_is_all(client: httpx.Client) -> None:
    """reading=all gives every study that the PACS has, the list first."""
    page = client.get(LIST, params={"reading": "all"}).json()
    assert page["total"] == 7
    assert numbers(page)[:5] == [5, 1, 2, 4, 3]
    assert set(numbers(page)) == set(range(1, 8))


@pytest.mark.parametrize("query", [{"reading": "list"}, {"reading": ""}, {"state": "x"}, {"limit": 0}, {"offset": -1}])
def test_senseless_questions_are_refused(client: httpx.Client, query: dict[str, Any]) -> None:
    """The answer is a problem document."""
    answer = client.get(LIST, params=query)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_an_item_says_everything_of_its_study(client: httpx.Client) -> None:
    """Flag, place, reason, findings with what may be shown and named, the reading, and the model."""
    first, flagged = client.get(LIST).json()["items"][:2]
    assert (first["rank"], first["overdue"], first["order_priority"], first["urgency"]) == (1, True, "HIGH", None)
    assert flagged["reading"] == {"state": "unread", "by": None, "since": None, "returned_for": None}
    assert (flagged["urgency"], flagged["state"], flagged["overdue"]) == ("critical", "reported", False)
    assert flagged["reason"] == "Pneumothorax likely, right. Up 3 places (5th by arrival)"
    assert flagged["harm"] == flagged["score"] == PNEUMOTHORAX[FindingType.PNEUMOTHORAX]
    assert [(found["name"], found["shown"], found["named"]) for found in flagged["findings"]] == [
        ("Pneumothorax", True, True),
        ("Pleural effusion", True, False),
        ("Pneumonia", False, False),
    ]
    assert (flagged["patient_sex"], flagged["patient_age"]) == ("F", "071Y")
    assert (flagged["prior"], flagged["prior_count"]) == (None, 0)
    assert [flagged[name] for name in ("ward", "station", "view", "question")] == ["", "", "", ""]
    assert (flagged["images"], first["images"]) == ([{"rows": 2048, "columns": 2048}], [])
    assert flagged["crop_count"] == 2
    assert flagged["explanation"].startswith("The region that weighed most")
    assert flagged["explained"] == {"by": "template 1", "at": None, "instead_of": "", "why": "", "added": []}
    assert first["explained"] is None
    assert flagged["model"] == {"name": "embedded", "version": "1", "sha256": "5f0c4f1f" * 8}
    failed = client.get(LIST, params={"state": "out_of_scope"}).json()["items"][0]
    assert failed["failure"] == {"code": "lateral_view", "message": LATERAL.message}


def test_an_item_says_where_the_film_comes_from_and_what_was_there_before(
    client: httpx.Client, listed: FilledList
) -> None:
    """Ward, station, view and the referrer's question, and the newest earlier study with the same Patient ID."""
    stated: dict[str, Any] = {"ward": "ICU 2", "station": "PORT-3", "view": "AP", "question": "Tube position?"}
    listed.add(20, minutes=1, patient_id="MRN-7", **stated)
    listed.add(21, days_old=400, patient_id="MRN-7", study_date="20250102", study_description="CHEST PA")
    item = next(item for item in client.get(LIST).json()["items"] if item["study_instance_uid"] == uid_of(20))
    assert {name: item[name] for name in stated} == stated
    assert item["prior"] == {
        "study_instance_uid": uid_of(21),
        "study_date": "2025-01-02",
        "study_description": "CHEST PA",
        "modality": "DX",
    }
    assert item["prior_count"] == 1


def test_a_finding_in_words_has_its_box(client: httpx.Client, listed: FilledList) -> None:
    """In pixels of the image that shows it; a finding that is not named has none, nor has one without a region."""

    def with_boxes(analysis: Analysis) -> Analysis:
        second = replace(analysis.image, sop_instance_uid=f"{uid_of(20)}.1.2", rows=1000, columns=800)
        boxes = (Region(x=100, y=200, width=300, height=400), None, Region(x=1, y=2, width=3, height=4))
        images = (second.sop_instance_uid, second.sop_instance_uid, analysis.image.sop_instance_uid)
        findings = tuple(
            replace(finding, region=box, sop_instance_uid=image)
            for finding, box, image in zip(analysis.findings, boxes, images, strict=True)
        )
        return replace(analysis, images=(analysis.image, second), findings=findings)

    probabilities = {
        FindingType.PLEURAL_EFFUSION: 0.9,
        FindingType.CONSOLIDATION: 0.8,
        FindingType.PULMONARY_EDEMA: 0.7,
    }
    listed.add(20, minutes=1, findings=probabilities, analyzed=with_boxes, is_reported=False)
    item = next(item for item in client.get(LIST).json()["items"] if item["study_instance_uid"] == uid_of(20))
    assert item["images"] == [{"rows": 2048, "columns": 2048}, {"rows": 1000, "columns": 800}]
    assert [(found["name"], found["named"], found["box"]) for found in item["findings"]] == [
        ("Pleural effusion", True, {"image": 2, "x": 100, "y": 200, "w": 300, "h": 400}),
        ("Consolidation", True, None),
        ("Pulmonary edema", False, None),
    ]


def test_the_model_in_openapi_is_the_json(client: httpx.Client, gateway: ListGateway) -> None:
    """Every answer fits the model that describes it, to the last field, and OpenAPI names that model."""
    for query in ({"reading": "all"}, {"limit": 1}):
        content = client.get(LIST, params=query).content
        page = WorklistPage.model_validate_json(content)
        assert set(page.items[0].model_dump()) == set(WorklistItem.model_fields)
    WorklistItem.model_validate_json(put(client, 1, "reading").content)
    paths = httpx.get(f"{gateway.url}openapi.json", trust_env=False, timeout=60).json()["paths"]
    schema = paths["/worklist"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema["$ref"].endswith("/WorklistPage")
    state = paths["/worklist/{study_instance_uid}/state"]["put"]
    assert state["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/WorklistItem")
    assert set(state["responses"]) == {"200", "400", "404", "409", "413", "422", "503"}
    assert state["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/ReadingChange")


def test_one_study_is_told_by_itself(client: httpx.Client) -> None:
    """GET /worklist/{study} is the study's item, also once it was read; one that nobody knows is 404."""
    item = WorklistItem.model_validate_json(client.get(f"{LIST}/{uid_of(1)}").content)
    assert item.study_instance_uid == uid_of(1)
    put(client, 1, "read")
    assert client.get(f"{LIST}/{uid_of(1)}").json()["reading"]["state"] == "read"
    unknown = client.get(f"{LIST}/1.2.3")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_study")


def test_the_scope_is_that_of_the_model_in_force(client: httpx.Client) -> None:
    """GET /worklist/scope says what is looked for, what is not or unreliably, and how often words are right."""
    scope = client.get(f"{LIST}/scope").json()
    assert scope["model"] == "embedded 1"
    assert "Pneumothorax" in scope["looked_for"]
    assert scope["unreliable"] == ["Pneumonia"]
    assert "masses" in scope["not_looked_for"]
    assert scope["can_be_critical"] is True
    assert {found["name"]: (found["precision"], found["films"]) for found in scope["named"]} == {
        "Pneumothorax": (0.74, 19),
        "Pleural effusion": (0.74, 19),
        "Consolidation": (0.55, 20),
        "Cardiomegaly": (0.74, 19),
    }


def test_crops_are_drawn_by_the_pacs(client: httpx.Client) -> None:
    """A crop that the study has is a PNG; one that it has not is 404."""
    answer = client.get(f"{LIST}/{uid_of(1)}/crops/2.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert client.get(f"{LIST}/{uid_of(1)}/crops/3.png").status_code == 404


# ---- What people do ----


def test_a_study_goes_from_unread_to_read_and_back(client: httpx.Client) -> None:
    """Each change answers the item as it then is; what is read is on no list, what is put back is."""
    claimed = put(client, 2, "reading").json()
    assert (claimed["reading"]["state"], claimed["reading"]["by"]) == ("reading", "Dr. B")
    assert claimed["rank"] == 3
    assert numbers(client.get(LIST, params={"reading": "reading"}).json()) == [2]
    read = put(client, 2, "read").json()
    assert (read["reading"]["state"], read["reading"]["by"]) == ("read", "Dr. B")
    assert 2 not in numbers(client.get(LIST).json())
    assert numbers(client.get(LIST, params={"reading": "read"}).json()) == [2, 6]
    assert put(client, 2, "unread").json()["reading"] == claimed["reading"] | {
        "state": "unread",
        "by": None,
        "since": None,
    }
    assert put(client, 7, "unread").json()["reading"]["state"] == "unread"
    assert client.get(LIST).json()["counts"] == {"listed": 6, "overdue": 1, "priors": 0}


def test_the_holder_is_named_to_everybody_else(client: httpx.Client) -> None:
    """A second reader gets 409 with who holds the study and since when, whatever is asked; the holder goes on."""
    since = put(client, 1, "reading").json()["reading"]["since"]
    for state in ("reading", "read", "unread"):
        answer = put(client, 1, state, "Dr. C")
        assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
        document = answer.json()
        assert (document["code"], document["by"], document["title"]) == ("being_read", "Dr. B", "being read")
        assert document["since"][:19] == since[:19]
        assert "Dr. B" in document["detail"]
    assert put(client, 1, "reading").json()["reading"]["since"] == since
    assert put(client, 1, "read").status_code == 200
    late = put(client, 1, "reading", "Dr. C")
    assert (late.status_code, late.json()["code"], late.json()["by"]) == (409, "already_read", "Dr. B")
    assert put(client, 1, "read", "Dr. C").json()["reading"]["by"] == "Dr. B"


def test_repeating_a_claim_renews_it(client: httpx.Client, listed: FilledList) -> None:
    """The lease of the reader who claims again begins anew, and nobody else hears of it."""
    put(client, 1, "reading")
    study, number = listed.worklist.find(uid_of(1)), listed.worklist.newest()
    put(client, 1, "reading")
    again = listed.worklist.find(uid_of(1))
    assert study
    assert again
    assert study.reading.lease_until
    assert again.reading.lease_until
    assert again.reading.lease_until > study.reading.lease_until
    assert listed.worklist.newest() == number


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.3%00", "x" * 3000, "'; DROP TABLE studies; --", "%F0%9F%A9%BB"])
def test_an_unknown_study_is_404(client: httpx.Client, uid: str) -> None:
    """Whatever stands in the address."""
    answer = client.put(f"{LIST}/{uid}/state", json={"state": "read", "by": "Dr. B"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_study")


@pytest.mark.parametrize("by", [None, "", "  \t ", "x" * 65, "a\x00b", "a\nb", "a\x1bb", "a\u2028b"])
def test_nobody_acts_without_a_name(client: httpx.Client, listed: FilledList, by: str | None) -> None:
    """No name, one that is too long, and one with control characters are refused, and nothing changes."""
    answer = put(client, 1, "read", by)
    assert answer.status_code == 422
    assert answer.json()["code"] == ("bad_name" if by and by.strip() else "no_name")
    assert uid_of(1) in listed.uids()


def test_a_half_character_is_no_name(client: httpx.Client) -> None:
    """A lone surrogate, which no database can write, is refused."""
    answer = client.put(f"{LIST}/{uid_of(1)}/state", content=b'{"state": "read", "by": "a\\ud800"}')
    assert answer.status_code == 422


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"by": "Dr. B"}', b'{"state": "prior", "by": "Dr. B"}', b"null"])
def test_a_senseless_change_is_refused(client: httpx.Client, body: bytes) -> None:
    """The answer is a problem document."""
    answer = client.put(f"{LIST}/{uid_of(1)}/state", content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_names_keep_their_letters(client: httpx.Client) -> None:
    """A name of any script comes back as it was typed, trimmed, up to 64 characters."""
    for name in ("Dr. Müller-Lüdenscheidt", "山田 太郎", "د. سارة", "O'Neill, Aoife", "é" * 64):
        assert put(client, 3, "reading", f"  {name} ").json()["reading"]["by"] == name
        put(client, 3, "unread", name)


# ---- Who asks ----


def test_a_trusted_proxy_names_the_reader(listed: FilledList) -> None:
    """Its X-Remote-User counts instead of what was typed; without it the typed name does; two names are none."""
    with (
        running_list(listed, trusted_proxies=("10.0.0.0/8", "127.0.0.1")) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as client,
    ):
        answer = put(client, 1, "reading", "typed", headers={"X-Remote-User": "k.adeyemi"})
        assert answer.json()["reading"]["by"] == "k.adeyemi"
        assert put(client, 2, "reading", "typed").json()["reading"]["by"] == "typed"
        utf8 = [(b"X-Remote-User", "Müller".encode())]
        assert put(client, 3, "reading", None, headers=utf8).json()["reading"]["by"] == "Müller"
        twice = [("X-Remote-User", "a"), ("X-Remote-User", "b")]
        assert put(client, 4, "reading", None, headers=twice).json()["code"] == "bad_name"
        assert put(client, 4, "reading", None, headers={"X-Remote-User": "x" * 65}).json()["code"] == "bad_name"
    assert [event.actor for event in listed.readings.history(uid_of(1)) if event.kind == "claimed"] == ["k.adeyemi"]


# ---- Other methods ----


@pytest.mark.parametrize("path", ["", "/events"])
def test_head_says_what_get_would(client: httpx.Client, path: str) -> None:
    """HEAD answers at once, without a body, also where GET never ends."""
    answer = client.head(LIST + path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream" if path else "application/json")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("", "GET, HEAD, OPTIONS"),
        ("/events", "GET, HEAD, OPTIONS"),
        (f"/{uid_of(1)}", "GET, OPTIONS"),
        (f"/{uid_of(1)}/state", "PUT, OPTIONS"),
        (f"/{uid_of(1)}/priors", "GET, OPTIONS"),
        (f"/{uid_of(1)}/steps", "GET, OPTIONS"),
    ],
)
def test_options_says_what_may_be_asked(client: httpx.Client, path: str, methods: str) -> None:
    """OPTIONS is 204 with the methods, and any other method is 405 with some of them."""
    answer = client.options(LIST + path)
    assert (answer.status_code, answer.headers["allow"]) == (204, methods)
    refused = client.delete(LIST + path)
    assert (refused.status_code, refused.headers["content-type"]) == (405, "application/problem+json")
    assert set(refused.headers["allow"].split(", ")) <= set(methods.split(", "))


def test_the_steps_of_a_study_are_asked_for_by_themselves(listed: FilledList, client: httpx.Client) -> None:
    """Each with what went in, what came out, its time and its verdict; none before a score, 404 without the study."""
    step = Step(name=StepName.SCORE, verdict=StepVerdict.DONE, elapsed_ms=21.4, input="a film", output="score 0.71")
    uid = listed.add(8, findings=EFFUSION, analyzed=lambda analysis: analysis.after([step]))
    assert client.get(f"{LIST}/{uid}/steps").json() == {
        "items": [{"name": "score", "verdict": "done", "elapsed_ms": 21.4, "input": "a film", "output": "score 0.71"}]
    }
    assert client.get(f"{LIST}/{uid_of(4)}/steps").json() == {"items": []}
    missing = client.get(f"{LIST}/1.2.3.4/steps")
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_study")


def test_a_uid_of_two_patients_names_neither(listed: FilledList, client: httpx.Client) -> None:
    """It is refused with the addresses of both; by its own address each is found, and read, alone."""
    uid, other = listed.add(8, "Roe^Rick", uid=uid_of(1), orthanc_id="of-another"), listed.orthanc_id(uid_of(1))
    items = [item for item in client.get(LIST).json()["items"] if item["study_instance_uid"] == uid]
    assert {item["address"]: item["patient_name"] for item in items} == {other: "Doe^Jane", "of-another": "Roe^Rick"}
    assert all(item["reason"].startswith("Another patient has the same Study Instance UID") for item in items)
    alone = client.get(LIST, params={"limit": 1000}).json()["items"]
    assert {item["address"] for item in alone if item["study_instance_uid"] == uid_of(2)} == {uid_of(2)}
    answers = [client.get(f"{LIST}/{uid}/{path}") for path in ("priors", "steps", "images/1.png", "crops/1.png")]
    answers.append(client.put(f"{LIST}/{uid}/state", json={"state": "read", "by": "Dr. B"}))
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (409, "shared_uid")
        assert answer.json()["detail"] == (
            f"2 patients share Study Instance UID {uid}: name one study, as of-another or {other}"
        )
    done = client.put(f"{LIST}/of-another/state", json={"state": "read", "by": "Dr. B"})
    assert (done.status_code, done.json()["patient_name"], done.json()["reading"]["by"]) == (200, "Roe^Rick", "Dr. B")
    assert listed.worklist.find(other).reading.state is ReadingState.UNREAD  # type: ignore[union-attr]
