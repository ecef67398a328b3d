"""What the reading list makes of labelled films: which it moves, how far up sick films come, what it says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from models.evaluation.films import TARGETS, Label, Prediction
from models.evaluation.intervals import Indices, Numbers, proportion
from models.evaluation.order import flagged_without_reason, judge_order, judge_words
from models.evaluation.triage import Triaged, sort_keys


def list_figures(films: Sequence[tuple[Prediction, Label]]) -> dict[str, Any]:
    """The figures under `list` of docs/evaluation.md; those of words are None where any film leaves them open."""
    known = [(prediction.triaged, label) for prediction, label in films if prediction.triaged]
    triaged = [each for each, _ in known]
    patient = patients_of([label for _, label in known])
    key = sort_keys(triaged)
    worded = [(each.words.named, label.truth) for each, label in known if each.words]
    says = len(worded) == len(known) > 0
    flagged = np.array([each.is_flagged for each in triaged], dtype=np.bool_)
    note = "no film whose place is known"
    return {
        "films": len(known),
        "without_triage": len(films) - len(known),
        "moved": asdict(proportion(key > 0, patient, note=note)),
        "flagged": asdict(proportion(flagged, patient, note=note)),
        "flagged_without_reason": asdict(flagged_without_reason(triaged, patient)) if says else None,
        "order": {target: _placed(known, key, target) for target in TARGETS},
        "named": {
            target: asdict(naming)
            for target, naming in judge_words([n for n, _ in worded], [t for _, t in worded], patient).items()
        }
        if says
        else None,
    }


def patients_of(labels: Sequence[Label]) -> Indices | None:
    """Numbers of the patients, int64, shape (N,); None where no film states one."""
    names = [label.patient or "" for label in labels]
    return np.unique(names, return_inverse=True)[1] if any(names) else None


def _placed(known: Sequence[tuple[Triaged, Label]], key: Numbers, target: str) -> dict[str, Any]:
    """The order, held against one finding."""
    judged = np.array([target in label.truth for _, label in known], dtype=np.bool_)
    labels = [label for _, label in known if target in label.truth]
    truth = np.array([label.truth[target] for label in labels], dtype=np.bool_)
    return asdict(judge_order(key[judged], truth, patients_of(labels)))
