"""Two networks on the same films: the shipped one beside a candidate, with paired intervals.

    python -m models.training.compare --manifest FILE [FILE] --old WEIGHTS --new WEIGHTS [--boxes FILE] [--rsna FILE]

Films are scored as the product scores them. A difference whose interval holds 0 is none. The old network may have
learned from the patients that the new one held out; its figures on them are then too good.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.embedded.scorer import EmbeddedScorer
from models.evaluation.boxes import holds_center
from models.evaluation.films import FINDINGS, Box
from models.evaluation.held_out import is_held_out
from models.evaluation.intervals import Estimate, Numbers, proportion
from models.evaluation.measure import OUTPUTS
from models.evaluation.metrics import Sample
from models.evaluation.paired import Row, mean_areas, paired
from models.regions import locate
from models.training.archive import LATERAL, NOT_CHEST, WRONG_WAY
from models.training.judge import (
    Judged,
    Listed,
    judge,
    load_film,
    read_boxes,
    read_manifests,
    sample,
    with_boxes,
)
from worklist.errors import FirstreadError, InvalidInput
from worklist.finding import FindingType

_LOG = logging.getLogger(__name__)
_ALL = "all"
_SHARE = 0.9  # of films without a finding that must not be called


def outside_train(films: Sequence[Listed]) -> dict[str, list[Listed]]:
    """Films that the recipe does not learn from, by what they are called in the table."""
    wrong = {*WRONG_WAY, *LATERAL, *NOT_CHEST}
    held = [
        film
        for film in films
        if film.split == "train" and is_held_out(film.label.patient or "") and film.file not in wrong
    ]
    return {"val": [film for film in films if film.split == "val"], "held out": held}


def rows(old: Sequence[Judged], new: Sequence[Judged]) -> Iterator[Row]:
    """Area under the curve of each output and of the findings' mean, and sensitivity at 90 % specificity."""
    samples = {key: (sample(old, key), sample(new, key)) for key in OUTPUTS}
    present = [key for key in OUTPUTS if not samples[key][0].lacks]
    for key in present:
        yield paired(f"{key}, AUC", [samples[key]], mean_areas)
    findings = [samples[kind.key] for kind in FINDINGS if kind.key in present]
    if findings:
        yield paired("mean of findings, AUC", findings, mean_areas)
    for key in present:
        yield paired(f"{key}, sensitivity at 90 % specificity", [samples[key]], _sensitivities)


def _sensitivities(samples: Sequence[Sample], weights: Numbers) -> Numbers:
    """Sensitivity (draws,) at the least threshold that calls at most a tenth of the films without the finding."""
    (each,) = samples
    order = np.argsort(-each.probability, kind="stable")
    truth, weights = each.truth[order], weights[:, order]
    called = np.cumsum(weights * ~truth, axis=1)
    total = weights.sum(axis=1) - (weights * truth).sum(axis=1)
    allowed = called <= (1 - _SHARE) * total[:, None] + 1e-9
    return np.asarray((weights * truth * allowed).sum(axis=1) / np.maximum((weights * truth).sum(axis=1), 1e-9))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointing:
    """How often a network's box, asked for whatever the probability, has its center in a box of a reader.

    Attributes:
        target: the finding.
        films: how many films have boxes of it.
        without: on how many of them the evidence points nowhere.
        by_film: share of films where the center lies in any of the film's boxes; without a box it does not.
        by_box: share of readers' boxes that hold the center.
    """

    target: str
    films: int
    without: int
    by_film: Estimate
    by_box: Estimate


def pointing(
    weights: Path, folder: Path, films: Sequence[Listed], drawn: Mapping[str, tuple[Box, ...]]
) -> list[Pointing]:
    """How well the evidence points to what readers outlined, by finding and over all."""
    scorer = EmbeddedScorer(weights)
    sharpest = {film.listed.original: film for film in _by_size(weights, folder, films, drawn)}
    hits: dict[str, list[tuple[str, bool, list[bool]]]] = {_ALL: []}  # patient, whether there is a box, by reader's box
    for film in sharpest.values():
        label = with_boxes(film, drawn[film.listed.original])
        evidence, geometry = scorer.evidence(load_film(folder, label.file))
        for kind in (*FINDINGS, FindingType.LUNG_OPACITY):
            boxes = [box for box in label.boxes if box.target == kind.key]
            if not boxes:
                continue
            place = locate(evidence[kind.key], geometry) if kind.key in evidence else None
            crop = Box(x=place.x, y=place.y, w=place.width, h=place.height, target=None) if place else None
            found = (
                label.patient or label.file,
                crop is not None,
                [bool(crop and holds_center(b, crop)) for b in boxes],
            )
            hits.setdefault(kind.key, []).append(found)
            hits[_ALL].append(found)
    return [_pointing(target, each) for target, each in hits.items() if each]


def _by_size(
    weights: Path, folder: Path, films: Sequence[Listed], drawn: Mapping[str, tuple[Box, ...]]
) -> list[Judged]:
    boxed = [film for film in films if film.original in drawn]
    return sorted(judge(weights, folder, boxed), key=lambda film: film.analysis.image.rows) if boxed else []


def _pointing(target: str, hits: Sequence[tuple[str, bool, list[bool]]]) -> Pointing:
    boxes = [(patient, hit) for patient, _, each in hits for hit in each]
    return Pointing(
        target=target,
        films=len(hits),
        without=sum(not there for _, there, _ in hits),
        by_film=_share([(patient, any(each)) for patient, _, each in hits]),
        by_box=_share(boxes),
    )


def _share(hits: Sequence[tuple[str, bool]]) -> Estimate:
    patients = np.unique([patient for patient, _ in hits], return_inverse=True)[1]
    return proportion(np.array([hit for _, hit in hits]), patients, note="")


def compare(
    *,
    manifest: Sequence[Path],
    old: Path,
    new: Path,
    boxes: Path | None = None,
    rsna: Path | None = None,
) -> str:
    """Tables of both networks on the films that the recipe does not learn from, in Markdown.

    Raises:
        InvalidInput: a file cannot be used.
        ModelUnavailable: as EmbeddedScorer.
    """
    folder = Path(os.path.commonpath([each.resolve().parent for each in manifest]))
    listed = read_manifests(manifest, folder)
    lines = []
    outside = outside_train(listed)
    for split, films in outside.items():
        judged = judge(old, folder, films), judge(new, folder, films)
        for is_sharp in (True, False):
            sides = [[film for film in side if film.is_sharp is is_sharp] for side in judged]
            if not sides[0]:
                continue
            name = f"{split}, {'sharp' if is_sharp else '128 px'}: {len(sides[0])} films"
            lines += [f"| {name} | Positives | Old | New | Difference |", "|---|---|---|---|---|"]
            for row in rows(*sides):
                figures = " | ".join(_written(each) for each in (row.old, row.new, row.difference))
                lines.append(f"| {row.name} | {row.positives} | {figures} |")
            lines.append("")
    if boxes:
        drawn = read_boxes(boxes, rsna)
        films = [film for each in outside.values() for film in each]
        lines += ["| Pointing game | Films | Without box, old | New | By film, old | New | By box, old | New |"]
        lines.append("|---|---|---|---|---|---|---|---|")
        for before, after in zip(*(pointing(each, folder, films, drawn) for each in (old, new)), strict=True):
            shares = (before.by_film, after.by_film, before.by_box, after.by_box)
            figures = " | ".join(_written(each) for each in shares)
            lines.append(f"| {before.target} | {before.films} | {before.without} | {after.without} | {figures} |")
    return "\n".join(lines) + "\n"


def _written(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "-" if estimate.value is None else f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 2 where the input cannot be used, 1 where a model cannot."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _LOG.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(
        prog="python -m models.training.compare", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--manifest", type=Path, required=True, nargs="+", help="CSVs, files as seen from their folder")
    parser.add_argument("--old", type=Path, required=True, help="folder of embedded.onnx and its JSON")
    parser.add_argument("--new", type=Path, required=True, help="folder of embedded.onnx and its JSON")
    parser.add_argument("--boxes", type=Path, help="CSV of readers' boxes: image, finding, x, y, w, h")
    parser.add_argument("--rsna", type=Path, help="CSV of the RSNA challenge of 2018, boxes of opacities")
    try:
        table = compare(**vars(parser.parse_args(arguments)))
    except FirstreadError as error:
        _LOG.error("%s", error.message)
        return 2 if isinstance(error, InvalidInput) else 1
    _LOG.info("%s", table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
