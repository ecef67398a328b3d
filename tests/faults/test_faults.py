"""A few of the faults, with few films; `make faults` makes them all. And that the checker sees what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydicom.uid import EnhancedSRStorage, generate_uid
from sqlalchemy import text

from tests.faults import FAULTS
from tests.faults.disks import NotPossibleHere
from tests.faults.fault import Fault
from tests.faults.hospital import Hospital, Plan
from tests.faults.invariants import Kind, growth, own_objects, violations
from tests.faults.run import Scale, run

_SCALE = Scale(films=8, longest_s=5.0, size=0.2)
_SOON_S = 120.0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", [fault for fault in FAULTS.values() if fault.is_quick], ids=lambda fault: fault.name)
def test_nothing_is_lost_doubled_or_missing(fault: Fault) -> None:
    """After the fault all films are listed, scored and reported once, in the right order; how soon is not judged."""
    try:
        outcome = run(fault, fault.databases[-1], 1, _SCALE)
    except NotPossibleHere as error:
        pytest.skip(str(error))
    assert outcome.images >= _SCALE.films
    assert outcome.broken == ()


@pytest.fixture
def hospital(server_folder: Path) -> Iterator[Hospital]:
    """One in which five films are done."""
    folder = server_folder / "hospital"
    folder.mkdir()
    with Hospital(Plan(), folder, seed=1) as opened:
        opened.stream.send(5)
        assert not opened.wait_for(None, _SOON_S)
        yield opened


def test_the_checker_sees_what_is_wrong(hospital: Hospital) -> None:
    """Each promise is broken behind the back of the programs, and is found broken."""
    for program in hospital.programs:
        hospital.freeze(program)
    assert violations(hospital) == []
    reports = [one for own in own_objects(hospital).values() for one in own if one.SOPClassUID == EnhancedSRStorage]
    (lost,) = hospital.orthanc.lookup(str(reports[-1].SeriesInstanceUID), "Series")
    copy = reports[0]
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    hospital.orthanc.post(copy)
    assert _kinds(hospital) == {Kind.DOUBLED}
    hospital.orthanc.delete(f"/series/{lost}")
    assert _kinds(hospital) == {Kind.DOUBLED, Kind.MISSING}
    with closing(hospital.database) as database, database.write() as session:
        session.execute(text("UPDATE studies SET score = score / 2, queue_at = received_at"))
    assert _kinds(hospital) == {Kind.DOUBLED, Kind.MISSING, Kind.WRONG}
    hospital.orthanc.delete(f"/studies/{hospital.orthanc.get('/studies')[0]}")
    assert Kind.LOST in _kinds(hospital)
    assert growth({"gateway-0": (100.0, 20)}, {"gateway-0": (170.0, 20)})
    assert growth({"gateway-0": (100.0, 20)}, {"gateway-0": (100.0, 50)})


def _kinds(hospital: Hospital) -> set[Kind]:
    hospital.resume("gateway-0")
    try:
        return {broken.kind for broken in violations(hospital)}
    finally:
        hospital.freeze("gateway-0")
