"""The overlay and the key image note: off unless asked for, true to the film, and valid for independent programs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
)

from dicom_sr.build import InstanceReference, Results
from imaging.display import to_display
from imaging.radiograph import read_radiograph
from tests.bad_films import chest
from tests.integration.test_sr_validators import SOURCES, found_on
from tests.integration.test_sr_validators import build as build_plain
from tests.sr_films import (
    CARDIOMEGALY,
    COLUMNS,
    EDEMA,
    ROWS,
    analysis,
    build,
    encoded,
    film,
    groups,
    revision,
    two_images,
)
from tests.validators import run, saved
from worklist.finding import Analysis


def results(
    source: Dataset | None = None, found: Analysis | None = None, predecessor: tuple[InstanceReference, ...] = ()
) -> Results:
    """All objects of a film, the two optional ones as well."""
    return build(
        found,
        source=film(PhotometricInterpretation="MONOCHROME2") if source is None else source,
        run=revision(2 if predecessor else 1, predecessor),
        optional=True,
    )


def overlay(**attributes: Any) -> Dataset:  # noqa: ANN401 - DICOM attributes of any kind
    """The overlay of a film with these attributes."""
    (built,) = results(film(**{"PhotometricInterpretation": "MONOCHROME2", **attributes})).overlays
    return built


def test_both_are_off_by_default() -> None:
    """Without being asked for, neither is built."""
    plain = build_plain(SOURCES["synthetic"](), optional=False)
    assert plain.overlays == ()
    assert plain.key_image is None
    assert {item.Modality for item in plain.objects} == {"OT", "SR"}


def test_they_are_stored_before_the_triage_report_in_series_of_their_own() -> None:
    """The triage report is still the last to be stored, so that its presence means a complete revision."""
    objects = results().objects
    assert [item.Modality for item in objects] == ["OT", "OT", "OT", "OT", "SR", "PR", "KO", "SR"]
    assert objects[-1].SOPClassUID == EnhancedSRStorage
    assert len({item.SeriesInstanceUID for item in objects}) == 5
    numbers = [int(item.SeriesNumber) for item in objects]
    assert numbers == [9011, 9011, 9011, 9011, 9012, 9014, 9015, 9013]


def test_the_same_input_gives_the_same_bytes() -> None:
    """Doing the work twice writes the same overlay and note once, and each has a UID of its own."""
    first, second = results(), results()
    assert first.key_image is not None
    assert second.key_image is not None
    assert len(first.overlays) == 1
    for once, again in (*zip(first.overlays, second.overlays, strict=True), (first.key_image, second.key_image)):
        assert encoded(once) == encoded(again)
    assert len({item.SOPInstanceUID for item in first.objects}) == len(first.objects)


def test_they_do_not_become_predecessors() -> None:
    """A later revision names the SRs before it, and neither presentation state nor key image note."""
    before = tuple(InstanceReference.to(item) for item in results().objects if item.Modality != "OT")
    assert {old.sop_class_uid for old in before} >= {
        GrayscaleSoftcopyPresentationStateStorage,
        KeyObjectSelectionDocumentStorage,
    }
    report = results(predecessor=before).triage_report
    named = {
        sop.ReferencedSOPClassUID
        for study in report.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    assert named == {EnhancedSRStorage, Comprehensive3DSRStorage}


def test_the_overlay_has_the_boxes_of_the_findings_report() -> None:
    """Each box stands where the findings report has it, under the same tracking UID, with a label inside the film."""
    built = results()
    (state,) = built.overlays
    (annotation,) = state.GraphicAnnotationSequence
    outlines = {item.TrackingUID: list(item.GraphicData) for item in annotation.GraphicObjectSequence}
    expected = {}
    for group in groups(built.findings_report):
        values = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in group.ContentSequence}
        expected[values["Tracking Unique Identifier"].UID] = list(values["Image Region"].GraphicData)
    assert outlines == expected
    *labels, notice = annotation.TextObjectSequence
    assert [label.UnformattedTextValue for label in labels] == [
        "AI: Pneumothorax likely, right",
        "AI: Pleural effusion likely, left",
        "AI: Cardiomegaly possible",
    ]
    for label in labels:
        (left, top), (right, bottom) = label.BoundingBoxTopLeftHandCorner, label.BoundingBoxBottomRightHandCorner
        assert 0 <= left < right <= COLUMNS
        assert 0 <= top < bottom <= ROWS
    assert "not a diagnosis" in notice.UnformattedTextValue


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        ({}, "IDENTITY"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "INVERSE"),
        ({"PresentationLUTShape": "INVERSE"}, "INVERSE"),
    ],
)
def test_a_film_is_inverted_where_it_says_so(attributes: dict[str, str], shape: str) -> None:
    """A presentation state overrides Photometric Interpretation, so MONOCHROME1 must be stated as inversion."""
    assert overlay(**attributes).PresentationLUTShape == shape


def test_the_overlay_restates_rescale_and_the_first_window() -> None:
    """What a presentation state leaves out would be identity, so the film's own values stand in it."""
    state = overlay(
        RescaleSlope="2",
        RescaleIntercept="-100",
        WindowCenter=["1500", "900"],
        WindowWidth=["2000", "80"],
        VOILUTFunction="SIGMOID",
        PixelSpacing=["0.2", "0.3"],
    )
    (window,) = state.SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth, window.VOILUTFunction) == (1500, 2000, "SIGMOID")
    assert (state.RescaleSlope, state.RescaleIntercept, state.RescaleType) == (2, -100, "US")
    assert state.DisplayedAreaSelectionSequence[0].PresentationPixelSpacing == [0.2, 0.3]
    assert "SoftcopyVOILUTSequence" not in overlay(WindowCenter="1500")
    assert "SoftcopyVOILUTSequence" not in overlay(WindowCenter="1500", WindowWidth="0.5")


@pytest.mark.parametrize(
    "attributes",
    [
        {"PhotometricInterpretation": "RGB"},
        {"PhotometricInterpretation": None},
        {"ModalityLUTSequence": [film()]},
        {"VOILUTSequence": [film()]},
    ],
)
def test_no_overlay_where_the_display_cannot_be_restated(attributes: dict[str, Any]) -> None:
    """A film that an overlay would show in other greys gets none, and the note then refers to the film alone."""
    built = results(film(**{"PhotometricInterpretation": "MONOCHROME2", **attributes}))
    assert built.overlays == ()
    assert built.key_image is not None
    (image,) = [item for item in built.key_image.ContentSequence if item.ValueType == "IMAGE"]
    assert "ReferencedSOPSequence" not in image.ReferencedSOPSequence[0]
    (study,) = built.key_image.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence) == 1


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dcmtk_shows_the_same_greys_through_the_overlay(photometric: str, tmp_path: Path) -> None:
    """DCMTK's own rendering through the presentation state is, to one grey in 255, the film as it was judged."""
    dataset = chest(3)
    dataset.PhotometricInterpretation = photometric
    dataset.PresentationLUTShape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    dataset.WindowCenter, dataset.WindowWidth = 3000, 4000
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 2, -100, "US"
    dataset.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    (state,) = results(dataset, found_on(dataset, positive=True)).overlays
    run("dcmp2pgm", "-p", saved(state, tmp_path), tmp_path / "film.dcm", tmp_path / "shown.pgm")
    shown = np.asarray(Image.open(tmp_path / "shown.pgm"), np.int16)
    judged = to_display(read_radiograph(dataset))
    assert np.ptp(judged) > 100
    assert np.abs(shown - judged).max() <= 1


def test_the_key_image_is_the_film_of_interest_and_software_chose_it() -> None:
    """The note's title is (113000, DCM, Of Interest), it refers to the film through the overlay, and a device chose."""
    built = results()
    note = built.key_image
    (state,) = built.overlays
    assert note is not None
    assert note.ConceptNameCodeSequence[0].CodeValue == "113000"
    *named, chosen = note.ContentSequence
    assert "ConceptNameCodeSequence" not in chosen, "TID 2010 wants no purpose of reference"
    items = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in named}
    assert items["Observer Type"].ConceptCodeSequence[0].CodeMeaning == "Device"
    assert items["Device Observer UID"].UID == "2.25.7"
    words = items["Key Object Description"].TextValue
    assert "by AI, not by a radiologist" in words
    assert "Pneumothorax likely, right" in words
    assert "edema" not in words
    assert chosen.ValueType == "IMAGE"
    (image,) = chosen.ReferencedSOPSequence
    assert image.ReferencedSOPInstanceUID == "1.2.3.4.5"
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == state.SOPInstanceUID
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    referenced = {
        sop.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for sop in s.ReferencedSOPSequence
    }
    assert referenced == {"1.2.3.4.5", state.SOPInstanceUID}


def test_nothing_named_marks_no_film() -> None:
    """Without a finding in words there is neither note nor overlay; without a box there is a note alone."""
    nothing = results(found=analysis(EDEMA, score=0.1))
    assert (nothing.overlays, nothing.key_image) == ((), None)
    unlocated = results(found=analysis(dataclasses.replace(CARDIOMEGALY, region=None)))
    assert unlocated.overlays == ()
    assert unlocated.key_image is not None


def test_each_image_has_its_own_overlay_and_stands_in_the_note() -> None:
    """Of two films each is shown through its own presentation state, in its own greys, and both are of interest."""
    found, headers = two_images()
    for header, photometric in zip(headers.values(), ("MONOCHROME2", "MONOCHROME1"), strict=True):
        header.PhotometricInterpretation = photometric
    built = build(found, sources=headers, optional=True)
    states = {
        state.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID: state
        for state in built.overlays
    }
    assert {uid: state.PresentationLUTShape for uid, state in states.items()} == {
        "1.2.3.4.5": "IDENTITY",
        "1.2.3.6.7": "INVERSE",
    }
    corners = {uid: s.DisplayedAreaSelectionSequence[0].DisplayedAreaBottomRightHandCorner for uid, s in states.items()}
    assert corners == {"1.2.3.4.5": [COLUMNS, ROWS], "1.2.3.6.7": [700, 800]}
    assert built.key_image is not None
    chosen = [item.ReferencedSOPSequence[0] for item in built.key_image.ContentSequence if item.ValueType == "IMAGE"]
    assert {
        image.ReferencedSOPInstanceUID: image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for image in chosen
    } == {uid: state.SOPInstanceUID for uid, state in states.items()}
