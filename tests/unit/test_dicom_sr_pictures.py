"""Boxes and crops: on the right image, at the right place, and only where they are worth showing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage

from dicom_sr.build import Results, build_results
from tests.sr_films import (
    CARDIOMEGALY,
    COLUMNS,
    CONSOLIDATION,
    EDEMA,
    EFFUSION,
    PNEUMONIA,
    PNEUMOTHORAX,
    POLICY,
    ROWS,
    analysis,
    build,
    film,
    groups,
    meaning,
    revision,
    sentences,
    stored,
    tree,
    two_images,
)
from worklist.finding import FindingType, ImageReference, Region, Side
from worklist.triage import assess


def overview(results: Results) -> Dataset:
    """The whole film with all boxes."""
    (picture,) = results.overviews
    return picture


def test_no_box_no_findings_report() -> None:
    """Only what may be put into words has a box, so whatever else has a region leaves neither box nor crop."""
    unnamed = dataclasses.replace(PNEUMOTHORAX, probability=0.2)
    unlocated = dataclasses.replace(CARDIOMEGALY, region=None)
    results = build(analysis(CONSOLIDATION, unlocated, unnamed))
    assert results.findings_report is None
    assert [item.Modality for item in results.objects] == ["SR"]


@pytest.mark.parametrize(
    ("x", "width", "side", "is_drawn"),
    [
        (499, 3, Side.LEFT, False),
        (100, 401, Side.RIGHT, False),
        (100, 400, Side.RIGHT, True),
        (500, 400, Side.LEFT, True),
        (100, 800, None, False),
        (100, 400, None, True),
        (100, 400, Side.LEFT, False),
    ],
)
def test_a_one_sided_box_across_the_midline_is_not_drawn(
    *, x: int, width: int, side: Side | None, is_drawn: bool
) -> None:
    """A box of one lung that reaches over the middle of the film, or lies on the other side, would cost trust."""
    region = Region(x=x, y=100, width=width, height=300)
    greys = film(PhotometricInterpretation="MONOCHROME2")
    found = analysis(dataclasses.replace(EFFUSION, region=region, side=side))
    results = build(found, source=greys, optional=True)
    assert (results.findings_report is not None) is is_drawn
    assert len(results.crops) == is_drawn
    assert len(results.overlays) == is_drawn
    drawn = [item for document in results.objects for item in tree(document) if item.ValueType == "SCOORD"]
    assert bool(drawn) is is_drawn
    assert any("Pleural effusion likely" in said for said in sentences(results.triage_report)), "the words stay"


def test_the_heart_may_cross_the_midline() -> None:
    """The rule is for findings of one lung alone."""
    assert build(analysis(dataclasses.replace(CARDIOMEGALY, side=Side.LEFT))).findings_report is not None


def test_each_box_is_on_its_own_image() -> None:
    """Of two films each has its own finding, crop, overview and overlay, cut and drawn from its own pixels."""
    found, headers = two_images()
    results = build(found, sources=headers, optional=True)
    boxes = {
        meaning_of_finding(group): next(item for item in tree(group) if item.ValueType == "IMAGE")
        for group in groups(results.findings_report)
    }
    images = {name: image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for name, image in boxes.items()}
    assert images == {"Pleural effusion": "1.2.3.6.7", "Cardiomegaly": "1.2.3.4.5"}
    for pictures in (results.crops, results.overviews):
        assert [item.SourceImageSequence[0].ReferencedSOPInstanceUID for item in pictures] == ["1.2.3.6.7", "1.2.3.4.5"]
    assert "Columns 0 to 699 and rows 0 to 799" in results.overviews[0].DerivationDescription
    assert [item.InstanceNumber for item in (*results.crops, *results.overviews)] == [1, 2, 3, 4]
    assert len(results.overlays) == 0, "neither film says what its greys are"


def meaning_of_finding(group: Dataset) -> str:
    """The finding of a measurement group."""
    (finding,) = (item for item in group.ContentSequence if meaning(item) == "Finding")
    return str(finding.ConceptCodeSequence[0].CodeMeaning)


def test_only_an_image_with_a_crop_is_decoded() -> None:
    """Pixels are asked for once for each image that is shown, and for no other."""
    found, headers = two_images()
    asked: list[str] = []

    def pixels(image: ImageReference) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        asked.append(image.sop_instance_uid)
        return np.zeros((image.rows, image.columns), np.uint8)

    for shown, wanted in ((found, ["1.2.3.6.7", "1.2.3.4.5"]), (dataclasses.replace(found, findings=(EDEMA,)), [])):
        asked.clear()
        build_results(
            shown, triage=assess(shown, POLICY), policy=POLICY, sources=headers, pixels=pixels, revision=revision()
        )
        assert asked == wanted


def test_boxes_are_closed_and_inside_the_film() -> None:
    """Each outline has five points, ends where it began, stays on the film and is the finding's box."""
    for group, finding in zip(groups(build().findings_report), (PNEUMOTHORAX, EFFUSION, CARDIOMEGALY), strict=True):
        (outline,) = (item for item in group.ContentSequence if item.ValueType == "SCOORD")
        points = np.array(outline.GraphicData).reshape(-1, 2)
        assert outline.GraphicType == "POLYLINE"
        assert meaning(outline) == "Image Region"
        assert len(points) == 5
        assert (points[0] == points[-1]).all()
        assert points.min() >= 0
        assert points[:, 0].max() <= COLUMNS
        assert points[:, 1].max() <= ROWS
        box = finding.region
        assert box is not None
        assert points.min(axis=0).tolist() == [box.x, box.y]
        assert np.ptp(points, axis=0).tolist() == [box.width, box.height]
        (image,) = outline.ContentSequence
        assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"


def test_findings_load_in_ohif() -> None:
    """What OHIF 3 is known to stumble over is absent: NUM, groups without a box, shared tracking UIDs, other titles."""
    report = build().findings_report
    assert report is not None
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert report.ConceptNameCodeSequence[0].CodeValue == codes.DCM.ImagingMeasurementReport.value
    found = groups(report)
    assert not [item for item in tree(report) if item.ValueType == "NUM"]
    assert {group.ContentTemplateSequence[0].TemplateIdentifier for group in found} == {"1410"}
    tracking = [item.UID for item in tree(report) if meaning(item) == "Tracking Unique Identifier"]
    assert len(set(tracking)) == len(found) == 3
    findings = [item for group in found for item in group.ContentSequence if meaning(item) == "Finding"]
    assert [item.ConceptCodeSequence[0].CodeMeaning for item in findings] == [
        "Pneumothorax",
        "Pleural effusion",
        "Cardiomegaly",
    ]


def test_sides_are_stated_where_a_lung_has_them() -> None:
    """A sided finding of the lung names the lung and the patient's side; the heart has none."""
    sides = [
        [
            site.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning
            for site in group.ContentSequence
            if meaning(site) == "Finding Site"
        ]
        for group in groups(build().findings_report)
    ]
    assert sides == [["Right"], ["Left"], []]


def test_crops_show_the_most_harmful_boxes() -> None:
    """At most three crops, the one first that may least wait, however probable the others are."""
    crops = build(analysis(CARDIOMEGALY, EFFUSION, PNEUMOTHORAX, PNEUMONIA)).crops
    assert [item.InstanceNumber for item in crops] == [1, 2, 3]
    starts = [item.DerivationDescription.split(" to ")[0] for item in crops]
    assert starts == ["Columns 0", "Columns 460", "Columns 479"], "pneumothorax, effusion, pneumonia"
    assert len({item.PixelData for item in crops}) == 3


def test_a_crop_is_derived_evidence_of_the_film() -> None:
    """A crop or overview says DERIVED, names film and report, and carries how the patient lies in it."""
    results = build()
    for crop in (*results.crops, overview(results)):
        assert crop.ImageType == ["DERIVED", "SECONDARY"]
        assert (crop.Modality, crop.ConversionType, crop.BurnedInAnnotation) == ("OT", "WSD", "NO")
        assert crop.PatientOrientation == ["L", "F"]
        assert crop.BodyPartExamined == "CHEST"
        (source,) = crop.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == "1.2.3.4.5"
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        (report,) = crop.ReferencedInstanceSequence
        assert report.ReferencedSOPInstanceUID == results.triage_report.SOPInstanceUID
        assert report.PurposeOfReferenceCodeSequence[0].CodeValue == "128225"
        assert "FrameOfReferenceUID" not in crop


def test_a_crop_shows_the_right_place_the_right_way_round() -> None:
    """Bright quarters of the box lie in the same quarters of the drawn box, and the box has the announced place."""
    pixels = np.full((ROWS, COLUMNS), 20, np.uint8)
    pixels[200:400, 100:250] = 220  # the upper left quarter of the pneumothorax's box
    crop = build(analysis(PNEUMOTHORAX), pixels=pixels).crops[0]
    picture = stored(crop).pixel_array
    orange = (picture == (230, 159, 0)).all(axis=2)
    strip = picture.shape[0] - 57
    rows, columns = np.nonzero(orange[:strip])
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    inside = picture[top + 4 : bottom - 3, left + 4 : right - 3, 0].astype(int)
    middle_row, middle_column = inside.shape[0] // 2, inside.shape[1] // 2
    assert inside[: middle_row - 4, : middle_column - 4].min() > 200
    assert inside[middle_row + 4 :].max() < 40
    assert inside[:, middle_column + 4 :].max() < 40
    height, width = bottom - top + 1 - 4, right - left + 1 - 4
    assert width / height == pytest.approx(300 / 400, abs=0.01)


def test_the_caption_fits_and_stands_below_the_picture() -> None:
    """The strip has white words, ends in black, and leaves the film above it alone."""
    tall = dataclasses.replace(CARDIOMEGALY, region=Region(x=500, y=0, width=2, height=1200))
    dark = np.zeros((ROWS, COLUMNS), np.uint8)
    for found in (analysis(tall), analysis(PNEUMOTHORAX), analysis(EFFUSION)):
        picture = build(found, pixels=dark).crops[0].pixel_array
        strip = picture[-57:]
        assert (strip == 255).all(axis=2).any()
        assert not strip[:, -8:].any()
        assert not (picture[:-57] == 255).any()


def test_the_overview_shows_every_box_on_the_whole_film() -> None:
    """The last of the crops' series is the film at 768 pixels with all boxes where they lie, and a line for each."""
    found = analysis(CARDIOMEGALY, EFFUSION, PNEUMOTHORAX, PNEUMONIA)
    results = build(found, pixels=np.full((ROWS, COLUMNS), 90, np.uint8))
    picture = overview(results)
    assert picture.SeriesInstanceUID == results.crops[0].SeriesInstanceUID
    assert picture.InstanceNumber == 4, "three crops come before it"
    assert (picture.Rows, picture.Columns) == (768 + 4 * 26 + 31, 640)
    assert "Columns 0 to 999 and rows 0 to 1199" in picture.DerivationDescription
    assert picture.DerivationDescription.endswith("with boxes and a caption drawn by AI")
    orange = (picture.pixel_array[:768] == (230, 159, 0)).all(axis=2)
    for box in (finding.region for finding in found.findings if finding.region):
        left, right, top, bottom = (
            round(0.64 * edge) for edge in (box.x, box.x + box.width, box.y, box.y + box.height)
        )
        inner = slice(left + 10, right - 10)
        for edge in (top, bottom):  # drawn just outside the box; other boxes and their numbers may cross it
            assert edge + 3 > 768 or orange[edge - 3 : edge + 3, inner].any(axis=0).mean() > 0.8, box
        assert right + 3 > 640 or orange[top + 10 : bottom - 10, right - 3 : right + 3].any(axis=1).mean() > 0.8, box


def test_boxes_at_one_place_keep_their_numbers_apart() -> None:
    """Two findings with the same box are numbered one below the other, and a single box needs no number."""
    twin = dataclasses.replace(PNEUMOTHORAX, type=FindingType.PNEUMONIA, probability=0.9)
    dark = np.full((ROWS, COLUMNS), 90, np.uint8)
    one, two = (overview(build(found, pixels=dark)) for found in (analysis(PNEUMOTHORAX), analysis(PNEUMOTHORAX, twin)))
    black = [(picture.pixel_array[:768] == 0).all(axis=2).sum() for picture in (one, two)]
    assert black[1] - black[0] > 2 * 150, "two numbers on black ground"


def test_pixel_spacing_follows_the_scale() -> None:
    """A length measured on the overview is the length on the film."""

    def whole(**attributes: object) -> Dataset:
        return overview(build(source=film(**attributes)))

    assert whole(PixelSpacing=[0.2, 0.2]).PixelSpacing[0] * 768 == pytest.approx(0.2 * ROWS)
    assert "PixelSpacing" not in whole(PixelSpacing=[0, 0])
    assert whole(PixelAspectRatio=[4, 3]).PixelAspectRatio == [4, 3]
    assert "PixelAspectRatio" not in whole(PixelAspectRatio="1")


def test_lossy_once_is_lossy_for_ever() -> None:
    """A crop of a lossy film carries flag, ratio and method; of a lossless one nothing."""
    lossy = film(
        LossyImageCompression="01",
        LossyImageCompressionRatio=["12.5", "3"],
        LossyImageCompressionMethod=["ISO_10918_1", "ISO_15444_1"],
    )
    for crop in build(source=lossy).crops:
        assert crop.LossyImageCompression == "01"
        assert crop.LossyImageCompressionRatio == [12.5, 3]
        assert crop.LossyImageCompressionMethod == ["ISO_10918_1", "ISO_15444_1"]
    assert not any("LossyImageCompression" in crop for crop in build(source=film(LossyImageCompression="00")).crops)


def test_burned_in_data_of_the_film_are_declared() -> None:
    """A crop of a film that has patient data in its pixels does not claim to be free of them."""
    assert build(source=film(BurnedInAnnotation="YES")).crops[0].BurnedInAnnotation == "YES"


def test_no_patient_data_is_drawn() -> None:
    """The drawn words are the same for two patients, so they cannot hold the patient's data."""
    other = film(PatientName="Roe^Rick", PatientID="P2", PatientBirthDate="19700202", AccessionNumber="A2")
    drawn = [
        [item.PixelData for item in build(source=source).objects if item.Modality == "OT"] for source in (film(), other)
    ]
    assert len(drawn[0]) == 4
    assert drawn[0] == drawn[1]
