"""A reading list that two sites share, north and south, who have films of the same patient."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from pydicom import Dataset
from pydicom.uid import UID, SecondaryCaptureImageStorage

from firstread.settings import Settings
from gateway.access.keys import make_key
from tests.bad_films import chest
from tests.gateways import running_gateway
from tests.lists import FilledList
from tests.servers import OrthancServer, orthanc_id
from tests.workitems import detection, element
from worklist.finding import FindingType
from worklist.reading import Actor, ActorSource
from worklist.records import Database, WorkitemRecords
from worklist.roles import Role
from worklist.site import SiteRules
from worklist.workitems.identity import reading_uid

PATIENT: Final = "SHARED-1"
NORTH, SOUTH = "North  Hospital", "SOUTH HOSPITAL"  # as modalities write them
SITES: Final = {"north": ["North Hospital"], "south": ["South Hospital"]}
RULES: Final = SiteRules(prior_after=None)
EFFUSION: Final = {FindingType.PLEURAL_EFFUSION: 0.9}
PATIENCE_S: Final = 60.0
OTHERS_WORKITEM: Final = "2.25.123456789"
"""Of another system, which is of no site."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """A study of one film."""

    number: int
    institution: str
    accession: str

    @property
    def study(self) -> str:
        """Its Study Instance UID; series and image have those that tests.lists expects."""
        return f"1.2.826.0.1.3680043.8.498.77.{self.number}"

    @property
    def orthanc_id(self) -> str:
        """Orthanc's identifier of the study."""
        return orthanc_id(PATIENT, self.study)

    @property
    def workitem(self) -> str:
        """Of its first reading."""
        return reading_uid(self.orthanc_id, 1)

    def dataset(self) -> Dataset:
        """The film."""
        film = chest(self.number)
        film.StudyInstanceUID, film.SeriesInstanceUID = self.study, f"{self.study}.1"
        film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = UID(f"{self.study}.1.1")
        film.PatientID, film.AccessionNumber, film.InstitutionName = PATIENT, self.accession, self.institution
        film.PatientName = "Shared^Patient"
        film.StudyDate = f"2026010{self.number}"
        film.ReasonForTheRequestedProcedure = f"Effusion? {self.accession}"
        return film

    def result(self, position: int) -> Dataset:
        """What was stored of its results."""
        crop = self.dataset()
        crop.SOPClassUID = crop.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        crop.SeriesInstanceUID = f"{self.study}.1.{9 if position else 8}"
        crop.SOPInstanceUID = crop.file_meta.MediaStorageSOPInstanceUID = UID(f"{self.study}.1.9.{position}")
        crop.Modality, crop.Manufacturer, crop.SeriesNumber = "OT", "Firstread", 9001
        return crop


OWN: Final = Film(number=5, institution=NORTH, accession="NORTH1")
THEIRS: Final = Film(number=3, institution=SOUTH, accession="SOUTH1")  # the same patient's prior
FAILED: Final = Film(number=6, institution=SOUTH, accession="SOUTH2")
NOBODYS: Final = Film(number=4, institution="", accession="NOWHERE")
ABSENT: Final = Film(number=9, institution=SOUTH, accession="ABSENT")


@dataclass(frozen=True, kw_only=True)
class Hospital:
    """A gateway, the Orthanc behind it, and its list."""

    url: str
    orthanc: OrthancServer
    listed: FilledList
    settings: Settings
    keys: Mapping[str, Mapping[str, str]]

    def client(self, who: str, role: str) -> httpx.Client:
        """Somebody of the north, or who sees all, in a role."""
        headers = {"Authorization": f"Bearer {self.keys[who][role]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def take_in(self, film: Film) -> None:
        """Send a film to Orthanc, and wait until the gateway has listed it."""
        self.orthanc.post(film.dataset())
        until = time.monotonic() + PATIENCE_S
        while self.listed.worklist.find(film.orthanc_id) is None:
            assert time.monotonic() < until, "the gateway does not list it"
            time.sleep(0.1)

    def report(self, film: Film, *, crops: int = 0) -> None:
        """Have it scored and reported, its results stored."""
        for position in range(crops + 1):
            self.orthanc.post(film.result(position))
        self.listed.score(film.study, EFFUSION, crops=crops)


@contextmanager
def shared_list(orthanc_server: OrthancServer, folder: Path) -> Iterator[Hospital]:
    """A gateway that two sites share, before an Orthanc that is empty at first; nothing is listed."""
    orthanc_server.start()
    orthanc_server.delete_everything()
    file = folder / "keys"
    keys = {who: {role.value: make_key(file, f"{who} {role}", role) for role in Role} for who in ("north", "all")}
    sees = {f"key:{who} {role}": [site] for who, site in (("north", "north"), ("all", "*")) for role in Role}
    choices: dict[str, Any] = {
        "auth": "on",
        "api_keys_file": file,
        "sites": SITES,
        "sees": {**sees, "ae:NORTH": ["north"], "ae:ALL": ["*"], "ae:RECEIVER": ["*"]},
        "prior_after_days": 0,
        "poll_s": 0.2,
        "accept_stow": True,
        "requests_per_min": 1_000_000,
        "dimse_roles": {"NORTH": "radiologist", "ALL": "radiologist"},
        "dimse_port": 0,
        "dimse_subscribers": {"RECEIVER@127.0.0.1:11"},
    }
    with (
        running_gateway(folder, orthanc_server.url, **choices) as url,
        closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database,
    ):
        settings = Settings.model_validate(
            {"database_url": str(database.url), "orthanc_url": orthanc_server.url, **choices}
        )
        listed = FilledList(database, RULES, orthanc_id=lambda *uids: orthanc_id(PATIENT, *uids))
        yield Hospital(url=url, orthanc=orthanc_server, listed=listed, settings=settings, keys=keys)
    orthanc_server.delete_everything()


def fill_south(hospital: Hospital) -> None:
    """Studies of the south in every state: read half, reported with pictures, failed, claimed, with what UPS says."""
    hospital.take_in(THEIRS)
    hospital.report(THEIRS, crops=1)
    hospital.take_in(FAILED)
    hospital.listed.fail(FAILED.study)
    hospital.take_in(NOBODYS)
    workitems = WorkitemRecords(database=hospital.listed.database, rules=RULES)
    station = Actor(name="South station", source=ActorSource.DICOM)
    workitems.create(station, detection(**{"00100020": element("LO", PATIENT)}), OTHERS_WORKITEM)
    workitems.update(station, THEIRS.workitem, {"00404036": element("LO", "SOUTH WARD")})
    hospital.listed.claim(FAILED.study, "Dr South")
