"""The proof can fail: each fault that is planted in a good study is caught, and it is known by whom."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterator
from functools import cache
from pathlib import Path
from typing import cast

import pytest
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_sr.build import Results
from tests.integration.test_sr_validators import DOCUMENTS, build, saved_film, synthetic_film
from tests.sr_checks import CHECKS, patient_in_pixels
from tests.validators import (
    check_definition,
    check_encoding,
    check_entities,
    check_reading,
    pixelmed,
    saved,
    twin,
)

OTHER_UID = "2.25.987654321"


class Planted:
    """A film and a copy of all that was made of it, to be spoiled."""

    def __init__(self) -> None:
        """Copy what is expensive to build."""
        self.film, results = copy.deepcopy(_built())
        self.triage, self.crops = results.triage_report, results.crops
        assert results.findings_report is not None
        assert results.key_image is not None
        self.findings = results.findings_report
        (self.overlay,), self.note, (self.overview,) = results.overlays, results.key_image, results.overviews
        self.objects = results.objects

    def item(self, report: Dataset, meaning: str, value_type: str = "") -> Dataset:
        """The first content item of that name."""
        return next(
            item
            for item in _below(report)
            if item.get("ConceptNameCodeSequence")
            and item.ConceptNameCodeSequence[0].CodeMeaning == meaning
            and value_type in {"", item.ValueType}
        )

    def without(self, report: Dataset, meaning: str) -> None:
        """Take the first content item of that name away."""
        gone = self.item(report, meaning)
        parent = next(item for item in (report, *_below(report)) if gone in item.get("ContentSequence", ()))
        parent.ContentSequence = [item for item in parent.ContentSequence if item is not gone]


@cache
def _built() -> tuple[Dataset, Results]:
    film = synthetic_film()
    return film, build(film)


def _below(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _below(child)


def _set(dataset: Dataset, keyword: str, value: object) -> None:
    """Set what pydicom would refuse."""
    dataset[keyword] = DataElement(keyword, dataset[keyword].VR, value, validation_mode=config.IGNORE)


# --- the faults ------------------------------------------------------------------------------------------------------


def _open_polyline(planted: Planted) -> None:
    outline = planted.item(planted.findings, "Image Region")
    outline.GraphicData = outline.GraphicData[:-2]


def _box_outside(planted: Planted) -> None:
    outline = planted.item(planted.findings, "Image Region")
    outline.GraphicData = [value + planted.film.Columns for value in outline.GraphicData]


def _box_across_the_middle(planted: Planted) -> None:
    outline = planted.item(planted.findings, "Image Region")
    outline.GraphicData = [
        value + planted.film.Columns // 5 * (place % 2 == 0) for place, value in enumerate(outline.GraphicData)
    ]


def _coded_box_across_the_middle(planted: Planted) -> None:
    outline = planted.item(planted.triage, "Source of Measurement", "SCOORD")
    left = min(outline.GraphicData[::2])
    outline.GraphicData = [
        value + planted.film.Columns // 2 * (place % 2 == 0 and value > left)
        for place, value in enumerate(outline.GraphicData)
    ]


def _box_on_no_image(planted: Planted) -> None:
    del planted.item(planted.findings, "Image Region").ContentSequence


def _crop_called_original(planted: Planted) -> None:
    planted.crops[0].ImageType = ["ORIGINAL", "PRIMARY"]


def _algorithm_without_version(planted: Planted) -> None:
    planted.without(planted.findings, "Algorithm Version")


def _scorer_without_version(planted: Planted) -> None:
    planted.without(planted.triage, "Algorithm Version")


def _lossy_without_ratio(planted: Planted) -> None:
    del planted.crops[0].LossyImageCompressionRatio


def _lossiness_forgotten(planted: Planted) -> None:
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        del planted.crops[0][keyword]


def _tracking_uid_twice(planted: Planted) -> None:
    first, second, _ = (
        item for item in _below(planted.findings) if "Tracking Unique" in item.ConceptNameCodeSequence[0].CodeMeaning
    )
    second.UID = first.UID


def _group_without_tracking(planted: Planted) -> None:
    planted.without(planted.findings, "Tracking Unique Identifier")


def _wrong_root_template(planted: Planted) -> None:
    planted.findings.ContentTemplateSequence[0].TemplateIdentifier = "2000"


def _wrong_group_template(planted: Planted) -> None:
    planted.item(planted.findings, "Measurement Group").ContentTemplateSequence[0].TemplateIdentifier = "1411"


def _no_evidence(planted: Planted) -> None:
    del planted.triage.CurrentRequestedProcedureEvidenceSequence


def _evidence_of_another_image(planted: Planted) -> None:
    series = planted.findings.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = OTHER_UID


def _crop_of_a_lost_report(planted: Planted) -> None:
    planted.crops[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID = OTHER_UID


def _wrong_patient_id(planted: Planted) -> None:
    planted.crops[1].PatientID = "P2"


def _wrong_birth_date(planted: Planted) -> None:
    planted.triage.PatientBirthDate = "19700202"


def _wrong_study(planted: Planted) -> None:
    planted.triage.StudyInstanceUID = OTHER_UID


def _radiologists_title(planted: Planted) -> None:
    title = planted.triage.ConceptNameCodeSequence[0]
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "18782-3", "LN", "X-Ray Report"


def _unknown_title(planted: Planted) -> None:
    title = planted.findings.ConceptNameCodeSequence[0]
    title.CodeValue, title.CodeMeaning = "126009", "Imaging Report"


def _certainty_without_units(planted: Planted) -> None:
    certainty = planted.item(planted.triage, "Certainty of Finding")
    del certainty.MeasuredValueSequence[0].MeasurementUnitsCodeSequence


def _certainty_above_all(planted: Planted) -> None:
    planted.item(planted.triage, "Certainty of Finding").MeasuredValueSequence[0].NumericValue = "931"


def _number_out_of_place(planted: Planted) -> None:
    planted.findings.ContentSequence.append(copy.deepcopy(planted.item(planted.triage, "Certainty of Finding")))


def _number_in_a_group(planted: Planted) -> None:
    number = copy.deepcopy(planted.item(planted.triage, "Threshold Value"))
    number.RelationshipType = "CONTAINS"
    planted.item(planted.findings, "Measurement Group").ContentSequence.append(number)


def _unlisted_number(planted: Planted) -> None:
    name = planted.item(planted.triage, "Threshold Value").ConceptNameCodeSequence[0]
    name.CodeValue, name.CodeMeaning = "122155", "Statistical weight"


def _no_device_uid(planted: Planted) -> None:
    del planted.crops[0].ContributingEquipmentSequence[0].DeviceUID


def _observer_of_another_device(planted: Planted) -> None:
    planted.item(planted.triage, "Device Observer UID").UID = OTHER_UID


def _no_observer(planted: Planted) -> None:
    planted.without(planted.triage, "Device Observer UID")


def _two_reports_in_one_series(planted: Planted) -> None:
    planted.triage.SeriesInstanceUID = planted.findings.SeriesInstanceUID


def _verified(planted: Planted) -> None:
    planted.triage.VerificationFlag = "VERIFIED"


def _final(planted: Planted) -> None:
    planted.triage.PreliminaryFlag = "FINAL"


def _a_product(planted: Planted) -> None:
    planted.findings.ContentQualification = "PRODUCT"


def _empty_type_1(planted: Planted) -> None:
    planted.crops[0].ConversionType = ""


def _date_with_dashes(planted: Planted) -> None:
    _set(planted.triage, "ContentDate", "2026-11-22")


def _number_as_text(planted: Planted) -> None:
    del planted.crops[0].Rows
    planted.crops[0].add_new(0x00280010, "LO", "512")


def _no_manufacturer(planted: Planted) -> None:
    del planted.triage.Manufacturer


def _empty_concept_name(planted: Planted) -> None:
    planted.item(planted.triage, "Impression").ConceptNameCodeSequence = []


def _invalid_uid(planted: Planted) -> None:
    _set(planted.crops[0], "SeriesInstanceUID", "2.25.01.abc")


def _private_junk(planted: Planted) -> None:
    planted.triage.add_new(0x00091001, "LO", "vendor secret")


def _called_normal(planted: Planted) -> None:
    planted.item(planted.triage, "Comment", "TEXT").TextValue = "The heart is normal."


def _wrong_relationship(planted: Planted) -> None:
    planted.item(planted.findings, "Image Region").RelationshipType = "INFERRED FROM"


def _no_procedure(planted: Planted) -> None:
    planted.without(planted.findings, "Procedure reported")


def _misspelled_meaning(planted: Planted) -> None:
    planted.item(planted.findings, "Finding Site").ConceptNameCodeSequence[0].CodeMeaning = "Finding place"


def _unknown_heading(planted: Planted) -> None:
    planted.item(planted.triage, "Disclaimer").ConceptNameCodeSequence[0].CodeValue = "small-print"


def _no_category(planted: Planted) -> None:
    planted.without(planted.triage, "Priority")


def _called_negative(planted: Planted) -> None:
    planted.item(planted.triage, "Comment", "TEXT").TextValue = "The chest film is negative."


def _harm_above_all(planted: Planted) -> None:
    planted.item(planted.triage, "Harm of waiting").MeasuredValueSequence[0].NumericValue = "9.3"


def _head_start_in_seconds(planted: Planted) -> None:
    (unit,) = (
        planted.item(planted.triage, "Longest head start (H)").MeasuredValueSequence[0].MeasurementUnitsCodeSequence
    )
    unit.CodeValue, unit.CodeMeaning = "s", "second"


def _impossible_relationship(planted: Planted) -> None:
    planted.item(planted.triage, "Impression").RelationshipType = "SELECTED FROM"


def _truncated_pixels(planted: Planted) -> None:
    planted.crops[0].PixelData = planted.crops[0].PixelData[:-1000]


def _no_language(planted: Planted) -> None:
    planted.without(planted.triage, "Language of Content Item and Descendants")


def _outline(planted: Planted) -> Dataset:
    (annotation,) = planted.overlay.GraphicAnnotationSequence
    return cast("Dataset", annotation.GraphicObjectSequence[0])


def _overlay_box_moved(planted: Planted) -> None:
    outline = _outline(planted)
    outline.GraphicData = [value + 7 for value in outline.GraphicData]


def _overlay_under_another_uid(planted: Planted) -> None:
    _outline(planted).TrackingUID = OTHER_UID


def _overlay_in_other_units(planted: Planted) -> None:
    _outline(planted).GraphicAnnotationUnits = "DISPLAY"


def _overlay_without_layer(planted: Planted) -> None:
    del planted.overlay.GraphicLayerSequence


def _overlay_of_another_film(planted: Planted) -> None:
    planted.overlay.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = OTHER_UID


def _film_inverted_by_overlay(planted: Planted) -> None:
    planted.overlay.PresentationLUTShape = "INVERSE"


def _note_of_another_film(planted: Planted) -> None:
    planted.note.ContentSequence[-1].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = OTHER_UID


def _note_through_a_lost_overlay(planted: Planted) -> None:
    through = planted.note.ContentSequence[-1].ReferencedSOPSequence[0].ReferencedSOPSequence[0]
    through.ReferencedSOPInstanceUID = OTHER_UID


def _note_with_purpose(planted: Planted) -> None:
    source = Dataset()
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = "260753009", "SCT", "Source"
    planted.note.ContentSequence[-1].ConceptNameCodeSequence = [source]


def _note_for_teaching(planted: Planted) -> None:
    title = planted.note.ConceptNameCodeSequence[0]
    title.CodeValue, title.CodeMeaning = "113004", "For Teaching"


def _note_by_nobody(planted: Planted) -> None:
    planted.without(planted.note, "Key Object Description")


def _note_observed_by_another_device(planted: Planted) -> None:
    planted.item(planted.note, "Device Observer UID").UID = OTHER_UID


def _overview_first(planted: Planted) -> None:
    planted.overview.InstanceNumber = 0


FAULTS: dict[Callable[[Planted], None], set[str]] = {
    _open_polyline: {"boxes"},
    _box_outside: {"boxes"},
    _box_across_the_middle: {"sides"},
    _coded_box_across_the_middle: {"sides"},
    _box_on_no_image: {"boxes", "PixelMed templates"},
    _crop_called_original: {"captures"},
    _algorithm_without_version: {"groups"},
    _scorer_without_version: {"equipment"},
    _lossy_without_ratio: {"captures"},
    _lossiness_forgotten: {"captures"},
    _tracking_uid_twice: {"tracking"},
    _group_without_tracking: {"tracking"},
    _wrong_root_template: {"titles"},
    _wrong_group_template: {"groups"},
    _no_evidence: {"evidence"},
    _evidence_of_another_image: {"evidence", "PixelMed references"},
    _crop_of_a_lost_report: {"PixelMed references"},
    _wrong_patient_id: {"belonging", "dcentvfy"},
    _wrong_birth_date: {"dcentvfy"},
    _wrong_study: {"belonging"},
    _radiologists_title: {"titles"},
    _unknown_title: {"titles"},
    _certainty_without_units: {"numbers", "dciodvfy"},
    _certainty_above_all: {"numbers"},
    _number_out_of_place: {"dsrdump"},
    _number_in_a_group: {"groups"},
    _unlisted_number: {"PixelMed templates"},
    _no_device_uid: {"equipment"},
    _observer_of_another_device: {"equipment"},
    _no_observer: {"equipment"},
    _two_reports_in_one_series: {"series"},
    _verified: {"status", "dciodvfy"},
    _final: {"status"},
    _a_product: {"status"},
    _empty_type_1: {"dciodvfy"},
    _date_with_dashes: {"dciodvfy", "dcmpschk"},
    _number_as_text: {"dciodvfy", "dcmpschk"},
    _no_manufacturer: {"equipment", "dciodvfy"},
    _empty_concept_name: {"dciodvfy", "dsrdump"},
    _invalid_uid: {"dciodvfy"},
    _private_junk: {"belonging"},
    _called_normal: {"words"},
    _called_negative: {"words"},
    _no_category: {"flags"},
    _harm_above_all: {"numbers"},
    _head_start_in_seconds: {"numbers"},
    _wrong_relationship: {"PixelMed templates"},
    _no_procedure: {"titles"},
    _misspelled_meaning: {"PixelMed templates"},
    _unknown_heading: {"PixelMed templates"},
    _impossible_relationship: {"dsrdump"},
    _truncated_pixels: {"dciodvfy"},
    _no_language: {"PixelMed templates"},
    _overlay_box_moved: {"overlays"},
    _overlay_under_another_uid: {"overlays"},
    _overlay_in_other_units: {"overlays"},
    _overlay_without_layer: {"overlays"},
    _overlay_of_another_film: {"overlays", "PixelMed references"},
    _film_inverted_by_overlay: {"overlays"},
    _note_of_another_film: {"evidence", "notes", "PixelMed references"},
    _note_through_a_lost_overlay: {"notes", "PixelMed references"},
    _note_with_purpose: {"PixelMed templates"},
    _note_for_teaching: {"notes"},
    _note_by_nobody: {"notes"},
    _note_observed_by_another_device: {"equipment"},
    _overview_first: {"pictures"},
}


def caught_by(planted: Planted, folder: Path, *, templates: bool, passed: Container[bytes] = ()) -> set[str]:
    """Who objects to a study; PixelMed's templates, which take longest, are asked only where they are needed.

    Files that have passed before are looked at only beside the others.
    """
    found = {check.__name__ for check in CHECKS if check(planted.objects, [planted.film])}
    film_path = saved_film(planted.film, folder)
    inherited = set(check_definition(film_path))
    paths = {saved(item, folder): item for item in planted.objects}
    if check_entities([*paths, film_path]):
        found.add("dcentvfy")
    if pixelmed().check_references(folder):
        found.add("PixelMed references")
    for path, item in paths.items():
        if path.read_bytes() in passed:
            continue
        if set(check_definition(path)) - inherited:
            found.add("dciodvfy")
        if check_encoding(path):
            found.add("dcmpschk")
        if item.Modality in DOCUMENTS:
            if check_reading(path):
                found.add("dsrdump")
            if templates and pixelmed().check_template(saved(twin(item), folder)):
                found.add("PixelMed templates")
    return found


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> set[bytes]:
    """The files of the study without a fault, which the first test below sees pass."""
    folder = tmp_path_factory.mktemp("good")
    return {saved(item, folder).read_bytes() for item in Planted().objects}


def test_a_good_study_is_caught_by_nobody(tmp_path: Path) -> None:
    """Before anything is planted, no validator and none of our checks objects."""
    assert not caught_by(Planted(), tmp_path, templates=True)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_a_planted_fault_is_caught(fault: Callable[[Planted], None], passed: set[bytes], tmp_path: Path) -> None:
    """Everyone who is named for a fault catches it."""
    planted = Planted()
    fault(planted)
    expected = FAULTS[fault]
    caught = caught_by(planted, tmp_path, templates="PixelMed templates" in expected, passed=passed)
    assert expected <= caught, f"caught by {caught}"


def test_a_name_in_the_pixels_is_caught() -> None:
    """A crop with the patient's initials in its corner differs from the other patient's."""
    one, other = Planted(), Planted()
    one.crops[1].PixelData = b"\xff" * 30 + one.crops[1].PixelData[30:]
    assert patient_in_pixels(one.objects, other.objects) == ["crop 2 shows whose it is"]
