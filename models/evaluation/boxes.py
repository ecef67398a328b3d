"""How well boxes point to what readers outlined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.evaluation.films import TARGETS, Box, Label, Prediction
from models.evaluation.intervals import Estimate, proportion

OVERLAPS = (0.1, 0.3, 0.5)  # of the thresholds of Wang et al. (CVPR 2017), IoU from 0.1 to 0.7


@dataclass(frozen=True, kw_only=True, slots=True)
class Localization:
    """Readers' boxes of one finding, each held against the model's best box on its film.

    Attributes:
        boxes: how many readers' boxes there are.
        without_crop: how many of them lie on films on which the model drew no box that could be theirs.
        mean_iou: intersection over union with the model's best box; 0 where it drew none.
        overlapping: share of boxes with an IoU of at least each of OVERLAPS.
        pointing_game: share of boxes that hold the center of a box of the model (Zhang et al., ECCV 2016).
    """

    boxes: int
    without_crop: int
    mean_iou: Estimate
    overlapping: tuple[Estimate, ...]
    pointing_game: Estimate


def localize(films: Sequence[tuple[Prediction, Label]]) -> dict[str, Localization]:
    """Localization by finding, for findings that readers outlined on a film with a prediction.

    A box of the model that states no finding counts for any. Films of one patient, or boxes of one film where no
    patient is stated, are not independent: intervals come from a bootstrap that draws patients, or films.
    """
    found = {}
    for target in TARGETS:
        pairs = [
            (box, [crop for crop in prediction.boxes if crop.target in (None, target)], label.patient or label.file)
            for prediction, label in films
            if not prediction.abstention
            for box in label.boxes
            if box.target == target
        ]
        if not pairs:
            continue
        overlap = np.array([max((iou(box, crop) for crop in crops), default=0.0) for box, crops, _ in pairs])
        hit = np.array([any(holds_center(box, crop) for crop in crops) for box, crops, _ in pairs])
        _, source = np.unique([source for *_, source in pairs], return_inverse=True)
        found[target] = Localization(
            boxes=len(pairs),
            without_crop=sum(not crops for _, crops, _ in pairs),
            mean_iou=Estimate(value=float(overlap.mean())),
            overlapping=tuple(proportion(overlap >= least, source, note="") for least in OVERLAPS),
            pointing_game=proportion(hit, source, note=""),
        )
    return found


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width = min(one.x + one.w, other.x + other.w) - max(one.x, other.x)
    height = min(one.y + one.h, other.y + other.h) - max(one.y, other.y)
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (one.w * one.h + other.w * other.h - shared)


def holds_center(box: Box, crop: Box) -> bool:
    """Whether the center of `crop` lies in `box`, which is a hit in the pointing game."""
    x, y = crop.x + crop.w / 2, crop.y + crop.h / 2
    return box.x <= x <= box.x + box.w and box.y <= y <= box.y + box.h
