"""A patient's name stays in the PACS and on the list: not in a log, and of a crop only where a name belongs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.uid import generate_uid

from firstread.compose_worker import build_pacs
from firstread.settings import Settings
from tests.acceptance.conftest import RunningSite, film_with_effusion
from tests.bad_films import BAD_FILMS

NAME = "Quastenflosser"  # a word that no program logs by itself
ALIAS = "Zwiebelturm"
CHARACTER_SET = "ISO_IR 192"


def _named(film: Dataset, *, alias: str = "") -> Dataset:
    """The film of a study of its own, with the distinctive name wherever DICOM keeps a patient's name."""
    film.SpecificCharacterSet = CHARACTER_SET
    film.PatientName = f"{NAME}^{alias or ALIAS}=魚^太郎"
    film.OtherPatientNames = f"{NAME}^Other"
    film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID = (generate_uid() for _ in range(3))
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    return film


def _bad_films(folder: Path) -> Iterator[Path]:
    """Every bad film under the name; a file that pydicom cannot write again keeps its own fault and is left out."""
    for fault, write in BAD_FILMS.items():
        if fault in {"huge", "japanese_name", "rows_as_text", "nan_rescale_slope", "window_center_text"}:
            continue
        target = folder / fault
        target.mkdir()
        written = write(target)
        for path in sorted(written.iterdir()) if written.is_dir() else [written]:
            film = _named(pydicom.dcmread(path))
            film.save_as(path, enforce_file_format=True)
            yield path


@pytest.fixture(scope="module")
def crops(running: RunningSite, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Dataset], list[Dataset]]:
    """The crops of one film under two names, after good and failing films of this name went through the site."""
    one, other = _named(film_with_effusion(51)), _named(film_with_effusion(51), alias="Anders")
    bad = list(_bad_films(tmp_path_factory.mktemp("bad")))
    running.send([one, *bad, other])
    items = running.done(2)
    assert items[one.StudyInstanceUID]["state"] == items[other.StudyInstanceUID]["state"] == "reported"
    assert NAME in items[one.StudyInstanceUID]["patient_name"]
    states = {item["state"] for item in items.values() if NAME in item["patient_name"]}
    assert states >= {"reported", "failed", "out_of_scope"}
    return _crops(running, one.StudyInstanceUID), _crops(running, other.StudyInstanceUID)


def _crops(running: RunningSite, study_instance_uid: str) -> list[Dataset]:
    pacs = build_pacs(Settings(orthanc_url=running.site.orthanc_url))
    headers = [header for header in running.own_objects(study_instance_uid) if header["Modality"] == "OT"]
    return sorted(
        (
            pacs.fetch_instance(study_instance_uid, header["SeriesInstanceUID"], header["SOPInstanceUID"])
            for header in headers
        ),
        key=lambda crop: int(crop.InstanceNumber),
    )


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)


@pytest.mark.usefixtures("crops")
def test_no_log_holds_the_name(running: RunningSite) -> None:
    """No program of the site writes a part of the name, however the study ended, and the pages were asked for it."""
    for path in (
        "/",
        "/worklist?limit=1000",
        "/ready",
        "/worklist?reading=all",
        f"/worklist?state=failed&patient={NAME}",
    ):
        httpx.get(f"{running.site.gateway_url}{path}", trust_env=False)
    logs = sorted(running.site.log("").parent.glob("*.log"))
    assert {log.stem for log in logs} >= {"gateway", "worker-score", "worker-report"}
    for log in logs:
        words = log.read_text(encoding="utf-8", errors="replace").casefold()
        found = [word for word in (NAME, ALIAS, "太郎") if word.casefold() in words]
        assert not found, f"{log.name} names the patient: {found}"


@pytest.mark.usefixtures("crops")
def test_the_logs_are_written(running: RunningSite) -> None:
    """The workers do log these studies, by their UIDs; silence would prove nothing."""
    assert "scored" in running.site.log("worker-score").read_text(encoding="utf-8")
    assert "job not done" in running.site.log("worker-score").read_text(encoding="utf-8")
    assert "reported" in running.site.log("worker-report").read_text(encoding="utf-8")


def test_a_crop_names_the_patient_in_name_attributes_alone(crops: tuple[list[Dataset], list[Dataset]]) -> None:
    """A crop has the name where DICOM keeps names (VR PN), and in no other attribute and no byte of its pixels."""
    for crop in (crop for study in crops for crop in study):
        assert NAME in str(crop.PatientName)
        for element in _elements(crop):
            if element.VR == "PN":
                continue
            value = element.value if isinstance(element.value, bytes) else str(element.value).encode()
            assert element.VR == "SQ" or NAME.encode() not in value, element.name


def test_the_pixels_of_a_crop_do_not_depend_on_the_name(crops: tuple[list[Dataset], list[Dataset]]) -> None:
    """One film under two names gives the same pictures to the last byte, so no name is drawn into them."""
    one, other = crops
    assert len(one) == len(other) >= 1
    for first, second in zip(one, other, strict=True):
        assert first.PatientName != second.PatientName
        assert first.PixelData == second.PixelData
        assert first.BurnedInAnnotation == "NO"
