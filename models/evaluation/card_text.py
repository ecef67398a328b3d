"""Model cards as text: the templates, and how they write figures with their intervals."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from models.evaluation.intervals import Estimate
from worklist.card import Precision


def environment(folder: Path) -> Environment:
    """What renders the templates in a folder, and those that cards share, which lie here."""
    found = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["estimate"] = _written
    found.filters["precision"] = _share
    return found


def _written(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _share(precision: Precision | None) -> str:
    if precision is None:
        return "-"
    low_high = " ({:.3f} to {:.3f})".format(*precision.interval) if precision.interval else ""
    return f"{precision.value:.3f}{low_high} of {precision.n}"
