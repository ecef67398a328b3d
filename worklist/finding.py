"""What a model says about a film: findings, regions, quality, and the Analysis that holds them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

DISCLAIMER = "Not a diagnosis. Research use. Unverified AI output."


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """A coded concept (PS3.3 section 8): value, scheme designator and meaning (at most 64 characters)."""

    value: str
    scheme: str
    meaning: str


class FindingType(StrEnum):
    """The findings Firstread knows, by a stable key."""

    PNEUMOTHORAX = "pneumothorax"
    PLEURAL_EFFUSION = "pleural_effusion"
    CONSOLIDATION = "consolidation"
    PNEUMONIA = "pneumonia"
    CARDIOMEGALY = "cardiomegaly"
    PULMONARY_EDEMA = "pulmonary_edema"

    @property
    def code(self) -> Code:
        """The SNOMED CT concept of the finding."""
        return _CODES[self]

    @property
    def label(self) -> str:
        """The finding's English name, as every page and interface shows it."""
        return _LABELS[self]


_CODES = {
    FindingType.PNEUMOTHORAX: Code(value="36118008", scheme="SCT", meaning="Pneumothorax"),
    FindingType.PLEURAL_EFFUSION: Code(value="60046008", scheme="SCT", meaning="Pleural effusion"),
    FindingType.CONSOLIDATION: Code(value="95436008", scheme="SCT", meaning="Consolidation of lung"),
    FindingType.PNEUMONIA: Code(value="233604007", scheme="SCT", meaning="Pneumonia"),
    FindingType.CARDIOMEGALY: Code(value="8186001", scheme="SCT", meaning="Cardiomegaly"),
    FindingType.PULMONARY_EDEMA: Code(value="19242006", scheme="SCT", meaning="Pulmonary edema"),
}
_LABELS = {
    FindingType.PNEUMOTHORAX: "Pneumothorax",
    FindingType.PLEURAL_EFFUSION: "Pleural effusion",
    FindingType.CONSOLIDATION: "Consolidation",
    FindingType.PNEUMONIA: "Pneumonia",
    FindingType.CARDIOMEGALY: "Cardiomegaly",
    FindingType.PULMONARY_EDEMA: "Pulmonary edema",
}


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One finding that was looked for: calibrated probability, operating point, side and evidence."""

    type: FindingType
    probability: float
    threshold: float
    side: Side | None = None
    region: Region | None = None

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
    """One model's output on one film.

    Attributes:
        image: the film that was judged.
        scorer: what computed the probabilities.
        findings: every finding that was looked for, most probable first.
        score: calibrated probability of any urgent finding, 0 to 1.
        threshold: operating point of the score; at or above it the film is called Urgent.
        quality: what bears on the trust in the score; empty for a good film.
        completed_at: when the score was computed, UTC, whole milliseconds.
        elapsed_ms: time from pixels to score, in milliseconds.
        explanation: one or a few plain sentences; empty until an explainer has run.
        explainer: what wrote the explanation.
        prompt_version: version of the template or prompt behind the explanation.
        snippets: sentences of earlier reports that mention a finding.
    """

    image: ImageReference
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

    def __post_init__(self) -> None:
        """Refuse a score that is no probability, a naive time, and boxes outside the image."""
        _require_probability("score", self.score)
        _require_probability("threshold", self.threshold)
        if self.completed_at.utcoffset() is None:
            raise ValueError("completed_at needs a time zone")
        for finding in self.findings:
            box = finding.region
            if box and (box.x + box.width > self.image.columns or box.y + box.height > self.image.rows):
                raise ValueError(f"{box} lies outside an image of {self.image.columns} x {self.image.rows} pixels")

    @property
    def is_urgent(self) -> bool:
        """Whether the score reaches the operating point."""
        return self.score >= self.threshold

    @property
    def positive_findings(self) -> tuple[Finding, ...]:
        """The findings at or above their operating point, most probable first."""
        positive = [finding for finding in self.findings if finding.is_positive]
        return tuple(sorted(positive, key=lambda finding: -finding.probability))

    def explained(
        self,
        explanation: str,
        *,
        explainer: Algorithm,
        prompt_version: str,
        snippets: tuple[Snippet, ...] = (),
    ) -> Analysis:
        """The same Analysis with its words added."""
        return replace(
            self,
            explanation=explanation,
            explainer=explainer,
            prompt_version=prompt_version,
            snippets=snippets,
        )


def _require_probability(name: str, value: float) -> None:
    if not (math.isfinite(value) and 0.0 <= value <= 1.0):
        raise ValueError(f"{name} must be between 0 and 1, got {value}")
