"""Findings, regions and the Analysis: only valid ones can be built."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydicom.sr.codedict import codes

from worklist.finding import (
    KNOWN_FINDINGS,
    MIRRORED_FILM,
    TURNED_FILM,
    Algorithm,
    Analysis,
    Finding,
    FindingType,
    QualityNote,
    Region,
    Side,
    Snippet,
    merge,
)

MakeAnalysis = Callable[..., Analysis]


def test_every_known_finding_has_its_code() -> None:
    """The codes are those of SNOMED CT, of DICOM where it lists none of these, and no two findings share one."""
    assert {key: kind.code.value for key, kind in KNOWN_FINDINGS.items()} == {
        "pneumothorax": codes.SCT.Pneumothorax.value,
        "pleural_effusion": codes.SCT.PleuralEffusion.value,
        "consolidation": "95436008",
        "pneumonia": "233604007",
        "cardiomegaly": "8186001",
        "pulmonary_edema": codes.SCT.PulmonaryEdema.value,
        "mass": codes.SCT.Mass.value,
        "nodule": codes.SCT.Nodule.value,
        "atelectasis": "46621007",
        "lung_opacity": codes.DCM.Opacity.value,
    }
    assert {key for key, kind in KNOWN_FINDINGS.items() if kind.code.scheme != "SCT"} == {"lung_opacity"}
    assert FindingType.LUNG_OPACITY.code.scheme == "DCM"
    assert all(0 < len(kind.code.meaning) <= 64 for kind in KNOWN_FINDINGS.values())


def test_every_known_finding_has_its_promised_name() -> None:
    """The keys and English names are the ones that pages and interfaces promise, and each key finds its kind."""
    assert {str(kind): kind.label for kind in KNOWN_FINDINGS.values()} == {
        "pneumothorax": "Pneumothorax",
        "pleural_effusion": "Pleural effusion",
        "consolidation": "Consolidation",
        "pneumonia": "Pneumonia",
        "cardiomegaly": "Cardiomegaly",
        "pulmonary_edema": "Pulmonary edema",
        "mass": "Mass",
        "nodule": "Nodule",
        "atelectasis": "Atelectasis",
        "lung_opacity": "Lung opacity",
    }
    assert FindingType.of("nodule") is FindingType.NODULE
    with pytest.raises(KeyError):
        FindingType.of("scoliosis")


@pytest.mark.parametrize("value", [-0.001, 1.001, math.nan, math.inf, -math.inf])
def test_what_is_no_probability_is_refused(value: float, make_analysis: MakeAnalysis) -> None:
    """Neither a finding nor an Analysis takes a number outside 0 to 1, or none at all."""
    with pytest.raises(ValueError, match="probability must be between 0 and 1"):
        Finding(type=FindingType.PNEUMONIA, probability=value, threshold=0.5)
    with pytest.raises(ValueError, match="threshold must be between 0 and 1"):
        Finding(type=FindingType.PNEUMONIA, probability=0.5, threshold=value)
    with pytest.raises(ValueError, match="score must be between 0 and 1"):
        make_analysis(value)
    with pytest.raises(ValueError, match="threshold must be between 0 and 1"):
        replace(make_analysis(0.5), threshold=value)


@pytest.mark.parametrize(("x", "y", "width", "height"), [(-1, 0, 1, 1), (0, -1, 1, 1), (0, 0, 0, 1), (0, 0, 1, 0)])
def test_an_empty_or_negative_box_is_refused(x: int, y: int, width: int, height: int) -> None:
    """A region has at least one pixel, and none left of or above the image."""
    with pytest.raises(ValueError, match="a region needs"):
        Region(x=x, y=y, width=width, height=height)


@pytest.mark.parametrize(
    ("region", "fits"),
    [
        (Region(x=0, y=0, width=2500, height=2048), True),
        (Region(x=2499, y=2047, width=1, height=1), True),
        (Region(x=2499, y=2047, width=2, height=1), False),
        (Region(x=2499, y=2047, width=1, height=2), False),
        (Region(x=2100, y=10, width=300, height=300), True),
        (Region(x=10, y=2100, width=300, height=300), False),
    ],
)
def test_a_box_lies_within_its_image(region: Region, fits: bool, make_analysis: MakeAnalysis) -> None:  # noqa: FBT001
    """On a film of 2048 rows and 2500 columns x counts columns and y counts rows."""
    finding = Finding(type=FindingType.PNEUMONIA, probability=0.7, threshold=0.5, region=region)
    if fits:
        assert replace(make_analysis(0.7), findings=(finding,)).findings == (finding,)
    else:
        with pytest.raises(ValueError, match="lies outside an image of 2500 x 2048 pixels"):
            replace(make_analysis(0.7), findings=(finding,))


RIGHT_HALF, LEFT_HALF = Region(x=100, y=0, width=1150, height=9), Region(x=1250, y=0, width=900, height=9)
"""Of a film of 2500 columns, as it hangs: the patient's right is at its left edge."""


@pytest.mark.parametrize(
    ("side", "region", "codes", "told", "is_drawn"),
    [
        (Side.RIGHT, RIGHT_HALF, (), Side.RIGHT, True),
        (Side.LEFT, LEFT_HALF, (), Side.LEFT, True),
        (Side.LEFT, RIGHT_HALF, (), None, False),
        (Side.RIGHT, Region(x=450, y=0, width=1000, height=9), (), Side.RIGHT, False),  # 80 % on its side
        (Side.RIGHT, Region(x=451, y=0, width=1000, height=9), (), None, False),
        (Side.LEFT, Region(x=1050, y=0, width=1000, height=9), (), Side.LEFT, False),
        (Side.LEFT, Region(x=1049, y=0, width=1000, height=9), (), None, False),
        (None, RIGHT_HALF, (), None, True),
        (None, Region(x=1249, y=0, width=2, height=9), (), None, False),
        (Side.LEFT, RIGHT_HALF, (MIRRORED_FILM,), Side.LEFT, True),
        (Side.RIGHT, RIGHT_HALF, (MIRRORED_FILM,), None, False),
        (Side.RIGHT, RIGHT_HALF, (TURNED_FILM,), None, False),
        (None, RIGHT_HALF, (TURNED_FILM,), None, False),
        (Side.RIGHT, RIGHT_HALF, ("low_contrast",), Side.RIGHT, True),
        (Side.RIGHT, None, (), Side.RIGHT, False),
        (Side.RIGHT, None, (TURNED_FILM,), None, False),
        (None, None, (), None, False),
    ],
)
def test_side_and_box_are_told_where_they_agree(  # noqa: PLR0913 - a table
    *,
    side: Side | None,
    region: Region | None,
    codes: tuple[str, ...],
    told: Side | None,
    is_drawn: bool,
    make_analysis: MakeAnalysis,
) -> None:
    """A side needs four fifths of the region on it, a box all of it, by the sides of the film as it hangs."""
    finding = Finding(type=FindingType.PNEUMONIA, probability=0.7, threshold=0.5, side=side, region=region)
    quality = tuple(QualityNote(code=code, message=code) for code in codes)
    analysis = replace(make_analysis(0.7), findings=(finding,), quality=quality)
    assert analysis.side_of(finding) is told
    assert analysis.box_of(finding) == (region if is_drawn else None)


@pytest.mark.parametrize(
    ("kind", "side", "is_drawn"),
    [
        (FindingType.CARDIOMEGALY, None, True),
        (FindingType.CARDIOMEGALY, Side.LEFT, True),
        (FindingType.PULMONARY_EDEMA, None, True),
        (FindingType.PLEURAL_EFFUSION, None, False),
        (FindingType.MASS, None, True),
        (FindingType.MASS, Side.LEFT, False),
    ],
)
def test_what_lies_on_both_sides_may_cross(
    *, kind: FindingType, side: Side | None, is_drawn: bool, make_analysis: MakeAnalysis
) -> None:
    """A box across the middle is for the heart, for edema, and for what nobody gave a side; it bears out no side."""
    region = Region(x=800, y=0, width=900, height=9)
    finding = Finding(type=kind, probability=0.7, threshold=0.5, side=side, region=region)
    analysis = replace(make_analysis(0.7), findings=(finding,))
    assert analysis.box_of(finding) == (region if is_drawn else None)
    assert analysis.side_of(finding) is None


def test_each_box_is_held_against_its_own_image(make_analysis: MakeAnalysis) -> None:
    """Of several images the width of the one that shows the finding counts; if one is mirrored, no side is known."""
    narrow = replace(make_analysis(0.9, {FindingType.PNEUMONIA: 0.8}, sop_instance_uid="1.1"))
    narrow = replace(narrow, images=(replace(narrow.image, columns=1000),))
    inside = Region(x=500, y=0, width=400, height=9)
    boxed = tuple(replace(finding, side=Side.LEFT, region=inside) for finding in narrow.findings)
    wide = make_analysis(0.95, {FindingType.PNEUMONIA: 0.1}, sop_instance_uid="1.2")
    merged = merge([replace(narrow, findings=boxed), wide])
    (finding,) = merged.findings
    assert (merged.side_of(finding), merged.box_of(finding)) == (Side.LEFT, inside)
    mirrored = replace(merged, quality=(QualityNote(code=MIRRORED_FILM, message="mirrored"),))
    assert (mirrored.side_of(finding), mirrored.box_of(finding)) == (None, None)


def test_a_time_without_a_zone_is_refused(make_analysis: MakeAnalysis) -> None:
    """Years later nobody could say which hour was meant."""
    with pytest.raises(ValueError, match="time zone"):
        replace(make_analysis(0.7), completed_at=datetime(2026, 11, 22, 6))  # noqa: DTZ001 - the point of the test


def test_the_operating_point_itself_is_positive(make_analysis: MakeAnalysis) -> None:
    """At its threshold a finding is positive and a film urgent; a hair below, neither."""
    below = math.nextafter(0.5, 0)
    assert Finding(type=FindingType.PNEUMONIA, probability=0.5, threshold=0.5).is_positive
    assert not Finding(type=FindingType.PNEUMONIA, probability=below, threshold=0.5).is_positive
    assert make_analysis(0.5).is_urgent
    assert not make_analysis(below).is_urgent


def test_a_finding_names_an_image_of_its_analysis(make_analysis: MakeAnalysis) -> None:
    """Without a name it belongs to the first image; with another's name it is refused."""
    analysis = make_analysis(0.9, {FindingType.PNEUMONIA: 0.6})
    (finding,) = analysis.findings
    assert analysis.image_of(finding) == analysis.image
    with pytest.raises(ValueError, match=r"1\.9 is no image of this Analysis"):
        replace(analysis, findings=(replace(finding, sop_instance_uid="1.9"),))
    with pytest.raises(ValueError, match="at least one image"):
        replace(analysis, images=())


def test_one_image_is_merged_to_itself(make_analysis: MakeAnalysis) -> None:
    """Nothing of what the scorer said changes."""
    analysis = make_analysis(0.9, {FindingType.PNEUMONIA: 0.6, FindingType.PNEUMOTHORAX: 0.8, FindingType.MASS: 0.5})
    assert merge([analysis]) == analysis


def test_images_are_merged_finding_by_finding(make_analysis: MakeAnalysis) -> None:
    """Each at its highest probability, with its region and the image it was seen on, whatever order they come in."""
    region = Region(x=1, y=2, width=3, height=4)
    one = make_analysis(0.7, {FindingType.PNEUMOTHORAX: 0.65, FindingType.PNEUMONIA: 0.2}, sop_instance_uid="1.1")
    one = replace(
        one,
        findings=tuple(replace(finding, region=region) for finding in one.findings),
        quality=(QualityNote(code="rotated", message="rotated"),),
    )
    two = make_analysis(0.8, {FindingType.PNEUMOTHORAX: 0.1, FindingType.PNEUMONIA: 0.3}, sop_instance_uid="1.2")
    two = replace(two, completed_at=two.completed_at + timedelta(seconds=1), quality=one.quality)
    merged = merge([one, two])
    assert merged == merge([two, one])
    assert [(found.type, found.probability, found.sop_instance_uid) for found in merged.findings] == [
        (FindingType.PNEUMOTHORAX, 0.65, "1.1"),
        (FindingType.PNEUMONIA, 0.3, "1.2"),
    ]
    assert merged.findings[0].region == region
    assert merged.images == (two.image, one.image)
    assert merged.image_of(merged.findings[0]) == one.image
    assert (merged.score, merged.elapsed_ms, merged.quality) == (0.8, 24.69, one.quality)
    assert merged.completed_at == two.completed_at
    assert merge([merged, merge([one])]).findings == merged.findings


def test_an_explanation_changes_no_number(make_analysis: MakeAnalysis) -> None:
    """Explaining adds words and who wrote them, and leaves everything else as it was."""
    analysis = make_analysis(0.9, {FindingType.PNEUMONIA: 0.6})
    explainer = Algorithm(name="words", version="2", sha256="1" * 64, device_uid="2.25.2")
    snippet = Snippet(source="1.2.3.9", snippet="No pneumothorax.")
    explained = analysis.explained(
        "Look at the left base.", explainer=explainer, prompt_version="3", snippets=(snippet,)
    )
    assert (explained.explanation, explained.explainer, explained.prompt_version, explained.snippets) == (
        "Look at the left base.",
        explainer,
        "3",
        (snippet,),
    )
    assert replace(explained, explanation="", explainer=None, prompt_version="", snippets=()) == analysis
    assert explained.completed_at == datetime(2026, 11, 22, 6, 0, 1, 234000, tzinfo=UTC)
