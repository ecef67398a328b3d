"""The command line of what is trained on a site's own films: the same options, whichever the model."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from worklist.errors import FirstreadError, InvalidInput

_LOG = logging.getLogger("models.training")

Train = Callable[[argparse.Namespace, Path | None], str]
"""Trains, by the options and the folder of models where one is named; returns what to do with the result."""


def run(module: str, about: str, recipe: Path, train: Train, arguments: Sequence[str] | None) -> int:
    """Run it; 2 where the input cannot be used, 1 where the machine does not let it.

    Args:
        module: its name, below models.training.
        about: what it does, in a line.
        recipe: the hyper-parameters that it has by itself.
        train: does the work.
        arguments: of the command line; None for the process's own.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog=f"python -m models.training.{module}", description=about)
    parser.add_argument("films", type=Path, help="folder of DICOM, PNG or JPEG files")
    parser.add_argument("labels", type=Path, help="what is true of them: CSV or JSON, see docs/fitting.md")
    parser.add_argument("out", type=Path, help="folder for what is trained and its card")
    parser.add_argument("--recipe", type=Path, default=recipe, help="hyper-parameters, TOML")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads, where there is no graphics card")
    options = parser.parse_args(arguments)
    model_dir = os.environ.get("FIRSTREAD_MODEL_DIR")
    try:
        told = train(options, Path(model_dir) if model_dir else None)
    except FirstreadError as error:
        _LOG.error("%s", error.message)
        return 2 if isinstance(error, InvalidInput) else 1
    _LOG.info("%s", told)
    return 0


def shown(files: Sequence[Path]) -> Any:  # noqa: ANN401 - tqdm has no types
    """Files with a bar, where somebody looks on."""
    return tqdm(files, desc="films", disable=not sys.stderr.isatty())
