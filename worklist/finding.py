"""What a model says about a film: findings, regions, quality, and the Analysis that holds them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final

from worklist.step import Step, in_order

if TYPE_CHECKING:
    from worklist.account import Account
    from worklist.comparison import PriorComparison

DISCLAIMER = "Not a diagnosis. Research use. Unverified AI output."


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """A coded concept (PS3.3 section 8): value, scheme designator and meaning (at most 64 characters)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingType:
    """A kind of finding: a stable key, its SNOMED CT concept, and its English name as every page shows it.

    Any model may bring kinds of its own: a kind that this version does not know is kept and shown as it came.
    """

    key: str
    code: Code
    label: str

    if TYPE_CHECKING:  # set below; as fields they would be part of every finding's representation in a test
        PNEUMOTHORAX: ClassVar[FindingType]
        PLEURAL_EFFUSION: ClassVar[FindingType]
        CONSOLIDATION: ClassVar[FindingType]
        PNEUMONIA: ClassVar[FindingType]
        CARDIOMEGALY: ClassVar[FindingType]
        PULMONARY_EDEMA: ClassVar[FindingType]
        MASS: ClassVar[FindingType]
        NODULE: ClassVar[FindingType]
        ATELECTASIS: ClassVar[FindingType]
        LUNG_OPACITY: ClassVar[FindingType]

    def __str__(self) -> str:
        """The key."""
        return self.key

    @staticmethod
    def of(key: str) -> FindingType:
        """The known kind of this key.

        Raises:
            KeyError: there is none.
        """
        return KNOWN_FINDINGS[key]


def _known(key: str, code: str, meaning: str, label: str = "") -> FindingType:
    return FindingType(key=key, code=Code(value=code, scheme="SCT", meaning=meaning), label=label or meaning)


FindingType.PNEUMOTHORAX = _known("pneumothorax", "36118008", "Pneumothorax")
FindingType.PLEURAL_EFFUSION = _known("pleural_effusion", "60046008", "Pleural effusion")
FindingType.CONSOLIDATION = _known("consolidation", "95436008", "Consolidation of lung", "Consolidation")
FindingType.PNEUMONIA = _known("pneumonia", "233604007", "Pneumonia")
FindingType.CARDIOMEGALY = _known("cardiomegaly", "8186001", "Cardiomegaly")
FindingType.PULMONARY_EDEMA = _known("pulmonary_edema", "19242006", "Pulmonary edema")
FindingType.MASS = _known("mass", "4147007", "Mass")
FindingType.NODULE = _known("nodule", "27925004", "Nodule")
FindingType.ATELECTASIS = _known("atelectasis", "46621007", "Atelectasis")
FindingType.LUNG_OPACITY = FindingType(  # CID 6102; SNOMED CT has none that DICOM lists
    key="lung_opacity", code=Code(value="112001", scheme="DCM", meaning="Opacity"), label="Lung opacity"
)

KNOWN_FINDINGS: Final[Mapping[str, FindingType]] = {
    kind.key: kind
    for kind in (
        FindingType.PNEUMOTHORAX,
        FindingType.PLEURAL_EFFUSION,
        FindingType.CONSOLIDATION,
        FindingType.PNEUMONIA,
        FindingType.CARDIOMEGALY,
        FindingType.PULMONARY_EDEMA,
        FindingType.MASS,
        FindingType.NODULE,
        FindingType.ATELECTASIS,
        FindingType.LUNG_OPACITY,
    )
}

IN_A_LUNG: Final = frozenset(
    {
        FindingType.PNEUMOTHORAX,
        FindingType.PLEURAL_EFFUSION,
        FindingType.CONSOLIDATION,
        FindingType.PNEUMONIA,
        FindingType.LUNG_OPACITY,
    }
)
"""Findings that lie in one lung, so that a side can be told."""
ON_BOTH_SIDES: Final = frozenset({FindingType.CARDIOMEGALY, FindingType.PULMONARY_EDEMA})
"""Findings that lie on both, so that none can."""

MIRRORED_FILM: Final = "mirrored_film"  # code of a quality note: the patient's left is at the left edge
TURNED_FILM: Final = "turned_film"  # another: it lies on its side or head, and nothing is known of the sides on it
CONTRADICTORY_HEADER: Final = "contradictory_header"  # its pixels are not what its header says; they were believed
CONTRADICTORY_AGE: Final = "contradictory_age"  # by one age a child's film, by the other an adult's
ONE_OF_SEVERAL_FRAMES: Final = "one_of_several_frames"  # the others were not looked at
_ON_A_SIDE: Final = 0.8  # of a region's width; see Region.side


class Side(StrEnum):
    """The patient's side on which the evidence of a finding lies."""

    RIGHT = "right"
    LEFT = "left"


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """A box on the source image, in pixels: x to the right, y down, (0, 0) the upper left corner.

    The box covers the columns x .. x + width - 1 and the rows y .. y + height - 1.
    """

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuse empty or negative boxes."""
        if self.x < 0 or self.y < 0 or self.width < 1 or self.height < 1:
            raise ValueError(f"a region needs x, y >= 0 and a width and height >= 1, got {self}")

    def side(self, columns: int, quality: Collection[QualityNote]) -> Side | None:
        """The patient's side on which the region lies; None where it lies on both, and on a turned film.

        It does with four fifths of its width on that side of the middle column. Films are centered to some per cent of
        their width, so what reaches a little across may be of one lung; with a quarter of it beyond, nobody can say
        of which. The shipped network leaves a gap there: of 16 named regions with a side (265 validation films), 9
        had 65 to 76 % of their width on it and 7 had 83 % or more.

        Args:
            columns: of the film.
            quality: what was noticed of it, which says whether it is turned or mirrored.
        """
        codes = {note.code for note in quality}
        left_px = min(max(columns / 2 - self.x, 0), self.width)
        right_px = self.width - left_px
        if TURNED_FILM in codes or max(left_px, right_px) < _ON_A_SIDE * self.width:
            return None
        return Side.RIGHT if (left_px > right_px) != (MIRRORED_FILM in codes) else Side.LEFT


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One finding that was looked for: calibrated probability, operating point, side and evidence.

    sop_instance_uid names the image it was seen on; empty for the only image of an Analysis.
    """

    type: FindingType
    probability: float
    threshold: float
    side: Side | None = None
    region: Region | None = None
    sop_instance_uid: str = ""

    def __post_init__(self) -> None:
        """Refuse anything that is not a probability."""
        _require_probability("probability", self.probability)
        _require_probability("threshold", self.threshold)

    @property
    def is_positive(self) -> bool:
        """Whether the probability reaches the operating point."""
        return self.probability >= self.threshold


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityNote:
    """Something about the film that bears on how far its score can be trusted."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Snippet:
    """A sentence quoted from an earlier report; source is its SOP Instance UID or file name."""

    source: str
    snippet: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Algorithm:
    """The identity of what computed a result (IHE AIR 6.5.3.1): the device UID changes with the weights."""

    name: str
    version: str
    sha256: str
    device_uid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageReference:
    """The source image of an Analysis."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    rows: int
    columns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """One scorer's output on one image, or on all images of a study.

    Attributes:
        images: the images that were scored, the one with the highest score first.
        scorer: what computed the probabilities.
        findings: every finding that was looked for, once each, most probable first.
        score: calibrated probability of any urgent finding, 0 to 1; the highest of the images.
        threshold: operating point of the score.
        quality: what bears on the trust in the score; empty for a good image.
        completed_at: when the last score was computed, UTC, whole milliseconds.
        elapsed_ms: time from pixels to score, in milliseconds, of all images together.
        explanation: one or a few plain sentences; empty until an explainer has run.
        explainer: what wrote the explanation.
        prompt_version: version of the template or prompt behind the explanation.
        snippets: sentences of earlier reports that mention a finding.
        account: when and how the explanation came about; None before it, and of an earlier version.
        steps: how all of it came about; none of an earlier version.
        prior: what the PACS has of the patient's newest earlier film, beside this; None where it has none.
    """

    images: tuple[ImageReference, ...]
    scorer: Algorithm
    findings: tuple[Finding, ...]
    score: float
    threshold: float
    completed_at: datetime
    elapsed_ms: float
    quality: tuple[QualityNote, ...] = ()
    explanation: str = ""
    explainer: Algorithm | None = None
    prompt_version: str = ""
    snippets: tuple[Snippet, ...] = ()
    account: Account | None = None
    steps: tuple[Step, ...] = ()
    prior: PriorComparison | None = None

    def __post_init__(self) -> None:
        """Refuse a score that is no probability, a naive time, and boxes outside their image."""
        _require_probability("score", self.score)
        _require_probability("threshold", self.threshold)
        if not self.images:
            raise ValueError("an Analysis needs at least one image")
        if self.completed_at.utcoffset() is None:
            raise ValueError("completed_at needs a time zone")
        for finding in self.findings:
            box, image = finding.region, self.image_of(finding)
            if box and (box.x + box.width > image.columns or box.y + box.height > image.rows):
                raise ValueError(f"{box} lies outside an image of {image.columns} x {image.rows} pixels")

    @property
    def image(self) -> ImageReference:
        """The image with the highest score."""
        return self.images[0]

    def image_of(self, finding: Finding) -> ImageReference:
        """The image on which a finding was seen.

        Raises:
            ValueError: the finding names an image that is none of this Analysis.
        """
        if not finding.sop_instance_uid:
            return self.image
        for image in self.images:
            if image.sop_instance_uid == finding.sop_instance_uid:
                return image
        raise ValueError(f"{finding.sop_instance_uid} is no image of this Analysis")

    @property
    def is_urgent(self) -> bool:
        """Whether the score reaches the operating point."""
        return self.score >= self.threshold

    def side_of(self, finding: Finding) -> Side | None:
        """The side that may be told: the one given, unless the region lies elsewhere or the film is turned."""
        if finding.side is None or finding.region is None:
            return None if TURNED_FILM in {note.code for note in self.quality} else finding.side
        return finding.side if finding.side is self._side_of_region(finding, finding.region) else None

    def box_of(self, finding: Finding) -> Region | None:
        """The box that may be shown of a finding, in whatever form: the one way to it.

        What lies in one lung, or is given a side, has one only with all of its region on that side of the middle
        column: a box across the spine reads as wrong, however little of it is beyond. Heart and edema may cross.
        """
        region = finding.region
        if finding.type in ON_BOTH_SIDES or (finding.side is None and finding.type not in IN_A_LUNG) or not region:
            return region
        crosses = region.x < self.image_of(finding).columns / 2 < region.x + region.width
        side = None if crosses else self._side_of_region(finding, region)
        return region if side is not None and finding.side in {None, side} else None

    def _side_of_region(self, finding: Finding, region: Region) -> Side | None:
        # Of several images nobody knows any more which one is mirrored.
        is_known = len(self.images) == 1 or all(note.code != MIRRORED_FILM for note in self.quality)
        return region.side(self.image_of(finding).columns, self.quality) if is_known else None

    def explained(
        self,
        explanation: str,
        *,
        explainer: Algorithm,
        prompt_version: str,
        snippets: tuple[Snippet, ...] = (),
        account: Account | None = None,
    ) -> Analysis:
        """The same Analysis with its words added."""
        return replace(
            self,
            explanation=explanation,
            explainer=explainer,
            prompt_version=prompt_version,
            snippets=snippets,
            account=account,
        )

    def after(self, steps: Iterable[Step]) -> Analysis:
        """The same Analysis, to which further steps have led."""
        return replace(self, steps=in_order((*self.steps, *steps)))


def merge(analyses: Sequence[Analysis]) -> Analysis:
    """What a scorer says of a study: each finding at its highest probability, with the image that shows it.

    One more image, or a higher probability on any, never takes a finding away and never lowers one.

    Args:
        analyses: one for each image, at least one.
    """
    ordered = sorted(analyses, key=lambda analysis: (-analysis.score, analysis.image.sop_instance_uid))
    highest: dict[str, Finding] = {}
    for analysis in ordered:
        for finding in analysis.findings:
            found = replace(finding, sop_instance_uid=analysis.image_of(finding).sop_instance_uid)
            known = highest.get(finding.type.key)
            if known is None or found.probability > known.probability:
                highest[finding.type.key] = found
    images = tuple(image for analysis in ordered for image in analysis.images)
    findings = sorted(highest.values(), key=lambda finding: (-finding.probability, finding.type.key))
    newest = max(ordered, key=lambda analysis: (analysis.completed_at, analysis.scorer.sha256))
    steps = [
        replace(step, input=f"image {position}: {step.input}") if len(images) > 1 else step
        for position, analysis in enumerate(ordered, start=1)
        for step in analysis.steps
    ]
    return Analysis(
        images=images,
        scorer=newest.scorer,
        findings=tuple(findings if len(images) > 1 else (replace(found, sop_instance_uid="") for found in findings)),
        score=ordered[0].score,
        threshold=newest.threshold,
        completed_at=newest.completed_at,
        elapsed_ms=sum(analysis.elapsed_ms for analysis in ordered),
        quality=tuple(dict.fromkeys(note for analysis in ordered for note in analysis.quality)),
        steps=in_order(steps),
    )


def _require_probability(name: str, value: float) -> None:
    if not (math.isfinite(value) and 0.0 <= value <= 1.0):
        raise ValueError(f"{name} must be between 0 and 1, got {value}")
