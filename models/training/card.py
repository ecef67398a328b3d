"""Write the card of the embedded model: models/cards/embedded.md and its pictures.

Every figure is measured on the committed file, or read from its sidecar and the log of its release; what is written
by hand is in card.md.j2. Films of the split val are scored the way the product scores them.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.card import load_card
from models.embedded.scorer import EmbeddedScorer
from models.evaluation.card_text import environment
from models.evaluation.films import FINDINGS, URGENT
from models.evaluation.intervals import Estimate
from models.evaluation.measure import OUTPUTS, calibration_error, shift_odds
from models.evaluation.metrics import OperatingPoint, operate, rank
from models.training.compare import Pointing, outside_train, pointing
from models.training.failures import SEEDS, save_real, save_simulated, simulate, worst
from models.training.judge import (
    TARGETS,
    Headline,
    Judged,
    Listed,
    headline,
    judge,
    judge_int8,
    load_film,
    mean_of_findings,
    read_boxes,
    read_manifests,
    read_opacities,
    sample,
)
from models.training.opacity import THRESHOLDS, Opacities, measure_opacities
from models.training.places import places, save_places
from models.training.robust import elsewhere as score_elsewhere
from models.training.robust import steadiness
from worklist.errors import FirstreadError, InvalidInput
from worklist.finding import FindingType

_LOG = logging.getLogger(__name__)
_TITLES = {
    **{kind.key: kind.label for kind in (*FINDINGS, FindingType.LUNG_OPACITY)},
    URGENT: "Urgent (any of the six)",
}
_CHILD = "0-17"
_SUBGROUPS: dict[str, tuple[str, frozenset[str]]] = {  # name: key and values of Label.groups
    "Women": ("sex", frozenset({"F"})),
    "Men": ("sex", frozenset({"M"})),
    "18 to 39 years": ("age_band", frozenset({"18-39"})),
    "40 to 59 years": ("age_band", frozenset({"40-59"})),
    "60 years and more": ("age_band", frozenset({"60-79", "80+"})),
    "Under 18 years (out of scope)": ("age_band", frozenset({_CHILD})),
    "AP films": ("view", frozenset({"AP"})),
    "PA films": ("view", frozenset({"PA"})),
}
_CHANCE = 0.5
_STEADY_STEP = 3  # of the sharp films, one in so many is changed in a dozen ways


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """Validation films of one resolution and their figures."""

    films: Sequence[Judged]

    @property
    def side_px(self) -> int:
        image = self.films[0].analysis.image
        return max(image.rows, image.columns)

    def positives(self, output: str = URGENT) -> int:
        return sum(film.listed.label.truth[output] for film in self.films)

    def figures(self) -> Headline:
        return headline(self.films)

    def at(self, output: str, threshold: float | None = None) -> OperatingPoint:
        point = operate(sample(self.films, output, threshold), self.positives(output) / len(self.films))
        if point is None:
            raise ValueError("every judged film has a call")
        return point

    def within(self, key: str, values: Iterable[str]) -> _Group:
        return _Group(films=[film for film in self.films if film.listed.label.groups.get(key, "") in values])

    def urgent(self) -> Estimate:
        return rank(sample(self.films, URGENT), _CHANCE).auc if self.films else Estimate(value=None)

    def mean(self) -> Estimate:
        return mean_of_findings(self.films) if self.films else Estimate(value=None)


def write_card(  # noqa: PLR0913 - what the command line takes
    *,
    films: Path,
    manifest: Sequence[Path],
    boxes: Path | None,
    weights: Path,
    out: Path,
    rsna: Path | None = None,
    elsewhere: Path | None = None,
    failures: Path | None = None,
    seeds: Iterable[int] = SEEDS,
) -> Path:
    """Measure the network and write embedded.md and pictures/ into `out`.

    Args:
        films: the folder that the manifests lie in, or that the files of a manifest from elsewhere lie in.
        manifest: CSVs, see `judge.read_manifest`.
        boxes: CSV of readers' boxes, see `judge.read_boxes`; None leaves out how well the boxes point.
        weights: folder of embedded.onnx, embedded.json and training-log.jsonl.
        out: where the card goes.
        rsna: CSV of readers' boxes of opacities, see `judge.read_boxes`.
        elsewhere: a folder of films of another hospital; None leaves out what is said of them.
        failures: a folder outside the repository for pictures of the worst real films; None writes none.
        seeds: simulated patients among whom failures are looked for.

    Returns:
        The card.

    Raises:
        InvalidInput: a file cannot be used, films are missing, or the log is that of other weights.
        ModelUnavailable: as EmbeddedScorer and load_card.
    """
    template = environment(Path(__file__).parent).get_template("card.md.j2")
    scorer = EmbeddedScorer(weights)
    sidecar = json.loads((weights / "embedded.json").read_text(encoding="utf-8"))
    release = _release(weights / "training-log.jsonl", sidecar["sha256"])
    listed = read_manifests(manifest, films)
    val = judge(weights, films, [film for film in listed if film.split == "val"])
    if failures:
        _LOG.info("%d pictures of real films in %s", save_real(val, weights, films, failures), failures)
    outside = outside_train(listed)
    held = judge(weights, films, outside["held out"]) if outside["held out"] else []
    unseen = [film for each in outside.values() for film in each]
    located = _pointing(weights, films, unseen, boxes, rsna) if boxes else []
    sharp = _Group(films=[film for film in val if film.is_sharp])
    small = _Group(films=[film for film in val if not film.is_sharp])
    held_sharp = _Group(films=[film for film in held if film.is_sharp])
    held_small = _Group(films=[film for film in held if not film.is_sharp])
    if not sharp.films or not small.films:
        names = ", ".join(map(str, manifest))
        raise InvalidInput("no_films", f"{names} needs validation films of more than 256 px, and of less")
    cases = simulate(weights, seeds)
    shown, pointed = worst(cases), places(cases, scorer.card)
    save_simulated(shown, weights, out / "pictures")
    save_places(pointed, weights, out / "pictures")
    figures = sharp.figures()
    context = {
        "sidecar": sidecar,
        "release": release,
        "digest": scorer.algorithm.sha256,
        "file_mb": scorer.model_size_mb,
        "titles": _TITLES,
        "targets": TARGETS,
        "sharp": sharp,
        "small": small,
        "sharp_figures": figures,
        "small_figures": small.figures(),
        "prevalences": {output: _moved(sharp, small, output) for output in OUTPUTS},
        "at_chance": [
            _TITLES[output].lower()
            for output in OUTPUTS
            if (figures.auc[output].low or 0) <= _CHANCE and output != URGENT
        ],
        "subgroups": {
            name: (sharp.within(key, values), small.within(key, values)) for name, (key, values) in _SUBGROUPS.items()
        },
        "train_children": sum(f.split == "train" and f.label.groups.get("age_band") == _CHILD for f in listed),
        "pointing": located,
        "opacities": _opacities({"Held out": held, "Validation": val}, boxes, rsna) if "sharp" in sidecar else {},
        "opacity_thresholds": THRESHOLDS,
        "held_sharp": held_sharp,
        "held_small": held_small,
        "held_sharp_figures": held_sharp.figures() if held_sharp.films else None,
        "held_figures": held_small.figures() if held_small.films else None,
        "steady_films": len(sharp.films[::_STEADY_STEP]),
        "steady": steadiness(
            weights, [load_film(films, film.listed.label.file) for film in sharp.films[::_STEADY_STEP]]
        ),
        "elsewhere": score_elsewhere(weights, elsewhere) if elsewhere else None,
        "int8": judge_int8(weights, films, listed, sharp.films),
        "failures": shown,
        "places": pointed,
        "outputs": OUTPUTS,
        "scorer_card": load_card(weights, sha256=scorer.algorithm.sha256),
    }
    card = out / "embedded.md"
    card.write_text(template.render(context), encoding="utf-8")
    return card


def _moved(sharp: _Group, small: _Group, output: str) -> tuple[float, float, float, float]:
    """Prevalence of an output on both groups; its calibration error on the small films, and with its odds moved."""
    here, there = (group.positives(output) / len(group.films) for group in (sharp, small))
    label = np.array([film.listed.label.truth[output] for film in small.films], dtype=np.float64)
    probability = np.array([film.probability(output) for film in small.films])
    moved = shift_odds(probability, here, there)
    return here, there, calibration_error(label, probability), calibration_error(label, moved)


def _release(log: Path, sha256: str) -> dict[str, Any]:
    """What the log says of the release of these weights."""
    try:
        entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InvalidInput("bad_log", f"{log} is no log of a training run ({error})") from error
    found = [entry["release"] for entry in entries if entry.get("release", {}).get("sha256") == sha256]
    if not found:
        raise InvalidInput(
            "other_weights", f"{log} has no release of the weights {sha256[:12]}: put theirs beside them"
        )
    return dict(found[-1])


def _pointing(weights: Path, folder: Path, films: Sequence[Listed], boxes: Path, rsna: Path | None) -> list[Pointing]:
    """How often the evidence points to what readers outlined on films outside training."""
    drawn = read_boxes(boxes, rsna)
    if not any(film.original in drawn for film in films):
        raise InvalidInput("no_match", f"{boxes} has no box of the six findings on a film outside training")
    return pointing(weights, folder, films, drawn)


def _opacities(splits: Mapping[str, list[Judged]], boxes: Path | None, rsna: Path | None) -> dict[str, Opacities]:
    """By split, how well opacities are told that radiologists saw and drew."""
    if not boxes or not rsna:
        raise InvalidInput("no_readings", "the network tells opacities: name readers' boxes and --rsna")
    read, drawn = read_opacities(rsna), read_boxes(boxes, rsna)
    measured = {name: measure_opacities(films, read, drawn) for name, films in splits.items()}
    return {name: each for name, each in measured.items() if each}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 2 where the input cannot be used, 1 where the model cannot."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _LOG.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(prog="python -m models.training.card", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--films", type=Path, required=True, help="folder that the manifests and their films lie in")
    parser.add_argument("--manifest", type=Path, required=True, nargs="+", help="CSVs, one row a film")
    parser.add_argument("--boxes", type=Path, help="CSV of readers' boxes: image, finding, x, y, w, h")
    parser.add_argument("--rsna", type=Path, help="CSV of the RSNA challenge of 2018, boxes of opacities")
    parser.add_argument("--elsewhere", type=Path, help="folder of films of another hospital")
    parser.add_argument("--weights", type=Path, required=True, help="folder of embedded.onnx, its JSON and its log")
    parser.add_argument("--out", type=Path, required=True, help="folder of the card")
    parser.add_argument("--failures", type=Path, help="folder outside the repository for the worst real films")
    try:
        card = write_card(**vars(parser.parse_args(arguments)))
    except FirstreadError as error:
        _LOG.error("%s", error.message)
        return 2 if isinstance(error, InvalidInput) else 1
    _LOG.info("%s", card)
    return 0


if __name__ == "__main__":
    sys.exit(main())
