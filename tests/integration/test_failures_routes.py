"""What failed, asked for and tried again at the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.list_gateway import ListGateway, running_list
from tests.lists import filled_list, uid_of


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[ListGateway]:
    """A gateway of a list on which one of two studies failed."""
    with filled_list(tmp_path) as listed:
        listed.add(1, "Doe^Jane", failed=True)
        listed.add(2)
        with running_list(listed, trusted_proxies=("127.0.0.1",)) as gateway:
            yield gateway


def ask(gateway: ListGateway, method: str, path: str, **options: object) -> httpx.Response:
    """An answer of the gateway."""
    return httpx.request(method, f"{gateway.url}{path}", trust_env=False, **options, timeout=60)  # type: ignore[arg-type]


def test_failures_are_listed_without_a_patient(gateway: ListGateway) -> None:
    """With the study's identifiers, what was to be done, how often it was tried, why it failed and what to do."""
    answer = ask(gateway, "GET", "worklist/failures")
    (item,) = answer.json()["items"]
    assert answer.json()["total"] == 1
    assert (item["study_instance_uid"], item["accession_number"]) == (uid_of(1), "A260001")
    assert (item["what"], item["tries"], item["failure"]["code"]) == ("Score an image", 1, "truncated_pixels")
    assert item["to_do"].startswith("Trying again gives the same. Have the image sent again")
    for text in (answer.text, ask(gateway, "GET", "failures").text):
        assert uid_of(1) in text
        assert "Doe" not in text
        assert "MRN" not in text


def test_trying_again_needs_a_name_and_leaves_an_event(gateway: ListGateway) -> None:
    """Whoever the proxy names, or else the name that was typed, stands in the study's history."""
    nameless = ask(gateway, "PUT", "worklist/failures/retry", json={})
    assert (nameless.status_code, nameless.json()["code"]) == (422, "no_name")
    done = ask(
        gateway,
        "PUT",
        "worklist/failures/retry",
        json={"study_instance_uids": [uid_of(1)], "by": "Dr. Typed"},
        headers={"X-Remote-User": "Dr. Nguyen"},
    )
    assert done.json() == {"scheduled": 1}
    (event,) = (event for event in gateway.listed.readings.history(uid_of(1)) if event.kind == "retried")
    assert event.actor == "Dr. Nguyen"
    assert ask(gateway, "GET", "worklist/failures").json() == {"total": 0, "items": []}
    again = ask(gateway, "PUT", "worklist/failures/retry", json={"study_instance_uids": [uid_of(1)], "by": "Ann"})
    assert (again.status_code, again.json()["code"]) == (404, "nothing_failed")
    assert ask(gateway, "PUT", "worklist/failures/retry", json={"by": "Ann"}).json() == {"scheduled": 0}


def test_a_form_of_another_site_tries_nothing_again(gateway: ListGateway) -> None:
    """Browsers send forms by POST alone, to which there is no answer here."""
    assert ask(gateway, "POST", "worklist/failures/retry", content='{"by": "Mallory"}').status_code == 405
    assert ask(gateway, "GET", "worklist/failures").json()["total"] == 1
