"""What no validator catches in our objects, as functions that return the faults they find; none means no fault.

Each takes the objects that one run left in a study, and the films that were scored, the leading one first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, Comprehensive3DSRStorage, EnhancedSRStorage

from dicom_sr import codes
from tests.sr_picture_checks import captures, notes, overlays, pictures
from tests.sr_tree import below, crops_of, documents, items, key_of, name_of, trees
from worklist.finding import IN_A_LUNG
from worklist.scope import MANUFACTURER

_REASSURING: Final = re.compile(
    r"\b(normal|normally|routine|unremarkable|no abnormalit|clear lungs|healthy|(?<!not a )negative)", re.IGNORECASE
)
_TITLES: Final = {  # by SOP class: title and root template
    EnhancedSRStorage: (codes.CHEST_CAD_REPORT, "2000"),
    Comprehensive3DSRStorage: (Code("126000", "DCM", "Imaging Measurement Report"), "1500"),
}
_IN_A_LUNG: Final = {(kind.code.value, kind.code.scheme) for kind in IN_A_LUNG}
_LOCATED: Final = {"Measurement Group", codes.FINDING.meaning, codes.NOT_NAMED.meaning, codes.UNRELIABLE.meaning}
_PROCEDURE_REPORTED: Final = Code("121058", "DCM", "Procedure reported")
_UNITS: Final = {
    codes.CERTAINTY_OF_FINDING: (codes.PERCENT, 100.0),
    codes.CERTAINTY_OF_IMPRESSION: (codes.PERCENT, 100.0),
    codes.PROBABILITY: (codes.PROBABILITY_UNIT, 1.0),
    codes.THRESHOLD: (codes.PROBABILITY_UNIT, 1.0),
    codes.HARM: (codes.HARM_UNIT, 1.0),
    codes.FLAG_FROM: (codes.HARM_UNIT, 1.0),
    codes.WEIGHT: (codes.HARM_UNIT, 1.0),
    codes.NAMED_FROM: (codes.PROBABILITY_UNIT, 1.0),
    codes.CRITICAL_FROM: (codes.PROBABILITY_UNIT, 1.0),
    codes.NAMED_PRECISION: (codes.SHARE, 1.0),
    codes.CRITICAL_PRECISION: (codes.SHARE, 1.0),
    codes.HORIZON: (codes.HOUR, 1000.0),
    codes.HEAD_START: (codes.HOUR, 1000.0),
}


def faults(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """What all checks below find."""
    return [f"{check.__name__}: {fault}" for check in CHECKS for fault in check(study, films)]


def boxes(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """Outlines are closed, have an area, and lie inside the film that they name (PS3.3 section C.18.6.1.1)."""
    found = []
    by_uid = {film.SOPInstanceUID: film for film in films}
    for item in items(study, "SCOORD"):
        points = np.array(item.GraphicData, dtype=float).reshape(-1, 2)
        if item.GraphicType != "POLYLINE" or len(points) < 4 or (points[0] != points[-1]).any():
            found.append(f"an outline is not a closed polyline: {points.tolist()}")
        if (np.ptp(points, axis=0) <= 0).any():
            found.append(f"a box is empty: {points.tolist()}")
        images = [child.ReferencedSOPSequence[0] for child in item.get("ContentSequence", ())]
        film = by_uid.get(images[0].ReferencedSOPInstanceUID) if len(images) == 1 else None
        if film is None:
            found.append("a box is on no image, or on another")
        elif (points < 0).any() or (points > (film.Columns, film.Rows)).any():
            found.append(f"a box lies outside the image: {points.tolist()}")
    return found


def sides(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """No box of what lies in one lung, in whichever document, crosses the middle of its film."""
    found = []
    by_uid = {film.SOPInstanceUID: film for film in films}
    for item in items(study, "CONTAINER") + items(study, "CODE"):
        codes_of_it = [item, *item.get("ContentSequence", ())] if item.ValueType == "CODE" else item.ContentSequence
        kinds = {key_of(code.ConceptCodeSequence[0]) for code in codes_of_it if code.ValueType == "CODE"}
        if name_of(item).meaning not in _LOCATED or not kinds & _IN_A_LUNG:
            continue
        for outline in (one for one in below(item) if one.ValueType == "SCOORD"):
            images = [child.ReferencedSOPSequence[0] for child in outline.get("ContentSequence", ())]
            film = by_uid.get(images[0].ReferencedSOPInstanceUID, films[0]) if images else films[0]
            if min(outline.GraphicData[::2]) < film.Columns / 2 < max(outline.GraphicData[::2]):
                found.append(f"a box crosses the middle: {list(outline.GraphicData)}")
    return found


def numbers(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """Certainties and probabilities have their units and ranges, and the text value agrees with the exact one."""
    found = []
    for item in items(study, "NUM"):
        name, measured = name_of(item), item.MeasuredValueSequence[0]
        unit = Code(*key_of(next(iter(measured.get("MeasurementUnitsCodeSequence") or [Dataset()]))), "")
        value = float(measured.NumericValue)
        exact = float(measured.get("FloatingPointValue", value))
        if name in _UNITS:
            expected, most = _UNITS[name]
            if unit != expected or not 0 <= value <= most:
                found.append(f"{name.meaning} is {value} {unit.value}")
        if not np.isclose(value, exact, rtol=1e-12, atol=1e-12):
            found.append(f"{name.meaning} is {value} and {exact}")
    return found


def groups(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """Each measurement group is of TID 1410, says what computed it, and holds no number, which OHIF would not load."""
    found = []
    for group in items(study, "CONTAINER"):
        if name_of(group).meaning != "Measurement Group":
            continue
        texts = {name_of(item): str(item.TextValue) for item in group.ContentSequence if item.ValueType == "TEXT"}
        found += [
            f"a group lacks the {wanted.meaning}"
            for wanted in (codes.ALGORITHM_NAME, codes.ALGORITHM_VERSION)
            if not texts.get(wanted)
        ]
        if group.ContentTemplateSequence[0].TemplateIdentifier != "1410":
            found.append("a group is not of TID 1410")
        if any(item.ValueType == "NUM" for item in group.ContentSequence):
            found.append("a group holds a number")
    return found


def tracking(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """Each box has a tracking UID of its own: viewers show only one of two boxes with the same."""
    uids = [item.UID for item in items(study, "UIDREF") if name_of(item).meaning == "Tracking Unique Identifier"]
    found = [] if len(set(uids)) == len(uids) else ["two boxes have one tracking UID"]
    if len(uids) != sum(name_of(item).meaning == "Measurement Group" for item in items(study, "CONTAINER")):
        found.append("a box has no tracking UID")
    return found


def titles(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """Each report has the title and root template of its class, so never those of a radiologist's report."""
    found = []
    for report in documents(study):
        title, template = _TITLES[report.SOPClassUID]
        if name_of(report) != title or name_of(report).meaning != title.meaning:
            found.append(f"a report is titled {name_of(report).meaning}")
        applied = report.get("ContentTemplateSequence") or [Dataset()]
        if applied[0].get("TemplateIdentifier") != template:
            found.append(f"a report is of template {applied[0].get('TemplateIdentifier')}, not {template}")
        if template == "1500" and not any(name_of(item) == _PROCEDURE_REPORTED for item in report.ContentSequence):
            found.append("a findings report does not say what procedure it is about")
    return found


def words(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """Nothing we say calls anything normal; an earlier report's sentence and an order's priority are not ours."""
    said = [
        str(item.TextValue)
        for item in items(study, "TEXT")
        if name_of(item) not in {codes.PREVIOUS_FINDING, codes.QUOTED_FROM}
    ]
    coded = [item for item in items(study, "CODE") if name_of(item) != codes.ORDER_PRIORITY]
    said += [item.ConceptCodeSequence[0].CodeMeaning for item in coded]
    said += [f"{item.SeriesDescription} {item.get('DerivationDescription', '')}" for item in study]
    return [f"reassuring words: {text}" for text in said if _REASSURING.search(text)]


def status(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """Every object is for research, every report complete, unverified and preliminary."""
    found = [
        f"{item.Modality} is not marked RESEARCH" for item in study if item.get("ContentQualification") != "RESEARCH"
    ]
    for report in documents(study):
        flags = [report.get(name) for name in ("CompletionFlag", "VerificationFlag", "PreliminaryFlag")]
        if flags != ["COMPLETE", "UNVERIFIED", "PRELIMINARY"] or "VerifyingObserverSequence" in report:
            found.append(f"a report is {flags}")
    return found


def evidence(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """The evidence of a report is all films that were scored; it refers to these and its other evidence alone."""
    found = []
    wanted = {(film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID) for film in films}
    for report in documents(study):
        listed = [
            (study_item.StudyInstanceUID, series.SeriesInstanceUID, sop.ReferencedSOPInstanceUID)
            for study_item in report.get("CurrentRequestedProcedureEvidenceSequence", ())
            for series in study_item.ReferencedSeriesSequence
            for sop in series.ReferencedSOPSequence
        ]
        if set(listed) != wanted or len(listed) != len(wanted):
            found.append(f"the evidence of a report is {listed}")
    known = {film.SOPInstanceUID for film in films} | {
        sop.ReferencedSOPInstanceUID
        for report in documents(study)
        for study_item in report.get("PertinentOtherEvidenceSequence", ())
        for series in study_item.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    found += [
        "a report refers to an object that is not its evidence"
        for kind in ("IMAGE", "COMPOSITE")
        for item in items(study, kind)
        if item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID not in known
    ]
    return found


def flags(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """The headline has a category exactly where it says that a finding is suspected, and a failed run has none."""
    found = []
    for report in documents(study):
        said = [item.TextValue for item in items([report], "TEXT") if name_of(item) == codes.IMPRESSION]
        categories = [item for item in items([report], "CODE") if name_of(item) == codes.PRIORITY]
        if said and bool(categories) != ("finding suspected" in said[0]):
            found.append(f"{len(categories)} categories under: {said[0]}")
    return found


def equipment(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """Every object names its algorithms with Device UIDs, and reports observe by the first (IHE AIR 6.5.3.1)."""
    found = []
    for item in study:
        if item.get("Manufacturer") != MANUFACTURER:
            found.append(f"{item.Modality} has no manufacturer")
        devices = item.get("ContributingEquipmentSequence", ())
        if not devices:
            found.append(f"{item.Modality} names no contributing equipment")
        for device in devices:
            purpose = next(iter(device.get("PurposeOfReferenceCodeSequence") or [Dataset()]))
            missing = [
                name
                for name in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceUID")
                if not device.get(name)
            ]
            if missing or key_of(purpose) != ("109102", "DCM") or not UID(device.DeviceUID).is_valid:
                found.append(
                    f"{item.Modality}: contributing equipment without {', '.join(missing) or 'purpose or UID'}"
                )
    for document in trees(study):
        found += _observer(document)
    return found


def series(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """Each document has a series of its own, and no series mixes modalities, is the film's or comes before it."""
    found = []
    uids = [document.SeriesInstanceUID for document in trees(study)]
    if len(set(uids)) < len(uids):
        found.append("two reports share a series")
    if len({item.SeriesInstanceUID for item in study}) != len(
        {(item.SeriesInstanceUID, item.Modality) for item in study}
    ):
        found.append("a series mixes modalities")
    of_films = {film.SeriesInstanceUID for film in films}
    if any(item.SeriesInstanceUID in of_films or item.SeriesNumber <= 9000 for item in study):
        found.append("an object is in the film's series, or sorts before it")
    return found


def belonging(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """Every object is the film's patient's and study's, and carries nothing private."""
    found = []
    film = films[0]
    for item in study:
        found += [
            f"{item.Modality} has another {keyword}"
            for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber")
            if str(item.get(keyword) or "") != str(film.get(keyword) or "")
        ]
        if any(element.tag.is_private for element in item.iterall()):
            found.append(f"{item.Modality} has a private element")
    return found


CHECKS: Final[tuple[Callable[[Sequence[Dataset], Sequence[Dataset]], list[str]], ...]] = (
    boxes,
    sides,
    numbers,
    groups,
    tracking,
    titles,
    words,
    status,
    evidence,
    flags,
    equipment,
    series,
    captures,
    pictures,
    overlays,
    notes,
    belonging,
)


def patient_in_pixels(one: Sequence[Dataset], other: Sequence[Dataset]) -> list[str]:
    """Crops of one film under the names of two patients have the same pixels."""
    pairs = zip(crops_of(one), crops_of(other), strict=True)
    return [f"crop {a.InstanceNumber} shows whose it is" for a, b in pairs if a.PixelData != b.PixelData]


def _observer(report: Dataset) -> list[str]:
    """Device observer and algorithms in the content against the first contributing equipment."""
    observed = {
        name_of(item): item.get("UID") or item.get("TextValue")
        for item in report.ContentSequence
        if item.RelationshipType == "HAS OBS CONTEXT" and item.ValueType in {"TEXT", "UIDREF"}
    }
    devices = report.get("ContributingEquipmentSequence", ())
    if not devices:
        return []
    expected = {
        codes.OBSERVER_UID: devices[0].get("DeviceUID"),
        codes.OBSERVER_MANUFACTURER: devices[0].get("Manufacturer"),
        codes.OBSERVER_MODEL: devices[0].get("ManufacturerModelName"),
    }
    found = [
        f"the {name.meaning} is {observed.get(name)}, not {value}"
        for name, value in expected.items()
        if observed.get(name) != value
    ]
    if report.Modality == "KO":
        return found
    stated = {str(item.TextValue) for item in items([report], "TEXT") if name_of(item) == codes.ALGORITHM_VERSION}
    named = {str(device.get("SoftwareVersions")) for device in devices}
    of_scorer = {str(devices[0].get("SoftwareVersions"))}
    if not of_scorer <= stated or not stated <= named:
        found.append(f"algorithm versions are {sorted(stated)}, of the equipment {sorted(named)}")
    return found
