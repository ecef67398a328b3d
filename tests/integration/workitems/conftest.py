"""UPS before a reading list, by the web and by DIMSE, for the tests of one file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import httpx
import pytest

from gateway.dimse.peers import PeerRoles
from tests.gateways import served
from tests.lists import EFFUSION, NOTHING, PNEUMOTHORAX, FilledList, filled_list
from tests.workitem_stations import serving
from tests.workitems import hash_of, workitem_app

_NUMBERS = count(1, 10)  # of studies; each test has three of its own


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilledList]:
    """A reading list whose studies have identifiers in the form of Orthanc's."""
    with filled_list(tmp_path_factory.mktemp("list")) as filled:
        filled.orthanc_id = hash_of
        yield filled


@pytest.fixture(scope="module")
def web(listed: FilledList) -> Iterator[httpx.Client]:
    """The service before that list."""
    app = workitem_app(listed)
    with served(app) as url, httpx.Client(base_url=f"{url}/dicom-web", trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def studies(listed: FilledList) -> dict[str, str]:
    """Study Instance UIDs of three studies that nobody has read yet, others having been read."""
    for uid in listed.uids():
        listed.change(uid, reading_state="read", how_read="by_hand", reading_until=None, reader="Somebody")
    first = next(_NUMBERS)
    return {
        "plain": listed.add(first, "Plain^Pat", findings=NOTHING, minutes=30),
        "urgent": listed.add(first + 1, "Urgent^Ulla", findings=EFFUSION, minutes=20),
        "critical": listed.add(first + 2, "Critical^Carl", findings=PNEUMOTHORAX, minutes=10),
    }


@pytest.fixture(scope="module")
def port(listed: FilledList) -> Iterator[int]:
    """A DICOM server before the list; nobody retrieves anything from it here."""
    with serving(listed, PeerRoles()) as port:
        yield port
