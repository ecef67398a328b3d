"""Write the card that lies beside a scorer's weights: card.json, which the triage rule works by.

Choices (weights, what is an emergency, what is not looked for) are read from scorer_card.toml; the rest is measured on
the sharp validation films, scored as the product scores them:

    python -m models.training.scorer_card --films DIR --manifest FILE [FILE] --folder models/embedded/weights

- An output is shown where its area under the ROC curve is better than chance: the interval's lower end is above 0.5.
- A finding may be put into words from a probability of one half on, where at least 5 films reach that and at least
  half of them have it; the share stands in the card with its number of films and Wilson's interval.
- A finding of the emergencies makes a study critical from the lowest probability that at least 5 films reach, at least
  half of which have it. That threshold is chosen on the films that its precision is then given for, which flatters it.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.card import CARD_FILE
from models.evaluation.films import FINDINGS
from models.evaluation.intervals import wilson
from models.evaluation.metrics import Sample, rank
from models.training.judge import Judged, judge, read_manifests, sample
from worklist.card import FindingCard, Precision, ScorerCard, card_to_json
from worklist.errors import FirstreadError, InvalidInput
from worklist.finding import Algorithm, FindingType
from worklist.triage import SiteChoices, TriagePolicy, assess

CHOICES = Path(__file__).with_name("scorer_card.toml")
NAMED_FROM = 0.5  # probability
LEAST_FILMS = 5
LEAST_PRECISION = 0.5

_LOG = logging.getLogger(__name__)
_CHANCE = 0.5  # area under the ROC curve
_NO_PREVALENCE = 0.5  # rank() asks for one for its alarm rate, which is not used here
_QUANTILES = 101


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a card says by choice: see scorer_card.toml."""

    collection: str
    flag_from: float
    emergencies: tuple[str, ...]
    not_looked_for: tuple[str, ...]
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        """Refuse weights and emergencies that are not about the six findings."""
        known = {kind.key for kind in FINDINGS}
        if set(self.weights) != known or not set(self.emergencies) <= known:
            raise ValueError(f"weights and emergencies are about {', '.join(sorted(known))}")


def read_choices(file: Path = CHOICES) -> Choices:
    """The choices in a file.

    Raises:
        InvalidInput: bad_choices, it cannot be read, or a key is missing, unknown or about something else.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        lists = {key: tuple(document[key]) for key in ("emergencies", "not_looked_for")}
        return Choices(**(document | lists))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput("bad_choices", f"{file} does not say what a card needs ({error})") from error


def measure_card(films: Sequence[Judged], choices: Choices) -> ScorerCard:
    """The card of what judged the films.

    Args:
        films: the reference, at least one, all judged by one scorer.
        choices: what is not measured.
    """
    algorithm: Algorithm = films[0].analysis.scorer
    side_px = max(max(film.analysis.image.rows, film.analysis.image.columns) for film in films)
    card = ScorerCard(
        name=algorithm.name,
        version=algorithm.version,
        sha256=algorithm.sha256,
        findings=tuple(_finding(kind, sample(films, kind.key), choices) for kind in FINDINGS),
        not_looked_for=choices.not_looked_for,
        flag_from=choices.flag_from,
        reference=f"{len(films)} validation films of {choices.collection} at {side_px} px",
        reference_harms=(),
    )
    policy = TriagePolicy(card=card, site=SiteChoices(), flag_from=card.flag_from, budget_basis="")
    harms = [assess(film.analysis, policy).harm for film in films]
    quantiles = np.quantile(harms, np.linspace(0, 1, _QUANTILES))
    return replace(card, reference_harms=tuple(round(float(harm), 4) for harm in quantiles))


def _finding(kind: FindingType, films: Sample, choices: Choices) -> FindingCard:
    area = rank(films, _NO_PREVALENCE).auc
    named = _precision(films, NAMED_FROM)
    card = FindingCard(
        type=kind,
        weight=choices.weights[kind.key],
        is_shown=area.low is not None and area.low > _CHANCE,
        named_from=NAMED_FROM if named else None,
        precision=named,
    )
    if not card.is_shown:
        return replace(card, named_from=None, precision=None)
    return _with_critical(card, films) if kind.key in choices.emergencies else card


def _with_critical(card: FindingCard, films: Sample) -> FindingCard:
    """The card with the lowest threshold from which the finding is there at least as often as not, if there is one."""
    levels = np.unique(films.probability)
    between = np.append(levels[:1], (levels[1:] + levels[:-1]) / 2)  # so that no film lies on a threshold
    for level in between:
        threshold = round(float(level), 6)
        if precision := _precision(films, threshold):
            return replace(card, critical_from=threshold, critical_precision=precision)
    return card


def _precision(films: Sample, threshold: float) -> Precision | None:
    """How often films that reach a probability have the finding; None where that is too seldom, or not known."""
    reached = films.truth[films.probability >= threshold]
    if len(reached) < LEAST_FILMS or reached.mean() < LEAST_PRECISION:
        return None
    share = wilson(float(reached.mean()), len(reached))
    low, high = (round(end, 3) for end in (share.low or 0.0, share.high or 1.0))
    return Precision(value=round(float(reached.mean()), 3), n=len(reached), interval=(low, high))


def write_scorer_card(*, films: Path, manifest: Sequence[Path], folder: Path, choices: Path = CHOICES) -> Path:
    """Measure the network in a folder and write its card.json beside it.

    Args:
        films: the folder that the manifests lie in, or that the files of a manifest from elsewhere lie in.
        manifest: CSVs, see `judge.read_manifest`.
        folder: of embedded.onnx and embedded.json.
        choices: what is not measured, TOML.

    Returns:
        The card's file.

    Raises:
        InvalidInput: a file cannot be used, the manifests list no sharp validation film, or no
            output that weighs anything is better than chance on them.
        ModelUnavailable: as EmbeddedScorer.
    """
    chosen = read_choices(choices)
    listed = [film for film in read_manifests(manifest, films) if film.split == "val"]
    sharp = [film for film in judge(folder, films, listed) if film.is_sharp]
    if not sharp:
        raise InvalidInput("no_films", f"{manifest[0]} needs validation films of more than 256 px")
    file = folder / CARD_FILE
    try:
        card = measure_card(sharp, chosen)
    except ValueError as error:
        raise InvalidInput("no_card", f"these films give no card of {folder}: {error}") from error
    file.write_text(json.dumps(card_to_json(card), indent=2) + "\n", encoding="utf-8")
    return file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 2 where the input cannot be used, 1 where the model cannot."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m models.training.scorer_card", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--films", type=Path, required=True, help="folder that the manifests and their films lie in")
    parser.add_argument("--manifest", type=Path, required=True, nargs="+", help="CSVs, one row a film")
    parser.add_argument("--folder", type=Path, required=True, help="folder of embedded.onnx and its JSON")
    parser.add_argument("--choices", type=Path, default=CHOICES, help="TOML of what is not measured")
    try:
        card = write_scorer_card(**vars(parser.parse_args(arguments)))
    except FirstreadError as error:
        _LOG.error("%s", error.message)
        return 2 if isinstance(error, InvalidInput) else 1
    _LOG.info("%s", card)
    return 0


if __name__ == "__main__":
    sys.exit(main())
