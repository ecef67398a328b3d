"""`/settings/triage` as the gateway serves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.list_gateway import ListGateway, running_list
from tests.lists import CARD, EFFUSION, NOTHING, PNEUMOTHORAX, filled_list


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListGateway]:
    """A list of three studies, served."""
    folder = tmp_path_factory.mktemp("settings")
    with filled_list(folder) as listed:
        listed.add(1, "Old^Plain", minutes=50, findings=NOTHING)
        listed.add(2, "Mid^Effusion", minutes=40, findings=EFFUSION)
        listed.add(3, "New^Pneumothorax", minutes=1, findings=PNEUMOTHORAX)
        with running_list(listed, trusted_proxies=("127.0.0.2",)) as served:
            yield served


@pytest.fixture
def client(gateway: ListGateway) -> Iterator[httpx.Client]:
    """Asks it."""
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        yield client


def names(client: httpx.Client) -> list[str]:
    """The patients of the list, in order."""
    return [item["patient_name"].partition("^")[0] for item in client.get("worklist").json()["items"]]


def change(client: httpx.Client, why: str = "a test", **values: object) -> httpx.Response:
    """Choose, on what holds now."""
    number = client.get("settings/triage").json()["number"]
    return client.put("settings/triage", json={"values": values, "why": why, "by": "Dr. Roe", "based_on": number})


def test_what_holds_is_told_with_what_the_card_says(client: httpx.Client) -> None:
    """Every value by its name and unit, the card's own beside them, and the policies with their digests."""
    answer = client.get("settings/triage").json()
    assert (answer["number"], answer["values"]["order_horizon_h"], answer["values"]["weights"]) == (0, 16, {})
    weights = {found["key"]: found["weight"] for found in answer["findings"]}
    assert weights == {found.type.key: found.weight for found in CARD.findings}
    (policy,) = answer["policies"]
    assert (policy["scorer"], policy["card_flag_from"], len(policy["sha256"])) == ("embedded 1", 0.4, 64)


def test_a_change_is_foreseen_made_and_taken_back(client: httpx.Client) -> None:
    """The preview tells what the list then is; the history tells who, why and what; the way back is a change too."""
    assert names(client) == ["New", "Mid", "Old"]
    before = client.get("settings/triage").json()
    told = client.post("settings/triage/preview?rows=2", json={"values": {"order_horizon_h": 0}})
    preview = told.json()
    assert (preview["listed"], preview["moved"], len(preview["then"])) == (3, 2, 2)
    assert preview["changes"] == [{"name": "order_horizon_h", "before": 16.0, "after": 0.0}]
    assert [row["patient_name"] for row in preview["then"]] == ["Old^Plain", "Mid^Effusion"]
    assert (preview["then"][0]["place_now"], preview["then"][0]["place_then"]) == (3, 1)
    assert names(client) == ["New", "Mid", "Old"]
    answer = change(client, "arrival for the audit", order_horizon_h=0)
    assert (answer.status_code, answer.json()["number"], answer.json()["by"]) == (200, 1, "Dr. Roe")
    assert names(client) == ["Old", "Mid", "New"]
    change(client, "back", **before["values"])
    assert names(client) == ["New", "Mid", "Old"]
    last, second, first = client.get("settings/triage/history").json()["choices"]
    assert (last["why"], second["why"], first["number"], first["changes"]) == ("back", "arrival for the audit", 0, [])
    assert second["changes"] == preview["changes"]
    assert last["values"] == first["values"] == before["values"]
    assert [choice["number"] for choice in client.get("settings/triage/history?limit=1").json()["choices"]] == [2]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"values": {"order_horizon_h": -1}}, 422, "from 0 to 8784, got -1"),
        ({"values": {"order_horizon_h": 10**400}}, 422, "from 0 to 8784"),
        ({"values": {"weights": {"scoliosis": 1}}}, 422, "no scorer here looks for scoliosis"),
        ({"values": {"weights": {"\ud800": 1}}}, 422, "no scorer here looks for"),
        ({"values": {"\ud800": 1}}, 422, "there is no setting"),
        ({"values": {"prevalence": 1}}, 422, "there is no setting prevalence"),
        ({"values": {"order_steepness": 3}, "why": ""}, 422, "say why"),
        ({"values": {"order_steepness": 3}, "why": "\x00"}, 422, "say why"),
        ({"values": {"order_steepness": 3}, "by": ""}, 422, "say who"),
        ({"values": {"order_steepness": 3}, "based_on": 99}, 409, "look at them again"),
        ({"values": {"order_steepness": 3}, "based_on": -1}, 422, "based_on"),
        ({"values": []}, 422, "values"),
        ({"values": {}}, 422, "change one"),
    ],
)
def test_what_is_refused_is_a_problem_with_one_line(
    client: httpx.Client, body: dict[str, Any], status: int, says: str
) -> None:
    """And nothing is kept."""
    number = client.get("settings/triage").json()["number"]
    asked = json.dumps({"why": "a test", "by": "Dr. Roe", "based_on": number} | body)  # with halves of characters
    answer = client.put("settings/triage", content=asked, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]
    assert client.get("settings/triage").json()["number"] == number


def test_odd_previews_are_refused(client: httpx.Client) -> None:
    """NaN, which is no JSON, and fields that do not exist."""
    headers = {"Content-Type": "application/json"}
    nan = client.post("settings/triage/preview", content='{"values": {"order_steepness": NaN}}', headers=headers)
    more = client.post("settings/triage/preview", json={"values": {}, "apply": True})
    assert (nan.status_code, more.status_code) == (422, 422)
