"""Six films that differ in everything by which studies are searched, four of them on the reading list."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pydicom import Dataset

from tests.bad_films import chest
from tests.records import HOUR, NOON, received
from tests.servers import OrthancServer, orthanc_id
from worklist.order import OrderPriority
from worklist.reading import Actor, ActorSource
from worklist.records import Database, IntakeRecords, ReadingRecords
from worklist.site import SiteRules

NAMES: Final = ("Müller^Jörg", "Wang^XiaoDong=王^小東", "Doe^Jane^^Dr", "Соколова^Вера", "Doe^John", "Ng^An")
STAT, READ, UNSEEN = 4, 2, 6  # numbers of films: one that is first, one that was read, one that is not on the list
LISTED: Final = [STAT, 1, 3, 5]  # in reading order


def film_of(number: int) -> Dataset:
    """A film that differs from the others in everything by which studies are searched."""
    film = chest(number)
    film.SpecificCharacterSet = "ISO_IR 192"
    film.PatientName = NAMES[number - 1]
    film.PatientID, film.AccessionNumber, film.StudyID = f"QIDO-{number}", f"ACC{number}", f"ST{number}"
    film.StudyDate, film.StudyTime = f"2026110{number}", f"1{number}0000.5"
    film.ReferringPhysicianName = f"Referrer^Number{number}"
    film.PatientSex = "MFMFMF"[number - 1]
    film.Modality = "DX"
    if number == STAT:
        film.RequestedProcedurePriority = "STAT"
    return film


FILMS: Final = {number: film_of(number) for number in range(1, 7)}
NUMBERS: Final = {film.StudyInstanceUID: number for number, film in FILMS.items()}


def fill(orthanc: OrthancServer, database: Database) -> None:
    """Store all films, and let the records know those that they know, without a gateway to look for them."""
    rules = SiteRules(prior_after=None)
    intake, readings = IntakeRecords(database, rules), ReadingRecords(database=database, rules=rules)
    for number, film in FILMS.items():
        instance = orthanc.post(film)
        if number == UNSEEN:
            continue
        one = received(
            film.StudyInstanceUID,
            at=NOON + number * HOUR,
            order_priority=OrderPriority.STAT if number == STAT else OrderPriority.ROUTINE,
            study_date=film.StudyDate,
            patient_id=film.PatientID,
            patient_sex=film.PatientSex,
        )
        named = replace(
            one,
            orthanc_id=orthanc_id(film.PatientID, film.StudyInstanceUID),
            instance_orthanc_id=instance,
            series_instance_uid=film.SeriesInstanceUID,
            sop_instance_uid=film.SOPInstanceUID,
            patient_name=str(film.PatientName),
            accession_number=film.AccessionNumber,
        )
        intake.ingest([named], [])
    readings.complete(Actor(name="A reader", source=ActorSource.TYPED), FILMS[READ].StudyInstanceUID)
