"""What no validator catches in our objects, as functions that return the faults they find; none means no fault.

Each takes the objects that one run left in a study, and the films that were scored, the leading one first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sr.coding import Code
from pydicom.uid import UID, Comprehensive3DSRStorage, EnhancedSRStorage

from dicom_sr import codes
from worklist.scope import MANUFACTURER

_REASSURING: Final = re.compile(
    r"\b(normal|normally|routine|unremarkable|no abnormalit|clear lungs|healthy|(?<!not a )negative)", re.IGNORECASE
)
_TITLES: Final = {  # by SOP class: title and root template
    EnhancedSRStorage: (codes.CHEST_CAD_REPORT, "2000"),
    Comprehensive3DSRStorage: (Code("126000", "DCM", "Imaging Measurement Report"), "1500"),
}
_PROCEDURE_REPORTED: Final = Code("121058", "DCM", "Procedure reported")
_UNITS: Final = {
    codes.CERTAINTY_OF_FINDING: (codes.PERCENT, 100.0),
    codes.CERTAINTY_OF_IMPRESSION: (codes.PERCENT, 100.0),
    codes.PROBABILITY: (codes.PROBABILITY_UNIT, 1.0),
    codes.THRESHOLD: (codes.PROBABILITY_UNIT, 1.0),
    codes.HARM: (codes.NO_UNITS, 1.0),
    codes.FLAG_FROM: (codes.NO_UNITS, 1.0),
    codes.WEIGHT: (codes.NO_UNITS, 1.0),
    codes.NAMED_FROM: (codes.PROBABILITY_UNIT, 1.0),
    codes.CRITICAL_FROM: (codes.PROBABILITY_UNIT, 1.0),
    codes.NAMED_PRECISION: (codes.NO_UNITS, 1.0),
    codes.CRITICAL_PRECISION: (codes.NO_UNITS, 1.0),
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
    for item in _items(study, "SCOORD"):
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


def numbers(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """Certainties and probabilities have their units and ranges, and the text value agrees with the exact one."""
    found = []
    for item in _items(study, "NUM"):
        name, measured = _name(item), item.MeasuredValueSequence[0]
        unit = Code(*_key(next(iter(measured.get("MeasurementUnitsCodeSequence") or [Dataset()]))), "")
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
    for group in _items(study, "CONTAINER"):
        if _name(group).meaning != "Measurement Group":
            continue
        texts = {_name(item): str(item.TextValue) for item in group.ContentSequence if item.ValueType == "TEXT"}
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
    uids = [item.UID for item in _items(study, "UIDREF") if _name(item).meaning == "Tracking Unique Identifier"]
    found = [] if len(set(uids)) == len(uids) else ["two boxes have one tracking UID"]
    if len(uids) != sum(_name(item).meaning == "Measurement Group" for item in _items(study, "CONTAINER")):
        found.append("a box has no tracking UID")
    return found


def titles(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """Each report has the title and root template of its class, so never those of a radiologist's report."""
    found = []
    for report in _documents(study):
        title, template = _TITLES[report.SOPClassUID]
        if _name(report) != title or _name(report).meaning != title.meaning:
            found.append(f"a report is titled {_name(report).meaning}")
        applied = report.get("ContentTemplateSequence") or [Dataset()]
        if applied[0].get("TemplateIdentifier") != template:
            found.append(f"a report is of template {applied[0].get('TemplateIdentifier')}, not {template}")
        if template == "1500" and not any(_name(item) == _PROCEDURE_REPORTED for item in report.ContentSequence):
            found.append("a findings report does not say what procedure it is about")
    return found


def words(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """Nothing we say calls anything normal; a sentence quoted from an earlier report is not ours."""
    said = [
        str(item.TextValue)
        for item in _items(study, "TEXT")
        if _name(item) not in {codes.PREVIOUS_FINDING, codes.QUOTED_FROM}
    ]
    said += [item.ConceptCodeSequence[0].CodeMeaning for item in _items(study, "CODE")]
    said += [f"{item.SeriesDescription} {item.get('DerivationDescription', '')}" for item in study]
    return [f"reassuring words: {text}" for text in said if _REASSURING.search(text)]


def status(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """Every object is for research, every report complete, unverified and preliminary."""
    found = [
        f"{item.Modality} is not marked RESEARCH" for item in study if item.get("ContentQualification") != "RESEARCH"
    ]
    for report in _documents(study):
        flags = [report.get(name) for name in ("CompletionFlag", "VerificationFlag", "PreliminaryFlag")]
        if flags != ["COMPLETE", "UNVERIFIED", "PRELIMINARY"] or "VerifyingObserverSequence" in report:
            found.append(f"a report is {flags}")
    return found


def evidence(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """The evidence of every report is all films that were scored, and its content refers to nothing else."""
    found = []
    wanted = {(film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID) for film in films}
    for report in _documents(study):
        listed = [
            (study_item.StudyInstanceUID, series.SeriesInstanceUID, sop.ReferencedSOPInstanceUID)
            for study_item in report.get("CurrentRequestedProcedureEvidenceSequence", ())
            for series in study_item.ReferencedSeriesSequence
            for sop in series.ReferencedSOPSequence
        ]
        if set(listed) != wanted or len(listed) != len(wanted):
            found.append(f"the evidence of a report is {listed}")
    scored = {film.SOPInstanceUID for film in films}
    found += [
        "a report refers to an image that is not its evidence"
        for item in _items(study, "IMAGE")
        if item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID not in scored
    ]
    return found


def flags(study: Sequence[Dataset], _films: Sequence[Dataset]) -> list[str]:
    """The headline has a category exactly where it says that a finding is suspected, and a failed run has none."""
    found = []
    for report in _documents(study):
        said = [item.TextValue for item in _items([report], "TEXT") if _name(item) == codes.IMPRESSION]
        categories = [item for item in _items([report], "CODE") if _name(item) == codes.PRIORITY]
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
            if missing or _key(purpose) != ("109102", "DCM") or not UID(device.DeviceUID).is_valid:
                found.append(
                    f"{item.Modality}: contributing equipment without {', '.join(missing) or 'purpose or UID'}"
                )
    for document in _trees(study):
        found += _observer(document)
    return found


def series(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """Each document has a series of its own, and no series mixes modalities, is the film's or comes before it."""
    found = []
    uids = [document.SeriesInstanceUID for document in _trees(study)]
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


def overlays(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """Presentation states draw the boxes of the findings report under their UIDs, each in its film's polarity."""
    found = []
    boxes_by_film: dict[str, dict[str, list[float]]] = {}
    for group in _items(study, "CONTAINER"):
        parts = {item.ValueType: item for item in group.ContentSequence}
        if _name(group).meaning == "Measurement Group" and {"UIDREF", "SCOORD"} <= set(parts):
            (image,) = parts["SCOORD"].get("ContentSequence") or [Dataset()]
            uid = image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID if "ReferencedSOPSequence" in image else ""
            boxes_by_film.setdefault(uid, {})[parts["UIDREF"].UID] = list(parts["SCOORD"].GraphicData)
    photometric = {film.SOPInstanceUID: film.get("PhotometricInterpretation") for film in films}
    for state in study:
        if state.Modality != "PR":
            continue
        layers = {layer.GraphicLayer for layer in state.get("GraphicLayerSequence", ())}
        if not {item.GraphicLayer for item in state.GraphicAnnotationSequence} <= layers:
            found.append("an overlay draws on a layer that it does not define")
        drawn = [graphic for item in state.GraphicAnnotationSequence for graphic in item.GraphicObjectSequence]
        shown = {
            image.ReferencedSOPInstanceUID
            for item in (*state.ReferencedSeriesSequence, *state.GraphicAnnotationSequence)
            for image in item.ReferencedImageSequence
        }
        (uid, *others) = shown
        if others or uid not in photometric:
            found.append("an overlay is of another film")
            continue
        if {graphic.TrackingUID: list(graphic.GraphicData) for graphic in drawn} != boxes_by_film.get(uid):
            found.append("an overlay has other boxes than the findings report")
        if any((graphic.GraphicType, graphic.GraphicAnnotationUnits) != ("POLYLINE", "PIXEL") for graphic in drawn):
            found.append("a box of an overlay is no polyline in pixels")
        if state.PresentationLUTShape != ("INVERSE" if photometric[uid] == "MONOCHROME1" else "IDENTITY"):
            found.append(f"an overlay shows a {photometric[uid]} film as {state.PresentationLUTShape}")
    return found


def notes(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """A key image note says that AI chose its films, each through its overlay, and all of them are its evidence."""
    found = []
    overlay_of = {
        item.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID: item.SOPInstanceUID
        for item in study
        if item.Modality == "PR"
    }
    for note in study:
        if note.Modality != "KO":
            continue
        if _name(note) != codes.OF_INTEREST or note.ContentTemplateSequence[0].TemplateIdentifier != "2010":
            found.append(f"a key image note is titled {_name(note).meaning}")
        if not any("Chosen by AI" in item.TextValue for item in _below(note) if item.ValueType == "TEXT"):
            found.append("a key image note does not say who chose the film")
        chosen = [item.ReferencedSOPSequence[0] for item in _below(note) if item.ValueType == "IMAGE"]
        uids = [image.ReferencedSOPInstanceUID for image in chosen]
        through = {
            image.ReferencedSOPInstanceUID: state.ReferencedSOPInstanceUID
            for image in chosen
            for state in image.get("ReferencedSOPSequence", ())
        }
        if not uids or not set(uids) <= {film.SOPInstanceUID for film in films} or through != overlay_of:
            found.append("a key image note is of another film, or not through the overlay")
        listed = [
            sop.ReferencedSOPInstanceUID
            for study_item in note.CurrentRequestedProcedureEvidenceSequence
            for series_item in study_item.ReferencedSeriesSequence
            for sop in series_item.ReferencedSOPSequence
        ]
        if sorted(listed) != sorted([*uids, *overlay_of.values()]):
            found.append(f"the evidence of a key image note is {listed}")
    return found


def pictures(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """A box has a crop, three at most, and after them each film with a box is shown whole; without a box is nothing."""
    captured = sorted(_crops(study), key=lambda item: int(item.InstanceNumber))
    boxed = [
        child.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in _items(study, "SCOORD", of={Comprehensive3DSRStorage})
        for child in item.get("ContentSequence", ())
    ]
    found = []
    wholes = captured[min(len(boxed), 3) :]
    if len(wholes) != len(set(boxed)):
        found.append(f"{len(captured)} crops do not fit the boxes")
    sizes = {film.SOPInstanceUID: (film.Columns - 1, film.Rows - 1) for film in films}
    for whole in wholes:
        columns, rows = sizes.get(whole.SourceImageSequence[0].ReferencedSOPInstanceUID, (0, 0))
        if not whole.DerivationDescription.startswith(f"Columns 0 to {columns} and rows 0 to {rows} "):
            found.append("the last crop is not the whole film")
    return found


def captures(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """Crops are derived, say of what, own up to lossy compression, and lossy compression has a ratio and method."""
    found = []
    by_uid = {film.SOPInstanceUID: film for film in films}
    for crop in study:
        if crop.Modality != "OT":
            continue
        if list(crop.get("ImageType", ()))[:2] != ["DERIVED", "SECONDARY"]:
            found.append(f"a crop is {crop.get('ImageType')}")
        origins = [by_uid.get(item.ReferencedSOPInstanceUID) for item in crop.get("SourceImageSequence", ())]
        film = origins[0] if len(origins) == 1 else None
        if film is None:
            found.append("a crop does not name its film")
            continue
        lossy = crop.get("LossyImageCompression")
        if film.get("LossyImageCompression") == "01" and lossy != "01":
            found.append("a crop of a lossy film is not lossy")
        if lossy == "01" and not (
            _values(crop, "LossyImageCompressionRatio") and _values(crop, "LossyImageCompressionMethod")
        ):
            found.append("a crop is lossy without a ratio and method")
        if any(float(ratio) <= 1 for ratio in _values(crop, "LossyImageCompressionRatio")):
            found.append("a lossy ratio is not above 1")
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
    pairs = zip(_crops(one), _crops(other), strict=True)
    return [f"crop {a.InstanceNumber} shows whose it is" for a, b in pairs if a.PixelData != b.PixelData]


def _documents(study: Sequence[Dataset]) -> list[Dataset]:
    return [item for item in study if item.Modality == "SR"]


def _trees(study: Sequence[Dataset]) -> list[Dataset]:
    return [item for item in study if item.Modality in {"SR", "KO"}]


def _crops(study: Sequence[Dataset]) -> list[Dataset]:
    return [item for item in study if item.Modality == "OT"]


def _items(study: Sequence[Dataset], value_type: str, of: Container[str] | None = None) -> list[Dataset]:
    documents = [item for item in _trees(study) if of is None or item.SOPClassUID in of]
    return [item for document in documents for item in _below(document) if item.ValueType == value_type]


def _below(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or ():
        yield child
        yield from _below(child)


def _observer(report: Dataset) -> list[str]:
    """Device observer and algorithms in the content against the first contributing equipment."""
    observed = {
        _name(item): item.get("UID") or item.get("TextValue")
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
    stated = {str(item.TextValue) for item in _items([report], "TEXT") if _name(item) == codes.ALGORITHM_VERSION}
    named = {str(device.get("SoftwareVersions")) for device in devices}
    of_scorer = {str(devices[0].get("SoftwareVersions"))}
    if not of_scorer <= stated or not stated <= named:
        found.append(f"algorithm versions are {sorted(stated)}, of the equipment {sorted(named)}")
    return found


def _values(dataset: Dataset, keyword: str) -> list[str]:
    value = dataset.get(keyword)
    parts = value if isinstance(value, MultiValue) else [value]
    return [str(part) for part in parts if part is not None and str(part)]


def _name(item: Dataset) -> Code:
    concept = next(iter(item.get("ConceptNameCodeSequence") or [Dataset()]))
    return Code(*_key(concept), str(concept.get("CodeMeaning", "")))


def _key(code: Dataset) -> tuple[str, str]:
    return str(code.get("CodeValue") or code.get("LongCodeValue") or ""), str(code.get("CodingSchemeDesignator", ""))
