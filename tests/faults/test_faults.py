"""A few of the faults, with few films; `make faults` makes them all. And that the checker sees what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import EnhancedSRStorage, generate_uid

from tests.faults import FAULTS
from tests.faults.disks import NotPossibleHere
from tests.faults.fault import Fault
from tests.faults.hospital import Hospital, Plan
from tests.faults.invariants import Kind, growth, lacking, own_objects, violations
from tests.faults.run import Scale, run

# pynetdicom leaves the socket of an association that was refused to the garbage collector.
pytestmark = [
    pytest.mark.timeout(1200),  # of a machine that does much else
    pytest.mark.usefixtures("collected_sockets"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_SCALE = Scale(films=8, longest_s=5.0, size=0.2)
_SOON_S = 300.0


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
    """One in which eleven films are done, of which the last is a lateral one: final at once, and reported later."""
    folder = server_folder / "hospital"
    folder.mkdir()
    with Hospital(Plan(), folder, seed=1) as opened:
        for count in (10, 1):
            opened.stream.send(count)
            assert not opened.wait_for(None, _SOON_S)
        yield opened
        for program in opened.programs:
            opened.resume(program)


def test_the_checker_sees_what_is_wrong(hospital: Hospital) -> None:
    """Each promise is broken behind the back of the programs, which stand still, and is found broken."""
    items = hospital.items()
    assert items
    for program in hospital.programs:
        hospital.freeze(program)

    def found(items: dict[str, dict[str, Any]]) -> set[Kind]:
        return {broken.kind for broken in violations(hospital, items)}

    assert violations(hospital, items) == []
    assert violations(hospital, None)
    uid, item = next((uid, item) for uid, item in items.items() if item["score"])
    assert found(items | {uid: item | {"score": item["score"] / 2}}) == {Kind.WRONG}
    assert found(items | {uid: item | {"queue_at": "2001-01-01T00:00:00Z"}}) == {Kind.WRONG}
    assert found(items | {uid: item | {"state": "scored"}}) == {Kind.LOST}
    assert found({other: items[other] for other in items.keys() - {uid}}) >= {Kind.LOST}

    reports = [one for own in own_objects(hospital).values() for one in own if one.SOPClassUID == EnhancedSRStorage]
    (lost,) = hospital.orthanc.lookup(str(reports[-1].SeriesInstanceUID), "Series")
    copy = reports[0]
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    hospital.orthanc.post(copy)
    assert found(items) == {Kind.DOUBLED}
    assert not lacking(hospital, set(items))
    hospital.orthanc.delete(f"/series/{lost}")
    assert found(items) == {Kind.DOUBLED, Kind.MISSING}
    its_study = str(reports[-1].StudyInstanceUID)
    assert str(reports[-1].SOPInstanceUID) in lacking(hospital, {its_study})
    assert not lacking(hospital, items.keys() - {its_study})
    (study,) = hospital.orthanc.lookup(uid, "Study")
    hospital.orthanc.delete(f"/studies/{study}")
    assert found(items) >= {Kind.LOST}

    assert not growth({"gateway-0": (100.0, 20)}, {"gateway-0": (160.0, 25)})
    assert growth({"gateway-0": (100.0, 20)}, {"gateway-0": (210.0, 20)})
    assert growth({"gateway-0": (100.0, 20)}, {"gateway-0": (100.0, 50)})
