"""The code of an earlier commit on this machine: exported by `git archive`, and measured by its own benchmark."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

COMMIT = "31f01ca"  # the last one before readings and the one triage rule
REPOSITORY = Path(__file__).parents[1]

_OLD_LIST = """
import json, sys
from pathlib import Path
from models.embedded import WEIGHTS
from models.training.judge import judge, read_manifest
from worklist.order import OrderPolicy, head_start
from worklist.urgency import Urgency, UrgencyPolicy, assess_urgency

films = Path(sys.argv[1])
val = [film for film in read_manifest(films / "manifest.csv") if film.split == "val"]
json.dump({
    film.listed.label.file: {
        "head_start_s": head_start(film.analysis.score, OrderPolicy()).total_seconds(),
        "is_flagged": assess_urgency(film.analysis, UrgencyPolicy()) is not Urgency.ROUTINE,
        "named": [finding.type.value for finding in film.analysis.positive_findings],
    }
    for film in judge(WEIGHTS, films, val)
}, sys.stdout)
"""


@lru_cache
def measure_baseline(films: Path) -> dict[str, float]:
    """What the benchmark of the earlier commit measures here, by the name of the figure.

    Args:
        films: the folder of labelled films that its table of the model is measured on.
    """
    with exported() as folder:
        _run([sys.executable, "-m", "bench"], folder, films)
        measured = json.loads((folder / "bench" / "results.json").read_text(encoding="utf-8"))
    return {figure["name"]: float(figure["value"]) for figure in measured["figures"]}


@lru_cache
def baseline_list(films: Path) -> dict[str, dict[str, Any]]:
    """What the list of the earlier commit did with each validation film, by file: head_start_s, is_flagged, named."""
    with exported() as folder:
        files: dict[str, dict[str, Any]] = json.loads(
            _run([sys.executable, "-c", _OLD_LIST, str(films.resolve())], folder, films)
        )
    return files


@contextmanager
def exported(commit: str = COMMIT) -> Iterator[Path]:
    """A folder with the files of a commit, removed at the end."""
    archive = subprocess.run(
        ["git", "archive", commit],  # noqa: S607 - git is wherever the machine has it
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def _run(command: list[str], folder: Path, films: Path) -> bytes:
    """Run a program on the code in a folder; its standard output."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "BENCH_FILMS": str(films.resolve())}
    return subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True).stdout
