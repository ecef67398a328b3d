"""What the films that taught nothing say of a site's own model, beside the shipped one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from imaging.files import read_image_file
from imaging.radiograph import read_radiograph
from models import Scorer
from models.evaluation.films import FINDINGS, URGENT
from models.evaluation.intervals import Numbers
from models.evaluation.measure import Calibration
from models.evaluation.measured_card import measure_card, read_choices
from models.evaluation.metrics import Sample
from models.fitting.enough import Patients
from models.fitting.films import SiteFilms
from models.fitting.heads import Fitted
from models.fitting.network import Head
from models.gates.scorer import GatedScorer
from worklist.card import ScorerCard
from worklist.errors import InvalidInput, UnusableImage
from worklist.finding import Analysis
from worklist.words import joined

Shown = Callable[[Sequence[Path]], Iterable[Path]]
"""Passes files on, and shows how far it has come."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Output:
    """What became of an output.

    Attributes:
        key: a finding's, or urgent.
        teaching, judging: patients whose films say something of it.
        fitted: None where there are too few of them, and everything of it stays as shipped.
        held_out: (N,), its logit of the films that teach, each by a fit that never saw its patient.
        shipped, own: films that judge, by the shipped model and by the new one; None where it stays as shipped.
    """

    key: str
    teaching: Patients
    judging: Patients
    fitted: Fitted | None
    held_out: Numbers
    shipped: Sample | None = None
    own: Sample | None = None


def judge(scorer: Scorer, files: Sequence[Path], shown: Shown) -> list[Analysis]:
    """What a model says of films, through the gates as in the product.

    Raises:
        InvalidInput: features_of_another_version, a film is refused whose features were kept.
    """
    gated, analyses = GatedScorer(scorer), []
    for file in shown(files):
        try:
            analyses.append(gated.score(read_radiograph(read_image_file(file))))
        except UnusableImage as error:
            raise InvalidInput(
                "features_of_another_version",
                f"{file} is refused now ({error.code}), and was not by the version that kept its features: remove the "
                "folder features and run the command again",
            ) from error
    return analyses


def compared(
    outputs: Sequence[Output],
    site: SiteFilms,
    analyses: Sequence[Analysis],
    shipped: Head,
    sidecar: Mapping[str, Any],
) -> list[Output]:
    """The outputs with what both models say of the films that judge.

    Args:
        outputs: in the order of OUTPUTS.
        site: all films.
        analyses: of those that judge, by the new model.
        shipped: the last layer of the shipped model.
        sidecar: its embedded.json.
    """
    patient = site.patient[site.judges]
    rows = shipped.rows(site.features[site.judges])
    rows[:, -1] = shipped.urgent(rows)
    found = []
    for number, output in enumerate(outputs):
        if output.fitted is None:
            found.append(output)
            continue
        label, stated = site.truth[site.judges, number], sidecar["outputs"][number]
        known = np.isfinite(label)
        before = Calibration(scale=float(stated["scale"]), bias=float(stated["bias"]))(rows[:, number])
        said = [said_of(analysis, output.key) for analysis in analyses]
        both = [
            Sample(truth=label[known] > 0, probability=probability[known], called=called[known], patient=patient[known])
            for probability, called in (
                (before, before >= float(stated["threshold"])),
                (np.array([each for each, _ in said]), np.array([each for _, each in said])),
            )
        ]
        found.append(replace(output, shipped=both[0], own=both[1]))
    return found


def said_of(analysis: Analysis, key: str) -> tuple[float, bool]:
    """The probability of an output, and whether it is called."""
    if key == URGENT:
        return analysis.score, analysis.is_urgent
    found = next(found for found in analysis.findings if found.type.key == key)
    return found.probability, found.is_positive


def site_card(
    outputs: Sequence[Output],
    site: SiteFilms,
    analyses: Sequence[Analysis],
    base: ScorerCard,
    document: Mapping[str, Any],
) -> ScorerCard:
    """What is known of the new model; of an output that stays as shipped, what its own card knows.

    Raises:
        ValueError: as measure_card.
    """
    kinds = {kind.key: kind for kind in FINDINGS}
    by_key = {each["key"]: each for each in document["outputs"]}
    measured, chosen_on = {}, {}
    for number, output in enumerate(outputs):
        if output.key not in kinds or output.own is None:
            continue
        label = site.truth[~site.judges, number]
        known, stated = np.isfinite(label), by_key[output.key]
        calibration = Calibration(scale=stated["scale"], bias=stated["bias"])
        measured[kinds[output.key]] = output.own
        chosen_on[kinds[output.key]] = Sample(
            truth=label[known] > 0, probability=calibration(output.held_out[known]), called=None, patient=None
        )
    own = {kind.key for kind in measured}
    kept = [card for card in base.findings if card.type.key not in own]
    reference = f"{len(analyses)} films of {document['fitted']['n_judging_patients']} patients of this site"
    if kept:
        reference += f"; {joined([card.type.label.lower() for card in kept])} as of {base.name} {base.version}"
    choices = read_choices()
    weights = {found.type.key: found.weight for found in base.findings if found.type.key in choices.weights}
    choices = replace(choices, weights={**choices.weights, **weights}, not_looked_for=base.not_looked_for)
    card = measure_card(analyses, measured, choices, reference=reference, chosen_on=chosen_on, kept=kept)
    order = [found.type.key for found in base.findings]
    return replace(card, findings=tuple(sorted(card.findings, key=lambda found: order.index(found.type.key))))
