"""Write the card that lies beside a scorer's weights: card.json, which the triage rule works by.

It is measured (models/evaluation/measured_card.py) on the sharp validation films, scored as the product scores them:

    python -m models.training.scorer_card --films DIR --manifest FILE [FILE] --folder models/embedded/weights

A network that tells opacities is measured on all validation films, sharp or not, that radiologists of the RSNA
challenge read (`--rsna`), against what they said. All films measure and choose alike, so a threshold that is chosen on
them is flattered.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from models.card import CARD_FILE
from models.evaluation.films import FINDINGS
from models.evaluation.measured_card import CHOICES, Choices, measure_card, read_choices
from models.training.judge import Judged, is_sharp, judge, load_film, read_manifests, read_opacities, sample
from models.training.opacity import read_by_radiologists
from worklist.card import ScorerCard, card_to_json
from worklist.errors import FirstreadError, InvalidInput
from worklist.finding import FindingType

_LOG = logging.getLogger(__name__)


def card_of(films: Sequence[Judged], choices: Choices, read: Sequence[Judged] = ()) -> ScorerCard:
    """The card of what judged the films.

    Args:
        films: the reference, at least one, all judged by one scorer.
        choices: what is not measured.
        read: films of which it is known whether they show an opacity, for a scorer that tells these.

    Raises:
        ValueError: as measure_card.
    """
    side_px = max(max(film.analysis.image.rows, film.analysis.image.columns) for film in films)
    measured = [(kind, films) for kind in FINDINGS]
    if read:
        measured.append((FindingType.LUNG_OPACITY, read))
    return measure_card(
        [film.analysis for film in films],
        {kind: sample(known, kind.key) for kind, known in measured},
        choices,
        reference=f"{len(films)} validation films of {choices.collection} at {side_px} px",
    )


def write_scorer_card(
    *, films: Path, manifest: Sequence[Path], folder: Path, rsna: Path | None = None, choices: Path = CHOICES
) -> Path:
    """Measure the network in a folder and write its card.json beside it.

    Args:
        films: the folder that the manifests lie in, or that the files of a manifest from elsewhere lie in.
        manifest: CSVs, see `judge.read_manifest`.
        folder: of embedded.onnx and embedded.json.
        rsna: CSV of the RSNA challenge of 2018, see `judge.read_opacities`, for a network that tells opacities.
        choices: what is not measured, TOML.

    Returns:
        The card's file.

    Raises:
        InvalidInput: a file cannot be used, the manifests list no sharp validation film, the network tells opacities
            and no film of known ones is named, or no output that weighs anything is better than chance.
        ModelUnavailable: as EmbeddedScorer.
    """
    chosen = read_choices(choices)
    opacities = read_opacities(rsna) if rsna else {}
    listed = [
        film
        for film in read_manifests(manifest, films)
        if film.split == "val" and (film.original in opacities or is_sharp(load_film(films, film.label.file).image))
    ]
    judged = judge(folder, films, listed)
    sharp = [film for film in judged if film.is_sharp]
    if not sharp:
        raise InvalidInput("no_films", f"{manifest[0]} needs validation films of more than 256 px")
    tells = {found.type for found in sharp[0].analysis.findings}
    read = read_by_radiologists(judged, opacities) if FindingType.LUNG_OPACITY in tells else []
    if FindingType.LUNG_OPACITY in tells and not read:
        raise InvalidInput("no_readings", "the network tells opacities: name radiologists' readings of these films")
    file = folder / CARD_FILE
    try:
        card = card_of(sharp, chosen, read)
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
    parser.add_argument("--rsna", type=Path, help="CSV of the RSNA challenge of 2018, readings of opacities")
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
