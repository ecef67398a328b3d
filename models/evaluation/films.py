"""Predictions and labels of films, and what their findings and subgroups are called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from models.evaluation.triage import Triaged
from worklist.finding import FindingType

URGENT = "urgent"
FINDINGS = (
    FindingType.PNEUMOTHORAX,
    FindingType.PLEURAL_EFFUSION,
    FindingType.CONSOLIDATION,
    FindingType.PNEUMONIA,
    FindingType.CARDIOMEGALY,
    FindingType.PULMONARY_EDEMA,
)
"""The six findings that are judged: any of them makes a film urgent by its labels."""
TARGETS = (URGENT, *(kind.key for kind in FINDINGS))
SUBGROUPS = (
    "sex",
    "age_band",
    "view",
    "station",
    "manufacturer",
    "ward",
    "order_priority",
    "explainer_version",
)
UNKNOWN = "unknown"
"""The subgroup of films whose cell says nothing."""
NAMES = {kind.label.lower(): kind.key for kind in FINDINGS} | {
    "effusion": FindingType.PLEURAL_EFFUSION.key,  # as ChestX-ray14 calls them (Wang et al., CVPR 2017)
    "edema": FindingType.PULMONARY_EDEMA.key,
}
"""Keys of the findings by what files call them, in lower case with spaces."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A box in source pixels, (x, y) its upper left corner; target is None where its finding is not stated."""

    x: float
    y: float
    w: float
    h: float
    target: str | None

    def __post_init__(self) -> None:
        """Refuse boxes without an area."""
        if not all(map(math.isfinite, (self.x, self.y, self.w, self.h))) or self.w <= 0 or self.h <= 0:
            raise ValueError("a box needs finite x, y and a width and height above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a model said of one film.

    Attributes:
        file: the film.
        abstention: why there is no prediction, such as out_of_scope or failed; empty where there is one.
        failure_code: the code that says so more exactly, such as lateral_view; empty where none is stated.
        probabilities: 0 to 1, by target.
        thresholds: the model's operating points, by target, as far as they are known.
        calls: whether the model called the film positive, by target, as far as it is known.
        boxes: where it saw evidence.
        model: name, version and SHA-256 of the weights.
        policy: SHA-256 of the triage policy that was in force; empty where it is not stated.
        triaged: what the list does with it; None where that is not known.
        identifiers: Study Instance UID, accession number and SOP Instance UIDs, as far as they are stated.
        patient: whose film it is; None where that is not stated.
        groups: value of each of SUBGROUPS that is stated, `unknown` where its cell says nothing.
    """

    file: str
    abstention: str
    failure_code: str = ""
    probabilities: Mapping[str, float]
    thresholds: Mapping[str, float]
    calls: Mapping[str, bool]
    boxes: tuple[Box, ...]
    model: tuple[str, str, str] | None
    policy: str = ""
    triaged: Triaged | None = None
    identifiers: tuple[str, ...] = ()
    patient: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """What is true of one film, by target; what is not known is absent.

    Attributes:
        file: the film.
        truth: whether the finding is there, by target.
        patient: whose film it is; None in files without a patient column.
        groups: value of each of SUBGROUPS that the file states, `unknown` where its cell says nothing.
        boxes: where readers saw one of the six findings.
        foreign_boxes: how many boxes of other findings there were.
        identifiers: Study Instance UID, accession number and SOP Instance UIDs, as far as they are stated.
    """

    file: str
    truth: Mapping[str, bool]
    patient: str | None
    groups: Mapping[str, str]
    boxes: tuple[Box, ...]
    foreign_boxes: int
    identifiers: tuple[str, ...] = ()
