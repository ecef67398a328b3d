"""POST /text of a real gateway: what is answered, refused, kept from the logs, and left in the audit trail."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from gateway.access.keys import make_key
from gateway.notes.schemas import NoteAnswer, RequestAnswer
from tests.gateways import running_gateway
from tests.lists import EFFUSION, FilledList
from worklist.audit import AuditKind
from worklist.finding import DISCLAIMER
from worklist.records import AuditRecords, Database
from worklist.roles import Role

NOTE = "71-year-old woman with fever and confusion. {side} pleural effusion. RR 32, BP 88/52. ?Quastenflosseritis"
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the gateway's database lies."""
    return tmp_path_factory.mktemp("notes")


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[str, str]:
    """API keys by role."""
    return {role.value: make_key(folder / "keys", role.value, role) for role in (Role.RADIOLOGIST, Role.IT)}


@pytest.fixture(scope="module")
def gateway(folder: Path, keys: dict[str, str]) -> Iterator[str]:
    """A gateway with a login, and without any broker or worker."""
    assert keys
    with running_gateway(folder, "http://127.0.0.1:9", auth="on", api_keys_file=folder / "keys") as url:
        yield url


@pytest.fixture(scope="module")
def study(gateway: str, folder: Path) -> str:
    """A study on which an effusion is named on the right, and whose order asks about a pneumothorax."""
    del gateway
    with closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database:
        return FilledList(database).add(1, "Roe^Jane", findings=EFFUSION, question="?pneumothorax")


def post(gateway: str, key: str, path: str = "/text", **more: Any) -> httpx.Response:  # noqa: ANN401 - of httpx
    """Send a note."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    return httpx.post(f"{gateway}{path}", headers=headers, timeout=60, trust_env=False, **more)


def test_a_note_is_read_without_any_worker(gateway: str, keys: dict[str, str]) -> None:
    """The rules alone need none."""
    answer = post(gateway, keys["radiologist"], json={"text": NOTE.format(side="Right"), "age": 80, "sex": "F"})
    assert answer.status_code == 200, answer.text
    NoteAnswer.model_validate(answer.json())
    values = answer.json()
    assert (values["risk"]["class"], values["disclaimer"]) == ("high", DISCLAIMER)
    assert (values["language_model"], values["contradictions"]) == (None, [])
    assert any("the one given counts" in one for one in values["remarks"])


def test_a_language_model_that_cannot_be_asked_costs_nothing_else(tmp_path: Path) -> None:
    """That no worker could be reached is said, beside all that the rules read, and nothing of the note stays."""
    address = "http://127.0.0.1:9"
    with running_gateway(tmp_path, address, explainer="openai", explainer_url=address) as url:
        answer = post(url, "", json={"text": NOTE.format(side="Left")})
        NoteAnswer.model_validate(answer.json())
        assert "broker" in answer.json()["language_model"]["why"]
        assert answer.json()["risk"]["class"] == "high"
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_note_beside_a_study_is_held_against_its_film(gateway: str, keys: dict[str, str], study: str) -> None:
    """A side that the film does not bear out and another patient are named; the order's question comes first."""
    answer = post(gateway, keys["radiologist"], f"/text/{study}", json={"text": NOTE.format(side="Left")})
    assert answer.status_code == 200, answer.text
    values = answer.json()
    NoteAnswer.model_validate(values)
    assert values["asked"][:2] == ["Pneumothorax", "Pleural effusion"]
    told = {one["kind"]: one for one in values["contradictions"]}
    assert told["side"]["text"] == "The note says left, the film right: pleural effusion."
    assert told["side"]["sentence"] == "Left pleural effusion."
    other = {"text": "Patient: John Smith. Right pleural effusion."}
    told = {
        one["kind"]: one
        for one in post(gateway, keys["radiologist"], f"/text/{study}", json=other).json()["contradictions"]
    }
    assert "The note names John Smith" in told["patient"]["text"]
    assert "side" not in told


def test_the_request_of_a_study_is_read_without_a_note(
    gateway: str, keys: dict[str, str], study: str, folder: Path
) -> None:
    """What its order says against the film, for whoever may open it; 404 where the order states nothing."""

    def got(role: str, uid: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {keys[role]}"}
        return httpx.get(f"{gateway}/text/{uid}", headers=headers, timeout=60, trust_env=False)

    answer = got("radiologist", study)
    assert answer.status_code == 200, answer.text
    RequestAnswer.model_validate(answer.json())
    assert (answer.json()["asked"], answer.json()["contradictions"]) == (["Pneumothorax"], [])
    assert answer.json()["disclaimer"] == answer.headers["Firstread-Disclaimer"] == DISCLAIMER
    with closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database:
        listed = FilledList(database)
        against = listed.add(2, findings=EFFUSION, question="55M, known left effusion, tube.", patient_age="055Y")
        silent = listed.add(3, findings=EFFUSION)
    values = got("radiologist", against).json()
    assert [one["text"] for one in values["contradictions"]] == [
        "The request is of a man, the film of a woman.",
        "The request says left, the film right: pleural effusion.",
    ]
    assert values["contradictions"][1]["sentence"] == "55M, known left effusion, tube."
    refused = got("radiologist", silent)
    assert (refused.status_code, refused.json()["code"]) == (404, "no_order_reason")
    assert got("it", against).status_code == 403
    assert got("radiologist", "1.2.3").json()["code"] == "unknown_study"


def test_who_may_not_open_a_study_reads_no_note_beside_it(gateway: str, keys: dict[str, str], study: str) -> None:
    """Notes alone are for whoever is logged in, beside a study for whoever may open it, and nothing for nobody."""
    body = {"text": "Fever."}
    assert post(gateway, keys["it"], json=body).status_code == 200
    assert post(gateway, keys["it"], f"/text/{study}", json=body).status_code == 403
    assert post(gateway, "", json=body).status_code == 401
    assert post(gateway, keys["radiologist"], "/text/1.2.3", json=body).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"json": {"text": "fever " * 100_000}}, 422, "send the part that matters"),
        ({"json": {"text": "x" * 1_000_001}}, 413, "larger than 1 MB"),
        ({"json": {"text": " \u0000\u200b "}}, 422, "the note is empty"),
        ({"json": {}}, 422, "text"),
        ({"json": {"text": "Fever.", "age": 130}}, 422, "age"),
        ({"json": {"text": "Fever.", "film": "x"}}, 422, "film"),
        ({"content": b"\xff\xfe"}, 422, "body"),
    ],
)
def test_what_is_no_note_is_refused_in_one_line(
    gateway: str, keys: dict[str, str], body: dict[str, Any], status: int, detail: str
) -> None:
    """A problem document that says what is wrong, and repeats nothing of what was sent."""
    answer = post(gateway, keys["radiologist"], **body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert detail in answer.json()["detail"]
    assert len(answer.json()["detail"]) < 300


def test_odd_characters_are_read(gateway: str, keys: dict[str, str]) -> None:
    """Control characters, half a surrogate pair, markup and right-to-left marks part no word and break no answer."""
    content = rb'{"text": "<b>fe\u0000ver</b> \ud800 \u202ecough <script>x</script>\u0007"}'
    answer = post(gateway, keys["radiologist"], content=content)
    assert answer.status_code == 200, answer.text
    assert [one["text"] for one in answer.json()["statements"]] == ["fever", "cough"]


def test_a_note_leaves_an_audit_entry_and_no_word_of_itself(
    gateway: str, keys: dict[str, str], study: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who asked, when, and for which study; the note stands in no log, no table and no file."""
    body = {"text": NOTE.format(side="Right")}
    assert post(gateway, keys["radiologist"], json=body).status_code == 200
    assert post(gateway, keys["radiologist"], f"/text/{study}", json=body).status_code == 200
    deadline = time.monotonic() + PATIENCE_S
    with closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database:
        entries: list[tuple[AuditKind, str, str]] = []
        while len({entry[0] for entry in entries} & {AuditKind.IMPORT, AuditKind.ACCESS}) < 2:
            assert time.monotonic() < deadline, "the trail has no such entries"
            kept = [one.entry for one in AuditRecords(database=database).after(0)]
            entries = [(one.kind, one.actor, one.study_instance_uid) for one in kept]
        assert (AuditKind.IMPORT, "radiologist", "") in entries
        assert (AuditKind.ACCESS, "radiologist", study) in entries
        with database.read() as session:
            assert session.execute(text("SELECT count(*) FROM predictions")).scalar_one() == 0
        assert "Quastenflosser" not in json.dumps([str(one) for one in kept])
    told = capfd.readouterr()
    assert "Quastenflosser" not in told.out + told.err
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not any(b"Quastenflosser" in path.read_bytes() for path in files)
