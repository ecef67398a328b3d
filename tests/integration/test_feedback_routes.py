"""`/worklist/{study_instance_uid}/feedback` as the gateway serves it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.list_gateway import ListGateway, running_list
from tests.lists import PNEUMOTHORAX, filled_list, uid_of


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListGateway]:
    """A scored study and one that is not, served."""
    with filled_list(tmp_path_factory.mktemp("feedback")) as listed:
        listed.add(1, findings=PNEUMOTHORAX)
        listed.add(2)
        with running_list(listed) as served:
            yield served


@pytest.fixture
def web(gateway: ListGateway) -> Iterator[httpx.Client]:
    """Asks it."""
    with httpx.Client(base_url=f"{gateway.url}worklist", timeout=60) as client:
        yield client


def say(web: httpx.Client, number: int, finding: str, verdict: str, by: str = "Ann") -> httpx.Response:
    """Say something of a finding."""
    return web.post(f"/{uid_of(number)}/feedback", json={"finding": finding, "verdict": verdict, "by": by})


def test_the_last_word_of_each_reader_counts_and_moves_nothing(web: httpx.Client, gateway: ListGateway) -> None:
    """All of them stand in the history, with what the AI said and by which policy."""
    before = web.get(f"/{uid_of(1)}").json()
    assert web.get(f"/{uid_of(1)}/feedback").json() == {"feedback": []}
    say(web, 1, "Pneumothorax", "agree")
    say(web, 1, "pneumothorax", "disagree", by="Ben")
    say(web, 1, "Pleural effusion", "side")
    answer = say(web, 1, "PNEUMOTHORAX", "disagree")
    assert answer.status_code == 200
    said = [(one["finding"], one["verdict"], one["by"]) for one in answer.json()["feedback"]]
    assert said == [
        ("Pneumothorax", "disagree", "Ben"),
        ("Pleural effusion", "side", "Ann"),
        ("Pneumothorax", "disagree", "Ann"),
    ]
    assert web.get(f"/{uid_of(1)}/feedback").json() == answer.json()
    assert web.get(f"/{uid_of(1)}").json() == before
    kept = [event for event in gateway.listed.readings.history(uid_of(1)) if event.kind == "feedback"]
    assert [event.actor for event in kept] == ["Ann", "Ben", "Ann", "Ann"]
    first = kept[0].detail
    assert (first["finding"], first["verdict"], first["probability"], first["is_named"]) == (
        "pneumothorax",
        "agree",
        0.93,
        True,
    )
    (policy,) = gateway.listed.jobs.policies().values()
    assert (first["policy"], first["scorer"]) == (policy.digest, policy.card.sha256)


@pytest.mark.parametrize(
    ("number", "finding", "verdict", "status", "says"),
    [
        (1, "Scoliosis", "agree", 422, "it tells Pneumothorax, Pleural effusion, Pneumonia"),
        (2, "Pneumothorax", "agree", 422, "it tells nothing, since it is not scored"),
        (1, "Cardiomegaly", "agree", 422, "says nothing of that finding"),
        (1, "Pneumothorax", "perhaps", 422, "verdict"),
        (1, "", "agree", 422, "finding"),
        (9, "Pneumothorax", "agree", 404, "there is no study"),
    ],
)
def test_what_cannot_be_said(  # noqa: PLR0913, PLR0917 - what a case is made of
    web: httpx.Client, number: int, finding: str, verdict: str, status: int, says: str
) -> None:
    """Of what the AI does not tell of the study one may only say that it was missed."""
    answer = say(web, number, finding, verdict)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]


def test_what_the_ai_missed_is_said_of_what_it_looks_for(web: httpx.Client) -> None:
    """Also where it told nothing of it on this study."""
    assert say(web, 1, "Cardiomegaly", "missed").status_code == 200
    assert say(web, 1, "Scoliosis", "missed").status_code == 422
    assert say(web, 1, "Pneumothorax", "agree", by="").status_code == 422
