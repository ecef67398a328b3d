"""The demo's studies: two real films from the PyPI package pydicom-data, and simulated patients.

Every simulated patient carries SIMULATED in Patient's Name and Synthetic Data (0008,001C) YES; names, numbers and
orders are made up.
"""

from __future__ import annotations

import importlib.util
import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import ComputedRadiographyImageStorage, JPEGLSLossless

from imaging.simulated.phantom import simulate_film, simulate_lateral_film
from imaging.simulated.thickness import pixel_spacing_mm
from imaging.wrapping import chest_dx, code, complete_file_meta
from worklist.finding import FindingType
from worklist.order import OrderPriority
from worklist.uids import derived_uid

_logger = logging.getLogger(__name__)

_CHEST_FILM, _LEG_FILM = "RG1_UNCR.dcm", "RG3_UNCR.dcm"  # of the PyPI package pydicom-data, MIT license
_MANUFACTURER = "Simulated X-Ray"  # not Firstread, or its results filter would pass the film over
_DX_ONLY = [
    "PresentationIntentType",
    "AnatomicRegionSequence",
    "ImageLaterality",
    "AcquisitionContextSequence",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "DetectorType",
    "PositionerType",
    "ViewCodeSequence",
    "PresentationLUTShape",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Patient:
    """A simulated patient with one study."""

    name: str
    sex: str
    birth_date: str
    description: str
    reason: str
    rows: int
    columns: int
    finding: FindingType | None = None
    order_priority: OrderPriority = OrderPriority.ROUTINE
    charset: str | list[str] = "ISO_IR 192"
    modality: str = "DX"
    monochrome1: bool = False
    compressed: bool = False
    lateral: bool = False


_PATIENTS = (
    _Patient(
        name="SIMULATED-Okafor^Chidi",
        sex="M",
        birth_date="19580314",
        description="Chest PA",
        reason="Cough for three weeks",
        rows=1760,
        columns=1760,
    ),
    _Patient(
        name="SIMULATED-Lindqvist^Åsa",
        sex="F",
        birth_date="19710926",
        description="Thorax PA och lateral",
        reason="Preoperative",
        rows=2048,
        columns=1792,
        lateral=True,
    ),
    _Patient(
        name="SIMULATED-Oda^Mio=小田^澪=おだ^みお",
        sex="F",
        birth_date="19490503",
        description="Chest PA",
        reason="Dyspnea",
        rows=1760,
        columns=1760,
        finding=FindingType.PLEURAL_EFFUSION,
        charset=["", "ISO 2022 IR 87"],
        modality="CR",
    ),
    _Patient(
        name="SIMULATED-Соколова^Вера",
        sex="F",
        birth_date="19830712",
        description="Рентгенография ОГК",
        reason="Fever and cough",
        rows=1792,
        columns=1536,
        finding=FindingType.PNEUMONIA,
        monochrome1=True,
    ),
    _Patient(
        name="SIMULATED-Nguyễn^Thị Lan",
        sex="F",
        birth_date="19920218",
        description="Chest PA",
        reason="Visa medical",
        rows=1536,
        columns=1536,
        order_priority=OrderPriority.LOW,
    ),
    _Patient(
        name="SIMULATED-Haddad^Yusuf",
        sex="M",
        birth_date="20010130",
        description="Chest PA",
        reason="Sudden chest pain",
        rows=2048,
        columns=2048,
        finding=FindingType.PNEUMOTHORAX,
    ),
    _Patient(
        name="SIMULATED-Fernández^María José",
        sex="F",
        birth_date="19440821",
        description="Tórax PA",
        reason="Heart failure, follow-up",
        rows=1760,
        columns=1760,
        finding=FindingType.CARDIOMEGALY,
        modality="CR",
    ),
    _Patient(
        name="SIMULATED-Kowalczyk^Piotr",
        sex="M",
        birth_date="19660409",
        description="RTG klatki piersiowej",
        reason="Routine check",
        rows=2048,
        columns=2048,
        compressed=True,
    ),
    _Patient(
        name="SIMULATED-Tahiri^Ngaio",
        sex="F",
        birth_date="19370605",
        description="Chest PA",
        reason="Acute shortness of breath",
        rows=1760,
        columns=1536,
        finding=FindingType.PULMONARY_EDEMA,
        order_priority=OrderPriority.HIGH,
    ),
    _Patient(
        name="SIMULATED-Rao^Lakshmi",
        sex="F",
        birth_date="19881127",
        description="Chest PA",
        reason="Fever, crackles at the right base",
        rows=1760,
        columns=1760,
        finding=FindingType.CONSOLIDATION,
    ),
    _Patient(
        name="SIMULATED-Keller^Jürg",
        sex="M",
        birth_date="19531019",
        description="Thorax pa",
        reason="Fall from a ladder",
        rows=1792,
        columns=1792,
        order_priority=OrderPriority.STAT,
        modality="CR",
    ),
    _Patient(
        name="SIMULATED-Mbeki^Thandiwe",
        sex="F",
        birth_date="19790402",
        description="Chest PA",
        reason="Central line check",
        rows=1536,
        columns=1536,
    ),
)


def build_samples(*, seed: int | None = None, now: datetime | None = None) -> Iterator[Dataset]:
    """The sample images, one after another, ready to be saved or sent: DX and CR images, the simulated ones valid.

    A real film of a chest (skipped with a log line where pydicom-data is not installed), twelve simulated patients
    of whom one has a lateral film too, and a real film of a lower leg, which is out of scope.

    Args:
        seed: the same seed makes the same pixels and UIDs; None makes new studies of the same patients.
        now: when the last study was taken, local time; the others lie a few minutes apart before it.
    """
    run = uuid.uuid4().hex if seed is None else str(seed)
    now = now or datetime.now().astimezone()
    count = len(_PATIENTS) + 2
    taken = [now - timedelta(minutes=4 * (count - number)) for number in range(1, count + 1)]
    yield from _real_film(_CHEST_FILM, run, taken[0])
    for number, patient in enumerate(_PATIENTS, start=1):
        yield from _study(patient, number, (seed or 0) * 1000 + number, run, taken[number])
    yield from _real_film(_LEG_FILM, run, taken[-1])


def build_film() -> Dataset:
    """One simulated frontal chest film, of a new study of this moment."""
    return next(_study(_PATIENTS[0], 1, 1, uuid.uuid4().hex, datetime.now().astimezone()))


def _study(patient: _Patient, number: int, film_seed: int, run: str, taken: datetime) -> Iterator[Dataset]:
    """The images of one simulated study."""
    size = {"rows": patient.rows, "columns": patient.columns}
    frontal = chest_dx(simulate_film(film_seed, finding=patient.finding, **size), bits_stored=12)
    frontal.ViewPosition = "PA"
    frontal.ViewCodeSequence = [code("399348003", "SCT", "postero-anterior")]
    images = [frontal]
    if patient.lateral:
        lateral = chest_dx(simulate_lateral_film(film_seed, **size), bits_stored=12)
        lateral.ViewPosition, lateral.PatientOrientation = "LL", ["A", "F"]
        lateral.ViewCodeSequence = [code("399173006", "SCT", "left lateral")]
        images.append(lateral)
    for instance_number, image in enumerate(images, start=1):
        image.SpecificCharacterSet = patient.charset
        image.SyntheticData = "YES"
        image.ImageType = ["DERIVED", "PRIMARY"]
        image.DerivationDescription = "Simulated film, no patient"
        image.Manufacturer, image.ManufacturerModelName = _MANUFACTURER, "Phantom"
        image.InstitutionName, image.StationName = "Simulated Hospital", f"SIM-{patient.modality}-1"
        image.InstitutionalDepartmentName = "Wards" if patient.order_priority is OrderPriority.ROUTINE else "Emergency"
        image.PatientName, image.PatientID = patient.name, f"SIM-{number:04}"
        image.PatientBirthDate, image.PatientSex = patient.birth_date, patient.sex
        image.StudyID = str(number)
        image.StudyDescription = patient.description
        image.SeriesDescription = f"{patient.description} {image.ViewPosition}"
        image.SeriesNumber = instance_number
        image.ImagerPixelSpacing = [round(pixel_spacing_mm(patient.rows, patient.columns), 4)] * 2
        image.WindowCenter, image.WindowWidth = 2050, 2800
        _order(image, patient, number, run, taken)
        _stamp(image, f"{run}/{number}", instance_number, taken)
        if patient.modality == "CR":
            _make_cr(image)
        if patient.monochrome1:
            _invert(image)
        complete_file_meta(image)
        if patient.compressed:
            image.compress(JPEGLSLossless, generate_instance_uid=False)
        yield image


def _order(image: Dataset, patient: _Patient, number: int, run: str, taken: datetime) -> None:
    """The requisition as a modality copies it from a Modality Worklist.

    Requested Procedure Priority (0040,1003) belongs to no image module. Modalities that pass it on put it beside the
    other attributes, where the worklist had it (PS3.4 Table K.6-1); the Request Attributes Sequence (PS3.3 Table
    10-9) has no place for it.
    """
    image.AccessionNumber = f"S{taken:%y%m%d}{int(derived_uid(run).split('.')[-1]) % 10000:04}{number:02}"
    image.RequestedProcedurePriority = patient.order_priority.value
    image.ReferringPhysicianName = "SIMULATED-Referrer^Robin"
    request = Dataset()
    request.RequestedProcedureID = request.ScheduledProcedureStepID = f"RP{number:04}"
    request.AccessionNumber = image.AccessionNumber
    request.RequestedProcedureDescription = request.ScheduledProcedureStepDescription = patient.description
    request.ReasonForTheRequestedProcedure = patient.reason
    image.RequestAttributesSequence = [request]


def _stamp(image: Dataset, study: str, series: int, taken: datetime) -> None:
    """UIDs, dates and times."""
    image.StudyInstanceUID = derived_uid(study)
    image.SeriesInstanceUID = derived_uid(study, str(series))
    image.SOPInstanceUID = derived_uid(study, str(series), "1")
    for entity in ("Study", "Series", "Acquisition", "Content", "InstanceCreation"):
        setattr(image, f"{entity}Date", f"{taken:%Y%m%d}")
        setattr(image, f"{entity}Time", f"{taken:%H%M%S}")


def _make_cr(image: Dataset) -> None:
    """Turn a DX image into a Computed Radiography image (PS3.3 A.2)."""
    image.SOPClassUID, image.Modality = ComputedRadiographyImageStorage, "CR"
    image.PlateType, image.CassetteSize = "Simulated", "35CMX43CM"
    for keyword in _DX_ONLY:
        image.pop(keyword, None)


def _invert(image: Dataset) -> None:
    """Store the same film as MONOCHROME1: air is bright in the pixels, dark on the screen."""
    image.PixelData = (4095 - np.frombuffer(image.PixelData, "<u2")).tobytes()
    image.PhotometricInterpretation, image.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    image.PixelIntensityRelationshipSign = 1
    image.WindowCenter = 4095 - image.WindowCenter


def _real_film(name: str, run: str, taken: datetime) -> Iterator[Dataset]:
    """A real, anonymous film as a new study of today, with its faults; none where pydicom-data is absent."""
    package = importlib.util.find_spec("data_store")
    path = Path(package.origin).parent / "data" / name if package and package.origin else None
    if path is None or not path.is_file():
        _logger.warning("the real film %s is left out: the package pydicom-data is not installed", name)
        return
    image = dcmread(path)
    _stamp(image, f"{run}/{name}", 1, taken)
    del image.DataSetTrailingPadding
    complete_file_meta(image)
    yield image
