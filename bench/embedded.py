"""The embedded model on labelled films, by itself with `python -m bench.embedded`: ranking, calibration, int8."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.figures import Figure, as_table
from models.embedded.scorer import WEIGHTS
from models.training.judge import TARGETS, headline, judge, judge_int8, read_manifest

FILMS = Path(os.environ.get("BENCH_FILMS") or Path(__file__).parents[1] / ".." / "shared" / "data" / "nih")
TABLE = "The embedded model"
UNMEASURED = f"AUC, calibration and int8 are not measured: there is no {FILMS / 'manifest.csv'} (set BENCH_FILMS)."

_SPEED = (
    "Inference and evidence, p50",
    "From file to Analysis, p50",
    "Model file",
    "Peak memory of a worker's process",
)


def measure_embedded() -> list[Figure]:
    """AUCs, calibration error and int8 on the sharp validation films in FILMS; nothing where they are not there."""
    if not (FILMS / "manifest.csv").is_file():
        return []
    listed = read_manifest(FILMS / "manifest.csv")
    judged = judge(WEIGHTS, FILMS, [film for film in listed if film.split == "val"])
    sharp = [film for film in judged if film.is_sharp]
    figures, int8 = headline(sharp), judge_int8(WEIGHTS, FILMS, listed, sharp)
    at_least = {
        f"Urgent, AUC on {len(sharp)} films": (figures.auc["urgent"].value, TARGETS["urgent"]),
        "Mean of the six findings, AUC": (figures.mean.value, TARGETS["mean"]),
        "Pneumothorax, AUC": (figures.auc["pneumothorax"].value, TARGETS["pneumothorax"]),
    }
    at_most = {
        "Urgent, expected calibration error": (figures.ece["urgent"].value, TARGETS["ece"]),
        "Urgent, AUC of int8 from float32": (abs(int8.urgent_difference), TARGETS["int8"]),
        "Mean of the six, AUC of int8 from float32": (abs(int8.mean_difference), TARGETS["int8"]),
    }
    return [
        *(Figure(name=n, value=v, unit="", at_least=aim) for n, (v, aim) in at_least.items() if v is not None),
        *(Figure(name=n, value=v, unit="", at_most=aim) for n, (v, aim) in at_most.items() if v is not None),
    ]


def with_speed(model: Sequence[Figure], site: Sequence[Figure]) -> list[Figure]:
    """The model's figures and those of the other tables, as far as measured, that are promised of the model too."""
    return [*model, *(figure for figure in site if figure.name in _SPEED)]


if __name__ == "__main__":
    measured = measure_embedded()
    Console().print(as_table(TABLE, measured) if measured else UNMEASURED)
