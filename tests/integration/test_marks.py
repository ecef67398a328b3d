"""Order and flag in Orthanc itself, of each version that is here: as metadata, and as labels where there are such."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.intake.marks import MARKS, Marker
from gateway.intake.orthanc import OrthancClient
from tests.bad_films import chest
from tests.lists import FilledList
from tests.servers import ORTHANCS, REPOSITORY, OrthancServer, running
from worklist.errors import PacsUnavailable
from worklist.finding import FindingType
from worklist.order import OrderPriority
from worklist.records import Database, IntakeRecords, Lease, StudyMarks
from worklist.site import SiteRules

ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Marked:
    """An Orthanc with the studies of a list, and what writes their marks."""

    def __init__(self, orthanc: OrthancServer, client: OrthancClient, database: Database) -> None:
        self.orthanc = orthanc
        self.client = client
        self.database = database
        self.ids: dict[str, str] = {}
        self.listed = FilledList(database, orthanc_id=lambda uid, *more: "-".join([self.ids[uid], *more]))
        self._lease = Lease(database, MARKS)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Let another process write from here on."""
        self._lease.release()
        self._lease = Lease(self.database, MARKS)
        records = IntakeRecords(self.database, SiteRules())
        self.marker = Marker(self.client, StudyMarks(self.database), records, self._lease)

    def step(self) -> None:
        """Write what is to be written; whoever holds the lease says first that it lives, as the gateway does."""
        assert self._lease.hold()
        self.marker.step()

    def add(self, number: int, **more: Any) -> str:  # noqa: ANN401 - those of FilledList
        """A study arrives; answers its UID."""
        film = chest()
        film.PatientID = f"MARK-{number}"
        self.orthanc.post(film)
        uid = str(film.StudyInstanceUID)
        self.ids[uid] = self.orthanc.study(uid)
        return self.listed.add(number, uid=uid, **more)

    def metadata(self, name: str) -> dict[str, str]:
        """What Orthanc has under a name, by the UIDs of those studies that have it."""
        told = {uid: self.orthanc.get(f"/studies/{one}/metadata?expand") for uid, one in self.ids.items()}
        return {uid: values[name] for uid, values in told.items() if name in values}

    def changes(self) -> int:
        """How many changes Orthanc has counted, each written mark among them."""
        return int(self.orthanc.get("/changes?last")["Last"])


@pytest.fixture(scope="module", params=ORTHANCS)
def pacs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    """An Orthanc with the metadata of orthanc/explorer-2.json."""
    snippet = json.loads((REPOSITORY / "orthanc" / "explorer-2.json").read_text(encoding="utf-8"))
    folder: Path = tmp_path_factory.mktemp("orthanc")
    with running(OrthancServer(folder, configuration=snippet, root=request.param)) as orthanc:
        yield orthanc


@pytest.fixture
def marked(pacs: OrthancServer, database: Database) -> Iterator[Marked]:
    """Four studies, whose order is not that of their arrival."""
    pacs.delete_everything()
    with closing(OrthancClient(pacs.url, auth=None)) as client:
        marked = Marked(pacs, client, database)
        marked.add(1, minutes=60)
        marked.add(2, minutes=50, findings={FindingType.PNEUMOTHORAX: 0.93})
        marked.add(3, minutes=40, findings={FindingType.PLEURAL_EFFUSION: 0.7})
        marked.add(4, minutes=30, order_priority=OrderPriority.STAT)
        yield marked


@ON_SQLITE
def test_sorted_by_the_metadata_studies_stand_in_reading_order(marked: Marked) -> None:
    """Each study of the list has a text by which to sort, and its flag; none where it was not assessed."""
    marked.step()
    order = marked.metadata("FirstreadOrder")
    assert sorted(order, key=order.__getitem__) == marked.listed.uids()
    assert sorted(marked.metadata("FirstreadFlag").values()) == ["CRITICAL", "URGENT"]


@ON_SQLITE
def test_only_what_changed_is_written(marked: Marked) -> None:
    """A claim writes nothing, a reading takes the mark away, one that comes back has it again, also after a pause."""
    marked.step()
    before, first = marked.changes(), marked.listed.uids()[1]
    marked.listed.claim(first, "Dr. N.")
    marked.step()
    assert marked.changes() == before
    marked.listed.read(first, "Dr. N.")
    marked.step()
    assert first not in marked.metadata("FirstreadOrder")
    assert len(marked.metadata("FirstreadOrder")) == 3
    marked.listed.put_back(first, "Dr. N.")
    marked.begin_anew()
    before = marked.changes()
    marked.step()
    order = marked.metadata("FirstreadOrder")
    assert sorted(order, key=order.__getitem__) == marked.listed.uids()
    assert marked.changes() - before <= 4, "one study's order, flag and labels"


@ON_SQLITE
def test_a_study_that_orthanc_no_longer_has_holds_up_no_other(marked: Marked) -> None:
    """Its mark is lost with it."""
    gone = marked.listed.uids()[0]
    marked.orthanc.delete(f"/studies/{marked.ids.pop(gone)}")
    marked.step()
    assert len(marked.metadata("FirstreadOrder")) == 3


@ON_SQLITE
def test_later_orthancs_have_labels_and_sort_by_the_metadata(marked: Marked) -> None:
    """Critical and urgent are labels; a search sorted by the metadata has the list first, and all else behind it."""
    if not marked.client.system().get("HasLabels"):
        pytest.skip("this Orthanc has no labels")
    old = chest()
    marked.orthanc.post(old)
    marked.step()
    uids = marked.listed.uids()
    labels = {uid: marked.orthanc.get(f"/studies/{marked.ids[uid]}/labels") for uid in uids}
    assert [labels[uid] for uid in uids if labels[uid]] == [["firstread-critical"], ["firstread-urgent"]]
    asked = {
        "Level": "Study",
        "Query": {},
        "Expand": True,
        "OrderBy": [{"Type": "Metadata", "Key": "FirstreadOrder", "Direction": "ASC"}],
    }
    found = marked.client.ask(marked.client.rest.post, "/tools/find", json=asked).json()
    assert [one["MainDicomTags"]["StudyInstanceUID"] for one in found] == [*uids, old.StudyInstanceUID]
    critical = next(uid for uid in uids if labels[uid] == ["firstread-critical"])
    marked.listed.read(critical, "Dr. N.")
    marked.step()
    assert marked.orthanc.get(f"/studies/{marked.ids[critical]}/labels") == []


@ON_SQLITE
def test_an_orthanc_without_the_metadata_says_what_to_do(orthanc: OrthancServer, database: Database) -> None:
    """Where the names are not configured, the reason names the file that has them and the setting."""
    with closing(OrthancClient(orthanc.url, auth=None)) as client:
        marked = Marked(orthanc, client, database)
        marked.add(1)
        with pytest.raises(PacsUnavailable, match=r"orthanc/explorer-2\.json, or set FIRSTREAD_MARK_STUDIES=false"):
            marked.step()
